"""Made-up runs with LLM priors for the tests of figures, tables and what may be shipped."""

import json
from pathlib import Path

import numpy as np

HEADER = "seed,repeat,iteration,env_steps,train_return,eval_return,eval_length,loss,q_mean,train_success,eval_success"


def write_prior_run(tree, env, name, success, returns=None, /, **arguments):
    """Write success [seeds, iterations], in training half of it, as a run file with its .json and return its path."""
    path = Path(tree) / "results" / "runs" / "prior" / env / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    success = np.asarray(success, dtype=np.float64)
    returns = success if returns is None else np.asarray(returns, dtype=np.float64)
    rows = [
        f"{seed},0,{iteration},{100 * (iteration + 1)},,{returns[seed, iteration]!r},9,,,{value / 2!r},{value!r}"
        for (seed, iteration), value in np.ndenumerate(success)
    ]
    path.write_text("\n".join([HEADER, *(row.replace("np.float64(", "").replace(")", "") for row in rows)]) + "\n")
    arm, *rest = name.split("_")
    told = {"env": env, "arm": arm, "seeds": len(success), "iterations": success.shape[1], "iteration_episodes": 5}
    told |= {
        "prior": f"x/{rest[0]}.jsonl" if arm.endswith("-prior") and rest else None,
        "k": 5,
        "temperature": 0.1,
        "alpha": 0.1,
    }
    description = {"algorithm": arm, "arguments": {**told, **arguments}, "versions": {"torch": "2"}}
    path.with_suffix(".json").write_text(json.dumps(description))
    return path


def rising(seeds, iterations, after):
    """Return success that is 0 for `after` iterations (of seed s: s more) and 1 from then on."""
    return np.stack([(np.arange(iterations) >= after + seed).astype(float) for seed in range(seeds)])
