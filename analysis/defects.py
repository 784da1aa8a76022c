"""Which of the differences between the protocols carries the result: each switched alone, from both ends.

    python -m analysis.defects --runs results/runs/{paper,released}/*/loro*.csv --output paper_figs/defects.pdf \\
        --table results/tables/defects.csv

Left: LORO done soundly, with one thing as the authors' code has it. Right: the authors' procedure, with one thing done
as the protocol `paper` has it. Dots are the change of the cumulative reward by that one thing, seed by seed, bars its
95% bootstrap interval over these seeds (or chains of repeats); an open dot has none. The dashed line is the whole
distance between the two protocols, grey and dotted where a single seed or chain stands for one of them. The warm-up's
iterations are counted, as in the paper. Runs of one environment must have the same length. What is not among the runs
is left out, and named in the table's foot.

One difference is there between the arms too: the released code copies LORO's target network five times as often as
online RL's. With `--controls`, online RL with LORO's, the table also says what a warm start is worth with the same.
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
from analysis.plotting import STYLE, save_figure
from analysis.protocols import DIFFERENCES, OFTEN, SELDOM
from analysis.runs import Run, common_iterations, description, read_own_run, read_run
from analysis.statistics import bootstrap_interval, difference_interval, difference_p_value
from analysis.wording import number, p_value, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
WHOLE = {
    True: {"color": BLACK, "lw": 0.8, "ls": (0, (4, 2)), "label": "whole distance between the protocols"},
    False: {"color": GREY, "lw": 1.2, "ls": (0, (1, 1.5)), "label": "the same, resting on a single seed or chain"},
}
"""How the distance between the protocols is drawn, by whether both have several seeds or chains."""
SIDES = {"paper": ("LORO done soundly, plus ...", BLUE), "released": ("as released, minus ...", ORANGE)}
INTRODUCTION = """\
# Which difference carries the result

Cumulative reward of LORO ({setting}). `plus`: the protocol `paper` with one difference as `released` has it. `minus`:
the protocol `released` with that one difference as `paper` has it; a negative change there means that the difference
helps LORO under `released`. Change: the mean over the seeds (or chains of five repeats) that both have [95% bootstrap
interval over them], and how many these are. Agents of the same seed begin with the same weights and meet the same
random numbers, so that what only counts differently changes all alike, up to rounding: five agents side by side round
differently from ten, and a difference in the last digit can part two runs of the same seed for good. The intervals are
too narrow over few: of three chains they are the range of the three and contain the mean in three cases of four at
most, of five seeds in about 83%. They are not corrected for being many.
"""
ALIKE = """\
## LORO against online RL, with the same target network

The authors' code copies LORO's target network every 200 updates and online RL's every 1,000. Here both have the same,
all else as in `paper`: cumulative rewards, and LORO's minus online RL's [95% bootstrap interval over independent seeds]
(p-value of Welch's t-test, not corrected for being several).
"""


@dataclass(frozen=True)
class Distance:
    """How much more `released` collects than `paper`, all differences together."""

    value: float
    low: float
    high: float
    seeds: dict[str, int]
    """independent seeds or chains of each protocol"""

    @property
    def several(self) -> bool:
        """Return whether both protocols have more than one seed or chain."""
        return min(self.seeds.values()) > 1


@dataclass
class Args:
    """Draw the figure of defects and write its table."""

    runs: tuple[Path, ...]
    """run files .../<protocol>/<env>/loro[-<difference>]_<llm>_tau<T>_n<N>.csv, of one LLM, tau, N; online.csv"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    controls: tuple[Path, ...] = ()
    """run files of online RL with LORO's target network; their .json names the environment"""


def cumulative(run: Run) -> pd.Series:
    """Return the cumulative reward by seed, or by chain: the mean over its repeats."""
    return run.table.groupby(["seed", "repeat"]).eval_return.sum().groupby("seed").mean()


def changes(run: Run, base: Run) -> np.ndarray:
    """Return what `run` collects more than `base`, for each seed or chain that both have.

    Not the difference of the two means: with five seeds against ten, how good the other five are would count too.
    """
    pairs = (cumulative(run) - cumulative(base)).dropna().to_numpy()
    if len(pairs) == 0:
        raise UsageError(f"{run.path} and {base.path} have no seed in common: train them with the same --first-seed.")
    return pairs


def rows_of(runs: dict[tuple[str, str, str], Run], env: str) -> list[dict[str, object]]:
    """Return what each difference changes in one environment, from both ends; `runs` by (protocol, env, arm)."""
    rows = []
    for protocol in SIDES:
        base = runs.get((protocol, env, "loro"))
        for name, difference in DIFFERENCES.items():
            run = runs.get((protocol, env, f"loro-{name}"))
            if base is None or run is None:
                continue
            change = changes(run, base)
            low, high = bootstrap_interval(change)
            rows.append(
                {
                    "env": env,
                    "side": "plus" if protocol == "paper" else "minus",
                    "difference": name,
                    "meaning": difference.label,
                    "change": change.mean(),
                    "low": float(low),
                    "high": float(high),
                    "seeds": len(change),
                }
            )
    return rows


def read_control(path: Path) -> Run:
    """Read a control; raise UsageError where it is none, Failure when it is damaged."""
    run, told = read_own_run(path), description(path)["arguments"]
    if (run.arm, run.protocol, told.get("target_update_interval")) != ("online", "paper", OFTEN):
        raise UsageError(f"{path} is not online RL of the protocol paper with --target-update-interval {OFTEN}.")
    return run


def alike_rows(runs: dict[tuple[str, str, str], Run], controls: list[Run]) -> list[dict[str, object]]:
    """Return what a warm start changes where both arms copy their target network as often, seldom and often."""
    rows = []
    for control in controls:
        env = control.env
        arms = {SELDOM: (runs.get(("paper", env, "loro")), runs.get(("paper", env, "online")))}
        arms[OFTEN] = (runs.get(("paper", env, "loro-target")), control)
        for interval, (loro, online) in arms.items():
            if loro is None or online is None:
                continue
            common_iterations([loro, online], env)
            ours, theirs = cumulative(loro).to_numpy(), cumulative(online).to_numpy()
            low, high = difference_interval(ours, theirs)
            rows.append(
                {
                    "env": env,
                    "side": "against online",
                    "difference": f"target-{interval}",
                    "meaning": f"LORO minus online RL, both target networks copied every {interval:,} updates",
                    "change": ours.mean() - theirs.mean(),
                    "low": low,
                    "high": high,
                    "seeds": f"{len(ours)} against {len(theirs)}",
                    "loro": ours.mean(),
                    "online": theirs.mean(),
                    "p_value": difference_p_value(ours, theirs),
                }
            )
    return rows


def distance_of(runs: dict[tuple[str, str, str], Run], env: str) -> Distance | None:
    """Return the whole distance between the protocols in one environment; None where one has no run."""
    both = {protocol: runs.get((protocol, env, "loro")) for protocol in SIDES}
    if not all(both.values()):
        return None
    sums = {protocol: cumulative(run).to_numpy() for protocol, run in both.items()}
    low, high = difference_interval(sums["released"], sums["paper"])
    value = sums["released"].mean() - sums["paper"].mean()
    return Distance(value, low, high, {protocol: len(values) for protocol, values in sums.items()})


def draw_side(
    axes: Axes, rows: pd.DataFrame, names: list[str], distance: Distance | None, sign: int, color: str
) -> None:
    """Draw one environment from one end: a row for each difference that can matter there.

    `sign`: 1 where the differences lead from `paper` to `released`, -1 where they lead back.
    """
    for place, name in enumerate(names):
        row = rows[rows.difference == name]
        if row.empty:
            place_in_panel = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
            axes.text(0.5, place, "not computed", **place_in_panel, fontsize=5.5, color="#777777", bbox=WHITE)
            continue
        change, low, high = (float(row[column].iloc[0]) for column in ("change", "low", "high"))
        known = np.isfinite(low)
        axes.plot([change], [place], "o", color=color, ms=3.5, markerfacecolor=color if known else "white")
        if known:
            axes.plot([low, high], [place, place], color=color, lw=1.2)
    axes.axvline(0, color=BLACK, lw=0.6)
    if distance is not None:
        axes.axvline(sign * distance.value, **WHOLE[distance.several])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [DIFFERENCES[name].label for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#E6E6E6", lw=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(plt.MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace("-", "−"))


def draw(table: pd.DataFrame, runs: dict[tuple[str, str, str], Run]) -> plt.Figure:
    """Return the figure: a row of panels for each environment, `paper` on the left, `released` on the right."""
    shown = [env for env in envs.ENVIRONMENTS if (table.env == env).any()]
    heights = [sum(env in difference.environments for difference in DIFFERENCES.values()) for env in shown]
    figure, grid = plt.subplots(
        len(shown),
        2,
        figsize=(7.0, 0.6 + 0.22 * sum(heights) + 0.45 * len(shown)),
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    kinds: set[bool] = set()
    for env, panels in zip(shown, grid, strict=True):
        names = [name for name, difference in DIFFERENCES.items() if env in difference.environments]
        distance = distance_of(runs, env)
        kinds |= {distance.several} if distance else set()
        for axes, (protocol, (title, color)) in zip(panels, SIDES.items(), strict=True):
            side = "plus" if protocol == "paper" else "minus"
            sign = {"paper": 1, "released": -1}[protocol]
            rows = table[(table.env == env) & (table.side == side)]
            draw_side(axes, rows, names, distance, sign, color)
            axes.set_title(f"{envs.get(env).title}: {title}")
        panels[1].set_yticklabels([])
    for axes, how in zip(grid[-1], ("with it", "without it"), strict=True):
        axes.set_xlabel(f"change of the cumulative reward {how}")
    entries = [Line2D([], [], **WHOLE[several]) for several in sorted(kinds, reverse=True)]
    figure.legend(handles=entries, loc="outside lower center", ncols=2, fontsize=6)
    return figure


def missing_runs(runs: dict[tuple[str, str, str], Run], shown: list[str], controls: list[Run]) -> list[str]:
    """Name the runs that are not there, environment by environment: LORO itself, its single differences, controls'."""
    missing = []
    for env in shown:
        needed = {f"loro-{name}": name for name, one in DIFFERENCES.items() if env in one.environments}
        held = {"online": "online RL"} if any(control.env == env for control in controls) else {}
        for protocol, more in (("paper", held), ("released", {})):
            wanted = {"loro": "LORO itself", **needed, **more}
            if absent := [name for arm, name in wanted.items() if (protocol, env, arm) not in runs]:
                missing.append(f"- {env}, {protocol}: no runs yet of {', '.join(absent)}.")
    return missing


def markdown(
    table: pd.DataFrame, runs: dict[tuple[str, str, str], Run], alike: list[dict[str, object]], missing: list[str]
) -> str:
    """Return the table for reading, and what is missing."""
    rows = [
        [envs.get(row.env).title, row.side, row.meaning, with_interval(row.change, row.low, row.high), str(row.seeds)]
        for row in table.itertuples()
    ]
    lines = table_lines(["environment", "side", "difference", "change [95% interval]", "seeds"], rows)
    distances = []
    for env in dict.fromkeys(table.env):
        distance = distance_of(runs, env)
        if distance is not None:
            value = with_interval(distance.value, distance.low, distance.high)
            counts = f"{distance.seeds['released']} against {distance.seeds['paper']}"
            single = "" if distance.several else " (rests on a single one)"
            distances.append([envs.get(env).title, value, counts + single])
    lines += ["", "## The whole distance between the protocols", ""]
    lines += table_lines(["environment", "released minus paper [95% interval]", "chains, seeds"], distances)
    if alike:
        head = ["environment", "target network copied every", "LORO", "online RL", "difference", "seeds"]
        cells = [
            [
                envs.get(row["env"]).title,
                f"{int(row['difference'].removeprefix('target-')):,} updates",
                number(row["loro"]),
                number(row["online"]),
                f"{with_interval(row['change'], row['low'], row['high'])} ({p_value(row['p_value'])})",
                row["seeds"],
            ]
            for row in alike
        ]
        lines += ["", ALIKE, *table_lines(head, cells)]
    lines += ["", *not_applicable(list(dict.fromkeys(table.env)))]
    foot = "\n## Not computed yet\n\n" + "\n".join(missing) + "\n" if missing else ""
    setting = next(run.details for (_, _, arm), run in runs.items() if arm.startswith("loro"))
    return INTRODUCTION.format(setting=setting) + "\n" + "\n".join(lines) + "\n" + foot


def not_applicable(shown: list[str]) -> list[str]:
    """Say which differences change nothing in an environment, and are in neither table nor figure."""
    absent = {
        env: [f'"{difference.label}"' for difference in DIFFERENCES.values() if env not in difference.environments]
        for env in shown
    }
    told = [f"{envs.get(env).title} {', '.join(labels)}" for env, labels in absent.items() if labels]
    return [f"Differences that do not apply: {'; '.join(told)}."] if told else []


def main() -> None:
    """Draw, and write the table."""
    args = tyro.cli(Args)
    check_outputs([*args.runs, *args.controls], output=(args.output, ".pdf"), table=(args.table, ".csv"))
    runs: dict[tuple[str, str, str], Run] = {}
    for run in map(read_run, args.runs):
        if run.protocol not in SIDES or not run.arm.startswith(("loro", "online")):
            continue
        first = runs.setdefault((run.protocol, run.env, run.arm), run)
        if first is not run:
            raise UsageError(f"{first.path} and {run.path} are runs of the same arm: give those of one setting.")
    settings = {run.details: run.path for run in runs.values() if run.arm.startswith("loro")}
    if len(settings) > 1:
        raise UsageError(f"{' and '.join(map(str, settings.values()))} have other settings: give those of one.")
    for env in envs.ENVIRONMENTS:
        common_iterations(list(runs.values()), env)
    table = pd.DataFrame([row for env in envs.ENVIRONMENTS for row in rows_of(runs, env)])
    if table.empty:
        raise UsageError("None of the runs given is LORO with a single difference, beside LORO without it.")
    controls = list(map(read_control, args.controls))
    if len({control.env for control in controls}) < len(controls):
        raise UsageError("--controls: two are of the same environment; give one of each.")
    alike = alike_rows(runs, controls)
    plt.rcParams.update(STYLE)
    save_figure(draw(table, runs), args.output)
    csv = pd.concat([table, pd.DataFrame(alike)]).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(args.table.with_suffix(".csv"), csv)
    write_text(
        args.table.with_suffix(".md"),
        markdown(table, runs, alike, missing_runs(runs, list(dict.fromkeys(table.env)), controls)),
    )
    print(f"{args.output}: {len(table)} differences drawn.")


if __name__ == "__main__":
    run_command_line(main)
