"""Bring the LLM episodes that the LORO authors released into the package's dataset format.

    python -m analysis.import_released --env cartpole --llm qwen-7b --output rerun/results/datasets/cartpole/qwen-7b

Their files are pickles of d3rlpy objects. A pickle can run any code, so these are read by an unpickler that builds
numpy arrays and inert records and refuses everything else by name; d3rlpy itself is not needed.

Row t of a file holds the observation *after* step t (results/audit.md, 1): (s_t+1, a_t, r_t). By default the episodes
are put right: T+1 observations, each before its action. The first observation was never stored: where every episode
starts in the same place it is known and put back; elsewhere the first step is dropped.
"""

import csv
import os
import pickle
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import envs
from envs.datasets import Episode, read_meta, save_dataset
from envs.downloads import download
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256

REPOSITORY = "https://github.com/duongnhatthang/LlamaGym"
COMMIT = "2fb45b45b832070b7da13f36ce64c07ef47f6220"
FILES = Path(__file__).parents[1] / "config" / "released_files.csv"


@dataclass
class Args:
    """Import one released file."""

    env: str
    """the environment (see envs/)"""
    llm: str
    """who played: qwen-7b, qwen-32b, ... (config/released_files.csv lists them)"""
    output: Path
    """the dataset folder to write"""
    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA, and without it the file is downloaded"""
    download: Path = Path("downloads")
    """where a downloaded file is kept for the next time"""
    as_stored: bool = False
    """keep the authors' pairing of observations and actions"""


class StandIn:
    """Takes the place of something that a pickle asks for by name.

    Every stand-in has a `__setstate__`: where there is none, unpickling sets whatever attributes the file likes, even
    those of the class itself.
    """

    def __setstate__(self, state: Any) -> None:
        raise TypeError(f"{type(self).__name__} has no state")


class Record(StandIn):
    """Stands in for every d3rlpy object: it takes attributes and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Dtype(StandIn):
    """Stands in for `numpy.dtype`, whose own `__setstate__` lets a file call its bytes pointers to objects."""

    def __init__(self, code: str, *_: bool) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise Failure(f"it asks for an array of {code!r}, which are not numbers")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class Array(np.ndarray):
    """An array of numbers that takes its state from a pickle only as far as `numbers` can make sense of it."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, column_major, content = state
        values = numbers(dtype, content).reshape(shape, order="F" if column_major else "C")
        super().__setstate__(values.__reduce__()[2])


class NewArray(StandIn):
    """Stands in for numpy's function that makes the empty array which is then given its state."""

    def __new__(cls, *_: Any) -> Array:
        """Return an empty array, whatever is asked for."""
        return np.empty(0).view(Array)


class Scalar(StandIn):
    """Stands in for numpy's function that makes one number."""

    def __new__(cls, dtype: Dtype, content: bytes) -> np.generic:
        """Return the first of the numbers in `content`."""
        return numbers(dtype, content)[0]


def numbers(dtype: Dtype, content: bytes) -> np.ndarray:
    """Return the numbers that the bytes of a pickle hold."""
    if type(dtype) is not Dtype or type(content) is not bytes:
        raise TypeError("array data must be a dtype and bytes")
    return np.frombuffer(content, dtype.numpy)


HARMLESS = {
    ("numpy", "ndarray"): Record,  # only ever named, as the kind of array to make
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "_reconstruct"): NewArray,  # the name before numpy 2
    ("numpy._core.multiarray", "_reconstruct"): NewArray,
    ("numpy.core.multiarray", "scalar"): Scalar,
    ("numpy._core.multiarray", "scalar"): Scalar,
    ("d3rlpy.constants", "ActionSpace"): Record,
    ("d3rlpy.dataset.buffers", "InfiniteBuffer"): Record,
    ("d3rlpy.dataset.compat", "MDPDataset"): Record,
    ("d3rlpy.dataset.components", "DatasetInfo"): Record,
    ("d3rlpy.dataset.components", "Episode"): Record,
    ("d3rlpy.dataset.components", "Signature"): Record,
    ("d3rlpy.dataset.trajectory_slicers", "BasicTrajectorySlicer"): Record,
    ("d3rlpy.dataset.transition_pickers", "BasicTransitionPicker"): Record,
    ("d3rlpy.dataset.writers", "BasicWriterPreprocess"): Record,
    ("d3rlpy.dataset.writers", "ExperienceWriter"): Record,
    ("d3rlpy.dataset.writers", "_ActiveEpisode"): Record,
}


class RestrictedUnpickler(pickle.Unpickler):
    """Builds arrays of numbers, numbers, containers and inert records, and refuses any other name.

    Nothing that it hands to a pickle is numpy's own: numpy trusts the state that it is given, and a crafted one makes
    it read any place in memory as an object.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what (module, name) stands for, or raise Failure."""
        if (module, name) not in HARMLESS:
            raise Failure(f"it asks for {module}.{name}, which is not array data")
        return HARMLESS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the file."""
        raise Failure(f"it refers to an outside object {pid!r}")


def load_released_pickle(path: Path) -> Any:
    """Return the content of one of the authors' pickles; raise Failure when it is damaged or asks for code."""
    try:
        with path.open("rb") as file:
            return RestrictedUnpickler(file).load()
    except Failure as error:
        raise Failure(f"{path.name} is refused: {error}; delete it.") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise Failure(f"{path.name} is damaged and cannot be read ({type(error).__name__}: {error}).") from error


def released_files() -> list[dict[str, str]]:
    """Return the rows (env, llm, model, file, sha256, episode_limit, note) of config/released_files.csv.

    `episode_limit`: after how many steps the LLM's episodes were cut off, where an evaluation goes on for longer.
    """
    with FILES.open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


@cache  # asked for every run of a figure
def episode_limits(env: str) -> dict[str, int | None]:
    """Return, of each LLM whose episodes are the authors', the steps after which they were cut off; None: not early."""
    return {row["llm"]: int(row["episode_limit"] or 0) or None for row in released_files() if row["env"] == env}


def released_file(env: str, llm: str) -> dict[str, str]:
    """Return the row of one environment and LLM, or raise UsageError."""
    envs.get(env)
    rows = [row for row in released_files() if row["env"] == env]
    for row in rows:
        if row["llm"] == llm:
            return row
    raise UsageError(f"The authors released no '{llm}' for {env}: choose one of {', '.join(r['llm'] for r in rows)}.")


def locate(row: dict[str, str], source: Path | None, cache: Path = Path("downloads")) -> Path:
    """Return the path of a released file with the right SHA-256, downloaded to `cache` when no folder is named.

    Raises UsageError when the folder does not hold the file, Failure when it cannot be had or has another digest.
    """
    if source is None and os.environ.get("LORO_AUTHORS_DATA"):
        source = Path(os.environ["LORO_AUTHORS_DATA"])
    path = (source or cache) / row["file"]
    if source is None and not path.exists():
        fetch(row, path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: --source (or LORO_AUTHORS_DATA) must name the authors' data folder.")
    if sha256(path) != row["sha256"]:
        raise Failure(f"{path} does not have the SHA-256 that config/released_files.csv records; fetch it anew.")
    return path


def fetch(row: dict[str, str], path: Path) -> None:
    """Download a released file to `path`; raise Failure, and say what else can be done, if that fails."""
    try:
        download(f"{REPOSITORY}/raw/{COMMIT}/data/{row['file']}", path, row["sha256"])
    except Failure as error:
        raise Failure(
            f"{error} Where there is no network, fetch the data folder of {REPOSITORY} at commit {COMMIT[:7]} "
            "elsewhere and name it with --source or LORO_AUTHORS_DATA."
        ) from error


def is_terminal(env: str, observation: np.ndarray) -> bool:
    """Tell from the environment's own rules whether an episode ends at `observation`."""
    if env == "cartpole":
        return bool(abs(observation[0]) > 2.4 or abs(observation[2]) > 12 * 2 * np.pi / 360)
    if env == "mountain-car":
        return bool(observation[0] >= 0.5)
    if env == "frozen-lake":
        return int(observation) in (5, 7, 11, 12, 15)  # the holes and the goal
    if env == "cliff-walking":
        return int(observation) == 47
    if env == "represented-pong":
        return bool(max(observation[6], observation[7]) >= 21)
    return False


@lru_cache
def known_start(env: str) -> Any:
    """Return the observation from which every episode starts."""
    environment = envs.make(env)
    start, _ = environment.reset(seed=0)
    environment.close()
    return start


def to_episode(env: str, record: Record, as_stored: bool) -> Episode:
    """Turn one released episode into ours, aligned or as stored."""
    environment = envs.get(env)
    discrete_states = np.ndim(record.observations) == 1
    observations = np.asarray(record.observations, dtype=np.int64 if discrete_states else np.float32)
    actions = np.asarray(record.actions)
    actions = actions.astype(np.float32) if environment.learner == "sac" else actions.reshape(-1).astype(np.int64)
    rewards = np.asarray(record.rewards, dtype=np.float64).reshape(-1)
    if as_stored:
        observations = np.concatenate([observations, observations[-1:]])
    elif environment.fixed_start:
        observations = np.concatenate([[known_start(env)], observations])
    else:
        actions, rewards = actions[1:], rewards[1:]
    terminations = np.zeros(len(rewards), dtype=bool)
    terminations[-1] = as_stored or is_terminal(env, observations[-1])
    truncations = np.zeros(len(rewards), dtype=bool)
    truncations[-1] = not terminations[-1]
    return Episode(observations, actions, rewards, terminations, truncations)


def import_released(
    env: str, llm: str, source: Path | None, as_stored: bool, cache: Path = Path("downloads")
) -> tuple[list[Episode], dict[str, Any]]:
    """Return the episodes of one released file and the description for their meta.json."""
    row = released_file(env, llm)
    content = load_released_pickle(locate(row, source, cache))
    records = content._buffer._episodes
    episodes = [to_episode(env, record, as_stored) for record in records]
    returns = [float(np.sum(record.rewards)) for record in records]
    meta = {
        "policy": llm,
        "model": row["model"],
        "source": f"{REPOSITORY}/blob/{COMMIT}/data/{row['file']}",
        "source_file": row["file"],
        "source_sha256": row["sha256"],
        "source_note": row["note"],
        "repository": REPOSITORY,
        "commit": COMMIT,
        "license": "MIT",
        "pairing": "as stored" if as_stored else "aligned",
        "first_steps_dropped": sum(len(r.rewards) for r in records) - sum(len(e) for e in episodes),
        "cut_off_episodes": sum(not is_terminal(env, record.observations[-1]) for record in records),
        "returns_as_stored": returns,
    }
    return episodes, meta


def main() -> None:
    """Import one file."""
    args = tyro.cli(Args)
    empty = args.output.is_dir() and not any(args.output.iterdir())  # as a workflow leaves it before the job
    if args.output.exists() and not empty and not (args.output / "meta.json").is_file():
        raise UsageError(f"--output {args.output} exists and is no dataset: give another folder.")
    episodes, meta = import_released(args.env, args.llm, args.source, args.as_stored, args.download)
    if (args.output / "meta.json").is_file():
        there = read_meta(args.output)
        if any(there.get(name) != meta[name] for name in ("source_sha256", "pairing")):
            raise UsageError(f"--output {args.output} holds another dataset: remove it, or give another folder.")
    save_dataset(args.output, args.env, episodes, meta)
    steps = sum(len(episode) for episode in episodes)
    print(f"{args.output}: {len(episodes)} episodes, {steps} steps, {meta['pairing']}.")


if __name__ == "__main__":
    run_command_line(main)
