"""FrozenLake, the slippery 4x4 map: an action goes its own way in one case of three, else to a side."""

from typing import Any

from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from envs.base import Environment, walls


class SlipperyFrozenLake(FrozenLakeEnv):
    """The 4x4 map, slippery, whatever gymnasium's defaults become."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode, map_name="4x4", is_slippery=True)


def words(observation: Any) -> dict[str, str]:
    """Give row and column (from 0, top left) of the agent, and the `walls`: where the grid ends beside it."""
    row, column = divmod(int(observation), 4)
    return {"row": str(row), "column": str(column), "walls": walls(row, column, 4, 4)}


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
