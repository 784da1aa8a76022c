"""The environments: horizons, spaces, starts, and Pong against the emulator itself."""

import ale_py
import gymnasium
import numpy as np
import pytest

import envs
from envs.errors import UsageError

HORIZONS = {
    "cartpole": 200,
    "frozen-lake": 100,
    "cliff-walking": 200,
    "mountain-car": 200,
    "pendulum": 200,
    "represented-pong": 200,
}


def test_the_six_environments_of_the_paper_are_there():
    assert {name: environment.horizon for name, environment in envs.ENVIRONMENTS.items()} == HORIZONS
    iterations = {name: environment.iterations for name, environment in envs.ENVIRONMENTS.items()}
    assert iterations == {
        "cartpole": 150,
        "frozen-lake": 150,
        "cliff-walking": 200,
        "mountain-car": 300,
        "pendulum": 200,
        "represented-pong": 200,
    }


@pytest.mark.parametrize("name", list(HORIZONS))
def test_gymnasium_knows_it_and_cuts_it_off_at_its_horizon(name):
    env = gymnasium.make(envs.get(name).gym_id)
    safe = {"cartpole": None, "frozen-lake": 3, "cliff-walking": 0, "mountain-car": 1, "represented-pong": 0}
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    for t in range(HORIZONS[name]):
        if name == "pendulum":
            action = np.zeros(1, dtype=np.float32)
        elif name == "cartpole":  # a controller that holds the pole for longer than the horizon
            action = int(observation[2] + 0.3 * observation[3] + 0.1 * observation[1] > 0)
        elif name == "frozen-lake":
            action = safe[name] if t == 0 else 0
        else:
            action = safe[name]
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated:
            assert name == "frozen-lake", "only the slippery lake can end under this policy"
            return
        assert truncated == (t + 1 == HORIZONS[name])


@pytest.mark.parametrize("name", list(HORIZONS))
def test_fixed_starts_and_determinism_are_as_described(name):
    environment = envs.get(name)
    starts = [envs.make(name).reset(seed=seed)[0] for seed in range(4)]
    same = all(np.array_equal(start, starts[0]) for start in starts)
    if environment.fixed_start or environment.deterministic:
        assert same
    if environment.deterministic:
        outcomes = []
        for seed in (1, 2):
            env = envs.make(name)
            env.reset(seed=seed)
            actions = np.random.default_rng(0).integers(env.action_space.n, size=60)
            outcomes.append([env.step(int(action))[:4] for action in actions])
        for a, b in zip(*outcomes, strict=True):
            assert np.array_equal(a[0], b[0]) and a[1:] == b[1:]


def test_pong_is_the_emulator_s_memory():
    """Independent reference: the emulator driven frame by frame through its own interface."""
    emulator = ale_py.ALEInterface()
    emulator.setInt("random_seed", 0)
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(ale_py.roms.get_rom_path("pong"))
    legal = emulator.getMinimalActionSet()
    emulator.reset_game()
    env = envs.make("represented-pong")
    observation, _ = env.reset(seed=0)
    before = None
    for action in [None, *np.random.default_rng(1).integers(6, size=150)]:
        reward = 0.0
        if action is not None:
            reward = sum(emulator.act(legal[action]) for _ in range(4))
            observation, seen_reward, *_ = env.step(int(action))
            assert seen_reward == reward
        memory = emulator.getRAM()
        ball = (int(memory[49]), int(memory[54]))
        velocity = (0, 0) if before is None else (ball[0] - before[0], ball[1] - before[1])
        before = ball
        places = [int(memory[k]) for k in (51, 46, 50, 45, 49, 54, 13, 14)]
        np.testing.assert_array_equal(observation, [*places, *velocity])


def test_double_step_plays_twice_and_loses_the_first_reward():
    once, twice = envs.make("represented-pong", 0), envs.make("represented-pong", 0, double_step=True)
    once.reset(seed=0)
    twice.reset(seed=0)
    lost = 0
    for action in np.random.default_rng(2).integers(6, size=400):
        _, first, *_ = once.step(int(action))
        observation, second, terminated, *_ = once.step(int(action))
        seen, reward, ended, *_ = twice.step(int(action))
        np.testing.assert_array_equal(seen[:8], observation[:8])
        assert (reward, ended) == (second, terminated)
        lost += first != 0
    assert lost > 0, "some reward should have fallen into the step that is dropped"


def test_unknown_names_and_options_are_usage_errors():
    with pytest.raises(UsageError, match="chess"):
        envs.make("chess")
    with pytest.raises(UsageError, match="double_step"):
        envs.make("cartpole", double_step=True)
