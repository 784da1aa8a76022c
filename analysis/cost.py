"""What training costs: seconds by environment, learner and device, from what every run says of itself.

    python -m analysis.cost --runs results/runs/paper/*/*.csv --output results/tables/cost.csv

A seed-step is one environment step of one agent with its update, or one offline update of one agent; evaluations are in
the time too. Predict a run of your own as seed-steps times the last column; on one core each job has a core to itself,
and jobs beside it slow it down.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

import envs
from analysis.runs import POLICIES, description, read_run
from analysis.wording import table_lines
from envs.errors import Failure, UsageError, run_command_line
from envs.files import check_outputs, write_text

INTRODUCTION = """\
# What training costs

Seconds as the programs counted them, evaluations included, most of them with two jobs side by side on two cores. A
seed-step is one environment step of one agent, with its update, or one of its offline updates. Median over runs, and
the range.
"""


@dataclass
class Args:
    """Add up what training took."""

    runs: tuple[Path, ...]
    """run files with their .json beside them; runs of policies that do not learn are passed over"""
    output: Path
    """the CSV to write, a row a run; the .md goes beside it"""


def row_of(path: Path) -> dict[str, object] | None:
    """Return what one run cost, or None where nothing was trained; raise Failure where its .json does not say."""
    run = read_run(path)
    if run.arm in POLICIES or run.protocol == "published":
        return None
    try:
        made = description(path)
        seconds, steps, device = made["seconds"], made["arguments"]["iteration_steps"], made["device"]
        algorithm, seeds = made["algorithm"], made["arguments"]["seeds"]
        warm_up = made["arguments"]["tau"] if run.tau and not run.arm.startswith("pretrain-on") else 0
    except KeyError as error:
        raise Failure(f"{path} has no .json beside it that says what it cost ({error!r}).") from error
    repeats = run.table.repeat.nunique()
    offline_updates = seeds * (run.pretrain_steps or 0)  # once for all repeats: they share the pretrained network
    seed_steps = seeds * repeats * (run.iterations - warm_up) * steps + offline_updates
    return {
        "env": run.env,
        "algorithm": algorithm,
        "device": device,
        "protocol": run.protocol,
        "run": path.stem,
        "seeds": seeds,
        "seed_steps": seed_steps,
        "offline_updates": offline_updates,
        "seconds": seconds,
        "milliseconds_per_seed_step": 1000 * seconds / seed_steps,
    }


def markdown(table: pd.DataFrame) -> str:
    """Return the table for reading: a row for each environment, learner and device."""
    head = ["environment", "learner", "device", "runs", "seed-steps", "hours in all", "ms per seed-step (range)"]
    cells = []
    for (env, algorithm, device), rows in table.groupby(["env", "algorithm", "device"], sort=False):
        cost = rows.milliseconds_per_seed_step
        spread = f"{cost.median():.2f} ({cost.min():.2f} to {cost.max():.2f})"
        hours, steps = f"{rows.seconds.sum() / 3600:.1f}", f"{rows.seed_steps.sum():,}"
        cells.append([envs.get(env).title, algorithm, device, str(len(rows)), steps, hours, spread])
    total = f"All {len(table)} runs together: {table.seconds.sum() / 3600:.1f} hours of one core or device."
    return "\n".join([INTRODUCTION, *table_lines(head, cells), "", total]) + "\n"


def main() -> None:
    """Write the table."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".csv"))
    rows = [row for row in map(row_of, args.runs) if row is not None]
    if not rows:
        raise UsageError("None of the runs given was trained here.")
    order = list(envs.ENVIRONMENTS)
    table = pd.DataFrame(sorted(rows, key=lambda row: (order.index(row["env"]), row["protocol"], row["run"])))
    csv = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(args.output.with_suffix(".csv"), csv)
    write_text(args.output.with_suffix(".md"), markdown(table))
    print(f"{args.output}: {len(table)} runs, {table.seconds.sum() / 3600:.1f} hours.")


if __name__ == "__main__":
    run_command_line(main)
