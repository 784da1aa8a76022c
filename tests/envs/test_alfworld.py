"""The ALFWorld environments: the fast engine against TextWorld's and ALFWorld's own, untouched, in another process."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest

from envs.alfworld import TEXT_ENVIRONMENTS, AlfWorld
from envs.errors import UsageError

pytest.importorskip("textworld")
pytest.importorskip("fast_downward")
if find_spec("alfworld") is None:  # not imported here: it would set ALFWORLD_DATA
    pytest.skip("ALFWorld is not installed", allow_module_level=True)

from envs.alfworld_engine import Engine
from envs.alfworld_games import SIZES, generated_games, write_game

ROOT = Path(__file__).parents[2]

REFERENCE = """
import json, sys, textworld.gym
from textworld import EnvInfos
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos, AlfredTWEnv

folder, output = sys.argv[1:]
config = {
    "env": {"goal_desc_human_anns_prob": 0, "task_types": [1], "domain_randomization": False, "expert_type": "planner"},
    "dataset": {"data_path": folder, "num_train_games": 0},
    "general": {"training_method": "dqn"},
    "rl": {"training": {"max_nb_steps_per_episode": 61}},
}
files = sorted(AlfredTWEnv(config, "train").game_files)
infos = EnvInfos(won=True, admissible_commands=True)
answers = {}
for path in files:
    name = textworld.gym.register_games([path], infos, batch_size=1, asynchronous=False,
        max_episode_steps=61, wrappers=[AlfredDemangler(shuffle=False), AlfredInfos])
    env = textworld.gym.make(name)
    played = json.load(open(path.replace("game.tw-pddl", "commands.json")))
    texts, info = env.reset()
    answers[path] = [(texts[0], sorted(info["admissible_commands"][0]), bool(info["won"][0]))]
    for command in played:
        texts, _, _, info = env.step([command])
        answers[path].append((texts[0], sorted(info["admissible_commands"][0]), bool(info["won"][0])))

sys.path.insert(0, ".")
import hashlib
from envs.alfworld_games import SIZES, generated_games
text = "".join(game.name + game.content["pddl_problem"] for split in SIZES for game in generated_games(split))
json.dump([answers, hashlib.sha256(text.encode()).hexdigest()], open(output, "w"))
"""
"""Plays given commands with ALFWorld's own environment, with none of our modules in the process until that is done."""


def random_play(engine, seed, commands):
    """Random commands, those that change something preferred, some that do nothing, then the plan; in two episodes
    for the engine, so that the second shows that nothing is left of the first."""
    generator = random.Random(seed)
    for _ in range(2):
        situation = engine.begin()
        situations, given = [situation], []
        generator.seed(seed)
        for step in range(commands):
            moving = [
                command for command in situation.commands if command.split()[0] in ("take", "move", "open", "close")
            ]
            command = generator.choice(moving if moving and step % 3 else situation.commands)
            command = "dance with shelf 1" if step % 10 == 9 else command
            situation = engine.play(command)
            situations.append(situation)
            given.append(command)
        for command in [] if situation.won else engine.plan():
            situations.append(engine.play(command))
            given.append(command)
    return situations, given


@pytest.fixture(scope="module", autouse=True)
def our_own_games():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ALFWORLD_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Games of ours, written as files, played by our engine and by ALFWorld's own environment with other hashes."""
    folder = tmp_path_factory.mktemp("alfworld")
    ours = {}
    chosen = [generated_games("train")[3], generated_games("unseen")[12]]
    for seed, game in enumerate(chosen):
        place = folder / game.name / "trial_generated"
        write_game(game, place)
        situations, commands = random_play(Engine(game.content), seed, 20)
        ours[str(place / "game.tw-pddl")] = [[told.feedback, list(told.commands), told.won] for told in situations]
        (place / "commands.json").write_text(json.dumps(commands))
    output = folder / "answers.json"
    environment = os.environ | {"PYTHONHASHSEED": "7", "ALFWORLD_DATA": str(folder)}
    command = [sys.executable, "-c", REFERENCE, str(folder), str(output)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    reference, digest = json.loads(output.read_text())
    return ours, reference, digest


def test_texts_commands_and_outcomes_are_alfworlds_own(played):
    ours, reference, _ = played
    assert ours.keys() == reference.keys() and len(ours) == 2
    for path, answers in reference.items():
        assert ours[path] == answers
        assert answers[-1][2]  # the planner's last command wins
        assert any(text.strip() == "Nothing happens." for text, _, _ in answers)


def test_games_are_the_same_in_every_process(played):
    text = "".join(game.name + game.content["pddl_problem"] for split in SIZES for game in generated_games(split))
    assert played[2] == hashlib.sha256(text.encode()).hexdigest()


def test_importing_alfworld_leaves_no_trace(tmp_path):
    """By itself it sets ALFWORLD_DATA, and makes a folder in the user's home."""
    code = "import os; from envs import alfworld_engine; print(os.environ.get('ALFWORLD_DATA'))"
    environment = os.environ | {"HOME": str(tmp_path)}
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (output.stdout.strip(), list(tmp_path.glob("**/alfworld"))) == (b"None", [])


# The environment.


@pytest.fixture(scope="module")
def env():
    return gymnasium.make("loro/alfworld-v0")


def test_what_the_first_text_tells(env):
    text, info = env.reset(options={"game": 5})
    task = env.unwrapped.games[5].task
    assert info["goal"] == f"put a {task.object.lower()} in {task.receptacle.lower()}"
    assert text == info["text"] == env.unwrapped.text(text)
    assert text.startswith("You are in the middle of a room. Looking quickly around you, you see ")
    assert text.endswith(f" You hold nothing. Your task is to: {info['goal']}.")
    scene = text.split(" You hold")[0].lower()
    problem = env.unwrapped.games[5].content["pddl_problem"]
    hidden = {kind.lower() for kind in re.findall(r"objectType \S+ (\w+)Type", problem)}
    assert hidden and not any(re.search(rf"\b{kind}\b", scene) for kind in hidden)
    assert not any(re.search(rf"\b{kind}\b", command) for kind in hidden for command in info["actions"])
    assert info.keys() == {"text", "actions", "success", "goal", "game"} and not info["success"]


def test_the_plan_leads_to_success(env):
    _, info = env.reset(options={"game": 5})
    for command in env.unwrapped.plan():
        assert not info["success"]
        text, reward, terminated, truncated, info = env.step(info["actions"].index(command))
        assert env.observation_space.contains(text)
        if command.startswith("take"):
            taken = re.match("take (.*) from", command)[1]
            assert f" You hold a {taken}. " in text
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert "You hold nothing." in text
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_the_horizon_truncates(env):
    _, info = env.reset(options={"game": 5})
    for step in range(1, TEXT_ENVIRONMENTS["alfworld"].horizon + 1):
        _, reward, terminated, truncated, info = env.step(info["actions"].index("look"))
        assert (reward, terminated, truncated) == (0.0, False, step == 61)
    assert not info["success"]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_seeds_draw_games_and_actions(env, monkeypatch):
    monkeypatch.setattr(env.unwrapped, "games", env.unwrapped.games[5:7])  # two games are enough to load
    monkeypatch.setattr(env.unwrapped, "_engines", {})

    def episode(seed):
        env.action_space.seed(seed)
        texts = [env.reset(seed=seed)[0]]
        for _ in range(10):
            texts.append(env.step(env.action_space.sample())[0])
        return texts

    assert episode(1) == episode(1)
    assert len({episode(seed)[0] for seed in range(8)}) == 2


def test_actions_are_the_admissible_commands_and_no_others(env):
    _, info = env.reset(options={"game": 5})
    for _ in range(20):
        assert info["actions"] == sorted(set(info["actions"])) and env.action_space.n == len(info["actions"])
        with pytest.raises(gymnasium.error.InvalidAction):
            env.step(len(info["actions"]))
        text, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert "Nothing happens" not in text
        if terminated or truncated:
            _, info = env.reset(options={"game": 5})


def test_the_two_environments_play_the_two_splits():
    names = {name: [game.name for game in AlfWorld(name).games] for name in TEXT_ENVIRONMENTS}
    assert names == {
        "alfworld": [game.name for game in generated_games("train")],
        "alfworld-unseen": [game.name for game in generated_games("unseen")],
    }


def test_wrong_use_is_refused(env):
    with pytest.raises(UsageError, match="Unknown environment 'house'"):
        AlfWorld("house")
    with pytest.raises(UsageError, match="no game 28: choose one of 0 to 27"):
        env.reset(options={"game": 28})
    with pytest.raises(gymnasium.error.ResetNeeded):
        AlfWorld().step(0)
