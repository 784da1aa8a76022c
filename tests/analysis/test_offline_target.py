"""The target network while pretraining: comparisons by hand, and what the rule says of runs that stand in."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_runs import write_run

from analysis import offline_target
from analysis.scales import SCALES
from envs.errors import run_command_line

ARM, RANDOM = "loro_qwen-7b_tau2_n10", "pretrain-random_tau2_n10"
CLAIM = {"claim": "it is better", "source": "s", "kind": "greater", "arm": ARM, "against": "online"}
RULE = {"fewest_seeds": 5, "margin": 0.05}


def written(folder, env, arm, mean, interval=None, value=None, protocol="paper", seeds=5, episodes=None):
    """Write a run of ten iterations that earns `mean` in each, give or take the seed's own tenths; return its path."""
    returns = mean + np.arange(seeds)[:, None, None] / 10 + np.zeros((seeds, 1, 10))
    path = write_run(folder, protocol, env, arm, returns)
    table = pd.read_csv(path)
    # No update is made in the first iteration after a warm-up of two: the buffer does not hold a batch yet.
    values = np.select([table.iteration < 3, table.iteration == 3], [np.nan, value or np.nan], -1)
    table.assign(loss=table.index, q_mean=values).to_csv(path, index=False)
    arguments = {} if interval is None else {"offline_target_update_interval": interval}
    told = {"arguments": arguments}
    if episodes:
        told = {"arguments": {**arguments, "env": env, "dataset": "somewhere/random"}, "dataset_sha256": episodes}
    path.with_suffix(".json").write_text(json.dumps(told))
    return path


def run(tmp_path, monkeypatch, runs, seldom, claims=(CLAIM,), environments=("cartpole",)):
    content = {"rule": RULE, "environments": list(environments), "claims": list(claims)}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(content))
    output = tmp_path / "t" / "offline_target.csv"
    arguments = ["--claims", tmp_path / "claims.yaml", "--runs", *runs, "--seldom", *seldom, "--output", output]
    arguments += ["--figure", tmp_path / "f" / "offline_target.pdf"]
    monkeypatch.setattr(sys, "argv", ["offline_target", *map(str, arguments)])
    run_command_line(offline_target.main)
    return pd.read_csv(output).set_index("comparison"), output.with_suffix(".md").read_text()


def claimed(page):
    (line,) = [line for line in page.splitlines() if line.startswith("| it is better |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_differences_and_verdicts_are_those_of_the_runs(tmp_path, monkeypatch):
    """Ten iterations: sums differ by ten times the returns, of all five seeds alike."""
    runs = [written(tmp_path, "cartpole", "online", 100), written(tmp_path, "cartpole", ARM, 50, value=23)]
    seldom = [written(tmp_path / "s", "cartpole", ARM, 130, interval=1000, value=4)]
    table, page = run(tmp_path, monkeypatch, runs, seldom)
    assert table.difference.to_dict() == {
        "every 1,000 minus every 200": 800,
        "every 200 minus online RL": -500,
        "every 1,000 minus online RL": 300,
    }
    assert table.at_equal_steps["every 1,000 minus online RL"] == 30 and (table.p_value < 0.001).all()
    assert (
        "| CartPole | LORO (qwen-7b, τ=2, N=10) | 502 | 1,302 | 1,002 | 800 [" in page
        and "| 23.0 → 4.00 | 5, 5, 5 |" in page
    )
    assert (tmp_path / "f" / "offline_target.png").exists()
    often, rarely, before, after, why = claimed(page)
    assert often.startswith("−") and rarely.startswith("+")
    assert (before, after, why) == ("does not hold", "**holds**", "higher: CartPole")


def test_an_environment_that_was_not_trained_again_is_open_and_sac_stays_as_it_is(tmp_path, monkeypatch):
    """LORO is ahead in FrozenLake only with the protocol's interval, which must not count beside the other's."""
    runs = [written(tmp_path, env, "online", -300) for env in ("cartpole", "frozen-lake", "pendulum")]
    runs += [written(tmp_path, env, ARM, -100) for env in ("cartpole", "frozen-lake", "pendulum")]
    seldom = [written(tmp_path / "s", "cartpole", ARM, -50, interval=1000)]
    table, page = run(tmp_path, monkeypatch, runs, seldom, environments=("cartpole", "frozen-lake", "pendulum"))
    assert set(table.env) == {"cartpole"}
    *_, why = claimed(page)
    assert why == "higher: CartPole, Pendulum; open: FrozenLake"


def test_an_average_is_over_the_environments_of_its_arm(tmp_path, monkeypatch):
    runs = [written(tmp_path, env, "online", 0) for env in ("cartpole", "frozen-lake")]
    runs += [written(tmp_path, env, ARM, 0) for env in ("cartpole", "frozen-lake")]
    runs += [written(tmp_path, "cartpole", RANDOM, 1)]
    seldom = [written(tmp_path / "s", env, ARM, 2, interval=1000) for env in ("cartpole", "frozen-lake")]
    seldom += [written(tmp_path / "s", "cartpole", RANDOM, 4, interval=1000)]
    _, page = run(tmp_path, monkeypatch, runs, seldom)
    means = page.partition("## On average")[2]
    assert page.endswith("\n- FrozenLake: pretrained on random episodes (τ=2, N=10).\n")
    both = np.mean([2 / SCALES[env].width for env in ("cartpole", "frozen-lake")])
    assert f"| LORO (qwen-7b, τ=2, N=10) | {both:+.3f} [" in means and "| 2 |" in means
    assert (
        f"| pretrained on random episodes (τ=2, N=10) | {3 / SCALES['cartpole'].width:+.3f} [" in means
        and "| 1 |" in means
    )


def test_claims_about_other_settings_are_named_and_not_judged(tmp_path, monkeypatch):
    runs = [written(tmp_path, "cartpole", "online", 100), written(tmp_path, "cartpole", ARM, 50)]
    other = {**CLAIM, "claim": "twenty do it", "arm": "loro_qwen-7b_tau3_n10"}
    seldom = [written(tmp_path / "s", "cartpole", ARM, 130, interval=1000)]
    _, page = run(tmp_path, monkeypatch, runs, seldom, claims=(CLAIM, other))
    assert "Not computed, because of arms with other settings: *twenty do it*." in page and "| twenty" not in page


@pytest.mark.parametrize(
    ("often", "seldom", "sentence"),
    [
        (
            {"interval": 1000},
            {"interval": 1000},
            "of the protocol paper with --offline-target-update-interval 200",
        ),
        ({}, {}, "of the protocol paper with --offline-target-update-interval 1000"),
        ({"protocol": "released"}, {"interval": 1000}, "is not of the protocol paper"),
        ({"arm": RANDOM}, {"interval": 1000}, f"the same arm with the protocol's interval: {ARM} in cartpole"),
    ],
)
def test_runs_that_are_not_what_is_compared_are_refused(tmp_path, monkeypatch, capsys, often, seldom, sentence):
    often = {"arm": ARM, **often}
    runs = [written(tmp_path, "cartpole", "online", 100), written(tmp_path, "cartpole", mean=50, **often)]
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, runs, [written(tmp_path / "s", "cartpole", ARM, 130, **seldom)])
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err
    assert not (tmp_path / "t").exists() and not (tmp_path / "f").exists()


def test_an_arm_on_other_episodes_than_its_namesake_is_refused(tmp_path, monkeypatch, capsys):
    runs = [written(tmp_path, "cartpole", "online", 100), written(tmp_path, "cartpole", RANDOM, 50, episodes="one")]
    seldom = [written(tmp_path / "s", "cartpole", RANDOM, 130, interval=1000, episodes="two")]
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, monkeypatch, runs, seldom)
    assert stopped.value.code == 1 and "learnt from different episodes, both named 'random'" in capsys.readouterr().err
    assert not (tmp_path / "t").exists() and not (tmp_path / "f").exists()
    seldom = [written(tmp_path / "s", "cartpole", RANDOM, 130, interval=1000, episodes="one")]
    run(tmp_path, monkeypatch, runs, seldom)
