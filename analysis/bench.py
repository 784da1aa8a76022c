"""Training steps per second and seed against d3rlpy: the same machine, the same run, one thread each.

    python -m analysis.bench --peer-python .bench-venv/bin/python --output results/tables/bench.csv

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

import numpy as np
import tyro

from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text

COLUMNS = ("benchmark", "env", "seeds", "device", "ours", "peer", "peer_value", "unit", "ratio")
UNIT = "training steps per second and seed"
# Products of a [rows, 256] with a [256, 256] matrix in one update. Double DQN: Q(s), Q(s'), target Q(s') and the two of
# the backward pass; for one-hot states Q(s') is Q(s) and the target's table is kept. SAC: A2 of the papers' notes.
PRODUCTS = {"cartpole": (5, 256), "frozen-lake": (3, 16), "cliff-walking": (3, 48), "pendulum": (16, 256)}


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


def run_seconds(env: str, seeds: int, steps: int) -> float:
    """Return the seconds that our program spends on one iteration of `steps` steps, its start-up not counted."""
    algorithm = "sac" if env == "pendulum" else "dqn"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run.csv"
        command = [sys.executable, "-m", f"algos.{algorithm}", "--env", env, "--seeds", str(seeds), "--device", "cpu"]
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


def main() -> None:
    """Measure everything and write one table."""
    args = tyro.cli(Args)
    if not args.peer_python.exists():
        raise UsageError(f"There is no Python at {args.peer_python}: `make bench` sets the peer's environment up.")
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for env in args.environments:
        theirs, version = peer(env, args.steps, args.peer_python)
        measured = [("training", seeds, ours(env, seeds, args.steps)) for seeds in args.seeds]
        for benchmark, seeds, value in [*measured, ("floor", 1, floor(env))]:
            row = (benchmark, env, seeds, "cpu", f"{value:.1f}", f"d3rlpy {version}", f"{theirs:.1f}", UNIT)
            writer.writerow((*row, f"{value / theirs:.2f}"))
            print(f"{env:14} {benchmark:9} seeds {seeds:3}: {value:8.1f} against {theirs:7.1f}: {value / theirs:.2f}x")
    write_text(args.output, table.getvalue())


if __name__ == "__main__":
    run_command_line(main)
