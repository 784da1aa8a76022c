"""The authors' pickles: what comes out, and what is refused."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from authors_files import AUTHORS, authors_pickle, with_data

import envs
from analysis import import_published, import_released
from envs.datasets import load_dataset
from envs.errors import Failure, run_command_line


def run(arguments, monkeypatch, module=import_released):
    monkeypatch.setattr(sys, "argv", ["import", *map(str, arguments)])
    run_command_line(module.main)


# Mean return and number of transitions of all 30 episodes, and the mean return of the first ten, computed
# from the authors' files before this importer was written.
FACTS = {
    ("cartpole", "qwen-7b"): (34.3, 1028, 40.5),
    ("cartpole", "qwen-32b"): (45.6, 1368, 50.0),
    ("cliff-walking", "qwen-7b"): (-738, None, -1210),
    ("cliff-walking", "qwen-32b"): (-3902, None, -358),
    ("frozen-lake", "qwen-7b"): (0.0, 206, 0.0),
    ("frozen-lake", "deepseek-7b"): (0.033, None, 0.0),
    ("mountain-car", "qwen-32b"): (-100, 3000, -100),
    ("pendulum", "qwen-7b"): (-309.8, 1500, None),
    ("represented-pong", "qwen-32b"): (-2.97, 6000, None),
}


@with_data
@pytest.mark.parametrize(("env", "llm"), list(FACTS))
def test_imported_episodes_have_the_known_returns_and_lengths(env, llm, tmp_path, monkeypatch):
    mean_return, transitions, first_ten = FACTS[env, llm]
    run(["--env", env, "--llm", llm, "--source", AUTHORS, "--as-stored", "--output", tmp_path / "stored"], monkeypatch)
    stored = load_dataset(tmp_path / "stored", env)
    assert len(stored) == 30
    assert np.mean([e.total_reward for e in stored]) == pytest.approx(mean_return, rel=2e-3, abs=2e-3)
    if transitions:
        assert sum(map(len, stored)) == transitions
    if first_ten is not None:
        assert np.mean([e.total_reward for e in stored[:10]]) == pytest.approx(first_ten, rel=2e-3)
    assert all(e.terminations[-1] for e in stored), "the authors stored every end as terminal"

    run(["--env", env, "--llm", llm, "--source", AUTHORS, "--output", tmp_path / "aligned"], monkeypatch)
    aligned = load_dataset(tmp_path / "aligned", env)
    meta = json.loads((tmp_path / "aligned/meta.json").read_text())
    fixed_start = env in ("cliff-walking", "frozen-lake")
    assert meta["first_steps_dropped"] == (0 if fixed_start else 30)
    for a, s in zip(aligned, stored, strict=True):
        assert len(a) == len(s) - (not fixed_start)
        # the observation that the authors paired with an action is the one that follows it
        np.testing.assert_array_equal(a.observations[1:], s.observations[:-1][-len(a) :])
        np.testing.assert_array_equal(a.actions, s.actions[-len(a) :])
        if fixed_start:
            assert a.observations[0] == {"cliff-walking": 36, "frozen-lake": 0}[env]


# The rest of that table, and what a look at the files shows: mean return, mean length, decimals given, cut-offs.
MORE_FACTS = {
    ("cliff-walking", "qwen-7b"): (-738, 184, 26),
    ("cliff-walking", "qwen-32b"): (-3902, 186, 22),
    ("cliff-walking", "qwen-7b-typo"): (-480, 100, 30),
    ("cliff-walking", "qwen-32b-typo"): (-1727, 100, 30),
    ("cliff-walking", "qwen-7b-sft"): (-395, 200, 30),
    ("cliff-walking", "qwen-7b-sft-early"): (-210, 200, 30),
    ("frozen-lake", "qwen-7b"): (0.0, 6.9, 0),
    ("frozen-lake", "qwen-32b"): (0.0, 6.1, 0),
    ("frozen-lake", "deepseek-7b"): (0.033, 7.2, 0),
    ("frozen-lake", "deepseek-14b"): (0.033, 6.6, 0),
    ("frozen-lake", "qwen-7b-sft"): (0.0, 5.3, 0),
    ("mountain-car", "qwen-7b"): (-200, 200, 30),
    ("mountain-car", "qwen-32b"): (-100, 100, 30),
    ("pendulum", "qwen-7b"): (-309.8, 50, 30),
    ("pendulum", "qwen-32b"): (-301.6, 50, 30),
    ("pendulum", "qwen-7b-sft"): (-1366.7, 200, 30),
    ("represented-pong", "qwen-7b"): (-4.97, 200, 30),
}


def decimals(number):
    return len(str(number).partition(".")[2]) if isinstance(number, float) else 0


@with_data
@pytest.mark.parametrize(("env", "llm"), list(MORE_FACTS))
def test_both_pairings_keep_what_is_known_of_the_file(env, llm):
    mean_return, mean_length, cut_off = MORE_FACTS[env, llm]
    stored, meta = import_released.import_released(env, llm, AUTHORS, as_stored=True)
    aligned, aligned_meta = import_released.import_released(env, llm, AUTHORS, as_stored=False)
    assert np.mean([e.total_reward for e in stored]) == pytest.approx(
        mean_return, abs=0.51 / 10 ** decimals(mean_return)
    )
    assert np.mean([len(e) for e in stored]) == pytest.approx(mean_length, abs=0.51 / 10 ** decimals(mean_length))
    assert meta["cut_off_episodes"] == aligned_meta["cut_off_episodes"] == cut_off
    assert sum(e.truncations[-1] for e in aligned) == cut_off
    assert all(e.terminations[-1] and not e.truncations.any() for e in stored)
    assert meta["first_steps_dropped"] == 0 and (meta["pairing"], aligned_meta["pairing"]) == ("as stored", "aligned")
    space = envs.make(env).observation_space
    for episode in stored + aligned:
        assert episode.observations.dtype == (np.int64 if env in ("cliff-walking", "frozen-lake") else np.float32)
        assert episode.observations.shape[1:] == space.shape
        assert len(episode.observations) == len(episode) + 1 == len(episode.actions) + 1


@with_data
def test_every_digest_is_the_one_that_came_with_the_files():
    known = dict(reversed(line.split()) for line in (AUTHORS / "SHA256SUMS").read_text().splitlines())
    known = {Path(name).name: digest for name, digest in known.items()}
    rows = import_released.released_files()
    assert {row["file"]: row["sha256"] for row in rows} == {k: v for k, v in known.items() if "_Neps_30_2025" in k}


def offer(content, tmp_path, monkeypatch, env="cartpole"):
    """Put `content` where the program finds it as the released file of `env` and qwen-7b, digest and all."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file.pkl").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    table = tmp_path / "table.csv"
    table.write_text(f"env,llm,model,file,sha256,note\n{env},qwen-7b,a-model,file.pkl,{digest},a note\n")
    monkeypatch.setattr(import_released, "FILES", table)
    return tmp_path / "source"


@pytest.mark.parametrize(
    ("env_name", "horizon"), [("cartpole", 200), ("cartpole", 5), ("cliff-walking", 40), ("pendulum", 30)]
)
def test_episodes_that_were_really_played_come_back_as_they_were(env_name, horizon, tmp_path, monkeypatch):
    played, stored = [], []
    for seed in range(4):
        env = envs.make(env_name, horizon=horizon)
        env.action_space.seed(seed)
        observations, actions, rewards, ended, cut_off = [env.reset(seed=seed)[0]], [], [], False, False
        while not (ended or cut_off):
            actions.append(env.action_space.sample())
            observation, reward, ended, cut_off, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(float(reward))
        played.append((np.array(observations), np.array(actions), np.array(rewards), ended))
        stored.append((np.array(observations[1:]), np.array(actions).reshape(-1, 1), np.array(rewards)[:, None]))
    folder = offer(authors_pickle(stored), tmp_path, monkeypatch, env_name)

    start = 0 if env_name == "cliff-walking" else 1
    arguments = ["--env", env_name, "--llm", "qwen-7b", "--source", folder]
    run([*arguments, "--output", tmp_path / "aligned"], monkeypatch)
    for episode, (observations, actions, rewards, ended) in zip(
        load_dataset(tmp_path / "aligned", env_name), played, strict=True
    ):
        np.testing.assert_array_equal(episode.observations, observations[start:])
        np.testing.assert_array_equal(episode.actions, actions[start:])
        np.testing.assert_array_equal(episode.rewards, rewards[start:])
        assert (episode.terminations[-1], episode.truncations[-1]) == (ended, not ended)
        assert not episode.terminations[:-1].any() and not episode.truncations[:-1].any()

    run([*arguments, "--as-stored", "--output", tmp_path / "stored"], monkeypatch)
    for episode, (observations, actions, rewards, _) in zip(
        load_dataset(tmp_path / "stored", env_name), played, strict=True
    ):
        np.testing.assert_array_equal(episode.observations, [*observations[1:], observations[-1]])
        np.testing.assert_array_equal(episode.actions, actions)
        np.testing.assert_array_equal(episode.rewards, rewards)
        assert episode.terminations.tolist() == [False] * (len(rewards) - 1) + [True]
        assert not episode.truncations.any()

    meta = json.loads((tmp_path / "aligned/meta.json").read_text())
    expected = {
        "policy": "qwen-7b",
        "model": "a-model",
        "source_file": "file.pkl",
        "source_sha256": hashlib.sha256((folder / "file.pkl").read_bytes()).hexdigest(),
        "license": "MIT",
        "pairing": "aligned",
        "first_steps_dropped": 4 * start,
        "cut_off_episodes": sum(not ended for *_, ended in played),
    }
    assert {key: meta[key] for key in expected} == expected
    assert meta["commit"].startswith("2fb45b4") and meta["repository"].endswith("duongnhatthang/LlamaGym")


def swing(observation):
    return 2 if observation[1] >= 0 else 0


def along_the_cliff(cell):
    return {36: 0, 35: 2}.get(int(cell), 1)


@pytest.mark.parametrize(
    ("env_name", "policy", "episodes", "ends"),
    [
        ("cartpole", None, 20, 20),
        ("frozen-lake", None, 40, 40),
        ("mountain-car", swing, 2, 2),
        ("cliff-walking", along_the_cliff, 1, 1),
        ("cliff-walking", None, 3, 0),
        ("pendulum", None, 1, 0),
        ("represented-pong", lambda _: 0, 1, 1),
    ],
)
def test_an_end_is_told_from_the_last_observation_as_the_environment_tells_it(env_name, policy, episodes, ends):
    env = envs.make(env_name, horizon=0 if env_name == "represented-pong" else None)
    env.action_space.seed(0)
    ended = 0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            action = policy(observation) if policy else env.action_space.sample()
            observation, _, terminated, truncated, _ = env.step(action)
            assert import_released.is_terminal(env_name, observation) == terminated
        ended += terminated
    assert ended == ends


@with_data
def test_ends_are_what_the_environment_says():
    cliff, _ = import_released.import_released("cliff-walking", "qwen-7b", AUTHORS, as_stored=False)
    for episode in cliff:
        assert episode.terminations[-1] == (episode.observations[-1] == 47) == (len(episode) < 200)
    for env, llm in (("pendulum", "qwen-7b"), ("mountain-car", "qwen-32b"), ("represented-pong", "qwen-7b")):
        episodes, meta = import_released.import_released(env, llm, AUTHORS, as_stored=False)
        assert all(e.truncations[-1] and not e.terminations.any() for e in episodes)
        assert meta["cut_off_episodes"] == 30
    cartpole, _ = import_released.import_released("cartpole", "qwen-7b", AUTHORS, as_stored=False)
    lake, _ = import_released.import_released("frozen-lake", "qwen-7b", AUTHORS, as_stored=False)
    assert all(e.terminations[-1] for e in cartpole + lake)


@with_data
def test_published_runs_sum_to_the_published_numbers(tmp_path, monkeypatch):
    published = AUTHORS.parent / "published" / "cumulative_rewards.csv"
    if not published.exists():
        pytest.skip("the table of published numbers is not here")
    run(["--source", AUTHORS, "--output", tmp_path], monkeypatch, import_published)
    names = {
        "7b": "qwen-7b",
        "32b": "qwen-32b",
        "7b-sft": "qwen-7b-sft",
        "ds-7b": "deepseek-7b",
        "ds-14b": "deepseek-14b",
    }
    environments = {name: env for env, name in import_published.NAMES.items()}
    checked = set()
    for line in published.read_text().splitlines()[1:]:
        name, arm, llm, tau, steps, _, _, _, *repeats = line.split(",")
        if arm == "llm-policy" or (arm == "online" and tau != "10"):
            continue
        details = [arm, names.get(llm, ""), f"tau{tau}", f"n{steps}" if steps else ""]
        file = "online" if arm == "online" else "_".join(filter(None, details))
        sums = np.zeros(5)
        for row in (tmp_path / environments[name] / f"{file}.csv").read_text().splitlines()[1:]:
            cells = row.split(",")
            sums[int(cells[0]) + int(cells[1])] += float(cells[5])
        np.testing.assert_allclose(sums, [float(x) for x in repeats], atol=0.051, err_msg=f"{name} {file}")
        checked.add((environments[name], file))
    assert checked == {(path.parent.name, path.stem) for path in tmp_path.glob("*/*.csv")}


class Tries:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def malicious(path, payload):
    path.write_bytes(pickle.dumps(payload))
    return path


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Tries(os.system, "touch /tmp/loro-was-here"), "system"),
        (Tries(eval, "1 + 1"), "builtins.eval"),
        (Tries(getattr, "text", "upper"), "builtins.getattr"),
        (Tries(np.load, "x"), "load"),
        (Tries(np.frombuffer, b"12345678", np.dtype("f8")), "numpy.frombuffer"),
        (Tries(shutil.rmtree, "/nonexistent"), "shutil.rmtree"),
        ({"fine": np.arange(3), "hidden": [Tries(exec, "raise SystemExit")]}, "builtins.exec"),
    ],
)
def test_a_pickle_that_wants_more_than_data_is_refused_by_name(payload, name, tmp_path):
    path = malicious(tmp_path / "bad.pkl", payload)
    with pytest.raises(Failure, match="is refused") as refused:
        import_released.load_released_pickle(path)
    assert name in str(refused.value)
    assert not Path("/tmp/loro-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"cos\nsystem\n", b"P1\n.", b"\x80\x05N", b"not a pickle"])
def test_a_damaged_pickle_is_a_failure_not_a_crash(content, tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(Failure):
        import_released.load_released_pickle(path)


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def dtype(code):
    return b"cnumpy\ndtype\n(" + text(code) + b"\x89\x88tR"


# numpy lets the state of a dtype deny that its items are objects; eight bytes of the file are then taken for a pointer.
OBJECTS_DENIED = dtype("O8") + b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
NEW_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
FALSE_POINTER = b"C\x08ABCDEFGH"
EPISODE = b"cd3rlpy.dataset.components\nEpisode\n"

CRAFTED = {
    "an array of objects from bytes": NEW_ARRAY + b"(K\x01(K\x01t" + OBJECTS_DENIED + b"\x89" + FALSE_POINTER + b"tb",
    "an array of objects from a list": NEW_ARRAY + b"(K\x01(K\x01t" + dtype("O8") + b"\x89]tb",
    "one object from bytes": b"cnumpy.core.multiarray\nscalar\n(" + OBJECTS_DENIED + FALSE_POINTER + b"tR",
    "a structured dtype": dtype("V8"),
    "a length beyond the bytes": NEW_ARRAY + b"(K\x01(K\x09t" + dtype("i8") + b"\x89" + FALSE_POINTER + b"tb",
    "a negative length": NEW_ARRAY + b"(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft" + dtype("i1") + b"\x89C\x01Atb",
    "a dtype that is a record": NEW_ARRAY + b"(K\x01(K\x01t" + EPISODE + b")\x81}" + text("numpy") + text("O") + b"sb"
    b"\x89" + FALSE_POINTER + b"tb",
    "attributes of the class": EPISODE + b"(N}" + text("poisoned") + b"K\x01stb",
    "the class's own state": EPISODE + b"}" + text("__init__") + EPISODE + b"sb",
    "attributes of a function": b"cnumpy.core.multiarray\nscalar\n(N}" + text("poisoned") + b"K\x01stb",
    "an outside object": b"Pfile\n",
    "a registered extension": b"\x82\x01",
    "an attribute by a dotted name": b"\x8c\x19d3rlpy.dataset.components\x8c\x10Episode.__init__\x93",
}


@pytest.mark.parametrize("what", list(CRAFTED))
def test_a_crafted_state_does_nothing(what, tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"\x80\x04" + CRAFTED[what] + b".")
    with pytest.raises(Failure, match=r"bad\.pkl is (refused|damaged)"):
        import_released.load_released_pickle(path)
    assert not any(hasattr(stand_in, "poisoned") for stand_in in import_released.HARMLESS.values())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("code", ["<f4", ">f8", "<i8", "|b1", "|u1"])
def test_arrays_come_out_as_they_went_in(code, order, tmp_path):
    array = np.asarray(np.arange(12).reshape(3, 4) % 7, dtype=code, order=order)
    content = {"array": array, "empty": array[:0], "scalar": array.dtype.type(1)}
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(content, protocol=4))
    loaded = import_released.load_released_pickle(tmp_path / "data.pkl")
    for name in ("array", "empty"):
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == content[name].shape
        np.testing.assert_array_equal(loaded[name], content[name])
    assert loaded["scalar"] == 1 and loaded["scalar"].dtype == content["scalar"].dtype


def test_d3rlpy_objects_become_inert_records(tmp_path):
    source = b"\x80\x02cd3rlpy.dataset.components\nEpisode\n)\x81}X\x03\x00\x00\x00agei\x00".replace(
        b"agei\x00", b"ageK\x05"
    )
    (tmp_path / "record.pkl").write_bytes(source + b"sb.")
    record = import_released.load_released_pickle(tmp_path / "record.pkl")
    assert type(record) is import_released.Record and record.age == 5
    (tmp_path / "other.pkl").write_bytes(b"\x80\x02cd3rlpy.algos\nload_learnable\n.")
    with pytest.raises(Failure, match=r"d3rlpy\.algos\.load_learnable"):
        import_released.load_released_pickle(tmp_path / "other.pkl")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("envs.downloads.WAIT", 0)


def bad(arguments, status, words, tmp_path, monkeypatch, capsys):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as exit_info:
        run([*arguments, "--output", tmp_path / "out"], monkeypatch)
    message = capsys.readouterr().err.strip()
    assert exit_info.value.code == status, message
    assert message.startswith("error: ") and len(message.splitlines()) == 1 and words in message, message
    assert sorted(tmp_path.rglob("*")) == before, "nothing may be left behind"


def test_bad_requests_are_one_sentence(tmp_path, monkeypatch, capsys):
    row = import_released.released_file("cartpole", "qwen-7b")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / row["file"]).write_bytes(b"tampered")
    (tmp_path / "empty").mkdir()
    cartpole = ["--env", "cartpole", "--llm", "qwen-7b"]
    cases = [
        (["--env", "chess", "--llm", "qwen-7b"], 2, "chess"),
        (["--env", "cartpole", "--llm", "gpt"], 2, "qwen-7b"),
        ([*cartpole, "--source", tmp_path / "wrong"], 1, "SHA-256"),
        ([*cartpole, "--source", tmp_path / "empty"], 2, "--source"),
    ]
    for arguments, status, words in cases:
        bad(arguments, status, words, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(Tries(os.system, "touch /tmp/loro-was-here")), "system, which is not array data"),
        (b"cos\nsystem\n(Vtouch /tmp/loro-was-here\ntR.", "os.system"),
        (pickle.dumps(Tries(eval, "1 + 1")), "builtins.eval"),
        (b"\x80\x02cnumpy\nload\n(Vx\ntR.", "numpy.load"),
        (b"\x80\x02cd3rlpy.algos\nload_learnable\n.", "d3rlpy.algos.load_learnable"),
        (authors_pickle([(np.zeros((3, 4), np.float32), np.zeros((3, 1), int), np.ones((3, 1)))])[:-40], "damaged"),
        (b"\x80\x04" + CRAFTED["an array of objects from bytes"] + b".", "not numbers"),
    ],
)
def test_a_bad_pickle_ends_the_program_with_one_sentence(content, words, tmp_path, monkeypatch, capsys):
    folder = offer(content, tmp_path, monkeypatch)
    bad(["--env", "cartpole", "--llm", "qwen-7b", "--source", folder], 1, words, tmp_path, monkeypatch, capsys)
    assert not Path("/tmp/loro-was-here").exists()


def test_a_folder_that_is_no_dataset_is_not_replaced(tmp_path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    bad(["--env", "cartpole", "--llm", "qwen-7b", "--source", tmp_path], 2, "no dataset", tmp_path, monkeypatch, capsys)
    assert (tmp_path / "out" / "thesis.txt").exists()


@with_data
def test_another_dataset_is_not_replaced(tmp_path, monkeypatch, capsys):
    there = ["--source", AUTHORS, "--output", tmp_path / "out"]
    run(["--env", "frozen-lake", "--llm", "qwen-7b", *there], monkeypatch)
    before = (tmp_path / "out/meta.json").read_bytes()
    run(["--env", "frozen-lake", "--llm", "qwen-7b", *there], monkeypatch)  # the same again is no other
    for other in (["--llm", "qwen-32b"], ["--llm", "qwen-7b", "--as-stored"]):
        with pytest.raises(SystemExit) as exit_:
            run(["--env", "frozen-lake", *other, *there], monkeypatch)
        assert exit_.value.code == 2 and "holds another dataset" in capsys.readouterr().err
    assert (tmp_path / "out/meta.json").read_bytes() == before


def test_a_file_is_downloaded_once(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LORO_AUTHORS_DATA", raising=False)
    content = authors_pickle([(np.zeros((3, 4), np.float32), np.zeros((3, 1), int), np.ones((3, 1)))])
    folder = offer(content, tmp_path, monkeypatch)
    repository = tmp_path / "repository"
    there = repository / "raw" / import_released.COMMIT / "data" / "file.pkl"
    there.parent.mkdir(parents=True)
    monkeypatch.setattr(import_released, "REPOSITORY", repository.as_uri())
    (tmp_path / "cache").mkdir()
    arguments = ["--env", "cartpole", "--llm", "qwen-7b", "--download", tmp_path / "cache"]

    there.write_bytes(content[:100])  # cut off on the way
    bad(arguments, 1, "SHA-256", tmp_path, monkeypatch, capsys)
    there.unlink()
    bad(arguments, 1, "--source", tmp_path, monkeypatch, capsys)

    shutil.move(folder / "file.pkl", there)
    run([*arguments, "--output", tmp_path / "first"], monkeypatch)
    shutil.rmtree(repository)
    run([*arguments, "--output", tmp_path / "second"], monkeypatch)
    assert len(load_dataset(tmp_path / "second", "cartpole")) == 1
    (tmp_path / "cache" / "file.pkl").write_bytes(b"changed")
    bad(arguments, 1, "SHA-256", tmp_path, monkeypatch, capsys)


def test_without_a_folder_and_without_a_network_the_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LORO_AUTHORS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_released, "REPOSITORY", "http://127.0.0.1:9/nobody")
    with pytest.raises(SystemExit) as exit_info:
        run(["--env", "cartpole", "--llm", "qwen-7b", "--output", tmp_path / "out"], monkeypatch)
    message = capsys.readouterr().err
    assert exit_info.value.code == 1 and "LORO_AUTHORS_DATA" in message and len(message.strip().splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_released_file_is_of_a_known_environment():
    lines = import_released.FILES.read_text().splitlines()
    assert lines[0] == "env,llm,model,file,sha256,episode_limit,note"
    keys = [tuple(line.split(",")[:2]) for line in lines[1:]]
    assert len(keys) == len(set(keys)) and {env for env, _ in keys} <= set(envs.ENVIRONMENTS)


@with_data
@pytest.mark.parametrize(("env", "llm"), [(row["env"], row["llm"]) for row in import_released.released_files()])
def test_episode_limits_are_those_of_the_files(env, llm):
    """Where nothing ends by itself, or hardly anything does, all episodes of an LLM are as long as they may be."""
    episodes, _ = import_released.import_released(env, llm, AUTHORS, as_stored=True)
    longest = max(map(len, episodes))
    limit = import_released.episode_limits(env)[llm]
    assert longest <= (limit or envs.get(env).horizon)
    if env in ("mountain-car", "pendulum", "represented-pong"):
        assert longest == (limit or envs.get(env).horizon)
