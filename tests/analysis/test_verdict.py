"""The paper's claims: each kind of verdict from runs that decide it, by the rule as it is written."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from synthetic_runs import write_run

import envs
from analysis import verdict
from analysis.runs import read_run
from envs.errors import run_command_line

CONSTANTS = {env: {"random": 0, "expert": 100} for env in envs.ENVIRONMENTS}
RULE = {"fewest_seeds": 5, "margin": 0.05}
ARM, OTHER = "loro_qwen-7b_tau2_n10", "online"


def returns(mean, seeds=5, spread=1.0, iterations=30):
    """Curves [seeds, 1, iterations] whose seeds' means are `mean` on average, and differ."""
    return mean + spread * np.linspace(-1, 1, seeds)[:, None, None] * np.ones((1, 1, iterations))


def runs_of(tmp_path, ours, theirs, protocol="paper", other=OTHER, seeds=5):
    paths = []
    for env, (a, b) in zip(envs.ENVIRONMENTS, zip(ours, theirs, strict=True), strict=True):
        for name, mean in ((ARM, a), (other, b)):
            if mean is not None:
                paths.append(write_run(tmp_path, protocol, env, name, returns(mean, seeds)))
    return {(run.protocol, run.env, run.path.stem): run for run in map(read_run, paths)}


def judge(runs, **claim):
    claim = {"claim": "c", "arm": ARM, **claim}
    return verdict.judge(claim, runs, {"normalisation": CONSTANTS, "rule": RULE})


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([60] * 6, "holds"),
        ([60, 60, 60, 60, 50, 50], "holds"),  # higher in four, open in two
        ([60, 60, 60, 50, 50, 50], "not decided"),  # three may yet become four
        ([60, 60, 60, 60, 60, 40], "does not hold"),  # lower in one
        ([60, 60, 60, 60, None, None], "holds"),
        ([60, 60, 60, None, None, None], "not decided"),
        ([50] * 6, "not decided"),
    ],
)
def test_greater(tmp_path, ours, outcome):
    judged = judge(runs_of(tmp_path, ours, [50] * 6), kind="greater", against=OTHER)
    assert judged.verdict == outcome


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([51] * 6, "holds"),
        ([51, 51, 51, 51, 54, 46], "holds"),  # the intervals of the last two reach beyond the margin
        ([60, 60, 60, 60, 51, 51], "does not hold"),
        ([60, 51, 51, 51, 51, 51], "not decided"),
        ([51, 51, 51, None, None, None], "not decided"),
    ],
)
def test_alike(tmp_path, ours, outcome):
    assert judge(runs_of(tmp_path, ours, [50] * 6), kind="alike", against=OTHER).verdict == outcome


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "words"),
    [
        ([-10] * 6, [-20, -20, -20, -20, -20, -45], "holds", "4.5"),
        ([-10] * 6, [-20] * 6, "does not hold", "2.0"),
        ([80] * 6, [20, 40, 40, 40, 40, 40], "holds", "4.0"),
        ([-10, -10, None, None, None, None], [-20] * 6, "not decided", "2.0"),
    ],
)
def test_factor(tmp_path, ours, theirs, outcome, words):
    judged = judge(runs_of(tmp_path, ours, theirs), kind="factor", factor=4, against=OTHER)
    assert judged.verdict == outcome and words in judged.evidence


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([99, 99, 99, 99, 20, 20], "holds"),
        ([99, 99, 99, 20, 20, 20], "does not hold"),
        ([99, 99, 99, 95, 20, 20], "not decided"),  # the fourth's interval holds 95
    ],
)
def test_optimal(tmp_path, ours, outcome):
    assert judge(runs_of(tmp_path, ours, [50] * 6), kind="optimal").verdict == outcome


def test_too_few_seeds_decide_nothing(tmp_path):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6, seeds=4)
    assert judge(runs, kind="greater", against=OTHER).verdict == "not decided"


def test_the_pooled_difference_is_the_mean_of_normalised_ones(tmp_path):
    ours, theirs = [60, 70, 80, 60, 70, 80], [50, 50, 50, 60, 60, 60]
    judged = judge(runs_of(tmp_path, ours, theirs), kind="greater", against=OTHER)
    mean, low, high = verdict.pooled([pair for pair in judged.pairs["paper"].values() if pair])
    assert mean == pytest.approx(np.mean([(a - b) / 100 for a, b in zip(ours, theirs, strict=True)]))
    assert low < mean < high
    # the seeds' means are mean + (-1, -0.5, 0, 0.5, 1): a standard error of the pooled difference by hand
    error = np.sqrt(2 * np.var([-1, -0.5, 0, 0.5, 1]) / 5 / 6) / 100
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_page_and_the_figure(tmp_path, monkeypatch, capsys):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    runs |= runs_of(tmp_path, [70] * 6, [50] * 6, protocol="published", seeds=1)
    claims = {
        "normalisation": CONSTANTS,
        "rule": RULE,
        "claims": [
            {"claim": "it is better", "kind": "greater", "arm": ARM, "against": OTHER},
            {"claim": "it is optimal", "kind": "optimal", "arm": ARM},
            {"claim": "size matters not", "kind": "alike", "arm": "loro_qwen-32b_tau2_n10", "against": ARM},
        ],
    }
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    paths = [str(run.path) for run in runs.values()]
    for name in ("a", "b"):
        arguments = ["--claims", str(tmp_path / "claims.yaml"), "--runs", *paths]
        arguments += ["--output", str(tmp_path / name / "c.md"), "--figure", str(tmp_path / name / "v.pdf")]
        monkeypatch.setattr(sys, "argv", ["verdict", *arguments])
        run_command_line(verdict.main)
        plt.close("all")
    page = (tmp_path / "a" / "c.md").read_text()
    assert "| it is better | +0.200 (6) |" in page and "**holds**" in page and "+0.100 [" in page
    assert "| size matters not |  |  |  | **not decided** |" in page and "not computed yet" in page
    for name in ("c.md", "v.pdf", "v.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "it is better: holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("claims: [", "cannot be read"), ("claims: []", "cannot be read"), (None, "unknown kind")],
)
def test_bad_claims_are_one_sentence(tmp_path, monkeypatch, capsys, text, sentence):
    if text is None:
        content = yaml.safe_load(Path("config/claims.yaml").read_text())
        content["claims"][0]["kind"] = "certain"
        text = yaml.safe_dump(content)
    (tmp_path / "claims.yaml").write_text(text)
    run = write_run(tmp_path, "paper", "cartpole", OTHER, returns(1))
    arguments = ["--claims", tmp_path / "claims.yaml", "--runs", run, "--output", tmp_path / "c.md"]
    monkeypatch.setattr(sys, "argv", ["verdict", *map(str, arguments), "--figure", str(tmp_path / "v.pdf")])
    with pytest.raises(SystemExit) as stopped:
        run_command_line(verdict.main)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "c.md").exists()


def test_the_optimum_of_frozen_lake_is_what_value_iteration_says():
    table = envs.make("frozen-lake").unwrapped.P
    value = np.zeros(16)
    for _ in range(envs.get("frozen-lake").horizon):
        backup = [
            [sum(p * (r + (not end) * value[s]) for p, s, r, end in moves) for moves in table[state].values()]
            for state in table
        ]
        value = np.max(backup, axis=1)
    constants = yaml.safe_load(Path("config/claims.yaml").read_text())["normalisation"]
    assert constants["frozen-lake"]["expert"] == pytest.approx(value[0], abs=0.005)
