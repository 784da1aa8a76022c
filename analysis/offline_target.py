"""What the target network's interval while pretraining does: the arms that pretrain, once more with online RL's.

    python -m analysis.offline_target --claims config/claims.yaml --runs results/runs/paper/*/*.csv \\
        --seldom results/offline-target/paper/*/*.csv --output results/tables/offline_target.csv \\
        --figure paper_figs/offline_target.pdf

The authors' script for LORO copies the target network every 200 updates while pretraining; those for their other arms
copy it every 1,000, and so does every arm of `paper` online. The protocol `paper` has the 200 for all arms that
pretrain. Here the same arms have 1,000 throughout, all else the same: environment by environment, on average, and what
the rule for the paper's claims (config/claims.yaml) says of them. Where the learner has no such network, SAC's, a run
stands in the claims as it is, and is in no other number. The table for reading, .md, goes beside the .csv.

The figure has a panel for each environment and a row for each arm: its difference from online RL by the paper's sum,
per evaluation and normalised, with either interval.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import envs
from analysis.arms import read_name
from analysis.colours import BLACK, BLUE, ORANGE
from analysis.judging import Judged, Runs, fine, judge, pooled, read_claims
from analysis.main_table import ARMS
from analysis.measures import STEPS_AFTER, SUM, Pair
from analysis.plotting import LEGEND, STYLE, save_figure
from analysis.protocols import OFTEN, SELDOM
from analysis.runs import Run, check_same_episodes, description, read_runs
from analysis.statistics import difference_p_value
from analysis.verdict import summary
from analysis.wording import flowed, number, p_value, short, signed, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

COMPARED = {
    "change": f"every {SELDOM:,} minus every {OFTEN}",
    "often": f"every {OFTEN} minus online RL",
    "seldom": f"every {SELDOM:,} minus online RL",
}
"""The comparisons of an arm that pretrains in an environment."""
INTERVALS = {
    "often": (ORANGE, f"target network copied every {OFTEN} updates while pretraining (the protocol `paper`)"),
    "seldom": (BLUE, f"every {SELDOM:,}, as online"),
}
"""The two intervals in the figure: colour and label, by the comparison with online RL."""
INTRODUCTION = f"""\
The protocol `paper` copies the target network every {OFTEN} updates while pretraining, as the authors' script for LORO
does, and every {SELDOM:,} online; their scripts for the other arms have {SELDOM:,} throughout. Here the arms that
pretrain were trained once more with {SELDOM:,} throughout, all else as in `paper`: an arm and online RL then differ by
the pretraining alone. This was done after the runs with {OFTEN} had been read, because of what LORO loses in CartPole;
the protocol and the rule stay as they were, and the verdicts in [claims](../claims.md) are those with {OFTEN}."""
ARM_BY_ARM = """\
Cumulative rewards, means over seeds, and their differences [95% bootstrap interval over independent seeds] (p-value of
Welch's t-test, not corrected for being several). At equal steps: the return per evaluation after the warm-up, the LLM's
own steps counted, every 1,000 minus online RL. Action value: the learner's mean estimate in the first iteration with
updates after pretraining, every 200 and every 1,000. Seeds: every 200, every 1,000, online RL."""
ON_AVERAGE = """\
Means over the environments whose learner has a target network to copy, of the difference of normalised scores (0 random
play, 1 an expert) [stratified bootstrap interval]."""
RULE = """\
What the rule says where all arms that pretrain have the one interval, or all the other. Runs of SAC, which moves its
target network a little at every update, stand in both. The replications by other seeds, which may turn a verdict in
[claims](../claims.md) to open, are left out of both: they were trained with the protocol's interval alone. In brackets:
over how many environments a mean is."""


@dataclass
class Args:
    """Write the table of the target network's interval while pretraining."""

    claims: Path
    """the claims and the rule"""
    runs: tuple[Path, ...]
    """run files .../paper/<env>/<arm>.csv: the arms with the protocol's interval, and what they are held against"""
    seldom: tuple[Path, ...]
    """run files .../paper/<env>/<arm>.csv of the same arms, made with --offline-target-update-interval 1000"""
    output: Path
    """the CSV to write; the .md goes beside it"""
    figure: Path
    """the PDF to write; the PNG goes beside it"""


def concerned(env: str, name: str) -> bool:
    """Return whether the interval changes anything in a run: it pretrains, with a target network that is copied."""
    named = read_name(name)
    pretrains = named is not None and named.pretrain_steps is not None and not named.arm.startswith("ppo")
    return pretrains and envs.get(env).learner == "dqn"


def read_all(paths: tuple[Path, ...], interval: int) -> Runs:
    """Read runs of `paper`; raise UsageError where one has another protocol, or pretrained with another interval."""
    runs = read_runs(paths)
    for (protocol, env, name), run in runs.items():
        told = description(run.path).get("arguments", {}).get("offline_target_update_interval", OFTEN)
        if protocol != "paper" or (concerned(env, name) and told != interval):
            raise UsageError(
                f"{run.path} is not of the protocol paper with --offline-target-update-interval {interval}."
            )
    return runs


def compared(runs: Runs, seldom: Runs, env: str, name: str) -> dict[str, Pair]:
    """Return the comparisons of one arm in one environment, those of COMPARED that there are runs for."""
    often, rarely = runs.get(("paper", env, name)), seldom[("paper", env, name)]
    online = runs.get(("paper", env, "online"))
    both = {"change": (rarely, often), "often": (often, online), "seldom": (rarely, online)}
    return {which: Pair(env, *both[which]) for which in COMPARED if all(both[which])}


def told_of(name: str) -> str:
    """Name an arm and its settings for reading: "LORO (qwen-7b, τ=10, N=3000)"."""
    named = read_name(name)
    llm = [named.llm] if named.llm else []
    return f"{ARMS[named.arm]} ({', '.join([*llm, f'τ={named.tau}', f'N={named.pretrain_steps}'])})"


def after_pretraining(run: Run) -> float:
    """Return the mean action value in the first iteration with updates, over batches and seeds; NaN where none has any.

    That is the iteration after pretraining, or a later one: updates wait until the buffer holds more than a batch.
    """
    means = run.table[run.table.iteration >= run.tau].groupby("iteration").q_mean.mean().dropna()
    return float(means.iloc[0]) if len(means) else np.nan


def rows_of(name: str, pairs: dict[str, Pair]) -> list[dict[str, Any]]:
    """Return the CSV's rows of an arm in an environment, one for each comparison."""
    rows = []
    for which, pair in pairs.items():
        ours, theirs = pair.rewards(SUM)
        rows.append({"env": pair.env, "name": name, "comparison": COMPARED[which], "ours": ours.mean()})
        rows[-1] |= {"theirs": theirs.mean(), "p_value": difference_p_value(ours, theirs)}
        rows[-1] |= {"our_seeds": len(ours), "their_seeds": len(theirs), "our_value": after_pretraining(pair.ours)}
        for column, measure in (("difference", SUM), ("at_equal_steps", STEPS_AFTER)):
            names = [f"{column}{part}" for part in ("", "_low", "_high")]
            rows[-1] |= dict(zip(names, pair.difference(measure), strict=True))
    return rows


def cells_of(name: str, pairs: dict[str, Pair]) -> list[str]:
    """Return the cells of an arm in an environment, for reading."""
    runs = {"often": pairs["change"].theirs, "seldom": pairs["change"].ours, "online": pairs["seldom"].theirs}
    sums = [number(run.curves().sum(axis=1).mean()) for run in runs.values()]
    told = [
        f"{with_interval(*pairs[which].difference())} ({p_value(difference_p_value(*pairs[which].rewards(SUM)))})"
        for which in ("change", "seldom")
    ]
    values = " → ".join(short(after_pretraining(runs[which])) for which in ("often", "seldom"))
    seeds = ", ".join(str(run.table.seed.nunique()) for run in runs.values())
    at_equal_steps = fine(pairs["seldom"].difference(STEPS_AFTER))
    return [envs.get(runs["seldom"].env).title, told_of(name), *sums, *told, at_equal_steps, values, seeds]


def averages(found: dict[tuple[str, str], dict[str, Pair]]) -> list[list[str]]:
    """Return the rows of the means over environments, one for each arm."""
    rows = []
    for name in dict.fromkeys(name for _, name in found):
        of_arm = [pairs for (_, other), pairs in found.items() if other == name]
        means = [with_interval(*pooled([pairs[which] for pairs in of_arm]), signed(3)) for which in COMPARED]
        rows.append([told_of(name), *means, str(len(of_arm))])
    return rows


def judged_both(content: dict[str, Any], runs: Runs, seldom: Runs) -> list[tuple[Judged, Judged]]:
    """Judge the claims about arms that were trained with both intervals: by the protocol's runs, and by the others.

    Where an arm was not trained with the other interval in an environment, that environment is open.
    """
    unconcerned = {key: run for key, run in runs.items() if not concerned(*key[1:])}
    names = {name for _, _, name in seldom}
    both = []
    for claim in content["claims"]:
        arms = [claim[side] for side in ("arm", "against") if side in claim]
        pretrained = {arm for arm in arms if any(concerned(env, arm) for env in claim["environments"])}
        if pretrained and pretrained <= names:
            both.append((judge(claim, runs, content), judge(claim, unconcerned | seldom, content)))
    return both


def markdown(
    found: dict[tuple[str, str], dict[str, Pair]], both: list[tuple[Judged, Judged]], content: dict[str, Any]
) -> str:
    """Return the table for reading."""
    often, seldom = f"every {OFTEN}", f"every {SELDOM:,}"
    head = ["environment", "arm", often, seldom, "online RL", COMPARED["change"], COMPARED["seldom"], "at equal steps"]
    head += ["action value", "seeds"]
    lines = ["# The target network while pretraining", "", flowed(INTRODUCTION), "", "## Arm by arm", ""]
    lines += [flowed(ARM_BY_ARM), "", *table_lines(head, (cells_of(name, pairs) for (_, name), pairs in found.items()))]
    lines += ["", "## On average", "", flowed(ON_AVERAGE), ""]
    lines += table_lines(["arm", *COMPARED.values(), "environments"], averages(found))
    if not both:
        return "\n".join([*lines, *missing_lines(found)]) + "\n"
    lines += ["", "## What the rule says", "", flowed(RULE), ""]
    rows: list[list[str]] = []
    head = ["claim", often, seldom, f"verdict, {often}", f"verdict, {seldom}", f"why, {seldom}"]
    for ours, theirs in both:
        verdicts = [ours.verdict, f"**{theirs.verdict}**", theirs.evidence]
        rows.append([ours.claim["claim"], summary(ours, "paper"), summary(theirs, "paper"), *verdicts])
    lines += table_lines(head, rows)
    judged = [ours.claim for ours, _ in both]
    if others := [f"*{claim['claim']}*" for claim in content["claims"] if claim not in judged]:
        lines += ["", flowed(f"Not computed, because of arms with other settings: {'; '.join(others)}.")]
    return "\n".join([*lines, *missing_lines(found)]) + "\n"


def missing_lines(found: dict[tuple[str, str], dict[str, Pair]]) -> list[str]:
    """Name the arms that were not trained in one of the environments, but in another; nothing where there are none."""
    shown, names = (dict.fromkeys(part) for part in zip(*found, strict=True))
    missing = {env: [told_of(name) for name in names if (env, name) not in found] for env in shown}
    told = [f"- {envs.get(env).title}: {'; '.join(arms)}." for env, arms in missing.items() if arms]
    return ["", f"## Not computed yet, every {SELDOM:,}", "", *told] if told else []


def draw(found: dict[tuple[str, str], dict[str, Pair]]) -> plt.Figure:
    """Return the figure."""
    shown, names = dict.fromkeys(env for env, _ in found), list(dict.fromkeys(name for _, name in found))
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    size = (7.0, 0.7 + (0.45 + 0.17 * len(names)) * lines)
    figure, grid = plt.subplots(lines, columns, squeeze=False, sharey=True, figsize=size, layout="constrained")
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, env in zip(grid.flat, shown, strict=False):
        for place, name in enumerate(names):
            draw_arm(axes, place, found.get((env, name)))
        axes.axvline(0, color=BLACK, lw=0.6)
        axes.set_title(envs.get(env).title)
        axes.set_yticks(range(len(names)), map(told_of, names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(plt.MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.grid(axis="x", color="#E6E6E6", lw=0.5)
        axes.set_axisbelow(True)
    figure.suptitle(
        "difference from online RL by the sum (the warm-up counted), per evaluation, normalised; bars: 95% intervals",
        fontsize=7,
    )
    handles = [Line2D([], [], color=c, marker="o", ms=3, lw=1.1, label=label) for c, label in INTERVALS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, **LEGEND)
    return figure


def draw_arm(axes: Axes, place: int, pairs: dict[str, Pair] | None) -> None:
    """Draw one arm in one environment: both intervals, one above the other."""
    if pairs is None:
        at = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center", "fontsize": 5.5}
        axes.text(0.5, place, "not computed", color="#777777", **at)
        return
    for offset, (which, (color, _)) in zip((-0.16, 0.16), INTERVALS.items(), strict=True):
        mean, low, high = (value / pairs[which].scale for value in pairs[which].difference())
        axes.plot([mean], [place + offset], "o", color=color, ms=3)
        axes.plot([low, high], [place + offset] * 2, color=color, lw=1.1)


def main() -> None:
    """Compare, judge, draw and write."""
    args = tyro.cli(Args)
    given = [args.claims, *args.runs, *args.seldom]
    check_outputs(given, output=(args.output, ".csv"), figure=(args.figure, ".pdf"))
    content = read_claims(args.claims)
    runs, seldom = read_all(args.runs, OFTEN), read_all(args.seldom, SELDOM)
    check_same_episodes([*args.runs, *args.seldom])
    places = {env: place for place, env in enumerate(envs.ENVIRONMENTS)}
    keys = sorted(((env, name) for _, env, name in seldom), key=lambda key: places[key[0]])
    found = {key: compared(runs, seldom, *key) for key in keys}
    if lacking := [f"{name} in {env}" for (env, name), pairs in found.items() if len(pairs) < len(COMPARED)]:
        raise UsageError(f"--runs lack online RL, or the same arm with the protocol's interval: {', '.join(lacking)}.")
    plt.rcParams.update(STYLE)
    save_figure(draw(found), args.figure)
    table = pd.DataFrame([row for (_, name), pairs in found.items() for row in rows_of(name, pairs)])
    write_text(args.output, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(args.output.with_suffix(".md"), markdown(found, judged_both(content, runs, seldom), content))
    print(f"{args.output}: {len(found)} arms that pretrain, in {len({env for env, _ in found})} environments.")


if __name__ == "__main__":
    run_command_line(main)
