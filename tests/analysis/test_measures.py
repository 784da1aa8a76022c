"""What two runs are compared by, against a plain loop over every environment step."""

import numpy as np
import pytest
from synthetic_runs import write_run

from analysis.measures import AFTER, END, STEPS, STEPS_AFTER, SUM, Pair, common_extent, mean_return
from analysis.runs import read_run

LORO = "loro_qwen-7b_tau3_n10"


def run_of(tmp_path, name, returns, steps):
    return read_run(write_run(tmp_path, "paper", "cartpole", name, returns, steps=steps))


@pytest.fixture
def pair(tmp_path):
    generator = np.random.default_rng(0)
    online = run_of(tmp_path, "online", generator.normal(size=(4, 1, 6)), None)
    loro = run_of(tmp_path, LORO, generator.normal(size=(3, 1, 6)), [7, 20, 31, 231, 431, 631])
    return Pair("cartpole", loro, online)


def step_by_step(run, start, end):
    """Return each seed's mean over the steps after `start` up to `end`, each step worth its iteration's evaluation."""
    ends = run.table[run.table.seed == 0].env_steps.to_list()
    found = []
    for curve in run.curves():
        worth = [curve[next(i for i, last in enumerate(ends) if step <= last)] for step in range(start + 1, end + 1)]
        found.append(sum(worth) / len(worth))
    return found


def test_every_measure_against_a_loop_over_steps_or_iterations(pair):
    loro, online = (run.curves() for run in pair.runs)
    expected = {
        SUM: [[sum(curve) for curve in curves] for curves in (loro, online)],
        STEPS: [[mean * 631 / 200 for mean in step_by_step(run, 0, 631)] for run in pair.runs],
        AFTER: [[sum(curve[3:]) / 3 for curve in curves] for curves in (loro, online)],
        STEPS_AFTER: [step_by_step(run, 31, 631) for run in pair.runs],
        END: [[sum(curve) / 6 for curve in curves] for curves in (loro, online)],  # fewer than twenty: all
    }
    for measure, sides in expected.items():
        for ours, theirs in zip(pair.rewards(measure), sides, strict=True):
            np.testing.assert_allclose(ours, theirs, err_msg=measure)
        mean, low, high = pair.difference(measure)
        assert mean == pytest.approx(np.mean(sides[0]) - np.mean(sides[1])) and low < mean < high
        wins = [a > b for a in sides[0] for b in sides[1]]
        assert pair.improvement(measure) == pytest.approx(sum(wins) / 12)


def test_a_policy_that_does_not_learn_earns_its_episodes_returns(tmp_path, pair):
    policy = read_run(write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[3, 5]]], 9))
    ours, theirs = Pair("cartpole", pair.ours, policy).rewards(STEPS_AFTER)
    np.testing.assert_allclose(ours, step_by_step(pair.ours, 31, 631))
    assert theirs.tolist() == [3, 5]


def test_nothing_lies_after_a_run_that_is_all_warm_up(tmp_path):
    loro = run_of(tmp_path, "loro_qwen-7b_tau6_n10", np.ones((2, 1, 6)), list(range(10, 70, 10)))
    assert np.isnan(mean_return(loro, 60, common_extent([loro], "steps"), "steps")).all()
