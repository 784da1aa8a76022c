"""An LLM (or a uniformly random policy) plays an environment; the episodes become a dataset with full transcripts.

Paper: "Improving the Data-efficiency of RL by Warm-starting with LLM" (LORO, arXiv 2505.10861), step 2 of Algorithm 1.

    python -m algos.fetch_llm
    python -m algos.collect --env cartpole --output rerun/results/datasets/cartpole/smollm2-135m-verbal
    accelerate launch -m algos.collect ...                          # the episodes shared out over processes and GPUs
    python -m algos.collect --server http://localhost:8000 --model NAME --decide cot ...        # ask a server instead

All episodes are played in lock-step. At every step each observation is put into words (prompts/<env>/<style>.yaml) in a
fresh chat without history, and decided in one of five ways (--decide, algos/decide.py).
Every decision is appended to a journal beside the output when it is made, so that a killed collection goes on where it
stopped. Random numbers are keyed by (seed, episode, step): neither more episodes, nor the batch, nor the number of
processes changes an episode. A dataset holds data/ (Minari), meta.json, transcripts.jsonl.gz (one line a step),
prompt.yaml as it was used, and croissant.json.
"""

import fcntl
import gzip
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

import envs
from algos.decide import ENVIRONMENT_STREAM, JUDGE, Deciding, LLMPolicy, Player, Row, random_policy
from algos.llm import DEFAULT_MODEL, LocalLLM, Reading, ServerLLM
from envs.datasets import read_meta, save_dataset, versions
from envs.errors import Failure, UsageError, run_command_line
from envs.files import check_clock, sha256, write_text
from envs.prompts import load_prompt
from envs.records import code_version


@dataclass(kw_only=True)
class Args(Deciding):
    """Let an LLM, or chance, play episodes of one environment."""

    output: Path
    """the dataset folder to write, by convention .../datasets/<env>/<policy>"""
    env: str = "cartpole"
    """cartpole, frozen-lake, cliff-walking, mountain-car, pendulum, represented-pong, or one of your own (envs/)"""
    episodes: int = 30
    """number of episodes"""
    horizon: int | None = None
    """steps after which an episode is cut off, 0 for none; the environment's own by default"""
    seed: int = 0
    """first key of every random number"""

    # The model
    model: str = DEFAULT_MODEL
    """a local folder or a Hugging Face id, both with safetensors; or "random" for uniformly random actions"""
    revision: str | None = None
    """commit, tag or branch of a Hugging Face model; the one that was used is recorded"""
    server: str | None = None
    """ask this OpenAI-compatible server for --model instead of loading it; for the ways that write answers"""
    plain: bool = False
    """let a model without a chat template read the plain text"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU when there is one"""
    device_map: Literal["auto"] | None = None
    """auto spreads a model that is larger than a GPU over all of them and the main memory"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """numbers that the LLM computes with; bfloat16 moves probabilities by up to 0.03 and turns decisions"""
    batch_size: int = 32
    """most prompts in one forward pass, or under way at a server; halved where memory runs out"""
    threads: int = 1
    """CPU threads; one gives the same numbers whatever the machine"""

    # What it is told, and how that is read (how it decides: algos/decide.py)
    style: Literal["verbal", "numeric"] = "verbal"
    """which of the environment's prompts: what a spectator would say, or the state in numbers as in the paper"""
    prompt: Path | None = None
    """a prompt file of your own instead of prompts/<env>/<style>.yaml"""
    memo: bool = True
    """decide each distinct prompt once where the reading is not random: scores, and answers at temperature 0"""
    progress: bool = True
    """show a progress bar"""


def start(args: Args, index: int) -> Player:
    """Start episode `index`: its environment seed depends on (seed, index) alone."""
    env = envs.make(args.env, args.horizon)
    seed = int(np.random.SeedSequence([args.seed, index, ENVIRONMENT_STREAM]).generate_state(1)[0])
    observation, _ = env.reset(seed=seed)
    return Player(index, env, seed, [observation])


Policy = Callable[[list[Player]], list[Row]]
"""Decides for each of the players."""


class Journal:
    """The decisions of a collection that is under way: a line each in a folder beside the output, a file a process."""

    def __init__(self, folder: Path, process: int) -> None:
        """Read what was decided before, by however many processes; what a killed one left unfinished is dropped."""
        self.path, self.rows = folder / f"process-{process}.jsonl", {}
        for file in sorted(folder.glob("process-*.jsonl")):
            content = file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if file == self.path and whole != content:
                file.write_bytes(whole)
            try:
                for row in map(json.loads, whole.splitlines()):
                    self.rows[row["episode"], row["step"]] = row
            except (ValueError, TypeError, KeyError) as error:
                raise Failure(f"{file} is damaged ({error}): remove {folder} to begin anew.") from error

    def add(self, rows: list[Row]) -> None:
        """Keep `rows`, on disk too."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.rows |= {(row["episode"], row["step"]): row for row in rows}

    def readings(self) -> dict[str, Reading]:
        """Return the scores and single answers that were read, by the digest of their prompt."""
        return {
            row["prompt_sha256"]: Reading(row.get("scores", {}), row.get("answer", ""))
            for row in self.rows.values()
            if "scores" in row or "answer" in row
        }


def play(args: Args, indices: Sequence[int], policy: Policy, journal: Journal, progress: bool) -> list[Player]:
    """Play the episodes `indices` in lock-step; decisions that the journal holds are taken from there."""
    players = [start(args, index) for index in indices]
    with tqdm(total=len(players), unit="episode", disable=not progress, desc=args.env) as bar:
        steps, last_return = 0, "-"
        while playing := [player for player in players if player.playing]:
            undecided = [player for player in playing if player.step_key not in journal.rows]
            if undecided:
                rows = policy(undecided)
                keys = [dict(zip(("episode", "step"), player.step_key, strict=True)) for player in undecided]
                journal.add([{**key, **row} for key, row in zip(keys, rows, strict=True)])
            for player in playing:
                player.step(journal.rows[player.step_key]["action"])
                if not player.playing:
                    bar.update()
                    last_return = f"{sum(player.rewards):.1f}"
            steps += len(playing)
            speed = f"{steps / max(bar.format_dict['elapsed'], 1e-9):.1f}/s"
            bar.set_postfix({"steps": f"{steps} ({speed})", "last return": last_return}, refresh=False)
    return players


# --- The command line ------------------------------------------------------------------------------------------------


def check(args: Args) -> None:
    """Raise UsageError for arguments that cannot work, before a model is loaded and hours are spent."""
    environment = envs.get(args.env)
    for name in ("episodes", "batch_size", "max_new_tokens", "threads", "answers"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}.")
    if min(args.seed, args.horizon or 0, args.memory) < 0 or not 0 < args.top_p <= 1:
        raise UsageError("--seed, --horizon and --memory must not be negative, --top-p in (0, 1].")
    if not (args.temperature == 0 or 0.001 <= args.temperature <= 1000):
        raise UsageError(f"--temperature must be 0 or from 0.001 to 1000, not {args.temperature}.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here; use --device cpu or auto.")
    if args.horizon == 0 and environment.endless:
        raise UsageError(f"--horizon 0: an episode of '{args.env}' never ends by itself; give a number of steps.")
    if args.on_invalid == "noop" and environment.noop is None:
        raise UsageError(f"--on-invalid noop: in '{args.env}' every action does something; use random or error.")
    if args.server and args.decide == "score":
        raise UsageError(
            "--server: servers do not tell the log-probabilities of given words; use --decide cot or answer."
        )
    contents = {path.name for path in args.output.iterdir()} if args.output.is_dir() else set()
    ours = {"data", "meta.json", "transcripts.jsonl.gz", "prompt.yaml", "croissant.json"}
    if args.output.is_file() or not contents <= ours:
        raise UsageError(f"--output {args.output} exists and is no dataset: give another folder.")
    for weights in Path(args.model).glob("*.safetensors"):  # where the model is a folder
        check_clock(weights)
    if args.horizon is None:
        args.horizon = environment.horizon


def process_of_many() -> tuple[int, int, Callable[[], None]]:
    """Return this process's number, how many there are, and how to wait for all; one unless under accelerate launch."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return 0, 1, lambda: None
    from accelerate import PartialState

    patience = timedelta(days=7)  # one process may have far more to play than another
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=patience)
    return state.process_index, state.num_processes, state.wait_for_everyone


def open_llm(args: Args) -> LocalLLM | ServerLLM:
    """Load the model, each process on a GPU of its own where there are several, or reach the server."""
    if args.server:
        return ServerLLM(args.server, args.model, args.batch_size)
    device = "cpu"
    if args.device != "cpu" and torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    options = {name: getattr(args, name) for name in ("dtype", "device_map", "batch_size", "plain", "progress")}
    thinking = args.decide not in ("score", "answer")
    return LocalLLM(args.model, args.revision, device=device, thinking=thinking, **options)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make `folder` and keep it for this process alone; raise UsageError where another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # the system frees it if this process is killed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"Another process is writing {folder}: wait for it, or give another --output.") from error
        yield


def open_journal(folder: Path, settings: dict[str, Any], process: int, wait: Callable[[], None]) -> Journal:
    """Begin or reopen the collection's journal; raise UsageError where another collection is under way."""
    file = folder / "settings.json"
    if process == 0 and not any(folder.glob("process-*.jsonl")):  # nothing is decided yet
        write_text(file, json.dumps(settings, indent=2, sort_keys=True) + "\n")
    wait()
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"{file} is damaged ({error}): remove {folder} to begin anew.") from error
    if earlier != settings:
        raise UsageError(f"{folder} holds an unfinished collection with other settings: remove it, or finish that one.")
    return Journal(folder, process)


def already_there(args: Args, settings: dict[str, Any]) -> bool:
    """Return whether the output holds this very collection; raise UsageError where it holds another."""
    if not (args.output / "meta.json").is_file():
        return False
    meta = read_meta(args.output)
    if {name: meta.get(name) for name in settings} == settings and meta.get("episodes") == args.episodes:
        return True
    raise UsageError(f"--output {args.output} holds another collection already: remove it, or give another folder.")


def main() -> None:
    """Read the command line, play, and write the dataset."""
    args = tyro.cli(Args)
    check(args)
    made_with = code_version()  # now: the checkout may move on while this process runs
    torch.set_num_threads(args.threads)
    process, processes, wait = process_of_many()
    settings: dict[str, Any] = {"environment": args.env, "horizon": args.horizon, "seed": args.seed, "model": None}
    files: dict[str, bytes] = {}
    if args.model != "random":
        path = args.prompt or Path("prompts") / args.env / f"{args.style}.yaml"
        example = start(args, 0)
        prompt = load_prompt(path, example.env, envs.get(args.env).words(example.observations[0]))
        if args.memory and "place" not in envs.get(args.env).words(example.observations[0]):
            raise UsageError(f"--memory: in '{args.env}' there are no places to remember.")
        if args.memory and not prompt.memory:
            raise UsageError(f"--memory: prompt file {path} does not say how to tell of earlier moves.")
        llm = open_llm(args)
        decision = {field.name: getattr(args, field.name) for field in fields(Deciding)}
        settings |= {"model": llm.description(), "decision": decision}
        settings["prompt"] = {"file": str(path), "sha256": sha256(path)}
        files["prompt.yaml"] = path.read_bytes()
        if args.decide == "best":
            settings["judge"] = {"file": str(JUDGE), "sha256": sha256(JUDGE)}
            files[JUDGE.name] = JUDGE.read_bytes()
    if already_there(args, settings):
        print(f"{args.output} holds this collection already.")
        return
    folder = args.output.with_name(f"{args.output.name}.journal")
    with hold(folder) if process == 0 else nullcontext():
        journal = open_journal(folder, settings, process, wait)
        policy: Policy = partial(random_policy, args.seed)
        if args.model != "random":
            policy = LLMPolicy(args.env, llm, prompt, args, args.seed, journal.readings() if args.memo else None)
            if args.calibrate:
                made_with["baseline"] = policy.baseline
        began = time.perf_counter()
        play(args, range(process, args.episodes, processes), policy, journal, args.progress and process == 0)
        wait()
        if process == 0:
            made_with["computed_with"] = {
                **{name: getattr(args, name) for name in ("batch_size", "memo", "threads")},
                "processes": processes,
                "playing_seconds": round(time.perf_counter() - began, 3),  # since the last start, by the clock
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # of the first process
            }
            save(args, settings, files, Journal(folder, process), made_with)
            shutil.rmtree(folder)
            print(summary(read_meta(args.output)))


def save(
    args: Args, settings: dict[str, Any], files: dict[str, bytes], journal: Journal, made_with: dict[str, Any]
) -> None:
    """Write the dataset from the journal of all processes."""
    players = play(args, range(args.episodes), lambda _: [], journal, progress=False)
    rows = [journal.rows[key] for key in sorted(journal.rows) if key[0] < args.episodes]
    if len(rows) != sum(len(player.actions) for player in players):
        raise Failure(f"{journal.path.parent} tells more than was played: remove it to begin anew.")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files["transcripts.jsonl.gz"] = gzip.compress(lines.encode(), mtime=0)  # no time, so that bytes repeat
    uses_gpu = args.device != "cpu" and torch.cuda.is_available()
    meta = {
        "policy": Path(args.model).name,
        **settings,
        "environment_seeds": [player.seed for player in players],
        "distinct_prompts": len({row["prompt_sha256"] for row in rows if "prompt_sha256" in row}),
        "invalid_answers": sum(row["parsed"].startswith("invalid") for row in rows),
        "tokens": sum(row.get("tokens", 0) for row in rows),
        "seconds": round(sum(row.get("seconds", 0) for row in rows), 3),
        "device": torch.cuda.get_device_name() if uses_gpu else "cpu",
        **made_with,
        "versions": versions("torch", "transformers", "tokenizers", "safetensors"),
    }
    save_dataset(args.output, args.env, [player.episode() for player in players], meta, files)


def summary(meta: dict[str, Any]) -> str:
    """Say what was collected in a line: an LLM that never states an action plays at random, and earns like it."""
    told = f"{meta['episodes']} episodes, {meta['transitions']:,} steps, mean return {meta['mean_return']:.6g}"
    invalid = meta["invalid_answers"] / meta["transitions"]
    return f"{told}; in {invalid:.1%} of the steps no action was stated." if invalid else f"{told}."


if __name__ == "__main__":
    run_command_line(main)
