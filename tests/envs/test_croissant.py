"""Croissant: the specification's required properties, the files and keys that are there, and what mlcroissant reads."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from envs.croissant import croissant, license_url
from envs.datasets import Episode, save_dataset
from envs.errors import Failure

# the specification's required properties, less datePublished, which nobody knows when the file is written
REQUIRED = {
    "@context",
    "@type",
    "conformsTo",
    "description",
    "license",
    "name",
    "url",
    "creator",
    "distribution",
}
LINES = [
    {"episode": 0, "step": 0, "prompt_sha256": "ab" * 32, "user": "Left\nor “right”?", "scores": {"hard left": -1.5}}
    | {"parsed": "score", "word": "hard left", "action": [2.0], "tokens": 12, "seconds": 0.25},
    {"episode": 0, "step": 1, "prompt_sha256": "cd" * 32, "user": "And now?", "answers": ["a", "b"], "new": True}
    | {"stated": [None, "left"], "parsed": "invalid, random instead", "action": [-1], "tokens": 0, "seconds": 0},
]
META = {
    "policy": "tiny",
    "model": {"name": "models/tiny", "model": "Someone/Tiny", "license": "apache-2.0"},
    "prompt": {"file": "prompts/pendulum/verbal.yaml"},
    "decision": {"decide": "score", "calibrate": True},
    "horizon": 2,
    "invalid_answers": 1,
}
TWO_LICENCES = {"name": "models/tiny", "license": ["mit", "llama3"]}


def make_dataset(path, meta, lines=None):
    observations = np.zeros((3, 3), dtype=np.float32)
    actions = np.array([[2.0], [-1.0]], dtype=np.float32)
    ends = np.array([False, True])
    episode = Episode(observations, actions, np.array([-1.5, -2.0]), np.zeros(2, dtype=bool), ends)
    files = {"prompt.yaml": b"question: what?\n"} if lines else {}
    if lines:
        files["transcripts.jsonl.gz"] = gzip.compress("".join(json.dumps(x) + "\n" for x in lines).encode(), mtime=0)
    save_dataset(path, "pendulum", [episode], meta, files)
    return path


def describe(path):
    return croissant(path, json.loads((path / "meta.json").read_text()))


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "tiny", META, LINES)


def nodes(value) -> Iterator[dict]:
    """Every JSON object in `value`, the context apart."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key != "@context":
                yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_required_properties_are_there_and_every_term_is_defined(dataset):
    description = describe(dataset)
    assert description.keys() >= REQUIRED
    assert "http://mlcommons.org/croissant/1.1" in description["conformsTo"]
    assert description["@type"] == "sc:Dataset"
    assert description["@context"]["fileObject"] == "cr:fileObject"
    prefixes = {key.split(":")[0] for node in nodes(description) for key in node if ":" in key}
    types = {node["@type"].split(":")[0] for node in nodes(description) if ":" in node.get("@type", "")}
    assert prefixes | types <= description["@context"].keys()


def test_files_are_those_of_the_folder_with_their_digests(dataset):
    (dataset / "croissant.json").write_text("{}")
    files = describe(dataset)["distribution"]
    on_disk = {p.relative_to(dataset).as_posix() for p in dataset.rglob("*") if p.is_file()} - {"croissant.json"}
    assert {file["contentUrl"] for file in files} == on_disk
    for file in files:
        content = (dataset / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["contentSize"] == f"{len(content)} B"
        assert file["name"] == file["contentUrl"].split("/")[-1]
        assert file["encodingFormat"] != "application/octet-stream"


def test_references_lead_somewhere_and_identifiers_are_unique(dataset):
    identified = [node for node in nodes(describe(dataset)) if "@id" in node]
    names = [node["@id"] for node in identified if "@type" in node]
    assert len(names) == len(set(names))
    assert {node["@id"] for node in identified if "@type" not in node} <= set(names)
    assert not any(" " in name for name in names), "an @id is an address"


def test_fields_are_the_keys_of_the_lines_with_their_types(dataset):
    fields = {field["name"]: field for field in describe(dataset)["recordSet"][0]["field"]}
    assert fields.keys() == {key for line in LINES for key in line}
    types = {name: field.get("dataType", "")[3:] for name, field in fields.items()}
    assert types == {
        **dict.fromkeys(("episode", "step", "tokens"), "Integer"),
        **dict.fromkeys(("prompt_sha256", "user", "parsed", "word", "answers", "stated"), "Text"),
        **dict.fromkeys(("seconds", "action"), "Float"),
        "new": "Boolean",
        "scores": "",
    }
    assert {name for name, field in fields.items() if field.get("isArray")} == {"answers", "stated", "action"}
    (score,) = fields["scores"]["subField"]
    assert (score["name"], score["dataType"], score["source"]["extract"]) == (
        "hard left",
        "sc:Float",
        {"column": "scores"},
    )


def test_what_is_said_in_words(dataset):
    description = describe(dataset)
    assert description["name"] == "Pendulum played by tiny, verbal prompt, calibrated"
    for part in (
        "1 episode (2 transitions) of Pendulum",
        "the LLM Someone/Tiny",
        "-3.5",
        "after 2 steps",
        "In 1 of the steps",
    ):
        assert part in description["description"]
    assert description["license"] == "https://spdx.org/licenses/Apache-2.0.html", "the data's, not the model's"
    assert description["prov:wasAttributedTo"]["license"] == "https://spdx.org/licenses/Apache-2.0.html"
    assert license_url("a licence of its own") == "a licence of its own"
    two = croissant(
        dataset, {**META, "environment": "pendulum", "episodes": 1, "transitions": 2, "model": TWO_LICENCES}
    )
    assert two["prov:wasAttributedTo"]["license"] == ["https://spdx.org/licenses/MIT.html", "llama3"]


def test_imported_episodes_name_their_authors_and_random_play_names_no_model(tmp_path):
    imported = {
        "policy": "qwen-7b",
        "model": "Qwen2.5-7B-Instruct",
        "source": "https://example.org/data/file.pkl",
        "repository": "https://example.org",
        "license": "MIT",
        "first_steps_dropped": 1,
    }
    description = describe(make_dataset(tmp_path / "qwen-7b", imported))
    assert "recordSet" not in description
    assert description["isBasedOn"] == imported["source"]
    assert [creator.get("url") for creator in description["creator"]] == ["https://example.org", None]
    assert "first step" in description["rai:dataLimitations"]
    chance = describe(make_dataset(tmp_path / "random", {"policy": "random", "model": None}))
    assert "prov:wasAttributedTo" not in chance
    assert "uniformly random actions" in chance["description"]


def test_the_same_dataset_gives_the_same_bytes_wherever_it_lies(dataset, tmp_path):
    elsewhere = tmp_path / ".tiny.123.tmp"
    shutil.copytree(dataset, elsewhere)
    assert json.dumps(describe(dataset)) == json.dumps(describe(elsewhere))


def test_damaged_transcripts_are_a_failure(dataset):
    content = (dataset / "transcripts.jsonl.gz").read_bytes()
    for damaged in (content[:-12], b"no gzip", gzip.compress(b"{\n")):
        (dataset / "transcripts.jsonl.gz").write_bytes(damaged)
        with pytest.raises(Failure, match="damaged"):
            describe(dataset)


def test_mlcroissant_accepts_it_and_reads_the_transcripts(dataset):
    mlcroissant = pytest.importorskip("mlcroissant")
    file = dataset / "croissant.json"
    file.write_text(json.dumps(describe(dataset)))
    loaded = mlcroissant.Dataset(file)
    issues = loaded.metadata.ctx.issues
    assert not issues.errors
    assert all("citeAs" in warning or "datePublished" in warning for warning in issues.warnings), issues.report()
    first, second = list(loaded.records("transcripts"))
    assert first["transcripts/user"].decode() == LINES[0]["user"]
    assert first["transcripts/scores"] == {"transcripts/scores/hard%20left": -1.5}
    assert [row["transcripts/action"] for row in (first, second)] == [[2.0], [-1.0]]
    assert (second["transcripts/step"], second["transcripts/new"]) == (1, True)
