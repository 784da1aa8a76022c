"""How an LLM that is told of an observation comes to an action: five ways, as in LORO (arXiv 2505.10861) and beyond.

  score    the log-probabilities of the action words as the reply's beginning; the action is drawn from them
  answer   the LLM answers at once; the action is what its answer states (envs.base.parse_answer)
  cot      it reasons first, then answers (the paper's way)
  vote     it reasons and answers several times; the majority decides
  best     it reasons and answers several times, and then judges which answer is best

Nothing here remembers an episode: each decision depends on the player's history and on random numbers keyed by
(seed, episode, purpose, step, answer), so that it can be made again at any time, in any batch and in any process.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import yaml

import envs
from algos.llm import LocalLLM, Reading, Sampling, ServerLLM
from envs.base import parse_answer
from envs.datasets import Episode
from envs.errors import Failure
from envs.prompts import Chat, Prompt

ENVIRONMENT_STREAM, ACTION_STREAM, ANSWER_STREAM = range(3)
"""Purposes of random numbers: the environment's own, the choice among actions, the LLM's writing."""
JUDGE = Path("prompts") / "judge.yaml"

Row = dict[str, Any]
"""A decision as it is recorded: `action` (a number or a list of numbers), how it was `parsed`, and what led to it."""


@dataclass(kw_only=True)
class Deciding:
    """How decisions are made; each field is an argument of algos/collect.py."""

    decide: Literal["score", "answer", "cot", "vote", "best"] = "score"
    """score: among the action words, by their probabilities. answer, cot: what a short answer states, or one after
    reasoning. vote: the majority of several such answers; best: the one that the model judges best"""
    temperature: float = 0.9
    """divides the log-probabilities, of action words or of tokens; 0 takes the likeliest (0.9: the paper's)"""
    top_p: float = 0.6
    """draw among the likeliest, action words or tokens, that make up this probability (0.6: the paper's)"""
    calibrate: bool = False
    """score: subtract the log-probabilities that the words have when nothing is observed (Zhao et al. 2021)"""
    length_normalised: bool = False
    """score: divide each word's log-probability by its number of tokens"""
    max_new_tokens: int = 512
    """longest answer, in tokens (the paper allows 2000)"""
    answers: int = 5
    """vote and best: number of answers (the paper's)"""
    on_invalid: Literal["random", "noop", "error"] = "random"
    """where no action is stated: draw one of the prompt's, do nothing (where the environment can), or stop"""
    memory: int = 0
    """grid worlds: tell the LLM the last so many different moves of the episode, and what each gave"""


@dataclass
class Player:
    """One episode while it is played."""

    index: int
    env: gymnasium.Env
    seed: int  # what the environment was reset with
    observations: list[Any]
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)  # (termination, truncation) of every step

    @property
    def step_key(self) -> tuple[int, int]:
        """What identifies the next decision: episode and step."""
        return self.index, len(self.actions)

    @property
    def playing(self) -> bool:
        """True until the episode has ended or was cut off."""
        return not self.ends or not any(self.ends[-1])

    def random(self, seed: int, purpose: int, answer: int = 0) -> list[int]:
        """Return the key of this step's random numbers."""
        return [seed, self.index, purpose, len(self.actions), answer]

    def step(self, action: Any) -> None:
        """Take `action`, a number or list as in the transcript, and keep what follows."""
        space = self.env.action_space
        taken = action if isinstance(space, gymnasium.spaces.Discrete) else np.array(action, dtype=space.dtype)
        observation, reward, *ends, _ = self.env.step(taken)
        self.actions.append(taken)
        self.observations.append(observation)
        self.rewards.append(float(reward))
        self.ends.append((bool(ends[0]), bool(ends[1])))

    def episode(self) -> Episode:
        """Return what was played."""
        ends = np.array(self.ends, dtype=bool).T
        return Episode(np.array(self.observations), np.array(self.actions), np.array(self.rewards), *ends)


class LLMPolicy:
    """What an LLM decides, told in words, with a memo of the readings that are not random."""

    def __init__(
        self,
        env: str,
        llm: LocalLLM | ServerLLM,
        prompt: Prompt,
        how: Deciding,
        seed: int,
        memo: dict[str, Reading] | None = None,
    ) -> None:
        """`memo`: the readings that are known already, by the digest of the rendered prompt; None: read every time."""
        self.environment, self.llm, self.prompt, self.how, self.seed = envs.get(env), llm, prompt, how, seed
        self.memo = memo if how.decide == "score" or how.temperature == 0 else None
        self.reply: Literal["score", "answer", "cot"] = how.decide if how.decide in ("score", "answer") else "cot"
        self.count = how.answers if how.decide in ("vote", "best") else 1
        self.sampling = Sampling(how.temperature, how.top_p, how.max_new_tokens)
        self.actions = {word: np.asarray(action).tolist() for word, action in prompt.actions.items()}
        first = {str(action): word for word, action in reversed(self.actions.items())}
        self.meanings = {word: first[str(action)] for word, action in self.actions.items()}  # synonyms mean one word
        fillings = [dict.fromkeys(prompt.placeholders, text) for text in ("0", "left")]
        self.prefix = llm.shared(*(prompt.chat(words, self.reply) for words in fillings))
        self.baseline, self.lengths = dict.fromkeys(prompt.actions, 0.0), dict.fromkeys(prompt.actions, 1)
        if how.decide == "score":
            continuations = llm.continuations(prompt.answer_start, tuple(prompt.actions))
            if how.length_normalised:
                self.lengths = {word: len(tokens) for word, tokens in continuations.items()}
            if how.calibrate:
                nothing = prompt.chat(dict.fromkeys(prompt.placeholders, "N/A"), "score")
                self.baseline = self._ask([nothing], [()])[0].scores

    def __call__(self, players: list[Player]) -> list[Row]:
        """Decide for each of `players`."""
        chats = [self._chat(player) for player in players]
        keys = [player.random(self.seed, ANSWER_STREAM, n) for player in players for n in range(self.count)]
        readings = self._read([chat for chat in chats for _ in range(self.count)], keys)
        groups = [readings[i : i + self.count] for i in range(0, len(readings), self.count)]
        ways = {"score": self._by_score, "vote": self._by_vote, "best": self._by_judgement}
        decisions = ways.get(self.how.decide, self._by_answer)(players, chats, groups)
        return [
            {
                "prompt_sha256": digest(self.llm.render(chat)),
                "user": chat[-1]["content"],
                **decision,
                "tokens": decision.get("tokens", 0) + sum(reading.tokens for reading in group),
                "seconds": round(decision.get("seconds", 0) + sum(reading.seconds for reading in group), 6),
            }
            for decision, chat, group in zip(decisions, chats, groups, strict=True)
        ]

    # --- Telling and reading -----------------------------------------------------------------------------------------

    def _chat(self, player: Player) -> Chat:
        """Put what the player sees, and what it is to remember, into a chat."""
        words = self.environment.words(player.observations[-1])
        return self.prompt.chat(words, self.reply, "\n".join(self._remembered(player)[-self.how.memory :]))

    def _remembered(self, player: Player) -> list[str]:
        """Tell the different moves of this episode and what each gave, the latest last; nothing that was not seen.

        The authors' history outlives the episode and names holes from a hard-coded list; this one does neither.
        """
        if not self.how.memory:
            return []
        told: dict[str, None] = {}
        places = [self.environment.words(observation)["place"] for observation in player.observations]
        for t, (action, reward) in enumerate(zip(player.actions, player.rewards, strict=True)):
            word = next(word for word, value in self.actions.items() if value == action)
            move = {"place": places[t], "action": word, "reward": f"{reward:g}", "next_place": places[t + 1]}
            sentence = self.prompt.memory.format(**move)
            told.pop(sentence, None)  # told again, it is the latest
            told[sentence] = None
        return list(told)

    def _read(self, chats: list[Chat], keys: list[Sequence[int]]) -> list[Reading]:
        """Let the LLM score or write for each of `chats`; what the memo holds costs no tokens and no time."""
        if self.memo is None:
            return self._ask(chats, keys)
        names = [digest(self.llm.render(chat)) for chat in chats]
        new = {name: (chat, key) for name, chat, key in zip(names, chats, keys, strict=True) if name not in self.memo}
        fresh = dict(zip(new, self._ask(*map(list, zip(*new.values(), strict=True))), strict=True)) if new else {}
        self.memo.update({name: Reading(reading.scores, reading.answer) for name, reading in fresh.items()})
        return [fresh.pop(name, self.memo[name]) for name in names]

    def _ask(self, chats: list[Chat], keys: list[Sequence[int]]) -> list[Reading]:
        """Let the LLM score or write for each of `chats`."""
        if self.how.decide == "score":
            return self.llm.score(chats, self.prompt.answer_start, tuple(self.prompt.actions), self.prefix)
        return self.llm.write(chats, keys, self.sampling, partial(is_complete, words=self.meanings), self.prefix)

    # --- Ways to decide ----------------------------------------------------------------------------------------------

    def _by_score(self, players: list[Player], chats: list[Chat], groups: list[list[Reading]]) -> list[Row]:
        """Draw an action word with the probability that the LLM gives it."""
        rows = []
        for player, (reading,) in zip(players, groups, strict=True):
            scores = {w: (score - self.baseline[w]) / self.lengths[w] for w, score in reading.scores.items()}
            p = probabilities(scores, self.how)
            word = choose(p, np.random.default_rng(player.random(self.seed, ACTION_STREAM)))
            read = {"scores": reading.scores, "probabilities": {w: round(x, 4) for w, x in p.items()}}
            rows.append({**read, "parsed": "score", "word": word, "action": self.actions[word]})
        return rows

    def _by_answer(self, players: list[Player], chats: list[Chat], groups: list[list[Reading]]) -> list[Row]:
        """Take the action that the answer states."""
        return [
            {"answer": reading.answer, **self._act(player, self._stated(reading, chat), "answer")}
            for player, chat, (reading,) in zip(players, chats, groups, strict=True)
        ]

    def _by_vote(self, players: list[Player], chats: list[Chat], groups: list[list[Reading]]) -> list[Row]:
        """Take the action that most answers state; of equals the one stated first."""
        rows = []
        for player, chat, group in zip(players, chats, groups, strict=True):
            stated = [self._stated(reading, chat) for reading in group]
            (word, votes) = (Counter(filter(None, stated)).most_common(1) or [(None, 0)])[0]
            answers = {"answers": [reading.answer for reading in group], "stated": stated}
            rows.append({**answers, **self._act(player, word, f"{votes} votes of {len(group)}")})
        return rows

    def _by_judgement(self, players: list[Player], chats: list[Chat], groups: list[list[Reading]]) -> list[Row]:
        """Let the LLM choose among its answers; where it names none, take the first that states an action."""
        form = yaml.safe_load(JUDGE.read_text(encoding="utf-8"))["text"]
        asked = []
        for chat, group in zip(chats, groups, strict=True):
            answers = "\n".join(f"[{n}] {reading.answer.strip()}" for n, reading in enumerate(group, 1))
            told = chat[-1]["content"].split("\n", 1)[1]
            text = form.format(question=self.prompt.question, observation=told, answers=answers)
            asked.append([chat[0], {"role": "user", "content": text}])
        numbers = {str(n): n - 1 for n in range(1, self.count + 1)}
        keys = [player.random(self.seed, ANSWER_STREAM, self.count) for player in players]
        verdicts = self.llm.write(asked, keys, self.sampling, partial(is_complete, words=numbers), [])
        rows = []
        for player, chat, group, verdict in zip(players, chats, groups, verdicts, strict=True):
            stated, best = [self._stated(reading, chat) for reading in group], parse_answer(verdict.answer, numbers)
            word = stated[best] if best is not None else next(filter(None, stated), None)
            how = "no verdict, the first answer" if best is None else f"verdict {best + 1}"
            judged = {"answers": [reading.answer for reading in group], "stated": stated, "verdict": verdict.answer}
            rows.append(
                {**judged, **self._act(player, word, how), "tokens": verdict.tokens, "seconds": verdict.seconds}
            )
        return rows

    def _stated(self, reading: Reading, chat: Chat) -> str | None:
        """Return the action word that an answer states, if it states one; what it repeats of the question does not."""
        answer = reading.answer
        for sentence in re.split(r"(?<=[.?])\s+", chat[-1]["content"]):
            answer = answer.replace(sentence, " ")
        return parse_answer(answer, self.meanings)

    def _act(self, player: Player, word: str | None, how: str) -> Row:
        """Turn an action word, found as `how` says, into an action; without one, do as `on_invalid` says."""
        if word is not None:
            return {"parsed": how, "word": word, "action": self.actions[word]}
        if self.how.on_invalid == "error":
            episode, step = player.step_key
            raise Failure(f"Episode {episode}, step {step}: no action is stated, and --on-invalid is error.")
        if self.how.on_invalid == "noop":
            return {"parsed": "invalid, noop instead", "action": np.asarray(self.environment.noop).tolist()}
        actions = list(self.actions.values())
        random = np.random.default_rng(player.random(self.seed, ACTION_STREAM))
        return {"parsed": "invalid, random instead", "action": actions[random.integers(len(actions))]}


def random_policy(seed: int, players: list[Player]) -> list[Row]:
    """Draw every action uniformly from the environment's action space."""
    rows = []
    for player in players:
        sequence = np.random.SeedSequence(player.random(seed, ACTION_STREAM))
        player.env.action_space.seed(int(sequence.generate_state(1)[0]))
        rows.append({"parsed": "random policy", "action": np.asarray(player.env.action_space.sample()).tolist()})
    return rows


def probabilities(scores: dict[str, float], how: Deciding) -> dict[str, float]:
    """Return softmax(scores / temperature), cut to the likeliest words that make up `top_p`."""
    words = sorted(scores, key=scores.get, reverse=True)
    if how.temperature == 0:
        return {word: float(word == words[0]) for word in scores}
    logits = np.array([scores[word] for word in words]) / how.temperature
    p = np.exp(logits - logits[0])
    p /= p.sum()
    p[np.cumsum(p) - p >= how.top_p] = 0  # what the likelier ones make up already
    likely = dict(zip(words, (p / p.sum()).tolist(), strict=True))
    return {word: likely[word] for word in scores}


def choose(p: dict[str, float], random: np.random.Generator) -> str:
    """Draw a word with its probability."""
    words = sorted(p, key=p.get, reverse=True)
    cumulated = np.cumsum([p[word] for word in words])
    return words[int(np.searchsorted(cumulated, random.random() * cumulated[-1], side="right"))]


def is_complete(text: str, words: dict[str, Any]) -> bool:
    """Tell whether an answer has stated an action on an "Action:" or "Answer:" line and gone on after it."""
    if "<think>" in text and "</think>" not in text:
        return False
    line = text.rstrip("\n").rsplit("\n", 1)[-1].lower()
    marked = "action:" in line or "answer:" in line or line.strip(".") in words
    return marked and text[-1:] in ("\n", ".", ",", ";", "!") and parse_answer(line, words) is not None


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
