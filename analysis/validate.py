"""Re-simulate recorded transitions: does the environment really go from s by a to s' with reward r?

    python -m analysis.validate --datasets rerun/results/datasets/*/qwen-7b --output rerun/results/tables/validation.csv
    python -m analysis.validate --released FOLDER --output rerun/results/tables/validation_released.csv

Each transition is judged alone: the environment is put into the recorded state, takes the recorded action, and its next
observation and reward are compared with the record. This needs dynamics without chance and an observation that tells
the state: cartpole, mountain-car, pendulum, cliff-walking. A dataset is judged as it is (`as recorded`) and with every
action moved to the observation before it or after it, so that an error of one step shows whichever way it goes. In
the letters of the paper's transitions: "one observation later" of an aligned dataset is (s_t+1, a_t, r_t, s_t+2), the
authors' pairing; "one observation earlier" of a dataset stored their way is the aligned one.

Whether the environment ends a transition's episode where the record says so is counted apart (`ends_agree`): the
authors recorded every cut-off as an end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import gymnasium
import numpy as np
import pandas as pd
import tyro

import envs
from analysis.import_released import import_released, released_files
from envs.datasets import Episode, load_dataset, read_meta
from envs.errors import UsageError, run_command_line
from envs.files import write_text

TOLERANCE = 1e-5
"""Largest difference that float32 rounding explains, in the units of the observation (5e-7 is what it comes to)."""


class Step(NamedTuple):
    """One transition, and whether the record says that it ended the episode."""

    observation: Any
    action: Any
    reward: float
    next_observation: Any
    termination: bool


@dataclass
class Args:
    """Validate datasets."""

    output: Path
    """the CSV to write"""
    datasets: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(aliases=["--dataset"])
    ] = ()
    """dataset folders; may be given several times"""
    released: Path | None = None
    """a folder with the authors' files: each is judged too, as stored"""


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

UNDECIDED = "not decided: the dynamics are random or hidden"


def agrees(env: gymnasium.Env, name: str, step: Step) -> tuple[bool, bool]:
    """Tell whether `env` itself does this step, and whether it ends the episode there just as the record says."""
    env.reset(seed=0)
    PUT[name](env, step.observation)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    observation, reward, terminated, _, _ = env.step(int(step.action) if discrete else np.asarray(step.action))
    near = np.allclose(observation, step.next_observation, rtol=0, atol=TOLERANCE)
    paid = abs(reward - step.reward) <= TOLERANCE * max(1.0, abs(reward))
    return bool(near and paid), bool(terminated) == bool(step.termination)


def pairings(episode: Episode) -> dict[str, list[Step]]:
    """Return an episode's steps as recorded, and with each action one observation earlier and one later."""
    s, a, r, ends = episode.observations, episode.actions, episode.rewards, episode.terminations
    steps = len(episode)
    # a last observation that only repeats the one before, as stored by the authors, is no transition
    last = steps - 1 if np.array_equal(s[-1], s[-2]) and ends[-1] else steps
    return {
        "as recorded": [Step(s[t], a[t], r[t], s[t + 1], ends[t]) for t in range(last)],
        "action one observation earlier": [Step(s[t - 1], a[t], r[t], s[t], ends[t]) for t in range(1, steps)],
        "action one observation later": [Step(s[t + 1], a[t], r[t], s[t + 2], ends[t]) for t in range(last - 1)],
    }


def validate(env_name: str, episodes: list[Episode]) -> list[dict[str, object]]:
    """Return one row for each pairing: transitions judged, how many agree, their share, how many ends agree."""
    env = envs.make(env_name, horizon=0)
    rows = []
    for pairing in ("as recorded", "action one observation earlier", "action one observation later"):
        verdicts = [agrees(env, env_name, step) for episode in episodes for step in pairings(episode)[pairing]]
        agree, ends_agree = (sum(column) for column in zip(*verdicts, strict=True)) if verdicts else (0, 0)
        share = agree / len(verdicts) if verdicts else np.nan
        counts = {"transitions": len(verdicts), "agree": agree, "share": share, "ends_agree": ends_agree}
        rows.append({"pairing": pairing, **counts})
    env.close()
    return rows


def judge(env_name: str, label: str, episodes: list[Episode]) -> list[dict[str, object]]:
    """Return the rows of one dataset: its counts, or the one that says why there are none."""
    rows = validate(env_name, episodes) if env_name in PUT else [{"pairing": UNDECIDED}]
    return [{"env": env_name, "dataset": label, **row} for row in rows]


def main() -> None:
    """Write the table and print it."""
    args = tyro.cli(Args)
    datasets = [path for paths in args.datasets for path in paths]
    if not datasets and args.released is None:
        raise UsageError("There is nothing to validate: name dataset folders with --datasets, or --released FOLDER.")
    if args.released is not None and not args.released.is_dir():
        raise UsageError(f"--released {args.released} is not a folder.")
    table = []
    for path in datasets:
        env_name = str(read_meta(path).get("environment"))
        table += judge(env_name, path.resolve().name, load_dataset(path, env_name))
    for row in released_files() if args.released else []:
        episodes, _ = import_released(row["env"], row["llm"], args.released, as_stored=True)
        table += judge(row["env"], f"{row['llm']} as released", episodes)
    frame = pd.DataFrame(table, columns=["env", "dataset", "pairing", "transitions", "agree", "share", "ends_agree"])
    frame = frame.astype({"transitions": "Int64", "agree": "Int64", "ends_agree": "Int64"})
    write_text(args.output, frame.to_csv(index=False, float_format="%.4f"))
    print(frame.to_string(index=False, float_format="{:.1%}".format, na_rep=""))


if __name__ == "__main__":
    run_command_line(main)
