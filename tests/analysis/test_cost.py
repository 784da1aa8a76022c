"""What training costs: seconds over the steps that were trained, and nothing else."""

import csv
import json
import sys

import numpy as np
import pytest
from synthetic_runs import write_run

from analysis import cost
from envs.errors import Failure, run_command_line


def make(tree, protocol, env, arm, seeds, repeats, seconds, **more):
    path = write_run(tree, protocol, env, arm, np.zeros((seeds, repeats, 30)))
    arguments = {"iteration_steps": 200, "seeds": seeds, "tau": 10}
    made = {"algorithm": "double-dqn", "device": "cpu", "seconds": seconds, "arguments": arguments, **more}
    path.with_suffix(".json").write_text(json.dumps(made))
    return path


def run(paths, output, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cost", "--runs", *map(str, paths), "--output", str(output)])
    cost.main()
    return {row["run"]: row for row in csv.DictReader(output.open())}


def test_warm_up_iterations_are_not_trained_and_repeats_and_offline_updates_are(tmp_path, monkeypatch):
    paths = [
        make(tmp_path, "paper", "cartpole", "online", 4, 1, 48.0),
        make(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau10_n3000", 2, 1, 42.0),
        make(tmp_path, "released", "cartpole", "loro_x_tau10_n3000", 1, 5, 46.0),
        make(tmp_path, "paper", "cartpole", "mix_qwen-7b_tau10", 2, 1, 16.0),
        write_run(tmp_path, "paper", "cartpole", "random-policy", np.zeros((1, 1, 3))),
        write_run(tmp_path, "published", "cartpole", "online", np.zeros((1, 5, 30))),
    ]
    rows = run(paths, tmp_path / "t" / "cost.csv", monkeypatch)
    assert {name: int(row["seed_steps"]) for name, row in rows.items()} == {
        "online": 4 * 30 * 200,
        "loro_qwen-7b_tau10_n3000": 2 * (20 * 200 + 3000),
        "loro_x_tau10_n3000": 5 * 20 * 200 + 3000,  # a chain is pretrained once
        "mix_qwen-7b_tau10": 2 * 20 * 200,
    }
    assert [int(row["offline_updates"]) for row in rows.values()] == [6000, 0, 0, 3000]
    assert float(rows["online"]["milliseconds_per_seed_step"]) == pytest.approx(2.0)
    text = (tmp_path / "t" / "cost.md").read_text()
    assert "| CartPole | double-dqn | cpu | 4 | 69,000 | 0.0 | 2.00 (2.00 to 3.00) |" in text


def test_a_run_that_does_not_say_is_refused(tmp_path, monkeypatch, capsys):
    path = write_run(tmp_path, "paper", "cartpole", "online", np.zeros((1, 1, 30)))
    with pytest.raises(Failure, match="says what it cost"):
        run([path], tmp_path / "cost.csv", monkeypatch)
    policies = write_run(tmp_path, "paper", "cartpole", "random-policy", np.zeros((1, 1, 3)))
    with pytest.raises(SystemExit) as stopped:
        run_command_line(lambda: run([policies], tmp_path / "cost.csv", monkeypatch))
    assert stopped.value.code == 2 and "None of the runs" in capsys.readouterr().err
