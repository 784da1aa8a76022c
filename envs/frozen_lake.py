"""FrozenLake, the slippery 4x4 map: an action goes its own way in one case of three, else to a side."""

from typing import Any

from gymnasium.envs.toy_text.frozen_lake import MAPS, FrozenLakeEnv

from envs.base import Environment, grid_words

CELLS = {"S": "ice", "F": "ice", "H": "a hole", "G": "the goal"}


class SlipperyFrozenLake(FrozenLakeEnv):
    """The 4x4 map, slippery, whatever gymnasium's defaults become."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode, map_name="4x4", is_slippery=True)


def words(observation: Any) -> dict[str, str]:
    """Give the agent's row and column (from 0, top left), what lies beside it, and where the goal is (`grid_words`)."""
    return grid_words(int(observation), [[CELLS[letter] for letter in row] for row in MAPS["4x4"]])


ENVIRONMENT = Environment(
    name="frozen-lake",
    title="FrozenLake",
    entry_point="envs.frozen_lake:SlipperyFrozenLake",
    horizon=100,
    iterations=150,
    learner="dqn",
    words=words,
    fixed_start=True,
)
