"""The paper's claims, judged by a written rule: the published numbers, and ours under both protocols.

    python -m analysis.verdict --claims config/claims.yaml \\
        --runs results/runs/{paper,released,published}/*/*.csv --output results/claims.md \\
        --figure paper_figs/verdict.pdf

The rule is in config/claims.yaml, how it judges in analysis/judging.py; what is judged is the cumulative reward under
the protocol `paper`. Beside it stand the same difference at equal environment steps, after the warm-up and at the end
of training (analysis.measures), which decide nothing. The figure is a forest plot: for each claim the mean over
environments of what it says, with stratified bootstrap intervals (seeds are resampled within environments); of the
claim of a factor, the largest ratio. A claim whose runs are not all there is drawn over the environments that have
them, and says over how many. The table of verdicts is written as a CSV file too, beside the .md. The claims of the
second paper, on LLM priors, follow in a section of their own (analysis/prior_verdict.py); they are not in the figure,
whose scale is another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import envs
from analysis.colours import BLACK, BLUE, GREY, ORANGE, SKY
from analysis.fidelity import UNCHANGED_ENVIRONMENTS
from analysis.judging import Judged, end_of, fine, judge, largest_ratio, mean_end, pooled, read_claims, times
from analysis.measures import AFTER, END, LAST, STEPS, STEPS_AFTER, SUM, UPDATES_AFTER, Pair
from analysis.plotting import STYLE, save_figure
from analysis.prior_verdict import read_prior_runs, section
from analysis.rule import OPEN
from analysis.runs import POLICIES, PROTOCOLS, common_iterations, read_runs
from analysis.statistics import Estimate
from analysis.wording import COVERS_A_DIFFERENCE, fixed, flowed, number, p_value, signed, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

SUMMARIES = {
    "published": ("published", SUM, GREY),
    "released protocol": ("released", SUM, ORANGE),
    "paper protocol": ("paper", SUM, BLUE),
    "paper protocol, after the warm-up and at equal steps": ("paper", STEPS_AFTER, SKY),
}
"""The numbers of each claim, in the first table and in the figure: protocol, measure, colour."""
MARK = {"ms": 3.5, "ls": "none"}
WITHIN = "#EFE7F2"
"""The colour of what lies within the margin."""
FARTHEST = 1.0
"""A difference as large as from random play to the expert; published ones beyond it stand at the figure's edge."""


@dataclass
class Args:
    """Judge the claims."""

    claims: Path
    """the claims, the rule, and what is known of environments and LLMs"""
    runs: tuple[Path, ...]
    """run files of all protocols: .../<protocol>/<env>/<arm>.csv, and of the second paper: .../prior/<env>/<arm>.csv"""
    output: Path
    """the .md to write; the table of verdicts goes beside it as .csv"""
    figure: Path
    """the PDF of the forest plot; the PNG goes beside it"""
    again: tuple[Path, ...] = ()
    """run files of the same arms with other seeds, which must confirm what the first ones show"""


# --- For reading -----------------------------------------------------------------------------------------------------


def summary(judged: Judged, protocol: str, measure: str = SUM) -> str:
    """Return a cell: mean normalised difference or largest ratio, of how many environments, and single chains."""
    if judged.ends:
        found = mean_end(judged, protocol)
        if found is None or measure != SUM:
            return ""
        estimate, count = found
        reached = f"; reached in {list(judged.states.values()).count('reached')}" if protocol == "paper" else ""
        single = [env for env, ends in judged.ends[protocol].items() if ends is not None and len(ends) == 1]
        return f"{with_interval(*estimate, fixed(2))} of the way {extent_of(count, single, protocol)}{reached}"
    pairs = judged.counted(protocol)
    if not pairs:
        return ""
    extent = extent_of(len(pairs), [pair.env for pair in pairs if min(pair.seeds) < 2], protocol)
    if judged.claim["kind"] == "factor":
        best = largest_ratio(pairs, measure)
        return f"{times(best[1])} times in {envs.get(best[0]).title} {extent}" if best else ""
    return f"{with_interval(*pooled(pairs, measure), signed(3))} {extent}"


def extent_of(count: int, single: list[str], protocol: str) -> str:
    """Say over how many environments a mean is, and of which of them there is one chain alone."""
    titles = [envs.get(env).title for env in single] if protocol != "published" else []
    return f"({count}{'; one chain in ' + ', '.join(titles) if titles else ''})"


def introduction(judged: list[Judged], content: dict[str, Any], priors_follow: bool) -> str:
    """Return what the reader of the first table must know."""
    decided = [one for one in judged if one.verdict != OPEN]
    known = sum(bool(one.claim.get("known")) for one in decided)
    asked = sum(one.claim["source"].startswith("ours") for one in judged)
    where = ", ".join(envs.get(env).title for env in UNCHANGED_ENVIRONMENTS)
    more = " The second paper's claims follow in a section of their own." if priors_follow else ""
    return f"""\
The paper's full text was not at hand: {len(judged) - asked} of the claims are its abstract's or reported by a review,
{asked} are ours, tested on its figures; the source stands with each. The rule is in `config/claims.yaml`, with what was
changed in it after runs had been read: at least {content["rule"]["fewest_seeds"]} independent seeds, protocol `paper`;
where an arm is said to be better than another, Welch's t-test, corrected for the claim's environments (Holm), else 95%
bootstrap intervals. These are too narrow over few seeds: they cover {COVERS_A_DIFFERENCE}.
They are over seeds, in these environments, and say nothing of others. Decided are {len(decided)} of the
{len(judged)} claims, {known} of them by runs that had been read when the rule was first written.

Numbers in the table: mean over environments of the difference of normalised scores (0 random play, 1 an expert), [its
stratified bootstrap interval], (over how many environments); of the claim of a factor, the largest ratio; of the
optimum, how far the last evaluations have come from random play to it. The last number is of the return per evaluation
without the LLM's own, as far as both arms have taken as many environment steps, and decides nothing. Published LORO is
one chain of five repeats, and has no interval. Where an arm was not run under the released protocol, our `paper` run
stands for it if the protocol changes nothing that the arm learns from or is measured by (online RL in {where});
the LLM's own episodes are the same; elsewhere there is no number. A mean with a single chain in it has no interval.
Where two arms are not measured alike, the environment is left out and named below. Where
arms were trained again with other seeds, what these do not confirm is open.{more}"""


def changed_verdicts(judged: list[Judged]) -> str:
    """Say which verdicts a correction of the rule changed."""
    earlier = [f"*{one.claim['claim']}*: {one.claim['earlier']}" for one in judged if "earlier" in one.claim]
    if not earlier:
        return ""
    return f"Before the corrections of the rule, with the runs of then, {len(earlier)} verdicts: {'; '.join(earlier)}."


def environment_row(judged: Judged, env: str) -> list[str]:
    """Return the cells of one environment in a claim's own table."""
    pair, factor = judged.pairs["paper"][env], judged.claim["kind"] == "factor"
    others = [other_cell(judged.pairs[protocol][env], protocol, factor) for protocol in ("published", "released")]
    title = envs.get(env).title
    if pair is None:
        blank = 2 if factor else 7
        return [title, "not computed yet", *[""] * blank, *others]
    seeds = f"{pair.seeds[0]} against {pair.seeds[1]}"
    if factor:
        cells = [times(pair.ratio()), times(pair.ratio(AFTER)), seeds]
    else:
        state = judged.states.get(env, "left out")
        if env in judged.p_values:
            state += f" ({p_value(judged.p_values[env])})"
        cells = [with_interval(*pair.difference()), state, with_interval(*pair.difference(STEPS))]
        cells += [*(fine(pair.difference(measure)) for measure in (AFTER, STEPS_AFTER, UPDATES_AFTER, END)), seeds]
    mark = "†" if pair.left_out else ""
    return [title + mark, *cells, *others]


def other_cell(pair: Pair | None, protocol: str, factor: bool) -> str:
    """Return the published or released number of one environment, with what it stands on."""
    if pair is None:
        return ""
    difference = pair.difference()
    if factor:
        text = times(pair.ratio())
    else:
        text = with_interval(*difference) if protocol == "released" else number(difference[0])
    notes = ["one chain"] if protocol == "released" and min(pair.seeds) < 2 else []
    notes += [
        f"`{run.arm}` of `{run.protocol}`" for run in pair.runs if run.arm not in POLICIES and run.protocol != protocol
    ]
    return text + ("†" if pair.left_out else "") + (f" ({', '.join(notes)})" if notes else "")


def end_row(judged: Judged, env: str) -> list[str]:
    """Return the cells of one environment in the table of the optimum."""
    ends = {protocol: judged.ends[protocol][env] for protocol in ("paper", "published", "released")}
    told = {
        protocol: "" if found is None else with_interval(*end_of(found), fixed(2)) for protocol, found in ends.items()
    }
    chains = " (one chain)" if ends["released"] is not None and len(ends["released"]) == 1 else ""
    seeds = "" if ends["paper"] is None else str(len(ends["paper"]))
    ours = [told["paper"] or "not computed yet", judged.states[env], seeds]
    return [envs.get(env).title, *ours, told["published"], told["released"] + chains]


def environment_lines(judged: Judged) -> list[str]:
    """Return a claim's own section: its arms environment by environment, and remarks."""
    claim = judged.claim
    known = " Its runs had been read when the rule was written." if claim.get("known") else ""
    note = f" {claim['note'].strip()}" if "note" in claim else ""
    lines = [f"### {claim['claim']}", "", flowed(f"Source: {claim['source']}.{note}"), ""]
    if judged.ends:
        lines += [
            f"`{claim['arm']}`: the mean of its last {LAST} evaluations, 0 random play, 1 the optimum.{known}",
            "",
            *table_lines(
                ["environment", "it ends at [95% interval]", "judged", "seeds", "published", "released"],
                (end_row(judged, env) for env in judged.states),
            ),
            "",
        ]
        return [*lines, *(f"- {remark}" for remark in judged.remarks), ""]
    lines += [f"`{claim['arm']}` against `{claim['against']}`.{known}", ""]
    head = ["difference [95% interval]", "judged", STEPS, AFTER, STEPS_AFTER, UPDATES_AFTER, END, "seeds"]
    if claim["kind"] == "factor":
        head = ["times [95% interval]", "times, after the warm-up", "seeds"]
    head = ["environment", *head, "published", "released"]
    lines += table_lines(head, (environment_row(judged, env) for env in judged.pairs["paper"]))
    remarks = list(judged.remarks)
    for env, reason in claim.get("left_out", {}).items():
        where = f", {', '.join(reason['protocols'])}" if "protocols" in reason else ""
        verdict = " and the verdict" if "paper" in reason.get("protocols", PROTOCOLS) else ""
        remarks.append(f"† {envs.get(env).title}{where}: left out of the mean{verdict}, for {reason['why']}.")
    return [*lines, "", *(f"- {remark}" for remark in remarks), *([""] if remarks else [])]


def verdicts(judged: list[Judged], of_priors: list[dict[str, str]]) -> pd.DataFrame:
    """Return the table: claim, verdict, the mean difference under each protocol, why; below them those on priors."""
    table = pd.DataFrame(
        {
            "claim": [one.claim["claim"] for one in judged],
            "verdict": [one.verdict for one in judged],
            **{label: [summary(one, *asked) for one in judged] for label, (*asked, _) in SUMMARIES.items()},
            "why": [one.evidence for one in judged],
        }
    )
    if not of_priors:
        return table
    whole = pd.concat([table, pd.DataFrame(of_priors)])
    return whole[[*(column for column in whole if column != "why"), "why"]]


def row_of(judged: Judged) -> list[str]:
    """Return a claim's cells in the first table."""
    numbers = [summary(judged, *asked) for *asked, _ in SUMMARIES.values()]
    return [judged.claim["claim"], *numbers, f"**{judged.verdict}**", judged.evidence]


def first_repeat_lines(judged: list[Judged]) -> list[str]:
    """Return the section on fresh warm starts under `released`; nothing where no chain is handed on."""
    rows = []
    for one in judged:
        pairs = one.counted("released")
        if one.claim["kind"] == "factor" or all(run.table.repeat.nunique() == 1 for pair in pairs for run in pair.runs):
            continue
        runs = [[run.without_later_repeats() for run in pair.runs] for pair in pairs]
        first = [Pair(pair.env, *both) for pair, both in zip(pairs, runs, strict=True)]
        means = [pooled(pairs), pooled(first), pooled(first, AFTER)]
        rows.append([one.claim["claim"], *(with_interval(*mean, signed(3)) for mean in means), str(len(pairs))])
    if not rows:
        return []
    head = ["claim", "all repeats", "first repeats", f"first repeats, {AFTER}", "environments"]
    told = (
        "The later repeats of a chain begin with a network that has been trained; its first alone is a fresh warm "
        "start. Means over environments of the difference of normalised scores [95% interval over chains]; the claims "
        "that are differences of two arms. They decide nothing."
    )
    return ["## By first repeats alone, protocol `released`", "", flowed(told), "", *table_lines(head, rows), ""]


def markdown(judged: list[Judged], content: dict[str, Any], on_priors: list[str]) -> str:
    """Return the page: the table of verdicts, each claim environment by environment, the second paper's claims."""
    head = ["claim", *SUMMARIES, "verdict", "why"]
    lines = [
        "# The paper's claims, judged",
        "",
        flowed(introduction(judged, content, bool(on_priors))),
        "",
        *table_lines(head, map(row_of, judged)),
        "",
        flowed(changed_verdicts(judged)),
        "",
        "## Environment by environment, protocol `paper`",
        "",
        "Judged is the cumulative reward over iterations, the LLM's mean return standing for each warm-up episode.",
        "Beside it, deciding nothing: the same up to an equal number of environment steps, the LLM's own counted, in",
        "units of 200 steps; the return per evaluation after the warm-up, in the same iterations, at equal steps and",
        f"at equal updates, the offline ones counted; that over the last {LAST} evaluations.",
        "",
        *(f"- {envs.get(env).title}: {note}" for env, note in content["notes"].items()),
        "",
    ]
    for one in judged:
        lines += environment_lines(one)
    lines += first_repeat_lines(judged)
    return "\n".join([*lines, *on_priors]).rstrip() + "\n"


def draw(judged: list[Judged], margin: float) -> plt.Figure:
    """Return the forest plot, a row for each claim: those that compare two arms by a difference on one scale.

    The claim of a factor and that of the optimum have scales of their own, below. `alike` is within the margin.
    """
    differences = [one for one in judged if not one.ends and one.claim["kind"] != "factor"]
    differences = [one for one in differences if any(map(one.counted, PROTOCOLS))]
    others = [one for one in judged if (one.ends or one.claim["kind"] == "factor") and summary(one, "paper")]
    heights = [max(len(differences), 1), *[1] * len(others)]
    figure, column = plt.subplots(
        len(heights),
        squeeze=False,
        figsize=(7.0, 0.9 + 0.47 * sum(heights) + 0.35 * len(others)),
        height_ratios=heights,
        layout="constrained",
    )
    first, *rest = column[:, 0]
    draw_differences(first, differences, margin)
    for axes, one in zip(rest, others, strict=True):
        draw_alone(axes, one, margin)
    for axes, shown in zip(column[:, 0], [differences, *([one] for one in others)], strict=True):
        axes.set_yticks(range(len(shown)), [f"{one.claim['claim']}\n({one.verdict})" for one in shown], fontsize=6)
        axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
        axes.grid(axis="x", color="#E6E6E6", lw=0.5)
        axes.set_axisbelow(True)
    entries: list[Artist] = [
        Line2D([], [], color=c, marker="o", label=name, **MARK) for name, (*_, c) in SUMMARIES.items()
    ]
    entries.append(Line2D([], [], color=GREY, lw=1.2, label="95% interval"))
    if any(line.get_markerfacecolor() == "white" for axes in column[:, 0] for line in axes.lines):
        hollow = "hollow: includes a single chain, no interval"
        entries.append(Line2D([], [], color=GREY, marker="o", mfc="white", label=hollow, **MARK))
    entries.append(Patch(color=WITHIN, label="alike, or no worse, by the margin"))
    figure.legend(handles=entries, loc="outside lower center", ncols=3)
    return figure


def height_of(label: str, place: int) -> float:
    """Return at which height of a claim's row one of its numbers stands."""
    return place + 0.18 * (list(SUMMARIES).index(label) - 1.5)


def draw_point(axes: Axes, label: str, place: int, estimate: Estimate, count: int | None) -> None:
    """Draw a number of a claim with its interval, and over how many environments it is where that is to be told."""
    mean, low, high = estimate
    color = SUMMARIES[label][2]
    y = height_of(label, place)
    filled = {} if np.isfinite(low) or SUMMARIES[label][0] == "published" else {"mfc": "white"}
    axes.plot([mean], [y], "o", color=color, **MARK, **filled)
    if np.isfinite(low):
        axes.plot([low, high], [y, y], color=color, lw=1.2)
    if count is not None:
        end = (high if np.isfinite(low) else mean, y)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.2}
        axes.annotate(f"({count})", end, (5, 0), textcoords="offset points", va="center", fontsize=5, bbox=box)


def draw_differences(axes: Axes, shown: list[Judged], margin: float) -> None:
    """Draw the claims that compare two arms by a difference."""
    beyond: list[tuple[float, float]] = []
    for place, one in enumerate(shown):
        if one.claim["kind"] in ("alike", "no worse"):
            width = 2 * margin if one.claim["kind"] == "alike" else FARTHEST
            axes.barh(place, width, 0.8, left=-margin, color=WITHIN, zorder=0)
        for label, (protocol, measure, _) in SUMMARIES.items():
            pairs = one.counted(protocol)
            if not pairs:
                continue
            estimate = pooled(pairs, measure)
            if protocol == "published" and abs(estimate[0]) > FARTHEST:
                beyond.append((estimate[0], height_of(label, place)))
                continue
            draw_point(axes, label, place, estimate, len(pairs) if len(pairs) < len(one.pairs[protocol]) else None)
    drawn = [value for line in axes.lines for value in line.get_xdata()]
    left, right = (min(drawn) - 0.03, max(drawn) + 0.06) if drawn else (-FARTHEST, FARTHEST)
    axes.set_xlim(left, right)
    for mean, height in beyond:
        edge, side, marker = (right, "right", ">") if mean > 0 else (left, "left", "<")
        axes.plot([edge], [height], marker, color=GREY, clip_on=False, **MARK)
        text, shift = f"{mean:+.2f}".replace("-", "−"), (-5, 0) if mean > 0 else (5, 0)
        axes.annotate(text, (edge, height), shift, textcoords="offset points", ha=side, va="center", fontsize=6)
    axes.axvline(0, color=BLACK, lw=0.6)
    axes.set_xlabel(
        "difference of the normalised scores, mean over environments\n(how many, where not all of the claim's)"
    )


def draw_alone(axes: Axes, one: Judged, margin: float) -> None:
    """Draw a claim with a scale of its own: that of a factor, or that of the optimum."""
    if one.ends:
        axes.axvspan(1 - margin, 1 + margin, color=WITHIN, zorder=0, lw=0)
        axes.set_xlabel("the last evaluations, mean over environments: 0 random play, 1 the optimum")
    else:
        axes.axvline(1, color=BLACK, lw=0.6)
        axes.axvline(one.claim["factor"], color=BLACK, lw=0.6, ls=(0, (4, 2)))
        axes.set_xlabel("largest ratio over environments (1: equal); dashed: the claim")
    for label, (protocol, measure, _) in SUMMARIES.items():
        if one.ends:
            found = mean_end(one, protocol) if measure == SUM else None
            total = len(one.states)
        else:
            best = largest_ratio(one.counted(protocol), measure)
            found, total = best and (best[1], len(one.counted(protocol))), len(one.pairs[protocol])
        if found is not None:
            estimate, count = found
            draw_point(axes, label, 0, estimate, count if count < total else None)


def main() -> None:
    """Judge, draw and write."""
    args = tyro.cli(Args)
    check_outputs([args.claims, *args.runs, *args.again], output=(args.output, ".md"), figure=(args.figure, ".pdf"))
    content = read_claims(args.claims)
    of_priors = [path for path in args.runs if path.parts[-3:-2] == ("prior",)]
    runs = read_runs(path for path in args.runs if path not in of_priors)
    for env in envs.ENVIRONMENTS:
        common_iterations(list(runs.values()), env)  # raises where lengths differ
    again = read_runs(args.again)
    for key in again.keys() & runs.keys():
        if shared := set(again[key].table.seed) & set(runs[key].table.seed):
            raise UsageError(f"--again {again[key].path} has seeds of {runs[key].path}, {sorted(shared)}: give others.")
    judged = [judge(claim, runs, content, again) for claim in content["claims"]]
    compared = [pair for one in judged for pairs in one.pairs.values() for pair in pairs.values()]
    ended = [ends for one in judged for of_protocol in one.ends.values() for ends in of_protocol.values()]
    if all(found is None for found in [*compared, *ended]):
        raise UsageError("None of the claims can be looked at with the runs given.")
    lines, rows = (
        section(content["priors"], read_prior_runs(of_priors), content["rule"]) if "priors" in content else ([], [])
    )
    plt.rcParams.update(STYLE)
    save_figure(draw(judged, content["rule"]["margin"]), args.figure)
    write_text(args.output.with_suffix(".csv"), verdicts(judged, rows).to_csv(index=False))
    write_text(args.output, markdown(judged, content, lines))
    print(f"{args.output}: " + "; ".join(f"{one.claim['claim']}: {one.verdict}" for one in judged) + ".")


if __name__ == "__main__":
    run_command_line(main)
