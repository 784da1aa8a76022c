"""Writing files so that they are either complete or absent."""

import glob
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from envs.errors import Failure, UsageError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (a file or a folder) and rename it to `path` on success.

    On any error the temporary is removed and `path` stays as it was, so that a reader never meets half a file. What a
    killed process left is removed by the next that writes `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = f".{path.name}.{socket.gethostname()}"  # other machines' processes cannot be asked whether they live
    for left in path.parent.glob(f"{glob.escape(beside)}.*.tmp"):
        if not psutil.pid_exists(int(left.name.split(".")[-2])):
            remove(left)
    temporary = path.parent / f"{beside}.{os.getpid()}.tmp"
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)  # os.replace cannot put a folder in the place of a folder that is not empty
        os.replace(temporary, path)
    finally:
        remove(temporary)


def check_folder(folder: Path) -> None:
    """Raise Failure where nothing could be written into `folder`, which need not be there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise Failure(f"Cannot write to the output folder {folder}: {error.strerror}.") from error


TOGETHER = {".pdf": (".pdf", ".png"), ".csv": (".csv", ".md"), ".md": (".md", ".csv")}
"""What a program writes beside a figure or a table that it is asked for."""


def check_outputs(inputs: Iterable[Path], **outputs: tuple[Path | None, str]) -> None:
    """Check, before any work, the outputs that a program is asked for: by option, the path and how it must end.

    Without a path an output was not asked for.
    Raises UsageError for another ending, a folder, or a file, with what goes beside it, that is an input or another
    output: it would be lost. Raises Failure for a folder that cannot be written: half of the outputs would stay away.
    """
    taken = {path.resolve(): f"the input {path}" for path in inputs}
    for option, (path, ending) in ((option, told) for option, told in outputs.items() if told[0] is not None):
        if path.suffix != ending:
            raise UsageError(f"--{option} {path}: the name must end in {ending}.")
        for suffix in TOGETHER[ending]:
            file = path.with_suffix(suffix)
            if file.is_dir():
                raise UsageError(f"--{option} {path}: {file} is a folder; give the name of a file.")
            if file.resolve() in taken:
                raise UsageError(f"--{option} {path}: {file} would replace {taken[file.resolve()]}; give another name.")
            taken[file.resolve()] = f"what --{option} writes"
    for folder in {path.parent for path, _ in outputs.values() if path is not None}:
        check_folder(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_clock(path: Path) -> None:
    """Raise Failure where `path` was written more than a minute from now: the clock is wrong, or was then.

    Snakemake throws away what seems older than what it was made from, when it is finished: better to say so before.
    """
    ahead = path.stat().st_mtime - time.time()
    if ahead > 60:
        raise Failure(
            f"{path} seems to be written {ahead / 3600:.1f} hours from now: set the clock right, or touch the file."
        )
