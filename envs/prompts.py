"""Reading prompts/<env>/<style>.yaml: what an LLM is told of an environment, and the words for its actions."""

import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import yaml

from envs.errors import UsageError

Chat = list[dict[str, str]]
"""Messages as transformers and OpenAI-compatible servers take them: role and content."""
REQUIRED = {"system": str, "question": str, "reply": dict, "observation": str, "answer_start": str, "actions": dict}
OPTIONAL = {"memory": str, "examples": list}
REMEMBERED = ("place", "action", "reward", "next_place")


@dataclass(frozen=True)
class Prompt:
    """The text of one environment in one style. Only `observation` and `memory` have placeholders, in braces."""

    system: str
    """The rules of the game."""
    question: str
    """What is asked at every step."""
    reply: dict[str, str]
    """How to reply: `score` where action words are scored, `answer` to answer at once, `cot` to reason first."""
    observation: str
    """The observation sentence, filled from the environment's words(observation)."""
    answer_start: str
    """How the LLM's reply is made to begin where action words are scored."""
    actions: dict[str, Any]
    """Action words and the environment's actions that they stand for."""
    memory: str = ""
    """How an earlier move of the same episode is told, in environments with places; empty where there is none."""
    examples: list[dict[str, str]] = field(default_factory=list)
    """Earlier turns to show: each an `observation` sentence and the `answer` to it."""

    @property
    def placeholders(self) -> set[str]:
        """The names in braces in the observation sentence."""
        return _placeholders(self.observation)

    def chat(self, words: dict[str, str], reply: Literal["score", "answer", "cot"], remembered: str = "") -> Chat:
        """Return the messages for one observation. What never changes comes first, so that it is read only once."""
        told = [{"role": "system", "content": self.system}]
        for example in self.examples:
            told.append({"role": "user", "content": self._user(example["observation"], reply)})
            told.append({"role": "assistant", "content": f"{self.answer_start} {example['answer']}"})
        sentence = self.observation.format(**words) + (f"\n{remembered}" if remembered else "")
        return [*told, {"role": "user", "content": self._user(sentence, reply)}]

    def _user(self, sentence: str, reply: str) -> str:
        return f"{self.question} {self.reply[reply]}\n{sentence}"


def load_prompt(path: Path, env: gymnasium.Env, words: dict[str, str]) -> Prompt:
    """Read and check the prompt file of `env`, for which `words` is an example; raise UsageError for any mistake."""
    content = _read(path)
    kinds = REQUIRED | OPTIONAL
    if not isinstance(content, dict) or not set(REQUIRED) <= set(content) <= set(kinds):
        raise UsageError(
            f"Prompt file {path} must have the keys {', '.join(REQUIRED)}, and may have {' and '.join(OPTIONAL)}."
        )
    names = {str: "text", dict: "mapping", list: "list"}
    for key, value in content.items():
        if not isinstance(value, kinds[key]) or not value:
            raise UsageError(f"Prompt file {path}: {key} must be a {names[kinds[key]]}, not empty.")
    if any(not isinstance(content["reply"].get(way), str) for way in ("score", "answer", "cot")):
        raise UsageError(f"Prompt file {path}: reply must have the texts score, answer and cot.")
    actions = {word: _action(path, env, word, number) for word, number in content["actions"].items()}
    if len({word.lower() for word in actions}) < len(actions):
        raise UsageError(f"Prompt file {path}: two action words differ in nothing but case.")
    prompt = Prompt(**{**content, "actions": actions})
    _check_placeholders(path, "observation", prompt.observation, tuple(words))
    _check_placeholders(path, "memory", prompt.memory, REMEMBERED)
    if not prompt.placeholders:
        raise UsageError(f"Prompt file {path}: observation has no placeholder, and so would tell nothing.")
    for example in prompt.examples:
        if (
            not isinstance(example, dict)
            or set(example) != {"observation", "answer"}
            or not isinstance(example["answer"], str)
            or example["answer"] not in actions
        ):
            raise UsageError(f"Prompt file {path}: each example has an observation and, as answer, one of the actions.")
    return prompt


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no prompt file {path}: write it (prompts/README.md), give --prompt, or start in the root folder."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"Prompt file {path} is not valid YAML: {error}.") from error


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def _check_placeholders(path: Path, key: str, text: str, known: tuple[str, ...]) -> None:
    try:
        unknown = sorted(_placeholders(text) - set(known))
        text.format(**dict.fromkeys(_placeholders(text), ""))
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise UsageError(f"Prompt file {path}: {key} has a wrong placeholder or brace ({error}).") from error
    if unknown:
        there = ", ".join(known)
        raise UsageError(f"Prompt file {path}: {key} has the placeholder {{{unknown[0]}}}; there are {there}.")


def _action(path: Path, env: gymnasium.Env, word: Any, number: Any) -> Any:
    if not isinstance(word, str) or not word.strip():
        raise UsageError(f"Prompt file {path}: put the action word {word!r} in quotes, not empty.")
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    if type(number) is int or (type(number) is float and not discrete):
        action = number if discrete else np.array([number], dtype=env.action_space.dtype)
        if env.action_space.contains(action):
            return action
    raise UsageError(f"Prompt file {path}: '{word}' stands for {number}, which is no action of this environment.")
