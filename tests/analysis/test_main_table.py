"""The main table, against sums and pair counts made by plain loops, and against the published figures' labels."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import write_run, write_tree

import envs
from analysis import main_table
from envs.errors import run_command_line

SHIPPED = Path(__file__).parents[2] / "results" / "runs" / "published"


def tabulate(runs, tmp_path, monkeypatch):
    output = tmp_path / "tables" / "main.csv"
    monkeypatch.setattr(sys, "argv", ["main_table", "--runs", *map(str, runs), "--output", str(output)])
    run_command_line(main_table.main)
    with output.open() as file:
        rows = {(row["env"], row["arm"], row["tau"], row["protocol"]): row for row in csv.DictReader(file)}
    return rows, output.with_suffix(".md").read_text()


def line_with(text, *parts):
    (line,) = [line for line in text.splitlines() if all(part in line for part in parts)]
    return line


def test_cumulative_rewards_differences_and_pairs(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    online, loro = generator.integers(0, 5, (4, 1, 6)), generator.integers(1, 6, (3, 1, 6))
    rows, text = tabulate(
        [
            write_run(tmp_path, "paper", "cartpole", "online", online),
            write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau2_n10", loro),
            write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[3, 4]]], 5),
        ],
        tmp_path,
        monkeypatch,
    )
    sums = {name: [sum(seed[0]) for seed in runs.tolist()] for name, runs in (("online", online), ("loro", loro))}
    row = rows["cartpole", "online", "", "paper"]
    assert float(row["mean"]) == pytest.approx(sum(sums["online"]) / 4)
    assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert row["difference"] == row["improvement"] == ""
    assert (row["seeds"], row["repeats"], row["iterations"]) == ("4", "1", "6")

    row = rows["cartpole", "loro", "2", "paper"]
    pairs = [(a, b) for a in sums["loro"] for b in sums["online"]]
    assert float(row["improvement"]) == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    assert float(row["difference"]) == pytest.approx(sum(sums["loro"]) / 3 - sum(sums["online"]) / 4)
    assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"])
    assert (row["llm"], row["pretrain_steps"]) == ("qwen-7b", "10")

    # two episodes with mean return 3.5, for as many iterations as the learners have
    row = rows["cartpole", "llm-policy", "", "paper"]
    assert (float(row["mean"]), row["low"], row["episodes"]) == (21, "", "2")
    assert "summed over 6 iterations, not the paper's 150" in text


def test_imitation_is_compared_with_the_same_learner_without_it(tmp_path, monkeypatch):
    levels = {"online": 50.0, "ppo": 30.0, "ppo-bc_qwen-7b_tau2_n10": 37.0}
    paths = [write_run(tmp_path, "paper", "cartpole", arm, np.full((2, 1, 6), level)) for arm, level in levels.items()]
    rows, text = tabulate(paths, tmp_path, monkeypatch)
    clone, ppo = rows["cartpole", "ppo-bc", "2", "paper"], rows["cartpole", "ppo", "", "paper"]
    assert (clone["baseline"], float(clone["difference"]), float(clone["improvement"])) == ("ppo", 6 * 7, 1)
    assert (ppo["baseline"], float(ppo["difference"])) == ("online", 6 * -20)
    assert "| PPO after behaviour cloning (qwen-7b, τ=2, N=10), against PPO | **42.0 [42.0, 42.0]** |" in text
    assert "- cartpole, paper protocol: PPO has 2 seeds, not 5 or more." in text


def test_repeats_of_one_chain_give_no_interval(tmp_path, monkeypatch):
    chains = np.random.default_rng(1).normal(50, 5, (2, 5, 4))
    names = {"one": chains[:1], "two": chains}
    for name, returns in names.items():
        path = write_run(tmp_path / name, "released", "cartpole", "loro_qwen-7b_tau2_n10", returns)
        rows, text = tabulate([path], tmp_path / name, monkeypatch)
        row = rows["cartpole", "loro", "2", "released"]
        assert (row["seeds"], row["repeats"]) == (str(len(returns)), "5")
        assert float(row["mean"]) == pytest.approx(np.mean([repeat.sum() for chain in returns for repeat in chain]))
        assert float(row["first_repeat"]) == pytest.approx(np.mean([chain[0].sum() for chain in returns]))
        assert (row["low"] == "") == (name == "one")
        assert f"({len(returns)} chain{'s' * (len(returns) > 1)} of 5 repeats)" in text


@pytest.mark.parametrize(
    ("better", "share", "shown"), [(5, "| 1.00 |", True), (-5, "| 0.00 |", True), (0, "| 0.50 |", False)]
)
def test_a_difference_is_bold_where_its_interval_leaves_out_zero(tmp_path, monkeypatch, better, share, shown):
    base = np.arange(10.0).reshape(10, 1, 1) / 10 * np.ones((1, 1, 4))
    runs = [
        write_run(tmp_path, "paper", "cartpole", "online", base),
        write_run(tmp_path, "paper", "cartpole", "mix_qwen-7b_tau2", base + better),
    ]
    _, text = tabulate(runs, tmp_path, monkeypatch)
    sums, _, *after = [cell.strip() for cell in line_with(text, "| CartPole | mix", share).split("|")[3:-1]]
    assert [cell.startswith("**") and cell.endswith("**") for cell in (sums, *after)] == [shown] * 3
    assert sums.strip("*").startswith(f"{4 * better:.1f} [".replace("-", "−"))
    assert all(cell.strip("*").startswith(f"{better:.2f} [".replace("-", "−")) for cell in after)


def test_the_same_steps_are_not_the_same_iterations(tmp_path, monkeypatch):
    online = write_run(tmp_path, "paper", "cartpole", "online", np.arange(8.0) + np.zeros((2, 1, 1)))
    steps = [1, 2, 3, 200, 400, 600, 800, 1000]  # four episodes of the LLM in one iteration's steps
    same = np.arange(8.0) + np.zeros((3, 1, 1))
    mix = write_run(tmp_path, "paper", "cartpole", "mix_qwen-7b_tau4", same, steps=steps)
    rows, _ = tabulate([online, mix], tmp_path, monkeypatch)
    row = rows["cartpole", "mix", "4", "paper"]
    assert float(row["difference"]) == 0
    assert float(row["after_at_equal_steps"]) == np.mean([4, 5, 6, 7]) - np.mean([1, 2, 3, 4])
    assert float(row["after_at_equal_updates"]) == np.mean([4, 5, 6, 7]) - np.mean([0, 1, 2, 3])  # none offline


def test_one_seed_is_compared_without_interval(tmp_path, monkeypatch):
    arms = ("online", "loro_qwen-7b_tau2_n10")
    runs = [write_run(tmp_path, "paper", "cartpole", arm, [[[k, 150]]]) for k, arm in enumerate(arms)]
    _, text = tabulate(runs, tmp_path, monkeypatch)
    assert line_with(text, "| 1.0 | 1.00 |  |  |")


def test_cells_without_runs_are_empty_and_listed(tmp_path, monkeypatch):
    runs = [path for path in write_tree(tmp_path, environments=["cartpole", "pendulum"]) if "mix" not in path.stem]
    runs = [path for path in runs if path.parts[-3:-1] != ("released", "pendulum")]
    _, text = tabulate(runs, tmp_path, monkeypatch)
    assert line_with(text, "| CartPole | mix |").replace(" ", "") == "|CartPole|mix||||||"
    assert line_with(text, "- cartpole: no runs yet") == (
        "- cartpole: no runs yet of mix; pretrained on the learner's own episodes; pretrained on random episodes; "
        "PPO; PPO after behaviour cloning."
    )
    missing = line_with(text, "- pendulum: no runs yet")
    assert "mix" in missing and "LORO (qwen-7b, τ=10, N=3000), released protocol" in missing
    assert line_with(text, "- pendulum, qwen-7b: episodes of 50 steps, not 200: these")  # an endless environment
    assert "cartpole, qwen-7b" not in text  # a fallen pole ends an episode early, and fairly
    assert "frozen-lake" not in text


def test_each_setting_has_its_row(tmp_path, monkeypatch):
    runs = write_tree(tmp_path, environments=["cartpole"], iterations=20)
    runs.append(write_run(tmp_path, "paper", "cartpole", "loro_qwen-32b_tau20_n1000", np.ones((3, 1, 20))))
    rows, text = tabulate(runs, tmp_path, monkeypatch)
    assert float(rows["cartpole", "loro", "20", "paper"]["mean"]) == 20
    assert line_with(text, "| CartPole | LORO (qwen-32b, τ=20, N=1000) |", "| 20.0 [20.0, 20.0] (n=3) |")
    assert rows["cartpole", "loro", "10", "paper"]["llm"] == "qwen-7b"


def test_longer_published_runs_are_summed_over_the_same_iterations(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "paper", "cartpole", "online", np.ones((2, 1, 4))),
        write_run(tmp_path, "published", "cartpole", "online", np.full((1, 5, 9), 2)),
    ]
    rows, _ = tabulate(runs, tmp_path, monkeypatch)
    assert float(rows["cartpole", "online", "", "published"]["mean"]) == 2 * 4


def test_the_same_runs_give_the_same_bytes_in_any_order(tmp_path, monkeypatch):
    runs = write_tree(tmp_path, environments=["frozen-lake", "cartpole"], iterations=15)
    tabulate(runs, tmp_path, monkeypatch)
    first = [path.read_bytes() for path in sorted((tmp_path / "tables").iterdir())]
    tabulate(runs[::-1], tmp_path, monkeypatch)
    assert first == [path.read_bytes() for path in sorted((tmp_path / "tables").iterdir())]


@pytest.mark.parametrize("what", ["twice", "lengths", "not there"])
def test_what_does_not_go_into_a_table_is_one_sentence(tmp_path, monkeypatch, capsys, what):
    run = write_run(tmp_path, "paper", "cartpole", "online", np.zeros((1, 1, 5)))
    runs, sentence = {
        "twice": ([run, run], "the same run twice"),
        "lengths": (
            [run, write_run(tmp_path, "paper", "cartpole", "mix_a_tau1", np.zeros((1, 1, 6)))],
            "different length",
        ),
        "not there": ([tmp_path / "paper" / "cartpole" / "online.csv"], "There is no run"),
    }[what]
    with pytest.raises(SystemExit) as stopped:
        tabulate(runs, tmp_path, monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "tables").exists()


# The labels of the published main figure, and the mix of the figure beside it (LORO, online RL, mix).
LABELS = {
    "cartpole": (27078, 24411, 23144),
    "cliff-walking": (-10436, -41858, -34769),
    "frozen-lake": (94, 75, 62),
    "mountain-car": (-45453, -57616, -59752),
    "pendulum": (-56835, -109700, -109282),
    "represented-pong": (-1765, -2088, -2054),
}


def test_the_shipped_published_curves_sum_to_the_published_labels(tmp_path, monkeypatch):
    arms = ("online", "loro_qwen-7b_tau10_n3000", "mix_qwen-7b_tau10")
    rows, _ = tabulate([path for path in sorted(SHIPPED.glob("*/*.csv")) if path.stem in arms], tmp_path, monkeypatch)
    assert set(LABELS) == set(envs.PAPER)
    for env, labels in LABELS.items():
        for (arm, tau), label in zip((("loro", "10"), ("online", ""), ("mix", "10")), labels, strict=True):
            mean = float(rows[env, arm, tau, "published"]["mean"])
            assert abs(mean - label) <= 1, (env, arm)  # the labels are cut off, not rounded
            assert rows[env, arm, tau, "published"]["difference"] == ""
