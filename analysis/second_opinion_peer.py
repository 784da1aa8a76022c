"""The authors' procedure in the library that they used, d3rlpy. Runs in d3rlpy's own environment.

    .bench-venv/bin/python analysis/second_opinion_peer.py cartpole loro EPISODES.npz --seed 0 --repeats 5 \\
        --iterations 140 --pretrain-steps 3000

Prints a line "repeat iteration return" for each evaluation, `iteration` from the first that the learner takes. What the
LORO authors' code does was read from it; nothing is taken from it. EPISODES.npz holds observations, actions, rewards
and terminals, one after the other, as their files pair them (analysis/second_opinion.py writes it).
"""

import argparse
import logging
from collections.abc import Iterator

import d3rlpy
import gymnasium
import numpy as np
import structlog
import torch
from bench_peer import MAKERS
from d3rlpy.logging import NoopAdapterFactory
from d3rlpy.metrics import EnvironmentEvaluator

BATCH, STEPS, CAPACITY, EPSILON = 256, 200, 100_000, 0.1
OFFLINE_INTERVAL, ONLINE_INTERVAL = 200, 1000


def new_learner(target_update_interval: int) -> d3rlpy.algos.QLearningAlgoBase:
    """Return an untrained learner with the authors' settings."""
    config = d3rlpy.algos.DoubleDQNConfig(
        batch_size=BATCH, learning_rate=5e-5, gamma=0.99, target_update_interval=target_update_interval
    )
    return config.create(device="cpu:0")


def evaluations(learner: d3rlpy.algos.QLearningAlgoBase, env: gymnasium.Env, iterations: int) -> Iterator[float]:
    """Train online from an empty buffer; yield the return of one greedy episode after every 200 steps."""
    buffer = d3rlpy.dataset.create_fifo_replay_buffer(CAPACITY, env=env)
    explorer = d3rlpy.algos.ConstantEpsilonGreedy(EPSILON)
    evaluate = EnvironmentEvaluator(env, n_trials=1)
    for _ in range(iterations):
        learner.fit_online(
            env, buffer, explorer=explorer, n_steps=STEPS, show_progress=False, logger_adapter=NoopAdapterFactory()
        )
        yield evaluate(learner, dataset=None)


def main() -> None:
    """Train one chain of LORO, or as many agents of online RL, and print what they are evaluated at."""
    parser = argparse.ArgumentParser()
    parser.add_argument("env", choices=[name for name in MAKERS if name != "pendulum"])  # Double DQN acts discretely
    parser.add_argument("arm", choices=("online", "loro"))
    parser.add_argument("episodes")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--pretrain-steps", type=int, required=True)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    torch.set_num_threads(1)
    env = MAKERS[args.env]()
    d3rlpy.seed(args.seed)
    d3rlpy.envs.seed_env(env, args.seed)
    with np.load(args.episodes, allow_pickle=False) as arrays:
        names = ("observations", "actions", "rewards", "terminals")
        recorded = d3rlpy.dataset.MDPDataset(*(arrays[name] for name in names))
    learner = new_learner(OFFLINE_INTERVAL)
    if args.arm == "loro":
        learner.fit(
            recorded,
            n_steps=args.pretrain_steps,
            n_steps_per_epoch=STEPS,
            show_progress=False,
            logger_adapter=NoopAdapterFactory(),
        )
    for repeat in range(args.repeats):
        if args.arm == "online":  # the repeats of LORO pass one network on
            learner = new_learner(ONLINE_INTERVAL)
        for iteration, value in enumerate(evaluations(learner, env, args.iterations)):
            print(repeat, iteration, value, flush=True)


if __name__ == "__main__":
    main()
