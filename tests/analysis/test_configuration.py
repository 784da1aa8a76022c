"""Configurations: those that are shipped are sound, and each mistake is one sentence that says where it is."""

from pathlib import Path

import pytest
import yaml

from analysis.configuration import mistake_in

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
