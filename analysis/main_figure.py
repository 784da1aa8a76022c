"""The paper's main figure: the return of each evaluation, online against LORO against the policies that do not learn.

    python -m analysis.main_figure --env cartpole --runs results/runs/*/cartpole/*.csv --output cartpole_main.pdf

`--env all` draws one panel for each environment. The PNG goes beside the PDF. Lines are means over seeds, bands their
95% bootstrap intervals; dotted lines are the authors' published curves. The shaded iterations are the LLM's warm-up.
What is not among the runs is left out and named on stdout.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import envs
from analysis.runs import POLICIES, Run, common_iterations, read_run, select_runs
from analysis.statistics import bootstrap_interval
from envs.errors import UsageError, run_command_line
from envs.files import written_whole

# Okabe and Ito's colours, which colour-blind readers can tell apart
BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#000000"
CURVES = {
    ("online", "paper"): ("online RL", {"color": BLUE}),
    ("loro", "paper"): ("LORO", {"color": ORANGE}),
    ("loro", "released"): ("LORO, released protocol", {"color": GREEN, "dashes": (4, 1.5)}),
    ("online", "published"): ("online RL, published", {"color": BLUE, "dashes": (1, 1), "lw": 0.7, "zorder": 1}),
    ("loro", "published"): ("LORO, published", {"color": ORANGE, "dashes": (1, 1), "lw": 0.7, "zorder": 1}),
}
LEVELS = {
    "llm-policy": ("LLM as the policy", {"color": BLACK, "ls": (0, (5, 2)), "lw": 0.9, "zorder": 1}),
    "random-policy": ("random policy", {"color": BLACK, "ls": (0, (1, 2)), "lw": 0.9, "zorder": 1}),
}
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


@dataclass
class Args:
    """Draw the main figure."""

    env: str
    """the environment (see envs/), or all"""
    runs: tuple[Path, ...]
    """the run files to draw: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    llm: str | None = None
    """draw only this LLM's runs; needed where the files hold several"""
    tau: int | None = None
    """draw only runs with this number of LLM episodes"""
    pretrain_steps: int | None = None
    """draw only runs with this number of offline updates"""


def drawn_runs(runs: list[Run], env: str) -> dict[tuple[str, str] | str, Run]:
    """Return what the panel of `env` shows, by (arm, protocol) or the policy's name.

    Raises UsageError where two runs claim one line.
    """
    panel = {}
    for run in runs:
        key = run.arm if run.arm in POLICIES else (run.arm, run.protocol)
        if run.env != env or (key not in CURVES and key not in LEVELS):
            continue
        if key in panel:
            raise UsageError(
                f"{panel[key].path} and {run.path} are both given for one line: "
                "choose with --llm, --tau and --pretrain-steps, or give one."
            )
        panel[key] = run
    return panel


def draw_panel(axes: Axes, panel: dict[tuple[str, str] | str, Run], iterations: int) -> None:
    """Draw one environment over its `iterations`."""
    lowest, learnt, highest = [], [], []
    for key, (_, style) in CURVES.items():
        if key not in panel:
            continue
        curves = panel[key].curves()[:, :iterations]
        mean, (low, high) = curves.mean(axis=0), bootstrap_interval(curves)
        axes.plot(np.arange(len(mean)), mean, **{"zorder": 2, **style})
        if len(curves) > 1 and panel[key].protocol != "published":  # one chain has no interval
            axes.fill_between(np.arange(len(mean)), low, high, color=style["color"], alpha=0.18, lw=0, zorder=0)
        after_warm_up = slice(panel[key].tau or 0, None)
        lowest.append(mean.min())
        learnt.append(mean[after_warm_up])
        highest.append(np.fmax(mean, high)[after_warm_up])
    levels = {name: panel[name].mean_return() for name in LEVELS if name in panel}
    bottom, top = return_limits(np.concatenate(learnt), np.concatenate(highest), [min(lowest), *levels.values()])
    below = {LEVELS[name][0].split()[0]: value for name, value in levels.items() if value < bottom}
    above = {LEVELS[name][0].split()[0]: value for name, value in levels.items() if value > top}
    if min(lowest) < bottom:
        below["curves"] = min(lowest)
    axes.set_ylim(*room_for_notes(axes, bottom, top, below, above))
    axes.set_xlim(0, max(iterations - 1, 1))
    for name, value in levels.items():
        axes.axhline(value, **LEVELS[name][1])
    warm_up = max((run.tau for run in panel.values() if run.tau), default=0)
    if warm_up:
        axes.axvspan(0, warm_up - 0.5, **WARM_UP)
    axes.grid(color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)


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


def legend_entries(panels: list[dict[tuple[str, str] | str, Run]]) -> list[Artist]:
    """Return one entry for each kind of line that some panel has; settings are named where there is but one."""
    entries: list[Artist] = []
    for key, (label, style) in {**CURVES, **LEVELS}.items():
        runs = [panel[key] for panel in panels if key in panel]
        if not runs:
            continue
        details = {run.details for run in runs}
        if key == "llm-policy":
            label = f"{', '.join(sorted(details))} as the policy"
        elif key == ("loro", "paper") and len(details) == 1:
            label = f"{label} (τ={runs[0].tau}, N={runs[0].pretrain_steps})"
        entries.append(Line2D([], [], **style, label=label))
    if any(run.tau for panel in panels for run in panel.values()):
        entries.append(Patch(**WARM_UP, label="LLM's warm-up"))
    return entries


def draw(panels: dict[str, dict[tuple[str, str] | str, Run]], lengths: dict[str, int]) -> plt.Figure:
    """Return the figure of one environment at column width, or of several on a page."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (3.4, 2.8) if columns == 1 else (7.0, 1.9 * rows + 0.8)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, (env, panel) in zip(grid.flat, panels.items(), strict=False):
        draw_panel(axes, panel, lengths[env])
        axes.set_title(envs.get(env).title)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        break_line = " " if columns == 1 else "\n"
        axes.set_xlabel(f"iteration{break_line}(200 training steps + one evaluation)")
    for axes in grid[:, 0]:
        axes.set_ylabel("return of the greedy policy")
    entries = legend_entries(list(panels.values()))
    figure.legend(handles=entries, loc="outside lower center", ncols=2 if columns == 1 else 4, fontsize=6)
    return figure


def left_out(panels: dict[str, dict[tuple[str, str] | str, Run]]) -> str:
    """Name the lines that no run was given for, environment by environment."""
    missing = []
    for env, panel in panels.items():
        names = [key if key in LEVELS else "{} ({})".format(*key) for key in (*CURVES, *LEVELS) if key not in panel]
        if names:
            missing.append(f"{env}: {', '.join(names) if panel else 'everything'}")
    return "; ".join(missing)


def main() -> None:
    """Draw and save."""
    args = tyro.cli(Args)
    runs = select_runs([read_run(path) for path in args.runs], args.llm, args.tau, args.pretrain_steps)
    names = list(envs.ENVIRONMENTS) if args.env == "all" else [envs.get(args.env).name]
    panels = {env: drawn_runs(runs, env) for env in names}
    shown = {env: panel for env, panel in panels.items() if any(key in CURVES for key in panel)}
    if not shown:
        raise UsageError(f"None of the runs given can be drawn for '{args.env}': no online or loro run of it is there.")
    lengths = {env: common_iterations(list(panel.values()), env) for env, panel in shown.items()}
    plt.rcParams.update(STYLE)
    figure = draw(shown, lengths)
    for path in (args.output.with_suffix(".pdf"), args.output.with_suffix(".png")):
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    print(f"{args.output}: {sum(map(len, shown.values()))} runs drawn.")
    missing = left_out({env: shown.get(env, {}) for env in panels})
    if missing:
        print(f"Left out, because no run was given: {missing}.")


if __name__ == "__main__":
    run_command_line(main)
