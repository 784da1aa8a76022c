"""How warm starts are drawn as points: what each gained, over what that may depend on, a row of panels for each arm."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import envs
from analysis.colours import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, YELLOW
from analysis.correlation import correlation_title
from analysis.main_table import ARMS
from envs.errors import UsageError

# Okabe and Ito's colours, as in the main figure; each environment keeps its own whatever else is drawn
PALETTE = (BLUE, GREEN, ORANGE, PURPLE, AMBER, SKY, YELLOW, BLACK, GREY)
COLOURS = dict(zip(envs.ENVIRONMENTS, PALETTE, strict=False))
MARKERS = "os^Dv<>PXph*"
SIZES = {1000: 3.0, 3000: 6.0}
"""Marker sizes by offline updates; any other number, and none, is drawn with `SIZE`."""
SIZE = 4.5
GAIN_TICKS = (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1)
LINEAR_GAIN = 0.03
"""Up to this gain, either way, the axis is linear."""


def draw_points(
    columns: dict[str, dict[str, list[dict]]], across: str, unseen: Iterable[str] = ()
) -> tuple[plt.Figure, np.ndarray]:
    """Return a figure and its panels [arms, columns]: gains over `across`, an arm in each row, if it has points.

    `columns` has by each horizontal axis' label the rows of each arm; a figure of one is as wide as a text column. Rows
    have `env`, `llm`, `pretrain_steps`, `per_step` (drawn open), `gain_share` and `across` with their `_low` and
    `_high`, and `quality`, which is correlated. `unseen`: environments that the legend names as not placed.
    Raises UsageError where there are more LLMs than markers.
    """
    arms = list(dict.fromkeys(arm for points in columns.values() for arm, rows in points.items() if rows))
    shown = [row for points in columns.values() for rows in points.values() for row in rows]
    llms = sorted({str(row["llm"]) for row in shown})
    if len(llms) > len(MARKERS):
        raise UsageError(f"The figure has markers for {len(MARKERS)} LLMs, the runs are of {len(llms)}: give fewer.")
    markers = dict(zip(llms, MARKERS, strict=False))
    size = (3.4 * len(columns), 1.7 * len(arms) + 1.3)
    figure, grid = plt.subplots(
        len(arms), len(columns), sharex="col", sharey="row", squeeze=False, figsize=size, layout="constrained"
    )
    for arm, panels in zip(arms, grid, strict=True):
        for axes, points in zip(panels, columns.values(), strict=True):
            _draw_panel(axes, points.get(arm, []), across, markers)
        _scale_gains(panels[0])
        panels[0].set_title(ARMS[arm], loc="left")
    for axes, label in zip(grid[-1], columns, strict=True):
        axes.set_xlabel(label)
    dots = {"ls": "", "marker": "o", "markersize": SIZE}
    colours = []
    for env in (env for env in COLOURS if env in {row["env"] for row in shown} | set(unseen)):
        title = envs.get(env).title
        if any(row["env"] == env for row in shown):
            colours.append(Line2D([], [], **dots, color=COLOURS[env], label=title))
        else:
            colours.append(Line2D([], [], ls="", label=f"{title}: not placed"))
    shapes = [Line2D([], [], **dots | {"marker": marker}, color=GREY, label=llm) for llm, marker in markers.items()]
    for steps in sorted({row["pretrain_steps"] for row in shown} & set(SIZES)):
        shapes.append(Line2D([], [], **dots | {"markersize": SIZES[steps]}, color=GREY, label=f"LORO, N={steps}"))
    if any(row["per_step"] for row in shown):
        cut = "cut off early: by return per step"
        shapes.append(Line2D([], [], **dots, color=GREY, markerfacecolor="white", label=cut))
    for handles, corner in ((colours, "left"), (shapes, "right")):
        figure.legend(handles=handles, loc=f"outside lower {corner}", fontsize=6, ncols=len(columns))
    return figure, grid


def _draw_panel(axes: Axes, rows: list[dict], across: str, markers: dict[str, str]) -> None:
    axes.axhline(0, color=BLACK, lw=0.7, zorder=1)
    for row in sorted(rows, key=_size_of, reverse=True):  # the small ones on top
        colour = COLOURS[row["env"]]
        axes.errorbar(
            row[across],
            row["gain_share"],
            xerr=_bar(row, across),
            yerr=_bar(row, "gain_share"),
            color=colour,
            elinewidth=0.8,
            marker=markers[row["llm"]],
            markersize=_size_of(row),
            markerfacecolor="white" if row["per_step"] else colour,
            markeredgewidth=0.9,
        )
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.set_title(correlation_title(rows), loc="right", fontsize=5.5)


def _size_of(row: dict) -> float:
    return SIZES.get(row["pretrain_steps"], SIZE)


def _bar(row: dict, name: str) -> np.ndarray:
    """Return how far an interval reaches below and above; nothing where one seed has none.

    A percentile interval of a skewed sample may lie beside its mean.
    """
    reach = np.array([row[name] - row[f"{name}_low"], row[f"{name}_high"] - row[name]])
    return np.nan_to_num(np.maximum(reach, 0))[:, None]


def _scale_gains(axes: Axes) -> None:
    """Scale a row's vertical axis for gains: an environment's share of it can be a hundred times another's."""
    bottom, top = axes.get_ylim()
    axes.set_yscale("symlog", linthresh=LINEAR_GAIN)
    axes.set_yticks(GAIN_TICKS, [f"{tick:g}".replace("-", "−") for tick in GAIN_TICKS])
    axes.minorticks_off()
    axes.set_ylim(1.6 * bottom, 1.6 * top)  # a margin on an axis that is logarithmic at its ends
    axes.set_ylabel("gain after the warm-up\n(1: from random play\nto online RL's last level)")
