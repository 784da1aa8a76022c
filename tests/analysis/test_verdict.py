"""The paper's claims: each kind of verdict from runs that decide it, by the rule as it is written."""

import sys
from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from synthetic_runs import write_run

import envs
from analysis import judging, verdict
from analysis.runs import read_runs
from analysis.scales import BOUNDS, Scale
from analysis.statistics import difference_p_value
from envs.errors import run_command_line

SCALE = Scale(0, 100, "made up")
CONTENT = {
    "rule": {"fewest_seeds": 5, "margin": 0.05},
    "optima": dict.fromkeys(envs.PAPER, 100),
    "notes": {},
    "environments": list(envs.PAPER),
}
ARM, OTHER, MIX = "loro_qwen-7b_tau2_n10", "online", "mix_qwen-7b_tau2"


@pytest.fixture(autouse=True)
def one_scale(monkeypatch):
    for env in envs.PAPER:
        monkeypatch.setitem(judging.SCALES, env, SCALE)


def returns(mean, seeds=5, spread=1.0, iterations=30):
    """Curves [seeds, 1, iterations] whose seeds' means are `mean` on average, and differ."""
    return mean + spread * np.linspace(-1, 1, seeds)[:, None, None] * np.ones((1, 1, iterations))


def runs_of(tmp_path, ours, theirs, protocol="paper", other=OTHER, seeds=5):
    paths = []
    for env, (a, b) in zip(envs.PAPER, zip(ours, theirs, strict=True), strict=True):
        for name, mean in ((ARM, a), (other, b)):
            if mean is not None:
                paths.append(write_run(tmp_path, protocol, env, name, returns(mean, seeds)))
    return read_runs(paths)


def judge(runs, **claim):
    claim = {"claim": "c", "source": "s", "arm": ARM, "environments": list(envs.PAPER), **claim}
    return judging.judge(claim, runs, CONTENT)


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
    ("ours", "outcome"),
    [
        ([51, 51, 51, 70, 70, 45.5], "holds"),  # better is no worse; the last one's interval reaches below the margin
        ([51, 51, 51, 45.5, 45.5, 45.5], "not decided"),
        ([51, 51, 51, 51, 51, 40], "not decided"),  # worse in one
        ([70, 70, 40, 40, 40, 40], "does not hold"),
        ([51, 51, 51, None, None, None], "not decided"),
    ],
)
def test_no_worse(tmp_path, ours, outcome):
    assert judge(runs_of(tmp_path, ours, [50] * 6), kind="no worse", against=OTHER).verdict == outcome


def test_what_a_reader_must_know_stands_below_a_claim_s_source_and_decides_nothing(tmp_path):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    plain, told = judge(runs, kind="greater", against=OTHER), judge(runs, kind="greater", against=OTHER, note="Look.")
    lines = [verdict.environment_lines(judged) for judged in (plain, told)]
    assert [part[2] for part in lines] == ["Source: s.", "Source: s. Look."] and lines[0][3:] == lines[1][3:]
    assert plain.verdict == told.verdict == "holds"


@pytest.mark.parametrize(("others", "state"), [(50, "open"), (60, "higher")])
def test_greater_is_corrected_for_the_number_of_environments(tmp_path, others, state):
    runs = runs_of(tmp_path, [others] * 6, [50] * 6)
    for name, mean in ((ARM, 56), (OTHER, 50)):  # in one environment the difference is close
        runs |= read_runs([write_run(tmp_path, "paper", "pendulum", name, returns(mean, spread=4))])
    judged = judge(runs, kind="greater", against=OTHER)
    alone = difference_p_value(*judged.pairs["paper"]["pendulum"].rewards(judging.SUM))
    assert 0.05 / 6 < alone < 0.05
    # where nothing else is shown it is one of six; where all others are, it is the last one tested
    assert judged.states["pendulum"] == state
    assert judged.p_values["pendulum"] == pytest.approx(6 * alone if others == 50 else alone)


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "words"),
    [
        ([-10] * 6, [-20, -20, -20, -20, -20, -45], "holds", "4.50 ["),
        ([-10] * 6, [-20] * 6, "does not hold", "2.00 ["),
        ([80] * 6, [18, 40, 40, 40, 40, 40], "holds", "4.4"),
        (
            [80] * 6,
            [20, 40, 40, 40, 40, 40],
            "not decided",
            "4.0",
        ),  # the interval holds 4: a noisy run confirms nothing
        ([-10, -10, None, None, None, None], [-20] * 6, "not decided", "2.00 ["),
        ([10, -10, -10, -10, -10, -10], [-20] * 6, "not decided", "2.00 ["),  # a gain against a cost has no ratio
    ],
)
def test_factor(tmp_path, ours, theirs, outcome, words):
    judged = judge(runs_of(tmp_path, ours, theirs), kind="factor", factor=4, against=OTHER)
    assert judged.verdict == outcome and f"at most {words}" in judged.evidence
    if None not in ours:
        assert words in verdict.summary(judged, "paper") and " times in " in verdict.summary(judged, "paper")


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


def test_optimal_leaves_out_where_no_optimum_is_known(tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENT, "optima", {env: 100 for env in envs.PAPER if env != "represented-pong"})
    judged = judge(runs_of(tmp_path, [99, 99, 99, 20, 20, 20], [50] * 6), kind="optimal")
    assert judged.verdict == "holds" and "no optimum known: Pong" in judged.evidence
    told = [verdict.summary(judged, protocol) for protocol in ("paper", "published")]
    assert told[0].startswith("0.67 [") and told[0].endswith("of the way (5); reached in 3") and told[1] == ""


@pytest.mark.parametrize(("other", "state", "outcome"), [(99, "reached", "holds"), (95, "open", "not decided")])
def test_what_other_seeds_do_not_confirm_is_open(tmp_path, other, state, outcome):
    runs = runs_of(tmp_path, [99, 99, 99, 99, 20, 20], [50] * 6)
    again = read_runs([write_run(tmp_path / "again", "paper", "frozen-lake", ARM, returns(other, seeds=7))])
    claim = {"claim": "c", "arm": ARM, "kind": "optimal", "environments": list(envs.PAPER)}
    judged = judging.judge(claim, runs, CONTENT, again)
    assert judged.states["frozen-lake"] == state and judged.verdict == outcome
    assert f"with 7 other seeds: {other / 100:.2f} [" in judged.remarks[0]
    assert ("reached by the first seeds alone" in judged.remarks[0]) == (state == "open")


def test_fewer_seeds_than_the_rule_asks_for_overturn_no_optimum(tmp_path):
    runs = runs_of(tmp_path, [99] * 6, [50] * 6)
    again = read_runs([write_run(tmp_path / "again", "paper", "frozen-lake", ARM, returns(20, seeds=4))])
    claim = {"claim": "c", "arm": ARM, "kind": "optimal", "environments": list(envs.PAPER)}
    judged = judging.judge(claim, runs, CONTENT, again)
    assert set(judged.states.values()) == {"reached"} and not judged.remarks


@pytest.mark.parametrize(("other", "state"), [(60, "higher"), (50, "open"), (40, "open")])
def test_a_difference_that_other_seeds_do_not_show_is_open(tmp_path, other, state):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    names = ((ARM, other), (OTHER, 50))
    again = read_runs([write_run(tmp_path / "again", "paper", "cartpole", arm, returns(mean)) for arm, mean in names])
    claim = {"claim": "c", "arm": ARM, "kind": "greater", "against": OTHER, "environments": list(envs.PAPER)}
    judged = judging.judge(claim, runs, CONTENT, again)
    assert judged.states == {env: state if env == "cartpole" else "higher" for env in envs.PAPER}
    assert judging.judge(claim, runs, CONTENT).states["cartpole"] == "higher"
    # where the first seeds show nothing, others decide nothing either
    level = runs_of(tmp_path / "level", [50] * 6, [50] * 6)
    assert judging.judge(claim, level, CONTENT, again).states["cartpole"] == "open"


@pytest.fixture
def costs(monkeypatch):
    """Returns are costs: -200 by chance, -100 an expert's, -80 the best there is. Return the rule's content."""
    for env in envs.PAPER:
        monkeypatch.setitem(judging.SCALES, env, Scale(-200, -100, "made up"))
    return {**CONTENT, "optima": dict.fromkeys(envs.PAPER, -80)}


def noisy(mean, seeds, generator, iterations=30):
    """Curves [seeds, 1, iterations] around a mean, with noise of every evaluation's own."""
    return mean + generator.normal(0, 1.0, (seeds, 1, iterations)) + generator.normal(0, 0.5, (seeds, 1, 1))


@pytest.mark.parametrize(("level", "state"), [(-82, "reached"), (-90, "short"), (-86, "open")])
def test_where_an_arm_ends_is_told_by_its_last_twenty_evaluations(tmp_path, costs, level, state):
    generator = np.random.default_rng(1)
    curves = noisy(level, 7, generator)
    if state == "open":
        curves += 4 * np.linspace(-1, 1, 7)[:, None, None]
    curves[..., :10] = -200  # learnt in between
    curves[:, 0, -1] += 10 * np.linspace(-1, 1, 7)  # one evaluation decides nothing
    runs = read_runs([write_run(tmp_path, "paper", "cartpole", ARM, curves)])
    claim = {"claim": "c", "arm": ARM, "kind": "optimal", "environments": ["cartpole"]}
    judged = judging.judge(claim, runs, costs)
    plain = [(np.mean(curve[0, 10:]) + 200) / (-80 + 200) for curve in curves]
    assert judged.ends["paper"]["cartpole"] == pytest.approx(plain)
    assert judged.states["cartpole"] == state


@pytest.mark.parametrize(("level", "state"), [(-150, "alike"), (-199, "open")])
def test_two_arms_are_alike_where_one_has_learnt_something(tmp_path, costs, level, state):
    generator = np.random.default_rng(2)
    paths = [write_run(tmp_path, "paper", "cartpole", arm, noisy(level, 6, generator)) for arm in (ARM, OTHER)]
    claim = {"claim": "c", "arm": ARM, "kind": "alike", "against": OTHER, "environments": ["cartpole"]}
    assert judging.judge(claim, read_runs(paths), costs).states["cartpole"] == state


@pytest.mark.parametrize(("advantage", "state"), [(6, "higher"), (-6, "lower"), (0, "open")])
@pytest.mark.parametrize("tried_again", [False, True])
def test_an_arm_against_the_llm_itself(tmp_path, costs, advantage, state, tried_again):
    """The LLM plays 40 episodes under no protocol: each earns its return in every iteration, each counts by itself."""
    generator = np.random.default_rng(3)
    policy = -150 + generator.normal(0, 3, 40)
    ours, others = (noisy(-150 + advantage, seeds, generator) for seeds in (5, 6))
    paths = [write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", policy.reshape(1, 1, 40))]
    paths.append(write_run(tmp_path, "paper", "cartpole", ARM, ours))
    paths.append(write_run(tmp_path, "released", "cartpole", ARM, ours))
    claim = {"claim": "c", "arm": ARM, "kind": "greater", "against": "llm-policy_qwen-7b", "environments": ["cartpole"]}
    again = read_runs([write_run(tmp_path / "again", "paper", "cartpole", ARM, others)]) if tried_again else {}
    judged = judging.judge(claim, read_runs(paths), costs, again)
    plain = stats.ttest_ind(ours.sum(axis=(1, 2)), policy * 30, equal_var=False).pvalue
    assert judged.p_values["cartpole"] == pytest.approx(plain) and judged.states["cartpole"] == state
    assert any("with 6 other seeds" in remark for remark in judged.remarks) == tried_again
    for protocol in ("paper", "released"):
        pair = judged.pairs[protocol]["cartpole"]
        assert pair.seeds == (5, 40) and pair.scale == 100 * 30
    assert judged.pairs["published"]["cartpole"] is None


@pytest.mark.parametrize(("against", "drawn"), [("pretrain-random_tau10_n3000", True), (OTHER, False)])
def test_other_random_episodes_are_told(tmp_path, costs, against, drawn):
    """Seeds that pretrain on random episodes share them; tried again, all of an arm have ten others."""
    arms = {ARM: 60, against: 50}
    runs = [write_run(tmp_path, "paper", "cartpole", arm, returns(level, 6)) for arm, level in arms.items()]
    again = [write_run(tmp_path / "again", "paper", "cartpole", arm, returns(level, 6)) for arm, level in arms.items()]
    claim = {"claim": "c", "arm": ARM, "kind": "greater", "against": against, "environments": ["cartpole"]}
    remarks = " ".join(judging.judge(claim, read_runs(runs), costs, read_runs(again)).remarks)
    assert ("with 6 other seeds and other random episodes: " if drawn else "with 6 other seeds: ") in remarks


def test_every_side_needs_its_seeds(tmp_path):
    """An environment with too few on one side is open: in Holm's correction it counts, but with a p-value of 1."""
    paths = []
    for env, (ours, theirs) in {"cartpole": (9, 4), "frozen-lake": (5, 1), "pendulum": (6, 7)}.items():
        paths.append(write_run(tmp_path, "paper", env, ARM, returns(60, ours)))
        paths.append(write_run(tmp_path, "paper", env, OTHER, returns(50, theirs)))
    close = [(ARM, returns(57, spread=4)), (OTHER, returns(50, spread=4))]
    paths += [write_run(tmp_path, "paper", "mountain-car", arm, curves) for arm, curves in close]
    claim = {"claim": "c", "arm": ARM, "kind": "greater", "against": OTHER, "environments": list(envs.PAPER)}
    judged = judging.judge(claim, read_runs(paths), CONTENT)
    alone = stats.ttest_ind(*(curves.sum(axis=(1, 2)) for _, curves in close), equal_var=False).pvalue
    assert judged.p_values["mountain-car"] == pytest.approx(5 * alone)  # the second of six
    assert judged.states == dict.fromkeys(envs.PAPER, "open") | {
        "pendulum": "higher",
        "mountain-car": "higher" if 5 * alone < 0.05 else "open",
    }


@pytest.mark.parametrize(("other", "seeds", "state"), [(51, 6, "alike"), (57, 6, "open"), (57, 4, "alike")])
def test_likeness_that_other_seeds_do_not_show_is_open(tmp_path, other, seeds, state):
    runs = runs_of(tmp_path, [51] * 6, [50] * 6)
    names = ((ARM, other), (OTHER, 50))
    paths = [write_run(tmp_path / "again", "paper", "cartpole", arm, returns(mean, seeds)) for arm, mean in names]
    claim = {"claim": "c", "arm": ARM, "kind": "alike", "against": OTHER, "environments": list(envs.PAPER)}
    judged = judging.judge(claim, runs, CONTENT, read_runs(paths))
    assert judged.states == {env: state if env == "cartpole" else "alike" for env in envs.PAPER}


def test_too_few_seeds_decide_nothing(tmp_path):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6, seeds=4)
    assert judge(runs, kind="greater", against=OTHER).verdict == "not decided"


def test_the_pooled_difference_is_the_mean_of_normalised_ones(tmp_path):
    ours, theirs = [60, 70, 80, 60, 70, 80], [50, 50, 50, 60, 60, 60]
    judged = judge(runs_of(tmp_path, ours, theirs), kind="greater", against=OTHER)
    mean, low, high = judging.pooled([pair for pair in judged.pairs["paper"].values() if pair])
    assert mean == pytest.approx(np.mean([(a - b) / 100 for a, b in zip(ours, theirs, strict=True)]))
    assert low < mean < high
    # the seeds' means are mean + (-1, -0.5, 0, 0.5, 1): a standard error of the pooled difference by hand
    error = np.sqrt(2 * np.var([-1, -0.5, 0, 0.5, 1]) / 5 / 6) / 100
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_under_released_a_paper_run_stands_in_only_where_the_protocol_changes_nothing(tmp_path):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6) | runs_of(tmp_path, [40] * 6, [None] * 6, protocol="released", seeds=3)
    chain = write_run(tmp_path, "released", "frozen-lake", ARM, returns(41, seeds=1))  # whose one seed is at 40
    runs |= read_runs([chain, *(write_run(tmp_path, "paper", env, MIX, returns(50)) for env in envs.PAPER)])
    judged = judge(runs, kind="greater", against=OTHER)
    assert [pair.env for pair in judged.counted("released")] == [
        "cartpole",
        "frozen-lake",
        "cliff-walking",
        "mountain-car",
    ]
    assert verdict.summary(judged, "released") == "−0.100 (4; one chain in FrozenLake)"
    assert judged.pairs["paper"]["cartpole"].ours.protocol == "paper"
    assert judge(runs, kind="greater", against=MIX).counted("released") == []


def test_what_is_not_measured_alike_is_left_out(tmp_path):
    runs = runs_of(tmp_path, [60] * 4 + [90, 60], [50] * 6) | runs_of(
        tmp_path, [60] * 4 + [90, 60], [50] * 6, "published"
    )
    left_out = {"pendulum": {"why": "reasons"}, "cartpole": {"why": "caps", "protocols": ["published"]}}
    judged = judge(runs, kind="greater", against=OTHER, left_out=left_out)
    assert "pendulum" not in judged.states and judged.states["cartpole"] == "higher"
    assert judged.verdict == "holds" and judged.evidence.endswith("; left out: Pendulum")
    # nor is it one of those that p-values are corrected for
    others = difference_p_value(*judged.pairs["paper"]["cartpole"].rewards(judging.SUM))
    assert judged.p_values["cartpole"] == pytest.approx(5 * others)
    assert judging.pooled(judged.counted("paper"))[0] == pytest.approx(0.1)
    assert len(judged.counted("paper")) == 5 and len(judged.counted("published")) == 4
    text = "\n".join(verdict.environment_lines(judged))
    assert "left out of the mean and the verdict, for reasons" in text and "left out of the mean, for caps" in text


@pytest.mark.parametrize(
    ("measure", "difference"),
    [
        (judging.SUM, 5 * 2 + 10 * 28),
        (judging.AFTER, 10),
        (judging.END, 10),
        # 30 iterations of 200 steps: the warm-up's two take 10 steps, and a baseline's two of 200
        (judging.STEPS, 5 * 0.05 + 60 * 28 - 50 * 28.05),
    ],
)
def test_the_same_difference_by_other_measures(tmp_path, measure, difference):
    curves = returns(60)
    curves[:, :, :2] -= 5
    ours = write_run(tmp_path, "paper", "cartpole", ARM, curves)
    table = pd.read_csv(ours)
    table["env_steps"] = np.where(table.iteration < 2, 5 * (table.iteration + 1), 10 + 200 * (table.iteration - 1))
    table.to_csv(ours, index=False)
    runs = read_runs([ours, write_run(tmp_path, "paper", "cartpole", OTHER, returns(50))])
    pair = judging.pair_of(runs, "paper", "cartpole", {"arm": ARM, "against": OTHER})
    if measure == judging.STEPS:
        difference += 55 * 0.05 - 5 * 0.05  # two warm-up returns of 55 for 10 steps together
    mean, low, high = pair.difference(measure)
    assert mean == pytest.approx(difference) and low < mean < high


@pytest.mark.parametrize(
    ("other", "first", "told"),
    [
        ("loro_qwen-32b_tau2_n10", 2, True),
        ("loro_qwen-7b_tau4_n10", 4, True),  # the same LLM, more of its episodes
        ("loro_qwen-7b_tau2_n20", 2, False),  # both begin with the same episodes: the sum hides nothing of them
    ],
)
def test_likeness_that_the_warm_up_alone_makes_is_named(tmp_path, other, first, told):
    runs = runs_of(tmp_path, [50] * 6, [50] * 6, other=other)
    ours, theirs = returns(56), returns(50)
    ours[:, :, :first] = 50 + returns(0)[:, :, :first]
    theirs[:, :, :first] += 6 * (30 - first) / first  # as much as the rest gains
    runs |= read_runs([write_run(tmp_path, "paper", "cartpole", ARM, ours)])
    runs |= read_runs([write_run(tmp_path, "paper", "cartpole", other, theirs)])
    judged = judge(runs, kind="alike", against=other)
    assert set(judged.states.values()) == {"alike"}
    assert ("CartPole (by the warm-up alone)" in judged.evidence) == told
    assert "FrozenLake (" not in judged.evidence


def test_a_warm_up_that_alone_makes_the_difference_is_named(tmp_path):
    curves = returns(50)
    curves[:, :, :2] = 90
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    runs |= read_runs([write_run(tmp_path, "paper", env, ARM, curves) for env in ("pendulum", "cartpole")])
    judged = judge(runs, kind="greater", against=OTHER)
    assert judged.states["pendulum"] == "higher"
    assert "Pendulum (by the warm-up alone)" in judged.evidence and "FrozenLake (" not in judged.evidence
    pendulum = next(remark for remark in judged.remarks if remark.startswith("Pendulum"))
    assert (
        "not per evaluation after the warm-up; qwen-7b's episodes were cut off after 50 steps, evaluations after 200."
        in pendulum
    )
    assert not any("cut off" in remark for remark in judged.remarks if remark.startswith("CartPole"))


def test_what_equal_steps_show_after_the_warm_up_is_not_its_doing_alone(tmp_path):
    online = np.where(np.arange(30) < 12, 0, 60) + returns(0)
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    steps = [5, 10, *range(210, 5800, 200)]  # two short episodes of an LLM: the same iteration comes 390 steps sooner
    paths = [write_run(tmp_path, "paper", "cartpole", "online", online)]
    paths.append(write_run(tmp_path, "paper", "cartpole", ARM, np.where(np.arange(30) < 2, 90, online), steps=steps))
    runs |= read_runs(paths)
    judged = judge(runs, kind="greater", against=OTHER)
    assert judged.states["cartpole"] == "higher" and "CartPole (" not in judged.evidence
    assert (
        "CartPole: higher by the sum; not per evaluation after the warm-up, "
        "but per evaluation after the warm-up and at equal environment steps."
    ) in judged.remarks


def test_what_the_sum_leaves_open_and_the_end_shows_is_told(tmp_path):
    curves = returns(50)
    curves[:, :, 10:] += 2
    curves[:, :, 2:10] -= 5
    runs = runs_of(tmp_path, [50] * 6, [50] * 6)
    runs |= read_runs([write_run(tmp_path, "paper", "cartpole", ARM, curves)])
    judged = judge(runs, kind="greater", against=OTHER)
    assert judged.states["cartpole"] == "open"
    assert judged.remarks == (
        "CartPole: open by the sum; higher over the last 20 evaluations (single intervals, not corrected).",
    )


def test_runs_of_other_lengths_are_refused(tmp_path, monkeypatch, capsys):
    paths = [
        write_run(tmp_path, "paper", "cartpole", ARM, returns(60)),
        write_run(tmp_path, "paper", "cartpole", OTHER, returns(50, iterations=20)),
    ]
    arguments = ["--claims", "config/claims.yaml", "--runs", *map(str, paths), "--output", str(tmp_path / "c.md")]
    monkeypatch.setattr(sys, "argv", ["verdict", *arguments, "--figure", str(tmp_path / "v.pdf")])
    with pytest.raises(SystemExit) as stopped:
        run_command_line(verdict.main)
    assert stopped.value.code == 2 and "different length" in capsys.readouterr().err
    assert not (tmp_path / "c.md").exists()


def test_published_points_far_outside_stand_at_the_edge_with_their_number(tmp_path):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6) | runs_of(tmp_path, [900] * 6, [50] * 6, "published", seeds=1)
    figure = verdict.draw([judge(runs, kind="greater", against=OTHER)], margin=0.05)
    axes = figure.axes[0]
    assert axes.get_xlim()[1] < 0.2 and [text.get_text() for text in axes.texts] == ["+8.50"]
    plt.close("all")


@pytest.mark.parametrize(("chains", "told"), [(1, True), (3, False)])
def test_the_legend_tells_of_single_chains_where_one_is_drawn(tmp_path, chains, told):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    runs |= runs_of(tmp_path, [60] * 6, [50] * 6, "released", seeds=chains)
    figure = verdict.draw([judge(runs, kind="greater", against=OTHER)], margin=0.05)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("single chain" in label for label in labels) == told and "released protocol" in labels
    plt.close("all")


def test_every_claim_has_a_row_on_a_scale_of_its_kind(tmp_path):
    runs = runs_of(tmp_path, [80] * 6, [20] * 6)
    kinds = [{"kind": "greater", "against": OTHER}, {"kind": "factor", "factor": 4, "against": OTHER}]
    figure = verdict.draw([judge(runs, **claim) for claim in [*kinds, {"kind": "optimal"}]], margin=0.05)
    assert [len(axes.get_yticks()) for axes in figure.axes] == [1, 1, 1]
    drawn = [
        {float(x) for line in axes.lines if line.get_marker() == "o" for x in line.get_xdata()} for axes in figure.axes
    ]
    # (80 - 20) / 100 by either measure; 80 / 20 times; 80 of the 100 that are the optimum
    assert [sorted({round(x, 9) for x in of_one}) for of_one in drawn] == [[0.6], [4.0], [0.8]]
    plt.close("all")


def test_the_page_and_the_figure(tmp_path, monkeypatch, capsys):
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    runs |= runs_of(tmp_path, [70] * 6, [50] * 6, protocol="published", seeds=1)
    claims = {
        **CONTENT,
        "notes": {"cartpole": "a pole"},
        "claims": [
            {"claim": "it is better", "source": "s", "kind": "greater", "arm": ARM, "against": OTHER},
            {"claim": "it is optimal", "source": "s", "kind": "optimal", "arm": ARM},
            {
                "claim": "size matters not",
                "source": "ours",
                "kind": "alike",
                "arm": "loro_qwen-32b_tau2_n10",
                "against": ARM,
            },
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
    assert "| size matters not |  |  |  |  | **not decided** |" in page and "not computed yet" in page
    assert "\n- CartPole: a pole\n" in page and "higher (p < 0.001)" in page
    assert "2 of the claims are its abstract's or reported by a review, 1 are ours" in " ".join(page.split())
    assert "\nSource: ours.\n" in page
    assert "| CartPole | 0.60 [0.59, 0.61] | short | 5 | 0.69 |  |" in page, "the optimum, environment by environment"
    for name in ("c.md", "v.pdf", "v.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "it is better: holds" in capsys.readouterr().out


def test_likeness_that_says_little_is_told(tmp_path):
    """The margin is 5 an evaluation: a smaller difference that is there, and two arms that have learnt nothing."""
    judged = judge(runs_of(tmp_path, [53, 50, 2, 50, 50, 50], [50] * 2 + [2] + [50] * 3), kind="alike", against=OTHER)
    assert judged.states.pop("cliff-walking") == "open" and set(judged.states.values()) == {"alike"}
    first, second, *_ = judged.remarks
    assert first.startswith("CartPole: higher by its interval, though within the margin of 1")
    assert second == "CliffWalking: open, for neither arm ends above random play by more than the margin."


def test_llms_whose_episodes_were_cut_off_unequally_are_compared_after_the_warm_up_too(tmp_path):
    """In MountainCar the 32B model's episodes have 100 steps: its warm-up is half as long, and all else the same."""
    short = returns(50)
    short[:, :, :2] = 90
    larger = "loro_qwen-32b_tau2_n10"
    paths = [write_run(tmp_path, "paper", "mountain-car", *run) for run in ((ARM, returns(50)), (larger, short))]
    judged = judge(read_runs(paths), kind="alike", against=larger, environments=["mountain-car"])
    assert judged.remarks[-1].startswith("MountainCar: alike by the sum, 0 [")
    assert "qwen-32b's episodes were cut off after 100 steps, evaluations after 200" in judged.remarks[-1]


def test_an_environment_that_the_mean_hangs_on_is_named(tmp_path):
    judged = judge(runs_of(tmp_path, [20] + [52] * 5, [50] * 6), kind="greater", against=OTHER)
    (told,) = judged.remarks
    assert told.startswith("Without CartPole the mean would be +0.020 [") and ", not −0.033 [" in told


def test_a_claim_is_about_the_environments_that_the_claims_name(tmp_path):
    """An environment that is added to the package is none of the paper's, and decides nothing."""
    claims = {**CONTENT, "environments": ["cartpole", "pendulum"]}
    claims["claims"] = [{"claim": "it is better", "source": "s", "kind": "greater", "arm": ARM, "against": OTHER}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    (claim,) = judging.read_claims(tmp_path / "claims.yaml")["claims"]
    runs = runs_of(tmp_path, [60] * 6, [50] * 6)
    assert set(judging.judge(claim, runs, CONTENT, {}).states) == {"cartpole", "pendulum"}


def test_the_same_seeds_confirm_nothing(tmp_path, monkeypatch, capsys):
    paths = [run.path for run in runs_of(tmp_path, [60] * 6, [50] * 6).values()]
    claims = {
        **CONTENT,
        "claims": [{"claim": "it is better", "source": "s", "kind": "greater", "arm": ARM, "against": OTHER}],
    }
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    arguments = ["--claims", tmp_path / "claims.yaml", "--runs", *paths, "--again", *paths]
    arguments += ["--output", tmp_path / "c.md", "--figure", tmp_path / "v.pdf"]
    monkeypatch.setattr(sys, "argv", ["verdict", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        run_command_line(verdict.main)
    assert stopped.value.code == 2 and not (tmp_path / "c.md").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("claims: [", "cannot be read"),
        ("claims: []", "cannot be read"),
        ("kind", "unknown kind"),
        ("against", "nothing to compare with"),
        ("source", "no source"),
        ("environment", "unknown environments or protocols: ['chess']"),
        ("protocol", "unknown environments or protocols: ['mine']"),
    ],
)
def test_bad_claims_are_one_sentence(tmp_path, monkeypatch, capsys, text, sentence):
    content = yaml.safe_load(Path("config/claims.yaml").read_text())
    first = content["claims"][0]
    if text == "kind":
        first["kind"] = "certain"
    elif text in ("against", "source"):
        del first[text]
    elif text == "environment":
        content["notes"]["chess"] = "a game"
    elif text == "protocol":
        first["left_out"] = {"pendulum": {"why": "reasons", "protocols": ["mine"]}}
    text = text if ":" in text else yaml.safe_dump(content)
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
    optima = yaml.safe_load(Path("config/claims.yaml").read_text())["optima"]
    assert optima["frozen-lake"] == pytest.approx(value[0], abs=0.005)


def test_no_optimum_is_beyond_what_can_be_returned():
    optima = yaml.safe_load(Path("config/claims.yaml").read_text())["optima"]
    assert all(optimum <= BOUNDS[env][1] for env, optimum in optima.items())


def test_fresh_warm_starts_are_told_apart_from_what_later_repeats_make_of_them(tmp_path):
    """Two warm-up iterations at 10; then first repeats earn 20 less than online RL, and all five 20 more."""
    later = np.array([30, 80, 80, 80, 80])[None, :, None] * np.ones((3, 1, 28))
    chains = np.concatenate([np.full((3, 5, 2), 10), later], axis=2)
    paths = [
        write_run(tmp_path, "released", "cartpole", ARM, chains),
        write_run(tmp_path, "released", "cartpole", OTHER, returns(50, spread=0)),
    ]
    judged = judge(read_runs(paths), kind="greater", against=OTHER)
    [row] = [line for line in verdict.first_repeat_lines([judged]) if line.startswith("| c |")]
    expected = [(28 * gain + 2 * -40) / 30 / 100 for gain in (20, -20)] + [-20 / 100]
    assert row == "| c | " + " | ".join(f"{x:+.3f} [{x:+.3f}, {x:+.3f}]".replace("-", "−") for x in expected) + " | 1 |"
    assert not verdict.first_repeat_lines([judge(read_runs(paths[1:]), kind="greater", against=OTHER)])


def test_no_plan_reaches_the_flag_of_mountain_car_in_fewer_steps_than_its_bound():
    """Thrust away from the flag, then towards it, then away: every pair of switches, from starts all over the range."""
    fewest = -BOUNDS["mountain-car"][1]
    env = gymnasium.make("MountainCar-v0").unwrapped
    env.reset(seed=0)
    env.state = (-0.4, 0.0)
    ends = [env.step(0 if step < 30 else 2)[2] for step in range(fewest)]
    assert ends == [False] * (fewest - 1) + [True]
    position, first, second = (x.ravel() for x in np.meshgrid(np.linspace(-0.6, -0.4, 41), range(84), range(84)))
    for thrust in (-1, 1):
        place, speed, arrived = position.copy(), np.zeros(len(position)), np.zeros(len(position), dtype=bool)
        for step in range(fewest - 1):
            sign = np.where((step >= first) & (step < first + second), -thrust, thrust)
            speed = np.clip(speed + 0.001 * sign - 0.0025 * np.cos(3 * place), -0.07, 0.07)
            place = np.clip(place + speed, -1.2, 0.6)
            speed = np.where((place <= -1.2) & (speed < 0), 0, speed)
            arrived |= place >= 0.5
        assert not arrived.any()
