"""The names of runs, <arm>_<llm>_tau<T>_n<N> without what does not concern the arm."""

import re
from dataclasses import dataclass

from analysis.protocols import difference_of

PARTS = {  # what the name of a trained run tells, by its arm; `llm` is the one whose episodes it learns from
    "online": (),
    "ppo": (),
    "loro": ("llm", "tau", "pretrain_steps"),
    "mix": ("llm", "tau"),
    "ppo-bc": ("llm", "tau", "pretrain_steps"),
    "pretrain-on-policy": ("tau", "pretrain_steps"),
    "pretrain-random": ("tau", "pretrain_steps"),
}
OTHER_RANDOM = "random-again"
"""The random episodes that replications pretrain on; all other runs have those named "random"."""
FORMS = {"llm": "_{}", "tau": "_tau{}", "pretrain_steps": "_n{}"}


@dataclass(frozen=True)
class Named:
    """What the name of a run tells; None where it does not."""

    arm: str
    llm: str | None
    tau: int | None
    pretrain_steps: int | None

    @property
    def player(self) -> str | None:
        """Return whose episodes the arm learns from: an LLM's, or random play's; None where it has none."""
        return "random" if self.arm == "pretrain-random" else self.llm


def read_name(name: str) -> Named | None:
    """Take the name of a run apart; None where it is no such name."""
    found = re.fullmatch(r"([a-z-]+)(?:_([a-z0-9.-]+?))??(?:_tau(\d+))?(?:_n(\d+))?", name)
    if found is None:
        return None
    arm, llm, tau, steps = found.groups()
    return Named(arm, llm, int(tau) if tau else None, int(steps) if steps else None)


def parts_of(arm: str) -> tuple[str, ...] | None:
    """Return what the names of an arm's runs tell; None where there is no such arm."""
    return PARTS.get("loro" if difference_of(arm) else arm)


def run_name(arm: str, llm: str, tau: int | str, pretrain_steps: int | str) -> str:
    """Name the run of an arm with these settings, of which it tells those that concern it."""
    values = {"llm": llm, "tau": tau, "pretrain_steps": pretrain_steps}
    return arm + "".join(FORMS[part].format(values[part]) for part in parts_of(arm))
