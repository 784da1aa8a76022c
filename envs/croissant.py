"""Describing a dataset folder for machines: MLCommons' Croissant 1.1, JSON-LD on top of schema.org's vocabulary.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, and for the `rai:` properties
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html. Search engines for datasets index it, and
`mlcroissant` reads the transcripts by it, a record a step. Croissant has no words for the inside of an HDF5 file: for
the episodes there is Minari. The date of publication is left out: it is not known when the file is written, and the
same dataset must give the same bytes.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from envs.errors import Failure
from envs.files import sha256
from envs.text import describe

TRANSCRIPTS = "transcripts.jsonl.gz"
CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
VERSION = "1.0.0"
PAPER = "Improving the Data-efficiency of RL by Warm-starting with LLM (LORO), arXiv 2505.10861"

CROISSANT_TERMS = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract"),
    *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in CROISSANT_TERMS},
}
"""The specification's recommended context, appendix 1."""

FILES = {
    "data/main_data.hdf5": (["application/x-hdf5"], "The episodes as Minari stores them: T steps, T+1 observations."),
    "data/metadata.json": (["application/json"], "What Minari needs to know to read the episodes: spaces and counts."),
    "meta.json": (["application/json"], "Who played, how, with which versions and seeds, and the episodes' SHA-256."),
    "prompt.yaml": (["application/yaml"], "The prompt as it was used: what the LLM was told, and the action words."),
    "judge.yaml": (["application/yaml"], "What the LLM was asked when it judged its answers."),
    TRANSCRIPTS: (
        ["application/gzip", "application/jsonlines"],
        "Every decision, a JSON object a line: what was asked, what came back, how it became an action.",
    ),
}
"""Media types (outermost first) and descriptions of a dataset's files."""

FIELDS = {
    "episode": "Number of the episode, from 0.",
    "step": "Number of the step in its episode, from 0.",
    "prompt_sha256": "SHA-256 of the whole rendered prompt.",
    "user": "What the LLM was told and asked at this step.",
    "scores": "Log-probability of each action word as the beginning of the LLM's reply.",
    "probabilities": "With which probability each word was drawn: after calibration, temperature and top-p.",
    "answer": "What the LLM wrote.",
    "answers": "What the LLM wrote, each of its answers.",
    "stated": "The action word that each of the answers states, null where it states none.",
    "verdict": "What the LLM wrote when it judged its answers.",
    "parsed": "How the action was found; it begins with 'invalid' where no action was stated.",
    "word": "The action word that was chosen.",
    "action": "The action that was taken: a number, or a list of numbers where actions are continuous.",
    "tokens": "Tokens that the LLM read and wrote for this decision; 0 where it was remembered.",
    "seconds": "Seconds that the LLM took for this decision; 0 where it was remembered.",
}
"""What the keys of a transcript's lines mean."""

SPDX = ("Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-3.0-only", "MIT")

DECISIONS = {
    "score": "drawn with the probabilities that the LLM gives to the action words",
    "answer": "what the LLM's short answer states",
    "cot": "what the LLM's answer states after reasoning",
    "vote": "what most of several answers of the LLM state",
    "best": "what the LLM's answer states that it judged to be its best",
}


def croissant(folder: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the Croissant description of the dataset in `folder`, to be written beside its files as croissant.json.

    `meta` is the content of the dataset's meta.json. All addresses are relative to the folder, whose own name is not
    used. The same files and `meta` give the same description. Raises Failure when the transcripts cannot be read.
    """
    player = _player(meta)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "croissant.json"]
    description = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": _name(meta),
        "description": _description(meta),
        "url": "./",
        "license": license_url(meta.get("license") or "Apache-2.0"),
        "creator": _creators(meta),
        "version": VERSION,
        "keywords": [
            "reinforcement learning",
            "offline reinforcement learning",
            *(["large language models"] if player else []),
            describe(meta["environment"]).title,
        ],
        "distribution": [_file_object(folder, path) for path in files],
        **_responsible_ai(meta),
    }
    if "source" in meta:
        description |= {"isBasedOn": meta["source"], "citeAs": PAPER}
    if player:
        description["prov:wasAttributedTo"] = player
    if (folder / TRANSCRIPTS).exists():
        description["recordSet"] = [_record_set(_transcript_columns(folder / TRANSCRIPTS))]
    return description


def license_url(name: str) -> str:
    """Return the page of a licence at SPDX, or its name as it is where it is none of the usual ones."""
    known = {spdx.lower(): spdx for spdx in SPDX}
    return f"https://spdx.org/licenses/{known[name.lower()]}.html" if name.lower() in known else name


# --- In words --------------------------------------------------------------------------------------------------------


def _model_name(meta: dict[str, Any]) -> str | None:
    """Return the name of the LLM that played, or None where no LLM did."""
    model = meta.get("model")
    return model.get("model") or model["name"] if isinstance(model, dict) else model


def _player(meta: dict[str, Any]) -> dict[str, Any] | None:
    """Describe the LLM, with the licence that it has itself."""
    name, model = _model_name(meta), meta.get("model")
    if name is None:
        return None
    player = {"@type": "prov:SoftwareAgent", "name": name}
    if isinstance(model, dict) and model.get("license"):
        names = model["license"]  # a model's card may name several
        player["license"] = license_url(names) if isinstance(names, str) else [license_url(name) for name in names]
    return player


def _name(meta: dict[str, Any]) -> str:
    title = f"{describe(meta['environment']).title} played by {meta.get('policy', 'an unknown policy')}"
    style = Path(meta["prompt"]["file"]).stem if "prompt" in meta else None
    details = [f"{style} prompt"] if style not in (None, meta["environment"]) else []
    details += ["calibrated"] if meta.get("decision", {}).get("calibrate") else []
    return ", ".join([title, *details])


def _description(meta: dict[str, Any]) -> str:
    title, name = describe(meta["environment"]).title, _model_name(meta)
    who = f"the LLM {name}" if name else "uniformly random actions" if meta.get("policy") == "random" else "a policy"
    count = f"{meta['episodes']} episode{'' if meta['episodes'] == 1 else 's'} ({meta['transitions']} transitions)"
    sentences = [f"{count} of {title}, played by {who}."]
    if meta.get("mean_return") is not None:
        sentences.append(f"Mean undiscounted return of an episode: {meta['mean_return']:.6g}.")
    if meta.get("horizon"):
        sentences.append(f"Episodes are cut off after {meta['horizon']} steps.")
    decide = meta.get("decision", {}).get("decide")
    if decide in DECISIONS:
        sentences.append(f"An action is {DECISIONS[decide]}.")
    if meta.get("invalid_answers"):
        sentences.append(f"In {meta['invalid_answers']} of the steps the LLM stated no action.")
    if "source" in meta:
        sentences.append("The episodes were released by the authors of LORO and are put into this format.")
    return " ".join(sentences)


def _creators(meta: dict[str, Any]) -> list[dict[str, str]]:
    creators = [{"@type": "Organization", "name": "The loro-repro authors"}]
    if "source" in meta:
        authors = {"@type": "Organization", "name": "The authors of LORO (arXiv 2505.10861)"}
        creators.insert(0, authors | ({"url": meta["repository"]} if "repository" in meta else {}))
    return creators


def _responsible_ai(meta: dict[str, Any]) -> dict[str, str]:
    limits = (
        "One policy in one simulated environment: it shows what this policy does, not how the environment is solved."
    )
    if meta.get("pairing") == "as stored":
        limits += " Each action is paired with the observation after it, as the authors stored it."
    elif meta.get("first_steps_dropped"):
        limits += " The first step of each episode is missing: its observation was not stored."
    return {
        "rai:dataCollection": "Recorded while the policy played in a simulation; nobody was asked or watched.",
        "rai:dataUseCases": "Offline and warm-started reinforcement learning, and the study of LLMs as policies.",
        "rai:dataLimitations": limits,
        "rai:dataBiases": "States that the policy avoids or does not reach are rare or missing.",
        "rai:personalSensitiveInformation": "None.",
    }


# --- Files and records -----------------------------------------------------------------------------------------------


def _file_object(folder: Path, path: Path) -> dict[str, Any]:
    address = path.relative_to(folder).as_posix()
    formats, description = FILES.get(address, (["application/octet-stream"], None))
    return {
        "@type": "cr:FileObject",
        "@id": address,
        "name": path.name,
        **({"description": description} if description else {}),
        "contentUrl": address,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": formats if len(formats) > 1 else formats[0],
        "sha256": sha256(path),
    }


Column = dict[str, Any]
"""What is known of a key's values: `types`, the data types seen; `array`; `columns` of objects, by key."""


def _transcript_columns(path: Path) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                _see(columns, json.loads(line))
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Failure(f"{path} is damaged and cannot be described ({error}); make the dataset anew.") from error
    order = {key: index for index, key in enumerate(FIELDS)}
    return dict(sorted(columns.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def _see(columns: dict[str, Column], row: dict[str, Any]) -> None:
    """Add what `row` tells of its keys to `columns`."""
    for key, value in row.items():
        column = columns.setdefault(key, {"types": set(), "array": False, "columns": {}})
        if isinstance(value, dict):
            _see(column["columns"], value)
        column["array"] |= isinstance(value, list)
        for element in value if isinstance(value, list) else [value]:
            column["types"].add(type(element))


def _data_type(types: Iterable[type]) -> str:
    """Return the one data type that holds values of all `types`."""
    names = {bool: "sc:Boolean", int: "sc:Integer", float: "sc:Float", str: "sc:Text"}
    found = set(types) - {type(None)}
    if found == {int, float}:
        return "sc:Float"
    return names.get(found.pop(), "sc:Text") if len(found) == 1 else "sc:Text"


def _record_set(columns: dict[str, Column]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "transcripts",
        "name": "transcripts",
        "description": "A record for every step: what the policy was told, what it answered, what it did.",
        "key": [{"@id": f"transcripts/{key}"} for key in ("episode", "step")],
        "field": [_field(key, column) for key, column in columns.items()],
    }


def _field(key: str, column: Column, parent: str | None = None) -> dict[str, Any]:
    """Describe the values of `key`, on the line itself or in the object that is the value of `parent`."""
    address = "/".join(quote(part) for part in ("transcripts", parent, key) if part)
    field: dict[str, Any] = {"@type": "cr:Field", "@id": address, "name": key}
    if parent is None and key in FIELDS:
        field["description"] = FIELDS[key]
    if column["columns"]:
        return field | {"subField": [_field(name, inner, key) for name, inner in column["columns"].items()]}
    source: dict[str, Any] = {"fileObject": {"@id": TRANSCRIPTS}, "extract": {"column": parent or key}}
    if parent is not None:
        source["transform"] = {"jsonPath": f"$.'{key}'"}
    array = {"isArray": True, "arrayShape": "-1"} if column["array"] else {}
    return field | {"dataType": _data_type(column["types"])} | array | {"source": source}
