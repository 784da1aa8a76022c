"""The benchmark's peer: d3rlpy's Double DQN and SAC on the same work. Runs in d3rlpy's own environment.

    .bench-venv/bin/python analysis/bench_peer.py cartpole 1500

Prints the seconds that one training step takes: environment step, sampling and one update of batch 256.
"""

import sys
import time

import d3rlpy
import gymnasium
import numpy as np
import torch


class OneHot(gymnasium.ObservationWrapper):
    """States as one-hot rows, as the LORO authors gave them to d3rlpy."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.states = int(env.observation_space.n)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.states,), np.float32)

    def observation(self, observation: int) -> np.ndarray:
        """Return the row of the identity."""
        return np.eye(self.states, dtype=np.float32)[observation]


MAKERS = {
    "cartpole": lambda: gymnasium.make("CartPole-v1", max_episode_steps=200),
    "frozen-lake": lambda: OneHot(gymnasium.make("FrozenLake-v1", is_slippery=True)),
    "cliff-walking": lambda: OneHot(gymnasium.make("CliffWalking-v0", max_episode_steps=200)),
    "pendulum": lambda: gymnasium.make("Pendulum-v1"),
}


def train(env_name: str, steps: int) -> float:
    """Return the seconds that `steps` online steps take, the first update after 257 steps."""
    env = MAKERS[env_name]()
    if env_name == "pendulum":
        learner = d3rlpy.algos.SACConfig(batch_size=256, gamma=0.99).create(device="cpu:0")
        explorer = None
    else:
        config = d3rlpy.algos.DoubleDQNConfig(
            batch_size=256, learning_rate=5e-5, gamma=0.99, target_update_interval=1000
        )
        learner = config.create(device="cpu:0")
        explorer = d3rlpy.algos.ConstantEpsilonGreedy(0.1)
    buffer = d3rlpy.dataset.create_fifo_replay_buffer(100_000, env=env)
    started = time.perf_counter()
    learner.fit_online(
        env,
        buffer,
        explorer=explorer,
        n_steps=steps,
        n_steps_per_epoch=steps,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    env_name, steps = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    train(env_name, 400)  # burn-in
    print("seconds per step", (train(env_name, 300 + steps) - train(env_name, 300)) / steps)
    print("version", d3rlpy.__version__)
