"""Turn a dataset's episodes into a run: the arms that do not learn (llm-policy, random-policy).

    python -m analysis.policy_run --env cartpole --dataset DIR --output .../paper/cartpole/llm-policy_qwen-7b.csv

One row per episode: `iteration` is its number, `eval_return` its return; in text games `eval_success` follows. An
imported episode whose first step could not be paired counts as it was played: with the return that the authors stored,
and that step's length.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from analysis.runs import write_run
from envs.datasets import episodes_sha256, load_dataset, read_meta, told_of_episodes
from envs.errors import Failure, run_command_line
from envs.text import TEXT_ENVIRONMENTS


@dataclass
class Args:
    """Make a run of a dataset."""

    env: str
    """the environment (see envs/)"""
    dataset: Path
    """the dataset folder"""
    output: Path
    """the CSV to write; a .json goes beside it"""


def main() -> None:
    """Write one policy run."""
    args = tyro.cli(Args)
    episodes, meta = load_dataset(args.dataset, args.env), read_meta(args.dataset)
    if not episodes:
        raise Failure(f"Dataset {args.dataset} holds no episodes; make it anew.")
    dropped_steps = meta.get("first_steps_dropped", 0) // len(episodes)  # of each episode: one or none
    lengths = [len(episode) + dropped_steps for episode in episodes]
    returns = [episode.total_reward for episode in episodes]
    table = pd.DataFrame({"iteration": range(len(episodes)), "env_steps": np.cumsum(lengths), "eval_length": lengths})
    table = table.assign(seed=0, repeat=0, train_return=returns, eval_return=returns)
    if args.env in TEXT_ENVIRONMENTS:  # the goal alone ends an episode with a reward
        table["eval_success"] = [int(e.terminations[-1] and e.rewards[-1] > 0) for e in episodes]
    description = {
        "algorithm": "none: the recorded policy",
        "arguments": {"env": args.env, "dataset": str(args.dataset)},
        "dataset_sha256": episodes_sha256(meta),
        **told_of_episodes(args.dataset),
        "device": "cpu",
        "policy": {key: meta.get(key) for key in ("policy", "model", "source", "pairing")},
        "versions": meta.get("versions", {}),
    }
    write_run(args.output, table, description)


if __name__ == "__main__":
    run_command_line(main)
