"""The six environments of the LORO paper behind one small interface.

`get(name)` describes an environment, `make(name)` builds it; both know only the names in `ENVIRONMENTS`.
"""

from contextlib import closing
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import cartpole, cliff_walking, frozen_lake, mountain_car, pendulum, represented_pong
from envs.base import Environment
from envs.errors import UsageError

ENVIRONMENTS: dict[str, Environment] = {
    module.ENVIRONMENT.name: module.ENVIRONMENT
    for module in (cartpole, frozen_lake, cliff_walking, mountain_car, pendulum, represented_pong)
}

PAPER = ("cartpole", "frozen-lake", "cliff-walking", "mountain-car", "pendulum", "represented-pong")
"""The paper's, whatever others `ENVIRONMENTS` comes to have."""

for _environment in ENVIRONMENTS.values():
    if _environment.gym_id not in gymnasium.registry:
        gymnasium.register(
            id=_environment.gym_id,
            entry_point=_environment.entry_point,
            max_episode_steps=_environment.horizon,
        )


def get(name: str) -> Environment:
    """Return the description of environment `name`; raise UsageError when there is none."""
    if name not in ENVIRONMENTS:
        raise UsageError(f"Unknown environment '{name}': choose one of {', '.join(ENVIRONMENTS)}.")
    return ENVIRONMENTS[name]


def make(name: str, horizon: int | None = None, **options: Any) -> gymnasium.Env:
    """Make environment `name`.

    `horizon` is the number of steps after which an episode is truncated: None takes the environment's own,
    0 sets no limit. `options` go to the environment's class (`double_step` of represented-pong).
    Raises UsageError for an unknown name or option.
    """
    environment = get(name)
    check_usable(name)
    steps = environment.horizon if horizon is None else horizon
    try:
        return gymnasium.make(environment.gym_id, max_episode_steps=steps or -1, disable_env_checker=True, **options)
    except TypeError as error:
        raise UsageError(f"Environment '{name}' does not take these options: {error}.") from error


@cache
def check_usable(name: str) -> None:
    """Raise UsageError where an environment's observations or actions are of a kind that its learner does not read."""
    learner = get(name).learner
    reads, acts = {"dqn": ((Discrete, Box), Discrete), "sac": (Box, Box)}[learner]
    with closing(gymnasium.make(get(name).gym_id, disable_env_checker=True)) as env:
        observation, _ = env.reset(seed=0)
    for kind, space in (("observations", env.observation_space), ("actions", env.action_space)):
        numbered = isinstance(space, Discrete) and space.start == 0
        vector = isinstance(space, Box) and len(space.shape) == 1 and space.dtype == np.float32
        if not (numbered or vector):
            raise UsageError(
                f"Environment '{name}' has {kind} in {space}: they must be numbered from 0 (Discrete), or a Box of one "
                "dimension in float32; gymnasium's wrappers turn most others into one of these."
            )
    if not (isinstance(env.observation_space, reads) and isinstance(env.action_space, acts)):
        spaces = f"observations in {env.observation_space} and actions in {env.action_space}"
        raise UsageError(f"Environment '{name}' has {spaces}: not what algos.{learner}, its learner, is for.")
    if not env.observation_space.contains(observation):
        kind = getattr(observation, "dtype", type(observation).__name__)
        begins = f"Environment '{name}' begins with {observation!r} ({kind})"
        raise UsageError(f"{begins}, not in its {env.observation_space}.")
