"""Intervals over seeds, after rliable's guidance: bootstrap percentiles, probability of improvement.

Everything takes an explicit generator or fixes one, so that the same runs give the same numbers.
"""

import numpy as np
from scipy import stats

RESAMPLES = 2000


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low, high) of the mean over axis 0 of `values` [seeds, ...].

    One seed has no interval: NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    result = stats.bootstrap(
        (values,),
        np.mean,
        axis=0,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def difference_interval(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mean(a) - mean(b) for independent samples; NaN below two seeds."""
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    result = stats.bootstrap(
        (a, b),
        lambda x, y, axis=-1: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def interquartile_mean(values: np.ndarray) -> float:
    """Return the mean of the middle half of `values` (rliable's IQM)."""
    return float(stats.trim_mean(values, 0.25))


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of pairs in which a run of `a` beats one of `b`, ties counting half (Mann-Whitney's U)."""
    return float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b))
