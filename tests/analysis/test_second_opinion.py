"""The authors' procedure in d3rlpy: what is handed to it, and what is made of its answers. A stand-in answers here."""

import csv
import hashlib
import json
import sys

import numpy as np
import pytest

from analysis import second_opinion
from envs.datasets import Episode
from envs.errors import run_command_line

STAND_IN = """\
#!{python}
import json, sys
if "-c" in sys.argv:
    print("1.2.3")
    sys.exit()
env, arm, data, *options = sys.argv[4:]
asked = dict(zip(options[::2], map(int, options[1::2])))
with open({log!r}, "a") as log:
    log.write(json.dumps([env, arm, asked]) + chr(10))
if asked["--seed"] == {fails}:
    sys.exit("Traceback\\nRuntimeError: out of luck")
for repeat in range(asked["--repeats"]):
    for iteration in range(asked["--iterations"]):
        print(repeat, iteration, 100 * asked["--seed"] + 10 * repeat + iteration)
"""


def episode(observations, last):
    steps = len(observations)
    ends = np.arange(steps) == steps - 1
    return Episode(
        np.array([*observations, observations[-1]]), np.arange(steps), np.full(steps, float(last)), ends, ~ends & ends
    )


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """Return a function that writes the stand-in, failing for one seed, and the path of what it was asked."""
    played = [episode([3, 1], 5), episode([0, 2, 2], 7), episode([1], 9)]
    meta = {"returns_as_stored": [10.0, 21.0, 9.0], "source_sha256": "abc"}
    monkeypatch.setattr(second_opinion, "import_released", lambda *_, **__: (played, meta))
    log = tmp_path / "asked"

    def write(fails=-1):
        (tmp_path / "python").write_text(STAND_IN.format(python=sys.executable, log=str(log), fails=fails))
        (tmp_path / "python").chmod(0o755)
        return log

    return write


def run(tmp_path, monkeypatch, *arguments):
    output = tmp_path / "out" / "answer.csv"
    fixed = ["--env", "frozen-lake", "--tau", "2", "--peer-python", tmp_path / "python", "--output", output]
    monkeypatch.setattr(sys, "argv", ["second_opinion", *map(str, fixed), *map(str, arguments)])
    run_command_line(second_opinion.main)
    with output.open() as file:
        return list(csv.DictReader(file)), json.loads(output.with_suffix(".json").read_text())


def test_chains_become_rows_behind_the_llm_s_warm_up(tmp_path, peer, monkeypatch):
    log = peer()
    rows, told = run(tmp_path, monkeypatch, "--arm", "loro", "--chains", 2, "--iterations", 5)
    found = {(int(r["seed"]), int(r["repeat"]), int(r["iteration"])): float(r["eval_return"]) for r in rows}
    assert len(rows) == len(found) == 2 * 5 * 5
    for (seed, repeat, iteration), value in found.items():
        learnt = 100 * seed + 10 * repeat + iteration - 2
        assert value == pytest.approx(learnt if iteration >= 2 else 40 / 3)  # the mean over all that were collected
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    numbers = {"--repeats": 5, "--iterations": 3, "--pretrain-steps": 3000}
    assert asked == [["frozen-lake", "loro", {"--seed": seed, **numbers}] for seed in (0, 1)]
    assert told["versions"] == {"d3rlpy": "1.2.3"} and told["arguments"]["chains"] == 2
    assert told["csv_sha256"] == hashlib.sha256((tmp_path / "out" / "answer.csv").read_bytes()).hexdigest()
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["answer.csv", "answer.json"]
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, "--arm", "loro", "--chains", 2, "--iterations", 5)
    assert stopped.value.code == 2 and len(log.read_text().splitlines()) == 2, "what is there is not trained again"


def test_agents_of_other_arms_are_seeds_and_online_rl_has_no_warm_up(tmp_path, peer, monkeypatch):
    peer()
    rows, _ = run(tmp_path, monkeypatch, "--arm", "online", "--chains", 2, "--iterations", 4)
    assert [(r["seed"], r["repeat"]) for r in rows[::4]] == [(str(seed), "0") for seed in range(10)]
    assert [float(r["eval_return"]) for r in rows[-4:]] == [140, 141, 142, 143]


def test_chains_of_other_seeds_and_fewer_repeats(tmp_path, peer, monkeypatch):
    log = peer()
    rows, _ = run(tmp_path, monkeypatch, "--chains", 2, "--iterations", 3, "--first-seed", 20, "--repeats", 2)
    assert [(r["seed"], r["repeat"]) for r in rows[::3]] == [("20", "0"), ("20", "1"), ("21", "0"), ("21", "1")]
    assert [float(r["eval_return"]) for r in rows[2::3]] == [2000, 2010, 2100, 2110]
    asked = [json.loads(line)[2] for line in log.read_text().splitlines()]
    assert [(one["--seed"], one["--repeats"]) for one in asked] == [(20, 2), (21, 2)]


def test_what_is_finished_is_kept_when_a_chain_fails(tmp_path, peer, monkeypatch, capsys):
    log = peer(fails=1)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, "--chains", 2, "--iterations", 5)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 1 and message.endswith("failed: RuntimeError: out of luck.")
    assert not (tmp_path / "out" / "answer.csv").exists()
    peer()
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, "--chains", 2, "--iterations", 6)
    assert stopped.value.code == 2 and "begun with other arguments" in capsys.readouterr().err
    rows, _ = run(tmp_path, monkeypatch, "--chains", 2, "--iterations", 5)
    seeds = [json.loads(line)[2]["--seed"] for line in log.read_text().splitlines()]
    assert seeds == [0, 1, 1] and len(rows) == 50


def test_episodes_are_handed_over_as_the_authors_paired_them(tmp_path):
    path = tmp_path / "episodes.npz"
    second_opinion.write_episodes(path, "frozen-lake", [episode([3, 1], 5), episode([0, 2, 2], 7)])
    with np.load(path) as arrays:
        assert arrays["observations"].shape == (5, 16)
        assert arrays["observations"].argmax(1).tolist() == [3, 1, 0, 2, 2] and arrays["observations"].sum() == 5
        assert arrays["actions"].tolist() == [0, 1, 0, 1, 2] and arrays["rewards"].tolist() == [5, 5, 7, 7, 7]
        assert arrays["terminals"].tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--iterations", "2"], 2, "--iterations 2 must exceed --tau 2"),
        (["--repeats", "0"], 2, "must be at least 1"),
        (["--first-seed", "-1"], 2, "--first-seed at least 0"),
        (["--chains", "0"], 2, "must be at least 1"),
        (["--iterations", "0"], 2, "--iterations 0 must exceed"),
        (["--tau", "4"], 2, "there are only 3 episodes of qwen-7b in frozen-lake"),
        (["--peer-python", "nowhere/python"], 2, "does not exist"),
        (["--peer-python", "/bin/false"], 1, "has no d3rlpy"),
    ],
)
def test_bad_input_is_one_sentence(arguments, code, words, tmp_path, peer, monkeypatch, capsys):
    peer()
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, *arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == code and words in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()
