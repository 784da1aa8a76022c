"""Scores over both axes by hand, aggregates and probabilities against plain loops, and what is missing."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_runs import write_run, write_tree

from analysis import scores
from envs.errors import run_command_line

LORO, MIX = "loro_qwen-7b_tau2_n10", "mix_qwen-7b_tau2"
NAMES = ["--loro", LORO, "--mix", MIX]


def make(runs, tmp_path, monkeypatch, *options):
    """Run the program; return its table and its text."""
    output = tmp_path / "tables" / "scores.csv"
    monkeypatch.setattr(sys, "argv", ["scores", "--runs", *map(str, runs), "--output", str(output), *options])
    run_command_line(scores.main)
    return pd.read_csv(output), output.with_suffix(".md").read_text()


def number(table, score, **key):
    """Return the value and the interval of the one row that is asked for."""
    rows = table[table.score == score]
    for column, value in key.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, rows
    return tuple(rows[["value", "low", "high"]].iloc[0])


def set_steps(path, steps):
    """Give a run's iterations these environment steps."""
    table = pd.read_csv(path)
    table["env_steps"] = np.asarray(steps)[table.iteration]
    table.to_csv(path, index=False)
    return path


def test_both_axes_by_hand(tmp_path, monkeypatch):
    online = [[[10, 20, 30, 40]], [[12, 22, 32, 42]]]
    loro = [[[5, 5, 50, 60]], [[5, 5, 54, 64]], [[5, 5, 58, 68]]]
    runs = [
        write_run(tmp_path, "paper", "cartpole", "online", online),
        set_steps(write_run(tmp_path, "paper", "cartpole", LORO, loro), [7, 20, 220, 420]),
        write_run(tmp_path, "paper", "cartpole", "random-policy", [[[10, 30]]], 20),
    ]
    table, _ = make(runs, tmp_path, monkeypatch, *NAMES)
    assert number(table, "mean", env="cartpole", arm="online", over="iterations")[0] == pytest.approx((100 + 108) / 2)
    assert number(table, "mean", env="cartpole", arm=LORO, over="iterations")[0] == pytest.approx((120 + 128 + 136) / 3)
    # Both have taken 420 steps: online two iterations and a tenth of the third, LORO's warm-up is a tenth of one.
    expected = np.mean([10 + 20 + 0.1 * 30, 12 + 22 + 0.1 * 32])
    assert number(table, "mean", env="cartpole", arm="online", over="steps")[0] == pytest.approx(expected)
    expected = np.mean([0.1 * 5 + 50 + 60, 0.1 * 5 + 54 + 64, 0.1 * 5 + 58 + 68])
    assert number(table, "mean", env="cartpole", arm=LORO, over="steps")[0] == pytest.approx(expected)
    assert number(table, "mean", env="cartpole", arm="random-policy", over="steps")[0] == pytest.approx(20 * 420 / 200)
    # CartPole's scale goes from 20 to 200; over steps the mean return is the sum over 420 / 200 iterations.
    scaled = number(table, "normalised mean", env="cartpole", arm=LORO, over="steps")[0]
    assert scaled == pytest.approx((expected / 2.1 - 20) / 180)
    assert number(table, "normalised mean", env="cartpole", arm="random-policy", over="iterations")[0] == pytest.approx(
        0
    )


def test_equal_steps_make_both_axes_the_same(tmp_path, monkeypatch):
    runs = write_tree(tmp_path, ["cartpole", "pendulum"], iterations=30)
    table, _ = make(runs, tmp_path, monkeypatch)
    kept = table[(table.env != "all") & (table.score != "improvement")]
    both = kept.pivot_table(index=["protocol", "env", "arm", "score"], columns="over", values="value")
    assert len(both) == 2 * 7 * 3
    np.testing.assert_allclose(both.iterations, both.steps, rtol=1e-6)


def test_a_cells_numbers_and_intervals(tmp_path, monkeypatch):
    returns = np.random.default_rng(0).normal(60, 20, (12, 1, 8))
    table, _ = make([write_run(tmp_path, "paper", "cartpole", "online", returns)], tmp_path, monkeypatch, *NAMES)
    sums = sorted(sum(seed[0]) for seed in returns)
    assert number(table, "iqm", env="cartpole", over="iterations")[0] == pytest.approx(np.mean(sums[3:9]))
    mean, low, high = number(table, "mean", env="cartpole", over="iterations")
    assert mean == pytest.approx(np.mean(sums))
    half = 1.96 * np.std(sums) / np.sqrt(12)
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=0.2 * half)
    scaled = number(table, "normalised mean", env="cartpole", over="iterations")
    assert scaled == pytest.approx([(x / 8 - 20) / 180 for x in (mean, low, high)])


def test_across_environments_only_shared_ones_count_and_alike(tmp_path, monkeypatch):
    generator = np.random.default_rng(1)
    levels = {("cartpole", "online", 10): 56, ("cartpole", LORO, 6): 92, ("cartpole", MIX, 5): 74}
    levels |= {("pendulum", "online", 3): -665, ("pendulum", LORO, 4): -459, ("pendulum", MIX, 3): -1077}
    levels |= {("frozen-lake", "online", 5): 0.5, ("frozen-lake", LORO, 5): 0.6}  # no mix: left out
    runs, returns = [], {}
    for (env, arm, seeds), level in levels.items():
        returns[env, arm] = level + generator.normal(0, 0.02 * abs(level), (seeds, 1, 6))
        runs.append(write_run(tmp_path, "paper", env, arm, returns[env, arm]))
    table, text = make(runs, tmp_path, monkeypatch, *NAMES)
    scale = {"cartpole": (20, 200), "pendulum": (-1180, -150)}
    for arm in ("online", LORO, MIX):
        scaled = [
            [(seed[0].mean() - low) / (high - low) for seed in returns[env, arm]] for env, (low, high) in scale.items()
        ]
        mean, low, high = number(table, "normalised mean", env="all", arm=arm, over="iterations")
        assert mean == pytest.approx(np.mean([np.mean(one) for one in scaled]))
        error = np.sqrt(sum(np.var(one) / len(one) for one in scaled)) / 2
        assert [low, high] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.8 * error)
        least = np.lcm(len(scaled[0]), len(scaled[1]))
        pooled = np.concatenate([np.repeat(one, 2 * least // len(one)) for one in scaled])
        iqm = number(table, "normalised iqm", env="all", arm=arm, over="iterations")[0]
        assert iqm == pytest.approx(stats.trim_mean(pooled, 0.25))
    assert set(table[(table.env == "all") & (table.score == "normalised iqm")].environments) == {"cartpole pendulum"}
    assert "paper, over steps: without FrozenLake, CliffWalking, MountainCar, Pong (10 numbers)" in text
    assert "| paper | iterations | online RL | 2 of 6 |" in text


def test_probability_of_improvement(tmp_path, monkeypatch):
    sums = {("cartpole", "online"): [1, 2, 3, 4], ("cartpole", LORO): [3, 4, 5]}
    sums |= {("pendulum", "online"): [-5, -4], ("pendulum", LORO): [-6, -5, -3, -2]}
    runs = [
        write_run(tmp_path, "paper", env, arm, np.reshape(np.repeat(values, 4) / 4, (-1, 1, 4)))
        for (env, arm), values in sums.items()
    ]
    table, text = make(runs, tmp_path, monkeypatch, *NAMES)
    key = {"arm": LORO, "against": "online", "over": "iterations"}
    cartpole = (2.5 + 3.5 + 4) / 12
    pendulum = (0 + 0.5 + 2 + 2) / 8
    assert number(table, "improvement", env="cartpole", **key)[0] == pytest.approx(cartpole)
    assert number(table, "improvement", env="pendulum", **key)[0] == pytest.approx(pendulum)
    mean, low, high = number(table, "improvement", env="all", **key)
    assert mean == pytest.approx((cartpole + pendulum) / 2)
    assert low < mean < high <= 1
    assert table[table.against.notna()].arm.unique() == [LORO]
    assert f"no runs of {MIX} to compare" in text


def test_a_single_chain_has_scores_but_no_interval_and_is_not_compared(tmp_path, monkeypatch):
    chain = np.arange(40.0).reshape(1, 5, 8)
    seeds = np.random.default_rng(2).normal(20, 1, (5, 1, 8))
    runs = [
        write_run(tmp_path, "published", "cartpole", "online", seeds),
        write_run(tmp_path, "published", "cartpole", LORO, chain),
    ]
    table, text = make(runs, tmp_path, monkeypatch, *NAMES)
    value, low, high = number(table, "mean", arm=LORO, env="cartpole")
    assert value == pytest.approx(chain.mean(axis=(0, 1)).sum()) and np.isnan(low) and np.isnan(high)
    assert np.isnan(number(table, "normalised mean", arm=LORO, env="all")[1])
    assert not (table.score == "improvement").any()
    assert set(table.over) == {"iterations"}  # the published curves tell no steps
    assert "LORO (qwen-7b, τ=2, N=10) | published | 1 x 5 |" in text


def test_missing_cells_and_seeds_are_named(tmp_path, monkeypatch):
    runs = write_tree(tmp_path, ["cartpole"], iterations=20, seeds=4)
    _, text = make(runs, tmp_path, monkeypatch)
    missing = text.split("## Missing")[1]
    assert "- CartPole, paper: no runs yet of pretrain-on-policy_tau10_n3000, pretrain-random_tau10_n3000," in missing
    assert "- Pendulum, released: no runs yet of online, loro_qwen-7b_tau10_n3000, mix_qwen-7b_tau10," in missing
    assert "loro_deepseek-7b_tau10_n1000" in missing.split("FrozenLake, paper")[1].split("\n")[0]
    assert "deepseek" not in missing.split("CartPole, paper")[1].split("\n")[0]
    assert "- CartPole, paper: online has 4 seeds, not 5 or more." in missing
    assert "- CartPole, released: loro_qwen-7b_tau10_n3000 has 1 chain, not 3 or more." in missing


@pytest.mark.parametrize("case", ["none", "twice", "lengths", "names"])
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, case):
    online = write_run(tmp_path, "paper", "cartpole", "online", np.zeros((2, 1, 5)))
    other = write_run(tmp_path / "b", "paper", "cartpole", LORO, np.zeros((2, 1, 6)))
    runs = {"none": [], "twice": [online, online], "lengths": [online, other], "names": [online]}[case]
    with pytest.raises(SystemExit) as stopped:
        make(runs, tmp_path, monkeypatch, *(["--loro", "online"] if case == "names" else NAMES))
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in error
    assert not (tmp_path / "tables").exists()
    assert {"none": "", "twice": "same run twice", "lengths": "5 iterations", "names": "two arms"}[case] in error
