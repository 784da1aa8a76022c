"""A language model that scores words or writes answers: in this process with transformers, or behind a server.

`LocalLLM` does in few forward passes what a plain loop does in many: prompts are read in padded batches, the beginning
that all prompts share is read once and its keys and values are kept, and writing stops where an answer is complete.
What is drawn depends on the keys given with each prompt, never on what else is in the batch; scores and probabilities
depend on the batch only through floating-point rounding (about 1e-5 in float32).
`ServerLLM` asks any OpenAI-compatible server (vLLM, llama.cpp, `transformers serve`) for written answers.
"""

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import requests
import torch
from jinja2.exceptions import TemplateError
from safetensors import SafetensorError

from envs.errors import Failure, UsageError
from envs.files import sha256
from envs.prompts import Chat

DEFAULT_MODEL = "models/smollm2-135m-instruct"
LIKELY = 256
"""Tokens among which top_p is looked for first: sorting a whole vocabulary for every token would cost more than it."""
DATE = "1 January 2025"
"""What chat templates that tell the model a date (Llama 3) are given as today's: the same prompts on any day."""
TRIES = 5
SERVER_TIMEOUT = 600
"""Seconds to wait for a server's answer; a long chain of thought on a CPU takes minutes."""

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass
class Reading:
    """What a model makes of one prompt, and what that took."""

    scores: dict[str, float] = field(default_factory=dict)
    """log-probability of each word as the reply's beginning"""
    answer: str = ""
    """what it wrote"""
    tokens: int = 0
    """tokens read and written"""
    seconds: float = 0.0
    """this prompt's share of the time of its batch"""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    temperature: float
    """0 takes the likeliest token"""
    top_p: float
    """draw among the likeliest tokens that make up this probability"""
    max_new_tokens: int
    """longest answer"""


DAMAGED = (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError)
"""What transformers raises where a model is not there, or its files are not whole."""


class LocalLLM:
    """A causal language model that transformers loads from a folder or from the Hugging Face hub."""

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        *,
        dtype: str = "float32",
        device: torch.device | str = "cpu",
        device_map: str | None = None,
        batch_size: int = 32,
        plain: bool = False,
        thinking: bool = True,
        progress: bool = True,
    ) -> None:
        """Load the model; raise UsageError when it cannot be had.

        `plain`: a model without a chat template will do. `thinking`: models whose template can be told so may think
        before they reply (Qwen3).
        """
        import transformers  # seconds to import, and not needed where nobody is asked

        if not progress:
            transformers.utils.logging.disable_progress_bar()
        local = check_model_name(model)
        self.name, self.revision, self.dtype, self.batch_size = model, revision, dtype, batch_size
        options = {"revision": revision or "main", "local_files_only": local, "trust_remote_code": False}
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
            options |= {"dtype": getattr(torch, dtype), "use_safetensors": True}  # nothing is unpickled
            if device_map:
                options["device_map"] = device_map
            loaded = transformers.AutoModelForCausalLM.from_pretrained(model, **options)
        except DAMAGED as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            remedy = "check the folder" if local else "check the name and the network, or give a local folder"
            raise UsageError(f"Cannot load the model {model} ({reason}): {remedy}.") from error
        self.model = (loaded if device_map else loaded.to(device)).eval()
        self.device = self.model.device
        ends = self.model.generation_config.eos_token_id
        self.ends = {*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id} - {None}
        self.pad = next((x for x in (self.tokenizer.pad_token_id, *sorted(self.ends)) if x is not None), 0)
        self.prefixes: dict[tuple[int, ...], Any] = {}  # keys and values of beginnings that were read
        if self.tokenizer.chat_template is None and not plain:
            raise UsageError(f"The model {model} has no chat template, so it is no chat model: choose one, or --plain.")
        self.template = {"tokenize": False, "date_string": DATE, "enable_thinking": thinking}
        self.takes_system = self.tokenizer.chat_template is not None and self._takes_system()
        try:
            self.render([{"role": "user", "content": "?"}])
        except TemplateError as error:
            raise UsageError(f"The chat template of {model} cannot be used ({error}): repair it.") from error

    def _takes_system(self) -> bool:
        try:
            chat = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
            self.tokenizer.apply_chat_template(chat, **self.template)
        except TemplateError:  # Gemma and others: "system role not supported"
            return False
        return True

    def render(self, chat: Chat) -> str:
        """Return the text of a chat up to where the model's reply begins, in the model's own format if it has one."""
        if self.tokenizer.chat_template is None:
            return "".join(f"{message['content']}\n\n" for message in chat)
        if not self.takes_system and chat[0]["role"] == "system":
            first = {"role": chat[1]["role"], "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}
            chat = [first, *chat[2:]]
        return self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, **self.template)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text; special tokens only where the text names them."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def shared(self, one: Chat, other: Chat) -> list[int]:
        """Return the tokens with which both chats begin: give two that differ as much as any."""
        pairs = zip(self.tokens(self.render(one)), self.tokens(self.render(other)), strict=False)
        return [pair[0] for pair in takewhile(lambda pair: pair[0] == pair[1], pairs)]

    def continuations(self, start: str, words: Sequence[str]) -> dict[str, list[int]]:
        """Return the tokens of each word after `start`; raise UsageError where one cannot be told from another."""
        begin = self.tokens(start)
        found = {word: self.tokens(f"{start} {word}") for word in words}
        for word, tokens in found.items():
            for other in words:
                if word != other and found[other][: len(tokens)] == tokens:
                    raise UsageError(f"The model {self.name} cannot tell the action word '{word}' from '{other}'.")
            if tokens[: len(begin)] != begin:
                raise UsageError(f"The model {self.name} joins '{start}' and '{word}' in one token: change the prompt.")
        return {word: tokens[len(begin) :] for word, tokens in found.items()}

    # --- Reading ---------------------------------------------------------------------------------------------------

    def _padded(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `rows` padded on the left, and the mask that is 1 where a token is: [rows, longest] both."""
        length = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (length - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=self.device)
        return ids, mask

    def _logits(
        self, rows: list[list[int]], past: Any, mask: torch.Tensor, keep: int
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Read `rows`, padded on the left, after the cached `past`, of which `mask` tells the tokens from the padding.

        Return the logits after the last `keep` tokens [rows, keep, vocabulary], the longer past, and the longer mask.
        """
        ids, read = self._padded(rows)
        mask = torch.cat([mask, read], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        where = {"attention_mask": mask, "position_ids": positions}
        output = self.model(ids, **where, past_key_values=past, use_cache=True, logits_to_keep=keep)
        return output.logits[:, -keep:].float(), output.past_key_values, mask

    def _forward(self, rows: list[list[int]], past: Any, mask: torch.Tensor) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Return log-probabilities of the next token [rows, vocabulary], the longer past and mask as `_logits` does."""
        logits, past, mask = self._logits(rows, past, mask, 1)
        return logits[:, -1].log_softmax(-1), past, mask

    def _read(self, rows: list[list[int]], prefix: list[int]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Read whole prompts; those that begin with `prefix` share its keys and values. Returns as `_forward`."""
        shared = prefix and all(row[: len(prefix)] == prefix and len(row) > len(prefix) for row in rows)
        skip = len(prefix) if shared else 0
        past, mask = None, torch.ones((len(rows), skip), dtype=torch.long, device=self.device)
        if skip:
            key = tuple(prefix)
            if key not in self.prefixes:
                _, self.prefixes[key], _ = self._forward([prefix], None, mask[:1, :0])
            past = copy.deepcopy(self.prefixes[key])
            past.batch_repeat_interleave(len(rows))
        return self._forward([row[skip:] for row in rows], past, mask)

    def _continue(self, words: list[list[int]], past: Any, mask: torch.Tensor) -> torch.Tensor:
        """Return the log-probability of each word's tokens after its first one, [prompts, words]; `past` is kept.

        All words are read at once, each after a copy of every prompt's `past`.
        """
        prompts, length = len(mask), max(map(len, words)) - 1
        if length == 0:
            return torch.zeros((prompts, len(words)), device=self.device)
        past = copy.deepcopy(past)
        past.batch_repeat_interleave(len(words))
        mask = mask.repeat_interleave(len(words), 0)
        read, (following, is_token) = [word[:-1] for word in words], self._padded([word[1:] for word in words])
        logits, _, _ = self._logits(read * prompts, past, mask, length)
        following = following.repeat(prompts, 1)
        log_p = logits.gather(-1, following[..., None]).squeeze(-1) - logits.logsumexp(-1)
        return (log_p * is_token.repeat(prompts, 1)).sum(1).view(prompts, len(words))

    def _in_batches(self, items: list[Item], run: Callable[[list[Item]], list[Result]]) -> list[Result]:
        """Give `run` at most `batch_size` items at once, fewer from where memory ran out; share out the time."""
        done: list[Result] = []
        while len(done) < len(items):
            began = time.perf_counter()
            try:
                results = run(items[len(done) : len(done) + self.batch_size])
            except (MemoryError, RuntimeError) as error:  # PyTorch's own OutOfMemoryError is a RuntimeError
                told = any(words in str(error) for words in ("out of memory", "not enough memory", "allocate memory"))
                if not told and not isinstance(error, MemoryError | torch.OutOfMemoryError):
                    raise
                if self.batch_size == 1:
                    raise Failure("Not enough memory for a single prompt: take a smaller model, or --dtype.") from error
                self.batch_size = (self.batch_size + 1) // 2
                print(f"Out of memory: going on with --batch-size {self.batch_size}.", file=sys.stderr)
                continue
            for result in results:
                result.seconds = (time.perf_counter() - began) / len(results)
            done += results
        return done

    def score(self, chats: list[Chat], start: str, words: Sequence[str], prefix: list[int]) -> list[Reading]:
        """Return the log-probability of each of `words` where the reply to each chat begins with `start`."""
        continuations = self.continuations(start, words)

        @torch.inference_mode()
        def run(batch: list[Chat]) -> list[Reading]:
            rows = [self.tokens(self.render(chat) + start) for chat in batch]
            log_p, past, mask = self._read(rows, prefix)
            scores: list[dict[str, float]] = [{} for _ in rows]
            at_once = max(1, self.batch_size // len(rows))  # many words after few prompts, few words after many
            for first in range(0, len(words), at_once):
                some = words[first : first + at_once]
                after = self._continue([continuations[word] for word in some], past, mask)
                for column, word in enumerate(some):
                    total = log_p[:, continuations[word][0]] + after[:, column]
                    for row, number in zip(scores, total.tolist(), strict=True):
                        row[word] = number
            return [Reading(scores=s, tokens=len(row)) for s, row in zip(scores, rows, strict=True)]

        return self._in_batches(chats, run)

    # --- Writing ---------------------------------------------------------------------------------------------------

    def write(
        self,
        chats: list[Chat],
        keys: list[Sequence[int]],
        sampling: Sampling,
        complete: Callable[[str], bool],
        prefix: list[int],
    ) -> list[Reading]:
        """Write a reply to each chat, until it is `complete` or the model ends it.

        The random numbers of a reply come from a generator seeded with its entry of `keys`.
        """

        @torch.inference_mode()
        def run(batch: list[tuple[Chat, Sequence[int]]]) -> list[Reading]:
            rows = [self.tokens(self.render(chat)) for chat, _ in batch]
            random = [np.random.default_rng(key) for _, key in batch]
            written: list[list[int]] = [[] for _ in rows]
            texts = [""] * len(rows)
            active = list(range(len(rows)))
            log_p, past, mask = self._read(rows, prefix)
            for _ in range(sampling.max_new_tokens):
                drawn = draw(log_p, sampling, [random[i].random() for i in active])
                going = []
                for place, (i, token) in enumerate(zip(active, drawn, strict=True)):
                    written[i].append(token)
                    texts[i] = self.tokenizer.decode(written[i], skip_special_tokens=True)
                    if token not in self.ends and not complete(texts[i]):
                        going.append(place)
                if not going:
                    break
                if len(going) < len(active):
                    chosen = torch.tensor(going, device=self.device)
                    past.batch_select_indices(chosen)
                    mask, active = mask[chosen], [active[place] for place in going]
                log_p, past, mask = self._forward([[written[i][-1]] for i in active], past, mask)
            counts = [len(row) + len(new) for row, new in zip(rows, written, strict=True)]
            return [Reading(answer=text, tokens=count) for text, count in zip(texts, counts, strict=True)]

        return self._in_batches(list(zip(chats, keys, strict=True)), run)

    def description(self) -> dict[str, Any]:
        """Return what identifies the model: its name and revision, or the digests of its files; and its licence."""
        folder = Path(self.name)
        known: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "license": self._license()}
        if not folder.is_dir():
            return {**known, "revision": getattr(self.model.config, "_commit_hash", None) or self.revision}
        for file in folder.glob("provenance.json"):
            try:
                known |= json.loads(file.read_text(encoding="utf-8"))
            except (ValueError, TypeError) as error:
                raise UsageError(f"{file} cannot be read ({error}): repair or remove it.") from error
        shape_prompts = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        files = [*sorted(folder.glob("*.safetensors"))]
        files += [folder / name for name in ("config.json", *shape_prompts) if (folder / name).is_file()]
        digests = {file.name: sha256(file) for file in files}
        for name, recorded in known.pop("files", {}).items():  # as they were unpacked
            if digests.get(name, recorded) != recorded:
                raise Failure(f"{folder / name} was changed since it was unpacked: remove {folder} and fetch it again.")
        return {**known, "sha256": digests}

    def _license(self) -> str | None:
        """Return the licence that the model's card names, if there is a card within reach."""
        from huggingface_hub import ModelCard

        card = Path(self.name) / "README.md" if Path(self.name).is_dir() else self.name
        try:
            return ModelCard.load(card, ignore_metadata_errors=True).data.get("license")
        except (OSError, ValueError):  # no card, or no network
            return None


def check_model_name(model: str) -> bool:
    """Return whether `model` is a local folder; raise UsageError where it names a local one that is not there."""
    if model.endswith(".gguf"):
        raise UsageError(f"{model} is a GGUF file: unpack it once with python -m algos.fetch_llm --gguf {model}.")
    local = model.startswith((".", "/", "models/")) or Path(model).is_dir()
    if local and not Path(model).is_dir():
        fetch = " run python -m algos.fetch_llm first, or" if model == DEFAULT_MODEL else ""
        raise UsageError(f"There is no model folder {model}:{fetch} give another --model.")
    return local


def draw(log_p: torch.Tensor, sampling: Sampling, uniform: list[float]) -> list[int]:
    """Draw a token from each row of `log_p` [rows, vocabulary] with that row's number of `uniform` in [0, 1)."""
    if sampling.temperature == 0:
        return log_p.argmax(-1).tolist()
    p = (log_p / sampling.temperature).softmax(-1)
    values, tokens = p.topk(min(LIKELY, p.shape[-1]))
    if bool((values.sum(-1) < sampling.top_p).any()):
        values, tokens = p.sort(-1, descending=True)
    before = values.cumsum(-1) - values  # probability of all tokens likelier than this one
    values = torch.where(before < sampling.top_p, values, 0.0).double()
    cumulated = values.cumsum(-1)
    target = torch.tensor(uniform, dtype=torch.float64, device=p.device)[:, None] * cumulated[:, -1:]
    places = torch.searchsorted(cumulated, target, right=True)
    return tokens.gather(-1, places).squeeze(-1).tolist()


class ServerLLM:
    """A model behind an OpenAI-compatible server; a key is taken from $OPENAI_API_KEY and never recorded."""

    def __init__(self, url: str, model: str, at_once: int = 32) -> None:
        """Remember where to ask; `at_once` is the number of requests under way at a time."""
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--server {url}: an address begins with http:// or https://.")
        url = url.rstrip("/")
        self.url, self.name, self.at_once = (url if url.endswith("/v1") else f"{url}/v1"), model, at_once
        key = os.environ.get("OPENAI_API_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def render(self, chat: Chat) -> str:
        """Return the messages as one text: the server puts them into the model's own format."""
        return json.dumps(chat, ensure_ascii=False)

    def shared(self, one: Chat, other: Chat) -> list[int]:
        """Return nothing: what prompts share is the server's own concern."""
        return []

    def write(
        self,
        chats: list[Chat],
        keys: list[Sequence[int]],
        sampling: Sampling,
        complete: Callable[[str], bool],
        prefix: list[int],
    ) -> list[Reading]:
        """Ask for a reply to each chat, as LocalLLM.write; where it stops and what is drawn is the server's affair."""
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(lambda chat, key: self._ask(chat, key, sampling), chats, keys))

    def _ask(self, chat: Chat, key: Sequence[int], sampling: Sampling) -> Reading:
        seed = int(np.random.SeedSequence(key).generate_state(1)[0]) >> 1  # servers take 31 bits
        question = {
            "model": self.name,
            "messages": chat,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
        }
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            began = time.perf_counter()
            try:
                address = f"{self.url}/chat/completions"
                reply = requests.post(address, json=question, headers=self.headers, timeout=SERVER_TIMEOUT)
                if reply.status_code in (400, 401, 403, 404, 422):  # asking again will not help
                    raise UsageError(f"The server {self.url} refuses ({reply.status_code}: {reply.text[:200]}).")
                reply.raise_for_status()
                content = reply.json()
                answer = content["choices"][0]["message"]["content"]
                tokens = int((content.get("usage") or {}).get("total_tokens", 0))
                if not isinstance(answer, str):
                    raise TypeError("an answer without text")
                answer = answer.encode(errors="replace").decode()  # half a surrogate pair could not be written down
                return Reading(answer=answer, tokens=tokens, seconds=time.perf_counter() - began)
            except requests.RequestException as error:
                reason = str(error)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                reason = f"garbage: {error!r}"
        raise Failure(
            f"The server {self.url} failed {TRIES} times ({reason[:200]}): "
            "what is decided so far is kept, run the same command again to go on."
        )

    def description(self) -> dict[str, Any]:
        """Return what is known of the model; which weights it has, only the server knows."""
        return {"name": self.name, "license": None, "server": "OpenAI-compatible"}
