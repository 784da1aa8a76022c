"""The environments: horizons, spaces, starts, and Pong against the emulator itself."""

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete

import envs
from envs.base import Environment
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


SAFE = {
    # a controller that holds the pole for longer than the horizon
    "cartpole": lambda observation, t: int(observation[2] + 0.3 * observation[3] + 0.1 * observation[1] > 0),
    "frozen-lake": lambda observation, t: 3 if t == 0 else 0,
    "cliff-walking": lambda observation, t: 0,
    "mountain-car": lambda observation, t: 1,
    "pendulum": lambda observation, t: np.zeros(1, dtype=np.float32),
    "represented-pong": lambda observation, t: 0,
}
"""Where there is one, a way to act that does not end an episode before its horizon."""


@pytest.mark.parametrize("name", list(SAFE))
def test_gymnasium_knows_it_and_cuts_it_off_at_its_horizon(name):
    env = gymnasium.make(envs.get(name).gym_id)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    for t in range(HORIZONS[name]):
        observation, _, terminated, truncated, _ = env.step(SAFE[name](observation, t))
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
    """Independent reference: an emulator of its own for every game, driven frame by frame through its own interface.

    Our one environment is reset in the middle of games and with other seeds: neither leaves anything behind.
    """
    env = envs.make("represented-pong")
    generator = np.random.default_rng(1)
    for seed, steps in enumerate((150, 1, 80, 150, 37)):
        emulator = ale_py.ALEInterface()
        emulator.setInt("random_seed", 100 + seed)
        emulator.setFloat("repeat_action_probability", 0.0)
        emulator.loadROM(ale_py.roms.get_rom_path("pong"))
        legal = emulator.getMinimalActionSet()
        emulator.reset_game()
        observation, _ = env.reset(seed=seed)
        before = None
        for action in [None, *generator.integers(6, size=steps)]:
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


class Unusual(gymnasium.Env):
    """An environment of one step whose spaces and first observation are given."""

    def __init__(self, observations, actions=None, first=None):
        self.observation_space, self.action_space, self.first = observations, actions or Discrete(2), first

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample() if self.first is None else self.first, {}

    def step(self, action):
        return self.reset()[0], 0.0, True, False, {}


SPEEDS = Box(-1, 1, (3,))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"observations": Discrete(4, start=1)}, "observations in Discrete(4, start=1)"),
        ({"observations": Discrete(4), "actions": Discrete(2, start=1)}, "actions in Discrete(2, start=1)"),
        ({"observations": Box(0, 1, (2, 3))}, "observations in Box"),
        ({"observations": Box(0, 1, (3,), np.float64)}, "observations in Box"),
        ({"observations": Dict(place=Discrete(4))}, "observations in Dict"),
        ({"observations": Box(0, 1, (3,)), "first": np.zeros(3)}, "(float64), not in its Box"),
        ({"observations": Discrete(4), "first": 7}, "begins with 7 (int), not in its Discrete(4)"),
        ({"observations": Discrete(4)}, None),
        ({"observations": SPEEDS, "actions": Box(-1, 1, (2,)), "learner": "sac"}, None),
        ({"observations": SPEEDS, "actions": Box(-1, 1, (2,))}, "(2,), float32): not what algos.dqn, its learner"),
        ({"observations": SPEEDS, "learner": "sac"}, "and actions in Discrete(2): not what algos.sac"),
        ({"observations": Discrete(4), "actions": Box(-1, 1, (2,)), "learner": "sac"}, "not what algos.sac"),
    ],
)
def test_an_environment_that_no_learner_can_read_is_refused(monkeypatch, parts, words):
    parts = dict(parts)
    environment = Environment("unusual", "Unusual", "", 5, 3, parts.pop("learner", "dqn"), lambda observation: {})
    monkeypatch.setitem(envs.ENVIRONMENTS, "unusual", environment)
    monkeypatch.setitem(
        gymnasium.registry, environment.gym_id, EnvSpec(environment.gym_id, lambda **_: Unusual(**parts))
    )
    envs.check_usable.cache_clear()
    if words is None:
        assert envs.make("unusual").reset(seed=1)[1] == {}
        return
    with pytest.raises(UsageError) as refused:
        envs.make("unusual")
    assert words in str(refused.value) and "unusual" in str(refused.value)
