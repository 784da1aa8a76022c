"""Every cell's score, over both axes; scores across environments; the probability that one arm beats another.

    python -m analysis.scores --runs results/runs/{paper,released,published}/*/*.csv --output results/tables/scores.csv

A cell is one arm in one environment under one protocol. Its score is the cumulative reward of each seed, along two
axes:

- `iterations`, the paper's: the sum of the evaluations, the LLM's mean return standing for each warm-up episode.
- `steps`: the same evaluation curve over environment steps, the LLM's own counted, which `analysis.main_figure --over
  steps` draws, up to the largest number of steps that all arms compared have taken. Each evaluation stands for the
  steps since the one before, and the sum is in units of an iteration's 200 steps, so that an arm whose iterations all
  take 200 steps has the same score on both axes. An LLM's episode of 7 steps then counts 7 steps, not 200.

A normalised score is the mean return along the axis on a scale from 0, random play, to 1, an expert (SCALES). Across
environments the seeds are resampled within each environment (stratified bootstrap), every environment counts alike, and
only environments in which all arms compared have runs are counted. The CSV is long, one number a row; the .md is for
reading, and ends with what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

import envs
from analysis.arms import read_name
from analysis.fidelity import released_run
from analysis.figure_lines import figures_of, runs_of
from analysis.main_table import ARMS, title_of
from analysis.measures import AXES, common_extent, cumulative, length, measurable
from analysis.runs import FEWEST, POLICIES, PROTOCOLS, Run, environments_about, read_runs, too_few_seeds
from analysis.scales import SCALES
from analysis.statistics import (
    bootstrap_interval,
    interquartile_mean,
    mean_improvement,
    mean_of_means,
    pooled_interquartile_mean,
    stratified_interval,
)
from analysis.wording import fixed, number, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

NOT_ACROSS = {"paper": ("represented-pong",)}
"""Left out of means over environments, as in config/claims.yaml: the LLM's episodes there are of another game."""
RELEASED = ("online", "loro", "mix", "pretrain-on-policy", "pretrain-random")
"""The arms that the authors' code has."""

INTRODUCTION = """\
# Scores, over iterations and over environment steps

Cumulative reward: mean and interquartile mean over seeds [95% bootstrap interval]; n is the number of seeds, or
`chains x repeats` where one network is handed from repeat to repeat (intervals are over chains). Of policies that do
not learn, n counts episodes. Over iterations: the paper's sum. Over steps: the same evaluation curve over environment
steps, the LLM's own counted, up to the largest number that all arms of the environment have taken, in units of 200
steps. Normalised: the mean return, 0 random play, 1 an expert. Intervals over few seeds are too narrow; one seed has
none.
"""
ACROSS = """\
## Across environments

Normalised scores over the environments in which all arms compared have runs, each counting alike. IQM: of the seeds of
all environments together. [95% stratified bootstrap interval: seeds are resampled within environments]; none where an
arm has a single seed (chain) in one of them.
"""
IMPROVEMENT = """\
## Probability of improvement

The share of pairs of seeds in which the first arm has the higher cumulative reward, ties counting half [95% bootstrap
interval]; 0.5 is no difference. An interval that is a point at 1 or 0 says that the seeds at hand do not overlap, not
that it is certain. It says nothing of how much better. Cells with a single seed are not compared.
"""
CARE = """\
## Read with care

- An LLM's episodes that were cut off early (Pendulum after 50 steps; MountainCar, 32B, after 100) have returns that
  look better than they are; they stand in the warm-up of LORO and mix and are the whole score of the LLM as the policy.
- Pong's constants are of a whole game, as the published and released evaluations are; under `paper` an evaluation ends
  after 200 steps, so that scores of the two protocols are not on the same footing. Under `paper` Pong is left out
  across environments, as in claims.md: the LLM's episodes there are of another game.
"""


@dataclass
class Args:
    """Write every cell's score, the scores across environments and the probabilities of improvement."""

    runs: tuple[Path, ...]
    """the run files: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the CSV to write; the .md goes beside it"""
    loro: str = "loro_qwen-7b_tau10_n3000"
    """the run of LORO that is compared across environments"""
    mix: str = "mix_qwen-7b_tau10"
    """the run of mix that is compared across environments"""
    also: tuple[str, ...] = ()
    """further runs to compare: counted are then the environments that have these too"""


Runs = dict[tuple[str, str, str], Run]
"""By protocol, environment and name."""


def normalised(env: str, rewards: np.ndarray | float, extent: float, over: str) -> np.ndarray | float:
    """Return cumulative rewards on the scale from random play to the expert."""
    scale = SCALES[env]
    return (rewards / length(extent, over) - scale.random) / scale.width


# --- Rows ------------------------------------------------------------------------------------------------------------


def cell_rows(run: Run, extent: float, over: str) -> Iterator[dict[str, object]]:
    """Yield the rows of one cell along one axis: mean, interquartile mean, and the mean normalised."""
    rewards = cumulative(run, extent, over)
    row = {
        "protocol": run.protocol,
        "env": run.env,
        "arm": run.path.stem,
        "over": over,
        "extent": extent,
        "seeds": len(rewards),
        "repeats": int(run.table.repeat.nunique()),
    }
    mean, bounds = float(rewards.mean()), bootstrap_interval(rewards)
    yield row | figures("mean", mean, *bounds)
    yield row | figures("iqm", interquartile_mean(rewards), *bootstrap_interval(rewards, interquartile_mean))
    scaled = (normalised(run.env, float(value), extent, over) for value in (mean, *bounds))
    yield row | figures("normalised mean", *scaled)


def figures(score: str, value: float, low: float, high: float) -> dict[str, object]:
    """Return the columns that hold one number and its interval."""
    return {"score": score, "value": float(value), "low": float(low), "high": float(high)}


def shared_environments(runs: Runs, protocol: str, arms: list[str], over: str) -> list[str]:
    """Return the environments in which all of `arms` have a run under `protocol` that tells its score."""
    return [
        env
        for env in envs.ENVIRONMENTS
        if arms and all((protocol, env, arm) in runs and measurable(runs[protocol, env, arm], over) for arm in arms)
    ]


def compared_arms(runs: Runs, protocol: str, arms: list[str]) -> list[str]:
    """Return those of `arms` that have a run under `protocol` anywhere."""
    return [arm for arm in arms if any((protocol, env, arm) in runs for env in envs.ENVIRONMENTS)]


def aggregate_rows(runs: Runs, protocol: str, arms: list[str], over: str) -> Iterator[dict[str, object]]:
    """Yield mean and IQM of the normalised scores of each arm over the environments that all of them have."""
    shared = [env for env in shared_environments(runs, protocol, arms, over) if env not in NOT_ACROSS.get(protocol, ())]
    extents = {env: common_extent([runs[protocol, env, arm] for arm in arms], over) for env in shared}
    for arm in arms if shared else []:
        strata = [
            normalised(env, cumulative(runs[protocol, env, arm], extents[env], over), extents[env], over)
            for env in shared
        ]
        row = {"protocol": protocol, "env": "all", "arm": arm, "over": over, "environments": " ".join(shared)}
        row["seeds"] = " ".join(str(len(stratum)) for stratum in strata)
        for score, statistic in (("normalised mean", mean_of_means), ("normalised iqm", pooled_interquartile_mean)):
            yield row | figures(score, statistic(*strata), *stratified_interval(strata, statistic))


def improvement_rows(runs: Runs, protocol: str, arm: str, against: str, over: str) -> Iterator[dict[str, object]]:
    """Yield the probability that a seed of `arm` beats one of `against`: in each environment, and the mean over them.

    Environments in which either has a single seed (the published LORO is one chain) are left out.
    """
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    row = {"protocol": protocol, "arm": arm, "against": against, "over": over}
    for env in shared_environments(runs, protocol, [arm, against], over):
        both = [runs[protocol, env, name] for name in (arm, against)]
        extent = common_extent(both, over)
        samples = tuple(cumulative(run, extent, over) for run in both)
        if min(map(len, samples)) < 2:
            continue
        pairs[env] = samples
        seeds = {"seeds": len(samples[0]), "against_seeds": len(samples[1])}
        bounds = stratified_interval(list(samples), mean_improvement)
        yield row | {"env": env, "extent": extent} | seeds | figures("improvement", mean_improvement(*samples), *bounds)
    pairs = {env: samples for env, samples in pairs.items() if env not in NOT_ACROSS.get(protocol, ())}
    if pairs:
        strata = [sample for samples in pairs.values() for sample in samples]
        bounds = stratified_interval(strata, mean_improvement)
        seeds = {"seeds": " ".join(str(len(a)) for a, _ in pairs.values())}
        seeds["against_seeds"] = " ".join(str(len(b)) for _, b in pairs.values())
        row |= {"env": "all", "environments": " ".join(pairs)} | seeds
        yield row | figures("improvement", mean_improvement(*strata), *bounds)


def tidy(runs: Runs, arms: list[str]) -> pd.DataFrame:
    """Return all rows: cells in the order of environments, arms and protocols, then what is across environments."""
    rows: list[dict[str, object]] = []
    place = {name: index for index, name in enumerate([*ARMS, *PROTOCOLS])}
    for env, over in product(envs.ENVIRONMENTS, AXES):
        here = [run for run in runs.values() if run.env == env and measurable(run, over)]
        trained = [run for run in here if run.protocol != "published"] or here
        for run in sorted(here, key=lambda r: (place.get(r.arm, 99), r.path.stem, place[r.protocol])):
            rows += cell_rows(run, common_extent(trained, over), over)
    for protocol, over in product(PROTOCOLS, AXES):
        rows += aggregate_rows(runs, protocol, compared_arms(runs, protocol, arms), over)
        for arm, against in compared_pairs(arms):
            rows += improvement_rows(runs, protocol, arm, against, over)
    columns = ["protocol", "env", "environments", "arm", "against", "over", "extent", "seeds", "against_seeds"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "repeats", "score", "value", "low", "high"])


def compared_pairs(arms: list[str]) -> list[tuple[str, str]]:
    """Return who is compared with whom: LORO with online RL and mix, all others with online RL."""
    online, loro, mix, *others = arms
    return [(loro, online), (mix, online), (loro, mix), *((other, online) for other in others)]


# --- For reading -----------------------------------------------------------------------------------------------------


def title(name: str) -> str:
    """Name a run for reading."""
    return title_of(vars(read_name(name)))


def cell_lines(table: pd.DataFrame) -> list[str]:
    """Return the table of the cells: both axes beside each other."""
    head = ["environment", "arm", "protocol", "n"]
    head += [f"{score}, {over}" for over in AXES for score in ("mean", "IQM", "normalised")]
    shown_rows = []
    cells = table[(table.env != "all") & (table.score != "improvement")]
    for (env, arm, protocol), rows in cells.groupby(["env", "arm", "protocol"], sort=False):
        count = str(rows.seeds.iloc[0])
        if rows.repeats.iloc[0] > 1:
            count += f" x {int(rows.repeats.iloc[0])}"
        shown = [envs.get(env).title, title(arm), protocol, count]
        for over, score in product(AXES, ("mean", "iqm", "normalised mean")):
            found = rows[(rows.over == over) & (rows.score == score)]
            if found.empty:
                shown.append("")
                continue
            value, low, high = found[["value", "low", "high"]].iloc[0]
            shown.append(with_interval(value, low, high, fixed(2) if score == "normalised mean" else number))
        shown_rows.append(shown)
    return table_lines(head, shown_rows)


def extent_lines(table: pd.DataFrame) -> list[str]:
    """Say for each environment how far the two sums of its cells go, and what its scale is."""
    lines = []
    cells = table[(table.env != "all") & (table.score == "mean")]
    for env, rows in cells.groupby("env", sort=False):
        extents = rows.groupby("over").extent.first()
        ends = [f"{extents[over]:,.0f} {over}" for over in AXES if over in extents]
        scale = SCALES[env]
        levels = f"0 is {scale.random:g}, 1 is {scale.expert:g} ({scale.source})".replace("is -", "is −")
        lines.append(f"- {envs.get(env).title}: up to {' and '.join(ends)}. Normalised: {levels}.")
    return lines


def aggregate_lines(table: pd.DataFrame) -> list[str]:
    """Return the table across environments, a line for each protocol, axis and arm."""
    lines, shown = [], environments_about(table.env)
    rows = table[(table.env == "all") & (table.score != "improvement")]
    for (protocol, over, arm), found in rows.groupby(["protocol", "over", "arm"], sort=False):
        scores = [
            with_interval(*found[found.score == f"normalised {s}"][["value", "low", "high"]].iloc[0], fixed(2))
            for s in ("mean", "iqm")
        ]
        counted = f"{len(found.environments.iloc[0].split())} of {len(shown)}"
        lines.append([protocol, over, title(arm), counted, *scores])
    return table_lines(["protocol", "over", "arm", "environments", "mean", "IQM"], lines)


def improvement_lines(table: pd.DataFrame) -> list[str]:
    """Return the table of probabilities of improvement: environments across."""
    rows = table[table.score == "improvement"]
    shown = environments_about(table.env)
    names, titles = [*shown, "all"], [*(envs.get(env).title for env in shown), "mean over them"]
    lines = []
    for (protocol, over, arm, against), found in rows.groupby(["protocol", "over", "arm", "against"], sort=False):
        cells = []
        for env in names:
            one = found[found.env == env]
            cells.append("" if one.empty else with_interval(*one[["value", "low", "high"]].iloc[0], fixed(2)))
        lines.append([protocol, over, f"{title(arm)} > {title(against)}", *cells])
    return table_lines(["protocol", "over", "arm > other", *titles], lines)


def absent_runs(runs: Runs, protocol: str, env: str, arms: list[str]) -> list[str]:
    """Return which runs that the paper's figures and the comparisons need are not there."""
    wanted = dict.fromkeys([*arms, *(run for kind in figures_of(env) for run in runs_of(kind, env))])
    if protocol == "released":  # where a run of `paper` may stand for one, it does
        return [name for name in wanted if read_name(name).arm in RELEASED and released_run(runs, env, name) is None]
    return [name for name in wanted if (protocol, env, name) not in runs]


def missing_lines(runs: Runs, arms: list[str]) -> list[str]:
    """Say what is not there: cells, seeds, and environments that the comparisons had to leave out."""
    lines, shown = [], environments_about(env for _, env, _ in runs)
    for protocol, env in product(FEWEST, shown):
        if absent := absent_runs(runs, protocol, env, arms):
            lines.append(f"- {envs.get(env).title}, {protocol}: no runs yet of {', '.join(absent)}.")
    for (protocol, env, name), run in runs.items():
        few = too_few_seeds(protocol, run.table.seed.nunique(), run.table.repeat.nunique())
        if run.arm not in POLICIES and few:
            lines.append(f"- {envs.get(env).title}, {protocol}: {name} has {few}.")
    for protocol, over in product(PROTOCOLS, AXES):
        compared = compared_arms(runs, protocol, arms)
        shared = shared_environments(runs, protocol, compared, over)
        names = ", ".join(envs.get(env).title for env in shown if env not in shared)
        where = f"- Across environments, {protocol}, over {over}:"
        if protocol == "published" and over == "steps":
            lines.append(f"{where} nothing, for the authors' curves do not tell their steps.")
        elif compared and names:
            lines.append(f"{where} without {names}, where not all arms compared have runs.")
        absent = ", ".join(arm for arm in arms if arm not in compared)
        if absent:
            lines.append(f"{where} no runs of {absent} to compare.")
    return lines


def markdown(table: pd.DataFrame, runs: Runs, arms: list[str]) -> str:
    """Return the tables for reading."""
    lines = [INTRODUCTION, *extent_lines(table), "", *cell_lines(table)]
    lines += ["", ACROSS, *aggregate_lines(table), "", IMPROVEMENT, *improvement_lines(table), "", CARE.rstrip()]
    missing = missing_lines(runs, arms)
    return "\n".join([*lines, *(["", "## Missing", "", *missing] if missing else [])]) + "\n"


def main() -> None:
    """Write the tables."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".csv"))
    runs = read_runs(args.runs)
    if not runs:
        raise UsageError("There are no runs to put into a table.")
    arms = list(dict.fromkeys(["online", args.loro, args.mix, *args.also]))
    if len(arms) < 3:
        raise UsageError(f"--loro {args.loro} and --mix {args.mix} must be two arms, neither of them online.")
    table = tidy(runs, arms)
    csv = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    write_text(args.output.with_suffix(".csv"), csv)
    write_text(args.output.with_suffix(".md"), markdown(table, runs, arms))
    print(f"{args.output}: {len(runs)} cells.")


if __name__ == "__main__":
    run_command_line(main)
