"""Play that does not learn, recorded: offline data of a stated quality, and the baselines that learners are held to.

    python -m algos.play --env overcooked-tomato --success 0.75 --transitions 8000 --output .../mixture75
    python -m algos.play --env overcooked-tomato --player prior --prior .../smollm2-135m.jsonl --output .../smollm2-135m
    python -m algos.play --env overcooked-tomato --player random --output .../random

The offline data of the paper (Yan et al., arXiv 2410.07927) is not ours to give; a mixture is made here. Before each
episode it is decided who plays it: a scripted player, who takes the action that leads to success soonest, but with
probability `noise` any action, or a player who takes any action always; scripted where fewer of the episodes so far
have succeeded than are to. So the share of successes is met to an episode, and no episode is chosen for its outcome.

The scripted player knows the rules and never plays for return: at Overcooked's rewards the highest return chops and
spoils a tomato again and again and serves nothing (see envs/plans.py). Random play may do so, as it did in the
released data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import tyro
from tqdm import tqdm

from algos.prior import Prior, open_prior
from envs.datasets import Episode, save_dataset
from envs.errors import Failure, UsageError, run_command_line
from envs.plans import Plan
from envs.text import TextGame


@dataclass
class Args:
    """Record episodes of a player who does not learn, as a dataset."""

    output: Path
    """the dataset folder to write"""
    env: str = "overcooked-tomato"
    """the environment: one in words; ALFWorld, whose observations do not tell what can be done, not for offline data"""
    player: Literal["mixture", "scripted", "random", "prior"] = "mixture"
    """mixture: scripted or random, episode by episode. prior: actions are drawn from an LLM's prior"""
    success: float = 0.75
    """mixture: the share of episodes that are to succeed"""
    noise: float = 0.2
    """mixture, scripted: the probability with which the scripted player takes any action"""
    prior: Path | None = None
    """prior: the file that algos/prior.py made"""
    episodes: int = 100
    """how many are played"""
    transitions: int | None = None
    """instead: play until there are so many, the last episode to its end"""
    seed: int = 0
    """key of the random numbers"""
    progress: bool = True
    """show a progress bar"""


def check(args: Args) -> None:
    """Raise UsageError for arguments that cannot be meant."""
    for name in ("success", "noise"):
        if not 0 <= getattr(args, name) <= 1:
            raise UsageError(f"--{name} must be from 0 to 1, not {getattr(args, name)}.")
    for name in ("episodes", "transitions"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name} must be at least 1, not {getattr(args, name)}.")
    if args.seed < 0:
        raise UsageError(f"--seed must not be negative, not {args.seed}.")
    if (args.player == "prior") != (args.prior is not None):
        raise UsageError(f"Player '{args.player}': --prior is for the player prior, who needs it.")


def probabilities(
    scripted: bool, plan: Plan | None, prior: Prior | None, noise: float, game: TextGame, env: Any, situation: Any
) -> np.ndarray:
    """Return with which probability each admissible action is taken."""
    if prior is not None:
        return prior(situation)
    p = np.full(len(situation.actions), 1 / len(situation.actions))
    if scripted:
        best = plan.here(env)
        p *= noise
        p[best] += (1 - noise) / len(best)
    return p


def play(random: np.random.Generator, game: TextGame, env: gymnasium.Env, **how: Any) -> tuple[Episode, bool]:
    """Play an episode; return it and whether it succeeded."""
    observation, info = env.reset(seed=int(random.integers(2**31)))
    observations, steps, ended = [observation], [], False
    while not ended:
        situation = game.read(observation, info)
        p = probabilities(game=game, env=env, situation=situation, **how)
        action = game.action(int(random.choice(len(p), p=p)))
        observation, reward, terminated, truncated, info = env.step(action)
        truncated = not terminated and (truncated or len(steps) + 1 >= game.horizon)
        ended = terminated or truncated
        observations.append(observation)
        steps.append((action, float(reward), terminated, truncated))
    actions, rewards, terminations, truncations = (np.array(column) for column in zip(*steps, strict=True))
    told = np.array(observations, dtype=object if isinstance(observation, str) else None)  # HDF5 takes texts as objects
    return Episode(told, actions, rewards, terminations, truncations), bool(info.get("success"))


def main() -> None:
    """Play, and write the dataset."""
    args = tyro.cli(Args)
    check(args)
    game = TextGame(args.env)
    prior = open_prior(args.prior, args.env) if args.prior else None
    game = prior.game if prior else game
    env = game.make()
    plan = Plan(game) if args.player in ("mixture", "scripted") else None
    episodes: list[Episode] = []
    succeeded = by_script = played = 0
    total = args.transitions or args.episodes
    with tqdm(total=total, disable=not args.progress, desc=f"{args.env} {args.player}") as bar:
        while (played if args.transitions else len(episodes)) < total:
            scripted = args.player == "scripted" or succeeded < args.success * (len(episodes) + 1)
            scripted &= plan is not None
            random = np.random.default_rng([args.seed, len(episodes)])
            episode, success = play(random, game, env, scripted=scripted, plan=plan, prior=prior, noise=args.noise)
            episodes.append(episode)
            succeeded, by_script, played = succeeded + success, by_script + scripted, played + len(episode)
            bar.update(len(episode) if args.transitions else 1)
    share = succeeded / len(episodes)
    if args.player == "mixture" and abs(share - args.success) > max(0.02, 1.5 / len(episodes)):
        raise Failure(
            f"--success {args.success} cannot be met in {args.env} with --noise {args.noise}: {share:.2f} of "
            f"{len(episodes)} episodes succeeded, {by_script} of them scripted; nothing was written."
        )
    meta = {
        "policy": {"mixture": f"mixture{100 * args.success:g}", "prior": "an LLM's prior"}.get(
            args.player, args.player
        ),
        "seed": args.seed,
        "horizon": game.horizon,
        "success_rate": share,
        "scripted_episodes": by_script,
        **({"noise": args.noise} if plan else {}),
        **({"prior_sha256": prior.sha256} if prior else {}),
    }
    if prior and "asking" in prior.header:
        meta["model"] = prior.header["model"]
    save_dataset(args.output, args.env, episodes, meta)
    print(f"{args.output}: {len(episodes)} episodes, {played} transitions, {share:.3f} of the episodes succeeded.")


if __name__ == "__main__":
    run_command_line(main)
