"""Reading the second paper's runs: .../prior/<env>/<arm>.csv, <arm> being arm_prior_alpha_k_n without the standard."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.runs import COLUMNS, POLICIES, check_counts, check_digest, description, read_rows
from envs.errors import Failure, UsageError
from envs.text import NAMES, TEXT_ENVIRONMENTS

LEARNERS = ("dqn", "cql", "ppo")
NAME = re.compile(
    r"(?P<arm>(?:dqn|cql|ppo)(?:-prior)?|llm-policy|random-policy)(?:_(?P<prior>(?!alpha|k\d|kall|n\d)[a-z0-9.-]+))?"
    r"(?:_alpha(?P<alpha>\d[\d.]*))?(?:_k(?P<k>\d+|all))?(?:_n(?P<size>\d+))?"
)


@dataclass
class PriorRun:
    """One run file and what its path says; what is None has its standard value or does not concern the arm."""

    path: Path
    env: str
    arm: str
    prior: str | None
    alpha: float | None
    k: str | None
    size: int | None
    table: pd.DataFrame

    @property
    def learner(self) -> str:
        """Return dqn, cql or ppo; of a policy that does not learn, its arm."""
        return self.arm.removesuffix("-prior")

    @property
    def measure(self) -> str:
        """Return the column that says how well it plays: success, or the return where there is no success."""
        return "eval_success" if self.table.eval_success.notna().all() else "eval_return"

    def curves(self, column: str = "eval_success") -> np.ndarray:
        """Return a column [seeds, iterations]."""
        return self.table.pivot_table(index="seed", columns="iteration", values=column).to_numpy()

    def last(self, column: str = "eval_success", share: float = 0.2) -> np.ndarray:
        """Return each seed's mean [seeds] over the last part of its evaluations."""
        curves = self.curves(column)
        return curves[:, -max(1, round(share * curves.shape[1])) :].mean(axis=1)

    def argument(self, name: str) -> int:
        """Return an argument that the run was made with; raise Failure where its .json does not say it."""
        try:
            return description(self.path)["arguments"][name]
        except KeyError as error:
            raise Failure(f"{self.path.with_suffix('.json')} does not say the run's {name}.") from error


def read_prior_run(path: Path) -> PriorRun:
    """Read a run; raise UsageError when there is none or it is not named like one, Failure when it is damaged."""
    name = NAME.fullmatch(path.stem)
    folder, env = (path.parts[-3], path.parts[-2]) if len(path.parts) >= 3 else ("", "")
    with_prior = name is not None and (name["arm"].endswith("-prior") or name["arm"] == "llm-policy")
    if name is None or folder != "prior" or env not in NAMES or with_prior != (name["prior"] is not None):
        raise UsageError(f"{path} is not named like a run with priors: .../prior/<env>/<arm>.csv.")
    if not path.is_file():
        raise UsageError(f"There is no run {path}.")
    told = description(path)
    check_digest(path, told.get("csv_sha256"))
    table = read_rows(path)
    if list(table.columns[: len(COLUMNS)]) != COLUMNS or "eval_success" not in table or table.empty:
        raise Failure(
            f"Run {path} does not have the columns {','.join(COLUMNS)} and eval_success, and rows below them."
        )
    rows = table.seed.nunique() * (table.iteration.max() + 1)
    if table.duplicated(["seed", "iteration"]).any() or table.iteration.min() < 0 or len(table) != rows:
        raise Failure(f"Run {path} is incomplete: every seed must have every iteration, once.")
    defined = ("eval_return", "eval_success") if env in TEXT_ENVIRONMENTS else ("eval_return",)
    for column in defined:  # in LORO's environments there is no success, only return
        if not pd.api.types.is_numeric_dtype(table[column]) or not np.isfinite(table[column]).all():
            raise Failure(f"Run {path} is incomplete: {column} is not a finite number everywhere.")
    alpha, size = name["alpha"], name["size"]
    numbers = (float(alpha) if alpha else None, name["k"], int(size) if size else None)
    check_description(path, env, name["arm"], table, told.get("arguments", {}))
    return PriorRun(path, env, name["arm"], name["prior"], *numbers, table)


def check_description(path: Path, env: str, arm: str, table: pd.DataFrame, told: dict[str, Any]) -> None:
    """Raise Failure where a run is not of the environment, seeds or iterations that its .json says were made."""
    evaluated_in = told.get("eval_env") or told.get("env", env)
    if evaluated_in != env:
        raise Failure(f"{path} was made in {evaluated_in}.")
    if arm not in POLICIES:
        counts = {"seeds": table.seed.nunique(), "iterations": int(table.iteration.max()) + 1}
        check_counts(path, counts, told)
