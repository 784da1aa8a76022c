"""MountainCar: a car too weak to climb straight up; -1 a step until the flag at 0.5, at most 200 steps."""

import math

import numpy as np

from envs.base import Environment, direction

VALLEY = -math.pi / 6
"""Position of the lowest point: the height is sin(3 x)."""


def words(observation: np.ndarray) -> dict[str, str]:
    """Name the position and the velocity of the car, with their signs, and say in words what they mean.

    `side` of the valley's lowest point (the same as a place: `side_of_valley`), and `moving`: which way the car rolls.
    """
    position, velocity = (float(x) for x in observation)
    return {
        "position": f"{position:.3f}",
        "velocity": f"{velocity:.4f}",
        "side": direction(position - VALLEY, "left", "right", "bottom"),
        "side_of_valley": direction(position - VALLEY, "on the left slope", "on the right slope", "at the bottom"),
        "moving": direction(velocity, "left", "right", "nowhere"),
    }


ENVIRONMENT = Environment(
    name="mountain-car",
    title="MountainCar",
    entry_point="gymnasium.envs.classic_control.mountain_car:MountainCarEnv",
    horizon=200,
    iterations=300,
    learner="dqn",
    words=words,
    noop=1,
)
