"""Text Overcooked against what was recorded of the original: trajectories, texts, and the whole state space."""

import warnings
from collections import defaultdict
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import UsageError
from envs.overcooked import TEXT_ENVIRONMENTS, Overcooked, in_sight

TOMATO, SALAD = "overcooked-tomato", "overcooked-salad"
SUCCESS = {TOMATO: [0, 2, 4, 1, 0, 3], SALAD: [0, 4, 7, 1, 5, 7, 3, 0, 1, 6]}


def play(name, actions, **options):
    """Play from the start; return the environment and what each action gave."""
    env = Overcooked(name, **options)
    env.reset()
    return env, [env.step(action) for action in actions]


def rewards(steps):
    return [round(reward, 4) for _, reward, *_ in steps]


def durations(steps):
    return [info["macro_action_steps"] for *_, info in steps]


# Trajectories: rewards to four decimals and durations, as recorded of the original.


@pytest.mark.parametrize(
    ("name", "actions", "expected", "total", "steps", "discounted"),
    [
        (
            TOMATO,
            SUCCESS[TOMATO],
            [(-0.0020, 2), (-0.0049, 5), (0.1930, 3), (-0.0086, 9), (-0.0086, 9), (0.9771, 3)],
            1.1460,
            31,
            0.8956,
        ),
        *(
            (
                SALAD,
                actions,
                [
                    (-0.0020, 2),
                    (-0.0049, 5),
                    (0.1930, 3),
                    (-0.0049, 5),
                    (-0.0059, 6),
                    (0.1930, 3),
                    (-0.0077, 8),
                    (-0.0086, 9),
                    (-0.0020, 2),
                    (0.9880, 2),
                ],
                1.3381,
                45,
                0.9477,
            )
            for actions in (SUCCESS[SALAD], [1, 4, 7, 0, 5, 7, 3, 1, 0, 6])
        ),
    ],
)
def test_the_way_to_success(name, actions, expected, total, steps, discounted):
    _, played = play(name, actions)
    assert list(zip(rewards(played), durations(played), strict=True)) == expected
    assert round(sum(reward for _, reward, *_ in played), 4) == total
    assert [terminated for _, _, terminated, _, _ in played] == [False] * (len(actions) - 1) + [True]
    assert not any(truncated for *_, truncated, _ in played)
    assert [info["success"] for *_, info in played] == [False] * (len(actions) - 1) + [True]
    assert ["episode" in info for *_, info in played] == [False] * (len(actions) - 1) + [True]
    episode = played[-1][-1]["episode"]
    assert episode["l"] == steps == sum(durations(played))
    assert round(episode["r"], 4) == discounted


@pytest.mark.parametrize(
    ("name", "actions", "expected"),
    [
        (TOMATO, [2], [(-0.0030, 3)]),
        (TOMATO, [3], [(-0.0049, 5)]),
        (TOMATO, [1], [(-0.0059, 6)]),
        (TOMATO, [4], [(-0.0010, 1)]),
        (TOMATO, [0, 3], [(-0.0020, 2), (-0.1009, 7)]),
        (TOMATO, [1, 3], [(-0.0059, 6), (-0.1009, 7)]),
        (TOMATO, [0, 1], [(-0.0020, 2), (-0.0049, 5)]),
        (TOMATO, [1, 0], [(-0.0059, 6), (-0.0049, 5)]),
        (TOMATO, [0, 0, 0], [(-0.0020, 2), (-0.0010, 1), (-0.0010, 1)]),
        (TOMATO, [0, 2, 4, 0, 1], [(-0.0020, 2), (-0.0049, 5), (0.1930, 3), (-0.0010, 1), (-0.0096, 10)]),
        (TOMATO, [0, 2, 4, 4], [(-0.0020, 2), (-0.0049, 5), (0.1930, 3), (-0.0010, 1)]),
        (TOMATO, [1, 2, 0, 2], [(-0.0059, 6), (-0.0086, 9), (-0.0049, 5), (-0.0049, 5)]),
        (SALAD, [0, 4, 1, 4, 5], [(-0.0020, 2), (-0.0049, 5), (-0.0049, 5), (-0.0049, 5), (-0.0020, 2)]),
        (SALAD, [2, 4, 7], [(-0.0030, 3), (-0.0059, 6), (-0.0030, 3)]),
        (SALAD, [5], [(-0.0039, 4)]),
    ],
)
def test_other_ways(name, actions, expected):
    _, played = play(name, actions)
    assert list(zip(rewards(played), durations(played), strict=True)) == expected
    assert not any(terminated or truncated for _, _, terminated, truncated, _ in played)


def test_what_those_ways_lead_to():
    assert play(TOMATO, [0, 1])[0].state == ((5, 5), ("hand", (6, 5)), (0,))
    assert play(TOMATO, [1, 0])[0].state == ((1, 5), ((0, 5), "hand"), (0,))
    assert play(TOMATO, [0, 2, 4, 0, 1])[0].state == ((5, 5), ("bowl", "hand"), (3,))
    assert play(TOMATO, [1, 2, 0, 2])[0].state == ((1, 1), ("hand", (1, 0)), (0,))
    # Wrong deliveries put all back, raw.
    assert play(TOMATO, [0, 2, 4, 0, 3])[0].state == ((3, 1), ((0, 5), (6, 5)), (0,))
    assert play(TOMATO, [1, 3])[0].state == ((3, 1), ((0, 5), (6, 5)), (0,))
    # Lettuce does not fit on the occupied first board; it stays in hand until the second.
    assert play(SALAD, [0, 4, 1, 4])[0].state == ((1, 1), ((1, 0), "hand", (2, 6), (6, 5)), (0, 0, 0))
    assert play(SALAD, [0, 4, 1, 4, 5])[0].state == ((2, 1), ((1, 0), (2, 0), (2, 6), (6, 5)), (0, 0, 0))


def test_a_dish_of_tomato_alone_is_wrong_where_lettuce_belongs_in_it():
    env, played = play(SALAD, [0, 4, 7, 3, 0, 6])
    assert (rewards(played)[-1], durations(played)[-1]) == (-0.1010, 3)
    assert env.state == ((3, 1), TEXT_ENVIRONMENTS[SALAD].start.places, (0, 0, 0))


def test_a_filled_bowl_can_be_put_back_on_its_board():
    env, played = play(SALAD, [0, 4, 7, 1, 5, 7, 3, 0, 4])
    assert (rewards(played)[-1], durations(played)[-1]) == (-0.0010, 1)
    assert env.state == ((1, 1), ("bowl", (2, 0), (2, 6), (1, 0)), (3, 3, 0))


def test_two_hundred_steps_truncate():
    env, played = play(TOMATO, [4] * 200)
    assert [truncated for *_, truncated, _ in played] == [False] * 199 + [True]
    assert not played[-1][2]
    assert played[-1][-1]["episode"]["l"] == 200
    assert round(played[-1][-1]["episode"]["r"], 4) == -0.0866
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(4)
    env.reset()
    assert "episode" not in env.step(4)[-1]


def test_the_macro_action_under_way_at_the_limit_finishes():
    _, played = play(TOMATO, [4] * 198 + [1])
    assert played[-1][3]
    assert played[-1][-1]["episode"]["l"] == 204


def test_a_delivery_that_is_under_way_at_the_limit_still_counts():
    _, played = play(TOMATO, [4] * 171 + SUCCESS[TOMATO])
    *_, terminated, truncated, info = played[-1]
    assert (terminated, truncated, info["episode"]["l"]) == (True, False, 202)


def test_rewards_can_be_set():
    env, played = play(
        TOMATO, SUCCESS[TOMATO], chopped_reward=3.0, correct_reward=5.0, wrong_reward=-7.0, step_reward=0.0
    )
    assert [reward for _, reward, *_ in played] == pytest.approx([0, 0, 3 * 0.99**2, 0, 0, 5 * 0.99**2])
    env.reset()
    env.step(0)
    assert env.step(3)[1] == pytest.approx(-7 * 0.99**6)


# Observations and texts, written out from the game's rules.


def test_observations():
    env = Overcooked(TOMATO)
    observation, _ = env.reset()
    assert observation.tolist() == [0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 4, 1, 0, 0, 0, 0, 0, 0]
    observation, *_ = play(TOMATO, [0, 2, 4, 0])[1][-1]
    assert observation.tolist() == [1, 1, 3, 0, 0, 1, 0, 3, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    observation, _ = Overcooked(SALAD).reset()
    assert observation.tolist() == [0, 5, 0, 1, 6, 0, 2, 6, 0, *[0] * 8, 1, 4, 0, 0, 0, 1, 0, 0, 0]
    # The bowl with the tomato in hand, between the boards and the delivery counter, the chopped lettuce in sight.
    observation, *_ = play(SALAD, [0, 4, 7, 1, 5, 7, 3, 0])[1][-1]
    assert observation.tolist() == [1, 1, 3, 2, 0, 3, 0, 0, 0, 1, 1, 1, 0, 2, 0, 3, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0]


DISH = {
    TOMATO: "To serve the dish of a bowl only containing chopped tomato, you should first",
    SALAD: "To serve the dish of a bowl only containing chopped tomato and lettuce, you should first",
}
ROOM = {
    TOMATO: "There is a fixed cutting board in the room.",
    SALAD: "There are two fixed cutting boards in the room.",
}


@pytest.mark.parametrize(
    ("name", "actions", "scene"),
    [
        (TOMATO, [], "You notice a tomato on the table. Currently you don't have anything in hand."),
        (TOMATO, [1], "Currently you are carrying a bowl in hand."),
        (TOMATO, [0], "Currently you are carrying an unchopped tomato in hand."),
        (
            TOMATO,
            [0, 2],
            "An unchopped tomato is on the cutting board. "
            "Currently you are standing in front of the cutting board without anything in hand.",
        ),
        (
            TOMATO,
            [0, 2, 4, 1, 2],
            "Currently you are standing in front of the cutting board, "
            "carrying a bowl containing chopped tomato in hand.",
        ),
        (
            TOMATO,
            [0, 2, 4, 1, 2, 2],
            "A bowl containing a chopped tomato is on the cutting board. "
            "Currently you are standing in front of the cutting board without anything in hand.",
        ),
        (TOMATO, [0, 2, 4, 0, 1], "Currently you are carrying a bowl containing chopped tomato."),
        (
            SALAD,
            [],
            "You notice a tomato, a lettuce and an onion on the different tables. "
            "Currently you don't have anything in hand.",
        ),
        (
            SALAD,
            [0],
            "You notice a lettuce and an onion on the different tables. "
            "Currently you are carrying an unchopped tomato in hand.",
        ),
        (
            SALAD,
            [2, 5, 7],
            "A chopped onion is on the second cutting board. "
            "Currently you are standing in front of the second cutting board without anything in hand.",
        ),
        (
            SALAD,
            [0, 4, 7, 1, 5, 7, 3, 0],
            "A chopped lettuce is on the second cutting board. Currently you are standing in front of the first "
            "cutting board, carrying a bowl containing chopped tomato in hand.",
        ),
        (
            SALAD,
            [0, 4, 7, 1, 5, 7, 3, 0, 1, 5],
            "A bowl containing chopped tomato and lettuce is on the second cutting board. "
            "Currently you are standing in front of the second cutting board without anything in hand.",
        ),
        (
            SALAD,
            [0, 4, 7, 3, 0, 1],
            "You notice a lettuce and an onion on the different tables. "
            "Currently you are carrying a bowl containing chopped tomato.",
        ),
        # Delivered wrongly, seen no more.
        (SALAD, [0, 4, 7, 3, 0, 6], "Currently you don't have anything in hand."),
    ],
)
def test_texts(name, actions, scene):
    env, played = play(name, actions)
    observation, info = (played[-1][0], played[-1][-1]) if played else env.reset()
    assert info["text"] == env.text(observation) == f"{ROOM[name]} {scene} {DISH[name]}"
    assert env.environment.scene(observation) == f"{ROOM[name]} {scene}"


TOMATO_WORDS = ["pick up the tomato", "take the bowl", "walk to the cutting board", "serve nothing", "chop nothing"]
SALAD_WORDS = [
    "pick up the tomato",
    "pick up the lettuce",
    "pick up the onion",
    "take the empty bowl",
    "walk to the first cutting board",
    "walk to the second cutting board",
    "serve nothing",
    "chop nothing",
]
INTO_BOWL = {i: f"put the {food} in the bowl" for i, food in enumerate(["tomato", "lettuce", "onion"])}


def onto_boards(thing):
    return {4: f"put the {thing} on the first cutting board", 5: f"put the {thing} on the second cutting board"}


@pytest.mark.parametrize(
    ("name", "actions", "changed"),
    [
        (TOMATO, [], {}),
        (TOMATO, [0], {2: "put the tomato on the cutting board", 3: "serve the dish"}),
        (TOMATO, [0, 2], {4: "chop the tomato"}),
        (TOMATO, [0, 2, 4], {4: "chop the tomato"}),
        (TOMATO, [0, 2, 4, 0], {3: "serve the dish"}),
        (
            TOMATO,
            [0, 2, 4, 0, 1],
            {0: "put the tomato in the bowl", 2: "put the bowl on the cutting board", 3: "serve the dish"},
        ),
        (TOMATO, [0, 2, 4, 1, 0, 2], {}),
        (SALAD, [], {}),
        (SALAD, [1], {**onto_boards("lettuce"), 6: "serve the dish"}),
        (SALAD, [3], {**INTO_BOWL, **onto_boards("bowl"), 6: "serve the dish"}),
        (SALAD, [2, 4], {7: "chop the onion"}),
        (SALAD, [2, 4, 5], {}),
        (
            SALAD,
            [0, 4, 7, 3, 0],
            {**INTO_BOWL, 3: "take the bowl", **onto_boards("bowl"), 6: "serve the dish"},
        ),
        (SALAD, [0, 4, 7, 3, 0, 4], {3: "take the bowl"}),
        (SALAD, [0, 4, 7, 3, 0, 4, 1], {**onto_boards("lettuce"), 6: "serve the dish"}),
    ],
)
def test_action_texts(name, actions, changed):
    env, played = play(name, actions)
    observation, info = (played[-1][0], played[-1][-1]) if played else env.reset()
    words = TOMATO_WORDS if name == TOMATO else SALAD_WORDS
    expected = [changed.get(i, text) for i, text in enumerate(words)]
    assert info["actions"] == env.action_texts(observation) == expected


# The whole state space.


def enumerate_states(name):
    """Breadth first from the start: every state and what each action does there; terminal states keep to themselves."""
    env = Overcooked(name)
    states, depth = [env.environment.start], {env.environment.start: 0}
    index, outcomes = {env.environment.start: 0}, []
    for state in states:
        outcomes.append([] if state.served else [action(state) for action in env.actions])
        for outcome in outcomes[-1]:
            if outcome.state not in index:
                index[outcome.state] = len(states)
                depth[outcome.state] = depth[state] + 1
                states.append(outcome.state)

    def table(quantity, terminal):
        return np.array([[quantity(o) for o in row] or [terminal] * len(env.actions) for row in outcomes])

    return SimpleNamespace(
        env=env,
        states=states,
        outcomes=dict(zip(states, outcomes, strict=True)),
        texts=[env.text(env.environment.observation(state)) for state in states],
        fewest=min(depth[state] for state in states if state.served),
        following=table(lambda outcome: index[outcome.state], 0),
        reward=table(env.reward, 0.0),
        steps=table(lambda outcome: outcome.steps, 0),
        done=table(lambda outcome: outcome.state.served, True),
    )


@pytest.fixture(scope="module")
def spaces():
    return {name: enumerate_states(name) for name in (TOMATO, SALAD)}


@pytest.mark.parametrize(("name", "states", "terminal"), [(TOMATO, 24, 1), (SALAD, 1156, 5)])
def test_number_of_states(spaces, name, states, terminal):
    served = [state.served for state in spaces[name].states]
    assert (served.count(False), served.count(True)) == (states, terminal)


def route(start, end):
    """The cells from `start` to `end`, both included, along the row first."""
    (x, y), (to_x, to_y) = start, end
    cells = [start]
    while (x, y) != end:
        if x != to_x:
            x += 1 if to_x > x else -1
        else:
            y += 1 if to_y > y else -1
        cells.append((x, y))
    return cells


def remember(memory, state, outcome):
    """The original's memory of how much each food is chopped, after an outcome: what is out of sight fades by a third
    with every primitive step."""
    cells = route(state.cook, outcome.state.cook)[1:]
    cells += [outcome.state.cook] * (outcome.steps - len(cells))
    memory = list(memory)
    for step, cook in enumerate(cells, start=1):
        now = outcome.state if step == outcome.steps else state
        for food, chops in enumerate(now.chops):
            carried = now.cell(food) == now.cook
            seen = carried or in_sight(cook, now.cell(food))
            memory[food] = chops / 3 if seen else round(memory[food] / 3, 6)
    return tuple(memory)


@pytest.mark.parametrize(("name", "states", "texts"), [(TOMATO, 61, 21), (SALAD, 8097, 787)])
def test_number_of_states_with_what_the_original_remembers_and_of_texts(spaces, name, states, texts):
    """Only with all durations and ways as in the original do the numbers come out: every step fades the memory."""
    space = spaces[name]
    assert len(set(space.texts)) == texts
    start = space.states[0]
    first = (start, (0.0,) * len(start.chops), ())
    known, queue = {first}, [first]
    for state, memory, order in queue:
        for outcome in space.outcomes[state]:
            content = outcome.state.content()
            kept = [food for food in order if food in content]
            new_order = (*kept, *(food for food in content if food not in kept))
            new = (outcome.state, remember(memory, state, outcome), new_order)
            if new not in known:
                known.add(new)
                queue.append(new)
    assert sum(not state.served for state, *_ in known) == states


@pytest.mark.parametrize(("name", "fewest"), [(TOMATO, 6), (SALAD, 10)])
def test_fewest_macro_actions_to_success(spaces, name, fewest):
    assert spaces[name].fewest == fewest == len(SUCCESS[name])


@pytest.mark.parametrize(("name", "ambiguous", "pairs"), [(TOMATO, 6, 105), (SALAD, 223, 6296)])
def test_the_text_is_almost_markov(spaces, name, ambiguous, pairs):
    space = spaces[name]
    outcomes = defaultdict(set)
    for i, state in enumerate(space.states):
        if not state.served:
            for action, following in enumerate(space.following[i]):
                outcome = (space.texts[following], space.steps[i, action], round(space.reward[i, action], 9))
                outcomes[space.texts[i], action].add(outcome)
    assert (sum(len(different) > 1 for different in outcomes.values()), len(outcomes)) == (ambiguous, pairs)


def value_iteration(space, discount, sweeps):
    """Discount per macro action; only the correct delivery is terminal."""
    values = np.zeros(len(space.states))
    for _ in range(sweeps):
        action_values = space.reward + discount * np.where(space.done, 0.0, values[space.following])
        values = action_values.max(axis=1)
    return values[0], action_values.argmax(axis=1)


def follow(space, policy, limit):
    """The actions of a policy from the start, up to success or `limit` of them."""
    state, actions = 0, []
    while len(actions) < limit:
        actions.append(int(policy[state]))
        done, state = space.done[state, policy[state]], space.following[state, policy[state]]
        if done:
            break
    return actions


@pytest.mark.parametrize(("name", "after_500", "direct"), [(TOMATO, 1.625, 1.095), (SALAD, 1.754, 1.241)])
def test_the_reward_loop_pays_more_than_serving(spaces, name, after_500, direct):
    """The recorded 1.625 and 1.754 are what 500 sweeps give; converged, the loop is worth 0.004 more."""
    space = spaces[name]
    assert round(value_iteration(space, 0.99, 500)[0], 3) == after_500
    value, policy = value_iteration(space, 0.99, 3000)
    loop = follow(space, policy, 1000)
    assert len(loop) == 1000  # it never serves
    env, earned = Overcooked(name), 0.0
    env.reset()
    for t, action in enumerate(loop):
        env.steps = 0  # no time limit
        earned += 0.99**t * env.step(action)[1]
    assert earned == pytest.approx(value, abs=1e-3)
    _, played = play(name, SUCCESS[name])
    assert round(sum(0.99**t * reward for t, (_, reward, *_) in enumerate(played)), 3) == direct
    _, patient = value_iteration(space, 0.95, 600)
    path = follow(space, patient, 60)
    assert len(path) == space.fewest  # the direct route again, at a discount of 0.95


@pytest.mark.parametrize(("name", "limit", "best"), [(TOMATO, 31, 1.543), (SALAD, 51, 1.973)])
def test_best_undiscounted_totals(spaces, name, limit, best):
    value, _ = value_iteration(spaces[name], 1.0, limit)
    assert round(value, 3) == best


RANDOM = {
    TOMATO: {31: (0.143, -0.16), 51: (0.323, -0.12), 101: (0.438, -0.11)},
    SALAD: {31: (0.001, -0.26), 51: (0.006, -0.43), 101: (0.010, -0.55)},
}
"""Success rates and mean returns of a uniformly random policy within so many macro actions and 200 steps."""


@pytest.mark.parametrize("name", [TOMATO, SALAD])
def test_the_random_policy(spaces, name):
    space, episodes = spaces[name], 20_000
    generator = np.random.default_rng(0)
    state, steps = np.zeros(episodes, int), np.zeros(episodes, int)
    returns, success, running = np.zeros(episodes), np.zeros(episodes, bool), np.ones(episodes, bool)
    for t in range(1, 102):
        action = generator.integers(len(space.env.actions), size=episodes)
        returns += running * space.reward[state, action]
        steps += running * space.steps[state, action]
        success |= running & space.done[state, action]
        state = np.where(running, space.following[state, action], state)
        running &= ~success & (steps < 200)
        if t in RANDOM[name]:
            rate, mean = RANDOM[name][t]
            # Three standard errors of 1,000 episodes, the fewest that give rates of 0.001, and the rounding.
            tolerance = 3 / np.sqrt(1000)
            assert success.mean() == pytest.approx(rate, abs=success.std() * tolerance + 0.0005)
            assert returns.mean() == pytest.approx(mean, abs=returns.std() * tolerance + 0.005)


# The interface.


@pytest.mark.parametrize(("name", "numbers", "actions"), [(TOMATO, 18, 5), (SALAD, 26, 8)])
def test_gymnasium_accepts_it(name, numbers, actions):
    env = gymnasium.make(f"loro/{name}-v0")
    assert env.spec.id == TEXT_ENVIRONMENTS[name].gym_id
    assert env.observation_space.shape == (numbers,)
    assert env.action_space.n == actions
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_every_observation_is_in_the_space(spaces):
    for space in spaces.values():
        observations = [space.env.environment.observation(state) for state in space.states]
        assert all(space.env.observation_space.contains(observation) for observation in observations)


def test_states_can_be_taken_away_and_put_back():
    env, _ = play(SALAD, SUCCESS[SALAD][:-1])
    kept = env.state
    assert hash(kept) == hash(type(kept)(*kept))
    _, reward, terminated, _, _ = env.step(6)
    assert terminated
    other = Overcooked(SALAD)
    other.reset()
    other.state = kept
    _, same_reward, terminated, _, info = other.step(6)
    assert terminated and same_reward == reward
    assert info["episode"]["l"] == 2


def test_resets_are_all_alike_and_complete():
    env = Overcooked(SALAD)
    first, first_info = env.reset(seed=1)
    env.step(0)
    again, again_info = env.reset(seed=2)
    assert np.array_equal(first, again) and first_info == again_info
    assert first_info["macro_action_steps"] == 0


def test_wrong_use_is_refused():
    with pytest.raises(UsageError, match="Unknown environment 'soup'"):
        Overcooked("soup")
    env = Overcooked(TOMATO, render_mode="ansi")
    with pytest.raises(gymnasium.error.InvalidAction, match="0 to 4"):
        env.step(5)
    with pytest.raises(gymnasium.error.InvalidAction):
        env.step(-1)
    assert env.render().startswith("There is a fixed cutting board")
