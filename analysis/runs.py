"""Reading runs: .../<protocol>/<env>/<arm>.csv, where <arm> is arm_llm_tau_n without what does not concern it."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import envs
from envs.errors import Failure, UsageError

COLUMNS = ["seed", "repeat", "iteration", "env_steps", "train_return", "eval_return", "eval_length", "loss", "q_mean"]
POLICIES = ("llm-policy", "random-policy")


@dataclass
class Run:
    """One run file and what its path says."""

    path: Path
    protocol: str
    env: str
    arm: str
    llm: str | None
    tau: int | None
    pretrain_steps: int | None
    table: pd.DataFrame

    def curves(self) -> np.ndarray:
        """Return `eval_return` [seeds, iterations].

        Where one network was handed through several repeats (protocol `released`), a seed's curve is the mean over its
        repeats: they are not independent, the chains are.
        """
        return self.table.pivot_table(index="seed", columns="iteration", values="eval_return").to_numpy()

    def cumulative_rewards(self) -> np.ndarray:
        """Return the sum over iterations of each seed's curve [seeds]; the paper's measure."""
        return self.curves().sum(axis=1)

    def mean_return(self) -> float:
        """Return the mean over all rows: of a policy run, the mean return of its episodes."""
        return float(self.table.eval_return.mean())


def read_run(path: Path) -> Run:
    """Read a run; raise UsageError when there is none or it is not named like one, Failure when it is damaged."""
    name = re.fullmatch(r"([a-z-]+)(?:_([a-z0-9.-]+?))??(?:_tau(\d+))?(?:_n(\d+))?", path.stem)
    if len(path.parts) < 3 or name is None or path.parts[-2] not in envs.ENVIRONMENTS:
        raise UsageError(f"{path} is not named like a run: .../<protocol>/<env>/<arm>.csv.")
    if not path.exists():
        raise UsageError(f"There is no run {path}.")
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"Run {path} cannot be read as a table ({error}).") from error
    if list(table.columns) != COLUMNS or table.empty:
        raise Failure(f"Run {path} does not have the columns {','.join(COLUMNS)} and rows below them.")
    lengths = table.groupby(["seed", "repeat"]).iteration.count()
    if lengths.nunique() != 1 or table.eval_return.isna().any():
        raise Failure(f"Run {path} is incomplete: its seeds do not all have every iteration.")
    arm, llm, tau, steps = name.groups()
    protocol, env = path.parts[-3], path.parts[-2]
    return Run(path, protocol, env, arm, llm, int(tau) if tau else None, int(steps) if steps else None, table)
