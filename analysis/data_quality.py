"""Does a warm start pay when the LLM plays well? What the LLM's data earns the learner, over how well the LLM plays.

    python -m analysis.data_quality --runs results/runs/paper/*/*.csv \\
        --output paper_figs/data_quality.pdf --table results/tables/data_quality.csv

Across: the LLM policy's mean return. Up: the gain. Both are on one scale per environment (analysis/gains.py); one that
has no such scale is in the table but not in the figure. The PNG goes beside the PDF, the .md beside the table's CSV.
LLMs that played the same first tau episodes have the same runs, which count once.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tyro

import envs
from analysis.colours import GREY
from analysis.correlation import CORRELATION, correlation_text
from analysis.gains import WARM_STARTS, Baseline, baseline_of, by_name, repeated_runs, row_of
from analysis.main_table import ARMS, title_of
from analysis.plotting import STYLE, save_figure
from analysis.runs import Run, common_iterations, environments_about, read_run, select_runs
from analysis.scatter import draw_points
from analysis.wording import estimate, short, table_lines
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

QUALITY_TICKS = (-10, -3, -1, -0.5, 0, 0.5, 1)
LINEAR = 1.0
"""Up to this quality, either way, the axis is linear: beyond it lies play that is many times worse than random."""

INTRODUCTION = """\
# Does a warm start pay when the LLM plays well?

Quality: (LLM's return - random policy's) / (online RL's last level - random policy's); 0 is random play, 1 what the
learner reaches by itself. Gain: mean return after the warm-up (from iteration τ on) minus that of online RL in the same
iterations; beside it, as far as both have taken as many environment steps, the LLM's own counted; in the last but two
columns the first of them as a share of the same scale. Means [95% bootstrap interval]: quality over the LLM's episodes,
gain over the independent seeds of both arms; the scale itself is taken as it is. Online RL's first and last level: mean
over 20 iterations. Intervals over few seeds are too narrow.
"""
FOOT = """\
- Warm starts of several LLMs that are one run, because the first τ episodes are the same, are one point in the figure
  and in the correlation: the first named. Their qualities may differ, being those of all the LLM's episodes.
- The LLM's return is the mean over all its episodes; an arm learnt from the first τ of them, whose mean return is the
  column "of those used".
- Whether an episode ended or was cut off early is known only where no state is terminal; elsewhere an LLM whose
  longest episode is shorter than the evaluations may have been cut off unnoticed.
- An iteration of online RL is 200 steps, a warm-up iteration one episode of the LLM: at the same iteration online RL
  has taken no fewer steps, and where the LLM's episodes are short the gain at equal steps is the higher one. Offline
  updates are counted in neither; what they do without an LLM, `main.md` shows.
"""


@dataclass
class Args:
    """Draw the gain by a warm start over the quality of the LLM's data, and write the numbers."""

    runs: tuple[Path, ...]
    """the run files: .../paper/<env>/<arm>.csv; arms that the figure does not show are ignored"""
    output: Path
    """the PDF to write; the PNG goes beside it"""
    table: Path
    """the CSV to write; the .md goes beside it"""
    tau: int | None = None
    """show only runs with this number of LLM episodes"""
    pretrain_steps: int | None = None
    """show only runs with this number of offline updates"""


def tidy(named: dict[tuple[str, str, str], Run]) -> tuple[list[dict[str, object]], dict[str, Baseline]]:
    """Return the rows in the order of environments, LLMs, arms and settings, and the environments' baselines."""
    rows, baselines, repeated = [], {}, repeated_runs(named.values())
    for env in envs.ENVIRONMENTS:
        warm = [run for run in named.values() if run.env == env and run.arm in WARM_STARTS]
        if not warm:
            continue
        online = named.get((env, "online", ""))
        if online is None:
            raise UsageError(f"There is no run of online RL to compare {warm[0].path} with: give its online.csv too.")
        common_iterations([online, *warm], env)
        baselines[env] = baseline_of(online, named.get((env, "random-policy", "")))
        for run in sorted(warm, key=lambda r: (r.llm, WARM_STARTS.index(r.arm), r.tau, r.pretrain_steps or 0)):
            row = row_of(run, baselines[env], named.get((env, "llm-policy", run.llm)))
            same = repeated.get((env, run.arm, run.details))
            rows.append(row | {"same_run_as": same.llm if same else None})
    if not rows:
        raise UsageError("There is no loro and no mix run among the runs: nothing to compare with online RL.")
    return rows, baselines


def stand_ins(named: dict[tuple[str, str, str], Run]) -> dict[tuple[str, str], str]:
    """Return, by (environment, LLM), the LLM that recorded the very same episodes and whose warm starts are there.

    Equal episodes train equal agents: LLMs that always say the same word share one run. LLMs with runs of their own,
    and those whose policy's run does not say the digest of its dataset, are not in it.
    """
    trained = {(run.env, run.llm) for run in named.values() if run.arm in WARM_STARTS}
    digests = {}
    for run in named.values():
        description = run.path.with_suffix(".json")
        if run.arm == "llm-policy" and description.exists():
            digests[run.env, run.llm] = json.loads(description.read_text(encoding="utf-8")).get("dataset_sha256")
    found = {}
    for (env, llm), digest in digests.items():
        others = sorted(other for e, other in trained if e == env and digest and digests.get((e, other)) == digest)
        if others and (env, llm) not in trained:
            found[env, llm] = others[0]
    return found


def draw(rows: list[dict], baselines: dict[str, Baseline]) -> plt.Figure:
    """Return the figure at column width, a panel for each arm that has points."""
    shown = [row for row in rows if math.isfinite(row["quality"]) and not row["same_run_as"]]
    if not shown:
        raise UsageError("No point can be placed: " + "; ".join(_reasons(rows, baselines)) + ".")
    label = "quality of the LLM's play\n(0: random policy, 1: online RL's last level;\nlogarithmic beyond ±1)"
    points = {arm: [row for row in shown if row["arm"] == arm] for arm in WARM_STARTS}
    figure, panels = draw_points({label: points}, "quality", unseen=baselines)
    for axes in panels.flat:
        for x in (0, 1):
            axes.axvline(x, color=GREY, lw=0.6, ls=(0, (2, 2)), zorder=1)
        axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
        axes.autoscale(axis="x")  # with margins of that scale
        axes.set_xticks(QUALITY_TICKS, [f"{tick:g}".replace("-", "−") for tick in QUALITY_TICKS])
    return figure


def _reasons(rows: list[dict], baselines: dict[str, Baseline]) -> list[str]:
    reasons = [f"{envs.get(env).title}: {b.not_placed}" for env, b in baselines.items() if b.not_placed]
    lacking = dict.fromkeys(
        (row["env"], row["llm"]) for row in rows if row["llm_episodes"] is None and not baselines[row["env"]].not_placed
    )
    return reasons + [f"{envs.get(env).title}: no run llm-policy_{llm}" for env, llm in lacking]


def cells(row: dict) -> list[str]:
    """Return a row's cells for reading."""
    same = f", the same run as {row['same_run_as']}'s" if row["same_run_as"] else ""
    return [
        envs.get(row["env"]).title,
        title_of(row) + same,
        short(row["llm_return"]),
        short(row["llm_return_used"]),
        "" if row["llm_longest"] is None else str(row["llm_longest"]),
        short(row["random_return"]),
        short(row["online_first"]),
        short(row["online_last"]),
        estimate(row, "quality", short) + " per step" * row["per_step"],
        estimate(row, "gain", short),
        estimate(row, "gain_at_equal_steps", short),
        estimate(row, "gain_share", short),
        f"{row['improvement']:.2f}",
        f"{row['seeds']}, {row['online_seeds']}",
    ]


def missing_runs(named: dict[tuple[str, str, str], Run]) -> list[str]:
    """Name the runs that the figure could show and was not given, environment by environment."""
    told = stand_ins(named)
    llms = sorted({run.llm for run in named.values() if run.llm})
    steps = sorted({run.pretrain_steps for run in named.values() if run.arm == "loro" and run.pretrain_steps})
    wanted = [*(("loro", n) for n in steps or [None]), ("mix", None), ("llm-policy", None)]
    lines = []
    for env in environments_about(run.env for run in named.values()):
        runs = [run for run in named.values() if run.env == env]
        missing = []
        if runs:
            missing = [arm for arm in ("online", "random-policy") if (env, arm, "") not in named]
            for llm in (llm for llm in llms if (env, llm) not in told):
                there = {(run.arm, run.pretrain_steps) for run in runs if run.llm == llm}
                arms = [f"{arm} N={n}" if n else arm for arm, n in wanted if (arm, n) not in there]
                missing.append(f"{llm} ({', '.join(arms) if there else 'everything'})" if arms else "")
        missing = [name for name in missing if name]
        if missing or not runs:
            lines.append(f"- {envs.get(env).title}: no runs yet of {', '.join(missing) if runs else 'anything'}.")
    return lines


def still_runs(named: dict[tuple[str, str, str], Run]) -> list[str]:
    """Say where several warm starts have the same return in every evaluation after the warm-up, of every seed."""
    repeated, found = repeated_runs(named.values()), {}
    for run in (run for run in named.values() if run.arm in WARM_STARTS):
        returns = run.curves()[:, run.tau or 0 :]
        if np.ptp(returns) == 0 and (run.env, run.arm, run.details) not in repeated:
            found.setdefault((run.env, float(returns.flat[0])), []).append(run)
    return [
        f"- {envs.get(env).title}: in {len(runs)} warm starts every evaluation after the warm-up has a return of "
        f"{short(value)}, whatever the seed: nothing changes, and their gains are one finding."
        for (env, value), runs in found.items()
        if len(runs) > 1
    ]


def markdown(rows: list[dict], baselines: dict[str, Baseline], named: dict[tuple[str, str, str], Run]) -> str:
    """Return the table for reading, with what it lacks and what does not compare below it."""
    head = ["environment", "arm", "LLM's return", "of those used", "longest episode, steps", "random"]
    head += ["online, first", "online, last"]
    head += ["quality", "gain", "gain at equal steps", "gain, as a share", "P(arm > online)", "seeds (arm, online)"]
    lines = [INTRODUCTION, *table_lines(head, map(cells, rows)), ""]
    for arm in WARM_STARTS:
        if text := correlation_text([row for row in rows if row["arm"] == arm]):
            lines += [f"{ARMS[arm]}, quality and gain: {text}.", ""]
    lines += [CORRELATION, "", "## Read with care", ""]
    lines += [f"- {envs.get(env).title} is not placed: {b.not_placed}." for env, b in baselines.items() if b.not_placed]
    for row in {(row["env"], row["llm"]): row for row in rows if row["per_step"]}.values():
        environment = envs.get(row["env"])
        lines.append(
            f"- {environment.title}, {row['llm']}: the LLM's episodes were cut off after {row['llm_longest']} steps, "
            f"evaluations after {environment.horizon}. Their returns do not compare, so quality is that of the returns "
            "per step, an open marker in the figure and in no correlation. It is rough: an evaluation's later steps "
            "start from where its first ones led."
        )
    for (env, llm), other in stand_ins(named).items():
        lines.append(f"- {envs.get(env).title}: {llm} played the very episodes of {other}; its rows are the same.")
    lines += still_runs(named)
    missing = missing_runs(named)
    return "\n".join([*lines, FOOT, *(["## Missing", "", *missing] if missing else [])]).rstrip("\n") + "\n"


def main() -> None:
    """Write the table and the figure."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".pdf"), table=(args.table, ".csv"))
    runs = select_runs([read_run(path) for path in args.runs], None, args.tau, args.pretrain_steps)
    named = by_name(runs)
    rows, baselines = tidy(named)
    plt.rcParams.update(STYLE)
    figure = draw(rows, baselines)
    table = pd.DataFrame(rows).astype(dict.fromkeys(("pretrain_steps", "llm_episodes", "llm_longest"), "Int64"))
    write_text(args.table.with_suffix(".csv"), table.to_csv(index=False, float_format="%.8g"))
    write_text(args.table.with_suffix(".md"), markdown(rows, baselines, named))
    save_figure(figure, args.output)
    shown = sum(math.isfinite(row["quality"]) and not row["same_run_as"] for row in rows)
    repeated = sum(bool(row["same_run_as"]) for row in rows)
    print(f"{args.output}: {shown} of {len(rows)} warm starts drawn, {repeated} more are the same runs as others.")
    if _reasons(rows, baselines):
        print(f"In the table only: {'; '.join(_reasons(rows, baselines))}.")


if __name__ == "__main__":
    run_command_line(main)
