"""The paper's other figures: which panels and lines they have, and what the lines show."""

import json
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.text import Text
from synthetic_runs import write_run

import envs
from analysis import grid_figure
from analysis.figure_lines import BLUE, GREEN, ORANGE, figures_of, panels_of, runs_of
from analysis.plotting import running_mean
from analysis.runs import read_run
from envs.errors import run_command_line

RANDOM = np.random.default_rng(3)


def draw(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["grid_figure", *map(str, arguments)])
    try:
        run_command_line(grid_figure.main)
    finally:
        plt.close("all")


def test_the_paper_has_39_figures():
    assert sum(1 + len(figures_of(env)) for env in envs.PAPER) == 39
    shapes = {"mix": (1, 1), "pretrain": (1, 1), "model_size": (2, 3), "pretrain_step": (2, 3), "pretrain_eps": (2, 2)}
    for kind, (rows, columns) in shapes.items():
        panels = panels_of(kind, "cartpole")
        assert [(panel.row, panel.column) for panel in panels] == [(i, j) for i in range(rows) for j in range(columns)]
    grid = {f"loro_{llm}_tau{t}_n{n}" for llm in ("qwen-7b", "qwen-32b") for t in (10, 20, 30) for n in (1000, 3000)}
    for kind in ("model_size", "pretrain_step", "pretrain_eps"):
        assert set(runs_of(kind, "cartpole")) == grid
    assert len(panels_of("sft_lcot", "frozen-lake")[0].lines) == 5
    assert "sft_lcot" not in figures_of("cartpole")


@pytest.mark.parametrize("discards", [True, False, None])
def test_mix_without_the_llm_s_data_is_told(discards, tmp_path):
    paths = [write_run(tmp_path, "released", "cartpole", "mix_qwen-7b_tau10", np.ones((5, 1, 15)))]
    if discards is not None:
        told = {"arguments": {"discard_offline": discards, "env": "cartpole"}}
        paths[0].with_suffix(".json").write_text(json.dumps(told))
    runs = {(run.protocol, run.path.stem): run for run in map(read_run, paths)}
    (axes,) = grid_figure.draw("cartpole", panels_of("mix", "cartpole"), runs, 15).axes
    told = "".join(text.get_text() for text in axes.findobj(Text))
    assert ("without the LLM's data" in told) == bool(discards)


def test_running_means_agree_with_a_plain_loop():
    returns = RANDOM.normal(size=(2, 12))
    drawn = running_mean(returns, 5, 3)
    for seed in range(2):
        for k in range(12):
            window = [returns[seed, i] for i in range(k - 2, k + 3) if 3 <= i < 12]
            assert drawn[seed, k] == pytest.approx(returns[seed, k] if k < 3 else sum(window) / len(window))


def test_lines_show_their_runs_in_their_protocols_way(tmp_path):
    returns = {name: RANDOM.normal(size=(3, 1, 15)) for name in runs_of("mix", "cartpole")}
    paths = [write_run(tmp_path, "paper", "cartpole", name, values) for name, values in returns.items()]
    paths.append(write_run(tmp_path, "published", "cartpole", "online", np.ones((1, 5, 15))))
    runs = {(run.protocol, run.path.stem): run for run in map(read_run, paths)}
    figure = grid_figure.draw("cartpole", panels_of("mix", "cartpole"), runs, 15)
    (axes,) = figure.axes
    names = ("online", "loro_qwen-7b_tau10_n3000", "mix_qwen-7b_tau10")
    for color, name in zip((BLUE, ORANGE, GREEN), names, strict=True):
        solid = [x for x in axes.lines if same_color(x.get_color(), color) and x.get_linestyle() == "-"]
        assert len(solid) == 1
        expected = running_mean(returns[name][:, 0], grid_figure.WINDOW, runs["paper", name].tau or 0).mean(axis=0)
        np.testing.assert_allclose(solid[0].get_ydata(), expected)
    dotted = [x for x in axes.lines if same_color(x.get_color(), BLUE) and x.get_linestyle() != "-"]
    assert len(dotted) == 1 and set(dotted[0].get_ydata()) == {1.0}
    plt.close("all")


def test_agents_with_networks_of_their_own_are_seeds_under_released_too(tmp_path):
    paths = [write_run(tmp_path, "released", "cartpole", "mix_qwen-7b_tau10", RANDOM.random((5, 1, 15)))]
    paths.append(write_run(tmp_path, "released", "cartpole", "loro_qwen-7b_tau10_n3000", RANDOM.random((3, 5, 15))))
    runs = {(run.protocol, run.path.stem): run for run in map(read_run, paths)}
    figure = grid_figure.draw("cartpole", panels_of("mix", "cartpole"), runs, 15)
    assert "95% interval (5 seeds, 3 chains)" in [text.get_text() for text in figure.legends[0].texts]
    plt.close("all")


def test_over_steps_a_line_lies_at_its_steps_without_what_is_published(tmp_path, monkeypatch):
    """Mix begins with 10 episodes of 7 steps, and is 130 steps an iteration behind online RL's 200."""
    short = [*range(7, 77, 7), *(70 + 200 * k for k in range(1, 21))]
    steps = {"online": [200 * k for k in range(1, 31)], "mix_qwen-7b_tau10": short}
    returns = {name: RANDOM.normal(size=(2, 1, 30)) for name in steps}
    paths = [write_run(tmp_path, "paper", "cartpole", name, returns[name], steps=steps[name]) for name in steps]
    paths.append(write_run(tmp_path, "published", "cartpole", "online", np.ones((5, 1, 30))))
    paths[-1].write_text(re.sub(r"(?m)^(\d+,\d+,\d+),\d+,", r"\1,,", paths[-1].read_text()))
    figures, keep = [], grid_figure.draw
    monkeypatch.setattr(grid_figure, "draw", lambda *given: figures.append(keep(*given)) or figures[-1])
    output = tmp_path / "mix_steps.pdf"
    draw(["--env", "cartpole", "--kind", "mix", "--over", "steps", "--runs", *paths, "--output", output], monkeypatch)
    (axes,) = figures[0].axes
    drawn = {tuple(line.get_xdata()): line.get_ydata() for line in axes.lines}
    assert set(drawn) == {tuple(x) for x in steps.values()}
    for name, tau in (("online", 0), ("mix_qwen-7b_tau10", 10)):
        expected = running_mean(returns[name][:, 0], grid_figure.WINDOW, tau).mean(axis=0)
        np.testing.assert_allclose(drawn[tuple(steps[name])], expected)
    assert axes.get_xlim() == (0, short[-1]) and "environment steps" in axes.get_xlabel()
    assert "as published" not in [text.get_text() for text in figures[0].legends[0].texts]


def test_panels_have_one_scale_their_own_warm_ups_and_name_what_is_missing(tmp_path):
    levels = {"loro_qwen-7b_tau10_n1000": 10, "loro_qwen-7b_tau20_n1000": 50, "loro_qwen-32b_tau30_n3000": 100}
    paths = [write_run(tmp_path, "paper", "cartpole", name, np.full((2, 1, 40), x)) for name, x in levels.items()]
    runs = {(run.protocol, run.path.stem): run for run in map(read_run, paths)}
    figure = grid_figure.draw("cartpole", panels_of("pretrain_eps", "cartpole"), runs, 40)
    first, second, third, fourth = figure.axes
    assert first.get_ylim() == fourth.get_ylim() and first.get_ylim()[0] < 10 and first.get_ylim()[1] > 100
    assert [patch.get_width() for patch in first.patches] == [9.5, 19.5]
    assert [patch.get_width() for patch in fourth.patches] == [29.5]
    assert "running mean over 9" in fourth.get_xlabel()

    def words(axes):
        return " ".join(text.get_text() for text in reversed(axes.texts))

    assert words(first) == "not computed: τ=30 (paper); all (released)"
    assert words(fourth) == "not computed: τ=10 · τ=20 (paper); all (released)"
    assert "not computed: all (paper); all (released)" in words(second) and words(second) == words(third)
    plt.close("all")


def test_the_longest_legend_is_not_cut(tmp_path, monkeypatch):
    """A single chain, a published curve and several warm-ups all have entries of their own."""
    for kind in ("pretrain_eps", "mix"):
        names = runs_of(kind, "represented-pong")
        runs = [
            write_run(tmp_path, protocol, "represented-pong", name, RANDOM.random((seeds, 1, 40)))
            for name in names
            for protocol, seeds in (("paper", 2), ("released", 1), ("published", 1))
        ]
        output = tmp_path / f"{kind}.pdf"
        arguments = ["--env", "represented-pong", "--kind", kind, "--runs", *runs, "--output", output]
        monkeypatch.setattr(sys, "argv", ["grid_figure", *map(str, arguments)])
        run_command_line(grid_figure.main)
        plt.close("all")
        assert (plt.imread(output.with_suffix(".png"))[:, [0, -1], :3] == 1).all(), kind


def test_what_is_missing_is_named_and_its_panel_says_so(tmp_path, monkeypatch, capsys):
    runs = [write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau10_n1000", RANDOM.random((2, 1, 20)))]
    runs.append(write_run(tmp_path, "paper", "cartpole", "online", RANDOM.random((2, 1, 20))))
    arguments = ["--env", "cartpole", "--kind", "pretrain_step", "--runs", *runs]
    for output in ("a/f.pdf", "b/f.pdf"):
        draw([*arguments, "--output", tmp_path / output], monkeypatch)
    printed = capsys.readouterr().out
    assert "1 runs drawn" in printed and "(paper): loro_qwen-7b_tau10_n3000, loro_qwen-7b_tau20_n1000" in printed
    for name in ("f.pdf", "f.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("env", "kind", "sentence"),
    [
        ("cartpole", "sft_lcot", "The paper has no figure sft_lcot of 'cartpole'"),
        ("cartpole", "mix", "None of the runs given is shown"),
        ("chess", "mix", "Unknown environment"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(tmp_path, monkeypatch, capsys, env, kind, sentence):
    runs = [write_run(tmp_path, "paper", "cartpole", "loro_qwen-32b_tau10_n1000", np.zeros((1, 1, 5)))]
    with pytest.raises(SystemExit) as stopped:
        draw(["--env", env, "--kind", kind, "--runs", *runs, "--output", tmp_path / "out" / "f.pdf"], monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
