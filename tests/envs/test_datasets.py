"""Datasets: what is written comes back, damage is noticed, and the defects are what they are said to be."""

import json
import os
import shutil
import time

import h5py
import minari
import numpy as np
import pytest

from envs.datasets import (
    DATA_FILE,
    Episode,
    episodes_sha256,
    load_dataset,
    pack_dataset,
    read_meta,
    save_dataset,
    transitions,
)
from envs.errors import Failure, UsageError
from envs.files import check_clock, sha256


def episode(length=4, cut_off=False, first=0):
    ends = np.zeros(length, dtype=bool)
    cuts = np.zeros(length, dtype=bool)
    (cuts if cut_off else ends)[-1] = True
    return Episode(np.arange(first, first + length + 1), np.arange(length) % 4, np.arange(length) * 1.0, ends, cuts)


def swing():
    ends = np.array([False, False, True])
    return Episode(
        np.zeros((4, 3), dtype=np.float32),
        np.zeros((3, 1), dtype=np.float32),
        np.zeros(3),
        np.zeros(3, dtype=bool),
        ends,
    )


def sign(folder, **changes):
    """Write the SHA-256 that the data file has now, and other changes, into meta.json; None takes a line out."""
    meta = json.loads((folder / "meta.json").read_text())
    meta |= {"sha256": sha256(folder / DATA_FILE), **changes}
    (folder / "meta.json").write_text(json.dumps({name: value for name, value in meta.items() if value is not None}))


def rewrite(folder, **arrays):
    """Put other arrays into episode 0 of the data file, and sign it."""
    with h5py.File(folder / DATA_FILE, "a") as file:
        for name, values in arrays.items():
            del file[f"episode_0/{name}"]
            file[f"episode_0/{name}"] = values
    sign(folder)


@pytest.fixture
def dataset(tmp_path):
    save_dataset(tmp_path / "d", "frozen-lake", [episode(), episode(3, cut_off=True, first=5)], {"policy": "me"})
    return tmp_path / "d"


def test_what_is_written_comes_back_and_minari_reads_it_too(dataset):
    loaded = load_dataset(dataset, "frozen-lake")
    for written, read in zip([episode(), episode(3, cut_off=True, first=5)], loaded, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    meta = json.loads((dataset / "meta.json").read_text())
    assert (meta["episodes"], meta["transitions"], meta["policy"]) == (2, 7, "me")
    assert meta["mean_return"] == ((0 + 1 + 2 + 3) + (0 + 1 + 2)) / 2
    assert meta["versions"]["minari"] == minari.__version__
    theirs = list(minari.MinariDataset(dataset / "data").iterate_episodes())
    assert [len(e.observations) for e in theirs] == [5, 4]


def test_what_the_writer_tells_and_adds_is_kept(tmp_path):
    lost = episode()
    lost.recorded_return = 9.0  # its first step earned 3 and was lost
    meta = {"versions": {"vllm": "1.0"}}
    save_dataset(tmp_path / "d", "frozen-lake", [lost, episode(2)], meta, {"told.txt": b"left, left"})
    written = json.loads((tmp_path / "d" / "meta.json").read_text())
    assert written["mean_return"] == (9 + 1) / 2
    assert {"vllm", "minari", "numpy", "gymnasium"} <= written["versions"].keys()
    assert (tmp_path / "d" / "told.txt").read_bytes() == b"left, left"


def test_the_same_episodes_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_dataset(tmp_path / name, "frozen-lake", [episode(), episode(9, cut_off=True)], {})
    assert (tmp_path / "a" / DATA_FILE).read_bytes() == (tmp_path / "b" / DATA_FILE).read_bytes()


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_packed_episodes_are_the_same_and_known_by_the_same_digest(dataset):
    """Read by h5py, by Minari and by us; by name, shape and kind of number."""

    def arrays(file):
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        return found

    size, before = (dataset / DATA_FILE).stat().st_size, sha256(dataset / DATA_FILE)
    with h5py.File(dataset / DATA_FILE) as file:
        collected, attributes = arrays(file), {name: dict(group.attrs) for name, group in file.items()}
    pack_dataset(dataset)
    with h5py.File(dataset / DATA_FILE) as file:
        packed = arrays(file)
        assert {name: dict(group.attrs) for name, group in file.items()} == attributes
    assert packed.keys() == collected.keys()
    for name, values in packed.items():
        np.testing.assert_array_equal(values, collected[name], strict=True)
    assert [len(e) for e in load_dataset(dataset, "frozen-lake")] == [4, 3]
    assert [len(e.rewards) for e in minari.MinariDataset(dataset / "data").iterate_episodes()] == [4, 3]
    assert (dataset / DATA_FILE).stat().st_size < size / 2
    meta = read_meta(dataset)
    assert meta["sha256"] == sha256(dataset / DATA_FILE) != before == episodes_sha256(meta)
    distribution = json.loads((dataset / "croissant.json").read_text())["distribution"]
    told = {file["contentUrl"]: file["sha256"] for file in distribution}
    assert told["meta.json"] == sha256(dataset / "meta.json") and told[str(DATA_FILE)] == meta["sha256"]
    once = contents(dataset)
    pack_dataset(dataset)
    assert contents(dataset) == once


def test_damage_is_noticed(dataset):
    content = (dataset / DATA_FILE).read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    for damaged in (content[:-100], bytes(changed), b""):
        (dataset / DATA_FILE).write_bytes(damaged)
        with pytest.raises(Failure, match="truncated or was changed"):
            load_dataset(dataset, "frozen-lake")
    (dataset / DATA_FILE).unlink()
    with pytest.raises(Failure, match="missing"):
        load_dataset(dataset, "frozen-lake")
    (dataset / "meta.json").write_text("{")
    with pytest.raises(Failure, match=r"meta\.json is not valid JSON"):
        load_dataset(dataset, "frozen-lake")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, name, bad):
    """One number in one step of the second episode is enough."""
    episodes = [swing(), swing()]
    save_dataset(tmp_path / "sound", "pendulum", episodes, {})
    assert len(load_dataset(tmp_path / "sound", "pendulum")) == 2
    getattr(episodes[1], name)[1] = bad
    save_dataset(tmp_path / "d", "pendulum", episodes, {})
    with pytest.raises(Failure, match=f"episode 1 has {name} that are not finite numbers"):
        load_dataset(tmp_path / "d", "pendulum")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("observations", (3, 3)),
        ("observations", (5, 3)),
        ("observations", (4, 2)),
        ("actions", (2, 1)),
        ("actions", (3, 2)),
        ("rewards", (2,)),
        ("terminations", (2,)),
        ("truncations", (4,)),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, name, shape):
    save_dataset(tmp_path / "d", "pendulum", [swing()], {})
    rewrite(tmp_path / "d", **{name: np.zeros(shape, dtype=getattr(swing(), name).dtype)})
    with pytest.raises(Failure, match="episode 0 does not have the shapes"):
        load_dataset(tmp_path / "d", "pendulum")


def test_an_episode_without_steps_is_refused(dataset):
    none = {"actions": int, "rewards": float, "terminations": bool, "truncations": bool}
    rewrite(dataset, observations=np.array([0]), **{name: np.zeros(0, dtype=kind) for name, kind in none.items()})
    with pytest.raises(Failure, match="episode 0 does not have the shapes"):
        load_dataset(dataset, "frozen-lake")


def test_data_that_meta_json_does_not_vouch_for_are_refused(dataset):
    sign(dataset)
    assert len(load_dataset(dataset, "frozen-lake")) == 2
    sign(dataset, sha256=None)
    with pytest.raises(Failure, match="SHA-256 is not the one"):
        load_dataset(dataset, "frozen-lake")
    sign(dataset, environment=None)
    with pytest.raises(UsageError, match="is of environment 'None', not 'frozen-lake'"):
        load_dataset(dataset, "frozen-lake")
    (dataset / "meta.json").write_text("[]")
    with pytest.raises(Failure, match="does not describe a dataset"):
        load_dataset(dataset, "frozen-lake")


def test_a_file_that_was_never_minari_data_is_refused_whatever_its_digest(dataset):
    (dataset / DATA_FILE).write_bytes(b"nonsense")
    sign(dataset)
    with pytest.raises(Failure, match="cannot be read as Minari data"):
        load_dataset(dataset, "frozen-lake")


@pytest.mark.parametrize("lack", ["a small file's own size", "the size of its observations"])
def test_where_the_disk_is_too_full_nothing_is_written(tmp_path, monkeypatch, lack):
    """HDF5 takes some kilobytes for an episode however short, and crashes where a disk fills up."""
    few, many = episode(), Episode(np.zeros(100_001, dtype=np.int64), *(np.zeros(100_000, dtype=int),) * 4)
    free, played = (10_000, few) if lack == "a small file's own size" else (700_000, many)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    with pytest.raises(Failure, match="which the disk does not have"):
        save_dataset(tmp_path / "d", "frozen-lake", [played], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("observations", "actions", "sentence"),
    [([0, 1, 16], [0, 1], "observations"), ([0, -1, 2], [0, 1], "observations"), ([0, 1, 2], [0, 4], "actions")],
)
def test_states_and_actions_that_do_not_exist_are_refused(tmp_path, observations, actions, sentence):
    steps = np.zeros(2), np.array([False, True]), np.zeros(2, dtype=bool)
    save_dataset(tmp_path / "d", "frozen-lake", [Episode(np.array(observations), np.array(actions), *steps)], {})
    with pytest.raises(Failure, match=f"has {sentence} that its environment does not"):
        load_dataset(tmp_path / "d", "frozen-lake")


def test_another_environment_or_no_dataset_is_a_usage_error(dataset, tmp_path):
    with pytest.raises(UsageError, match="'frozen-lake', not 'cliff-walking'"):
        load_dataset(dataset, "cliff-walking")
    with pytest.raises(UsageError, match="collect or import"):
        load_dataset(tmp_path / "nowhere", "frozen-lake")


def plain(steps):
    return [(int(s), int(a), float(r), int(s2), bool(end)) for s, a, r, s2, end in steps]


def test_a_return_counts_the_step_that_was_lost(tmp_path):
    save_dataset(tmp_path / "d", "frozen-lake", [episode(), episode(3)], {"returns_as_stored": [7.0, 0.0]})
    assert [e.total_reward for e in load_dataset(tmp_path / "d", "frozen-lake")] == [7.0, 0.0]
    assert episode().total_reward == 0 + 1 + 2 + 3
    save_dataset(tmp_path / "few", "frozen-lake", [episode(), episode(3)], {"returns_as_stored": [7.0]})
    with pytest.raises(Failure, match="1 returns for 2 episodes"):
        load_dataset(tmp_path / "few", "frozen-lake")


def test_transitions_are_the_recorded_steps():
    assert plain(transitions([episode(3)])) == [(0, 0, 0, 1, False), (1, 1, 1, 2, False), (2, 2, 2, 3, True)]
    assert plain(transitions([episode(3, cut_off=True)]))[-1] == (2, 2, 2, 3, False), "a cut-off is bootstrapped"


def test_shifted_transitions_are_one_observation_late():
    assert plain(transitions([episode(3)], shifted=True))[:2] == [(1, 0, 0, 2, False), (2, 1, 1, 3, False)]
    assert plain(transitions([episode(3)], shifted=True))[2][:3] == (3, 2, 2)
    assert plain(transitions([episode(3)], shifted=True))[2][4] is True
    cut = [episode(3, cut_off=True)]
    assert len(transitions(cut, shifted=True)) == 2, "the successor of the last observation is not known"
    as_released = plain(transitions(cut, shifted=True, cutoff_as_terminal=True))
    assert [step[4] for step in as_released] == [False, False, True]
    assert plain(transitions(cut, cutoff_as_terminal=True))[-1][4] is True
    assert not cut[0].terminations.any(), "the episode itself stays as it was"


def test_a_file_from_the_future_is_named(tmp_path):
    path = tmp_path / "meta.json"
    path.touch()
    check_clock(path)
    os.utime(path, (time.time() + 30, time.time() + 30))  # machines that share a disk may differ by seconds
    check_clock(path)
    os.utime(path, (time.time() + 7200, time.time() + 7200))
    with pytest.raises(Failure, match=r"2\.0 hours from now: set the clock right"):
        check_clock(path)
