"""Does a warm start pay when the LLM plays well? What the LLM's data earns the learner, over how well the LLM plays.

    python -m analysis.data_quality --runs results/runs/paper/*/*.csv \\
        --output paper_figs/data_quality.pdf --table results/tables/data_quality.csv

Both axes are on one scale per environment: 0 is the random policy's mean return, 1 the level that online RL reaches,
the mean of its last 20 evaluations. An environment in which that level is not shown to exceed random has no such scale:
it is in the table but not in the figure. Across: the LLM policy's mean return. Up: the arm's mean return minus online
RL's over the iterations after the warm-up, so that the LLM's own returns are not counted as the learner's. The PNG goes
beside the PDF, the .md beside the table's CSV. LLMs that played the same first tau episodes have the same runs, which
count once.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats

import envs
from analysis.colours import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, YELLOW
from analysis.main_table import ARMS, title_of
from analysis.measures import AFTER, STEPS_AFTER, Pair
from analysis.plotting import STYLE, save_figure
from analysis.runs import Run, common_iterations, environments_about, read_run, select_runs
from analysis.statistics import Estimate, bootstrap_interval, difference_interval, stratified_interval
from analysis.wording import estimate, short, table_lines, with_interval
from envs.errors import Failure, UsageError, run_command_line
from envs.files import check_outputs, write_text

WARM_STARTS = ("loro", "mix")
LEVEL = 20
"""Iterations whose mean is a level of online RL: its first ones, its last ones."""
GAIN_AT_EQUAL_STEPS = ("gain_at_equal_steps", "gain_at_equal_steps_low", "gain_at_equal_steps_high")
FEWEST_POINTS = 6
"""A rank correlation over fewer points says nothing."""
SIZES = {1000: 3.0, 3000: 6.0}
"""Marker sizes by offline updates; any other number, and none, is drawn with `SIZE`."""
SIZE = 4.5
QUALITY_TICKS = (-10, -3, -1, -0.5, 0, 0.5, 1)
LINEAR = 1.0
"""Up to this quality, either way, the axis is linear: beyond it lies play that is many times worse than random."""
GAIN_TICKS = (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1)
LINEAR_GAIN = 0.03
"""Up to this gain, either way, the axis is linear."""
# Okabe and Ito's colours, as in the main figure; each environment keeps its own whatever else is drawn
PALETTE = (BLUE, GREEN, ORANGE, PURPLE, AMBER, SKY, YELLOW, BLACK, GREY)
COLOURS = dict(zip(envs.ENVIRONMENTS, PALETTE, strict=False))
MARKERS = "os^Dv<>PXph*"

INTRODUCTION = """\
# Does a warm start pay when the LLM plays well?

Quality: (LLM's return - random policy's) / (online RL's last level - random policy's); 0 is random play, 1 what the
learner reaches by itself. Gain: mean return after the warm-up (from iteration τ on) minus that of online RL in the same
iterations; beside it, as far as both have taken as many environment steps, the LLM's own counted; in the last but two
columns the first of them as a share of the same scale. Means [95% bootstrap interval]: quality over the LLM's episodes,
gain over the independent seeds of both arms; the scale itself is taken as it is. Online RL's first and last level: mean
over 20 iterations. Intervals over few seeds are too narrow.
"""
CORRELATION = """\
Points of a correlation are LLMs in environments, ranked among all of them or among those of their environment. An
environment's points share its online RL, and those whose agents never learn are tied: the intervals are too narrow.
A correlation is no cause."""
FOOT = """\
- Warm starts of several LLMs that are one run, because the first τ episodes are the same, are one point in the figure
  and in the correlation: the first named. Their qualities may differ, being those of all the LLM's episodes.
- The LLM's return is the mean over all its episodes; an arm learnt from the first τ of them, whose mean return is the
  column "of those used".
- Whether an episode ended or was cut off early is known only where no state is terminal; elsewhere an LLM whose
  longest episode is shorter than the evaluations may have been cut off unnoticed.
- An iteration of online RL is 200 steps, a warm-up iteration one episode of the LLM: at the same iteration online RL
  has taken no fewer steps, and where the LLM's episodes are short the gain at equal steps is the higher one. Offline
  updates are counted in neither; what they do without an LLM, `main.md` shows.
"""


@dataclass
class Args:
    """Draw the gain by a warm start over the quality of the LLM's data, and write the numbers."""

    runs: tuple[Path, ...]
    """the run files: .../paper/<env>/<arm>.csv; arms that the figure does not show are ignored"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    tau: int | None = None
    """show only runs with this number of LLM episodes"""
    pretrain_steps: int | None = None
    """show only runs with this number of offline updates"""


@dataclass
class Baseline:
    """What an environment's warm starts are measured against; returns, undiscounted."""

    online: Run
    random: Run | None
    first: float
    """online RL's mean over its first iterations"""
    last: float
    """online RL's mean over its last iterations: the reference"""
    not_placed: str | None
    """why the environment has no scale from random to the reference; None where it has one"""


def episode_lengths(run: Run) -> pd.Series:
    """Return the lengths of a run's episodes, steps; raise Failure when the run does not say."""
    lengths = run.table.eval_length
    if not pd.api.types.is_numeric_dtype(lengths) or not (lengths > 0).all():
        raise Failure(f"Run {run.path} does not say how long the episodes were (eval_length).")
    return lengths


def longest_episode(policy: Run) -> int:
    """Return the length of a policy's longest episode, steps."""
    return int(episode_lengths(policy).max())


def cut_short(policy: Run) -> bool:
    """Return whether a policy's episodes were cut off before the evaluations are.

    Known only where no state is terminal; elsewhere a short episode may have ended by itself.
    """
    environment = envs.get(policy.env)
    return environment.endless and longest_episode(policy) < environment.horizon


def baseline_of(online: Run, random: Run | None) -> Baseline:
    """Return an environment's baseline, and whether online RL is shown to exceed random play."""
    levels = online.curves()[:, -LEVEL:].mean(axis=1)
    first, last = float(online.curves()[:, :LEVEL].mean()), float(levels.mean())
    reason = None
    if random is None:
        reason = "no run of the random policy"
    elif cut_short(random):
        reason = "the random policy's episodes were cut off before the evaluations are"
    else:
        low, high = difference_interval(levels, random.table.eval_return.to_numpy())
        if not math.isfinite(low):
            reason = "too few seeds for an interval"
        elif low <= 0:
            gap = with_interval(last - random.mean_return(), low, high, short)
            reason = f"online RL's last level is not shown to exceed the random policy: the difference is {gap}"
    return Baseline(online, random, first, last, reason)


def quality_of(llm: Run, baseline: Baseline) -> tuple[float, float, float]:
    """Return an LLM's quality on its environment's scale, with its 95% interval over the LLM's episodes.

    Where its episodes were cut off early, returns do not compare, and returns per step are used for all three.
    """
    per_step = cut_short(llm)

    def returns(run: Run) -> np.ndarray:
        return (run.table.eval_return / episode_lengths(run) if per_step else run.table.eval_return).to_numpy()

    late = baseline.online.table.iteration >= baseline.online.iterations - LEVEL
    worst, best = returns(baseline.random).mean(), returns(baseline.online)[late].mean()
    quality = (returns(llm) - worst) / (best - worst)
    return float(quality.mean()), *map(float, bootstrap_interval(quality))


def row_of(run: Run, baseline: Baseline, llm: Run | None) -> dict[str, object]:
    """Return the tidy row of one warm start; raise UsageError when nothing follows its warm-up."""
    if run.iterations <= run.tau:
        raise UsageError(f"Run {run.path} ends with its warm-up; there is nothing to compare after it.")
    pair = Pair(run.env, run, baseline.online)
    gain, seeds = np.array(pair.difference(AFTER)), pair.seeds
    random_return = baseline.random.mean_return() if baseline.random else np.nan
    placed = baseline.not_placed is None
    scale = baseline.last - random_return if placed else np.nan
    quality = quality_of(llm, baseline) if llm and placed else (np.nan,) * 3
    return {
        "env": run.env,
        "llm": run.llm,
        "tau": run.tau,
        "pretrain_steps": run.pretrain_steps,
        "arm": run.arm,
        "llm_return": llm.mean_return() if llm else np.nan,
        "llm_return_used": float(run.curves()[:, : run.tau].mean()),
        "llm_episodes": llm.iterations if llm else None,
        "llm_longest": longest_episode(llm) if llm else None,
        "random_return": random_return,
        "online_first": baseline.first,
        "online_last": baseline.last,
        "per_step": cut_short(llm) if llm else False,
        **dict(zip(("quality", "quality_low", "quality_high"), quality, strict=True)),
        **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
        **dict(zip(GAIN_AT_EQUAL_STEPS, pair.difference(STEPS_AFTER), strict=True)),
        **dict(zip(("gain_share", "gain_share_low", "gain_share_high"), gain / scale, strict=True)),
        "improvement": pair.improvement(AFTER),
        "seeds": seeds[0],
        "online_seeds": seeds[1],
    }


def by_name(runs: list[Run]) -> dict[tuple[str, str, str], Run]:
    """Return the runs by (environment, arm, setting); raise UsageError where one is twice there or not of `paper`."""
    named: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        if run.protocol != "paper":
            raise UsageError(f"{run.path} is not of the protocol paper: give only runs/paper/<env>/<arm>.csv.")
        other = named.setdefault((run.env, run.arm, run.details), run)
        if other is not run:
            raise UsageError(f"{other.path} and {run.path} are the same run twice: give one.")
        if run.arm in WARM_STARTS and (run.llm is None or run.tau is None):
            raise UsageError(f"{run.path} does not name the LLM and tau: {run.arm}_<llm>_tau<tau>.")
    return named


def repeated_runs(runs: Iterable[Run]) -> dict[tuple[str, str, str], Run]:
    """Return, by (environment, arm, setting), the warm starts that are the same run as another LLM's, and that run.

    Every number of every row is the same, loss and action values too: equal data trains equal agents. LLMs can play the
    same first tau episodes and differ later, so the digest of a whole dataset does not tell.
    """
    firsts: dict[tuple[object, ...], list[Run]] = {}
    found = {}
    for run in sorted(runs, key=lambda r: (r.env, r.details)):
        if run.arm not in WARM_STARTS:
            continue
        others = firsts.setdefault((run.env, run.arm, run.tau, run.pretrain_steps), [])
        equal = next((other for other in others if other.table.equals(run.table)), None)
        if equal is None:
            others.append(run)
        else:
            found[run.env, run.arm, run.details] = equal
    return found


def tidy(named: dict[tuple[str, str, str], Run]) -> tuple[list[dict[str, object]], dict[str, Baseline]]:
    """Return the rows in the order of environments, LLMs, arms and settings, and the environments' baselines."""
    rows, baselines, repeated = [], {}, repeated_runs(named.values())
    for env in envs.ENVIRONMENTS:
        warm = [run for run in named.values() if run.env == env and run.arm in WARM_STARTS]
        if not warm:
            continue
        online = named.get((env, "online", ""))
        if online is None:
            raise UsageError(f"There is no run of online RL to compare {warm[0].path} with: give its online.csv too.")
        common_iterations([online, *warm], env)
        baselines[env] = baseline_of(online, named.get((env, "random-policy", "")))
        for run in sorted(warm, key=lambda r: (r.llm, WARM_STARTS.index(r.arm), r.tau, r.pretrain_steps or 0)):
            row = row_of(run, baselines[env], named.get((env, "llm-policy", run.llm)))
            same = repeated.get((env, run.arm, run.details))
            rows.append(row | {"same_run_as": same.llm if same else None})
    if not rows:
        raise UsageError("There is no loro and no mix run among the runs: nothing to compare with online RL.")
    return rows, baselines


def stand_ins(named: dict[tuple[str, str, str], Run]) -> dict[tuple[str, str], str]:
    """Return, by (environment, LLM), the LLM that recorded the very same episodes and whose warm starts are there.

    Equal episodes train equal agents: LLMs that always say the same word share one run. LLMs with runs of their own,
    and those whose policy's run does not say the digest of its dataset, are not in it.
    """
    trained = {(run.env, run.llm) for run in named.values() if run.arm in WARM_STARTS}
    digests = {}
    for run in named.values():
        description = run.path.with_suffix(".json")
        if run.arm == "llm-policy" and description.exists():
            digests[run.env, run.llm] = json.loads(description.read_text(encoding="utf-8")).get("dataset_sha256")
    found = {}
    for (env, llm), digest in digests.items():
        others = sorted(other for e, other in trained if e == env and digest and digests.get((e, other)) == digest)
        if others and (env, llm) not in trained:
            found[env, llm] = others[0]
    return found


def correlation_points(rows: list[dict]) -> pd.DataFrame:
    """Return the points of a correlation: quality and share gained by each LLM in each environment, of one N.

    A run that is the same as another LLM's is no further evidence. Qualities per step are left out. Never a mean over
    several N: where an environment lacks some, its order would be that of N.
    """
    distinct = [row for row in rows if not row["same_run_as"] and not row["per_step"]]
    table = pd.DataFrame([row for row in distinct if math.isfinite(row["quality"])])
    if table.empty:
        return table
    return table.groupby(["env", "llm"])[["quality", "gain_share"]].mean()


def rank_correlation(points: list[pd.DataFrame]) -> Estimate | None:
    """Return Spearman's correlation of quality and gain and its 95% bootstrap interval; ranks are within each table.

    Of several tables the ranks, less their mean, are put together: what is left where a table's level explains nothing.
    Points are resampled within their table. None below 6 points, or where quality or gain is the same everywhere.
    """
    points = [table for table in points if len(table) > 1]
    if sum(map(len, points)) < FEWEST_POINTS:
        return None
    sides = [[table[name].to_numpy() for table in points] for name in ("quality", "gain_share")]
    if not all(any(np.ptp(values) > 0 for values in side) for side in sides):
        return None

    def spearman(*picks: np.ndarray, axis: int = 0) -> np.ndarray:
        a, b = (
            np.concatenate(
                [centred_ranks(values[pick.astype(int)], axis) for values, pick in zip(side, picks, strict=True)], axis
            )
            for side in sides
        )
        norm = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
        # a resample of points that are all alike shows no correlation
        return np.where(norm > 0, (a * b).sum(axis=axis) / np.where(norm > 0, norm, 1), 0.0)

    everyone = [np.arange(len(table)) for table in points]
    return float(spearman(*everyone)), *stratified_interval(everyone, spearman)


def centred_ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the ranks of values along an axis, ties sharing theirs, less their mean."""
    return stats.rankdata(values, axis=axis) - (values.shape[axis] + 1) / 2


def correlations(rows: list[dict]) -> list[tuple[str, Estimate, Estimate | None, int]]:
    """Return an arm's rank correlations, of each N by itself: over all points, within environments, and of how many.

    There is none within environments where all points are of one.
    """
    found = []
    for steps in sorted({row["pretrain_steps"] for row in rows}, key=lambda n: n or 0):
        points = correlation_points([row for row in rows if row["pretrain_steps"] == steps])
        whole = rank_correlation([points])
        if whole is not None:
            parts = [part for _, part in points.groupby("env")]
            within = rank_correlation(parts) if len(parts) > 1 else None
            found.append((f"N={steps}: " if steps else "", whole, within, len(points)))
    return found


def correlation_text(rows: list[dict]) -> str:
    """Say an arm's rank correlations, where there are any."""
    told = []
    for steps, whole, within, count in correlations(rows):
        inside = f", within environments {with_interval(*within, short)}" if within else ""
        told.append(f"{steps}Spearman's ρ = {with_interval(*whole, short)}{inside}, {count} points")
    return "; ".join(told)


def correlation_title(rows: list[dict]) -> str:
    """Say an arm's rank correlations within environments, for a panel's corner."""
    found = [(steps, within) for steps, _, within, _ in correlations(rows) if within]
    lines = [f"{steps}Spearman's ρ within environments {with_interval(*within, short)}" for steps, within in found]
    return "\n".join(lines)


def scale_of_gains(axes: Axes) -> None:
    """Give the vertical axis the scale of a gain: an environment's share of it can be a hundred times another's."""
    bottom, top = axes.get_ylim()
    axes.set_yscale("symlog", linthresh=LINEAR_GAIN)
    axes.set_yticks(GAIN_TICKS, [f"{tick:g}".replace("-", "−") for tick in GAIN_TICKS])
    axes.minorticks_off()
    axes.set_ylim(1.6 * bottom, 1.6 * top)  # a margin on an axis that is logarithmic at its ends
    axes.set_ylabel("gain after the warm-up\n(1: from random play\nto online RL's last level)")


def size_of(row: dict) -> float:
    """Return the size of a point's marker, by its offline updates."""
    return SIZES.get(row["pretrain_steps"], SIZE)


def draw_panel(axes: Axes, rows: list[dict], markers: dict[str, str]) -> None:
    """Draw one arm's points: gain over quality, with their intervals; open where quality is per step."""
    axes.axhline(0, color=BLACK, lw=0.7, zorder=1)
    for x in (0, 1):
        axes.axvline(x, color=GREY, lw=0.6, ls=(0, (2, 2)), zorder=1)
    for row in sorted(rows, key=size_of, reverse=True):  # the small ones on top
        colour = COLOURS[row["env"]]
        ends = []
        for key in ("quality", "gain_share"):
            below, above = row[key] - row[f"{key}_low"], row[f"{key}_high"] - row[key]
            # a percentile interval of a skewed sample may lie beside its mean; one seed has none
            ends.append([[max(0, below) if below == below else 0], [max(0, above) if above == above else 0]])
        axes.errorbar(
            row["quality"],
            row["gain_share"],
            xerr=ends[0],
            yerr=ends[1],
            color=colour,
            elinewidth=0.8,
            marker=markers[row["llm"]],
            markersize=size_of(row),
            markerfacecolor="white" if row["per_step"] else colour,
            markeredgewidth=0.9,
        )
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
    axes.set_xticks(QUALITY_TICKS, [f"{tick:g}".replace("-", "−") for tick in QUALITY_TICKS])
    scale_of_gains(axes)
    axes.set_title(correlation_title(rows), loc="right", fontsize=5.5)


def draw(rows: list[dict], baselines: dict[str, Baseline]) -> plt.Figure:
    """Return the figure at column width, a panel for each arm that has points."""
    shown = [row for row in rows if math.isfinite(row["quality"]) and not row["same_run_as"]]
    if not shown:
        raise UsageError("No point can be placed: " + "; ".join(_reasons(rows, baselines)) + ".")
    llms = sorted({str(row["llm"]) for row in shown})
    if len(llms) > len(MARKERS):
        raise UsageError(f"The figure has markers for {len(MARKERS)} LLMs, the runs are of {len(llms)}: give fewer.")
    markers = dict(zip(llms, MARKERS, strict=False))
    arms = [arm for arm in WARM_STARTS if any(row["arm"] == arm for row in shown)]
    figure, grid = plt.subplots(
        len(arms),
        1,
        sharex=True,
        squeeze=False,
        figsize=(3.4, 1.7 * len(arms) + 1.3),
        layout="constrained",
    )
    for axes, arm in zip(grid[:, 0], arms, strict=True):
        draw_panel(axes, [row for row in shown if row["arm"] == arm], markers)
        axes.set_title(ARMS[arm], loc="left")
    grid[-1, 0].set_xlabel(
        "quality of the LLM's play\n(0: random policy, 1: online RL's last level;\nlogarithmic beyond ±1)"
    )
    dots = {"ls": "", "marker": "o", "markersize": 4.5}
    colours = []
    for env in (env for env in COLOURS if env in baselines):
        title = envs.get(env).title
        if any(row["env"] == env for row in shown):
            colours.append(Line2D([], [], **dots, color=COLOURS[env], label=title))
        else:
            colours.append(Line2D([], [], ls="", label=f"{title}: not placed"))
    shapes = [Line2D([], [], **{**dots, "marker": marker}, color=GREY, label=llm) for llm, marker in markers.items()]
    for steps in sorted({row["pretrain_steps"] for row in shown} & set(SIZES)):
        shapes.append(Line2D([], [], **{**dots, "markersize": SIZES[steps]}, color=GREY, label=f"LORO, N={steps}"))
    if any(row["per_step"] for row in shown):
        shapes.append(
            Line2D([], [], **dots, color=GREY, markerfacecolor="white", label="cut off early: by return per step")
        )
    figure.legend(handles=colours, loc="outside lower left", fontsize=6)
    figure.legend(handles=shapes, loc="outside lower right", fontsize=6)
    return figure


def _reasons(rows: list[dict], baselines: dict[str, Baseline]) -> list[str]:
    reasons = [f"{envs.get(env).title}: {b.not_placed}" for env, b in baselines.items() if b.not_placed]
    lacking = dict.fromkeys(
        (row["env"], row["llm"]) for row in rows if row["llm_episodes"] is None and not baselines[row["env"]].not_placed
    )
    return reasons + [f"{envs.get(env).title}: no run llm-policy_{llm}" for env, llm in lacking]


def cells(row: dict) -> list[str]:
    """Return a row's cells for reading."""
    same = f", the same run as {row['same_run_as']}'s" if row["same_run_as"] else ""
    return [
        envs.get(row["env"]).title,
        title_of(row) + same,
        short(row["llm_return"]),
        short(row["llm_return_used"]),
        "" if row["llm_longest"] is None else str(row["llm_longest"]),
        short(row["random_return"]),
        short(row["online_first"]),
        short(row["online_last"]),
        estimate(row, "quality", short) + " per step" * row["per_step"],
        estimate(row, "gain", short),
        estimate(row, "gain_at_equal_steps", short),
        estimate(row, "gain_share", short),
        f"{row['improvement']:.2f}",
        f"{row['seeds']}, {row['online_seeds']}",
    ]


def missing_runs(named: dict[tuple[str, str, str], Run]) -> list[str]:
    """Name the runs that the figure could show and was not given, environment by environment."""
    told = stand_ins(named)
    llms = sorted({run.llm for run in named.values() if run.llm})
    steps = sorted({run.pretrain_steps for run in named.values() if run.arm == "loro" and run.pretrain_steps})
    wanted = [*(("loro", n) for n in steps or [None]), ("mix", None), ("llm-policy", None)]
    lines = []
    for env in environments_about(run.env for run in named.values()):
        runs = [run for run in named.values() if run.env == env]
        missing = []
        if runs:
            missing = [arm for arm in ("online", "random-policy") if (env, arm, "") not in named]
            for llm in (llm for llm in llms if (env, llm) not in told):
                there = {(run.arm, run.pretrain_steps) for run in runs if run.llm == llm}
                arms = [f"{arm} N={n}" if n else arm for arm, n in wanted if (arm, n) not in there]
                missing.append(f"{llm} ({', '.join(arms) if there else 'everything'})" if arms else "")
        missing = [name for name in missing if name]
        if missing or not runs:
            lines.append(f"- {envs.get(env).title}: no runs yet of {', '.join(missing) if runs else 'anything'}.")
    return lines


def still_runs(named: dict[tuple[str, str, str], Run]) -> list[str]:
    """Say where several warm starts have the same return in every evaluation after the warm-up, of every seed."""
    repeated, found = repeated_runs(named.values()), {}
    for run in (run for run in named.values() if run.arm in WARM_STARTS):
        returns = run.curves()[:, run.tau or 0 :]
        if np.ptp(returns) == 0 and (run.env, run.arm, run.details) not in repeated:
            found.setdefault((run.env, float(returns.flat[0])), []).append(run)
    return [
        f"- {envs.get(env).title}: in {len(runs)} warm starts every evaluation after the warm-up has a return of "
        f"{short(value)}, whatever the seed: nothing changes, and their gains are one finding."
        for (env, value), runs in found.items()
        if len(runs) > 1
    ]


def markdown(rows: list[dict], baselines: dict[str, Baseline], named: dict[tuple[str, str, str], Run]) -> str:
    """Return the table for reading, with what it lacks and what does not compare below it."""
    head = ["environment", "arm", "LLM's return", "of those used", "longest episode, steps", "random"]
    head += ["online, first", "online, last"]
    head += ["quality", "gain", "gain at equal steps", "gain, as a share", "P(arm > online)", "seeds (arm, online)"]
    lines = [INTRODUCTION, *table_lines(head, map(cells, rows)), ""]
    for arm in WARM_STARTS:
        if text := correlation_text([row for row in rows if row["arm"] == arm]):
            lines += [f"{ARMS[arm]}, quality and gain: {text}.", ""]
    lines += [CORRELATION, "", "## Read with care", ""]
    lines += [f"- {envs.get(env).title} is not placed: {b.not_placed}." for env, b in baselines.items() if b.not_placed]
    for row in {(row["env"], row["llm"]): row for row in rows if row["per_step"]}.values():
        environment = envs.get(row["env"])
        lines.append(
            f"- {environment.title}, {row['llm']}: the LLM's episodes were cut off after {row['llm_longest']} steps, "
            f"evaluations after {environment.horizon}. Their returns do not compare, so quality is that of the returns "
            "per step, an open marker in the figure and in no correlation. It is rough: an evaluation's later steps "
            "start from where its first ones led."
        )
    for (env, llm), other in stand_ins(named).items():
        lines.append(f"- {envs.get(env).title}: {llm} played the very episodes of {other}; its rows are the same.")
    lines += still_runs(named)
    missing = missing_runs(named)
    return "\n".join([*lines, FOOT, *(["## Missing", "", *missing] if missing else [])]).rstrip("\n") + "\n"


def main() -> None:
    """Write the table and the figure."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"), table=(args.table, ".csv"))
    runs = select_runs([read_run(path) for path in args.runs], None, args.tau, args.pretrain_steps)
    named = by_name(runs)
    rows, baselines = tidy(named)
    plt.rcParams.update(STYLE)
    figure = draw(rows, baselines)
    table = pd.DataFrame(rows).astype(dict.fromkeys(("pretrain_steps", "llm_episodes", "llm_longest"), "Int64"))
    write_text(args.table.with_suffix(".csv"), table.to_csv(index=False, float_format="%.8g"))
    write_text(args.table.with_suffix(".md"), markdown(rows, baselines, named))
    save_figure(figure, args.output)
    shown = sum(math.isfinite(row["quality"]) and not row["same_run_as"] for row in rows)
    repeated = sum(bool(row["same_run_as"]) for row in rows)
    print(f"{args.output}: {shown} of {len(rows)} warm starts drawn, {repeated} more are the same runs as others.")
    if _reasons(rows, baselines):
        print(f"In the table only: {'; '.join(_reasons(rows, baselines))}.")


if __name__ == "__main__":
    run_command_line(main)
