"""The best play of text games whose rules are known, by value iteration: for scripted play, never told to a learner.

Best is what succeeds, in the fewest actions. It is not what earns most: in Overcooked a tomato that is chopped is worth
0.2, and 0.1 is lost when it is handed over without a bowl, which makes it whole again; going round for ever pays more
than serving the dish.
"""

from collections.abc import Hashable
from functools import cached_property
from typing import NamedTuple

import gymnasium
import numpy as np

from envs import frozen_lake_text, overcooked
from envs.errors import UsageError
from envs.text import Situation, TextGame

DISCOUNT = 0.99
"""Per action: among the ways that succeed alike the shortest counts as best."""


class Turn(NamedTuple):
    """One thing that an action can lead to."""

    probability: float
    state: Hashable
    """Where it leads."""
    success: bool
    """Whether the goal is reached with it."""
    ended: bool
    """Whether the episode is over then."""


class Plan:
    """The best actions in every state of a game."""

    def __init__(self, game: TextGame) -> None:
        """Raise UsageError for a game whose states cannot be listed."""
        self.game = game
        self.turns = turns(game)

    @cached_property
    def values(self) -> dict[Hashable, float]:
        """The discounted probability of success of every state under the best play."""
        values = dict.fromkeys(self.turns, 0.0)
        change = 1.0
        while change > 1e-12:
            change = 0.0
            for state in self.turns:
                value = max(self.action_values(state, values))
                change = max(change, abs(value - values[state]))
                values[state] = value
        return values

    def action_values(self, state: Hashable, values: dict[Hashable, float]) -> list[float]:
        """Return the discounted probability of success of each action."""
        return [
            sum(t.probability * DISCOUNT * (t.success if t.ended else values[t.state]) for t in outcome)
            for outcome in self.turns[state]
        ]

    def best(self, state: Hashable) -> list[int]:
        """Return the actions that are best in a state."""
        values = self.action_values(state, self.values)
        return [action for action, value in enumerate(values) if value >= max(values) - 1e-9]

    def here(self, env: gymnasium.Env) -> list[int]:
        """Return the actions that are best in the environment's present state."""
        return self.best(env.s if hasattr(env, "s") else env.state)

    def prior(self, share: float) -> list[tuple[Situation, np.ndarray]]:
        """Return p [actions] in every situation: `share` on the best actions, the rest on all alike.

        Where states look the same, each counts alike.
        """
        seen: dict[str, tuple[Situation, list[np.ndarray]]] = {}
        for state, outcomes in self.turns.items():
            kitchen = isinstance(state, overcooked.State)
            situation = self.game.recall(self.game.environment.observation(state) if kitchen else state)
            best = np.zeros(len(outcomes))
            best[self.best(state)] = 1 / len(self.best(state))
            seen.setdefault(situation.text, (situation, []))[1].append(best)
        return [(s, share * np.mean(best, axis=0) + (1 - share) / len(best[0])) for s, best in seen.values()]


def turns(game: TextGame) -> dict[Hashable, list[list[Turn]]]:
    """Return what each action can lead to, of every state that is not terminal."""
    if game.name in overcooked.TEXT_ENVIRONMENTS:
        found = overcooked.reachable(game.environment)
        return {
            state: [[Turn(1.0, o.state, o.state.served, o.state.served)] for o in outcomes]
            for state, outcomes in found.items()
        }
    if game.name in frozen_lake_text.TEXT_ENVIRONMENTS:
        land = "".join(frozen_lake_text.MAP)
        table = game.make().P
        return {
            cell: [[Turn(p, to, land[to] == "G", ended) for p, to, _, ended in table[cell][a]] for a in table[cell]]
            for cell in range(len(land))
            if land[cell] not in "HG"
        }
    known = (*overcooked.TEXT_ENVIRONMENTS, *frozen_lake_text.TEXT_ENVIRONMENTS)
    raise UsageError(f"There is no plan for '{game.name}': choose one of {', '.join(known)}.")
