"""The smallest workflow in which everything happens, for the tests of clusters and faults.

It is config/quick.yaml with one environment, two agents and 8 iterations, and a tiny random LLM made on the spot.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONFIG, TREE, ENVIRONMENT, ITERATIONS = "config/small.yaml", Path("rerun/small"), "frozen-lake", 8
SETTINGS = {
    "tree": str(TREE),
    "environments": [ENVIRONMENT],
    "llms": {"tiny": {"source": "collect", "model": "models/tiny"}},
    "main": {"llm": "tiny", "tau": 2, "pretrain_steps": 200},
    "seeds": {"paper": {ENVIRONMENT: 2}, "others": {"paper": 2}},
    "episodes": {"collected": 4, "random": 4},
    "iterations": ITERATIONS,
}
RUNS = TREE / "results/runs/paper" / ENVIRONMENT
DATASET = TREE / "results/datasets" / ENVIRONMENT / "tiny"
WEIGHTS = Path("models/tiny/model.safetensors")
PRODUCTS = ("*.csv", "*.md", "*.hdf5", "*.policy.safetensors")
"""What must come out the same, byte for byte; the other files tell when and how fast they were made."""


def make_workspace(folder: Path) -> Path:
    """Copy what is under version control to `folder`, with the small configuration and the tiny LLM."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    settings = yaml.safe_load((ROOT / "config/quick.yaml").read_text(encoding="utf-8")) | SETTINGS
    (folder / CONFIG).write_text(yaml.safe_dump(settings), encoding="utf-8")
    sys.path.insert(0, str(ROOT / "tests/algos"))
    from tiny_llm import save_tiny_llm

    model = save_tiny_llm(folder / WEIGHTS.parent)
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(model.iterdir())}
    (model / "provenance.json").write_text(json.dumps({"source": "made for tests", "files": digests}))
    return folder


def command(*arguments: str) -> list[str]:
    """Return the command that runs Snakemake on the small configuration."""
    return [sys.executable, "-m", "snakemake", "--configfile", CONFIG, *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a run that is not disturbed by this one's."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` to its end."""
    return subprocess.run(command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True)


def products(folder: Path) -> dict[str, str]:
    """Return the digest of everything that must come out the same, by path."""
    files = [path for pattern in PRODUCTS for path in (folder / TREE).rglob(pattern)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def differences(folder: Path, expected: dict[str, str]) -> list[str]:
    """Return the paths of products that are missing, new or different."""
    found = products(folder)
    return [path for path in sorted(found.keys() | expected.keys()) if found.get(path) != expected.get(path)]
