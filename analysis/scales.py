"""What a return means in each environment: the normalised scale of all tables, and the bounds that no return leaves."""

from typing import NamedTuple


class Scale(NamedTuple):
    """The returns per episode that are 0 and 1 on the normalised scale."""

    random: float
    expert: float
    source: str

    @property
    def width(self) -> float:
        """The distance from random play to the expert."""
        return self.expert - self.random


AUTHORS = "extract_cumulative_rewards_table.py of duongnhatthang/LORO (2026), for the paper's later version"
SCALES = {
    "cartpole": Scale(20, 200, f"{AUTHORS}; 200 is the limit of steps"),
    "frozen-lake": Scale(0.03, 1, f"{AUTHORS}; no policy reaches 1: the best succeeds in 0.74 of cases in 100 steps"),
    "cliff-walking": Scale(-2120, -13, f"{AUTHORS}; -13 is the shortest path's return"),
    "mountain-car": Scale(-200, -110, f"{AUTHORS}; -110 is where the task counts as solved"),
    "pendulum": Scale(-1180, -150, AUTHORS),
    "represented-pong": Scale(-5, 21, f"{AUTHORS}; 21 is a whole game's, out of reach in evaluations of 200 steps"),
}

BOUNDS = {
    "cartpole": (1, 200),
    "frozen-lake": (0, 1),
    "cliff-walking": (-20_000, -13),
    "mountain-car": (-200, -83),
    "pendulum": (-3300, 0),
    "represented-pong": (-21, 21),
}
"""No evaluation's return lies outside: 200 falls off the cliff and the shortest path, a step paid each; the fewest
steps from MountainCar's best start, with thrust away from the flag and then towards it; Pendulum's costs of at most
pi^2 + 0.1 * 8^2 + 0.001 * 2^2 = 16.3 a step. Not all of these are reached by any policy."""
