"""The paper's other figures: mixing, sources of data, model size, offline updates, number of episodes, tuned LLMs.

    python -m analysis.grid_figure --env cartpole --kind mix --runs results/runs/*/cartpole/*.csv --output FILE.pdf

Same panels as the paper's (analysis/figure_lines.py). Solid lines with bands: protocol `paper`, means over seeds with
95% bootstrap intervals. Dashed: protocol `released`, thin where it is a single chain. Dotted: the authors' published
curves. The shaded iterations are the LLM's warm-up; where lines have several tau, the darker the more lines are in it.
Every seed's curve is drawn as its running mean over 9 iterations, or several lines of single evaluations could not be
told apart (the authors smooth these figures too). All panels have one scale. What is not among the runs is left out,
and named below the panel's title and on stdout, as are lines that lie on each other. With `--over steps` the horizontal
axis is environment steps, without the published curves, which do not tell theirs.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.artist import Artist
from matplotlib.lines import Line2D

import envs
from analysis.figure_lines import Line, Panel, figures_of, panels_of, runs_of
from analysis.plotting import (
    LEGEND,
    STYLE,
    Curve,
    across_label,
    draw_panel,
    explanations,
    limits_of,
    on_one_line,
    save_figure,
    unlike_returns,
    write_title,
)
from analysis.runs import Run, common_iterations, description, read_run
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs

PROTOCOL_STYLES = {
    "paper": {},
    "released": {"dashes": (4, 1.5), "lw": 0.8},
    "published": {"dashes": (1, 1), "lw": 0.7, "zorder": 1},
}
WINDOW = 9
"""Iterations of the running mean."""


@dataclass
class Args:
    """Draw one figure of one environment."""

    env: str
    """the environment (see envs/)"""
    kind: Literal["mix", "pretrain", "model_size", "pretrain_step", "pretrain_eps", "sft_lcot"]
    """which figure"""
    runs: tuple[Path, ...]
    """run files: .../<protocol>/<env>/<arm>.csv; those that the figure does not show are passed over"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    over: Literal["iterations", "steps"] = "iterations"
    """the horizontal axis: the paper's, or environment steps, the LLM's own counted"""


def curves_of(panel: Panel, runs: dict[tuple[str, str], Run]) -> list[Curve]:
    """Return the curves of a panel: each of its lines under every protocol that there is a run of."""
    return [
        Curve(
            runs[protocol, line.run],
            {"color": line.color, **style},
            WINDOW,
            f"{line.label} {protocol}".removesuffix(" paper"),
        )
        for protocol, style in PROTOCOL_STYLES.items()
        for line in panel.lines
        if (protocol, line.run) in runs
    ]


def missing_lines(panel: Panel, runs: dict[tuple[str, str], Run], width: int) -> list[str]:
    """Name a panel's lines that there is no run of under either protocol, in lines of `width`."""
    parts = []
    for protocol in ("paper", "released"):
        missing = [line.label for line in panel.lines if (protocol, line.run) not in runs]
        if missing:
            parts.append(f"{'all' if len(missing) == len(panel.lines) else ' · '.join(missing)} ({protocol})")
    return textwrap.wrap(f"not computed: {'; '.join(parts)}", width) if parts else []


def without_data(runs: dict[tuple[str, str], Run]) -> list[str]:
    """Say where `released` mix began with an empty buffer, as the authors' own did (results/audit.md, 13)."""
    mixed = [run for (protocol, _), run in runs.items() if protocol == "released" and run.arm == "mix"]
    if not any(description(run.path).get("arguments", {}).get("discard_offline") for run in mixed):
        return []
    return ["mix, as published and released: without the LLM's data"]


def legend(lines: list[Line], runs: dict[tuple[str, str], Run], curves: list[Curve], over_steps: bool) -> list[Artist]:
    """Return the entries: colours for the lines that are there, dashes for the protocols, what is said of curves."""
    there = {name for _, name in runs}
    shown = {line.label: line.color for line in lines if line.run in there}
    entries: list[Artist] = [Line2D([], [], color=color, label=label) for label, color in shown.items()]
    names = {
        "paper": "protocol paper",
        "released": f"released (LORO: {'first repeats' if over_steps else 'mean of repeats'})",
        "published": "as published",
    }
    for protocol in dict.fromkeys(protocol for protocol in names if any(key[0] == protocol for key in runs)):
        entries.append(Line2D([], [], color="#555555", **PROTOCOL_STYLES[protocol], label=names[protocol]))
    return [*entries, *explanations(curves)]


def draw(
    env: str, panels: tuple[Panel, ...], runs: dict[tuple[str, str], Run], iterations: int, over_steps: bool = False
) -> plt.Figure:
    """Return the figure: one panel at column width, or a grid on a page."""
    rows, columns = (1 + max(getattr(panel, name) for panel in panels) for name in ("row", "column"))
    size = (3.4, 3.0) if len(panels) == 1 else (2.35 * columns, 1.9 * rows + 0.7)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    drawn = [(panel, curves_of(panel, runs)) for panel in panels]
    unlike = [*unlike_returns(env, list(runs.values())), *without_data(runs)]
    limits = {panel: limits_of(curves, [], iterations, over_steps) for panel, curves in drawn if curves}
    bottoms, tops = zip(*limits.values(), strict=True)
    for panel, curves in drawn:
        axes = grid[panel.row, panel.column]
        width = 72 if len(panels) == 1 else 50
        height = np.ptp(limits[panel]) if curves else 0
        hidden = [part for note in on_one_line(curves, [], iterations, height) for part in textwrap.wrap(note, width)]
        notes = [*missing_lines(panel, runs, width), *hidden]
        if len(panels) == 1:
            write_title(axes, envs.get(env).title, [*unlike, *notes])
        else:
            write_title(axes, panel.title, notes)
        if curves:
            draw_panel(axes, curves, [], iterations, over_steps, (min(bottoms), max(tops)))
        else:
            axes.text(0.5, 0.5, "not computed", ha="center", va="center", transform=axes.transAxes, color="#777777")
            axes.set_xticks([], [])
            axes.set_yticks([], [])
    filled = [grid[panel.row, panel.column] for panel, curves in drawn if curves]
    ends = list(zip(*(axes.get_ylim() for axes in filled), strict=True))  # a note at an edge has made room for itself
    for axes in filled:
        axes.set_ylim(min(ends[0]), max(ends[1]))
    for axes in grid[-1]:
        axes.set_xlabel(across_label(WINDOW, over_steps))
    for axes in grid[:, 0]:
        axes.set_ylabel("return of the greedy policy")
    lines, curves = [line for panel in panels for line in panel.lines], [c for _, curves in drawn for c in curves]
    entries = legend(lines, runs, curves, over_steps)
    figure.legend(handles=entries, loc="outside lower center", ncols={1: 2, 2: 3}.get(columns, 4), **LEGEND)
    if len(panels) > 1:
        figure.suptitle("\n".join([envs.get(env).title, *unlike]), fontsize=8)
    return figure


def main() -> None:
    """Draw and save."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"))
    env = envs.get(args.env).name
    if args.kind not in figures_of(env):
        raise UsageError(f"The paper has no figure {args.kind} of '{env}': there are {', '.join(figures_of(env))}.")
    wanted = runs_of(args.kind, env)
    given = [read_run(path) for path in args.runs if path.parts[-2:-1] == (env,) and path.stem in wanted]
    over_steps = args.over == "steps"
    if over_steps:  # which the authors' curves do not tell
        given = [run for run in given if np.isfinite(run.steps()).all()]
    if not given:
        raise UsageError(f"None of the runs given is shown by figure {args.kind} of '{env}'.")
    runs: dict[tuple[str, str], Run] = {}
    for run in given:
        first = runs.setdefault((run.protocol, run.path.stem), run)
        if first is not run:
            raise UsageError(f"{first.path} and {run.path} are both given for one line: give one.")
    plt.rcParams.update(STYLE)
    save_figure(draw(env, panels_of(args.kind, env), runs, common_iterations(given, env), over_steps), args.output)
    print(f"{args.output}: {len(runs)} runs drawn.")
    for protocol in ("paper", "released"):
        missing = [name for name in wanted if (protocol, name) not in runs]
        if missing:
            print(f"Left out, because no run was given ({protocol}): {', '.join(missing)}.")


if __name__ == "__main__":
    run_command_line(main)
