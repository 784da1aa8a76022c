"""Speed against peers: the same work, the same machine, the same run, one thread each.

    python -m analysis.bench --peer-python .bench-venv/bin/python --output results/tables/bench.csv

`training`: steps per second and seed against d3rlpy. `collection`: decisions per second against a plain loop around
transformers' generate (analysis/bench_collection_peer.py). What is not measured keeps its rows in the table.

A step is one environment step with its exploration, one sample of 256 transitions and one update of the 256-256
networks. Both programs are timed over two lengths and the difference counts, so that start-up, the evaluation and the
steps before the first update fall away. `floor` is what the multiplications of the update take alone, all else free.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

import envs
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text

COLUMNS = ("benchmark", "env", "seeds", "device", "ours", "peer", "peer_value", "unit", "ratio")
UNIT = "training steps per second and seed"
# Products of a [rows, 256] with a [256, 256] matrix in one update. Double DQN: Q(s), Q(s') and the two of the backward
# pass, for the target network's values are kept; for one-hot states Q(s') is Q(s). SAC: the policy at s'
# and s, two targets, two critics at a and at the policy's action; backwards twice as many for the two critics and for
# the policy, and once as many for the critics' inputs.
PRODUCTS = {"cartpole": (4, 256), "frozen-lake": (3, 16), "cliff-walking": (3, 48), "pendulum": (16, 256)}


@dataclass
class Args:
    """Measure and write the table."""

    output: Path
    """the CSV to write"""
    peer_python: Path
    """the Python of the environment that d3rlpy is installed in"""
    seeds: tuple[int, ...] = (1, 5, 20)
    """numbers of agents trained side by side"""
    environments: tuple[str, ...] = ("cartpole", "frozen-lake", "cliff-walking", "pendulum")
    """what to measure"""
    steps: int = 1000
    """steps that are timed"""
    measure: tuple[Literal["training", "collection"], ...] = ("training", "collection")
    """which benchmarks"""
    model: str = "models/smollm2-135m-instruct"
    """collection: the LLM"""


def run_seconds(env: str, seeds: int, steps: int) -> float:
    """Return the seconds that our program spends on one iteration of `steps` steps, its start-up not counted."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run.csv"
        command = [
            sys.executable,
            "-m",
            f"algos.{envs.get(env).learner}",
            "--env",
            env,
            "--seeds",
            str(seeds),
            "--device",
            "cpu",
        ]
        command += ["--iterations", "1", "--iteration-steps", str(steps), "--eval-episodes", "1", "--no-progress"]
        done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return json.loads(output.with_suffix(".json").read_text())["seconds"]


def ours(env: str, seeds: int, steps: int) -> float:
    """Return our training steps per second and seed."""
    return steps * seeds / (run_seconds(env, seeds, 300 + steps) - run_seconds(env, seeds, 300))


def peer(env: str, steps: int, python: Path) -> tuple[float, str]:
    """Return d3rlpy's training steps per second, and its version."""
    script = Path(__file__).with_name("bench_peer.py")
    done = subprocess.run([str(python), str(script), env, str(steps)], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"The peer failed on {env}: {done.stderr.strip()[-300:]}")
    lines = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line.startswith(("seconds", "version")))
    return 1 / float(lines["seconds per step"]), lines["version"]


def floor(env: str) -> float:
    """Return the updates per second if nothing but the large matrix products took time."""
    products, rows = PRODUCTS[env]
    x, w = np.ones((rows, 256), np.float32), np.ones((256, 256), np.float32)
    out = np.empty_like(x)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        np.matmul(x, w, out=out)
        times.append(time.perf_counter() - started)
    return 1 / (products * float(np.median(times)))


def training(args: Args) -> list[tuple]:
    """Measure training; return the table's rows."""
    if not args.peer_python.exists():
        raise UsageError(f"There is no Python at {args.peer_python}: `make bench` sets the peer's environment up.")
    rows = []
    for env in args.environments:
        theirs, version = peer(env, args.steps, args.peer_python)
        measured = [("training", seeds, ours(env, seeds, args.steps)) for seeds in args.seeds]
        for benchmark, seeds, value in [*measured, ("floor", 1, floor(env))]:
            rows.append(table_row(benchmark, env, seeds, value, f"d3rlpy {version}", theirs, UNIT))
    return rows


def table_row(benchmark: str, env: str, seeds: int | str, value: float, peer: str, theirs: float, unit: str) -> tuple:
    """Return a row of the table, and say it."""
    print(f"{benchmark:22} {env:14} seeds {seeds:3}: {value:8.1f} against {theirs:7.2f}: {value / theirs:.2f}x")
    return (benchmark, env, seeds, "cpu", f"{value:.1f}", peer, f"{theirs:.3g}", unit, f"{value / theirs:.2f}")


def collect(model: str, options: list[str]) -> float:
    """Return the decisions per second of algos/collect.py, the loading of the model not counted."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "dataset"
        command = [
            sys.executable,
            "-m",
            "algos.collect",
            "--env",
            "cartpole",
            "--model",
            model,
            "--output",
            str(output),
        ]
        done = subprocess.run([*command, "--device", "cpu", "--no-progress", *options], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{' '.join(command)} failed: {done.stderr.strip()}")
        meta = json.loads((output / "meta.json").read_text())
        return meta["transitions"] / meta["computed_with"]["playing_seconds"]


def plain_loop(model: str, reply: str, new_tokens: int, steps: int) -> float:
    """Return the decisions per second of the plain loop."""
    script, prompt = "analysis.bench_collection_peer", "prompts/cartpole/verbal.yaml"
    command = [sys.executable, "-m", script, model, prompt, reply, str(new_tokens), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"The plain loop failed: {done.stderr.strip()[-300:]}")
    return float(done.stdout.split()[-1])


def collection(args: Args) -> list[tuple]:
    """Measure collection on CartPole, verbal, 10 episodes; return the table's rows."""
    peer, unit = "generate per step", "decisions per second"
    scored = ["--episodes", "10"]
    one_word = plain_loop(args.model, "score", 8, 30)
    rows = [
        table_row("score", "cartpole", "", collect(args.model, scored), f"{peer}, 8 tokens", one_word, unit),
        table_row(
            "score without memo",
            "cartpole",
            "",
            collect(args.model, [*scored, "--no-memo"]),
            f"{peer}, 8 tokens",
            one_word,
            unit,
        ),
    ]
    reasoned = plain_loop(args.model, "cot", 64, 10)
    options = ["--episodes", "10", "--horizon", "5", "--decide", "cot", "--max-new-tokens", "64"]
    rows.append(table_row("cot", "cartpole", "", collect(args.model, options), f"{peer}, 64 tokens", reasoned, unit))
    return rows


def main() -> None:
    """Measure, and write one table."""
    args = tyro.cli(Args)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    measured = [row for name in args.measure for row in {"training": training, "collection": collection}[name](args)]
    new = {(str(row[0]), str(row[1])) for row in measured}
    kept = []
    if args.output.exists():
        kept = [tuple(row) for row in csv.reader(args.output.open()) if (row[0], row[1]) not in new][1:]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *kept, *measured])
    write_text(args.output, table.getvalue())


if __name__ == "__main__":
    run_command_line(main)
