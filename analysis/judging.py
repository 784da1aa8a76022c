"""What the runs say of each of the paper's claims, by the rule in config/claims.yaml.

A claim is judged environment by environment, on the cumulative rewards of its two arms under the protocol `paper` or on
where its arm ends, and then over all of them. What arms trained again with other seeds do not confirm is open. The page
and the figure that tell it are in analysis/verdict.py.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import envs
from analysis.arms import read_name
from analysis.fidelity import released_run
from analysis.import_released import episode_limits
from analysis.measures import AFTER, END, LAST, STEPS, STEPS_AFTER, SUM, UPDATES_AFTER, Pair
from analysis.prior_verdict import check_claims
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
from analysis.runs import POLICIES, PROTOCOLS, Run
from analysis.scales import SCALES
from analysis.statistics import Estimate, bootstrap_interval, mean_difference, mean_of_means, stratified_interval
from analysis.wording import fixed, number, signed, with_interval
from envs.errors import UsageError

KINDS = {
    "greater": ("higher", "lower"),
    "alike": ("alike", "unlike"),
    "no worse": ("no worse", "worse"),
    "factor": (),
    "optimal": (),
}
"""What a claim says of its two arms, and what confirms or refutes that in one environment."""
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
    ends: dict[str, dict[str, np.ndarray | None]] = field(default_factory=dict)
    """of the kind `optimal`: by protocol and environment, where each seed ends"""

    def counted(self, protocol: str) -> list[Pair]:
        """Return the pairs that count in the mean over environments."""
        return [pair for pair in self.pairs.get(protocol, {}).values() if pair is not None and not pair.left_out]


# --- Claims and runs -------------------------------------------------------------------------------------------------


def read_claims(path: Path) -> dict[str, Any]:
    """Read the claims; raise UsageError where something is missing or unknown."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        _ = content["rule"]["fewest_seeds"] + content["rule"]["margin"]
        content = {"optima": {}, "notes": {}, "left_out": {}, **content}
        for claim in content["claims"]:
            claim.setdefault("environments", content.get("environments", list(envs.ENVIRONMENTS)))
            everywhere = {env: why for env, why in content["left_out"].items() if env in claim["environments"]}
            claim["left_out"] = {**everywhere, **claim.get("left_out", {})}
        wrong = [claim["claim"] for claim in content["claims"] if not sound(claim)]
        named = {env for part in ("optima", "notes", "left_out") for env in content[part]}
        named |= {env for claim in content["claims"] for env in [*claim["environments"], *claim.get("left_out", {})]}
        reasons = [reason for part in (content, *content["claims"]) for reason in part["left_out"].values()]
        protocols = {protocol for reason in reasons if reason["why"] for protocol in reason.get("protocols", [])}
        if "priors" in content:
            check_claims(content["priors"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"The claims {path} cannot be read ({error!r}); see config/claims.yaml.") from error
    unknown = (named - set(envs.ENVIRONMENTS)) | (protocols - set(PROTOCOLS))
    if wrong or unknown:
        raise UsageError(
            f"The claims {path}: no source, unknown kind, no arm, nothing to compare with, or no factor in {wrong}; "
            f"unknown environments or protocols: {sorted(unknown)}."
        )
    return content


def sound(claim: dict[str, Any]) -> bool:
    """Return whether a claim says all that its kind needs."""
    needed = {"source", "arm"} | ({"against"} if claim["kind"] != "optimal" else set())
    needed |= {"factor"} if claim["kind"] == "factor" else set()
    return claim["kind"] in KINDS and needed <= set(claim)


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
    return Pair(env, ours, theirs, why_left_out(claim, env, protocol))


def why_left_out(claim: dict[str, Any], env: str, protocol: str) -> str | None:
    """Return why an environment says nothing of a claim under a protocol; None where it does."""
    reason = claim.get("left_out", {}).get(env, {})
    return reason.get("why") if protocol in reason.get("protocols", PROTOCOLS) else None


def asked(claim: dict[str, Any], pairs: dict[str, dict[str, Pair | None]]) -> dict[str, Pair | None]:
    """Return the pairs of `paper` in the environments that say something of a claim: what is judged."""
    return {env: pair for env, pair in pairs["paper"].items() if not why_left_out(claim, env, "paper")}


def counts(pair: Pair | None, rule: dict[str, Any]) -> bool:
    """Return whether an environment, where it says something of a claim, has the seeds to decide it."""
    return pair is not None and min(pair.seeds) >= rule["fewest_seeds"]


# --- The rule --------------------------------------------------------------------------------------------------------


def state_of(pair: Pair | None, kind: str, rule: dict[str, Any], p_value: float) -> str:
    """Return what the rule says of one environment: higher, lower, alike, unlike or open."""
    if not counts(pair, rule):
        return "open"
    if kind == "greater":
        return state_by_p_value(pair.rewards(SUM), p_value)
    if not learnt(pair, rule):
        return "open"
    return state_by_interval(kind, pair.difference(), rule["margin"] * pair.scale)


def learnt(pair: Pair, rule: dict[str, Any]) -> bool:
    """Return whether one of two arms ends above random play by more than the margin: else likeness says nothing."""
    scale = SCALES[pair.env]
    return any(values.mean() > scale.random + rule["margin"] * scale.width for values in pair.rewards(END))


def judge_states(
    claim: dict[str, Any],
    pairs: dict[str, dict[str, Pair | None]],
    content: dict[str, Any],
    again: dict[str, Pair | None],
) -> Judged:
    """Judge a claim that arms are different or alike, environment by environment."""
    rule, kind, here = content["rule"], claim["kind"], asked(claim, pairs)
    samples = {env: pair.rewards(SUM) if counts(pair, rule) else None for env, pair in here.items()}
    p_values = adjusted_p_values(samples) if kind == "greater" else {}
    states = {env: state_of(pair, kind, rule, p_values.get(env, 1.0)) for env, pair in here.items()}
    good, bad = KINDS[kind]
    words, remarks = {state: [] for state in (good, bad, "open")}, []
    for env, pair in again.items():
        if env in here and counts(pair, rule):
            first, title = states[env], envs.get(env).title
            found = pair.difference()
            states[env] = confirmed(first, state_by_interval(kind, found, rule["margin"] * pair.scale))
            result = f"{with_interval(*found)} by the sum, {fine(pair.difference(STEPS_AFTER))} {STEPS_AFTER}"
            remarks.append(tried_again(title, first, states[env], others(claim, min(pair.seeds)), result))
    verdict = majority(list(states.values()), good, bad, one_refutes=kind == "greater")
    for env, state in states.items():
        title = envs.get(env).title
        words[state].append(title)
        if state != "open" and begin_differently(here[env]):
            after, at_equal_steps = (shown_after(here[env], kind, state, rule, over) for over in (AFTER, STEPS_AFTER))
            if not after and not at_equal_steps:
                words[state][-1] += " (by the warm-up alone)"
            if not after:
                told = f"not {AFTER}" + f", but {STEPS_AFTER}" * at_equal_steps
                remarks.append(f"{title}: {state} by the sum; {told}{short_episodes(here[env])}.")
        remarks += other_measures(here[env], kind, state, rule)
        remarks += weak_likeness(here[env], kind, rule)
        remarks += unequal_warm_ups(here[env], kind, state, rule)
    remarks += rests_on_one([pair for pair in here.values() if pair is not None])
    evidence = "; ".join(f"{state}: {', '.join(names)}" for state, names in words.items() if names)
    left_out = [envs.get(env).title for env in pairs["paper"] if env not in here]
    evidence += f"; left out: {', '.join(left_out)}" if left_out else ""
    return Judged(claim, verdict, evidence, pairs, states, p_values, tuple(remarks))


def begin_differently(pair: Pair) -> bool:
    """Return whether the first iterations of two arms are not the episodes of one LLM."""
    return len({(run.llm, run.tau) for run in pair.runs}) > 1


def shown_after(pair: Pair, kind: str, state: str, rule: dict[str, Any], measure: str) -> bool:
    """Return whether a measure that leaves the warm-up out shows what the sum does."""
    return state_by_interval(kind, pair.difference(measure), rule["margin"] * SCALES[pair.env].width) == state


def short_episodes(pair: Pair) -> str:
    """Say after how many steps the LLM's episodes in a warm-up were cut off; nothing where they were whole."""
    limits = episode_limits(pair.env)
    steps = {run.llm: limits[run.llm] for run in pair.runs if run.tau and limits.get(run.llm)}
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


def weak_likeness(pair: Pair | None, kind: str, rule: dict[str, Any]) -> list[str]:
    """Say where two arms are alike by the margin and yet differ, and where it says nothing, for neither learns."""
    if kind == "greater" or not counts(pair, rule):
        return []
    title, (_, low, high), margin = envs.get(pair.env).title, pair.difference(), rule["margin"] * pair.scale
    if not learnt(pair, rule):
        return [f"{title}: open, for neither arm ends above random play by more than the margin."]
    if -margin <= low and high <= margin and (low > 0 or high < 0):
        shown = "higher" if low > 0 else "lower"
        return [f"{title}: {shown} by its interval, though within the margin of {number(margin)}."]
    return []


def unequal_warm_ups(pair: Pair | None, kind: str, state: str, rule: dict[str, Any]) -> list[str]:
    """Say what is left after the warm-up where the episodes of one of two LLMs were cut off sooner than the other's."""
    if kind == "greater" or not counts(pair, rule):
        return []
    limits = episode_limits(pair.env)
    if len({limits.get(run.llm) for run in pair.runs}) < 2:
        return []
    title, after = envs.get(pair.env).title, fine(pair.difference(AFTER))
    return [f"{title}: {state} by the sum, {after} {AFTER}{short_episodes(pair)}."]


def rests_on_one(pairs: list[Pair]) -> list[str]:
    """Name the environments without which the mean has the other sign, where one of the two intervals leaves out 0."""
    told, mean = [], mean_difference(*normalised(pairs)) if pairs else 0
    for one in pairs:
        others = [pair for pair in pairs if pair is not one]
        if not others or mean * mean_difference(*normalised(others)) >= 0:
            continue
        whole, rest = pooled(pairs), pooled(others)
        if any(low > 0 or high < 0 for _, low, high in (whole, rest)):
            with_all, without = (with_interval(*estimate, signed(3)) for estimate in (whole, rest))
            told.append(f"Without {envs.get(one.env).title} the mean would be {without}, not {with_all}.")
    return told


def judge_factor(claim: dict[str, Any], pairs: dict[str, dict[str, Pair | None]], content: dict[str, Any]) -> Judged:
    """Judge "up to `factor` times": the verdict and the best environment in words."""
    factor, here = claim["factor"], asked(claim, pairs)
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
    short = {envs.get(env).title: short_episodes(pair) for env, pair in enough.items()}
    remarks = [f"{title}: the warm-up flatters the sum{told}." for title, told in short.items() if told]
    return Judged(claim, verdict, evidence, pairs, remarks=tuple(remarks))


def largest_ratio(pairs: list[Pair], measure: str = SUM) -> tuple[str, Estimate] | None:
    """Return where our arm is the most times as good, and how many; None where no ratio can be formed."""
    found = {pair.env: pair.ratio(measure) for pair in pairs}
    found = {env: estimate for env, estimate in found.items() if np.isfinite(estimate[0])}
    return max(found.items(), key=lambda item: item[1][0], default=None)


def judge_optimum(claim: dict[str, Any], runs: Runs, content: dict[str, Any], again: Runs) -> Judged:
    """Judge "converges to the optimum": the verdict and how far each environment came."""
    rule = content["rule"]
    known = [env for env in claim["environments"] if env in content["optima"]]
    by_protocol = {
        protocol: {env: ends_of(runs, protocol, env, claim, content) for env in known} for protocol in PROTOCOLS
    }
    ends = by_protocol["paper"]
    words: dict[str, list[str]] = {"reached": [], "short": [], "open": []}
    states, remarks = {}, []
    for env, found in ends.items():
        title, other = envs.get(env).title, ends_of(again, "paper", env, claim, content)
        states[env] = state = state_of_end(found, rule)
        if other is not None and len(other) >= rule["fewest_seeds"]:
            states[env] = confirmed(state, state_of_end(other, rule))
            result = with_interval(*end_of(other), fixed(2))
            remarks.append(tried_again(title, state, states[env], others(claim, len(other)), result))
        words[states[env]].append(title if found is None else f"{title} {found.mean() + 0.0:.2f}")
    evidence = "; ".join(f"{state}: {', '.join(names)}" for state, names in words.items() if names)
    unknown = [envs.get(env).title for env in claim["environments"] if env not in ends]
    evidence += f"; left out, no optimum known: {', '.join(unknown)}" if unknown else ""
    verdict = HOLDS if len(words["reached"]) > len(ends) / 2 else OPEN
    if ends and len(words["short"]) >= len(ends) / 2:
        verdict = FAILS
    return Judged(claim, verdict, evidence, states=states, remarks=tuple(remarks), ends=by_protocol)


def ends_of(runs: Runs, protocol: str, env: str, claim: dict[str, Any], content: dict[str, Any]) -> np.ndarray | None:
    """Return where each seed ends, the mean of its last 20 evaluations: 0 is random play, 1 the optimum."""
    run = runs.get((protocol, env, claim["arm"]))
    if run is None:
        return None
    random = SCALES[env].random
    return (run.curves()[:, -LAST:].mean(axis=1) - random) / (content["optima"][env] - random)


def end_of(ends: np.ndarray) -> Estimate:
    """Return where an arm ends, and its interval."""
    low, high = bootstrap_interval(ends)
    return float(ends.mean()) + 0.0, float(low) + 0.0, float(high) + 0.0


def state_of_end(ends: np.ndarray | None, rule: dict[str, Any]) -> str:
    """Return what the rule says of one environment: reached, short or open."""
    if ends is None or len(ends) < rule["fewest_seeds"]:
        return "open"
    _, low, high = end_of(ends)
    return "reached" if low >= 1 - rule["margin"] else "short" if high < 1 - rule["margin"] else "open"


def confirmed(state: str, other: str) -> str:
    """Return what stands of a state that other seeds were asked for too: it, if they say the same, else open."""
    return state if other == state else "open"


def others(claim: dict[str, Any], seeds: int) -> str:
    """Say what was other when a claim's arms were trained again: seeds, and the random episodes that an arm's share."""
    arms = [read_name(name) for name in (claim["arm"], claim.get("against", ""))]
    shared = "random" in [arm.player for arm in arms if arm]
    return f"{seeds} other seeds" + (" and other random episodes" if shared else "")


def tried_again(title: str, first: str, judged: str, what: str, result: str) -> str:
    """Say what other seeds say of an environment."""
    told = "" if judged == first else f"; {first} by the first seeds alone, so it is open"
    return f"{title}, tried again with {what}: {result}{told}."


def mean_end(judged: Judged, protocol: str) -> tuple[Estimate, int] | None:
    """Return the mean over environments of where an arm ends, and over how many; None where there is no run."""
    strata = [ends for ends in judged.ends[protocol].values() if ends is not None]
    if not strata:
        return None
    return (float(mean_of_means(*strata)), *stratified_interval(strata, mean_of_means)), len(strata)


def judge(claim: dict[str, Any], runs: Runs, content: dict[str, Any], again: Runs | None = None) -> Judged:
    """Judge one claim by the rule; `again`: runs of the same arms with other seeds."""
    again = again or {}
    if claim["kind"] == "optimal":
        return judge_optimum(claim, runs, content, again)
    pairs = {
        protocol: {env: pair_of(runs, protocol, env, claim) for env in claim["environments"]} for protocol in PROTOCOLS
    }
    if claim["kind"] == "factor":
        return judge_factor(claim, pairs, content)
    again = {key: run for key, run in runs.items() if key[2].startswith(POLICIES)} | again  # these are not trained
    return judge_states(claim, pairs, content, {env: pair_of(again, "paper", env, claim) for env in pairs["paper"]})


def normalised(pairs: list[Pair], measure: str = SUM) -> list[np.ndarray]:
    """Return what each seed of each pair's two arms earns on the normalised scale: ours, theirs, ours, theirs, ..."""
    strata = []
    for pair in pairs:
        scale = pair.scale if measure == SUM else SCALES[pair.env].width
        strata += [rewards / scale for rewards in pair.rewards(measure)]
    return strata


def pooled(pairs: list[Pair], measure: str = SUM) -> Estimate:
    """Return the mean normalised difference over environments and its stratified bootstrap interval.

    `measure`: SUM, or one of the mean returns of an evaluation.
    """
    strata = normalised(pairs, measure)
    return float(mean_difference(*strata)), *stratified_interval(strata, mean_difference)


# --- Numbers in words -------------------------------------------------------------------------------------------------


def times(estimate: Estimate) -> str:
    """Format a ratio with its interval."""
    return with_interval(*estimate, fixed(2)) if np.isfinite(estimate[0]) else ""


def fine(estimate: Estimate) -> str:
    """Format a difference of returns per evaluation, which may be small, with its interval."""

    def write(value: float) -> str:
        return number(value) if abs(value) >= 10 else f"{value + 0.0:.2g}".replace("-", "−")

    return with_interval(*estimate, write)
