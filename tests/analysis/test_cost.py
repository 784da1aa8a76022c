"""What training costs: seconds over the steps that were trained, and nothing else."""

import csv
import json
import sys

import numpy as np
import pytest
from synthetic_runs import write_run

from analysis import cost
from envs.errors import Failure, UsageError, run_command_line


def make(tree, protocol, env, arm, seeds, repeats, seconds, **more):
    path = write_run(tree, protocol, env, arm, np.zeros((seeds, repeats, 30)))
    arguments = {"iteration_steps": 200, "seeds": seeds, "tau": 10}
    made = {"algorithm": "double-dqn", "device": "cpu", "seconds": seconds, "arguments": arguments, **more}
    path.with_suffix(".json").write_text(json.dumps(made))
    return path


def run(paths, output, monkeypatch, *more):
    monkeypatch.setattr(sys, "argv", ["cost", "--runs", *map(str, paths), "--output", str(output), *more])
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


def test_what_is_asked_for_is_predicted_from_what_its_own_protocol_s_runs_took(tmp_path, monkeypatch):
    paths = [
        make(tmp_path, "paper", "cartpole", "online", 4, 1, 48.0),  # 2 ms per seed-step
        make(tmp_path, "paper", "cartpole", "mix_x_tau10", 2, 1, 8 * 2.0),  # 2 ms
        make(tmp_path, "released", "cartpole", "loro_x_tau10_n3000", 1, 5, 23 * 6.0),  # 6 ms
        make(tmp_path, "paper", "cartpole", "ppo", 1, 1, 6 * 0.5, algorithm="ppo"),
        make(tmp_path, "paper", "frozen-lake", "online", 1, 1, 6 * 1.0, device="a GPU"),
    ]
    asked = [
        "paper/cartpole/online=10",
        "paper/cartpole/loro_x_tau10_n3000=10",
        "paper/cartpole/loro-carry-over_x_tau10_n3000=1",
        "paper/cartpole/pretrain-on-policy_tau20_n1000=1",
        "released/cartpole/loro_x_tau10_n3000=3",
        "released/cartpole/loro-carry-over_x_tau10_n3000=1",
        "released/cartpole/mix_x_tau10=1",
        "paper/cartpole/ppo=1",
        "released/frozen-lake/online=1",  # only the other protocol's were timed
        "paper/pendulum/online=1",  # none was
    ]
    run(paths, tmp_path / "t" / "cost.csv", monkeypatch, "--asked", *asked)
    lines = (tmp_path / "t" / "cost.md").read_text().split("## All that is asked for")[1].splitlines()
    # CartPole has 150 iterations of 200 steps, of which the first tau are the LLM's.
    of_paper = 10 * 30_000 + 10 * (28_000 + 3000) + (5 * 28_000 + 3000) + (30_000 + 1000)
    of_released = 3 * (5 * 28_000 + 3000) + (28_000 + 3000) + 28_000
    assert [line for line in lines if line.startswith("| ")][1:] == [
        f"| CartPole | double-dqn | cpu | paper | 0 of 4 | {of_paper:,} | {of_paper * 2 / 3.6e6:.1f} |",
        f"| CartPole | ppo | cpu | paper | 1 of 1 | 30,000 | {30_000 * 0.5 / 3.6e6:.1f} (by one run) |",
        f"| CartPole | double-dqn | cpu | released | 0 of 3 | {of_released:,} "
        f"| {of_released * 6 / 3.6e6:.1f} (by one run) |",
        "| FrozenLake | double-dqn | a GPU | released | 0 of 1 | 30,000 | 0.0 (by one run) |",
        "| Pendulum | sac |  | paper | 0 of 1 | 40,000 |  |",
    ]
    assert lines[-3:] == [
        "All 8 runs on cpu: 1 hours of one core or device.",
        "All 1 runs on a GPU: 0 hours of one core or device.",
        "Of 1 runs there is no time to predict from.",
    ]


@pytest.mark.parametrize(
    "asked",
    ["paper/cartpole/online", "cartpole/online=5", "mine/cartpole/online=5", "paper/chess/online=5",
     "paper/cartpole/loro-wrong_x_tau10_n3000=5", "paper/cartpole/Online=5"],
)  # fmt: skip
def test_what_is_asked_for_must_name_a_run_and_its_seeds(tmp_path, monkeypatch, asked):
    path = make(tmp_path, "paper", "cartpole", "online", 4, 1, 48.0)
    with pytest.raises(UsageError, match="--asked"):
        run([path], tmp_path / "cost.csv", monkeypatch, "--asked", asked)
    assert not (tmp_path / "cost.csv").exists()
