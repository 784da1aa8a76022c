"""FrozenLake in words against gymnasium's own FrozenLake: its transitions, its map, its random numbers."""

import re
import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import UsageError
from envs.frozen_lake_text import TEXT_ENVIRONMENTS, FrozenLakeText

FIRM, SLIPPERY = "frozen-lake-text", "frozen-lake-text-slippery"
WAY = ["right", "right", "down", "down", "down", "right"]
"""A way to the goal where nothing slips."""
NUMBER = {"left": 0, "down": 1, "right": 2, "up": 3}


def reference(slippery):
    return gymnasium.make("FrozenLake-v1", map_name="4x4", is_slippery=slippery).unwrapped


def put(env, cell):
    env.reset(seed=0)
    env.s = cell
    return env


@pytest.mark.parametrize(("name", "slippery"), [(FIRM, False), (SLIPPERY, True)])
def test_every_step_is_one_of_gymnasiums_and_all_of_them_occur(name, slippery):
    expected, env = reference(slippery).P, FrozenLakeText(name)
    letters = b"".join(reference(slippery).desc.ravel()).decode()
    for cell, actions in expected.items():
        for action, transitions in actions.items():
            seen = set()
            for seed in range(30 if slippery else 1):  # one of three is missed by 30 draws once in 60,000 times
                env.reset(seed=seed)
                env.s = cell
                following, reward, terminated, truncated, info = env.step(action)
                assert not truncated
                assert info["success"] == (letters[following] == "G")
                seen.add((following, reward, terminated))
            assert seen == {(following, reward, terminated) for _, following, reward, terminated in transitions}


@pytest.mark.parametrize(("name", "slippery"), [(FIRM, False), (SLIPPERY, True)])
def test_seeds_give_gymnasiums_own_episodes(name, slippery):
    for seed in range(20):
        env, other = gymnasium.make(f"loro/{name}-v0"), reference(slippery)
        assert env.reset(seed=seed)[0] == other.reset(seed=seed)[0] == 0
        env.action_space.seed(seed)
        over = False
        while not over:
            action = env.action_space.sample()
            observation, reward, terminated, truncated, _ = env.step(action)
            assert (observation, reward, terminated) == other.step(action)[:3]
            over = terminated or truncated


@pytest.mark.parametrize("name", [FIRM, SLIPPERY])
def test_the_text_of_every_cell_says_what_gymnasium_has_there(name):
    lake = reference(False)
    letters = b"".join(lake.desc.ravel()).decode()
    texts = [FrozenLakeText(name).text(cell) for cell in range(16)]
    assert len(set(texts)) == 16
    named = {"S": "ice", "F": "ice", "H": "a hole", "G": "the goal"}
    for cell, text in enumerate(texts):
        assert f"in row {cell // 4}, column {cell % 4}." in text
        if letters[cell] in "GH":
            begin = "You have reached the goal" if letters[cell] == "G" else "You have fallen into a hole"
            assert text.startswith(begin)
            continue
        sides = re.search(r"left is (.*?), to your right is (.*?), above you is (.*?), below you is (.*?)\.", text)
        for direction, said in zip(("left", "right", "up", "down"), sides.groups(), strict=True):
            [(_, following, _, _)] = lake.P[cell][NUMBER[direction]]
            assert said == ("the border" if following == cell else named[letters[following]])


@pytest.mark.parametrize("name", [FIRM, SLIPPERY])
def test_no_hole_and_no_goal_is_told_of_from_afar(name):
    """Where gymnasium's firm lake leads to no hole and no goal in one step, the text of the scene names none."""
    lake = reference(False)
    letters = b"".join(lake.desc.ravel()).decode()
    for cell in range(16):
        if letters[cell] in "GH":
            continue
        near = {letters[following] for action in lake.P[cell].values() for _, following, _, _ in action}
        scene = TEXT_ENVIRONMENTS[name].scene(cell)
        assert ("a hole" in scene) == ("H" in near)
        assert ("the goal" in scene) == ("G" in near)


def test_the_slippery_lake_says_so():
    assert ["slippery" in FrozenLakeText(name).text(0) for name in (FIRM, SLIPPERY)] == [False, True]


def test_the_words_for_the_actions_lead_to_the_goal():
    env = FrozenLakeText(FIRM)
    _, info = env.reset()
    for direction in WAY:
        assert not info["success"]
        observation, reward, terminated, truncated, info = env.step(info["actions"].index(f"move {direction}"))
        assert info["actions"] == env.action_texts(observation)
        assert info["text"] == env.text(observation)
    assert (observation, reward, terminated, truncated, info["success"]) == (15, 1.0, True, False, True)


def test_a_hole_ends_the_episode_without_success():
    env = FrozenLakeText(FIRM)
    env.reset()
    env.step(NUMBER["right"])
    _, reward, terminated, truncated, info = env.step(NUMBER["down"])
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("name", [FIRM, SLIPPERY])
def test_the_horizon_truncates(name):
    env = put(FrozenLakeText(name), 0)
    horizon = TEXT_ENVIRONMENTS[name].horizon
    for step in range(1, horizon + 1):
        env.s = 0  # neither left nor what left slips to is a hole here
        _, _, terminated, truncated, _ = env.step(NUMBER["left"])
        assert (terminated, truncated) == (False, step == horizon)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_reaching_the_goal_with_the_last_step_is_no_truncation():
    env = put(FrozenLakeText(FIRM), 14)
    env.steps = TEXT_ENVIRONMENTS[FIRM].horizon - 1
    _, _, terminated, truncated, info = env.step(NUMBER["right"])
    assert (terminated, truncated, info["success"]) == (True, False, True)


@pytest.mark.parametrize("name", [FIRM, SLIPPERY])
def test_gymnasium_accepts_it(name):
    env = gymnasium.make(f"loro/{name}-v0")
    assert env.spec.id == TEXT_ENVIRONMENTS[name].gym_id
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


def test_wrong_use_is_refused():
    with pytest.raises(UsageError, match="Unknown environment 'frozen-sea'"):
        FrozenLakeText("frozen-sea")
    env = FrozenLakeText(FIRM)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    for action in (4, -1):
        with pytest.raises(gymnasium.error.InvalidAction, match="0 to 3"):
            env.step(action)
