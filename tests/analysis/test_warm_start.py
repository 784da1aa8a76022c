"""The answer to one's own question: numbers against plain sums, and every pair of runs that has none."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_table

from analysis import warm_start
from envs.errors import run_command_line

TOLD = {"env": "cartpole", "protocol": "paper", "tau": 2, "pretrain_steps": 10, "dataset": None, "gamma": 0.99}
TOLD |= {"iterations": 5, "iteration_steps": 200, "eval_episodes": 10, "seeds": 3, "carry_over": 1}
TOLD |= {"eval_horizon": 200, "horizon": None, "double_step": False}


def write_own_run(path, returns, steps=None, **told):
    """Write `returns` [seeds, repeats, iterations] and the .json beside it, under any name."""
    write_table(path, returns, 9, steps)
    sizes = dict(zip(("seeds", "carry_over", "iterations"), np.shape(returns), strict=True))
    path.with_suffix(".json").write_text(json.dumps({"arguments": {**TOLD, **sizes, **told}}))
    return path


@pytest.fixture
def own(tmp_path):
    generator = np.random.default_rng(0)
    online = write_own_run(tmp_path / "plain.csv", generator.normal(15, 1, (6, 1, 5)), arm="online")
    returns = generator.normal(30, 1, (5, 1, 5))
    loro = write_own_run(
        tmp_path / "My LLM.csv", returns, (7, 20, 220, 420, 620), arm="loro", dataset="rerun/mine", gamma=0.9
    )
    return loro, online


def ask(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["warm_start", *map(str, arguments)])
    run_command_line(warm_start.main)
    return capsys.readouterr().out


def test_the_answer_is_made_of_the_runs_own_numbers(own, monkeypatch, capsys):
    text = ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    loro, online = (pd.read_csv(path).pivot(index="seed", columns="iteration", values="eval_return") for path in own)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    cells = {row[0]: row[1:] for row in lines}
    assert cells["sum over iterations"][:2] == [f"{loro.sum(axis=1).mean():.0f}", f"{online.sum(axis=1).mean():.1f}"]
    after = [f"{run[[2, 3, 4]].mean(axis=None):.1f}" for run in (loro, online)]
    assert cells["return per evaluation after the warm-up"][:2] == after
    equal_steps = (180 * online[0] + 200 * online[1] + 200 * online[2] + 20 * online[3]).mean() / 600
    assert cells["return per evaluation after the warm-up and at equal environment steps"][1] == f"{equal_steps:.1f}"
    # Ten updates before its first step: the second of LORO's is made with online RL's 211th.
    equal_updates = (190 * online[0] + 200 * online[1] + 200 * online[2] + 10 * online[3]).mean() / 600
    assert cells["return per evaluation after the warm-up and at equal updates"][1] == f"{equal_updates:.1f}"
    assert all(row[4:] == ["1.00", "higher"] for row in lines[2:])
    assert [row[0] for row in lines][-1] == "return over the last 3 evaluations", "there are no twenty to end with"
    assert "episodes of" not in text and "stated no action" not in text
    assert "LORO (mine, τ=2, N=10), 5 seeds" in text
    assert (
        f"Warm-up: 2 episodes, mean return {loro[[0, 1]].mean(axis=None):.1f}, 20 steps; offline updates: 10." in text
    )
    assert "differs in: gamma 0.9, not 0.99." in text


def test_too_few_seeds_are_not_judged(own, tmp_path, monkeypatch, capsys):
    few = write_own_run(tmp_path / "few.csv", np.arange(20).reshape(4, 1, 5), arm="loro", dataset="mine")
    for arguments in (("--runs", few, "--against", own[1]), ("--runs", own[1], "--against", few)):
        text = ask(monkeypatch, capsys, *arguments)
        assert text.count("| not judged: fewer than 5 seeds |") == 5 and "higher |" not in text


def test_episodes_cut_off_or_without_answers_are_told(own, monkeypatch, capsys):
    description = own[0].with_suffix(".json")
    told = json.loads(description.read_text())
    told["episodes"] = {"horizon": 10, "invalid_answers": 3, "transitions": 20}
    description.write_text(json.dumps(told))
    text = ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    assert "- mine: episodes of 10 steps, not 200: the warm-up's returns do not compare." in text
    assert "- In 15.0% of its episodes' steps the LLM stated no action, and another was taken for it." in text


def test_a_run_is_not_compared_with_itself(own, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        ask(monkeypatch, capsys, "--runs", *own, "--against", own[1])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "cannot be compared with itself" in error and error.count("\n") == 1


def test_the_curves_are_drawn_where_asked(own, tmp_path, monkeypatch, capsys):
    figure = tmp_path / "figures" / "mine.pdf"
    ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1], "--figure", figure)
    assert figure.stat().st_size > 5000 and figure.with_suffix(".png").stat().st_size > 5000


def test_both_panels_of_the_figure_have_their_axis(own):
    other, run = map(warm_start.read_learner, own[::-1])
    iterations, steps = warm_start.draw([run], other).axes
    assert [line.get_xdata()[-1] for line in iterations.lines] == [4, 4]
    assert [line.get_xdata()[-1] for line in steps.lines] == [1000, 620]


def test_a_chain_says_that_it_is_one(own, tmp_path, monkeypatch, capsys):
    chain = write_own_run(tmp_path / "chain.csv", np.ones((2, 5, 5)), arm="loro", carry_over=5)
    text = ask(monkeypatch, capsys, "--runs", chain, "--against", own[1])
    assert "2 chains of 5 repeats" in text and "Only the first repeat of each chain is a fresh warm start" in text


@pytest.mark.parametrize(
    ("changed", "status", "sentence"),
    [
        ({"env": "frozen-lake"}, 2, "--env was frozen-lake for one and cartpole for the other"),
        ({"protocol": "released"}, 2, "--protocol was released for one"),
        ({"eval_episodes": 1}, 2, "--eval-episodes was 1 for one and 10 for the other"),
        ({"iteration_steps": 100}, 2, "--iteration-steps was 100 for one and 200 for the other"),
        ({"eval_horizon": 50}, 2, "--eval-horizon was 50 for one and 200 for the other"),
        ({"horizon": 50}, 2, "--horizon was 50 for one and None for the other"),
        ({"double_step": True}, 2, "--double-step was True for one and False for the other"),
        ({"iterations": 9}, 1, "has iterations 5, and was made with 9: it is not whole"),
        ({"tau": 5}, 2, "ends with its warm-up"),
        ({"env": "chess"}, 2, "does not tell how"),
        ({"env": ["cartpole"]}, 2, "does not tell how"),
        ({"tau": "2"}, 2, "does not tell how"),
        ({"dataset": 5}, 1, "cannot be read"),
    ],
)
def test_runs_that_do_not_compare_are_one_sentence(own, monkeypatch, capsys, changed, status, sentence):
    description = own[0].with_suffix(".json")
    told = json.loads(description.read_text())
    told["arguments"] |= changed
    description.write_text(json.dumps(told))
    with pytest.raises(SystemExit) as stopped:
        ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    error = capsys.readouterr().err
    assert stopped.value.code == status and sentence in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("iterations", "told", "sentence"),
    [(5, {"eval_episodes": 1}, "--eval-episodes was 1"), (6, {}, "--iterations was 6 for one and 5 for the other")],
)
def test_every_run_that_is_given_must_compare(own, tmp_path, monkeypatch, capsys, iterations, told, sentence):
    second = write_own_run(tmp_path / "second.csv", np.ones((3, 1, iterations)), arm="loro", dataset="mine", **told)
    with pytest.raises(SystemExit) as stopped:
        ask(monkeypatch, capsys, "--runs", own[0], second, "--against", own[1])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in error and str(second) in error


def test_what_is_meant_to_differ_is_not_named_and_the_rest_is(own, monkeypatch, capsys):
    meant = {"output": "a.csv", "first_seed": 5, "device": "cpu", "threads": 1, "track": None, "progress": True}
    others = {"output": "b.csv", "first_seed": 0, "device": "auto", "threads": 2, "track": "x", "progress": False}
    told = {"tau": 2, "pretrain_steps": 10, "batch_size": 64, "device": "cpu", "algorithm": "sac"}
    against = {"tau": 10, "pretrain_steps": 3000, "batch_size": 256, "device": "cuda", "algorithm": "dqn"}
    for path, arguments, of_run in ((own[0], meant, told), (own[1], others, against)):
        described = json.loads(path.with_suffix(".json").read_text())
        described["arguments"] |= arguments | {name: of_run[name] for name in ("tau", "pretrain_steps", "batch_size")}
        described |= {name: of_run[name] for name in ("device", "algorithm")}
        path.with_suffix(".json").write_text(json.dumps(described))
    text = ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    (line,) = [line for line in text.splitlines() if "differs in" in line]
    assert line.partition("differs in: ")[2] == (
        "batch_size 64, not 256; gamma 0.9, not 0.99; algorithm sac, not dqn; device cpu, not cuda."
    )


def test_an_llm_whose_episodes_were_cut_off_early_is_named(tmp_path, monkeypatch, capsys):
    online = write_own_run(tmp_path / "online.csv", np.ones((2, 1, 5)), arm="online", env="pendulum")
    mix = write_own_run(tmp_path / "mix.csv", np.ones((2, 1, 5)), arm="mix", env="pendulum", dataset="rerun/mine")
    text = ask(monkeypatch, capsys, "--runs", mix, "--against", online)
    assert "- mine: episodes of 9 steps, not 200: the warm-up's returns do not compare." in text


def test_a_run_without_steps_is_one_sentence(own, monkeypatch, capsys):
    table = pd.read_csv(own[0])
    table["env_steps"] = np.nan
    table.to_csv(own[0], index=False)
    with pytest.raises(SystemExit) as stopped:
        ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    assert stopped.value.code == 2 and "does not tell how many environment steps" in capsys.readouterr().err


@pytest.mark.parametrize("lost", [".csv", ".json"])
def test_a_run_without_its_table_or_description_is_named(own, monkeypatch, capsys, lost):
    own[0].with_suffix(lost).unlink()
    with pytest.raises(SystemExit) as stopped:
        ask(monkeypatch, capsys, "--runs", own[0], "--against", own[1])
    assert stopped.value.code == 2 and str(own[0]) in capsys.readouterr().err
