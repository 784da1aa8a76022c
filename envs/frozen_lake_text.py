"""FrozenLake in words: gymnasium's 4x4 map, firm or slippery, behind the interface of the text environments.

The text says where the player stands and what lies on the four sides, no more: holes and the goal come into sight one
cell away, and nothing names them before. It is a different text in each of the 16 cells, hence Markov.

Importing this module registers `loro/frozen-lake-text-v0` and `loro/frozen-lake-text-slippery-v0` with gymnasium.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.toy_text.frozen_lake import MAPS, FrozenLakeEnv

from envs.base import grid_words
from envs.errors import UsageError
from envs.frozen_lake import CELLS

MAP = MAPS["4x4"]
SIDES = ("left", "down", "right", "up")
"""The actions, in gymnasium's order."""
GOAL = "To reach the goal without falling into a hole"


@dataclass(frozen=True)
class TextEnvironment:
    """What learners, LLMs and figures need to know of one of the two lakes."""

    name: str
    """Name in files and on command lines: lower case, hyphens."""
    title: str
    """Name in figures."""
    slippery: bool
    """Whether an action goes its own way in one case of three only, else to a side."""
    horizon: int
    """Steps after which an episode is cut off (a truncation, never a termination)."""

    @property
    def gym_id(self) -> str:
        """The id under which gymnasium knows this environment."""
        return f"loro/{self.name}-v0"

    @property
    def goal(self) -> str:
        """The purpose, as the first half of a sentence."""
        return GOAL

    def text(self, observation: int) -> str:
        """Put a cell's number into words, ending with the opening of the question of what to do next."""
        return f"{self.scene(observation)} {self.goal}, you should next"

    def scene(self, observation: int) -> str:
        """Put a cell's number (0..15, row by row) into words, without the clause on what to do next."""
        cells = [[CELLS[letter] for letter in row] for row in MAP]
        words = grid_words(int(observation), cells)
        cell = cells[int(words["row"])][int(words["column"])]
        if cell == "the goal":
            return f"You have reached the goal in {words['place']}."
        if cell == "a hole":
            return f"You have fallen into a hole in {words['place']}."
        ice = "slippery ice, on which a step may take you to the side" if self.slippery else "firm ice"
        return (
            f"You are on {ice}, in {words['place']}. To your left is {words['left']}, to your right is "
            f"{words['right']}, above you is {words['up']}, below you is {words['down']}."
        )

    def action_texts(self, observation: int) -> list[str]:
        """Return the words for each action, in the order of their numbers: the same in every cell."""
        return [f"move {side}" for side in SIDES]


TEXT_ENVIRONMENTS: dict[str, TextEnvironment] = {
    environment.name: environment
    for environment in (
        # The paper on LLM priors does not say; settings left in its released code have a firm lake and 20 steps.
        TextEnvironment(name="frozen-lake-text", title="FrozenLake (text)", slippery=False, horizon=20),
        # The horizon of the frozen lake without words.
        TextEnvironment(
            name="frozen-lake-text-slippery", title="FrozenLake (text, slippery)", slippery=True, horizon=100
        ),
    )
}


class FrozenLakeText(FrozenLakeEnv):
    """One of `TEXT_ENVIRONMENTS` as a gymnasium environment: gymnasium's own dynamics, with words in `info`.

    Observations are cells (0..15, row by row), actions 0..3 left, down, right, up. The goal is rewarded with 1 and
    terminates, a hole terminates, the horizon truncates. `info` holds "text", "actions" (the words for the actions)
    and "success" (whether the goal has been reached). `P`, gymnasium's table of transitions, and `s`, the cell, are
    open to planners.
    """

    def __init__(self, name: str = "frozen-lake-text", render_mode: str | None = None) -> None:
        if name not in TEXT_ENVIRONMENTS:
            raise UsageError(f"Unknown environment '{name}': choose one of {', '.join(TEXT_ENVIRONMENTS)}.")
        self.environment = TEXT_ENVIRONMENTS[name]
        super().__init__(render_mode=render_mode, map_name="4x4", is_slippery=self.environment.slippery)
        self.steps, self.over = 0, True

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        """Start over, top left."""
        observation, _ = super().reset(seed=seed, options=options)
        self.steps, self.over = 0, False
        return observation, self._describe(observation)

    def step(self, a: int) -> tuple[int, float, bool, bool, dict]:
        """Move.

        Raises InvalidAction where there is no such action, ResetNeeded when the episode is over.
        """
        if not self.action_space.contains(a):
            raise gymnasium.error.InvalidAction(f"{a!r} is no action: give one of 0 to {self.action_space.n - 1}.")
        if self.over:
            raise gymnasium.error.ResetNeeded("The episode is over: call reset before another step.")
        observation, reward, terminated, _, _ = super().step(int(a))
        self.steps += 1
        truncated = not terminated and self.steps >= self.environment.horizon
        self.over = terminated or truncated
        return observation, float(reward), terminated, truncated, self._describe(observation)

    def text(self, observation: int) -> str:
        """Put an observation into words."""
        return self.environment.text(observation)

    def action_texts(self, observation: int) -> list[str]:
        """Return the words for each action, given an observation."""
        return self.environment.action_texts(observation)

    def _describe(self, observation: int) -> dict[str, Any]:
        row, column = divmod(observation, self.ncol)
        return {
            "text": self.text(observation),
            "actions": self.action_texts(observation),
            "success": MAP[row][column] == "G",
        }


for _environment in TEXT_ENVIRONMENTS.values():
    if _environment.gym_id not in gymnasium.registry:
        gymnasium.register(
            id=_environment.gym_id,
            entry_point="envs.frozen_lake_text:FrozenLakeText",
            kwargs={"name": _environment.name},
        )
