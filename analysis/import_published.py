"""Turn the authors' cached curves into runs of the protocol `published`, so that figures can show them beside ours.

    python -m analysis.import_published --source FOLDER --output results/runs/published

The caches hold the return of each evaluation, five repeats an arm. For loro and mix the first tau iterations are the
mean return of all the LLM's episodes, as in the authors' figures. The five runs of online and mix each began with a
network of their own and are seeds; those of loro handed one network on and are repeats (papers' notes A10, 1).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

import envs
from analysis.import_released import COMMIT, REPOSITORY, load_released_pickle, locate, released_file
from analysis.runs import COLUMNS
from envs.errors import UsageError, run_command_line
from envs.files import sha256, write_text

NAMES = {
    "cartpole": "CartPole",
    "frozen-lake": "FrozenLake",
    "cliff-walking": "CliffWalking",
    "mountain-car": "MountainCar",
    "pendulum": "Pendulum",
    "represented-pong": "RepresentedPong",
}
TAU, PRETRAIN_STEPS, REPEATS = 10, 3000, 5


@dataclass
class Args:
    """Import the curves behind the main figure (7B, tau = 10, N = 3000)."""

    source: Path | None = None
    """a folder with the authors' files; by default $LORO_AUTHORS_DATA"""
    output: Path = Path("results/runs/published")
    """the folder to write <env>/<arm>.csv into"""


def published_curves(source: Path, env: str) -> dict[str, np.ndarray]:
    """Return the curves [repeats, iterations] of the arms online, loro and mix of one environment."""
    cache = load_released_pickle(source / f"cache_{NAMES[env]}_Neps_{TAU}.pkl")
    records = load_released_pickle(locate(released_file(env, "qwen-7b"), source))._buffer._episodes
    llm_return = np.mean([np.sum(record.rewards) for record in records])
    iterations = envs.get(env).iterations

    def curves(key: str) -> np.ndarray:
        return np.array([np.asarray(cache[f"{key}_{repeat}"], dtype=np.float64) for repeat in range(REPEATS)])

    def after_warm_up(online: np.ndarray) -> np.ndarray:
        return np.hstack([np.full((REPEATS, TAU), llm_return), online[:, : iterations - TAU]])

    return {
        "online": curves("online")[:, :iterations],
        f"loro_qwen-7b_tau{TAU}_n{PRETRAIN_STEPS}": after_warm_up(curves(f"pretrain_7b_{PRETRAIN_STEPS}")),
        f"mix_qwen-7b_tau{TAU}": after_warm_up(curves("finetune_7b")),
    }


def main() -> None:
    """Write the published runs of all environments."""
    args = tyro.cli(Args)
    source = args.source or (Path(os.environ["LORO_AUTHORS_DATA"]) if "LORO_AUTHORS_DATA" in os.environ else None)
    if source is None or not source.is_dir():
        raise UsageError("The published curves are in the authors' data folder: name it with --source.")
    for env in envs.ENVIRONMENTS:
        cache = source / f"cache_{NAMES[env]}_Neps_{TAU}.pkl"
        for arm, curves in published_curves(source, env).items():
            lines = [",".join(COLUMNS)]
            for (agent, iteration), value in np.ndenumerate(curves):
                seed, repeat = (0, agent) if arm.startswith("loro") else (agent, 0)
                lines.append(f"{seed},{repeat},{iteration},,,{value:.9g},,,")
            description = {
                "algorithm": "the authors' own runs",
                "arguments": {"env": env, "arm": arm.split("_")[0], "protocol": "published"},
                "source": f"{REPOSITORY}/blob/{COMMIT}/data/{cache.name}",
                "source_sha256": sha256(cache),
            }
            output = args.output / env / f"{arm}.csv"
            write_text(output.with_suffix(".json"), json.dumps(description, indent=2, sort_keys=True) + "\n")
            write_text(output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    run_command_line(main)
