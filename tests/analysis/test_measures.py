"""What two runs are compared by, against a plain loop over every environment step."""

import numpy as np
import pytest
from synthetic_runs import write_run

from analysis.measures import (
    AFTER,
    END,
    STEPS,
    STEPS_AFTER,
    SUM,
    UPDATES_AFTER,
    Pair,
    common_extent,
    mean_return,
    warm_up_end,
)
from analysis.runs import read_run

LORO = "loro_qwen-7b_tau3_n10"


def run_of(tmp_path, name, returns, steps):
    return read_run(write_run(tmp_path, "paper", "cartpole", name, returns, steps=steps))


ITERATIONS = 25
STEPS_OF_LORO = [7, 20, 31, *range(231, 231 + 22 * 200, 200)]


@pytest.fixture
def pair(tmp_path):
    generator = np.random.default_rng(0)
    online = run_of(tmp_path, "online", generator.normal(size=(4, 1, ITERATIONS)), None)
    loro = run_of(tmp_path, LORO, generator.normal(size=(3, 1, ITERATIONS)), STEPS_OF_LORO)
    return Pair("cartpole", loro, online)


def step_by_step(run, start, end, shift=0):
    """Return each seed's mean over the steps after `start` up to `end`, each step worth its iteration's evaluation.

    `shift`: what a step's number is less than that of the update that it is made with.
    """
    ends = [steps + shift for steps in run.table[run.table.seed == 0].env_steps]
    found = []
    for curve in run.curves():
        worth = [curve[next(i for i, last in enumerate(ends) if step <= last)] for step in range(start + 1, end + 1)]
        found.append(sum(worth) / len(worth))
    return found


def test_every_measure_against_a_loop_over_steps_or_iterations(pair):
    loro, online = (run.curves() for run in pair.runs)
    expected = {
        SUM: [[sum(curve) for curve in curves] for curves in (loro, online)],
        STEPS: [[mean * 4431 / 200 for mean in step_by_step(run, 0, 4431)] for run in pair.runs],
        AFTER: [[sum(curve[3:]) / 22 for curve in curves] for curves in (loro, online)],
        STEPS_AFTER: [step_by_step(run, 31, 4431) for run in pair.runs],
        # Ten offline updates, and none for the 31 steps of the LLM: LORO's 232nd step is its 211th update.
        UPDATES_AFTER: [step_by_step(pair.ours, 10, 4410, 10 - 31), step_by_step(pair.theirs, 10, 4410)],
        END: [[sum(curve[-20:]) / 20 for curve in curves] for curves in (loro, online)],
    }
    for measure, sides in expected.items():
        for ours, theirs in zip(pair.rewards(measure), sides, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-9, err_msg=measure)
        mean, low, high = pair.difference(measure)
        assert mean == pytest.approx(np.mean(sides[0]) - np.mean(sides[1])) and low < mean < high
        wins = [a > b for a in sides[0] for b in sides[1]]
        assert pair.improvement(measure) == pytest.approx(sum(wins) / 12)


def test_a_policy_that_does_not_learn_earns_its_episodes_returns(tmp_path, pair):
    policy = read_run(write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[3, 5]]], 9))
    ours, theirs = Pair("cartpole", pair.ours, policy).rewards(STEPS_AFTER)
    np.testing.assert_allclose(ours, step_by_step(pair.ours, 31, 4431), atol=1e-9)
    assert theirs.tolist() == [3, 5]


def test_the_longer_of_two_warm_ups_is_left_out(tmp_path, pair):
    longer = run_of(tmp_path, "mix_qwen-7b_tau5", np.ones((2, 1, ITERATIONS)), [9 * k for k in range(1, 26)])
    ours, _ = Pair("cartpole", pair.ours, longer).rewards(STEPS_AFTER)
    np.testing.assert_allclose(ours, step_by_step(pair.ours, 45, 225), atol=1e-9)
    _, theirs = Pair("cartpole", longer, pair.ours).rewards(STEPS_AFTER)
    np.testing.assert_allclose(theirs, ours)


def test_nothing_is_compared_where_one_run_ends_in_the_other_s_warm_up(tmp_path, pair):
    short = run_of(tmp_path, "mix_qwen-7b_tau5", np.ones((2, 1, ITERATIONS)), list(range(1, 26)))
    both = Pair("cartpole", short, pair.ours)
    assert all(np.isnan(values).all() for values in both.rewards(STEPS_AFTER))
    assert np.isnan(both.difference(STEPS_AFTER)).all()


def test_the_last_evaluations_of_a_short_run_are_not_those_of_its_warm_up(tmp_path):
    loro = run_of(tmp_path, LORO, [[[99, 99, 99, 1, 2]]] * 2, [7, 20, 31, 231, 431])
    online = run_of(tmp_path, "online", [[[99, 99, 99, 3, 5]]] * 2, None)
    ours, theirs = Pair("cartpole", loro, online).rewards(END)
    assert ours.tolist() == [1.5, 1.5] and theirs.tolist() == [4, 4]


def test_updates_are_not_compared_with_those_of_ppo_or_of_a_chain(tmp_path, pair):
    ppo = run_of(tmp_path, "ppo", np.ones((2, 1, ITERATIONS)), None)
    chain = run_of(tmp_path, "loro-carry-over_qwen-7b_tau5_n10", np.ones((2, 5, ITERATIONS)), None)
    assert np.isnan([Pair("cartpole", run, pair.theirs).difference(UPDATES_AFTER) for run in (ppo, chain)]).all()


def test_nothing_lies_after_a_run_that_is_all_warm_up(tmp_path):
    loro = run_of(tmp_path, "loro_qwen-7b_tau6_n10", np.ones((2, 1, 6)), list(range(10, 70, 10)))
    assert np.isnan(mean_return(loro, 60, common_extent([loro], "steps"), "steps")).all()


def test_a_policy_s_steps_are_counted_in_iterations(tmp_path, pair):
    """At equal steps it earns its mean return every 200 steps that the other takes; alone, in the paper's number."""
    policy = read_run(write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[3, 5]]], 9))
    _, theirs = Pair("cartpole", pair.ours, policy).rewards(STEPS)
    np.testing.assert_allclose(theirs, [3 * 4431 / 200, 5 * 4431 / 200])
    assert common_extent([policy], "steps") == 150 * 200


def test_an_llm_s_own_play_has_no_warm_up(tmp_path):
    policy = read_run(write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[3, 5]]], 9))
    assert warm_up_end(policy, "steps") == warm_up_end(policy, "updates") == 0
