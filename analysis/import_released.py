"""Bring the LLM episodes that the LORO authors released into the package's dataset format.

    python -m analysis.import_released --env cartpole --llm qwen-7b --output rerun/results/datasets/cartpole/qwen-7b

Their files are pickles of d3rlpy objects. A pickle can run any code, so these are read by an unpickler that builds
numpy arrays and inert records and refuses everything else by name; d3rlpy itself is not needed.

Row t of a file holds the observation *after* step t (papers' notes A10, 2): (s_t+1, a_t, r_t). By default the episodes
are put right: T+1 observations, each before its action. The first observation was never stored: where every episode
starts in the same place it is known and put back; elsewhere the first step is dropped.
"""

import csv
import os
import pickle
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy._core import multiarray

import envs
from envs.datasets import Episode, save_dataset
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, written_whole

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
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA, and without it they are downloaded"""
    as_stored: bool = False
    """keep the authors' pairing of observations and actions"""


class Record:
    """Stands in for every d3rlpy object: it takes attributes and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


HARMLESS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,  # the name before numpy 2
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,
    ("numpy._core.multiarray", "scalar"): multiarray.scalar,
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
    """Builds numpy arrays, numbers, containers and inert records, and refuses any other name."""

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


def released_file(env: str, llm: str) -> dict[str, str]:
    """Return the row (env, llm, model, file, sha256) of config/released_files.csv, or raise UsageError."""
    envs.get(env)
    with FILES.open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["env"] == env]
    for row in rows:
        if row["llm"] == llm:
            return row
    raise UsageError(f"The authors released no '{llm}' for {env}: choose one of {', '.join(r['llm'] for r in rows)}.")


def locate(row: dict[str, str], source: Path | None) -> Path:
    """Return the path of a released file with the right SHA-256, downloaded when there is no folder to read from."""
    folder = source or (Path(os.environ["LORO_AUTHORS_DATA"]) if "LORO_AUTHORS_DATA" in os.environ else None)
    path = (folder or Path("downloads")) / row["file"]
    if folder is None and not path.exists():
        download(f"{REPOSITORY}/raw/{COMMIT}/data/{row['file']}", path, row["sha256"])
    if not path.exists():
        raise UsageError(f"{path} does not exist: --source (or LORO_AUTHORS_DATA) must name the authors' data folder.")
    if sha256(path) != row["sha256"]:
        raise Failure(f"{path} does not have the SHA-256 that config/released_files.csv records; fetch it anew.")
    return path


def download(url: str, path: Path, digest: str) -> None:
    """Fetch `url` to `path`, whole and with the SHA-256 `digest`, or raise Failure and leave nothing."""
    try:
        with written_whole(path) as temporary:
            with urllib.request.urlopen(url, timeout=60) as response:
                temporary.write_bytes(response.read())
            if sha256(temporary) != digest:
                raise Failure(f"The file at {url} does not have the recorded SHA-256; nothing was kept.")
    except (urllib.error.URLError, TimeoutError) as error:
        raise Failure(
            f"Cannot download {url} ({getattr(error, 'reason', error)}): where there is no network, fetch the data "
            f"folder of {REPOSITORY} at commit {COMMIT[:7]} elsewhere and name it with --source or LORO_AUTHORS_DATA."
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
        start, _ = envs.make(env).reset(seed=0)
        observations = np.concatenate([[start], observations])
    else:
        actions, rewards = actions[1:], rewards[1:]
    terminations = np.zeros(len(rewards), dtype=bool)
    terminations[-1] = as_stored or is_terminal(env, observations[-1])
    truncations = np.zeros(len(rewards), dtype=bool)
    truncations[-1] = not terminations[-1]
    return Episode(observations, actions, rewards, terminations, truncations)


def import_released(env: str, llm: str, source: Path | None, as_stored: bool) -> tuple[list[Episode], dict[str, Any]]:
    """Return the episodes of one released file and the description for their meta.json."""
    row = released_file(env, llm)
    content = load_released_pickle(locate(row, source))
    records = content._buffer._episodes
    episodes = [to_episode(env, record, as_stored) for record in records]
    returns = [float(np.sum(record.rewards)) for record in records]
    meta = {
        "policy": llm,
        "model": row["model"],
        "source": f"{REPOSITORY}/blob/{COMMIT}/data/{row['file']}",
        "source_sha256": row["sha256"],
        "license": "MIT",
        "pairing": "as stored" if as_stored else "aligned",
        "first_steps_dropped": sum(len(r.rewards) for r in records) - sum(len(e) for e in episodes),
        "cut_off_episodes": sum(bool(e.truncations[-1]) for e in episodes),
        "returns_as_stored": returns,
    }
    return episodes, meta


def main() -> None:
    """Import one file."""
    args = tyro.cli(Args)
    episodes, meta = import_released(args.env, args.llm, args.source, args.as_stored)
    save_dataset(args.output, args.env, episodes, meta)
    steps = sum(len(episode) for episode in episodes)
    print(f"{args.output}: {len(episodes)} episodes, {steps} steps, {meta['pairing']}.")


if __name__ == "__main__":
    run_command_line(main)
