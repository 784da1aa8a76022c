"""What README.md and results/FINDINGS.md say is true: numbers are the shipped tables', commands and links exist."""

import re
import sys
from pathlib import Path

import pytest

from analysis import readme
from envs.errors import UsageError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FINDINGS = (ROOT / "results/FINDINGS.md").read_text(encoding="utf-8")


def section(text, title):
    """Return the lines of the table below a heading."""
    body = text.split(title, 1)[1]
    return [line for line in re.split(r"\n#", body)[0].splitlines() if line.startswith("|")]


def test_the_findings_table_is_the_shipped_one():
    shipped = (ROOT / "results/tables/main.md").read_text(encoding="utf-8")
    table = section(shipped, "## Does the warm start pay?")
    told = section(FINDINGS, "## Three ways to compare")
    assert told[:2] == table[:2] and [row for row in table if row in told] == told  # some of its rows, in its order
    assert all(sum(f"| {name}" in row for row in told) == 6 for name in ("LORO (", "mix ("))


def test_the_readme_s_verdicts_are_the_shipped_ones():
    shipped = (ROOT / "results/claims.md").read_text(encoding="utf-8")
    table = section(shipped, "# The paper's claims, judged")
    told = section(README, "## Does it help?")
    assert len(told) == len(table) > 2
    for row, whole in zip(told[2:], table[2:], strict=True):
        assert whole.startswith(row[:-1])  # without the last column, the reasons


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a folder with both texts and the shipped products, where the refresher runs."""
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/FINDINGS.md").write_text(FINDINGS, encoding="utf-8")
    for name in ("claims.md", "tables"):
        (tmp_path / "results" / name).symlink_to(ROOT / "results" / name)
    monkeypatch.setattr(sys, "argv", ["readme", f"--root={tmp_path}"])
    return tmp_path


def test_refreshing_changes_nothing(copy):
    readme.main()
    assert (copy / "README.md").read_text(encoding="utf-8") == README
    assert (copy / "results/FINDINGS.md").read_text(encoding="utf-8") == FINDINGS


def test_refreshing_mends_a_number_that_went_stale(copy):
    (copy / "README.md").write_text(README.replace("**holds**", "**refuted**"), encoding="utf-8")
    readme.main()
    assert (copy / "README.md").read_text(encoding="utf-8") == README


def test_without_a_place_for_a_table_both_texts_are_left_alone(copy):
    (copy / "README.md").write_text(README.replace("**holds**", "**refuted**"), encoding="utf-8")
    (copy / "results/FINDINGS.md").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"results/FINDINGS\.md has no place for gains"):
        readme.main()
    assert (copy / "results/FINDINGS.md").read_text(encoding="utf-8") == "mine"
    assert "**refuted**" in (copy / "README.md").read_text(encoding="utf-8")


def test_every_make_target_and_program_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.MULTILINE))
    assert {"quick", "test", "figures", "reproduce", "bench"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    programs = set(re.findall(r"python -m (algos|analysis)\.([a-z_]+)", README))
    assert programs and all((ROOT / folder / f"{name}.py").exists() for folder, name in programs)


def anchors(text):
    """Return the anchors that GitHub gives to the headings of a Markdown text."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


PAGES = ["README.md", "CONTRIBUTING.md", "prompts/README.md", "results/README.md", "results/FINDINGS.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_file_and_section_that_is_linked_to_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(\s*((?!https?:)[^)]+)\)", text)
    missing = []
    for link in links:
        file, _, anchor = link.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            missing.append(link)
    assert links and not missing


def test_ci_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize(("text", "at_least"), [(README, 20), (FINDINGS, 80)], ids=["README", "FINDINGS"])
def test_every_estimate_with_an_interval_is_in_a_shipped_table(text, at_least):
    estimate = re.compile(r"[−+]?\d[\d,.]* \[[−+]?\d[\d,.]*, [−+]?\d[\d,.]*\]")
    by_hand = ("README.md", "FINDINGS.md")
    tables = [path for path in (ROOT / "results").rglob("*.md") if path.name not in by_hand]
    shipped = {found for path in tables for found in estimate.findall(path.read_text(encoding="utf-8"))}
    told = estimate.findall(" ".join(text.split()))  # its lines break anywhere
    assert len(told) > at_least
    assert [found for found in told if found not in shipped] == []
