"""Reading prompts/<env>.yaml: the text that an LLM sees of an environment, and the words for its actions."""

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml

from envs.errors import UsageError


@dataclass(frozen=True)
class Prompt:
    """The text of one environment. Only `observation` has placeholders, in braces."""

    system: str
    """The rules of the game."""
    question: str
    """What is asked at every step."""
    reply: dict[str, str]
    """How to reply: `score` where action words are scored, `answer` where the LLM writes freely."""
    observation: str
    """The observation sentence, filled from the environment's words(observation)."""
    answer_start: str
    """How the LLM's reply is made to begin where action words are scored."""
    actions: dict[str, Any]
    """Action words and the environment's actions that they stand for."""

    @property
    def placeholders(self) -> set[str]:
        """The names in braces in the observation sentence."""
        return {name for _, name, _, _ in string.Formatter().parse(self.observation) if name is not None}


def load_prompt(path: Path, env: gymnasium.Env, words: dict[str, str]) -> Prompt:
    """Read and check the prompt file of `env`, for which `words` is an example; raise UsageError for any mistake."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no prompt file {path}: start from the repository root, or give --prompt."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"Prompt file {path} is not valid YAML: {error}.") from error
    kinds = {"system": str, "question": str, "reply": dict, "observation": str, "answer_start": str, "actions": dict}
    if not isinstance(content, dict) or set(content) != set(kinds):
        raise UsageError(f"Prompt file {path} must have exactly the keys {', '.join(kinds)}.")
    for key, kind in kinds.items():
        if not isinstance(content[key], kind) or not content[key]:
            raise UsageError(f"Prompt file {path}: {key} must be a {'text' if kind is str else 'mapping'}, not empty.")
    if any(not isinstance(content["reply"].get(way), str) for way in ("score", "answer")):
        raise UsageError(f"Prompt file {path}: reply must have the texts score and answer.")
    actions = {word: _action(path, env, word, number) for word, number in content["actions"].items()}
    prompt = Prompt(**{**content, "actions": actions})
    try:
        unknown = sorted(prompt.placeholders - set(words))
        prompt.observation.format(**{name: words.get(name, "") for name in prompt.placeholders})
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise UsageError(f"Prompt file {path}: observation has a wrong placeholder or brace ({error}).") from error
    if unknown:
        known = ", ".join(words)
        raise UsageError(f"Prompt file {path}: there is no placeholder {{{unknown[0]}}}; there are {known}.")
    return prompt


def _action(path: Path, env: gymnasium.Env, word: Any, number: Any) -> Any:
    if not isinstance(word, str):
        raise UsageError(f"Prompt file {path}: put the action word {word} in quotes.")
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    if type(number) is int or (type(number) is float and not discrete):
        action = number if discrete else np.array([number], dtype=env.action_space.dtype)
        if env.action_space.contains(action):
            return action
    raise UsageError(f"Prompt file {path}: '{word}' stands for {number}, which is no action of this environment.")
