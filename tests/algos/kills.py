"""Killing a training program in the middle, for the tests of resumption."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def train_and_kill(algorithm, arguments, output, pause):
    """Train until a checkpoint is written, and so many seconds on; SIGKILL. Return whether the run was still going."""
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    command = [sys.executable, "-m", f"algos.{algorithm}", *map(str, arguments), "--output", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
        time.sleep(0.005)
    time.sleep(pause)
    going = process.poll() is None
    process.kill()
    process.wait()
    return going
