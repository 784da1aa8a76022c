"""How learning curves are drawn: one style for all figures, panels of curves and levels, files with stable bytes."""

import io
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
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
from PIL import Image

import envs
from analysis.colours import GREY
from analysis.import_released import episode_limits
from analysis.runs import Run, description
from analysis.statistics import band
from envs.files import written_whole

WARM_UP = {"color": GREY, "alpha": 0.15, "lw": 0}
CLOSE = 0.02
"""Two lines that differ by no more of the axis look like one."""
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
    name: str = ""
    """what it is called in a note"""

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
    furthest, warm_ups, parts = [], {}, [(level.name, np.array([level.value])) for level in levels]
    for curve in curves:
        x, returns = curve.points(iterations, over_steps)
        mean, (low, high) = returns.mean(axis=0), band(returns)
        axes.plot(x, mean, **{"zorder": 2, **curve.style, **({"lw": THIN} if curve.alone else {})})
        if curve.banded:
            axes.fill_between(x, low, high, color=curve.style["color"], zorder=0, **BAND)
        furthest.append(x[-1])
        tau = curve.run.tau or 0
        if tau:
            warm_ups[tau] = max(warm_ups.get(tau, 0), x[tau - 1] if over_steps else tau - 0.5)
            parts.append(("published warm-up" if curve.run.protocol == "published" else "warm-up", mean[:tau]))
        parts.append(("curves", mean[tau:]))
        parts.append(("intervals", np.concatenate([low[tau:], high[tau:]] if curve.banded else [[]])))
    axes.set_ylim(*room_for_notes(axes, parts, *(limits or limits_of(curves, levels, iterations, over_steps))))
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
    learnt, highest, lowest, others = [], [], [], [level.value for level in levels]
    for curve in curves:
        _, returns = curve.points(iterations, over_steps)
        mean, after_warm_up = returns.mean(axis=0), slice(curve.run.tau or 0, None)
        low, high = band(returns)
        learnt.append(mean[after_warm_up])
        highest.append(np.fmax(mean, high)[after_warm_up])
        lowest.append(mean.min())
        others += [mean.max(), np.fmin(mean, low)[after_warm_up].min()]
    others.append(min(lowest))
    return return_limits(np.concatenate(learnt), np.concatenate(highest), others)


def on_one_line(curves: list[Curve], levels: list[Level], iterations: int, height: float) -> list[str]:
    """Name the lines that lie on each other after the warm-ups, closer than CLOSE of the axis's `height`."""
    if not curves:
        return []
    begin = max(curve.run.tau or 0 for curve in curves)
    lines = {curve.name: curve.points(iterations, False)[1].mean(axis=0)[begin:] for curve in curves}
    lines |= {level.name: np.full(iterations - begin, level.value) for level in levels}
    groups: dict[str, list[str]] = {}
    for name, line in lines.items():
        near = (first for first in groups if np.abs(lines[first] - line).max() <= CLOSE * height)
        groups.setdefault(next(near, name), []).append(name)
    return [f"coincide: {', '.join(names)}" for names in groups.values() if len(names) > 1]


def write_title(axes: Axes, title: str, notes: list[str]) -> None:
    """Write a panel's title, and below it in small print what its reader must know."""
    axes.set_title(title, pad=4 + 7 * len(notes))
    for place, note in enumerate(reversed(notes)):
        at = {"xy": (0.5, 1), "xycoords": "axes fraction", "xytext": (0, 2 + 7 * place), "textcoords": "offset points"}
        axes.annotate(note, **at, ha="center", va="bottom", fontsize=5.5, color="#555555")


def unlike_returns(env: str, runs: list[Run]) -> list[str]:
    """Say which of an environment's runs have returns that do not compare with the others', and why."""
    notes = cut_off_notes(env, {run.llm: limit for run in runs if (limit := episode_limit(run))})
    if env == TWO_STEPS:
        theirs = [name for name in ("released", "published") if any(run.protocol == name for run in runs)]
        notes += [f"{', '.join(theirs)}: whole games, two steps an action"] if theirs else []
        imported = episode_limits(env).keys() & {run.llm for run in runs}
        notes += [f"{', '.join(sorted(imported))}: two steps an action"] if imported else []
    return notes


def cut_off_notes(env: str, limits: dict[str, int]) -> list[str]:
    """Say of which LLMs the episodes were cut off after fewer steps than an evaluation's."""
    notes, horizon = [], envs.get(env).horizon
    for steps in sorted(set(limits.values())):
        llms = ", ".join(sorted(llm for llm, limit in limits.items() if limit == steps))
        notes.append(f"{llms}: episodes of {steps} steps, not {horizon}")
    return notes


def episode_limit(run: Run) -> int | None:
    """Return after how many steps the episodes of a run's LLM were cut off; None where that is no sooner than ours.

    Of the authors' LLMs it is known, and a run's .json tells it of an LLM that played here. Where it does not, their
    lengths tell, in a run of the LLM alone or in a warm-up, if no state is terminal: elsewhere a short episode may have
    ended by itself.
    """
    known, environment = episode_limits(run.env), envs.get(run.env)
    if run.llm is None or run.llm in known:
        return known.get(run.llm)
    recorded = description(run.path).get("episodes", {}).get("horizon")
    if recorded is not None or not environment.endless:
        return recorded if 0 < (recorded or 0) < environment.horizon else None
    episodes = run.table if run.arm == "llm-policy" else run.table[run.table.iteration < (run.tau or 0)]
    longest = pd.to_numeric(episodes.eval_length, errors="coerce").max()
    return int(longest) if longest < environment.horizon else None


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


def room_for_notes(axes: Axes, parts: list[tuple[str, np.ndarray]], bottom: float, top: float) -> tuple[float, float]:
    """Say at the panel's edges how far outside named values lie, and return limits that leave room for that."""
    lowest: dict[str, float] = {}
    highest: dict[str, float] = {}
    for name, values in ((name, values) for name, values in parts if len(values)):
        lowest[name] = min(lowest.get(name, np.inf), values.min())
        highest[name] = max(highest.get(name, -np.inf), values.max())
    below = note_of("↓", {name: value for name, value in lowest.items() if value < bottom}, axes)
    above = note_of("↑", {name: value for name, value in highest.items() if value > top}, axes)
    for y, side, lines in ((0.02, "bottom", below), (0.98, "top", above)):
        if lines:
            over_curves = {"zorder": 3, "bbox": {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.3}}
            at = {"transform": axes.transAxes, "ha": "right", "va": side, "fontsize": 5.5}
            axes.text(0.99, y, "\n".join(lines), linespacing=1.1, **at, **over_curves)
    height = 0.09 * (top - bottom)
    return bottom - height * len(below), top + height * len(above)


def note_of(arrow: str, outside: dict[str, float], axes: Axes) -> list[str]:
    """Return the lines that say how far outside of a panel named values lie, each thing told once."""
    if not outside:
        return []
    told = dict(outside)
    if "curves" in told:
        told.pop("intervals", None)
    if {"warm-up", "published warm-up"} <= told.keys():  # the one that lies farther out
        told.pop(min(("warm-up", "published warm-up"), key=lambda name: abs(told[name])))
    unbroken = [f"{name}{f' {value:,.0f}'.replace('-', '−')}".replace(" ", "\u00a0") for name, value in told.items()]
    width = axes.figure.get_size_inches()[0] / axes.get_subplotspec().get_gridspec().ncols
    lines = textwrap.wrap(f"{arrow}\u00a0{', '.join(unbroken)}", int(17 * width), break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def legend_entries(panels: Iterable[Axes]) -> dict[str, Artist]:
    """Return what a legend for all panels shows: by label, each once, the handle of the last panel that has it."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries


def explanations(curves: list[Curve]) -> list[Artist]:
    """Return what a legend says of the lines drawn: what their bands are, what a thin one is, what is shaded."""
    warm = [curve.run for curve in curves if curve.run.tau]
    entries: list[Artist] = []
    if banded := [curve for curve in curves if curve.banded]:
        counts = [("seeds", [c for c in banded if c.run.table.repeat.nunique() == 1])]
        counts += [("chains", [c for c in banded if c.run.table.repeat.nunique() > 1])]
        told = [f"{several({c.run.table.seed.nunique() for c in found})} {name}" for name, found in counts if found]
        entries.append(Patch(color=banded[0].style["color"], **BAND, label=f"95% interval ({', '.join(told)})"))
    if any(curve.alone for curve in curves):
        entries.append(Line2D([], [], color="#555555", lw=THIN, label="thin: one chain"))
    if warm:
        shaded = "LLM's warm-up" if all(run.llm for run in warm) else "warm-up"
        by_tau = ", by τ" if len({run.tau for run in warm}) > 1 else ""
        entries.append(Patch(**WARM_UP, label=shaded + by_tau))
    return entries


def across_label(window: int, over_steps: bool) -> str:
    """Return the title of the horizontal axis of curves that are running means."""
    if over_steps:
        return f"environment steps, with the LLM's\n(running mean over {window} iterations)"
    return f"iteration (running mean over {window})"


def several(counts: set[int]) -> str:
    """Write one number, or the least and the largest of several."""
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}–{most}"


def with_a_palette(png: io.BytesIO) -> io.BytesIO:
    """Return a PNG in the 256 colours nearest to its own: a third of the bytes, in the repository and in the report."""
    smaller, image = io.BytesIO(), Image.open(png)
    few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    few.save(smaller, "PNG", optimize=True, dpi=image.info["dpi"])
    return smaller


def save_figure(figure: plt.Figure, output: Path) -> None:
    """Write the PDF `output` and the PNG beside it, without times, so that bytes repeat."""
    for path in (output.with_suffix(".pdf"), output.with_suffix(".png")):
        content = io.BytesIO()  # matplotlib fails in ways of its own where a disk is full
        if path.suffix == ".pdf":
            figure.savefig(content, format="pdf", metadata={"CreationDate": None})
        else:
            figure.savefig(content, format="png")
            content = with_a_palette(content)
        with written_whole(path) as temporary:
            temporary.write_bytes(content.getvalue())
