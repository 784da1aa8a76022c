"""Rank correlations: the textbook formula, Simpson's paradox, what counts as a point and what is too little."""

import numpy as np
import pytest

from analysis.correlation import correlation_points, correlation_text, correlations, rank_correlation


def points(qualities, gains, **values):
    fixed = {"env": "cartpole", "per_step": False, "same_run_as": None, "pretrain_steps": 3000, **values}
    pairs = zip(qualities, gains, strict=True)
    return [{**fixed, "llm": f"llm-{k}", "quality": x, "gain_share": y} for k, (x, y) in enumerate(pairs)]


def correlation(rows):
    return rank_correlation([correlation_points(rows)])


def test_the_rank_correlation_against_the_textbook_formula():
    qualities, gains = [0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0], [3, 1, 2, 5, 4, 9, 7]
    squares = sum((a - b) ** 2 for a, b in zip([1, 2, 3, 4, 5, 6, 7], [3, 1, 2, 5, 4, 7, 6], strict=True))
    value, low, high = correlation(points(qualities, gains))
    assert value == pytest.approx(1 - 6 * squares / (7 * 48))
    assert -1 <= low < value < high <= 1
    # A perfect order stays one in every resample that is not all one point.
    assert correlation(points(qualities, qualities)) == pytest.approx((1, 1, 1))


def test_an_environments_level_hides_no_correlation_within_it():
    """Two environments in perfect order, the one with the higher qualities with the lower gains: Simpson's paradox."""
    rows = [*points([1, 2, 3, 4], [11, 12, 13, 14]), *points([5, 6, 7], [1, 2, 3], env="frozen-lake")]
    table = correlation_points(rows)
    assert correlation(rows)[0] < 0
    parts = [part for _, part in table.groupby("env")]
    assert rank_correlation(parts) == pytest.approx((1, 1, 1))
    assert "within environments 1.00 [1.00, 1.00], 7 points" in correlation_text(rows)
    assert correlation_text(rows[:5]) == "" and "within" not in correlation_text(points(range(6), range(6)))
    # ranks less their mean: (-1.5, -0.5, 0.5, 1.5) in the first, (-1, 0, 1) turned over in the second
    turned = [parts[0], parts[1].assign(gain_share=-parts[1].gain_share)]
    assert rank_correlation(turned)[0] == pytest.approx((5 - 2) / (5 + 2))


def test_correlations_are_of_one_number_of_updates():
    """Perfect order under either N; a mean over both would have the order of N where an LLM lacks one of them."""
    seldom = points([1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15, 16], pretrain_steps=1000)
    often = points([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7])
    found = correlations([*often, *seldom[3:], *seldom[:3]])
    assert [(steps, whole[0], count) for steps, whole, _, count in found] == [("N=1000: ", 1, 6), ("N=3000: ", 1, 7)]


def test_no_rank_correlation_over_few_points():
    six = points(range(6), range(6))
    assert correlation(six) is not None
    assert correlation(six[:5]) is None
    assert correlation(six[:5] * 3) is None  # more settings of the same LLMs are no more evidence
    assert correlation([*six[:5], {**six[5], "per_step": True}]) is None
    assert correlation([*six[:5], {**six[5], "quality": np.nan}]) is None
    assert correlation(points(range(6), [1] * 6)) is None


def test_a_run_that_another_llm_shares_is_one_point():
    six = points(range(6), range(6))
    assert len(correlation_points([*six, {**six[0], "llm": "twin", "same_run_as": "llm-0"}])) == 6
