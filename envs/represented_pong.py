"""Pong seen through ten numbers of the console's memory, on the Arcade Learning Environment (ale-py ships the ROM)."""

from typing import Any

import ale_py
import gymnasium
import numpy as np

from envs.base import Environment, direction

gymnasium.register_envs(ale_py)

# Where the game keeps its state in the console's 128 bytes: facts of the game.
PLAYER_Y, PLAYER_X, ENEMY_Y, ENEMY_X, BALL_X, BALL_Y, ENEMY_SCORE, PLAYER_SCORE = 51, 46, 50, 45, 49, 54, 13, 14

LEVEL = (-2, 16)
"""Least and greatest ball_y - player_y at which the ball, 4 lines high, has a line in common with the paddle's 16."""


class RepresentedPong(gymnasium.Env):
    """Pong with ten numbers as observation, frameskip 4, no sticky actions, the game's six actions.

    The observation is (player y, player x, enemy y, enemy x, ball x, ball y, enemy score, player score,
    ball velocity x, ball velocity y); positions are memory bytes, velocities are differences to the step before
    (0 after a reset). `double_step=True` is the authors' environment: every action is played twice and the first
    reward is lost.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, double_step: bool = False, render_mode: str | None = None) -> None:
        self.game = gymnasium.make(
            "ALE/Pong-v5",
            obs_type="ram",
            frameskip=4,
            repeat_action_probability=0.0,
            render_mode=render_mode,
            disable_env_checker=True,
        )
        self.render_mode = render_mode
        self.double_step = double_step
        self.action_space = self.game.action_space
        self.observation_space = gymnasium.spaces.Box(-255.0, 255.0, (10,), np.float32)
        self.ball = (0, 0)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Start a game; the ball's velocity is 0. Without sticky actions nothing in the game is random.

        So the seed is not passed on: the emulator would load the whole game again, in thirty times the time.
        """
        super().reset(seed=seed)
        memory, info = self.game.reset(options=options)
        self.ball = (int(memory[BALL_X]), int(memory[BALL_Y]))
        return self.represent(memory), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Play `action` for four frames (eight with `double_step`, of which only the last four are rewarded)."""
        if self.double_step:
            self.game.step(action)
        memory, reward, terminated, truncated, info = self.game.step(action)
        return self.represent(memory), float(reward), terminated, truncated, info

    def represent(self, memory: np.ndarray) -> np.ndarray:
        """Turn the 128 memory bytes into the ten numbers and remember the ball's place."""
        x, y = int(memory[BALL_X]), int(memory[BALL_Y])
        velocity = (x - self.ball[0], y - self.ball[1])
        self.ball = (x, y)
        bytes_read = [
            memory[address]
            for address in (PLAYER_Y, PLAYER_X, ENEMY_Y, ENEMY_X, BALL_X, BALL_Y, ENEMY_SCORE, PLAYER_SCORE)
        ]
        return np.array([*bytes_read, *velocity], dtype=np.float32)

    def render(self) -> Any:
        """Return the screen as the game draws it."""
        return self.game.render()

    def close(self) -> None:
        """Free the emulator."""
        self.game.close()


def words(observation: np.ndarray) -> dict[str, str]:
    """Name the ten numbers, and say in words where the ball is and goes.

    `ball_place`: "above", "below" or "level with" the player's paddle, as the screen shows them (y grows downwards);
    `ball_direction`: "towards" or "away from" the player, who is on the right, or "past" while it does not move across;
    `ball_course`: the same as one would say it.
    """
    names = (
        "player_y",
        "player_x",
        "enemy_y",
        "enemy_x",
        "ball_x",
        "ball_y",
        "enemy_score",
        "player_score",
        "ball_velocity_x",
        "ball_velocity_y",
    )
    numbers = {name: int(number) for name, number in zip(names, observation, strict=True)}
    beneath, across = numbers["ball_y"] - numbers["player_y"], numbers["ball_velocity_x"]
    return {
        **{name: str(number) for name, number in numbers.items()},
        "ball_place": "above" if beneath < LEVEL[0] else "below" if beneath > LEVEL[1] else "level with",
        "ball_direction": direction(across, "away from", "towards", "past"),
        "ball_course": direction(across, "going away", "coming towards you", "not moving across"),
    }


ENVIRONMENT = Environment(
    name="represented-pong",
    title="Pong (10 numbers)",
    entry_point="envs.represented_pong:RepresentedPong",
    horizon=200,
    iterations=200,
    learner="dqn",
    words=words,
    noop=0,
    deterministic=True,
)
