"""Figures and tables on LLM priors: numbers known beforehand, and what does not belong is refused."""

import csv
import re
import sys

import numpy as np
import pytest
from prior_tree import rising, write_prior_run

from analysis import prior_figures, promote
from analysis.prior_figures import needed_size, ratio, ratio_text, saving, solved_after
from analysis.prior_runs import read_prior_run
from envs.errors import Failure, UsageError, run_command_line

TOMATO, LAKE = "overcooked-tomato", "frozen-lake-text"
SIZES = (25, 100, 400, 1600)


def draw(kind, tree, monkeypatch, *more):
    runs = [str(path) for path in sorted((tree / "results/runs/prior").glob("*/*.csv"))]
    arguments = [
        "--kind",
        kind,
        "--runs",
        *runs,
        "--output",
        tree / f"{kind}.pdf",
        "--table",
        tree / f"{kind}.csv",
        *more,
    ]
    monkeypatch.setattr(sys, "argv", ["prior_figures", *map(str, arguments)])
    run_command_line(prior_figures.main)
    assert (tree / f"{kind}.pdf").read_bytes().startswith(b"%PDF")
    assert (tree / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    with (tree / f"{kind}.csv").open() as file:
        return list(csv.DictReader(file)), (tree / f"{kind}.md").read_text()


@pytest.fixture
def tree(tmp_path):
    for env in (TOMATO, LAKE):
        write_prior_run(tmp_path, env, "dqn", rising(3, 20, 10))
        write_prior_run(tmp_path, env, "dqn-prior_smollm2-135m", rising(3, 20, 4))
        write_prior_run(tmp_path, env, "random-policy", [[0, 1, 0, 0]])
        write_prior_run(tmp_path, env, "llm-policy_smollm2-135m", [[0, 1, 1, 0]])
    write_prior_run(tmp_path, TOMATO, "dqn-prior_smollm2-135m_k2", rising(3, 20, 6), k=2)
    write_prior_run(tmp_path, TOMATO, "dqn-prior_smollm2-135m_kall", rising(3, 20, 2), k="all")
    write_prior_run(tmp_path, TOMATO, "dqn-prior_smollm2-135m_alpha0.01", rising(3, 20, 8), temperature=0.01)
    write_prior_run(tmp_path, TOMATO, "ppo", rising(3, 20, 12))
    write_prior_run(tmp_path, TOMATO, "ppo-prior_smollm2-135m", rising(3, 20, 10))
    write_prior_run(tmp_path, TOMATO, "ppo-prior_smollm2-135m_alpha1", rising(3, 20, 1), alpha=1.0)
    for n, (plain, prior) in zip(SIZES, ((0, 0), (0, 1), (0.5, 1), (1, 1)), strict=True):
        write_prior_run(tmp_path, TOMATO, f"cql_n{n}", np.full((3, 5), plain), transitions=n)
        write_prior_run(tmp_path, TOMATO, f"cql-prior_smollm2-135m_n{n}", np.full((3, 5), prior), transitions=n)
    return tmp_path


def test_the_online_table_holds_known_numbers(tree, monkeypatch):
    rows, text = draw("online", tree, monkeypatch, "--missing", f"{LAKE}/dqn-prior_other")
    row = next(row for row in rows if row["env"] == TOMATO and row["arm"] == "dqn-prior")
    assert float(row["success"]) == pytest.approx(np.mean([16, 15, 14]) / 20)
    assert float(row["difference"]) == pytest.approx(6 / 20) and float(row["improvement"]) == 1
    assert float(row["last_success"]) == 1 and float(row["last_training"]) == 0.5
    assert (
        float(row["solved_after"]) == (5 + 5) * 5 and row["solved"] == "3"
    )  # 5 in a row, in the median from the 5th on
    assert {row["arm"] for row in rows} == {"dqn", "dqn-prior", "llm-policy", "random-policy"}
    assert len(rows) == 8, "runs with another k or alpha, of PPO and of CQL are not shown"
    policy = next(row for row in rows if row["arm"] == "llm-policy")
    assert float(policy["last_success"]) == 0.5 and policy["episodes"] == "4"
    assert "smollm2-135m alone" in text and f"Not computed yet: {LAKE}/dqn-prior_other." in text


def test_sizes_are_compared_at_equal_success(tree, monkeypatch):
    rows, text = draw("offline", tree, monkeypatch)
    found = {float(row["level"]): row for row in rows if row["level"]}
    # plain: 0.5 at 400, 1 at 1600; with the prior 0 at 25, 1 at 100: between sizes by the logarithm
    half, most = 25 * 4**0.5, 25 * 4**0.9
    assert float(found[0.5]["needed"]) == pytest.approx(half) and float(found[0.5]["needed_plain"]) == pytest.approx(
        400
    )
    assert float(found[0.5]["ratio"]) == pytest.approx(half / 400)
    assert float(found[0.9]["ratio"]) == pytest.approx(most / (400 * 4**0.8))
    assert float(found[0.5]["low"]) == float(found[0.5]["high"]) == pytest.approx(half / 400), "all seeds are alike"
    assert "over 90% fewer samples" in text and re.search(r"\| 0.1[23] \[0.1[23], 0.1[23]\] \|", text)
    assert {row["env"] for row in rows} == {TOMATO}


def test_the_other_kinds_show_their_runs(tree, monkeypatch):
    rows, _ = draw("ppo", tree, monkeypatch)
    assert [row["arm"] for row in rows] == ["ppo", "ppo-prior", "llm-policy", "random-policy"]
    rows, text = draw("ablations", tree, monkeypatch)
    assert {(row["arm"], row["k"], row["alpha"]) for row in rows if row["env"] == TOMATO} == {
        ("dqn", "", ""),
        ("dqn-prior", "", ""),
        ("dqn-prior", "2", ""),
        ("dqn-prior", "all", ""),
        ("dqn-prior", "", "0.01"),
        ("ppo", "", ""),
        ("ppo-prior", "", ""),
        ("ppo-prior", "", "1"),
    }
    assert "k = all" in text and "alpha = 0.01" in text


def test_the_size_that_a_level_needs():
    sizes = np.array([10, 100, 1000])
    assert needed_size(sizes, np.array([0.0, 0.4, 0.8]), 0.6) == pytest.approx(100 * 10**0.5)
    assert needed_size(sizes, np.array([0.7, 0.0, 0.8]), 0.6) == 10
    assert needed_size(sizes, np.array([0.2, 0.9, 0.1]), 0.9) == pytest.approx(100)
    assert needed_size(sizes, np.array([0.0, 0.4, 0.5]), 0.6) == np.inf
    assert ratio(np.inf, 5) == np.inf and ratio(5, np.inf) == 0 and np.isnan(ratio(np.inf, np.inf))


def test_the_ratio_s_interval_covers_what_is_true():
    generator, covered = np.random.default_rng(1), 0
    sizes = np.array([10.0, 100.0, 1000.0, 10000.0])
    for _ in range(20):

        def seeds(shift, n=12):
            middle = np.log10(300) + shift + generator.normal(0, 0.2, size=(n, 1))
            return np.clip((np.log10(sizes) - middle) / 4 + 0.5, 0, 1)  # 0.5 at the middle, straight around it

        *_, low, high = saving(sizes, seeds(-1.0), seeds(0.0), 0.5)
        covered += low <= 0.1 <= high
    assert covered >= 16, "of 20 at 95% nominal coverage"


def test_bounds_are_said_where_a_size_is_not_known():
    row = {"smallest": 10, "largest": 1000, "low": np.nan, "high": np.nan}

    def text(a, b):
        return ratio_text({**row, "needed": a, "needed_plain": b, "ratio": ratio(a, b)})

    assert text(10, 500) == "at most 0.02"
    assert text(10, 10) == "not known: the smallest is enough for both"
    assert text(np.inf, np.inf) == "neither gets there"
    assert text(100, np.inf) == "below 0.10: plain CQL does not get there"
    assert text(np.inf, 100) == "∞"


def test_a_game_that_is_never_learnt_is_said_to_be(tmp_path, monkeypatch):
    run = read_prior_run(write_prior_run(tmp_path, TOMATO, "dqn", np.zeros((2, 8))))
    assert solved_after(run) == []
    _, text = draw("online", tmp_path, monkeypatch)
    assert "| never |" in text


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("dqn", ("dqn", None, None, None, None)),
        ("dqn-prior_qwen-coder-0.5b_k10", ("dqn-prior", "qwen-coder-0.5b", None, "10", None)),
        ("dqn-prior_scripted-50_kall", ("dqn-prior", "scripted-50", None, "all", None)),
        ("ppo-prior_smollm2-135m_alpha0.01", ("ppo-prior", "smollm2-135m", 0.01, None, None)),
        ("cql-prior_nemo_n500", ("cql-prior", "nemo", None, None, 500)),
        ("cql_n25", ("cql", None, None, None, 25)),
        ("llm-policy_smollm2-135m", ("llm-policy", "smollm2-135m", None, None, None)),
    ],
)
def test_names_are_read(name, parsed, tmp_path):
    run = read_prior_run(write_prior_run(tmp_path, TOMATO, name, np.zeros((1, 3))))
    assert (run.arm, run.prior, run.alpha, run.k, run.size) == parsed


@pytest.mark.parametrize("name", ["dqn-prior", "loro_qwen-7b_tau10", "dqn_smollm2-135m", "cql-prior_n25"])
def test_other_names_are_refused(name, tmp_path):
    path = write_prior_run(tmp_path, TOMATO, name, np.zeros((1, 3)))
    with pytest.raises(UsageError, match="is not named like a run with priors"):
        read_prior_run(path)


def test_damage_is_noticed(tmp_path):
    path = write_prior_run(tmp_path, TOMATO, "dqn", np.zeros((2, 3)))
    content = path.read_text()
    for damaged, sentence in (
        (content[: content.rindex("\n1,")] + "\n", "every seed must have every iteration"),
        (content.replace("eval_success", "success"), "does not have the columns"),
        (content.replace(",9,,,0.0,0.0", ",9,,,0.0,", 1), "eval_success is not a finite number"),
    ):
        path.write_text(damaged)
        with pytest.raises(Failure, match=sentence):
            read_prior_run(path)


def test_nothing_to_draw_is_said(tmp_path, monkeypatch, capsys):
    write_prior_run(tmp_path, TOMATO, "random-policy", np.zeros((1, 3)))
    with pytest.raises(SystemExit) as stopped:
        draw("offline", tmp_path, monkeypatch)
    assert stopped.value.code == 2 and "There is no run of cql" in capsys.readouterr().err


def test_sound_runs_and_priors_may_be_shipped(tree, monkeypatch):
    (tree / "results/priors" / TOMATO).mkdir(parents=True)
    (tree / "results/priors" / TOMATO / "smollm2-135m.jsonl").write_text("{}\n")
    monkeypatch.setattr(sys, "argv", ["promote", f"--tree={tree}", f"--to={tree / 'shipped'}"])
    promote.main()
    shipped = {path.relative_to(tree / "shipped").as_posix() for path in (tree / "shipped").rglob("*.csv")}
    assert shipped == {path.relative_to(tree).as_posix() for path in (tree / "results").rglob("*.csv")}
    assert (tree / "shipped/results/priors" / TOMATO / "smollm2-135m.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("dqn-prior_a_k2", {"k": 3}, "was made with k 3"),
        ("dqn-prior_a_alpha0.5", {}, "was made with temperature 0.1"),
        ("ppo-prior_a_alpha0.5", {}, "was made with alpha 0.1"),
        ("dqn-prior_a", {"prior": "b.jsonl"}, "was made with prior b"),
        ("cql_n25", {"transitions": 50}, "was made with transitions 50"),
        ("dqn", {"env": LAKE}, f"was made in {LAKE}"),
        ("dqn", {"eval_env": LAKE}, f"was made in {LAKE}"),
        ("dqn", {"iterations": 9}, "has iterations 3, and was made with 9"),
        ("dqn", {"seeds": 5}, "has seeds 2, and was made with 5"),
    ],
)
def test_a_run_that_is_not_what_its_name_says_is_not_shipped(name, arguments, sentence, tmp_path):
    path = write_prior_run(tmp_path, TOMATO, name, np.zeros((2, 3)), **arguments)
    with pytest.raises(Failure, match=sentence):
        promote.check(path)
