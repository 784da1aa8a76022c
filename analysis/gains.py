"""What warm starts gained over online RL, and how well their LLMs play, on one scale per environment.

0 is the random policy's mean return, 1 the level that online RL reaches: the mean of its last 20 evaluations. An
environment in which that level is not shown to exceed random play has no such scale. A gain is an arm's mean return
minus online RL's over the iterations after the warm-up, so that the LLM's own returns are not counted as the learner's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

import envs
from analysis.measures import AFTER, STEPS_AFTER, Pair
from analysis.runs import Run
from analysis.statistics import bootstrap_interval, difference_interval
from analysis.wording import short, with_interval
from envs.errors import Failure, UsageError

WARM_STARTS = ("loro", "mix")
LEVEL = 20
"""Iterations whose mean is a level of online RL: its first ones, its last ones."""
GAIN_AT_EQUAL_STEPS = ("gain_at_equal_steps", "gain_at_equal_steps_low", "gain_at_equal_steps_high")


@dataclass
class Baseline:
    """What an environment's warm starts are measured against; returns, undiscounted."""

    online: Run
    random: Run | None
    first: float
    """online RL's mean over its first iterations"""
    last: float
    """online RL's mean over its last iterations: the reference"""
    not_placed: str | None
    """why the environment has no scale from random to the reference; None where it has one"""


def episode_lengths(run: Run) -> pd.Series:
    """Return the lengths of a run's episodes, steps; raise Failure when the run does not say."""
    lengths = run.table.eval_length
    if not pd.api.types.is_numeric_dtype(lengths) or not (lengths > 0).all():
        raise Failure(f"Run {run.path} does not say how long the episodes were (eval_length).")
    return lengths


def longest_episode(policy: Run) -> int:
    """Return the length of a policy's longest episode, steps."""
    return int(episode_lengths(policy).max())


def cut_short(policy: Run) -> bool:
    """Return whether a policy's episodes were cut off before the evaluations are.

    Known only where no state is terminal; elsewhere a short episode may have ended by itself.
    """
    environment = envs.get(policy.env)
    return environment.endless and longest_episode(policy) < environment.horizon


def baseline_of(online: Run, random: Run | None) -> Baseline:
    """Return an environment's baseline, and whether online RL is shown to exceed random play."""
    levels = online.curves()[:, -LEVEL:].mean(axis=1)
    first, last = float(online.curves()[:, :LEVEL].mean()), float(levels.mean())
    reason = None
    if random is None:
        reason = "no run of the random policy"
    elif cut_short(random):
        reason = "the random policy's episodes were cut off before the evaluations are"
    else:
        low, high = difference_interval(levels, random.table.eval_return.to_numpy())
        if not math.isfinite(low):
            reason = "too few seeds for an interval"
        elif low <= 0:
            gap = with_interval(last - random.mean_return(), low, high, short)
            reason = f"online RL's last level is not shown to exceed the random policy: the difference is {gap}"
    return Baseline(online, random, first, last, reason)


def quality_of(llm: Run, baseline: Baseline) -> tuple[float, float, float]:
    """Return an LLM's quality on its environment's scale, with its 95% interval over the LLM's episodes.

    Where its episodes were cut off early, returns do not compare, and returns per step are used for all three.
    """
    per_step = cut_short(llm)

    def returns(run: Run) -> np.ndarray:
        return (run.table.eval_return / episode_lengths(run) if per_step else run.table.eval_return).to_numpy()

    late = baseline.online.table.iteration >= baseline.online.iterations - LEVEL
    worst, best = returns(baseline.random).mean(), returns(baseline.online)[late].mean()
    quality = (returns(llm) - worst) / (best - worst)
    return float(quality.mean()), *map(float, bootstrap_interval(quality))


def row_of(run: Run, baseline: Baseline, llm: Run | None) -> dict[str, object]:
    """Return the tidy row of one warm start; raise UsageError when nothing follows its warm-up."""
    if run.iterations <= run.tau:
        raise UsageError(f"Run {run.path} ends with its warm-up; there is nothing to compare after it.")
    pair = Pair(run.env, run, baseline.online)
    gain, seeds = np.array(pair.difference(AFTER)), pair.seeds
    random_return = baseline.random.mean_return() if baseline.random else np.nan
    placed = baseline.not_placed is None
    scale = baseline.last - random_return if placed else np.nan
    quality = quality_of(llm, baseline) if llm and placed else (np.nan,) * 3
    return {
        "env": run.env,
        "llm": run.llm,
        "tau": run.tau,
        "pretrain_steps": run.pretrain_steps,
        "arm": run.arm,
        "llm_return": llm.mean_return() if llm else np.nan,
        "llm_return_used": float(run.curves()[:, : run.tau].mean()),
        "llm_episodes": llm.iterations if llm else None,
        "llm_longest": longest_episode(llm) if llm else None,
        "random_return": random_return,
        "online_first": baseline.first,
        "online_last": baseline.last,
        "per_step": cut_short(llm) if llm else False,
        **dict(zip(("quality", "quality_low", "quality_high"), quality, strict=True)),
        **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
        **dict(zip(GAIN_AT_EQUAL_STEPS, pair.difference(STEPS_AFTER), strict=True)),
        **dict(zip(("gain_share", "gain_share_low", "gain_share_high"), gain / scale, strict=True)),
        "improvement": pair.improvement(AFTER),
        "seeds": seeds[0],
        "online_seeds": seeds[1],
    }


def by_name(runs: list[Run]) -> dict[tuple[str, str, str], Run]:
    """Return the runs by (environment, arm, setting); raise UsageError where one is twice there or not of `paper`."""
    named: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        if run.protocol != "paper":
            raise UsageError(f"{run.path} is not of the protocol paper: give only runs/paper/<env>/<arm>.csv.")
        other = named.setdefault((run.env, run.arm, run.details), run)
        if other is not run:
            raise UsageError(f"{other.path} and {run.path} are the same run twice: give one.")
        if run.arm in WARM_STARTS and (run.llm is None or run.tau is None):
            raise UsageError(f"{run.path} does not name the LLM and tau: {run.arm}_<llm>_tau<tau>.")
    return named


def repeated_runs(runs: Iterable[Run]) -> dict[tuple[str, str, str], Run]:
    """Return, by (environment, arm, setting), the warm starts that are the same run as another LLM's, and that run.

    Every number of every row is the same, loss and action values too: equal data trains equal agents. LLMs can play the
    same first tau episodes and differ later, so the digest of a whole dataset does not tell.
    """
    firsts: dict[tuple[object, ...], list[Run]] = {}
    found = {}
    for run in sorted(runs, key=lambda r: (r.env, r.details)):
        if run.arm not in WARM_STARTS:
            continue
        others = firsts.setdefault((run.env, run.arm, run.tau, run.pretrain_steps), [])
        equal = next((other for other in others if other.table.equals(run.table)), None)
        if equal is None:
            others.append(run)
        else:
            found[run.env, run.arm, run.details] = equal
    return found
