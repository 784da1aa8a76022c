"""How learning curves are drawn: one style for all figures, panels of curves and levels, files with stable bytes."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from analysis.runs import Run
from analysis.statistics import bootstrap_interval
from envs.files import written_whole

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#000000"
WARM_UP = {"color": GREY, "alpha": 0.15, "lw": 0}
STYLE = {
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Curve:
    """A trained run and how it is drawn."""

    run: Run
    style: dict[str, Any]
    """matplotlib's arguments of the line"""
    window: int = 1
    """iterations of the running mean that every seed's curve is drawn as"""


@dataclass(frozen=True)
class Level:
    """The mean return of a policy that does not learn."""

    name: str
    """what it is called where it lies outside the panel"""
    value: float
    style: dict[str, Any]


def draw_panel(axes: Axes, curves: list[Curve], levels: list[Level], iterations: int, over_steps: bool = False) -> None:
    """Draw means over seeds with their 95% bootstrap bands over `iterations`, and levels across.

    `over_steps`: the horizontal axis counts environment steps instead, as far as the shortest curve goes.
    """
    furthest, warm_up = [], [0.0]
    lowest, learnt, highest = [], [], []
    for curve in curves:
        returns = running_mean(curve.run.curves()[:, :iterations], curve.window, curve.run.tau or 0)
        mean, (low, high) = returns.mean(axis=0), bootstrap_interval(returns)
        x = curve.run.steps()[:iterations] if over_steps else np.arange(len(mean))
        axes.plot(x, mean, **{"zorder": 2, **curve.style})
        if len(returns) > 1 and curve.run.protocol != "published":  # one chain has no interval
            axes.fill_between(x, low, high, color=curve.style["color"], alpha=0.18, lw=0, zorder=0)
        furthest.append(x[-1])
        if curve.run.tau:
            warm_up.append(x[curve.run.tau - 1] if over_steps else curve.run.tau - 0.5)
        after_warm_up = slice(curve.run.tau or 0, None)
        lowest.append(mean.min())
        learnt.append(mean[after_warm_up])
        highest.append(np.fmax(mean, high)[after_warm_up])
    values = [level.value for level in levels]
    bottom, top = return_limits(np.concatenate(learnt), np.concatenate(highest), [min(lowest), *values])
    below = {level.name: level.value for level in levels if level.value < bottom}
    above = {level.name: level.value for level in levels if level.value > top}
    if min(lowest) < bottom:
        below["curves"] = min(lowest)
    axes.set_ylim(*room_for_notes(axes, bottom, top, below, above))
    axes.set_xlim(0, max(min(furthest) if over_steps else iterations - 1, 1))
    if over_steps:
        axes.xaxis.set_major_locator(plt.MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000:g}k" if steps else "0")
    for level in levels:
        axes.axhline(level.value, **level.style)
    if max(warm_up):
        axes.axvspan(0, max(warm_up), **WARM_UP)
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)


def running_mean(returns: np.ndarray, window: int, warm_up: int) -> np.ndarray:
    """Return the centred running mean of `returns` [seeds, iterations], of fewer iterations towards both ends.

    The warm-up is left as it is, and nothing of it is mixed into what follows.
    """
    learnt = pd.DataFrame(returns[:, warm_up:].T).rolling(window, center=True, min_periods=1).mean()
    return np.hstack([returns[:, :warm_up], learnt.to_numpy().T])


def return_limits(learnt: np.ndarray, highest: np.ndarray, others: list[float]) -> tuple[float, float]:
    """Return the limits of the axis of returns.

    A few evaluations can be a hundred times worse than all others and would flatten the panel, as would a bad policy's
    level. So the limits hold 97% of what was learnt, and of the `others` those that take at most half of the height.
    """
    low, high = np.quantile(learnt, 0.03), highest.max()
    near = [value for value in others if low - (high - low) <= value <= high + (high - low)]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.06 * (high - low) or 1
    return low - margin, high + margin


def room_for_notes(
    axes: Axes, bottom: float, top: float, below: dict[str, float], above: dict[str, float]
) -> tuple[float, float]:
    """Say at the panel's edges how far outside some values lie, and return limits that leave room for that."""
    room = 0.09 * (top - bottom)
    for y, side, arrow, values in ((0.02, "bottom", "↓", below), (0.98, "top", "↑", above)):
        note = f"{arrow} " + ", ".join(f"{name} {value:,.0f}".replace("-", "−") for name, value in values.items())
        if values:
            axes.text(0.99, y, note, transform=axes.transAxes, ha="right", va=side, fontsize=5.5, zorder=3)
    return bottom - room * bool(below), top + room * bool(above)


def save_figure(figure: plt.Figure, output: Path) -> None:
    """Write the PDF `output` and the PNG beside it, without times, so that bytes repeat."""
    for path in (output.with_suffix(".pdf"), output.with_suffix(".png")):
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        content = io.BytesIO()  # matplotlib fails in ways of its own where a disk is full
        figure.savefig(content, format=path.suffix[1:], metadata=metadata)
        with written_whole(path) as temporary:
            temporary.write_bytes(content.getvalue())
