"""The normalised scale and the bounds of returns: against play in the environments themselves."""

import numpy as np
import pytest

import envs
from analysis.scales import BOUNDS, SCALES


@pytest.mark.parametrize("env", envs.ENVIRONMENTS)
def test_random_play_is_near_zero_and_within_the_bounds(env):
    game = envs.make(env)
    game.action_space.seed(0)
    returns = []
    for episode in range(4 if env == "represented-pong" else 30):
        game.reset(seed=episode)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = game.step(game.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    low, high = BOUNDS[env]
    assert low <= min(returns) and max(returns) <= high
    scale = SCALES[env]
    assert abs((np.mean(returns) - scale.random) / scale.width) < 0.2 and scale.source
    assert low <= scale.random < scale.expert <= high


def test_a_pendulum_that_spins_pays_no_more_than_the_bound():
    worst = np.pi**2 + 0.1 * 8**2 + 0.001 * 2**2
    assert -BOUNDS["pendulum"][0] >= envs.get("pendulum").horizon * worst
