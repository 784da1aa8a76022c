"""Intervals against closed forms, simulation and plain loops."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    probability_of_improvement,
)


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


def test_one_seed_has_no_interval_and_equal_seeds_a_narrow_one():
    assert np.isnan(bootstrap_interval(np.array([3.0]))).all()
    assert np.isnan(difference_interval(np.array([3.0]), np.array([1.0, 2.0]))).all()
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
    low, high = bootstrap_interval(samples)
    # a bootstrap knows the spread with divisor n, and nothing of Student's t
    expected = 1 - 2 * stats.t.sf(1.96 * np.sqrt((seeds - 1) / seeds), seeds - 1)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(expected, abs=0.025)
