"""The authors' files where they are at hand, and episodes pickled as their library did, to test what reads them."""

import os
import pickle
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

AUTHORS = Path(os.environ.get("LORO_AUTHORS_DATA", Path(__file__).parents[3] / "shared" / "authors-data"))
with_data = pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' data is not here (LORO_AUTHORS_DATA)")

HOMES = {"Episode": "components", "InfiniteBuffer": "buffers", "MDPDataset": "compat"}


def authors_pickle(episodes):
    """Pickle (observations, actions, rewards[, terminated]) with classes named as the authors' are."""
    modules = {name: types.ModuleType(name) for name in ("d3rlpy", "d3rlpy.dataset")}
    made = {}
    for name, home in HOMES.items():
        made[name] = type(name, (), {"__module__": f"d3rlpy.dataset.{home}"})
        modules[f"d3rlpy.dataset.{home}"] = types.ModuleType(home)
        setattr(modules[f"d3rlpy.dataset.{home}"], name, made[name])
    dataset, buffer = made["MDPDataset"](), made["InfiniteBuffer"]()
    buffer._episodes, dataset._buffer = [], buffer
    for observations, actions, rewards, *terminated in episodes:
        record = made["Episode"]()
        record.observations, record.actions = np.array(observations), np.array(actions).reshape(-1, 1)
        record.rewards, record.length = np.array(rewards, dtype=float).reshape(-1, 1), np.float64(len(rewards))
        record.terminated = bool(terminated[0]) if terminated else True
        buffer._episodes.append(record)
    with mock.patch.dict(sys.modules, modules):
        return pickle.dumps(dataset, protocol=4)
