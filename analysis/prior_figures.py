"""What LLM priors do for learning in text games: the second paper's claims, measured (arXiv 2410.07927).

    python -m analysis.prior_figures --kind online --runs results/runs/prior/*/*.csv \\
        --output paper_figs/prior_online.pdf --table results/tables/prior_online.csv

Kinds: `online` (DQN-Prior and DQN), `ppo` (PPO-Prior and PPO), `offline` (CQL-Prior and CQL over the size of the data,
and the ratio of the sizes at which both succeed equally often) and `ablations` (over k and alpha). What succeeds is
counted, beside returns: in Overcooked the highest return serves nothing. The PNG goes beside the PDF, the .md beside
the table's CSV. Runs that a kind does not show are ignored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.axes import Axes

from analysis.colours import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY
from analysis.plotting import STYLE, legend_entries, running_mean, save_figure
from analysis.prior_runs import PriorRun, read_prior_run
from analysis.runs import POLICIES
from analysis.statistics import (
    CONFIDENCE,
    RESAMPLES,
    band,
    bootstrap_interval,
    difference_interval,
    probability_of_improvement,
)
from analysis.wording import estimate, fixed, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text
from envs.text import describe

Kind = Literal["online", "offline", "ppo", "ablations"]
LEVELS = (0.5, 0.9)
"""Success rates at which the sizes of data are compared."""
SOLVED, SOLVED_OVER = 0.9, 5
"""A seed has learnt the game where so many evaluations in a row succeed so often, in the mean."""
STANDARD_K, STANDARD_ALPHA = "5", 0.1
WINDOW = 5
"""Evaluations of the running mean that learning curves are drawn as."""
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)

INTRODUCTIONS = {
    "online": """\
# DQN with and without a prior, online

Success over training is the mean of all evaluations' success: 1 is a game solved from the first evaluation on. Last:
the mean of the last fifth of the evaluations, in which the best action is taken; in training: the same of the training
episodes, in which actions are drawn. Solved after: training episodes until 5 evaluations in a row succeed in 90%, the
median over the seeds that get there (how many of them). Difference: success over training minus that of the learner
without a prior.
""",
    "offline": """\
# CQL with and without a prior, offline

Each seed learns from its own part of one recorded dataset. Success and return: the mean of the last fifth of the
evaluations.
""",
    "ablations": """\
# How many proposals (k), and how much Q or the prior weigh (alpha)

Alpha of DQN-Prior is the temperature of exp(Q / alpha) over the proposals; alpha of PPO-Prior is the weight of
KL(pi || p) in the loss. Columns as in prior_online.md.
""",
}
INTRODUCTIONS["ppo"] = INTRODUCTIONS["online"].replace("# DQN", "# PPO")
CLAIM = """\
The paper's claim is that with the prior over 90% fewer samples reach the same return: a ratio below 0.1. Needed: the
size at which the mean success reaches the level, between two sizes by the logarithm. Ratio: with the prior over that
without; 0 and ∞ in an interval are resamples in which only one of both gets there.
"""
FOOT = """
Means over seeds [95% bootstrap interval; of few seeds it is too narrow]. scripted-N is no LLM but a control: N% of the
probability on the best actions, the rest on all alike; uniform is the same with nothing on the best, so that what it
gains over the plain learner is not knowledge but the other way of exploring. A policy's row is its play without any
learning.
"""
ALFWORLD = """
ALFWorld: 28 games of our making on its engine; unseen tasks are 26 others with other combinations of object and
receptacle, played by agents that learn (in training) in the 28. Best, to scripted-N, is there what makes sense to who
knows what the task means but not where things are. Observation and action are encoded apart (--encoded parts), not as
one sentence.
"""


@dataclass
class Args:
    """Draw one of the figures on LLM priors, and write its table."""

    kind: Kind
    """which"""
    runs: tuple[Path, ...]
    """the run files: .../prior/<env>/<arm>.csv"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    missing: tuple[str, ...] = ()
    """runs that belong to it and are not computed yet, to be named below the table"""


# --- Numbers ---------------------------------------------------------------------------------------------------------


def solved_after(run: PriorRun) -> list[int]:
    """Return after how many training episodes each seed has learnt the game, of those that have."""
    curves, per_iteration = run.curves(), run.argument("iteration_episodes")
    over = min(SOLVED_OVER, curves.shape[1])
    means = np.lib.stride_tricks.sliding_window_view(curves, over, axis=1).mean(axis=2)
    return [int((row >= SOLVED).argmax() + over) * per_iteration for row in means if (row >= SOLVED).any()]


def needed_size(sizes: np.ndarray, success: np.ndarray, level: float) -> float:
    """Return the size of data at which `success` [sizes] reaches `level`: between two sizes by the logarithm of both.

    Success counts as never falling with more data. The smallest size where that suffices, infinity where none does.
    """
    best = np.maximum.accumulate(success)
    if best[-1] < level:
        return np.inf
    after = int((best >= level).argmax())
    if after == 0:
        return float(sizes[0])
    part = (level - best[after - 1]) / (best[after] - best[after - 1])
    return float(np.exp(np.log(sizes[after - 1]) * (1 - part) + np.log(sizes[after]) * part))


def saving(
    sizes: np.ndarray, with_prior: np.ndarray, without: np.ndarray, level: float
) -> tuple[float, float, float, float, float]:
    """Return the sizes that either needs for `level`, their ratio (with / without) and its 95% bootstrap interval.

    `with_prior` and `without` hold each seed's success, [seeds, sizes]; seeds are resampled, with all of their sizes.
    The ratio is NaN where neither gets there, 0 or infinity where only one does.
    """
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES):
        sample = [arm[generator.integers(len(arm), size=len(arm))].mean(axis=0) for arm in (with_prior, without)]
        ratios.append(ratio(*(needed_size(sizes, success, level) for success in sample)))
    a, b = (needed_size(sizes, arm.mean(axis=0), level) for arm in (with_prior, without))
    known = [value for value in ratios if not np.isnan(value)]
    if len(known) < RESAMPLES / 2 or min(len(with_prior), len(without)) < 2:
        return a, b, ratio(a, b), np.nan, np.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
    return a, b, ratio(a, b), float(low), float(high)


def ratio(a: float, b: float) -> float:
    """Return a / b, where either may be infinite: NaN where both are."""
    if np.isinf(a):
        return np.nan if np.isinf(b) else np.inf
    return 0.0 if np.isinf(b) else a / b


def summary(values: np.ndarray, name: str) -> dict[str, float]:
    """Return the mean of `values` [seeds] and its interval as three cells."""
    low, high = bootstrap_interval(values)
    return {name: float(np.mean(values)), f"{name}_low": float(low), f"{name}_high": float(high)}


def learning_rows(runs: list[PriorRun], learner: str) -> list[dict]:
    """Return a row for each run of a learner, with and without priors, and for each policy, game by game."""
    rows = []
    for env in dict.fromkeys(run.env for run in runs):
        here = [run for run in runs if run.env == env]
        plain = next((run.curves().mean(axis=1) for run in here if run.arm == learner), None)
        for run in here:
            row = {"env": env, "arm": run.arm, "prior": run.prior, "alpha": run.alpha, "k": run.k}
            if run.arm in POLICIES:
                success, returns = run.curves()[0], run.curves("eval_return")[0]  # of episodes, by one player
                row |= {"episodes": len(success), **summary(success, "last_success"), **summary(returns, "last_return")}
                rows.append(row)
                continue
            if run.learner != learner or run.size is not None:
                continue
            success, reached = run.curves().mean(axis=1), solved_after(run)
            row |= {"seeds": len(success), **summary(success, "success"), **summary(run.last(), "last_success")}
            row |= summary(run.last("eval_return"), "last_return") | summary(run.last("train_success"), "last_training")
            row |= {"solved_after": float(np.median(reached)) if reached else np.nan, "solved": len(reached)}
            if plain is not None and run.arm != learner:
                low, high = difference_interval(success, plain)
                row |= {"difference": success.mean() - plain.mean(), "difference_low": low, "difference_high": high}
                row["improvement"] = probability_of_improvement(success, plain)
            rows.append(row)
    return rows


def offline_rows(runs: list[PriorRun]) -> tuple[list[dict], list[dict]]:
    """Return a row for each offline run and each policy, and a row for each comparison of sizes at equal success."""
    rows, comparisons = [], []
    for run in runs:
        if run.learner != "cql" and run.arm not in POLICIES:
            continue
        policy = run.arm in POLICIES
        success, returns = (
            run.curves(column)[0] if policy else run.last(column) for column in ("eval_success", "eval_return")
        )
        row = {"env": run.env, "arm": run.arm, "prior": run.prior, "transitions": run.size}
        row |= {"episodes" if policy else "seeds": len(success)}
        rows.append(row | summary(success, "success") | summary(returns, "return"))
    for env in dict.fromkeys(run.env for run in runs):
        arms = by_size([run for run in runs if run.env == env and run.learner == "cql"])
        for prior in [prior for prior in arms if prior is not None and None in arms]:
            sizes = np.array(sorted(arms[prior].keys() & arms[None].keys()))
            if len(sizes) < 2:
                continue
            curves = [np.stack([arms[key][size] for size in sizes], axis=1) for key in (prior, None)]
            for level in LEVELS:
                values = dict(
                    zip(("needed", "needed_plain", "ratio", "low", "high"), saving(sizes, *curves, level), strict=True)
                )
                smallest = {"smallest": int(sizes[0]), "largest": int(sizes[-1])}
                comparisons.append({"env": env, "prior": prior, "level": level, **smallest, **values})
    return rows, comparisons


def by_size(runs: list[PriorRun]) -> dict[str | None, dict[int, np.ndarray]]:
    """Return each seed's final success by prior (None: plain) and size of data."""
    arms: dict[str | None, dict[int, np.ndarray]] = {}
    for run in runs:
        if run.size is not None and run.k is None:
            arms.setdefault(run.prior, {})[run.size] = run.last()
    return arms


# --- Figures ---------------------------------------------------------------------------------------------------------


def palette(runs: list[PriorRun]) -> dict[str, str]:
    """Return a colour for each prior that any run names, so that it keeps it from figure to figure."""
    named = sorted({run.prior for run in runs if run.prior})
    return {prior: COLOURS[number % len(COLOURS)] for number, prior in enumerate(named)}


def style_of(run: PriorRun, colours: dict[str, str]) -> dict:
    """Return a line's style: a colour for each prior, black without one; dashes where nothing is learnt."""
    colour = colours[run.prior] if run.prior else BLACK
    if run.arm == "random-policy":
        return {"color": GREY, "ls": (0, (1, 1.5)), "label": "random play", "lw": 0.9}
    if run.arm == "llm-policy":
        return {"color": colour, "ls": (0, (4, 2)), "lw": 0.8}
    if run.prior is None:
        return {"color": colour, "label": run.learner.upper()}
    no_llm = " (control, no LLM)" * run.prior.startswith(("scripted", "uniform"))
    return {"color": colour, "label": f"{run.learner.upper()}-Prior, {run.prior}{no_llm}"}


def panels(rows: int, envs: list[str]) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure with a column for each game."""
    size = (max(3.4, min(7.0, 2.4 * len(envs))), 1.7 * rows + 1.0)
    figure, grid = plt.subplots(rows, len(envs), squeeze=False, sharex="col", figsize=size, layout="constrained")
    for axes, env in zip(grid[0], envs, strict=True):
        axes.set_title(describe(env).title.replace(" (", "\n("))
    for axes in grid.flat:
        axes.grid(color="#E6E6E6", lw=0.5)
        axes.set_axisbelow(True)
    return figure, grid


def draw_learning(runs: list[PriorRun], learner: str) -> plt.Figure:
    """Draw success and return over training episodes, a column for each game."""
    learnt = [
        run for run in runs if run.learner == learner and run.size is None and run.alpha is None and run.k is None
    ]
    envs = list(dict.fromkeys(run.env for run in learnt))
    if not envs:
        raise UsageError(f"There is no run of {learner} among the runs: nothing to draw.")
    priors, colours = {run.prior for run in learnt if run.prior}, palette(runs)
    figure, grid = panels(2, envs)
    for column, env in enumerate(envs):
        policies = [run for run in runs if run.env == env and run.arm in POLICIES and run.prior in (None, *priors)]
        for run in policies:
            for axes, name in zip(grid[:, column], ("eval_success", "eval_return"), strict=True):
                axes.axhline(run.curves(name).mean(), **style_of(run, colours))
        for run in [run for run in learnt if run.env == env]:
            for axes, name in zip(grid[:, column], ("eval_success", "eval_return"), strict=True):
                curves = running_mean(run.curves(name), WINDOW, 0)
                low, high = band(curves)
                episodes = run.argument("iteration_episodes") * (1 + np.arange(curves.shape[1]))
                style = style_of(run, colours)
                axes.plot(episodes, curves.mean(axis=0), **style)
                axes.fill_between(episodes, low, high, color=style["color"], alpha=0.15, lw=0)
        grid[0, column].set_ylim(-0.03, 1.03)
        grid[1, column].set_xlabel("training episodes")
    grid[0, 0].set_ylabel("success (greedy)")
    grid[1, 0].set_ylabel("return (greedy)")
    smoothed = f"running means over {WINDOW} evaluations, means over seeds with 95% intervals"
    legend(figure, grid, f"{smoothed}\ndashed: the prior alone, without learning")
    return figure


def draw_offline(runs: list[PriorRun]) -> plt.Figure:
    """Draw success over the size of the data, a column for each game."""
    learnt = [run for run in runs if run.learner == "cql" and run.size is not None and run.k is None]
    envs = list(dict.fromkeys(run.env for run in learnt))
    if not envs:
        raise UsageError("There is no run of cql with a number of transitions among the runs: nothing to draw.")
    priors, colours = {run.prior for run in learnt if run.prior}, palette(runs)
    figure, grid = panels(1, envs)
    for axes, env in zip(grid[0], envs, strict=True):
        for run in [run for run in runs if run.env == env and run.arm in POLICIES and run.prior in (None, *priors)]:
            axes.axhline(run.curves().mean(), **style_of(run, colours))
        for prior, of_size in by_size([run for run in learnt if run.env == env]).items():
            sizes = sorted(of_size)
            style = style_of(next(run for run in learnt if run.prior == prior), colours)
            values = np.stack([of_size[size] for size in sizes], axis=1)
            low, high = bootstrap_interval(values)
            axes.plot(sizes, values.mean(axis=0), marker="o", markersize=2.5, **style)
            axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, lw=0)
        sizes = sorted({run.size for run in learnt if run.env == env})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("recorded transitions")
    grid[0, 0].set_ylabel("success (greedy)")
    legend(figure, grid, "means over seeds with 95% intervals; dashed: the prior alone, without learning")
    return figure


def draw_ablations(runs: list[PriorRun]) -> plt.Figure:
    """Draw success over training over k and over either alpha."""
    learnt = [run for run in runs if run.learner in ("dqn", "ppo") and run.arm not in POLICIES]
    envs = list(dict.fromkeys(run.env for run in learnt if run.alpha is not None or run.k is not None))
    if len(envs) != 1:
        raise UsageError(f"The runs that vary k or alpha must be of one environment, not of {len(envs)}.")
    learnt = [run for run in learnt if run.env == envs[0]]
    varied = dict.fromkeys(run.prior for run in learnt if run.alpha is not None or run.k is not None)
    priors, colours = list(varied), palette(runs)
    figure, grid = plt.subplots(1, 3, sharey=True, figsize=(6.8, 2.6), layout="constrained", squeeze=False)
    titles = ("DQN-Prior: proposals k", "DQN-Prior: alpha of exp(Q / alpha)", "PPO-Prior: alpha of KL(pi || p)")
    for axes, learner, name, title in zip(grid[0], ("dqn", "dqn", "ppo"), ("k", "alpha", "alpha"), titles, strict=True):
        axes.set_title(title)
        axes.grid(color="#E6E6E6", lw=0.5)
        axes.set_axisbelow(True)
        for run in learnt:
            if run.arm == learner:
                style = {
                    "color": BLACK,
                    "ls": (0, (4, 2)),
                    "lw": 0.9,
                    "label": f"without a prior ({'DQN' if learner == 'dqn' else 'PPO'})",
                }
                axes.axhline(run.curves().mean(), **{**style, "label": "the same learner without a prior"})
        of_learner = [run for run in learnt if run.arm == f"{learner}-prior"]
        ticks: dict[float, str] = {}
        for prior in priors:
            draw_series(axes, [run for run in of_learner if run.prior == prior], name, colours[prior], ticks)
        if name == "k":
            axes.set_xticks(list(ticks), list(ticks.values()))
        else:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda alpha, _: f"{alpha:g}")
        axes.set_xlabel(name)
    grid[0, 0].set_ylim(-0.03, 1.03)
    grid[0, 0].set_ylabel("success over training")
    standard = f"otherwise k = {STANDARD_K}, alpha = {STANDARD_ALPHA}"
    legend(figure, grid, f"{describe(envs[0]).title}; {standard}; means over seeds with 95% intervals")
    return figure


def draw_series(axes: Axes, runs: list[PriorRun], name: str, colour: str, ticks: dict[float, str]) -> None:
    """Draw one prior's success over k or alpha; `ticks` takes up where each k is drawn."""
    other = "alpha" if name == "k" else "k"
    standard = STANDARD_K if name == "k" else STANDARD_ALPHA
    values = {getattr(run, name) or standard: run for run in runs if getattr(run, other) is None}
    if len(values) < 2:
        return
    order = sorted(values, key=lambda value: (value == "all", 0 if value == "all" else float(value)))
    if name == "k":  # every k has its place
        known = ["1", "2", "3", "5", "10", "15", "all"]
        x = [known.index(k) if k in known else len(known) for k in order]
        ticks |= dict(zip(x, order, strict=True))
    else:
        x = order
    success = np.stack([values[value].curves().mean(axis=1) for value in order], axis=1)
    low, high = bootstrap_interval(success)
    axes.plot(x, success.mean(axis=0), color=colour, marker="o", markersize=2.5, label=f"prior: {runs[0].prior}")
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def legend(figure: plt.Figure, grid: np.ndarray, note: str) -> None:
    """Put one legend for all panels below them, each label once."""
    named = legend_entries(grid.flat)
    columns = min(4, 1 + grid.shape[1])
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower center",
        ncols=columns,
        fontsize=6,
        title=note,
        title_fontsize=6,
    )


# --- Tables for reading ----------------------------------------------------------------------------------------------


def cell(row: dict, name: str) -> str:
    """Return a mean with its interval, or nothing where there is none."""
    return estimate(row, name, fixed(2))


def arm_title(row: dict) -> str:
    """Return an arm's name for reading."""
    if row["arm"] == "random-policy":
        return "random play"
    if row["arm"] == "llm-policy":
        return f"{row['prior']} alone"
    details = [row["prior"], f"alpha = {row['alpha']:g}" if row.get("alpha") is not None else None]
    details += [f"k = {row['k']}" if row.get("k") is not None else None]
    name = row["arm"].split("-")[0].upper() + ("-Prior" if row["arm"].endswith("-prior") else "")
    return ", ".join([name, *filter(None, details)])


def learning_markdown(rows: list[dict]) -> list[str]:
    """Return the table of learners and policies for reading."""
    head = ["environment", "arm", "success over training", "last success", "in training", "last return", "solved after"]
    head += ["difference", "P(arm > plain)", "seeds"]
    cells = []
    for row in rows:
        reached = (
            f"{row['solved_after']:.0f} ({row['solved']})" if row.get("solved") else "never" if "solved" in row else ""
        )
        count = str(row["seeds"]) if "seeds" in row else f"{row['episodes']} episodes"
        means = [cell(row, name) for name in ("success", "last_success", "last_training", "last_return")]
        more = [reached, cell(row, "difference"), cell(row, "improvement"), count]
        cells.append([describe(row["env"]).title, arm_title(row), *means, *more])
    return [*table_lines(head, cells), ""]


def size_text(size: float, row: dict) -> str:
    """Return a size of data, or that the smallest is enough or the largest is not."""
    if np.isinf(size):
        return f"more than {row['largest']}"
    return f"{row['smallest']} or fewer" if size <= row["smallest"] else f"{size:.0f}"


def ratio_text(row: dict) -> str:
    """Return the ratio of two sizes with its interval; a bound where the smallest size was enough for one of them."""

    def number(value: float) -> str:
        return "∞" if np.isinf(value) else f"{value:.2f}"

    if np.isnan(row["ratio"]):
        return "neither gets there"
    if max(row["needed"], row["needed_plain"]) <= row["smallest"]:
        return "not known: the smallest is enough for both"
    if np.isinf(row["needed_plain"]):
        return f"below {row['needed'] / row['largest']:.2f}: plain CQL does not get there"
    bound = "at most " if row["needed"] <= row["smallest"] else ""
    return bound + with_interval(row["ratio"], row["low"], row["high"], number)


def offline_markdown(rows: list[dict], comparisons: list[dict]) -> list[str]:
    """Return both tables of the offline runs for reading."""
    head = ["environment", "prior", "level of success", "needed with the prior", "needed without", "ratio"]
    cells = []
    for row in comparisons:
        sizes = [size_text(row[name], row) for name in ("needed", "needed_plain")]
        cells.append([describe(row["env"]).title, row["prior"], f"{row['level']:g}", *sizes, ratio_text(row)])
    lines = [CLAIM, *table_lines(head, cells), ""]
    cells = []
    for row in rows:
        transitions = "" if row["transitions"] is None else str(row["transitions"])
        count = str(row["seeds"]) if "seeds" in row else f"{row['episodes']} episodes"
        means = [cell(row, name) for name in ("success", "return")]
        cells.append([describe(row["env"]).title, arm_title(row), transitions, *means, count])
    return [*lines, *table_lines(["environment", "arm", "transitions", "success", "return", "seeds"], cells), ""]


def order(run: PriorRun) -> tuple:
    """Return a run's place in tables and legends: the plain learner first, then prior by prior, policies last."""
    proposals = float(run.k.replace("all", "inf")) if run.k else 0
    return run.env, run.arm in POLICIES, run.arm, run.prior or "", run.size or 0, run.alpha or 0, proposals


def main() -> None:
    """Draw the figure and write the table."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"), table=(args.table, ".csv"))
    runs = sorted((read_prior_run(path) for path in args.runs), key=order)
    plt.rcParams.update(STYLE)
    comparisons: list[dict] = []
    if args.kind == "offline":
        figure = draw_offline(runs)
        envs = {run.env for run in runs if run.learner == "cql"}
        rows, comparisons = offline_rows([run for run in runs if run.env in envs])
        lines = offline_markdown(rows, comparisons)
    elif args.kind == "ablations":
        figure = draw_ablations(runs)
        rows = [row for learner in ("dqn", "ppo") for row in learning_rows(runs, learner) if row["arm"] not in POLICIES]
        lines = learning_markdown(rows)
    else:
        learner = "dqn" if args.kind == "online" else "ppo"
        runs = [run for run in runs if run.alpha is None and run.k is None]
        figure = draw_learning(runs, learner)
        envs = {run.env for run in runs if run.learner == learner}
        rows = learning_rows([run for run in runs if run.env in envs], learner)
        lines = learning_markdown(rows)
    content = pd.concat([pd.DataFrame(rows), pd.DataFrame(comparisons)]) if comparisons else pd.DataFrame(rows)
    write_text(args.table.with_suffix(".csv"), content.to_csv(index=False, float_format="%.8g"))
    if args.missing:
        lines += [f"Not computed yet: {', '.join(args.missing)}.", ""]
    foot = FOOT + ALFWORLD if any(row["env"].startswith("alfworld") for row in rows) else FOOT
    text = "\n".join([INTRODUCTIONS[args.kind], *lines]).rstrip("\n") + "\n" + foot
    write_text(args.table.with_suffix(".md"), text)
    save_figure(figure, args.output)
    print(f"{args.output}: {len(rows)} rows in {args.table.with_suffix('.md')}.")


if __name__ == "__main__":
    run_command_line(main)
