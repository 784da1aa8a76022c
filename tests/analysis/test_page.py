"""Pages of the report: what they show is what is in the files, and they load nothing."""

import csv
import hashlib
import html
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from docutils import nodes
from docutils.core import publish_doctree
from synthetic_runs import write_run

from analysis import page
from envs.errors import run_command_line

ROOT = Path(__file__).parents[2]


def make(tmp_path, monkeypatch, *arguments):
    monkeypatch.setattr(
        sys, "argv", ["page", "--title", "A <title>", "--output", str(tmp_path / "x.html"), *map(str, arguments)]
    )
    run_command_line(page.main)
    return (tmp_path / "x.html").read_text(encoding="utf-8")


def tables(text):
    """Return every table of a page: lists of rows of cells."""
    rows = [re.split(r"<t[hd][^>]*>", row.split("</table>")[0])[1:] for row in re.split(r"<tr>", text)[1:]]
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in rows]


def test_a_text_and_a_table_are_shown_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "t.md").write_text(
        "# Title\n\nSee [the rule](other.md). <script>alert(1)</script>\n\n| a | b |\n|---|---|\n| 1 | x |\n"
    )
    cells = [["name", "value"], ["a <b>", "1.50"], ['"q", c', ""]]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(cells)
    text = make(tmp_path, monkeypatch, "--text", tmp_path / "t.md", "--table", tmp_path / "t.csv")
    assert tables(text)[-3:] == cells and ["1", "x"] in tables(text)
    assert "See the rule." in text and "<script>alert" not in text and "<title>A &lt;title&gt;</title>" in text
    assert not re.search(r"(src|href)=[\"']?(https?:|//|[a-z]+\.md)", text) and "http" not in text


def test_the_runs_behind_a_figure_and_their_curves(tmp_path, monkeypatch):
    returns = np.array([[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]])
    run = write_run(tmp_path, "paper", "cartpole", "online", returns[:, None, :])
    made = {
        "algorithm": "double-dqn",
        "arguments": {"dataset": None},
        "git_commit": "c" * 40,
        "seconds": 12.3,
        "device": "cpu",
    }
    run.with_suffix(".json").write_text(json.dumps(made))
    found = tables(make(tmp_path, monkeypatch, "--runs", run))
    runs = dict(zip(found[0], found[1], strict=True))
    assert (
        runs["file"] == str(run) and runs["seeds"] == "2" and runs["commit"] == "c" * 12 and runs["mean return"] == "4"
    )
    assert runs["SHA-256 of the file"] == hashlib.sha256(run.read_bytes()).hexdigest()[:16]
    assert found[2] == ["iteration", "online paper", "online paper, low", "online paper, high"]
    assert [float(row[1]) for row in found[3:]] == [2, 3, 7]
    assert all(float(row[2]) <= float(row[1]) <= float(row[3]) for row in found[3:])


def test_two_runs_of_one_name_both_show_their_curves(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path / folder, "paper", "cartpole", "loro_qwen-7b_tau1_n1000", np.full((2, 1, 3), level))
        for folder, level in (("often", 5.0), ("seldom", 7.0))
    ]
    found = tables(make(tmp_path, monkeypatch, "--runs", *runs))
    head, last = found[3], found[-1]
    assert head[0] == "iteration" and len(set(head)) == len(head)
    means = {name: value for name, value in zip(head, last, strict=True) if ", " not in name}
    assert list(means.values()) == ["2", "5", "7"] and "seldom" in list(means)[2]


@pytest.mark.parametrize(
    ("arguments", "status", "words"), [([], 2, "nothing to show"), (["--table", "broken.csv"], 1, "broken.csv")]
)
def test_bad_requests_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.csv").write_text('a,b\n"1,2\n')
    with pytest.raises(SystemExit) as exit_info:
        make(tmp_path, monkeypatch, *arguments)
    message = capsys.readouterr().err
    assert exit_info.value.code == status and words in message and len(message.strip().splitlines()) == 1
    assert not (tmp_path / "x.html").exists()


def test_the_report_begins_with_every_verdict(monkeypatch):
    """As docutils reads its first page, which snakemake has it do; the links' targets are added by snakemake."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "analysis/captions/workflow.rst").read_text(encoding="utf-8")
    told = publish_doctree(text, settings_overrides={"report_level": 5})
    (table,) = told.findall(nodes.table)
    shown = [[entry.astext() for entry in row.findall(nodes.entry)] for row in table.findall(nodes.row)]
    with (ROOT / "results/claims.csv").open(encoding="utf-8") as file:
        assert [row[:2] for row in shown] == [row[:2] for row in csv.reader(file)]
