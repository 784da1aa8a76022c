"""Where the two protocols differ, one difference at a time: for the workflow, the checks and the figure of defects.

A run `loro-<difference>_...` of the protocol `paper` is LORO with that one difference as `released` has it; of the
protocol `released` it is the authors' procedure with that one thing as `paper` has it.
"""

from dataclasses import dataclass

import envs

ALL = tuple(envs.ENVIRONMENTS)
DISCRETE = tuple(name for name, environment in envs.ENVIRONMENTS.items() if environment.learner == "dqn")
CONTINUOUS = tuple(name for name in ALL if name not in DISCRETE)
STOCHASTIC = tuple(name for name, environment in envs.ENVIRONMENTS.items() if not environment.deterministic)
CUT_OFF = tuple(name for name in ALL if name not in ("cartpole", "frozen-lake"))
"""Where an LLM's episodes may be cut off; the authors' all end by themselves in the two others."""


OFTEN, SELDOM = 200, 1000
"""Updates between two copies to the target network in the authors' code: LORO's, and the other arms'."""


@dataclass(frozen=True)
class Difference:
    """One row of the table of protocols (README)."""

    flag: str
    """the argument of algos/dqn.py and algos/sac.py"""
    paper: str
    """its value under `paper`"""
    released: str
    """its value under `released`"""
    label: str
    """what the authors' code does, in words"""
    environments: tuple[str, ...] = ALL
    """where it can change anything"""

    def other(self, protocol: str) -> str:
        """Return the value that `protocol` does not have."""
        return self.released if protocol == "paper" else self.paper


DIFFERENCES = {
    "carry-over": Difference("--carry-over", "1", "5", "one network handed through five repeats"),
    "shifted": Difference("--shifted", "False", "True", "transitions stored one step late"),
    "cutoff": Difference("--cutoff-as-terminal", "False", "True", "a cut-off stored as the end", CUT_OFF),
    "discard": Difference("--discard-offline", "False", "True", "the LLM's data thrown away"),
    "warm-up": Difference("--warm-up-mean", "used", "dataset", "warm-up counted over all episodes"),
    "target": Difference("--target-update-interval", "1000", "200", "target copied every 200 updates", DISCRETE),
    "evaluation": Difference("--eval-episodes", "10", "1", "a single evaluation episode", STOCHASTIC),
    "exploration": Difference("--exploration", "sample", "mean-or-zero", "explores with its mean", CONTINUOUS),
    "unscaled": Difference("--unscaled-actions", "False", "True", "half the torque", CONTINUOUS),
}


def difference_of(arm: str) -> Difference | None:
    """Return the difference that an arm's name tells ("loro-shifted"); None where it tells none."""
    return DIFFERENCES.get(arm.removeprefix("loro-")) if arm.startswith("loro-") else None


def repeats_of(protocol: str, arm: str) -> int:
    """Return through how many repeats one network is handed in a run of an arm: 5 in the authors' LORO, else 1."""
    if not arm.startswith("loro"):
        return 1
    carries_over = DIFFERENCES["carry-over"]
    is_switched = difference_of(arm) is carries_over
    return int(carries_over.other(protocol) if is_switched else getattr(carries_over, protocol))
