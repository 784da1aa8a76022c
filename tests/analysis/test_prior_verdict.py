"""The second paper's claims: each kind of verdict from hand-made runs that decide it, by the rule as it is written."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from prior_tree import write_prior_run
from synthetic_runs import write_run

from analysis import prior_verdict, verdict
from analysis.prior_verdict import judge, read_prior_runs
from envs.errors import UsageError, run_command_line

RULE = {"fewest_seeds": 5, "margin": 0.05}
TOMATO, SALAD, LAKE = GAMES = "overcooked-tomato", "overcooked-salad", "frozen-lake-text"
GREATER = {"claim": "c", "kind": "greater", "arm": "dqn-prior", "against": "dqn", "environments": list(GAMES)}
FEWER = {"claim": "c", "kind": "fewer", "arm": "cql-prior", "against": "cql", "level": 0.9, "factor": 0.1}
FEWER |= {"environments": [TOMATO, SALAD]}


def success(mean, seeds=5, iterations=20):
    """Success [seeds, iterations] whose seeds' means are `mean` on average, and differ."""
    return mean + 0.02 * np.linspace(-1, 1, seeds)[:, None] * np.ones((1, iterations))


def runs_of(tree, ours, theirs, llm="mine", seeds=5):
    paths = []
    for game, a, b in zip(GAMES, ours, theirs, strict=True):
        paths += [write_prior_run(tree, game, f"dqn-prior_{llm}", success(a, seeds))] if a is not None else []
        paths += [write_prior_run(tree, game, "dqn", success(b, seeds))] if b is not None else []
    return read_prior_runs(paths)


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([0.8, 0.8, 0.8], "holds"),
        ([0.8, 0.8, 0.5], "holds"),
        ([0.8, 0.5, 0.5], "not decided"),
        ([0.8, 0.8, None], "holds"),
        ([0.8, None, None], "not decided"),
        ([0.8, 0.8, 0.2], "does not hold"),  # lower in one
        ([None, None, None], "not decided"),
    ],
)
def test_greater(ours, outcome, tmp_path):
    assert judge(GREATER, "mine", runs_of(tmp_path, ours, [0.5] * 3), RULE).verdict == outcome


def test_four_seeds_decide_nothing(tmp_path):
    assert judge(GREATER, "mine", runs_of(tmp_path, [0.8] * 3, [0.5] * 3, seeds=4), RULE).verdict == "not decided"


def test_another_llm_s_prior_and_controls_decide_nothing(tmp_path):
    runs = runs_of(tmp_path, [0.8] * 3, [0.5] * 3, llm="scripted-50")
    assert judge(GREATER, "mine", runs, RULE).verdict == "not decided"
    assert judge(GREATER, "mine", runs_of(tmp_path, [0.8] * 3, [0.5] * 3, llm="other"), RULE).verdict == "not decided"


def test_where_there_is_no_success_the_return_counts(tmp_path):
    claim = GREATER | {"environments": ["cartpole"]}
    paths = [
        write_prior_run(tmp_path, "cartpole", name, np.full((5, 20), np.nan), 100 * success(mean))
        for name, mean in (("dqn-prior_mine", 0.8), ("dqn", 0.5))
    ]
    for path in paths:
        path.write_text(path.read_text().replace("nan", ""))
    judged = judge(claim, "mine", read_prior_runs(paths), RULE)
    assert judged.verdict == "holds" and judged.found["cartpole"].measure == "eval_return"
    assert prior_verdict.difference(judged.found["cartpole"].samples)[0] == pytest.approx(30)


def test_the_llm_alone_counts_episode_by_episode(tmp_path):
    claim = GREATER | {"against": "llm-policy", "environments": [TOMATO]}
    paths = [write_prior_run(tmp_path, TOMATO, "dqn-prior_mine", success(0.6))]
    paths.append(write_prior_run(tmp_path, TOMATO, "llm-policy_mine", [[0, 0, 0, 1] * 10]))
    judged = judge(claim, "mine", read_prior_runs(paths), RULE)
    assert judged.found[TOMATO].seeds == (5, 40) and judged.verdict == "holds"
    assert prior_verdict.difference(judged.found[TOMATO].samples)[0] == pytest.approx(0.35)


SIZES = (10, 100, 1000, 10_000)


def offline(tree, **needed):
    """Runs in which every seed of a game succeeds from a size on: (with the prior, without), None never."""
    paths = []
    for game, both in needed.items():
        for name, first in zip(("cql-prior_mine", "cql"), both, strict=True):
            for size in SIZES:
                solved = first is not None and size >= first
                env = f"overcooked-{game}"
                paths.append(write_prior_run(tree, env, f"{name}_n{size}", np.full((5, 5), solved), transitions=size))
    return read_prior_runs(paths)


@pytest.mark.parametrize(
    ("tomato", "salad", "outcome"),
    [
        ((10, 1000), (10, 10_000), "holds"),  # 10 of 100^0.1 * 1000^0.9 = 794, and of 7943
        ((10, 1000), None, "not decided"),  # fewer in one of two
        ((100, 100), (10, 10_000), "does not hold"),  # as much in one of two
        ((None, 1000), (10, 1000), "does not hold"),
        ((1000, 10), None, "does not hold"),
        ((10, 10), (10, 1000), "not decided"),  # the smallest size is enough for both
        ((100, None), (100, None), "holds"),  # without the prior nothing is learnt at any size
    ],
)
def test_fewer(tomato, salad, outcome, tmp_path):
    needed = {"tomato": tomato} | ({"salad": salad} if salad else {})
    assert judge(FEWER, "mine", offline(tmp_path, **needed), RULE).verdict == outcome


def claims_file(tmp_path, claims):
    content = {
        "rule": RULE,
        "claims": [{"claim": "l", "source": "s", "kind": "greater", "arm": "loro_x_tau2_n10", "against": "online"}],
    }
    content["priors"] = {"llms": ["mine"], "controls": ["scripted-50"], "claims": claims}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run_verdict(tmp_path, claims, runs, monkeypatch):
    arguments = ["--claims", claims_file(tmp_path, claims), "--runs", *runs]
    arguments += ["--output", tmp_path / "claims.md", "--figure", tmp_path / "verdict.pdf"]
    monkeypatch.setattr(sys, "argv", ["verdict", *map(str, arguments)])
    run_command_line(verdict.main)


def test_the_section_and_the_table_of_verdicts(tmp_path, monkeypatch):
    curves = np.ones((5, 1, 30))
    first = [write_run(tmp_path, "paper", "cartpole", name, curves) for name in ("loro_x_tau2_n10", "online")]
    for llm, mean in (("mine", 0.8), ("scripted-50", 0.9)):
        runs_of(tmp_path, [mean, mean, None], [0.5, 0.5, None], llm=llm)
    offline(tmp_path, tomato=(10, 1000))
    runs = [*first, *sorted(tmp_path.glob("results/runs/prior/*/*.csv"))]
    run_verdict(tmp_path, [GREATER | {"known": {"mine": [TOMATO]}}, FEWER], runs, monkeypatch)
    text = (tmp_path / "claims.md").read_text()
    assert text.count("\n## The second paper") == 1
    section = text.split("## The second paper")[1]
    title = "Overcooked (tomato salad)"
    assert "| c | mine | +0.30 [" in section and "] (2) | **holds** | higher:" in section
    assert f"| {title} | scripted-50 | +0.40 " in section and "| control |" in section
    assert section.count("(known)") == 1 and "not computed yet" in section
    assert "| c | mine | at most 0.01 [0.01, 0.01] in Overcooked (tomato salad) | **not decided** |" in section
    table = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert table.claim.tolist() == ["l", "c (mine)", "c (mine)"]
    assert table.verdict.tolist()[1:] == ["holds", "not decided"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "better"}, "lacks ['a known kind']"),
        ({"kind": "fewer"}, "lacks ['factor', 'level']"),
        ({"environments": ["moon"]}, "names ['moon']"),
        ({"kind": None}, "lacks"),
    ],
)
def test_bad_claims_are_one_sentence(change, sentence, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_verdict(tmp_path, [GREATER | change], [tmp_path / "none.csv"], monkeypatch)
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err


def test_a_run_given_twice_is_refused(tmp_path):
    path = write_prior_run(tmp_path, TOMATO, "dqn", success(0.5))
    with pytest.raises(UsageError, match="the same run twice"):
        read_prior_runs([path, path])


def test_the_shipped_claims_can_be_judged():
    content = verdict.read_claims(Path("config/claims.yaml"))["priors"]
    grid = yaml.safe_load(Path("config/prior.yaml").read_text())
    assert set(content["llms"]) <= {name for name, prior in grid["priors"].items() if "model" in prior}
    assert set(content["controls"]) <= {name for name, prior in grid["priors"].items() if "share" in prior}
    for claim in content["claims"]:
        assert set(claim["environments"]) <= set(grid["environments"])
