"""The figure of gains by what is held equal: its points are the table's, scaled, and bad tables are one sentence."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import gain_figure
from analysis.colours import BLUE, GREY, ORANGE
from analysis.scales import SCALES
from envs.errors import run_command_line


def row(arm, sums, steps, updates, env="cartpole", protocol="paper"):
    cells = {"env": env, "arm": arm, "llm": "qwen-7b", "protocol": protocol, "iterations": 150}
    for name, value in (("difference", sums), ("after_at_equal_steps", steps), ("after_at_equal_updates", updates)):
        cells |= {name: value, f"{name}_low": value - 3, f"{name}_high": value + 3}
    return cells


def write(tmp_path, *rows):
    path = tmp_path / "main.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def points(axes, color):
    return [line.get_xdata()[0] for line in axes.lines if line.get_color() == color and line.get_marker() == "o"]


def test_points_are_the_table_s_numbers_on_the_environment_s_scale(tmp_path):
    path = write(
        tmp_path,
        row("loro", 300, 4, -5),
        row("mix", -600, 1, 2),
        row("ppo", 9, 9, 9),  # not shown
        row("loro", 9, 9, 9, protocol="released"),  # nor what has no sound protocol
        row("mix", 0, 7, 8, env="pendulum"),
    )
    cartpole, pendulum = gain_figure.draw(gain_figure.read_differences(path)).axes
    width = SCALES["cartpole"].width
    np.testing.assert_allclose(points(cartpole, GREY), [300 / 150 / width, -600 / 150 / width])
    np.testing.assert_allclose(points(cartpole, BLUE), [4 / width, 1 / width])
    np.testing.assert_allclose(points(cartpole, ORANGE), [-5 / width, 2 / width])
    np.testing.assert_allclose(points(pendulum, ORANGE), [8 / SCALES["pendulum"].width])
    assert [text.get_text() for text in cartpole.texts] == ["not computed"] * 2
    assert [text.get_text() for text in pendulum.texts] == [
        *["not computed"] * 3,
        "qwen-7b: episodes of 50 steps, not 200",
    ]
    plt.close("all")


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [(None, 2, "There is no table"), ("a,b\n1,2\n", 1, "is not a table that"), ("ppo", 2, "nothing to draw")],
)
def test_what_cannot_be_drawn_is_one_sentence(tmp_path, monkeypatch, capsys, content, status, sentence):
    path = tmp_path / "main.csv"
    if content == "ppo":
        path = write(tmp_path, row("ppo", 1, 1, 1))
    elif content:
        path.write_text(content)
    output = tmp_path / "gains.pdf"
    monkeypatch.setattr(sys, "argv", ["gain_figure", "--table", str(path), "--output", str(output)])
    with pytest.raises(SystemExit) as stopped:
        run_command_line(gain_figure.main)
    error = capsys.readouterr().err
    assert stopped.value.code == status and sentence in error and error.count("\n") == 1 and not output.exists()
