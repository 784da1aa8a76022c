"""The arguments of all programs as one page."""

import re
import subprocess
import sys
from pathlib import Path

from analysis import arguments

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "algos/ARGUMENTS.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date():
    assert arguments.markdown() == PAGE, "run `make arguments`"


def test_it_has_every_program_and_what_its_help_says():
    programs = re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)
    assert {"algos.dqn", "algos.collect", "analysis.main_table", "analysis.page"} <= set(programs)
    help_text = subprocess.run(
        [sys.executable, "-m", "algos.fetch_llm", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    section = PAGE.split("## `algos.fetch_llm`")[1].split("\n## ")[0]
    flags = set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}
    assert flags and flags <= set(re.findall(r"`(--[a-z-]+)", section))


def test_no_cell_is_broken():
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert len(rows) > 200 and all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
