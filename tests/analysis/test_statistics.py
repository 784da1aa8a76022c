"""Intervals against closed forms, simulation and plain loops."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    band,
    bootstrap_interval,
    difference_interval,
    difference_p_value,
    holm,
    interquartile_mean,
    mean_difference,
    mean_improvement,
    mean_of_means,
    pooled_interquartile_mean,
    prediction_interval,
    probability_of_improvement,
    ratio_interval,
    stratified_interval,
)
from analysis.wording import COVERS_A_DIFFERENCE, COVERS_A_MEAN


@pytest.mark.parametrize(("seeds", "mean", "difference"), [(10, 0.90, 0.92), (5, 0.83, 0.87), (3, 0.75, 0.81)])
def test_intervals_over_few_seeds_cover_as_much_as_readers_are_told(seeds, mean, difference):
    assert f"{mean:.0%} " in COVERS_A_MEAN and f"{difference:.0%} " in COVERS_A_DIFFERENCE
    generator, covered = np.random.default_rng(seeds), {"mean": [], "difference": []}
    for a, b in generator.normal(size=(1000, 2, seeds)):
        intervals = {"mean": bootstrap_interval(a, resamples=1000), "difference": difference_interval(a, b)}
        for name, (low, high) in intervals.items():
            covered[name].append(low <= 0 <= high)
    assert np.mean(covered["mean"]) == pytest.approx(mean, abs=0.03)
    assert np.mean(covered["difference"]) == pytest.approx(difference, abs=0.03)


def test_interval_of_a_large_sample_is_the_normal_one():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_of_a_curve_is_the_interval_at_each_point():
    curves = np.random.default_rng(2).normal(size=(6, 4))
    low, high = bootstrap_interval(curves)
    assert low.shape == high.shape == (4,)
    for k in range(4):
        alone_low, alone_high = bootstrap_interval(curves[:, k])
        assert low[k] == pytest.approx(alone_low, abs=0.15) and high[k] == pytest.approx(alone_high, abs=0.15)
        assert low[k] < curves[:, k].mean() < high[k]


def test_the_band_of_curves_is_the_normal_interval_at_each_point():
    curves = np.random.default_rng(14).normal([0, 50, -3], [1, 10, 0.1], (300, 3))
    half = 1.96 * curves.std(axis=0) / np.sqrt(300)
    for end, sign in zip(band(curves), (-1, 1), strict=True):
        assert (end - curves.mean(axis=0)) / half == pytest.approx([sign] * 3, abs=0.15)
    assert np.isnan(band(curves[:1])).shape == (2, 3) and np.isnan(band(curves[:1])).all()


def test_the_same_runs_have_the_same_interval_every_time():
    a, b = np.random.default_rng(15).normal(size=(2, 5))
    for interval in (bootstrap_interval, band):
        assert np.array_equal(interval(a[:, None]), interval(a[:, None]))
    for interval in (difference_interval, ratio_interval, lambda a, b: stratified_interval([a, b], mean_of_means)):
        assert interval(a, b) == interval(a, b)


def test_an_interval_of_other_confidence_has_the_normal_quantile():
    generator = np.random.default_rng(16)
    a, b = generator.normal(40, 4, 100), generator.normal(10, 1, 80)
    error, other = (x.std() / np.sqrt(len(x)) for x in (a, b))
    ratio = a.mean() / b.mean()
    errors = {
        "mean": (bootstrap_interval(a, confidence=0.5), error),
        "difference": (difference_interval(a, b, 0.5), np.hypot(error, other)),
        "ratio": (ratio_interval(a, b, 0.5), ratio * np.hypot(error / a.mean(), other / b.mean())),
        "mean of means": (stratified_interval([a, b], mean_of_means, 0.5), np.hypot(error, other) / 2),
        "new value": (prediction_interval(a, 1, 0.5), a.std() * np.sqrt(1 + 1 / 100)),
    }
    widths = {name: (high - low) / (2 * of_normal) for name, ((low, high), of_normal) in errors.items()}
    assert widths == pytest.approx(dict.fromkeys(errors, stats.norm.ppf(0.75)), rel=0.06)


def test_one_seed_has_no_interval_and_equal_seeds_a_narrow_one():
    assert np.isnan(bootstrap_interval(np.array([3.0]))).all()
    one, two = np.array([3.0]), np.array([1.0, 2.0])
    for interval in (difference_interval, ratio_interval):
        assert np.isnan([interval(one, two), interval(two, one)]).all() and np.isfinite(interval(two, two)).all()
    low, high = bootstrap_interval(np.full(5, 7.0))
    assert (low, high) == (7.0, 7.0)


def test_difference_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        low, high = difference_interval(generator.normal(1, 1, 30), generator.normal(0, 2, 30))
        covered += low < 1 < high
    assert 50 <= covered <= 60, covered  # 57 expected; 50 would be three standard deviations low


def test_interquartile_mean_drops_a_quarter_at_each_end():
    assert interquartile_mean(np.array([-1000.0, 1, 2, 3, 4, 5, 6, 1000])) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_probability_of_improvement_counts_pairs():
    generator = np.random.default_rng(4)
    a, b = generator.integers(0, 6, 7).astype(float), generator.integers(0, 6, 5).astype(float)
    wins = sum(1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b)
    assert probability_of_improvement(a, b) == pytest.approx(wins / (len(a) * len(b)))


def test_interquartile_mean_and_its_interval_go_along_the_seeds():
    values = np.random.default_rng(5).standard_cauchy((12, 3))
    for column, mean in zip(values.T, interquartile_mean(values), strict=True):
        assert mean == pytest.approx(sum(sorted(column)[3:9]) / 6)
    low, high = bootstrap_interval(values, interquartile_mean)
    generator = np.random.default_rng(6)
    for k in range(3):
        drawn = [sorted(generator.choice(values[:, k], 12)) for _ in range(4000)]
        expected = np.quantile([sum(sample[3:9]) / 6 for sample in drawn], [0.025, 0.975])
        width = expected[1] - expected[0]
        assert [low[k], high[k]] == pytest.approx(expected, abs=0.15 * width)


@pytest.mark.parametrize("seeds", [3, 10, 40])
def test_the_interval_of_few_seeds_covers_as_often_as_theory_says(seeds):
    samples = np.random.default_rng(7).normal(size=(seeds, 2000))
    low, high = bootstrap_interval(samples, resamples=2000)
    # a bootstrap knows the spread with divisor n, and nothing of Student's t
    expected = 1 - 2 * stats.t.sf(1.96 * np.sqrt((seeds - 1) / seeds), seeds - 1)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(expected, abs=0.025)


def test_stratified_interval_of_means_is_the_normal_one():
    generator = np.random.default_rng(8)
    strata = [generator.normal(0, 1, 300), generator.normal(10, 3, 200)]
    low, high = stratified_interval(strata, mean_of_means)
    mean = (strata[0].mean() + strata[1].mean()) / 2
    error = np.sqrt(strata[0].var() / 300 + strata[1].var() / 200) / 2  # the distance of the strata does not count
    assert [low, high] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.15 * error)
    assert mean_of_means(*strata) == pytest.approx(mean)


def test_a_stratum_of_one_seed_has_no_interval():
    assert np.isnan(stratified_interval([np.array([1.0]), np.arange(5.0)], mean_of_means)).all()


def test_pooled_interquartile_mean_is_the_usual_one_of_equal_strata():
    a, b = np.random.default_rng(9).standard_cauchy((2, 8))
    assert pooled_interquartile_mean(a, b) == pytest.approx(stats.trim_mean(np.concatenate([a, b]), 0.25))
    columns = np.random.default_rng(10).normal(size=(2, 8, 3))
    both = pooled_interquartile_mean(*columns)
    assert both == pytest.approx([pooled_interquartile_mean(*columns[:, :, k]) for k in range(3)])


def test_pooled_interquartile_mean_weighs_strata_alike():
    """Repeating each value of a stratum changes nothing: as if each environment had the same number of seeds."""
    a, b = np.array([1.0, 5, 9, 30]), np.array([2.0, 4])
    expected = stats.trim_mean(np.concatenate([a, np.repeat(b, 2)]), 0.25)
    assert pooled_interquartile_mean(a, b) == pytest.approx(expected)


def test_mean_improvement_is_the_mean_of_shares_of_pairs():
    generator = np.random.default_rng(11)
    samples = [generator.integers(0, 5, n).astype(float) for n in (6, 4, 3, 7)]
    shares = [np.mean([(x > y) + (x == y) / 2 for x in a for y in b]) for a, b in (samples[:2], samples[2:])]
    assert mean_improvement(*samples) == pytest.approx(np.mean(shares))
    low, high = stratified_interval(samples, mean_improvement)
    drawn = []
    for _ in range(1500):
        a, b, c, d = (generator.choice(sample, len(sample)) for sample in samples)
        wins = [np.mean((x[:, None] > y) + (x[:, None] == y) / 2) for x, y in ((a, b), (c, d))]
        drawn.append(np.mean(wins))
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.04)


def test_mean_difference_is_the_mean_of_first_minus_second():
    generator = np.random.default_rng(13)
    a, b, c, d = (generator.normal(level, 1, n) for level, n in ((9, 6), (5, 4), (0, 3), (7, 5)))
    expected = ((sum(a) / 6 - sum(b) / 4) + (sum(c) / 3 - sum(d) / 5)) / 2
    assert mean_difference(a, b, c, d) == pytest.approx(expected)
    columns = [np.column_stack([x, 2 * x]) for x in (a, b, c, d)]
    assert mean_difference(*columns, axis=0) == pytest.approx([expected, 2 * expected])
    assert mean_difference(*(x.T for x in columns), axis=-1) == pytest.approx([expected, 2 * expected])


@pytest.mark.parametrize(("n", "draws"), [(3, 1), (10, 5)])
def test_prediction_interval_holds_new_means_as_often_as_it_says(n, draws):
    generator = np.random.default_rng(12)
    held = 0
    for _ in range(2000):
        low, high = prediction_interval(generator.normal(3, 2, n), draws)
        held += low < generator.normal(3, 2, draws).mean() < high
    assert held / 2000 == pytest.approx(0.95, abs=0.02)
    assert np.isnan(prediction_interval(np.array([1.0]))).all()


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3])
def test_the_p_value_of_a_large_sample_is_welch_s_and_agrees_with_the_interval(shift):
    generator = np.random.default_rng(3)
    a, b = generator.normal(shift, 1, 300), generator.normal(0, 1.5, 250)
    p = difference_p_value(a, b)
    assert p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    low, high = difference_interval(a, b)
    assert (p < 0.05) == (low > 0 or high < 0)


def test_p_values_of_single_and_of_equal_seeds_show_nothing():
    one, two = np.array([1.0]), np.array([2.0, 3.0])
    assert difference_p_value(one, two) == difference_p_value(two, one) == 1
    # as wide as each other, but not without width
    assert difference_p_value(two, two + 1) == pytest.approx(stats.ttest_ind(two, two + 1).pvalue)
    assert difference_p_value(np.full(5, -200.0), np.full(5, -200.0)) == 1
    assert difference_p_value(np.full(5, -200.0), np.full(5, -100.0)) == 0


def test_against_seeds_that_never_learn_it_is_the_test_of_one_sample():
    """MountainCar: all at -200, and one of five that reaches the flag now and then."""
    still, moving = np.full(5, -200.0), np.array([-200.0, -200.0, -200.0, -200.0, -196.0])
    expected = stats.ttest_1samp(moving, -200).pvalue
    assert 0.3 < expected < 0.5
    assert difference_p_value(still, moving) == pytest.approx(expected) == difference_p_value(moving, still)


@pytest.mark.parametrize(("few", "many", "spread"), [(5, 5, 1), (5, 200, 4), (10, 30, 0.25)])
def test_without_a_difference_a_twentieth_of_the_p_values_lies_below_a_twentieth(few, many, spread):
    """A bootstrap's are too small over five seeds: a tenth does."""
    generator = np.random.default_rng(6)
    p = [difference_p_value(generator.normal(3, 1, few), generator.normal(3, spread, many)) for _ in range(4000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.012)


def test_holm_is_the_closed_test_of_bonferroni():
    generator = np.random.default_rng(4)
    for _ in range(20):
        p = generator.uniform(0, 0.3, 5) ** 2
        subsets = [s for size in range(1, 6) for s in combinations(range(5), size)]
        closed = [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(5)]
        np.testing.assert_allclose(holm(p), closed)
    np.testing.assert_allclose(holm([0.04, 0.01, 1]), [0.08, 0.03, 1])


def test_the_interval_of_a_ratio_is_the_delta_method_s():
    generator = np.random.default_rng(5)
    a, b = generator.normal(40, 4, 200), generator.normal(10, 1, 300)
    low, high = ratio_interval(a, b)
    ratio = a.mean() / b.mean()
    error = ratio * np.sqrt(a.var() / 200 / a.mean() ** 2 + b.var() / 300 / b.mean() ** 2)
    assert [low, high] == pytest.approx([ratio - 1.96 * error, ratio + 1.96 * error], abs=0.3 * error)
    assert np.isnan(ratio_interval(a[:1], b)).all()
