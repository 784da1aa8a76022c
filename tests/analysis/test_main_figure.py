"""The main figure: what its lines show, against plain loops; the same bytes again; what it refuses and leaves out."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color, to_rgb
from synthetic_runs import write_run, write_tree

from analysis import main_figure
from analysis.plotting import THIN, unlike_returns
from analysis.runs import common_iterations, read_run
from envs.errors import run_command_line

SETTING = "qwen-7b_tau2_n10"
RANDOM = np.random.default_rng(7)


def draw(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main_figure", *map(str, arguments)])
    try:
        run_command_line(main_figure.main)
    finally:
        plt.close("all")


def axes_of(paths, env="cartpole"):
    runs = [read_run(path) for path in paths]
    panel = main_figure.drawn_runs(runs, env)
    _, axes = plt.subplots()
    main_figure.draw_panel(axes, panel, common_iterations(runs, env))
    plt.close("all")
    return axes


def line_of(axes, color, width):
    lines = [line for line in axes.lines if same_color(line.get_color(), color) and line.get_linewidth() == width]
    assert len(lines) == 1
    return lines[0]


def smoothed(curve, tau=0):
    """Return the running mean over 9 iterations of what follows the warm-up, by a plain loop."""
    means = []
    for k, value in enumerate(curve):
        window = [value] if k < tau else [curve[i] for i in range(k - 4, k + 5) if tau <= i < len(curve)]
        means.append(sum(window) / len(window))
    return means


def test_lines_are_running_means_over_seeds(tmp_path):
    generator = np.random.default_rng(0)
    online, loro, published = generator.normal(size=(4, 1, 8)), generator.normal(size=(3, 1, 8)), np.ones((1, 5, 8))
    released = generator.normal(size=(1, 5, 8))
    axes = axes_of(
        [
            write_run(tmp_path, "paper", "cartpole", "online", online),
            write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", loro),
            write_run(tmp_path, "released", "cartpole", f"loro_{SETTING}", released),
            write_run(tmp_path, "published", "cartpole", "online", published),
        ]
    )
    width = plt.rcParams["lines.linewidth"]
    drawn = [(main_figure.BLUE, online, width, 0), (main_figure.ORANGE, loro, width, 2)]
    drawn.append((main_figure.PURPLE, released, THIN, 2))
    for color, values, wide, tau in drawn:  # the single chain is a thin line
        line = line_of(axes, color, wide)
        flat = values.reshape(-1, 8)
        mean = [sum(row[k] for row in flat) / len(flat) for k in range(8)]
        np.testing.assert_allclose(line.get_ydata(), smoothed(mean, tau))
        np.testing.assert_array_equal(line.get_xdata(), range(8))
    np.testing.assert_allclose(line_of(axes, main_figure.BLUE, 0.7).get_ydata(), 1)
    # Two bands: the chain of repeats and the published runs are one seed, and one seed has no interval.
    assert len(axes.collections) == 2


def test_the_band_is_about_two_standard_errors(tmp_path):
    returns = np.random.default_rng(1).normal(100, 10, size=(200, 1, 3))
    axes = axes_of([write_run(tmp_path, "paper", "cartpole", "online", returns)])
    vertices = axes.collections[0].get_paths()[0].vertices
    for k in range(3):
        band = vertices[vertices[:, 0] == k, 1]
        error = np.std([smoothed(curve)[k] for curve in returns[:, 0]]) / np.sqrt(200)
        assert band.max() - band.min() == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_policies_are_level_lines_at_their_mean_return(tmp_path):
    axes = axes_of(
        [
            write_run(tmp_path, "paper", "cartpole", "online", np.linspace(0, 100, 12).reshape(1, 1, 12)),
            write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[30, 50]]]),
            write_run(tmp_path, "paper", "cartpole", "random-policy", [[[10, 20, 30]]]),
        ]
    )
    levels = [line.get_ydata() for line in axes.lines if same_color(line.get_color(), main_figure.BLACK)]
    assert sorted(float(level[0]) for level in levels) == [20, 40]
    assert all(len(set(level)) == 1 for level in levels)


def test_a_few_dreadful_evaluations_do_not_flatten_the_panel_and_are_named(tmp_path):
    returns = np.full((1, 1, 200), -100.0)
    returns[0, 0, 0] = -9000
    returns[0, 0, 150:] = -13
    axes = axes_of(
        [
            write_run(tmp_path, "paper", "cliff-walking", "online", returns),
            write_run(tmp_path, "paper", "cliff-walking", "llm-policy_qwen-7b", [[[-700]]]),
            write_run(tmp_path, "paper", "cliff-walking", "random-policy", [[[-120]]]),
        ],
        "cliff-walking",
    )
    bottom, top = axes.get_ylim()
    assert -160 < bottom < -120 and -13 < top < 0
    (note,) = [text.get_text() for text in axes.texts]
    assert note == "↓ qwen-7b −700, curves −1,880"  # the running mean begins with five evaluations


def test_what_lies_outside_is_told_apart_as_warm_up_and_as_learnt(tmp_path):
    ours, theirs = np.full((2, 1, 40), -100.0), np.full((1, 1, 40), -90.0)
    ours[..., :2], theirs[..., :2] = -700, -4000
    ours[1, 0, 20:] += 10
    paths = [write_run(tmp_path, "paper", "cliff-walking", f"loro_{SETTING}", ours)]
    (note,) = [text.get_text() for text in axes_of(paths, "cliff-walking").texts]
    assert note == "↓ warm-up −700"
    paths.append(write_run(tmp_path, "published", "cliff-walking", f"loro_{SETTING}", theirs))
    (note,) = [text.get_text() for text in axes_of(paths, "cliff-walking").texts]
    assert note == "↓ published warm-up −4,000"


def test_lines_that_hide_each_other_are_named(tmp_path):
    still, learning = np.full((2, 1, 40), -200.0), np.linspace(-200, -100, 40).reshape(1, 1, 40)
    paths = [
        write_run(tmp_path, "paper", "mountain-car", "online", learning),
        write_run(tmp_path, "paper", "mountain-car", f"loro_{SETTING}", still),
        write_run(tmp_path, "released", "mountain-car", f"loro_{SETTING}", still + 1),
        write_run(tmp_path, "paper", "mountain-car", "random-policy", [[[-200, -200]]]),
    ]
    panel = main_figure.drawn_runs([read_run(path) for path in paths], "mountain-car")
    _, axes = plt.subplots()
    assert main_figure.draw_panel(axes, panel, 40) == ["coincide: LORO paper, LORO released, random"]
    plt.close("all")


def test_the_legend_tells_how_many_seeds_and_chains_an_interval_is_of(tmp_path):
    paths = [write_run(tmp_path, "paper", "cartpole", "online", RANDOM.random((10, 1, 8)))]
    paths.append(write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", RANDOM.random((5, 1, 8))))
    paths.append(write_run(tmp_path, "released", "cartpole", f"loro_{SETTING}", RANDOM.random((3, 5, 8))))
    panel = main_figure.drawn_runs([read_run(path) for path in paths], "cartpole")
    labels = [entry.get_label() for entry in main_figure.legend_handles([panel])]
    assert "95% interval (5–10 seeds, 3 chains)" in labels


def test_constant_returns_are_drawn(tmp_path):
    bottom, top = axes_of([write_run(tmp_path, "paper", "cartpole", "online", np.full((3, 1, 5), 7))]).get_ylim()
    assert bottom < 7 < top


def test_the_warm_up_is_shaded(tmp_path):
    axes = axes_of([write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", RANDOM.random((2, 1, 8)))])
    (shade,) = axes.patches
    assert (shade.get_x(), shade.get_width()) == (0, 1.5)  # tau = 2: iterations 0 and 1


def test_over_environment_steps(tmp_path, monkeypatch):
    runs = [
        write_run(tmp_path, "paper", "cartpole", "online", RANDOM.random((2, 1, 8))),
        write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", RANDOM.random((2, 1, 8))),
    ]
    table = runs[1].read_text()
    for iteration in range(8):  # the LLM's two episodes are 30 steps each
        table = table.replace(f",{iteration},{200 * (iteration + 1)},", f",{iteration},{30 * (iteration + 1)},")
    runs[1].write_text(table)
    panel = main_figure.drawn_runs([read_run(path) for path in runs], "cartpole")
    _, axes = plt.subplots()
    main_figure.draw_panel(axes, panel, 8, over_steps=True)
    online, loro = (line_of(axes, color, plt.rcParams["lines.linewidth"]) for color in ("#0072B2", "#D55E00"))
    np.testing.assert_array_equal(online.get_xdata(), 200 * np.arange(1, 9))
    np.testing.assert_array_equal(loro.get_xdata(), 30 * np.arange(1, 9))
    assert axes.get_xlim() == (0, 240) and axes.patches[0].get_width() == 60
    draw(["--env", "cartpole", "--over", "steps", "--runs", *runs, "--output", tmp_path / "f.pdf"], monkeypatch)
    assert (tmp_path / "f.png").exists()


def test_over_environment_steps_a_chain_is_its_first_repeat(tmp_path):
    """The later repeats go on with a trained network: to draw them from step 0 on would make them look untrained."""
    returns = RANDOM.random((3, 5, 8))
    path = write_run(tmp_path, "released", "cartpole", f"loro_{SETTING}", returns)
    for over_steps, expected in ((True, returns[:, 0]), (False, returns.mean(axis=1))):
        _, axes = plt.subplots()
        main_figure.draw_panel(axes, main_figure.drawn_runs([read_run(path)], "cartpole"), 8, over_steps)
        line = line_of(axes, main_figure.PURPLE, plt.rcParams["lines.linewidth"])
        np.testing.assert_allclose(line.get_ydata(), smoothed(expected.mean(axis=0), 2))
        labels = [
            entry.get_label()
            for entry in main_figure.legend_handles([{("loro", "released"): read_run(path)}], over_steps)
        ]
        assert ("first repeats" in labels[0]) == over_steps and "thin" not in labels[0]
    plt.close("all")


def test_returns_that_do_not_compare_are_named(tmp_path):
    def notes(env, *paths):
        return unlike_returns(env, list(map(read_run, paths)))

    short = write_run(tmp_path, "paper", "pendulum", "llm-policy_qwen-7b", [[[-300, -310]]], 50)
    whole = write_run(tmp_path, "paper", "pendulum", "llm-policy_other", [[[-300, -310]]], 200)
    random = write_run(tmp_path, "paper", "pendulum", "random-policy", [[[-300, -310]]], 50)
    assert notes("pendulum", whole) == [] and notes("pendulum", random) == []
    assert notes("pendulum", short, random, whole) == ["qwen-7b: episodes of 50 steps, not 200"]
    # published curves do not tell lengths; those of the authors' episodes are known
    published = write_run(tmp_path, "published", "pendulum", f"loro_{SETTING}", RANDOM.random((1, 1, 4)))
    larger = write_run(tmp_path, "published", "pendulum", "loro_qwen-32b_tau2_n10", RANDOM.random((1, 1, 4)))
    assert notes("pendulum", published, larger) == ["qwen-32b, qwen-7b: episodes of 50 steps, not 200"]
    flag = write_run(tmp_path, "published", "mountain-car", "loro_qwen-32b_tau2_n10", RANDOM.random((1, 1, 4)))
    assert notes("mountain-car", flag) == ["qwen-32b: episodes of 100 steps, not 200"]
    own = write_run(tmp_path, "paper", "pendulum", "loro_mine_tau2_n10", RANDOM.random((1, 1, 4)), 40)
    assert notes("pendulum", own) == ["mine: episodes of 40 steps, not 200"]

    ours = write_run(tmp_path, "paper", "represented-pong", "online", [[[-4, -4]]], 200)
    theirs = write_run(tmp_path, "published", "represented-pong", "online", [[[-9, -9]]])
    chain = write_run(tmp_path, "released", "represented-pong", f"loro_{SETTING}", np.full((1, 5, 4), -9))
    assert notes("represented-pong", ours) == []
    assert notes("represented-pong", ours, theirs) == ["published: whole games, two steps an action"]
    assert notes("represented-pong", ours, theirs, chain) == [
        "released, published: whole games, two steps an action",
        "qwen-7b: two steps an action",
    ]
    assert notes("cartpole", write_run(tmp_path, "paper", "cartpole", "llm-policy_qwen-7b", [[[30, 40]]], 35)) == []


def test_column_width_files_and_the_same_bytes_again(tmp_path, monkeypatch, capsys):
    runs = write_tree(tmp_path, environments=["cartpole"])
    first, second = tmp_path / "a" / "figure.pdf", tmp_path / "b" / "figure.pdf"
    for output in (first, second):
        draw(["--env", "cartpole", "--runs", *runs, "--output", output], monkeypatch)
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".png").read_bytes() == second.with_suffix(".png").read_bytes()
    assert first.read_bytes().startswith(b"%PDF") and b"CreationDate" not in first.read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["figure.pdf", "figure.png"]
    image = plt.imread(first.with_suffix(".png"))
    assert image.shape[1] == pytest.approx(3.4 * 200, abs=1)
    assert (image[:, [0, -1], :3] == 1).all(), "nothing is cut at the edges, not the longest legend either"
    for color in (main_figure.BLUE, main_figure.ORANGE, main_figure.PURPLE, main_figure.BLACK):
        assert (np.abs(image[..., :3] - to_rgb(color)).max(axis=-1) < 0.02).any(), color
    assert (
        "Left out, because no run was given: cartpole: online (published), loro (published)." in capsys.readouterr().out
    )


def test_all_environments_on_one_page(tmp_path, monkeypatch, capsys):
    runs = write_tree(tmp_path, iterations=30, llm="smollm2-135m", seeds=3)
    draw(["--env", "all", "--runs", *runs, "--output", tmp_path / "main.pdf"], monkeypatch)
    image = plt.imread(tmp_path / "main.png")
    assert image.shape[1] == pytest.approx(7.0 * 200, abs=1)
    # 5 lines in each of 6 panels; loro-discard and mix are not of this figure
    assert "30 runs drawn" in capsys.readouterr().out


def test_environments_without_runs_are_named(tmp_path, monkeypatch, capsys):
    runs = write_tree(tmp_path, environments=["cartpole", "pendulum"], iterations=20)
    draw(["--env", "all", "--runs", *runs, "--output", tmp_path / "main.pdf"], monkeypatch)
    assert "mountain-car: everything" in capsys.readouterr().out


def test_a_longer_published_curve_is_cut_at_ours(tmp_path):
    axes = axes_of(
        [
            write_run(tmp_path, "paper", "cartpole", "online", RANDOM.random((2, 1, 6))),
            write_run(tmp_path, "published", "cartpole", "online", RANDOM.random((1, 5, 50))),
        ]
    )
    assert axes.get_xlim() == (0, 5)
    assert all(len(line.get_xdata()) == 6 for line in axes.lines)


def test_one_setting_is_chosen_among_several(tmp_path, monkeypatch, capsys):
    runs = write_tree(tmp_path, environments=["cartpole"], iterations=20)
    runs.append(write_run(tmp_path, "paper", "cartpole", "loro_qwen-7b_tau20_n3000", RANDOM.random((2, 1, 20))))
    with pytest.raises(SystemExit) as stopped:
        draw(["--env", "cartpole", "--runs", *runs, "--output", tmp_path / "f.pdf"], monkeypatch)
    assert stopped.value.code == 2 and "--tau" in capsys.readouterr().err
    draw(["--env", "cartpole", "--runs", *runs, "--output", tmp_path / "f.pdf", "--tau", "10"], monkeypatch)
    assert (tmp_path / "f.pdf").exists()


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ("cartpole", "different length"),
        ("frozen-lake", "None of the runs given can be drawn"),
        ("chess", "Unknown environment"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(tmp_path, monkeypatch, capsys, env, sentence):
    runs = [
        write_run(tmp_path, "paper", "cartpole", "online", np.zeros((1, 1, 5))),
        write_run(tmp_path, "paper", "cartpole", f"loro_{SETTING}", np.zeros((1, 1, 6))),
    ]
    with pytest.raises(SystemExit) as stopped:
        draw(["--env", env, "--runs", *runs, "--output", tmp_path / "out" / "f.pdf"], monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and sentence in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
