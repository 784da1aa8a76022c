"""Do we get the published numbers? Every published cumulative reward beside ours under the protocol `released`.

    python -m analysis.fidelity --runs results/runs/{paper,released,published}/*/*.csv \\
        --output results/tables/fidelity.csv

The question is whether the published number could be one more draw from what our code draws. A published LORO number
is a single draw: one chain in which a network is handed through five repeats. It is therefore not compared with a
confidence interval of our mean, which shrinks to a point with more chains and would then reject even a perfect
reproduction, but with a 95% prediction interval for one new chain. Over our n chains with mean m and standard
deviation s that is

    m ± t(n - 1, 0.975) s sqrt(1 + 1/n).

The other arms' published numbers are means of five independent runs: for these it predicts the mean of as many new
ones, sqrt(1/5 + 1/n). It takes the cumulative rewards of chains to be about normal. A perfect reproduction agrees in
95% of cells. With n = 3 chains t is 4.3, and the interval so wide that agreement says little; the table therefore also
says whether it also contains the published online RL, and with one chain nothing is decided. Intervals end where
no sum can lie. Where more than half of our runs are tied at the worst sum there is (MountainCar: most never reach the
flag, one in five may) a normal interval says nothing, and the cell is not decided either. A rank test of the published
five runs against ours stands beside the result; it decides nothing.

Which of our runs counts: that of the protocol `released`. Where there is none, our `paper` run stands for it if the
protocol changes nothing that the arm learns from or is measured by except the number of evaluation episodes (10 for 1),
which leaves the expected sum as it is and makes our interval if anything too narrow. This is so for `online` in
CartPole, FrozenLake, CliffWalking and MountainCar; not in Pendulum (other exploration and torque) and Pong (two steps
per action, whole games), and not for the other arms (another target network, or episodes stored one step late).

The warm-up of loro and mix is the LLM's recorded mean return, not something that training reproduces: ours is replaced
by the published one, so that only what follows is compared.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from scipy import stats

import envs
from analysis.arms import read_name, run_name
from analysis.figure_lines import figures_of, runs_of
from analysis.main_table import ARMS
from analysis.runs import POLICIES, Run, description, read_own_run, read_runs
from analysis.scales import BOUNDS
from analysis.statistics import bootstrap_interval, difference_interval, difference_p_value, prediction_interval
from analysis.wording import number, table_lines, with_interval
from envs.errors import UsageError, run_command_line
from envs.files import check_outputs, write_text

UNCHANGED_ENVIRONMENTS = ("cartpole", "frozen-lake", "cliff-walking", "mountain-car")
RECORDED_WARM_UP = ("loro", "mix")
"""Arms whose first tau iterations are the LLM's mean return."""
TIED = "most runs tied at the worst sum"
WIDE = "an interval that contains every possible sum"
AGREES, DIFFERS, OPEN, ABSENT = "agrees", "does not agree", "not decided", "not computed"
INTRODUCTION = """\
# Published against reproduced

{sentence} {online}

Published: the authors' cumulative reward, from their cached curves. Ours: mean under the protocol `released` [95%
prediction interval for what was published: one new chain of five repeats for LORO, the mean of five new runs for the
other arms] (number of chains or runs). A cell agrees if the interval contains the published number; a perfect
reproduction would agree in 95% of cells. Few chains make wide intervals: with three, Student's t is 4.3, with two 12.7.
Where the interval also contains the published number of online RL, agreement says little. Intervals end where no sum
can lie. Nothing is decided where more than half of our runs are tied at the worst sum there is: they are no sample that
such an interval is meant for; nor where the interval contains every possible sum. `paper` beside the number of runs:
the protocol changes nothing of this arm here but how many evaluation episodes are played, and our run of the protocol
`paper` is compared. The warm-up of LORO and mix is the published one in both numbers. Rank test: the five published
runs against ours (Mann-Whitney, two-sided), where runs are independent and may be far from normal.
"""


@dataclass
class Args:
    """Compare every published cumulative reward with ours."""

    runs: tuple[Path, ...]
    """run files of all protocols: .../<protocol>/<env>/<arm>.csv"""
    output: Path
    """the CSV to write; the .md goes beside it"""
    second_opinions: tuple[Path, ...] = ()
    """runs of the same procedure in the authors' library (analysis.second_opinion), for a section of their own"""
    repeat_by_repeat: tuple[Path, ...] = ()
    """chains whose repeats are compared one by one: a run of ours, then one of the authors' library, and so on"""


Runs = dict[tuple[str, str, str], Run]
"""By protocol, environment and name."""


def released_run(runs: Runs, env: str, name: str) -> Run | None:
    """Return our run of the protocol `released`, or the `paper` run that stands for it by the rule above, or None."""
    unchanged = name == "online" and env in UNCHANGED_ENVIRONMENTS
    return runs.get(("released", env, name)) or (runs.get(("paper", env, name)) if unchanged else None)


def obstacle(ours: Run, published: Run) -> str | None:
    """Say why two runs do not compare, or None where they do."""
    if ours.iterations != published.iterations:
        return f"ours has {ours.iterations} iterations, the published one {published.iterations}"
    repeats = [run.table.repeat.nunique() for run in (ours, published)]
    if repeats[0] != repeats[1]:
        return f"ours hands a network through {repeats[0]} repeats, the published one through {repeats[1]}"
    return None


def cumulative(ours: Run, published: Run) -> np.ndarray:
    """Return the cumulative reward of each of our chains or seeds; a recorded warm-up is the published one."""
    curves = ours.curves().copy()
    if published.arm in RECORDED_WARM_UP:
        curves[:, : published.tau] = published.curves()[:, : published.tau].mean(axis=0)
    return curves.sum(axis=1)


def attainable(ours: Run, published: Run) -> tuple[float, float]:
    """Return the least and the largest sum that a new run can have."""
    worst, best = BOUNDS[published.env]
    if published.arm == "pretrain-random":
        worst = -math.inf  # the authors' random episodes have no limit of steps
    recorded = published.tau if published.arm in RECORDED_WARM_UP else 0
    warm_up = float(published.curves()[:, :recorded].mean(axis=0).sum())
    return warm_up + (ours.iterations - recorded) * worst, warm_up + (ours.iterations - recorded) * best


def row_of(published: Run, runs: Runs) -> dict[str, object]:
    """Return the row of one published number."""
    numbers = published.curves().sum(axis=1)
    row: dict[str, object] = {
        "env": published.env,
        "arm": published.path.stem,
        "published": float(numbers.mean()),
        "published_draws": len(numbers),
        "protocol": None,
        "ours": math.nan,
        "low": math.nan,
        "high": math.nan,
        "n": None,
        "result": ABSENT,
        "reason": "",
        "contains_online": None,
        "rank_p": math.nan,
    }
    ours = released_run(runs, published.env, published.path.stem)
    if ours is None:
        return row
    reason = obstacle(ours, published)
    if reason is not None:
        return row | {"reason": reason}
    rewards = cumulative(ours, published)
    worst, best = attainable(ours, published)
    low, high = np.clip(prediction_interval(rewards, draws=len(numbers)), worst, best)
    row |= {"protocol": ours.protocol, "ours": float(rewards.mean()), "low": low, "high": high, "n": len(rewards)}
    if not math.isfinite(low):
        return row | {"result": OPEN, "reason": "one chain" if ours.table.repeat.nunique() > 1 else "one seed"}
    if len(numbers) > 1:
        row["rank_p"] = float(stats.mannwhitneyu(numbers, rewards).pvalue)
    if np.mean(np.isclose(rewards, worst)) > 0.5:
        return row | {"result": OPEN, "reason": TIED}
    if low <= worst and high >= best:
        return row | {"result": OPEN, "reason": WIDE}
    row["result"] = AGREES if contains(low, high, row["published"]) else DIFFERS
    online = runs.get(("published", published.env, "online"))
    if online is not None and published.arm != "online":
        row["contains_online"] = contains(low, high, float(online.curves().sum(axis=1).mean()))
    return row


def contains(low: float, high: float, value: float) -> bool:
    """Return whether an interval contains a number, rounding aside (it may be a point)."""
    slack = 1e-9 * max(abs(low), abs(high))
    return low - slack <= value <= high + slack


def sentence_of(table: pd.DataFrame) -> str:
    """Return the fidelity score in words."""
    count = table.result.value_counts()
    agree, differ, undecided, absent = (int(count.get(result, 0)) for result in (AGREES, DIFFERS, OPEN, ABSENT))
    reasons = table.reason[table.result == OPEN].value_counts()
    why = f" ({', '.join(f'{count} for {reason}' for reason, count in reasons.items())})" * bool(undecided)
    decided = agree + differ
    share = f" ({agree / decided:.0%})" if decided else ""
    score = f"{agree} of {decided} decided cells agree{share}, {differ} do not; {undecided} are not decided{why}"
    unseen = int((~shown(table[table.result == ABSENT])).sum())
    rest = f"; {absent} are not computed, {unseen} of them in no figure of the paper"
    return f"Of {len(table)} published cells {decided + undecided} are computed: {score}{rest * bool(absent)}."


def online_sentence(table: pd.DataFrame) -> str:
    """Say how many of the agreements tell LORO or another arm from online RL."""
    agreeing = table[(table.result == AGREES) & table.contains_online.notna()]
    if agreeing.empty:
        return ""
    vague = int(agreeing.contains_online.astype(bool).sum())
    return f"Of the {len(agreeing)} agreeing cells that are not online RL, {vague} contain online RL's number too."


def cells_of(row: dict) -> list[str]:
    """Return the table's cells for one cell of the paper that is computed."""
    ours = with_interval(row["ours"], row["low"], row["high"])
    count = f"{int(row['n'])}{', paper' if row['protocol'] == 'paper' else ''}"
    result = f"{row['result']} ({row['reason']})" if row["reason"] else row["result"]
    online = {True: "yes", False: "no"}.get(row["contains_online"], "")
    rank = "" if math.isnan(row["rank_p"]) else f"{row['rank_p']:.2f}"
    return [envs.get(row["env"]).title, row["arm"], number(row["published"]), ours, count, result, online, rank]


SECOND_OPINION = """\
## The same procedure in the authors' library

Trained with d3rlpy itself (`analysis/second_opinion.py`): its learner, buffer, exploration and evaluation, on the
authors' files. Two differences remain: it learns from one pair more of each LLM episode where the first observation is
not known, and leaves the last transition before a time limit out. Its prediction interval is made like ours, and the
last column is our mean less its [95% bootstrap interval].
"""


def second_opinions(paths: Iterable[Path], runs: Runs) -> list[str]:
    """Return a table of what the authors' library itself gives beside ours and the published number, as lines."""
    head = ["environment", "arm", "published", "ours", "d3rlpy's [prediction interval]", "chains, or runs"]
    cells = []
    for path in paths:
        theirs, told = read_own_run(path), description(path)["arguments"]
        name = run_name(told["arm"], told["llm"], told["tau"], told["pretrain_steps"])
        ours, published = released_run(runs, theirs.env, name), runs.get(("published", theirs.env, name))
        if ours is None or published is None:
            raise UsageError(f"{path} is of {theirs.env}/{name}, of which our run or the published one is not given.")
        for other in (ours, published):
            if obstacle(theirs, other):
                raise UsageError(f"{path} does not compare with {other.path}: its iterations or repeats are others.")
        rewards, own = cumulative(theirs, published), cumulative(ours, published)
        worst, best = attainable(theirs, published)
        interval = np.clip(prediction_interval(rewards, draws=len(published.curves())), worst, best)
        apart = with_interval(own.mean() - rewards.mean(), *difference_interval(own, rewards))
        numbers = [number(float(sums.mean())) for sums in (published.curves().sum(axis=1), own)]
        count = f"{len(rewards)} against {len(own)}"
        predicted = with_interval(float(rewards.mean()), *interval)
        cells.append([envs.get(theirs.env).title, name, *numbers, predicted, count, apart])
    return ["", SECOND_OPINION, *table_lines([*head, "ours less d3rlpy's"], cells)] if cells else []


REPEAT_BY_REPEAT = """\
Chains trained by both afterwards, with other seeds, to see whether the difference above stays: the sum of the
evaluations after the warm-up, repeat by repeat. Mean [95% bootstrap interval]; p by Welch's t-test.
"""


def repeats_compared(paths: Sequence[Path]) -> list[str]:
    """Return a table of chains of ours and of the authors' library, a row for each repeat, as lines.

    Raises UsageError for a run without its other, and for two that are not of the same setting, length and repeats.
    """
    if len(paths) % 2:
        raise UsageError("--repeat-by-repeat takes runs in pairs, ours and the authors' library's.")
    cells = []
    for ours, theirs in zip(map(read_own_run, paths[::2]), map(read_own_run, paths[1::2]), strict=True):
        settings = [(r.env, r.arm, r.llm, r.tau, r.pretrain_steps, r.iterations) for r in (ours, theirs)]
        if settings[0] != settings[1] or ours.table.repeat.max() != theirs.table.repeat.max():
            raise UsageError(f"{ours.path} and {theirs.path} do not compare: their settings or repeats are others.")
        for repeat in sorted(ours.table.repeat.unique()):
            own, other = (sums_after_warm_up(run, repeat) for run in (ours, theirs))
            means = [with_interval(sums.mean(), *bootstrap_interval(sums)) for sums in (own, other)]
            apart = with_interval(own.mean() - other.mean(), *difference_interval(own, other))
            counts = f"{len(own)} and {len(other)}"
            p_value = f"{difference_p_value(own, other):.2f}"
            cells.append([envs.get(ours.env).title, str(repeat + 1), counts, *means, apart, p_value])
    head = ["environment", "repeat", "chains", "ours", "d3rlpy's", "ours less d3rlpy's", "p"]
    return ["", REPEAT_BY_REPEAT, *table_lines(head, cells)] if cells else []


def sums_after_warm_up(run: Run, repeat: int) -> np.ndarray:
    """Return the sum of each chain's evaluations in one repeat [chains], the recorded warm-up left out."""
    rows = run.table[(run.table.repeat == repeat) & (run.table.iteration >= (run.tau or 0))]
    return rows.groupby("seed").eval_return.sum().to_numpy()


def markdown(table: pd.DataFrame, more: list[str]) -> str:
    """Return the table for reading: the cells that are computed, a summary by arm, and what is not computed."""
    head = ["environment", "arm", "published", "ours [prediction interval]", "n", "result"]
    head += ["interval also contains online RL", "rank test, p"]
    intro = INTRODUCTION.format(sentence=sentence_of(table), online=online_sentence(table)).replace(" \n", "\n")
    computed = table[table.result != ABSENT]
    lines = [intro, *table_lines(head, map(cells_of, computed.to_dict("records"))), "", "## By arm", ""]
    counts = [
        [ARMS.get(arm, arm), *(str((rows.result == result).sum()) for result in (AGREES, DIFFERS, OPEN, ABSENT))]
        for arm, rows in table.groupby(table.arm.map(lambda name: read_name(name).arm), sort=False)
    ]
    lines += table_lines(["arm", "agree", "do not agree", "not decided", "not computed"], counts) + more
    absent = table[table.result == ABSENT]
    for which, part in (("a figure", absent[shown(absent)]), ("no figure", absent[~shown(absent)])):
        if len(part):
            lines += ["", f"## Not computed, in {which} of the paper", ""]
        for env, rows in part.groupby("env", sort=False):
            names = [f"{row.arm} ({row.reason})" if row.reason else row.arm for row in rows.itertuples()]
            lines.append(f"- {envs.get(env).title}: no comparable runs yet of {', '.join(names)}.")
    return "\n".join(lines) + "\n"


def shown(table: pd.DataFrame) -> np.ndarray:
    """Return [rows] which cells a figure of the paper shows; the others a plain `snakemake` does not ask for."""
    figures = {env: {run for kind in figures_of(env) for run in runs_of(kind, env)} for env in table.env.unique()}
    return np.array([row.arm in figures[row.env] for row in table.itertuples()], dtype=bool)


def main() -> None:
    """Write the table and say the score."""
    args = tyro.cli(Args)
    check_outputs(args.runs, output=(args.output, ".csv"))
    runs = read_runs(args.runs)
    published = [run for run in runs.values() if run.protocol == "published" and run.arm not in POLICIES]
    if not published:
        raise UsageError("None of the runs given is a published one: results/runs/published/<env>/<arm>.csv.")
    order, arms = list(envs.ENVIRONMENTS), list(ARMS)
    place = {run.path: (order.index(run.env), (arms.index(run.arm) if run.arm in arms else 99)) for run in published}
    published.sort(key=lambda run: (*place[run.path], run.path.stem))
    table = pd.DataFrame([row_of(run, runs) for run in published])
    table = table.astype({"n": "Int64", "contains_online": "boolean"})
    csv = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
    write_text(args.output.with_suffix(".csv"), csv)
    more = second_opinions(args.second_opinions, runs) + repeats_compared(args.repeat_by_repeat)
    write_text(args.output.with_suffix(".md"), markdown(table, more))
    print(f"{args.output}: {sentence_of(table)}")


if __name__ == "__main__":
    run_command_line(main)
