"""What the authors' procedure gives in the library that they used: an independent check of `--protocol released`.

    python -m analysis.second_opinion --env cartpole --arm loro --peer-python .bench-venv/bin/python \\
        --output results/reference/d3rlpy-loro-cartpole.csv

The learner, its buffer, exploration and evaluation are d3rlpy's own (analysis/second_opinion_peer.py, in an environment
of its own); the episodes are the authors', paired as their files pair them. The CSV has the columns of a run, so far as
d3rlpy tells them: the returns. What is there is not trained again: a command that was stopped goes on after the last
chain that it finished.
"""

import json
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

import envs
from analysis.import_published import REPEATS
from analysis.import_released import import_released
from analysis.runs import write_run
from envs.datasets import Episode
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text
from envs.records import code_version

PEER = Path(__file__).with_name("second_opinion_peer.py")


@dataclass
class Args:
    """Train with d3rlpy as the authors did, and write the returns."""

    output: Path
    """the CSV to write; the .json goes beside it"""
    peer_python: Path
    """the Python of the environment that d3rlpy is installed in (make .bench-venv/installed)"""
    env: Literal["cartpole", "frozen-lake", "cliff-walking"] = "cartpole"
    """the environment: one whose repeats the authors hand on after the iterations that are plotted"""
    arm: Literal["online", "loro"] = "loro"
    """what to train"""
    first_seed: int = 0
    """number of the first chain's seed; the others count on from it"""
    repeats: int = REPEATS
    """repeats that one network is handed through (LORO), or agents of their own (online RL)"""
    llm: str = "qwen-7b"
    """whose episodes (config/released_files.csv)"""
    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA, and without it they are downloaded"""
    chains: int = 3
    """chains of LORO; of online RL, groups of agents"""
    tau: int = 10
    """number of the LLM's episodes"""
    pretrain_steps: int = 3000
    """offline updates"""
    iterations: int | None = None
    """total iterations, the tau warm-up episodes counted; the environment's number by default"""


def write_episodes(path: Path, env: str, episodes: list[Episode]) -> None:
    """Write episodes for the peer, one after the other; states as one-hot rows, as the authors' learner saw them."""
    observations = np.concatenate([episode.observations[:-1] for episode in episodes])
    if observations.ndim == 1:
        observations = np.eye(int(envs.make(env).observation_space.n), dtype=np.float32)[observations]
    arrays = {name: np.concatenate([getattr(episode, name) for episode in episodes]) for name in ("actions", "rewards")}
    terminals = np.concatenate([episode.terminations for episode in episodes]).astype(np.float32)
    np.savez(path, observations=observations, terminals=terminals, **arrays)


def train_chain(args: Args, data: Path, seed: int, iterations: int, bar: tqdm) -> list[list[float]]:
    """Return the evaluations of one chain [repeats][iterations]; raise Failure where the peer fails."""
    numbers = {"seed": seed, "repeats": args.repeats, "iterations": iterations, "pretrain-steps": args.pretrain_steps}
    options = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    command = [str(args.peer_python), "-W", "ignore", str(PEER), args.env, args.arm, str(data), *options]
    returns: list[list[float]] = [[] for _ in range(args.repeats)]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as peer:
            for line in peer.stdout or ():
                repeat, _, value = line.split()
                returns[int(repeat)].append(float(value))
                bar.set_postfix(eval_return=f"{float(value):.1f}", refresh=False)
                bar.update()
        errors.seek(0)
        if peer.returncode or any(len(one) != iterations for one in returns):
            told = errors.read().strip().splitlines()
            raise Failure(f"{args.peer_python} {PEER.name} failed: {told[-1] if told else 'it printed too little'}.")
    return returns


def peer_version(python: Path) -> str:
    """Return the version of d3rlpy in the peer's environment; raise Failure where it has none."""
    command = [str(python), "-c", "from importlib.metadata import version; print(version('d3rlpy'))"]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise Failure(f"{python} has no d3rlpy: make .bench-venv/installed.")
    return told.stdout.strip()


def finished_chains(path: Path, asked: dict[str, object]) -> tuple[list[list[list[float]]], float]:
    """Return the chains that the same command finished before it was stopped, and the seconds they took.

    Raises UsageError where it was another command.
    """
    if not path.exists():
        return [], 0.0
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["arguments"] != asked:
        raise UsageError(f"{path} was begun with other arguments: repeat those, or delete it to start anew.")
    return kept["chains"], kept["seconds"]


def table_of(args: Args, chains: list[list[list[float]]], warm_up: list[float]) -> pd.DataFrame:
    """Return the rows of a run: chains of LORO with their repeats, every other agent a seed of its own."""
    rows = []
    for chain, repeats in enumerate(chains, start=args.first_seed):
        for repeat, returns in enumerate(repeats):
            place = (chain, repeat) if args.arm == "loro" else (chain * args.repeats + repeat, 0)
            rows += [(*place, i, value) for i, value in enumerate([*warm_up, *returns])]
    return pd.DataFrame(rows, columns=["seed", "repeat", "iteration", "eval_return"])


def main() -> None:
    """Train what is not finished yet and write the CSV and its .json."""
    args = tyro.cli(Args)
    iterations = envs.get(args.env).iterations if args.iterations is None else args.iterations
    recorded = args.tau if args.arm == "loro" else 0
    if min(args.chains, args.repeats, args.tau, args.pretrain_steps, args.first_seed + 1) < 1:
        raise UsageError("--chains, --repeats, --tau and --pretrain-steps must be at least 1, --first-seed at least 0.")
    if iterations <= recorded:
        raise UsageError(f"--iterations {iterations} must exceed --tau {args.tau}, which it includes.")
    if not args.peer_python.is_file():
        raise UsageError(f"--peer-python {args.peer_python} does not exist: make .bench-venv/installed.")
    if args.output.exists():
        raise UsageError(f"--output {args.output} is there already: delete it to train anew.")
    versions = {"d3rlpy": peer_version(args.peer_python)}
    episodes, meta = import_released(args.env, args.llm, args.source, as_stored=True)
    if len(episodes) < args.tau:
        raise UsageError(f"--tau {args.tau}: there are only {len(episodes)} episodes of {args.llm} in {args.env}.")
    asked = {name: value for name, value in asdict(args).items() if name not in ("output", "peer_python", "source")}
    asked |= {"iterations": iterations, "protocol": "released", "versions": versions}
    begun = args.output.with_suffix(".chains.json")
    chains, seconds = finished_chains(begun, asked)
    learnt = iterations - recorded
    steps = args.repeats * learnt
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "episodes.npz"
        write_episodes(data, args.env, episodes[: args.tau])
        bar = tqdm(total=args.chains * steps, initial=len(chains) * steps, desc=args.output.stem)
        while len(chains) < args.chains:
            started = time.monotonic()
            chains.append(train_chain(args, data, args.first_seed + len(chains), learnt, bar))
            seconds += time.monotonic() - started
            write_text(begun, json.dumps({"arguments": asked, "chains": chains, "seconds": seconds}))
        bar.close()
    warm_up = [float(np.mean(meta["returns_as_stored"]))] * recorded  # as under `released`: the mean over all of them
    description = {
        "algorithm": "d3rlpy's own",
        "arguments": asked,
        "source_sha256": meta["source_sha256"],
        "device": "cpu",
        "versions": versions,
        **code_version(),
        "seconds": round(seconds, 3),
    }
    write_run(args.output, table_of(args, chains, warm_up), description)
    begun.unlink()
    print(f"{args.output}: {args.chains} chains of {args.repeats}.")


if __name__ == "__main__":
    run_command_line(main)
