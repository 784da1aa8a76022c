"""Whole files or none: what errors, kills and other writers leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs.errors import Failure, UsageError
from envs.files import check_outputs, write_text, written_whole

ROOT = Path(__file__).parents[2]
WRITER = """
import os, signal, sys
from pathlib import Path
from envs.files import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    if sys.argv[2] == "folder":
        temporary.mkdir()
        temporary = temporary / "part"
    temporary.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def writing(target, kind):
    """Start a process that is in the middle of writing `target`."""
    command = [sys.executable, "-c", WRITER, str(target), kind]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    return process


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "run.csv"
    write_text(target, "whole")
    with pytest.raises(KeyError), written_whole(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert os.listdir(tmp_path) == ["run.csv"]
    assert target.read_text() == "whole"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_goes_with_the_next_writing_and_that_of_a_living_one_stays(tmp_path, kind):
    target, other = tmp_path / "run", tmp_path / "run.csv"
    killed, living, elsewhere = writing(target, kind), writing(target, kind), writing(other, kind)
    killed.kill()
    killed.wait()
    elsewhere.kill()
    elsewhere.wait()
    assert len(os.listdir(tmp_path)) == 3
    write_text(target, "whole")
    left = {name for name in os.listdir(tmp_path) if name.endswith(".tmp")}
    assert len(left) == 2, "the living process's, and that of the other file"
    assert sum(f".{living.pid}." in name for name in left) == 1
    target.unlink()
    living.communicate(b"")
    assert living.returncode == 0
    assert target.exists()


def test_outputs_that_cannot_be_written_are_refused_before_any_is(tmp_path):
    (tmp_path / "file").write_text("a file, and no folder")
    with pytest.raises(Failure, match="Cannot write to the output folder"):
        check_outputs([], figure=(tmp_path / "a.pdf", ".pdf"), output=(tmp_path / "file" / "a.md", ".md"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ({"output": ("t.txt", ".csv")}, "must end in .csv"),
        ({"output": ("", ".csv")}, "must end in .csv"),
        ({"output": ("folder.csv", ".csv")}, "is a folder"),
        ({"output": ("folder.md", ".md")}, "is a folder"),  # folder.csv, which goes beside it
        ({"output": ("run.csv", ".csv")}, "would replace the input"),
        ({"output": ("sub/../run.md", ".md")}, "would replace the input"),
        ({"output": ("a.md", ".md"), "table": ("a.csv", ".csv")}, "would replace what --output writes"),
    ],
)
def test_outputs_that_would_be_lost_or_destroy_are_refused(tmp_path, outputs, sentence):
    (tmp_path / "folder.csv").mkdir()
    paths = {option: (tmp_path / name if name else Path(), ending) for option, (name, ending) in outputs.items()}
    with pytest.raises(UsageError, match=sentence):
        check_outputs([tmp_path / "run.csv"], **paths)
    check_outputs([tmp_path / "run.csv"], output=(tmp_path / "a.pdf", ".pdf"), table=(tmp_path / "a.csv", ".csv"))
