"""CliffWalking on the 4x12 grid: -1 a step, -100 and back to the start for the cliff; cut off after 200 steps."""

from typing import Any

from envs.base import Environment, walls


def words(observation: Any) -> dict[str, str]:
    """Give row and column (from 0, top left) of the agent, and the `walls`: where the grid ends beside it."""
    row, column = divmod(int(observation), 12)
    return {"row": str(row), "column": str(column), "walls": walls(row, column, 4, 12)}


ENVIRONMENT = Environment(
    name="cliff-walking",
    title="CliffWalking",
    entry_point="gymnasium.envs.toy_text.cliffwalking:CliffWalkingEnv",
    horizon=200,
    iterations=200,
    learner="dqn",
    words=words,
    deterministic=True,
    fixed_start=True,
)
