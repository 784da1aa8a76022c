"""The authors' pickles: what comes out, and what is refused."""

import hashlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import envs
from analysis import import_published, import_released
from envs.datasets import load_dataset
from envs.errors import Failure, run_command_line

AUTHORS = Path(os.environ.get("LORO_AUTHORS_DATA", Path(__file__).parents[3] / "shared" / "authors-data"))
with_data = pytest.mark.skipif(not AUTHORS.is_dir(), reason="the authors' data is not here (LORO_AUTHORS_DATA)")


def run(arguments, monkeypatch, module=import_released):
    monkeypatch.setattr(sys, "argv", ["import", *map(str, arguments)])
    run_command_line(module.main)


# Mean return and number of transitions of all 30 episodes, and the mean return of the first ten: papers' notes A7.
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
    rows = [line.split(",") for line in published.read_text().splitlines()[1:]]
    for env, name in import_published.NAMES.items():
        for arm, file in (
            ("online", "online"),
            ("loro", "loro_qwen-7b_tau10_n3000"),
            ("mix", "mix_qwen-7b_tau10"),
        ):
            wanted = {"online": ("", "10", ""), "loro": ("7b", "10", "3000"), "mix": ("7b", "10", "")}[arm]
            (row,) = [r for r in rows if r[0] == name and r[1] == arm and tuple(r[2:5]) == wanted]
            sums = np.zeros(5)
            for line in (tmp_path / env / f"{file}.csv").read_text().splitlines()[1:]:
                cells = line.split(",")
                sums[int(cells[1])] += float(cells[5])
            np.testing.assert_allclose(sums, [float(x) for x in row[8:13]], atol=0.051)


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


def test_without_a_folder_and_without_a_network_the_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LORO_AUTHORS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_released, "REPOSITORY", "http://127.0.0.1:9/nobody")
    with pytest.raises(SystemExit) as exit_info:
        run(["--env", "cartpole", "--llm", "qwen-7b", "--output", tmp_path / "out"], monkeypatch)
    message = capsys.readouterr().err
    assert exit_info.value.code == 1 and "LORO_AUTHORS_DATA" in message and len(message.strip().splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_download_is_checked_and_kept_only_when_right(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"episodes")
    with pytest.raises(Failure, match="SHA-256"):
        import_released.download(source.as_uri(), tmp_path / "got.bin", "0" * 64)
    assert not (tmp_path / "got.bin").exists()

    digest = hashlib.sha256(b"episodes").hexdigest()
    import_released.download(source.as_uri(), tmp_path / "got.bin", digest)
    assert (tmp_path / "got.bin").read_bytes() == b"episodes"


def test_every_released_file_is_of_a_known_environment():
    lines = import_released.FILES.read_text().splitlines()
    assert lines[0] == "env,llm,model,file,sha256,note"
    keys = [tuple(line.split(",")[:2]) for line in lines[1:]]
    assert len(keys) == len(set(keys)) and {env for env, _ in keys} <= set(envs.ENVIRONMENTS)
