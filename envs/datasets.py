"""Reading and writing the package's datasets: Minari episodes with a signed `meta.json` beside them.

A dataset is a folder `<env>/<policy>/` with `data/` (Minari's HDF5 format: T steps, T+1 observations, terminations
and truncations apart), `meta.json` (who played, how, with which versions, and the SHA-256 of the HDF5 file) and
`croissant.json` (the same for machines that look for datasets). What is shipped has its HDF5 file packed.
"""

import importlib.metadata
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from envs.croissant import croissant
from envs.errors import Failure, UsageError
from envs.files import sha256, write_text, written_whole
from envs.text import describe, make

DATA_FILE = Path("data") / "main_data.hdf5"
VERSIONS_OF = ("gymnasium", "minari", "numpy")


@dataclass
class Episode:
    """T steps of one episode. `observations` holds T+1 entries: the one before each action, and the last."""

    observations: np.ndarray
    """[T+1] integers for discrete observations, [T+1, size] float32 otherwise."""
    actions: np.ndarray
    """[T] integers, or [T, size] float32."""
    rewards: np.ndarray
    """[T] float64."""
    terminations: np.ndarray
    """[T] booleans: the environment ended here."""
    truncations: np.ndarray
    """[T] booleans: the episode was cut off here; the value of the last observation still counts."""
    recorded_return: float | None = None
    """The undiscounted return of the whole episode, where its first step was lost (the released data)."""

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)

    @property
    def total_reward(self) -> float:
        """The undiscounted return of the episode as it was played."""
        return float(np.sum(self.rewards)) if self.recorded_return is None else self.recorded_return


def versions(*more: str) -> dict[str, str]:
    """Return the installed versions of the packages that a dataset depends on."""
    return {name: importlib.metadata.version(name) for name in (*VERSIONS_OF, *more)}


def save_dataset(
    path: Path, env_name: str, episodes: list[Episode], meta: dict[str, Any], files: dict[str, bytes] | None = None
) -> None:
    """Write `episodes` as the dataset folder `path`, whole or not at all.

    `meta` describes where the episodes come from and is stored in `meta.json` together with the environment, counts,
    versions and the SHA-256 of the data file. `files` are further files of the folder, by name.
    """
    environment = describe(env_name)
    env = make(env_name)
    with written_whole(path) as folder:
        (folder / "data").mkdir(parents=True)
        needed = 30_000 * len(episodes) + sum(e.observations.nbytes + 40 * len(e) for e in episodes)
        if shutil.disk_usage(folder).free < needed:  # HDF5 crashes where a disk is full
            raise Failure(f"Dataset {path} needs up to {needed / 1e6:.1f} MB, which the disk does not have; make room.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = MinariStorage.new(
                (folder / "data").resolve(),  # Minari joins a relative path to itself
                observation_space=env.observation_space,
                action_space=env.action_space,
                env_spec=env.spec,
                data_format="hdf5",
            )
            storage.update_episodes(
                EpisodeBuffer(
                    id=index,
                    observations=episode.observations,
                    actions=episode.actions,
                    rewards=[float(r) for r in episode.rewards],
                    terminations=[bool(t) for t in episode.terminations],
                    truncations=[bool(t) for t in episode.truncations],
                )
                for index, episode in enumerate(episodes)
            )
            storage.update_metadata(
                {
                    "dataset_id": f"{path.parent.name}/{path.name}-v0",
                    "minari_version": importlib.metadata.version("minari"),
                    "algorithm_name": meta.get("policy", ""),
                }
            )
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        description = {
            "environment": environment.name,
            "episodes": len(episodes),
            "transitions": sum(len(e) for e in episodes),
            "mean_return": float(np.mean([e.total_reward for e in episodes])) if episodes else None,
            **meta,
            "versions": {**versions(), **meta.get("versions", {})},
            "sha256": sha256(folder / DATA_FILE),
        }
        write_text(folder / "meta.json", json.dumps(description, indent=2, sort_keys=True) + "\n")
        write_text(folder / "croissant.json", json.dumps(croissant(folder, description), indent=2) + "\n")
    env.close()


def pack_dataset(path: Path) -> None:
    """Write the data file of the dataset folder `path` anew with every array in one piece, to a third of its size.

    Minari keeps each array in chunks, which makes room for the many more steps that its short episodes do not have. The
    episodes are the same and the file's SHA-256 is another: the one it had when the episodes were collected stays in
    `meta.json`, for runs name the episodes by that (`episodes_sha256`). Packing what is packed changes nothing.
    """
    chunked = path / DATA_FILE
    with written_whole(chunked) as packed, h5py.File(chunked) as source, h5py.File(packed, "w") as target:

        def write(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                target.create_group(name).attrs.update(item.attrs)
            else:
                target.create_dataset(name, data=item[()], dtype=item.dtype)

        source.visititems(write)
    storage = MinariStorage.read((path / "data").resolve())
    storage.update_metadata({"dataset_size": storage.get_size()})
    meta = read_meta(path)
    description = {"sha256_as_collected": meta["sha256"], **meta, "sha256": sha256(chunked)}
    write_text(path / "meta.json", json.dumps(description, indent=2, sort_keys=True) + "\n")
    write_text(path / "croissant.json", json.dumps(croissant(path, description), indent=2) + "\n")


def episodes_sha256(meta: dict[str, Any]) -> str | None:
    """Return by what a run names the episodes it learnt from: the data file's SHA-256 before it was packed."""
    return meta.get("sha256_as_collected", meta.get("sha256"))


def read_meta(path: Path) -> dict[str, Any]:
    """Return a dataset's `meta.json`; raise UsageError when there is no dataset, Failure when it is damaged."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"No dataset at {path}: meta.json is missing; collect or import it first.") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"Dataset {path}: meta.json is not valid JSON; make the dataset anew.") from error
    if not isinstance(meta, dict):
        raise Failure(f"Dataset {path}: meta.json does not describe a dataset; make the dataset anew.")
    return meta


def told_of_episodes(path: Path) -> dict[str, dict[str, int]]:
    """Return what to know of a dataset wherever a run of it is judged, as far as its `meta.json` tells.

    How many steps it has, in how many no action was stated, and after how many an episode was cut off (0: never).
    """
    meta = read_meta(path)
    told = {name: meta[name] for name in ("transitions", "invalid_answers", "horizon") if meta.get(name) is not None}
    return {"episodes": told} if told else {}


def load_dataset(path: Path, env_name: str) -> list[Episode]:
    """Return the episodes of the dataset folder `path` after checking that they can be trusted.

    Raises UsageError when the dataset is missing or was played in another environment, and Failure when its file does
    not have the recorded SHA-256, cannot be read, or holds episodes of a wrong shape or numbers that are not finite.
    """
    meta = read_meta(path)
    if meta.get("environment") != describe(env_name).name:
        raise UsageError(f"Dataset {path} is of environment '{meta.get('environment')}', not '{env_name}'.")
    if not (path / DATA_FILE).exists():
        raise Failure(f"Dataset {path}: {DATA_FILE} is missing; make the dataset anew.")
    if sha256(path / DATA_FILE) != meta.get("sha256"):
        raise Failure(
            f"Dataset {path}: {DATA_FILE} is truncated or was changed (its SHA-256 is not the one in meta.json); "
            "make the dataset anew."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = list(MinariDataset((path / "data").resolve()).iterate_episodes())
    except Exception as error:  # h5py raises many kinds; the digest was right, so the file was written wrongly
        raise Failure(f"Dataset {path}: {DATA_FILE} cannot be read as Minari data ({error}).") from error
    episodes = [
        Episode(
            np.asarray(e.observations),
            np.asarray(e.actions),
            np.asarray(e.rewards, dtype=np.float64),
            np.asarray(e.terminations, dtype=bool),
            np.asarray(e.truncations, dtype=bool),
        )
        for e in stored
    ]
    returns = meta.get("returns_as_stored", [None] * len(episodes))
    if len(returns) != len(episodes):
        raise Failure(
            f"Dataset {path}: meta.json has {len(returns)} returns for {len(episodes)} episodes; make it anew."
        )
    for episode, recorded in zip(episodes, returns, strict=True):
        episode.recorded_return = recorded
    env = make(env_name)  # once: a console game takes its time to start
    for index, episode in enumerate(episodes):
        _check_episode(path, index, episode, env)
    env.close()
    return episodes


def _check_episode(path: Path, index: int, episode: Episode, env: gymnasium.Env) -> None:
    steps = len(episode)
    right_shape = (
        steps > 0
        and episode.observations.shape == (steps + 1, *(env.observation_space.shape or ()))  # a text has no shape
        and episode.actions.shape == (steps, *env.action_space.shape)
        and len(episode.terminations) == len(episode.truncations) == steps
    )
    if not right_shape:
        raise Failure(f"Dataset {path}: episode {index} does not have the shapes of its environment; make it anew.")
    for name, space in (("observations", env.observation_space), ("actions", env.action_space)):
        values = getattr(episode, name)
        if isinstance(space, gymnasium.spaces.Discrete) and not np.all((values >= 0) & (values < space.n)):
            raise Failure(f"Dataset {path}: episode {index} has {name} that its environment does not; make it anew.")
    for name in ("observations", "actions", "rewards"):
        values = getattr(episode, name)
        if np.issubdtype(values.dtype, np.number) and not np.all(np.isfinite(values)):
            raise Failure(f"Dataset {path}: episode {index} has {name} that are not finite numbers; make it anew.")


def transitions(episodes: list[Episode], shifted: bool = False, cutoff_as_terminal: bool = False) -> list[tuple]:
    """Return (observation, action, reward, next observation, termination) of every step, in order.

    `shifted` pairs each action with the observation after it, as the authors' collection did (their transitions are
    (s_t+1, a_t, r_t, s_t+2)); the last step of a cut-off episode then has no successor and is left out.
    `cutoff_as_terminal` stores a truncation as a termination, so that nothing is bootstrapped there, as they did too.
    """
    steps = []
    for episode in episodes:
        terminations = episode.terminations.copy()
        terminations[-1] |= cutoff_as_terminal
        observations, next_observations = episode.observations[:-1], episode.observations[1:]
        if shifted:
            observations = episode.observations[1:]
            next_observations = np.concatenate([episode.observations[2:], episode.observations[-1:]])
        rows = zip(observations, episode.actions, episode.rewards, next_observations, terminations, strict=True)
        steps += list(rows)
        if shifted and not terminations[-1]:
            steps.pop()
    return steps
