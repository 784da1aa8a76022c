"""Write the arguments of every program as one Markdown file, from the dataclasses that the programs read them with.

    python -m analysis.arguments --output algos/ARGUMENTS.md        (or: make arguments)

Every program is `python -m algos.x` or `python -m analysis.x`. The programs are imported for their command lines alone.
"""

import importlib
import re
import warnings
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

import tyro

from analysis.wording import table_lines
from envs.errors import run_command_line
from envs.files import write_text

ROOT = Path(__file__).parents[1]
HEAD = """# Arguments

What each program takes, from `--help`, made by `make arguments`. Run programs from the repository root. Lists are given
after one flag, separated by spaces; a switch `--x` is turned off by `--no-x`.
"""


@dataclass
class Args:
    """Write the tables of arguments."""

    output: Path = Path("algos/ARGUMENTS.md")
    """the .md to write"""


def programs() -> list[str]:
    """Return the names of all modules that are programs."""
    paths = [path for folder in ("algos", "analysis") for path in sorted((ROOT / folder).glob("*.py"))]
    return [f"{path.parent.name}.{path.stem}" for path in paths if "run_command_line(main)" in path.read_text("utf-8")]


def plain(text: str) -> str:
    """Return a help text on one line that cannot end a cell."""
    return " ".join(text.replace("|", "\\|").split())


def rows(parser: ArgumentParser) -> list[list[str]]:
    """Return the cells of each argument: flag and values, default, meaning."""
    cells = []
    for action in parser._actions:
        if "--help" in action.option_strings:
            continue
        names = action.option_strings or [action.dest]
        flag = next((name for name in names if not name.startswith("--no-")), names[0])
        values = (action.metavar or "").replace("{None}|", "")  # None is a default, not something to type
        help_text = action.help or ""
        note = re.search(r"\s*\((default|required|optional|repeatable)[^()]*(?:\([^()]*\)[^()]*)*\)\s*$", help_text)
        meaning = help_text[: note.start()] if note else help_text
        default = note.group().strip(" \n()").removeprefix("default: ") if note else ""
        cells.append([f"`{plain(f'{flag} {values}')}`", plain(default), plain(meaning)])
    return cells


def section(program: str) -> list[str]:
    """Return the lines of one program: its name, what it does, its arguments."""
    module = importlib.import_module(program)
    summary = (module.__doc__ or "").strip().split("\n\n")[0]
    lines = [f"## `{program}`", "", plain(summary).replace("\\|", "|"), ""]
    with warnings.catch_warnings():  # tyro means to replace this one day; its version is locked
        warnings.simplefilter("ignore", DeprecationWarning)
        found = rows(tyro.extras.get_parser(module.Args))
    return [*lines, *table_lines(["argument", "default", "meaning"], found), ""] if found else lines


def markdown() -> str:
    """Return the whole file."""
    return "\n".join([HEAD, *(line for program in programs() for line in section(program))]).rstrip() + "\n"


def main() -> None:
    """Write the file."""
    args = tyro.cli(Args)
    write_text(args.output, markdown())
    print(f"{args.output}: {len(programs())} programs.")


if __name__ == "__main__":
    run_command_line(main)
