"""How well the LLMs play, beside chance and beside doing the same thing always, over equal horizons.

    python -m analysis.llm_policies --datasets results/datasets/*/* --output results/tables/llm_policies.csv

A dataset is a folder .../<env>/<llm>. Episodes were cut off after different numbers of steps (the authors' Pendulum
after 50, MountainCar with the 32B model after 100), and returns over different numbers of steps do not compare. So each
horizon that occurs in an environment has its own block, to which every policy that played at least as long is cut. The
uniformly random policy and the constant actions are played here, from fixed seeds. The .md beside the CSV is for
reading.

An imported episode whose first step could not be paired counts as it was played: the first reward is what the return
that the authors stored has more than the other steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import pandas as pd
import tyro

import envs
from analysis.statistics import bootstrap_interval, difference_interval
from analysis.wording import table_lines, with_interval
from envs.datasets import load_dataset, read_meta
from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text

CONSTANTS: dict[str, dict[str, Any]] = {
    "cartpole": {"left": 0, "right": 1},
    "frozen-lake": {"left": 0, "down": 1, "right": 2, "up": 3},
    "cliff-walking": {"up": 0, "right": 1, "down": 2, "left": 3},
    "mountain-car": {"left": 0, "coast": 1, "right": 2},
    "pendulum": {f"torque {torque}": np.array([torque], dtype=np.float32) for torque in (-2, -1, 0, 1, 2)},
    "represented-pong": {"stay": 0, "up": 2, "down": 3},  # the game's other three actions do the same
}
"""The constant actions of each environment; of any other, `any_constants`."""

INTRODUCTION = """\
# How well the LLMs play

Undiscounted returns: mean [95% bootstrap interval over episodes]. Within a table all episodes are cut to the horizon in
its title, so that returns compare; across tables they do not. A policy is called better (worse) than another where the
95% bootstrap interval of the difference of means lies above (below) zero, and "not shown" where it holds zero. The best
constant is chosen by the same episodes that its row shows, which flatters it a little. Where all episodes of a policy
are alike its interval has no width: that is no certainty, a success in 30 episodes may just not have happened. Prompts,
invalid answers, tokens and the LLM's seconds are those of the whole dataset, empty where it is cut or did not record
them. "Uniformly random" and "always ..." were played for this table; a dataset named random is more of the same.
"""


@dataclass
class Args:
    """Compare the policies of datasets with chance and with constant actions."""

    datasets: tuple[Path, ...]
    """the dataset folders: .../<env>/<llm>"""
    output: Path
    """the CSV to write; the .md goes beside it"""
    episodes: int = 100
    """episodes of the random policy, and of each constant action unless the environment is deterministic"""


@dataclass
class Play:
    """One episode: its rewards [T] and whether it ended by itself (else it was cut off)."""

    rewards: np.ndarray
    terminated: bool

    def first(self, steps: int) -> "Play":
        """Return the episode as it would have been, had it been cut off after `steps`."""
        return self if len(self.rewards) <= steps else Play(self.rewards[:steps], terminated=False)


Rules = Literal["", "two game steps per action"]
"""How an environment departs from the package's: the authors' Pong plays an action twice and loses the first reward."""


@dataclass
class Policy:
    """A policy's episodes in one environment."""

    env: str
    name: str
    plays: list[Play]
    horizon: int
    """Steps after which its episodes were cut off."""
    rules: Rules = ""
    exact: bool = False
    """True where one episode says all: a constant action in a deterministic environment."""
    meta: dict[str, Any] = field(default_factory=dict)
    """The dataset's meta.json; empty where the policy was played here."""

    def covers(self, horizon: int) -> bool:
        """Return whether its episodes are known for `horizon` steps; those that all ended by themselves always are."""
        return self.horizon >= horizon or all(play.terminated for play in self.plays)

    def cut(self, horizon: int) -> "Policy":
        """Return this policy with every episode cut to `horizon` steps."""
        return replace(self, plays=[play.first(horizon) for play in self.plays])

    @property
    def returns(self) -> np.ndarray:
        """The undiscounted returns [episodes]."""
        return np.array([play.rewards.sum() for play in self.plays])

    @property
    def transitions(self) -> int:
        """The number of steps."""
        return sum(len(play.rewards) for play in self.plays)


# --- Policies --------------------------------------------------------------------------------------------------------


def read_policy(folder: Path) -> Policy:
    """Return the policy that a dataset folder .../<env>/<llm> records.

    Its horizon is the recorded one; where none is recorded the longest cut-off episode tells, and where none was cut
    off it is the environment's. Raises UsageError when there is no such dataset or its episodes' true ends are not
    known, Failure when it is damaged or empty.
    """
    env, name = folder.resolve().parent.name, folder.resolve().name
    episodes, meta = load_dataset(folder, env), read_meta(folder)
    if not episodes:
        raise Failure(f"Dataset {folder} holds no episodes; make it anew.")
    if meta.get("pairing") == "as stored":
        raise UsageError(f"Dataset {folder} takes every cut-off for an ending: import it without --as-stored.")
    rewards = [episode.rewards for episode in episodes]
    if meta.get("first_steps_dropped"):
        returns = meta.get("returns_as_stored", [])
        if len(returns) != len(episodes):
            raise Failure(f"Dataset {folder}: meta.json has {len(returns)} returns for {len(episodes)} episodes.")
        rewards = [np.concatenate([[whole - r.sum()], r]) for whole, r in zip(returns, rewards, strict=True)]
    plays = [Play(r, bool(e.terminations[-1])) for r, e in zip(rewards, episodes, strict=True)]
    cut_off = (len(play.rewards) for play in plays if not play.terminated)
    horizon = meta.get("horizon") or max(cut_off, default=envs.get(env).horizon)
    rules: Rules = "two game steps per action" if env == "represented-pong" and "source_file" in meta else ""
    return Policy(env, name, plays, horizon, rules, meta=meta)


def play_here(env: str, horizon: int, rules: Rules, episodes: int) -> tuple[Policy, list[Policy]]:
    """Return the uniformly random policy and the constant ones, each played for up to `horizon` steps an episode."""
    game = envs.make(env, horizon, **({"double_step": True} if rules else {}))
    chance = [play_episode(game, index, lambda: game.action_space.sample()) for index in range(episodes)]
    exact = envs.get(env).deterministic
    constants = []
    for word, action in (CONSTANTS.get(env) or any_constants(game.action_space)).items():
        plays = [play_episode(game, index, lambda a=action: a) for index in range(1 if exact else episodes)]
        constants.append(Policy(env, f"always {word}", plays, horizon, rules, exact))
    game.close()
    return Policy(env, "uniformly random", chance, horizon, rules), constants


def any_constants(space: gymnasium.Space) -> dict[str, Any]:
    """Return actions to play constantly where none are named: all discrete ones, else the two ends of the space."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return {f"action {action}": action for action in range(space.start, space.start + space.n)}
    return {"the least": space.low, "the largest": space.high}


def play_episode(game: gymnasium.Env, index: int, policy: Callable[[], Any]) -> Play:
    """Play episode `index`, whose seeds depend on it alone, with an action of `policy` at every step."""
    game.reset(seed=index)
    game.action_space.seed(int(np.random.SeedSequence([index, 1]).generate_state(1)[0]))  # apart from the game's own
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = game.step(policy())
        rewards.append(float(reward))
    return Play(np.array(rewards), bool(terminated))


# --- The table -------------------------------------------------------------------------------------------------------


def successes(policy: Policy) -> int | None:
    """Return how many episodes reached the goal, or None where the environment has none."""
    if policy.env == "frozen-lake":  # holes end an episode too
        return sum(play.terminated and play.rewards[-1] > 0 for play in policy.plays)
    if policy.env in ("cliff-walking", "mountain-car"):
        return sum(play.terminated for play in policy.plays)
    return None


def compare(policy: Policy, other: Policy) -> tuple[float, float]:
    """Return the 95% interval of the difference of mean returns, policy - other; NaN where there are too few."""
    samples = [np.repeat(p.returns, 2) if p.exact else p.returns for p in (policy, other)]
    return difference_interval(*samples)


def in_words(low: float, high: float) -> str:
    """Say what the interval of a difference shows."""
    if math.isnan(low):
        return "too few episodes"
    if low == high == 0:
        return "equal"
    return "better" if low > 0 else "worse" if high < 0 else "not shown"


def row_of(policy: Policy, horizon: int, chance: Policy, constant: Policy) -> dict[str, Any]:
    """Return a row: `policy`, `chance` and the best `constant`, all cut to `horizon` already."""
    low, high = bootstrap_interval(policy.returns)
    chance_interval = (None, None) if policy is chance else compare(policy, chance)
    steps = policy.meta.get("transitions", 0) + policy.meta.get("first_steps_dropped", 0)
    recorded = policy.meta if steps == policy.transitions else {}  # what is cut has no counts of its own
    invalid = recorded.get("invalid_answers")
    return {
        "env": policy.env,
        "policy": policy.name,
        "horizon": horizon,
        "rules": policy.rules,
        "episodes": len(policy.plays),
        "played_horizon": policy.horizon if policy.meta else horizon,
        "mean_return": policy.returns.mean(),
        "low": float(low),
        "high": float(high),
        "difference_to_random": None if policy is chance else policy.returns.mean() - chance.returns.mean(),
        "difference_low": chance_interval[0],
        "difference_high": chance_interval[1],
        "than_random": "" if policy is chance else in_words(*chance_interval),
        "than_best_constant": "" if policy is constant else in_words(*compare(policy, constant)),
        "mean_length": policy.transitions / len(policy.plays),
        "successes": successes(policy),
        "transitions": policy.transitions,
        "distinct_prompts": recorded.get("distinct_prompts"),
        "invalid_answers": invalid,
        "invalid_share": None if invalid is None else invalid / policy.transitions,
        "tokens": recorded.get("tokens"),
        "seconds": recorded.get("seconds"),
    }


def rows_of(env: str, policies: list[Policy], episodes: int) -> list[dict[str, Any]]:
    """Return an environment's rows: by rules, then by horizon, the longest first, then by mean return."""
    rows = []
    for rules in sorted({policy.rules for policy in policies}):
        same_rules = [policy for policy in policies if policy.rules == rules]
        horizons = sorted({policy.horizon for policy in same_rules}, reverse=True)
        chance, constants = play_here(env, horizons[0], rules, episodes)
        for horizon in horizons:
            random = chance.cut(horizon)
            best = max((constant.cut(horizon) for constant in constants), key=lambda p: p.returns.mean())
            compared = [policy.cut(horizon) for policy in same_rules if policy.covers(horizon)]
            block = [row_of(policy, horizon, random, best) for policy in (*compared, random, best)]
            rows += sorted(block, key=lambda row: (-row["mean_return"], row["policy"]))
    return rows


# --- For reading -----------------------------------------------------------------------------------------------------


def number(value: float, like: float | None = None) -> str:
    """Format a return, with as many decimals as one of the size of `like` deserves."""
    size = abs(value if like is None else like)
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 100 else 2}f}".replace("-", "−")


def count(value: float | None, decimals: int = 0) -> str:
    """Format a count, or nothing where there is none."""
    return "" if value is None else f"{value:,.{decimals}f}"


def cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the cells of a row, by column title."""
    mean, low, high = row["mean_return"], row["low"], row["high"]
    cut = f" (first {row['horizon']} of {row['played_horizon']} steps)"
    invalid, share = row["invalid_answers"], row["invalid_share"]
    return {
        "policy": row["policy"] + (cut if row["played_horizon"] > row["horizon"] else ""),
        "episodes": str(row["episodes"]),
        "mean return": with_interval(mean, low, high, partial(number, like=mean)),
        "than random": row["than_random"],
        "than the best constant": row["than_best_constant"],
        "mean length": f"{row['mean_length']:.1f}",
        "successes": count(row["successes"]),
        "transitions": count(row["transitions"]),
        "distinct prompts": count(row["distinct_prompts"]),
        "invalid answers": "" if invalid is None else f"{invalid:,} ({share:.1%})",
        "tokens": count(row["tokens"]),
        "seconds": count(row["seconds"], 1),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the tables for reading; a column that is empty throughout a table is left out."""
    lines = [INTRODUCTION]
    blocks: dict[tuple, list[dict[str, str]]] = {}
    for row in rows:
        blocks.setdefault((row["env"], row["horizon"], row["rules"]), []).append(cells(row))
    for (env, horizon, rules), block in blocks.items():
        titles = [title for title in block[0] if any(shown[title] for shown in block)]
        lines += [f"## {envs.get(env).title}, {horizon} steps{f', {rules}' if rules else ''}", ""]
        lines += [*table_lines(titles, ([shown[title] for title in titles] for shown in block)), ""]
    return "\n".join(lines)


def main() -> None:
    """Write the table as CSV and Markdown."""
    args = tyro.cli(Args)
    if not args.datasets:
        raise UsageError("--datasets: there are no datasets to compare.")
    if args.episodes < 2:
        raise UsageError(f"--episodes must be at least 2, not {args.episodes}: one episode has no interval.")
    if args.output.suffix != ".csv":
        raise UsageError(f"--output {args.output}: the name must end in .csv.")
    policies: dict[tuple[str, str], Policy] = {}
    for folder in args.datasets:
        policy = read_policy(folder)
        if (policy.env, policy.name) in policies:
            raise UsageError(f"{folder}: there is another dataset of '{policy.name}' in {policy.env}; give one.")
        policies[policy.env, policy.name] = policy
    rows = []
    for env in envs.ENVIRONMENTS:
        if found := [policy for policy in policies.values() if policy.env == env]:
            rows += rows_of(env, found, args.episodes)
    whole_numbers = ("successes", "distinct_prompts", "invalid_answers", "tokens")
    table = pd.DataFrame(rows).astype(dict.fromkeys(whole_numbers, "Int64"))
    write_text(args.output, table.to_csv(index=False, float_format="%.8g"))
    write_text(args.output.with_suffix(".md"), markdown(rows))


if __name__ == "__main__":
    run_command_line(main)
