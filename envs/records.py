"""How a training run is kept on disk: a checkpoint while it goes on, a CSV and its .json when it is done."""

import ctypes
import importlib.metadata
import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from envs.errors import Failure, UsageError
from envs.files import write_text, written_whole

COLUMNS = ("env_steps", "train_return", "eval_return", "eval_length", "loss", "q_mean")
"""The measured columns of a run's CSV; results/README.md explains them."""

PACKAGES = ("torch", "numpy", "gymnasium", "minari", "ale-py", "safetensors")


def keep_freed_memory() -> None:
    """Tell the C library to keep freed blocks for the next step instead of returning them to the system.

    The activations of a batched update are larger than glibc's default threshold for doing so, and fetching them back
    page by page costs up to a third of the training time. Without effect where the C library is another.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(mmap_threshold, 2**25)
        library.mallopt(trim_threshold, 2**30)


def check_output(path: Path) -> None:
    """Raise Failure when `path` cannot be written, before hours of training show it."""
    if path.suffix != ".csv":
        raise UsageError(f"--output {path}: the name must end in .csv.")
    try:
        with written_whole(path.with_suffix(".json.probe")) as temporary:
            temporary.touch()
        path.with_suffix(".json.probe").unlink()
    except OSError as error:
        raise Failure(f"Cannot write to the output folder {path.parent}: {error.strerror}.") from error


def checkpoint_path(output: Path) -> Path:
    """Return where the checkpoint of a run lies: beside its CSV."""
    return output.with_suffix(".checkpoint.safetensors")


def save_checkpoint(output: Path, identity: dict, tensors: dict[str, np.ndarray], progress: dict) -> None:
    """Write the state of a run. `identity` holds the arguments that decide its numbers, `progress` its counters."""
    metadata = {"identity": json.dumps(identity, sort_keys=True), "progress": json.dumps(progress)}
    with written_whole(checkpoint_path(output)) as temporary:
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, temporary, metadata)


def load_checkpoint(output: Path, identity: dict) -> tuple[dict[str, np.ndarray], dict] | None:
    """Return (tensors, progress) of the run's checkpoint, or None when there is none.

    Raises UsageError when the checkpoint was made with other arguments, Failure when it cannot be read.
    """
    path = checkpoint_path(output)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            stored, progress = json.loads(metadata["identity"]), json.loads(metadata["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"Checkpoint {path} is damaged ({error}); delete it to start the run anew.") from error
    for name in sorted(stored.keys() | identity.keys()):
        if stored.get(name) != json.loads(json.dumps(identity.get(name))):
            raise UsageError(
                f"Checkpoint {path} was made with other arguments ({name}: {stored.get(name)!r} there, "
                f"{identity.get(name)!r} now); repeat those arguments, or delete it to start anew."
            )
    return tensors, progress


def write_run(output: Path, first_seed: int, table: np.ndarray, description: dict[str, Any]) -> None:
    """Write a finished run: the CSV and, beside it, the .json with `description`, versions and the git commit.

    `table` is [repeats, seeds, iterations, len(COLUMNS)]; NaN becomes an empty cell.
    """
    lines = [",".join(("seed", "repeat", "iteration", *COLUMNS))]
    repeats, seeds, iterations, _ = table.shape
    for seed in range(seeds):
        for repeat in range(repeats):
            for iteration in range(iterations):
                numbers = ["" if np.isnan(x) else f"{x:.9g}" for x in table[repeat, seed, iteration]]
                lines.append(",".join((str(first_seed + seed), str(repeat), str(iteration), *numbers)))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    more = {"versions": versions, "git_commit": git_commit(), "peak_memory_mb": peak_memory}
    write_text(output.with_suffix(".json"), json.dumps({**description, **more}, indent=2, sort_keys=True) + "\n")
    write_text(output, "\n".join(lines) + "\n")
    checkpoint_path(output).unlink(missing_ok=True)


def git_commit() -> str | None:
    """Return the commit of the code that is running, or None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
