"""What training costs: seconds by environment, learner and device, from what every run says of itself.

    python -m analysis.cost --runs results/runs/paper/*/*.csv --output results/tables/cost.csv

A seed-step is one environment step of one agent with its update, or one offline update of one agent; evaluations are in
the time too. Predict a run of your own as seed-steps times the last column; on one core each job has a core to itself,
and jobs beside it slow it down. `--asked` names runs that need not be there, and the table predicts them in this way.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

import envs
from analysis.arms import Named, parts_of, read_name
from analysis.protocols import repeats_of
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
PREDICTION = """\
## All that is asked for

Every run of the configuration with its agents: seed-steps times the median cost of the same protocol's runs above, of
both protocols' where it has none. "19 of 32" runs: so many are among those above, with as many agents. What is tried
again with other seeds, reference runs and the second paper's are apart.
"""
ALGORITHMS = {"dqn": "double-dqn", "sac": "sac"}
"""What a run's .json calls an environment's learner."""


@dataclass
class Args:
    """Add up what training took."""

    runs: tuple[Path, ...]
    """run files with their .json beside them; runs of policies that do not learn are passed over"""
    output: Path
    """the CSV to write, a row a run; the .md goes beside it"""
    asked: tuple[str, ...] = ()
    """runs whose cost is predicted, <protocol>/<env>/<run>=<seeds> each; a chain of repeats counts as one seed"""


def seed_steps(run: Named, seeds: int, repeats: int, iterations: int, iteration_steps: int = 200) -> int:
    """Return the environment steps of all agents of a run, and their offline updates.

    The LLM's own episodes are recorded, not played; the repeats of a chain share what was pretrained.
    """
    recorded = run.tau if run.tau and run.player else 0
    return seeds * (repeats * (iterations - recorded) * iteration_steps + (run.pretrain_steps or 0))


def row_of(path: Path) -> dict[str, object] | None:
    """Return what one run cost, or None where nothing was trained; raise Failure where its .json does not say."""
    run = read_run(path)
    if run.arm in POLICIES or run.protocol == "published":
        return None
    try:
        made = description(path)
        seconds, steps, device = made["seconds"], made["arguments"]["iteration_steps"], made["device"]
        algorithm, seeds = made["algorithm"], made["arguments"]["seeds"]
    except KeyError as error:
        raise Failure(f"{path} has no .json beside it that says what it cost ({error!r}).") from error
    taken = seed_steps(read_name(path.stem), seeds, run.table.repeat.nunique(), run.iterations, steps)
    return {
        "env": run.env,
        "algorithm": algorithm,
        "device": device,
        "protocol": run.protocol,
        "run": path.stem,
        "seeds": seeds,
        "seed_steps": taken,
        "offline_updates": seeds * (run.pretrain_steps or 0),
        "seconds": seconds,
        "milliseconds_per_seed_step": 1000 * seconds / taken,
    }


def asked_run(text: str) -> dict[str, object]:
    """Take `<protocol>/<env>/<run>=<seeds>` apart and count its seed-steps; raise UsageError where it is not that."""
    path, _, seeds = text.partition("=")
    protocol, env, name = path.split("/") if path.count("/") == 2 else ("", "", "")
    named = read_name(name)
    if protocol not in ("paper", "released") or env not in envs.ENVIRONMENTS or not seeds.isdecimal():
        raise UsageError(f"--asked {text}: it must be <protocol>/<env>/<run>=<seeds>.")
    if named is None or parts_of(named.arm) is None:
        raise UsageError(f"--asked {text}: {name} names no run.")
    environment = envs.get(env)
    return {
        "env": env,
        "algorithm": "ppo" if named.arm.startswith("ppo") else ALGORITHMS[environment.learner],
        "protocol": protocol,
        "run": name,
        "seeds": int(seeds),
        "seed_steps": seed_steps(named, int(seeds), repeats_of(protocol, named.arm), environment.iterations),
    }


def predicted(asked: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each environment, learner, device and protocol that is asked for: its runs, and their hours.

    `hours` is NaN, and `device` empty, where no run of the environment and learner was timed.
    """
    rows = []
    for (env, algorithm, protocol), group in asked.groupby(["env", "algorithm", "protocol"], sort=False):
        timed = table[(table.env == env) & (table.algorithm == algorithm)]
        for device in timed.device.unique() if len(timed) else [""]:
            there = timed[timed.device == device]
            alike = there[there.protocol == protocol]
            cost = (alike if len(alike) else there).milliseconds_per_seed_step.median()
            steps = group.seed_steps.sum()
            seeds = alike.groupby("run").seeds.max()
            done = int((group.run.map(seeds) >= group.seeds).sum())
            timed_by = len(alike) or len(there)
            row = {"env": env, "algorithm": algorithm, "device": device, "protocol": protocol, "runs": len(group)}
            row |= {"done": done, "seed_steps": steps, "hours": steps * cost / 3_600_000, "timed_by": timed_by}
            rows.append(row)
    return pd.DataFrame(
        rows, columns=["env", "algorithm", "device", "protocol", "done", "runs", "seed_steps", "hours", "timed_by"]
    )


def prediction(asked: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return what all that is asked for takes, as lines for reading."""
    rows = predicted(asked, table)
    head = ["environment", "learner", "device", "protocol", "runs", "seed-steps", "hours"]
    cells = []
    for row in rows.itertuples():
        hours = "" if pd.isna(row.hours) else f"{row.hours:.1f}{' (by one run)' * (row.timed_by == 1)}"
        title, runs = envs.get(row.env).title, f"{row.done} of {row.runs}"
        cells.append([title, row.algorithm, row.device, row.protocol, runs, f"{row.seed_steps:,}", hours])
    totals = [
        f"All {part.runs.sum()} runs on {device}: {part.hours.sum():.0f} hours of one core or device"
        for device, part in rows[rows.device != ""].groupby("device", sort=False)
    ]
    untimed = rows[rows.device == ""].runs.sum()
    totals += [f"Of {untimed} runs there is no time to predict from"] if untimed else []
    return [PREDICTION, *table_lines(head, cells), "", *(f"{total}." for total in totals)]


def markdown(table: pd.DataFrame, asked: pd.DataFrame) -> str:
    """Return the table for reading: a row for each environment, learner and device; then what is predicted, if any."""
    head = ["environment", "learner", "device", "runs", "seed-steps", "hours in all", "ms per seed-step (range)"]
    cells = []
    for (env, algorithm, device), rows in table.groupby(["env", "algorithm", "device"], sort=False):
        cost = rows.milliseconds_per_seed_step
        spread = f"{cost.median():.2f} ({cost.min():.2f} to {cost.max():.2f})"
        hours, steps = f"{rows.seconds.sum() / 3600:.1f}", f"{rows.seed_steps.sum():,}"
        cells.append([envs.get(env).title, algorithm, device, str(len(rows)), steps, hours, spread])
    total = f"All {len(table)} runs together: {table.seconds.sum() / 3600:.1f} hours of one core or device."
    more = ["", *prediction(asked, table)] if len(asked) else []
    return "\n".join([INTRODUCTION, *table_lines(head, cells), "", total, *more]) + "\n"


def main() -> None:
    """Write the table."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".csv"))
    rows = [row for row in map(row_of, args.runs) if row is not None]
    if not rows:
        raise UsageError("None of the runs given was trained here.")
    place = {env: number for number, env in enumerate(envs.ENVIRONMENTS)}
    table, asked = (
        pd.DataFrame(sorted(one, key=lambda row: (place[row["env"]], row["protocol"], row["run"])))
        for one in (rows, [asked_run(text) for text in args.asked])
    )
    csv = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(args.output.with_suffix(".csv"), csv)
    write_text(args.output.with_suffix(".md"), markdown(table, asked))
    print(f"{args.output}: {len(table)} runs, {table.seconds.sum() / 3600:.1f} hours.")


if __name__ == "__main__":
    run_command_line(main)
