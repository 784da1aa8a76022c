"""LORO, mix, online RL and DQN-Prior side by side: one LLM, as many environment steps, and what the LLM was asked for.

    python -m analysis.four_ways --runs results/runs/{paper,prior}/{cartpole,cliff-walking,frozen-lake}/*.csv \\
        --datasets results/datasets/*/qwen-coder-0.5b-calibrated/meta.json \\
        --priors results/priors/*/qwen-coder-0.5b-calibrated.jsonl \\
        --output paper_figs/prior_four_ways.pdf --table results/tables/prior_four_ways.csv

LORO and mix (arXiv 2505.10861) learn from an LLM's episodes and then alone; DQN-Prior (arXiv 2410.07927) lets the LLM
propose the actions for ever. That both have the same LLM, told the same words and calibrated alike, and that all learn
with the same network, buffer, learning rate and number of steps, is checked here, not believed. The PNG goes beside the
PDF, the .md beside the table's CSV. Runs of other LLMs are ignored.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro

import envs
from analysis.colours import AMBER, BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY
from analysis.measures import LAST, common_extent, mean_return
from analysis.plotting import LEGEND, STYLE, Curve, Level, draw_panel, explanations, legend_entries, save_figure
from analysis.prior_runs import read_prior_run
from analysis.runs import POLICIES, Run, description, read_run
from analysis.scales import SCALES
from analysis.statistics import (
    bootstrap_interval,
    difference_interval,
    mean_of_means,
    probability_of_improvement,
    stratified_interval,
)
from analysis.wording import estimate, short, table_lines
from envs.errors import Failure, UsageError, run_command_line
from envs.files import check_outputs, write_text

ALIKE = ("hidden_size", "learning_rate", "batch_size", "buffer_size", "gamma", "iteration_steps", "iterations")
"""Arguments that all learners of an environment must share."""
ROUNDING = 1e-3
"""Log-probabilities of the same text, read in batches of another size, differ by less."""
WINDOW = 5
"""Iterations of the figure's running mean."""
DASHED = (0, (3, 1.5))

INTRODUCTION = """\
# LORO, mix, online RL and DQN-Prior, with the same LLM and the same number of steps

The LLM is {llm}: for its episodes and as a prior it gets the same words, is calibrated by the same sentence and sampled
at the same temperature; that is checked. Per evaluation: the mean return of all evaluations, the LLM's mean return
standing for each warm-up episode of LORO and mix. Over steps: the same, each evaluation weighed by the environment
steps before it, the LLM's own counted, as far as the shortest learner goes; the differences are of this. Last: the mean
of the last {last} evaluations. LLM decides: the steps in which the LLM has a say, in training alone; in DQN-Prior it
has one in every evaluation too. Distinct prompts: those that the LLM has read for that, for all agents together, its
calibration among them.
"""
FOOT = """
Means over seeds (of the LLM: over its episodes) [95% bootstrap interval; of few seeds it is too narrow]. "DQN, no
prior" is DQN-Prior's program without a prior: with probability {epsilon} it takes any action at random. DQN-Prior draws
{k} proposals from the prior and chooses among them by exp(Q / {temperature}); the uniform prior, a control, does the
same and knows nothing. Evaluations draw too: what the prior holds unlikely is seldom done, however well it is learnt.

Alike by check: {alike}; an update for each step, the Huber loss. What still differs between the programs: online RL,
LORO and mix have Double DQN, a network from states to the values of all actions, updated after every step with Adam,
and copy the target network every 1,000 updates. DQN and DQN-Prior read state and action together, back up the maximum
over the proposals, make an iteration's updates after its steps, with AdamW, and let the target network follow at a rate
of {target_rate}, so that it lags as far behind on average. So LORO and mix are to be compared with online RL first,
DQN-Prior with DQN without a prior. Online RL, LORO and mix are evaluated in one episode where nothing is random, all
others in {eval_episodes}. The LLM's episodes are cut to its likeliest words (top-p {top_p}), the prior is not:
DQN-Prior can draw all that the LLM finds possible.
"""


@dataclass
class Args:
    """Draw the four ways side by side, and write the table."""

    runs: tuple[Path, ...]
    """the run files: .../paper/<env>/<arm>.csv and .../prior/<env>/<arm>.csv"""
    datasets: tuple[Path, ...]
    """meta.json of the LLM's episodes in each environment: .../<env>/<llm>/meta.json"""
    priors: tuple[Path, ...]
    """the LLM's prior in each environment: .../<env>/<llm>.jsonl"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    missing: tuple[str, ...] = ()
    """runs that belong to it and are not computed yet, to be named below the table"""


@dataclass(frozen=True)
class Budget:
    """What an LLM was asked for."""

    decisions: int
    """steps in which it had a say"""
    texts: int
    """distinct texts that it read"""


Ways = dict[tuple[str, str], Run]
"""By environment and name; a name of the second paper's has its LLM or control, `dqn` none."""


# --- What goes side by side ------------------------------------------------------------------------------------------


def read_way(path: Path) -> Run:
    """Read a run of either paper; a prior stands where an LLM does."""
    if path.parts[-3:-2] != ("prior",):
        return read_run(path)
    run = read_prior_run(path)
    return Run(run.path, "paper", run.env, run.arm, run.prior, None, None, run.table)


def read_ways(paths: tuple[Path, ...], llm: str) -> Ways:
    """Read the runs that concern `llm`, no LLM or a control; raise UsageError where there is nothing to compare."""
    places = {env: place for place, env in enumerate(envs.ENVIRONMENTS)}
    ways: Ways = {}
    for run in sorted(map(read_way, paths), key=lambda run: (places.get(run.env, len(places)), order(run))):
        known = run.arm in ("online", "dqn") or run.llm == llm or (run.arm, run.llm) == ("dqn-prior", "uniform")
        if known and (run.env, run.path.stem) not in ways:
            ways[run.env, run.path.stem] = run
        elif known:
            raise UsageError(f"{ways[run.env, run.path.stem].path} and {run.path} are the same run twice: give one.")
    arms = {run.arm for run in ways.values()}
    if not arms & {"dqn-prior"} or not arms & {"loro", "mix"}:
        raise UsageError(f"There is no run of DQN-Prior, or none of LORO and mix, with {llm}: nothing to compare.")
    return ways


def arguments_of(run: Run) -> dict[str, Any]:
    """Return the arguments that a run was made with; raise Failure where its .json does not say them."""
    told = description(run.path).get("arguments")
    if told is None:
        raise Failure(f"{run.path} has no .json beside it that says how it was made.")
    return told


def check_learners(runs: list[Run]) -> None:
    """Raise Failure where the learners of one environment do not share what they should."""
    first = runs[0]
    expected = {name: arguments_of(first).get(name) for name in ALIKE}
    for run in runs:
        told = arguments_of(run)
        for name, value in expected.items():
            if told.get(name) != value:
                raise Failure(f"{run.path} was made with {name} {told.get(name)}, {first.path} with {value}.")
        if run.arm.startswith("dqn") and (told["updates"], told["huber"]) != (told["iteration_steps"], True):
            raise Failure(f"{run.path} was not made with the Huber loss and one update a step.")


def check_same_llm(meta: dict[str, Any], prior: Path, run: Run) -> None:
    """Raise Failure where the episodes and the prior of DQN-Prior's `run` are not of one LLM, asked alike."""
    header, *rows = map(json.loads, prior.read_text(encoding="utf-8").splitlines())
    told, decision = arguments_of(run), meta["decision"]
    pairs = {
        "model": (meta["model"]["sha256"], header["model"]["sha256"]),
        "prompt": (meta["prompt"], header["prompt"]),
        "way of deciding": (decision["decide"], header["way"]),
        "calibration": (decision["calibrate"], told["calibrated"]),
        "normalisation by length": (decision["length_normalised"], told["length_normalised"]),
        "temperature": (decision["temperature"], told["prior_temperature"]),
    }
    for name, (of_episodes, of_prior) in pairs.items():
        if of_episodes != of_prior:
            raise Failure(f"The LLM's episodes in {run.env} and the prior of {run.path} differ in their {name}.")
    readings = [dict(zip(row["actions"], row["log_p"], strict=True)) for row in rows]
    if decision["calibrate"] and not any(is_alike(reading, meta["baseline"]) for reading in readings):
        raise Failure(f"The prior {prior} holds no text that is the calibration of the LLM's episodes in {run.env}.")


def is_alike(a: dict[str, float], b: dict[str, float]) -> bool:
    """Return whether two readings give the same words the same log-probabilities, up to rounding."""
    return a.keys() == b.keys() and all(abs(a[word] - b[word]) < ROUNDING for word in a)


# --- Numbers ---------------------------------------------------------------------------------------------------------


@cache  # the same transcripts for every arm that learns from them
def budget_of_episodes(meta: Path, tau: int) -> Budget:
    """Return what the first `tau` episodes beside `meta` took."""
    with gzip.open(meta.with_name("transcripts.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["episode"] < tau]
    calibration = int(json.loads(meta.read_text(encoding="utf-8"))["decision"]["calibrate"])
    return Budget(len(rows), len({row["prompt_sha256"] for row in rows}) + calibration)


def budget_of_prior(prior: Path, run: Run) -> Budget:
    """Return what the prior of a run took: a decision a step, and a text a row below the file's first line."""
    texts = len(prior.read_text(encoding="utf-8").splitlines()) - 1
    return Budget(round(run.steps()[-1]), texts)


def over_steps(run: Run, extent: float) -> np.ndarray:
    """Return each seed's mean return [seeds] over the environment steps up to `extent`."""
    return mean_return(run, 0, extent, "steps")


def figures(name: str, values: np.ndarray) -> dict[str, float]:
    """Return a mean and its interval as three columns."""
    low, high = bootstrap_interval(values)
    return {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Return a difference of means and its interval as three columns, and how likely a seed is to be better."""
    low, high = difference_interval(ours, theirs)
    columns = {name: float(ours.mean() - theirs.mean()), f"{name}_low": low, f"{name}_high": high}
    return columns | {f"{name}_improvement": probability_of_improvement(ours, theirs)}


def rows_of(env: str, runs: dict[str, Run], budgets: dict[str, Budget]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one environment."""
    extent = common_extent(list(runs.values()), "steps")
    for name, run in runs.items():
        values, policy = over_steps(run, extent), run.arm in POLICIES
        row: dict[str, Any] = {"env": env, "run": name, "arm": title(run), "extent": extent}
        row |= {"episodes" if policy else "seeds": len(values)} | figures(
            "per_evaluation", mean_return(run, 0, run.iterations, "iterations")
        )
        if not policy:
            row |= figures("over_steps", values) | figures(
                "last", mean_return(run, run.iterations - LAST, run.iterations, "iterations")
            )
            row["env_steps"] = run.steps()[-1]
        for other, column in (("online", "against_online"), ("dqn", "against_dqn")):
            if other in runs and name != other and not policy and (other == "online" or run.arm == "dqn-prior"):
                row |= difference(column, values, over_steps(runs[other], extent))
        if name in budgets:
            row |= {"decisions": budgets[name].decisions, "texts": budgets[name].texts}
        yield row


def across(ways: Ways) -> Iterator[dict[str, Any]]:
    """Yield the mean normalised score over environments of each learner that has a run in all of them."""
    everywhere = list(dict.fromkeys(env for env, _ in ways))
    extents = {env: common_extent([run for (e, _), run in ways.items() if e == env], "steps") for env in everywhere}
    for name in dict.fromkeys(name for _, name in ways):
        runs = [ways.get((env, name)) for env in everywhere]
        if any(run is None or run.arm in POLICIES for run in runs):
            continue
        strata = [(over_steps(r, extents[r.env]) - SCALES[r.env].random) / SCALES[r.env].width for r in runs]
        low, high = stratified_interval(strata, mean_of_means)
        row = {"env": "all", "run": name, "arm": title(runs[0])}
        row["seeds"] = " ".join(str(len(stratum)) for stratum in strata)
        yield row | {"normalised": float(mean_of_means(*strata)), "normalised_low": low, "normalised_high": high}


def order(run: Run) -> tuple[int, int, str]:
    """Return a run's place in tables and legends; what is shown in neither comes last."""
    arms = ("llm-policy", "online", "mix", "loro", "dqn", "dqn-prior")
    return arms.index(run.arm) if run.arm in arms else len(arms), -(run.pretrain_steps or 0), run.llm or ""


# --- For reading -----------------------------------------------------------------------------------------------------


def title(run: Run) -> str:
    """Return what a way is called."""
    if run.arm == "loro":
        return f"LORO, N = {run.pretrain_steps:,}"
    names = {"llm-policy": "the LLM alone", "online": "online RL", "mix": "mix", "dqn": "DQN, no prior"}
    names["dqn-prior"] = "DQN-Prior, uniform prior" if run.llm == "uniform" else "DQN-Prior, the LLM's prior"
    return names[run.arm]


def style_of(run: Run, most_steps: int) -> dict[str, Any]:
    """Return a line's style: Okabe and Ito's colours, a dash for what is a control or a second setting."""
    first = run.pretrain_steps == most_steps
    styles = {
        "online": {"color": BLUE},
        "mix": {"color": GREEN},
        "loro": {"color": ORANGE} if first else {"color": AMBER, "ls": DASHED},
        "dqn": {"color": SKY, "ls": DASHED},
        "dqn-prior": {"color": PURPLE, "ls": DASHED} if run.llm == "uniform" else {"color": PURPLE, "lw": 1.5},
    }
    return {**styles[run.arm], "label": title(run)}


def draw(ways: Ways, llm: str) -> plt.Figure:
    """Draw returns over environment steps, a panel for each environment."""
    everywhere = list(dict.fromkeys(env for env, _ in ways))
    most = max((run.pretrain_steps or 0 for run in ways.values()), default=0)
    figure, grid = plt.subplots(1, len(everywhere), squeeze=False, figsize=(7.0, 2.9), layout="constrained")
    drawn: list[Curve] = []
    for axes, env in zip(grid[0], everywhere, strict=True):
        runs = [run for (e, _), run in ways.items() if e == env]
        curves = [Curve(run, style_of(run, most), WINDOW) for run in runs if run.arm not in POLICIES]
        alone = {"color": BLACK, "ls": (0, (1, 1.5)), "lw": 0.9, "label": "the LLM alone"}
        levels = [Level("the LLM", run.mean_return(), alone) for run in runs if run.arm == "llm-policy"]
        draw_panel(axes, curves, levels, curves[0].run.iterations, over_steps=True)
        drawn += curves
        axes.set_title(envs.get(env).title)
        axes.set_xlabel(f"environment steps\n(running mean over {WINDOW} evaluations)")
    grid[0, 0].set_ylabel("return (greedy)")
    entries = [*legend_entries(grid[0]).values(), *explanations(drawn)]
    figure.legend(handles=entries, loc="outside lower center", ncols=4, title=f"LLM: {llm}", title_fontsize=6, **LEGEND)
    return figure


def markdown(rows: list[dict[str, Any]], llm: str, ways: Ways, meta: dict[str, Any], missing: tuple[str, ...]) -> str:
    """Return the page."""
    head = ["environment", "arm", "per evaluation", "over steps", "last", "against online RL", "against DQN, no prior"]
    head += ["steps", "LLM decides", "distinct prompts", "seeds"]
    shown = []
    for row in [row for row in rows if row["env"] != "all"]:
        names = ("per_evaluation", "over_steps", "last", "against_online", "against_dqn")
        counts = [f"{row[name]:,.0f}" if name in row else "" for name in ("env_steps", "decisions", "texts")]
        seeds = str(row["seeds"]) if "seeds" in row else f"{row['episodes']} episodes"
        shown.append(
            [envs.get(row["env"]).title, row["arm"], *(estimate(row, name, short) for name in names), *counts, seeds]
        )
    lines = [INTRODUCTION.format(llm=llm, last=LAST), *table_lines(head, shown)]
    whole = [row for row in rows if row["env"] == "all"]
    titles = [envs.get(env).title for env in dict.fromkeys(env for env, _ in ways)]
    if whole and len(titles) > 1:
        lines += ["", f"Normalised (0 random play, 1 an expert), over steps, mean of {', '.join(titles)}:", ""]
        cells = [[row["arm"], estimate(row, "normalised", short), str(row["seeds"])] for row in whole]
        lines += table_lines(["arm", "normalised", "seeds"], cells)
    if missing:
        lines += ["", f"Not computed yet: {', '.join(missing)}."]
    plain, prior = (
        next((arguments_of(run) for run in ways.values() if run.arm == arm), {}) for arm in ("dqn", "dqn-prior")
    )
    alike = ", ".join(f"{name.replace('_', ' ')} {prior[name]:,}" for name in ALIKE[:-1])
    settings = {name: prior[name] for name in ("k", "temperature", "target_rate", "eval_episodes")}
    settings |= {"epsilon": plain.get("epsilon", "epsilon"), "top_p": meta["decision"]["top_p"]}
    return "\n".join(lines) + "\n" + FOOT.format(**settings, alike=alike)


def llm_of(args: Args) -> str:
    """Return the LLM whose episodes and priors were given; raise UsageError where they are of several or of none."""
    named = {meta.parent.name for meta in args.datasets} | {prior.stem for prior in args.priors}
    if len(named) != 1:
        raise UsageError(f"Episodes and priors must be of one LLM, not of {', '.join(sorted(named)) or 'none'}.")
    return named.pop()


def budgets_of(runs: dict[str, Run], llm: str, meta: Path | None, prior: Path | None) -> dict[str, Budget]:
    """Return what the LLM was asked for by each run of one environment, after checks that it is one LLM."""
    budgets = {}
    for name, run in runs.items():
        if run.llm != llm or run.arm in POLICIES:
            continue
        if meta is None or (run.arm == "dqn-prior" and prior is None):
            raise UsageError(f"{run.path}: give the LLM's episodes and prior in {run.env} too (--datasets, --priors).")
        if run.arm == "dqn-prior":
            content = json.loads(meta.read_text(encoding="utf-8"))
            check_same_llm(content, prior, run)
            budgets[name] = budget_of_prior(prior, run)
        else:
            budgets[name] = budget_of_episodes(meta, run.tau)
    return budgets


def main() -> None:
    """Check that all is alike, draw the figure and write the table."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"), table=(args.table, ".csv"))
    llm = llm_of(args)
    metas, priors = {path.parts[-3]: path for path in args.datasets}, {path.parts[-2]: path for path in args.priors}
    ways, rows = read_ways(args.runs, llm), []
    for env in dict.fromkeys(env for env, _ in ways):
        here = {name: run for (e, name), run in ways.items() if e == env}
        check_learners([run for run in here.values() if run.arm not in POLICIES])
        rows += rows_of(env, here, budgets_of(here, llm, metas.get(env), priors.get(env)))
    rows += across(ways)
    meta = json.loads(args.datasets[0].read_text(encoding="utf-8"))
    plt.rcParams.update(STYLE)
    save_figure(draw(ways, llm), args.output)
    write_text(args.table.with_suffix(".csv"), pd.DataFrame(rows).to_csv(index=False, float_format="%.8g"))
    write_text(args.table.with_suffix(".md"), markdown(rows, llm, ways, meta, args.missing))
    print(f"{args.output}: {len(rows)} rows in {args.table.with_suffix('.md')}.")


if __name__ == "__main__":
    run_command_line(main)
