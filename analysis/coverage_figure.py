"""What the LLM's data contains of what final policies do, for reading, and against what a warm start gained.

    python -m analysis.coverage_figure --measured results/coverage.csv --runs results/runs/paper/*/*.csv \\
        --output paper_figs/coverage.pdf --table results/tables/coverage.csv

`analysis.coverage` measures; this draws what warm starts gained over online RL (analysis/gains.py) over the share of
their own final policy's visits that their data contains, and over that of the optimal policy's, where it is known: a
policy learnt from data tends to stay where the data is, even a bad one. The table has what online RL's policy visits
too. What was measured of another run than the one given is left out, and named. The first 20 episodes of an LLM contain
its first ten: a dataset is one point of the figure, with `--tau`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import tyro

import envs
from analysis.bins import GRIDS, Dimension
from analysis.correlation import CORRELATION, correlation_text
from analysis.coverage import FROM_DATA, MEASURED, OPTIMAL, read_measured
from analysis.gains import Baseline, baseline_of, by_name, repeated_runs
from analysis.gains import row_of as gain_row
from analysis.main_table import ARMS, title_of
from analysis.plotting import STYLE, save_figure
from analysis.runs import Run, common_iterations, environments_about, read_run
from analysis.scatter import draw_points
from analysis.wording import estimate, fixed, short, table_lines
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, sha256, write_text

FREE = ("online", OPTIMAL)
"""The policies that owe nothing to any data."""
COVERAGE = ("coverage", "coverage_low", "coverage_high")
GAIN = ("gain_share", "gain_share_low", "gain_share_high")


@dataclass
class Args:
    """Draw what the data covers of final policies against the gain, and write the numbers."""

    measured: Path
    """the CSV that analysis.coverage wrote"""
    runs: tuple[Path, ...]
    """the run files .../paper/<env>/<arm>.csv: online RL, warm starts and the random policy; others are ignored"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    tau: int | None = None
    """draw and correlate only warm starts from this number of LLM episodes; the table has them all"""


@dataclass
class WarmStart:
    """A run that learnt from an LLM's episodes, and what it gained."""

    run: Run
    gain: dict[str, float]
    """its gain over online RL, on its environment's scale, with its interval; NaN where that is not known"""
    same_run_as: str | None
    """the LLM whose run is this one, number by number; None where it is the first"""


def warm_starts(named: dict[tuple[str, str, str], Run]) -> dict[tuple[str, str, str], WarmStart]:
    """Return the warm starts among the runs given, by the same names."""
    found, repeated = {}, repeated_runs(named.values())
    for env in dict.fromkeys(run.env for run in named.values()):
        online, random = named.get((env, "online", "")), named.get((env, "random-policy", ""))
        baseline = baseline_of(online, random) if online else None
        for name, run in named.items():
            if run.env == env and run.arm in FROM_DATA:
                same = repeated.get(name)
                found[name] = WarmStart(run, gain_of(run, baseline), same.llm if same else None)
    return found


def gain_of(run: Run, baseline: Baseline | None) -> dict[str, float]:
    """Return a warm start's gain and its interval; NaN without online RL."""
    if baseline is None:
        return dict.fromkeys(GAIN, math.nan)
    common_iterations([baseline.online, run], run.env)
    row = gain_row(run, baseline, None)
    return {key: row[key] for key in GAIN}


# --- The table -------------------------------------------------------------------------------------------------------


def tidy(
    named: dict[tuple[str, str, str], Run], warm: dict[tuple[str, str, str], WarmStart], measured: pd.DataFrame
) -> tuple[list[dict[str, object]], list[str]]:
    """Return the rows of the runs given, with what they gained, and in words what is missing."""
    rows, missing = [], []
    for env in environments_about(run.env for run in named.values()):
        title, here = envs.get(env).title, measured[measured.env == env]
        runs = [run for run in named.values() if run.env == env and run.arm in MEASURED]
        if not runs or here.empty:
            missing.append(f"{title}: no {'final policies' if runs else 'runs'}.")
            continue
        if lacking := [arm for arm in ("online", "random-policy") if (env, arm, "") not in named]:
            missing.append(f"{title}: no gain without the runs of {', '.join(lacking)}.")
        runs.sort(key=lambda run: (MEASURED.index(run.arm), run.path.stem))
        stale = [run for run in runs if (here[here.policy == run.path.stem].run_sha256 != sha256(run.path)).any()]
        unmeasured = [run for run in runs if run.path.stem not in set(here.policy)]
        for those, why in ((unmeasured, "no final policies of"), (stale, "other runs were measured than these:")):
            if those:
                missing.append(f"{title}: {why} {', '.join(run.path.stem for run in those)}.")
        policies = [None] if OPTIMAL in set(here.policy) else []
        for run in [*policies, *(run for run in runs if run not in unmeasured + stale)]:
            name = run.path.stem if run else OPTIMAL
            found = here[here.policy == name]
            if name in FREE and (lacking := sorted(measured_on(here, FREE) - measured_on(here, [name]))):
                those = ", ".join(f"{data} ({episodes} episodes)" for data, episodes in lacking)
                missing.append(f"{title}: {name} was not measured on {those}.")
            rows += [row_of(row, run, warm) for row in found.to_dict("records")]
    return rows, missing


def measured_on(table: pd.DataFrame, policies: Iterable[str]) -> set[tuple[str, int]]:
    """Return on which data, and how many episodes of it, any of some policies was measured."""
    return set(table[table.policy.isin(policies)][["data", "episodes"]].itertuples(index=False, name=None))


def row_of(measured: dict, run: Run | None, warm: dict[tuple[str, str, str], WarmStart]) -> dict[str, object]:
    """Return a row of the table: whose policy it is, what was measured, and on a warm start's own data its gain."""
    own = run is not None and run.llm == measured["data"]
    start = warm.get((run.env, run.arm, run.details)) if run else None
    described = {"env": measured["env"], "policy": measured["policy"], "arm": run.arm if run else OPTIMAL}
    described |= {name: getattr(run, name, None) for name in ("llm", "tau", "pretrain_steps")}
    described |= {"data": measured["data"], "own_data": own, "same_run_as": start.same_run_as if start else None}
    return described | measured | (start.gain if own else dict.fromkeys(GAIN, math.nan))


# --- For reading -----------------------------------------------------------------------------------------------------

INTRODUCTION = """\
# What the LLM's data contains of what the final policy does

Coverage: the share of the final greedy policy's visits whose state-action pair is among the data's first episodes, as
many as a warm start began with; unweighted: the share of the distinct pairs that it visits. Means over agents [95%
bootstrap interval]. Transfer coefficient: the largest d_final(s, a) / d_data(s, a), median over agents; infinite for an
agent that visits a pair which the data misses. In parentheses the same over the pairs that the data contains.

Exact in FrozenLake and CliffWalking. Elsewhere sampled, with states in bins, which flatter: two states in one bin count
as one. Coverage with half and with twice as many bins a dimension is beside it. A coefficient over bins is the noisier
the rarer the pair. Bins, equal in width, with what lies outside in the outermost ones:
"""
CARE = """\
- A policy that was learnt from data tends to stay where the data is, whether it is good or bad: high coverage by a warm
  start's own final policy is no sign of quality. What online RL's policy visits owes nothing to the data.
- Coverage says that a pair was seen, not that enough of what follows it was, nor that the learner made use of it.
- LLMs that played the same first τ episodes have the same runs: one point in the figure and in the correlation.
"""


def bins_lines() -> list[str]:
    """Return how each environment's states are cut."""
    lines = []
    for env, grid in GRIDS.items():
        cuts = [f"{d.name} {d.low:g} to {d.high:g} in {d.bins}" for d in grid.dimensions]
        if isinstance(grid.action, Dimension):
            cuts.append(f"{grid.action.name} {grid.action.low:g} to {grid.action.high:g} in {grid.action.bins}")
        lines.append(f"- {envs.get(env).title}: {'; '.join(cuts)}.")
    return lines


def coefficient_text(row: dict) -> str:
    """Format a transfer coefficient: infinite for how many agents, and over the pairs that are there."""
    covered = "" if math.isnan(row["coefficient_covered"]) else f"{row['coefficient_covered']:,.1f}"
    if not row["infinite"]:
        return covered
    infinite = "∞" if row["seeds"] == 1 else f"∞ for {row['infinite']} of {row['seeds']}"
    return f"{infinite} ({covered})" if covered else infinite


def cells(row: dict) -> list[str]:
    """Return the cells that every line ends with."""
    return [
        f"{row['pairs_in_data']} of {row['visits_in_data']:,}",
        str(row["seeds"]),
        estimate(row, "coverage", fixed(2)),
        estimate(row, "coverage_unweighted", fixed(2)),
        ", ".join(filter(None, (estimate(row, f"coverage_{bins}_bins", fixed(2)) for bins in ("half", "double")))),
        coefficient_text(row),
    ]


def name_of(row: dict) -> str:
    """Name a row's policy."""
    return "the optimal policy" if row["arm"] == OPTIMAL else title_of(row)


def markdown(rows: list[dict], missing: list[str], starts: Iterable[WarmStart], tau: int | None) -> str:
    """Return the tables for reading: warm starts and their own data, then policies that owe nothing to the data."""
    head = ["pairs in the data", "agents", "coverage", "unweighted", "half, twice the bins", "transfer coefficient"]
    lines = [INTRODUCTION, *bins_lines(), "", "## Warm starts and the data that they began with", ""]
    warm, other = [], []
    for row in (row for row in rows if row["own_data"]):
        same = f", the same run as {row['same_run_as']}'s" if row["same_run_as"] else ""
        warm.append([envs.get(row["env"]).title, name_of(row) + same, *cells(row), estimate(row, "gain_share", short)])
    lines += table_lines(["environment", "arm", *head, "gain, share"], warm)
    episodes = f" of warm starts from {tau} episodes" if tau else ""
    for arm in FROM_DATA:
        if text := correlation_text(points(rows, arm, tau)):
            lines += ["", f"{ARMS[arm]}, coverage and gain{episodes}: {text}."]
        if text := correlation_text(by_optimal_policy(rows, starts, arm, tau)):
            lines += ["", f"{ARMS[arm]}, the optimal policy's coverage and gain{episodes}: {text}."]
    lines += ["", CORRELATION]
    lines += ["", "## Policies that owe nothing to the data", ""]
    for row in (row for row in rows if row["llm"] is None):
        first = [
            envs.get(row["env"]).title,
            name_of(row),
            short(row["final_return"]),
            row["data"],
            str(row["episodes"]),
        ]
        other.append([*first, *cells(row)])
    lines += table_lines(["environment", "policy", "its return", "data", "episodes", *head], other)
    lines += ["", "## Read with care", "", CARE.rstrip()]
    lines += ["", "## Missing", "", "Warm starts that were not trained are named in data_quality.md.", ""]
    lines += [f"- {line}" for line in missing]
    return "\n".join(lines) + "\n"


# --- The figure ------------------------------------------------------------------------------------------------------


def points(rows: list[dict], arm: str, tau: int | None) -> list[dict]:
    """Return one arm's points; their coverage is what is correlated with the gain."""
    return [
        row | {"quality": row["coverage"], "per_step": False}
        for row in rows
        if row["own_data"] and row["arm"] == arm and tau in (None, row["tau"])
        if math.isfinite(row["gain_share"]) and not row["same_run_as"]
    ]


def by_optimal_policy(rows: list[dict], starts: Iterable[WarmStart], arm: str, tau: int | None) -> list[dict]:
    """Return one arm's gains over how much of the optimal policy its data contains, where that policy is known.

    The optimal policy owes nothing to the data, and its coverage asks for no final policy of the warm start.
    """
    covered = {(row["env"], row["data"], row["episodes"]): row["coverage"] for row in rows if row["arm"] == OPTIMAL}
    found = []
    for start in starts:
        run, coverage = start.run, covered.get((start.run.env, start.run.llm, start.run.tau))
        if run.arm != arm or tau not in (None, run.tau) or coverage is None or start.same_run_as:
            continue
        point = {"env": run.env, "llm": run.llm, "pretrain_steps": run.pretrain_steps, "per_step": False}
        point |= dict.fromkeys(("quality", *COVERAGE), coverage)  # exact: it has no interval
        if math.isfinite(start.gain["gain_share"]):
            found.append(point | start.gain | {"same_run_as": None})
    return found


def draw(rows: list[dict], starts: Iterable[WarmStart], tau: int | None) -> plt.Figure:
    """Return the figure over two columns: over the final policy's coverage, and over the optimal policy's.

    It has a row of panels for each kind of warm start whose own final policies were measured; for all where none were.
    """
    own = {arm: points(rows, arm, tau) for arm in FROM_DATA}
    shown = [arm for arm in FROM_DATA if own[arm]] or FROM_DATA
    optimal = {arm: by_optimal_policy(rows, starts, arm, tau) for arm in shown}
    if not any([*own.values(), *optimal.values()]):
        raise UsageError(
            "No point can be drawn: a point needs a warm start's final policy, its dataset, and runs of online RL and "
            "of the random policy between which its environment has a scale."
        )
    label = "share of the {}\nwhose state-action pair is in the LLM's data"
    names = ("agents' own final policy's visits", "optimal policy's visits (grid worlds)")
    columns = dict(zip(map(label.format, names), (own, optimal), strict=True))
    columns = {text: found for text, found in columns.items() if any(found.values())}
    figure, panels = draw_points(columns, "coverage", unseen={row["env"] for row in rows if row["own_data"]})
    for axes in panels.flat:
        axes.set_xlim(-0.03, 1.03)
    return figure


def main() -> None:
    """Draw and write."""
    args = tyro.cli(Args)
    check_outputs([args.measured, *args.runs], output=(args.output, ".pdf"), table=(args.table, ".csv"))
    named = by_name([run for run in map(read_run, args.runs) if run.arm in (*MEASURED, "random-policy")])
    warm = warm_starts(named)
    rows, missing = tidy(named, warm, read_measured(args.measured))
    if not rows:
        raise UsageError(f"{args.measured} has no row of these runs: {' '.join(missing)}")
    plt.rcParams.update(STYLE)
    figure = draw(rows, warm.values(), args.tau)
    table = pd.DataFrame(rows).astype(dict.fromkeys(("tau", "pretrain_steps"), "Int64"))
    csv = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    write_text(args.table.with_suffix(".csv"), csv)
    write_text(args.table.with_suffix(".md"), markdown(rows, missing, warm.values(), args.tau))
    save_figure(figure, args.output)
    shown = sum(len(points(rows, arm, args.tau)) for arm in FROM_DATA)
    print(f"{args.table}: {len(rows)} rows, {shown} points drawn.")


if __name__ == "__main__":
    run_command_line(main)
