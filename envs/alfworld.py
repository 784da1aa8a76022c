"""Household tasks in words: ALFWorld's pick-and-place games behind the interface of the text environments.

A player goes from receptacle to receptacle, opens, takes, and moves things, to put an object of one kind into a
receptacle of another. `alfworld` is for training, `alfworld-unseen` has other combinations of object and receptacle.
The games are ALFWorld's own where ALFWORLD_DATA names their folder, else of our making (`envs.alfworld_games`).

Importing this module registers `loro/alfworld-v0` and `loro/alfworld-unseen-v0` with gymnasium; making one of them
needs the optional extra (`make alfworld`).
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from envs.alfworld_games import Game, Split, games
from envs.errors import UsageError

if TYPE_CHECKING:
    from envs.alfworld_engine import Engine, Situation

GOAL = re.compile(r"Your task is to: (.*?)\.?\s*$", re.DOTALL)
"""How the engine's first text ends."""
WELCOME = re.compile(r"^-=.*?=-\s*")
"""How it begins."""
PUT = re.compile(r"put (?:an?|some) (\w+) (?:in|on) (\w+)")
"""How a goal is told: the object's type and the receptacle's."""
HELD = re.compile(r"You hold (?:an? )?(\w+)")
"""What is in the player's hand, or nothing."""
MOST_ACTIONS = 1000
"""More admissible actions than any game has at once."""
LONGEST_TEXT = 10_000
"""Characters, more than any game's text has."""


@dataclass(frozen=True)
class TextEnvironment:
    """What learners, LLMs and figures need to know of one of the two sets of games."""

    name: str
    """Name in files and on command lines: lower case, hyphens."""
    title: str
    """Name in figures."""
    split: Split
    """Which games are played."""
    horizon: int = 61
    """Commands after which an episode is cut off (a truncation): as many as in the paper's released code."""

    @property
    def gym_id(self) -> str:
        """The id under which gymnasium knows this environment."""
        return f"loro/{self.name}-v0"


TEXT_ENVIRONMENTS: dict[str, TextEnvironment] = {
    environment.name: environment
    for environment in (
        TextEnvironment(name="alfworld", title="ALFWorld (pick and place)", split="train"),
        TextEnvironment(name="alfworld-unseen", title="ALFWorld (unseen tasks)", split="unseen"),
    )
}


def sensible(text: str, commands: Sequence[str]) -> list[int]:
    """Return the places of the commands that make sense to who knows what the task means, and only reads `text`.

    Take the object where it is seen, carry it to a receptacle of the kind that is wanted, open what is closed on the
    way, put down what is not wanted, else go and look anywhere. No planner, no memory: where things are is not known.
    Raises UsageError for a text that tells no such task.
    """
    goal, hand = PUT.search(text), HELD.search(text)
    if goal is None or hand is None:
        raise UsageError(f"This text tells no pick-and-place task: '{text}'.")
    wanted, place, held = *goal.groups(), hand[1]
    if held == wanted:
        tries = (rf"move {wanted} .* to {place} \d+", rf"open {place} \d+", rf"go to {place} \d+")
    elif held == "nothing":
        tries = (rf"take {wanted} \d+ from (?!{place} ).*", r"open .*")
    else:
        tries = (rf"move .* to (?!{place} ).*",)
    for pattern in (*tries, "go to .*"):
        if found := [number for number, command in enumerate(commands) if re.fullmatch(pattern, command)]:
            return found
    return list(range(len(commands)))


class AlfWorld(gymnasium.Env):
    """The games of one of `TEXT_ENVIRONMENTS` as a gymnasium environment, a game an episode.

    An action is the number of one of `info["actions"]`, the commands that do something now, sorted; their number
    changes from step to step, and `action_space.n` with it. An observation is the text itself: the engine's answer to
    the last command, what the player holds (as the command "inventory" would tell), and the task. What lies in places
    not looked at is never told. Reaching the goal is rewarded with 1 and terminates; the horizon truncates.

    `info` holds "text", "actions", "success" (whether the goal is reached), "goal" (the task's words) and "game"
    (which one it is). `reset` draws a game with the environment's generator, or plays `options={"game": number}`.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, name: str = "alfworld", render_mode: str | None = None) -> None:
        """Raise UsageError for an unknown name, without the optional extra, and where ALFWORLD_DATA has no games."""
        if name not in TEXT_ENVIRONMENTS:
            raise UsageError(f"Unknown environment '{name}': choose one of {', '.join(TEXT_ENVIRONMENTS)}.")
        from envs import alfworld_engine  # the optional extra: its absence is told here, not in the first episode

        self._load = alfworld_engine.Engine
        self.environment = TEXT_ENVIRONMENTS[name]
        self.games: list[Game] = games(self.environment.split)
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(MOST_ACTIONS)
        self.observation_space = gymnasium.spaces.Text(LONGEST_TEXT, charset=string.printable)
        self._engines: dict[int, Engine] = {}
        self.game, self.goal, self.steps, self.over = 0, "", 0, True
        self.situation: Situation | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[str, dict]:
        """Start a game: the one that `options["game"]` numbers, else any. A game's first time takes about a second."""
        super().reset(seed=seed)
        number = (options or {}).get("game")
        self.game = int(self.np_random.integers(len(self.games))) if number is None else number
        if not 0 <= self.game < len(self.games):
            raise UsageError(f"There is no game {self.game}: choose one of 0 to {len(self.games) - 1}.")
        self.situation = self.engine.begin()
        self.goal = GOAL.search(self.situation.feedback)[1]
        self.steps, self.over = 0, False
        return self._observe()

    def step(self, action: int) -> tuple[str, float, bool, bool, dict]:
        """Give a command.

        Raises InvalidAction where there is no such action now, ResetNeeded when the episode is over.
        """
        if self.over:
            raise gymnasium.error.ResetNeeded("The episode is over: call reset before another step.")
        if not self.action_space.contains(action):
            raise gymnasium.error.InvalidAction(f"{action!r} is no action: give one of 0 to {self.action_space.n - 1}.")
        self.situation = self.engine.play(self.situation.commands[int(action)])
        self.steps += 1
        terminated = self.situation.won
        truncated = not terminated and self.steps >= self.environment.horizon
        self.over = terminated or truncated
        observation, info = self._observe()
        return observation, float(terminated), terminated, truncated, info

    @property
    def engine(self) -> "Engine":
        """The engine of the game that is played, loaded when first needed."""
        if self.game not in self._engines:
            self._engines[self.game] = self._load(self.games[self.game].content)
        return self._engines[self.game]

    def plan(self) -> list[str]:
        """Return the planner's commands from here to the goal: an oracle, for scripted play, never for a player."""
        return self.engine.plan()

    def text(self, observation: str) -> str:
        """Return the observation: it is its own text."""
        return observation

    def render(self) -> str | None:
        """Return the text of the present state, the only rendering there is."""
        return self._text() if self.render_mode == "ansi" else None

    def _text(self) -> str:
        feedback = GOAL.sub("", WELCOME.sub("", self.situation.feedback))
        hand = f"a {self.situation.held}" if self.situation.held else "nothing"
        return " ".join(f"{feedback} You hold {hand}. Your task is to: {self.goal}.".split())

    def _observe(self) -> tuple[str, dict[str, Any]]:
        # The space is kept and its size changed, so that its generator goes on.
        self.action_space.n = np.int64(len(self.situation.commands))
        text = self._text()
        return text, {
            "text": text,
            "actions": list(self.situation.commands),
            "success": self.situation.won,
            "goal": self.goal,
            "game": self.games[self.game].name,
        }


for _environment in TEXT_ENVIRONMENTS.values():
    if _environment.gym_id not in gymnasium.registry:
        gymnasium.register(
            id=_environment.gym_id, entry_point="envs.alfworld:AlfWorld", kwargs={"name": _environment.name}
        )
