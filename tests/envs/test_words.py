"""Observations in words, and answers back into actions."""

import numpy as np
import pytest

import envs
from envs.base import parse_answer
from envs.represented_pong import RepresentedPong

TWO = {"left": 0, "right": 1}
PADDLE_COLOUR, BALL_COLOUR = (92, 186, 92), (236, 236, 236)
FOUR = {"left": 0, "down": 1, "right": 2, "up": 3}
TORQUES = {"hard left": 2.0, "left": 1.0, "none": 0.0}


@pytest.mark.parametrize(
    ("answer", "actions", "action"),
    [
        ("left", TWO, 0),
        (" RIGHT.", TWO, 1),
        ("I would push the cart to the **left**!", TWO, 0),
        ("It leans left, so it falls left; push it.\nAction: right", TWO, 1),
        ("Answer: left ... no, wait. Answer: right", TWO, 1),
        ("**Action:** left", TWO, 0),
        ("**Answer**: `right`", TWO, 1),
        ("The best action is to go down", FOUR, 1),
        ("Action:\n\nup", FOUR, 3),
        ("Action: up\nbecause down and left are holes.", FOUR, 3),
        ("Action: \\boxed{right}", TWO, 1),
        ("<think>left? right? Action: left</think>\n\nright", TWO, 1),
        ("not left but right", TWO, 1),
        ("Don't go left: right is better.", TWO, 1),
        ("I don't know, perhaps left", TWO, 0),
        ("hard   left", TORQUES, 2.0),
        ("Hard left, I said: hard left.", TORQUES, 2.0),
        ("left then", TORQUES, 1.0),
        ("2", {"1": 0, "2": 1}, 1),
        ("Row 3 is a hole, 12 steps. Answer: 2.", {"1": 0, "2": 1, "3": 2}, 1),
        ("west", {"left": 0, "west": 0}, 0),
        ("west, that is left", {"left": 0, "west": 0}, 0),
        # None is stated, or several:
        ("", TWO, None),
        ("I cannot decide.", TWO, None),
        ("left or right", TWO, None),
        ("Action: left or right", TWO, None),
        ("not left", TWO, None),
        ("the leftmost cell, brightly", TWO, None),
        ("on the left-hand side", TWO, None),
        ("hard left, or left", TORQUES, None),
        ("upright", FOUR, None),
        ("<think>The pole leans left. Action: left", TWO, None),  # cut off in the middle of a thought
        ("The angle is 1.25 and the velocity -1", {"1": 0, "2": 1}, None),
        ("I stand at row 2, column 1", {"1": 0, "2": 1}, None),
    ],
)
def test_the_stated_answer_is_taken(answer, actions, action):
    assert parse_answer(answer, actions) == action


@pytest.mark.parametrize("name", list(envs.ENVIRONMENTS))
def test_words_are_the_same_texts_for_the_same_observation(name):
    env = envs.make(name)
    observation, _ = env.reset(seed=3)
    words = envs.get(name).words(observation)
    assert words and all(isinstance(text, str) and text for text in words.values())
    assert words == envs.get(name).words(observation)


def test_cartpole_keeps_every_sign():
    words = envs.get("cartpole").words
    right, left = words(np.array([0.5, 1.25, 0.125, 2.0])), words(np.array([-0.5, -1.25, -0.125, -2.0]))
    for name in ("position", "velocity", "angle", "angular_velocity"):
        assert float(right[name]) == -float(left[name]) > 0
    assert {right[n] for n in ("side", "moving", "leaning", "falling")} == {"right"}
    assert {left[n] for n in ("side", "moving", "leaning", "falling")} == {"left"}


@pytest.mark.parametrize(("name", "rows", "columns"), [("frozen-lake", 4, 4), ("cliff-walking", 4, 12)])
def test_grid_words_say_what_the_environment_does(name, rows, columns):
    moves = {"frozen-lake": FOUR, "cliff-walking": {"up": 0, "right": 1, "down": 2, "left": 3}}[name]
    table = envs.make(name).unwrapped.P
    for cell in range(rows * columns):
        words = envs.get(name).words(cell)
        assert int(words["row"]) * columns + int(words["column"]) == cell
        if all(len(table[cell][a]) == 1 and table[cell][a][0][3] for a in moves.values()):
            continue  # a hole or the goal: no move leaves it
        if name == "cliff-walking" and 37 <= cell <= 46:
            continue  # the cliff itself, where nobody ever stands
        for word, action in moves.items():
            outcomes = table[cell][action]
            _, reached, reward, ended = outcomes[len(outcomes) // 2]  # FrozenLake lists side, direction, other side
            if reward == -100:
                expected = "the cliff"
            elif reached == cell:
                expected = "the border"
            elif ended:
                expected = "the goal" if reached == rows * columns - 1 else "a hole"
            else:
                expected = "ice" if name == "frozen-lake" else "free ground"
            assert words[word] == expected
        down, right = int(words["row"]) < rows - 1, int(words["column"]) < columns - 1
        assert words["goal"] == (" and ".join(["down"] * down + ["right"] * right) or "here")


def test_pendulum_words_agree_with_the_environment():
    env = envs.make("pendulum")
    env.reset(seed=0)
    env.unwrapped.state = np.array([0.0, 0.0])  # upright and still
    observation, *_ = env.step(np.array([2.0], dtype=np.float32))
    words = envs.get("pendulum").words(observation)
    assert (words["half"], words["side"], words["turning"]) == ("upper", "left", "counterclockwise")
    assert float(words["angular_velocity"]) > 0
    assert words["height"] == "almost upright" and words["side_of_upright"] == "to the left"
    assert words["turning_to"] == "left (counterclockwise)"


def test_pong_words_agree_with_the_screen():
    env = RepresentedPong(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    places = []
    for step in range(1000):
        observation, *_ = env.step((2, 3, 0)[step // 12 % 3])
        screen = env.render()[34:194]  # the playing field
        paddle = np.flatnonzero((screen == PADDLE_COLOUR).all(-1).any(1))
        ball = np.flatnonzero((screen == BALL_COLOUR).all(-1).any(1))
        if len(paddle) == 16 and len(ball) == 4:  # neither is partly out of the field
            seen = "above" if ball[-1] < paddle[0] else "below" if ball[0] > paddle[-1] else "level with"
            places.append((seen, envs.get("represented-pong").words(observation)["ball_place"]))
    assert {seen for seen, _ in places} == {"above", "below", "level with"}
    wrong = sum(seen != told for seen, told in places)
    assert wrong <= len(places) / 20  # memory is a frame ahead of the screen at times


def test_pong_words_say_where_the_ball_goes():
    words = envs.get("represented-pong").words
    numbers = np.array([100, 188, 50, 64, 120, 80, 0, 0, 4, -8], dtype=np.float32)
    assert (words(numbers)["ball_place"], words(numbers)["ball_direction"]) == ("above", "towards")
    numbers[[5, 8]] = 120, -4
    assert (words(numbers)["ball_place"], words(numbers)["ball_direction"]) == ("below", "away from")
