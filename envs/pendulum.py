"""Pendulum: swing up and hold upright with a torque in [-2, 2]; 200 steps."""

import math

import numpy as np

from envs.base import Environment


def words(observation: np.ndarray) -> dict[str, str]:
    """Give the angle (0 is upright, positive is to the left, radians) and the angular velocity."""
    cosine, sine, angular_velocity = (float(x) for x in observation)
    return {"angle": f"{math.atan2(sine, cosine):.3f}", "angular_velocity": f"{angular_velocity:.3f}"}


ENVIRONMENT = Environment(
    name="pendulum",
    title="Pendulum",
    entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv",
    horizon=200,
    iterations=200,
    learner="sac",
    words=words,
)
