"""Every environment that can be told in words, behind one interface: what is seen, what can be done, in words.

The text environments (Overcooked, FrozenLake, ALFWorld) speak for themselves. For LORO's environments with discrete
actions the sentences and words for the actions are those of prompts/<env>/: the numeric style tells one state from
another, whatever the style is in which an LLM is told of it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import yaml

import envs
from envs import alfworld, frozen_lake_text, overcooked
from envs.errors import UsageError
from envs.prompts import Chat, load_prompt

TEXT_ENVIRONMENTS = overcooked.TEXT_ENVIRONMENTS | frozen_lake_text.TEXT_ENVIRONMENTS | alfworld.TEXT_ENVIRONMENTS
NAMES = (*TEXT_ENVIRONMENTS, *(name for name, environment in envs.ENVIRONMENTS.items() if environment.learner == "dqn"))
NOTHING = "N/A"
"""What is told where nothing is observed, to take a model's liking for the words themselves away."""
PROMPT = Path("prompts") / "text_game.yaml"
"""How an LLM is asked for an action where the environment speaks for itself."""


def describe(name: str) -> Any:
    """Return the description (`name`, `title`, `horizon`, ...) of an environment, in words or not.

    Raises UsageError for an unknown name.
    """
    return TEXT_ENVIRONMENTS[name] if name in TEXT_ENVIRONMENTS else envs.get(name)


def make(name: str) -> gymnasium.Env:
    """Make an environment, in words or not."""
    if name in TEXT_ENVIRONMENTS:
        return gymnasium.make(TEXT_ENVIRONMENTS[name].gym_id, disable_env_checker=True).unwrapped
    return envs.make(name)


class Situation(NamedTuple):
    """A state as a player meets it."""

    text: str
    """The state in words."""
    actions: tuple[str, ...]
    """The words for the admissible actions."""
    told: str
    """What an LLM is told of the state."""
    numbers: tuple[float, ...]
    """The observation as numbers, one-hot where it is a number of a state; empty where the text is all there is."""


class TextGame:
    """One environment in words; an action is the place of its words among `Situation.actions`."""

    def __init__(self, name: str, style: Literal["verbal", "numeric"] = "numeric") -> None:
        """`style`: how an LLM is told of LORO's environments. Raise UsageError for an unknown name."""
        if name not in NAMES:
            raise UsageError(f"Unknown environment '{name}': choose one of {', '.join(NAMES)}.")
        self.name, self.speaks = name, name in TEXT_ENVIRONMENTS
        environment = TEXT_ENVIRONMENTS[name] if self.speaks else envs.get(name)
        self.horizon, self.environment = environment.horizon, environment
        # ALFWorld, the optional extra, is not made before it is played.
        space = None if name in alfworld.TEXT_ENVIRONMENTS else self.make().observation_space
        self.cells = int(space.n) if isinstance(space, gymnasium.spaces.Discrete) else 0
        """In grid worlds, how many states there are."""
        self.prompt_file = PROMPT if self.speaks else Path("prompts") / name / f"{style}.yaml"
        self.numbers_of_actions: list[int] | None = None
        """The environment's own numbers of the actions, where these have other places here."""
        if self.speaks:
            self.form = yaml.safe_load(PROMPT.read_text(encoding="utf-8"))
            self.answer_start: str = self.form["answer_start"]
            self.nothing = NOTHING
        else:
            env = self.make()
            words = environment.words(env.reset(seed=0)[0])
            self.prompt = load_prompt(self.prompt_file, env, words)
            self.stating = load_prompt(self.prompt_file.with_stem("numeric"), env, words)
            self.answer_start = self.prompt.answer_start
            # The sentence with all its gaps empty, as algos/collect.py has it: both papers' LLMs are calibrated alike.
            self.nothing = self.prompt.observation.format(**dict.fromkeys(self.prompt.placeholders, NOTHING))
            first = {int(number): word for word, number in reversed(self.prompt.actions.items())}
            self.numbers_of_actions = sorted(first)
            self.words = tuple(first[number] for number in self.numbers_of_actions)

    def make(self) -> gymnasium.Env:
        """Make the environment. Where it does not itself end an episode at the horizon, the player does."""
        return make(self.name).unwrapped

    def read(self, observation: Any, info: dict[str, Any]) -> Situation:
        """Return the situation that a reset or a step has led to."""
        numbers = self._numbers(observation)
        if self.speaks:
            return Situation(info["text"], tuple(info["actions"]), info["text"], numbers)
        words = self.environment.words(observation)
        told = self.prompt.observation.format(**words)
        return Situation(self.stating.observation.format(**words), self.words, told, numbers)

    def recall(self, observation: Any) -> Situation:
        """Return the situation that a recorded observation stands for.

        Raises UsageError where an observation does not tell the admissible actions (ALFWorld).
        """
        if self.name in alfworld.TEXT_ENVIRONMENTS:
            raise UsageError(f"The observations of {self.name} do not tell what can be done: its episodes are no data.")
        if not self.speaks:
            return self.read(observation, {})
        texts = {"text": self.environment.text(observation), "actions": self.environment.action_texts(observation)}
        return self.read(observation, texts)

    def place(self, action: int) -> int:
        """Return the place of an environment's action among the admissible ones, -1 where it is none of them."""
        if self.numbers_of_actions is None:
            return int(action)
        return self.numbers_of_actions.index(action) if action in self.numbers_of_actions else -1

    def _numbers(self, observation: Any) -> tuple[float, ...]:
        if isinstance(observation, str):
            return ()
        if np.ndim(observation) > 0:
            return tuple(np.asarray(observation, dtype=float).tolist())
        return tuple(np.eye(self.cells)[int(observation)].tolist())

    def action(self, place: int) -> int:
        """Return the environment's number of an action."""
        return place if self.numbers_of_actions is None else self.numbers_of_actions[place]

    def situations(self) -> list[Situation] | None:
        """Return every situation in which an action can be asked for; None where they cannot be listed beforehand."""
        if self.name in overcooked.TEXT_ENVIRONMENTS:
            return self._kitchens()
        if not self.cells:
            return None
        cells = range(self.cells)
        if self.speaks:
            land = "".join(frozen_lake_text.MAP)
            return [self.recall(cell) for cell in cells if land[cell] not in "HG"]
        return [self.recall(cell) for cell in cells]

    def _kitchens(self) -> list[Situation]:
        """Walk through all states of the kitchen; different states may look the same."""
        situations: dict[str, Situation] = {}
        for state in overcooked.reachable(self.environment):
            situation = self.recall(self.environment.observation(state))
            situations.setdefault(situation.text, situation)
        return list(situations.values())

    def chat(self, told: str, actions: tuple[str, ...]) -> Chat:
        """Return the messages that ask an LLM for an action."""
        if not self.speaks:
            sentence = told.replace("{", "{{").replace("}", "}}")
            return replace(self.prompt, observation=sentence).chat({}, "score")
        listed = "\n".join(f"- {action}" for action in actions)
        user = self.form["text"].format(told=told, actions=listed)
        return [{"role": "system", "content": self.form["system"]}, {"role": "user", "content": user}]
