"""Configurations: those that are shipped are sound, and each mistake is one sentence that says where it is."""

from pathlib import Path

import pytest
import yaml

from analysis import configuration
from analysis.configuration import mistake_in, mistake_in_llm, mistake_in_run

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("name", ["paper", "quick"])
def test_the_shipped_ones_are_sound(name):
    assert mistake_in(yaml.safe_load((CONFIG / f"{name}.yaml").read_text())) is None


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("iterations", "many", "$.iterations"),
        ("main.llm", "nobody", "$.main.llm: nobody is not under llms"),
        ("data_quality.table", ["nobody"], "$.data_quality.table: nobody"),
        ("environments", ["cartpole"], "$.defects: cliff-walking, pendulum is not under environments"),
        ("seeds.paper", {"cartpole": 3}, "$.seeds.paper: it does not say how many agents for frozen-lake"),
        ("seeds.released", {}, "$.seeds.released"),
        ("seeds.others", {"paper": 3}, "$.seeds.others: it does not say how many agents under released"),
        ("environments", ["cartpole", "cliff-walking", "pendulum", "chess"], "$.environments"),
        ("episodes.random", 9, "$.episodes.random: 9 episodes are fewer than main.tau, 10"),
        ("iterations", 10, "$.iterations: 10 must exceed main.tau"),
    ],
)
def test_a_mistake_is_told_with_its_place(place, value, words):
    config = yaml.safe_load((CONFIG / "paper.yaml").read_text())
    *parents, last = place.split(".")
    part = config
    for parent in parents:
        part = part[parent]
    part[last] = value
    assert words in mistake_in(config)


def test_an_llm_that_plays_here_must_play_enough():
    config = yaml.safe_load((CONFIG / "quick.yaml").read_text())
    config["episodes"]["collected"] = 5
    assert "$.episodes.collected: 5 episodes are fewer than main.tau, 10" in mistake_in(config)


@pytest.fixture
def paper(monkeypatch):
    """The paper's configuration, read where the workflow reads it."""
    monkeypatch.chdir(CONFIG.parent)
    return yaml.safe_load((CONFIG / "paper.yaml").read_text())


def test_every_shipped_run_can_be_trained(paper):
    runs = [path for protocol in ("paper", "released") for path in Path("results/runs", protocol).glob("*/*.csv")]
    trained = [path for path in runs if not path.stem.startswith(("llm-policy", "random-policy"))]
    assert len(trained) > 100
    for path in trained:
        assert mistake_in_run(paper, *path.parts[-3:-1], path.stem) is None


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("paper/cartpole/lorro_qwen-7b_tau10_n3000", "it names no arm; there are online, ppo, loro,"),
        ("paper/cartpole/loro-shifty_qwen-7b_tau10_n3000", "it names no arm"),
        ("paper/cartpole/loro_qwen-7b_tau10", "must be loro_<llm>_tau<T>_n<N>"),
        ("paper/cartpole/mix_qwen-7b_tau10_n3000", "must be mix_<llm>_tau<T>."),
        ("paper/cartpole/online_tau10", "must be online."),
        ("paper/cartpole/Online", "it names no arm"),
        ("released/cartpole/ppo", "there is none under released"),
        ("paper/cartpole/loro-exploration_qwen-7b_tau10_n3000", "nothing in cartpole, only in pendulum"),
        ("paper/cartpole/pretrain-on-policy_tau150_n3000", "tau 150 must be at least 1 and below the 150 iterations"),
        ("paper/cartpole/mix_qwen-7b_tau0", "tau 0 must be at least 1"),
        ("paper/cartpole/loro_nobody_tau10_n3000", "has no LLM nobody; it has qwen-7b,"),
        ("paper/cartpole/loro_qwen-7b-sft_tau10_n1000", "released no episodes of qwen-7b-sft in cartpole"),
        ("paper/cartpole/mix_qwen-7b_tau40", "tau 40 is more than the 30 episodes of qwen-7b in cartpole"),
        ("paper/cartpole/mix_qwen-coder-0.5b-verbal_tau31", "tau 31 is more than the 30 episodes"),
        ("paper/cartpole/pretrain-random_tau101_n10", "tau 101 is more than the 100 episodes of random"),
    ],
)
def test_a_run_that_cannot_be_trained_is_told_why(paper, run, words):
    assert words in mistake_in_run(paper, *run.split("/"))


def test_an_environment_without_a_scale_is_told_before_anything_is_trained(paper, monkeypatch):
    monkeypatch.delitem(configuration.SCALES, "pendulum")
    assert "$.environments: pendulum has no scale or bounds in analysis/scales.py" in mistake_in(paper)


def test_defects_alone_need_the_number_of_chains(paper):
    config = paper | {"grid": False, "arms": {"paper": ["online"]}, "seeds": {**paper["seeds"], "others": {"paper": 3}}}
    assert "$.seeds.others: it does not say how many agents under released" in mistake_in(config)
    assert mistake_in(config | {"defects": []}) is None


@pytest.mark.parametrize(
    ("llm", "words"),
    [
        ({"model": "models/typo"}, "there is no folder models/typo"),
        ({"model": "./nowhere"}, "there is no folder ./nowhere"),
        ({"model": "models/fetched"}, None),
        ({"model": "config"}, None),
        ({"model": "Qwen/Qwen2.5-7B-Instruct"}, None),
        ({"model": "Qwen/Qwen2.5-7B-Instruct", "style": "rhymes"}, "there is no prompt prompts/cartpole/rhymes.yaml"),
    ],
)
def test_an_llm_that_cannot_play_is_told_before_anything_is_trained(paper, llm, words):
    mistake = mistake_in_llm(paper | {"llms": {"mine": {"source": "collect", **llm}}}, "cartpole", "mine", ["fetched"])
    assert mistake is None if words is None else words in mistake
