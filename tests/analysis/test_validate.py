"""Validation against episodes whose truth is known, and against the authors' files."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
from authors_files import AUTHORS, with_data

import envs
from analysis import validate as program
from analysis.import_released import import_released
from analysis.validate import PUT, validate
from envs.datasets import Episode, save_dataset
from envs.errors import run_command_line


def play(env_name, steps=60, seed=0):
    env = envs.make(env_name)
    env.action_space.seed(seed)
    observations, actions, rewards = [env.reset(seed=seed)[0]], [], []
    terminated = False
    while len(actions) < steps and not terminated:
        actions.append(env.action_space.sample())
        observation, reward, terminated, _, _ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
    ends = np.zeros(len(actions), dtype=bool)
    ends[-1] = terminated
    return Episode(np.array(observations), np.array(actions), np.array(rewards), ends, np.zeros_like(ends))


def cartpole_step(observation, action):
    """Barto, Sutton and Anderson's equations, one Euler step of 0.02 s: cart 1 kg, pole 0.1 kg and 1 m, 10 N."""
    x, v, angle, turning = (float(number) for number in observation)
    force = 10.0 if action == 1 else -10.0
    push = (force + 0.1 * 0.5 * turning**2 * math.sin(angle)) / 1.1
    angular = (9.8 * math.sin(angle) - math.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1))
    linear = push - 0.1 * 0.5 * angular * math.cos(angle) / 1.1
    return [x + 0.02 * v, v + 0.02 * linear, angle + 0.02 * turning, turning + 0.02 * angular], 1.0


def mountain_car_step(observation, action):
    """Moore's hill: engine 0.001, gravity 0.0025, a wall at -1.2, speed at most 0.07."""
    position, velocity = (float(number) for number in observation)
    velocity = min(max(velocity + (int(action) - 1) * 0.001 - 0.0025 * math.cos(3 * position), -0.07), 0.07)
    moved = min(max(position + velocity, -1.2), 0.6)
    return [moved, 0.0 if moved == -1.2 and velocity < 0 else velocity], -1.0


def pendulum_step(observation, action):
    """A rod of 1 kg and 1 m, gravity 10, steps of 0.05 s, torque at most 2, speed at most 8."""
    cosine, sine, speed = (float(number) for number in observation)
    angle, torque = math.atan2(sine, cosine), min(max(float(action[0]), -2.0), 2.0)
    reward = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
    speed = min(max(speed + 0.05 * (15 * math.sin(angle) + 3 * torque), -8.0), 8.0)
    angle += 0.05 * speed
    return [math.cos(angle), math.sin(angle), speed], reward


def cliff_step(observation, action):
    """Up, right, down, left on 4 rows of 12; the cliff costs 100 and leads back to the start."""
    row, column = divmod(int(observation), 12)
    down, right = [(-1, 0), (0, 1), (1, 0), (0, -1)][int(action)]
    row, column = min(max(row + down, 0), 3), min(max(column + right, 0), 11)
    return (36, -100.0) if row == 3 and 0 < column < 11 else (row * 12 + column, -1.0)


EQUATIONS = {
    "cartpole": cartpole_step,
    "mountain-car": mountain_car_step,
    "pendulum": pendulum_step,
    "cliff-walking": cliff_step,
}


def slow_count(env_name, episodes, shift):
    """Count the transitions that agree when every action is moved `shift` observations on; equations from above."""
    agree = transitions = 0
    for episode in episodes:
        for t in range(len(episode)):
            before, after = t + shift, t + shift + 1
            if before < 0 or after > len(episode):
                continue
            expected, reward = EQUATIONS[env_name](episode.observations[before], episode.actions[t])
            distance = np.max(np.abs(np.subtract(expected, episode.observations[after], dtype=np.float64)))
            agree += bool(distance < 2e-6 and abs(reward - episode.rewards[t]) < 2e-5)
            transitions += 1
    return transitions, agree


SHIFTS = {"as recorded": 0, "action one observation earlier": -1, "action one observation later": 1}


def after_the_step(episode):
    """Store an episode as the authors did: each action with the observation that follows it."""
    observations = np.concatenate([episode.observations[1:], episode.observations[-1:]])
    ends = np.arange(len(episode)) == len(episode) - 1
    return Episode(observations, episode.actions, episode.rewards, ends, np.zeros_like(ends))


@pytest.mark.parametrize("env_name", list(PUT))
def test_counts_are_those_of_the_equations_of_motion(env_name):
    episodes = [play(env_name, seed=seed) for seed in range(6)]
    for row in validate(env_name, episodes):
        assert (row["transitions"], row["agree"]) == slow_count(env_name, episodes, SHIFTS[row["pairing"]]), row
    # stored after the step, what was "later" is now "as recorded", and "earlier" puts the actions right
    moved = {row["pairing"]: row for row in validate(env_name, [after_the_step(episode) for episode in episodes])}
    recorded = moved["as recorded"]
    assert (recorded["transitions"], recorded["agree"]) == slow_count(env_name, episodes, 1)
    earlier = moved["action one observation earlier"]
    assert earlier["agree"] == earlier["transitions"] == sum(map(len, episodes)) - len(episodes)


def test_speeds_at_their_limits_and_a_wall_are_no_disagreement():
    pendulum = play("pendulum", steps=1)
    states = [[1.0, 0.0, 8.0], [-1.0, 0.0, -8.0], [-1.0, -1e-8, 7.99], [0.0, 1.0, 7.9]]
    episodes = []
    for state in np.float32(states):
        following, reward = pendulum_step(state, pendulum.actions[0])
        observations = np.array([state, following], dtype=np.float32)
        none = np.zeros(1, dtype=bool)
        episodes.append(Episode(observations, pendulum.actions[:1], np.array([reward]), none, ~none))
    (row, earlier, _) = validate("pendulum", episodes)
    assert row["agree"] == row["ends_agree"] == len(states)
    assert earlier["transitions"] == 0 and np.isnan(earlier["share"])

    env = envs.make("mountain-car")
    observations, actions = [env.reset(seed=0)[0]], []
    while len(actions) < 200:  # away from the flag when rolling that way: fast enough to reach the wall
        actions.append(2 if observations[-1][1] > 0 and observations[-1][0] < 0.2 else 0)
        observations.append(env.step(actions[-1])[0])
    observations = np.array(observations)
    assert observations[:, 0].min() == np.float32(-1.2), "the wall was never met"
    none = np.zeros(len(actions), dtype=bool)
    episode = Episode(observations, np.array(actions), np.full(len(actions), -1.0), none, none)
    assert validate("mountain-car", [episode])[0]["agree"] == 200


def test_ends_are_judged():
    episode = play("cartpole", steps=200)
    assert episode.terminations[-1]
    (row, *_) = validate("cartpole", [episode])
    assert row["ends_agree"] == len(episode)
    episode.terminations[-1] = False
    episode.terminations[3] = True
    (row, *_) = validate("cartpole", [episode])
    assert row["ends_agree"] == len(episode) - 2 and row["agree"] == len(episode)


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["validate", *map(str, arguments)])
    run_command_line(program.main)


def test_the_table_has_a_row_for_each_pairing_and_says_what_cannot_be_judged(tmp_path, monkeypatch, capsys):
    save_dataset(tmp_path / "cartpole" / "x", "cartpole", [play("cartpole")], {})
    save_dataset(tmp_path / "frozen-lake" / "y", "frozen-lake", [play("frozen-lake")], {})
    save_dataset(tmp_path / "mountain-car" / "none", "mountain-car", [], {})
    folders = [tmp_path / "cartpole" / "x", tmp_path / "frozen-lake" / "y", tmp_path / "mountain-car" / "none"]
    for arguments in (["--datasets", *folders], [word for path in folders for word in ("--dataset", path)]):
        run([*arguments, "--output", tmp_path / "table.csv"], monkeypatch)
        table = pd.read_csv(tmp_path / "table.csv")
        assert list(table.columns) == ["env", "dataset", "pairing", "transitions", "agree", "share", "ends_agree"]
        assert table.dataset.tolist() == ["x"] * 3 + ["y"] + ["none"] * 3
        assert "random or hidden" in table.pairing[3] and np.isnan(table.share[3])
        assert table.share[0] == 1.0 and (table.transitions[4:] == 0).all()
        assert "100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--datasets"),
        (["--dataset", "nowhere"], "No dataset at nowhere"),
        (["--released", "nowhere"], "not a folder"),
    ],
)
def test_bad_requests_are_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run([*arguments, "--output", tmp_path / "table.csv"], monkeypatch)
    message = capsys.readouterr().err.strip()
    assert exit_info.value.code == 2 and message.startswith("error: ") and words in message
    assert len(message.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("env_name", list(PUT))
def test_what_the_environment_played_agrees_and_what_was_moved_does_not(env_name):
    episodes = [play(env_name, seed=seed) for seed in range(5)]
    rows = {row["pairing"]: row for row in validate(env_name, episodes)}
    total = sum(len(e) for e in episodes)
    assert rows["as recorded"]["transitions"] == rows["as recorded"]["agree"] == total
    assert rows["action one observation earlier"]["share"] < 0.9
    assert rows["action one observation later"]["share"] < 0.9


def test_one_false_number_is_found():
    episode = play("cartpole")
    episode.observations[7, 2] += 0.01
    (row, *_) = validate("cartpole", [episode])
    assert row["agree"] == len(episode) - 2, "it is the end of one transition and the start of the next"
    episode = play("mountain-car")
    episode.rewards[3] = 0.0
    (row, *_) = validate("mountain-car", [episode])
    assert row["agree"] == len(episode) - 1


@with_data
def test_the_released_cartpole_file_is_one_step_off():
    stored, _ = import_released("cartpole", "qwen-7b", AUTHORS, as_stored=True)
    rows = {row["pairing"]: row for row in validate("cartpole", stored)}
    assert rows["as recorded"]["share"] == pytest.approx(0.36, abs=0.005)
    assert rows["action one observation earlier"]["share"] == 1.0
    aligned, _ = import_released("cartpole", "qwen-7b", AUTHORS, as_stored=False)
    rows = {row["pairing"]: row for row in validate("cartpole", aligned)}
    assert rows["as recorded"]["share"] == 1.0
    assert rows["as recorded"]["transitions"] == 1028 - 30


@with_data
@pytest.mark.parametrize(
    ("env_name", "llm", "cut_off"),
    [("cliff-walking", "qwen-7b", 26), ("mountain-car", "qwen-32b", 30), ("pendulum", "qwen-7b", 30)],
)
def test_released_files_agree_once_they_are_aligned(env_name, llm, cut_off):
    stored, _ = import_released(env_name, llm, AUTHORS, as_stored=True)
    rows = {row["pairing"]: row for row in validate(env_name, stored)}
    earlier = rows["action one observation earlier"]
    assert earlier["agree"] == earlier["transitions"] == sum(map(len, stored)) - 30
    assert earlier["ends_agree"] == earlier["transitions"] - cut_off, "the authors stored every cut-off as an end"
    assert rows["as recorded"]["share"] < 0.9

    aligned, _ = import_released(env_name, llm, AUTHORS, as_stored=False)
    (row, *_) = validate(env_name, aligned)
    assert row["agree"] == row["ends_agree"] == row["transitions"] == sum(map(len, aligned))
