"""The fidelity score: intervals against closed forms and simulation, which run stands for which, what stays open."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_runs import write_run

from algos import dqn
from analysis import fidelity
from envs.errors import run_command_line

LORO, MIX = "loro_qwen-7b_tau2_n10", "mix_qwen-7b_tau2"


def make(runs, tmp_path, monkeypatch, *more):
    """Run the program; return its rows by (environment, arm) and its text."""
    output = tmp_path / "tables" / "fidelity.csv"
    monkeypatch.setattr(sys, "argv", ["fidelity", "--runs", *map(str, [*runs, "--output", output, *more])])
    run_command_line(fidelity.main)
    table = pd.read_csv(output)
    return {(row.env, row.arm): row for row in table.itertuples()}, output.with_suffix(".md").read_text()


def returns(sums, repeats=1, warm_up=0, iterations=10):
    """Return curves [seeds, repeats, iterations] with these sums, two iterations of warm-up at their own level."""
    curves = np.full((len(sums), repeats, iterations), float(warm_up))
    curves[:, :, 2:] = (np.reshape(sums, (-1, 1, 1)) - 2 * warm_up) / (iterations - 2)
    return curves


def test_one_new_chain_is_predicted_not_their_mean(tmp_path, monkeypatch):
    ours, published = [90, 100, 110], 135
    runs = [
        write_run(tmp_path, "published", "cartpole", LORO, returns([published], repeats=5)),
        write_run(tmp_path, "published", "cartpole", "online", returns([20, 30, 40, 50, 60])),
        write_run(tmp_path, "released", "cartpole", LORO, returns(ours, repeats=5)),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    row = rows["cartpole", LORO]
    half = stats.t(2).ppf(0.975) * 10 * np.sqrt(4 / 3)
    assert [row.low, row.high] == pytest.approx([100 - half, 100 + half])
    # 135 is within 100 ± 50, and would be outside 100 ± 25, the confidence interval of the mean
    assert row.result == "agrees" and not row.contains_online
    assert rows["cartpole", "online"].result == "not computed"
    assert (
        "Of 2 published cells 1 are computed: 1 of 1 decided cells agree (100%), 0 do not; 0 are not decided; " in text
    )


def test_the_authors_library_is_held_against_ours_chain_by_chain(tmp_path, monkeypatch, capsys):
    told = {"arm": "loro", "env": "cartpole", "llm": "qwen-7b", "tau": 2, "pretrain_steps": 10, "protocol": "released"}
    theirs = write_run(tmp_path / "other", "released", "cartpole", "online", returns([60, 80, 100], 5, warm_up=7))
    theirs.with_suffix(".json").write_text(json.dumps({"arguments": told}))
    published = write_run(tmp_path, "published", "cartpole", LORO, returns([135], repeats=5, warm_up=5))
    ours = write_run(tmp_path, "released", "cartpole", LORO, returns([90, 100, 110], repeats=5, warm_up=5))
    _, text = make([published, ours], tmp_path, monkeypatch, "--second-opinions", theirs)
    section = text.split("## The same procedure in the authors' library")[1].split("## Not computed")[0]
    (line,) = [line for line in section.splitlines() if line.startswith("| CartPole")]
    # the published warm-up takes the place of theirs, which sums to 14 instead of 10
    half = stats.t(2).ppf(0.975) * 20 * np.sqrt(4 / 3)
    assert 76 - half < 18, "no sum can lie lower: 10 of warm-up and a return of at least 1 in eight iterations"
    predicted = f"76.0 [18.0, {76 + half:.0f}]"
    assert line.startswith(f"| CartPole | {LORO} | 135 | 100 | {predicted} | 3 against 3 | 24.0 [")
    for other in (returns([1, 2, 3], 5, iterations=9), returns([1, 2, 3], 4)):
        path = write_run(tmp_path / "unlike", "released", "cartpole", "online", other)
        path.with_suffix(".json").write_text(json.dumps({"arguments": told}))
        with pytest.raises(SystemExit) as stopped:
            make([published, ours], tmp_path, monkeypatch, "--second-opinions", path)
        assert stopped.value.code == 2 and "its iterations or repeats are others" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        make([published], tmp_path, monkeypatch, "--second-opinions", theirs)
    assert stopped.value.code == 2 and f"is of cartpole/{LORO}, of which our run" in capsys.readouterr().err


def test_chains_are_compared_repeat_by_repeat_without_the_warm_up(tmp_path, monkeypatch, capsys):
    told = {"arm": "loro", "env": "cartpole", "tau": 2, "pretrain_steps": 10, "protocol": "released"}
    published = write_run(tmp_path, "published", "cartpole", LORO, returns([135], repeats=5, warm_up=5))

    def chains(folder, by_repeat, **other):
        curves = np.concatenate([returns(np.array(sums) + 14, warm_up=7) for sums in by_repeat], axis=1)
        path = write_run(tmp_path / folder, "released", "cartpole", "online", curves)
        path.with_suffix(".json").write_text(json.dumps({"arguments": {**told, **other}}))
        return path

    ours = chains("ours", ([80, 96, 88], [16, 80, 24]), dataset="rerun/results/datasets/cartpole/qwen-7b")
    theirs = chains("theirs", ([80, 96], [72, 88]), llm="qwen-7b")
    _, text = make([published], tmp_path, monkeypatch, "--repeat-by-repeat", ours, theirs)
    lines = [line for line in text.splitlines() if line.startswith("| CartPole | ")]
    p = stats.ttest_ind([16, 80, 24], [72, 88], equal_var=False).pvalue
    assert lines[0].startswith("| CartPole | 1 | 3 and 2 | 88.0 [") and lines[0].endswith("] | 1.00 |")
    assert lines[1].startswith("| CartPole | 2 | 3 and 2 | 40.0 [") and lines[1].endswith(f"] | {p:.2f} |")
    assert " | 80.0 [72.0, 88.0] | −40.0 [" in lines[1]
    unlike = [chains("short", ([1, 2],), llm="qwen-7b"), chains("other", ([1, 2], [3, 4]), llm="qwen-32b")]
    unlike.append(chains("more", ([1, 2], [3, 4]), llm="qwen-7b", pretrain_steps=20))
    wrongs = [([ours, other], "do not compare") for other in unlike] + [([ours], "in pairs")]
    for wrong, message in wrongs:
        with pytest.raises(SystemExit) as stopped:
            make([published], tmp_path, monkeypatch, "--repeat-by-repeat", *wrong)
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_what_is_missing_is_told_by_whether_a_figure_shows_it(tmp_path, monkeypatch):
    arms = ("online", "mix_qwen-7b_tau10", "mix_qwen-32b_tau30", "pretrain-random_tau20_n1000")
    runs = [write_run(tmp_path, "published", "cartpole", arm, returns([1, 2, 3, 4, 5])) for arm in arms]
    _, text = make(runs, tmp_path, monkeypatch)
    assert "4 are not computed, 2 of them in no figure of the paper." in text
    first, second = text.split("## Not computed, in ")[1:]
    assert "of online, mix_qwen-7b_tau10." in first and first.startswith("a figure")
    assert "of mix_qwen-32b_tau30, pretrain-random_tau20_n1000." in second and second.startswith("no figure")


def test_the_mean_of_five_new_runs_is_predicted_for_other_arms(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    ours, published = generator.normal(-130, 10, 8), generator.normal(-100, 10, 5)
    runs = [
        write_run(tmp_path, "published", "pendulum", MIX, returns(published)),
        write_run(tmp_path, "released", "pendulum", MIX, returns(ours)),
    ]
    row = make(runs, tmp_path, monkeypatch)[0]["pendulum", MIX]
    half = stats.t(7).ppf(0.975) * ours.std(ddof=1) * np.sqrt(1 / 5 + 1 / 8)
    assert [row.low, row.high] == pytest.approx([ours.mean() - half, ours.mean() + half], rel=1e-6)
    assert row.result == "does not agree" and row.published == pytest.approx(published.mean())
    assert 0 < row.rank_p < 0.05 and np.isnan(row.contains_online)


def test_a_perfect_reproduction_agrees_in_95_of_100_cells(tmp_path, monkeypatch):
    generator = np.random.default_rng(1)
    runs = []
    for steps in range(60):
        draws = generator.normal(500, 9, 4)
        for protocol, sums in (("published", draws[:1]), ("released", draws[1:])):
            runs.append(write_run(tmp_path, protocol, "cartpole", f"loro_qwen-7b_tau2_n{steps}", returns(sums)))
    rows, _ = make(runs, tmp_path, monkeypatch)
    agree = sum(row.result == "agrees" for row in rows.values())
    assert len(rows) == 60 and 52 <= agree <= 60, agree  # 57 expected, three standard deviations are 5


def test_the_score_counts_what_tells_an_arm_from_online_rl(tmp_path, monkeypatch):
    """Three cells agree, two of them in an interval with online RL's 50 in it; one does not; online RL agrees."""
    cells = {"tau2_n10": (52, [48, 50, 54]), "tau2_n20": (51, [49, 50, 53]), "tau2_n30": (90, [89, 90, 91])}
    cells["tau2_n40"] = (20, [89, 90, 91])
    runs = [
        write_run(tmp_path, "published", "cartpole", "online", returns([40, 45, 50, 55, 60])),
        write_run(tmp_path, "paper", "cartpole", "online", returns([41, 46, 50, 54, 59])),
    ]
    for name, (published, ours) in cells.items():
        arm = f"loro_qwen-7b_{name}"
        runs.append(write_run(tmp_path, "published", "cartpole", arm, returns([published], repeats=5)))
        runs.append(write_run(tmp_path, "released", "cartpole", arm, returns(ours, repeats=5)))
    rows, text = make(runs, tmp_path, monkeypatch)
    assert "Of 5 published cells 5 are computed: 4 of 5 decided cells agree (80%), 1 do not; 0 are not decided." in text
    assert "Of the 3 agreeing cells that are not online RL, 2 contain online RL's number too." in text
    assert bool(rows["cartpole", "loro_qwen-7b_tau2_n30"].contains_online) is False


def test_one_chain_decides_nothing(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "published", "cartpole", LORO, returns([100], repeats=5)),
        write_run(tmp_path, "released", "cartpole", LORO, returns([100], repeats=5)),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    row = rows["cartpole", LORO]
    assert (row.result, row.reason) == ("not decided", "one chain") and np.isnan(row.low)
    score = "0 of 0 decided cells agree, 0 do not; 1 are not decided (1 for one chain)."
    assert f"Of 1 published cells 1 are computed: {score}" in text
    assert "not decided (one chain)" in text


def test_the_recorded_warm_up_is_not_compared(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "published", "mountain-car", LORO, returns([-1900], repeats=5, warm_up=-200)),
        write_run(tmp_path, "released", "mountain-car", LORO, returns([-1898] * 3, repeats=5, warm_up=-199)),
    ]
    row = make(runs, tmp_path, monkeypatch)[0]["mountain-car", LORO]
    assert row.ours == row.low == row.high == -1900 and row.result == "agrees"


@pytest.mark.parametrize(("at_the_worst", "result"), [(4, "not decided"), (3, "not decided"), (2, "does not agree")])
def test_runs_mostly_tied_at_the_worst_sum_decide_nothing(tmp_path, monkeypatch, at_the_worst, result):
    ours = [-2000] * at_the_worst + [-1995, -1994, -1993][: 5 - at_the_worst]
    runs = [
        write_run(tmp_path, "published", "mountain-car", "online", returns([-1900, -1910, -1920, -1890, -1930])),
        write_run(tmp_path, "paper", "mountain-car", "online", returns(ours)),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    row = rows["mountain-car", "online"]
    assert row.result == result and row.low >= -2000
    assert ("1 are not decided (1 for most runs tied at the worst sum)" in text) == (result == "not decided")


@pytest.mark.parametrize(("ours", "result"), [([100, 1900, 1000], "not decided"), ([900, 1100, 1000], "agrees")])
def test_an_interval_that_holds_every_sum_decides_nothing(tmp_path, monkeypatch, ours, result):
    """CartPole's ten iterations earn 10 to 2,000; three chains that are 900 apart say nothing of a fourth."""
    runs = [
        write_run(tmp_path, "published", "cartpole", LORO, returns([1050], repeats=5)),
        write_run(tmp_path, "released", "cartpole", LORO, returns(ours, repeats=5)),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    assert rows["cartpole", LORO].result == result
    assert ("(1 for an interval that contains every possible sum)" in text) == (result == "not decided")


def test_an_interval_ends_where_no_sum_can_lie(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "published", "cliff-walking", LORO, returns([-600], repeats=5, warm_up=-200)),
        write_run(tmp_path, "released", "cliff-walking", LORO, returns([-504, -700, -1500], repeats=5, warm_up=-200)),
        write_run(tmp_path, "published", "frozen-lake", "online", returns([1, 2, 3, 2, 1])),
        write_run(tmp_path, "paper", "frozen-lake", "online", returns([1, 1, 5, 1, 1])),
        write_run(tmp_path, "published", "cliff-walking", "pretrain-random_tau2_n10", returns([-9e5, -9e5])),
        write_run(tmp_path, "released", "cliff-walking", "pretrain-random_tau2_n10", returns([-9e5, -1e4])),
    ]
    rows, _ = make(runs, tmp_path, monkeypatch)
    # two warm-up episodes as published, and eight along the shortest path
    assert rows["cliff-walking", LORO].high == 2 * -200 + 8 * -13
    assert rows["frozen-lake", "online"].low == 0 < rows["frozen-lake", "online"].high
    assert rows["cliff-walking", "pretrain-random_tau2_n10"].low < -200_000  # its random episodes have no limit


@pytest.mark.parametrize(
    ("env", "arm", "result"),
    [
        ("cartpole", "online", "agrees"),
        ("frozen-lake", "online", "agrees"),
        ("frozen-lake", "pretrain-on-policy_tau2_n10", "not computed"),
        ("pendulum", "online", "not computed"),
        ("represented-pong", "online", "not computed"),
        ("cartpole", MIX, "not computed"),
        ("cartpole", LORO, "not computed"),
        ("cartpole", "pretrain-random_tau2_n10", "not computed"),
    ],
)
def test_a_paper_run_stands_only_where_the_protocol_changes_nothing(tmp_path, monkeypatch, env, arm, result):
    level = {"cartpole": 100, "frozen-lake": 5, "pendulum": -100, "represented-pong": -50}[env]
    sums = [0.98 * level, 0.99 * level, level, 1.01 * level, 1.02 * level]
    runs = [write_run(tmp_path, protocol, env, arm, returns(sums)) for protocol in ("published", "paper")]
    rows, text = make(runs, tmp_path, monkeypatch)
    assert rows[env, arm].result == result
    assert (", paper |" in text) == (result == "agrees") and ("## Not computed" in text) == (result != "agrees")


@pytest.mark.parametrize("env", fidelity.UNCHANGED_ENVIRONMENTS)
def test_the_learner_says_that_only_the_number_of_evaluations_differs(tmp_path, env):
    resolved = [
        asdict(dqn.resolve(dqn.Args(output=tmp_path / "x.csv", env=env, protocol=protocol)))
        for protocol in ("paper", "released")
    ]
    differ = {name for name, value in resolved[0].items() if value != resolved[1][name]} - {"protocol"}
    of_offline_episodes = {"shifted", "cutoff_as_terminal", "warm_up_mean", "offline_target_update_interval"}
    assert differ - of_offline_episodes <= {"eval_episodes"}


def test_a_released_run_goes_before_one_that_stands_for_it(tmp_path, monkeypatch):
    paths = [
        write_run(tmp_path, protocol, "cartpole", "online", returns(sums))
        for protocol, sums in (("published", [10, 20, 30]), ("paper", [10, 20, 30]), ("released", [50, 51, 52]))
    ]
    row = make(paths, tmp_path, monkeypatch)[0]["cartpole", "online"]
    assert (row.protocol, row.ours, row.result) == ("released", 51, "does not agree")


def test_what_does_not_compare_is_said_cell_by_cell(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "published", "cartpole", LORO, returns([100], repeats=5)),
        write_run(tmp_path, "released", "cartpole", LORO, returns([100, 101], repeats=3)),
        write_run(tmp_path, "published", "pendulum", LORO, returns([100], repeats=5)),
        write_run(tmp_path, "released", "pendulum", LORO, returns([100, 101], repeats=5, iterations=8)),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    assert {row.result for row in rows.values()} == {"not computed"}
    assert f"- CartPole: no comparable runs yet of {LORO} (ours hands a network through 3 repeats, the" in text
    assert f"- Pendulum: no comparable runs yet of {LORO} (ours has 8 iterations, the published one 10)." in text


@pytest.mark.parametrize("case", ["no published", "twice"])
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, case):
    protocol = "released" if case == "no published" else "published"
    path = write_run(tmp_path, protocol, "cartpole", "online", returns([1, 2]))
    with pytest.raises(SystemExit) as stopped:
        make([path] * (2 if case == "twice" else 1), tmp_path, monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert {"no published": "published one", "twice": "same run twice"}[case] in error
    assert not (tmp_path / "tables").exists()
