"""What the package takes from elsewhere: nothing is unpickled, one module downloads, locks agree, no host is named."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRACKED = (
    subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
)
SOURCES = [name for name in TRACKED if name.endswith((".py", ".sh")) or name in ("Snakefile", "Makefile", "Dockerfile")]
PROGRAMS = [name for name in SOURCES if not name.startswith("tests/") and (ROOT / name).exists()]
UNPICKLES = (
    r"\bpickle\.(loads?|Unpickler)\b",
    r"\b(import|from) (cPickle|_pickle|dill|joblib|shelve|marshal|cloudpickle)\b",
    r"\b(torch|joblib|dill|marshal)\.loads?\(",
    r"\bread_pickle\(",
    r"allow_pickle\s*=\s*True",
    r"trust_remote_code[\"']?\s*[=:]\s*True",
    r"use_safetensors[\"']?\s*[=:]\s*False",
    r"\byaml\.(load|full_load|unsafe_load)\(",
)
DOWNLOADS = (
    r"\burlopen\(",
    r"\burlretrieve\(",
    r"\b(requests|httpx|session)\.(get|stream)\(",
    r"\b(hf_hub_download|snapshot_download)\b",
    r"\bpip\b.{0,20}\bdownload\b",
    r"(^|[;&|]\s*)\s*(wget|curl) ",
    r"^\s*(ADD|RUN .*(wget|curl)) .*https?:",
)
# Two places where a name on the list is right: the unpickler that knows only arrays and inert records, and the module
# that downloads.
ALLOWED = {
    ("analysis/import_released.py", "pickle.Unpickler"),
    ("envs/downloads.py", "urlopen("),
    ("envs/downloads.py", 'pip", "download'),
}


def found(patterns, text):
    return [match.group().strip() for pattern in patterns for match in re.finditer(pattern, text, re.MULTILINE)]


def test_the_patterns_find_what_they_are_for():
    bad = "pickle.load(f)\ntorch.load('x')\nnp.load('x', allow_pickle=True)\nimport joblib\nx(trust_remote_code=True)\n"
    assert len(found(UNPICKLES, bad)) == 5
    bad = "urlopen(u)\nrequests.get(u)\nhf_hub_download(r, f)\n[sys.executable, '-m', 'pip', 'download']\n; curl http://x\n"
    assert len(found(DOWNLOADS, bad)) == 5
    assert not found((*UNPICKLES, *DOWNLOADS), 'options = {"trust_remote_code": False, "use_safetensors": True}')


@pytest.mark.parametrize("patterns", [UNPICKLES, DOWNLOADS], ids=["unpickled", "downloaded"])
def test_nothing_is_unpickled_and_one_module_downloads(patterns):
    assert len(PROGRAMS) > 40
    hits = {(name, hit) for name in PROGRAMS for hit in found(patterns, (ROOT / name).read_text(encoding="utf-8"))}
    assert not hits - ALLOWED
