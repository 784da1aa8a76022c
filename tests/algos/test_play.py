"""Recorded play: the stated share of successes, steps that the environment confirms, and the players themselves."""

import json
from importlib.util import find_spec

import minari
import numpy as np
import pytest
from prior_files import TOMATO, run, write_table, write_uniform

from algos import play, prior
from algos.prior import open_prior
from envs.datasets import DATA_FILE, load_dataset
from envs.plans import Plan
from envs.text import TextGame

LAKE = "frozen-lake-text"
SHORTEST = {TOMATO: 6, "overcooked-salad": 10, LAKE: 6}  # of the originals, and of the map


def record(arguments, folder, monkeypatch, env=TOMATO):
    run(play, ["--env", env, "--no-progress", *arguments, "--output", folder], monkeypatch)
    return load_dataset(folder, env), json.loads((folder / "meta.json").read_text())


def succeeded(episode):
    return bool(episode.terminations[-1]) and episode.rewards[-1] > 0


@pytest.mark.parametrize(
    ("env", "share", "noise"), [(TOMATO, 0.75, 0.2), (LAKE, 0.5, 0.1), ("overcooked-salad", 0.3, 0.2)]
)
def test_the_share_of_successes_is_met_to_an_episode(env, share, noise, tmp_path, monkeypatch):
    arguments = ["--success", share, "--noise", noise, "--transitions", 800]
    episodes, meta = record(arguments, tmp_path / "d", monkeypatch, env)
    found = sum(map(succeeded, episodes))
    assert abs(found - share * len(episodes)) <= 1
    assert meta["success_rate"] == found / len(episodes)
    assert meta["policy"] == f"mixture{100 * share:g}" and meta["environment"] == env
    steps = sum(map(len, episodes))
    assert 800 <= steps < 800 + len(episodes[-1])
    assert len(list(minari.MinariDataset(tmp_path / "d" / "data").iterate_episodes())) == len(episodes)


@pytest.mark.parametrize("env", [TOMATO, LAKE])
def test_every_step_is_what_the_environment_does(env, tmp_path, monkeypatch):
    episodes, _ = record(["--success", 0.5, "--episodes", 20], tmp_path / "d", monkeypatch, env)
    game = TextGame(env)
    for episode in episodes:
        env_ = game.make()
        observation, info = env_.reset()
        for t, action in enumerate(episode.actions):
            np.testing.assert_array_equal(observation, episode.observations[t])
            assert game.recall(episode.observations[t]) == game.read(observation, info)
            observation, reward, terminated, _, info = env_.step(int(action))
            assert reward == episode.rewards[t] and terminated == episode.terminations[t]
        np.testing.assert_array_equal(observation, episode.observations[-1])
        assert episode.terminations[-1] != episode.truncations[-1]
        assert len(episode) <= game.horizon and info["success"] == succeeded(episode)


@pytest.mark.parametrize("env", SHORTEST)
def test_the_scripted_player_serves_at_once_and_never_goes_round(env, tmp_path, monkeypatch):
    arguments = ["--player", "scripted", "--noise", 0, "--episodes", 5]
    episodes, meta = record(arguments, tmp_path / "d", monkeypatch, env)
    assert [len(episode) for episode in episodes] == [SHORTEST[env]] * 5
    assert meta["success_rate"] == 1


def test_the_same_seed_gives_the_same_bytes(tmp_path, monkeypatch):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        record(["--success", 0.5, "--episodes", 10, "--seed", seed], tmp_path / name, monkeypatch)
    a, b, c = ((tmp_path / name / DATA_FILE).read_bytes() for name in "abc")
    assert a == b != c


def test_a_prior_is_played_with_its_probabilities(tmp_path, monkeypatch):
    p = np.array([0.5, 0.0, 0.1, 0.1, 0.3])
    prior = write_table(tmp_path / "p.jsonl", lambda _: p, TextGame(TOMATO))
    arguments = ["--player", "prior", "--prior", prior, "--episodes", 60]
    episodes, _ = record(arguments, tmp_path / "d", monkeypatch)
    actions = np.concatenate([episode.actions for episode in episodes])
    assert np.bincount(actions, minlength=5) / len(actions) == pytest.approx(p, abs=0.05)


def test_a_uniform_prior_is_random_play(tmp_path, monkeypatch):
    prior = ["--player", "prior", "--prior", write_uniform(tmp_path / "u.jsonl")]
    for name, player in (("a", prior), ("b", ["--player", "random"])):
        record([*player, "--episodes", 10], tmp_path / name, monkeypatch)
    assert (tmp_path / "a" / DATA_FILE).read_bytes() == (tmp_path / "b" / DATA_FILE).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence", "status"),
    [
        (["--success", 1.5], "--success must be from 0 to 1", 2),
        (["--episodes", 0], "--episodes must be at least 1", 2),
        (["--player", "prior"], "--prior is for the player prior, who needs it", 2),
        (["--env", "cartpole", "--episodes", 2], "There is no plan for 'cartpole'", 2),
        (["--env", "frozen-lake-text-slippery", "--success", 0.9], "--success 0.9 cannot be met", 1),
    ],
)
def test_bad_arguments(arguments, sentence, status, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(play, ["--no-progress", *arguments, "--output", tmp_path / "d"], monkeypatch)
    assert stopped.value.code == status
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_scripted_prior_is_a_file_as_any_other(tmp_path, monkeypatch):
    path = tmp_path / "scripted.jsonl"
    run(prior, ["--env", TOMATO, "--way", "scripted", "--share", 0.5, "--output", path], monkeypatch)
    game = TextGame(TOMATO)
    found = open_prior(path, TOMATO)
    for situation, p in Plan(game).prior(0.5):
        assert found(situation) == pytest.approx(p)
    start = found(game.read(*game.make().reset()))
    assert start == pytest.approx([0.6, 0.1, 0.1, 0.1, 0.1]), "one begins with the tomato"


def test_a_share_of_more_than_all_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(prior, ["--way", "scripted", "--share", 2, "--output", tmp_path / "p.jsonl"], monkeypatch)
    assert stopped.value.code == 2 and "--share must be from 0 to 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not find_spec("fast_downward"), reason="needs the optional extra")
def test_play_that_is_told_in_words_alone_is_recorded(tmp_path, monkeypatch):
    run(prior, ["--env", "alfworld", "--way", "scripted", "--share", 1, "--output", tmp_path / "p.jsonl"], monkeypatch)
    arguments = ["--player", "prior", "--prior", tmp_path / "p.jsonl", "--episodes", 6]
    episodes, meta = record(arguments, tmp_path / "d", monkeypatch, "alfworld")
    assert meta["success_rate"] == np.mean([succeeded(episode) for episode in episodes]) > 0.5
    assert all("Your task is to: put" in text for episode in episodes for text in episode.observations)
