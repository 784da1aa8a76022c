"""Fresh runs beside shipped ones: what is the same, what is not, and what does not compare."""

import sys

import numpy as np
import pytest
from synthetic_runs import write_run

from analysis import compare
from envs.errors import run_command_line


def rows_of(monkeypatch, tmp_path, *runs):
    arguments = ["--runs", *runs, "--shipped", tmp_path / "there/results/runs", "--output", tmp_path / "c.md"]
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
    run_command_line(compare.main)
    lines = (tmp_path / "c.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| paper/")]
    return {name: cells for name, *cells in rows}


def test_each_run_beside_its_namesake(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    returns = np.arange(12.0).reshape(2, 1, 6)  # sums 15 and 51
    runs = [write_run(here, "paper", "cartpole", name, returns) for name in ("online", "mix", "ppo", "loro")]
    runs.append(write_run(here, "paper", "pendulum", "online", returns[:1]))
    write_run(there, "paper", "cartpole", "online", returns)
    write_run(there, "paper", "cartpole", "mix", returns + 1)
    write_run(there, "paper", "cartpole", "ppo", returns[:, :, :4])
    write_run(there, "paper", "pendulum", "online", returns[:1])
    assert rows_of(monkeypatch, tmp_path, *runs) == {
        "paper/cartpole/online": ["33.0 (25.5, 2)", "33.0 (25.5, 2)", "identical"],
        "paper/cartpole/mix": ["39.0 (25.5, 2)", "33.0 (25.5, 2)", "other numbers"],
        "paper/cartpole/ppo": ["18.0 (17.0, 2)", "33.0 (25.5, 2)", "do not compare: 6 iterations, shipped 4"],
        "paper/cartpole/loro": ["not shipped", "33.0 (25.5, 2)", ""],
        "paper/pendulum/online": ["15.0 (1)", "15.0 (1)", "identical"],
    }


def test_a_missing_run_is_one_sentence(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        rows_of(monkeypatch, tmp_path, tmp_path / "paper/cartpole/online.csv")
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "No such run" in error and error.count("\n") == 1
    assert not (tmp_path / "c.md").exists()
