"""LLM policies beside chance and constants: numbers counted by hand from episodes that are made up here."""

import csv
import sys

import numpy as np
import pytest

from analysis import llm_policies
from envs.datasets import Episode, save_dataset
from envs.errors import run_command_line

SHAPES = {
    "pendulum": ((3,), np.float32, (1,), np.float32),
    "cartpole": ((4,), np.float32, (), np.int64),
    "mountain-car": ((2,), np.float32, (), np.int64),
}
GRID = ((), np.int64, (), np.int64)


def episode(env, rewards, terminated=False):
    observation, observation_type, action, action_type = SHAPES.get(env, GRID)
    steps = len(rewards)
    last = np.arange(steps) == steps - 1
    observations = np.zeros((steps + 1, *observation), dtype=observation_type)
    actions = np.zeros((steps, *action), dtype=action_type)
    return Episode(observations, actions, np.array(rewards, dtype=float), last & terminated, last & (not terminated))


def make(root, env, llm, episodes, **meta):
    path = root / "datasets" / env / llm
    save_dataset(path, env, [episode(env, *e) for e in episodes], {"policy": llm, **meta})
    return path


def run(monkeypatch, output, *datasets, episodes=3):
    arguments = ["x", "--datasets", *map(str, datasets), "--output", str(output), "--episodes", str(episodes)]
    monkeypatch.setattr(sys, "argv", arguments)
    run_command_line(llm_policies.main)
    with output.open() as file:
        return list(csv.DictReader(file))


def pick(rows, policy, horizon):
    (row,) = [row for row in rows if (row["policy"], row["horizon"]) == (policy, str(horizon))]
    return row


def numbers(row, *names):
    return [float(row[name]) for name in names]


def test_every_horizon_has_its_block_to_which_longer_episodes_are_cut(tmp_path, monkeypatch):
    long = make(tmp_path, "pendulum", "long", [([-1, -2, -3, -4],), ([-3, -2, -1, 0],)], horizon=4)
    # as imported: the first of three steps is missing, and its reward is what the stored return has more
    stored = {"returns_as_stored": [-9.0, -6.0], "first_steps_dropped": 2}
    short = make(tmp_path, "pendulum", "short", [([-2, -3],), ([-1, -1],)], **stored)
    rows = run(monkeypatch, tmp_path / "t.csv", long, short)
    assert [row["horizon"] for row in rows] == ["4"] * 3 + ["3"] * 4, "each with chance and the best constant"
    assert numbers(pick(rows, "long", 4), "mean_return", "mean_length", "transitions") == [-8, 4, 8]
    assert numbers(pick(rows, "long", 3), "mean_return", "mean_length", "transitions") == [-6, 3, 6]
    assert numbers(pick(rows, "short", 3), "mean_return", "mean_length", "transitions") == [-7.5, 3, 6]
    assert numbers(pick(rows, "long", 3), "low", "high") == [-6, -6], "both episodes now have the same return"
    assert numbers(pick(rows, "short", 3), "low", "high") == [-9, -6], "resampling two: 1 in 4 draws one of them twice"
    means = [float(row["mean_return"]) for row in rows if row["horizon"] == "3"]
    assert means == sorted(means, reverse=True)
    text = (tmp_path / "t.md").read_text()
    assert "## Pendulum, 4 steps" in text
    assert "| long (first 3 of 4 steps) | 2 | −6.00 [−6.00, −6.00] |" in text


def test_chance_and_the_best_constant_play_the_environment(tmp_path, monkeypatch):
    # One step from CliffWalking's start: right falls (-100), every other action costs 1.
    llm = make(tmp_path, "cliff-walking", "falls", [([-100],), ([-100],), ([-100],)])
    rows = run(monkeypatch, tmp_path / "one.csv", llm, episodes=400)
    chance = pick(rows, "uniformly random", 1)
    fallen = (float(chance["mean_return"]) * 400 + 400) / -99
    assert fallen == pytest.approx(round(fallen))
    assert abs(fallen - 100) < 5 * np.sqrt(400 * 0.25 * 0.75), "a quarter of the actions, give or take five deviations"
    best = pick(rows, "always up", 1)
    assert numbers(best, "episodes", "mean_return") == [1, -1], "all is deterministic, so one episode says all"
    assert (best["low"], best["than_random"], best["than_best_constant"]) == ("", "better", "")
    assert [pick(rows, "falls", 1)[name] for name in ("than_random", "than_best_constant")] == ["worse", "worse"]


def test_words_follow_the_interval_of_the_difference(tmp_path, monkeypatch):
    careful = make(tmp_path, "cliff-walking", "careful", [([-1] * 5,)] * 3)
    mixed = make(tmp_path, "cliff-walking", "mixed", [([-1] * 5,), ([-1] * 4 + [-100],), ([-1] * 3 + [-100] * 2,)])
    single = make(tmp_path, "cliff-walking", "single", [([-1] * 5,)])
    rows = run(monkeypatch, tmp_path / "t.csv", careful, mixed, single, episodes=200)
    assert pick(rows, "careful", 5)["than_random"] == "better"
    assert pick(rows, "careful", 5)["than_best_constant"] == "equal"
    assert pick(rows, "mixed", 5)["than_random"] == "not shown"
    assert pick(rows, "single", 5)["than_random"] == "too few episodes"
    assert pick(rows, "uniformly random", 5)["than_random"] == ""
    low, mean, high = numbers(pick(rows, "careful", 5), "difference_low", "difference_to_random", "difference_high")
    assert [llm_policies.in_words(*ends) for ends in ((0, 1), (-1, 0), (0, 0))] == ["not shown", "not shown", "equal"]
    assert 0 < low < mean < high
    assert mean == pytest.approx(-5 - float(pick(rows, "uniformly random", 5)["mean_return"]), rel=1e-6)


def test_a_success_is_an_ending_at_the_goal_within_the_horizon(tmp_path, monkeypatch):
    played = [([0, 0, 1], True), ([0, 0], True), ([0, 0, 0, 0], False), ([0, 1], True)]
    llm = make(tmp_path, "frozen-lake", "llm", played, horizon=4)
    brief = make(tmp_path, "frozen-lake", "brief", [([0, 0], False)] * 2)
    rows = run(monkeypatch, tmp_path / "t.csv", llm, brief)
    assert numbers(pick(rows, "llm", 4), "successes", "mean_return", "mean_length") == [2, 0.5, 11 / 4]
    assert numbers(pick(rows, "llm", 2), "successes", "mean_return", "mean_length") == [1, 0.25, 2]
    car = make(tmp_path, "mountain-car", "car", [([-1] * 3, True), ([-1] * 4, False)])
    pole = make(tmp_path, "cartpole", "pole", [([1] * 3, True)] * 2)
    rows = run(monkeypatch, tmp_path / "u.csv", car, pole)
    assert pick(rows, "car", 4)["successes"] == "1"
    assert pick(rows, "pole", 200)["successes"] == "", "no goal, and no cut-off episode: the environment's horizon"


def test_what_the_llm_cost_is_of_the_whole_dataset_or_empty(tmp_path, monkeypatch):
    counts = {"distinct_prompts": 3, "invalid_answers": 2, "tokens": 1234, "seconds": 5.25}
    new = make(tmp_path, "pendulum", "new", [([-1] * 4,)] * 2, horizon=4, **counts)
    old = make(tmp_path, "pendulum", "old", [([-1] * 2,)] * 2)
    rows = run(monkeypatch, tmp_path / "t.csv", new, old)
    names = ("distinct_prompts", "invalid_answers", "invalid_share", "tokens", "seconds")
    assert numbers(pick(rows, "new", 4), *names) == [3, 2, 0.25, 1234, 5.25]
    assert {row[name] for row in rows if row["horizon"] == "2" for name in names} == {""}
    four, two = (tmp_path / "t.md").read_text().split("## ")[1:]
    assert "| 3 | 2 (25.0%) | 1,234 | 5.2 |" in four
    assert "tokens" not in two, "a column without numbers is left out"


def test_the_same_datasets_give_the_same_bytes(tmp_path, monkeypatch):
    datasets = [make(tmp_path, env, "llm", [([-1.5] * 3,)] * 2, horizon=3) for env in ("pendulum", "frozen-lake")]
    for name in ("a", "b"):
        run(monkeypatch, tmp_path / f"{name}.csv", *(datasets if name == "a" else reversed(datasets)))
    for suffix in (".csv", ".md"):
        first, second = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("a", "b"))
        assert first == second


def test_the_authors_pong_has_rules_of_its_own(tmp_path):
    observations = np.zeros((3, 10), dtype=np.float32)
    ends = np.array([False, True])
    pong = Episode(observations, np.zeros(2, dtype=np.int64), np.array([0.0, -1.0]), ~ends & ends, ends)
    for name, meta in (("ours", {}), ("authors", {"source_file": "pong.pkl"})):
        save_dataset(tmp_path / "represented-pong" / name, "represented-pong", [pong], meta)
    rules = [llm_policies.read_policy(tmp_path / "represented-pong" / name).rules for name in ("ours", "authors")]
    assert rules == ["", "two game steps per action"]


def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, capsys):
    good = make(tmp_path, "pendulum", "good", [([-1],)] * 2)
    as_stored = make(tmp_path, "pendulum", "as-stored", [([-1], True)], pairing="as stored")
    empty = make(tmp_path, "pendulum", "empty", [])
    fewer = make(tmp_path, "pendulum", "fewer", [([-1],)] * 2, first_steps_dropped=2, returns_as_stored=[-2.0])
    moved = tmp_path / "datasets" / "cartpole" / "good"
    moved.parent.mkdir()
    good.rename(moved)
    good = make(tmp_path, "pendulum", "good", [([-1],)] * 2)
    for datasets, episodes, status, words in (
        ([tmp_path / "datasets" / "pendulum" / "none"], 3, 2, "No dataset at"),
        ([moved], 3, 2, "is of environment 'pendulum'"),
        ([as_stored], 3, 2, "import it without --as-stored"),
        ([good, good], 3, 2, "another dataset of 'good'"),
        ([good], 1, 2, "--episodes must be at least 2"),
        ([empty], 3, 1, "holds no episodes"),
        ([fewer], 3, 1, "1 returns for 2 episodes"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run(monkeypatch, tmp_path / "out" / "t.csv", *datasets, episodes=episodes)
        error = capsys.readouterr().err
        assert (exit_.value.code, error.count("\n")) == (status, 1)
        assert words in error
    assert not (tmp_path / "out").exists()
