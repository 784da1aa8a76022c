"""The best play: against a search of its own, a known value, and the solutions recorded of the originals."""

from collections import deque

import numpy as np
import pytest

from envs.errors import UsageError
from envs.plans import DISCOUNT, Plan
from envs.text import TextGame


@pytest.mark.parametrize("name", ["overcooked-tomato", "overcooked-salad", "frozen-lake-text"])
def test_where_nothing_is_random_the_best_play_is_a_shortest_way(name):
    plan = Plan(TextGame(name))
    before = {}
    for state, outcomes in plan.turns.items():
        for [turn] in outcomes:
            before.setdefault("success" if turn.success else turn.state, []).append(state)
    distance, waiting = {"success": 0}, deque(["success"])
    while waiting:  # breadth first, from the goal backwards
        place = waiting.popleft()
        for state in before.get(place, []):
            if state not in distance:
                distance[state] = distance[place] + 1
                waiting.append(state)
    assert plan.values == pytest.approx({state: DISCOUNT ** distance[state] for state in plan.turns})
    for state, outcomes in plan.turns.items():
        steps = [distance["success"] if t.success else distance.get(t.state, np.inf) for [t] in outcomes]
        assert plan.best(state) == [a for a, n in enumerate(steps) if n == min(steps)]


def test_on_slippery_ice_the_value_is_the_known_one():
    plan = Plan(TextGame("frozen-lake-text-slippery"))
    # 0.5420: the start's optimal value at a discount of 0.99 where the step to the goal is not discounted itself
    assert plan.values[0] / DISCOUNT == pytest.approx(0.5420, abs=1e-4)


def test_a_share_of_the_prior_is_on_the_best_actions():
    game = TextGame("overcooked-salad")
    told = Plan(game).prior(0.4)
    assert {s.text for s, _ in told} == {s.text for s in game.situations()} and len(told) == 787
    for situation, p in told:
        assert p.sum() == pytest.approx(1) and p.min() >= 0.6 / len(situation.actions) - 1e-12
    env = game.make()
    situation, p = next((s, p) for s, p in told if s == game.read(*env.reset()))
    # one begins with the tomato or with the lettuce: both ways are ten actions long; the onion is in no best way
    assert p.argmax() in (0, 1) and p[2] == pytest.approx(0.6 / 8)


def test_a_game_whose_states_cannot_be_listed_has_no_plan():
    with pytest.raises(UsageError, match="There is no plan for 'cartpole'"):
        Plan(TextGame("cartpole"))
