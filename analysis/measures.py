"""What a run earns, along three axes, and how two runs in one environment compare.

The axes:

- `iterations`, the paper's: every evaluation counts once, the LLM's mean return standing for each warm-up episode.
- `steps`: the same evaluations over environment steps, the LLM's own counted. Each stands for the steps since the one
  before, in units of an iteration's 200 steps, so that an arm whose iterations all take 200 steps earns the same on
  both axes. An LLM's episode of 7 steps then counts 7 steps, not 200.
- `updates`: the same over updates of the learner, the offline ones counted, of which a warm start makes N before it
  acts.
"""

from dataclasses import dataclass

import numpy as np

from analysis.runs import POLICIES, Run, common_iterations
from analysis.scales import SCALES
from analysis.statistics import Estimate, difference_interval, probability_of_improvement, ratio_interval

DECIMALS = 9
"""Sums are rounded to so many: those of the same returns in another order are equal then, and ties count half."""
ITERATION_STEPS = 200
"""Environment steps of an iteration: the unit of the sum over steps."""
AXES = ("iterations", "steps")
"""The axes of a run's score; over updates runs are only compared."""
LAST = 20
"""Evaluations whose mean is where an arm ends (END)."""
SUM, STEPS, AFTER, STEPS_AFTER, UPDATES_AFTER, END = (
    "sum",
    "at equal environment steps",
    "per evaluation after the warm-up",
    "per evaluation after the warm-up and at equal environment steps",
    "per evaluation after the warm-up and at equal updates",
    f"over the last {LAST} evaluations",
)
"""The measures of a pair of runs: two sums, four mean returns of an evaluation. AFTER compares the same iterations,
STEPS_AFTER the same steps: at the same iteration, an arm whose LLM played short episodes has taken fewer of them. Both
leave it the offline updates for nothing; UPDATES_AFTER does not."""
OVER = {STEPS: "steps", STEPS_AFTER: "steps", UPDATES_AFTER: "updates"}
"""The axis of a measure, where it is not iterations."""


def positions(run: Run, over: str) -> np.ndarray:
    """Return how far along an axis each iteration of a run ends; NaN where that is not known."""
    return {"iterations": np.arange(1.0, run.iterations + 1), "steps": run.steps(), "updates": run.updates()}[over]


def common_extent(runs: list[Run], over: str) -> float:
    """Return how far along an axis all trained runs of one environment go; of untrained ones alone, the paper's length.

    Raises UsageError when runs differ in their number of iterations.
    """
    env = runs[0].env
    iterations = common_iterations(runs, env)
    if over == "iterations":
        return iterations
    ends = [positions(run, over)[iterations - 1] for run in runs if run.arm not in POLICIES]
    return float(np.min(ends or [iterations * ITERATION_STEPS]))


def weights(run: Run, extent: float, over: str, start: float = 0) -> np.ndarray:
    """Return what each of the run's evaluations counts for in the sum from `start` up to `extent`, in iterations."""
    ends = np.clip(positions(run, over), start, extent)
    return length(np.diff(ends, prepend=start), over)


def cumulative(run: Run, extent: float, over: str) -> np.ndarray:
    """Return each seed's cumulative reward; of a policy that does not learn, what each of its episodes would earn."""
    if run.arm in POLICIES:
        return run.table.eval_return.to_numpy() * length(extent, over)
    return np.round(run.curves() @ weights(run, extent, over), DECIMALS)


def mean_return(run: Run, start: float, extent: float, over: str) -> np.ndarray:
    """Return each seed's mean return from `start` up to `extent`, NaN where nothing lies between them.

    Of a policy that does not learn, the return of each episode.
    """
    if run.arm in POLICIES:
        return run.table.eval_return.to_numpy()
    counted = weights(run, extent, over, start)
    if not start < extent or np.isnan(counted).any():
        return np.full(len(run.curves()), np.nan)
    return np.round(run.curves() @ counted / counted.sum(), DECIMALS)


def warm_up_end(run: Run, over: str) -> float:
    """Return how far along an axis a run is when its warm-up and its offline updates are done; 0 without any."""
    if not run.tau or run.arm in POLICIES:
        return 0
    return positions(run, over)[run.tau - 1] + (run.pretrain_steps or 0) * (over == "updates")


def length(extent: float | np.ndarray, over: str) -> float | np.ndarray:
    """Return an extent, or several, in iterations: what a mean return is multiplied with in a cumulative reward."""
    return extent if over == "iterations" else extent / ITERATION_STEPS


def measurable(run: Run, over: str) -> bool:
    """Return whether a run says what an axis needs: the authors' curves do not tell their steps."""
    if over == "steps" and run.protocol == "published":
        return False
    return over == "iterations" or run.arm in POLICIES or bool(np.isfinite(run.steps()).all())


@dataclass(frozen=True)
class Pair:
    """Two arms in one environment."""

    env: str
    ours: Run
    theirs: Run
    left_out: str | None = None
    """why this environment counts neither in the mean nor for the verdict"""

    @property
    def runs(self) -> tuple[Run, Run]:
        """Return both runs."""
        return self.ours, self.theirs

    @property
    def scale(self) -> float:
        """Return the cumulative reward from random play to the expert's; raise UsageError where lengths differ."""
        return SCALES[self.env].width * common_iterations(list(self.runs), self.env)

    @property
    def seeds(self) -> tuple[int, int]:
        """Return how many independent seeds, chains or, of a policy, episodes each side has."""
        ours, theirs = (run.table.seed.nunique() if run.arm not in POLICIES else len(run.table) for run in self.runs)
        return ours, theirs

    def rewards(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what each seed of both arms earns: a cumulative reward (SUM, STEPS), else a mean return."""
        runs = list(self.runs)
        over = OVER.get(measure, "iterations")
        extent = common_extent(runs, over)
        if measure in (SUM, STEPS):
            ours, theirs = (cumulative(run, extent, over) for run in runs)
            return ours, theirs
        start = max(warm_up_end(run, over) for run in runs)
        start = max(start, extent - LAST) if measure == END else start
        ours, theirs = (mean_return(run, start, extent, over) for run in runs)
        return ours, theirs

    def difference(self, measure: str = SUM) -> Estimate:
        """Return the difference of the means; NaN where the measure says nothing of one of the runs."""
        ours, theirs = self.rewards(measure)
        if np.isnan([*ours, *theirs]).any():
            return np.nan, np.nan, np.nan
        return float(ours.mean() - theirs.mean()), *difference_interval(ours, theirs)

    def improvement(self, measure: str = SUM) -> float:
        """Return the share of pairs of seeds in which our arm earns more, ties counting half; NaN as a difference."""
        return probability_of_improvement(*self.rewards(measure))

    def ratio(self, measure: str = SUM) -> Estimate:
        """Return how many times as good our arm is; NaN where returns have no common sign.

        A ratio of costs is turned over: -10,000 is four times as good as -40,000.
        """
        above, below = self.rewards(measure)
        if below.mean() < 0:
            above, below = below, above
        if above.mean() * below.mean() <= 0:
            return np.nan, np.nan, np.nan
        return float(above.mean() / below.mean()), *ratio_interval(above, below)
