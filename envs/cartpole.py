"""CartPole, limited to 200 steps (what gymnasium once called CartPole-v0)."""

import numpy as np

from envs.base import Environment, direction


def words(observation: np.ndarray) -> dict[str, str]:
    """Name the four numbers of a CartPole observation, with their signs, and say in words which way each points.

    Position, velocity (of the cart), angle (radians, positive to the right) and angular velocity; `side` of the
    centre, `moving`, `leaning`, `falling`.
    """
    position, velocity, angle, angular_velocity = (float(x) for x in observation)
    return {
        "position": f"{position:.2f}",
        "velocity": f"{velocity:.2f}",
        "angle": f"{angle:.3f}",
        "angular_velocity": f"{angular_velocity:.2f}",
        "side": direction(position, "left", "right", "centre"),
        "moving": direction(velocity, "left", "right", "nowhere"),
        "leaning": direction(angle, "left", "right", "nowhere"),
        "falling": direction(angular_velocity, "left", "right", "nowhere"),
    }


ENVIRONMENT = Environment(
    name="cartpole",
    title="CartPole",
    entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    horizon=200,
    iterations=150,
    learner="dqn",
    words=words,
)
