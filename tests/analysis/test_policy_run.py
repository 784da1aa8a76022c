"""A dataset's episodes as a run: counted by hand from the episodes that were stored."""

import csv
import json
import sys

import numpy as np
import pytest

from analysis import policy_run
from analysis.runs import read_run
from envs.datasets import Episode, read_meta, save_dataset
from envs.errors import run_command_line

REWARDS = [[1.0, 1.0, 1.0], [1.0], [1.0, 1.0]]


def episode(rewards):
    steps = len(rewards)
    ends = np.arange(steps) == steps - 1
    observations = np.zeros((steps + 1, 4), dtype=np.float32)
    return Episode(observations, np.zeros(steps, dtype=np.int64), np.array(rewards), ends, np.zeros(steps, dtype=bool))


def make_run(tmp_path, monkeypatch, meta, rewards=REWARDS, env="cartpole"):
    dataset = tmp_path / "datasets" / "cartpole" / "an-llm"
    save_dataset(dataset, "cartpole", [episode(r) for r in rewards], meta)
    output = tmp_path / "paper" / "cartpole" / "llm-policy_an-llm.csv"
    monkeypatch.setattr(sys, "argv", ["x", "--env", env, "--dataset", str(dataset), "--output", str(output)])
    run_command_line(policy_run.main)
    return dataset, output


def test_each_episode_is_a_row(tmp_path, monkeypatch):
    _, output = make_run(tmp_path, monkeypatch, {"policy": "an-llm", "model": "org/an-llm"})
    with output.open() as file:
        rows = list(csv.DictReader(file))
    expected = [
        "seed",
        "repeat",
        "iteration",
        "env_steps",
        "train_return",
        "eval_return",
        "eval_length",
        "loss",
        "q_mean",
    ]
    assert list(rows[0]) == expected
    assert [int(row["iteration"]) for row in rows] == [0, 1, 2]
    assert [float(row["eval_return"]) for row in rows] == [3, 1, 2] == [float(row["train_return"]) for row in rows]
    assert [int(row["eval_length"]) for row in rows] == [3, 1, 2]
    assert [int(row["env_steps"]) for row in rows] == [3, 4, 6]
    assert {(row["seed"], row["repeat"], row["loss"], row["q_mean"]) for row in rows} == {("0", "0", "", "")}
    assert read_run(output).mean_return() == pytest.approx(2)


def test_the_description_says_which_data_this_is(tmp_path, monkeypatch):
    dataset, output = make_run(tmp_path, monkeypatch, {"policy": "an-llm", "model": "org/an-llm"})
    description = json.loads(output.with_suffix(".json").read_text())
    meta = read_meta(dataset)
    assert description["arguments"] == {"env": "cartpole", "dataset": str(dataset)}
    assert description["dataset_sha256"] == meta["sha256"]
    assert description["episodes"]["transitions"] == meta["transitions"]
    assert description["policy"]["model"] == "org/an-llm"
    assert description["versions"] == meta["versions"]


def test_the_same_dataset_gives_the_same_bytes(tmp_path, monkeypatch):
    _, first = make_run(tmp_path, monkeypatch, {"policy": "an-llm"})
    before = first.read_bytes(), first.with_suffix(".json").read_bytes()
    _, again = make_run(tmp_path, monkeypatch, {"policy": "an-llm"})
    assert before == (again.read_bytes(), again.with_suffix(".json").read_bytes())


def test_a_dropped_first_step_counts_as_it_was_played(tmp_path, monkeypatch):
    meta = {"policy": "an-llm", "returns_as_stored": [4.0, 2.0, 3.0], "first_steps_dropped": 3}
    _, output = make_run(tmp_path, monkeypatch, meta)
    table = read_run(output).table
    assert table.eval_return.tolist() == table.eval_length.tolist() == [4, 2, 3]  # CartPole pays 1 a step
    assert table.env_steps.tolist() == [4, 6, 9]


@pytest.mark.parametrize(
    ("meta", "env", "status", "sentence"),
    [
        ({"returns_as_stored": [1.0]}, "cartpole", 1, "1 returns for 3 episodes"),
        ({}, "mountain-car", 2, "not 'mountain-car'"),
        ({}, "chess", 2, "Unknown environment"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, capsys, meta, env, status, sentence):
    with pytest.raises(SystemExit) as stopped:
        make_run(tmp_path, monkeypatch, meta, env=env)
    assert stopped.value.code == status
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()


def test_a_dataset_without_episodes_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        make_run(tmp_path, monkeypatch, {}, rewards=[])
    assert stopped.value.code == 1
    assert "no episodes" in capsys.readouterr().err
