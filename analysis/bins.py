"""How states and actions are put into bins, so that visits can be counted where a state is no cell."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import envs

COARSE, AS_STATED, FINE = 0.5, 1.0, 2.0
"""What the numbers of bins are multiplied with."""


@dataclass(frozen=True)
class Dimension:
    """One number of a state, cut into equal bins; what lies outside belongs to the outermost ones."""

    name: str
    low: float
    high: float
    bins: int
    scaled: bool = True
    """whether half and twice as many bins are tried"""

    def count(self, factor: float) -> int:
        """Return the number of bins."""
        return max(1, round(self.bins * factor)) if self.scaled else self.bins

    def place(self, values: np.ndarray, factor: float) -> np.ndarray:
        """Return the bin of each value."""
        count = self.count(factor)
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return np.clip(np.floor(share * count), 0, count - 1).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """How an environment's states and actions become pairs that can be counted."""

    dimensions: tuple[Dimension, ...]
    numbers: Callable[[np.ndarray], np.ndarray]
    """[n, size] observations to [n, dimensions] numbers"""
    action: Dimension | tuple[int, ...]
    """the bins of a continuous action, or for each action the one that it counts as"""

    def pairs(self, observations: np.ndarray, actions: np.ndarray, factor: float = AS_STATED) -> np.ndarray:
        """Return a number for each state-action pair [n]."""
        keys = np.zeros(len(observations), dtype=np.int64)
        for dimension, values in zip(self.dimensions, self.numbers(observations).T, strict=True):
            keys = keys * dimension.count(factor) + dimension.place(values, factor)
        if isinstance(self.action, Dimension):
            return keys * self.action.bins + self.action.place(actions[:, 0], AS_STATED)
        return keys * len(self.action) + np.array(self.action)[actions]


def pendulum_numbers(observations: np.ndarray) -> np.ndarray:
    """Return angle (0 is upright) and angular velocity."""
    return np.column_stack([np.arctan2(observations[:, 1], observations[:, 0]), observations[:, 2]])


def pong_numbers(observations: np.ndarray) -> np.ndarray:
    """Return the player's y, the ball's x and y, and which way the ball moves across: -1, 0 or 1."""
    return np.column_stack([observations[:, [0, 4, 5]], np.sign(observations[:, 8])])


GRIDS = {
    "cartpole": Grid(
        (
            Dimension("position", -2.4, 2.4, 6),
            Dimension("velocity", -3, 3, 6),
            Dimension("angle", -0.2095, 0.2095, 6),
            Dimension("angular velocity", -3.5, 3.5, 6),
        ),
        lambda observations: observations,
        (0, 1),
    ),
    "mountain-car": Grid(
        (Dimension("position", -1.2, 0.6, 18), Dimension("velocity", -0.07, 0.07, 14)),
        lambda observations: observations,
        (0, 1, 2),
    ),
    "pendulum": Grid(
        (Dimension("angle", -math.pi, math.pi, 16), Dimension("angular velocity", -8, 8, 16)),
        pendulum_numbers,
        Dimension("torque", -2, 2, 5, scaled=False),
    ),
    "represented-pong": Grid(
        (
            Dimension("player's y", 38, 204, 8),
            Dimension("ball's x", 48, 208, 8),
            Dimension("ball's y", 38, 208, 8),
            Dimension("ball's direction across", -1, 1, 3, scaled=False),
        ),
        pong_numbers,
        (0, 0, 2, 3, 2, 3),  # the fire button does nothing in play
    ),
}


def countable(env: str) -> bool:
    """Return whether an environment's states can be counted: it has bins, or a table of its transitions."""
    return env in GRIDS or hasattr(envs.make(env).unwrapped, "P")
