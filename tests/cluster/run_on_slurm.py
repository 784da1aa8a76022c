"""Run the small workflow through Slurm: a cluster of one node, started here by hand and taken down again.

    python tests/cluster/run_on_slurm.py        (as root, on Debian or Ubuntu, with requirements-slurm.txt installed)

munged, slurmctld and slurmd run in a scratch folder of their own, on free ports of the loopback, without systemd,
cgroups or accounting; a cluster that this machine belongs to is not touched. A job is killed in the middle. What comes
out must be what the same workflow makes without Slurm, byte for byte. In the end two processes of `accelerate launch`
play the LLM's episodes inside one job.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_workflow import (
    DATASET,
    ITERATIONS,
    RUNS,
    TREE,
    command,
    differences,
    environment,
    make_workspace,
    products,
    snakemake,
)

STARTED = time.monotonic()
TABLE = str(TREE / "results/tables/main.md")
CONFIGURATION = """\
ClusterName=loro
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=5
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=16000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def say(text: str) -> None:
    """Tell what is done, and when."""
    print(f"=== {text} ({time.monotonic() - STARTED:.0f} s)", flush=True)


def fail(text: str) -> None:
    """End with a sentence."""
    print(f"FAILED: {text}", file=sys.stderr)
    sys.exit(1)


def wait_for(what: str, happened: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something happened."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            fail(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)


def output_of(*arguments: str) -> str:
    """Return what a command prints, nothing where it fails."""
    return subprocess.run(arguments, capture_output=True, text=True).stdout


def install() -> None:
    """Install Slurm and munge where they are missing."""
    if all(shutil.which(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")):
        return
    packages = ["slurm-wlm", "munge"]
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    arguments = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if subprocess.run(arguments, env=settings, stdout=subprocess.DEVNULL).returncode != 0:
        fail("apt-get could not install slurm-wlm and munge")


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def daemon(folder: Path, *arguments: str) -> Iterator[None]:
    """Keep a program running in the foreground, its words in a log, and end it afterwards."""
    name = Path(arguments[0]).name
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    except BaseException:
        print(f"--- {name}\n{(folder / f'{name}.log').read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Start a cluster of this machine, for whoever has SLURM_CONF in the environment: this process and its children."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    settings = {"host": host, "folder": folder, "cores": os.cpu_count()}
    settings |= {"controller_port": free_port(), "node_port": free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**settings), encoding="utf-8")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    # The executor takes every SLURM_ variable from the srun inside a job, this one too: srun is told again.
    (folder / "bin").mkdir()
    (folder / "bin/srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    (folder / "bin/srun").chmod(0o755)
    os.environ["PATH"] = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    files |= {"seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    with ExitStack() as stack:
        stack.enter_context(daemon(folder, shutil.which("munged"), "--foreground", "--force", *options))
        wait_for("munged's socket", lambda: (folder / "munge.socket").exists(), 20)
        stack.enter_context(daemon(folder, shutil.which("slurmctld"), "-D"))
        stack.enter_context(daemon(folder, shutil.which("slurmd"), "-D", "-N", host))
        wait_for("an idle node", lambda: "idle" in output_of("sinfo", "--noheader", "--format=%T"), 60)
        stack.callback(end_all_jobs)
        yield


def end_all_jobs() -> None:
    """End what is left on our own cluster, before its daemons."""
    subprocess.run(["scancel", "--state=PENDING"], check=False)
    subprocess.run(["scancel", "--state=RUNNING"], check=False)
    wait_for("an empty queue", lambda: not output_of("squeue", "--noheader"))


def kill_in_the_middle(workspace: Path, workflow: subprocess.Popen) -> str:
    """Wait until the online run has been under way for a while, kill its job, and return how far it was."""
    checkpoint = workspace / RUNS / "online.checkpoint.safetensors"

    def blocks() -> int:
        try:
            with safe_open(checkpoint, "np") as file:
                return json.loads(file.metadata()["progress"])["finished_blocks"]
        except OSError:
            return 0

    wait_for("the third checkpoint of the online run", lambda: blocks() >= 3 or workflow.poll() is not None, 600)
    if workflow.poll() is not None:
        return "nothing, the workflow ended before"
    jobs = dict(line.split(maxsplit=1) for line in output_of("squeue", "--noheader", "--format=%i %k").splitlines())
    job = next(number for number, comment in jobs.items() if "online" in comment)
    subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True)
    wait_for("the end of the killed job", lambda: f"{job} R" not in output_of("squeue", "--format=%i %t"))
    if not checkpoint.exists():
        fail("the run was over before it was killed")
    return f"job {job}, {blocks()} of {ITERATIONS} iterations done"


def run_workflow(workspace: Path, scratch: Path) -> None:
    """Run the small workflow through Slurm and kill one of its jobs."""
    options = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "5"]
    with (scratch / "snakemake.log").open("wb") as log:
        arguments = command(*options, TABLE)
        process = subprocess.Popen(
            arguments, cwd=workspace, env=environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        say(f"Killed in the middle: {kill_in_the_middle(workspace, process)}")
        status = process.wait(1200)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    lines = (scratch / "snakemake.log").read_text(errors="replace").splitlines()
    told = ("submitted with SLURM jobid", "Error in rule", "Trying to restart", "steps (", "SLURM status is")
    print(*(line.strip() for line in lines if any(part in line for part in told)), sep="\n")
    if status != 0:
        print(*lines[-40:], sep="\n", file=sys.stderr)
        fail(f"Snakemake's exit status was {status}")
    if not any("Trying to restart" in line for line in lines):
        fail("the killed job was not sent again")


def play_with_accelerate(workspace: Path, expected: dict[str, str]) -> None:
    """Play the LLM's episodes with two processes inside one job."""
    copy = workspace / TREE / "accelerated" / DATASET.name
    data = str(DATASET / "data/main_data.hdf5")
    play = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    play += ["--main_process_port=0", "-m", "algos.collect", "--env", DATASET.parent.name, "--model", "models/tiny"]
    play += ["--episodes", "4", "--device", "cpu", "--output", str(copy.relative_to(workspace)), "--no-progress"]
    log = workspace / "accelerate.log"
    submit = ["sbatch", "--wait", "--ntasks=1", f"--cpus-per-task={min(2, os.cpu_count())}", f"--output={log}"]
    done = subprocess.run([*submit, "--wrap", " ".join(play)], cwd=workspace, env=environment())
    if done.returncode != 0:
        fail(f"accelerate launch in a job: {log.read_text(errors='replace')[-2000:]}")
    meta = json.loads((copy / "meta.json").read_text(encoding="utf-8"))
    if meta["computed_with"]["processes"] != 2 or meta["sha256"] != expected[data]:
        fail("two processes did not play the same episodes as one")


def main() -> None:
    """Compare the workflow with and without Slurm."""
    if os.geteuid() != 0:
        print("error: only root can start Slurm's daemons by hand.", file=sys.stderr)
        sys.exit(2)
    os.umask(0o022)
    scratch = Path(tempfile.mkdtemp(prefix="loro-slurm-"))
    try:
        say("Slurm and munge")
        install()
        print(output_of("slurmctld", "-V").strip(), output_of("munged", "--version").strip(), sep="\n")
        say("Without Slurm")
        local, remote = make_workspace(scratch / "local"), make_workspace(scratch / "remote")
        done = snakemake(local, "--cores", "2", TABLE)
        if done.returncode != 0:
            fail(f"the workflow without Slurm: {(done.stdout + done.stderr)[-2000:]}")
        expected = products(local)
        say("A cluster of one node")
        with cluster(scratch):
            print(output_of("sinfo").strip())
            say("Through Slurm")
            run_workflow(remote, scratch)
            if different := differences(remote, expected):
                fail(f"not the same as without Slurm: {', '.join(different)}")
            say(f"The same {len(expected)} files as without Slurm, byte for byte")
            play_with_accelerate(remote, expected)
            say("accelerate launch, two processes in one job: the same episodes")
        say("Taken down")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("All is well.")


if __name__ == "__main__":
    main()
