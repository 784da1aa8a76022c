"""How much of an LLM's prior lies on what is best to do, text by text: what it is worth before any learning.

    python -m analysis.prior_quality --priors results/priors/overcooked-*/*.jsonl --output .../prior_quality.csv

What is best is told by a scripted prior of the same game, which gives more than its floor to an action that is best in
some state that reads so. Priors are read as DQN-Prior reads them in these games: scores through the softmax.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro

from analysis.wording import fixed, table_lines
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text
from envs.text import describe

DRAWS = 5
"""Proposals of DQN-Prior and CQL-Prior (k)."""
COLUMNS = {
    "best": "on what is best, mean",
    "best_median": "median",
    "likeliest": "its likeliest action is best",
    "proposed": f"{DRAWS} draws hold what is best",
}
INTRODUCTION = f"""\
# How good the priors are

Of each game's texts, all weighed alike whether play meets them or not: the probability that a prior gives to the best
actions, the share of texts in which the action that it likes best is one of them (of several, the share of these), and
the chance that {DRAWS} draws, the proposals of DQN-Prior and CQL-Prior, hold one. Best is what leads to the goal
soonest, from some state that reads so. scripted-N and uniform are controls, no LLMs.
"""
Question = tuple[str, tuple[str, ...]]


@dataclass
class Args:
    """Write the table of what priors are worth."""

    priors: tuple[Path, ...]
    """the files .../<game>/<prior>.jsonl, a scripted one of each game among them"""
    output: Path
    """the CSV to write; the .md goes beside it"""


def read_prior(path: Path) -> tuple[dict[str, Any], dict[Question, np.ndarray]]:
    """Return a prior's first line, and p [actions] of every text and its actions.

    Raises UsageError where there is no such file, Failure where it is damaged or has no probability for each action.
    """
    if not path.is_file():
        raise UsageError(f"There is no prior {path}.")
    try:
        header, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        found = {(row["text"], tuple(row["actions"])): probabilities(row) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} cannot be read as a prior ({error!r}); make it anew.") from error
    for (text, actions), p in found.items():
        if p.shape != (len(actions),) or not np.isclose(p.sum(), 1):
            raise Failure(f"{path}: the row of '{text}' has no probability for each of its actions.")
    return header, found


def probabilities(row: dict[str, Any]) -> np.ndarray:
    """Return p [actions] of a row: of an LLM's scores, of its counted replies, or of a table."""
    if "log_p" in row:
        weights = np.exp(np.array(row["log_p"]) - max(row["log_p"]))
    else:
        weights = np.array(row["counts" if "counts" in row else "p"], dtype=float)
    return weights / weights.sum()


def best_actions(table: dict[Question, np.ndarray], share: float) -> dict[Question, np.ndarray]:
    """Return which actions are best, as a scripted prior tells: above what is left to all when `share` is taken off."""
    return {question: p > (1 - share) / len(p) + 1e-9 for question, p in table.items()}


def row_of(game: str, prior: str, found: dict[Question, np.ndarray], best: dict[Question, np.ndarray]) -> dict:
    """Return a prior's row; raise Failure where it does not hold a text of the game."""
    missing = [text for text, actions in best if (text, actions) not in found]
    if missing:
        raise Failure(f"The prior {prior} of {game} does not hold {len(missing)} of its texts: run algos.prior again.")
    on_best = np.array([found[question][good].sum() for question, good in best.items()])
    likeliest = np.array([good[found[q] > found[q].max() - 1e-9].mean() for q, good in best.items()])
    return {
        "env": game,
        "prior": prior,
        "texts": len(on_best),
        "best": on_best.mean(),
        "best_median": np.median(on_best),
        "likeliest": likeliest.mean(),
        "proposed": (1 - (1 - on_best) ** DRAWS).mean(),
    }


def rows_of(paths: tuple[Path, ...]) -> list[dict]:
    """Return a row for each prior, game by game; raise UsageError where a game has no scripted prior."""
    priors = {(path.parent.name, path.stem): read_prior(path) for path in paths}
    rows = []
    for game in dict.fromkeys(game for game, _ in priors):
        here = {name: prior for (of, name), prior in priors.items() if of == game}
        told = [(found, header["scripted_share"]) for header, found in here.values() if header.get("scripted_share")]
        if not told:
            raise UsageError(f"{game}: give a scripted prior too (scripted-50), which tells what is best.")
        best = best_actions(*told[0])
        rows += [row_of(game, name, found, best) for name, (_, found) in here.items()]
    return rows


def markdown(rows: list[dict]) -> str:
    """Return the table for reading."""
    head = ["environment", "prior", "texts", *COLUMNS.values()]
    cells = [
        [describe(row["env"]).title, row["prior"], str(row["texts"]), *(fixed(2)(row[name]) for name in COLUMNS)]
        for row in rows
    ]
    return "\n".join([INTRODUCTION, *table_lines(head, cells)]) + "\n"


def main() -> None:
    """Write the table."""
    args = tyro.cli(Args)
    rows = rows_of(args.priors)
    if not rows:
        raise UsageError("--priors: there are no priors to compare.")
    write_text(args.output.with_suffix(".csv"), pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    write_text(args.output.with_suffix(".md"), markdown(rows))
    print(f"{args.output}: {len(rows)} priors.")


if __name__ == "__main__":
    run_command_line(main)
