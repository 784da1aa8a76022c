"""Validation against episodes whose truth is known, and against the authors' files."""

import os
from pathlib import Path

import numpy as np
import pytest

import envs
from analysis.import_released import import_released
from analysis.validate import PUT, validate
from envs.datasets import Episode

AUTHORS = Path(os.environ.get("LORO_AUTHORS_DATA", Path(__file__).parents[3] / "shared" / "authors-data"))


def play(env_name, steps=60, seed=0):
    env = envs.make(env_name)
    env.action_space.seed(seed)
    observations, actions, rewards = [env.reset(seed=seed)[0]], [], []
    terminated = False
    while len(actions) < steps and not terminated:
        actions.append(env.action_space.sample())
        observation, reward, terminated, _, _ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
    ends = np.zeros(len(actions), dtype=bool)
    ends[-1] = terminated
    return Episode(np.array(observations), np.array(actions), np.array(rewards), ends, np.zeros_like(ends))


@pytest.mark.parametrize("env_name", list(PUT))
def test_what_the_environment_played_agrees_and_what_was_moved_does_not(env_name):
    episodes = [play(env_name, seed=seed) for seed in range(5)]
    rows = {row["pairing"]: row for row in validate(env_name, episodes)}
    total = sum(len(e) for e in episodes)
    assert rows["as recorded"]["transitions"] == rows["as recorded"]["agree"] == total
    assert rows["action one observation earlier"]["share"] < 0.9
    assert rows["action one observation later"]["share"] < 0.9


def test_one_false_number_is_found():
    episode = play("cartpole")
    episode.observations[7, 2] += 0.01
    (row, *_) = validate("cartpole", [episode])
    assert row["agree"] == len(episode) - 2, "it is the end of one transition and the start of the next"
    episode = play("mountain-car")
    episode.rewards[3] = 0.0
    (row, *_) = validate("mountain-car", [episode])
    assert row["agree"] == len(episode) - 1


@pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' data is not here (LORO_AUTHORS_DATA)")
def test_the_released_cartpole_file_is_one_step_off():
    stored, _ = import_released("cartpole", "qwen-7b", AUTHORS, as_stored=True)
    rows = {row["pairing"]: row for row in validate("cartpole", stored)}
    assert rows["as recorded"]["share"] == pytest.approx(0.36, abs=0.005)
    assert rows["action one observation earlier"]["share"] == 1.0
    aligned, _ = import_released("cartpole", "qwen-7b", AUTHORS, as_stored=False)
    rows = {row["pairing"]: row for row in validate("cartpole", aligned)}
    assert rows["as recorded"]["share"] == 1.0
    assert rows["as recorded"]["transitions"] == 1028 - 30
