"""Reading run files: what their names say, and every way in which one can be damaged."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import HEADER, write_run

from analysis.runs import check_same_episodes, common_iterations, description, read_run, read_runs, select_runs
from envs.datasets import episodes_sha256, read_meta
from envs.errors import Failure, UsageError


@pytest.mark.parametrize(
    ("name", "arm", "llm", "tau", "steps"),
    [
        ("online", "online", None, None, None),
        ("loro_qwen-7b_tau10_n3000", "loro", "qwen-7b", 10, 3000),
        ("loro-discard_qwen-7b-sft_tau20_n1000", "loro-discard", "qwen-7b-sft", 20, 1000),
        ("mix_smollm2-135m_tau10", "mix", "smollm2-135m", 10, None),
        ("pretrain-random_tau30_n1000", "pretrain-random", None, 30, 1000),
        ("llm-policy_deepseek-14b", "llm-policy", "deepseek-14b", None, None),
        ("random-policy", "random-policy", None, None, None),
    ],
)
def test_a_name_says_arm_llm_tau_and_steps(tmp_path, name, arm, llm, tau, steps):
    run = read_run(write_run(tmp_path, "paper", "cartpole", name, [[[1, 2]]]))
    assert (run.protocol, run.env) == ("paper", "cartpole")
    assert (run.arm, run.llm, run.tau, run.pretrain_steps) == (arm, llm, tau, steps)


def test_repeats_of_a_chain_are_averaged_and_seeds_are_not(tmp_path):
    returns = np.random.default_rng(0).normal(size=(3, 4, 6))
    run = read_run(write_run(tmp_path, "released", "cartpole", "loro_qwen-7b_tau2_n10", returns))
    expected = np.array([[sum(chain[:, k]) / 4 for k in range(6)] for chain in returns])
    np.testing.assert_allclose(run.curves(), expected)
    np.testing.assert_allclose(run.first_repeats(), returns[:, 0])
    assert run.mean_return() == pytest.approx(returns.mean())
    assert run.iterations == 6


def test_the_order_of_rows_does_not_matter(tmp_path):
    returns = np.random.default_rng(1).normal(size=(2, 2, 5))
    path = write_run(tmp_path, "released", "cartpole", "loro_qwen-7b_tau2_n10", returns)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *np.random.default_rng(2).permutation(rows)]) + "\n")
    np.testing.assert_allclose(read_run(path).curves(), returns.mean(axis=1))


def damaged(rows, how):
    first, *others = rows
    cells = first.split(",")
    return {
        "empty": [],
        "a row is missing": others,
        "the last rows are missing": rows[:-1],
        "a row stands twice": [*rows, first],
        "a row instead of another": [*rows[:-1], first],
        "no return": [",".join([*cells[:5], "", *cells[6:]]), *others],
        "an infinite return": [",".join([*cells[:5], "inf", *cells[6:]]), *others],
        "a word for a return": [",".join([*cells[:5], "high", *cells[6:]]), *others],
        "half an iteration": [",".join([*cells[:2], "0.5", *cells[3:]]), *others],
        "an iteration below zero": [",".join([*cells[:2], "-1", *cells[3:]]), *others],
        "an iteration far away": [",".join([*cells[:2], "999999999999", *cells[3:]]), *others],
        "cut within a row": [*rows[:-1], rows[-1][:5]],
        "too many cells": [first + ",1,1", *others],
        "too many cells everywhere": [row + ",1" for row in rows],
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "a row is missing",
        "the last rows are missing",
        "a row stands twice",
        "a row instead of another",
        "no return",
        "an infinite return",
        "a word for a return",
        "half an iteration",
        "an iteration below zero",
        "an iteration far away",
        "cut within a row",
        "too many cells",
        "too many cells everywhere",
    ],
)
def test_a_damaged_file_is_refused(tmp_path, how):
    path = write_run(tmp_path, "paper", "cartpole", "online", np.arange(12).reshape(2, 1, 6))
    rows = path.read_text().splitlines()[1:]
    path.write_text("\n".join([HEADER, *damaged(rows, how)]) + "\n")
    with pytest.raises(Failure, match=r"online\.csv"):
        read_run(path)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("a row is missing", "of seed 0, repeat 0 it has 5 of 6 iterations"),
        ("a row stands twice", "it has seed 0, repeat 0, iteration 0 twice"),
    ],
)
def test_what_is_missing_or_twice_is_named(tmp_path, how, told):
    path = write_run(tmp_path, "paper", "cartpole", "online", np.arange(12).reshape(2, 1, 6))
    path.write_text("\n".join([HEADER, *damaged(path.read_text().splitlines()[1:], how)]) + "\n")
    with pytest.raises(Failure, match=told):
        read_run(path)


def test_repeats_of_one_network_are_no_run_of_the_protocol_paper(tmp_path):
    returns = np.random.default_rng(3).normal(size=(2, 5, 4))
    path = write_run(tmp_path, "paper", "cartpole", "loro-carry-over_qwen-7b_tau2_n10", returns)
    assert read_run(path).iterations == 4
    with pytest.raises(Failure, match="hands a network through repeats"):
        read_run(write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau2_n10", returns))


def test_an_agent_under_two_seeds_is_refused_and_agents_that_only_score_alike_are_not(tmp_path):
    """In MountainCar many agents have the same return in every evaluation: what they learnt tells them apart."""
    path = write_run(tmp_path, "paper", "mountain-car", "online", np.full((3, 1, 4), -200.0))
    losses = [[0.5, 0.25, 0.125, 0.0625], [0.5, 0.25, 0.125, 0.06], [0.5, 0.25, 0.125, 0.0625]]
    table = pd.read_csv(path).assign(loss=np.ravel(losses), q_mean=1.0)
    table[table.seed < 2].to_csv(path, index=False)
    assert read_run(path).table.seed.nunique() == 2
    table.to_csv(path, index=False)
    with pytest.raises(Failure, match="has the agent of seed 0 again as seed 2"):
        read_run(path)


def test_a_file_that_ends_within_a_number_is_refused(tmp_path):
    """-200 cut to -20 is a number too, and pandas fills up what is missing of the line."""
    path = write_run(tmp_path, "paper", "cartpole", "online", np.full((2, 1, 6), -200))
    whole = path.read_text()
    for length in (len(whole) - len("0,,,\n"), len(whole) - 1):
        path.write_text(whole[:length])
        with pytest.raises(Failure, match="cut off within a line"):
            read_run(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'seed,"\n'])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = write_run(tmp_path, "paper", "cartpole", "online", [[[1]]])
    path.write_bytes(content)
    with pytest.raises(Failure, match=r"online\.csv"):
        read_run(path)


def test_a_run_is_read_together_with_its_json(tmp_path):
    path = write_run(tmp_path, "released", "cartpole", "loro_qwen-7b_tau10_n3000", np.zeros((2, 3, 4)))
    told = {"protocol": "released", "env": "cartpole", "seeds": 2, "carry_over": 3, "iterations": 4}
    path.with_suffix(".json").write_text(json.dumps({"arguments": told}))
    assert read_run(path).curves().shape == (2, 4)
    for damaged in ("{", "[]", '{"arguments": 3}'):
        path.with_suffix(".json").write_text(damaged)
        with pytest.raises(Failure, match=r"json cannot be read"):
            read_run(path)


@pytest.mark.parametrize(
    "name", ["online.csv", "paper/chess/online.csv", "notes/cartpole/online.csv", "paper/cartpole/Online 2.csv"]
)
def test_a_name_that_is_no_run_is_a_mistake_of_the_caller(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}\n0,0,0,1,1,1,1,,\n")
    with pytest.raises(UsageError, match="not named like a run"):
        read_run(path)


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"There is no run .*online\.csv"):
        read_run(tmp_path / "paper" / "cartpole" / "online.csv")


def test_selection_keeps_what_the_setting_does_not_concern(tmp_path):
    names = [
        "online",
        "loro_qwen-7b_tau10_n3000",
        "loro_qwen-7b_tau20_n3000",
        "loro_qwen-32b_tau10_n3000",
        "mix_qwen-7b_tau10",
    ]
    runs = [read_run(write_run(tmp_path, "paper", "cartpole", name, [[[1]]])) for name in names]
    kept = {run.path.stem for run in select_runs(runs, llm="qwen-7b", tau=10, pretrain_steps=None)}
    assert kept == {"online", "loro_qwen-7b_tau10_n3000", "mix_qwen-7b_tau10"}
    assert len(select_runs(runs, None, None, None)) == len(names)


def test_lengths_must_agree_except_for_the_published_runs(tmp_path):
    def run(protocol, arm, length):
        return read_run(write_run(tmp_path, protocol, "cartpole", arm, np.zeros((1, 1, length))))

    published = run("published", "online", 9)
    assert common_iterations([published], "cartpole") == 9
    ours = [published, run("paper", "online", 4), run("paper", "llm-policy_qwen-7b", 30)]
    assert common_iterations(ours, "cartpole") == 4
    with pytest.raises(UsageError, match=r"different length.*has 4 iterations.*has 5"):
        common_iterations([*ours, run("paper", "mix_qwen-7b_tau10", 5)], "cartpole")


def test_a_run_or_policy_that_is_not_what_its_json_records_is_refused(tmp_path):
    path = write_run(tmp_path, "paper", "cartpole", "online", [[[1, 2]]])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({"csv_sha256": digest}))
    assert read_run(path).arm == "online"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1", b"3", 1))  # one bit of one digit
    with pytest.raises(Failure, match="was changed"):
        read_run(path)
    path.write_bytes(content)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(Failure, match="cannot be read"):
        read_run(path)


@pytest.mark.parametrize(
    ("name", "told", "sentence"),
    [
        ("online", {"protocol": "released"}, "was made as released/online"),
        ("online", {"env": "pendulum"}, "was made in pendulum"),
        ("online", {"arm": "mix"}, "was made as paper/mix"),
        ("online", {"seeds": 10}, "has seeds 3, and was made with 10"),
        ("online", {"iterations": 150}, "has iterations 6, and was made with 150"),
        ("online", {"carry_over": 5}, "has carry_over 1, and was made with 5"),
        ("loro_qwen-7b_tau10_n3000", {"tau": 20}, "was made with tau 20"),
        (
            "loro_qwen-7b_tau10_n3000",
            {"dataset": "results/datasets/cartpole/qwen-32b"},
            "was made with dataset qwen-32b",
        ),
        ("loro-shifted_qwen-7b_tau10_n3000", {"shifted": False}, "was made with shifted False"),
        ("llm-policy_qwen-7b", {"env": "pendulum"}, "was made in pendulum"),
    ],
)
def test_a_run_that_its_json_tells_otherwise_is_refused(tmp_path, name, told, sentence):
    path = write_run(tmp_path, "paper", "cartpole", name, np.zeros((3, 1, 6)))
    arm = "loro" if name.startswith("loro-") else name.split("_")[0]
    whole = {"env": "cartpole", "protocol": "paper", "arm": arm, "seeds": 3, "carry_over": 1, "iterations": 6}
    whole |= {"tau": 10, "pretrain_steps": 3000, "dataset": "rerun/cartpole/qwen-7b", "shifted": "shifted" in name}
    path.with_suffix(".json").write_text(json.dumps({"arguments": whole}))
    assert read_run(path).env == "cartpole"
    path.with_suffix(".json").write_text(json.dumps({"arguments": {**whole, **told}}))
    with pytest.raises(Failure, match=sentence):
        read_run(path)


def test_runs_are_read_by_name_and_once(tmp_path):
    path = write_run(tmp_path, "paper", "cartpole", "online", [[[1]]])
    assert list(read_runs([path])) == [("paper", "cartpole", "online")]
    with pytest.raises(UsageError, match="same run twice"):
        read_runs([path, path])


def test_pretraining_on_random_episodes_is_on_random_ones(tmp_path):
    path = write_run(tmp_path, "paper", "cartpole", "pretrain-random_tau10_n3000", np.zeros((1, 1, 2)))
    for dataset in ("random", "random-again"):
        path.with_suffix(".json").write_text(json.dumps({"arguments": {"dataset": f"somewhere/{dataset}"}}))
        read_run(path)
    path.with_suffix(".json").write_text(json.dumps({"arguments": {"dataset": "somewhere/qwen-7b-again"}}))
    with pytest.raises(Failure, match="made with dataset qwen-7b-again"):
        read_run(path)


def test_runs_on_other_episodes_of_the_same_name_are_named(tmp_path):
    def told(name, digest, dataset="rerun/results/datasets/cartpole/random", env="cartpole"):
        path = write_run(tmp_path, "paper", env, name, np.zeros((1, 1, 2)))
        arguments = {"env": env, "dataset": dataset}
        path.with_suffix(".json").write_text(json.dumps({"arguments": arguments, "dataset_sha256": digest}))
        return path

    first = told("pretrain-random_tau10_n3000", "one")
    alike = [
        told("pretrain-random_tau10_n1000", "one", dataset="elsewhere/cartpole/random"),
        told("pretrain-random_tau10_n3000", "two", env="frozen-lake"),
        told("loro_qwen-7b_tau10_n3000", "two", dataset="rerun/results/datasets/cartpole/qwen-7b"),
        told("online", None, dataset=None),
    ]
    check_same_episodes([first, *alike])
    other = told("pretrain-random_tau20_n3000", "two")
    with pytest.raises(Failure, match="learnt from different episodes, both named 'random'") as failed:
        check_same_episodes([first, *alike, other])
    assert str(first) in str(failed.value) and str(other) in str(failed.value)


def test_shipped_runs_of_a_name_learnt_from_the_same_episodes():
    results = Path(__file__).parents[2] / "results"
    folders = ("runs/*/*", "replications/*/*", "offline-target/*/*", "reference")
    paths = [path for folder in folders for path in results.glob(f"{folder}/*.csv")]
    assert sum("random" in path.name for path in paths) >= 20
    check_same_episodes(paths)


def test_shipped_runs_name_the_shipped_episodes():
    results = Path(__file__).parents[2] / "results"
    told = [description(path) for folder in ("runs", "replications") for path in results.glob(f"{folder}/*/*/*.csv")]
    folders = [(results / "datasets" / Path(*Path(one["arguments"].get("dataset") or "").parts[-2:])) for one in told]
    shipped = [(one, folder) for one, folder in zip(told, folders, strict=True) if (folder / "meta.json").exists()]
    assert len(shipped) >= 80
    for one, folder in shipped:
        assert one["dataset_sha256"] == episodes_sha256(read_meta(folder)), one["arguments"]


def test_shipped_mix_without_data_has_nothing_to_learn_from_in_its_first_iteration():
    """A batch is 256 transitions and an iteration 200 steps: an update tells that there was more in the buffer."""
    runs = sorted((Path(__file__).parents[2] / "results/runs/released").glob("*/mix_*.csv"))
    told = {path: description(path)["arguments"] for path in runs}
    assert len(runs) >= 3 and len({arguments["discard_offline"] for arguments in told.values()}) == 2
    for path, arguments in told.items():
        table = read_run(path).table
        first = table[table.iteration == arguments["tau"]]
        assert first.loss.isna().all() if arguments["discard_offline"] else first.loss.notna().all(), path
