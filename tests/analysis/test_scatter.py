"""Points of gains: markers, colours and sizes that tell them apart, intervals, and titles that do not overlap."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.text import Text

import envs
from analysis.plotting import STYLE
from analysis.scatter import COLOURS, MARKERS, draw_points
from envs.errors import UsageError

ENDS = ("quality_low", "quality_high", "gain_share_low", "gain_share_high")


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context(STYLE):
        yield
    plt.close("all")


def point(quality=0.5, gain=0.1, **values):
    fixed = {"env": "cartpole", "llm": "a", "per_step": False, "same_run_as": None, "pretrain_steps": None}
    return {**fixed, "quality": quality, "gain_share": gain, **dict.fromkeys(ENDS, np.nan), **values}


def dots(axes):
    return [line for line in axes.lines if line.get_marker() not in ("None", "", None, "|", "_")]


def test_open_markers_colours_and_the_line_at_zero():
    rows = [point(env=env, per_step=per_step) for env, per_step in (("cartpole", False), ("pendulum", True))]
    figure, ((axes,),) = draw_points({"quality": {"loro": rows}}, "quality")
    drawn = dots(axes)
    assert [same_color(dot.get_markerfacecolor(), "white") for dot in drawn] == [False, True]
    assert not same_color(drawn[0].get_color(), drawn[1].get_color())
    assert any(list(line.get_ydata()) == [0, 0] for line in axes.lines)
    assert len({COLOURS[env] for env in envs.PAPER}) == 6
    assert "cut off early: by return per step" in [text.get_text() for text in figure.legends[1].texts]


def test_the_numbers_of_updates_differ_in_size_and_the_legend_has_the_same_sizes():
    rows = [point(quality, pretrain_steps=steps) for quality, steps in ((0.1, 3000), (0.2, 1000), (0.3, None))]
    figure, ((axes,),) = draw_points({"quality": {"loro": rows}}, "quality")
    sizes = {float(dot.get_xdata()[0]): dot.get_markersize() for dot in dots(axes)}
    assert sizes[0.2] < sizes[0.3] < sizes[0.1]
    keys = zip(figure.legends[1].texts, figure.legends[1].legend_handles, strict=True)
    told = {text.get_text(): handle.get_markersize() for text, handle in keys}
    assert (told["LORO, N=1000"], told["LORO, N=3000"]) == (sizes[0.2], sizes[0.1])


def test_bars_end_where_the_intervals_do_and_one_seed_has_none():
    ends = {"quality_low": 0.2, "quality_high": 0.9, "gain_share_low": 0.12, "gain_share_high": 0.4}  # beside its mean
    _, ((axes,),) = draw_points({"quality": {"loro": [point(**ends), point(0.6, 0.3)]}}, "quality")
    bars = sorted(tuple(map(tuple, path.vertices)) for lines in axes.collections for path in lines.get_paths())
    expected = [((0.2, 0.1), (0.9, 0.1)), ((0.5, 0.1), (0.5, 0.4)), ((0.6, 0.3), (0.6, 0.3)), ((0.6, 0.3), (0.6, 0.3))]
    np.testing.assert_allclose(bars, expected)


def test_an_arm_without_points_has_no_panel_and_an_environment_without_a_place_is_named():
    figure, panels = draw_points({"quality": {"loro": [], "mix": [point()]}}, "quality", unseen=["pendulum"])
    assert [axes.get_title(loc="left") for axes in panels.flat] == ["mix"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["CartPole", "Pendulum: not placed"]


def test_two_columns_share_rows_of_arms_and_the_scale_of_gains():
    left = {"loro": [point(0.2, 0.05)], "mix": [point(0.3, -0.5)]}
    right = {"loro": [point(40, 0.9), point(60, -0.9, env="pendulum", llm="b")], "mix": []}
    figure, panels = draw_points({"one": left, "other": right}, "quality", unseen=["cliff-walking"])
    assert [[float(dot.get_xdata()[0]) for dot in dots(axes)] for axes in panels.flat] == [[0.2], [40, 60], [0.3], []]
    assert [axes.get_title(loc="left") for axes in panels.flat] == ["LORO", "", "mix", ""]
    assert [axes.get_xlabel() for axes in panels[-1]] == ["one", "other"]
    for row in panels:
        assert row[0].get_ylim() == row[1].get_ylim() and row[0].get_yscale() == row[1].get_yscale() == "symlog"
    bottom, top = panels[0, 0].get_ylim()
    assert bottom < -0.9 and top > 0.9 and panels[0, 0].get_xlim()[1] < 1 < panels[0, 1].get_xlim()[0]
    named = [text.get_text() for legend in figure.legends for text in legend.texts]
    assert named == ["CartPole", "CliffWalking: not placed", "Pendulum", "a", "b"]


def test_titles_and_correlations_do_not_overlap():
    rows = [
        point(0.1 * k, (-1) ** k * 0.01 * k, env=env, llm=f"llm-{k}", pretrain_steps=steps)
        for k in range(7)
        for env in ("cartpole", "pendulum")
        for steps in (1000, 3000)
    ]
    figure, ((axes,),) = draw_points({"quality": {"loro": rows}}, "quality")
    figure.canvas.draw()
    titles = [text for text in axes.get_children() if isinstance(text, Text) and text.get_text()]
    left, right = sorted((text.get_window_extent() for text in titles), key=lambda box: box.x0)
    assert "N=1000" in axes.get_title(loc="right") and not left.overlaps(right)


def test_more_llms_than_markers_are_refused():
    with pytest.raises(UsageError, match=f"markers for {len(MARKERS)} LLMs, the runs are of {len(MARKERS) + 1}"):
        draw_points({"quality": {"loro": [point(llm=f"llm-{k}") for k in range(len(MARKERS) + 1)]}}, "quality")
