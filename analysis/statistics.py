"""Intervals over seeds, after rliable's guidance: bootstrap percentiles, probability of improvement.

Percentiles rather than scipy's default BCa: the acceleration that BCa estimates is not defined where all seeds have
the same return (a solved environment), and is a poor guess at the five to ten seeds of a run. The generator is fixed,
so that the same runs give the same numbers. What is resampled must be independent: seeds or chains, never the repeats
that one network is handed through.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of the middle half of `values` along `axis` (rliable's IQM)."""
    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap_interval(
    values: np.ndarray, statistic: Callable[..., np.ndarray] = np.mean, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low, high) of a statistic over axis 0 of `values` [seeds, ...].

    One seed has no interval: NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    return _percentiles((values,), statistic, confidence)


def difference_interval(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mean(a) - mean(b) for independent samples; NaN below two seeds."""
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    low, high = _percentiles((a, b), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis), confidence)
    return float(low), float(high)


def _percentiles(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    interval = stats.bootstrap(
        samples,
        statistic,
        axis=0,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return interval.low, interval.high


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of pairs in which a run of `a` beats one of `b`, ties counting half (Mann-Whitney's U)."""
    return float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b))
