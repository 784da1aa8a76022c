"""The tables in README.md and results/FINDINGS.md, copied from the products, so that they cannot go stale.

    python -m analysis.readme            # after `make figures`

What stands between `<!-- NAME -->` and `<!-- end -->` there is replaced. A test runs it and expects no change.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from analysis.main_table import ARMS
from envs.errors import UsageError, run_command_line
from envs.files import write_text


@dataclass
class Args:
    """Refresh README.md and results/FINDINGS.md."""

    root: Path = Path()
    """the folder of README.md and results/"""


def table_below(text: str, heading: str = "") -> list[list[str]]:
    """Return the cells of the first table in a Markdown text, or of the first one below a heading."""
    lines = text.split(heading, 1)[1].splitlines() if heading else text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("|")), len(lines))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def written(rows: list[list[str]]) -> str:
    """Return cells as a Markdown table; the second row is the line below the header."""
    return "\n".join("|" + "|".join(row) + "|" if i == 1 else f"| {' | '.join(row)} |" for i, row in enumerate(rows))


def verdict(results: Path) -> str:
    """The paper's claims, each with its numbers and verdict, without the reasons."""
    rows = table_below((results / "claims.md").read_text(encoding="utf-8"))
    return written([row[:-1] for row in rows])


def fidelity(results: Path) -> str:
    """How many published numbers come out again."""
    text = (results / "tables/fidelity.md").read_text(encoding="utf-8")
    return text.split("\n\n")[1].strip()


def gains(results: Path) -> str:
    """LORO, mix, and what tells the LLM's part from pretraining's, against online RL."""
    text = (results / "tables/main.md").read_text(encoding="utf-8")
    head, line, *rows = table_below(text, "## Does the warm start pay?")
    shown = ("LORO (", ARMS["mix"], ARMS["pretrain-on-policy"], ARMS["pretrain-random"])
    ours = [row for row in rows if row[1].startswith(shown) and not row[1].endswith("released protocol")]
    return written([head, line, *ours])


SNIPPETS: dict[str, dict[str, Callable[[Path], str]]] = {
    "README.md": {"verdict": verdict, "fidelity": fidelity},
    "results/FINDINGS.md": {"gains": gains},
}


def main() -> None:
    """Replace every snippet, whole or not at all."""
    root = tyro.cli(Args).root
    fresh = {}
    for name, snippets in SNIPPETS.items():
        text = (root / name).read_text(encoding="utf-8")
        for mark, snippet in snippets.items():
            place = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
            if not place.search(text):
                raise UsageError(f"{name} has no place for {mark}: lines with <!-- {mark} --> and <!-- end -->.")
            table = snippet(root / "results")
            text = place.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)
        fresh[name] = text
    for name, text in fresh.items():
        write_text(root / name, text)


if __name__ == "__main__":
    run_command_line(main)
