"""CliffWalking on the 4x12 grid: -1 a step, -100 and back to the start for the cliff; cut off after 200 steps."""

from typing import Any

from envs.base import Environment, grid_words

CELLS = [["free ground"] * 12] * 3 + [["free ground"] + ["the cliff"] * 10 + ["the goal"]]


def words(observation: Any) -> dict[str, str]:
    """Give the agent's row and column (from 0, top left), what lies beside it, and where the goal is (`grid_words`)."""
    return grid_words(int(observation), CELLS)


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
