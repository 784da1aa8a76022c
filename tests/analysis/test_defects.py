"""One difference at a time: what each changes, from both ends, against hand-computed numbers."""

import csv
import json
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

from algos import dqn, sac
from analysis import defects
from analysis.protocols import DIFFERENCES, difference_of
from analysis.runs import read_run
from envs.errors import run_command_line

SETTING = "qwen-7b_tau2_n10"


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["defects", *map(str, arguments)])
    try:
        run_command_line(defects.main)
    finally:
        plt.close("all")


def returns(mean, seeds=4, repeats=1, iterations=10):
    noise = np.random.default_rng(abs(mean)).normal(0, 0.1, (seeds, repeats, iterations))
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
    distance = np.mean([s.mean(axis=0).sum() for s in released]) - np.mean([sum(s[0]) for s in base])
    (line,) = [line for line in text.splitlines() if line.startswith(f"| CartPole | {distance:.1f} [")]
    assert line.endswith("| 4 against 4 |")
    assert (tmp_path / "f" / "defects.png").exists() and "2 differences drawn" in capsys.readouterr().out


def test_agents_of_the_same_seed_are_compared(tmp_path, monkeypatch):
    """Five seeds beside ten: a change of 2 an evaluation is 2 an evaluation, however good the other five are."""
    spread = np.arange(10)[:, None, None] * 100.0 + np.zeros((10, 1, 10))
    arms = [("loro", spread), ("loro-shifted", spread[:5] + 2)]
    paths = [write_run(tmp_path, "paper", "cartpole", f"{arm}_{SETTING}", values) for arm, values in arms]
    run(["--runs", *paths, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert [float(row[name]) for name in ("change", "low", "high", "seeds")] == [20, 20, 20, 5]


def test_runs_without_a_seed_in_common_are_refused(tmp_path, monkeypatch, capsys):
    arms = [("loro", returns(1)), ("loro-shifted", returns(2))]
    paths = [write_run(tmp_path, "paper", "cartpole", f"{arm}_{SETTING}", values) for arm, values in arms]
    table = pd.read_csv(paths[1])
    table.assign(seed=table.seed + 100).to_csv(paths[1], index=False)
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", *paths, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    assert stopped.value.code == 2 and "no seed in common" in capsys.readouterr().err


def control(folder, values, **changed):
    """Write a run of online RL with LORO's target network as `snakemake rerun/results/reference/...` does."""
    arguments = {"env": "cartpole", "arm": "online", "protocol": "paper", "target_update_interval": 200} | changed
    path = write_run(folder / "made", "paper", "cartpole", "online", values)
    path = path.rename(folder / "online-target-cartpole.csv")
    path.with_suffix(".json").write_text(json.dumps({"arguments": arguments}))
    return path


def test_both_arms_with_the_same_target_network_are_compared(tmp_path, monkeypatch):
    """By hand: sums over 10 iterations of constant returns, the same for each of four seeds."""
    arms = {"loro": 3.0, "loro-target": 8.0, "loro-shifted": 1.0, "online": 7.0}
    flat = {name: np.full((4, 1, 10), value) for name, value in arms.items()}
    names = {name: name if name == "online" else f"{name}_{SETTING}" for name in arms}
    paths = [write_run(tmp_path, "paper", "cartpole", names[name], flat[name]) for name in arms]
    path = control(tmp_path, np.full((5, 1, 10), 4.0))
    table = tmp_path / "t.csv"
    run(["--runs", *paths, "--controls", path, "--output", tmp_path / "f.pdf", "--table", table], monkeypatch)
    found = [row for row in csv.DictReader(table.open()) if row["side"] == "against online"]
    assert [(row["difference"], float(row["change"]), row["seeds"]) for row in found] == [
        ("target-1000", -40, "4 against 4"),
        ("target-200", 40, "4 against 5"),
    ]
    assert [(float(row["loro"]), float(row["online"])) for row in found] == [(30, 70), (80, 40)]
    lines = table.with_suffix(".md").read_text().splitlines()
    assert "| CartPole | 200 updates | 80.0 | 40.0 | 40.0 [40.0, 40.0] (p < 0.001) | 4 against 5 |" in lines


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"target_update_interval": 1000}, "--target-update-interval 200"),
        ({"arm": "mix", "tau": 10}, "is not online RL"),
    ],
)
def test_a_control_that_is_none_is_refused(tmp_path, monkeypatch, capsys, changed, told):
    paths = [write_run(tmp_path, "paper", "cartpole", f"{a}_{SETTING}", returns(1)) for a in ("loro", "loro-shifted")]
    path = control(tmp_path, returns(2), **changed)
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", *paths, "--controls", path, "--output", tmp_path / "f.pdf", "--table", "t.csv"], monkeypatch)
    assert stopped.value.code == 2 and told in capsys.readouterr().err
    assert not (tmp_path / "f.pdf").exists()


def test_one_chain_has_no_interval(tmp_path, monkeypatch):
    arms = [("loro", returns(1, 1, 5)), ("loro-discard", returns(2, 1, 5))]
    paths = [write_run(tmp_path, "released", "pendulum", f"{arm}_{SETTING}", values) for arm, values in arms]
    run(["--runs", *paths, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert row["low"] == row["high"] == "" and row["seeds"] == "1"


def test_a_distance_that_rests_on_one_chain_looks_and_reads_otherwise(tmp_path):
    drawn = []
    for chains in (1, 3):
        arms = [("paper", "loro", returns(1)), ("paper", "loro-shifted", returns(2))]
        arms.append(("released", "loro", returns(4, chains, 5)))
        paths = [write_run(tmp_path, p, "cartpole", f"{arm}_{SETTING}", values) for p, arm, values in arms]
        runs = {(run.protocol, run.env, run.arm): run for run in map(read_run, paths)}
        table = pd.DataFrame(defects.rows_of(runs, "cartpole"))
        axes = defects.draw(table, runs).axes[0]
        (line,) = [line for line in axes.lines if len(line.get_xdata()) == 2 and min(line.get_xdata()) > 20]
        drawn.append(
            (line.get_color(), line.get_linestyle(), "rests on a single one" in defects.markdown(table, runs, [], []))
        )
    plt.close("all")
    assert drawn[0][:2] != drawn[1][:2] and (drawn[0][2], drawn[1][2]) == (True, False)


def test_each_panel_has_its_own_side_and_the_distance_where_it_leads(tmp_path):
    """From `paper` a difference of 3 an evaluation, from `released` another; the protocols are 7 apart."""
    levels = {
        ("paper", "loro"): 1,
        ("paper", "loro-shifted"): 4,
        ("released", "loro"): 8,
        ("released", "loro-shifted"): 6,
    }
    paths = [
        write_run(tmp_path, protocol, "cartpole", f"{arm}_{SETTING}", returns(level, 3))
        for (protocol, arm), level in levels.items()
    ]
    runs = {(run.protocol, run.env, run.arm): run for run in map(read_run, paths)}
    iterations = runs["paper", "cartpole", "loro"].iterations
    table = pd.DataFrame(defects.rows_of(runs, "cartpole"))
    panels = defects.draw(table, runs).axes
    place = [name for name, one in DIFFERENCES.items() if "cartpole" in one.environments].index("shifted")
    for axes, change, distance in zip(panels, (3, -2), (7, -7), strict=True):
        (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (pytest.approx(change * iterations, abs=2), place)
        upright = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() not in ("-", "None")]
        assert upright == [pytest.approx(distance * iterations, abs=2)]
    plt.close("all")


def test_runs_of_different_length_are_refused(tmp_path, monkeypatch, capsys):
    """A run that was cut short would otherwise look like a large change."""
    arms = [("loro", returns(-1)), ("loro-shifted", returns(-1, iterations=4))]
    paths = [write_run(tmp_path, "paper", "cartpole", f"{arm}_{SETTING}", values) for arm, values in arms]
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", *paths, "--output", tmp_path / "f.pdf", "--table", tmp_path / "t.csv"], monkeypatch)
    assert stopped.value.code == 2 and "different length" in capsys.readouterr().err
    assert not (tmp_path / "f.pdf").exists() and not (tmp_path / "t.csv").exists()


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


def test_a_damaged_control_is_one_sentence(tmp_path, monkeypatch, capsys):
    paths = [write_run(tmp_path, "paper", "cartpole", f"{a}_{SETTING}", returns(1)) for a in ("loro", "loro-shifted")]
    path = control(tmp_path, returns(2))
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", *paths, "--controls", path, "--output", tmp_path / "f.pdf", "--table", "t.csv"], monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and "is incomplete" in error and "Traceback" not in error


def test_what_all_else_stands_on_is_named_where_it_is_missing(tmp_path, monkeypatch):
    arms = [
        ("paper", "loro", returns(5)),
        ("paper", "loro-shifted", returns(3)),
        ("released", "loro-shifted", returns(4)),
    ]
    paths = [write_run(tmp_path, protocol, "cartpole", f"{arm}_{SETTING}", v) for protocol, arm, v in arms]
    table = tmp_path / "defects.csv"
    run(["--runs", *paths, "--output", tmp_path / "defects.pdf", "--table", table], monkeypatch)
    text = table.with_suffix(".md").read_text()
    assert "- cartpole, released: no runs yet of LORO itself, carry-over, discard" in text
    assert "Cumulative reward of LORO (qwen-7b, τ=2, N=10)" in text


def test_runs_of_two_settings_do_not_go_together(tmp_path, monkeypatch, capsys):
    paths = [
        write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau3_n10", returns(5)),
        write_run(tmp_path, "paper", "cartpole", f"loro-shifted_{SETTING}", returns(3)),
    ]
    with pytest.raises(SystemExit) as stopped:
        run(["--runs", *paths, "--output", tmp_path / "d.pdf", "--table", tmp_path / "d.csv"], monkeypatch)
    assert stopped.value.code == 2 and "other settings" in capsys.readouterr().err
    assert not (tmp_path / "d.csv").exists()
