"""The one interface that every environment of the package offers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Action = TypeVar("Action")


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
    noop: Any = None
    """The action that does nothing, where there is one."""
    deterministic: bool = False
    """True where start and dynamics are deterministic: one greedy evaluation episode says all."""
    fixed_start: bool = False
    """True where every episode starts from the same observation."""
    endless: bool = False
    """True where no state is terminal: without a horizon an episode would never end."""

    @property
    def gym_id(self) -> str:
        """The id under which gymnasium knows this environment."""
        return f"loro/{self.name}-v0"


def direction(number: float, negative: str, positive: str, zero: str) -> str:
    """Put the sign of a number into a word."""
    if number == 0:
        return zero
    return negative if number < 0 else positive


def grid_words(cell: int, cells: list[list[str]]) -> dict[str, str]:
    """Describe where one stands on a grid: `cells` names what is in each row's columns, "the goal" among them.

    `row`, `column` (from 0, top left) and both as `place`; `left`, `right`, `up`, `down`: what lies on that side;
    `goal`: which way the goal is ("down and right").
    """
    rows, columns = len(cells), len(cells[0])
    row, column = divmod(cell, columns)
    sides = {"left": (row, column - 1), "right": (row, column + 1), "up": (row - 1, column), "down": (row + 1, column)}
    goal_row, goal_column = next((i, names.index("the goal")) for i, names in enumerate(cells) if "the goal" in names)
    ways = (direction(goal_row - row, "up", "down", ""), direction(goal_column - column, "left", "right", ""))
    return {
        "row": str(row),
        "column": str(column),
        "place": f"row {row}, column {column}",
        **{side: cells[i][j] if 0 <= i < rows and 0 <= j < columns else "the border" for side, (i, j) in sides.items()},
        "goal": " and ".join(filter(None, ways)) or "here",
    }


THOUGHTS = re.compile(r".*</think>", re.DOTALL)
"""What a reasoning model writes before its answer."""
MARKER = re.compile(r"\b(?:answer|action)\b[\s*_]*(?::|\bis\b)", re.IGNORECASE)
""" "Answer:", "**Action**:", "the best action is": what follows is the answer."""
NEGATION = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bavoid|\binstead of|\brather than)(?:\s+(?!but\b)\w+){0,2}\s+$", re.IGNORECASE
)
"""Up to two words ("go to the" is one too many) may stand between the negation and the action that it denies."""


def parse_answer(answer: str, actions: Mapping[str, Action]) -> Action | None:
    """Return the one action that `answer` states, or None when it states none or several different ones.

    `actions` maps the words for the actions ("left", "hard left") to the actions; words that map to the same action
    are synonyms. Words count only whole, in any case, the longest first ("hard left" is not also "left"), and not
    where they are denied ("not left"). What a reasoning model thinks, up to "</think>", is no answer. After the last
    "answer:" or "action:" the first line that states anything decides; without a marker, or when nothing is stated
    after it, the whole text does. A digit or word that is merely the last in sight is never taken.
    """
    text = THOUGHTS.sub("", answer)
    if "<think>" in text:  # an unfinished thought
        return None
    candidates = [text]
    markers = list(MARKER.finditer(text))
    if markers:
        candidates = [*text[markers[-1].end() :].splitlines(), text]
    for candidate in candidates:
        stated = _stated_actions(candidate, actions)
        if stated:
            return stated[0] if all(action == stated[0] for action in stated) else None
    return None


def _stated_actions(text: str, actions: Mapping[str, Action]) -> list[Action]:
    by_word = {word.lower(): action for word, action in actions.items()}
    spellings = [r"\s+".join(map(re.escape, word.split())) for word in sorted(by_word, key=len, reverse=True)]
    whole_word = re.compile(r"(?<![\w-])(?<!\d\.)(" + "|".join(spellings) + r")(?![\w-])(?!\.\d)", re.IGNORECASE)
    return [
        by_word[" ".join(match[1].lower().split())]
        for match in whole_word.finditer(text)
        if not NEGATION.search(text[: match.start()])
    ]
