"""Compare freshly trained runs with the shipped ones, run by run.

    python -m analysis.compare --runs rerun/results/runs/paper/*/*.csv --output rerun/results/tables/comparison.md

On the same kind of processor with the same versions the files agree byte for byte; elsewhere rounding sends single
agents other ways, and the mean cumulative rewards and their spread are what can be compared.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from analysis.wording import table_lines
from envs.errors import UsageError, run_command_line
from envs.files import write_text


@dataclass
class Args:
    """Compare runs of one tree with their namesakes in another."""

    runs: tuple[Path, ...]
    """the fresh runs, .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the Markdown table to write"""
    shipped: Path = Path("results/runs")
    """the tree of runs to compare with"""


def told(run: pd.DataFrame) -> str:
    """Write the mean of the cumulative rewards, their standard deviation where there are several, and their number."""
    rewards = run.groupby(["seed", "repeat"]).eval_return.sum()
    spread = f"{rewards.std():.1f}, " if len(rewards) > 1 else ""
    return f"{rewards.mean():.1f} ({spread}{len(rewards)})"


def compare(run: Path, shipped: Path) -> list[str]:
    """Return one row of the table: run, shipped mean (sd), fresh mean (sd), verdict."""
    name = "/".join(run.with_suffix("").parts[-3:])
    other = shipped / Path(*run.parts[-3:])
    fresh = pd.read_csv(run)
    if not other.exists():
        return [name, "not shipped", told(fresh), ""]
    there = pd.read_csv(other)
    iterations, theirs = (table.iteration.nunique() for table in (fresh, there))
    if iterations != theirs:
        verdict = f"do not compare: {iterations} iterations, shipped {theirs}"
    else:
        verdict = "identical" if run.read_bytes() == other.read_bytes() else "other numbers"
    return [name, told(there), told(fresh), verdict]


def main() -> None:
    """Write the comparison."""
    args = tyro.cli(Args)
    missing = [str(run) for run in args.runs if not run.exists()]
    if missing:
        raise UsageError(f"No such run: {', '.join(missing)}.")
    rows = [compare(run, args.shipped) for run in sorted(args.runs)]
    lines = ["Cumulative reward: mean (standard deviation, number of agents).", ""]
    write_text(args.output, "\n".join([*lines, *table_lines(["run", "shipped", "fresh", "files"], rows)]) + "\n")


if __name__ == "__main__":
    run_command_line(main)
