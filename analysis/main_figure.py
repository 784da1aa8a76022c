"""The paper's main figure: the return of each evaluation, online against LORO against the policies that do not learn.

    python -m analysis.main_figure --env cartpole --runs results/runs/*/cartpole/*.csv --output cartpole_main.pdf

`--env all` draws one panel for each environment. The PNG goes beside the PDF. Lines are means over seeds, bands their
95% bootstrap intervals; dotted lines are the authors' published curves.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import envs
from analysis.runs import POLICIES, Run, read_run
from analysis.statistics import bootstrap_interval
from envs.errors import UsageError, run_command_line
from envs.files import written_whole

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#000000"
CURVES = {
    ("online", "paper"): {"color": BLUE, "label": "online RL"},
    ("loro", "paper"): {"color": ORANGE, "label": "LORO"},
    ("loro", "released"): {"color": GREEN, "label": "LORO, released protocol", "dashes": (4, 1.5)},
    ("online", "published"): {"color": BLUE, "label": "online RL, published", "dashes": (1, 1)},
    ("loro", "published"): {"color": ORANGE, "label": "LORO, published", "dashes": (1, 1)},
}
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


@dataclass
class Args:
    """Draw the main figure."""

    env: str
    """the environment (see envs/), or all"""
    runs: tuple[Path, ...]
    """the run files to draw: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the PDF to write; the PNG goes beside it"""


def draw_panel(axes: Axes, env: str, runs: list[Run]) -> None:
    """Draw one environment."""
    drawn = []
    for (arm, protocol), style in CURVES.items():
        for run in runs:
            if (run.arm, run.protocol) != (arm, protocol):
                continue
            curves = run.curves()
            mean, iterations = curves.mean(axis=0), np.arange(curves.shape[1])
            line = {key: value for key, value in style.items() if key != "label"}
            thin = protocol == "published"
            axes.plot(iterations, mean, lw=0.8 if thin else 1.1, zorder=1 if thin else 2, **line)
            low, high = bootstrap_interval(curves)
            axes.fill_between(iterations, low, high, color=style["color"], alpha=0.18, lw=0, zorder=0)
            drawn.append((mean, run.tau))
    if drawn:
        # The first evaluations can be a hundred times worse than all that follow, and would flatten the panel.
        values = np.concatenate([mean[tau or 0 :] for mean, tau in drawn])
        low, high = np.quantile(values, [0.03, 1])
        margin = 0.06 * (high - low) or 1
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlim(0, len(drawn[0][0]) - 1)
    warm_up = max((tau for _, tau in drawn if tau), default=0)
    if warm_up:
        axes.axvspan(0, warm_up - 0.5, color=GREY, alpha=0.15, lw=0)
    draw_policies(axes, [run for run in runs if run.arm in POLICIES])
    axes.set_title(envs.get(env).title)
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)


def draw_policies(axes: Axes, runs: list[Run]) -> None:
    """Draw the policies that do not learn as level lines; where one lies outside the panel, say how far."""
    bottom, top = axes.get_ylim()
    notes = []
    for run in runs:
        value = run.mean_return()
        name, line = ("LLM", (0, (5, 2))) if run.arm == "llm-policy" else ("random", (0, (1, 2)))
        if bottom <= value <= top:
            axes.axhline(value, color=BLACK, ls=line, lw=0.9, zorder=1)
        else:
            notes.append(f"{name} {value:,.0f} {'↓' if value < bottom else '↑'}".replace("-", "−"))
    axes.text(0.99, 0.03, "\n".join(notes), transform=axes.transAxes, ha="right", va="bottom", fontsize=6, color=BLACK)


def legend_entries(runs: list[Run]) -> list[Line2D]:
    """Return one entry for each kind of line that some panel has."""
    there = {(run.arm, run.protocol) for run in runs}
    entries = [
        Line2D([], [], lw=0.8 if key[1] == "published" else 1.1, **style)
        for key, style in CURVES.items()
        if key in there
    ]
    llms = sorted({run.llm for run in runs if run.arm == "llm-policy"})
    if llms:
        entries.append(Line2D([], [], color=BLACK, ls=(0, (5, 2)), lw=0.9, label=f"{', '.join(llms)} as the policy"))
    if any(run.arm == "random-policy" for run in runs):
        entries.append(Line2D([], [], color=BLACK, ls=(0, (1, 2)), lw=0.9, label="random policy"))
    return entries


def draw(env: str, runs: list[Run]) -> plt.Figure:
    """Return the figure of one environment at column width, or of all on a page."""
    panels = [name for name in envs.ENVIRONMENTS if any(run.env == name for run in runs)]
    if env != "all":
        panels = [envs.get(env).name]
    trained = [run for run in runs if run.env in panels and (run.arm, run.protocol) in CURVES]
    if not trained:
        raise UsageError(f"None of the runs given can be drawn for '{env}': no online or loro run of it is there.")
    for name in panels:
        lengths = {run.table.iteration.max() + 1 for run in trained if run.env == name and run.protocol != "published"}
        if len(lengths) > 1:
            raise UsageError(f"The runs of {name} have different numbers of iterations: {sorted(map(int, lengths))}.")
    columns = 1 if len(panels) == 1 else 3
    rows = -(-len(panels) // columns)
    size = (3.4, 2.7) if columns == 1 else (7.0, 1.9 * rows + 0.6)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, panels, strict=False):
        draw_panel(axes, name, [run for run in runs if run.env == name])
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1] if columns == 1 else grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("iteration (200 training steps)")
    for axes in grid[:, 0]:
        axes.set_ylabel("return of the greedy policy")
    entries = legend_entries([run for run in runs if run.env in panels])
    figure.legend(handles=entries, loc="outside lower center", ncols=2 if columns == 1 else 4, fontsize=6)
    return figure


def main() -> None:
    """Draw and save."""
    args = tyro.cli(Args)
    plt.rcParams.update(STYLE)
    runs = [read_run(path) for path in args.runs]
    figure = draw(args.env, runs)
    for path in (args.output.with_suffix(".pdf"), args.output.with_suffix(".png")):
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    print(f"{args.output}: {len(runs)} runs.")


if __name__ == "__main__":
    run_command_line(main)
