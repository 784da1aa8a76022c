"""Does a warm start of your own pay? Runs against a run of online RL, wherever their files lie.

    python -m analysis.warm_start --runs rerun/my-llm.csv --against rerun/online.csv --figure rerun/my-llm.pdf

What each run is stands in the .json that its program wrote beside it. The table asks in five ways, for they can differ,
and which one matters depends on what an LLM's episodes cost:

- the sum over iterations, the paper's measure: the LLM's mean return stands for each of its tau episodes;
- the mean return after the warm-up: what the agents themselves earn, in the iterations that both learn in;
- that at equal environment steps, the LLM's own counted: how much better an agent is for the same experience;
- that at equal updates, the offline ones counted: how much better an agent is for the same work;
- the mean return of the last 20 evaluations: where they end.

Differences have 95% bootstrap intervals over seeds. The figure, if it is wanted, has both runs over iterations and over
environment steps; the PNG goes beside the PDF.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import tyro

import envs
from analysis.colours import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY
from analysis.main_table import title_of
from analysis.measures import AFTER, END, LAST, STEPS_AFTER, SUM, UPDATES_AFTER, Pair, measurable, warm_up_end
from analysis.plotting import LEGEND, STYLE, Curve, draw_panel, explanations, save_figure, unlike_returns
from analysis.runs import Run, common_iterations, description, read_own_run
from analysis.wording import COVERS_A_DIFFERENCE, flowed, number, reading, short, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

SAME = ("env", "protocol", "iterations", "iteration_steps", "eval_episodes", "eval_horizon", "horizon", "double_step")
"""Arguments in which runs must agree for their returns to compare."""
EXPECTED = ("arm", "dataset", "tau", "pretrain_steps", "output", "seeds", "first_seed", "device", "threads", "track")
EXPECTED += ("progress",)
"""Arguments in which the runs compared are meant to differ, or that change no result."""
MEASURES = {
    SUM: ("sum over iterations", number),
    **{measure: (f"return {measure}", short) for measure in (AFTER, STEPS_AFTER, UPDATES_AFTER)},
    END: ("return over the last {last} evaluations", short),
}
"""What the runs are compared by, what it is called here, and how it is written."""
FEWEST_SEEDS = 5
"""Below that a bootstrap's interval is a guess: over two seeds each, it shows a difference where none is in a third of
all cases. The claims' rule asks for as many."""
COLOURS = (ORANGE, GREEN, PURPLE, SKY, GREY)


@dataclass
class Args:
    """Does a warm start pay? Compare runs with online RL, or with any other run of the same environment and protocol.

    In five ways: by the paper's sum over iterations; after the warm-up; then at equal environment steps and at equal
    updates; and over the last 20 evaluations.
    """

    runs: tuple[Path, ...]
    """the CSV files to judge, one to five, each with its .json beside it"""
    against: Path
    """the CSV file of the run to compare them with: online RL, or any other of the same environment"""
    figure: Path | None = None
    """the PDF of the curves to write (a PNG goes beside it); none by default"""
    output: Path | None = None
    """the .md to write; printed by default"""


def heading(run: Run) -> str:
    """Name a run's arm and setting, and how many agents it has."""
    seeds, repeats = run.table.seed.nunique(), run.table.repeat.nunique()
    kind = "seed" if repeats == 1 else "chain"
    return f"{title_of(vars(run))}, {seeds} {kind}{'s' * (seeds != 1)}" + f" of {repeats} repeats" * (repeats > 1)


def read_learner(path: Path) -> Run:
    """Read a run; raise UsageError where it does not tell its steps, or nothing follows its warm-up."""
    run = read_own_run(path)
    if not measurable(run, "steps"):
        raise UsageError(f"{path} does not tell how many environment steps were taken (env_steps): nothing to compare.")
    if run.tau and run.tau >= run.iterations:
        raise UsageError(f"{path} ends with its warm-up; there is nothing to compare after it.")
    return run


def check_comparable(run: Run, other: Run) -> None:
    """Raise UsageError where the returns of two runs do not compare, and say in what they differ."""
    told, others = (description(r.path)["arguments"] for r in (run, other))
    for name in SAME:
        if name in told and name in others and told[name] != others[name]:
            raise UsageError(
                f"{run.path} and {other.path} do not compare: "
                f"--{name.replace('_', '-')} was {told[name]} for one and {others[name]} for the other."
            )
    common_iterations([run, other], run.env)


def other_differences(run: Run, other: Run) -> list[str]:
    """Say in what two runs differ beside the warm start itself."""
    told, others = (description(r.path) for r in (run, other))
    names = sorted((told["arguments"].keys() & others["arguments"].keys()) - {*SAME, *EXPECTED})
    pairs = {name: (told["arguments"][name], others["arguments"][name]) for name in names}
    pairs |= {name: (told.get(name), others.get(name)) for name in ("algorithm", "device")}
    return [f"{name} {ours}, not {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]


def comparison(run: Run, other: Run) -> list[str]:
    """Return the section of one run: the table, and what else to know."""
    pair, rows = Pair(run.env, run, other), []
    last = min(LAST, run.iterations - int(max(warm_up_end(one, "iterations") for one in pair.runs)))
    for measure, (name, write) in MEASURES.items():
        difference, means = pair.difference(measure), (write(values.mean()) for values in pair.rewards(measure))
        unknown = not math.isfinite(difference[0])
        share = "" if unknown else f"{pair.improvement(measure):.2f}"
        answer = "not known" if unknown else reading(*difference[1:])
        if not unknown and min(pair.seeds) < FEWEST_SEEDS:
            answer = f"not judged: fewer than {FEWEST_SEEDS} seeds"
        rows.append([name.format(last=last), *means, with_interval(*difference, write), share, answer])
    head = ["measure", "this run", "compared with", "difference [95% interval]", "P(this run is higher)", "this run is"]
    lines = [f"## {run.path}: {heading(run)}", "", *table_lines(head, rows), "", *notes(run)]
    if differences := other_differences(run, other):
        lines.append(f"- Beside the warm start, this run differs in: {'; '.join(differences)}.")
    return [*lines, ""]


def notes(run: Run) -> list[str]:
    """Say what a reader must know of one run: its warm-up, its offline updates, and what does not compare."""
    lines = []
    if run.llm and run.tau:
        told = f"mean return {short(run.curves()[:, : run.tau].mean())}, {warm_up_end(run, 'steps'):,.0f} steps"
        lines.append(f"- Warm-up: {run.tau} episodes, {told}; offline updates: {run.pretrain_steps or 0:,}.")
    told = description(run.path).get("episodes", {})
    if share := told.get("invalid_answers", 0) / told.get("transitions", 1):
        lines.append(f"- In {share:.1%} of its episodes' steps the LLM stated no action, and another was taken for it.")
    if run.table.repeat.nunique() > 1:
        lines.append("- Only the first repeat of each chain is a fresh warm start; numbers are means over the repeats.")
    return [*lines, *(f"- {note}: the warm-up's returns do not compare." for note in unlike_returns(run.env, [run]))]


def report(runs: list[Run], other: Run) -> str:
    """Return all comparisons as Markdown."""
    lines = [f"# Does it pay? {envs.get(other.env).title}, protocol {other.protocol}", ""]
    lines += [f"Compared with: {other.path}, {heading(other)}.", "", *notes(other), *[""] * bool(notes(other))]
    for run in runs:
        lines += comparison(run, other)
    last = (
        f"Intervals over few seeds are too narrow: meant to cover 95%, they cover {COVERS_A_DIFFERENCE}. Five measures "
        "are five chances: one alone that is higher is a hint. The seeds of a warm start share its episodes: what "
        "others of the same LLM would have done is not in the intervals."
    )
    return "\n".join([*lines, flowed(last)])


def draw(runs: list[Run], other: Run) -> plt.Figure:
    """Draw all runs over iterations, and over environment steps."""
    figure, panels = plt.subplots(1, 2, figsize=(5.5, 2.4), layout="constrained")
    coloured = zip([other, *runs], (BLUE, *COLOURS), strict=False)
    curves = [Curve(run, {"color": colour, "label": f"{run.path.stem}: {heading(run)}"}) for run, colour in coloured]
    for axes, over_steps in zip(panels, (False, True), strict=True):
        draw_panel(axes, curves, [], other.iterations, over_steps)
        axes.set_xlabel("environment steps, the LLM's own counted" if over_steps else "iteration")
    panels[0].set_ylabel("return of an evaluation")
    figure.suptitle(envs.get(other.env).title, fontsize=8)
    lines, _ = panels[0].get_legend_handles_labels()
    figure.legend(handles=[*lines, *explanations(curves)], loc="outside lower center", **LEGEND)
    return figure


def main() -> None:
    """Print or write the comparison, and draw the figure."""
    args = tyro.cli(Args)
    check_outputs([*args.runs, args.against], output=(args.output, ".md"), figure=(args.figure, ".pdf"))
    if not 1 <= len(args.runs) <= len(COLOURS):
        raise UsageError(f"--runs: give one to {len(COLOURS)} runs, not {len(args.runs)}.")
    if args.against.resolve() in (path.resolve() for path in args.runs):
        raise UsageError(f"--against {args.against} is among --runs: a run cannot be compared with itself.")
    other, *runs = map(read_learner, (args.against, *args.runs))
    for run in runs:
        check_comparable(run, other)
    text = report(runs, other)
    if args.figure is not None:
        with plt.rc_context(STYLE):
            save_figure(draw(runs, other), args.figure)
    if args.output is not None:
        write_text(args.output, text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    run_command_line(main)
