"""Runs on disk: .../<protocol>/<env>/<arm>.csv, where <arm> is arm_llm_tau_n without what does not concern it."""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import envs
from analysis.arms import OTHER_RANDOM, read_name
from analysis.protocols import difference_of
from envs.errors import Failure, UsageError
from envs.files import sha256, write_text

COLUMNS = ["seed", "repeat", "iteration", "env_steps", "train_return", "eval_return", "eval_length", "loss", "q_mean"]
POLICIES = ("llm-policy", "random-policy")
PROTOCOLS = ("published", "released", "paper")
FEWEST = {"paper": 5, "released": 3}
"""Seeds, or chains of repeats, that a run has at least."""


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

    @property
    def iterations(self) -> int:
        """Return the number of iterations; of a policy run, its episodes."""
        return int(self.table.iteration.max()) + 1

    @property
    def details(self) -> str:
        """Return what tells runs of one arm apart, for reading: "qwen-7b, τ=10, N=3000"."""
        tau = None if self.tau is None else f"τ={self.tau}"
        steps = None if self.pretrain_steps is None else f"N={self.pretrain_steps}"
        return ", ".join(part for part in (self.llm, tau, steps) if part)

    def curves(self) -> np.ndarray:
        """Return `eval_return` [seeds, iterations].

        Where one network was handed through several repeats (protocol `released`), a seed's curve is the mean over its
        repeats: they are not independent, the chains are.
        """
        return self.table.pivot_table(index="seed", columns="iteration", values="eval_return").to_numpy()

    def steps(self) -> np.ndarray:
        """Return the environment steps taken up to each iteration, the LLM's own counted: the mean over seeds.

        NaN where they are not known, in the authors' published curves.
        """
        return self.table.groupby("iteration").env_steps.mean().to_numpy(dtype=np.float64)

    def updates(self) -> np.ndarray:
        """Return the updates made up to each iteration: the offline ones, and one for each step that the learner takes.

        (None is made before its buffer holds a batch, at the start of online RL: those 256 steps are counted as well.)
        NaN for PPO, whose updates are of another kind, and for a chain of repeats, which share their updates.
        """
        steps, iteration = self.steps(), np.arange(self.iterations)
        if self.arm.startswith("ppo") or self.table.repeat.nunique() > 1:
            return np.full(len(steps), np.nan)
        recorded = steps[self.tau - 1] if self.tau and self.arm != "pretrain-on-policy" else 0
        offline = (self.pretrain_steps or 0) * (iteration >= (self.tau or 0))
        return np.maximum(steps - recorded, 0) + offline

    def first_repeats(self) -> np.ndarray:
        """Return `eval_return` of each seed's first repeat alone [seeds, iterations]."""
        return self.without_later_repeats().curves()

    def without_later_repeats(self) -> "Run":
        """Return the run with each seed's first repeat alone."""
        return replace(self, table=self.table[self.table.repeat == self.table.repeat.min()])

    def mean_return(self) -> float:
        """Return the mean over all rows: of a policy run, the mean return of its episodes."""
        return float(self.table.eval_return.mean())


def read_run(path: Path) -> Run:
    """Read a run; raise UsageError when there is none or it is not named like one, Failure when it is damaged."""
    named = read_name(path.stem)
    protocol, env = (path.parts[-3], path.parts[-2]) if len(path.parts) >= 3 else ("", "")
    if named is None or protocol not in PROTOCOLS or env not in envs.ENVIRONMENTS:
        raise UsageError(f"{path} is not named like a run: .../<protocol>/<env>/<arm>.csv.")
    table, described = read_table(path), description(path)
    run = Run(path, protocol, env, **vars(named), table=table)
    check_description(run, described)
    check_agents(run)
    return run


def read_own_run(path: Path) -> Run:
    """Read a run that may lie anywhere and be called anything: what it is stands in the .json beside it.

    Raises UsageError where there is no run or no such .json, Failure when one of them is damaged.
    """
    table, described = read_table(path), description(path)
    told = described.get("arguments", {})
    alone, mixed = told.get("arm") in ("online", "ppo"), told.get("arm") == "mix"
    needed = {"env": str, "arm": str, "protocol": str}
    needed |= {} if alone else {"tau": int} if mixed else {"tau": int, "pretrain_steps": int}
    wrong = [name for name, kind in needed.items() if not isinstance(told.get(name), kind)]
    if wrong or told["env"] not in envs.ENVIRONMENTS or not isinstance(told.get("dataset"), str | None):
        raise UsageError(f"{description_file(path)} does not tell how {path} was made: give a run that algos/ wrote.")
    run = Run(
        path,
        protocol=told["protocol"],
        env=told["env"],
        arm=told["arm"],
        llm=Path(told["dataset"]).name if told.get("dataset") else told.get("llm"),  # d3rlpy's runs name the LLM
        tau=None if alone else told["tau"],
        pretrain_steps=None if alone or mixed else told["pretrain_steps"],
        table=table,
    )
    check_whole(run, described)
    return run


def too_few_seeds(protocol: str, seeds: int, repeats: int) -> str | None:
    """Say that a run has fewer seeds, or chains of repeats, than its protocol asks for; None where it has enough."""
    if seeds >= FEWEST.get(protocol, 0):
        return None
    kind = "chain" if repeats > 1 else "seed"
    return f"{seeds} {kind}{'s' * (seeds != 1)}, not {FEWEST[protocol]} or more"


def environments_about(names: Iterable[str]) -> list[str]:
    """Return the environments that a table is about, by its runs': with one of the paper's all of the paper's."""
    there = set(names)
    return [env for env in envs.ENVIRONMENTS if env in there or (env in envs.PAPER and there & set(envs.PAPER))]


def read_table(path: Path) -> pd.DataFrame:
    """Read a run's rows, whatever it is named; raise UsageError where there is no file, Failure when it is damaged."""
    if not path.is_file():
        raise UsageError(f"There is no run {path}.")
    check_digest(path, description(path).get("csv_sha256"))
    table = read_rows(path)
    _check_table(path, table)
    return table


def read_rows(path: Path) -> pd.DataFrame:
    """Read a run's CSV; raise Failure where it is no table, or its last line is not whole."""
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(io.StringIO(text))
    except ValueError as error:  # of pandas' parser, or an encoding that is not UTF-8
        raise Failure(f"Run {path} cannot be read as a table ({error}).") from error
    fields = {line.count(",") for line in text.splitlines()}  # pandas fills up a line that has fewer
    if not text.endswith("\n") or len(fields) > 1:
        raise Failure(f"Run {path} is incomplete: it was cut off within a line.")
    return table


def read_runs(paths: Iterable[Path]) -> dict[tuple[str, str, str], Run]:
    """Read runs, by protocol, environment and name; raise UsageError where one is given twice."""
    runs: dict[tuple[str, str, str], Run] = {}
    for run in map(read_run, paths):
        first = runs.setdefault((run.protocol, run.env, run.path.stem), run)
        if first is not run:
            raise UsageError(f"{first.path} and {run.path} are the same run twice: give one.")
    return runs


def write_run(path: Path, table: pd.DataFrame, described: dict[str, Any]) -> None:
    """Write a run that no learner of ours made: its CSV, COLUMNS first (left out: empty), and before it its .json."""
    columns = [*COLUMNS, *(name for name in table if name not in COLUMNS)]
    content = table.reindex(columns=columns).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    described = {**described, "csv_sha256": hashlib.sha256(content.encode()).hexdigest()}
    write_text(description_file(path), json.dumps(described, indent=2, sort_keys=True) + "\n")
    write_text(path, content)


def description_file(path: Path) -> Path:
    """Return where the .json beside a run's CSV or final policy is."""
    return path.with_name(f"{path.name.removesuffix('.policy.safetensors').removesuffix('.csv')}.json")


def description(path: Path) -> dict[str, Any]:
    """Return what the .json beside a run's CSV or final policy tells; nothing where there is none."""
    path = description_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        _ = Path(content.get("arguments", {}).get("dataset") or "")
    except (ValueError, AttributeError, TypeError) as error:
        raise Failure(f"{path} cannot be read ({error}); make the run anew.") from error
    return content


def check_description(run: Run, described: dict[str, Any]) -> None:
    """Raise Failure where a run is not what its .json says was made: environment, protocol, arm, settings, rows.

    A run of another protocol under this name, or one that lost seeds or iterations, would be averaged as if it were
    whole. What the .json does not tell is not checked.
    """
    told = described.get("arguments", {})
    if told.get("env", run.env) != run.env:
        raise Failure(f"{run.path} was made in {told['env']}.")
    if run.arm in POLICIES:
        return
    difference = difference_of(run.arm)
    named = {"protocol": run.protocol, "arm": "loro" if difference else run.arm}
    if any(told.get(name, value) != value for name, value in named.items()):
        raise Failure(f"{run.path} was made as {told.get('protocol')}/{told.get('arm')}.")
    if run.protocol == "published":
        return
    settings: dict[str, Any] = {"tau": run.tau, "pretrain_steps": run.pretrain_steps}
    settings["dataset"] = run.llm
    if run.arm == "pretrain-random":
        settings["dataset"] = OTHER_RANDOM if Path(told.get("dataset") or "").name == OTHER_RANDOM else "random"
    if difference:
        settings[difference.flag.removeprefix("--").replace("-", "_")] = difference.other(run.protocol)
    for name, value in settings.items():
        made_with = Path(told.get(name) or "").name if name == "dataset" else told.get(name)
        if value is not None and name in told and str(made_with) != str(value):
            raise Failure(f"{run.path} was made with {name} {made_with}.")
    check_whole(run, described)


def check_agents(run: Run) -> None:
    """Raise Failure where agents are none of their own: repeats of one network under `paper`, a seed that is another's.

    Equal losses and values to the last digit, in every iteration, are of one agent: seeds draw other numbers.
    """
    if run.protocol == "paper" and run.arm != "loro-carry-over" and run.table.repeat.nunique() > 1:
        raise Failure(f"{run.path} hands a network through repeats, and under paper only loro-carry-over does.")
    firsts: dict[bytes, int] = {}
    for seed, rows in run.table.groupby("seed"):
        if not rows.loss.notna().any():
            continue
        learnt = rows[["repeat", "iteration", "train_return", "eval_return", "loss", "q_mean"]]
        first = firsts.setdefault(learnt.to_numpy(dtype=np.float64).tobytes(), seed)
        if first != seed:
            raise Failure(f"{run.path} has the agent of seed {first} again as seed {seed}.")


def check_same_episodes(paths: Iterable[Path]) -> None:
    """Raise Failure where runs of one environment learnt from different episodes that have one name.

    Collected anew, by other code or on another machine, a dataset may have other episodes than before. What two such
    runs collect then differs by more than their settings. What the .json does not tell is not checked.
    """
    first: dict[tuple[str, str], tuple[str, Path]] = {}
    for path in paths:
        told = description(path)
        arguments, digest = told.get("arguments", {}), told.get("dataset_sha256")
        if digest is None or not arguments.get("dataset"):
            continue
        name = Path(arguments["dataset"]).name
        of_first, other = first.setdefault((arguments.get("env", path.parts[-2]), name), (digest, path))
        if digest != of_first:
            raise Failure(
                f"{path} and {other} learnt from different episodes, both named '{name}': "
                "make one of them anew, on the episodes of the other."
            )


def check_whole(run: Run, described: dict[str, Any]) -> None:
    """Raise Failure where a run lacks seeds, repeats or iterations that its .json says were made."""
    told = described.get("arguments", {})
    rows = {"seeds": run.table.seed.nunique(), "carry_over": run.table.repeat.nunique(), "iterations": run.iterations}
    check_counts(run.path, rows, told)


def check_counts(path: Path, counts: dict[str, int], told: dict[str, Any]) -> None:
    """Raise Failure where a run has other numbers of seeds, repeats or iterations than its .json says."""
    for name, count in counts.items():
        if told.get(name, count) != count:
            raise Failure(f"{path} has {name} {count}, and was made with {told[name]}: it is not whole.")


def check_digest(path: Path, recorded: str | None) -> None:
    """Raise Failure where a run's file does not have the SHA-256 that its .json records; without one it passes."""
    if recorded is not None and sha256(path) != recorded:
        described = description_file(path).name
        raise Failure(f"{path} was changed (its SHA-256 is not the one in {described}); make the run anew.")


def _check_table(path: Path, table: pd.DataFrame) -> None:
    if list(table.columns) != COLUMNS or not isinstance(table.index, pd.RangeIndex) or table.empty:
        raise Failure(f"Run {path} does not have the columns {','.join(COLUMNS)} and rows below them.")
    whole = all(pd.api.types.is_integer_dtype(table[column]) for column in ("seed", "repeat", "iteration"))
    numeric = all(pd.api.types.is_numeric_dtype(table[column]) for column in ("env_steps", "eval_return"))
    if not whole or not numeric:
        raise Failure(
            f"Run {path} has cells in seed, repeat, iteration, env_steps or eval_return that are not numbers."
        )
    places = table[["seed", "repeat", "iteration"]]
    if places.duplicated().any():
        seed, repeat, iteration = places[places.duplicated()].iloc[0]
        raise Failure(f"Run {path} is incomplete: it has seed {seed}, repeat {repeat}, iteration {iteration} twice.")
    if table.iteration.min() < 0:
        raise Failure(f"Run {path} has iterations below 0.")
    agents = pd.MultiIndex.from_product([table.seed.unique(), table.repeat.unique()])
    counts = places.groupby(["seed", "repeat"]).size().reindex(agents, fill_value=0)
    iterations = table.iteration.max() + 1
    for (seed, repeat), count in counts[counts != iterations].items():
        there = f"{count} of {iterations} iterations"
        raise Failure(f"Run {path} is incomplete: of seed {seed}, repeat {repeat} it has {there}.")
    if not np.isfinite(table.eval_return).all():
        raise Failure(f"Run {path} is incomplete: eval_return is not a finite number everywhere.")


def select_runs(runs: list[Run], llm: str | None, tau: int | None, pretrain_steps: int | None) -> list[Run]:
    """Return the runs of the setting asked for; what is None is not asked for, and does not concern some arms."""
    wanted = {"llm": llm, "tau": tau, "pretrain_steps": pretrain_steps}
    return [
        run for run in runs if all(value is None or getattr(run, key) in (None, value) for key, value in wanted.items())
    ]


def common_iterations(runs: list[Run], env: str) -> int:
    """Return how many iterations the trained runs of `env` have; raise UsageError when they differ.

    The published runs count only where there are no others: they may be longer than a small configuration.
    """
    trained = [run for run in runs if run.env == env and run.arm not in POLICIES]
    ours = [run for run in trained if run.protocol != "published"] or trained
    if not ours:
        return envs.get(env).iterations
    for run in ours[1:]:
        if run.iterations != ours[0].iterations:
            raise UsageError(
                f"Runs of different length do not go together: {ours[0].path} has {ours[0].iterations} iterations, "
                f"{run.path} has {run.iterations}."
            )
    return ours[0].iterations
