"""What the authors' procedure gives in the library that they used: an independent check of `--protocol released`.

    python -m analysis.second_opinion --env cartpole --arm loro --peer-python .bench-venv/bin/python \\
        --output results/reference/d3rlpy-loro-cartpole.csv

The learner, its buffer, exploration and evaluation are d3rlpy's own (analysis/second_opinion_peer.py, in an environment
of its own); the episodes are the authors', paired as their files pair them. The CSV has the columns of a run, so far as
d3rlpy tells them: the returns. A chain that is finished is kept, and is not trained again by the same command.
"""

import hashlib
import json
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from tqdm import tqdm

import envs
from analysis.import_released import import_released
from analysis.runs import COLUMNS
from envs.datasets import Episode
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text
from envs.records import code_version

PEER = Path(__file__).with_name("second_opinion_peer.py")
REPEATS = 5


@dataclass
class Args:
    """Train with d3rlpy as the authors did, and write the returns."""

    output: Path
    """the CSV to write; the .json goes beside it"""
    peer_python: Path
    """the Python of the environment that d3rlpy is installed in (make .bench-venv/installed)"""
    env: Literal["cartpole", "frozen-lake", "cliff-walking", "pendulum"] = "cartpole"
    """the environment"""
    arm: Literal["online", "loro"] = "loro"
    """what to train"""
    llm: str = "qwen-7b"
    """whose episodes (config/released_files.csv)"""
    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA, and without it they are downloaded"""
    chains: int = 3
    """LORO: chains of five repeats; online RL: five agents each"""
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
    numbers = {"seed": seed, "repeats": REPEATS, "iterations": iterations, "pretrain-steps": args.pretrain_steps}
    options = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    command = [str(args.peer_python), "-W", "ignore", str(PEER), args.env, args.arm, str(data), *options]
    returns: list[list[float]] = [[] for _ in range(REPEATS)]
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


def finished_chains(path: Path, asked: dict[str, object]) -> dict[str, list[list[float]]]:
    """Return the chains that an earlier run of the same command has finished; raise UsageError where it was another."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["arguments"] != asked:
        raise UsageError(f"{path} was begun with other arguments: repeat those, or delete it to start anew.")
    return kept["chains"]


def main() -> None:
    """Train what is not finished yet and write the CSV and its .json."""
    args = tyro.cli(Args)
    iterations = args.iterations or envs.get(args.env).iterations
    recorded = args.tau if args.arm != "online" else 0
    if min(args.chains, args.tau, args.pretrain_steps) < 1 or iterations <= recorded:
        raise UsageError("--chains, --tau and --pretrain-steps must be at least 1, and --iterations exceed --tau.")
    if not args.peer_python.is_file():
        raise UsageError(f"--peer-python {args.peer_python} does not exist: make .bench-venv/installed.")
    version = peer_version(args.peer_python)
    episodes, meta = import_released(args.env, args.llm, args.source, as_stored=True)
    asked = {name: value for name, value in asdict(args).items() if name not in ("output", "peer_python", "source")}
    asked |= {"chains": None, "iterations": iterations}  # more chains go on where fewer ended
    begun = args.output.with_suffix(".chains.json")
    chains, started = finished_chains(begun, asked), time.monotonic()
    learnt = iterations - recorded
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "episodes.npz"
        write_episodes(data, args.env, episodes[: args.tau])
        bar = tqdm(total=args.chains * REPEATS * learnt, initial=len(chains) * REPEATS * learnt, desc=args.output.stem)
        for seed in range(len(chains), args.chains):
            chains[str(seed)] = train_chain(args, data, seed, learnt, bar)
            write_text(begun, json.dumps({"arguments": asked, "chains": chains}))
        bar.close()
    warm_up = [float(np.mean(meta["returns_as_stored"]))] * recorded  # as under `released`: the mean over all of them
    lines = [",".join(COLUMNS)]
    for chain in range(args.chains):
        for repeat, returns in enumerate(chains[str(chain)]):
            place = f"{chain},{repeat}" if args.arm == "loro" else f"{chain * REPEATS + repeat},0"
            lines += [f"{place},{i},,,{value:.9g},,," for i, value in enumerate([*warm_up, *returns])]
    description = {
        "algorithm": "d3rlpy's own",
        "arguments": {**asked, "chains": args.chains, "protocol": "released"},
        "source_sha256": meta["source_sha256"],
        "device": "cpu",
        "versions": {"d3rlpy": version},
        **code_version(),
        "seconds": round(time.monotonic() - started, 3),
    }
    table = "\n".join(lines) + "\n"
    description["csv_sha256"] = hashlib.sha256(table.encode()).hexdigest()
    write_text(args.output.with_suffix(".json"), json.dumps(description, indent=2, sort_keys=True) + "\n")
    write_text(args.output, table)
    begun.unlink()
    print(f"{args.output}: {args.chains} chains of {REPEATS}.")


if __name__ == "__main__":
    run_command_line(main)
