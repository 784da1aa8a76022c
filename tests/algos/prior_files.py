"""Priors as files, and small recorded datasets, for the tests of learners over texts."""

import csv
import json
import sys

import numpy as np

from envs.errors import run_command_line
from envs.text import TextGame

TOMATO = "overcooked-tomato"
SOLUTION = [0, 2, 4, 1, 0, 3]  # the shortest, as recorded of the original


def run(module, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    run_command_line(module.main)


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def write_table(path, p_of, game):
    """Write a prior that gives each situation of the game the probabilities p_of(situation)."""
    rows = [{"text": s.told, "actions": s.actions, "p": list(p_of(s))} for s in game.situations()]
    header = {"way": "table", "environment": game.name}
    path.write_text("".join(json.dumps(row) + "\n" for row in [header, *rows]))
    return path


def write_uniform(path, env=TOMATO):
    path.write_text(json.dumps({"way": "uniform", "environment": env}) + "\n")
    return path


def write_perfect(path, share=1.0):
    """All (or a share) on the shortest solution's action where it leads, the rest uniform."""
    game = TextGame(TOMATO)
    env = game.make()
    situation, best = game.read(*env.reset()), {}
    for action in SOLUTION:
        best[situation.told] = action
        observation, *_, info = env.step(action)
        situation = game.read(observation, info)
    uniform = np.full(5, 0.2)

    def p_of(s):
        return share * np.eye(5)[best[s.told]] + (1 - share) * uniform if s.told in best else uniform

    return write_table(path, p_of, game)


class Stopped(Exception):
    """A run is interrupted."""


def stop_after(module, saves, monkeypatch):
    """Make the module's runs stop, as a kill would, after so many checkpoints."""
    done = []

    def save(self, *rest, _save=module.Run.save, **more):
        _save(self, *rest, **more)
        done.append(1)
        if len(done) == saves:
            raise Stopped

    monkeypatch.setattr(module.Run, "save", save)
