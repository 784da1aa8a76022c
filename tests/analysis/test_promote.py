"""What may be shipped: runs that hold what their names promise, episodes that their transcripts tell."""

import gzip
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

import envs
from analysis import coverage, promote
from envs.datasets import Episode, episodes_sha256, read_meta, save_dataset
from envs.errors import Failure, UsageError


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


WARM = "loro_qwen-7b_tau10_n3000"


def make_warm_start(tree, protocol="paper", repeats=1, iterations=150, env="frozen-lake", algorithm=None, **changes):
    """Write a run of LORO and its .json."""
    path = write_run(tree, protocol, env, WARM, np.zeros((2, repeats, iterations)))
    told = {"env": env, "protocol": protocol, "arm": "loro", "seeds": 2, "carry_over": repeats}
    told |= {"dataset": "somewhere/qwen-7b", "tau": 10, "pretrain_steps": 3000, **changes}
    description = {"arguments": told, "versions": {"torch": "2"}, "algorithm": algorithm}
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


@pytest.mark.parametrize("damage", ["seeds", "no .json", "no arguments", "short", "torch"])
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
    if damage == "no arguments":
        del content["arguments"]
    if damage == "short":  # 20 iterations, whatever the .json says of it
        lines = [lines[0], *(line for line in lines[1:] if int(line.split(",")[2]) < 20)]
        content["arguments"]["iterations"] = 20
    (folder / "online.csv").write_text("".join(lines))
    if damage != "no .json":
        (folder / "online.json").write_text(json.dumps(content))
    sentence = {
        "seeds": "was made with 3",
        "no .json": "has no .json",
        "no arguments": "has no .json",
        "short": "should have 300 rows",
        "torch": "torch 1",
    }
    with pytest.raises(Failure, match=sentence[damage]):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_sound_products_are_copied(monkeypatch, tmp_path):
    make_run(tmp_path)
    collected = make_dataset(tmp_path, "llm", [0, 1, 0], decision={"decide": "score"})
    make_dataset(tmp_path, "imported", [0, 1])
    for name in ("audit.md", "audit.csv"):
        (tmp_path / "results" / name).write_text("found")
    for folder in ("replications/paper/frozen-lake", "reference"):
        for path in make_run(tmp_path / "again").parent.iterdir():
            (tmp_path / "results" / folder).mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "results" / folder / path.name)
    shipped = promote_tree(monkeypatch, tmp_path)
    assert {f"results/runs/paper/frozen-lake/online.{suffix}" for suffix in ("csv", "json")} <= shipped
    assert {"results/audit.md", "results/audit.csv"} <= shipped
    beside = {"results/replications/paper/frozen-lake/online", "results/reference/online"}
    assert {f"{name}.{suffix}" for name in beside for suffix in ("csv", "json")} <= shipped
    assert {f"results/datasets/frozen-lake/llm/{name}" for name in ("meta.json", "data/main_data.hdf5")} <= shipped
    assert not any("imported" in name for name in shipped)  # the authors' own, not ours to ship
    packed, told = read_meta(tmp_path / "shipped/results/datasets/frozen-lake/llm"), read_meta(collected)
    assert packed["sha256"] != told["sha256"] == episodes_sha256(packed), "runs on either name the same episodes"


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
    assert not (tmp_path / "shipped").exists()
    for sound in ({"git_changed": [], "resumed_with": []}, {"git_changed": None}):  # None: outside a repository
        described.write_text(json.dumps(content | sound))
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
    make_warm_start(tmp_path, gamma=0.99)
    assert f"results/runs/paper/frozen-lake/{WARM}.csv" in promote_tree(monkeypatch, tmp_path)
    make_warm_start(tmp_path, **{"gamma": 0.99, **changes})
    with pytest.raises(Failure, match=sentence):
        promote_tree(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "untold", ["env", "protocol", "arm", "seeds", "carry_over", "tau", "pretrain_steps", "dataset"]
)
def test_a_run_whose_description_leaves_out_what_its_name_promises_is_refused(monkeypatch, tmp_path, untold):
    described = make_warm_start(tmp_path).with_suffix(".json")
    content = json.loads(described.read_text())
    del content["arguments"][untold]
    described.write_text(json.dumps(content))
    with pytest.raises(Failure, match=f"does not say its {untold}"):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


@pytest.mark.parametrize("iterations", [149, 151])
def test_a_run_of_more_or_fewer_iterations_than_the_environment_has_is_refused(monkeypatch, tmp_path, iterations):
    make_warm_start(tmp_path, "released", repeats=5)
    assert f"results/runs/released/frozen-lake/{WARM}.csv" in promote_tree(monkeypatch, tmp_path)
    make_warm_start(tmp_path, "released", repeats=5, iterations=iterations)
    with pytest.raises(Failure, match=f"should have {2 * 5 * 150} rows and has {2 * 5 * iterations}"):
        promote_tree(monkeypatch, tmp_path)


def test_a_policy_that_does_not_learn_needs_no_settings(monkeypatch, tmp_path):
    """Its description names neither an arm nor seeds, and it may be played with newer versions."""
    make_run(tmp_path, gamma=0.99)
    policy = write_run(tmp_path, "paper", "frozen-lake", "random-policy", np.zeros((1, 1, 7)), 9)
    policy.with_suffix(".json").write_text(
        json.dumps({"arguments": {"env": "frozen-lake"}, "versions": {"torch": "3"}})
    )
    assert "results/runs/paper/frozen-lake/random-policy.csv" in promote_tree(monkeypatch, tmp_path)


SHARED = ["gamma", "epsilon", "learning_rate", "batch_size", "buffer_size", "hidden_size", "iteration_steps"]
SHARED += ["smoothing"]


@pytest.mark.parametrize("name", SHARED)
def test_the_runs_of_one_learner_in_one_environment_share_their_settings(monkeypatch, tmp_path, name):
    make_warm_start(tmp_path, **{name: 1})
    make_warm_start(tmp_path, "released", **{name: 2})
    with pytest.raises(Failure, match=rf"was made with {name} 2, .* with 1\."):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_other_environments_and_other_learners_have_settings_of_their_own(monkeypatch, tmp_path):
    for protocol, env, algorithm, gamma in (
        ("paper", "frozen-lake", "dqn", 0.9),
        ("released", "frozen-lake", "ppo", 0.8),
        ("paper", "cartpole", "dqn", 0.7),
    ):
        make_warm_start(tmp_path, protocol, env=env, algorithm=algorithm, gamma=gamma)
    shipped = promote_tree(monkeypatch, tmp_path)
    assert sum(name.endswith(f"{WARM}.csv") for name in shipped) == 3


def test_data_made_anew_is_shipped_with_all_the_runs_on_it_or_not_at_all(monkeypatch, tmp_path):
    def learnt_from(episodes, protocol, repeats=1):
        path = make_warm_start(tmp_path, protocol, repeats).with_suffix(".json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "dataset_sha256": episodes}))

    learnt_from("old", "paper")
    learnt_from("old", "released", repeats=5)
    promote_tree(monkeypatch, tmp_path)
    shipped = tmp_path / "shipped/results/runs/paper/frozen-lake" / f"{WARM}.json"
    learnt_from("new", "paper")
    shutil.rmtree(tmp_path / "results/runs/released")  # the shipped one of these stays
    with pytest.raises(Failure, match="learnt from different episodes, both named 'qwen-7b'"):
        promote_tree(monkeypatch, tmp_path)
    assert json.loads(shipped.read_text())["dataset_sha256"] == "old"
    learnt_from("new", "released", repeats=5)
    promote_tree(monkeypatch, tmp_path)
    assert json.loads(shipped.read_text())["dataset_sha256"] == "new"


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda run: run.write_text(run.read_text()[:-9]), "cut off within a line"),
        (lambda run: run.write_text(run.read_text().replace("0.0", "nan", 1)), "not a finite number"),
        (lambda run: run.with_suffix(".json").write_text("{"), "cannot be read"),
        (lambda run: run.with_suffix(".json").unlink(), "does not tell how"),
        (lambda run: run.write_text("".join(run.read_text().splitlines(keepends=True)[:-150])), "not whole"),
    ],
)
def test_a_damaged_reference_is_refused_and_nothing_is_shipped(monkeypatch, tmp_path, damage, error):
    run = make_run(tmp_path)
    reference = tmp_path / "results/reference/cleanrl.csv"
    reference.parent.mkdir()
    for suffix in (".csv", ".json"):
        shutil.copy(run.with_suffix(suffix), reference.with_suffix(suffix))
    assert "results/reference/cleanrl.csv" in promote_tree(monkeypatch, tmp_path)
    shutil.rmtree(tmp_path / "shipped")
    damage(reference)
    with pytest.raises((Failure, UsageError), match=error):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_a_prior_is_shipped_unless_it_is_damaged(monkeypatch, tmp_path):
    make_run(tmp_path)
    prior = tmp_path / "results/priors/overcooked-tomato/llm.jsonl"
    prior.parent.mkdir(parents=True)
    row = {"text": "chop or walk?", "actions": ["chop", "walk"], "p": [0.75, 0.25]}
    prior.write_text(f"{{}}\n{json.dumps(row)}\n")
    assert "results/priors/overcooked-tomato/llm.jsonl" in promote_tree(monkeypatch, tmp_path)
    shutil.rmtree(tmp_path / "shipped")
    prior.write_text(f"{{}}\n{json.dumps(row | {'p': [1.0]})}\n")
    with pytest.raises(Failure, match="no probability for each"):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_a_tree_without_runs_is_a_usage_error(monkeypatch, tmp_path):
    make_dataset(tmp_path, "llm", [0, 1, 0], decision={})
    with pytest.raises(UsageError, match="There are no runs"):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


def test_episodes_that_their_transcript_does_not_tell_are_refused(monkeypatch, tmp_path):
    make_run(tmp_path)
    make_dataset(tmp_path, "llm", [0, 1, 0], told=[0, 1, 2], decision={})
    with pytest.raises(Failure, match="does not tell what was played"):
        promote_tree(monkeypatch, tmp_path)
    assert not (tmp_path / "shipped").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-10],
        lambda whole: b"nonsense",
        lambda whole: whole[:12] + b"\xff" + whole[13:],
        lambda whole: gzip.compress(b'{"episode": 0\n'),
        lambda whole: gzip.compress(b"[0, 0, 0]\n"),
        lambda whole: gzip.compress(gzip.decompress(whole).replace(b'"action"', b'"word"')),
        lambda whole: gzip.compress(b"\xff\n"),
    ],
    ids=["cut off", "not gzip", "a changed byte", "not JSON", "no object", "no action", "not UTF-8"],
)
def test_a_damaged_transcript_is_refused(monkeypatch, tmp_path, damage):
    make_run(tmp_path)
    transcript = make_dataset(tmp_path, "llm", [0, 1, 0], decision={}) / "transcripts.jsonl.gz"
    transcript.write_bytes(damage(transcript.read_bytes()))
    with pytest.raises(Failure, match=r"transcripts\.jsonl\.gz is damaged"):
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

    def joined():
        assert "results/coverage.csv" in promote_tree(monkeypatch, tmp_path)
        table = coverage.read_measured(tmp_path / "shipped/results/coverage.csv")
        return list(zip(table.policy, table.coverage, strict=True))

    fresh, shipped = (tmp_path / folder / "coverage.csv" for folder in ("results", "shipped/results"))
    rows(online=0.5, mix=0.25).to_csv(fresh, index=False)
    assert joined() == [("mix", 0.25), ("online", 0.5)]  # where nothing is shipped yet
    rows(online=0.75, loro=1.0).to_csv(shipped, index=False)
    assert joined() == [("loro", 1.0), ("mix", 0.25), ("online", 0.5)]
