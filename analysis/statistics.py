"""Intervals over seeds, after rliable's guidance: bootstrap percentiles, probability of improvement.

Percentiles rather than scipy's default BCa: the acceleration that BCa estimates is not defined where all seeds have
the same return (a solved environment), and is a poor guess at the five to ten seeds of a run. The generator is fixed,
so that the same runs give the same numbers. What is resampled must be independent: seeds or chains, never the repeats
that one network is handed through.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 10_000
"""For numbers: which generator is taken then moves an end of an interval by about a hundredth of its width."""
BAND_RESAMPLES = 2_000
"""For bands of curves, which have an interval at every point and are looked at, not judged."""
CONFIDENCE = 0.95
Estimate = tuple[float, float, float]
"""A number and its 95% interval, NaN where one side has a single seed."""


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of the middle half of `values` along `axis` (rliable's IQM)."""
    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low, high) of a statistic over axis 0 of `values` [seeds, ...].

    One seed has no interval: NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    return _percentiles((values,), statistic, confidence, resamples)


def band(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval (low, high) of the mean at each point of `curves` [seeds, points].

    One seed has no band: NaN.
    """
    return bootstrap_interval(curves, resamples=BAND_RESAMPLES)


def difference_interval(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mean(a) - mean(b) for independent samples; NaN below two seeds."""
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    low, high = _percentiles((a, b), _difference_of_means, confidence)
    return float(low), float(high)


def difference_p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Return the two-sided p-value of mean(a) = mean(b) by Welch's t-test; 1 below two seeds.

    Its sides may differ in number and spread, as five seeds do from 200 episodes of a policy. A bootstrap's p-value
    does not allow for how few they are: of two samples of five with the same mean a tenth gets one below 0.05.
    """
    if min(len(a), len(b)) < 2:
        return 1.0
    if np.ptp(a) == np.ptp(b) == 0:  # no spread to measure a difference by
        return float(a[0] == b[0])
    (mean_a, spread_a, n_a), (mean_b, spread_b, n_b) = ((np.mean(x), np.std(x, ddof=1), len(x)) for x in (a, b))
    return float(stats.ttest_ind_from_stats(mean_a, spread_a, n_a, mean_b, spread_b, n_b, equal_var=False).pvalue)


def ratio_interval(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mean(a) / mean(b) for independent samples; NaN below two seeds."""
    if min(len(a), len(b)) < 2:
        return np.nan, np.nan
    with np.errstate(divide="ignore", invalid="ignore"):  # all of b may be 0
        low, high = _percentiles((a, b), lambda x, y, axis: np.mean(x, axis=axis) / np.mean(y, axis=axis), confidence)
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p-values: below 0.05 where the hypothesis falls with all of them tested at that level."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _difference_of_means(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def _percentiles(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., np.ndarray],
    confidence: float,
    resamples: int = RESAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    interval = stats.bootstrap(
        samples,
        statistic,
        axis=0,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return interval.low, interval.high


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of pairs in which a run of `a` beats one of `b`, ties counting half (Mann-Whitney's U)."""
    return float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b))


def stratified_interval(
    strata: list[np.ndarray], statistic: Callable[..., np.ndarray], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of `statistic(*strata, axis)`, resampling within each stratum.

    A stratum is one environment's seeds, of one arm. A stratum of a single seed has no spread to resample: NaN.
    """
    if min(map(len, strata)) < 2:
        return np.nan, np.nan
    low, high = _percentiles(tuple(np.asarray(stratum, dtype=np.float64) for stratum in strata), statistic, confidence)
    return float(low), float(high)


def mean_of_means(*strata: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean over strata of each stratum's mean: every environment counts alike, however many its seeds."""
    return np.mean([np.mean(stratum, axis=axis) for stratum in strata], axis=0)


def pooled_interquartile_mean(*strata: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return rliable's IQM: the mean of the middle half of all strata's values together.

    Every stratum has the same weight in all, however many its seeds; where all have equally many this is the
    interquartile mean of the pooled values. A value at the edge of the middle half counts as far as it lies within.
    """
    strata = tuple(np.moveaxis(np.asarray(stratum, dtype=np.float64), axis, -1) for stratum in strata)
    values = np.concatenate(strata, axis=-1)
    weights = np.concatenate([np.full(s.shape[-1], 1 / (len(strata) * s.shape[-1])) for s in strata])
    order = np.argsort(values, axis=-1)
    ends = np.clip(np.cumsum(weights[order], axis=-1), 0.25, 0.75)
    kept = np.diff(ends, axis=-1, prepend=0.25)
    return (np.take_along_axis(values, order, axis=-1) * kept).sum(axis=-1) / 0.5


def mean_difference(*pairs: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the mean of `pairs[0]` minus that of `[1]`, of `[2]` minus that of `[3]`, ...: their mean."""
    differences = [_difference_of_means(a, b, axis) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    return np.mean(differences, axis=0)


def mean_improvement(*pairs: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the probability of improvement of `pairs[0]` over `pairs[1]`, of `[2]` over `[3]`, ...: their mean."""
    shares = []
    for a, b in zip(pairs[::2], pairs[1::2], strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):  # of the p-value, where all are equal
            wins = stats.mannwhitneyu(a, b, axis=axis, method="asymptotic").statistic
        shares.append(wins / (a.shape[axis] * b.shape[axis]))
    return np.mean(shares, axis=0)


def prediction_interval(values: np.ndarray, draws: int = 1, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return where the mean of `draws` new values is expected, from a normal sample; NaN below two values.

    mean ± t(n - 1) s sqrt(1/draws + 1/n): the new values vary too, not only our estimate of their mean.
    """
    n = len(values)
    if n < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) * np.sqrt(1 / draws + 1 / n)
    mean = float(np.mean(values))
    return mean - float(half), mean + float(half)
