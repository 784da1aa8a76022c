"""The second paper's claims (arXiv 2410.07927), judged by the rule in config/claims.yaml.

A section of results/claims.md, written by analysis/verdict.py. Each claim is judged for each LLM by itself. Controls
(scripted and uniform priors) stand beside, and decide nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.prior_figures import by_size, ratio_text, saving, size_text
from analysis.prior_runs import PriorRun, read_prior_run
from analysis.rule import (
    FAILS,
    HOLDS,
    OPEN,
    Samples,
    Verdict,
    adjusted_p_values,
    majority,
    state_by_p_value,
)
from analysis.runs import POLICIES
from analysis.statistics import Estimate, difference_interval, stratified_interval
from analysis.wording import p_value, signed, table_lines, with_interval
from envs.errors import UsageError
from envs.text import NAMES, describe

KINDS = {"greater": set(), "fewer": {"level", "factor"}}
"""What a claim of each kind says beside its arms and environments."""
INTRODUCTION = """\
## The second paper: LLM priors (arXiv 2410.07927)

The rule is in the same file, with what had been read when it was written. Each claim is judged for each LLM by itself;
both LLMs are far smaller than the paper's. Compared is success over training, the mean of all evaluations' success,
over at least {fewest_seeds} seeds, by Welch's t-test, corrected for the claim's environments (Holm). Numbers: the mean
difference over the environments that have runs [stratified bootstrap interval] (how many). Scripted and uniform priors
are controls, no LLMs: they stand beside and decide nothing. Known: these runs had been read when the rule was written.
An evaluation takes the likeliest or best action. How often the learner succeeds as it plays in training, where actions
are drawn, is in `tables/prior_*.md`; for PPO with a strong prior the two can be far apart.
"""
Runs = dict[tuple[str, str], PriorRun]
"""By environment and name."""


@dataclass(frozen=True)
class Differs:
    """Two arms in one environment, compared by what each seed (of a policy, each episode) earns."""

    samples: Samples
    last: Samples
    """the same over the last fifth of the evaluations"""
    measure: str

    @property
    def seeds(self) -> tuple[int, int]:
        """Return how many each side has."""
        return len(self.samples[0]), len(self.samples[1])


@dataclass(frozen=True)
class Saves:
    """The sizes of data at which CQL succeeds, with a prior and without, in one environment."""

    row: dict[str, Any]
    """as in prior_figures: needed, needed_plain, ratio, low, high, smallest, largest"""
    seeds: tuple[int, int]


@dataclass(frozen=True)
class Judged(Verdict):
    """A claim about the priors of one LLM."""

    llm: str
    found: dict[str, Differs | Saves | None]
    """by environment; None where runs are missing"""
    states: dict[str, str]
    p_values: dict[str, float]
    """adjusted, by environment; of the kind `greater`"""

    @property
    def title(self) -> str:
        """Return the claim and whose prior it is judged by."""
        return f"{self.claim['claim']} ({self.llm})"


# --- Claims and runs -------------------------------------------------------------------------------------------------


def check_claims(content: dict[str, Any]) -> None:
    """Raise UsageError for claims that do not say all that their kind needs; KeyError or TypeError for worse."""
    _ = [*content["llms"], *content["controls"]]
    for claim in content["claims"]:
        lacks = {"claim", "arm", "against", "environments", *KINDS.get(claim["kind"], {"a known kind"})} - set(claim)
        unknown = set(claim["environments"]) - set(NAMES)
        if lacks or unknown:
            raise UsageError(
                f"The claim '{claim['claim']}' on priors lacks {sorted(lacks)} or names {sorted(unknown)}."
            )


def read_prior_runs(paths: Iterable[Path]) -> Runs:
    """Read runs, by environment and name; raise UsageError where one is given twice."""
    runs: Runs = {}
    for run in map(read_prior_run, paths):
        first = runs.setdefault((run.env, run.path.stem), run)
        if first is not run:
            raise UsageError(f"{first.path} and {run.path} are the same run twice: give one.")
    return runs


def named(arm: str, prior: str) -> str:
    """Return the name of an arm's run: a plain learner has no prior."""
    return f"{arm}_{prior}" if arm.endswith("-prior") or arm == "llm-policy" else arm


def rewards(run: PriorRun) -> Samples:
    """Return what each seed earns, over all evaluations and over the last fifth of them; of a policy, each episode."""
    if run.arm in POLICIES:
        return run.table[run.measure].to_numpy(), run.table[run.measure].to_numpy()
    return run.curves(run.measure).mean(axis=1), run.last(run.measure)


def compared(runs: Runs, env: str, claim: dict[str, Any], prior: str) -> Differs | Saves | None:
    """Return both arms of a claim in one environment, or None where runs are missing."""
    if claim["kind"] == "fewer":
        return saved(runs, env, claim, prior)
    ours, theirs = (runs.get((env, named(claim[side], prior))) for side in ("arm", "against"))
    if ours is None or theirs is None:
        return None
    (a, a_last), (b, b_last) = rewards(ours), rewards(theirs)
    return Differs((a, b), (a_last, b_last), ours.measure)


def saved(runs: Runs, env: str, claim: dict[str, Any], prior: str) -> Saves | None:
    """Return what a prior saves of the data at the claim's level, or None where fewer than two sizes have runs."""
    learner = claim["against"]
    arms = by_size([run for run in runs.values() if run.env == env and run.learner == learner and run.alpha is None])
    sizes = sorted(arms.get(prior, {}).keys() & arms.get(None, {}).keys())
    if len(sizes) < 2:
        return None
    seeds = tuple(min(len(arms[key][size]) for size in sizes) for key in (prior, None))
    curves = [np.stack([arms[key][size] for size in sizes], axis=1) for key in (prior, None)]
    values = saving(np.array(sizes), *curves, claim["level"])
    row = dict(zip(("needed", "needed_plain", "ratio", "low", "high"), values, strict=True))
    return Saves({**row, "smallest": sizes[0], "largest": sizes[-1]}, seeds)


# --- The rule --------------------------------------------------------------------------------------------------------


def judge(claim: dict[str, Any], llm: str, runs: Runs, rule: dict[str, Any]) -> Judged:
    """Judge a claim for one LLM."""
    found = {env: compared(runs, env, claim, llm) for env in claim["environments"]}
    enough = {env: one if one and min(one.seeds) >= rule["fewest_seeds"] else None for env, one in found.items()}
    if claim["kind"] == "fewer":
        p_values, good, bad = {}, "fewer", "not fewer"
        states = {env: saving_state(one, claim["factor"]) for env, one in enough.items()}
        verdict = no_longer_possible(list(states.values()), good, bad)
    else:
        samples = {env: one.samples if one else None for env, one in enough.items()}
        p_values, good, bad = adjusted_p_values(samples), "higher", "lower"
        states = {env: state_by_p_value(samples[env], p_values[env]) for env in samples}
        verdict = majority(list(states.values()), good, bad, one_refutes=True)
    words = {state: [describe(e).title for e, s in states.items() if s == state] for state in (good, bad, "open")}
    evidence = "; ".join(f"{state}: {', '.join(titles)}" for state, titles in words.items() if titles)
    return Judged(claim, verdict, evidence, llm, found, states, p_values)


def saving_state(one: Saves | None, factor: float) -> str:
    """Return whether so much data is saved in one environment: fewer, not fewer or open.

    A size that is the smallest there was may be larger than what was needed: then the ratio is a bound.
    """
    if one is None or np.isnan(one.row["low"]):
        return "open"
    row = one.row
    if row["high"] < factor and row["needed_plain"] > row["smallest"]:
        return "fewer"
    return "not fewer" if row["low"] > factor and row["needed"] > row["smallest"] else "open"


def no_longer_possible(states: list[str], good: str, bad: str) -> str:
    """Return the verdict: `good` in more than half and `bad` in none, or that more than half cannot be reached."""
    if states.count(good) > len(states) / 2 and bad not in states:
        return HOLDS
    return FAILS if len(states) - states.count(bad) <= len(states) / 2 else OPEN


# --- For reading -----------------------------------------------------------------------------------------------------


def text_of(estimate: Estimate) -> str:
    """Return a difference of shares with its interval."""
    return with_interval(*estimate, signed(2))


def difference(samples: Samples) -> Estimate:
    """Return the difference of the means."""
    ours, theirs = samples
    return float(ours.mean() - theirs.mean()), *difference_interval(ours, theirs)


def summary(judged: Judged) -> str:
    """Return the mean difference over the environments that have runs, and of how many; or each one's ratio."""
    here = {env: one for env, one in judged.found.items() if one is not None}
    if judged.claim["kind"] == "fewer":
        return "; ".join(f"{ratio_text(one.row)} in {describe(env).title}" for env, one in here.items())
    if not here:
        return ""
    strata = [side for one in here.values() for side in one.samples]

    def mean_difference(*sides: np.ndarray, axis: int = 0) -> np.ndarray:
        means = [np.mean(side, axis=axis) for side in sides]
        return np.mean([a - b for a, b in zip(means[::2], means[1::2], strict=True)], axis=0)

    return f"{text_of((float(mean_difference(*strata)), *stratified_interval(strata, mean_difference)))} ({len(here)})"


def environment_row(claim: dict[str, Any], env: str, prior: str, one: Differs | Saves | None, state: str) -> list[str]:
    """Return the cells of one environment and one prior."""
    cells = [describe(env).title, prior]
    blank = 4 if claim["kind"] == "fewer" else 3
    if one is None:
        return [*cells, "not computed yet", *[""] * blank]
    seeds = f"{one.seeds[0]} against {one.seeds[1]}"
    if isinstance(one, Saves):
        sizes = [size_text(one.row[name], one.row) for name in ("needed", "needed_plain")]
        return [*cells, ratio_text(one.row), state, *sizes, seeds]
    of_return = " (return)" if one.measure == "eval_return" else ""
    numbers = [text_of(difference(one.samples)) + of_return, state, text_of(difference(one.last))]
    return [*cells, *numbers, seeds]


def claim_lines(claim: dict[str, Any], judged: list[Judged], runs: Runs, controls: list[str]) -> list[str]:
    """Return a claim's own table: environment by environment, the LLMs' priors and, beside them, the controls."""
    lines = [f"### {claim['claim']}", "", f"`{claim['arm']}` against `{claim['against']}`.", ""]
    head = ["difference of success over training [95% interval]", "judged", "over the last fifth", "seeds"]
    if claim["kind"] == "fewer":
        head = ["ratio of sizes [95% interval]", "judged", "needed with the prior", "needed without", "seeds"]
        lines[-2] += (
            f" Sizes of data at which {claim['level']:.0%} succeed; claimed is a ratio below {claim['factor']:g}."
        )
    head = ["environment", "prior", *head]
    rows = []
    for env in claim["environments"]:
        for one in judged:
            state = one.states[env] + (f" ({p_value(one.p_values[env])})" if env in one.p_values else "")
            known = " (known)" if env in claim.get("known", {}).get(one.llm, []) else ""
            rows.append(environment_row(claim, env, one.llm, one.found[env], state + known))
        for control in controls:
            beside = compared(runs, env, claim, control)
            rows += [environment_row(claim, env, control, beside, "control")] if beside is not None else []
    return [*lines, *table_lines(head, rows), ""]


def section(content: dict[str, Any], runs: Runs, rule: dict[str, Any]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the second paper's section of the page, and a row for the table of verdicts for each claim and LLM."""
    judged = [judge(claim, llm, runs, rule) for claim in content["claims"] for llm in content["llms"]]
    cells = [[one.claim["claim"], one.llm, summary(one), f"**{one.verdict}**", one.evidence] for one in judged]
    head = ["claim", "LLM", "difference or ratio", "verdict", "why"]
    lines = [INTRODUCTION.format(**rule), *table_lines(head, cells), ""]
    for claim in content["claims"]:
        mine = [one for one in judged if one.claim is claim]
        lines += claim_lines(claim, mine, runs, content["controls"])
    rows = [
        {"claim": one.title, "verdict": one.verdict, "LLM priors": summary(one), "why": one.evidence} for one in judged
    ]
    return lines, rows
