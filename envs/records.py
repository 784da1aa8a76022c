"""How a training run is kept on disk: a checkpoint while it goes on, a CSV and its .json when it is done."""

import ctypes
import hashlib
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from envs.datasets import Episode, told_of_episodes, versions
from envs.errors import AlreadyThere, Failure, UsageError
from envs.files import check_clock, check_folder, sha256, write_text, written_whole

COLUMNS = ("env_steps", "train_return", "eval_return", "eval_length", "loss", "q_mean")
"""The measured columns of a run's CSV; results/README.md explains them."""

INFINITY = float("inf")
RANGES = {
    **dict.fromkeys(("seeds", "tau", "iterations", "iteration_steps", "carry_over"), (1, INFINITY)),
    **dict.fromkeys(("eval_episodes", "batch_size", "buffer_size", "hidden_size"), (1, INFINITY)),
    **dict.fromkeys(("target_update_interval", "offline_target_update_interval", "horizon"), (1, INFINITY)),
    **dict.fromkeys(("num_envs", "num_steps", "num_minibatches", "update_epochs"), (1, INFINITY)),
    **dict.fromkeys(("pretrain_batch_size", "iteration_episodes", "transitions"), (1, INFINITY)),
    "threads": (1, 1024),
    "first_seed": (0, 2**32),
    **dict.fromkeys(("pretrain_steps", "eval_horizon", "updates"), (0, INFINITY)),
    **dict.fromkeys(("gamma", "epsilon", "smoothing", "target_rate", "learning_rate", "gae_lambda", "floor"), (0, 1)),
    **dict.fromkeys(("clip_coef", "vf_coef", "max_grad_norm", "ent_coef"), (0, INFINITY)),
    **dict.fromkeys(("alpha", "cql_coef", "temperature"), (0, INFINITY)),
}
"""The least and the largest value of the arguments that have one."""


def check_ranges(args: Any) -> None:
    """Raise UsageError for a number in `args` that no run can have; None is one that the protocol decides."""
    for name, (least, most) in RANGES.items():
        value = getattr(args, name, None)
        if value is not None and not least <= value <= most:  # NaN is in no range
            bounds = f"at least {least}" if most == INFINITY else f"from {least} to {most}"
            raise UsageError(f"--{name.replace('_', '-')} must be {bounds}, not {value}.")
    if getattr(args, "buffer_size", INFINITY) <= getattr(args, "batch_size", 0):
        raise UsageError(f"--buffer-size {args.buffer_size} must exceed --batch-size {args.batch_size}.")


DATA = ("dataset_sha256", "prior_sha256")
"""What a finished run's .json tells of its data, beside the arguments."""
DO_NOT_CHANGE_RESULTS = ("output", "dataset", "prior", "features", "threads", "progress", "track")
"""Arguments that a resumed run may change; of the dataset and the prior their SHA-256 count instead of their paths, and
features are what the encoder makes, wherever they are kept."""


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


class Run:
    """One run: its table of results [repeats, seeds, iterations, columns], its checkpoint, its final files."""

    def __init__(
        self,
        args: Any,
        dataset_sha256: str | None = None,
        columns: tuple[str, ...] = COLUMNS,
        prior_sha256: str | None = None,
    ) -> None:
        """Prepare the run of `args` (its `output`, `track`, `carry_over`, `seeds`, `iterations` are used here).

        `columns`: COLUMNS, and after them what else an algorithm measures.
        Raises UsageError for an output that is no .csv and Failure when its folder cannot be written, before hours of
        training show it.
        """
        self.args, self.dataset_sha256, self.columns = args, dataset_sha256, columns
        self.prior = {} if prior_sha256 is None else {"prior_sha256": prior_sha256}
        self.episodes = told_of_episodes(args.dataset) if getattr(args, "dataset", None) else {}
        self.output = args.output
        self.checkpoint = self.output.with_suffix(".checkpoint.safetensors")
        if self.output.suffix != ".csv":
            raise UsageError(f"--output {self.output}: the name must end in .csv.")
        for path in (self.output, self.checkpoint, self.output.with_suffix(".json"), self._policy_file()):
            if path.is_dir():
                raise UsageError(
                    f"--output {self.output}: {path} is a folder, and a file goes there; give another name."
                )
        self._check_folder()
        arguments = {k: str(v) for k, v in asdict(args).items() if k not in DO_NOT_CHANGE_RESULTS}
        self.identity = {**arguments, "dataset_sha256": str(dataset_sha256), **self.prior}
        self._check_finished()
        self.table = np.full((args.carry_over, args.seeds, args.iterations, len(columns)), np.nan)
        self.finished_blocks = 0
        self.seconds_before, self.started = 0.0, time.monotonic()
        # now: the checkout may move on while this process runs; a list, for a run may be resumed with other code
        self.code = [code_version() | {"versions": versions("torch", "ale-py", "safetensors")}]
        self.loaded: dict[str, torch.Tensor] = {}
        self.writer = None
        if args.track is not None:
            from torch.utils.tensorboard import SummaryWriter  # seconds to import, and rarely wanted

            self.writer = SummaryWriter(args.track)

    def _check_folder(self) -> None:
        check_folder(self.output.parent)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        if getattr(self.args, "dataset", None) is not None:
            check_clock(self.args.dataset / "meta.json")

    def _check_finished(self) -> None:
        """Look for a finished run under this name.

        Raises UsageError where it has other arguments or data, and would be lost; AlreadyThere where it is this one.
        """
        described = self.output.with_suffix(".json")
        if not (self.output.exists() and described.exists()):
            return
        try:
            description = json.loads(described.read_text(encoding="utf-8"))
            told = {**description["arguments"], **{name: description[name] for name in DATA if name in description}}
        except (ValueError, KeyError, TypeError):
            return  # nothing that tells of a run
        told = {name: str(told[name]) for name in told.keys() & self.identity.keys()}
        if changed := self._changed(told, told.keys()):
            raise UsageError(f"{self.output} holds another run ({changed}): give another --output, or delete it.")
        files = {"csv_sha256": self.output, "policy_sha256": self._policy_file()}
        whole = all(path.exists() and description.get(name) == sha256(path) for name, path in files.items())
        if whole and told.keys() == self.identity.keys() and not self.checkpoint.exists():
            raise AlreadyThere(f"{self.output} holds this run already; delete it to train anew.")

    def _policy_file(self) -> Path:
        return self.output.with_suffix(".policy.safetensors")

    def _changed(self, told: dict[str, str], names: Iterable[str]) -> str | None:
        """Say which of the named arguments is another than was told; None where none is."""
        for name in sorted(names):
            if told.get(name) != self.identity.get(name):
                return f"{name} was {told.get(name)} and is {self.identity.get(name)} now"
        return None

    @property
    def seconds(self) -> float:
        """Return the time spent on this run, interruptions not counted."""
        return self.seconds_before + time.monotonic() - self.started

    def load(self) -> dict[str, int] | None:
        """Read the checkpoint and return its counters, or None when there is none; `restore` then copies the tensors.

        Raises UsageError when the checkpoint was made with other arguments, Failure when it cannot be read.
        """
        if not self.checkpoint.exists():
            return None
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                metadata = file.metadata()
                identity, progress = json.loads(metadata["identity"]), json.loads(metadata["progress"])
                self.loaded = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            found = digest(self.loaded, metadata["identity"], metadata["progress"])
            if metadata.get("sha256", found) != found:  # none in checkpoints of earlier versions
                raise ValueError("its contents have another SHA-256 than when it was written")
            table = self.loaded.pop("table").numpy()
            finished, seconds = progress.pop("finished_blocks"), progress.pop("seconds")
            earlier = progress.pop("code", [])  # none in checkpoints of earlier versions
            if not isinstance(identity, dict):
                raise ValueError("it does not tell its arguments")
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Failure(f"Checkpoint {self.checkpoint} is damaged ({error}); delete it to start anew.") from error
        if changed := self._changed(identity, identity.keys() | self.identity.keys()):
            raise UsageError(
                f"Checkpoint {self.checkpoint} was made with other arguments ({changed}): "
                "repeat those, or delete it to start anew."
            )
        if table.shape != self.table.shape:
            raise Failure(f"Checkpoint {self.checkpoint} is of another version of this code; delete it to start anew.")
        self.table, self.finished_blocks, self.seconds_before = table, finished, seconds
        self.code = earlier + [code for code in self.code if code not in earlier]
        return progress

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Copy what `load` read into `tensors`, in place. Raises Failure when other code wrote the checkpoint."""
        shapes = [{name: tensor.shape for name, tensor in side.items()} for side in (self.loaded, tensors)]
        if shapes[0] != shapes[1]:
            raise Failure(f"Checkpoint {self.checkpoint} is of another version of this code; delete it to start anew.")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(self.loaded[name])
        self.loaded = {}

    def save(self, tensors: dict[str, torch.Tensor], **counters: int) -> None:
        """Count one more block as finished and write the checkpoint, whole or not at all."""
        self.finished_blocks += 1
        progress = {"finished_blocks": self.finished_blocks, "seconds": self.seconds, "code": self.code, **counters}
        metadata = {"identity": json.dumps(self.identity, sort_keys=True), "progress": json.dumps(progress)}
        tensors = tensors | {"table": torch.from_numpy(self.table)}
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        metadata["sha256"] = digest(tensors, metadata["identity"], metadata["progress"])
        save_tensors(tensors, self.checkpoint, metadata)

    def set_warm_up(self, repeat: int, episodes: list[Episode], mean_over: list[Episode]) -> None:
        """Fill the first rows of a repeat with the offline episodes: a mean return stands for each evaluation.

        The mean is taken over `mean_over`: the episodes used, or, as the authors did, all that were collected.
        """
        rows = self.table[repeat, :, : len(episodes)]
        rows[..., 0] = np.cumsum([len(e) for e in episodes])
        rows[..., 1] = [e.total_reward for e in episodes]
        rows[..., 2] = np.mean([e.total_reward for e in mean_over])
        rows[..., 3] = np.mean([len(e) for e in mean_over])

    def set_row(self, repeat: int, iteration: int, *columns: np.ndarray | float) -> None:
        """Store the results of one iteration, a number or an array [seeds] for each of the columns."""
        self.table[repeat, :, iteration] = np.stack(np.broadcast_arrays(*columns), axis=-1)
        if self.writer is not None:
            means = dict(zip(self.columns, self.table[repeat, :, iteration].mean(0), strict=True))
            step = repeat * self.args.iterations + iteration
            self.writer.add_scalar("charts/episodic_return", means["train_return"], step)
            self.writer.add_scalar("charts/eval_return", means["eval_return"], step)
            self.writer.add_scalar("losses/td_loss", means["loss"], step)
            self.writer.add_scalar("losses/q_values", means["q_mean"], step)

    def write(self, algorithm: str, device: torch.device, policy: dict[str, torch.Tensor]) -> None:
        """Write the CSV, its .json and the final networks, and remove the checkpoint. NaN becomes an empty cell.

        `policy` names the tensors of all seeds that decide how they act: they go to <output>.policy.safetensors.
        """
        lines = [",".join(("seed", "repeat", "iteration", *self.columns))]
        repeats, seeds, iterations, _ = self.table.shape
        for seed, repeat, iteration in np.ndindex(seeds, repeats, iterations):
            numbers = ["" if np.isnan(x) else f"{x:.9g}" for x in self.table[repeat, seed, iteration]]
            lines.append(",".join((str(self.args.first_seed + seed), str(repeat), str(iteration), *numbers)))
        description = {
            "algorithm": algorithm,
            "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.args).items()},
            "dataset_sha256": self.dataset_sha256,
            **self.episodes,
            **self.prior,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            **self.code[0],
            "resumed_with": self.code[1:],
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "seconds": round(self.seconds, 3),
        }
        if device.type == "cuda":  # the device's time was this run's, its own or shared
            peak = torch.cuda.max_memory_allocated() // 2**20  # since the last start
            description |= {"gpu_seconds": description["seconds"], "gpu_peak_memory_mb": peak}
        table, networks = "\n".join(lines) + "\n", self._policy_file()
        save_tensors(policy, networks)
        description["csv_sha256"] = hashlib.sha256(table.encode()).hexdigest()
        description["policy_sha256"] = sha256(networks)
        write_text(self.output.with_suffix(".json"), json.dumps(description, indent=2, sort_keys=True) + "\n")
        write_text(self.output, table)
        self.checkpoint.unlink(missing_ok=True)


def digest(tensors: dict[str, torch.Tensor], *texts: str) -> str:
    """Return the SHA-256 of texts and named tensors on the CPU: safetensors has no checksum of its own."""
    total = hashlib.sha256("\n".join(texts).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(np.ascontiguousarray(tensor.numpy()))
    return total.hexdigest()


def save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with written_whole(path) as temporary:
            save_file(tensors, temporary, metadata)
            temporary.chmod(0o644)  # safetensors leaves its file readable by its owner alone
    except SafetensorError as error:  # how safetensors reports a full disk
        raise Failure(f"Cannot write {path}: {error}.") from error


def code_version() -> dict[str, Any]:
    """Return which code is running: `git_commit`, and what of it is not as in that commit, `git_changed`."""
    return {"git_commit": git_commit(), "git_changed": git_changed()}


def git_commit() -> str | None:
    """Return the commit of the code that is running, or None where neither git nor the image knows it."""
    if os.environ.get("LORO_COMMIT", "unknown") != "unknown":  # the image has no .git
        return os.environ["LORO_COMMIT"]
    commit = _git("rev-parse", "HEAD")
    return commit and commit.strip()


def git_changed() -> list[str] | None:
    """Name the files of `algos/`, `envs/` and `prompts/` that are not as in that commit; None without git."""
    lines = _git("status", "--porcelain", "--untracked-files=all", "--", "algos", "envs", "prompts")
    return None if lines is None else sorted(line[3:] for line in lines.splitlines())


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
