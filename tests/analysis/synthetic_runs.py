"""Made-up run files for the tests of figures and tables.

`python tests/analysis/synthetic_runs.py FOLDER` writes a whole tree of them, to look at figures before runs exist.
"""

import sys
from pathlib import Path

import numpy as np

HEADER = "seed,repeat,iteration,env_steps,train_return,eval_return,eval_length,loss,q_mean"
SHAPES = {  # worst return, best return, iterations
    "cartpole": (10, 200, 150),
    "frozen-lake": (0, 0.75, 150),
    "cliff-walking": (-5000, -13, 200),
    "mountain-car": (-200, -120, 300),
    "pendulum": (-1400, -200, 200),
    "represented-pong": (-11, -5, 200),
}


def write_run(tree, protocol, env, arm, returns, eval_length="", steps=None):
    """Write `returns` [seeds, repeats, iterations] as a run file and return its path."""
    path = Path(tree) / "results" / "runs" / protocol / env / f"{arm}.csv"
    return write_table(path, returns, eval_length, steps)


def write_table(path, returns, eval_length="", steps=None):
    """Write `returns` [seeds, repeats, iterations] to `path`, an iteration ending after `steps` (200, 400, ...)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{seed},{repeat},{iteration},{steps[iteration] if steps else 200 * (iteration + 1)},,"
        f"{float(value)!r},{eval_length},,"
        for (seed, repeat, iteration), value in np.ndenumerate(np.asarray(returns, dtype=np.float64))
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def write_tree(tree, environments=SHAPES, llm="qwen-7b", iterations=None, seeds=5):
    """Write every arm of the main figure and table, with learning curves that rise; return the paths."""
    generator = np.random.default_rng(0)
    paths = []
    for env in environments:
        worst, best, length = SHAPES[env]
        length = iterations or length

        def curves(chains, repeats, start, worst=worst, best=best, length=length):
            progress = 1 / (1 + np.exp(-(np.arange(length) - start) / (0.05 * length)))
            noise = generator.normal(0, 0.03, (chains, repeats, length))
            return worst + (best - worst) * np.clip(progress + noise, 0, 1)

        def after_warm_up(values, worst=worst, best=best):
            values[..., :10] = worst + 0.1 * (best - worst)
            return values

        late, early = 0.5 * length, 0.3 * length
        setting = f"{llm}_tau10"
        paths += [
            write_run(tree, "paper", env, "online", curves(seeds, 1, late)),
            write_run(tree, "paper", env, f"loro_{setting}_n3000", after_warm_up(curves(seeds, 1, early))),
            write_run(tree, "paper", env, f"loro-discard_{setting}_n3000", after_warm_up(curves(seeds, 1, early))),
            write_run(tree, "paper", env, f"mix_{setting}", after_warm_up(curves(seeds, 1, late))),
            write_run(tree, "released", env, f"loro_{setting}_n3000", after_warm_up(curves(1, 5, early))),
            write_run(tree, "paper", env, f"llm-policy_{llm}", np.full((1, 1, 30), worst + 0.1 * (best - worst)), 50),
            write_run(tree, "paper", env, "random-policy", np.full((1, 1, 40), worst), 50),
        ]
    return paths


if __name__ == "__main__":
    print(*write_tree(sys.argv[1]), sep="\n")
