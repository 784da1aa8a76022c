"""The six environments of the LORO paper behind one small interface.

`get(name)` describes an environment, `make(name)` builds it; both know only the names in `ENVIRONMENTS`.
"""

from typing import Any

import gymnasium

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
    steps = environment.horizon if horizon is None else horizon
    try:
        return gymnasium.make(environment.gym_id, max_episode_steps=steps or -1, disable_env_checker=True, **options)
    except TypeError as error:
        raise UsageError(f"Environment '{name}' does not take these options: {error}.") from error
