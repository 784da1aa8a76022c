"""Re-simulate recorded transitions: does the environment really go from s by a to s' with reward r?

    python -m analysis.validate --datasets rerun/results/datasets/*/qwen-7b --output rerun/results/tables/validation.csv

Each transition is judged alone: the environment is put into the recorded state, takes the recorded action, and its next
observation and reward are compared with the record. This needs dynamics without chance and an observation that tells
the state: cartpole, mountain-car, pendulum, cliff-walking. A dataset is judged as it is (`as recorded`) and with every
action moved to the observation before it or after it, so that an error of one step shows whichever way it goes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import tyro

import envs
from envs.datasets import Episode, load_dataset, read_meta
from envs.errors import run_command_line
from envs.files import write_text

TOLERANCE = 1e-4
"""Largest difference that float32 rounding explains, in the units of the observation."""


@dataclass
class Args:
    """Validate datasets."""

    datasets: tuple[Path, ...]
    """the dataset folders"""
    output: Path
    """the CSV to write"""


def put_vector(env: gymnasium.Env, observation: np.ndarray) -> None:
    """CartPole and MountainCar: the observation is the state."""
    env.unwrapped.state = np.asarray(observation, dtype=np.float64)


def put_pendulum(env: gymnasium.Env, observation: np.ndarray) -> None:
    """Pendulum: angle from its cosine and sine."""
    cosine, sine, velocity = np.asarray(observation, dtype=np.float64)
    env.unwrapped.state = np.array([np.arctan2(sine, cosine), velocity])


def put_cell(env: gymnasium.Env, observation: np.ndarray) -> None:
    """CliffWalking: the cell's number."""
    env.unwrapped.s = int(observation)


PUT: dict[str, Callable[[gymnasium.Env, np.ndarray], None]] = {
    "cartpole": put_vector,
    "mountain-car": put_vector,
    "pendulum": put_pendulum,
    "cliff-walking": put_cell,
}


def agrees(env: gymnasium.Env, name: str, step: tuple) -> bool:
    """Tell whether (observation, action, reward, next observation) is what `env` itself does."""
    observation, action, reward, next_observation = step
    env.reset(seed=0)
    PUT[name](env, observation)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    seen, seen_reward, *_ = env.step(int(action) if discrete else np.asarray(action))
    near = np.allclose(seen, next_observation, rtol=0, atol=TOLERANCE)
    return bool(near and abs(seen_reward - reward) <= 1e-3 * max(1.0, abs(reward)))


def pairings(episode: Episode) -> dict[str, list[tuple]]:
    """Return an episode's (s, a, r, s') as recorded, and with each action one observation earlier and later."""
    s, a, r = episode.observations, episode.actions, episode.rewards
    steps = len(episode)
    last = steps - 1 if np.array_equal(s[-1], s[-2]) and episode.terminations[-1] else steps  # a repeated last one
    return {
        "as recorded": [(s[t], a[t], r[t], s[t + 1]) for t in range(last)],
        "action one observation earlier": [(s[t - 1], a[t], r[t], s[t]) for t in range(1, steps)],
        "action one observation later": [(s[t + 1], a[t], r[t], s[t + 2]) for t in range(last - 1)],
    }


def validate(env_name: str, episodes: list[Episode]) -> list[dict[str, object]]:
    """Return one row for each pairing: transitions judged, how many agree, and their share."""
    env = envs.make(env_name, horizon=0)
    rows = []
    for pairing in ("as recorded", "action one observation earlier", "action one observation later"):
        steps = [step for episode in episodes for step in pairings(episode)[pairing]]
        agree = sum(agrees(env, env_name, step) for step in steps)
        rows.append({"pairing": pairing, "transitions": len(steps), "agree": agree, "share": agree / len(steps)})
    return rows


def main() -> None:
    """Write the table and print it."""
    args = tyro.cli(Args)
    table = []
    for dataset in args.datasets:
        name = read_meta(dataset)["environment"]
        label = {"env": name, "dataset": dataset.name}
        if name in PUT:
            table += [{**label, **row} for row in validate(name, load_dataset(dataset, name))]
        else:
            load_dataset(dataset, name)
            table.append({**label, "pairing": "not decided: the dynamics are random or hidden"})
    frame = pd.DataFrame(table, columns=["env", "dataset", "pairing", "transitions", "agree", "share"])
    frame = frame.astype({"transitions": "Int64", "agree": "Int64"})
    write_text(args.output, frame.to_csv(index=False, float_format="%.4f"))
    print(frame.to_string(index=False, float_format="{:.1%}".format, na_rep=""))


if __name__ == "__main__":
    run_command_line(main)
