"""Text Overcooked for one cook: the kitchen of TWOSOME (Tan et al., 2024) with its macro actions, written anew.

A 7x7 kitchen, cells (x, y) with y growing downwards; the floor is 1..5 x 1..5, all around it is a counter. An action is
a macro action: it walks to a thing and uses it, and lasts several primitive steps. Nothing is random. Two dishes:
a tomato salad (5 actions, one cutting board) and a tomato-lettuce salad (8 actions, two boards, and an onion that only
gets in the way).

Importing this module registers `loro/overcooked-tomato-v0` and `loro/overcooked-salad-v0` with gymnasium.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np

from envs.errors import UsageError

Cell = tuple[int, int]
Place = Cell | Literal["hand", "bowl"]
"""Where a thing is: on a counter or board, in the cook's hand, or in the bowl."""

START: Cell = (1, 4)
HOME: dict[str, Cell] = {"tomato": (0, 5), "lettuce": (1, 6), "onion": (2, 6), "bowl": (6, 5)}
BOARDS: tuple[Cell, ...] = ((1, 0), (2, 0))
DELIVERY: Cell = (3, 0)
NEIGHBOUR: dict[Cell, Cell] = {
    HOME["tomato"]: (1, 5),
    HOME["lettuce"]: (1, 5),
    HOME["onion"]: (2, 5),
    HOME["bowl"]: (5, 5),
    BOARDS[0]: (1, 1),
    BOARDS[1]: (2, 1),
    DELIVERY: (3, 1),
}
"""The one floor cell from which each of these can be used."""

SIGHT = 2
"""The cook sees the cells at most so many columns and rows away."""
CHOPS = 3
"""So many chops make a raw food a chopped one."""
MAX_STEPS = 200
"""Primitive steps after which an episode is cut off; the macro action under way still finishes."""
DISCOUNT = 0.99
"""Discount per primitive step, inside a macro action's reward and in the episode's statistics."""
DISHES = (
    ("tomato",),
    ("lettuce",),
    ("onion",),
    ("tomato", "lettuce"),
    ("tomato", "onion"),
    ("lettuce", "onion"),
    ("tomato", "lettuce", "onion"),
)
"""What the observation's last seven numbers stand for, one of them being 1."""
ORDINALS = ("first", "second")

Event = Literal["chopped", "correct delivery", "wrong delivery"]
"""What a macro action's last primitive step can bring about; "chopped" only for a food of the dish."""


class State(NamedTuple):
    """All there is to know of the kitchen between two macro actions; hashable. The clock is not in it.

    That is 24 states for the tomato salad and 1,156 for the other, and 1 and 5 terminal ones. The original's 61 and
    8,097 come of two things it remembers and never uses: in which order foods went into the bowl, and how much each
    was chopped when last seen, a number divided by 3 with every step out of sight (equal to six decimals is equal).
    """

    cook: Cell
    places: tuple[Place, ...]
    """Of each food, then of the bowl. A food in the bowl, wherever that is, is at "bowl"."""
    chops: tuple[int, ...]
    """Of each food."""

    @property
    def bowl(self) -> int:
        """The bowl's index among the things."""
        return len(self.chops)

    def at(self, place: Place) -> int | None:
        """Return which thing is at a place that holds one at most (the hand, a board, a counter), if any."""
        return self.places.index(place) if place in self.places else None

    def put(self, thing: int, place: Place) -> "State":
        """Return the state with one thing elsewhere."""
        return self._replace(places=(*self.places[:thing], place, *self.places[thing + 1 :]))

    def with_chops(self, food: int, chops: int) -> "State":
        """Return the state with one food chopped so many times."""
        return self._replace(chops=(*self.chops[:food], chops, *self.chops[food + 1 :]))

    def is_raw(self, thing: int) -> bool:
        """Say whether a thing is a food not yet chopped."""
        return thing != self.bowl and self.chops[thing] < CHOPS

    def is_chopped(self, thing: int | None) -> bool:
        """Say whether a thing is a chopped food; an empty hand is none."""
        return thing is not None and thing != self.bowl and self.chops[thing] == CHOPS

    def content(self) -> list[int]:
        """Return the foods in the bowl."""
        return [food for food, place in enumerate(self.places) if place == "bowl"]

    def cell(self, thing: int) -> Cell:
        """Return the coordinates at which a thing is seen: in the hand the cook's, in the bowl the bowl's."""
        place = self.places[thing]
        if place == "bowl":
            return self.cell(self.bowl)
        return self.cook if place == "hand" else place

    @property
    def served(self) -> bool:
        """Whether the dish has been delivered: the episode is over."""
        return self.places[self.bowl] == DELIVERY


class Outcome(NamedTuple):
    """What a macro action leads to."""

    state: State
    steps: int
    """Its duration in primitive steps."""
    event: Event | None = None
    """What happened at its last step."""


@dataclass(frozen=True)
class TextEnvironment:
    """What learners, LLMs and figures need to know of one dish's environment."""

    name: str
    """Name in files and on command lines: lower case, hyphens."""
    title: str
    """Name in figures."""
    foods: tuple[str, ...]
    """The foods in the kitchen, in the game's order."""
    dish: tuple[str, ...]
    """The foods that the bowl must hold, no more and no less."""
    boards: tuple[Cell, ...]
    """The cutting boards."""
    horizon: int
    """Macro actions after which a collector or learner stops an episode; the environment itself counts steps."""

    @property
    def gym_id(self) -> str:
        """The id under which gymnasium knows this environment."""
        return f"loro/{self.name}-v0"

    @property
    def things(self) -> tuple[str, ...]:
        """The movable things, in the order of `State.places`."""
        return (*self.foods, "bowl")

    @property
    def start(self) -> State:
        """The state in which every episode starts."""
        return State(START, tuple(HOME[thing] for thing in self.things), (0,) * len(self.foods))

    @property
    def actions(self) -> tuple[Callable[[State], Outcome], ...]:
        """The macro actions, in the order of their numbers. All are allowed in every state that is not terminal."""
        return (
            *(partial(get_food, self, food=food) for food in range(len(self.foods))),
            partial(get_bowl, self),
            *(partial(go_to_board, self, board=board) for board in self.boards),
            partial(deliver, self),
            partial(chop, self),
        )

    def observation(self, state: State) -> np.ndarray:
        """Return what the cook sees: float32, 18 numbers for the tomato salad, 26 for the tomato-lettuce salad.

        x, y of each food (and its chops), the bowl, the boards, the delivery counter and the cook, zeros for what is
        out of sight; then the dish, one-hot among `DISHES`.
        """
        numbers: list[int] = []
        for thing in range(len(self.things)):
            seen = in_sight(state.cook, state.cell(thing))
            numbers += state.cell(thing) if seen else (0, 0)
            if thing != state.bowl:
                numbers.append(state.chops[thing] if seen else 0)
        for cell in (*self.boards, DELIVERY, state.cook):
            numbers += cell if in_sight(state.cook, cell) else (0, 0)
        numbers += [int(dish == self.dish) for dish in DISHES]
        return np.array(numbers, dtype=np.float32)

    def text(self, observation: np.ndarray) -> str:
        """Put an observation into the game's words, ending with the opening of the question of what to do first."""
        return f"{self.scene(observation)} {self.goal}, you should first"

    @property
    def goal(self) -> str:
        """The purpose in the game's words."""
        return f"To serve the dish of a bowl only containing chopped {' and '.join(self.dish)}"

    def scene(self, observation: np.ndarray) -> str:
        """Put an observation into the game's words, without the clause on what to do first."""
        return " ".join(sentence.capitalize() for sentence in self._sentences(self._view(observation)))

    def action_texts(self, observation: np.ndarray) -> list[str]:
        """Return the game's words for each macro action, in the order of their numbers, as this observation has them.

        The words follow what is held and seen, not always what the action does: a chopped food in hand leaves "walk
        to" although going there puts it down, and "chop the" is also said of a food that is chopped already.
        """
        view = self._view(observation)
        texts = [f"pick up the {food}" for food in self.foods]
        texts += ["take the bowl" if len(self.boards) == 1 or view.filled_bowl else "take the empty bowl"]
        texts += [f"walk to the {self._board_name(board)}" for board in range(len(self.boards))]
        texts += ["serve nothing", "chop nothing"]
        if view.in_hand:
            texts[-2] = "serve the dish"
            if view.in_hand[-1] == "bowl":
                texts[: len(self.foods)] = [f"put the {food} in the bowl" for food in self.foods]
            if view.in_hand[-1] not in view.chopped:
                for board in range(len(self.boards)):
                    index = len(self.things) + board
                    texts[index] = f"put the {view.in_hand[-1]} on the {self._board_name(board)}"
        if view.board is not None and len(view.on_boards[view.board]) == 1:
            [thing] = view.on_boards[view.board]
            if thing != "bowl":
                texts[-1] = f"chop the {thing}"
        return texts

    def _view(self, observation: np.ndarray) -> "View":
        numbers = [int(number) for number in observation]
        cells = {thing: (numbers[3 * i], numbers[3 * i + 1]) for i, thing in enumerate(self.things)}
        end = len(numbers) - len(DISHES)
        cook = (numbers[end - 2], numbers[end - 1])
        return View(
            at_home=[thing for thing, cell in cells.items() if cell == HOME[thing]],
            on_boards=[[thing for thing, cell in cells.items() if cell == board] for board in self.boards],
            in_hand=[thing for thing, cell in cells.items() if cell == cook],
            chopped={food for i, food in enumerate(self.foods) if numbers[3 * i + 2] == CHOPS},
            board=next((i for i, board in enumerate(self.boards) if cook == NEIGHBOUR[board]), None),
        )

    def _sentences(self, view: "View") -> Iterator[str]:
        only = len(self.boards) == 1
        yield f"There {'is a fixed cutting board' if only else 'are two fixed cutting boards'} in the room."
        if view.at_home:
            table = "table" if len(view.at_home) == 1 else "different tables"
            yield f"You notice {enumeration([_with_article(thing) for thing in view.at_home])} on the {table}."
        for board, things in enumerate(view.on_boards):
            if things:
                # The tomato salad's text has an article here, and only here.
                load = "a bowl containing a chopped tomato" if only and len(things) > 1 else view.name(things)
                yield f"{load} is on the {self._board_name(board)}."
        if view.board is not None:
            hand = f", carrying {view.name(view.in_hand)} in hand" if view.in_hand else " without anything in hand"
            yield f"Currently you are standing in front of the {self._board_name(view.board)}{hand}."
        elif view.in_hand:
            yield f"Currently you are carrying {view.name(view.in_hand)}{' in hand' * (len(view.in_hand) == 1)}."
        else:
            yield "Currently you don't have anything in hand."

    def _board_name(self, board: int) -> str:
        return "cutting board" if len(self.boards) == 1 else f"{ORDINALS[board]} cutting board"


class View(NamedTuple):
    """What an observation shows, things by name; a filled bowl comes last, after its content."""

    at_home: list[str]
    on_boards: list[list[str]]
    in_hand: list[str]
    chopped: set[str]
    board: int | None
    """The board that the cook stands in front of."""

    @property
    def filled_bowl(self) -> bool:
        """Whether a bowl with food in it is in sight."""
        return any(len(things) > 1 for things in (*self.on_boards, self.in_hand))

    def name(self, things: list[str]) -> str:
        """Name what lies in one place: a food, a bowl, or a bowl with its content."""
        *content, last = things
        if content:
            return f"a bowl containing chopped {enumeration(content)}"
        if last == "bowl":
            return "a bowl"
        return f"a chopped {last}" if last in self.chopped else f"an unchopped {last}"


def enumeration(words: Sequence[str]) -> str:
    """Join words as one does in a sentence: "a", "a and b", "a, b and c"."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def _with_article(thing: str) -> str:
    return f"an {thing}" if thing == "onion" else f"a {thing}"


# Moving and using: what the macro actions are made of.


def in_sight(cook: Cell, cell: Cell) -> bool:
    """Say whether the cook sees a cell."""
    return abs(cell[0] - cook[0]) <= SIGHT and abs(cell[1] - cook[1]) <= SIGHT


def walk(state: State, cell: Cell) -> tuple[State, int]:
    """Walk to where `cell` can be used, and count the steps; nothing stands in the way."""
    (x, y), (to_x, to_y) = state.cook, NEIGHBOUR[cell]
    return state._replace(cook=(to_x, to_y)), abs(to_x - x) + abs(to_y - y)


def walk_until_seen(state: State, cell: Cell) -> tuple[State, int]:
    """Walk towards where `cell` can be used until one sees it, along the row first, then along the column.

    The order follows the search for a path in the original, and only here does it matter: it decides in which of
    (1, 2) and (2, 2) the cook comes to rest. Columns first would make 263 pairs of text and action ambiguous in the
    salad, where the original has 223.
    """
    (x, y), (to_x, to_y) = state.cook, NEIGHBOUR[cell]
    steps = 0
    while not in_sight((x, y), cell):
        if x != to_x:
            x += 1 if to_x > x else -1
        else:
            y += 1 if to_y > y else -1
        steps += 1
    return state._replace(cook=(x, y)), steps


def use(environment: TextEnvironment, state: State, cell: Cell) -> tuple[State, Event | None]:
    """Turn to `cell` and do what one primitive step does there: pick up, put down, chop or deliver."""
    held, there = state.at("hand"), state.at(cell)
    if held is None:
        if there is None:
            return state, None
        if cell in BOARDS and state.is_raw(there):
            state = state.with_chops(there, state.chops[there] + 1)
            finished = state.is_chopped(there) and environment.foods[there] in environment.dish
            return state, "chopped" if finished else None
        return state.put(there, "hand"), None
    if cell == DELIVERY:
        return hand_over(environment, state, held)
    if there is None:
        return state.put(held, cell), None
    if there == state.bowl and state.is_chopped(held):
        state = state.put(held, "bowl")
        return (state.put(there, "hand") if cell in BOARDS else state), None
    if held == state.bowl and state.is_chopped(there):
        return state.put(there, "bowl"), None
    return state, None


def hand_over(environment: TextEnvironment, state: State, held: int) -> tuple[State, Event]:
    """Deliver what is held: the dish ends the episode, of anything else every part goes home, foods raw again."""
    content = state.content() if held == state.bowl else []
    if {environment.foods[food] for food in content} == set(environment.dish):
        return state.put(held, DELIVERY), "correct delivery"
    for thing in (held, *content):
        state = state.put(thing, HOME[environment.things[thing]])
        if thing != state.bowl:
            state = state.with_chops(thing, 0)
    return state, "wrong delivery"


# The macro actions. Most walk, then use the thing: that step counts even where it does nothing.


def get_food(environment: TextEnvironment, state: State, food: int) -> Outcome:
    """Fetch a food, into the hand or into the bowl that is held; in vain if it is raw on a board or in a bowl."""
    place = state.places[food]
    if state.cell(food) == state.cook:
        return Outcome(state, 1)  # in hand, or in the bowl in hand
    if place == "bowl":
        # Seeing the food in a bowl takes the step in which the cook gives up: as many steps as walked, and one.
        state, walked = walk_until_seen(state, state.cell(food))
        return Outcome(state, walked + 1)
    state, walked = walk(state, place)
    if place in BOARDS and state.is_raw(food):  # arriving there is the end of it
        return Outcome(state, max(walked, 1))
    state, _ = use(environment, state, place)
    return Outcome(state, walked + 1)


def get_bowl(environment: TextEnvironment, state: State) -> Outcome:
    """Fetch the bowl; a chopped food in hand goes into it first."""
    place = state.places[state.bowl]
    if place == "hand":
        return Outcome(state, 1)
    full_hand = state.is_chopped(state.at("hand"))
    state, walked = walk(state, place)
    state, _ = use(environment, state, place)
    if not full_hand:
        return Outcome(state, walked + 1)
    # From a counter the bowl is now picked up. From a board it has come into the hand with the food already, and the
    # original spends the second step on noticing so.
    if state.at("hand") is None:
        state, _ = use(environment, state, place)
    return Outcome(state, walked + 2)


def go_to_board(environment: TextEnvironment, state: State, board: Cell) -> Outcome:
    """Go to a board, and put down there what is held, if anything is and if it can be."""
    return _go_and_hand(environment, state, board)


def deliver(environment: TextEnvironment, state: State) -> Outcome:
    """Go to the delivery counter, and deliver what is held, if anything is."""
    return _go_and_hand(environment, state, DELIVERY)


def _go_and_hand(environment: TextEnvironment, state: State, cell: Cell) -> Outcome:
    state, walked = walk(state, cell)
    if state.at("hand") is None:
        return Outcome(state, max(walked, 1))
    state, event = use(environment, state, cell)
    return Outcome(state, walked + 1, event)


def chop(environment: TextEnvironment, state: State) -> Outcome:
    """Chop the raw food on the board that one stands in front of until it is chopped; with a full hand in vain."""
    for board in environment.boards:
        food = state.at(board)
        if state.cook == NEIGHBOUR[board] and food is not None and state.is_raw(food):
            event = None
            for _ in range(CHOPS):
                state, event = use(environment, state, board)
            return Outcome(state, CHOPS, event)
    return Outcome(state, 1)


TEXT_ENVIRONMENTS: dict[str, TextEnvironment] = {
    environment.name: environment
    for environment in (
        TextEnvironment(
            name="overcooked-tomato",
            title="Overcooked (tomato salad)",
            foods=("tomato",),
            dish=("tomato",),
            boards=BOARDS[:1],
            horizon=31,
        ),
        TextEnvironment(
            name="overcooked-salad",
            title="Overcooked (tomato-lettuce salad)",
            foods=("tomato", "lettuce", "onion"),
            dish=("tomato", "lettuce"),
            boards=BOARDS,
            horizon=51,
        ),
    )
}


def reachable(environment: TextEnvironment) -> dict[State, tuple[Outcome, ...]]:
    """Return what each macro action leads to, of every state in which one can be asked for, nearest states first."""
    outcomes: dict[State, tuple[Outcome, ...]] = {}
    waiting = {environment.start: None}  # in the order of discovery
    while waiting:
        state = next(iter(waiting))
        del waiting[state]
        outcomes[state] = tuple(action(state) for action in environment.actions)
        reached = (outcome.state for outcome in outcomes[state])
        waiting |= dict.fromkeys(new for new in reached if not new.served and new not in outcomes)
    return outcomes


class Overcooked(gymnasium.Env):
    """One cook's kitchen as a gymnasium environment over macro actions.

    `name` is one of `TEXT_ENVIRONMENTS`. A macro action of k primitive steps is rewarded with
    sum_i DISCOUNT^i `step_reward` over its steps i = 0..k-1, plus DISCOUNT^(k-1) times what its last step earned:
    `chopped_reward` (a food of the dish has become chopped), `correct_reward` or `wrong_reward` (deliveries).
    The correct delivery terminates; `MAX_STEPS` primitive steps truncate.

    `info` holds "text", "actions" (the words for the actions in the new state) and "macro_action_steps" (k; 0 at a
    reset), "success" (whether the dish has been served), and at the end "episode": "r", the return discounted per
    primitive step, and "l", the primitive steps (the key that gymnasium's RecordEpisodeStatistics insists on writing
    itself: do not wrap in it).

    `state` may be read and set; the clock (`steps`, `discounted_return`) is apart.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own convention

    def __init__(
        self,
        name: str,
        chopped_reward: float = 0.2,
        correct_reward: float = 1.0,
        wrong_reward: float = -0.1,
        step_reward: float = -0.001,
        render_mode: str | None = None,
    ) -> None:
        if name not in TEXT_ENVIRONMENTS:
            raise UsageError(f"Unknown environment '{name}': choose one of {', '.join(TEXT_ENVIRONMENTS)}.")
        self.environment = TEXT_ENVIRONMENTS[name]
        self.rewards: dict[Event | None, float] = {
            None: 0.0,
            "chopped": chopped_reward,
            "correct delivery": correct_reward,
            "wrong delivery": wrong_reward,
        }
        self.step_reward = step_reward
        self.render_mode = render_mode
        self.actions = self.environment.actions
        self.action_space = gymnasium.spaces.Discrete(len(self.actions))
        shape = self.environment.observation(self.environment.start).shape
        self.observation_space = gymnasium.spaces.Box(0.0, 6.0, shape, np.float32)
        # What is computed once: there are few states, and nothing is random.
        self._outcomes: dict[tuple[State, int], tuple[Outcome, float]] = {}
        self._seen: dict[State, tuple[np.ndarray, str, list[str]]] = {}
        self._start()

    def _start(self) -> None:
        self.state, self.steps, self.discounted_return = self.environment.start, 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Start over, in the same state whatever the seed."""
        super().reset(seed=seed)
        self._start()
        return self._observe(0)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Carry out a macro action to its end.

        Raises InvalidAction where there is no such action, ResetNeeded when the episode is over.
        """
        if not self.action_space.contains(action):
            raise gymnasium.error.InvalidAction(f"{action!r} is no action: give one of 0 to {self.action_space.n - 1}.")
        if self.state.served or self.steps >= MAX_STEPS:
            raise gymnasium.error.ResetNeeded("The episode is over: call reset before another step.")
        key = (self.state, int(action))
        if key not in self._outcomes:
            outcome = self.actions[int(action)](self.state)
            self._outcomes[key] = outcome, self.reward(outcome)
        outcome, reward = self._outcomes[key]
        self.state = outcome.state
        self.discounted_return += DISCOUNT**self.steps * reward
        self.steps += outcome.steps
        terminated = self.state.served
        truncated = not terminated and self.steps >= MAX_STEPS
        observation, info = self._observe(outcome.steps)
        if terminated or truncated:
            info["episode"] = {"r": self.discounted_return, "l": self.steps}
        return observation, reward, terminated, truncated, info

    def reward(self, outcome: Outcome) -> float:
        """Return a macro action's reward, discounted per primitive step from its first one."""
        walking = self.step_reward * (1 - DISCOUNT**outcome.steps) / (1 - DISCOUNT)
        return walking + DISCOUNT ** (outcome.steps - 1) * self.rewards[outcome.event]

    def text(self, observation: np.ndarray) -> str:
        """Put an observation into the game's words."""
        return self.environment.text(observation)

    def action_texts(self, observation: np.ndarray) -> list[str]:
        """Return the game's words for each action, given an observation."""
        return self.environment.action_texts(observation)

    def render(self) -> str | None:
        """Return the text of the present state, the only rendering there is."""
        return self.text(self.environment.observation(self.state)) if self.render_mode == "ansi" else None

    def _observe(self, steps: int) -> tuple[np.ndarray, dict[str, Any]]:
        if self.state not in self._seen:
            observation = self.environment.observation(self.state)
            self._seen[self.state] = observation, self.text(observation), self.action_texts(observation)
        observation, text, actions = self._seen[self.state]
        return observation.copy(), {
            "text": text,
            "actions": list(actions),
            "macro_action_steps": steps,
            "success": self.state.served,
        }


for _environment in TEXT_ENVIRONMENTS.values():
    if _environment.gym_id not in gymnasium.registry:
        gymnasium.register(
            id=_environment.gym_id, entry_point="envs.overcooked:Overcooked", kwargs={"name": _environment.name}
        )
