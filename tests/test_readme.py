"""What the README says has to be true: its numbers are the shipped table's, its commands exist."""

import re
import sys
from pathlib import Path

import pytest

from analysis import readme
from envs.errors import UsageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(text, title):
    """Return the lines of the table below a heading."""
    body = text.split(title, 1)[1]
    return [line for line in re.split(r"\n#", body)[0].splitlines() if line.startswith("|")]


def test_the_readme_s_table_is_the_shipped_one():
    shipped = (ROOT / "results/tables/main.md").read_text(encoding="utf-8")
    table = section(shipped, "## Does the warm start pay?")
    told = section(README, "### Does the warm start pay?")
    assert told[:2] == table[:2] and [row for row in table if row in told] == told  # some of its rows, in its order
    assert all(sum(f"| {name}" in row for row in told) == 6 for name in ("LORO (", "mix ("))


def test_the_readme_s_verdicts_are_the_shipped_ones():
    shipped = (ROOT / "results/claims.md").read_text(encoding="utf-8")
    table = section(shipped, "# The paper's claims, judged")
    told = section(README, "## Does it help?")
    assert len(told) == len(table) > 2
    for row, whole in zip(told[2:], table[2:], strict=True):
        assert whole.startswith(row[:-1])  # without the last column, the reasons


def test_refreshing_the_readme_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setattr(sys, "argv", ["readme", f"--root={tmp_path}"])
    readme.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README


def test_a_readme_without_a_place_for_a_table_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setattr(sys, "argv", ["readme", f"--root={tmp_path}"])
    with pytest.raises(UsageError, match="has no place for verdict"):
        readme.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


def test_every_make_target_and_program_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE))
    assert {"quick", "test", "figures", "reproduce", "bench"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    programs = set(re.findall(r"python -m (algos|analysis)\.([a-z_]+)", README))
    assert programs and all((ROOT / folder / f"{name}.py").exists() for folder, name in programs)


def test_every_file_and_section_it_links_to_exists():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    sections = {f"#{'-'.join(title.lower().split())}" for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    missing = [link for link in links if link not in sections and not (ROOT / link).exists()]
    assert links and not missing


def test_ci_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_every_estimate_with_an_interval_is_in_a_shipped_table():
    estimate = re.compile(r"[−+]?\d[\d,.]* \[[−+]?\d[\d,.]*, [−+]?\d[\d,.]*\]")
    tables = [path for path in (ROOT / "results").rglob("*.md") if path.name != "README.md"]
    shipped = {found for path in tables for found in estimate.findall(path.read_text(encoding="utf-8"))}
    told = estimate.findall(" ".join(README.split()))  # its lines break anywhere
    assert len(told) > 50
    assert [found for found in told if found not in shipped] == []
