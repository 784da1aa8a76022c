"""An LLM's prior p(a|s) over the actions that a text game allows, as a file that every learner can read.

Paper: "Efficient Reinforcement Learning with Large Language Model Priors" (Yan et al., arXiv 2410.07927).

    python -m algos.prior --env overcooked-tomato --output rerun/results/priors/overcooked-tomato/smollm2-135m.jsonl
    python -m algos.prior --env alfworld --way sample --samples 5 --output .../alfworld/smollm2-135m.jsonl
    python -m algos.prior --env overcooked-tomato --way uniform --output .../overcooked-tomato/uniform.jsonl
    python -m algos.prior --env overcooked-tomato --way scripted --share 0.5 --output .../scripted-50.jsonl

`score` is exact: the log-probability of every admissible action's words as the LLM's whole reply, p their softmax.
`sample` is the paper's way: the LLM writes so many replies, each is mapped to the action that it names most often, and
p is their share. Replies that name no action, or several equally often, are counted as unmatched and count for none;
in the paper's released code they count for the last action. `uniform` asks nobody, and `table` is a file of your own.
`scripted` writes such a table: a share of the probability on the best actions, the rest on all alike. It is no LLM but
a control, what a prior of known quality would do. In ALFWorld, whose texts cannot be listed, it is a rule: best is what
makes sense to who knows what the task means but not where things are (envs.alfworld.sensible).

The file has JSON lines: first what was asked and of whom, then a row per distinct text and list of actions, with what
the LLM made of it. Its scores do not depend on temperature, normalisation or calibration, the reader's choice.
Where all texts can be listed (Overcooked, grid worlds) this program asks for all of them. Elsewhere (ALFWorld,
CartPole) it writes the first line only: which texts are met depends on the play. The first line tells whoever plays how
to ask, and what is answered is added to the same file, under a lock: each text is asked for once, whoever meets it.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from algos.llm import DEFAULT_MODEL, LocalLLM, Reading, Sampling, ServerLLM
from envs import alfworld
from envs.cache import Cache, Row
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text
from envs.plans import Plan
from envs.text import Situation, TextGame

Question = tuple[str, tuple[str, ...]]
"""What is told and the admissible actions."""
AT_ONCE = 32
"""Texts that are asked for together, and are in the file before the next ones are asked for."""


@dataclass
class Args:
    """Ask an LLM for its prior over the actions of one environment."""

    output: Path
    """the file to write (.jsonl), or to go on with"""
    env: str = "overcooked-tomato"
    """the environment: one in words, or one of LORO's with discrete actions (see envs/text.py)"""
    way: Literal["score", "sample", "uniform", "scripted"] = "score"
    """score: the probabilities of the action words. sample: the actions that several replies state. For comparison,
    without an LLM: uniform, and scripted, which puts a share of the probability on what is best"""
    samples: int = 5
    """sample: replies per text (5: the paper's k)"""
    temperature: float = 1.0
    """sample: divides the log-probabilities of the tokens (1: the paper's)"""
    top_p: float = 1.0
    """sample: draw among the likeliest tokens that make up this probability (1: the paper's)"""
    max_new_tokens: int = 20
    """sample: longest reply in tokens (the paper: 10 online, 20 offline)"""
    seed: int = 0
    """sample: first key of the random numbers"""
    share: float = 0.5
    """scripted: the probability that the best actions have together, beside their part of the rest"""
    style: Literal["verbal", "numeric"] = "verbal"
    """LORO's environments: which of the prompts in prompts/<env>/"""

    model: str = DEFAULT_MODEL
    """a local folder or a Hugging Face id, both with safetensors"""
    revision: str | None = None
    """commit, tag or branch of a Hugging Face model"""
    server: str | None = None
    """sample: ask this OpenAI-compatible server for --model instead of loading it"""
    plain: bool = False
    """let a model without a chat template read the plain text"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """numbers that the LLM computes with"""
    threads: int = 1
    """CPU threads; one gives the same numbers whatever the machine"""
    progress: bool = True
    """show a progress bar"""


class Prior:
    """p(a|s) from a file; texts that it does not hold yet are asked of the LLM that its first line names."""

    def __init__(
        self,
        path: Path,
        game: TextGame,
        *,
        temperature: float = 1.0,
        length_normalised: bool = False,
        calibrated: bool = False,
        on_zeros: Literal["error", "uniform"] = "error",
        header: Row | None = None,
        llm: LocalLLM | ServerLLM | None = None,
    ) -> None:
        """Open a prior, or begin one with `header`. `llm`: the model, where it is loaded already.

        `temperature`, `length_normalised` and `calibrated` turn scores into probabilities; calibrated ones are taken
        relative to those of the same actions where nothing is told (Zhao et al. 2021, arXiv 2102.09690), which is one
        more text for each list of actions. `on_zeros`: what to do where none of the replies named an action.
        Raises UsageError for a file of another environment or another prompt, and where one without scores is to be
        read in another way.
        """
        if temperature <= 0:
            raise UsageError(f"The prior's temperature must be positive, not {temperature}.")
        self.cache = Cache(path, header, key=lambda row: (row["text"], tuple(row["actions"])))
        self.game, self.path, self.llm = game, path, llm
        self.temperature, self.length_normalised, self.calibrated = temperature, length_normalised, calibrated
        self.on_zeros = on_zeros
        self.asked = 0
        """How many texts the LLM was asked for by this object."""
        self.known: dict[Question, np.ndarray] = {}
        self.header = self.cache.header
        asks = self.header.get("way") in ("score", "sample")
        if not asks and self.header.get("way") not in ("uniform", "table", "rule"):
            raise Failure(f"{path} is no prior: its first line has no way of score, sample, uniform, table or rule.")
        read_another_way = (temperature, length_normalised, calibrated) != (1.0, False, False)
        if read_another_way and self.header["way"] != "score":
            raise UsageError(
                f"The prior {path} holds no log-probabilities ({self.header['way']}): --prior-temperature, "
                "--length-normalised and --calibrated are for priors that were scored."
            )
        here = {"file": str(game.prompt_file), "sha256": sha256(game.prompt_file)}
        if asks and self.header.get("prompt") != here:
            raise UsageError(
                f"The prior {path} was asked for with another prompt than {game.prompt_file}: make it anew."
            )

    @property
    def sha256(self) -> str:
        """The digest of what the prior depends on: of the whole file where it is a table, else of its first line."""
        content = self.path.read_bytes()
        if self.header["way"] != "table":
            content = content[: content.index(b"\n") + 1]
        return hashlib.sha256(content).hexdigest()

    def __call__(self, situation: Situation) -> np.ndarray:
        """Return p [actions], float64, summing to 1. Raises Failure where there is no action, or none is likely."""
        question = (situation.told, situation.actions)
        if question not in self.known:
            self.fill([situation])
            self.known[question] = self._probabilities(question)
        return self.known[question]

    def fill(self, situations: Sequence[Situation], advance: Callable[[int], Any] = lambda _: None) -> None:
        """See to it that the file holds all `situations`; `advance` is told how many more it holds."""
        for situation in situations:
            if not situation.actions:
                raise Failure(f"There is no admissible action in '{situation.told}': a prior needs one at least.")
            if len(set(situation.actions)) < len(situation.actions):
                raise Failure(f"Two admissible actions have the same words in '{situation.told}'.")
        if self.header["way"] in ("uniform", "rule"):
            return
        questions = sorted({(s.told, s.actions) for s in situations}, key=lambda question: question[::-1])

        def answer(new: list[Question]) -> list[Row]:
            rows = self._ask(new)
            self.asked += len(new)
            advance(len(new))
            return rows

        self.cache.get(questions, answer, AT_ONCE)

    def _probabilities(self, question: Question) -> np.ndarray:
        if self.header["way"] == "uniform":
            return np.full(len(question[1]), 1 / len(question[1]))
        if self.header["way"] == "rule":
            best, share = alfworld.sensible(*question), self.header["scripted_share"]
            p = np.full(len(question[1]), (1 - share) / len(question[1]))
            p[best] += share / len(best)
            return p
        row = self.cache.rows[question]
        if self.header["way"] == "score":
            log_p = np.array(row["log_p"])
            if self.calibrated:
                nothing = self.game.nothing
                self.fill([Situation(nothing, question[1], nothing, ())])
                log_p = log_p - np.array(self.cache.rows[nothing, question[1]]["log_p"])
            logits = (log_p / np.array(row["lengths"]) if self.length_normalised else log_p) / self.temperature
            weights = np.exp(logits - logits.max())
        else:
            weights = np.array(row["counts" if self.header["way"] == "sample" else "p"], dtype=float)
        if len(weights) != len(question[1]) or not np.isfinite(weights).all() or (weights < 0).any():
            raise Failure(f"{self.path}: the row of '{question[0]}' has no probability for each of its actions.")
        if weights.sum() == 0:
            if self.on_zeros == "uniform":
                return np.full(len(weights), 1 / len(weights))
            raise Failure(
                f"The prior {self.path} is zero for every action in '{question[0]}': sample more replies, or take "
                "--on-zeros uniform."
            )
        return weights / weights.sum()

    # --- Asking ------------------------------------------------------------------------------------------------------

    def _ask(self, questions: list[Question]) -> list[Row]:
        """Let the LLM score or write for each question, together those with the same actions."""
        if self.header["way"] == "table":
            raise Failure(f"The table {self.path} has no row for '{questions[0][0]}' with the actions that it allows.")
        if self.llm is None:
            self.llm = load_llm(self.header["asking"])
            if (found := self.llm.description()) != self.header["model"]:
                raise UsageError(f"{self.path} was made with another model than the {found['name']} that is here.")
        rows: dict[Question, Row] = {}
        for actions in dict.fromkeys(actions for _, actions in questions):
            together = [question for question in questions if question[1] == actions]
            read = self._score if self.header["way"] == "score" else self._sample
            rows |= {(row["text"], tuple(row["actions"])): row for row in read([told for told, _ in together], actions)}
        return [rows[question] for question in questions]

    def _score(self, told: list[str], actions: tuple[str, ...]) -> list[Row]:
        chats = [self.game.chat(text, actions) for text in told]
        # The reply ends after the action: without its end "go to shelf 1" would also stand for "go to shelf 10".
        end = (self.llm.tokenizer.eos_token or "\n") if self.game.speaks else ""
        words = [action + end for action in actions]
        prefix = self.llm.shared(self.game.chat("0", actions), self.game.chat("left", actions))
        lengths = [len(tokens) for tokens in self.llm.continuations(self.game.answer_start, words).values()]
        readings = self.llm.score(chats, self.game.answer_start, words, prefix)
        return [
            {**_row(text, actions, reading), "log_p": [reading.scores[word] for word in words], "lengths": lengths}
            for text, reading in zip(told, readings, strict=True)
        ]

    def _sample(self, told: list[str], actions: tuple[str, ...]) -> list[Row]:
        asking = self.header["asking"]
        sampling = Sampling(asking["temperature"], asking["top_p"], asking["max_new_tokens"])
        prefix = self.llm.shared(self.game.chat("0", actions), self.game.chat("left", actions))
        chats = [self.game.chat(text, actions) for text in told for _ in range(asking["samples"])]
        keys = [[*_key(asking["seed"], text, actions), n] for text in told for n in range(asking["samples"])]
        readings = self.llm.write(chats, keys, sampling, lambda text: "\n" in text.lstrip(), prefix)
        rows = []
        for place, text in enumerate(told):
            replies = readings[place * asking["samples"] : (place + 1) * asking["samples"]]
            matched = Counter(match(reply.answer, actions) for reply in replies)
            both = Reading(tokens=sum(r.tokens for r in replies), seconds=sum(r.seconds for r in replies))
            counts = [matched[number] for number in range(len(actions))]
            taken = {"answers": [reply.answer for reply in replies], "counts": counts, "unmatched": matched[None]}
            rows.append({**_row(text, actions, both), **taken})
        return rows


def _row(text: str, actions: tuple[str, ...], reading: Reading) -> Row:
    return {"text": text, "actions": list(actions), "tokens": reading.tokens, "seconds": round(reading.seconds, 6)}


def _key(seed: int, text: str, actions: tuple[str, ...]) -> list[int]:
    """Return the key of the random numbers with which the replies to one text are drawn."""
    digest = hashlib.sha256("\n".join([text, *actions]).encode()).digest()
    return [seed, int.from_bytes(digest[:8])]


def match(answer: str, actions: Sequence[str]) -> int | None:
    """Return the number of the action that `answer` names most often; None where it names none, or two equally often.

    Words count whole and in any case, the longest first ("go to shelf 10" does not name "go to shelf 1").
    """
    numbers = {" ".join(action.lower().split()): number for number, action in enumerate(actions)}
    spellings = [r"\s+".join(map(re.escape, words.split())) for words in sorted(numbers, key=len, reverse=True)]
    found = re.findall(rf"(?<!\w)(?:{'|'.join(spellings)})(?!\w)", answer.lower())
    named = Counter(numbers[" ".join(words.split())] for words in found).most_common(2)
    if not named or (len(named) > 1 and named[0][1] == named[1][1]):
        return None
    return named[0][0]


def load_llm(asking: Row) -> LocalLLM | ServerLLM:
    """Load the model that a prior's first line names, or reach its server."""
    if asking["server"]:
        return ServerLLM(asking["server"], asking["model"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"dtype": asking["dtype"], "plain": asking["plain"], "progress": False}
    return LocalLLM(asking["model"], asking["revision"], device=device, thinking=False, **options)


def describe(args: Args, game: TextGame, llm: LocalLLM | ServerLLM | None) -> Row:
    """Return the first line of the prior's file: all that its rows depend on."""
    if llm is None:
        return {"way": args.way, "environment": args.env}
    asking = {name: getattr(args, name) for name in ("model", "revision", "server", "plain", "dtype")}
    if args.way == "sample":
        asking |= {name: getattr(args, name) for name in ("samples", "temperature", "top_p", "max_new_tokens", "seed")}
    prompt = {"file": str(game.prompt_file), "sha256": sha256(game.prompt_file)}
    about = {"style": args.style} if not game.speaks else {}
    return {
        "way": args.way,
        "environment": args.env,
        **about,
        "asking": asking,
        "model": llm.description(),
        "prompt": prompt,
    }


def open_prior(path: Path, env: str, **options: Any) -> Prior:
    """Open the prior at `path` for play in `env`, with what its first line says on how an LLM is told of it."""
    header = Cache(path, None, key=lambda row: (row["text"], tuple(row["actions"]))).header
    game = TextGame(env, header.get("style", "numeric"))
    made_for = header.get("environment")
    if made_for != env and made_for != env.removesuffix("-unseen"):
        raise UsageError(f"The prior {path} is one for {made_for}, not for {env}.")
    return Prior(path, game, **options)


def write_scripted(args: Args, game: TextGame) -> int:
    """Write the table of a scripted prior, or the rule that it is, and return how many texts it holds."""
    if args.env in alfworld.TEXT_ENVIRONMENTS:
        header = {"way": "rule", "environment": args.env, "scripted_share": args.share}
        write_text(args.output, json.dumps(header) + "\n")
        return 0
    rows = [
        {"text": situation.told, "actions": list(situation.actions), "p": p.tolist()}
        for situation, p in Plan(game).prior(args.share)
    ]
    header = {"way": "table", "environment": args.env, "scripted_share": args.share}
    write_text(args.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [header, *rows]))
    return len(rows)


def check(args: Args) -> None:
    """Raise UsageError for arguments that cannot be meant."""
    for name in ("samples", "max_new_tokens", "threads"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}.")
    if args.temperature < 0 or args.seed < 0 or not 0 < args.top_p <= 1:
        raise UsageError("--temperature and --seed must not be negative, --top-p in (0, 1].")
    if not 0 <= args.share <= 1:
        raise UsageError(f"--share must be from 0 to 1, not {args.share}.")
    if args.server and args.way != "sample":
        raise UsageError("--server: servers do not tell the log-probabilities of given words; use --way sample.")
    if args.output.suffix != ".jsonl":
        raise UsageError(f"--output {args.output}: the name must end in .jsonl.")


def main() -> None:
    """Read the command line, and ask for every text that can be listed and is not in the file yet."""
    args = tyro.cli(Args)
    check(args)
    torch.set_num_threads(args.threads)
    game = TextGame(args.env, args.style)
    if args.way == "scripted":
        print(f"{args.output}: {write_scripted(args, game)} texts.")
        return
    llm = None if args.way == "uniform" else load_llm({name: getattr(args, name) for name in vars(args)})
    prior = Prior(args.output, game, header=describe(args, game, llm), llm=llm)
    situations = game.situations() if args.way != "uniform" else []
    if situations is None:
        print(f"{args.output}: the texts of {args.env} cannot be listed beforehand; whoever plays asks and adds them.")
        return
    known = {(situation.told, situation.actions) for situation in situations} & prior.cache.rows.keys()
    total = len({(situation.told, situation.actions) for situation in situations})
    with tqdm(total=total, initial=len(known), disable=not args.progress, desc=f"prior {args.env}") as bar:
        prior.fill(situations, bar.update)
    unmatched = sum(row.get("unmatched", 0) for row in prior.cache.rows.values())
    told = f"; {unmatched} of {total * args.samples} replies named no action" if args.way == "sample" else ""
    print(f"{args.output}: {total} texts, {prior.asked} of them asked for now{told}.")


if __name__ == "__main__":
    run_command_line(main)
