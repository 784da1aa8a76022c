"""Disturb the small workflow in every way that a machine can, and see whether its results stay the same.

    python tests/faults/inject.py        (full and read-only disks need root, to mount small file systems)

For each fault: the program must either get over it by itself, or end with an exit status other than 0 and a sentence
that names the fault. Once that is repaired, the same command must finish, and every product (runs, final policies,
episodes, tables) must be byte for byte that of an undisturbed run. Writes results/tables/faults.md.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_workflow import (
    DATASET,
    ITERATIONS,
    ROOT,
    RUNS,
    TREE,
    WEIGHTS,
    command,
    differences,
    environment,
    make_workspace,
    products,
    snakemake,
)

TABLE = TREE / "results/tables/main.md"
META, RANDOM = DATASET / "meta.json", DATASET.with_name("random") / "meta.json"
ONLINE, MIX = RUNS / "online.csv", RUNS / "mix_tiny_tau2.csv"
CHECKPOINT = RUNS / "online.checkpoint.safetensors"
DATA = DATASET / "data/main_data.hdf5"
KILLS, PAUSE = 20, 8.0
GENERATOR = random.Random(1)


class NotSurvived(Exception):
    """The workflow did not do what it must under a fault."""


@dataclass
class Bench:
    """Where faults are tried out: an undisturbed run, and copies of it."""

    scratch: Path
    undisturbed: Path
    expected: dict[str, str]
    copies: int = field(default=0)

    def copy(self, *without: Path) -> Path:
        """Return a copy of the undisturbed run in which these files and folders are still to be made."""
        self.copies += 1
        folder = self.scratch / f"copy-{self.copies}"
        shutil.copytree(self.undisturbed, folder, symlinks=True)
        for path in without:
            if (folder / path).is_dir():
                shutil.rmtree(folder / path)
            else:
                (folder / path).unlink()
        return folder

    def finish(self, folder: Path, target: Path = TABLE) -> None:
        """Run the workflow to its end; raise NotSurvived unless the products are those of the undisturbed run."""
        done = snakemake(folder, *wanting(target))
        if done.returncode != 0:
            raise NotSurvived(f"did not finish: {last_words(done)}")
        self.compare(folder)

    def compare(self, folder: Path) -> None:
        """Raise NotSurvived unless the products are those of the undisturbed run."""
        if different := differences(folder, self.expected):
            raise NotSurvived(f"other results: {', '.join(different)}")


def wanting(target: Path) -> tuple[str, ...]:
    """Return the arguments that ask for a file and what it needs."""
    return ("--cores", "2", "--keep-going", str(target))


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a workflow said, in one line."""
    return " ".join((done.stdout + done.stderr).split())[-300:]


def ends_naming(folder: Path, target: Path, *parts: str) -> None:
    """Run the workflow for a target and raise NotSurvived unless it ends with an error that says all of `parts`."""
    done = snakemake(folder, *wanting(target))
    said = done.stdout + done.stderr
    if done.returncode == 0:
        raise NotSurvived("went on as if nothing had happened")
    if missing := [part for part in parts if part not in said]:
        raise NotSurvived(f"ended without saying '{missing[0]}': {last_words(done)}")
    if "Traceback (most recent call last)" in said:
        raise NotSurvived(f"ended with a traceback: {last_words(done)}")


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[psutil.Popen]:
    """Keep a workflow running beside this program; what is left of it is killed in the end."""
    with (folder / "workflow.log").open("ab") as log:
        process = psutil.Popen(command(*arguments), cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        kill(process)


def kill(process: psutil.Popen) -> None:
    """Kill a process with all that it started."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def kill_in_training(folder: Path) -> None:
    """Run the workflow until there is a checkpoint, and kill it with all its jobs."""
    with running(folder, *wanting(ONLINE)) as workflow:
        wait_for((folder / CHECKPOINT).exists)
        kill(workflow)


def programs(process: psutil.Popen) -> list[psutil.Process]:
    """List the package's programs that a workflow is running."""
    found = []
    try:
        for child in process.children(recursive=True):
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            if len(words) > 2 and words[1] == "-m" and words[2].startswith(("algos.", "analysis.")):
                found.append(child)
    except psutil.NoSuchProcess:
        return []
    return found


def wait_for(happened: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until something happened."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise NotSurvived("nothing happened for minutes")
        time.sleep(0.05)


def flip_a_bit(path: Path) -> None:
    """Flip one bit, in the last two thirds of a file: where its contents are, and not its head."""
    content = bytearray(path.read_bytes())
    content[GENERATOR.randrange(len(content) // 3, len(content))] ^= 1 << GENERATOR.randrange(8)
    path.write_bytes(content)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Move the tree that the workflow writes to a file system of its own."""
    tree, aside = folder / "rerun", folder / "aside"
    tree.rename(aside)
    tree.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "loro-faults", str(tree)], check=True)
    try:
        shutil.copytree(aside, tree, dirs_exist_ok=True)
        yield tree
    finally:
        subprocess.run(["umount", "--lazy", str(tree)], check=True)


def leave_room(tree: Path, kilobytes: int) -> None:
    """Shrink a file system to what is on it and a little more."""
    remount(tree, f"size={shutil.disk_usage(tree).used // 1024 + kilobytes}k")


def remount(tree: Path, options: str) -> None:
    """Change the options of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(tree)], check=True)


# --- The faults: each function returns what happened, or raises NotSurvived ------------------------------------------


def killed_jobs(bench: Bench) -> str:
    """SIGKILL of random jobs, 20 times."""
    folder, kills = bench.copy(Path("rerun"), Path(".snakemake")), 0
    with running(folder, *wanting(TABLE), "--retries", str(KILLS)) as workflow:
        while workflow.poll() is None and kills < KILLS:
            time.sleep(GENERATOR.uniform(0.5, PAUSE))
            if found := programs(workflow):
                GENERATOR.choice(found).kill()
                kills += 1
        status = workflow.wait()
    if status != 0:
        raise NotSurvived(f"exit status {status} with --retries {KILLS}")
    bench.compare(folder)
    left = len(list((folder / "rerun").rglob("*.tmp")))
    return (
        f"{kills} jobs killed; each is sent again (`--retries`) and goes on where it was; {left} temporary files left"
    )


def killed_workflow(bench: Bench) -> str:
    """SIGKILL of Snakemake and all its jobs."""
    folder = bench.copy(ONLINE)
    kill_in_training(folder)
    ends_naming(folder, ONLINE, "--unlock")
    snakemake(folder, "--unlock")
    bench.finish(folder, ONLINE)
    return "Snakemake asks for `--unlock`; then the run goes on from its checkpoint"


def full_disk(bench: Bench) -> str:
    """A full disk under a training run."""
    folder = bench.copy(ONLINE)
    with small_disk(folder) as tree:
        leave_room(tree, 500)
        ends_naming(folder, ONLINE, "o space left on device")
        remount(tree, "size=200m")
        bench.finish(folder, ONLINE)
    return "ends naming it; with room made it goes on"


def full_disk_for_a_dataset(bench: Bench) -> str:
    """A disk with too little room for a dataset."""
    folder = bench.copy(RANDOM.parent)
    with small_disk(folder) as tree:
        leave_room(tree, 40)
        ends_naming(folder, RANDOM, "make room")
        remount(tree, "size=200m")
        bench.finish(folder, RANDOM)
    return "ends naming what is needed, before the HDF5 library crashes; with room made it goes on"


def read_only_folder(bench: Bench) -> str:
    """A read-only output folder."""
    folder = bench.copy(ONLINE)
    with small_disk(folder) as tree:
        remount(tree, "ro")
        ends_naming(folder, ONLINE, "Write-protected output files")
        remount(tree, "rw")
        bench.finish(folder, ONLINE)
    return "ends naming it, and trains nothing; once writable it goes on"


def clock_set_back(bench: Bench) -> str:
    """A clock set back by a day."""
    folder = bench.copy(MIX)
    paths = [path for top in (TREE, "models", "results") for path in (folder / top).rglob("*")]
    times = {path: path.stat().st_mtime for path in paths}
    for path, moment in times.items():
        os.utime(path, (moment + 86_400, moment + 86_400))
    ends_naming(folder, MIX, "set the clock right")
    for path, moment in times.items():
        if path.exists():  # Snakemake has removed what the failed job left
            os.utime(path, (moment, moment))
    bench.finish(folder, MIX)
    return "ends naming it, before anything is trained; with the clock set right it goes on"


def two_workflows(bench: Bench) -> str:
    """Two workflows started in one folder."""
    folder = bench.copy(ONLINE)
    with running(folder, *wanting(ONLINE)) as first:
        wait_for(lambda: bool(programs(first)))
        ends_naming(folder, ONLINE, "cannot be locked")
        if first.wait() != 0:
            raise NotSurvived("the first one failed")
    bench.compare(folder)
    return "the second ends naming the lock, the first finishes"


def two_programs(bench: Bench) -> str:
    """Two programs that write one run."""
    folder = bench.copy(ONLINE)
    arguments = ["--env", DATASET.parent.name, "--arm", "online", "--seeds", "2", "--iterations", str(ITERATIONS)]
    train = [sys.executable, "-m", "algos.dqn", *arguments, "--output", str(ONLINE), "--no-progress"]
    both = [subprocess.Popen(train, cwd=folder, env=environment(), stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        if process.returncode != 0:
            raise NotSurvived(f"one of them failed: {said.decode()[-300:]}")
    bench.compare(folder)
    return "both finish, and write the same"


def truncated_dataset(bench: Bench) -> str:
    """A truncated dataset."""
    folder = bench.copy(MIX)
    os.truncate(folder / DATA, (folder / DATA).stat().st_size // 2)
    ends_naming(folder, MIX, "main_data.hdf5", "truncated or was changed")
    shutil.rmtree(folder / DATASET)
    bench.finish(folder, MIX)
    return "ends naming the file; with the dataset removed it is played again"


def bit_in_a_dataset(bench: Bench) -> str:
    """A bit flipped in a dataset."""
    folder = bench.copy(MIX)
    whole = (folder / DATA).read_bytes()
    flip_a_bit(folder / DATA)
    ends_naming(folder, MIX, "main_data.hdf5", "truncated or was changed")
    (folder / DATA).write_bytes(whole)
    bench.finish(folder, MIX)
    return "ends naming the file; with a whole copy of it the run is made"


def bit_in_a_checkpoint(bench: Bench) -> str:
    """A bit flipped in a checkpoint."""
    folder = bench.copy(ONLINE)
    kill_in_training(folder)
    snakemake(folder, "--unlock")
    whole, tries = (folder / CHECKPOINT).read_bytes(), 3
    for _ in range(tries):
        (folder / CHECKPOINT).write_bytes(whole)
        flip_a_bit(folder / CHECKPOINT)
        ends_naming(folder, ONLINE, "online.checkpoint.safetensors", "damaged")
    (folder / CHECKPOINT).unlink()
    bench.finish(folder, ONLINE)
    return f"{tries} places tried: each time it ends naming the file; with that removed the run starts anew"


def bit_in_a_run(bench: Bench) -> str:
    """A bit flipped in a run file."""
    folder = bench.copy(TABLE)
    flip_a_bit(folder / ONLINE)
    ends_naming(folder, TABLE, "online.csv", "was changed")
    (folder / ONLINE).unlink()
    bench.finish(folder)
    return "ends naming the file; with that removed the run is made again"


def bit_in_the_llm(bench: Bench) -> str:
    """A bit flipped in the LLM's file."""
    folder = bench.copy(DATASET)
    whole = (folder / WEIGHTS).read_bytes()
    flip_a_bit(folder / WEIGHTS)
    ends_naming(folder, META, "model.safetensors", "was changed")
    (folder / WEIGHTS).write_bytes(whole)
    bench.finish(folder, META)
    return "ends naming the file, before anything is played; with a whole copy of it the episodes are played"


NEED_ROOT = (full_disk, full_disk_for_a_dataset, read_only_folder)
FAULTS = (
    killed_jobs,
    killed_workflow,
    *NEED_ROOT,
    clock_set_back,
    two_workflows,
    two_programs,
    truncated_dataset,
    bit_in_a_dataset,
    bit_in_a_checkpoint,
    bit_in_a_run,
    bit_in_the_llm,
)


def undisturbed_run(scratch: Path) -> Bench:
    """Make the run that all others are held against."""
    folder = make_workspace(scratch / "undisturbed")
    done = snakemake(folder, *wanting(TABLE))
    if done.returncode != 0:
        sys.exit(f"error: the workflow fails undisturbed: {last_words(done)}")
    return Bench(scratch, folder, products(folder))


def write_table(products_count: int, tried: dict[str, str]) -> None:
    """Write results/tables/faults.md; what was not tried now keeps the row that it has there."""
    path = ROOT / "results/tables/faults.md"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")} | tried
    head = [
        "# Faults, and what becomes of the results",
        "",
        "Made by `make fault-test` on a small workflow (one environment, two agents, a tiny LLM). Each fault has to be",
        "got over, or to end the workflow with an error that names it; then, with what it damaged removed or repaired,",
        f"the same command has to finish, and all {products_count} products (runs, final policies, episodes, tables)",
        "have to be those of an undisturbed run, byte for byte.",
        "",
        "| fault | what the workflow does | products |",
        "|---|---|---|",
    ]
    named = [rows[name] for name in map(name_of, FAULTS) if name in rows]
    path.write_text("\n".join([*head, *named]) + "\n", encoding="utf-8")


def name_of(fault: Callable[[Bench], str]) -> str:
    """Return a fault's name in the table."""
    return str(fault.__doc__).rstrip(".")


def try_out(fault: Callable[[Bench], str], bench: Bench) -> tuple[str, str]:
    """Return what the workflow does under a fault, and whether its products are the same."""
    if fault in NEED_ROOT and os.geteuid() != 0:
        return "needs root", "not tried"
    try:
        return fault(bench), "the same"
    except NotSurvived as error:
        return str(error).replace("|", "/"), "**not survived**"


def main() -> None:
    """Try the faults named on the command line, or all."""
    wanted = [fault for fault in FAULTS if fault.__name__ in sys.argv[1:]] or FAULTS
    scratch, tried = Path(tempfile.mkdtemp(prefix="loro-faults-")), {}
    try:
        bench = undisturbed_run(scratch)
        for fault in wanted:
            began = time.monotonic()
            outcome, verdict = try_out(fault, bench)
            print(f"{verdict}: {name_of(fault)}: {outcome} ({time.monotonic() - began:.0f} s)", flush=True)
            tried[name_of(fault)] = f"| {name_of(fault)} | {outcome} | {verdict} |"
            write_table(len(bench.expected), tried)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(any("not survived" in row for row in tried.values()))


if __name__ == "__main__":
    main()
