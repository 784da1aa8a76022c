"""The rule that judges claims, of both papers: what one environment's numbers say, and what all of them say together.

It is written in config/claims.yaml, in words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.statistics import Estimate, difference_p_value, holm

SIGNIFICANT = 0.05
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
Samples = tuple[np.ndarray, np.ndarray]
"""What each seed of both arms earns."""


@dataclass(frozen=True)
class Verdict:
    """A claim, its verdict and what stands behind it."""

    claim: dict[str, Any]
    verdict: str
    evidence: str


def adjusted_p_values(samples: dict[str, Samples | None]) -> dict[str, float]:
    """Return the p-value of each environment's difference, adjusted for all of them; 1 where nothing can be said."""
    p_values = [1.0 if both is None else difference_p_value(*both) for both in samples.values()]
    return dict(zip(samples, map(float, holm(p_values)), strict=True))


def state_by_p_value(samples: Samples | None, p_value: float) -> str:
    """Return what the rule says of two arms in one environment: higher, lower or open."""
    if samples is None or p_value >= SIGNIFICANT:
        return "open"
    ours, theirs = samples
    return "higher" if ours.mean() > theirs.mean() else "lower"


def state_by_interval(kind: str, estimate: Estimate, margin: float) -> str:
    """Return what an interval alone says: higher, lower, alike, unlike, no worse, worse or open."""
    _, low, high = estimate
    if kind == "greater":
        return "higher" if low > 0 else "lower" if high < 0 else "open"
    if kind == "no worse":
        return "no worse" if low >= -margin else "worse" if high < -margin else "open"
    if -margin <= low and high <= margin:
        return "alike"
    return "unlike" if low > margin or high < -margin else "open"


def majority(states: list[str], good: str, bad: str, one_refutes: bool) -> str:
    """Return the verdict: `good` in more than half and `bad` in none, or that it cannot be so any more."""
    good_count, bad_count = states.count(good), states.count(bad)
    if good_count > len(states) / 2 and not bad_count:
        return HOLDS
    possible = len(states) - bad_count if one_refutes else len(states)
    if one_refutes and (bad_count or possible <= len(states) / 2):
        return FAILS
    return FAILS if not one_refutes and bad_count > len(states) / 2 else OPEN
