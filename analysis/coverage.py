"""The paper's central assumption, measured: does the LLM's data contain what the final policy does?

    python -m analysis.coverage --runs rerun/results/runs/paper/*/*.csv \\
        --datasets rerun/results/datasets/*/{qwen-7b,random} \\
        --output paper_figs/coverage.pdf --table results/tables/coverage.csv

For every run that left its final networks (<run>.policy.safetensors) and every dataset of its environment, of which
the first tau episodes count: the share of the state-action pairs that the final greedy policy visits that the data
contains, weighted by visits and not, and the surrogate transfer coefficient of the paper, the largest
d_final(s, a) / d_data(s, a), infinite where the data misses a pair. d is the share of visits, time steps merged.

In the grid worlds d_final is exact: the distribution over states is propagated through the known transition matrix,
from the start for as many steps as an evaluation has; their optimal policy (discount 0.99, value iteration) is measured
beside the learnt ones. Elsewhere greedy episodes are played, with seeds of their own, and states are put into bins
(GRIDS); the same with half and with twice as many bins a dimension shows how much the bins matter. An action of
Pendulum is one of five equal ranges of torque; actions of Pong that do the same count as one.

The figure: this share, for a warm start's own final policy and its own data, against what the warm start gained over
online RL (as in `analysis.data_quality`). A policy learnt from data tends to stay where the data is, even a bad one, so
that the table has the data's share of what online RL's and the optimal policy visit too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from safetensors import SafetensorError
from safetensors.numpy import load_file

import envs
from analysis import data_quality
from analysis.colours import BLACK, GREY
from analysis.data_quality import COLOURS, CORRELATION, MARKERS, correlation_text, correlation_title
from analysis.main_table import ARMS, title_of
from analysis.plotting import STYLE, save_figure
from analysis.runs import Run, check_digest, common_iterations, description, read_run
from analysis.statistics import bootstrap_interval
from analysis.wording import estimate, fixed, short, table_lines
from envs.datasets import Episode, load_dataset
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text

WARM_STARTS = ("loro", "loro-discard", "mix")
MEASURED = ("online", *WARM_STARTS)
OPTIMAL = "optimal"
FIRST_SEED = 1_000_000
"""Reset seed of the first evaluation episode."""
DISCOUNT = 0.99
COARSE, AS_STATED, FINE = 0.5, 1.0, 2.0
"""What the numbers of bins are multiplied with."""


@dataclass
class Args:
    """Measure what the data covers of final policies, and draw it against the gain."""

    runs: tuple[Path, ...]
    """the run files .../paper/<env>/<arm>.csv, with <arm>.policy.safetensors beside them where there is one"""
    datasets: tuple[Path, ...]
    """the dataset folders .../<env>/<llm>"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    tau: int = 10
    """episodes of a dataset that count for runs that have no tau of their own"""
    episodes: int = 20
    """greedy episodes of each agent, where d_final is sampled and chance plays a part"""


# --- States and actions as bins --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dimension:
    """One number of a state, cut into equal bins; what lies outside belongs to the outermost ones."""

    name: str
    low: float
    high: float
    bins: int
    scaled: bool = True
    """whether half and twice as many bins are tried"""

    def count(self, factor: float) -> int:
        """Return the number of bins."""
        return max(1, round(self.bins * factor)) if self.scaled else self.bins

    def place(self, values: np.ndarray, factor: float) -> np.ndarray:
        """Return the bin of each value."""
        count = self.count(factor)
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return np.clip(np.floor(share * count), 0, count - 1).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """How an environment's states and actions become pairs that can be counted."""

    dimensions: tuple[Dimension, ...]
    numbers: Callable[[np.ndarray], np.ndarray]
    """[n, size] observations to [n, dimensions] numbers"""
    action: Dimension | tuple[int, ...]
    """the bins of a continuous action, or for each action the one that it counts as"""

    def pairs(self, observations: np.ndarray, actions: np.ndarray, factor: float = AS_STATED) -> np.ndarray:
        """Return a number for each state-action pair [n]."""
        keys = np.zeros(len(observations), dtype=np.int64)
        for dimension, values in zip(self.dimensions, self.numbers(observations).T, strict=True):
            keys = keys * dimension.count(factor) + dimension.place(values, factor)
        if isinstance(self.action, Dimension):
            return keys * self.action.bins + self.action.place(actions[:, 0], AS_STATED)
        return keys * len(self.action) + np.array(self.action)[actions]


def pendulum_numbers(observations: np.ndarray) -> np.ndarray:
    """Return angle (0 is upright) and angular velocity."""
    return np.column_stack([np.arctan2(observations[:, 1], observations[:, 0]), observations[:, 2]])


def pong_numbers(observations: np.ndarray) -> np.ndarray:
    """Return the player's y, the ball's x and y, and which way the ball moves across: -1, 0 or 1."""
    return np.column_stack([observations[:, [0, 4, 5]], np.sign(observations[:, 8])])


GRIDS = {
    "cartpole": Grid(
        (
            Dimension("position", -2.4, 2.4, 6),
            Dimension("velocity", -3, 3, 6),
            Dimension("angle", -0.2095, 0.2095, 6),
            Dimension("angular velocity", -3.5, 3.5, 6),
        ),
        lambda observations: observations,
        (0, 1),
    ),
    "mountain-car": Grid(
        (Dimension("position", -1.2, 0.6, 18), Dimension("velocity", -0.07, 0.07, 14)),
        lambda observations: observations,
        (0, 1, 2),
    ),
    "pendulum": Grid(
        (Dimension("angle", -math.pi, math.pi, 16), Dimension("angular velocity", -8, 8, 16)),
        pendulum_numbers,
        Dimension("torque", -2, 2, 5, scaled=False),
    ),
    "represented-pong": Grid(
        (
            Dimension("player's y", 38, 204, 8),
            Dimension("ball's x", 48, 208, 8),
            Dimension("ball's y", 38, 208, 8),
            Dimension("ball's direction across", -1, 1, 3, scaled=False),
        ),
        pong_numbers,
        (0, 0, 2, 3, 2, 3),  # the fire button does nothing in play
    ),
}


@dataclass(frozen=True)
class Frequencies:
    """Which state-action pairs were visited, and what share of all visits each has."""

    pairs: np.ndarray
    """[n] distinct, in order"""
    shares: np.ndarray
    """[n], sum 1"""

    @classmethod
    def of(cls, pairs: np.ndarray) -> "Frequencies":
        """Count visits."""
        distinct, counts = np.unique(pairs, return_counts=True)
        return cls(distinct, counts / counts.sum())

    def share_of(self, pairs: np.ndarray) -> np.ndarray:
        """Return the share of each of `pairs`, 0 where it was not visited."""
        places = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        return np.where(self.pairs[places] == pairs, self.shares[places], 0.0)


@dataclass(frozen=True)
class Measures:
    """What data contains of what a policy visits."""

    coverage: float
    """share of the policy's visits whose pair the data contains"""
    coverage_unweighted: float
    """share of the pairs that it visits"""
    coefficient: float
    """largest d_final / d_data; infinite where a pair is missing"""
    coefficient_covered: float
    """the same over the pairs that the data contains"""


def measure(final: Frequencies, data: Frequencies) -> Measures:
    """Compare a policy's visits with the data's."""
    shares = data.share_of(final.pairs)
    covered = shares > 0
    ratios = final.shares[covered] / shares[covered]
    largest = float(ratios.max()) if covered.any() else math.nan
    coefficient = largest if covered.all() else math.inf
    return Measures(float(final.shares[covered].sum()), float(covered.mean()), coefficient, largest)


# --- Final policies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visits:
    """What one final policy visits: exact frequencies, or the observations and actions of its episodes."""

    mean_return: float
    exact: Frequencies | None = None
    observations: np.ndarray | None = None
    actions: np.ndarray | None = None

    def frequencies(self, env: str, factor: float) -> Frequencies:
        """Return the frequencies of state-action pairs, with so many times the bins."""
        return self.exact or Frequencies.of(GRIDS[env].pairs(self.observations, self.actions, factor))


def policy_file(run: Run) -> Path:
    """Return where a run's final networks are, if it left them."""
    return run.path.with_suffix(".policy.safetensors")


def read_policy(run: Run) -> dict[str, np.ndarray]:
    """Return the final networks of a run's agents, [seeds, ...]; raise Failure where they do not fit the run."""
    path = policy_file(run)
    check_digest(path, description(path).get("policy_sha256"))
    game = envs.make(run.env)
    discrete = isinstance(game.observation_space, gymnasium.spaces.Discrete)
    inputs = int(game.observation_space.n) if discrete else game.observation_space.shape[0]
    continuous = isinstance(game.action_space, gymnasium.spaces.Box)
    outputs = 2 * game.action_space.shape[0] if continuous else int(game.action_space.n)
    game.close()
    try:
        weights = load_file(path)
        hidden = weights["w1"].shape[2]
    except (SafetensorError, KeyError, IndexError) as error:
        raise Failure(f"The policy {path} cannot be read ({error}); train the run anew.") from error
    seeds = run.table.seed.nunique()
    shapes = {"w1": (inputs, hidden), "b1": (1, hidden), "w2": (hidden, hidden), "b2": (1, hidden)}
    shapes |= {"w3": (outputs, hidden), "b3": (1, outputs)}
    if {name: array.shape for name, array in weights.items()} != {name: (seeds, *s) for name, s in shapes.items()}:
        raise Failure(f"The policy {path} does not have the networks of {seeds} agents of {run.env}; train it anew.")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise Failure(f"The policy {path} has weights that are not finite numbers; train the run anew.")
    return weights


def outputs_of(weights: dict[str, np.ndarray], observations: np.ndarray) -> np.ndarray:
    """Return the networks' outputs [seeds, B, out] for observations [seeds, B, in]: two hidden layers of ReLUs."""
    x = np.maximum(observations @ weights["w1"] + weights["b1"], 0)
    x = np.maximum(x @ weights["w2"] + weights["b2"], 0)
    return x @ weights["w3"].swapaxes(1, 2) + weights["b3"]


def visits_of(run: Run, episodes: int) -> list[Visits]:
    """Return what each agent's final greedy policy visits."""
    weights = read_policy(run)
    if run.env in GRIDS:
        return play(run.env, weights, 1 if envs.get(run.env).deterministic else episodes)
    states = np.eye(weights["w1"].shape[1], dtype=np.float32)[None]
    return [propagate(run.env, actions) for actions in outputs_of(weights, states).argmax(axis=2)]


def propagate(env: str, actions: np.ndarray) -> Visits:
    """Return what a policy [states] of a grid world visits in an episode, exactly, and its expected return."""
    game = envs.make(env).unwrapped
    states, size = np.arange(len(actions)), int(game.action_space.n)
    step, rewards = np.zeros((len(actions), len(actions))), np.zeros(len(actions))
    for state in states:
        for probability, following, reward, terminated in game.P[state][actions[state]]:
            step[state, following] += probability * (not terminated)
            rewards[state] += probability * reward
    now, visited = np.array(game.initial_state_distrib, dtype=np.float64), np.zeros(len(actions))
    for _ in range(envs.get(env).horizon):
        visited += now
        now = now @ step
    seen = np.flatnonzero(visited)
    exact = Frequencies(seen * size + actions[seen], visited[seen] / visited.sum())
    return Visits(float(visited @ rewards), exact)


def optimal_policy(env: str) -> np.ndarray:
    """Return the optimal action in each state of a grid world, by value iteration."""
    game = envs.make(env).unwrapped
    size, count = len(game.P), int(game.action_space.n)
    values = np.zeros(size)
    while True:
        q = np.zeros((size, count))
        for state, action in np.ndindex(size, count):
            for probability, following, reward, terminated in game.P[state][action]:
                q[state, action] += probability * (reward + DISCOUNT * values[following] * (not terminated))
        if np.abs(q.max(axis=1) - values).max() < 1e-10:
            return q.round(9).argmax(axis=1)  # of equally good actions the first, whatever the last digit says
        values = q.max(axis=1)


def play(env: str, weights: dict[str, np.ndarray], episodes: int) -> list[Visits]:
    """Play greedy episodes with every agent, all in step, and return what each visits."""
    seeds = len(weights["w1"])
    games = [[envs.make(env) for _ in range(episodes)] for _ in range(seeds)]
    now = np.stack(
        [[game.reset(seed=FIRST_SEED + i)[0] for i, game in enumerate(row)] for row in games], dtype=np.float32
    )
    seen: list[list[tuple[np.ndarray, Any]]] = [[] for _ in range(seeds)]
    returns = np.zeros(seeds)
    playing = list(np.ndindex(seeds, episodes))
    while playing:
        actions = decide(games[0][0].action_space, outputs_of(weights, now))
        going_on = []
        for i, j in playing:
            seen[i].append((now[i, j].copy(), actions[i, j]))
            now[i, j], reward, terminated, truncated, _ = games[i][j].step(actions[i, j])
            returns[i] += reward
            if not (terminated or truncated):
                going_on.append((i, j))
        playing = going_on
    for game in (game for row in games for game in row):
        game.close()
    return [
        Visits(returns[i] / episodes, None, *map(np.array, zip(*steps, strict=True))) for i, steps in enumerate(seen)
    ]


def decide(space: gymnasium.Space, outputs: np.ndarray) -> np.ndarray:
    """Return the greedy actions: the largest value's, or SAC's tanh of the mean, times the bound."""
    if isinstance(space, gymnasium.spaces.Box):
        return np.tanh(outputs[..., : space.shape[0]]) * space.high
    return outputs.argmax(axis=-1)


# --- The table -------------------------------------------------------------------------------------------------------


def data_frequencies(env: str, episodes: list[Episode], factor: float) -> Frequencies:
    """Return the frequencies of the data's state-action pairs, each action with the observation before it."""
    observations = np.concatenate([episode.observations[:-1] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    if env in GRIDS:
        return Frequencies.of(GRIDS[env].pairs(observations, actions, factor))
    return Frequencies.of(observations * int(envs.make(env).action_space.n) + actions)


def row_of(env: str, visits: list[Visits], episodes: list[Episode]) -> dict[str, object]:
    """Return the measures of one run's final policies on one dataset: means over agents, medians of coefficients."""
    by_factor = {}
    for factor in (COARSE, AS_STATED, FINE):
        data = data_frequencies(env, episodes, factor)
        by_factor[factor] = [measure(agent.frequencies(env, factor), data) for agent in visits]
    measures = by_factor[AS_STATED]
    row: dict[str, object] = {
        "episodes": len(episodes),
        "visits_in_data": sum(map(len, episodes)),
        "pairs_in_data": len(data_frequencies(env, episodes, AS_STATED).pairs),
        "method": "sampled" if env in GRIDS else "exact",
        "seeds": len(visits),
        "final_return": float(np.mean([agent.mean_return for agent in visits])),
        "pairs_visited": float(np.mean([len(agent.frequencies(env, AS_STATED).pairs) for agent in visits])),
    }
    for name in ("coverage", "coverage_unweighted"):
        values = np.array([getattr(one, name) for one in measures])
        low, high = bootstrap_interval(values)
        row |= {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    coefficients = np.array([one.coefficient for one in measures])
    return row | {
        "coefficient": float(np.median(coefficients)),
        "infinite": int(np.isinf(coefficients).sum()),
        "coefficient_covered": float(np.median([one.coefficient_covered for one in measures])),
        "coverage_half_bins": mean_coverage(by_factor[COARSE]) if env in GRIDS else math.nan,
        "coverage_double_bins": mean_coverage(by_factor[FINE]) if env in GRIDS else math.nan,
    }


def mean_coverage(measures: list[Measures]) -> float:
    """Return the mean coverage over agents."""
    return float(np.mean([one.coverage for one in measures]))


def gain_of(run: Run, named: dict[tuple[str, str, str], Run]) -> dict[str, float]:
    """Return a warm start's gain over online RL, on its environment's scale; NaN where that is not known."""
    online, random = named.get((run.env, "online", "")), named.get((run.env, "random-policy", ""))
    keys = ("gain_share", "gain_share_low", "gain_share_high")
    if run.arm not in WARM_STARTS or online is None:
        return dict.fromkeys(keys, math.nan)
    common_iterations([online, run], run.env)
    row = data_quality.row_of(run, data_quality.baseline_of(online, random), None)
    return {key: row[key] for key in keys}


def without_runs(runs: list[Run], data: dict[str, list[Episode]], tau: int) -> list[str]:
    """Name the LLMs that no LORO or no mix run learnt from, nor from episodes of another that begin alike, for tau."""

    def begins_alike(one: str, other: str) -> bool:
        pairs = list(zip(data[one][:tau], data[other][:tau], strict=False))
        return all(np.array_equal(getattr(a, x), getattr(b, x)) for a, b in pairs for x in ("observations", "actions"))

    lacking = []
    for llm in sorted(set(data) - {"random"}):
        alike = [other for other in data if begins_alike(llm, other)]
        there = {run.arm for run in runs if run.llm in alike}
        arms = [ARMS[arm] for arm in data_quality.WARM_STARTS if arm not in there]
        lacking += [f"{' and '.join(arms)} from {llm}"] if arms else []
    return lacking


def tidy(
    named: dict[tuple[str, str, str], Run], datasets: dict[tuple[str, str], list[Episode]], args: Args
) -> tuple[list[dict[str, object]], list[str]]:
    """Return the rows, and in words what could not be measured."""
    rows, missing, repeated = [], [], data_quality.repeated_runs(named.values())
    for env in envs.ENVIRONMENTS:
        runs = [run for run in named.values() if run.env == env and run.arm in MEASURED]
        data = {llm: episodes for (of, llm), episodes in datasets.items() if of == env}
        without = sorted(run.path.stem for run in runs if not policy_file(run).exists())
        if without:
            missing.append(f"{envs.get(env).title}: no final policies of {', '.join(without)}.")
        if not runs or not data:
            missing.append(f"{envs.get(env).title}: no {'datasets' if runs else 'runs'}.")
            continue
        missing += [f"{envs.get(env).title}: no runs of {name}." for name in without_runs(runs, data, args.tau)]
        policies: list[tuple[Run | None, list[Visits]]] = []
        if env not in GRIDS:
            policies.append((None, [propagate(env, optimal_policy(env))]))
        for run in sorted(runs, key=lambda r: (MEASURED.index(r.arm), r.path.stem)):
            if policy_file(run).exists():
                policies.append((run, visits_of(run, args.episodes)))
        for run, visits in policies:
            name, tau = (run.path.stem, run.tau or args.tau) if run else (OPTIMAL, args.tau)
            gain = gain_of(run, named) if run else {}
            same = repeated.get((env, run.arm, run.details)) if run else None
            if run and run.llm and run.llm not in data:
                missing.append(f"{envs.get(env).title}: no dataset {run.llm}, which {name} learnt from.")
            for llm, episodes in data.items():
                if len(episodes) < tau:
                    missing.append(f"{envs.get(env).title}: {llm} holds {len(episodes)} episodes, not {tau} ({name}).")
                    continue
                own = run is not None and run.llm == llm
                details = {
                    "env": env,
                    "policy": name,
                    "arm": run.arm if run else OPTIMAL,
                    "llm": run.llm if run else None,
                }
                details |= {"tau": run.tau if run else None, "pretrain_steps": run.pretrain_steps if run else None}
                details |= {"data": llm, "own_data": own, "same_run_as": same.llm if same else None}
                rows.append(details | row_of(env, visits, episodes[:tau]) | (gain if own else {}))
    return rows, missing


# --- For reading -----------------------------------------------------------------------------------------------------

INTRODUCTION = """\
# What the LLM's data contains of what the final policy does

Coverage: the share of the final greedy policy's visits whose state-action pair is among the first τ episodes of the
data; unweighted: the share of the distinct pairs that it visits. Means over agents [95% bootstrap interval]. Transfer
coefficient: the largest d_final(s, a) / d_data(s, a), median over agents; infinite for an agent that visits a pair
which the data misses. In parentheses the same over the pairs that the data contains.

Exact in FrozenLake and CliffWalking. Elsewhere sampled, with states in bins, which flatter: two states in one bin count
as one. Coverage with half and with twice as many bins a dimension is beside it. A coefficient over bins is the noisier
the rarer the pair. Bins, equal in width, with what lies outside in the outermost ones:
"""
CARE = """\
- A policy that was learnt from data tends to stay where the data is, whether it is good or bad: high coverage by a warm
  start's own final policy is no sign of quality. What online RL's policy visits owes nothing to the data.
- Coverage says that a pair was seen, not that enough of what follows it was, nor that the learner made use of it.
- LLMs that played the same first τ episodes have the same runs: one point in the figure and in the correlation.
"""


def bins_lines() -> list[str]:
    """Return how each environment's states are cut."""
    lines = []
    for env, grid in GRIDS.items():
        cuts = [f"{d.name} {d.low:g} to {d.high:g} in {d.bins}" for d in grid.dimensions]
        if isinstance(grid.action, Dimension):
            cuts.append(f"{grid.action.name} {grid.action.low:g} to {grid.action.high:g} in {grid.action.bins}")
        lines.append(f"- {envs.get(env).title}: {'; '.join(cuts)}.")
    return lines


def coefficient_text(row: dict) -> str:
    """Format a transfer coefficient: infinite for how many agents, and over the pairs that are there."""
    covered = "" if math.isnan(row["coefficient_covered"]) else f"{row['coefficient_covered']:,.1f}"
    if not row["infinite"]:
        return covered
    infinite = "∞" if row["seeds"] == 1 else f"∞ for {row['infinite']} of {row['seeds']}"
    return f"{infinite} ({covered})" if covered else infinite


def cells(row: dict) -> list[str]:
    """Return the cells that every line ends with."""
    return [
        f"{row['pairs_in_data']} of {row['visits_in_data']:,}",
        str(row["seeds"]),
        estimate(row, "coverage", fixed(2)),
        estimate(row, "coverage_unweighted", fixed(2)),
        ", ".join(filter(None, (estimate(row, f"coverage_{bins}_bins", fixed(2)) for bins in ("half", "double")))),
        coefficient_text(row),
    ]


def name_of(row: dict) -> str:
    """Name a row's policy."""
    return "the optimal policy" if row["arm"] == OPTIMAL else title_of(row)


def markdown(rows: list[dict], missing: list[str]) -> str:
    """Return the tables for reading: warm starts and their own data, then policies that owe nothing to the data."""
    head = ["pairs in the data", "agents", "coverage", "unweighted", "half, twice the bins", "transfer coefficient"]
    lines = [INTRODUCTION, *bins_lines(), "", "## Warm starts and the data that they began with", ""]
    warm, other = [], []
    for row in (row for row in rows if row["own_data"]):
        same = f", the same run as {row['same_run_as']}'s" if row["same_run_as"] else ""
        warm.append([envs.get(row["env"]).title, name_of(row) + same, *cells(row), estimate(row, "gain_share", short)])
    lines += table_lines(["environment", "arm", *head, "gain, share"], warm)
    for arm in WARM_STARTS:
        if text := correlation_text(points(rows, arm)):
            lines += ["", f"{ARMS[arm]}, coverage and gain: {text}."]
        if text := correlation_text(by_optimal_policy(rows, arm)):
            lines += ["", f"{ARMS[arm]}, the optimal policy's coverage and gain: {text}."]
    lines += ["", CORRELATION]
    lines += ["", "## Policies that owe nothing to the data", ""]
    for row in (row for row in rows if row["llm"] is None):
        first = [envs.get(row["env"]).title, name_of(row), short(row["final_return"]), str(row["data"])]
        other.append([*first, *cells(row)])
    lines += table_lines(["environment", "policy", "its return", "data", *head], other)
    lines += ["", "## Read with care", "", CARE.rstrip()]
    if missing:
        lines += ["", "## Missing", "", *(f"- {line}" for line in missing)]
    return "\n".join(lines) + "\n"


# --- The figure ------------------------------------------------------------------------------------------------------


def points(rows: list[dict], arm: str) -> list[dict]:
    """Return one arm's points, with the names that `data_quality` gives to what lies across."""
    return [
        row | {"quality": row["coverage"], "per_step": False}
        for row in rows
        if row["own_data"] and row["arm"] == arm and math.isfinite(row["gain_share"]) and not row["same_run_as"]
    ]


def by_optimal_policy(rows: list[dict], arm: str) -> list[dict]:
    """Return one arm's points where an optimal policy is known, with its coverage: it owes nothing to the data."""
    covered = {(row["env"], row["data"]): row["coverage"] for row in rows if row["arm"] == OPTIMAL}
    found = [(row, (row["env"], row["data"])) for row in points(rows, arm)]
    return [row | {"quality": covered[key]} for row, key in found if key in covered]


def draw_panel(axes: Axes, rows: list[dict], markers: dict[str, str]) -> None:
    """Draw one arm's points with their intervals: coverage across, gain up; open where N is small."""
    axes.axhline(0, color=BLACK, lw=0.7, zorder=1)
    for row in rows:
        ends = []
        for key in ("coverage", "gain_share"):
            bounds = np.array([row[key] - row[f"{key}_low"], row[f"{key}_high"] - row[key]])
            ends.append(np.nan_to_num(np.maximum(bounds, 0))[:, None])
        axes.errorbar(
            row["coverage"],
            row["gain_share"],
            xerr=ends[0],
            yerr=ends[1],
            color=COLOURS[row["env"]],
            elinewidth=0.8,
            marker=markers[row["data"]],
            markersize=4.5,
            markerfacecolor="white" if row["pretrain_steps"] == 1000 else COLOURS[row["env"]],
            markeredgewidth=0.9,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_ylabel("gain over online RL\n(after the warm-up)")
    axes.set_title(correlation_title(rows), loc="right", fontsize=6)


def draw(rows: list[dict]) -> plt.Figure:
    """Return the figure at column width, a panel for each kind of warm start that has points."""
    shown = {arm: points(rows, arm) for arm in WARM_STARTS}
    shown = {arm: found for arm, found in shown.items() if found}
    llms = sorted({row["data"] for found in shown.values() for row in found})
    if not shown:
        raise UsageError(
            "No point can be drawn: a point needs a warm start's final policy, its dataset, and runs of online RL and "
            "of the random policy between which its environment has a scale."
        )
    if len(llms) > len(MARKERS):
        raise UsageError(f"The figure has markers for {len(MARKERS)} LLMs, the runs are of {len(llms)}: give fewer.")
    markers = dict(zip(llms, MARKERS, strict=False))
    size = (3.4, 1.6 * len(shown) + 1.3)
    figure, grid = plt.subplots(len(shown), 1, sharex=True, squeeze=False, figsize=size, layout="constrained")
    for axes, (arm, found) in zip(grid[:, 0], shown.items(), strict=True):
        draw_panel(axes, found, markers)
        axes.set_title(ARMS[arm], loc="left")
    grid[-1, 0].set_xlabel("coverage: share of the final policy's visits\nwhose state-action pair is in the LLM's data")
    drawn = [row for found in shown.values() for row in found]
    dots = {"ls": "", "marker": "o", "markersize": 4.5}
    here = [env for env in COLOURS if any(row["env"] == env for row in drawn)]
    colours = [Line2D([], [], **dots, color=COLOURS[env], label=envs.get(env).title) for env in here]
    shapes = [Line2D([], [], **dots | {"marker": marker}, color=GREY, label=llm) for llm, marker in markers.items()]
    if any(row["pretrain_steps"] == 1000 for row in drawn):
        shapes.append(Line2D([], [], **dots, color=GREY, markerfacecolor="white", label="open: N=1000"))
    figure.legend(handles=colours, loc="outside lower left", fontsize=6)
    figure.legend(handles=shapes, loc="outside lower right", fontsize=6)
    return figure


def read_datasets(folders: tuple[Path, ...]) -> dict[tuple[str, str], list[Episode]]:
    """Return the episodes by (environment, LLM); raise UsageError where a dataset is twice there."""
    datasets = {}
    for folder in folders:
        env, llm = folder.resolve().parent.name, folder.resolve().name
        if (env, llm) in datasets:
            raise UsageError(f"{folder}: there is another dataset of '{llm}' in {env}; give one.")
        datasets[env, llm] = load_dataset(folder, env)
    return datasets


def main() -> None:
    """Measure, draw and write."""
    args = tyro.cli(Args)
    if args.tau < 1 or args.episodes < 1:
        raise UsageError("--tau and --episodes must be at least 1.")
    wanted = (*MEASURED, "random-policy")
    runs = [run for run in map(read_run, args.runs) if run.arm in wanted]
    named = data_quality.by_name(runs)
    if not any(run.arm in MEASURED and policy_file(run).exists() for run in runs):
        raise UsageError("None of the runs given has left its final policy (<arm>.policy.safetensors beside the CSV).")
    rows, missing = tidy(named, read_datasets(args.datasets), args)
    if not rows:
        raise UsageError(f"Nothing can be measured: {' '.join(missing)}")
    for row in rows:
        for key in ("gain_share", "gain_share_low", "gain_share_high"):
            row.setdefault(key, math.nan)
    table = pd.DataFrame(rows)
    plt.rcParams.update(STYLE)
    figure = draw(rows)
    table = table.astype(dict.fromkeys(("tau", "pretrain_steps"), "Int64"))
    csv = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    write_text(args.table.with_suffix(".csv"), csv)
    write_text(args.table.with_suffix(".md"), markdown(rows, missing))
    save_figure(figure, args.output)
    shown = sum(len(points(rows, arm)) for arm in WARM_STARTS)
    print(f"{args.table}: {len(rows)} rows, {shown} points drawn.")


if __name__ == "__main__":
    run_command_line(main)
