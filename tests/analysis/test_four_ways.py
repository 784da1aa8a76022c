"""LORO, mix, online RL and DQN-Prior side by side: numbers known beforehand, and what is not alike is refused."""

import csv
import gzip
import json
import sys

import numpy as np
import pytest
from prior_tree import write_prior_run
from synthetic_runs import write_run

from analysis import four_ways
from envs.errors import run_command_line

LLM, TAU, ITERATIONS = "small", 2, 30
SHARED = {"hidden_size": 8, "learning_rate": 0.1, "batch_size": 4, "buffer_size": 9, "gamma": 0.9}
SHARED |= {"iteration_steps": 200, "iterations": ITERATIONS}
OF_PRIOR = {**SHARED, "updates": 200, "huber": True, "calibrated": True, "length_normalised": False}
OF_PRIOR |= {"prior_temperature": 0.9, "k": 5, "temperature": 0.1, "target_rate": 0.5, "eval_episodes": 10}
OF_PRIOR |= {"epsilon": 0.1, "iteration_episodes": 5}
MODEL = {"sha256": {"model.safetensors": "abc"}}
PROMPT = {"file": "p.yaml", "sha256": "def"}
LEVELS = {"online": 50, f"loro_{LLM}_tau2_n10": 60, f"loro_{LLM}_tau2_n30": 80, f"mix_{LLM}_tau2": 55}
PRIORS = {"dqn": 40, f"dqn-prior_{LLM}": 70, "dqn-prior_uniform": 45}


def curves(level, seeds=3):
    """Returns [seeds, iterations]: the first two are 20, the others `level` and, seed by seed, one more."""
    returns = level + np.arange(seeds)[:, None] + np.zeros((1, ITERATIONS))
    returns[:, :TAU] = 20
    return returns


@pytest.fixture
def tree(tmp_path):
    for env in ("cartpole", "cliff-walking"):
        for name, level in LEVELS.items():
            path = write_run(tmp_path, "paper", env, name, curves(level)[:, None])
            told = {"env": env, "arm": name.split("_")[0], "protocol": "paper", **SHARED}
            path.with_suffix(".json").write_text(json.dumps({"arguments": told}))
        write_run(tmp_path, "paper", env, f"llm-policy_{LLM}", np.array([[[10.0, 30.0]]]))
        for name, level in PRIORS.items():
            path = write_prior_run(tmp_path, env, name, np.full((3, ITERATIONS), np.nan), curves(level), **OF_PRIOR)
            rows = path.read_text().replace("nan", "").splitlines()
            for place, row in enumerate(rows[1:], 1):  # an iteration has 200 steps
                cells = row.split(",")
                rows[place] = ",".join([*cells[:3], str(200 * (int(cells[2]) + 1)), *cells[4:]])
            path.write_text("\n".join(rows) + "\n")
        episodes = tmp_path / "results/datasets" / env / LLM
        episodes.mkdir(parents=True)
        meta = {"model": MODEL, "prompt": PROMPT, "baseline": {"left": -5.0, "right": -1.0}}
        meta["decision"] = {"decide": "score", "calibrate": True, "length_normalised": False, "temperature": 0.9}
        meta["decision"]["top_p"] = 0.6
        (episodes / "meta.json").write_text(json.dumps(meta))
        # three episodes of 4 steps, in which two prompts alternate, and a third one in the last episode
        rows = [{"episode": e, "step": t, "prompt_sha256": f"{t % 2}{e == 2}"} for e in range(3) for t in range(4)]
        with gzip.open(episodes / "transcripts.jsonl.gz", "wt") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        prior = tmp_path / "results/priors" / env / f"{LLM}.jsonl"
        prior.parent.mkdir(parents=True)
        header = {"way": "score", "model": MODEL, "prompt": PROMPT}
        texts = [{"text": str(n), "actions": ["right", "left"], "log_p": [-1.0, -float(n)]} for n in range(7)]
        prior.write_text("".join(json.dumps(row) + "\n" for row in [header, *texts]))
    return tmp_path


def draw(tree, monkeypatch, *more):
    arguments = ["--runs", *sorted(tree.glob("results/runs/*/*/*.csv"))]
    arguments += ["--datasets", *sorted(tree.glob("results/datasets/*/*/meta.json"))]
    arguments += ["--priors", *sorted(tree.glob("results/priors/*/*.jsonl"))]
    arguments += ["--output", tree / "four.pdf", "--table", tree / "four.csv", *more]
    monkeypatch.setattr(sys, "argv", ["four_ways", *map(str, arguments)])
    run_command_line(four_ways.main)


def test_the_table_holds_known_numbers(tree, monkeypatch):
    draw(tree, monkeypatch, "--missing", "cartpole/other")
    assert (tree / "four.pdf").read_bytes().startswith(b"%PDF")
    assert (tree / "four.png").read_bytes().startswith(b"\x89PNG")
    with (tree / "four.csv").open() as file:
        rows = {(row["env"], row["run"]): row for row in csv.DictReader(file)}
    prior, mix = rows["cartpole", f"dqn-prior_{LLM}"], rows["cartpole", f"mix_{LLM}_tau2"]
    mean = (2 * 20 + 28 * 71) / 30
    assert float(prior["per_evaluation"]) == float(prior["over_steps"]) == pytest.approx(mean)
    assert float(prior["last"]) == 71 and float(prior["env_steps"]) == 200 * ITERATIONS
    assert float(prior["against_online"]) == pytest.approx(20 * 28 / 30)
    assert float(prior["against_dqn"]) == pytest.approx(30 * 28 / 30)
    assert float(prior["against_dqn_improvement"]) == 1 and mix["against_dqn"] == ""
    assert (float(prior["decisions"]), float(prior["texts"])) == (6000, 7)
    assert (float(mix["decisions"]), float(mix["texts"])) == (8, 3), "of two episodes alone, and the calibration"
    assert float(rows["cartpole", f"llm-policy_{LLM}"]["per_evaluation"]) == 20
    # cartpole from 20 to 200, cliff-walking from -2120 to -13
    expected = ((mean - 20) / 180 + (mean + 2120) / 2107) / 2
    assert float(rows["all", f"dqn-prior_{LLM}"]["normalised"]) == pytest.approx(expected)
    text = (tree / "four.md").read_text()
    assert "| CartPole | DQN-Prior, the LLM's prior |" in text and "Not computed yet: cartpole/other." in text
    assert "learning rate 0.1" in text and f"The LLM is {LLM}:" in text


def test_steps_are_compared_as_far_as_all_have_gone(tree, monkeypatch):
    """The LLM's two episodes are short in one run: its evaluations weigh less, and the others are cut."""
    path = tree / f"results/runs/paper/cartpole/mix_{LLM}_tau2.csv"
    rows = path.read_text().splitlines()
    for place, row in enumerate(rows[1:], 1):
        cells = row.split(",")
        cells[3] = str(max(50 * min(int(cells[2]) + 1, 2) + 200 * (int(cells[2]) - 1), 50))
        rows[place] = ",".join(cells)
    path.write_text("\n".join(rows) + "\n")
    draw(tree, monkeypatch)
    with (tree / "four.csv").open() as file:
        found = {(row["env"], row["run"]): row for row in csv.DictReader(file)}
    mix, online = found["cartpole", f"mix_{LLM}_tau2"], found["cartpole", "online"]
    assert float(mix["extent"]) == float(online["extent"]) == 5700
    assert float(mix["over_steps"]) == pytest.approx((100 * 20 + 5600 * 56) / 5700)
    assert float(online["over_steps"]) == pytest.approx((400 * 20 + 5300 * 51) / 5700)


def test_a_missing_run_leaves_its_place_empty(tree, monkeypatch):
    (tree / f"results/runs/prior/cliff-walking/dqn-prior_{LLM}.csv").unlink()
    draw(tree, monkeypatch)
    with (tree / "four.csv").open() as file:
        rows = {(row["env"], row["run"]) for row in csv.DictReader(file)}
    assert ("all", f"dqn-prior_{LLM}") not in rows and ("all", "online") in rows


def change(path, **arguments):
    content = json.loads(path.read_text())
    content["arguments"] |= arguments
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"learning_rate": 0.2}, "was made with learning_rate 0.2"),
        ({"updates": 100}, "was not made with the Huber loss and one update a step"),
        ({"huber": False}, "was not made with the Huber loss"),
        ({"calibrated": False}, "differ in their calibration"),
        ({"prior_temperature": 1.0}, "differ in their temperature"),
    ],
)
def test_what_is_not_alike_is_refused(arguments, sentence, tree, monkeypatch, capsys):
    change(tree / f"results/runs/prior/cartpole/dqn-prior_{LLM}.json", **arguments)
    with pytest.raises(SystemExit) as stopped:
        draw(tree, monkeypatch)
    assert stopped.value.code == 1 and sentence in capsys.readouterr().err
    assert not list(tree.glob("four.*"))


@pytest.mark.parametrize(
    ("header", "sentence"),
    [({"model": {"sha256": {"model.safetensors": "x"}}}, "their model"), ({"prompt": {}}, "their prompt")],
)
def test_another_llm_is_refused(header, sentence, tree, monkeypatch, capsys):
    prior = tree / f"results/priors/cartpole/{LLM}.jsonl"
    first, *rest = prior.read_text().splitlines()
    prior.write_text("\n".join([json.dumps(json.loads(first) | header), *rest]) + "\n")
    with pytest.raises(SystemExit) as stopped:
        draw(tree, monkeypatch)
    assert stopped.value.code == 1 and sentence in capsys.readouterr().err


def test_another_calibration_is_refused(tree, monkeypatch, capsys):
    meta = tree / f"results/datasets/cartpole/{LLM}/meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"baseline": {"left": -5.1, "right": -1.0}}))
    with pytest.raises(SystemExit) as stopped:
        draw(tree, monkeypatch)
    assert stopped.value.code == 1 and "holds no text that is the calibration" in capsys.readouterr().err


def test_nothing_to_compare_is_one_sentence(tree, monkeypatch, capsys):
    for path in tree.glob("results/runs/prior/*/dqn-prior*.csv"):
        path.unlink()
    with pytest.raises(SystemExit) as stopped:
        draw(tree, monkeypatch)
    assert stopped.value.code == 2 and "There is no run of DQN-Prior" in capsys.readouterr().err
