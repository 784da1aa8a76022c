"""CartPole, limited to 200 steps (what gymnasium once called CartPole-v0)."""

import numpy as np

from envs.base import Environment


def words(observation: np.ndarray) -> dict[str, str]:
    """Name the four numbers of a CartPole observation, with their signs."""
    position, velocity, angle, angular_velocity = (float(x) for x in observation)
    return {
        "position": f"{position:.3f}",
        "velocity": f"{velocity:.3f}",
        "angle": f"{angle:.3f}",
        "angular_velocity": f"{angular_velocity:.3f}",
    }


ENVIRONMENT = Environment(
    name="cartpole",
    title="CartPole",
    entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    horizon=200,
    iterations=150,
    learner="dqn",
    words=words,
)
