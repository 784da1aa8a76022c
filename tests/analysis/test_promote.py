"""What may be shipped: runs that hold what their names promise, episodes that their transcripts tell."""

import gzip
import json
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

import envs
from analysis import coverage, promote
from envs.datasets import Episode, save_dataset
from envs.errors import Failure


def promote_tree(monkeypatch, tree):
    monkeypatch.setattr(sys, "argv", ["promote", f"--tree={tree}", f"--to={tree / 'shipped'}"])
    promote.main()
    return {path.relative_to(tree / "shipped").as_posix() for path in (tree / "shipped").rglob("*") if path.is_file()}


def make_run(tree, seeds=2, **changes):
    path = write_run(tree, "paper", "frozen-lake", "online", np.zeros((seeds, 1, 150)))
    arguments = {"env": "frozen-lake", "protocol": "paper", "arm": "online", "seeds": 2, "carry_over": 1}
    description = {"arguments": {**arguments, **changes}, "versions": {"torch": "2"}}
    path.with_suffix(".json").write_text(json.dumps(description))
    return path


def make_dataset(tree, policy, actions, told=None, **meta):
    env = envs.make("frozen-lake")
    observations = [env.reset(seed=0)[0]]
    steps = [env.step(action)[:4] for action in actions]
    observations += [step[0] for step in steps]
    ends = np.zeros((2, len(actions)), dtype=bool)
    ends[1, -1] = True
    episode = Episode(np.array(observations), np.array(actions), np.array([step[1] for step in steps]), *ends)
    rows = [{"episode": 0, "step": t, "action": action} for t, action in enumerate(told or actions)]
    lines = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    folder = tree / "results/datasets/frozen-lake" / policy
    save_dataset(folder, "frozen-lake", [episode], {"policy": policy, **meta}, {"transcripts.jsonl.gz": lines})
    return folder


@pytest.mark.parametrize("damage", ["seeds", "no .json", "short", "torch"])
def test_replications_are_checked_like_runs(monkeypatch, tmp_path, damage):
    make_run(tmp_path)
    again = make_run(tmp_path / "again").rename(tmp_path / "moved.csv")
    described = (tmp_path / "again/results/runs/paper/frozen-lake/online.json").read_text()
    folder = tmp_path / "results/replications/paper/frozen-lake"
    folder.mkdir(parents=True)
    content = json.loads(described)
    lines = again.read_text().splitlines(keepends=True)
    if damage == "seeds":
        content["arguments"]["seeds"] = 3
    if damage == "torch":
        content["versions"]["torch"] = "1"
    if damage == "short":  # 20 iterations, whatever the .json says of it
        lines = [lines[0], *(line for line in lines[1:] if int(line.split(",")[2]) < 20)]
        content["arguments"]["iterations"] = 20
    (folder / "online.csv").write_text("".join(lines))
    if damage != "no .json":
        (folder / "online.json").write_text(json.dumps(content))
    sentence = {
        "seeds": "was made with 3",
        "no .json": "has no .json",
        "short": "should have 300 rows",
        "torch": "torch 1",
    }
    with pytest.raises(Failure, match=sentence[damage]):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_sound_products_are_copied(monkeypatch, tmp_path):
    make_run(tmp_path)
    make_dataset(tmp_path, "llm", [0, 1, 0], decision={"decide": "score"})
    make_dataset(tmp_path, "imported", [0, 1])
    (tmp_path / "results" / "audit.md").write_text("found")
    shipped = promote_tree(monkeypatch, tmp_path)
    assert {f"results/runs/paper/frozen-lake/online.{suffix}" for suffix in ("csv", "json")} <= shipped
    assert "results/audit.md" in shipped
    assert {f"results/datasets/frozen-lake/llm/{name}" for name in ("meta.json", "data/main_data.hdf5")} <= shipped
    assert not any("imported" in name for name in shipped)  # the authors' own, not ours to ship


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"env": "cartpole"}, "was made in cartpole"),
        ({"protocol": "released"}, "was made as released/online"),
        ({"arm": "mix"}, "was made as paper/mix"),
        ({"seeds": 3}, "has seeds 3, and was made with 2"),
    ],
)
def test_a_run_that_is_not_what_its_name_says_is_refused(monkeypatch, tmp_path, changes, sentence):
    make_run(tmp_path, **changes)
    with pytest.raises(Failure, match=sentence):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_a_run_of_code_that_no_commit_has_is_refused(monkeypatch, tmp_path):
    described = make_run(tmp_path).with_suffix(".json")
    content = json.loads(described.read_text())
    resumed = {"resumed_with": [{"git_commit": "f" * 40, "git_changed": ["envs/pong.py"]}]}
    for code, name in (({"git_changed": ["algos/dqn.py"]}, "algos/dqn.py"), (resumed, "envs/pong.py")):
        described.write_text(json.dumps(content | code))
        with pytest.raises(Failure, match=rf"code that no commit has \({name}\)"):
            promote_tree(monkeypatch, tmp_path)
    described.write_text(json.dumps(content | {"git_changed": [], "resumed_with": []}))
    assert "results/runs/paper/frozen-lake/online.csv" in promote_tree(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "results/datasets/frozen-lake/qwen-32b"}, "was made with dataset qwen-32b"),
        ({"tau": 20}, "was made with tau 20"),
        ({"pretrain_steps": 1000}, "was made with pretrain_steps 1000"),
        ({"gamma": 0.9}, "was made with gamma"),
    ],
)
def test_a_warm_start_is_from_the_data_and_settings_in_its_name(monkeypatch, tmp_path, changes, sentence):
    make_run(tmp_path, gamma=0.99)
    path = write_run(tmp_path, "paper", "frozen-lake", "loro_qwen-7b_tau10_n3000", np.zeros((2, 1, 150)))
    told = {"env": "frozen-lake", "protocol": "paper", "arm": "loro", "seeds": 2, "carry_over": 1, "gamma": 0.99}
    told |= {"dataset": "somewhere/qwen-7b", "tau": 10, "pretrain_steps": 3000}
    for arguments, refused in ((told, False), ({**told, **changes}, True)):
        path.with_suffix(".json").write_text(json.dumps({"arguments": arguments, "versions": {"torch": "2"}}))
        if refused:
            with pytest.raises(Failure, match=sentence):
                promote_tree(monkeypatch, tmp_path)
        else:
            assert "results/runs/paper/frozen-lake/loro_qwen-7b_tau10_n3000.csv" in promote_tree(monkeypatch, tmp_path)


def test_episodes_that_their_transcript_does_not_tell_are_refused(monkeypatch, tmp_path):
    make_run(tmp_path)
    make_dataset(tmp_path, "llm", [0, 1, 0], told=[0, 1, 2], decision={})
    with pytest.raises(Failure, match="does not tell what was played"):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_what_was_measured_of_final_policies_joins_what_is_shipped(monkeypatch, tmp_path):
    """The networks of earlier runs are gone: their rows stay, but for those that were measured again."""

    def rows(**coverages):
        columns = dict.fromkeys(coverage.COLUMNS, 1)
        return pd.DataFrame(
            [columns | {"env": "frozen-lake", "policy": name, "coverage": value} for name, value in coverages.items()]
        )

    make_run(tmp_path)
    for folder, table in (("results", rows(online=0.5, mix=0.25)), ("shipped/results", rows(online=0.75, loro=1.0))):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        table.to_csv(tmp_path / folder / "coverage.csv", index=False)
    assert "results/coverage.csv" in promote_tree(monkeypatch, tmp_path)
    joined = coverage.read_measured(tmp_path / "shipped/results/coverage.csv")
    assert dict(zip(joined.policy, joined.coverage, strict=True)) == {"loro": 1.0, "mix": 0.25, "online": 0.5}
