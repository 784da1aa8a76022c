"""Games in files, our scenes against ALFWorld's own tables, and every way in which games can be missing."""

import json
import re
import sys

import pytest

import envs
from envs.alfworld import AlfWorld
from envs.alfworld_games import (
    ROOMS,
    SIZES,
    Game,
    Scene,
    Task,
    games,
    generated_games,
    main,
    possible_tasks,
    read_games,
    solve,
    write_game,
)
from envs.errors import Failure, UsageError

# Games in files; none of this needs the optional extra.


def write(folder, thing, receptacle, task_type="pick_and_place_simple", **content):
    """A game in ALFWorld's layout, as far as it is looked at."""
    folder.mkdir(parents=True)
    parameters = {"object_target": thing, "parent_target": receptacle, "toggle_target": "", "mrecep_target": ""}
    (folder / "traj_data.json").write_text(json.dumps({"task_type": task_type, "pddl_params": parameters}))
    game = {"pddl_domain": "", "grammar": "", "pddl_problem": f"{thing} {receptacle}", **content}
    (folder / "game.tw-pddl").write_text(json.dumps(game))
    return folder


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "json_2.1.1"
    write(root / "train" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1", "Mug", "Desk")
    write(root / "train" / "pick_and_place_simple-Mug-None-Desk-302" / "trial_2", "Mug", "Desk")
    write(root / "train" / "pick_and_place_simple-Pen-None-Shelf-303" / "trial_3", "Pen", "Shelf")
    write(
        root / "train" / "pick_heat_then_place_in_recep-Mug" / "trial_4", "Cup", "Desk", "pick_heat_then_place_in_recep"
    )
    write(root / "train" / "pick_and_place_simple-AppleSliced-None-Desk-1" / "trial_5", "Apple", "Desk")
    write(root / "train" / "pick_and_place_with_movable_recep-Pen" / "trial_6", "Pen", "Desk")
    write(root / "valid_unseen" / "pick_and_place_simple-Mug-None-Desk-10" / "trial_7", "Mug", "Desk")
    write(root / "valid_unseen" / "pick_and_place_simple-Mug-None-Shelf-10" / "trial_8", "Mug", "Shelf")
    write(root / "valid_seen" / "pick_and_place_simple-Pen-None-Bed-10" / "trial_9", "Pen", "Bed")
    (root / "train" / "pick_and_place_simple-CD-None-Desk-1" / "trial_no_game").mkdir(parents=True)
    return tmp_path


def test_one_game_for_each_task_and_no_training_task_among_the_unseen(data, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert [game.name for game in games("train")] == ["trial_1", "trial_3"]
    assert [game.task for game in games("train")] == [Task("Mug", "Desk"), Task("Pen", "Shelf")]
    assert [game.name for game in games("unseen")] == ["trial_8", "trial_9"]
    assert games("unseen")[0].content["pddl_problem"] == "Mug Shelf"


def test_no_more_games_than_a_split_has(tmp_path):
    for number in range(60):
        write(tmp_path / "train" / f"{number:02d}", "Mug", f"Receptacle{number}")
    train, unseen = read_games(tmp_path, "train"), read_games(tmp_path, "unseen")
    assert (len(train), len(unseen)) == (28, 26)
    assert not {game.task for game in train} & {game.task for game in unseen}


def test_a_folder_without_games_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=r"ALFWORLD_DATA names .* no pick-and-place games .*alfworld-download"):
        games("train")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere"):
        games("unseen")
    with pytest.raises(UsageError, match="Unknown split 'test'"):
        games("test")


def test_damaged_files_are_told_of(data):
    damaged = data / "json_2.1.1" / "train" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1" / "game.tw-pddl"
    damaged.write_text('{"grammar": ""}')
    with pytest.raises(Failure, match=r"game\.tw-pddl is no ALFWorld game"):
        read_games(data, "train")
    damaged.write_text('{"gram')
    with pytest.raises(Failure, match=r"game\.tw-pddl is not valid JSON"):
        read_games(data, "train")
    damaged.with_name("traj_data.json").write_text("[]")
    with pytest.raises(Failure, match=r"traj_data\.json does not say what the task is"):
        read_games(data, "train")


@pytest.mark.parametrize("use", [AlfWorld, lambda: generated_games("train")])
def test_without_the_extra_a_sentence_says_how_to_get_it(use, monkeypatch):
    monkeypatch.delitem(sys.modules, "envs.alfworld_engine", raising=False)
    monkeypatch.delattr(envs, "alfworld_engine", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="optional extra that is not installed: run `make alfworld`"):
        use()


# Scenes of our own making, by ALFWorld's tables.


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    pytest.importorskip("textworld")
    pytest.importorskip("fast_downward")
    from envs import alfworld_engine

    return alfworld_engine


def facts(problem, predicate):
    return re.findall(rf"^\({predicate} (.*)\)$", problem, re.MULTILINE)


def test_two_splits_without_a_task_in_common(engine):
    train, unseen = games("train"), games("unseen")
    assert (len(train), len(unseen)) == (28, 26) == tuple(SIZES.values())
    assert len({game.task for game in (*train, *unseen)}) == 54
    assert len({game.name for game in (*train, *unseen)}) == 54


def test_every_scene_is_as_alfworlds_tables_allow_and_its_goal_is_yet_to_be_reached(engine):
    from alfworld.gen.constants import OBJECTS_SET, OPENABLE_CLASS_LIST, RECEPTACLES, VAL_RECEPTACLE_OBJECTS

    for game in (*generated_games("train"), *generated_games("unseen")):
        problem = game.content["pddl_problem"]
        kinds = {name: kind.removesuffix("Type") for name, kind in map(str.split, facts(problem, "objectType"))}
        holders = {name: kind.removesuffix("Type") for name, kind in map(str.split, facts(problem, "receptacleType"))}
        places = dict(map(str.split, facts(problem, "inReceptacle")))
        assert set(kinds.values()) <= OBJECTS_SET and set(holders.values()) <= RECEPTACLES | {
            "SinkBasin",
            "BathtubBasin",
        }
        assert 10 <= len(holders) <= 25 and len(kinds) >= 9
        assert set(facts(problem, "pickupable")) == set(places) == set(kinds)
        assert all(kinds[thing] in VAL_RECEPTACLE_OBJECTS[holders[place]] for thing, place in places.items())
        assert set(facts(problem, "openable")) == {name for name in holders if holders[name] in OPENABLE_CLASS_LIST}
        locations = dict(map(str.split, facts(problem, "receptacleAtLocation")))
        assert locations.keys() == holders.keys() and len(set(locations.values())) == len(holders)
        # The goal: one to take somewhere, none there already, somewhere to put it, and allowed there.
        wanted = [holders[place] for thing, place in places.items() if kinds[thing] == game.task.object]
        assert 1 <= len(wanted) <= 2 and game.task.receptacle not in wanted
        assert game.task.receptacle in holders.values()
        assert f"{game.task.receptacle}Type {game.task.object}Type" in facts(problem, "canContain")
        grammar = game.content["grammar"]
        assert f"put a {game.task.object.lower()} in {game.task.receptacle.lower()}." in grammar


def test_there_are_more_tasks_than_are_drawn(engine):
    assert all(len(possible_tasks(room)) > 2 * 54 / len(ROOMS) for room in ROOMS.values())


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("train", 16), ("unseen", 8), ("unseen", 23)])
def test_the_planner_wins(engine, split, number):
    plan = solve(generated_games(split)[number])
    assert 4 <= len(plan) <= 6  # go, open, take, go, open, move


def scene_game(engine, task, receptacles, objects):
    scene = Scene(task, receptacles, objects)
    content = {"pddl_domain": engine.DOMAIN, "grammar": engine.GRAMMAR, "pddl_problem": scene.problem()}
    return Game("by hand", task, content)


def test_games_that_are_none_are_refused(engine):
    receptacles = ("Desk", "Shelf")
    assert len(solve(scene_game(engine, Task("Mug", "Desk"), receptacles, (("Mug", 1),)))) == 4
    with pytest.raises(Failure, match="won before it begins"):
        solve(scene_game(engine, Task("Mug", "Desk"), receptacles, (("Mug", 0),)))
    with pytest.raises(Failure, match=r"cannot load the game|cannot be won"):
        solve(scene_game(engine, Task("Mug", "Bed"), (*receptacles, "Bed"), (("Mug", 1),)))


def test_written_games_are_read_again(engine, tmp_path, monkeypatch):
    made = generated_games("train")[:3]
    for game in made:
        write_game(game, tmp_path / "train" / game.name / "trial_generated")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    read = {game.task: game.content["pddl_problem"] for game in games("train")}
    assert read == {game.task: game.content["pddl_problem"] for game in made}
    env = AlfWorld()
    _, info = env.reset(options={"game": 0})
    assert info["goal"] == f"put a {env.games[0].task.object.lower()} in {env.games[0].task.receptacle.lower()}"


def test_nothing_is_written_into_a_folder_that_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["alfworld_games", "--output", str(tmp_path)])
    with pytest.raises(UsageError, match="exists already"):
        main()
