"""What analysis/audit.py measures, without its words: each function takes the released files and returns numbers.

Nothing here is known beforehand but what the authors' code says (which action is a default, how long an evaluation
lasts) and what an environment's rules say (what a step can cost at worst); every number is computed from the files or
simulated with a fixed seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

import envs
from analysis.arms import read_name
from analysis.import_published import LLMS, NAMES, PRETRAIN_STEPS, REPEATS, TAUS, Published, curves, published_runs
from analysis.import_released import (
    Record,
    import_released,
    is_terminal,
    known_start,
    load_released_pickle,
    locate,
    released_file,
    released_files,
)
from analysis.validate import PUT, validate

TAU, MAIN_STEPS, MAIN = 10, 3000, "loro_qwen-7b_tau10_n3000"
"""The setting of the paper's main figure."""
MAIN_LLM = "qwen-7b"
CLIFF_ARM = "loro_qwen-32b_tau10_n1000"
"""A cell whose printed sum tells which file's returns its warm-up was drawn with."""
FIRST, LAST = 10, 20
"""Iterations that count as the start, and as the end, of a curve."""
FIRST_REPEATS, BETTER = "LORO's first repeats, N = {}", "runs that end better than they began"
"""How finding 14 calls the fresh warm starts of one N, of all LLMs and tau, and the runs that learn."""
DEFAULT_ACTION = {
    "cartpole": 0,
    "frozen-lake": 0,
    "cliff-walking": 0,
    "mountain-car": 1,
    "pendulum": 0,
    "represented-pong": 0,
}
"""What the authors' parser plays when it finds no answer: left, left, up, none, no torque, none."""
PONG_OFFERED = (0, 2, 3)
"""The actions that the authors' Pong prompt offers."""
WORST_STEP = {"cliff-walking": 100.0, "mountain-car": 1.0}
"""What a step costs at worst, where the return of a random episode tells its least length."""
ITERATION_STEPS = 200
"""Environment steps that the authors' learners take in an iteration."""
WHOLE_RETURNS = tuple(env for env in envs.PAPER if env != "pendulum")
"""Where a single episode's return is a whole number."""
NAMED = {llm for llms in LLMS.values() for llm in llms.values()}
"""The LLMs whose files the authors' released code names; config/released_files.csv notes why others are there."""
TWICE = {"represented-pong": {"double_step": True}}
"""The authors' Pong plays each action twice; what is compared with their numbers is simulated so."""


class Number(NamedTuple):
    """One measured number: a row of audit.csv."""

    finding: int
    env: str
    file: str
    arm: str
    """The LLM or the arm that it is about."""
    quantity: str
    value: float
    unit: str


@dataclass
class Source:
    """The authors' folder, and how much random play to simulate."""

    folder: Path
    random_episodes: int = 200
    pong_games: int = 10
    _random: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _published: dict[str, dict[str, Published]] = field(default_factory=dict)
    _records: dict[str, list[Record]] = field(default_factory=dict)
    _caches: dict[Path, dict[str, list]] = field(default_factory=dict)

    def records(self, row: dict[str, str]) -> list[Record]:
        """Return the episodes of one row of config/released_files.csv as they are stored."""
        if row["file"] not in self._records:
            self._records[row["file"]] = load_released_pickle(locate(row, self.folder))._buffer._episodes
        return self._records[row["file"]]

    def published(self, env: str) -> dict[str, Published]:
        """Return the published curves of one environment by arm."""
        if env not in self._published:
            self._published[env] = published_runs(self.folder, env)
        return self._published[env]

    def random_returns(self, env: str, steps: int | None) -> np.ndarray:
        """Return what each of the simulated random episodes has earned after `steps`; None: at its end."""
        if env not in self._random:
            self._random[env] = play_at_random(env, self.pong_games if env in TWICE else self.random_episodes)
        return np.array([earned[: len(earned) if steps is None else steps][-1] for earned in self._random[env]])

    def gain(self, env: str) -> float:
        """Return the published gain of LORO over online RL in the main setting."""
        arms = self.published(env)
        return float(arms[MAIN].returns.sum(axis=1).mean() - arms["online"].returns.sum(axis=1).mean())

    def cache(self, path: Path) -> dict[str, list]:
        """Return the curves of one of the authors' caches by name."""
        if path not in self._caches:
            self._caches[path] = load_released_pickle(path)
        return self._caches[path]

    def trained(self, path: Path) -> int:
        """Return how many iterations a cache holds of one LORO repeat, plotted or not."""
        return next(len(curve) for name, curve in self.cache(path).items() if name.startswith("pretrain"))

    def random_length(self, env: str) -> float:
        """Return the mean length of the simulated random episodes."""
        self.random_returns(env, None)
        return float(np.mean([len(earned) for earned in self._random[env]]))


def play_at_random(env_name: str, episodes: int) -> list[np.ndarray]:
    """Play uniformly random actions; return what each episode has earned after each of its steps.

    An episode is as long as the authors' RL evaluation: the environment's horizon, in Pong a whole game.
    """
    env = envs.make(env_name, horizon=evaluation_steps(env_name) or 0, **TWICE.get(env_name, {}))
    generator = np.random.default_rng(0)  # not the environment's own, whose chance it would repeat
    space, played = env.action_space, []
    for episode in range(episodes):
        env.reset(seed=0 if episode == 0 else None)
        rewards, ended, cut_off = [], False, False
        while not (ended or cut_off):
            discrete = isinstance(space, gymnasium.spaces.Discrete)
            action = int(generator.integers(space.n)) if discrete else generator.uniform(space.low, space.high)
            _, reward, ended, cut_off, _ = env.step(action)
            rewards.append(float(reward))
        played.append(np.cumsum(rewards))
    env.close()
    return played


def evaluation_steps(env: str) -> int | None:
    """Return how long the authors' RL evaluation may last; None: a whole game."""
    return None if env == "represented-pong" else envs.get(env).horizon


def actions_of(records: list[Record]) -> np.ndarray:
    """Return all actions of a file, in order."""
    return np.concatenate([np.asarray(record.actions).reshape(-1) for record in records])


def lake_shares(records: list[Record]) -> tuple[float, float]:
    """Return the share of FrozenLake transitions that can happen at all, as stored and shifted.

    Chance decides where a step leads, so a transition is judged by whether it is one of the possible ones.
    """
    outcomes = envs.make("frozen-lake").unwrapped.P

    def possible(cell: Any, action: Any, reward: Any, following: Any) -> bool:
        return any(p > 0 and (n, r) == (following, reward) for p, n, r, _ in outcomes[int(cell)][int(action)])

    stored, shifted = [], []
    for record in records:
        cells, rewards = np.asarray(record.observations), np.asarray(record.rewards).reshape(-1)
        actions = np.asarray(record.actions).reshape(-1)
        before = [known_start("frozen-lake"), *cells[:-1]]
        stored += list(map(possible, cells[:-1], actions, rewards, cells[1:]))
        shifted += list(map(possible, before, actions, rewards, cells))
    return float(np.mean(stored)), float(np.mean(shifted))


def pairing(source: Source) -> list[Number]:
    """Finding 1: which re-simulated transitions agree, as stored and with actions one observation earlier."""
    numbers = []
    for row in released_files():
        if row["env"] == "frozen-lake":
            shares = lake_shares(source.records(row))
        elif row["env"] in PUT:
            episodes, _ = import_released(row["env"], row["llm"], source.folder, as_stored=True)
            verdicts = validate(row["env"], episodes)
            shares = verdicts[0]["share"], verdicts[1]["share"]
        else:
            continue  # Pong is replayed whole (finding 7)
        for quantity, share in zip(("agree as stored", "agree one step shifted"), shares, strict=True):
            numbers.append(Number(1, row["env"], row["file"], row["llm"], quantity, float(share), "share"))
    return numbers


def tau_of(arm: str) -> int:
    """Return the warm-up episodes that an arm's name says; 0 where there are none."""
    return read_name(arm).tau or 0


def starts(arm: str, returns: np.ndarray) -> np.ndarray:
    """Return each repeat's mean over its first ten online iterations."""
    tau = tau_of(arm)
    return returns[:, tau : tau + FIRST].mean(axis=1)


def carry_over(source: Source) -> list[Number]:
    """Finding 2: where the repeats of an arm begin, and what they add up to, for every published cell."""
    numbers = []
    for env in envs.PAPER:
        online = source.published(env)["online"].returns.sum(axis=1)
        for arm, published in source.published(env).items():
            first, sums = starts(arm, published.returns), published.returns.sum(axis=1)
            values = {
                "first ten: repeat 0": (first[0], "return"),
                "first ten: repeats 1-4": (first[1:].mean(), "return"),
                "repeat 0 starts lowest": (float(first[0] < first[1:].min()), "yes=1"),
                "sum as published": (sums.mean(), "return"),
                "sum of repeat 0": (sums[0], "return"),
                "sum of repeats 1-4": (sums[1:].mean(), "return"),
            }
            if arm.startswith("loro"):
                values |= {
                    "iterations repeat 0 had trained": (source.trained(published.cache), "iterations"),
                    "gain over online as published": (sums.mean() - online.mean(), "return"),
                    "gain over online of repeat 0": (sums[0] - online.mean(), "return"),
                    "online runs below repeat 0": (np.sum(online < sums[0]), "count"),
                }
            numbers += [Number(2, env, published.cache.name, arm, q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def lengths(source: Source) -> list[Number]:
    """Finding 3: episode lengths, and what random play earns at the LLM's cap and at the RL evaluation's."""
    numbers = []
    for row in released_files():
        env, records = row["env"], source.records(row)
        steps = [len(record.rewards) for record in records]
        cut_off = [n for n, r in zip(steps, records, strict=True) if not is_terminal(env, r.observations[-1])]
        evaluation = evaluation_steps(env) or source.random_length(env)
        values = {
            "mean length": (np.mean(steps), "steps"),
            "shortest": (min(steps), "steps"),
            "longest": (max(steps), "steps"),
            "RL length": (evaluation, "steps"),
            "LLM mean return": (np.mean([np.sum(r.rewards) for r in records]), "return"),
            "random at RL length": (source.random_returns(env, evaluation_steps(env)).mean(), "return"),
        }
        if cut_off:
            cap = max(cut_off)
            values["LLM cap"] = (cap, "steps")
            values["random at LLM cap"] = (source.random_returns(env, cap).mean(), "return")
        numbers += [Number(3, env, row["file"], row["llm"], q, float(v), u) for q, (v, u) in values.items()]
    for env in envs.PAPER:
        lowest = source.published(env)["online"].returns.min()
        file = source.published(env)["online"].cache.name
        numbers.append(Number(3, env, file, "online", "lowest cached evaluation", float(lowest), "return"))
    return numbers


def cut_offs(source: Source) -> list[Number]:
    """Finding 4: how many ends that are flagged terminal the environment's rules call cut-offs."""
    numbers = []
    for row in released_files():
        records = source.records(row)
        flagged = [record for record in records if record.terminated]
        wrong = sum(not is_terminal(row["env"], record.observations[-1]) for record in flagged)
        values = {"episodes": len(records), "flagged terminal": len(flagged), "of these cut-offs": wrong}
        numbers += [Number(4, row["env"], row["file"], row["llm"], q, v, "count") for q, v in values.items()]
    return numbers


def cliff_lines(source: Source) -> list[Number]:
    """Finding 5: what the two CliffWalking files of the 32B LLM make of the figure's line, and of LORO's warm-up."""
    iterations, numbers = envs.get("cliff-walking").iterations, []
    online_part = source.published("cliff-walking")[CLIFF_ARM].returns[:, TAU:].sum(axis=1).mean()
    for llm in ("qwen-32b", "qwen-32b-typo"):
        row = released_file("cliff-walking", llm)
        mean = float(np.mean([np.sum(record.rewards) for record in source.records(row)]))
        values = {"mean return": mean, "mean times iterations": mean * iterations}
        values["sum of LORO with this warm-up"] = TAU * mean + float(online_part)
        numbers += [Number(5, row["env"], row["file"], llm, q, v, "return") for q, v in values.items()]
    return numbers


def uncapped(source: Source) -> list[Number]:
    """Finding 6: the random episodes that the pretrain-random arm begins with, and their share of its sum."""
    numbers = []
    for env in envs.PAPER:
        horizon = envs.get(env).horizon
        capped = source.random_returns(env, horizon)
        for arm, published in source.published(env).items():
            if not arm.startswith("pretrain-random"):
                continue
            tau = tau_of(arm)
            first, total = published.returns[:, :tau], published.returns.sum(axis=1).mean()
            warm_up = first.sum(axis=1).mean()
            values = {
                "lowest of the first tau": (first.min(), "return"),
                "highest of the first tau": (first.max(), "return"),
                "lowest of our capped random episodes": (capped.min(), "return"),
                "sum as published": (total, "return"),
                "share of the first tau": (warm_up / total if total else 0.0, "share"),
                "sum with capped episodes": (total - warm_up + tau * capped.mean(), "return"),
            }
            if env in WORST_STEP:
                values["longest has at least"] = (math.ceil(-first.min() / WORST_STEP[env]), "steps")
                beyond = np.mean(-first / WORST_STEP[env] > horizon + 1)  # their cap lets one step more through
                values["surely longer than the cap"] = (beyond, "share")
            numbers += [Number(6, env, published.cache.name, arm, q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def replay(records: list[Record], double_step: bool) -> tuple[float, float]:
    """Play a Pong file's actions again from the start: share of observations that agree, median ball step."""
    env = envs.make("represented-pong", horizon=0, double_step=double_step)
    agree, moved = [], []
    for record in records:
        env.reset(seed=0)
        seen = np.array([env.step(int(action))[0] for action in np.asarray(record.actions).reshape(-1)])
        agree.append((seen == np.asarray(record.observations)).all(axis=1))
        moved.append(ball_steps(seen))
    env.close()
    return float(np.concatenate(agree).mean()), float(np.median(np.concatenate(moved)))


def ball_steps(observations: np.ndarray) -> np.ndarray:
    """Return how far the ball goes across between observations, where it moves at all."""
    across = np.abs(np.diff(np.asarray(observations)[:, 4].astype(float)))
    return across[across > 0]


def two_steps(source: Source) -> list[Number]:
    """Finding 7: what a replay of the Pong files with one and with two steps an action gives, and unpaid points."""
    numbers = []
    for row in released_files():
        if row["env"] != "represented-pong":
            continue
        records = source.records(row)
        values = {"ball's step, stored": (np.median(np.concatenate([ball_steps(r.observations) for r in records])), "")}
        for word, double in (("one step", False), ("two steps", True)):
            agree, moved = replay(records, double)
            values[f"replay agrees: {word}"] = (agree, "share")
            values[f"ball's step: {word}"] = (moved, "")
        # the scores start at 0 and every point moves one of them by one
        points = sum(np.asarray(r.observations)[-1, [6, 7]].astype(float).sum() for r in records)
        paid = sum(np.abs(np.asarray(r.rewards, dtype=float)).sum() for r in records)
        values |= {"points by the score": (points, "count"), "points in the rewards": (paid, "count")}
        numbers += [
            Number(7, row["env"], row["file"], row["llm"], q, float(v), u or "pixels") for q, (v, u) in values.items()
        ]
    return numbers


def evaluation_noise(source: Source) -> list[Number]:
    """Finding 8: how the last evaluations of an online run differ, and how much of that a sum can inherit."""
    numbers = []
    for env in envs.PAPER:
        published = source.published(env)["online"]
        repeats, iterations = published.returns.shape
        end, sums = published.returns[:, -LAST:], published.returns.sum(axis=1)
        within = end.var(axis=1, ddof=1).mean()
        values = {
            "chance in an evaluation": (float(not envs.get(env).deterministic), "yes=1"),
            "sd within a repeat": (np.sqrt(within), "return"),
            "sd between repeats": (end.mean(axis=1).std(ddof=1), "return"),
            "sd of a repeat's sum": (sums.std(ddof=1), "return"),
            "of it by evaluation, at most": (np.sqrt(iterations * within), "return"),
            "of the mean of all, at most": (np.sqrt(iterations * within / repeats), "return"),
            "published gain": (source.gain(env), "return"),
        }
        numbers += [Number(8, env, published.cache.name, "online", q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def means_of_several(source: Source) -> list[Number]:
    """Finding 8: caches whose evaluations are means of several episodes, where a single one's return is whole."""
    numbers = []
    for env in WHOLE_RETURNS:
        for path in sorted(source.folder.glob(f"cache_{NAMES[env]}_*.pkl")):
            values = [value for curve in source.cache(path).values() for value in np.ravel(curve)]
            share = float(np.mean(np.not_equal(values, np.round(values))))
            if share:
                numbers.append(Number(8, env, path.name, "all", "values that are no whole return", share, "share"))
    return numbers


def played_actions(source: Source) -> list[Number]:
    """Finding 9: what the LLM's actions show of its prompt and parser."""
    numbers = []
    for row in released_files():
        env, records = row["env"], source.records(row)
        actions = actions_of(records)
        _, counts = np.unique(actions, return_counts=True)
        values = {
            "default action": float(np.mean(actions == DEFAULT_ACTION[env])),
            "commonest action": counts.max() / len(actions),
        }
        if env == "pendulum":
            values["torque beyond 1"] = float(np.mean(np.abs(actions) > 1))
        if env == "represented-pong":
            values["action never offered"] = float(np.mean(~np.isin(actions, PONG_OFFERED)))
        if env == "cartpole":
            values |= pushes(records)
        if env == "frozen-lake":
            lake = envs.make(env).unwrapped.desc.reshape(-1)
            values["ends in a hole"] = float(np.mean([lake[int(r.observations[-1])] == b"H" for r in records]))
        numbers += [Number(9, env, row["file"], row["llm"], q, float(v), "share") for q, v in values.items()]
    return numbers


def pushes(records: list[Record]) -> dict[str, float]:
    """Return how often CartPole is pushed right by where the pole leans and turns (actions after what they saw)."""
    seen = np.concatenate([np.asarray(record.observations)[:-1] for record in records])
    right = np.concatenate([np.asarray(record.actions).reshape(-1)[1:] for record in records])
    turns: dict[str, Callable[[np.ndarray], np.ndarray]] = {"right": lambda x: x > 0, "left": lambda x: x < 0}
    shares = {}
    for lean, leans in turns.items():
        for turn, turning in turns.items():
            chosen = right[leans(seen[:, 2]) & turning(seen[:, 3])]
            shares[f"right if leaning {lean}, turning {turn}"] = float(chosen.mean()) if len(chosen) else math.nan
    return shares


def step_budgets(source: Source) -> list[Number]:
    """Finding 10: the environment steps of an LLM's first tau episodes, beside those of as many iterations."""
    numbers = []
    for row in released_files():
        if row["llm"] not in NAMED:
            continue
        steps = sum(len(record.rewards) for record in source.records(row)[:TAU])
        iterations = envs.get(row["env"]).iterations
        whole = iterations * ITERATION_STEPS
        values = {
            f"steps of the first {TAU} episodes": (steps, "steps"),
            f"steps of {TAU} iterations": (TAU * ITERATION_STEPS, "steps"),
            "LORO's steps in all": (steps + whole - TAU * ITERATION_STEPS, "steps"),
            "online RL's steps in all": (whole, "steps"),
            "LORO has fewer by": (1 - (steps + whole - TAU * ITERATION_STEPS) / whole, "share"),
        }
        numbers += [Number(10, row["env"], row["file"], row["llm"], q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def collections(source: Source) -> list[Number]:
    """Finding 11: the LLMs of which several files were released, and what each of them holds."""
    files: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in released_files():
        tuned = "-sft" in row["llm"]
        files.setdefault((row["env"], row["model"] + " tuned" * tuned), []).append(row)
    numbers = []
    for rows in files.values():
        if all(row["llm"] in NAMED for row in rows):
            continue
        for row in rows:
            records = source.records(row)
            returns, steps = (sum(np.sum(r.rewards) for r in records), sum(len(r.rewards) for r in records))
            values = {
                "named by the code": (row["llm"] in NAMED, "yes=1"),
                "mean return": (returns / len(records), "return"),
                "mean length": (steps / len(records), "steps"),
                "return per step": (returns / steps, "return"),
            }
            numbers += [Number(11, row["env"], row["file"], row["llm"], q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def baselines(source: Source) -> list[Number]:
    """Finding 12: what online RL collects in each cache, in all of them, and the main setting's gain over either."""
    numbers = []
    for env in envs.PAPER:
        everything = online_runs(source, env, envs.get(env).iterations)
        loro = float(source.published(env)[MAIN].returns.sum(axis=1).mean())
        own, of_all = source.published(env)["online"], float(everything.sum(axis=1).mean())
        of_own = float(own.returns.sum(axis=1).mean())
        values = {
            "runs of online RL": (len(everything), "count"),
            "sum, main setting's five": (of_own, "return"),
            "sum, all runs": (of_all, "return"),
            "gain over the five": (loro - of_own, "return"),
            "gain over all": (loro - of_all, "return"),
            "factor over the five": (factor(loro, of_own), "ratio"),
            "factor over all": (factor(loro, of_all), "ratio"),
        }
        numbers += [Number(12, env, own.cache.name, MAIN_LLM, q, float(v), u) for q, (v, u) in values.items()]
    return numbers


def online_runs(source: Source, env: str, iterations: int) -> np.ndarray:
    """Return the online RL of all caches [runs, iterations]; runs that were copied into a second cache count once."""
    caches = map(source.cache, sorted(source.folder.glob(f"cache_{NAMES[env]}_Neps_*.pkl")))
    runs = [curves(cache, "online", iterations) for cache in caches if "online_0" in cache]
    return np.concatenate(list({returns.tobytes(): returns for returns in runs}.values()))


def factor(reward: float, baseline: float) -> float:
    """Return how many times the baseline's reward another is; of costs, how many times less it costs."""
    return reward / baseline if baseline > 0 else baseline / reward


def mixed(source: Source) -> list[Number]:
    """Finding 13: how many of the LLM's episodes each run of mix counted, and how far it lies from online RL.

    The authors' mix takes an iteration less for each episode that it puts into the buffer, as LORO does for each that
    it is pretrained on; online RL takes them all. In an environment without chance the first evaluation tells, too: an
    empty buffer holds fewer transitions after 200 steps than an update takes, so that the network is as it began,
    whatever tau is.
    """
    numbers, firsts = [], {}
    for env, (ending, llms), tau in product(envs.PAPER, LLMS.items(), TAUS):
        path = source.folder / f"cache_{NAMES[env]}_Neps_{tau}{ending}.pkl"
        cache = source.cache(path) if path.exists() else {}
        for key, llm in llms.items():
            if f"finetune_{key}_0" not in cache or "online_0" not in cache:
                continue
            stored = {name: len(cache[f"{name}_0"]) for name in ("online", f"finetune_{key}")}
            learnt = envs.get(env).iterations - tau
            mix, online = (curves(cache, name, learnt) for name in (f"finetune_{key}", "online"))
            firsts.setdefault((env, llm), []).append((path, mix[:, 0]))
            values = {
                "iterations of online RL": (stored["online"], "count"),
                "iterations of mix": (stored[f"finetune_{key}"], "count"),
                "LLM episodes that mix counted": (stored["online"] - stored[f"finetune_{key}"], "count"),
                "an evaluation of mix, less online RL's": (mix.mean() - online.mean(), "return"),
            }
            arm = f"mix_{llm}_tau{tau}"
            numbers += [Number(13, env, path.name, arm, q, float(v), unit) for q, (v, unit) in values.items()]
    for (env, llm), found in firsts.items():
        if envs.get(env).deterministic and len(found) > 1:
            returns = np.array([first for _, first in found])
            same = (returns == returns[0]).all(axis=0)
            for quantity, count in {
                "repeats whose first evaluation is the same for every tau": same.sum(),
                "different values among these": len(np.unique(returns[0][same])),
            }.items():
                numbers.append(Number(13, env, found[0][0].name, f"mix_{llm}", quantity, float(count), "count"))
    return numbers


def unplotted(source: Source) -> list[Number]:
    """Finding 14: how the runs end where they go on after what is plotted; of LORO the first repeats, fresh ones."""
    numbers = []
    for env in envs.PAPER:
        plotted, main = envs.get(env).iterations, source.published(env)[MAIN].cache
        held = len(source.cache(main)["online_0"])
        if held <= plotted:
            continue
        arms: dict[str, list[np.ndarray]] = {"online": [*online_runs(source, env, held)]}
        for (ending, llms), tau, key in product(LLMS.items(), TAUS, ("7b", "32b")):
            path = source.folder / f"cache_{NAMES[env]}_Neps_{tau}{ending}.pkl"
            cache = source.cache(path) if key in llms and path.exists() else {}
            named = {"mix": [f"finetune_{key}_{repeat}" for repeat in range(REPEATS)]}
            named |= {FIRST_REPEATS.format(steps): [f"pretrain_{key}_{steps}_0"] for steps in PRETRAIN_STEPS}
            for arm, names in named.items():
                runs = [np.asarray(cache[name], dtype=np.float64) for name in names if name in cache]
                # what a curve lacks is its warm-up: the iterations of all arms count from where online RL begins
                runs = [np.append(np.full(max(held - len(run), 0), np.nan), run) for run in runs]
                arms.setdefault(arm, []).extend(runs)
        for arm, runs in arms.items():
            last = [run[-LAST:].mean() for run in runs]
            began = [run[~np.isnan(run)][:LAST].mean() for run in runs]
            values = {
                "runs": (len(runs), "count"),
                "iterations plotted": (plotted, "count"),
                "iterations run": (min(map(len, runs)), "count"),
                "last 20 that are plotted": (np.mean([run[plotted - LAST : plotted] for run in runs]), "return"),
                "last 20 of all": (np.mean(last), "return"),
                BETTER: (np.sum(np.greater(last, began)), "count"),
            }
            numbers += [Number(14, env, main.name, arm, q, float(v), unit) for q, (v, unit) in values.items()]
    return numbers
