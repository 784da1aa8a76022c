"""Spearman's rank correlation of a warm start's gain with what it may depend on, within environments and over all."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics import Estimate, stratified_interval
from analysis.wording import short, with_interval

FEWEST_POINTS = 6
"""A rank correlation over fewer points says nothing."""
CORRELATION = """\
Points of a correlation are LLMs in environments, ranked among all of them or among those of their environment. An
environment's points share its online RL, and those whose agents never learn are tied: the intervals are too narrow.
A correlation is no cause."""


def correlation_points(rows: list[dict]) -> pd.DataFrame:
    """Return the points of a correlation: quality and share gained by each LLM in each environment, of one N.

    A run that is the same as another LLM's is no further evidence. Qualities per step are left out. Never a mean over
    several N: where an environment lacks some, its order would be that of N.
    """
    distinct = [row for row in rows if not row["same_run_as"] and not row["per_step"]]
    table = pd.DataFrame([row for row in distinct if math.isfinite(row["quality"])])
    if table.empty:
        return table
    return table.groupby(["env", "llm"])[["quality", "gain_share"]].mean()


def rank_correlation(points: list[pd.DataFrame]) -> Estimate | None:
    """Return Spearman's correlation of quality and gain and its 95% bootstrap interval; ranks are within each table.

    Of several tables the ranks, less their mean, are put together: what is left where a table's level explains nothing.
    Points are resampled within their table. None below 6 points, or where quality or gain is the same everywhere.
    """
    points = [table for table in points if len(table) > 1]
    if sum(map(len, points)) < FEWEST_POINTS:
        return None
    sides = [[table[name].to_numpy() for table in points] for name in ("quality", "gain_share")]
    if not all(any(np.ptp(values) > 0 for values in side) for side in sides):
        return None

    def spearman(*picks: np.ndarray, axis: int = 0) -> np.ndarray:
        a, b = (
            np.concatenate(
                [centred_ranks(values[pick.astype(int)], axis) for values, pick in zip(side, picks, strict=True)], axis
            )
            for side in sides
        )
        norm = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
        # a resample of points that are all alike shows no correlation
        return np.where(norm > 0, (a * b).sum(axis=axis) / np.where(norm > 0, norm, 1), 0.0)

    everyone = [np.arange(len(table)) for table in points]
    return float(spearman(*everyone)), *stratified_interval(everyone, spearman)


def centred_ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the ranks of values along an axis, ties sharing theirs, less their mean."""
    return stats.rankdata(values, axis=axis) - (values.shape[axis] + 1) / 2


def correlations(rows: list[dict]) -> list[tuple[str, Estimate, Estimate | None, int]]:
    """Return an arm's rank correlations, of each N by itself: over all points, within environments, and of how many.

    There is none within environments where all points are of one.
    """
    found = []
    for steps in sorted({row["pretrain_steps"] for row in rows}, key=lambda n: n or 0):
        points = correlation_points([row for row in rows if row["pretrain_steps"] == steps])
        whole = rank_correlation([points])
        if whole is not None:
            parts = [part for _, part in points.groupby("env")]
            within = rank_correlation(parts) if len(parts) > 1 else None
            found.append((f"N={steps}: " if steps else "", whole, within, len(points)))
    return found


def correlation_text(rows: list[dict]) -> str:
    """Say an arm's rank correlations, where there are any."""
    told = []
    for steps, whole, within, count in correlations(rows):
        inside = f", within environments {with_interval(*within, short)}" if within else ""
        told.append(f"{steps}Spearman's ρ = {with_interval(*whole, short)}{inside}, {count} points")
    return "; ".join(told)


def correlation_title(rows: list[dict]) -> str:
    """Say an arm's rank correlations within environments, for a panel's corner."""
    found = [steps + with_interval(*within, short) for steps, _, within, _ in correlations(rows) if within]
    return "\n".join(["Spearman's ρ within environments", *found]) if found else ""
