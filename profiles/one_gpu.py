"""Run a command on the GPU that the fewest commands run on: Snakemake counts GPUs, but does not say which is whose.

    python profiles/one_gpu.py python -m algos.dqn ...

Each GPU has LORO_JOBS_PER_GPU slots (4 by default), each a file. The command keeps the lock on one of them while it
runs, and the system frees it however it ends; where all are taken, it waits. CUDA_VISIBLE_DEVICES tells the command
its GPU, and this program which ones there are. Where there is no GPU, or Slurm has given the job its own, the command
simply runs.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

JOBS_PER_GPU = 4
LOCKS = Path(tempfile.gettempdir()) / f"loro-gpus-{os.getuid()}"
"""Local to the machine, as its GPUs are."""


def gpus() -> list[str]:
    """Return the ids of the GPUs that may be used."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    try:
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


def lock(path: Path) -> int | None:
    """Take the lock on a file and return its descriptor, or None where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time choose."""
    with (LOCKS / "choosing").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_slots(name: str, slots: int) -> list[int]:
    """Lock all free slots of a GPU and return their descriptors."""
    descriptors = [lock(LOCKS / f"{name.replace('/', '-')}-{slot}") for slot in range(slots)]
    return [descriptor for descriptor in descriptors if descriptor is not None]


def take_slot(names: list[str], slots: int) -> str | None:
    """Take a slot of the GPU that has the most free ones and return its id, or None where none is free.

    The descriptor of the slot's lock stays open, in what this process becomes too.
    """
    with alone():
        free = {name: free_slots(name, slots) for name in names}
        best = max(names, key=lambda name: len(free[name]))
        kept = free[best].pop() if free[best] else None
        for descriptor in chain.from_iterable(free.values()):
            os.close(descriptor)
    if kept is None:
        return None
    os.set_inheritable(kept, True)
    return best


def main() -> None:
    """Choose a GPU and become the command."""
    command = sys.argv[1:]
    if not command:
        print("error: give a command, as in: python profiles/one_gpu.py python -m algos.dqn ...", file=sys.stderr)
        sys.exit(2)
    slots = os.environ.get("LORO_JOBS_PER_GPU", str(JOBS_PER_GPU))
    if not slots.isdigit() or slots == "0":
        print(f"error: LORO_JOBS_PER_GPU must be a whole number above 0, not '{slots}'.", file=sys.stderr)
        sys.exit(2)
    names = [] if "SLURM_JOB_ID" in os.environ else gpus()
    if names:
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        while (name := take_slot(names, int(slots))) is None:
            time.sleep(0.5)
        os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"error: cannot run {command[0]}: {error.strerror}.")


if __name__ == "__main__":
    main()
