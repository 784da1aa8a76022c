"""The main figure's numbers: cumulative reward by environment and arm, published, released protocol, paper protocol.

    python -m analysis.main_table --runs results/runs/{paper,released,published}/*/*.csv \\
        --output results/tables/main.csv

The CSV is tidy, a row a (env, arm and its setting, protocol); the .md beside it is for reading. The cumulative reward
is the paper's: the sum over the plotted iterations of the evaluation's return, the LLM's mean return standing for the
warm-up. A policy that does not learn earns its mean return in each iteration.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

import envs
from analysis.measures import STEPS_AFTER, SUM, UPDATES_AFTER, Pair
from analysis.plotting import unlike_returns
from analysis.runs import POLICIES, PROTOCOLS, Run, common_iterations, read_run, too_few_seeds
from analysis.statistics import bootstrap_interval, interquartile_mean
from analysis.wording import (
    COVERS_A_DIFFERENCE,
    COVERS_A_MEAN,
    Write,
    estimate,
    number,
    short,
    table_lines,
    with_interval,
)
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

ARMS = {
    "online": "online RL",
    "loro": "LORO",
    "loro-discard": "LORO, offline data thrown away",
    "mix": "mix",
    "pretrain-on-policy": "pretrained on the learner's own episodes",
    "pretrain-random": "pretrained on random episodes",
    "ppo": "PPO",
    "ppo-bc": "PPO after behaviour cloning",
    "llm-policy": "the LLM as the policy",
    "random-policy": "random policy",
}
DIFFERENCES = {"difference": SUM, "after_at_equal_steps": STEPS_AFTER, "after_at_equal_updates": UPDATES_AFTER}
"""The columns of differences from the baseline, and what they measure."""
BASELINES = {"ppo-bc": "ppo"}
"""What an arm is compared with: the same learner without an LLM. Where not said here, online RL."""
INTRODUCTION = f"""\
# {{title}}

Cumulative reward: the sum over the plotted iterations of the evaluation's return. Mean [95% bootstrap interval over
seeds] (number of seeds). Where one network is passed on from repeat to repeat, the interval is over such chains,
because their repeats are not independent: only the first starts from a freshly pretrained network. Published: the
authors' five repeats; their LORO is one such chain. Policies that do not learn: mean return times iterations. Bootstrap
intervals over few seeds are too narrow: meant to cover 95%, they cover {COVERS_A_MEAN},
and {COVERS_A_DIFFERENCE}.
"""
PAYS = """\
Each arm minus online RL under the same protocol, PPO after behaviour cloning minus PPO from scratch; independent seeds;
in bold where the interval excludes 0. First the paper's measure, in which an LLM's episode of seven steps weighs as
much as 200 steps of the learner. Then the return per evaluation without the warm-up: at equal environment steps with
the LLM's own counted, which is how much better an agent is for the same experience, offline updates not counted; and at
equal updates, the offline ones counted, with whatever number of steps they took (not known for PPO, whose updates are
of another kind). P(arm > other): the share of pairs of seeds in which the arm's sum is higher, ties counting half.
"""


@dataclass
class Args:
    """Write the main table."""

    runs: tuple[Path, ...]
    """the run files: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the CSV to write; the .md goes beside it"""
    arms: tuple[str, ...] = tuple(ARMS)
    """the arms to name where they have no runs"""
    title: str = "Cumulative rewards"
    """the heading of the page"""


def row_of(run: Run, baseline: Run | None, iterations: int) -> dict[str, object]:
    """Return the tidy row of one run over `iterations`, and how it compares with `baseline`, if that is given."""
    values = run.curves()[:, :iterations].sum(axis=1)
    first = run.first_repeats()[:, :iterations].sum(axis=1)
    if run.arm in POLICIES:
        values = first = np.array([run.mean_return() * iterations])
    low, high = bootstrap_interval(values)
    iqm_low, iqm_high = bootstrap_interval(values, interquartile_mean)
    row = {
        "env": run.env,
        "arm": run.arm,
        "llm": run.llm,
        "tau": run.tau,
        "pretrain_steps": run.pretrain_steps,
        "protocol": run.protocol,
        "iterations": iterations if run.arm in POLICIES else min(iterations, run.iterations),
        "seeds": len(values),
        "repeats": int(run.table.repeat.nunique()),
        "episodes": run.iterations if run.arm in POLICIES else None,
        "longest_episode": run.table.eval_length.max() if run.arm in POLICIES else None,
        "mean": float(np.mean(values)),
        "low": float(low),
        "high": float(high),
        "iqm": float(interquartile_mean(values)),
        "iqm_low": float(iqm_low),
        "iqm_high": float(iqm_high),
        "first_repeat": float(np.mean(first)),
    }
    names = [f"{name}{part}" for name in DIFFERENCES for part in ("", "_low", "_high")]
    if baseline is None:
        return row | dict.fromkeys(["baseline", "improvement", *names])
    pair = Pair(run.env, run, baseline)
    numbers = [value for measure in DIFFERENCES.values() for value in pair.difference(measure)]
    compared = {"baseline": baseline.arm, "improvement": pair.improvement()}
    return row | compared | dict(zip(names, numbers, strict=True))


def tidy(runs: list[Run]) -> list[dict[str, object]]:
    """Return the rows of the table, in the order of environments, arms, settings and protocols."""
    order = {name: index for index, name in enumerate([*envs.ENVIRONMENTS, *ARMS, *PROTOCOLS])}
    runs = sorted(runs, key=lambda r: (order[r.env], order.get(r.arm, 99), r.arm, r.details, order[r.protocol]))
    for previous, run in pairwise(runs):
        names = [(r.env, r.arm, r.details, r.protocol) for r in (previous, run)]
        if names[0] == names[1]:
            raise UsageError(f"{previous.path} and {run.path} are the same run twice: give one.")
    rows = []
    for run in runs:
        wanted = (run.env, run.protocol, BASELINES.get(run.arm, "online"))
        baseline = next((r for r in runs if (r.env, r.protocol, r.arm) == wanted), None)
        # the published LORO is one chain, and its spread no sample to compare; our verdict rests on our own runs
        compared = run.arm not in ("online", *POLICIES) and run.protocol != "published"
        rows.append(row_of(run, baseline if compared else None, common_iterations(runs, run.env)))
    return rows


def cell(row: dict | None) -> str:
    """Format one row of the tidy table as a cell: mean, interval, and how many runs are behind it."""
    if row is None:
        return ""
    if row["arm"] in POLICIES:
        return f"{number(row['mean'])} ({row['episodes']} episodes)"
    chains = f"{row['seeds']} {'chain' if row['seeds'] == 1 else 'chains'} of {row['repeats']} repeats"
    count = chains if row["repeats"] > 1 else f"n={row['seeds']}"
    return f"{with_interval(row['mean'], row['low'], row['high'])} ({count})"


def title_of(row: dict) -> str:
    """Name a row's arm and setting."""
    tau, steps = row["tau"], row["pretrain_steps"]
    details = [row["llm"], tau and f"τ={tau}", steps and f"N={steps}"]
    known = ", ".join(detail for detail in details if detail)
    title = ARMS.get(row["arm"], row["arm"])
    return f"{title} ({known})" if known else title


def settings(rows: list[dict], known: tuple[str, ...]) -> dict[str, dict[str, dict]]:
    """Group one environment's rows: by arm with its setting, then by protocol; known arms without runs are empty."""
    groups: dict[str, dict[str, dict]] = {}
    for arm in dict.fromkeys([*known, *(row["arm"] for row in rows)]):
        found = [row for row in rows if row["arm"] == arm]
        for row in found:
            groups.setdefault(title_of(row), {})[row["protocol"]] = row
        if not found:
            groups[ARMS.get(arm, arm)] = {}
    return groups


def comparison(env: str, title: str, row: dict) -> list[str]:
    """Return the cells of the row that answers whether an arm's LLM data paid in `env`."""
    protocol = "" if row["protocol"] == "paper" else f", {row['protocol']} protocol"
    against = "" if row["baseline"] == "online" else f", against {ARMS[row['baseline']]}"
    sums, *after = (bold(row, name, write) for name, write in zip(DIFFERENCES, (number, short, short), strict=True))
    return [envs.get(env).title, title + against + protocol, sums, f"{row['improvement']:.2f}", *after]


def bold(row: dict, name: str, write: Write) -> str:
    """Write a difference with its interval, in bold where the interval excludes 0."""
    text = estimate(row, name, write)
    return f"**{text}**" if row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0 else text


def notes(env: str, groups: dict[str, dict[str, dict]], unlike: list[str]) -> list[str]:
    """Return what a reader must know of the environment's numbers: cells without runs, sums that do not compare."""
    lines = []
    missing = [title for title, cells in groups.items() if "paper" not in cells]
    missing += [
        f"{title}, released protocol"
        for title, cells in groups.items()
        if title.split(" (")[0] == ARMS["loro"] and "released" not in cells
    ]
    if missing:
        lines.append(f"- {env}: no runs yet of {'; '.join(missing)}.")
    for title, cells in groups.items():
        for protocol, row in cells.items():
            few = too_few_seeds(protocol, row["seeds"], row["repeats"])
            if row["arm"] not in POLICIES and few:
                lines.append(f"- {env}, {protocol} protocol: {title} has {few}.")
    rows = [row for cells in groups.values() for row in cells.values()]
    iterations = max((row["iterations"] for row in rows), default=0)
    if iterations != envs.get(env).iterations:
        lines.append(f"- {env}: summed over {iterations} iterations, not the paper's {envs.get(env).iterations}.")
    return [*lines, *(f"- {env}, {note}: these returns, in warm-ups too, do not compare." for note in unlike)]


def markdown(runs: list[Run], rows: list[dict[str, object]], args: Args) -> str:
    """Return the table for reading, with what it still lacks of the arms to name below it."""
    environments = {env: settings([row for row in rows if row["env"] == env], args.arms) for env in envs.ENVIRONMENTS}
    environments = {env: groups for env, groups in environments.items() if any(groups.values())}
    sums, answers, remarks = [], [], []
    for env, groups in environments.items():
        for title, cells in groups.items():
            shown = []
            for protocol in ("published", "released"):
                row = cells.get(protocol)
                shown += [cell(row), number(row["first_repeat"]) if row and row["repeats"] > 1 else ""]
            shown.append(cell(cells.get("paper")))
            sums.append([envs.get(env).title, title, *shown])
            answers += [comparison(env, title, row) for row in cells.values() if row["difference"] is not None]
        remarks += notes(env, groups, unlike_returns(env, [run for run in runs if run.env == env]))
    head = ["environment", "arm", "published", "published, first repeat", "released protocol", "released, first repeat"]
    lines = [INTRODUCTION.format(title=args.title), *table_lines([*head, "paper protocol"], sums)]
    if answers:
        lines += ["", "## Does the warm start pay?", "", PAYS]
        head = ["environment", "arm", "sum over iterations [95% interval]", "P(arm > other)"]
        after = [f"after the warm-up, at equal {over}" for over in ("steps", "updates")]
        lines += table_lines([*head, *after], answers)
    if remarks:
        lines += ["", "## Read with care", "", *remarks]
    lines += ["", "Which sums of different protocols do not compare: `results/README.md`, its last section."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table as CSV and Markdown."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".csv"))
    if not args.runs:
        raise UsageError("There are no runs to put into a table.")
    runs = [read_run(path) for path in args.runs]
    rows = tidy(runs)
    table = pd.DataFrame(rows).astype(dict.fromkeys(("tau", "pretrain_steps", "episodes", "longest_episode"), "Int64"))
    write_text(args.output.with_suffix(".csv"), table.to_csv(index=False, float_format="%.8g"))
    write_text(args.output.with_suffix(".md"), markdown(runs, rows, args))


if __name__ == "__main__":
    run_command_line(main)
