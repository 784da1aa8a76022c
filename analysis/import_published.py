"""Turn the authors' cached curves into runs of the protocol `published`, so that figures can show them beside ours.

    python -m analysis.import_published --source FOLDER --output results/runs/published

The caches hold the return of each evaluation, five repeats an arm. For loro and mix the first tau iterations are the
mean return of all the LLM's episodes, as in the authors' figures. The five runs of online and mix each began with a
network of their own and are seeds; those of loro handed one network on and are repeats (results/audit.md, 2).
"""

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

import envs
from analysis.import_released import COMMIT, REPOSITORY, load_released_pickle, locate, released_file
from analysis.runs import write_run
from envs.errors import UsageError, run_command_line
from envs.files import sha256

NAMES = {
    "cartpole": "CartPole",
    "frozen-lake": "FrozenLake",
    "cliff-walking": "CliffWalking",
    "mountain-car": "MountainCar",
    "pendulum": "Pendulum",
    "represented-pong": "RepresentedPong",
}
LLMS = {
    "": {"7b": "qwen-7b", "32b": "qwen-32b"},
    "SFT": {"7b": "qwen-7b-sft"},
    "DS": {"7b": "deepseek-7b", "32b": "deepseek-14b"},
}
"""What the caches' names end with, and whose episodes their keys mean."""
TAUS, PRETRAIN_STEPS, REPEATS = (10, 20, 30), (1000, 3000), 5


@dataclass
class Args:
    """Import every curve behind the paper's figures."""

    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA"""
    output: Path = Path("results/runs/published")
    """the folder to write <env>/<arm>.csv into"""


@dataclass
class Published:
    """One arm's curves and the cache that they come from."""

    cache: Path
    returns: np.ndarray
    """[repeats, iterations]; the warm-up included"""


def published_runs(source: Path, env: str) -> dict[str, Published]:
    """Return the published curves of one environment by the names that our own runs of these arms have.

    The caches hold what followed the tau episodes of an LLM; those themselves are its mean return, as in the authors'
    figures. Agents that began with episodes of their own or of random play have these in their curves.
    """
    iterations, found = envs.get(env).iterations, {}
    for ending, llms in LLMS.items():
        for tau in TAUS:
            path = source / f"cache_{NAMES[env]}_Neps_{tau}{ending}.pkl"
            if ending and not path.exists():
                continue  # these LLMs did not play everywhere
            cache = load_released_pickle(path)
            if not ending and tau == TAUS[0]:
                found["online"] = Published(path, curves(cache, "online", iterations))
            for key, llm in llms.items():
                counted = tau if ending == "SFT" else None  # here the authors' figures count the episodes used
                warm_up = np.full((REPEATS, tau), llm_return(source, env, llm, counted))
                arms = {f"pretrain_{key}_{steps}": f"loro_{llm}_tau{tau}_n{steps}" for steps in PRETRAIN_STEPS}
                for name, arm in {**arms, f"finetune_{key}": f"mix_{llm}_tau{tau}"}.items():
                    if f"{name}_0" in cache:
                        found[arm] = Published(path, np.hstack([warm_up, curves(cache, name, iterations - tau)]))
    for ending, arm in {"": "pretrain-on-policy", "_rand": "pretrain-random"}.items():
        path = source / f"cache_{NAMES[env]}_on_policy_pretrain_exp{ending}.pkl"
        cache = load_released_pickle(path)
        for tau, steps in product(TAUS, PRETRAIN_STEPS):
            returns = curves(cache, f"pretrain_{tau}_eps_{steps}_steps", iterations, ending)
            found[f"{arm}_tau{tau}_n{steps}"] = Published(path, returns)
    return found


def curves(cache: dict[str, list], name: str, iterations: int, ending: str = "") -> np.ndarray:
    """Return the five repeats of one arm [repeats, iterations]."""
    repeats = [cache[f"{name}_{repeat}{ending}"] for repeat in range(REPEATS)]
    return np.array([np.asarray(returns, dtype=np.float64)[:iterations] for returns in repeats])


def llm_return(source: Path, env: str, llm: str, episodes: int | None) -> float:
    """Return the mean return of the first `episodes` that an LLM played; None: of all."""
    records = load_released_pickle(locate(released_file(env, llm), source))._buffer._episodes
    return float(np.mean([np.sum(record.rewards) for record in records[:episodes]]))


def main() -> None:
    """Write the published runs of all environments."""
    args = tyro.cli(Args)
    source = args.source or (Path(os.environ["LORO_AUTHORS_DATA"]) if "LORO_AUTHORS_DATA" in os.environ else None)
    if source is None or not source.is_dir():
        raise UsageError("The published curves are in the authors' data folder: name it with --source.")
    for env in envs.PAPER:
        for arm, published in published_runs(source, env).items():
            rows = [(agent, i, value) for (agent, i), value in np.ndenumerate(published.returns)]
            table = pd.DataFrame(rows, columns=["seed", "iteration", "eval_return"])
            table["repeat"] = 0
            if arm.startswith("loro"):
                table["repeat"], table["seed"] = table["seed"], 0
            description = {
                "algorithm": "the authors' own runs",
                "arguments": {"env": env, "arm": arm.split("_")[0], "protocol": "published"},
                "source": f"{REPOSITORY}/blob/{COMMIT}/data/{published.cache.name}",
                "source_sha256": sha256(published.cache),
            }
            write_run(args.output / env / f"{arm}.csv", table, description)


if __name__ == "__main__":
    run_command_line(main)
