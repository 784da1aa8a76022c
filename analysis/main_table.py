"""The main figure's numbers: cumulative reward by environment and arm, published, released protocol, paper protocol.

    python -m analysis.main_table --runs results/runs/*/*/*.csv --output results/tables/main.csv

The CSV is tidy, a row a (protocol, env, arm); the .md beside it is for reading. The cumulative reward is the paper's:
the sum over the plotted iterations of the evaluation's return, the LLM's mean return standing for the warm-up.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

import envs
from analysis.runs import POLICIES, Run, read_run
from analysis.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    probability_of_improvement,
)
from envs.errors import UsageError, run_command_line
from envs.files import write_text

ARMS = {
    "online": "online RL",
    "loro": "LORO",
    "loro-discard": "LORO, offline data thrown away",
    "mix": "mix",
    "llm-policy": "the LLM as the policy",
    "random-policy": "random policy",
}
PROTOCOLS = ("published", "released", "paper")


@dataclass
class Args:
    """Write the main table."""

    runs: tuple[Path, ...]
    """the run files: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the CSV to write; the .md goes beside it"""


def row_of(run: Run, iterations: int) -> dict[str, object]:
    """Return the tidy row of one run; a policy that does not learn earns its mean return in each iteration."""
    repeats = int(run.table.repeat.nunique())
    values = run.cumulative_rewards()
    if run.arm in POLICIES:
        values = np.array([run.mean_return() * iterations])
    low, high = bootstrap_interval(values)
    return {
        "env": run.env,
        "arm": run.arm,
        "llm": run.llm,
        "tau": run.tau,
        "pretrain_steps": run.pretrain_steps,
        "protocol": run.protocol,
        "iterations": iterations,
        "seeds": len(values),
        "repeats": repeats,
        "mean": float(np.mean(values)),
        "low": float(low),
        "high": float(high),
        "iqm": interquartile_mean(values),
        "first_repeat": float(run.table[run.table.repeat == 0].groupby("seed").eval_return.sum().mean()),
    }


def number(value: float) -> str:
    """Format a cumulative reward for reading."""
    return f"{value:,.0f}".replace("-", "−") if math.isfinite(value) else ""


def cell(row: pd.Series | None) -> str:
    """Format one row of the tidy table as a cell: mean, interval, and how many runs are behind it."""
    if row is None:
        return ""
    interval = f" [{number(row.low)}, {number(row.high)}]" if math.isfinite(row.low) else ""
    if row.arm in POLICIES:
        return number(row["mean"])
    chains = f"{row.seeds} x {row.repeats}" if row.repeats > 1 and row.protocol == "released" else str(row.seeds)
    count = f"n={row.repeats}" if row.protocol == "published" else f"n={chains}"
    return f"{number(row['mean'])}{interval} ({count})"


def comparison(runs: dict[tuple[str, str], Run], env: str) -> str:
    """Return the row that answers whether the warm start paid in `env`, under the paper protocol."""
    if ("paper", "online") not in runs or ("paper", "loro") not in runs:
        return f"| {envs.get(env).title} | | | |"
    loro, online = (runs["paper", arm].cumulative_rewards() for arm in ("loro", "online"))
    low, high = difference_interval(loro, online)
    difference = f"{number(loro.mean() - online.mean())} [{number(low)}, {number(high)}]"
    if not math.isfinite(low):
        verdict = "one seed: no interval"
    elif low > 0:
        verdict = "higher"
    else:
        verdict = "lower" if high < 0 else "no difference shown"
    return f"| {envs.get(env).title} | {difference} | {probability_of_improvement(loro, online):.2f} | {verdict} |"


def markdown(table: pd.DataFrame, runs: list[Run]) -> str:
    """Return the table for reading, with what it still lacks below it."""
    lines = [
        "# Main figure in numbers",
        "",
        "Cumulative reward: the sum over the plotted iterations of the evaluation's return. Mean [95% bootstrap",
        "interval over seeds] (number of seeds; `chains x repeats` where one network is handed from repeat to repeat:",
        "the repeats are not independent, so the interval is over chains). Published: the authors' five repeats.",
        "",
        "| environment | arm | published | first published repeat | released protocol | paper protocol |",
        "|---|---|---|---|---|---|",
    ]
    missing = []
    environments = [name for name in envs.ENVIRONMENTS if name in set(table.env)]
    for env in environments:
        for arm, title in ARMS.items():
            cells = {}
            for protocol in PROTOCOLS:
                found = table[(table.env == env) & (table.arm == arm) & (table.protocol == protocol)]
                cells[protocol] = found.iloc[0] if len(found) else None
            if cells["paper"] is None:
                missing.append(f"{env}: {arm}, paper protocol")
            if arm == "loro" and cells["released"] is None:
                missing.append(f"{env}: {arm}, released protocol")
            published = cells["published"]
            first = "" if published is None else number(published.first_repeat)
            shown = " | ".join((cell(published), first, cell(cells["released"]), cell(cells["paper"])))
            lines.append(f"| {envs.get(env).title} | {title} | {shown} |")
    lines += ["", "## Does the warm start pay?", ""]
    lines += ["LORO against online RL, both under the paper protocol.", ""]
    lines += ["| environment | difference [95% interval] | P(LORO > online) | LORO is |", "|---|---|---|---|"]
    for env in environments:
        lines.append(comparison({(run.protocol, run.arm): run for run in runs if run.env == env}, env))
    if missing:
        lines += ["", "Not computed yet: " + "; ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table as CSV and Markdown."""
    args = tyro.cli(Args)
    runs = [read_run(path) for path in args.runs]
    if not runs:
        raise UsageError("There are no runs to put into a table.")
    rows = []
    for run in runs:
        # what the environment's trained runs were plotted over; the quick configuration is shorter than the paper
        trained = [r.curves().shape[1] for r in runs if r.env == run.env and r.arm not in POLICIES]
        rows.append(row_of(run, max(trained, default=envs.get(run.env).iterations)))
    order = {name: index for index, name in enumerate([*envs.ENVIRONMENTS, *ARMS, *PROTOCOLS])}
    table = pd.DataFrame(rows).sort_values(["env", "arm", "protocol"], key=lambda c: c.map(lambda v: order.get(v, 99)))
    write_text(args.output.with_suffix(".csv"), table.to_csv(index=False, float_format="%.6g"))
    write_text(args.output.with_suffix(".md"), markdown(table, runs))


if __name__ == "__main__":
    run_command_line(main)
