"""Jobs are spread evenly over pretended GPUs, wait where all slots are taken, and free their slot however they end."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ONE_GPU = [sys.executable, str(Path(__file__).parents[2] / "profiles/one_gpu.py")]
# A job notes its GPU and then runs until it is told to end, or killed.
JOB = "echo $CUDA_VISIBLE_DEVICES > $0.tmp; mv $0.tmp $0; while [ ! -e $0.end ]; do sleep 0.05; done"


@pytest.fixture
def start(tmp_path):
    """Start a job in a machine of its own with GPUs 3 and 5, by name; what is left is killed in the end."""
    jobs = {}

    def start(name, slots=2, **more):
        settings = {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "3,5", "LORO_JOBS_PER_GPU": str(slots), **more}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")} | settings
        jobs[name] = subprocess.Popen([*ONE_GPU, "sh", "-c", JOB, str(tmp_path / name)], env=environment)
        return jobs[name]

    yield start
    for job in jobs.values():
        job.kill()
        job.wait()


def gpu(tmp_path, name, seconds=20.0):
    """Wait for a job to run and return its GPU, or None where it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (tmp_path / name).exists():
            return (tmp_path / name).read_text().strip()
        time.sleep(0.02)
    return None


@pytest.mark.parametrize("slots", [2, 3])
def test_jobs_that_start_together_are_spread_evenly_and_the_next_one_waits(tmp_path, start, slots):
    jobs = {f"job{n}": start(f"job{n}", slots) for n in range(2 * slots)}
    given = {name: gpu(tmp_path, name) for name in jobs}
    assert Counter(given.values()) == {"3": slots, "5": slots}
    start("late", slots)
    assert gpu(tmp_path, "late", seconds=1.5) is None
    (tmp_path / "job1.end").touch()
    assert jobs["job1"].wait() == 0
    assert gpu(tmp_path, "late") == given["job1"]


def test_a_killed_job_frees_its_slot_and_the_emptier_gpu_is_next(tmp_path, start):
    jobs = {f"job{n}": start(f"job{n}") for n in range(4)}
    given = {name: gpu(tmp_path, name) for name in jobs}
    killed = [name for name in given if given[name] == "5"]
    for name in killed:
        jobs[name].send_signal(signal.SIGKILL)
        assert jobs[name].wait() == -signal.SIGKILL
    for name in ("new0", "new1"):
        start(name)
        assert gpu(tmp_path, name) == "5"


def test_half_full_gpus_stay_even(tmp_path, start):
    for n in range(6):
        start(f"job{n}", slots=8)
        gpu(tmp_path, f"job{n}")
        given = Counter(gpu(tmp_path, f"job{m}") for m in range(n + 1))
        assert abs(given["3"] - given["5"]) <= 1


def test_without_a_gpu_or_under_slurm_the_command_simply_runs(tmp_path, start):
    print_gpu = [*ONE_GPU, "sh", "-c", 'echo "<$CUDA_VISIBLE_DEVICES>"; exit 7']
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    environment |= {"TMPDIR": str(tmp_path), "LORO_JOBS_PER_GPU": "1"}
    cases = [({"CUDA_VISIBLE_DEVICES": ""}, "<>"), ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "9"}, "<0,1>")]
    for more, expected in cases:
        done = subprocess.run(print_gpu, env=environment | more, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (7, expected)
    assert not list(tmp_path.iterdir()), "no locks where there is nothing to choose"


@pytest.mark.parametrize(
    ("slots", "command", "status"), [("none", ["true"], 2), ("0", ["true"], 2), ("1", [], 2), ("1", ["no-such"], 1)]
)
def test_mistakes_are_named_in_one_line(tmp_path, slots, command, status):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "LORO_JOBS_PER_GPU": slots, "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run([*ONE_GPU, *command], env=environment, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
