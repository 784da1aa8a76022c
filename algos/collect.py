"""An LLM (or a uniformly random policy) plays an environment; the episodes become a dataset with full transcripts.

Paper: "Improving the Data-efficiency of RL by Warm-starting with LLM" (LORO, arXiv 2505.10861), step 2 of Algorithm 1.

    python -m algos.fetch_llm
    python -m algos.collect --env cartpole --output results/datasets/cartpole/smollm2-135m

All episodes are played in lock-step. At every step each observation is put into words (prompts/<env>.yaml) in a fresh
chat without history, every distinct prompt is decided once, and every episode takes its action:
  score   the log-probability of each action word as the reply's beginning; the action is drawn from them
  answer  the LLM writes an answer, from which the action is parsed (envs.base.parse_answer)
A dataset holds data/ (Minari), meta.json, transcripts.jsonl.gz (one line per step) and the prompt.yaml that was used.
The random numbers of episode i depend on (seed, i) alone, so that more episodes never change the first ones.
"""

import copy
import gzip
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from tqdm import tqdm

import envs
from envs.base import parse_answer
from envs.datasets import Episode, save_dataset, versions
from envs.errors import UsageError, run_command_line
from envs.files import sha256
from envs.prompts import Prompt, load_prompt
from envs.records import git_commit

DEFAULT_MODEL = "models/smollm2-135m-instruct"
ENVIRONMENT_STREAM, ACTION_STREAM = 0, 1
"""Purposes of random numbers: the environment's own, and the choice among actions."""


@dataclass
class Args:
    """Let an LLM, or chance, play episodes of one environment."""

    output: Path
    """the dataset folder to write, by convention results/datasets/<env>/<policy>"""
    env: str = "cartpole"
    """the environment (see envs/)"""
    episodes: int = 30
    """number of episodes"""
    model: str = DEFAULT_MODEL
    """a local folder or a Hugging Face id, both with safetensors; or "random" for uniformly random actions"""
    revision: str | None = None
    """commit, tag or branch of a Hugging Face model; the one that was used is recorded"""
    prompt: Path | None = None
    """the prompt file; prompts/<env>.yaml by default"""
    horizon: int | None = None
    """steps after which an episode is cut off, 0 for none; the environment's own by default"""
    seed: int = 0
    """first key of every random number"""
    decide: Literal["score", "answer"] = "score"
    """compare the probabilities of the action words (one forward pass), or let the LLM write and parse what it says"""
    temperature: float | None = None
    """0 takes the likeliest. By default 1.0 for score, which draws from the LLM's own probabilities: sampled as in the
    paper, so that episodes from one start differ; and the paper's 0.9 for answer"""
    top_p: float = 0.6
    """answer: sample among the likeliest tokens that make up this probability (the paper's)"""
    max_new_tokens: int = 512
    """answer: longest answer, in tokens (the paper allows 2000)"""
    length_normalised: bool = False
    """score: divide each word's log-probability by its number of tokens"""
    batch_size: int = 32
    """most prompts in one forward pass"""
    memo: bool = True
    """decide each distinct prompt once where the decision is not random: scores, and answers at temperature 0"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU when there is one"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """numbers that the LLM computes with"""
    threads: int = 1
    """CPU threads; one gives the same numbers whatever the machine"""
    progress: bool = True
    """show a progress bar"""


@dataclass
class Decision:
    """What was decided for one prompt, and what that took."""

    scores: dict[str, float] | None = None  # log-probability of each action word
    answer: str | None = None  # what the LLM wrote
    tokens: int = 0  # read and written
    seconds: float = 0.0  # this prompt's share of the time of its batch


class LLM:
    """A causal language model and what it decides for a prompt."""

    def __init__(self, args: Args, prompt: Prompt) -> None:
        """Load the model; raise UsageError when it cannot be had."""
        import transformers  # seconds to import, and not needed for random play

        if not args.progress:
            transformers.utils.logging.disable_progress_bar()
        folder = Path(args.model)  # a path, or else a Hugging Face id
        local = args.model.startswith((".", "/", "models/")) or folder.is_dir()
        if local and not folder.is_dir():
            fetch = " run python -m algos.fetch_llm first, or" if args.model == DEFAULT_MODEL else ""
            raise UsageError(f"There is no model folder {args.model}:{fetch} give another --model.")
        options = {"revision": args.revision or "main", "local_files_only": local, "trust_remote_code": False}
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, **options)
            options |= {"dtype": getattr(torch, args.dtype), "use_safetensors": True}  # nothing is unpickled
            model = transformers.AutoModelForCausalLM.from_pretrained(args.model, **options)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            remedy = "check the folder" if local else "check the name and the network, or give --model a local folder"
            raise UsageError(f"Cannot load the model {args.model} ({reason}): {remedy}.") from error
        self.device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).eval()
        self.args, self.prompt, self.prefix_cache = args, prompt, None
        self.pad = next(x for x in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0) if x is not None)
        start = self.tokens(prompt.answer_start)
        self.words = {word: self.tokens(f"{prompt.answer_start} {word}")[len(start) :] for word in prompt.actions}
        self.prefix = self.fixed_prefix()

    def user_text(self, words: dict[str, str]) -> str:
        """Return the user's message. What never changes comes first, so that it is read once for all prompts."""
        prompt = self.prompt
        return f"{prompt.question} {prompt.reply[self.args.decide]}\n{prompt.observation.format(**words)}"

    def render(self, user_text: str) -> str:
        """Return the whole prompt, in the model's own chat format if it has one."""
        if self.tokenizer.chat_template is None:
            text = f"{self.prompt.system}\n\n{user_text}\n"
        else:
            chat = [{"role": "system", "content": self.prompt.system}, {"role": "user", "content": user_text}]
            text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return text + self.prompt.answer_start if self.args.decide == "score" else text

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text; special tokens only where the text names them."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def fixed_prefix(self) -> list[int]:
        """Return the tokens with which every prompt begins: those before the first placeholder."""
        names = self.prompt.placeholders
        fillings = [self.tokens(self.render(self.user_text(dict.fromkeys(names, x)))) for x in ("0", "left")]
        return [pair[0] for pair in takewhile(lambda pair: pair[0] == pair[1], zip(*fillings, strict=False))]

    def padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `rows` padded on the left, and the mask that is 1 where a token is: [rows, longest] both."""
        length = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (length - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=self.device)
        return ids, mask

    def forward(self, rows: list[list[int]], past: Any, mask: torch.Tensor) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Read `rows`, padded on the left, after the cached `past`, of which `mask` tells the tokens from the padding.

        Return log-probabilities of the next token [rows, vocabulary], the longer past, and the longer mask.
        """
        ids, read = self.padded(rows)
        mask = torch.cat([mask, read], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        where = {"attention_mask": mask, "position_ids": positions}
        output = self.model(ids, **where, past_key_values=past, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].float().log_softmax(-1), output.past_key_values, mask

    @torch.inference_mode()
    def score(self, texts: list[str]) -> list[Decision]:
        """Return the log-probability of each action word as the continuation of each of `texts`."""
        rows = [self.tokens(text) for text in texts]
        shared = all(row[: len(self.prefix)] == self.prefix and len(row) > len(self.prefix) for row in rows)
        skip = len(self.prefix) if shared else 0
        past, mask = None, torch.ones((len(rows), skip), dtype=torch.long, device=self.device)
        if skip:
            if self.prefix_cache is None:
                _, self.prefix_cache, _ = self.forward([self.prefix], None, mask[:1, :0])
            past = copy.deepcopy(self.prefix_cache)
            past.batch_repeat_interleave(len(rows))
        log_p, past, mask = self.forward([row[skip:] for row in rows], past, mask)
        scores: list[dict[str, float]] = [{} for _ in rows]
        for word, tokens in self.words.items():
            total = log_p[:, tokens[0]]
            cache, read, reading = copy.deepcopy(past) if len(tokens) > 1 else None, mask, log_p
            for token, following in pairwise(tokens):
                reading, cache, read = self.forward([[token]] * len(rows), cache, read)
                total = total + reading[:, following]
            if self.args.length_normalised:
                total = total / len(tokens)
            for row, number in zip(scores, total.tolist(), strict=True):
                row[word] = number
        return [Decision(scores=s, tokens=len(row)) for s, row in zip(scores, rows, strict=True)]

    @torch.inference_mode()
    def answer(self, texts: list[str]) -> list[Decision]:
        """Let the model write an answer to each of `texts`."""
        rows = [self.tokens(text) for text in texts]
        ids, mask = self.padded(rows)
        options: dict[str, Any] = {"max_new_tokens": self.args.max_new_tokens, "pad_token_id": self.pad}
        if self.args.temperature:
            options |= {"temperature": self.args.temperature, "top_p": self.args.top_p, "top_k": 0}
        sample = self.args.temperature != 0
        written = self.model.generate(ids, attention_mask=mask, do_sample=sample, **options)[:, ids.shape[1] :]
        answers = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        counts = [len(row) + int((w != self.pad).sum()) for row, w in zip(rows, written, strict=True)]
        return [Decision(answer=text, tokens=count) for text, count in zip(answers, counts, strict=True)]

    def decide(self, texts: list[str]) -> list[Decision]:
        """Decide for each of `texts`, at most `batch_size` at once."""
        decisions = []
        for start in range(0, len(texts), self.args.batch_size):
            began = time.perf_counter()
            batch = getattr(self, self.args.decide)(texts[start : start + self.args.batch_size])
            seconds = (time.perf_counter() - began) / len(batch)
            for decision in batch:
                decision.seconds = seconds
            decisions += batch
        return decisions

    def description(self) -> dict[str, Any]:
        """Return what identifies the model: its name and revision, or the digests of its files."""
        folder = Path(self.args.model)
        known: dict[str, Any] = {"name": self.args.model, "dtype": self.args.dtype, "license": None}
        if not folder.is_dir():
            return {**known, "revision": getattr(self.model.config, "_commit_hash", None) or self.args.revision}
        for file in folder.glob("provenance.json"):
            known |= json.loads(file.read_text(encoding="utf-8"))
        files = [*sorted(folder.glob("*.safetensors")), *folder.glob("config.json"), *folder.glob("tokenizer.json")]
        return {**known, "sha256": {file.name: sha256(file) for file in files}}


@dataclass
class Player:
    """One episode while it is played."""

    env: gymnasium.Env
    seed: int  # what the environment was reset with
    random: np.random.Generator  # the stream for the choice among actions
    observations: list[Any]
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)  # (termination, truncation) of every step

    @property
    def playing(self) -> bool:
        """True until the episode has ended or was cut off."""
        return not self.ends or not any(self.ends[-1])

    def step(self, action: Any) -> None:
        """Take `action` and keep what follows."""
        observation, reward, *ends, _ = self.env.step(action)
        self.actions.append(action)
        self.observations.append(observation)
        self.rewards.append(float(reward))
        self.ends.append((bool(ends[0]), bool(ends[1])))

    def episode(self) -> Episode:
        """Return what was played."""
        ends = np.array(self.ends, dtype=bool).T
        return Episode(np.array(self.observations), np.array(self.actions), np.array(self.rewards), *ends)


def start(args: Args, index: int) -> Player:
    """Start episode `index`: its environment seed and its random stream depend on (seed, index) alone."""
    env = envs.make(args.env, args.horizon)
    seed = int(np.random.SeedSequence([args.seed, index, ENVIRONMENT_STREAM]).generate_state(1)[0])
    observation, _ = env.reset(seed=seed)
    random = np.random.default_rng([args.seed, index, ACTION_STREAM])
    env.action_space.seed(int(random.integers(2**31)))
    return Player(env, seed, random, [observation])


def choose(scores: dict[str, float], temperature: float, random: np.random.Generator) -> str:
    """Draw an action word with probability softmax(scores / temperature); the best one at temperature 0."""
    if temperature == 0:
        return max(scores, key=scores.get)
    words, logits = list(scores), np.array(list(scores.values()))
    cumulated = np.cumsum(np.exp((logits - logits.max()) / temperature))
    return words[int(np.searchsorted(cumulated, random.random() * cumulated[-1], side="right"))]


Row = dict[str, Any]  # one line of the transcript
Policy = Callable[[list[Player]], list[tuple[Any, Row]]]  # gives each player an action, and an account of it


def random_policy(players: list[Player]) -> list[tuple[Any, Row]]:
    """Draw every action uniformly from the environment's action space."""
    return [(player.env.action_space.sample(), {"parsed": "random policy"}) for player in players]


def llm_policy(args: Args, llm: LLM) -> Policy:
    """Return the policy of `llm`, which remembers decisions that are not random."""
    memo: dict[str, Decision] = {}
    remember = args.memo and (args.decide == "score" or args.temperature == 0)
    words_of = envs.get(args.env).words

    def policy(players: list[Player]) -> list[tuple[Any, Row]]:
        users = [llm.user_text(words_of(player.observations[-1])) for player in players]
        texts = [llm.render(user) for user in users]
        if remember:
            new = [text for text in dict.fromkeys(texts) if text not in memo]
            memo.update(zip(new, llm.decide(new), strict=True))
        decisions = [memo[text] for text in texts] if remember else llm.decide(texts)
        together = zip(players, users, texts, decisions, strict=True)
        return [act(args, llm.prompt, *items) for items in together]

    return policy


def act(args: Args, prompt: Prompt, player: Player, user: str, text: str, decision: Decision) -> tuple[Any, Row]:
    """Turn a decision into an action; where an answer states none, one of the prompt's actions is drawn."""
    if decision.scores is not None:
        action, parsed = prompt.actions[choose(decision.scores, args.temperature, player.random)], "score"
    else:
        action, parsed = parse_answer(decision.answer, prompt.actions), "answer"
        if action is None:
            actions = list(prompt.actions.values())
            action, parsed = actions[player.random.integers(len(actions))], "invalid, random instead"
    row = {"prompt_sha256": hashlib.sha256(text.encode()).hexdigest(), "user": user, "parsed": parsed}
    row |= {key: value for key, value in asdict(decision).items() if value is not None}
    decision.seconds = 0.0  # whoever is given the same decision again has not waited for it
    return action, row


def play(args: Args, policy: Policy) -> tuple[list[Player], list[Row]]:
    """Play all episodes in lock-step; return them and the transcript's rows, ordered by episode and step."""
    players, rows = [start(args, index) for index in range(args.episodes)], []
    with tqdm(total=args.episodes, unit="episode", disable=not args.progress, desc=args.env) as bar:
        while playing := [index for index, player in enumerate(players) if player.playing]:
            decided = policy([players[index] for index in playing])
            for index, (action, row) in zip(playing, decided, strict=True):
                account = {"episode": index, "step": len(players[index].actions), "action": np.asarray(action).tolist()}
                rows.append({**account, **row})
                players[index].step(action)
                bar.update(not players[index].playing)
            bar.set_postfix(steps=len(rows), refresh=False)
    return players, sorted(rows, key=lambda row: row["episode"])


def check(args: Args) -> None:
    """Raise UsageError for arguments that cannot work, before a model is loaded and hours are spent."""
    endless = envs.get(args.env).endless
    if args.episodes < 1 or args.batch_size < 1 or args.max_new_tokens < 1 or args.threads < 1:
        raise UsageError("--episodes, --batch-size, --max-new-tokens and --threads must be at least 1.")
    if args.seed < 0 or (args.horizon or 0) < 0 or (args.temperature or 0) < 0 or not 0 < args.top_p <= 1:
        raise UsageError("--seed, --horizon and --temperature must not be negative, --top-p above 0 and at most 1.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here; use --device cpu or auto.")
    if args.horizon == 0 and endless:
        raise UsageError(f"--horizon 0: an episode of '{args.env}' never ends by itself; give a number of steps.")
    empty = args.output.is_dir() and not any(args.output.iterdir())  # as a workflow leaves it before the job
    if args.output.exists() and not empty and not (args.output / "meta.json").is_file():
        raise UsageError(f"--output {args.output} exists and is no dataset: give another folder.")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    if args.temperature is None:
        args.temperature = 1.0 if args.decide == "score" else 0.9


def main() -> None:
    """Read the command line, play, and write the dataset."""
    args = tyro.cli(Args)
    check(args)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    meta: dict[str, Any] = {"policy": Path(args.model).name, "seed": args.seed, "git_commit": git_commit()}
    policy, files = random_policy, {}
    if args.model != "random":
        path = args.prompt or Path("prompts") / f"{args.env}.yaml"
        example = start(args, 0)
        llm = LLM(args, load_prompt(path, example.env, envs.get(args.env).words(example.observations[0])))
        policy = llm_policy(args, llm)
        settings = ("decide", "temperature", "top_p", "max_new_tokens", "length_normalised", "batch_size", "memo")
        meta |= {
            "model": llm.description(),
            "prompt": {"file": str(path), "sha256": sha256(path)},
            "decision": {name: getattr(args, name) for name in settings},
            "generation_config": llm.model.generation_config.to_diff_dict() if args.decide == "answer" else None,
            "device": torch.cuda.get_device_name() if llm.device.type == "cuda" else "cpu",
            "versions": versions("torch", "transformers", "tokenizers", "safetensors"),
        }
        files["prompt.yaml"] = path.read_bytes()
    players, rows = play(args, policy)
    meta["horizon"] = envs.get(args.env).horizon if args.horizon is None else args.horizon
    meta["environment_seeds"] = [player.seed for player in players]
    meta["invalid_answers"] = sum(row["parsed"].startswith("invalid") for row in rows)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files["transcripts.jsonl.gz"] = gzip.compress(lines.encode(), mtime=0)  # no time, so that bytes repeat
    save_dataset(args.output, args.env, [player.episode() for player in players], meta, files)


if __name__ == "__main__":
    run_command_line(main)
