"""From what an LLM says to an action: the five ways to decide, with an LLM that says what the test wants."""

from dataclasses import replace

import numpy as np
import pytest

import envs
from algos.decide import Deciding, LLMPolicy, Player, choose, is_complete, probabilities
from algos.llm import Reading
from envs.errors import Failure
from envs.prompts import Prompt

PROMPT = Prompt(
    system="Rules.",
    question="Where to?",
    reply={"score": "One word.", "answer": "Answer.", "cot": "Think."},
    observation="You are at row {row}, column {column}.",
    answer_start="Action:",
    actions={"left": 0, "down": 1, "right": 2, "up": 3, "west": 0},
    memory="{action} at {place}: {reward}, to {next_place}",
)


class Says:
    """Gives the answers of `script` one after another, or the scores that a function of the user's text gives."""

    def __init__(self, script=(), scores=None):
        self.script, self.scores, self.asked = iter(script), scores, []

    def render(self, chat):
        return str(chat)

    def shared(self, one, other):
        return []

    def continuations(self, start, words):
        return {word: list(word) for word in words}

    def score(self, chats, start, words, prefix):
        self.asked += chats
        return [Reading(scores=self.scores(chat[-1]["content"]), tokens=3, seconds=0.5) for chat in chats]

    def write(self, chats, keys, sampling, complete, prefix):
        assert len({tuple(key) for key in keys}) == len(keys)
        self.asked += chats
        return [Reading(answer=next(self.script), tokens=5, seconds=1.0) for _ in chats]


def player(index=0, env="frozen-lake"):
    made = envs.make(env)
    return Player(index, made, 0, [made.reset(seed=0)[0]])


def decide(llm, players, memo=None, **how):
    return LLMPolicy("frozen-lake", llm, PROMPT, Deciding(**how), 0, memo)(players)


def test_answers_decide_and_invalid_ones_are_replaced():
    script = ["Action: left", "nonsense", "left or right", "no, not left. Action: right", "west", "left, that is west"]
    rows = decide(Says(script), [player(n) for n in range(6)], decide="answer")
    assert [row["answer"] for row in rows] == script
    invalid = "invalid, random instead"
    assert [row["parsed"] for row in rows] == ["answer", invalid, invalid, "answer", "answer", "answer"]
    assert [rows[n]["action"] for n in (0, 3, 4, 5)] == [0, 2, 0, 0]
    assert [rows[n]["word"] for n in (0, 3, 4, 5)] == ["left", "right", "left", "left"]
    assert all("word" not in rows[n] and rows[n]["action"] in range(4) for n in (1, 2))
    assert {row["tokens"] for row in rows} == {5}


def test_repeating_the_question_states_nothing():
    prompt = replace(PROMPT, observation="The goal is {goal} from you. Above is {up}.")
    echo = "The goal is down and right from you. Above is the border."
    policy = LLMPolicy(
        "frozen-lake", Says([echo, f"{echo} Left.", "One way is up."]), prompt, Deciding(decide="cot"), 0
    )
    rows = policy([player(n) for n in range(3)])
    assert [row.get("word") for row in rows] == [None, "left", "up"]


def test_what_happens_to_invalid_answers_is_a_choice():
    with pytest.raises(Failure, match="Episode 3, step 0"):
        decide(Says(["?"]), [player(3)], decide="answer", on_invalid="error")
    prompt = replace(PROMPT, observation="On the {side}.", actions={"left": 0, "right": 2}, memory="")
    policy = LLMPolicy("mountain-car", Says(["?"]), prompt, Deciding(decide="answer", on_invalid="noop"), 0)
    (row,) = policy([player(env="mountain-car")])
    assert (row["action"], row["parsed"]) == (1, "invalid, noop instead")
    drawn = [decide(Says(["?"] * 30), [player(n) for n in range(30)], decide="answer") for _ in range(2)]
    assert drawn[0] == drawn[1] and len({row["action"] for row in drawn[0]}) > 1


@pytest.mark.parametrize(
    ("answers", "action", "parsed"),
    [
        (["up", "down", "up"], 3, "2 votes of 3"),
        (["down", "up", "?"], 1, "1 votes of 3"),
        (["west", "up", "left"], 0, "2 votes of 3"),
        (["?", "!", "right"], 2, "1 votes of 3"),
        (["?", "!", "up or down"], None, "invalid, random instead"),
    ],
)
def test_the_majority_decides(answers, action, parsed):
    (row,) = decide(Says(answers), [player()], decide="vote", answers=3)
    assert row["answers"] == answers and row["parsed"] == parsed and row["tokens"] == 15
    assert row["action"] == action or action is None


@pytest.mark.parametrize(
    ("verdict", "action", "parsed"),
    [
        ("2", 3, "verdict 2"),
        ("Answer 3 is best: Answer: 3", 2, "verdict 3"),
        ("who knows", 1, "no verdict, the first answer"),
        ("1 or 2", 1, "no verdict, the first answer"),
    ],
)
def test_the_model_judges_its_answers(verdict, action, parsed):
    llm = Says(["Action: down", "Action: up", "Action: right", verdict])
    (row,) = decide(llm, [player()], decide="best", answers=3)
    assert (row["action"], row["parsed"], row["verdict"]) == (action, parsed, verdict)
    assert row["tokens"] == 20 and row["seconds"] == 4.0
    question = llm.asked[-1][-1]["content"]
    assert "[2] Action: up" in question and "row 0, column 0" in question and llm.asked[-1][0]["content"] == "Rules."


def test_the_best_answer_may_state_nothing():
    (row,) = decide(Says(["?", "up", "2 or so", "1"]), [player()], decide="best", answers=3)
    assert row["parsed"] == "invalid, random instead"


def test_scores_are_read_once_for_the_same_prompt():
    llm = Says(scores=lambda text: {"left": -1.0, "down": -9.0, "right": -9.0, "up": -9.0, "west": -9.0})
    memo = {}
    first = decide(llm, [player(0), player(1)], memo)
    again = decide(llm, [player(2)], memo)
    assert len(llm.asked) == 1 and len(memo) == 1
    assert [row["tokens"] for row in first + again] == [3, 0, 0]
    assert {row["action"] for row in first + again} == {0}
    assert len(Says(scores=llm.scores).asked) == 0
    every_time = Says(scores=llm.scores)
    decide(every_time, [player(0), player(1)], None)
    assert len(every_time.asked) == 2


def test_calibration_takes_away_what_the_words_have_without_an_observation():
    def scores(text):
        likes = {"left": -1.0, "down": -3.0, "right": -5.0, "up": -5.0, "west": -9.0}
        return likes if "N/A" in text else {**likes, "down": -2.0}

    (plain,) = decide(Says(scores=scores), [player()], temperature=0)
    (calibrated,) = decide(Says(scores=scores), [player()], temperature=0, calibrate=True)
    assert (plain["word"], calibrated["word"]) == ("left", "down")
    assert plain["scores"] == calibrated["scores"]  # as the model gave them
    assert (plain["probabilities"]["left"], calibrated["probabilities"]["down"]) == (1, 1)


def test_length_normalisation_divides_by_the_tokens():
    def scores(text):
        return {"left": -4.0, "down": -4.0, "right": -4.5, "up": -3.0, "west": -9.0}

    (plain,) = decide(Says(scores=scores), [player()], temperature=0)
    (normalised,) = decide(Says(scores=scores), [player()], temperature=0, length_normalised=True)
    assert (plain["word"], normalised["word"]) == ("up", "right")  # -3/2 for up, -4.5/5 for right


def test_the_memory_tells_what_was_seen_in_this_episode():
    walker = player()
    for action in (0, 0, 1):
        walker.step(action)
    llm = Says(["up"])
    decide(llm, [walker], decide="answer", memory=10)
    places = [divmod(int(observation), 4) for observation in walker.observations]
    names = [f"row {row}, column {column}" for row, column in places]
    words = ["left", "left", "down"]
    moves = [f"{words[t]} at {names[t]}: 0, to {names[t + 1]}" for t in range(3)]
    expected = [move for t, move in enumerate(moves) if move not in moves[t + 1 :]]
    assert llm.asked[0][-1]["content"].split("\n")[2:] == expected
    last = Says(["up"])
    decide(last, [walker], decide="answer", memory=1)
    assert last.asked[0][-1]["content"].split("\n")[2:] == expected[-1:]
    none = Says(["up"])
    decide(none, [walker], decide="answer")
    assert none.asked[0][-1]["content"].count("\n") == 1


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.6, 0.1, 0.3]),
        (1.0, 0.7, [2 / 3, 0, 1 / 3]),
        (1.0, 0.6, [1, 0, 0]),
        (0.5, 1.0, [0.36 / 0.46, 0.01 / 0.46, 0.09 / 0.46]),
        (0.0, 0.6, [1, 0, 0]),
    ],
)
def test_words_are_drawn_with_their_probabilities(temperature, top_p, expected):
    scores, random = {"a": np.log(0.6), "b": np.log(0.1), "c": np.log(0.3)}, np.random.default_rng(0)
    p = probabilities(scores, Deciding(temperature=temperature, top_p=top_p))
    assert list(p) == ["a", "b", "c"] and list(p.values()) == pytest.approx(expected)
    drawn = [choose(p, random) for _ in range(4000)]
    assert [drawn.count(w) / 4000 for w in "abc"] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("Action: left\n", True),
        ("I think so.\nAction: left, since", False),
        ("I think so.\nAction: left,", True),
        ("Action: left", False),  # it may go on: "left or right"
        ("Action: left or right\n", False),
        ("Action: not left,", False),
        ("I would go left.\n", False),
        ("The answer: up.", True),
        ("right.", True),
        ("<think>Action: left\n", False),  # still thinking
        ("<think>left?</think>\nAction: left\n", True),
        ("", False),
    ],
)
def test_an_answer_is_complete_when_it_has_gone_on_after_its_action(text, complete):
    assert is_complete(text, {word: word for word in ("left", "right", "up")}) is complete
