"""Pick-and-place games for ALFWorld's engine, from two sources: ALFWorld's own files, or scenes of our own making.

A scene is a room with receptacles and objects in them, every object where ALFWorld's tables allow it; the goal is an
object of one type in a receptacle of another. It can be reached by construction: some object of the type can be
picked up, elsewhere than in such a receptacle, and every receptacle can be walked to. 28 scenes are for training, 26
have other combinations of object and receptacle, as many as in the paper on LLM priors.

`python -m envs.alfworld_games --output FOLDER` writes our scenes as game files, each checked with the planner; with
`ALFWORLD_DATA=FOLDER` they, or ALFWorld's own, are played from files.
"""

import json
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import tyro

from envs.errors import Failure, UsageError, run_command_line
from envs.files import write_text, written_whole

Split = Literal["train", "unseen"]
SIZES: dict[Split, int] = {"train": 28, "unseen": 26}
"""So many games to train on, and so many with other combinations of object and receptacle."""
TASK_TYPE = "pick_and_place_simple"
"""ALFWorld's name for these games."""
FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train",), "unseen": ("valid_unseen", "valid_seen", "train")}
"""ALFWorld's folders that a split's games come from, in the order in which they are looked through."""
SPECIAL_TYPES = (("Knife", "ButterKnife"), ("SinkBasin", "Microwave", "Fridge"))
"""Types of objects and of receptacles that the domain's actions name: a problem must declare them."""


@dataclass(frozen=True)
class Room:
    """What a kind of room is furnished with."""

    receptacles: Mapping[str, tuple[int, int]]
    """Of each type of receptacle the fewest and the most."""
    objects: tuple[str, ...]
    """The types of objects that lie about."""


ROOMS: dict[str, Room] = {
    "kitchen": Room(
        receptacles={
            "Cabinet": (4, 6),
            "CoffeeMachine": (1, 1),
            "CounterTop": (1, 3),
            "DiningTable": (1, 1),
            "Drawer": (2, 4),
            "Fridge": (1, 1),
            "GarbageCan": (1, 1),
            "Microwave": (1, 1),
            "Shelf": (0, 2),
            "SinkBasin": (1, 1),
            "StoveBurner": (2, 4),
        },
        objects=(
            *("Apple", "Bowl", "Bread", "ButterKnife", "Cup", "DishSponge", "Egg", "Fork", "Kettle", "Knife", "Ladle"),
            *("Lettuce", "Mug", "Pan", "PepperShaker", "Plate", "Pot", "Potato", "SaltShaker", "SoapBottle"),
            *("Spatula", "Spoon", "Tomato", "WineBottle"),
        ),
    ),
    "living room": Room(
        receptacles={
            "ArmChair": (1, 2),
            "Cabinet": (1, 4),
            "CoffeeTable": (1, 1),
            "Drawer": (2, 4),
            "Dresser": (1, 1),
            "GarbageCan": (1, 1),
            "Safe": (0, 1),
            "Shelf": (1, 4),
            "SideTable": (1, 2),
            "Sofa": (1, 1),
        },
        objects=(
            *("Book", "Box", "Candle", "CellPhone", "CreditCard", "KeyChain", "Laptop", "Newspaper", "Pencil"),
            *("Pillow", "Plate", "RemoteControl", "Statue", "TissueBox", "Vase", "Watch", "WateringCan"),
        ),
    ),
    "bedroom": Room(
        receptacles={
            "ArmChair": (0, 1),
            "Bed": (1, 1),
            "Desk": (1, 1),
            "Drawer": (3, 6),
            "Dresser": (0, 1),
            "GarbageCan": (1, 1),
            "LaundryHamper": (0, 1),
            "Safe": (0, 1),
            "Shelf": (2, 5),
            "SideTable": (1, 2),
        },
        objects=(
            *("AlarmClock", "BaseballBat", "BasketBall", "Book", "Bowl", "CD", "CellPhone", "Cloth", "CreditCard"),
            *("KeyChain", "Laptop", "Mug", "Pen", "Pencil", "Pillow", "TennisRacket", "Watch"),
        ),
    ),
    "bathroom": Room(
        receptacles={
            "BathtubBasin": (0, 1),
            "Cabinet": (2, 4),
            "Cart": (0, 1),
            "CounterTop": (1, 1),
            "Drawer": (1, 4),
            "GarbageCan": (1, 1),
            "HandTowelHolder": (1, 2),
            "Shelf": (0, 2),
            "SinkBasin": (1, 2),
            "Toilet": (1, 1),
            "ToiletPaperHanger": (1, 1),
        },
        objects=(
            *("Candle", "Cloth", "DishSponge", "HandTowel", "Plunger", "SoapBar", "SoapBottle", "SprayBottle"),
            *("TissueBox", "ToiletPaper", "ToiletPaperRoll"),
        ),
    ),
}


class Task(NamedTuple):
    """What is to be put where: the names of types, as "Mug" and "Desk"."""

    object: str
    receptacle: str


@dataclass(frozen=True)
class Scene:
    """A furnished room, and what is to be done in it."""

    task: Task
    receptacles: tuple[str, ...]
    """The type of each receptacle."""
    objects: tuple[tuple[str, int], ...]
    """Of each object the type, and the number of the receptacle that it is in."""

    def problem(self) -> str:
        """Return the scene as a PDDL problem of ALFWorld's domain. All that opens is closed."""
        from envs.alfworld_engine import HOLDERS, OPENABLE, PICK_AND_PLACE, PROPERTIES

        object_types = sorted({kind for kind, _ in self.objects}.union(SPECIAL_TYPES[0]))
        receptacle_types = sorted({*self.receptacles, *SPECIAL_TYPES[1]})
        receptacles = [_receptacle_id(kind, number) for number, kind in enumerate(self.receptacles)]
        objects = [f"{kind}_bar_{number:02d}" for number, (kind, _) in enumerate(self.objects)]
        # The player starts where nothing is, else the first text would not list what there is.
        declared = [
            "agent1 - agent",
            "loc_bar_start - location",
            *(f"{kind}Type - otype" for kind in object_types),
            *(f"{kind}Type - rtype" for kind in receptacle_types),
            *(f"{receptacle} - receptacle" for receptacle in receptacles),
            *(f"loc_bar_{number:02d} - location" for number in range(len(receptacles))),
            *(f"{thing} - object" for thing in objects),
        ]
        true = ["atLocation agent1 loc_bar_start"]
        for number, (receptacle, kind) in enumerate(zip(receptacles, self.receptacles, strict=True)):
            true += [
                f"receptacleType {receptacle} {kind}Type",
                f"receptacleAtLocation {receptacle} loc_bar_{number:02d}",
            ]
            true += [f"openable {receptacle}"] * (kind in OPENABLE)
        for thing, (kind, place) in zip(objects, self.objects, strict=True):
            true += [
                f"objectType {thing} {kind}Type",
                f"pickupable {thing}",
                f"inReceptacle {thing} {receptacles[place]}",
            ]
            true += [f"{name.lower()} {thing}" for name, kinds in sorted(PROPERTIES.items()) if kind in kinds]
        true += [
            f"canContain {receptacle}Type {kind}Type"
            for receptacle in receptacle_types
            for kind in object_types
            if kind in HOLDERS.get(receptacle, ())
        ]
        init = "\n".join(f"({fact})" for fact in true)
        # ALFWorld's template of the goal also closes the problem, and has "#" where PDDL has "-".
        goal = PICK_AND_PLACE["pddl"].replace("#", "-").format(obj=self.task.object, recep=self.task.receptacle)
        lines = "\n".join(declared)
        return f"(define (problem scene)\n(:domain alfred)\n(:objects\n{lines}\n)\n(:init\n{init}\n)\n{goal.strip()}\n"

    @property
    def goal(self) -> str:
        """The goal in ALFWorld's words."""
        from envs.alfworld_engine import PICK_AND_PLACE

        return PICK_AND_PLACE["templates"][0].format(obj=self.task.object.lower(), recep=self.task.receptacle.lower())


def _receptacle_id(kind: str, number: int) -> str:
    """Return an id from which ALFWorld makes the name: a basin's has its type at the end, any other's in front."""
    if kind.endswith("Basin"):
        return f"{kind.removesuffix('Basin')}_bar_{number:02d}_bar_{kind}"
    return f"{kind}_bar_{number:02d}"


@dataclass(frozen=True)
class Game:
    """A game that the engine can load."""

    name: str
    """What it is called in files and logs."""
    task: Task
    content: Mapping[str, Any]
    """The engine's own format: `pddl_domain`, `grammar`, `pddl_problem`."""


def games(split: Split) -> list[Game]:
    """Return the games of a split: from the folder ALFWORLD_DATA where that is set, else of our own making.

    Raises UsageError for an unknown split, and where ALFWORLD_DATA holds no games.
    """
    if split not in SIZES:
        raise UsageError(f"Unknown split '{split}': choose one of {', '.join(SIZES)}.")
    folder = os.environ.get("ALFWORLD_DATA")
    return read_games(Path(folder), split) if folder else generated_games(split)


# Our own scenes.


def possible_tasks(room: Room) -> list[Task]:
    """Return what can be asked for in every scene of a room: both receptacles, whence and whither, always there."""
    from envs.alfworld_engine import HOLDERS

    always = [kind for kind, (fewest, _) in room.receptacles.items() if fewest]
    tasks = []
    for thing in room.objects:
        holders = [kind for kind in always if thing in HOLDERS.get(kind, ())]
        tasks += [Task(thing, kind) for kind in holders if len(holders) > 1]
    return tasks


def tasks(split: Split) -> list[tuple[str, Task]]:
    """Return a split's tasks and their rooms, always the same: the rooms in turn, no task twice in either split."""
    left = {}
    for name, room in ROOMS.items():
        left[name] = possible_tasks(room)
        random.Random(name).shuffle(left[name])
    drawn: list[tuple[str, Task]] = []
    known: set[Task] = set()
    while len(drawn) < sum(SIZES.values()):
        for name in ROOMS:
            task = left[name].pop()
            while task in known:  # rooms have some tasks in common
                task = left[name].pop()
            known.add(task)
            drawn.append((name, task))
    start = 0 if split == "train" else SIZES["train"]
    return drawn[start : start + SIZES[split]]


def make_scene(room: Room, task: Task, generator: random.Random) -> Scene:
    """Furnish a room for a task: no object of the task's type is where it belongs, and one or two are elsewhere."""
    from envs.alfworld_engine import HOLDERS

    receptacles = tuple(kind for kind, bounds in room.receptacles.items() for _ in range(generator.randint(*bounds)))
    objects = []
    for kind in room.objects:
        wanted = kind == task.object
        places = [
            place
            for place, holder in enumerate(receptacles)
            if kind in HOLDERS.get(holder, ()) and not (wanted and holder == task.receptacle)
        ]
        objects += [(kind, generator.choice(places)) for _ in range(generator.randint(1 if wanted else 0, 2)) if places]
    return Scene(task, receptacles, tuple(objects))


def generated_games(split: Split) -> list[Game]:
    """Return a split's games of our own making, always the same. Needs ALFWorld's tables, hence the optional extra."""
    from envs.alfworld_engine import DOMAIN, GRAMMAR, UNKNOWN_GOAL

    made = []
    for number, (room, task) in enumerate(tasks(split)):
        scene = make_scene(ROOMS[room], task, random.Random(f"{split} {number}"))
        grammar = GRAMMAR.replace(UNKNOWN_GOAL, scene.goal)
        content = {"pddl_domain": DOMAIN, "grammar": grammar, "pddl_problem": scene.problem()}
        made.append(Game(f"{TASK_TYPE}-{task.object}-None-{task.receptacle}-{number}", task, content))
    return made


# Games in files.


def read_games(folder: Path, split: Split) -> list[Game]:
    """Read a split's games from a folder in ALFWorld's layout: one game for each combination of object and receptacle.

    Training games come from `train`. Unseen ones have combinations that no training game has; they come from
    `valid_unseen`, and where that has too few, from what is left elsewhere. Raises UsageError where there are none.
    """
    training = _first_of_each_task(folder, FOLDERS["train"], set(), SIZES["train"])
    found = training
    if split == "unseen":
        found = _first_of_each_task(folder, FOLDERS[split], {task for _, task in training}, SIZES[split])
    if not found:
        raise UsageError(
            f"ALFWORLD_DATA names {folder}, where no pick-and-place games of the split '{split}' are: fetch them there "
            "with `alfworld-download`, or unset ALFWORLD_DATA to play generated ones."
        )
    return [_read_game(path, task) for path, task in found]


def _first_of_each_task(folder: Path, parts: Iterable[str], known: set[Task], size: int) -> list[tuple[Path, Task]]:
    """Return up to `size` game files, one for each task that is not `known`."""
    found: dict[Task, Path] = {}
    for part in parts:
        # ALFWorld keeps its three folders in one named after the data's version.
        for path in sorted([*folder.glob(f"{part}/**/game.tw-pddl"), *folder.glob(f"*/{part}/**/game.tw-pddl")]):
            if len(found) == size:
                break
            task = _task(path)
            if task is not None and task not in known:
                found.setdefault(task, path)
    return [(path, task) for task, path in found.items()]


def _task(path: Path) -> Task | None:
    """Return the task of a game file, None where it is of another type, or one that ALFWorld itself does without."""
    description = path.with_name("traj_data.json")
    # Also ALFWorld goes by the folder's name here.
    if "movable" in str(path.parent) or "Sliced" in str(path.parent) or not description.exists():
        return None
    content = _read_json(description)
    try:
        if content["task_type"] != TASK_TYPE:
            return None
        return Task(content["pddl_params"]["object_target"], content["pddl_params"]["parent_target"])
    except (KeyError, TypeError) as error:
        raise Failure(
            f"{description} does not say what the task is: it is no description of an ALFWorld game."
        ) from error


def _read_game(path: Path, task: Task) -> Game:
    content = _read_json(path)
    if not isinstance(content, dict) or not {"pddl_domain", "grammar", "pddl_problem"} <= content.keys():
        raise Failure(f"{path} is no ALFWorld game: pddl_domain, grammar and pddl_problem belong in it.")
    return Game(path.parent.name, task, content)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(f"{path} is not valid JSON: {error}.") from error


def write_game(game: Game, folder: Path) -> None:
    """Write a game as ALFWorld has its own: `game.tw-pddl`, and `traj_data.json` that says what the task is."""
    parameters = {"object_target": game.task.object, "parent_target": game.task.receptacle}
    parameters |= {"toggle_target": "", "mrecep_target": "", "object_sliced": ""}
    write_text(folder / "game.tw-pddl", json.dumps({**game.content, "solvable": True, "walkthrough": None}))
    write_text(folder / "traj_data.json", json.dumps({"task_type": TASK_TYPE, "pddl_params": parameters}))


def solve(game: Game) -> list[str]:
    """Return commands with which the game is won, found by the planner and tried; raise Failure where it is not won.

    A game that is won before it begins is none.
    """
    from envs.alfworld_engine import Engine

    engine = Engine(game.content)
    if engine.begin().won:
        raise Failure(f"Game {game.name} is won before it begins.")
    plan = engine.plan()
    if not plan or not [engine.play(command) for command in plan][-1].won:
        raise Failure(f"Game {game.name} cannot be won: the planner finds no way.")
    return plan


@dataclass(frozen=True)
class Arguments:
    """Write our own games as files in ALFWorld's layout, each checked with the planner."""

    output: Path
    """The folder, to be named in ALFWORLD_DATA; it must not exist yet."""


def main() -> None:
    """Run the command line."""
    output = tyro.cli(Arguments).output
    if output.exists():
        raise UsageError(f"{output} exists already: name a new folder with --output.")
    with written_whole(output) as temporary:
        for split in get_args(Split):
            for game in generated_games(split):
                plan = solve(game)
                write_game(game, temporary / FOLDERS[split][0] / game.name / "trial_generated")
                print(f"{split:6}  {len(plan)} commands  {game.name}", flush=True)


if __name__ == "__main__":
    run_command_line(main)
