"""Pendulum: swing up and hold upright with a torque in [-2, 2]; 200 steps."""

import math

import numpy as np

from envs.base import Environment, direction

ALMOST_UPRIGHT = math.cos(math.radians(20))
"""Cosine of the angle from which `height` says "almost upright"."""


def words(observation: np.ndarray) -> dict[str, str]:
    """Give the angle (0 is upright, positive is to the left, radians) and the angular velocity, and both in words.

    `half` of the circle ("upper" or "lower") and `side` that the pendulum's end is in; `turning`: counterclockwise is
    positive, and takes an upright pendulum to the left. As one would say it: `height`, `side_of_upright`, `turning_to`.
    """
    cosine, sine, angular_velocity = (float(x) for x in observation)
    return {
        "angle": f"{math.atan2(sine, cosine):.2f}",
        "angular_velocity": f"{angular_velocity:.2f}",
        "half": direction(cosine, "lower", "upper", "upper"),
        "side": direction(sine, "right", "left", "middle"),
        "turning": direction(angular_velocity, "clockwise", "counterclockwise", "not at all"),
        "height": "hanging low" if cosine < 0 else "almost upright" if cosine > ALMOST_UPRIGHT else "in the upper half",
        "side_of_upright": direction(sine, "to the right", "to the left", "in the middle"),
        "turning_to": direction(angular_velocity, "right (clockwise)", "left (counterclockwise)", "neither way"),
    }


ENVIRONMENT = Environment(
    name="pendulum",
    title="Pendulum",
    entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv",
    horizon=200,
    iterations=200,
    learner="sac",
    words=words,
    noop=np.zeros(1, dtype=np.float32),
    endless=True,
)
