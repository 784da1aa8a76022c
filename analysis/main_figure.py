"""The paper's main figure: the return of each evaluation, online against LORO against the policies that do not learn.

    python -m analysis.main_figure --env cartpole --runs results/runs/*/cartpole/*.csv --output cartpole_main.pdf

`--env all` draws one panel for each environment. The PNG goes beside the PDF. Lines are means over seeds, bands their
95% bootstrap intervals; a single seed or chain is a thin line without. Every seed's curve is drawn as its running mean
over 9 iterations, as in the other figures: single evaluations of a chain would cover all else. Dotted lines are the
authors' published curves. The shaded iterations are the LLM's warm-up. Small print below a panel's title says where
returns do not compare, and which lines lie on each other.
`--over steps` counts environment steps instead of iterations: ten episodes of an LLM may be 60 steps or 2,000, an
iteration of a learner is always 200. Of a chain in which one network is handed from repeat to repeat it shows the first
repeat: the later ones start with all the steps of those before, beyond the axis.
What is not among the runs is left out and named on stdout.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import envs
from analysis import plotting
from analysis.colours import BLACK, BLUE, ORANGE, PURPLE
from analysis.plotting import (
    LEGEND,
    STYLE,
    Curve,
    Level,
    across_label,
    explanations,
    limits_of,
    on_one_line,
    save_figure,
    unlike_returns,
    write_title,
)
from analysis.runs import POLICIES, Run, common_iterations, read_run, select_runs
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs

CURVES = {
    ("online", "paper"): ("online RL", {"color": BLUE}),
    ("loro", "paper"): ("LORO, paper", {"color": ORANGE}),
    ("loro", "released"): ("LORO, released", {"color": PURPLE, "dashes": (4, 1.5)}),
    ("online", "published"): ("online RL, published", {"color": BLUE, "dashes": (1, 1), "lw": 0.7, "zorder": 1}),
    ("loro", "published"): ("LORO, published", {"color": ORANGE, "dashes": (1, 1), "lw": 0.7, "zorder": 1}),
}
LEVEL: dict[str, Any] = {"color": BLACK, "lw": 0.9, "zorder": 1}
RANDOM = LEVEL | {"ls": (0, (1, 2))}
LLM_DASHES = ((0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (9, 3)))
"""Of the LLMs that play, in the order of the runs given."""
WINDOW = 9
"""Iterations of the running mean."""


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
    over: Literal["iterations", "steps"] = "iterations"
    """the horizontal axis: the paper's, or environment steps, the LLM's own counted"""
    tau: int | None = None
    """draw only runs with this number of LLM episodes"""
    pretrain_steps: int | None = None
    """draw only runs with this number of offline updates"""


Key = tuple[str, str]
"""A line: (arm, protocol), or of an LLM's play (llm-policy, LLM)."""


def key_of(run: Run) -> Key:
    """Return which line a run is."""
    return (run.arm, run.llm or "") if run.arm == "llm-policy" else (run.arm, run.protocol)


def drawn_runs(runs: list[Run], env: str) -> dict[Key, Run]:
    """Return what the panel of `env` shows; raise UsageError where two runs claim one line."""
    panel: dict[Key, Run] = {}
    for run in runs:
        key = key_of(run)
        if run.env != env or (key not in CURVES and run.arm not in POLICIES):
            continue
        if key in panel:
            raise UsageError(
                f"{panel[key].path} and {run.path} are both given for one line: "
                "choose with --llm, --tau and --pretrain-steps, or give one."
            )
        panel[key] = run
    return panel


def levels_of(panels: Iterable[dict[Key, Run]]) -> dict[Key, tuple[str, dict]]:
    """Return label and style of each policy that does not learn, the same in all panels.

    Raises UsageError where more LLMs play than there are kinds of lines.
    """
    found = [key for panel in panels for key, run in panel.items() if run.arm in POLICIES]
    llms = [key for key in dict.fromkeys(found) if key[0] == "llm-policy"]
    if len(llms) > len(LLM_DASHES):
        names = ", ".join(llm for _, llm in llms)
        raise UsageError(f"The figure has lines for {len(LLM_DASHES)} LLMs as policies ({names}): choose with --llm.")
    dashes = dict(zip(llms, LLM_DASHES, strict=False))
    levels = {key: (f"{key[1]} as the policy", LEVEL | {"ls": dashes[key]}) for key in llms}
    return levels | {key: ("random policy", RANDOM) for key in found if key not in levels}


def draw_panel(
    axes: Axes,
    panel: dict[Key, Run],
    iterations: int,
    over_steps: bool = False,
    policies: dict[Key, tuple[str, dict]] | None = None,
) -> list[str]:
    """Draw one environment over iterations, or over the steps that they took; return what its reader must know."""
    drawn = {key: line for key, line in CURVES.items() if key in panel}
    names = {key: label.replace(",", "") for key, (label, _) in drawn.items()}
    curves = [Curve(panel[key], style, WINDOW, names[key]) for key, (_, style) in drawn.items()]
    policies = levels_of([panel]) if policies is None else policies
    levels = [
        Level(label.removesuffix(" as the policy").removesuffix(" policy"), panel[key].mean_return(), style)
        for key, (label, style) in policies.items()
        if key in panel
    ]
    bottom, top = limits_of(curves, levels, iterations, over_steps)
    plotting.draw_panel(axes, curves, levels, iterations, over_steps, (bottom, top))
    return on_one_line(curves, levels, iterations, top - bottom)


def legend_handles(panels: list[dict[Key, Run]], over_steps: bool = False) -> list[Artist]:
    """Return one entry for each kind of line that some panel has; settings are named where there is but one."""
    entries: list[Artist] = []
    for key, (label, style) in {**CURVES, **levels_of(panels)}.items():
        runs = [panel[key] for panel in panels if key in panel]
        if not runs:
            continue
        details = {run.details for run in runs}
        if key == ("loro", "paper") and len(details) == 1:
            label = f"{label} (τ={runs[0].tau}, N={runs[0].pretrain_steps})"
        elif key == ("loro", "released"):
            label += ", first repeats" if over_steps else ", mean of repeats"  # see plotting.Curve.points
        entries.append(Line2D([], [], **style, label=label))
    curves = [Curve(panel[key], style) for panel in panels for key, (_, style) in CURVES.items() if key in panel]
    return [*entries, *explanations(curves)]


def draw(panels: dict[str, dict[Key, Run]], lengths: dict[str, int], over_steps: bool = False) -> plt.Figure:
    """Return the figure of one environment at column width, or of several on a page."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (3.4, 2.8) if columns == 1 else (7.0, 1.9 * rows + 0.8)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    policies = levels_of(panels.values())
    for axes, (env, panel) in zip(grid.flat, panels.items(), strict=False):
        hidden = draw_panel(axes, panel, lengths[env], over_steps, policies)
        write_title(axes, envs.get(env).title, [*unlike_returns(env, list(panel.values())), *hidden])
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel(across_label(WINDOW, over_steps))
    for axes in grid[:, 0]:
        axes.set_ylabel("return of the greedy policy")
    entries = legend_handles(list(panels.values()), over_steps)
    figure.legend(handles=entries, loc="outside lower center", ncols=2 if columns == 1 else 4, **LEGEND)
    return figure


def left_out(panels: dict[str, dict[Key, Run]]) -> str:
    """Name the lines that no run was given for, environment by environment."""
    missing, known = [], [*CURVES, *levels_of(panels.values())]
    known += [(policy, "") for policy in POLICIES if all(arm != policy for arm, _ in known)]
    for env, panel in panels.items():
        names = [f"{arm} ({which})" if which else arm for arm, which in known if (arm, which) not in panel]
        if names:
            missing.append(f"{env}: {', '.join(names) if panel else 'everything'}")
    return "; ".join(missing)


def main() -> None:
    """Draw and save."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"))
    runs = select_runs([read_run(path) for path in args.runs], args.llm, args.tau, args.pretrain_steps)
    over_steps = args.over == "steps"
    if over_steps:
        runs = [run for run in runs if run.arm in POLICIES or np.isfinite(run.steps()).all()]
    names = list(envs.ENVIRONMENTS) if args.env == "all" else [envs.get(args.env).name]
    panels = {env: drawn_runs(runs, env) for env in names}
    shown = {env: panel for env, panel in panels.items() if any(key in CURVES for key in panel)}
    if not shown:
        raise UsageError(f"None of the runs given can be drawn for '{args.env}': no online or loro run of it is there.")
    lengths = {env: common_iterations(list(panel.values()), env) for env, panel in shown.items()}
    plt.rcParams.update(STYLE)
    figure = draw(shown, lengths, over_steps)
    save_figure(figure, args.output)
    print(f"{args.output}: {sum(map(len, shown.values()))} runs drawn.")
    missing = left_out({env: shown.get(env, {}) for env in panels})
    if missing:
        print(f"Left out, because no run was given: {missing}.")


if __name__ == "__main__":
    run_command_line(main)
