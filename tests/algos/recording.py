"""What tests of the training programs share: recorded play, a dataset of it, a run, an environment that is watched."""

import csv
import importlib
import sys

import gymnasium
import numpy as np

import envs
from envs.datasets import Episode, save_dataset
from envs.errors import run_command_line


def record_random_play(env_name, episodes, steps, seed=0):
    env = envs.make(env_name)
    env.action_space.seed(seed)
    recorded = []
    for episode in range(episodes):
        rows = {"observations": [env.reset(seed=seed + episode)[0]], "actions": [], "rewards": [], "ends": []}
        for _ in range(steps):
            action = env.action_space.sample()
            observation, reward, terminated, _, _ = env.step(action)
            for key, value in zip(rows, (observation, action, reward, terminated), strict=True):
                rows[key].append(value)
            if terminated:
                break
        ends = np.array(rows["ends"])
        cuts = np.zeros_like(ends)
        cuts[-1] = not ends[-1]
        observations, actions = np.array(rows["observations"]), np.array(rows["actions"])
        recorded.append(Episode(observations, actions, np.array(rows["rewards"], dtype=np.float64), ends, cuts))
    return recorded


def make_dataset(path, env_name, episodes=3, steps=40):
    save_dataset(path, env_name, record_random_play(env_name, episodes, steps), {"policy": "random"})
    return path


def run(algorithm, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [algorithm, *map(str, arguments)])
    run_command_line(importlib.import_module(f"algos.{algorithm}").main)


class Recorder(gymnasium.Wrapper):
    """Remembers every step and every reset's seed as the environment itself made it."""

    def __init__(self, env):
        super().__init__(env)
        self.steps, self.last, self.resets = [], None, []

    def reset(self, **options):
        self.resets.append(options.get("seed"))
        self.last, info = self.env.reset(**options)
        return self.last, info

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps.append((self.last, action, reward, observation, terminated, truncated))
        self.last = observation
        return observation, reward, terminated, truncated, info


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))
