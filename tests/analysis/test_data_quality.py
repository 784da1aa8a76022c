"""Gain over data quality: numbers worked out by hand, what is not counted, what cannot be placed, what is refused."""

import csv
import json
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from synthetic_runs import write_run, write_tree

from analysis import data_quality
from envs.errors import run_command_line

LORO, MIX, LLM = "loro_qwen-7b_tau10_n3000", "mix_qwen-7b_tau10", "llm-policy_qwen-7b"


def make(runs, tmp_path, monkeypatch, *options):
    """Run the program; return the table's rows by (environment, arm, LLM) and its text."""
    output, table = tmp_path / "figures" / "quality.pdf", tmp_path / "tables" / "quality.csv"
    arguments = ["--runs", *runs, "--output", output, "--table", table, *options]
    monkeypatch.setattr(sys, "argv", ["data_quality", *map(str, arguments)])
    try:
        run_command_line(data_quality.main)
    finally:
        plt.close("all")
    with table.open() as file:
        rows = {(row["env"], row["arm"], row["llm"]): row for row in csv.DictReader(file)}
    return rows, table.with_suffix(".md").read_text()


def curves(*levels, seeds=(-1, 0, 1)):
    """Return runs [seeds, 1, iterations] with 10 iterations at each level, every seed offset by a constant."""
    return np.repeat(levels, 10).astype(float) + np.reshape(seeds, (-1, 1, 1))


def write_cartpole(tree, warm_up=999, arms=(LORO, MIX)):
    """Write runs with easy numbers: random 20, the LLM 50, online RL 40 and then 100, the arms 88 after warm-up."""
    return [
        write_run(tree, "paper", "cartpole", "random-policy", [[[19, 21, 18, 22]]], 20),
        write_run(tree, "paper", "cartpole", LLM, [[[40, 60]]], 50),
        write_run(tree, "paper", "cartpole", "online", curves(40, 40, 100, 100), 100),
        *(write_run(tree, "paper", "cartpole", a, curves(warm_up, 88, 88, 88, seeds=(-8, 8)), 100) for a in arms),
    ]


def numbers(row, *columns):
    return [float(row[column]) for column in columns]


def test_the_gain_at_equal_steps_counts_the_llm_s_own(tmp_path, monkeypatch):
    steps = [*range(20, 201, 20), *range(400, 6201, 200)]  # ten episodes of the LLM in one iteration's steps
    loro = write_run(tmp_path, "paper", "cartpole", LORO, curves(999, 88, 88, 88), 100, steps)
    rows, _ = make([*write_cartpole(tmp_path, arms=()), loro], tmp_path, monkeypatch)
    row = rows["cartpole", "loro", "qwen-7b"]
    # Online RL's iterations 2 to 31 are those steps: nineteen at 40, eleven at 100.
    assert float(row["gain_at_equal_steps"]) == pytest.approx(88 - (19 * 40 + 11 * 100) / 30)
    assert float(row["gain"]) == pytest.approx(88 - 80)


def test_quality_and_gain_by_hand(tmp_path, monkeypatch):
    rows, text = make(write_cartpole(tmp_path), tmp_path, monkeypatch)
    for arm in ("loro", "mix"):
        row = rows["cartpole", arm, "qwen-7b"]
        assert numbers(row, "llm_return", "random_return", "online_first", "online_last") == [50, 20, 40, 100]
        assert float(row["quality"]) == pytest.approx((50 - 20) / (100 - 20))
        # Online RL from iteration 10 on: ten at 40 and twenty at 100.
        assert float(row["gain"]) == pytest.approx(88 - 80)
        assert float(row["gain_share"]) == pytest.approx(8 / 80)
        # Seeds: 80 and 96 against 79, 80, 81. The first beats one and draws with one, the second beats three.
        assert float(row["improvement"]) == pytest.approx((1.5 + 3) / 6)
        assert [row["seeds"], row["online_seeds"], row["tau"]] == ["2", "3", "10"]
        assert [row["llm_episodes"], row["llm_longest"], row["per_step"]] == ["2", "50", "False"]
    assert rows["cartpole", "loro", "qwen-7b"]["pretrain_steps"] == "3000"
    assert rows["cartpole", "mix", "qwen-7b"]["pretrain_steps"] == ""
    assert "| CartPole | LORO (qwen-7b, τ=10, N=3000) | 50.0 | 999 | 50 | 20.0 | 40.0 | 100 | 0.38 [" in text


def test_llms_that_played_the_same_episodes_share_their_rows(tmp_path, monkeypatch):
    runs = write_cartpole(tmp_path)
    runs += [
        write_run(tmp_path, "paper", "cartpole", f"llm-policy_{llm}", [[[40, 60]]], 50) for llm in ("twin", "other")
    ]
    digests = {"qwen-7b": "a", "twin": "a", "other": "b"}
    for llm, digest in digests.items():
        description = runs[0].with_name(f"llm-policy_{llm}.json")
        description.write_text(json.dumps({"dataset_sha256": digest}))
    rows, text = make(runs, tmp_path, monkeypatch)
    assert {llm for _, _, llm in rows} == {"qwen-7b"}
    assert "- CartPole: twin played the very episodes of qwen-7b; its rows are the same.\n" in text
    missing = text.split("## Missing")[1]
    assert "other (loro N=3000, mix)" in missing and "twin" not in missing


def test_equal_runs_are_one_point_and_the_table_says_so(tmp_path, monkeypatch, capsys):
    """Two LLMs that differ after the first tau episodes only have different datasets and the same runs."""
    runs = write_cartpole(tmp_path)
    for llm, offset in (("twin", 0), ("other", 1)):
        runs.append(write_run(tmp_path, "paper", "cartpole", f"llm-policy_{llm}", [[[40, 70]]], 50))
        for arm in ("loro_{}_tau10_n3000", "mix_{}_tau10"):
            values = curves(999, 88 + offset, 88, 88, seeds=(-8, 8))
            runs.append(write_run(tmp_path, "paper", "cartpole", arm.format(llm), values, 100))
    rows, text = make(runs, tmp_path, monkeypatch)
    told = {llm: row["same_run_as"] for (_, arm, llm), row in rows.items() if arm == "loro"}
    assert told == {"qwen-7b": "", "other": "", "twin": "qwen-7b"}
    assert "| LORO (twin, τ=10, N=3000), the same run as qwen-7b's |" in text
    assert "4 of 6 warm starts drawn, 2 more are the same runs" in capsys.readouterr().out


def test_the_warm_up_is_not_counted(tmp_path, monkeypatch):
    found = []
    for warm_up in (-5000, 5000):
        row = make(write_cartpole(tmp_path, warm_up), tmp_path, monkeypatch)[0]["cartpole", "loro", "qwen-7b"]
        assert float(row.pop("llm_return_used")) == warm_up
        found.append(row)
    assert found[0] == found[1]


def test_intervals_are_about_two_standard_errors_and_hold_the_truth(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    online = np.full((100, 1, 40), 100) + generator.normal(0, 8, (100, 1, 1))
    loro = np.full((60, 1, 40), 110) + generator.normal(0, 6, (60, 1, 1))
    llm = generator.normal(60, 10, (1, 1, 200))
    runs = [
        write_run(tmp_path, "paper", "cartpole", "random-policy", np.full((1, 1, 50), 20), 20),
        write_run(tmp_path, "paper", "cartpole", LLM, llm, 50),
        write_run(tmp_path, "paper", "cartpole", "online", online),
        write_run(tmp_path, "paper", "cartpole", LORO, loro),
    ]
    row = make(runs, tmp_path, monkeypatch)[0]["cartpole", "loro", "qwen-7b"]
    gain_error = np.sqrt(online[:, 0, 0].var() / 100 + loro[:, 0, 0].var() / 60)
    scale = online[:, 0, 0].mean() - 20
    for name, truth, error in (
        ("gain", 10, gain_error),
        ("gain_share", 10 / 80, gain_error / scale),
        ("quality", 0.5, llm.std() / np.sqrt(200) / scale),
    ):
        low, high = numbers(row, f"{name}_low", f"{name}_high")
        assert low < truth < high
        assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_episodes_cut_off_early_are_compared_per_step(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "paper", "pendulum", "random-policy", [[[-1300, -1100]]], 200),
        write_run(tmp_path, "paper", "pendulum", LLM, [[[-200, -300]]], 50),
        write_run(tmp_path, "paper", "pendulum", "online", curves(-900, -400, -200, -200), 200),
        write_run(tmp_path, "paper", "pendulum", LORO, curves(-250, -400, -200, -200), 200),
    ]
    rows, text = make(runs, tmp_path, monkeypatch)
    row = rows["pendulum", "loro", "qwen-7b"]
    # A step: random -6, the LLM -5, online RL -1. Of the sums, -250 would look nearly as good as -200.
    assert float(row["quality"]) == pytest.approx((-5 + 6) / (-1 + 6))
    assert (row["per_step"], row["llm_longest"], float(row["gain"])) == ("True", "50", 0)
    assert "Pendulum, qwen-7b: the LLM's episodes were cut off after 50 steps, evaluations after 200." in text


@pytest.mark.parametrize(
    ("random", "online", "reason"),
    [
        ([-200, -200], curves(-200, -200, seeds=(0, 0, 2)), "not shown to exceed the random policy"),
        ([-200, -200], curves(-200, -100, seeds=(0,)), "too few seeds for an interval"),
        (None, curves(-200, -100), "no run of the random policy"),
    ],
)
def test_an_environment_without_a_scale_is_in_the_table_only(tmp_path, monkeypatch, capsys, random, online, reason):
    runs = [
        *write_cartpole(tmp_path),
        write_run(tmp_path, "paper", "mountain-car", LLM, [[[-200, -150]]], 200),
        write_run(tmp_path, "paper", "mountain-car", "online", online, 200),
        write_run(tmp_path, "paper", "mountain-car", LORO, online + 3, 200),
    ]
    if random:
        runs.append(write_run(tmp_path, "paper", "mountain-car", "random-policy", [[random]], 200))
    rows, text = make(runs, tmp_path, monkeypatch)
    row = rows["mountain-car", "loro", "qwen-7b"]
    assert float(row["gain"]) == pytest.approx(3)
    assert row["quality"] == row["gain_share"] == row["gain_share_low"] == ""
    (line,) = [line for line in text.splitlines() if line.startswith("- MountainCar is not placed")]
    assert reason in line
    printed = capsys.readouterr().out
    assert "2 of 3 warm starts drawn" in printed and reason in printed


def test_missing_runs_are_absent_and_listed(tmp_path, monkeypatch):
    runs = [*write_cartpole(tmp_path / "a", arms=[LORO]), *write_tree(tmp_path / "b", environments=["frozen-lake"])]
    runs = [path for path in runs if "paper" in path.parts and (path.parent.name, path.stem) != ("frozen-lake", LLM)]
    rows, text = make(runs, tmp_path, monkeypatch)
    assert ("cartpole", "mix", "qwen-7b") not in rows
    assert rows["frozen-lake", "loro", "qwen-7b"]["quality"] == ""
    missing = text.split("## Missing")[1]
    assert "- CartPole: no runs yet of qwen-7b (mix)." in missing
    assert "- FrozenLake: no runs yet of qwen-7b (llm-policy)." in missing
    assert "- Pendulum: no runs yet of anything." in missing


def test_warm_starts_that_never_learn_are_one_finding(tmp_path, monkeypatch):
    runs = write_cartpole(tmp_path)
    for llm, level in (("a", 10), ("b", 10), ("c", 11)):
        runs.append(write_run(tmp_path, "paper", "cartpole", f"llm-policy_{llm}", [[[40, 70]]], 50))
        values = curves(30, level, level, level, seeds=(0, 0))
        values[:, 0, 0] += ord(llm)  # their warm-ups differ
        runs.append(write_run(tmp_path, "paper", "cartpole", f"loro_{llm}_tau10_n3000", values, 100))
    _, text = make(runs, tmp_path, monkeypatch)
    assert "CartPole: in 2 warm starts every evaluation after the warm-up has a return of 10.0," in text


def test_one_setting_can_be_asked_for(tmp_path, monkeypatch):
    runs = [*write_cartpole(tmp_path)]
    runs.append(write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau20_n1000", curves(1, 1, 90, 90), 100))
    rows, _ = make(runs, tmp_path, monkeypatch, "--tau", 20, "--pretrain-steps", 1000)
    assert list(rows) == [("cartpole", "loro", "qwen-7b")]
    assert float(rows["cartpole", "loro", "qwen-7b"]["gain"]) == pytest.approx(90 - 100)


def test_files_are_whole_and_the_same_again_in_any_order(tmp_path, monkeypatch):
    runs = write_cartpole(tmp_path)
    make(runs, tmp_path, monkeypatch)
    files = sorted([*(tmp_path / "figures").iterdir(), *(tmp_path / "tables").iterdir()])
    assert [path.name for path in files] == ["quality.pdf", "quality.png", "quality.csv", "quality.md"]
    first = [path.read_bytes() for path in files]
    assert first[0].startswith(b"%PDF") and first[0].rstrip().endswith(b"%%EOF")
    assert plt.imread(files[1]).shape[1] == pytest.approx(3.4 * 200, abs=1)  # column width
    make(runs[::-1], tmp_path, monkeypatch)
    assert first == [path.read_bytes() for path in files]


def refused(tmp_path):
    """Return for each kind of bad input its runs, the sentence's core, and the exit status."""
    random, llm, online, loro, mix = write_cartpole(tmp_path)
    released = write_run(tmp_path, "released", "cartpole", LORO, curves(1, 2))
    short = write_run(tmp_path / "short", "paper", "cartpole", LORO, curves(1, 2))
    early = write_run(tmp_path / "early", "paper", "cartpole", "online", curves(40, seeds=(0, 1)))
    warm = write_run(tmp_path / "early", "paper", "cartpole", LORO, curves(40, seeds=(0, 1)))
    no_length = write_run(tmp_path / "no_length", "paper", "cartpole", LLM, [[[40, 60]]])
    no_name = write_run(tmp_path, "paper", "cartpole", "loro", curves(1, 2, 3, 4))
    return {
        "no online run": ([random, llm, loro], "There is no run of online RL to compare", 2),
        "no warm start": ([random, llm, online], "no loro and no mix run", 2),
        "another protocol": ([random, llm, online, released], "not of the protocol paper", 2),
        "twice": ([random, llm, online, loro, loro], "the same run twice", 2),
        "other lengths": ([random, llm, online, short], "different length", 2),
        "only warm-up": ([random, llm, early, warm], "ends with its warm-up", 2),
        "no LLM named": ([random, llm, online, no_name], "does not name the LLM and tau", 2),
        "nothing placed": ([llm, online, mix], "No point can be placed: CartPole: no run of the random policy", 2),
        "no episode lengths": ([random, no_length, online, loro], "does not say how long the episodes were", 1),
    }


@pytest.mark.parametrize(
    "what",
    [
        "no online run",
        "no warm start",
        "another protocol",
        "twice",
        "other lengths",
        "only warm-up",
        "no LLM named",
        "nothing placed",
        "no episode lengths",
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, capsys, what):
    runs, sentence, status = refused(tmp_path)[what]
    with pytest.raises(SystemExit) as stopped:
        make(runs, tmp_path, monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == status and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "tables").exists() and not (tmp_path / "figures").exists()
