"""Audit what is installed: a bill of materials (CycloneDX), licences, known vulnerabilities.

    make audit        (or: python -m analysis.supply_chain --tools FOLDER --output rerun/audit)

Writes sbom.cdx.json, licences.csv and vulnerabilities.json. They tell of this machine's packages, which is why they are
made here and not shipped. Exit status 0: nothing found; 1: a licence or a known vulnerability to look at; 3: the
database of vulnerabilities did not answer for every package, so that nothing is known about those.
"""

import csv
import importlib.metadata
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text

PERMISSIVE = r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|Zlib|CC0|BSL|CNRI|Public Domain"
"""What a licence's name holds that asks for no more than a notice, or for changes to its own files."""
EXCEPTIONS = {
    "ale-py": "GPL-2.0: the Pong environment alone imports it; installed beside the package, no part of it",
    "docutils": "its parts are in the public domain, BSD and (an Emacs mode) GPL; Snakemake's report needs it",
    "nvidia-": "NVIDIA's own terms: CUDA libraries that torch's CUDA build brings; no part of the package",
    "cuda-": "NVIDIA's own terms: as above",
}
"""By the beginning of a package's name: why another licence is accepted."""
UNREACHABLE = 3
"""Exit status where the vulnerabilities could not be looked up."""


@dataclass
class Args:
    """Audit the environment of this Python."""

    tools: Path
    """the folder with pip-audit, pip-licenses and cyclonedx-py (`make audit` makes it)"""
    output: Path = Path("rerun/audit")
    """the folder to write"""
    requirements: Path = Path("requirements.txt")
    """the lock whose packages are looked up"""


class UnreachableError(Exception):
    """The database did not answer."""


def run(tool: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run a tool; raise UsageError where it is not there."""
    if not tool.is_file():
        raise UsageError(f"There is no {tool}: run `make audit`, or name the tools' folder with --tools.")
    return subprocess.run([str(tool), *arguments], capture_output=True, text=True, check=False)


def last_line(result: subprocess.CompletedProcess) -> str:
    """Return what a tool said last."""
    return (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]


def write_bill(tools: Path, output: Path) -> int:
    """Write the bill of materials; return how many components it lists."""
    result = run(tools / "cyclonedx-py", "environment", sys.executable, "--of", "JSON", "--output-reproducible")
    try:
        count = len(json.loads(result.stdout)["components"])
    except (ValueError, KeyError) as error:
        raise Failure(f"cyclonedx-py made no bill of materials ({last_line(result)}).") from error
    write_text(output / "sbom.cdx.json", result.stdout)
    return count


def licence_text(package: str) -> str:
    """Return the first line of an installed package's licence file; empty where there is none."""
    files = importlib.metadata.distribution(package).files or []
    texts = [file.read_text() for file in files if re.match(r"licen[cs]e", file.name, re.IGNORECASE)]
    return texts[0].strip().splitlines()[0] if texts and texts[0].strip() else ""


def acceptable(package: str, licence: str) -> bool:
    """Tell whether every part of a licence's name is permissive, or the package is an exception."""
    parts = [part for part in re.split(r";|\bAND\b|\bOR\b|\bWITH\b", licence) if part.strip()]
    permissive = bool(parts) and all(re.search(PERMISSIVE, part) or "LLVM-exception" in part for part in parts)
    return permissive or package.startswith(tuple(EXCEPTIONS))


def write_licences(tools: Path, output: Path) -> list[str]:
    """Write the table of licences; return those that are neither permissive nor among the exceptions."""
    result = run(tools / "pip-licenses", "--python", sys.executable, "--format", "json", "--from", "mixed")
    try:
        packages = [(one["Name"], one["Version"], one["License"]) for one in json.loads(result.stdout)]
    except (ValueError, KeyError) as error:
        raise Failure(f"pip-licenses listed no licences ({last_line(result)}).") from error
    content, doubtful = io.StringIO(), []
    table = csv.writer(content, lineterminator="\n")
    table.writerow(["package", "version", "licence", "note"])
    for package, version, stated in packages:
        licence = licence_text(package) if stated == "UNKNOWN" else stated
        note = next((why for name, why in EXCEPTIONS.items() if package.startswith(name)), "")
        table.writerow([package, version, licence, note])
        if not acceptable(package, licence):
            doubtful.append(f"{package} ({licence or 'none stated'})")
    write_text(output / "licences.csv", content.getvalue())
    return doubtful


def write_vulnerabilities(tools: Path, requirements: Path, output: Path) -> list[str]:
    """Write what is known of the locked packages; return the vulnerable ones.

    Raises UnreachableError where the database could not be asked about all of them: pip-audit itself passes over
    packages that it is told nothing of, and then finds nothing.
    """
    arguments = ["--requirement", str(requirements), "--no-deps", "--disable-pip", "--format", "json"]
    result = run(tools / "pip-audit", *arguments, "--progress-spinner", "off", "--desc", "off")
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        raise UnreachableError(
            f"pip-audit could not ask for known vulnerabilities ({last_line(result)[:200]})."
        ) from error
    write_text(output / "vulnerabilities.json", json.dumps(packages, indent=1) + "\n")
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if skipped or not packages:
        raise UnreachableError(
            f"The database of vulnerabilities knew nothing of {len(skipped)} of {len(packages)} packages "
            f"({', '.join(skipped[:3])}, ...): it cannot be reached from here, so run `make audit` where it can."
        )
    return [f"{one['name']} {one['version']}: {vuln['id']}" for one in packages for vuln in one.get("vulns", [])]


def main() -> None:
    """Audit, write, and say what was found."""
    args = tyro.cli(Args)
    if not args.requirements.is_file():
        raise UsageError(f"--requirements {args.requirements}: there is no such file.")
    print(f"{args.output}/sbom.cdx.json: {write_bill(args.tools, args.output)} components.")
    found = [f"licence of {one}" for one in write_licences(args.tools, args.output)]
    print(f"{args.output}/licences.csv: {len(found)} to look at.")
    try:
        found += write_vulnerabilities(args.tools, args.requirements, args.output)
    except UnreachableError as error:
        if not found:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(UNREACHABLE)
        found.append(str(error))
    if found:
        raise Failure(f"Look at: {'; '.join(found)}")
    print("No known vulnerabilities.")


if __name__ == "__main__":
    run_command_line(main)
