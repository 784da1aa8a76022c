"""The prior over actions: exact scores, honest counts of samples, one question per text ever, and bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_llm import save_tiny_llm

from algos import prior as prior_module
from algos.llm import LocalLLM
from algos.prior import Prior, match, open_prior
from envs.cache import Cache
from envs.errors import Failure, UsageError, run_command_line
from envs.text import Situation, TextGame

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_llm(tmp_path_factory.mktemp("llm") / "tiny")


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prior", "--no-progress", *map(str, arguments)])
    run_command_line(prior_module.main)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(path, rows, environment="overcooked-tomato"):
    header = {"way": "table", "environment": environment}
    path.write_text("".join(json.dumps(row) + "\n" for row in [header, *rows]))
    return path


def situation(told, *actions):
    return Situation(told, actions, told, ())


def test_score_is_the_log_probability_of_each_whole_reply(tiny, tmp_path, monkeypatch):
    path = tmp_path / "prior.jsonl"
    run(["--env", "overcooked-tomato", "--model", tiny, "--output", path], monkeypatch)
    _, *rows = lines(path)
    assert len(rows) == 21  # all texts of this kitchen (what was recorded of the original)
    llm, game = LocalLLM(str(tiny), progress=False), TextGame("overcooked-tomato")
    for row in rows[::7]:
        read = llm.tokens(llm.render(game.chat(row["text"], tuple(row["actions"]))) + game.answer_start)
        for action, log_p, length in zip(row["actions"], row["log_p"], row["lengths"], strict=True):
            reply = [*llm.tokens(f" {action}"), *llm.ends]
            with torch.no_grad():
                logits = llm.model(torch.tensor([read + reply])).logits[0].double().log_softmax(-1)
            expected = sum(float(logits[len(read) + i - 1, token]) for i, token in enumerate(reply))
            assert log_p == pytest.approx(expected, abs=1e-3)
            assert length == len(reply)
    # and p is their softmax, as such or per token
    row = rows[3]
    for normalised in (False, True):
        prior = open_prior(path, "overcooked-tomato", length_normalised=normalised, temperature=2.0)
        logits = [s / (n if normalised else 1) / 2 for s, n in zip(row["log_p"], row["lengths"], strict=True)]
        expected = np.exp(logits) / np.exp(logits).sum()
        assert prior(situation(row["text"], *row["actions"])) == pytest.approx(expected)
        assert prior.asked == 0
    # or relative to what the words have when nothing is told, for which the model is asked once
    prior = open_prior(path, "overcooked-tomato", calibrated=True)
    expected = np.array(row["log_p"])
    p = prior(situation(row["text"], *row["actions"]))
    [nothing] = [r for r in lines(path)[1:] if r["text"] == "N/A"]
    assert nothing["actions"] == row["actions"]
    expected = np.exp(expected - nothing["log_p"])
    assert p == pytest.approx(expected / expected.sum())


def test_loro_s_environments_are_calibrated_as_their_episodes_are():
    """Nothing observed is the sentence with its gaps empty, as in algos/decide.py."""
    game = TextGame("cartpole", "verbal")
    assert game.chat(game.nothing, game.words)[-1]["content"].endswith("The pole is leaning N/A and falling N/A.")
    assert TextGame("overcooked-tomato").nothing == "N/A"


def test_actions_that_begin_alike_are_told_apart(tiny, tmp_path):
    header = prior_module.describe(
        prior_module.Args(output=tmp_path / "p.jsonl", model=str(tiny)),
        TextGame("overcooked-tomato"),
        LocalLLM(str(tiny), progress=False),
    )
    prior = Prior(tmp_path / "p.jsonl", TextGame("overcooked-tomato"), header=header)
    assert prior(situation("A hall.", "go to shelf 1", "go to shelf 10")).sum() == pytest.approx(1)


class CountingLLM(LocalLLM):
    asked = 0

    def score(self, chats, *rest):
        type(self).asked += len(chats)
        return super().score(chats, *rest)

    def write(self, chats, *rest):
        type(self).asked += len(chats)
        return super().write(chats, *rest)


def test_each_text_is_asked_for_once_ever(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_module, "LocalLLM", CountingLLM)
    CountingLLM.asked = 0
    path = tmp_path / "prior.jsonl"
    arguments = ["--env", "frozen-lake-text", "--model", tiny, "--output", path]
    run(arguments, monkeypatch)
    assert CountingLLM.asked == 11  # 16 cells, 4 holes, 1 goal
    content = path.read_bytes()
    run(arguments, monkeypatch)
    assert CountingLLM.asked == 11 and path.read_bytes() == content
    # two who have the file open learn from each other, and the text is new to both only once
    first, second = (open_prior(path, "frozen-lake-text") for _ in range(2))
    new = situation("A new place.", "move left", "move up")
    assert first(new) == pytest.approx(second(new))
    assert first(new) == pytest.approx(first(new))
    assert CountingLLM.asked == 12 and (first.asked, second.asked) == (1, 0)
    assert len(lines(path)) == 1 + 12


def test_processes_that_share_a_file_ask_once_and_a_torn_line_is_forgotten(tmp_path):
    path = tmp_path / "answers.jsonl"
    program = """
import sys, time
from pathlib import Path
from envs.cache import Cache
cache = Cache(Path(sys.argv[1]), {"of": "squares"}, key=lambda row: row["x"])
def answer(new):
    time.sleep(0.02)
    return [{"x": x, "y": x * x, "by": sys.argv[2]} for x in new]
assert [row["y"] for row in cache.get(list(range(20)), answer, 3)] == [x * x for x in range(20)]
"""
    workers = [subprocess.Popen([sys.executable, "-c", program, path, str(n)], cwd=ROOT) for n in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert sorted(row["x"] for row in lines(path)[1:]) == list(range(20))
    content = path.read_bytes()
    path.write_bytes(content[:-7])  # killed while writing the last row
    cache = Cache(path, {"of": "squares"}, key=lambda row: row["x"])
    assert len(cache.rows) == 19
    cache.get(list(range(20)), lambda new: [{"x": x, "y": x * x, "by": "me"} for x in new])
    assert sorted(row["x"] for row in lines(path)[1:]) == list(range(20))
    with pytest.raises(UsageError, match="another of"):
        Cache(path, {"of": "cubes"}, key=lambda row: row["x"])
    path.write_text('{"of": "squares"}\nnonsense\n')
    with pytest.raises(Failure, match="damaged"):
        Cache(path, None, key=lambda row: row["x"])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I would chop nothing. Then pick up the tomato, yes: Pick up the  TOMATO.", 0),
        ("go to shelf 10", 2),
        ("Go to shelf 1!", 1),
        ("pick up the tomato or go to shelf 1", None),  # the released code: the last action
        ("pick up the lettuce", None),  # likewise
        ("", None),
    ],
)
def test_replies_are_mapped_to_what_they_name_most_often(answer, expected):
    assert match(answer, ["pick up the tomato", "go to shelf 1", "go to shelf 10", "chop nothing"]) == expected


def test_samples_that_name_no_action_are_counted_and_count_for_none(tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / "prior.jsonl"
    run(
        ["--env", "frozen-lake-text", "--way", "sample", "--samples", 3, "--model", tiny, "--output", path], monkeypatch
    )
    assert "33 of 33 replies named no action" in capsys.readouterr().out  # it writes random bytes
    _, *rows = lines(path)
    assert all(row["counts"] == [0] * 4 and row["unmatched"] == 3 and len(row["answers"]) == 3 for row in rows)
    question = situation(rows[0]["text"], *rows[0]["actions"])
    with pytest.raises(Failure, match="zero for every action"):
        open_prior(path, "frozen-lake-text")(question)
    assert open_prior(path, "frozen-lake-text", on_zeros="uniform")(question) == pytest.approx([0.25] * 4)

    class Scripted(LocalLLM):
        def write(self, chats, keys, *rest):
            assert len({tuple(key) for key in keys}) == len(keys)
            told = ["move left", "move up. move up", "I move", "Move Left"]
            return [prior_module.Reading(answer=told[i % 4]) for i in range(len(chats))]

    monkeypatch.setattr(prior_module, "LocalLLM", Scripted)
    path = tmp_path / "scripted.jsonl"
    run(
        ["--env", "frozen-lake-text", "--way", "sample", "--samples", 4, "--model", tiny, "--output", path], monkeypatch
    )
    row = lines(path)[1]
    assert row["counts"] == [2, 0, 0, 1] and row["unmatched"] == 1
    p = open_prior(path, "frozen-lake-text")(situation(row["text"], *row["actions"]))
    assert p == pytest.approx([2 / 3, 0, 0, 1 / 3])


@pytest.mark.parametrize(
    ("name", "texts"), [("overcooked-salad", 787), ("frozen-lake", 16), ("cliff-walking", 48), ("cartpole", None)]
)
def test_texts_are_listed_where_they_can_be(name, texts):
    situations = TextGame(name).situations()
    assert (situations and len({s.told for s in situations})) == texts


@pytest.mark.parametrize("name", ["overcooked-tomato", "overcooked-salad", "frozen-lake-text", "cliff-walking"])
def test_listed_situations_are_those_that_play_meets(name):
    game = TextGame(name)
    listed, random = {(s.told, s.actions) for s in game.situations()}, np.random.default_rng(0)
    env = game.make()
    for episode in range(10):
        met = [game.read(*env.reset(seed=episode))]
        for _ in range(game.horizon):
            assert (met[-1].told, met[-1].actions) in listed
            observation, _, *ends, info = env.step(game.action(int(random.integers(len(met[-1].actions)))))
            met.append(game.read(observation, info))
            if any(ends):
                break


def test_loros_environments_are_scored_as_in_collection(tiny, tmp_path, monkeypatch):
    path = tmp_path / "prior.jsonl"
    run(["--env", "frozen-lake", "--model", tiny, "--output", path], monkeypatch)
    game = TextGame("frozen-lake", "verbal")
    env = game.make()
    observation, info = env.reset(seed=0)
    llm, words = LocalLLM(str(tiny), progress=False), game.environment.words(observation)
    [reading] = llm.score([game.prompt.chat(words, "score")], "Action:", tuple(game.prompt.actions), [])
    p = np.exp(list(reading.scores.values()))
    assert open_prior(path, "frozen-lake")(game.read(observation, info)) == pytest.approx(p / p.sum(), abs=1e-4)


def test_actions_of_pong_keep_their_numbers():
    game = TextGame("represented-pong")
    assert game.words == ("stay", "up", "down") and [game.action(i) for i in range(3)] == [0, 2, 3]


def test_bad_priors_are_refused_in_a_sentence(tmp_path):
    left = {"text": "Here.", "actions": ["left", "right"], "p": [0.0, 0.0]}
    path = table(tmp_path / "table.jsonl", [left, {**left, "text": "There.", "p": [1.0]}])
    prior = open_prior(path, "overcooked-tomato")
    for asked, sentence in [
        (situation("Here."), "no admissible action"),
        (situation("Here.", "left", "right"), "zero for every action"),
        (situation("There.", "left", "right"), "no probability for each"),
        (situation("Nowhere.", "left", "right"), "no row for"),
        (situation("Here.", "left", "left"), "the same words"),
    ]:
        with pytest.raises(Failure, match=sentence):
            prior(asked)
    with pytest.raises(UsageError, match="one for overcooked-tomato, not for overcooked-salad"):
        open_prior(path, "overcooked-salad")
    with pytest.raises(UsageError, match="must be positive"):
        open_prior(path, "overcooked-tomato", temperature=0)
    with pytest.raises(UsageError, match="There is no file"):
        open_prior(tmp_path / "none.jsonl", "overcooked-tomato")
    (tmp_path / "other.jsonl").write_text('{"environment": "overcooked-tomato"}\n')
    with pytest.raises(Failure, match="is no prior"):
        open_prior(tmp_path / "other.jsonl", "overcooked-tomato")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--samples", 0], "--samples must be at least 1"),
        (["--env", "pendulum"], "Unknown environment 'pendulum'"),
        (["--server", "http://localhost"], "use --way sample"),
        (["--model", "models/none"], "There is no model folder"),
        (["--way", "sample", "--top-p", 0], "--top-p in"),
    ],
)
def test_bad_arguments(arguments, sentence, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run([*arguments, "--output", tmp_path / "p.jsonl"], monkeypatch)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()


def test_a_file_goes_on_with_the_same_questions_only(tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / "p.jsonl"
    run(["--env", "frozen-lake-text", "--model", tiny, "--output", path], monkeypatch)
    with pytest.raises(SystemExit) as stopped:
        run(["--env", "frozen-lake-text", "--way", "sample", "--model", tiny, "--output", path], monkeypatch)
    assert stopped.value.code == 2 and "made with another way" in capsys.readouterr().err


def test_where_texts_cannot_be_listed_the_file_tells_how_to_ask(tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / "p.jsonl"
    run(["--env", "cartpole", "--model", tiny, "--output", path], monkeypatch)
    assert "cannot be listed" in capsys.readouterr().out and len(lines(path)) == 1
    prior, game = open_prior(path, "cartpole"), TextGame("cartpole", "verbal")
    met = game.read(*game.make().reset(seed=0))
    assert prior(met).sum() == pytest.approx(1) and len(lines(path)) == 2
    assert open_prior(path, "cartpole")(met) == pytest.approx(prior(met)) and len(lines(path)) == 2


def test_where_texts_cannot_be_listed_a_scripted_prior_is_a_rule(tmp_path, monkeypatch):
    path = tmp_path / "scripted-60.jsonl"
    run(["--env", "alfworld", "--way", "scripted", "--share", 0.6, "--output", path], monkeypatch)
    assert len(lines(path)) == 1
    text = "You open the safe 1. In it, you see a cd 1. You hold nothing. Your task is to: put a cd in drawer."
    told = situation(text, "close safe 1", "go to bed 1", "look", "take cd 1 from safe 1")
    assert open_prior(path, "alfworld-unseen")(told) == pytest.approx([0.1, 0.1, 0.1, 0.7])


def test_uniform_asks_nobody(tmp_path, monkeypatch):
    path = tmp_path / "u.jsonl"
    run(["--env", "overcooked-tomato", "--way", "uniform", "--output", path], monkeypatch)
    assert open_prior(path, "overcooked-tomato")(situation("Anything.", "a", "b")) == pytest.approx([0.5, 0.5])
