"""What priors are worth: by hand for three texts, one of which several states read alike."""

import csv
import json
import sys

import numpy as np
import pytest

from analysis import prior_quality
from envs.errors import run_command_line

ACTIONS = ["chop", "walk", "serve"]


def write(folder, name, header, rows, game="overcooked-tomato"):
    path = folder / game / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [header, *({"text": text, "actions": ACTIONS, **row} for text, row in rows.items())]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def scripted(tmp_path):
    """Half of the probability on the best: chop in one text, walk or serve in another, whatever it is in the third."""
    rows = {"one": [2 / 3, 1 / 6, 1 / 6], "two": [1 / 6, 5 / 12, 5 / 12], "three": [1 / 3, 1 / 3, 1 / 3]}
    header = {"way": "table", "scripted_share": 0.5}
    return write(tmp_path, "scripted-50", header, {text: {"p": p} for text, p in rows.items()})


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prior_quality", *map(str, arguments)])
    run_command_line(prior_quality.main)


def test_a_prior_s_probability_of_what_is_best(tmp_path, scripted, monkeypatch):
    scores = {"one": [0.7, 0.2, 0.1], "two": [0.5, 0.3, 0.2], "three": [0.1, 0.1, 0.8]}
    log_p = {text: {"log_p": (np.log(p) - 3).tolist()} for text, p in scores.items()}  # of any scale
    llm = write(tmp_path, "llm", {"way": "score"}, log_p)
    output = tmp_path / "t" / "quality.csv"
    run(["--priors", scripted, llm, "--output", output], monkeypatch)
    control, row = csv.DictReader(output.open())
    assert (row["prior"], row["texts"]) == ("llm", "3")
    assert float(row["best"]) == pytest.approx((0.7 + 0.5 + 1) / 3, rel=1e-5)
    assert float(row["best_median"]) == pytest.approx(0.7, rel=1e-5)
    assert float(row["likeliest"]) == pytest.approx(2 / 3, rel=1e-5)  # "two": it likes best to chop
    assert float(row["proposed"]) == pytest.approx((3 - 0.3**5 - 0.5**5) / 3, rel=1e-5)
    assert float(control["likeliest"]) == 1
    assert (
        "| Overcooked (tomato salad) | llm | 3 | 0.73 | 0.70 | 0.67 | 0.99 |" in output.with_suffix(".md").read_text()
    )


def test_counted_replies_are_a_prior_too_and_ties_are_shared(tmp_path, scripted, monkeypatch):
    counts = {"one": [2, 2, 0], "two": [1, 0, 0], "three": [0, 0, 5]}
    llm = write(tmp_path, "llm", {"way": "sample"}, {text: {"counts": count} for text, count in counts.items()})
    run(["--priors", scripted, llm, "--output", tmp_path / "q.csv"], monkeypatch)
    _, row = csv.DictReader((tmp_path / "q.csv").open())
    assert float(row["best"]) == pytest.approx(0.5) and float(row["likeliest"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("break_it", "status", "told"),
    [
        (lambda scripted, llm: scripted.unlink(), 2, "There is no prior"),
        (lambda scripted, llm: llm.write_text("{}\nnothing\n"), 1, "cannot be read as a prior"),
        (lambda scripted, llm: llm.write_text(llm.read_text().replace("three", "four")), 1, "does not hold 1"),
        (lambda scripted, llm: llm.write_text(llm.read_text().replace("[0.2, 0.2, 0.6]", "[0.4, 0.6]")), 1, "for each"),
        (lambda scripted, llm: scripted.write_text('{"way": "uniform"}\n'), 2, "give a scripted prior too"),
    ],
)
def test_bad_priors_are_one_sentence(tmp_path, scripted, monkeypatch, capsys, break_it, status, told):
    rows = {text: {"p": [0.2, 0.2, 0.6]} for text in ("one", "two", "three")}
    llm = write(tmp_path, "llm", {"way": "table"}, rows)
    break_it(scripted, llm)
    with pytest.raises(SystemExit) as stopped:
        run(["--priors", scripted, llm, "--output", tmp_path / "q.csv"], monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == status and told in error and "Traceback" not in error
    assert not (tmp_path / "q.csv").exists()
