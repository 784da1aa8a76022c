"""The one interface that every environment of the package offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Environment:
    """What the learners, the LLM and the figures need to know of an environment (paper, section on experiments)."""

    name: str
    """Name in files and on command lines: lower case, hyphens."""
    title: str
    """Name in figures."""
    entry_point: str
    """Where gymnasium finds the class."""
    horizon: int
    """Steps after which an episode is cut off (a truncation, never a termination)."""
    iterations: int
    """Length of the paper's x-axis: one iteration is 200 training steps and one evaluation."""
    learner: Literal["dqn", "sac"]
    """The algorithm that the paper uses."""
    words: Callable[[Any], dict[str, str]]
    """Maps one observation to the named words and numbers that the prompt's observation sentence is filled with."""
    deterministic: bool = False
    """True where start and dynamics are deterministic: one greedy evaluation episode says all."""
    fixed_start: bool = False
    """True where every episode starts from the same observation."""

    @property
    def gym_id(self) -> str:
        """The id under which gymnasium knows this environment."""
        return f"loro/{self.name}-v0"
