"""How learning curves are drawn: one style for all figures, panels of curves and levels, files with stable bytes."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import envs
from analysis.colours import BLUE, GREY
from analysis.import_released import released_files
from analysis.runs import Run
from analysis.statistics import band
from envs.files import written_whole

WARM_UP = {"color": GREY, "alpha": 0.15, "lw": 0}
THIN = 0.5
"""Width of the line of a single seed or chain, which has no interval."""
BAND = {"alpha": 0.18, "lw": 0}
"""How a 95% interval is drawn, in its line's colour."""
TWO_STEPS = "represented-pong"
"""The authors' code plays each action twice here, and evaluates on a whole game."""
LEGEND = {"fontsize": 6, "handlelength": 1.8, "columnspacing": 1.2}
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

    @property
    def alone(self) -> bool:
        """Return whether it shows one seed or chain of ours: the authors' are told by their dots."""
        return self.run.protocol != "published" and self.run.table.seed.nunique() == 1

    @property
    def banded(self) -> bool:
        """Return whether it has an interval: the authors' five repeats are one chain, and so may ours be."""
        return self.run.protocol != "published" and self.run.table.seed.nunique() > 1

    def points(self, iterations: int, over_steps: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return what lies across [iterations], and each seed's returns [seeds, iterations].

        Over environment steps a chain of repeats is drawn as its first repeat: the later ones go on with a network that
        has already taken all the steps of those before.
        """
        returns = (self.run.first_repeats() if over_steps else self.run.curves())[:, :iterations]
        across = self.run.steps()[:iterations] if over_steps else np.arange(returns.shape[1])
        return across, running_mean(returns, self.window, self.run.tau or 0)


@dataclass(frozen=True)
class Level:
    """The mean return of a policy that does not learn."""

    name: str
    """what it is called where it lies outside the panel"""
    value: float
    style: dict[str, Any]


def draw_panel(
    axes: Axes,
    curves: list[Curve],
    levels: list[Level],
    iterations: int,
    over_steps: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw means over seeds with their 95% bootstrap bands over `iterations`, and levels across.

    A single seed or chain is a thin line. `over_steps`: the horizontal axis counts environment steps instead, as far as
    the shortest curve goes. `limits`: the axis of returns; None takes those of these curves and levels.
    """
    furthest, warm_ups, lowest, highest = [], {}, np.inf, -np.inf
    for curve in curves:
        x, returns = curve.points(iterations, over_steps)
        mean, (low, high) = returns.mean(axis=0), band(returns)
        axes.plot(x, mean, **{"zorder": 2, **curve.style, **({"lw": THIN} if curve.alone else {})})
        if curve.banded:
            axes.fill_between(x, low, high, color=curve.style["color"], zorder=0, **BAND)
        furthest.append(x[-1])
        lowest, highest = min(lowest, mean.min()), max(highest, mean.max())
        tau = curve.run.tau
        if tau:
            warm_ups[tau] = max(warm_ups.get(tau, 0), x[tau - 1] if over_steps else tau - 0.5)
    bottom, top = limits or limits_of(curves, levels, iterations, over_steps)
    below = {level.name: level.value for level in levels if level.value < bottom}
    above = {level.name: level.value for level in levels if level.value > top}
    if lowest < bottom:
        below["curves"] = lowest
    if highest > top:
        above["curves"] = highest
    axes.set_ylim(*room_for_notes(axes, bottom, top, below, above))
    axes.set_xlim(0, max(min(furthest) if over_steps else iterations - 1, 1))
    if over_steps:
        axes.xaxis.set_major_locator(plt.MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000:g}k" if steps else "0")
    for level in levels:
        axes.axhline(level.value, **level.style)
    for end in warm_ups.values():  # one over the other: the darkest part is the warm-up of all
        axes.axvspan(0, end, **WARM_UP)
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)


def limits_of(
    curves: list[Curve], levels: list[Level], iterations: int, over_steps: bool = False
) -> tuple[float, float]:
    """Return the limits of the axis of returns that suit these curves and levels."""
    learnt, highest, others = [], [], [level.value for level in levels]
    for curve in curves:
        _, returns = curve.points(iterations, over_steps)
        mean, after_warm_up = returns.mean(axis=0), slice(curve.run.tau or 0, None)
        learnt.append(mean[after_warm_up])
        highest.append(np.fmax(mean, band(returns)[1])[after_warm_up])
        others.append(mean.min())
    others[len(levels) :] = [min(others[len(levels) :])]
    return return_limits(np.concatenate(learnt), np.concatenate(highest), others)


def write_title(axes: Axes, title: str, notes: list[str]) -> None:
    """Write a panel's title, and below it in small print what its reader must know."""
    axes.set_title(title, pad=4 + 7 * len(notes))
    for place, note in enumerate(reversed(notes)):
        at = {"xy": (0.5, 1), "xycoords": "axes fraction", "xytext": (0, 2 + 7 * place), "textcoords": "offset points"}
        axes.annotate(note, **at, ha="center", va="bottom", fontsize=5.5, color="#555555")


def unlike_returns(env: str, runs: list[Run]) -> list[str]:
    """Say which of an environment's runs have returns that do not compare with the others', and why."""
    notes, horizon, short = [], envs.get(env).horizon, {}
    for run in runs if envs.get(env).endless else []:  # elsewhere a short episode may have ended by itself
        longest = recorded_lengths(run).max()
        if longest < horizon:
            short[run.llm] = max(longest, short.get(run.llm, 0))
    for steps in sorted(set(short.values())):
        llms = sorted(llm for llm, longest in short.items() if longest == steps)
        notes.append(f"{', '.join(llms)}: episodes of {steps:.0f} steps, not {horizon}")
    if env == TWO_STEPS:
        theirs = [name for name in ("released", "published") if any(run.protocol == name for run in runs)]
        notes += [f"{', '.join(theirs)}: whole games, two steps an action"] if theirs else []
        imported = imported_llms(env) & {run.llm for run in runs}
        notes += [f"{', '.join(sorted(imported))}: two steps an action"] if imported else []
    return notes


def recorded_lengths(run: Run) -> pd.Series:
    """Return the lengths of an LLM's episodes in its own run or in a warm-up, steps; nothing where none are known.

    The warm-up of the authors' episodes has one step less: alignment loses their first, whose reward is counted.
    """
    alone = run.arm == "llm-policy"
    episodes = run.table if alone else run.table[run.table.iteration < (run.tau or 0)]
    lengths = pd.to_numeric(episodes.eval_length[[run.llm is not None] * len(episodes)], errors="coerce").dropna()
    return lengths + (not alone and run.llm in imported_llms(run.env))


@cache  # asked for every run of a figure
def imported_llms(env: str) -> set[str]:
    """Return the LLMs whose episodes in an environment are the authors'."""
    return {row["llm"] for row in released_files() if row["env"] == env}


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
            over_lines = {"zorder": 3, "bbox": {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.3}}
            axes.text(0.99, y, note, transform=axes.transAxes, ha="right", va=side, fontsize=5.5, **over_lines)
    return bottom - room * bool(below), top + room * bool(above)


def legend_entries(panels: Iterable[Axes]) -> dict[str, Artist]:
    """Return what a legend for all panels shows: by label, each once, the handle of the last panel that has it."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries


def explanations(curves: list[Curve]) -> list[Artist]:
    """Return what a legend says of the lines drawn: what their bands are, what a thin one is, what is shaded."""
    taus = {curve.run.tau for curve in curves if curve.run.tau}
    entries: list[Artist] = []
    if any(curve.banded for curve in curves):
        entries.append(Patch(color=BLUE, **BAND, label="95% interval"))
    if any(curve.alone for curve in curves):
        entries.append(Line2D([], [], color="#555555", lw=THIN, label="thin: one chain"))
    if taus:
        entries.append(Patch(**WARM_UP, label="LLM's warm-up" if len(taus) == 1 else "LLM's warm-up, by τ"))
    return entries


def save_figure(figure: plt.Figure, output: Path) -> None:
    """Write the PDF `output` and the PNG beside it, without times, so that bytes repeat."""
    for path in (output.with_suffix(".pdf"), output.with_suffix(".png")):
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        content = io.BytesIO()  # matplotlib fails in ways of its own where a disk is full
        figure.savefig(content, format=path.suffix[1:], metadata=metadata)
        with written_whole(path) as temporary:
            temporary.write_bytes(content.getvalue())
