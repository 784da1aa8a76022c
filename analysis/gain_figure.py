"""What a warm start gains, by what is held equal: iterations, environment steps or updates.

    python -m analysis.gain_figure --table results/tables/main.csv --output paper_figs/gains.pdf

A panel for each environment, a row for each arm that begins with data: LORO, mix, and the same pretraining without an
LLM. Points are differences from online RL per evaluation, normalised (0 random play, 1 an expert), with their 95%
bootstrap intervals: of all iterations, the paper's measure, in which the LLM's returns stand for the warm-up; without
the warm-up at equal environment steps; and at equal updates, the offline ones counted (analysis/measures.py). The
numbers are those of the table. The PNG goes beside the PDF.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import envs
from analysis.colours import BLACK, BLUE, GREY, ORANGE
from analysis.import_released import episode_limits
from analysis.main_table import ARMS
from analysis.plotting import LEGEND, STYLE, cut_off_notes, save_figure, write_title
from analysis.scales import SCALES
from envs.errors import Failure, UsageError, run_command_line
from envs.files import check_outputs

SHOWN = ("loro", "mix", "pretrain-on-policy", "pretrain-random")
HELD_EQUAL = {
    "difference": ("equal iterations: the paper's sum", GREY),
    "after_at_equal_steps": ("equal environment steps, without the warm-up", BLUE),
    "after_at_equal_updates": ("equal updates, without the warm-up", ORANGE),
}
"""By the table's column: what is held equal, and its colour."""


@dataclass
class Args:
    """Draw what warm starts gain, by what is held equal."""

    table: Path
    """the main table's CSV"""
    output: Path
    """the PDF to write; the PNG goes beside it"""


def read_differences(path: Path) -> pd.DataFrame:
    """Read the rows of the arms shown, under `paper`, their differences normalised and per evaluation."""
    if not path.is_file():
        raise UsageError(f"There is no table {path}: make it with analysis.main_table.")
    try:
        table = pd.read_csv(path)
        table = table[(table.protocol == "paper") & table.arm.isin(SHOWN)].copy()
        for column in HELD_EQUAL:
            evaluations = table.iterations if column == "difference" else 1
            for part in ("", "_low", "_high"):
                table[column + part] /= evaluations * table.env.map(lambda env: SCALES[env].width)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"{path} is not a table that analysis.main_table wrote ({error!r}).") from error
    if table.duplicated(["env", "arm"]).any():
        raise UsageError(f"{path} has several rows of one arm in an environment: give the main table, main.csv.")
    if table.empty:
        raise UsageError(f"{path} has no arm under `paper` that begins with data: nothing to draw.")
    return table


def draw_panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one environment: arms from top to bottom, what is held equal within each."""
    for place, arm in enumerate(SHOWN):
        row = rows[rows.arm == arm]
        if row.empty:
            at = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center", "fontsize": 5.5}
            axes.text(0.5, place, "not computed", color="#777777", **at)
            continue
        for offset, (column, (_, color)) in zip((-0.22, 0, 0.22), HELD_EQUAL.items(), strict=True):
            value, low, high = (float(row[column + part].iloc[0]) for part in ("", "_low", "_high"))
            axes.plot([value], [place + offset], "o", color=color, ms=3)
            axes.plot([low, high], [place + offset] * 2, color=color, lw=1.1)
    axes.axvline(0, color=BLACK, lw=0.6)
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.xaxis.set_major_locator(plt.MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.grid(axis="x", color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)


def draw(table: pd.DataFrame) -> plt.Figure:
    """Return the figure, a panel for each environment that has rows."""
    shown = [env for env in envs.ENVIRONMENTS if (table.env == env).any()]
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure, grid = plt.subplots(
        lines, columns, squeeze=False, sharey=True, figsize=(7.0, 0.7 + 1.35 * lines), layout="constrained"
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, env in zip(grid.flat, shown, strict=False):
        rows = table[table.env == env]
        draw_panel(axes, rows)
        limits = {llm: limit for llm, limit in episode_limits(env).items() if limit and (rows.llm == llm).any()}
        write_title(axes, envs.get(env).title, cut_off_notes(env, limits))
        axes.set_yticks(range(len(SHOWN)), [ARMS[arm] for arm in SHOWN])
        axes.tick_params(axis="y", length=0)
    figure.suptitle("difference from online RL, per evaluation, normalised; bars: 95% intervals", fontsize=7)
    handles = [
        Line2D([], [], color=color, marker="o", ms=3, lw=1.1, label=label) for label, color in HELD_EQUAL.values()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, **LEGEND)
    return figure


def main() -> None:
    """Draw and write the figure."""
    args = tyro.cli(Args)
    check_outputs([args.table], output=(args.output, ".pdf"))
    table = read_differences(args.table)
    plt.rcParams.update(STYLE)
    save_figure(draw(table), args.output)
    known = {column: int(np.isfinite(table[column]).sum()) for column in HELD_EQUAL}
    print(f"{args.output}: {len(table)} arms; points by what is held equal: {known}.")


if __name__ == "__main__":
    run_command_line(main)
