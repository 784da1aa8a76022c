"""One difference at a time: what each changes, from both ends, against hand-computed numbers."""

import csv
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthetic_runs import write_run

from algos import dqn, sac
from analysis import defects
from analysis.protocols import DIFFERENCES, difference_of
from envs.errors import run_command_line

SETTING = "qwen-7b_tau2_n10"


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["defects", *map(str, arguments)])
    try:
        run_command_line(defects.main)
    finally:
        plt.close("all")


def returns(mean, seeds=4, repeats=1, iterations=10):
    noise = np.random.default_rng(0).normal(0, 0.1, (seeds, repeats, iterations))
    return mean + noise


def test_changes_are_differences_of_cumulative_rewards(tmp_path, monkeypatch, capsys):
    base, shifted, released = returns(5), returns(3), returns(9, repeats=5)
    unshifted = returns(7, repeats=5)
    arms = [("paper", "loro", base), ("paper", "loro-shifted", shifted)]
    arms += [("released", "loro", released), ("released", "loro-shifted", unshifted)]
    paths = [write_run(tmp_path, protocol, "cartpole", f"{arm}_{SETTING}", v) for protocol, arm, v in arms]
    table = tmp_path / "t" / "defects.csv"
    run(["--runs", *paths, "--output", tmp_path / "f" / "defects.pdf", "--table", table], monkeypatch)
    plus, minus = csv.DictReader(table.open())
    assert (plus["side"], plus["difference"], minus["side"]) == ("plus", "shifted", "minus")
    expected = np.mean([sum(seed[0]) for seed in shifted]) - np.mean([sum(seed[0]) for seed in base])
    assert float(plus["change"]) == pytest.approx(expected, rel=1e-4)
    assert float(plus["low"]) < expected < float(plus["high"])
    expected = np.mean([seed.mean(axis=0).sum() for seed in unshifted]) - np.mean(
        [seed.mean(axis=0).sum() for seed in released]
    )
    assert float(minus["change"]) == pytest.approx(expected, rel=1e-4)
    text = table.with_suffix(".md").read_text()
    assert "cartpole, paper: no runs yet of carry-over, discard, warm-up, target, evaluation." in text
    assert (tmp_path / "f" / "defects.png").exists() and "2 differences drawn" in capsys.readouterr().out


def test_one_chain_has_no_interval(tmp_path, monkeypatch):
    arms = [("loro", returns(1, 1, 5)), ("loro-discard", returns(2, 1, 5))]
    paths = [write_run(tmp_path, "released", "pendulum", f"{arm}_{SETTING}", values) for arm, values in arms]
    run(["--runs", *paths, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert row["low"] == row["high"] == "" and row["seeds"] == "1"


@pytest.mark.parametrize("protocol", ["paper", "released"])
@pytest.mark.parametrize("name", list(DIFFERENCES))
def test_each_difference_is_what_the_programs_call_it(tmp_path, protocol, name):
    """The values here are those that the learners' own protocols have."""
    difference = difference_of(f"loro-{name}")
    for env in difference.environments:
        program = sac if env == "pendulum" else dqn
        args = program.Args(output=tmp_path / "x.csv", env=env, arm="loro", protocol=protocol, dataset=tmp_path)
        value = str(getattr(program.resolve(args), difference.flag.removeprefix("--").replace("-", "_")))
        assert value == {"paper": difference.paper, "released": difference.released}[protocol]
        assert value != difference.other(protocol)


def test_no_difference_is_one_sentence(tmp_path, monkeypatch, capsys):
    path = write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", returns(1))
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", path, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "single difference" in error and error.count("\n") == 1
    assert not (tmp_path / "f.pdf").exists() and not (tmp_path / "t.csv").exists()
