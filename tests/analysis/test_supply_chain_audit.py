"""The audit of what is installed, with tools that say what the tests want."""

import json
import sys

import pytest

from analysis import supply_chain
from envs.errors import run_command_line

BILL = {"components": [{"name": "numpy"}]}
LICENCES = [{"Name": "numpy", "Version": "1", "License": "BSD-3-Clause AND MIT"}]
SAFE = {"dependencies": [{"name": "numpy", "version": "1", "vulns": []}]}
VULNERABLE = {"dependencies": [{"name": "numpy", "version": "1", "vulns": [{"id": "CVE-1"}]}]}
PASSED_OVER = {"dependencies": [{"name": "numpy", "skip_reason": "not found"}]}


def audit(tmp_path, monkeypatch, licences, vulnerabilities):
    answers = {"cyclonedx-py": BILL, "pip-licenses": licences, "pip-audit": vulnerabilities}
    for name, answer in answers.items():
        tool = tmp_path / name
        says = f"cat <<'END'\n{json.dumps(answer)}\nEND\n" if answer else "echo no route to host >&2; exit 1\n"
        tool.write_text(f"#!/bin/sh\n{says}")
        tool.chmod(0o755)
    (tmp_path / "lock.txt").write_text("numpy==1\n")
    arguments = ["--tools", tmp_path, "--output", tmp_path / "out", "--requirements", tmp_path / "lock.txt"]
    monkeypatch.setattr(sys, "argv", ["supply_chain", *map(str, arguments)])
    try:
        run_command_line(supply_chain.main)
    except SystemExit as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    ("licences", "vulnerabilities", "status", "words"),
    [
        (LICENCES, SAFE, 0, ""),
        (LICENCES, VULNERABLE, 1, "numpy 1: CVE-1"),
        (LICENCES, PASSED_OVER, 3, "knew nothing of 1 of 1 packages"),
        (LICENCES, None, 3, "no route to host"),
        ([{"Name": "x", "Version": "1", "License": "AGPL-3.0"}], SAFE, 1, "x (AGPL-3.0)"),
        ([{"Name": "x", "Version": "1", "License": "AGPL-3.0"}], None, 1, "no route to host"),
        ([{"Name": "ale-py", "Version": "1", "License": "GPL-2.0-only"}], SAFE, 0, ""),
        (None, SAFE, 1, "no route to host"),
    ],
)
def test_what_is_found_decides_the_exit_status(tmp_path, monkeypatch, capsys, licences, vulnerabilities, status, words):
    assert audit(tmp_path, monkeypatch, licences, vulnerabilities) == status
    message = capsys.readouterr().err.strip()
    assert words in message and len(message.splitlines()) == (status != 0)
    assert json.loads((tmp_path / "out/sbom.cdx.json").read_text()) == BILL


@pytest.mark.parametrize(
    ("licence", "fine"),
    [
        ("MIT License", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSL-1.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("", False),
        ("Other/Proprietary", False),
    ],
)
def test_every_part_of_a_licence_counts(licence, fine):
    assert supply_chain.acceptable("some-package", licence) == fine
