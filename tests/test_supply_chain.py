"""What the package takes from elsewhere: nothing is unpickled, one module downloads, locks agree, no host is named."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRACKED = (
    subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
)
SOURCES = [
    name for name in TRACKED if name.endswith((".py", ".sh", ".smk")) or name in ("Snakefile", "Makefile", "Dockerfile")
]
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


def pinned(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0].lower().replace("_", "-") for line in lines if "==" in line and not line.startswith("#")}


def test_every_locked_package_but_torch_has_checksums():
    assert pinned("requirements.txt") - pinned("requirements.hashes.txt") == {"torch==2.13.0"}
    assert pinned("requirements.hashes.txt") <= pinned("requirements.txt")
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.hashes.txt").read_text(encoding="utf-8"))
    packages = [block for block in blocks if "==" in block.splitlines()[0]]
    assert len(packages) > 100 and all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in packages)


def test_no_package_index_is_named():
    names = re.compile(r"--(extra-)?index-url|--find-links|" + "|".join(("pypi", "npmjs", "debian")) + r"\.(org|com)")
    files = [
        name
        for name in TRACKED
        if name.startswith(("requirements", "container/")) or name in ("Makefile", "Dockerfile")
    ]
    assert len(files) >= 6
    assert not [name for name in files if names.search((ROOT / name).read_text(encoding="utf-8"))]


def test_the_image_is_sent_what_its_recipe_copies():
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = [name for line in re.findall(r"^COPY (?!--chmod)(.+) \S+$", recipe, re.MULTILINE) for name in line.split()]
    assert "requirements.hashes.txt" in copied and "envs/downloads.py" in copied
    assert all((ROOT / name).exists() and name.split("/")[0] in allowed for name in copied)


def test_one_licence_is_named_everywhere():
    assert "Apache License\n" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'licenses="Apache-2.0"' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
