"""The paper's claims, judged by a written rule: the published numbers, and ours under both protocols.

    python -m analysis.verdict --claims config/claims.yaml \\
        --runs results/runs/{paper,released,published}/*/*.csv --output results/claims.md \\
        --figure paper_figs/verdict.pdf

The rule is in config/claims.yaml; what is judged is the cumulative reward under the protocol `paper`. Beside it stand
the same difference at equal environment steps, after the warm-up and at the end of training (analysis.measures), which
decide nothing. The figure is a forest plot: for each claim that compares two arms by a difference, its mean over
environments, normalised, with stratified bootstrap intervals (seeds are resampled within environments). A claim whose
runs are not all there is drawn over the environments that have them, and says over how many. The table of verdicts is
written as a CSV file too, beside the .md. The claims of the second paper, on LLM priors, follow in a section of their
own (analysis/prior_verdict.py); they are not in the figure, whose scale is another.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
import yaml

import envs
from analysis.colours import BLACK, BLUE, GREY, ORANGE, SKY
from analysis.fidelity import UNCHANGED_ARMS, UNCHANGED_ENVIRONMENTS, released_run
from analysis.measures import AFTER, END, LAST, STEPS, STEPS_AFTER, SUM, UPDATES_AFTER, Pair
from analysis.plotting import STYLE, save_figure
from analysis.prior_verdict import check_claims, read_prior_runs, section
from analysis.rule import (
    FAILS,
    HOLDS,
    OPEN,
    Verdict,
    adjusted_p_values,
    majority,
    state_by_interval,
    state_by_p_value,
)
from analysis.runs import POLICIES, PROTOCOLS, Run, common_iterations, read_runs
from analysis.scales import SCALES
from analysis.statistics import RESAMPLES, Estimate, bootstrap_interval
from analysis.wording import fixed, number, signed, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import write_text

SUMMARIES = {
    "published": ("published", SUM, GREY),
    "released protocol": ("released", SUM, ORANGE),
    "paper protocol": ("paper", SUM, BLUE),
    "paper protocol, after the warm-up and at equal steps": ("paper", STEPS_AFTER, SKY),
}
"""The numbers of each claim, in the first table and in the figure: protocol, measure, colour."""
KINDS = {"greater": ("higher", "lower"), "alike": ("alike", "unlike"), "factor": (), "optimal": ()}
"""What a claim says of its two arms, and what confirms or refutes that in one environment."""
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


Runs = dict[tuple[str, str, str], Run]
"""By protocol, environment and name."""


@dataclass(frozen=True)
class Judged(Verdict):
    """A claim of the first paper."""

    pairs: dict[str, dict[str, Pair | None]] = field(default_factory=dict)
    """by protocol and environment; empty where a claim compares nothing"""
    states: dict[str, str] = field(default_factory=dict)
    """by environment, under `paper`"""
    p_values: dict[str, float] = field(default_factory=dict)
    """adjusted, by environment; of the kind `greater`"""
    remarks: tuple[str, ...] = ()
    """what the tables do not say by themselves"""

    def counted(self, protocol: str) -> list[Pair]:
        """Return the pairs that count in the mean over environments."""
        return [pair for pair in self.pairs.get(protocol, {}).values() if pair is not None and not pair.left_out]


# --- Claims and runs -------------------------------------------------------------------------------------------------


def read_claims(path: Path) -> dict[str, Any]:
    """Read the claims; raise UsageError where something is missing or unknown."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        _ = content["rule"]["fewest_seeds"] + content["rule"]["margin"]
        content = {"optima": {}, "cut_off": {}, "notes": {}, **content}
        wrong = [claim["claim"] for claim in content["claims"] if not sound(claim)]
        named = {env for part in ("optima", "cut_off", "notes") for env in content[part]}
        named |= {env for claim in content["claims"] for env in [*environments_of(claim), *claim.get("left_out", {})]}
        reasons = [reason for claim in content["claims"] for reason in claim.get("left_out", {}).values()]
        protocols = {protocol for reason in reasons if reason["why"] for protocol in reason.get("protocols", [])}
        if "priors" in content:
            check_claims(content["priors"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"The claims {path} cannot be read ({error!r}); see config/claims.yaml.") from error
    unknown = (named - set(envs.ENVIRONMENTS)) | (protocols - set(PROTOCOLS))
    if wrong or unknown:
        raise UsageError(
            f"The claims {path}: unknown kind, no arm, nothing to compare with, or no factor in {wrong}; "
            f"unknown environments or protocols: {sorted(unknown)}."
        )
    return content


def sound(claim: dict[str, Any]) -> bool:
    """Return whether a claim says all that its kind needs."""
    needed = {"arm"} | ({"against"} if claim["kind"] != "optimal" else set())
    needed |= {"factor"} if claim["kind"] == "factor" else set()
    return claim["kind"] in KINDS and needed <= set(claim)


def environments_of(claim: dict[str, Any]) -> list[str]:
    """Return the environments that a claim is about."""
    return claim.get("environments", list(envs.ENVIRONMENTS))


def pair_of(runs: Runs, protocol: str, env: str, claim: dict[str, Any]) -> Pair | None:
    """Return both arms of a claim in one environment, or None where a run is missing.

    A `paper` run stands for a `released` one by the rule of the fidelity score alone. An LLM's own episodes are the
    same under every protocol, and no protocol has others.
    """

    def run_of(name: str) -> Run | None:
        if name.startswith(POLICIES):
            return runs.get(("paper", env, name))
        return released_run(runs, env, name) if protocol == "released" else runs.get((protocol, env, name))

    ours, theirs = run_of(claim["arm"]), run_of(claim["against"])
    if ours is None or theirs is None:
        return None
    left_out = claim.get("left_out", {}).get(env, {})
    concerned = protocol in left_out.get("protocols", PROTOCOLS)
    return Pair(env, ours, theirs, left_out.get("why") if concerned else None)


def counts(pair: Pair | None, rule: dict[str, Any]) -> bool:
    """Return whether an environment has what it takes to decide something."""
    return pair is not None and not pair.left_out and min(pair.seeds) >= rule["fewest_seeds"]


# --- The rule --------------------------------------------------------------------------------------------------------


def state_of(pair: Pair | None, kind: str, rule: dict[str, Any], p_value: float) -> str:
    """Return what the rule says of one environment: higher, lower, alike, unlike or open."""
    if not counts(pair, rule):
        return "open"
    if kind == "greater":
        return state_by_p_value(pair.rewards(SUM), p_value)
    return state_by_interval(kind, pair.difference(), rule["margin"] * pair.scale)


def judge_states(claim: dict[str, Any], pairs: dict[str, dict[str, Pair | None]], content: dict[str, Any]) -> Judged:
    """Judge a claim that arms are different or alike, environment by environment."""
    rule, kind, here = content["rule"], claim["kind"], pairs["paper"]
    samples = {env: pair.rewards(SUM) if counts(pair, rule) else None for env, pair in here.items()}
    p_values = adjusted_p_values(samples) if kind == "greater" else {}
    states = {env: state_of(pair, kind, rule, p_values.get(env, 1.0)) for env, pair in here.items()}
    good, bad = KINDS[kind]
    verdict = majority(list(states.values()), good, bad, one_refutes=kind == "greater")
    words, remarks = {state: [] for state in (good, bad, "open")}, []
    for env, state in states.items():
        title = envs.get(env).title
        words[state].append(title)
        if state != "open" and begin_differently(here[env]):
            after, at_equal_steps = (shown_after(here[env], kind, state, rule, over) for over in (AFTER, STEPS_AFTER))
            if not after and not at_equal_steps:
                words[state][-1] += " (by the warm-up alone)"
            if not after:
                told = f"not {AFTER}" + f", but {STEPS_AFTER}" * at_equal_steps
                remarks.append(f"{title}: {state} by the sum; {told}{short_episodes(here[env], content)}.")
        remarks += other_measures(here[env], kind, state, rule)
    evidence = "; ".join(f"{state}: {', '.join(names)}" for state, names in words.items() if names)
    return Judged(claim, verdict, evidence, pairs, states, p_values, tuple(remarks))


def begin_differently(pair: Pair) -> bool:
    """Return whether the first iterations of two arms are not the episodes of one LLM."""
    return len({(run.llm, run.tau) for run in pair.runs}) > 1


def shown_after(pair: Pair, kind: str, state: str, rule: dict[str, Any], measure: str) -> bool:
    """Return whether a measure that leaves the warm-up out shows what the sum does."""
    return state_by_interval(kind, pair.difference(measure), rule["margin"] * SCALES[pair.env].width) == state


def short_episodes(pair: Pair, content: dict[str, Any]) -> str:
    """Say after how many steps the LLM's episodes in a warm-up were cut off; nothing where they were whole."""
    known = content["cut_off"].get(pair.env, {})
    steps = {run.llm: known[run.llm] for run in pair.runs if run.tau and run.llm in known}
    horizon = envs.get(pair.env).horizon
    told = [f"{llm}'s episodes were cut off after {count} steps" for llm, count in steps.items()]
    return f"; {' and '.join(told)}, evaluations after {horizon}" if told else ""


def other_measures(pair: Pair | None, kind: str, state: str, rule: dict[str, Any]) -> list[str]:
    """Say where the sum leaves open what another measure shows, or shows the opposite; uncorrected."""
    if kind != "greater" or not counts(pair, rule):
        return []
    shown: dict[str, list[str]] = {}
    for measure in (STEPS, AFTER, STEPS_AFTER, UPDATES_AFTER, END):
        shown.setdefault(state_by_interval(kind, pair.difference(measure), 0), []).append(measure)
    told = [f"{other} {', '.join(names)}" for other, names in shown.items() if other not in ("open", state)]
    title = envs.get(pair.env).title
    return [f"{title}: {state} by the sum; {'; '.join(told)} (single intervals, not corrected)."] if told else []


def judge_factor(claim: dict[str, Any], pairs: dict[str, dict[str, Pair | None]], content: dict[str, Any]) -> Judged:
    """Judge "up to `factor` times": the verdict and the best environment in words."""
    factor, here = claim["factor"], pairs["paper"]
    enough = {env: pair for env, pair in here.items() if counts(pair, content["rule"])}
    found = {env: pair.ratio() for env, pair in enough.items()}
    if any(low >= factor for _, low, _ in found.values()):
        verdict = HOLDS
    else:
        below = [high < factor for _, _, high in found.values()]
        verdict = FAILS if all(below) and len(found) == len(here) else OPEN
    best = largest_ratio(list(enough.values()))
    if best is None:
        return Judged(claim, verdict, "", pairs)
    env, estimate = best
    evidence = f"at most {times(estimate)} times ({envs.get(env).title}); "
    evidence += f"after the warm-up {times(here[env].ratio(AFTER))} times there"
    short = {envs.get(env).title: short_episodes(pair, content) for env, pair in enough.items()}
    remarks = [f"{title}: the warm-up flatters the sum{told}." for title, told in short.items() if told]
    return Judged(claim, verdict, evidence, pairs, remarks=tuple(remarks))


def largest_ratio(pairs: list[Pair], measure: str = SUM) -> tuple[str, Estimate] | None:
    """Return where our arm is the most times as good, and how many; None where no ratio can be formed."""
    found = {pair.env: pair.ratio(measure) for pair in pairs}
    found = {env: estimate for env, estimate in found.items() if np.isfinite(estimate[0])}
    return max(found.items(), key=lambda item: item[1][0], default=None)


def judge_optimum(claim: dict[str, Any], runs: Runs, content: dict[str, Any]) -> Judged:
    """Judge "converges to the optimum": the verdict and how far each environment came."""
    rule, optima = content["rule"], content["optima"]
    words: dict[str, list[str]] = {"reached": [], "short": [], "open": []}
    states: dict[str, str] = {}
    for env in [env for env in environments_of(claim) if env in optima]:
        run, title = runs.get(("paper", env, claim["arm"])), envs.get(env).title
        if run is None or len(run.curves()) < rule["fewest_seeds"]:
            states[env] = "open"
            words["open"].append(title)
            continue
        random, optimum = SCALES[env].random, optima[env]
        ends = (run.curves()[:, -LAST:].mean(axis=1) - random) / (optimum - random)
        low, high = bootstrap_interval(ends)
        reached = 1 - rule["margin"]
        state = "reached" if low >= reached else "short" if high < reached else "open"
        states[env] = state
        words[state].append(f"{title} {ends.mean() + 0.0:.2f}")
    total = sum(map(len, words.values()))
    evidence = "; ".join(f"{state}: {', '.join(names)}" for state, names in words.items() if names)
    unknown = [envs.get(env).title for env in environments_of(claim) if env not in optima]
    evidence += f"; left out, no optimum known: {', '.join(unknown)}" if unknown else ""
    if len(words["reached"]) > total / 2:
        return Judged(claim, HOLDS, evidence, states=states)
    verdict = FAILS if total and len(words["short"]) >= total / 2 else OPEN
    return Judged(claim, verdict, evidence, states=states)


def judge(claim: dict[str, Any], runs: Runs, content: dict[str, Any]) -> Judged:
    """Judge one claim by the rule."""
    if claim["kind"] == "optimal":
        return judge_optimum(claim, runs, content)
    pairs = {
        protocol: {env: pair_of(runs, protocol, env, claim) for env in environments_of(claim)} for protocol in PROTOCOLS
    }
    return (judge_factor if claim["kind"] == "factor" else judge_states)(claim, pairs, content)


def pooled(pairs: list[Pair], measure: str = SUM) -> Estimate:
    """Return the mean normalised difference over environments and its stratified bootstrap interval.

    `measure`: SUM, or one of the mean returns of an evaluation.
    """
    random = np.random.default_rng(0)
    rewards = {pair.env: pair.rewards(measure) for pair in pairs}
    scales = {pair.env: pair.scale if measure == SUM else SCALES[pair.env].width for pair in pairs}
    mean = float(np.mean([(ours.mean() - theirs.mean()) / scales[env] for env, (ours, theirs) in rewards.items()]))
    if any(min(map(len, sides)) < 2 for sides in rewards.values()):
        return mean, np.nan, np.nan
    resampled = np.zeros(RESAMPLES)
    for env, sides in rewards.items():
        ours, theirs = (
            values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1) for values in sides
        )
        resampled += (ours - theirs) / scales[env] / len(pairs)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return mean, float(low), float(high)


# --- For reading -----------------------------------------------------------------------------------------------------


def times(estimate: Estimate) -> str:
    """Format a ratio with its interval."""
    return with_interval(*estimate, fixed(2)) if np.isfinite(estimate[0]) else ""


def fine(estimate: Estimate) -> str:
    """Format a difference of returns per evaluation, which may be small, with its interval."""

    def write(value: float) -> str:
        return number(value) if abs(value) >= 10 else f"{value + 0.0:.2g}".replace("-", "−")

    return with_interval(*estimate, write)


def summary(judged: Judged, protocol: str, measure: str = SUM) -> str:
    """Return a cell: mean normalised difference or largest ratio, of how many environments, and single chains."""
    if judged.claim["kind"] == "optimal":
        reached = f"in {list(judged.states.values()).count('reached')} of {len(judged.states)}"
        return reached if (protocol, measure) == ("paper", SUM) else ""
    pairs = judged.counted(protocol)
    if not pairs:
        return ""
    single = [envs.get(pair.env).title for pair in pairs if min(pair.seeds) < 2 and protocol != "published"]
    extent = f"({len(pairs)}{'; one chain in ' + ', '.join(single) if single else ''})"
    if judged.claim["kind"] == "factor":
        best = largest_ratio(pairs, measure)
        return f"{times(best[1])} times in {envs.get(best[0]).title} {extent}" if best else ""
    return f"{with_interval(*pooled(pairs, measure), signed(3))} {extent}"


def introduction(judged: list[Judged], content: dict[str, Any]) -> str:
    """Return what the reader of the first table must know."""
    decided = [one for one in judged if one.verdict != OPEN]
    known = sum(bool(one.claim.get("known")) for one in decided)
    arms = ", ".join(f"`{arm}`" for arm in UNCHANGED_ARMS)
    where = ", ".join(envs.get(env).title for env in UNCHANGED_ENVIRONMENTS)
    return f"""\
The rule is in `config/claims.yaml`, with what was changed in it after runs had been read: 95% bootstrap intervals over
at least {content["rule"]["fewest_seeds"]} independent seeds, protocol `paper`. Where an arm is said to be better than
another, p-values are corrected for the claim's environments (Holm). Decided are {len(decided)} of the {len(judged)}
claims, {known} of them by runs that had been read when the rule was first written.

Numbers in the table: mean over environments of the difference of normalised scores (0 random play, 1 an expert), [its
stratified bootstrap interval], (over how many environments); of the claim of a factor, the largest ratio; of the
optimum, where it is reached. The last number is of the return per evaluation without the LLM's own, as far as both arms
have taken as many environment steps, and decides nothing. Published LORO is one chain of five repeats, and has no
interval. Under the released protocol LORO alone was run. It is compared with our `paper` run where the protocol changes
nothing that this arm learns from or is measured by ({arms} in {where}),
and with the LLM's own episodes; elsewhere there is no number.
A mean with a single chain in it has no interval. Where two arms are not measured alike, the environment is left out and
named below."""


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
        state = judged.states[env]
        if env in judged.p_values and not pair.left_out:
            state += f" (p = {judged.p_values[env]:.3f})"
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


def environment_lines(judged: Judged) -> list[str]:
    """Return a claim's own section: both arms environment by environment, and remarks."""
    claim = judged.claim
    known = " Its runs had been read when the rule was written." if claim.get("known") else ""
    lines = [f"### {claim['claim']}", "", f"`{claim['arm']}` against `{claim['against']}`.{known}", ""]
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


def markdown(judged: list[Judged], content: dict[str, Any], on_priors: list[str]) -> str:
    """Return the page: the table of verdicts, each claim environment by environment, the second paper's claims."""
    head = ["claim", *SUMMARIES, "verdict", "why"]
    lines = [
        "# The paper's claims, judged",
        "",
        introduction(judged, content)
        + (" The second paper's claims follow in a section of their own." * bool(on_priors)),
        "",
        *table_lines(head, map(row_of, judged)),
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
        if one.pairs:
            lines += environment_lines(one)
    return "\n".join([*lines, *on_priors]).rstrip() + "\n"


def draw(judged: list[Judged], margin: float) -> plt.Figure:
    """Return the forest plot of the claims that compare two arms by a difference; `alike` is within the margin."""
    shown = [one for one in judged if one.claim["kind"] != "factor" and any(map(one.counted, PROTOCOLS))]
    figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.47 * len(shown)), layout="constrained")
    marks = {"ms": 3.5, "ls": "none"}
    beyond: list[tuple[float, float]] = []
    for place, one in enumerate(shown):
        if one.claim["kind"] == "alike":
            axes.barh(place, 2 * margin, 0.8, left=-margin, color="#EFE7F2", zorder=0, label="within the margin")
        for offset, label in zip((-0.27, -0.09, 0.09, 0.27), SUMMARIES, strict=True):
            protocol, measure, color = SUMMARIES[label]
            pairs = one.counted(protocol)
            if not pairs:
                continue
            mean, low, high = pooled(pairs, measure)
            if protocol == "published" and abs(mean) > FARTHEST:
                beyond.append((mean, place + offset))
                continue
            axes.plot([mean], [place + offset], "o", color=color, label=label, **marks)
            if np.isfinite(low):
                axes.plot([low, high], [place + offset] * 2, color=color, lw=1.2)
            if len(pairs) < len(one.pairs[protocol]):
                end = (high if np.isfinite(low) else mean, place + offset)
                axes.annotate(f"({len(pairs)})", end, (4, 0), textcoords="offset points", va="center", fontsize=5)
    left, right = axes.get_xlim() if axes.lines else (-FARTHEST, FARTHEST)
    axes.set_xlim(left, right)
    for mean, height in beyond:
        edge, side, marker = (right, "right", ">") if mean > 0 else (left, "left", "<")
        axes.plot([edge], [height], marker, color=GREY, clip_on=False, **marks)
        text, shift = f"{mean:+.2f}".replace("-", "−"), (-5, 0) if mean > 0 else (5, 0)
        axes.annotate(text, (edge, height), shift, textcoords="offset points", ha=side, va="center", fontsize=6)
    handles, labels = axes.get_legend_handles_labels()
    axes.axvline(0, color=BLACK, lw=0.6)
    axes.set_yticks(range(len(shown)), [f"{one.claim['claim']}\n({one.verdict})" for one in shown], fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(
        "difference of the normalised scores, mean over environments\n(how many, where not all of the claim's)"
    )
    figure.legend(
        dict(zip(labels, handles, strict=True)).values(), dict.fromkeys(labels), loc="outside lower center", ncols=3
    )
    return figure


def main() -> None:
    """Judge, draw and write."""
    args = tyro.cli(Args)
    content = read_claims(args.claims)
    of_priors = [path for path in args.runs if path.parts[-3:-2] == ("prior",)]
    runs = read_runs(path for path in args.runs if path not in of_priors)
    for env in envs.ENVIRONMENTS:
        common_iterations(list(runs.values()), env)  # raises where lengths differ
    judged = [judge(claim, runs, content) for claim in content["claims"]]
    if not any(pair for one in judged for pairs in one.pairs.values() for pair in pairs.values()):
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
