"""The paper's central assumption, measured: does the LLM's data contain what the final policy does?

    python -m analysis.coverage --runs rerun/results/runs/paper/*/*.csv \\
        --datasets rerun/results/datasets/*/{qwen-7b,random} --output rerun/results/coverage.csv

For every run that left its final networks (<run>.policy.safetensors): the share of the state-action pairs that the
final greedy policy visits that the data contains, weighted by visits and not, and the surrogate transfer coefficient of
the paper, the largest d_final(s, a) / d_data(s, a), infinite where the data misses a pair. d is the share of visits,
time steps merged. A warm start is held against the episodes that it began with; online RL, which owes nothing to any
data, against the first 10, 20 and 30 episodes of every dataset of its environment.

In the grid worlds d_final is exact: the distribution over states is propagated through the known transition matrix,
from the start for as many steps as an evaluation has; their optimal policy (discount 0.99, value iteration) is measured
as online RL's is. Elsewhere greedy episodes are played, with seeds of their own, and states are put into bins
(analysis/bins.py); the same with half and with twice as many bins a dimension shows how much the bins matter. An action
of Pendulum is one of five equal ranges of torque; actions of Pong that do the same count as one.

Final networks are too large to ship. What is measured of them is not: each row names the SHA-256 of its run, and
`analysis.coverage_figure` draws the rows of the runs that it is given.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import tyro
from safetensors import SafetensorError
from safetensors.numpy import load_file

import envs
from analysis.bins import AS_STATED, COARSE, FINE, GRIDS, countable
from analysis.gains import by_name
from analysis.runs import Run, check_digest, description, read_run
from analysis.statistics import bootstrap_interval
from envs.datasets import Episode, load_dataset
from envs.errors import Failure, UsageError, run_command_line
from envs.files import sha256, write_text

FROM_DATA = ("loro", "loro-discard", "mix")
"""The arms that learn from an LLM's episodes."""
MEASURED = ("online", *FROM_DATA)
OPTIMAL = "optimal"
FIRST_SEED = 1_000_000
"""Reset seed of the first evaluation episode."""
DISCOUNT = 0.99
KEY = ["env", "policy", "data", "episodes"]
COLUMNS = [*KEY, "run_sha256", "visits_in_data", "pairs_in_data", "method", "seeds", "final_return"]
COLUMNS += ["pairs_visited", "coverage", "coverage_low", "coverage_high"]
COLUMNS += ["coverage_unweighted", "coverage_unweighted_low", "coverage_unweighted_high"]
COLUMNS += ["coefficient", "infinite", "coefficient_covered", "coverage_half_bins", "coverage_double_bins"]


@dataclass
class Args:
    """Measure what the data covers of final policies."""

    runs: tuple[Path, ...]
    """the run files .../paper/<env>/<arm>.csv, with <arm>.policy.safetensors beside them where there is one"""
    datasets: tuple[Path, ...]
    """the dataset folders .../<env>/<llm>"""
    output: Path
    """the CSV to write"""
    tau: tuple[int, ...] = (10, 20, 30)
    """how many episodes of a dataset count for policies with no tau of their own: online RL's and the optimal ones"""
    episodes: int = 20
    """greedy episodes of each agent, where d_final is sampled and chance plays a part"""


# --- Frequencies ------------------------------------------------------------------------------------------------------


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


# --- Measuring -------------------------------------------------------------------------------------------------------


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


def measured(
    runs: Iterable[Run], datasets: dict[tuple[str, str], list[Episode]], args: Args
) -> Iterator[dict[str, object]]:
    """Measure warm starts on their own data, and online RL and the grid worlds' optimal policies on all data."""
    for env in envs.ENVIRONMENTS:
        data = {llm: episodes for (of, llm), episodes in datasets.items() if of == env}
        everything = [(llm, tau) for llm in data for tau in args.tau]
        here = sorted((run for run in runs if run.env == env), key=lambda run: (MEASURED.index(run.arm), run.path.stem))
        policies: list[tuple[str, str | None, list[Visits], list[tuple[str, int]]]] = []
        if data and env not in GRIDS:
            policies.append((OPTIMAL, None, [propagate(env, optimal_policy(env))], everything))
        for run in here:
            own = [(run.llm, run.tau)] if run.arm in FROM_DATA else everything
            policies.append((run.path.stem, sha256(run.path), visits_of(run, args.episodes), own))
        for name, digest, visits, held_against in policies:
            for llm, tau in held_against:
                if len(data.get(llm, [])) >= tau:
                    named = {"env": env, "policy": name, "data": llm, "episodes": tau, "run_sha256": digest}
                    yield named | row_of(env, visits, data[llm][:tau])


def read_measured(path: Path) -> pd.DataFrame:
    """Read what was measured, a row for each policy and dataset; `run_sha256` is empty of optimal policies."""
    if not path.is_file():
        raise UsageError(f"There is no table {path}: make it with analysis.coverage.")
    try:
        table = pd.read_csv(path, dtype={"run_sha256": str})
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read as a table ({error}); make it anew with analysis.coverage.") from error
    numbers = [name for name in COLUMNS if name not in (*KEY, "run_sha256", "method")]
    sound = list(table.columns) == COLUMNS and not table.duplicated(KEY).any()
    if not sound or not all(pd.api.types.is_numeric_dtype(table[name]) for name in numbers):
        raise Failure(f"{path} is not a table that analysis.coverage wrote, each policy and dataset once.")
    return table


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
    """Measure and write."""
    args = tyro.cli(Args)
    if not args.tau or min(*args.tau, args.episodes) < 1:
        raise UsageError("--tau and --episodes must be at least 1.")
    runs = by_name([run for run in map(read_run, args.runs) if run.arm in MEASURED]).values()
    left = [run for run in runs if policy_file(run).exists()]
    if not left:
        raise UsageError("None of the runs given has left its final policy (<arm>.policy.safetensors beside the CSV).")
    uncut = [env for env in dict.fromkeys(run.env for run in left) if not countable(env)]
    left = [run for run in left if run.env not in uncut]
    told = f"{', '.join(uncut)}: GRIDS (analysis/bins.py) does not say how states are cut into bins"
    if not left:
        raise UsageError(f"{told}.")
    rows = list(measured(left, read_datasets(args.datasets), args))
    if not rows:
        raise UsageError("Nothing can be measured: no dataset of the runs holds as many episodes as they ask for.")
    write_text(
        args.output, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.8g", lineterminator="\n")
    )
    print(
        f"{args.output}: {len(rows)} rows; {len(left)} of {len(runs)} runs have left their final policies."
        + f" Left out: {told}." * bool(uncut)
    )


if __name__ == "__main__":
    run_command_line(main)
