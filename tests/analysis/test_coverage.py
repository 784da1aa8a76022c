"""Coverage against hand counts, simulation and published arithmetic; what the program does with whole trees of runs."""

import csv
import json
import math
import sys

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from synthetic_runs import write_run

import envs
from algos import dqn, sac
from analysis import coverage, coverage_figure
from analysis.bins import AS_STATED, GRIDS, Dimension
from analysis.coverage import Frequencies, Visits, measure
from analysis.gains import by_name
from analysis.runs import read_run
from analysis.scatter import SIZES
from envs.datasets import Episode, load_dataset, save_dataset
from envs.errors import run_command_line

LORO, MIX = "loro_qwen-7b_tau2_n1000", "mix_qwen-7b_tau2"
PATH = [(36, 0), *((cell, 1) for cell in range(24, 35)), (35, 2)]
"""CliffWalking's shortest way: up, along the cliff, down; 13 steps."""


# --- Measures --------------------------------------------------------------------------------------------------------


def test_measures_by_hand():
    final = Frequencies.of(np.array([1, 1, 1, 1, 2, 2, 3, 9]))
    data = Frequencies.of(np.array([1, 3, 3, 4, 4, 4, 4, 4, 4, 4]))
    found = measure(final, data)
    assert found.coverage == pytest.approx(5 / 8) and found.coverage_unweighted == pytest.approx(2 / 4)
    assert found.coefficient == math.inf
    assert found.coefficient_covered == pytest.approx((4 / 8) / (1 / 10))
    everything = measure(data, data)
    assert (everything.coverage, everything.coefficient) == (pytest.approx(1), pytest.approx(1))
    nothing = measure(final, Frequencies.of(np.array([7])))
    assert nothing.coverage == 0 and nothing.coefficient == math.inf and math.isnan(nothing.coefficient_covered)


@pytest.mark.parametrize(("visits", "pairs", "rarest", "published"), [(5390, 117, 6, 69.10), (5854, 110, 3, 150.10)])
def test_the_published_coefficients_are_those_of_the_shortest_way(visits, pairs, rarest, published):
    """Published for CliffWalking: 13 pairs of the final policy, so many in the data, and the coefficient."""
    counts = np.full(pairs, (visits - rarest) // (pairs - 1))
    counts[0] = rarest
    counts[1] += visits - counts.sum()
    data = Frequencies.of(np.repeat(np.arange(pairs), counts))
    final = Frequencies.of(np.arange(13))
    found = measure(final, data)
    assert found.coefficient == pytest.approx(published, abs=0.005) and found.coverage == pytest.approx(1)


def test_the_optimal_policy_of_cliff_walking_is_the_shortest_way():
    visits = coverage.propagate("cliff-walking", coverage.optimal_policy("cliff-walking"))
    assert visits.mean_return == pytest.approx(-13)
    assert list(visits.exact.pairs) == sorted(4 * state + action for state, action in PATH)
    assert visits.exact.shares == pytest.approx([1 / 13] * 13)


def test_a_policy_that_is_cut_off_visits_for_the_whole_horizon():
    visits = coverage.propagate("cliff-walking", np.zeros(48, dtype=int))  # up, for ever: three cells, then the border
    assert visits.mean_return == pytest.approx(-200)
    assert dict(zip(visits.exact.pairs // 4, visits.exact.shares, strict=True)) == pytest.approx(
        {36: 1 / 200, 24: 1 / 200, 12: 1 / 200, 0: 197 / 200}
    )


def test_the_optimal_policy_of_frozen_lake_succeeds_as_often_as_is_known():
    visits = coverage.propagate("frozen-lake", coverage.optimal_policy("frozen-lake"))
    assert visits.mean_return == pytest.approx(0.74, abs=0.005)


def test_propagation_agrees_with_episodes():
    actions = np.random.default_rng(3).integers(0, 4, 16)
    actions[[0, 4, 8, 9, 13, 14]] = [0, 0, 3, 1, 2, 1]
    visits = coverage.propagate("frozen-lake", actions)
    env = envs.make("frozen-lake")
    seen, returns = [], []
    for episode in range(1500):
        state, over, total = env.reset(seed=episode)[0], False, 0
        while not over:
            seen.append(4 * state + actions[state])
            state, reward, terminated, truncated, _ = env.step(int(actions[state]))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    sampled = Frequencies.of(np.array(seen))
    assert set(sampled.pairs) <= set(visits.exact.pairs)
    assert sampled.share_of(visits.exact.pairs) == pytest.approx(visits.exact.shares, abs=0.015)
    assert np.mean(returns) == pytest.approx(visits.mean_return, abs=0.04)


# --- Bins ------------------------------------------------------------------------------------------------------------


def test_bins_are_equal_and_their_ends_take_what_lies_outside():
    dimension = Dimension("x", -1, 1, 4)
    values = [-9, -1, -0.51, -0.49, 0, 0.49, 0.51, 1, 9]
    assert list(dimension.place(values, AS_STATED)) == [0, 0, 0, 1, 2, 2, 3, 3, 3]
    assert list(dimension.place(values, 0.5)) == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_bins_reach_as_far_as_the_environments_own_limits():
    limits = {env: {d.name: (d.low, d.high) for d in grid.dimensions} for env, grid in GRIDS.items()}
    cart, car, pendulum = (envs.make(env).unwrapped for env in ("cartpole", "mountain-car", "pendulum"))
    for name, limit in (("position", cart.x_threshold), ("angle", cart.theta_threshold_radians)):
        assert limits["cartpole"][name] == pytest.approx((-limit, limit), rel=1e-3)
    assert limits["mountain-car"]["position"] == (car.min_position, car.max_position)
    assert limits["mountain-car"]["velocity"] == (-car.max_speed, car.max_speed)
    assert limits["pendulum"]["angle"] == pytest.approx((-math.pi, math.pi))
    assert limits["pendulum"]["angular velocity"] == (-pendulum.max_speed, pendulum.max_speed)
    torque = GRIDS["pendulum"].action
    assert (torque.low, torque.high, torque.bins) == (-pendulum.max_torque, pendulum.max_torque, 5)


def test_half_and_twice_the_bins_of_pong_leave_the_balls_direction_alone():
    assert [[d.count(f) for d in GRIDS["represented-pong"].dimensions] for f in (0.5, 1.0, 2.0)] == [
        [4, 4, 4, 3],
        [8, 8, 8, 3],
        [16, 16, 16, 3],
    ]


@pytest.mark.parametrize("env", list(GRIDS))
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_pairs_differ_exactly_where_bins_do(env, factor):
    generator, grid, game = np.random.default_rng(0), GRIDS[env], envs.make(env)
    n = 800
    numbers = np.column_stack([generator.uniform(d.low, d.high, n) for d in grid.dimensions])
    if env == "pendulum":
        observations = np.column_stack([np.cos(numbers[:, 0]), np.sin(numbers[:, 0]), numbers[:, 1]])
        actions = generator.uniform(-2, 2, (n, 1))
        kinds = np.floor((actions[:, 0] + 2) / 0.8).astype(int)
    else:
        observations = numbers
        actions = generator.integers(0, game.action_space.n, n)
        kinds = actions
    if env == "represented-pong":
        numbers[:, 3] = generator.integers(-1, 2, n)
        observations = np.zeros((n, 10))
        observations[:, [0, 4, 5]], observations[:, 8] = numbers[:, :3], 7 * numbers[:, 3]
        kinds = np.array(["stay", "stay", "up", "down", "up", "down"])[actions]
    bins = [
        np.minimum(((x - d.low) / (d.high - d.low) * (c := d.count(factor))).astype(int), c - 1)
        for x, d in zip(numbers.T, grid.dimensions, strict=True)
    ]
    described = list(zip(*bins, kinds, strict=True))
    pairs = grid.pairs(observations, actions, factor)
    assert len(set(pairs)) == len(set(described)) == len(set(zip(pairs, described, strict=True)))


def test_pongs_fire_button_changes_nothing_in_play():
    def seen(script):
        env = envs.make("represented-pong")
        env.reset(seed=0)
        return [env.step(action)[0].tolist() for action in script]

    script = np.random.default_rng(0).choice([0, 2, 3], 120)
    with_fire = np.where(np.random.default_rng(1).random(120) < 0.5, np.array([1, 0, 4, 5])[script], script)
    assert (script != with_fire).any() and seen(script) == seen(with_fire)


def test_a_row_of_agents_that_differ_is_counted_by_hand():
    """MountainCar: bins are 0.1 wide along the track, half as many 0.2, twice as many 0.05; all moves are slow."""

    def states(places):
        return np.array([[place, 0.003] for place in places], dtype=np.float32)

    def recorded(places, actions):
        none = np.zeros(len(actions), dtype=bool)
        return Episode(states(places), np.array(actions), -np.ones(len(actions)), none, none)

    def agent(mean_return, *visits):
        places, actions = zip(*visits, strict=True)
        return Visits(mean_return, None, states(places), np.array(actions))

    # in ten steps four times left at the wall and six times right in the valley; where an episode ends nothing is done
    data = [
        recorded([-1.17] * 3 + [-0.53] * 2 + [-0.45], [0, 0, 0, 2, 2]),
        recorded([-1.17] + [-0.53] * 5, [0] + [2] * 4),
    ]
    agents = [
        agent(-100, (-1.17, 0), *[(-0.53, 2)] * 3),
        agent(-110, *[(-1.17, 0)] * 3, (-0.58, 2)),  # another of twice as many bins than -0.53
        agent(-180, (-1.17, 0), (-1.17, 0), (-1.17, 1), (-0.45, 2)),  # the same of half as many bins
    ]
    row = coverage.row_of("mountain-car", agents, data)
    counts = ("visits_in_data", "pairs_in_data", "method", "seeds", "infinite")
    assert [row[name] for name in counts] == [10, 2, "sampled", 3, 1]
    assert row["final_return"] == pytest.approx(-130) and row["pairs_visited"] == pytest.approx((2 + 2 + 3) / 3)
    assert row["coverage"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert row["coverage_unweighted"] == pytest.approx((1 + 1 + 1 / 3) / 3)
    # of 27 ways to draw three agents one draws the worst alone: more than 2.5%
    assert [row["coverage_low"], row["coverage_high"]] == pytest.approx([1 / 2, 1])
    assert [row["coverage_unweighted_low"], row["coverage_unweighted_high"]] == pytest.approx([1 / 3, 1])
    assert row["coverage_half_bins"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert row["coverage_double_bins"] == pytest.approx((1 + 3 / 4 + 1 / 2) / 3)
    # (3/4) / (6/10), (3/4) / (4/10), and infinite; over what is there (2/4) / (4/10)
    assert row["coefficient"] == pytest.approx(1.875) and row["coefficient_covered"] == pytest.approx(1.25)


# --- Policies --------------------------------------------------------------------------------------------------------


def random_networks(seeds, inputs, outputs, hidden=16):
    generator = np.random.default_rng(5)
    shapes = {"w1": (inputs, hidden), "b1": (1, hidden), "w2": (hidden, hidden), "b2": (1, hidden)}
    shapes |= {"w3": (outputs, hidden), "b3": (1, outputs)}
    return {name: generator.normal(0, 0.5, (seeds, *s)).astype(np.float32) for name, s in shapes.items()}


def test_outputs_are_the_learners_own():
    weights = random_networks(3, 4, 2)
    observations = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    tensors = [torch.from_numpy(weights[name]) for name in ("w1", "b1", "w2", "b2", "w3", "b3")]
    ours = coverage.outputs_of(weights, observations)
    np.testing.assert_allclose(ours, dqn.q_values(tensors, torch.from_numpy(observations)), atol=1e-5)
    _, _, mean = sac.get_action(tensors, torch.from_numpy(observations), torch.zeros(()))
    torque = coverage.decide(gymnasium.spaces.Box(-2, 2, (1,)), ours)
    np.testing.assert_allclose(torque, 2 * mean.numpy(), atol=1e-5)


def played_plainly(weights, seed, episodes):
    """Return (observation, action) of each step of one agent's greedy CartPole episodes, and their mean return."""
    steps, total = [], 0.0
    for episode in range(episodes):
        env = envs.make("cartpole")
        now, over = env.reset(seed=coverage.FIRST_SEED + episode)[0], False
        while not over:
            hidden = np.maximum(now @ weights["w1"][seed] + weights["b1"][seed, 0], 0)
            hidden = np.maximum(hidden @ weights["w2"][seed] + weights["b2"][seed, 0], 0)
            action = int(np.argmax(weights["w3"][seed] @ hidden + weights["b3"][seed, 0]))
            steps.append((now.tolist(), action))
            now, reward, terminated, truncated, _ = env.step(action)
            total, over = total + reward, terminated or truncated
    return steps, total / episodes


def test_played_episodes_are_the_policys(tmp_path):
    weights = random_networks(2, 4, 2)
    found = coverage.play("cartpole", weights, episodes=3)
    for seed, visits in enumerate(found):
        expected, mean_return = played_plainly(weights, seed, 3)
        ours = [(o.tolist(), int(a)) for o, a in zip(visits.observations, visits.actions, strict=True)]
        assert sorted(ours) == sorted(expected) and visits.mean_return == pytest.approx(mean_return)


def test_a_trained_run_is_read_and_returns_what_it_was_evaluated_at(tmp_path, monkeypatch):
    """A few seconds of training: its last evaluation is that of the policy that it leaves."""
    output = tmp_path / "results" / "runs" / "paper" / "cliff-walking" / "online.csv"
    arguments = ["--env", "cliff-walking", "--seeds", "2", "--iterations", "3", "--iteration-steps", "40"]
    arguments += ["--batch-size", "16", "--hidden-size", "24", "--no-progress", "--device", "cpu", "--output", output]
    monkeypatch.setattr(sys, "argv", ["dqn", *map(str, arguments)])
    run_command_line(dqn.main)
    run = coverage.read_run(output)
    assert [visits.mean_return for visits in coverage.visits_of(run, 1)] == pytest.approx(run.curves()[:, -1])


# --- The program -----------------------------------------------------------------------------------------------------


def walker(pairs, states=48, actions=4, seeds=2):
    """Return networks whose greedy action is the one given for each state, and 0 elsewhere."""
    weights = {"w1": np.eye(states), "b1": np.zeros((1, states)), "w2": np.eye(states), "b2": np.zeros((1, states))}
    chosen = np.zeros((actions, states))
    chosen[0] = 0.5
    for state, action in pairs:
        chosen[action, state] = 1
    weights |= {"w3": chosen, "b3": np.zeros((1, actions))}
    return {name: np.stack([array] * seeds).astype(np.float32) for name, array in weights.items()}


def episode(pairs, last, env="cliff-walking"):
    states, actions = zip(*pairs, strict=True)
    ends = np.arange(len(pairs)) == len(pairs) - 1
    observations = np.array([*states, last])
    return Episode(observations, np.array(actions), np.full(len(pairs), -1.0), ends, np.zeros(len(pairs), dtype=bool))


@pytest.fixture
def tree(tmp_path):
    """Write CliffWalking's runs, of which LORO takes the shortest way, and data that has all of it but two steps."""
    levels = {"online": [-100] * 10 + [-20] * 20, LORO: [-50] * 2 + [-18] * 28, MIX: [-50] * 2 + [-40] * 28}
    runs = []
    for arm, curve in levels.items():
        curves = np.array(curve, dtype=float) + np.reshape([-1, 1], (-1, 1, 1))
        runs.append(write_run(tmp_path, "paper", "cliff-walking", arm, curves))
    runs.append(write_run(tmp_path, "paper", "cliff-walking", "random-policy", [[[-2000, -2100, -2200]]], 200))
    save_file(walker(PATH), runs[1].with_suffix(".policy.safetensors"))
    data = tmp_path / "datasets" / "cliff-walking" / "qwen-7b"
    episodes = [episode(PATH[:6], 29), episode([*PATH[:3], *PATH[5:11]], 34), episode(PATH, 47)]
    save_dataset(data, "cliff-walking", episodes, {"policy": "qwen-7b"})
    return tmp_path, runs, [data]


def run_program(program, monkeypatch, **options):
    arguments = [str(part) for name, values in options.items() for part in (f"--{name}", *values)]
    monkeypatch.setattr(sys, "argv", [program.__name__, *arguments])
    run_command_line(program.main)


def measure_tree(tree, monkeypatch, **options):
    folder, runs, datasets = tree
    output = folder / "m" / "coverage.csv"
    run_program(coverage, monkeypatch, runs=runs, datasets=datasets, output=[output], **options)
    return output


def draw_tree(tree, monkeypatch, measured, **options):
    folder, runs, _ = tree
    figures, keep = [], coverage_figure.draw
    monkeypatch.setattr(plt, "close", lambda *_: None)
    monkeypatch.setattr(coverage_figure, "draw", lambda *given: figures.append(keep(*given)) or figures[-1])
    table, output = folder / "t" / "coverage.csv", folder / "f" / "coverage.pdf"
    files = {"measured": [measured], "runs": runs, "output": [output], "table": [table]}
    run_program(coverage_figure, monkeypatch, **files, **options)
    with table.open() as file:
        rows = {(row["env"], row["policy"], row["data"]): row for row in csv.DictReader(file)}
    return rows, (folder / "t" / "coverage.md").read_text(), figures[0]


def make(tree, monkeypatch, **options):
    return draw_tree(tree, monkeypatch, measure_tree(tree, monkeypatch, **options))


def test_the_first_tau_episodes_count_and_pairs_are_counted_by_hand(tree, monkeypatch):
    rows, text, figure = make(tree, monkeypatch)
    row = rows["cliff-walking", LORO, "qwen-7b"]
    # Two episodes: six steps and nine of the thirteen, eleven distinct; the rarest were taken once in fifteen steps.
    assert [row["episodes"], row["visits_in_data"], row["pairs_in_data"]] == ["2", "15", "11"]
    assert float(row["coverage"]) == float(row["coverage_unweighted"]) == pytest.approx(11 / 13)
    assert (row["coefficient"], row["infinite"], row["method"], row["seeds"]) == ("inf", "2", "exact", "2")
    assert float(row["coefficient_covered"]) == pytest.approx((1 / 13) / (1 / 15))
    assert float(row["final_return"]) == -13 and float(row["pairs_visited"]) == 13
    # After the warm-up LORO has -18; online RL eight times -100 and twenty times -20; random play is -2100.
    gain = (-18 - (8 * -100 + 20 * -20) / 28) / (-20 + 2100)
    assert float(row["gain_share"]) == pytest.approx(gain, rel=1e-5)
    assert len(rows) == 1  # the optimal policy is measured on ten episodes or more, unless --tau says otherwise
    (axes,) = figure.axes
    (container,) = axes.containers
    assert container[0].get_xydata()[0] == pytest.approx([11 / 13, gain], rel=1e-5)
    assert container[0].get_markersize() == SIZES[1000]
    assert "CliffWalking: no final policies of online, mix_qwen-7b_tau2." in text
    assert "| CliffWalking | LORO (qwen-7b, τ=2, N=1000) | 11 of 15 | 2 | 0.85 [0.85, 0.85] |" in text
    assert (tree[0] / "f" / "coverage.png").exists()


def test_policies_without_data_of_their_own_take_tau_from_the_command_line(tree, monkeypatch):
    rows, text, _ = make(tree, monkeypatch, tau=[3])
    row = rows["cliff-walking", "optimal", "qwen-7b"]
    assert float(row["coverage"]) == pytest.approx(1) and row["infinite"] == "0"
    assert float(row["coefficient"]) == pytest.approx((1 / 13) / (1 / 28))
    assert "| CliffWalking | the optimal policy | −13.0 | qwen-7b | 3 | 13 of 28 | 1 | 1.00 | 1.00 |  | 2.2 |" in text


def test_the_second_column_has_the_optimal_policys_share_of_the_same_data(tree, monkeypatch):
    rows, _, figure = draw_tree(tree, monkeypatch, measure_tree(tree, monkeypatch, tau=[2]))
    left, right = ([line for line in axes.lines if len(line.get_xdata()) == 1] for axes in figure.axes)
    # two episodes have eleven of the thirteen steps of the shortest way, which the walkers take too
    assert [float(line.get_xdata()[0]) for line in left + right] == pytest.approx([11 / 13] * 2)
    gain = float(rows["cliff-walking", LORO, "qwen-7b"]["gain_share"])
    assert [float(line.get_ydata()[0]) for line in left + right] == pytest.approx([gain] * 2, rel=1e-5)
    assert "optimal policy" in figure.axes[1].get_xlabel()


def test_what_was_not_measured_is_named(tree, monkeypatch):
    save_file(walker(PATH), tree[1][0].with_suffix(".policy.safetensors"))
    measured = measure_tree(tree, monkeypatch, tau=[2, 3])
    lines = measured.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("cliff-walking,online,qwen-7b,3,")]
    assert len(kept) == len(lines) - 1
    measured.write_text("".join(kept))
    _, text, _ = draw_tree(tree, monkeypatch, measured)
    missing = text.split("## Missing")[1]
    assert "- CliffWalking: online was not measured on qwen-7b (3 episodes)." in missing
    assert "optimal was not" not in missing and f"{LORO} was not" not in missing
    assert "- CartPole: no runs." in missing


def test_a_warm_start_is_held_against_its_own_data_only(tree, monkeypatch):
    folder, runs, datasets = tree
    save_file(walker(PATH), runs[0].with_suffix(".policy.safetensors"))
    datasets.append(folder / "datasets" / "cliff-walking" / "other")
    save_dataset(datasets[-1], "cliff-walking", load_dataset(datasets[0], "cliff-walking"), {"policy": "other"})
    with measure_tree(tree, monkeypatch, tau=[1, 3]).open() as file:
        found = {(row["policy"], row["data"], row["episodes"]) for row in csv.DictReader(file)}
    free = {(policy, data, tau) for policy in ("online", "optimal") for data in ("qwen-7b", "other") for tau in "13"}
    assert found == free | {(LORO, "qwen-7b", "2")}


def test_one_number_of_episodes_is_drawn_and_correlated_and_the_table_has_all(tree, monkeypatch):
    folder, runs, _ = tree
    more = LORO.replace("tau2", "tau3")
    curves = np.array([-50.0] * 3 + [-30.0] * 27) + np.reshape([-1, 1], (-1, 1, 1))
    runs.append(write_run(folder, "paper", "cliff-walking", more, curves))
    save_file(walker(PATH), runs[-1].with_suffix(".policy.safetensors"))
    measured = measure_tree(tree, monkeypatch, tau=[2, 3])
    rows, text, figure = draw_tree(tree, monkeypatch, measured, tau=[3])
    (container,) = figure.axes[0].containers
    assert container[0].get_xdata()[0] == float(rows["cliff-walking", more, "qwen-7b"]["coverage"]) == 1
    assert "LORO (qwen-7b, τ=2, N=1000)" in text and "LORO (qwen-7b, τ=3, N=1000)" in text


def test_the_optimal_policys_coverage_is_of_as_many_episodes_as_the_warm_start_had(tree):
    """It stands for warm starts whose final policies are gone too, and is held against their gain."""
    folder, runs, _ = tree
    more = LORO.replace("tau2", "tau3")
    curves = np.array([-50.0] * 3 + [-30.0] * 27) + np.reshape([-1, 1], (-1, 1, 1))
    runs = [*runs, write_run(folder, "paper", "cliff-walking", more, curves)]
    starts = coverage_figure.warm_starts(by_name([read_run(run) for run in runs])).values()
    of = {"arm": "optimal", "env": "cliff-walking", "data": "qwen-7b"}
    optimal = [{**of, "episodes": tau, "coverage": tau / 10} for tau in (2, 3, 4)]
    found = coverage_figure.by_optimal_policy(optimal, starts, "loro", None)
    assert sorted(point["quality"] for point in found) == [0.2, 0.3]
    (point,) = coverage_figure.by_optimal_policy(optimal, starts, "loro", 3)
    # LORO at -30; online RL seven times -100 and twenty times -20; random play is -2100
    assert point["gain_share"] == pytest.approx((-30 - (7 * -100 + 20 * -20) / 27) / (-20 + 2100))
    assert coverage_figure.by_optimal_policy(optimal[2:], starts, "loro", None) == []


def test_what_was_measured_of_another_run_is_left_out_and_named(tree, monkeypatch):
    """Trained anew, a run has other final networks: what was measured of the earlier ones is not theirs."""
    folder, runs, _ = tree
    save_file(walker(PATH), runs[2].with_suffix(".policy.safetensors"))
    measured = measure_tree(tree, monkeypatch)
    curves = np.array([-50.0] * 2 + [-30.0] * 28) + np.reshape([-1, 1], (-1, 1, 1))
    assert write_run(folder, "paper", "cliff-walking", MIX, curves) == runs[2]
    rows, text, _ = draw_tree(tree, monkeypatch, measured)
    assert {policy for _, policy, _ in rows} == {LORO}
    assert f"- CliffWalking: other runs were measured than these: {MIX}." in text
    assert "- CliffWalking: no final policies of online." in text


def test_a_table_of_other_columns_or_with_a_row_twice_is_refused(tree, monkeypatch, capsys):
    measured = measure_tree(tree, monkeypatch)
    whole = measured.read_text()
    word = whole.replace(",exact,2,", ",exact,two,")
    for text in (whole.replace("coverage_low", "low"), whole + whole.splitlines(keepends=True)[1], word, "\x00"):
        assert text != whole
        measured.write_text(text)
        with pytest.raises(SystemExit) as stopped:
            draw_tree(tree, monkeypatch, measured)
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and error.count("\n") == 1 and str(measured) in error
    assert not (tree[0] / "t").exists()


def test_sampled_environments_say_how_much_the_bins_matter(tree, monkeypatch):
    folder, runs, datasets = tree
    generator = np.random.default_rng(0)
    curves = np.linspace(20, 120, 30) + generator.normal(0, 1, (2, 1, 30))
    for arm, shift in (("online", 0), (LORO, 5)):
        runs.append(write_run(folder, "paper", "cartpole", arm, curves + shift))
        save_file(random_networks(2, 4, 2), runs[-1].with_suffix(".policy.safetensors"))
    runs.append(write_run(folder, "paper", "cartpole", "random-policy", [[[19, 20, 21]]], 20))
    data = folder / "datasets" / "cartpole" / "qwen-7b"
    env, episodes = envs.make("cartpole"), []
    for index in range(10):
        env.action_space.seed(index)
        observations, actions, over = [env.reset(seed=index)[0]], [], False
        while not over:
            actions.append(int(env.action_space.sample()))
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            over = terminated or truncated
        ends = np.arange(len(actions)) == len(actions) - 1
        length = np.zeros(len(actions), dtype=bool)
        episodes.append(Episode(np.array(observations), np.array(actions), np.ones(len(actions)), ends, length))
    save_dataset(data, "cartpole", episodes, {"policy": "qwen-7b"})
    datasets.append(data)
    rows, text, figure = make(tree, monkeypatch, episodes=[3])
    agents = [played_plainly(random_networks(2, 4, 2), seed, 3) for seed in range(2)]

    def pair(observation, action, bins, ends=(2.4, 3, 0.2095, 3.5)):
        places = [math.floor((x + end) / (2 * end) * bins) for x, end in zip(observation, ends, strict=True)]
        return *(min(max(place, 0), bins - 1) for place in places), action

    for name, tau in (("online", 10), (LORO, 2)):
        row = rows["cartpole", name, "qwen-7b"]
        assert row["method"] == "sampled" and row["episodes"] == str(tau)
        assert float(row["final_return"]) == pytest.approx(np.mean([mean_return for _, mean_return in agents]))
        for bins, end in ((3, "_half_bins"), (6, ""), (12, "_double_bins")):
            told = {pair(e.observations[t], int(e.actions[t]), bins) for e in episodes[:tau] for t in range(len(e))}
            shares = [np.mean([pair(*step, bins) in told for step in steps]) for steps, _ in agents]
            assert float(row[f"coverage{end}"]) == pytest.approx(np.mean(shares))
        coarse, stated, fine = (float(row[f"coverage{end}"]) for end in ("_half_bins", "", "_double_bins"))
        assert 1 >= coarse >= stated >= fine >= 0 and coarse > fine
    assert rows["cartpole", "online", "qwen-7b"]["gain_share"] == "" and "| CartPole | online RL |" in text
    assert len(figure.axes[0].containers) == 2


@pytest.mark.parametrize(
    "case", ["seeds", "env", "nan", "damaged", "layer", "changed", "none", "protocol", "dataset", "few"]
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tree, monkeypatch, capsys, case):
    folder, runs, datasets = tree
    policy = runs[1].with_suffix(".policy.safetensors")
    weights = walker(PATH)
    match case:
        case "seeds":
            save_file({name: array[:1] for name, array in weights.items()}, policy)
        case "env":
            save_file(random_networks(2, 4, 2), policy)
        case "nan":
            save_file(weights | {"b1": weights["b1"] * np.nan}, policy)
        case "damaged":
            policy.write_bytes(b"nonsense")
        case "layer":
            save_file({name: array for name, array in weights.items() if name != "w1"}, policy)
        case "changed":
            described = {"arguments": {}, "policy_sha256": "0" * 64}
            runs[1].with_suffix(".json").write_text(json.dumps(described))
        case "few":  # a warm start from more episodes than there are
            runs[1] = write_run(folder, "paper", "cliff-walking", "mix_qwen-7b_tau20", np.zeros((2, 1, 30)))
            policy.rename(runs[1].with_suffix(".policy.safetensors"))
        case "none":
            policy.unlink()
        case "protocol":
            runs.append(write_run(folder, "released", "cliff-walking", LORO, np.zeros((2, 5, 30))))
        case "dataset":
            datasets *= 2
    with pytest.raises(SystemExit) as stopped:
        measure_tree(tree, monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == (1 if case in ("seeds", "env", "nan", "damaged", "layer", "changed") else 2)
    assert error.count("\n") == 1 and error.startswith("error: ") and "Traceback" not in error
    assert not (folder / "m").exists()


@pytest.mark.parametrize("name", ["tau", "episodes"])
def test_numbers_of_episodes_below_one_are_a_usage_error(tree, monkeypatch, capsys, name):
    with pytest.raises(SystemExit) as stopped:
        measure_tree(tree, monkeypatch, **{name: [0]})
    assert stopped.value.code == 2 and "must be at least 1" in capsys.readouterr().err


def test_visits_in_grid_worlds_have_no_bins():
    exact = Frequencies(np.array([3]), np.array([1.0]))
    assert Visits(0.0, exact).frequencies("cliff-walking", 2.0) is exact
