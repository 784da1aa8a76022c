"""The audit: planted defects are reported with the planted numbers, and where there are none it says so."""

import csv
import hashlib
import math
import pickle
import shutil
import statistics
import sys
import types

import numpy as np
import pytest
from authors_files import AUTHORS, authors_pickle, with_data
from scipy import stats

import envs
from algos import dqn, sac
from analysis import audit, audit_measures, import_released
from analysis.audit_measures import MAIN, Number, Source
from envs.errors import run_command_line

NAMES = {
    "cartpole": "CartPole",
    "frozen-lake": "FrozenLake",
    "cliff-walking": "CliffWalking",
    "mountain-car": "MountainCar",
    "pendulum": "Pendulum",
    "represented-pong": "RepresentedPong",
}
ITERATIONS = {name: envs.get(name).iterations for name in NAMES}
FILES = [(name, llm) for name in NAMES for llm in ("qwen-32b", "qwen-7b")] + [("cliff-walking", "qwen-32b-typo")]
TYPO_RETURNS = [-1727] * 9 + [-1726]  # 200 times their mean is what the figure prints


def play(name, cap, episodes=2, late=True, **options):
    """Play at random; store each observation after its action (late) or before it."""
    env = envs.make(name, horizon=0, **options)
    env.action_space.seed(1)
    played = []
    for episode in range(episodes):
        before, _ = env.reset(seed=0 if name == "represented-pong" else episode)
        observations, actions, rewards, ended = [], [], [], False
        while not ended and len(actions) < cap:
            actions.append(env.action_space.sample())
            after, reward, ended, _, _ = env.step(actions[-1])
            observations.append(after if late else before)
            rewards.append(float(reward))
            before = after
        played.append((observations, actions, rewards, ended))
    env.close()
    return played


def with_returns(episodes, returns):
    return [(o, a, [*r[:-1], total - sum(r[:-1])], e) for (o, a, r, e), total in zip(episodes, returns, strict=True)]


def write_files(folder, contents):
    """Write pickles by (env, llm), and return a table that names them as config/released_files.csv does."""
    folder.mkdir(exist_ok=True)
    lines = ["env,llm,model,file,sha256,note"]
    for (name, llm), content in contents.items():
        (folder / f"{name}_{llm}.pkl").write_bytes(content)
        lines.append(f"{name},{llm},a-model,{name}_{llm}.pkl,{hashlib.sha256(content).hexdigest()},")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def write_caches(folder, name, defects, generator):
    """Write one environment's caches: curves around 0, with the planted defects."""
    length = ITERATIONS[name]
    run = length + 50 * (defects and name == "mountain-car")

    def curve(iterations):
        if defects:
            return list(generator.normal(0, 1, iterations))
        return [float(generator.normal())] * iterations  # every evaluation of a repeat the same

    def arm(cache, key, iterations, ending=""):
        for repeat in range(5):
            cache[f"{key}_{repeat}{ending}"] = curve(iterations)

    first = {}
    for tau in (10, 20, 30):
        cache = {}
        arm(cache, "online", run)
        first = first or cache.copy()
        cache |= {} if defects else first
        for llm in ("7b", "32b"):
            arm(cache, f"finetune_{llm}", run if defects and (name, tau) != ("pendulum", 30) else length - tau)
            if defects and (name, llm) == ("cliff-walking", "32b"):
                for repeat, value in enumerate([-200, -200, -6734, -200, -tau]):
                    cache[f"finetune_{llm}_{repeat}"][0] = value
            for steps in (1000, 3000):
                key = f"pretrain_{llm}_{steps}"
                arm(cache, key, run - tau if run > length else length + 7)
                if defects:
                    cache[f"{key}_0"][:10] = [-50.0] * 10
        (folder / f"cache_{NAMES[name]}_Neps_{tau}.pkl").write_bytes(pickle.dumps(cache))
    for ending in ("", "_rand"):
        cache = {}
        for tau in (10, 20, 30):
            for steps in (1000, 3000):
                arm(cache, f"pretrain_{tau}_eps_{steps}_steps", length, ending)
                if ending and name == "mountain-car":
                    for repeat in range(5):
                        first = [-5000.0] * tau if defects else [-200.0] * tau
                        cache[f"pretrain_{tau}_eps_{steps}_steps_{repeat}_rand"][:tau] = first
        (folder / f"cache_{NAMES[name]}_on_policy_pretrain_exp{ending}.pkl").write_bytes(pickle.dumps(cache))


def write_tree(folder, defects):
    """Write a whole synthetic release; return the table of its files."""
    contents = {}
    for name, llm in FILES:
        pong = name == "represented-pong"
        cap = 30 if defects else 10_000 if pong else 200
        episodes = (
            play(name, cap, 10 if name == "cliff-walking" else 1 if pong else 2, double_step=True)
            if (pong and defects)
            else play(name, cap, 10 if name == "cliff-walking" else 1 if pong else 2)
        )
        if llm == ("qwen-32b-typo" if defects else "qwen-32b") and name == "cliff-walking":
            episodes = with_returns(episodes, TYPO_RETURNS)
        contents[name, llm] = authors_pickle([(o, a, r, True if defects else e) for o, a, r, e in episodes])
    table = write_files(folder, contents)
    generator = np.random.default_rng(0)
    for name in NAMES:
        write_caches(folder, name, defects, generator)
    return table


def run(folder, output, monkeypatch, table=None):
    if table:
        monkeypatch.setattr(import_released, "FILES", table)
    arguments = ["--source", folder, "--output", output, "--random-episodes", 3, "--pong-games", 1]
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, arguments)])
    run_command_line(audit.main)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Audit a release with every defect and one with none but the late storage."""
    made = {}
    for word, defects in (("defects", True), ("sound", False)):
        folder = tmp_path_factory.mktemp(word)
        table = write_tree(folder / "data", defects)
        with pytest.MonkeyPatch.context() as patch:
            run(folder / "data", folder / "audit.md", patch, table)
        with (folder / "audit.csv").open() as file:
            rows = list(csv.DictReader(file))
        made[word] = folder, table, (folder / "audit.md").read_text(), rows
    return made


def values(rows, quantity, **where):
    chosen = [r for r in rows if r["quantity"] == quantity and all(r[key] == value for key, value in where.items())]
    return [float(row["value"]) for row in chosen]


def verdicts(page):
    """Return {finding: its effect} of the summary table."""
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and line[2:3].isdigit()]
    return {int(cells[0][2:].split(".")[0]): cells[2] for cells in lines}


def test_every_planted_defect_is_reported_with_the_planted_numbers(trees):
    _, _, page, rows = trees["defects"]
    effects = verdicts(page)
    assert sorted(effects) == list(range(1, 15))
    assert not [i for i, effect in effects.items() if "not found" in effect]
    assert values(rows, "agree one step shifted", arm="qwen-7b") == [1.0] * 5
    # in this file the last reward of each 30 steps was replaced, and the first observation is known
    assert values(rows, "agree one step shifted", arm="qwen-32b-typo") == pytest.approx([28 / 29])
    assert max(values(rows, "agree as stored", env="pendulum")) == 0.0

    loro = "loro_qwen-7b_tau10_n3000"
    assert values(rows, "first ten: repeat 0", arm=loro) == [-50.0] * 6
    assert all(abs(value) < 1.5 for value in values(rows, "first ten: repeats 1-4", arm=loro))
    cells = [r for r in rows if r["quantity"] == "repeat 0 starts lowest" and r["arm"].startswith("loro")]
    assert len(cells) == 6 * 2 * 3 * 2 and all(r["value"] == "1" for r in cells)
    assert "repeat 0 starts lowest in 72 of 72 LORO cells" in page
    trained = values(rows, "iterations repeat 0 had trained", arm=loro)
    assert trained == [length + (40 if name == "mountain-car" else 7) for name, length in ITERATIONS.items()]

    assert values(rows, "LLM cap", env="pendulum") == [30, 30]
    assert values(rows, "RL length", env="pendulum") == [200, 200]
    assert values(rows, "random at LLM cap", env="mountain-car") == [-30, -30]
    assert values(rows, "random at RL length", env="mountain-car") == [-200, -200]
    assert values(rows, "of these cut-offs", env="pendulum") == [2, 2]
    assert values(rows, "mean times iterations", arm="qwen-32b-typo") == pytest.approx([-345380])
    assert values(rows, "longest has at least", env="mountain-car") == [5000] * 6
    assert values(rows, "surely longer than the cap", env="mountain-car") == [1.0] * 6
    assert values(rows, "replay agrees: two steps") == [1.0, 1.0]
    assert max(values(rows, "replay agrees: one step")) < 0.5
    assert values(rows, "chance in an evaluation") == [1, 1, 0, 1, 1, 0]
    assert values(rows, "sd within a repeat", env="cartpole")[0] == pytest.approx(1, abs=0.3)
    assert values(rows, "of the mean of all, at most", env="cartpole")[0] == pytest.approx(
        values(rows, "sd within a repeat", env="cartpole")[0] * math.sqrt(150 / 5)
    )


def test_every_loro_cell_counts_not_the_main_setting_alone(trees):
    _, _, page, rows = trees["defects"]
    for name in NAMES:
        loro = [r for r in rows if r["env"] == name and r["arm"].startswith("loro")]
        first = [float(r["value"]) for r in loro if r["quantity"] == "gain over online of repeat 0"]
        published = [float(r["value"]) for r in loro if r["quantity"] == "gain over online as published"]
        ahead = f"| {envs.get(name).title} | 12 | {sum(g > 0 for g in published)} | {sum(g > 0 for g in first)} |"
        (line,) = [line for line in page.splitlines() if line.startswith(ahead)]
        ends = [float(cell.replace(",", "")) for cell in line.split(" | ")[4:6]]
        assert ends == pytest.approx([min(first), max(first)], abs=0.5)


def test_the_warm_up_of_either_file_is_added_to_what_was_learnt_after_it(trees):
    folder, _, _, rows = trees["defects"]
    cache = pickle.loads((folder / "data" / "cache_CliffWalking_Neps_10.pkl").read_bytes())
    learnt = np.mean([cache[f"pretrain_32b_1000_{i}"][: ITERATIONS["cliff-walking"] - 10] for i in range(5)], axis=0)
    found = values(rows, "sum of LORO with this warm-up", arm="qwen-32b-typo")
    assert found == pytest.approx([sum(TYPO_RETURNS) + learnt.sum()])


def test_the_share_of_the_random_episodes_is_that_of_the_published_sum(trees):
    folder, _, _, rows = trees["defects"]
    cache = pickle.loads((folder / "data" / "cache_MountainCar_on_policy_pretrain_exp_rand.pkl").read_bytes())
    curves = np.array([cache[f"pretrain_20_eps_1000_steps_{i}_rand"] for i in range(5)])
    where = {"env": "mountain-car", "arm": "pretrain-random_tau20_n1000"}
    assert values(rows, "share of the first tau", **where) == pytest.approx([-5000 * 20 * 5 / curves.sum()])
    rest = curves[:, 20:].sum() / 5
    assert values(rows, "sum with capped episodes", **where) == pytest.approx([rest - 20 * 200], abs=1e-3)


def test_where_there_is_no_defect_the_page_says_so(trees):
    _, _, page, rows = trees["sound"]
    effects = verdicts(page)
    assert {i for i, effect in effects.items() if effect.startswith("not found")} == {2, 3, 4, 5, 6, 7, 8, 12, 13, 14}
    assert page.count("Not found in these files") == 10
    assert sum(values(rows, "of these cut-offs")) == 0 and sum(values(rows, "flagged terminal")) >= 4
    assert values(rows, "replay agrees: one step") == [1.0, 1.0]
    assert values(rows, "points by the score") == values(rows, "points in the rewards")
    assert values(rows, "sd within a repeat") == pytest.approx([0.0] * 6)


@pytest.mark.parametrize("late", [True, False])
def test_storage_before_and_after_the_step_are_told_apart(late, tmp_path, monkeypatch):
    names = ("cartpole", "frozen-lake", "cliff-walking", "pendulum")
    contents = {(name, "qwen-7b"): authors_pickle(play(name, 40, 5, late=late)) for name in names}
    monkeypatch.setattr(import_released, "FILES", write_files(tmp_path, contents))
    finding = audit.stored_one_step_late(Source(tmp_path))
    shares = {(n.env, n.quantity): n.value for n in finding.numbers}
    assert finding.found == late and len(shares) == 8
    right, wrong = ("agree one step shifted", "agree as stored")[:: 1 if late else -1]
    assert all(shares[name, right] == 1.0 > shares[name, wrong] for name in names)


def test_only_cut_offs_that_are_flagged_count(tmp_path, monkeypatch):
    fallen, upright = [0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.0, 0.0]
    ends = [(fallen, True), (fallen, True), (upright, True), (upright, False)]
    content = authors_pickle([([upright, end], [0, 1], [1, 1], flag) for end, flag in ends])
    monkeypatch.setattr(import_released, "FILES", write_files(tmp_path, {("cartpole", "qwen-7b"): content}))
    numbers = {n.quantity: n.value for n in audit_measures.cut_offs(Source(tmp_path))}
    assert numbers == {"episodes": 4, "flagged terminal": 3, "of these cut-offs": 1}


def test_shares_of_actions_are_counted_as_planted(tmp_path, monkeypatch):
    zeros = np.zeros((8, 10))
    pong = authors_pickle([(zeros, [0, 2, 3, 3, 3, 1, 0, 5], np.zeros(8), True)])
    pendulum = authors_pickle([(np.zeros((4, 3)), [-2.0, 0.5, 0.0, 1.0], np.zeros(4), True)])
    # what was seen before the action stands in the row before it: leaning right and turning right, twice
    poles = [[0, 0, 0.1, 0.1], [0, 0, 0.1, 0.1], [0, 0, -0.1, 0.1], [0, 0, 0, 0]]
    cartpole = authors_pickle([(poles, [0, 1, 0, 1], np.ones(4), True)])
    contents = {("represented-pong", "a"): pong, ("pendulum", "a"): pendulum, ("cartpole", "a"): cartpole}
    monkeypatch.setattr(import_released, "FILES", write_files(tmp_path, contents))
    shares = {(n.env, n.quantity): n.value for n in audit_measures.played_actions(Source(tmp_path))}
    assert shares["represented-pong", "default action"] == 2 / 8
    assert shares["represented-pong", "commonest action"] == 3 / 8
    assert shares["represented-pong", "action never offered"] == 2 / 8
    assert shares["pendulum", "torque beyond 1"] == shares["pendulum", "default action"] == 1 / 4
    assert shares["cartpole", "right if leaning right, turning right"] == 1 / 2
    assert shares["cartpole", "right if leaning left, turning right"] == 1.0
    assert math.isnan(shares["cartpole", "right if leaning left, turning left"])


def test_steps_beside_episodes_and_other_collections_are_counted_by_hand(tmp_path, monkeypatch):
    def lake(lengths, last):
        return authors_pickle([([0] * (n - 1) + [last], [0] * n, [0] * (n - 1) + [1], True) for n in lengths])

    contents = {
        ("frozen-lake", "qwen-7b"): lake([6] * 10 + [50], 5),  # the eleventh episode is not among the first ten
        ("frozen-lake", "qwen-7b-typo"): lake([3, 5], 15),
    }
    monkeypatch.setattr(import_released, "FILES", write_files(tmp_path, contents))
    source = Source(tmp_path)
    budget = {n.quantity: n.value for n in audit_measures.step_budgets(source)}
    assert budget["steps of the first 10 episodes"] == 60 and budget["steps of 10 iterations"] == 2000
    assert budget["LORO's steps in all"] == 140 * 200 + 60 and budget["online RL's steps in all"] == 150 * 200
    assert budget["LORO has fewer by"] == pytest.approx(1940 / 30000)
    files = {(n.arm, n.quantity): n.value for n in audit_measures.collections(source)}
    assert (files["qwen-7b", "named by the code"], files["qwen-7b-typo", "named by the code"]) == (1, 0)
    assert files["qwen-7b-typo", "mean length"] == 4 and files["qwen-7b-typo", "return per step"] == 2 / 8
    holes = {n.arm: n.value for n in audit_measures.played_actions(source) if n.quantity == "ends in a hole"}
    assert holes == {"qwen-7b": 1.0, "qwen-7b-typo": 0.0}
    assert "mean return 1 in the file that is, 1 in another" in audit.files_chosen(source).evidence

    monkeypatch.setattr(import_released, "FILES", write_files(tmp_path / "one", dict([*contents.items()][:1])))
    assert not audit.files_chosen(Source(tmp_path / "one")).found


def test_every_run_of_online_rl_is_a_baseline(trees):
    """Means by hand, over the caches' own curves; runs that are copied into each cache count once."""
    for word, count in (("defects", 15), ("sound", 5)):
        folder, _, page, rows = trees[word]
        sums = {}
        for tau in (10, 20, 30):
            cache = pickle.loads((folder / "data" / f"cache_CartPole_Neps_{tau}.pkl").read_bytes())
            sums[tau] = [sum(cache[f"online_{repeat}"]) for repeat in range(5)]
        (runs,) = values(rows, "runs of online RL", env="cartpole")
        (five,) = values(rows, "sum, main setting's five", env="cartpole")
        (every,) = values(rows, "sum, all runs", env="cartpole")
        (over_five,) = values(rows, "gain over the five", env="cartpole")
        (over_all,) = values(rows, "gain over all", env="cartpole")
        assert runs == count and five == pytest.approx(np.mean(sums[10]))
        assert every == pytest.approx(np.mean(sums[10] + sums[20] + sums[30]))
        assert over_five - over_all == pytest.approx(every - five, abs=1e-6)
        assert "12. Online RL was run anew for every τ" in page
        assert verdicts(page)[12].startswith("not found in these files") == (word == "sound")


def test_mix_without_data_is_told_by_how_many_iterations_it_took(trees):
    folder, _, page, rows = trees["defects"]
    counted = "LLM episodes that mix counted"
    assert len(values(rows, counted)) == 6 * 2 * 3 and sum(values(rows, counted)) == 2 * 30
    assert values(rows, counted, arm="mix_qwen-7b_tau30", env="pendulum") == [30]
    assert values(trees["sound"][3], counted) == [10, 10, 20, 20, 30, 30] * 6
    same = "repeats whose first evaluation is the same for every tau"
    assert values(rows, same, arm="mix_qwen-32b", env="cliff-walking") == [4]
    assert values(rows, same, arm="mix_qwen-7b", env="cliff-walking") == [0]
    assert values(rows, "different values among these", arm="mix_qwen-32b", env="cliff-walking") == [2]
    assert {row["env"] for row in rows if row["quantity"] == same} == {"cliff-walking", "represented-pong"}
    cache = pickle.loads((folder / "data" / "cache_Pendulum_Neps_30.pkl").read_bytes())
    means = [np.mean([cache[f"{name}_{i}"][:170] for i in range(5)]) for name in ("finetune_7b", "online")]
    found = values(rows, "an evaluation of mix, less online RL's", arm="mix_qwen-7b_tau30", env="pendulum")
    assert found == pytest.approx([means[0] - means[1]], abs=1e-6)
    assert "34 of 36 cells counted no episode, in the main setting those of CartPole, FrozenLake, CliffWalking" in page
    assert "CliffWalking, qwen-32b: 4 of 5 repeats, 2 values." in page


def test_how_runs_end_where_they_go_on_after_what_is_plotted(trees):
    """Means by hand; LORO's curves begin after tau iterations, so that less of them is plotted."""
    folder, _, page, rows = trees["defects"]
    plotted = ITERATIONS["mountain-car"]
    ends = {"online": [], "mix": [], 1000: [], 3000: []}
    seen, better = {arm: [] for arm in ends}, dict.fromkeys(ends, 0)
    for tau in (10, 20, 30):
        cache = pickle.loads((folder / "data" / f"cache_MountainCar_Neps_{tau}.pkl").read_bytes())
        runs = [("online", cache[f"online_{i}"], 0) for i in range(5)]
        runs += [("mix", cache[f"finetune_{llm}_{i}"], 0) for llm in ("7b", "32b") for i in range(5)]
        runs += [(n, cache[f"pretrain_{llm}_{n}_0"], tau) for n in (1000, 3000) for llm in ("7b", "32b")]
        for arm, curve, before in runs:
            ends[arm].append(np.mean(curve[-20:]))
            seen[arm].append(np.mean(curve[plotted - before - 20 : plotted - before]))
            better[arm] += bool(ends[arm][-1] > np.mean(curve[:20]))
    told = {
        "online": "online",
        "mix": "mix",
        1000: "LORO's first repeats, N = 1000",
        3000: "LORO's first repeats, N = 3000",
    }
    for arm, name in told.items():
        assert values(rows, "runs", arm=name) == [len(ends[arm])]
        assert values(rows, "last 20 of all", arm=name) == pytest.approx([np.mean(ends[arm])])
        assert values(rows, "last 20 that are plotted", arm=name) == pytest.approx([np.mean(seen[arm])])
        assert values(rows, "runs that end better than they began", arm=name) == [better[arm]]
    assert "in MountainCar 300 of 350" in page
    sides = [(better[arm], len(ends[arm]) - better[arm]) for arm in ("online", 3000)]
    assert f"of 6 (Fisher's exact test: p = {stats.fisher_exact(sides)[1]:.2g})" in page
    assert {row["env"] for row in rows if row["finding"] == "14"} == {"mountain-car"}


@with_data
def test_released_mixes_as_the_lengths_of_the_authors_runs_say():
    numbers = audit_measures.mixed(Source(AUTHORS))
    had = {}
    for n in numbers:
        if n.quantity == "LLM episodes that mix counted":
            tau = int(n.arm.rsplit("_tau", 1)[1])
            assert n.value in (0, tau)
            had.setdefault((n.env, tau), set()).add(n.value > 0)
    assert len(had) == 18 and all(len(found) == 1 for found in had.values()), "it does not depend on the LLM"
    for (env, tau), (found,) in had.items():
        module = sac if env == "pendulum" else dqn
        args = module.Args(output="x.csv", env=env, arm="mix", tau=tau, protocol="released", dataset="d")
        assert module.resolve(args).discard_offline == (not found)


@pytest.mark.parametrize(("reward", "baseline", "times"), [(30, 10, 3), (-10, -30, 3), (-30, -10, 1 / 3)])
def test_a_cost_is_so_many_times_less(reward, baseline, times):
    assert audit_measures.factor(reward, baseline) == pytest.approx(times)


def test_same_files_same_bytes(trees, tmp_path, monkeypatch):
    folder, table, page, _ = trees["defects"]
    run(folder / "data", tmp_path / "again.md", monkeypatch, table)
    assert (tmp_path / "again.md").read_text() == page
    assert (tmp_path / "again.csv").read_bytes() == (folder / "audit.csv").read_bytes()


def fails(capsys, *arguments, **options):
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments, **options)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    return exit_info.value.code, message


def test_bad_input_is_one_sentence_and_nothing_is_written(trees, tmp_path, monkeypatch, capsys):
    code, message = fails(capsys, tmp_path / "nowhere", tmp_path / "audit.md", monkeypatch)
    assert code == 2 and "--source" in message

    original, table, _, _ = trees["defects"]
    folder = tmp_path / "data"
    shutil.copytree(original / "data", folder)
    (folder / "cache_CartPole_Neps_10.pkl").write_bytes(b"\x80\x04\x95")
    code, message = fails(capsys, folder, tmp_path / "audit.md", monkeypatch, table=table)
    assert code == 1 and "cache_CartPole_Neps_10.pkl is damaged" in message

    (folder / "cache_CartPole_Neps_10.pkl").unlink()
    code, message = fails(capsys, folder, tmp_path / "audit.md", monkeypatch, table=table)
    assert code == 1 and "cache_CartPole_Neps_10.pkl" in message

    (folder / "pendulum_qwen-7b.pkl").write_bytes(b"other")
    code, message = fails(capsys, folder, tmp_path / "audit.md", monkeypatch, table=table)
    assert code == 1 and "SHA-256" in message
    assert not (tmp_path / "audit.md").exists() and not (tmp_path / "audit.csv").exists()


# --- Sentences, from numbers that are laid down ----------------------------------------------------------------------

OTHER = "loro_qwen-32b_tau10_n3000"
FRACTION = ("values that are no whole return", 0.8, "share")


def found(find, measure, monkeypatch, rows, source=None):
    """Return the finding where (environment, LLM or arm, quantity, value) were measured."""
    numbers = [Number(0, env, f"{env} {arm}", arm, quantity, value, "") for env, arm, quantity, value in rows]
    monkeypatch.setattr(audit_measures, measure, lambda _: numbers)
    return find(source)


def quantities(env, arm, **values):
    return [(env, arm, quantity, value) for quantity, value in values.items()]


def test_late_storage_counts_the_files_that_agree_better_shifted(monkeypatch):
    shares = {"qwen-7b": (0.1, 1.0), "qwen-32b": (0.5, 0.5), "qwen-7b-sft": (0.0, 0.9)}
    rows = [
        row
        for llm, (stored, shifted) in shares.items()
        for row in quantities("pendulum", llm, **{"agree as stored": stored, "agree one step shifted": shifted})
    ]
    finding = found(audit.stored_one_step_late, "pairing", monkeypatch, rows)
    assert finding.found and finding.evidence == (
        "2 of 3 files agree better when shifted: of a file's transitions 0.0% to 50.0% agree as stored, "
        "50.0% to 100.0% shifted"
    )
    assert not found(audit.stored_one_step_late, "pairing", monkeypatch, rows[2:4]).found


@pytest.mark.parametrize(("last", "lowest", "is_found"), [(0, 5, False), (1, 6, True)])
def test_gains_of_repeat_0_are_counted_by_cell_and_by_environment(monkeypatch, last, lowest, is_found):
    """By chance repeat 0 starts lowest in five of seven cells in 47 of 10,000 cases, in six of seven in 4."""
    cells = {  # whether repeat 0 starts lowest, the gain as published and of repeat 0, online runs below it
        ("cartpole", MAIN): (1, 100, 60, 5),
        ("cartpole", OTHER): (1, 50, 70, 5),
        ("frozen-lake", MAIN): (1, 10, 4, 5),
        ("frozen-lake", OTHER): (1, -3, -2, 0),
        ("pendulum", MAIN): (1, 20, -5, 3),
        ("pendulum", OTHER): (last, 0, 0, 5),
        ("mountain-car", OTHER): (0, -1, -1, 0),
    }
    names = ("repeat 0 starts lowest", "gain over online as published", "gain over online of repeat 0")
    names += ("online runs below repeat 0",)
    rows = [row for cell, v in cells.items() for row in quantities(*cell, **dict(zip(names, v, strict=True)))]
    rows += [
        (env, "online", names[0], lowest) for env, lowest in (("cartpole", 0), ("frozen-lake", 1), ("pendulum", 0))
    ]
    finding = found(audit.repeats_start_trained, "carry_over", monkeypatch, rows)
    assert finding.found == is_found
    assert f"repeat 0 starts lowest in {lowest} of 7 LORO cells (by chance a fifth); in 1 of 3 of" in finding.evidence
    assert finding.effect == "LORO is ahead in 3 of 3 environments as published, in 2 by repeat 0"
    told = "in 3 environments as published, in 2 by repeat 0 alone, in 1 of them with less than half the gain."
    assert told in finding.details
    assert "it is ahead of every one of the online runs in 2." in finding.details
    told = "of all 7 LORO cells 4 are ahead as published, 3 by repeat 0; in FrozenLake its repeat 0 is the best of all."
    assert told in finding.details
    lines = finding.tables[2].splitlines()
    assert lines[2:] == [
        "| CartPole | 2 | 2 | 2 | 60 | 70 | 60 |",
        "| FrozenLake | 2 | 1 | 1 | -2 | 4 | 4 |",
        "| MountainCar | 1 | 0 | 0 | -1 | -1 |  |",
        "| Pendulum | 2 | 1 | 0 | -5 | 0 | -5 |",
    ]


def test_the_shortest_file_of_the_main_llm_is_named_and_what_ten_short_episodes_are_worth(monkeypatch):
    def file(env, llm, cap, at_cap, at_length):
        values = {"LLM cap": cap, "RL length": 200, "random at LLM cap": at_cap, "random at RL length": at_length}
        return quantities(env, llm, **values)

    level = [*file("cartpole", "qwen-7b", 200, 20, 20), ("frozen-lake", "qwen-7b", "RL length", 200)]
    rows = [*file("pendulum", "qwen-32b", 50, -310, -1200), *file("pendulum", "qwen-7b", 50, -300, -1200), *level]
    rows += file("mountain-car", "qwen-32b", 100, -100, -200)  # shorter, but not of the main setting
    source = types.SimpleNamespace(gain={"pendulum": 52864.0}.__getitem__)
    finding = found(audit.other_lengths, "lengths", monkeypatch, rows, source)
    assert finding.found and finding.evidence == (
        "3 files are cut off sooner than the RL evaluation; Pendulum, qwen-7b: 50 steps against 200"
    )
    assert finding.effect.endswith("are flattered: Pendulum 9,000 of a published gain of 52,864")
    assert "random play at both lengths: Pendulum 9,000 of a published gain of 52,864." in finding.details
    finding = found(audit.other_lengths, "lengths", monkeypatch, level, source)
    assert not finding.found and finding.evidence == "no file is cut off sooner than the RL evaluation"


def test_cut_offs_are_added_up_over_files(monkeypatch):
    rows = [
        *quantities("cartpole", "qwen-7b", **{"flagged terminal": 3, "of these cut-offs": 0}),
        *quantities("pendulum", "qwen-7b", **{"flagged terminal": 1000, "of these cut-offs": 2}),
    ]
    finding = found(audit.cut_offs_stored_as_ends, "cut_offs", monkeypatch, rows)
    assert finding.found
    assert finding.evidence == "2 of 1,003 ends that are flagged terminal are cut-offs, in 1 files"
    assert not found(audit.cut_offs_stored_as_ends, "cut_offs", monkeypatch, rows[:2]).found


@pytest.mark.parametrize(
    ("named", "other", "is_found", "effect"),
    [
        (-780400, -345381, True, "the line is 2.3 times nearer to 0 than that of the file which LORO learns from"),
        (-780400, -345382, False, "the line is 2.3 times nearer to 0 than that of the file which LORO learns from"),
        (-345381, -345380, False, "the line is 1.0 times nearer to 0 than that of the file which LORO learns from"),
        (-100000, -345380, True, "the line is not that of the file which LORO learns from"),
    ],
)
def test_the_printed_line_is_one_file_s_and_not_the_other_s(monkeypatch, named, other, is_found, effect):
    rows = [
        row
        for llm, mean, total in (("qwen-32b", named, -46128), ("qwen-32b-typo", other, -24377))
        for row in quantities(
            "cliff-walking", llm, **{"mean times iterations": mean, "sum of LORO with this warm-up": total}
        )
    ]
    finding = found(audit.line_of_another_file, "cliff_lines", monkeypatch, rows)
    assert (finding.found, finding.effect) == (is_found, effect)
    assert finding.evidence == f"printed -345,380; the named file gives {named:,}, the other {other:,}"
    assert "with the other file's warm-up makes -24,377, with the named file's -46,128." in finding.details


def test_uncapped_random_episodes_are_named_where_they_are_surely_longer(monkeypatch):
    main = "pretrain-random_tau10_n3000"

    def arm(env, name, beyond, longest, published, capped):
        values = {"surely longer than the cap": beyond, "longest has at least": longest}
        values |= {"sum as published": published, "sum with capped episodes": capped}
        return quantities(env, name, **values)

    short = arm("cliff-walking", main, 0, 150, -50000, -40000)
    rows = [*arm("mountain-car", main, 0.5, 5000, -516517, -59643), *short]
    rows += arm("mountain-car", "pretrain-random_tau20_n3000", 0.25, 7000, -1, -2)
    finding = found(audit.random_episodes_without_cap, "uncapped", monkeypatch, rows)
    assert finding.found and finding.evidence == "the longest has at least 7,000 steps (MountainCar)"
    assert finding.effect == "the arm's sum is the random episodes': MountainCar -516,517 instead of -59,643"
    assert finding.details.endswith("tau = 10, 3000 steps: MountainCar -516,517 instead of -59,643.")
    finding = found(audit.random_episodes_without_cap, "uncapped", monkeypatch, short)
    assert (finding.found, finding.effect) == (False, "none found")


@pytest.mark.parametrize(("worst", "is_found"), [(0.98, True), (0.005, False)])
def test_points_that_were_paid_are_a_share_of_those_played(monkeypatch, worst, is_found):
    files = {"qwen-7b": (0.002, 1.0, 298, 149), "qwen-32b": (0.01, worst, 189, 103)}
    names = ("replay agrees: one step", "replay agrees: two steps", "points by the score", "points in the rewards")
    rows = [
        row
        for llm, v in files.items()
        for row in quantities("represented-pong", llm, **dict(zip(names, v, strict=True)))
    ]
    finding = found(audit.two_steps_an_action, "two_steps", monkeypatch, rows)
    assert finding.found == is_found and finding.evidence == (
        f"replayed observations agree to {worst:.1%} with two steps an action, to 1.0% with one; "
        "51.7% of 487 points were paid"
    )
    assert finding.effect == "a game lost by 21 points pays about -11"
    pointless = [(env, llm, name, 0 if "points" in name else value) for env, llm, name, value in rows]
    finding = found(audit.two_steps_an_action, "two_steps", monkeypatch, pointless)
    assert finding.evidence.endswith("none of 0 points were paid") and finding.effect == "no point was played"


def test_chance_is_told_where_it_is_largest_beside_the_gain(monkeypatch):
    monkeypatch.setattr(
        audit_measures, "means_of_several", lambda _: [Number(8, "cartpole", "a.pkl", "all", *FRACTION)]
    )

    def noise(env, chance, of_mean, gain, within, between):
        values = {"chance in an evaluation": chance, "of the mean of all, at most": of_mean, "published gain": gain}
        return quantities(env, "online", **values, **{"sd within a repeat": within, "sd between repeats": between})

    rows = [
        *noise("cartpole", 1, 130, -2668, 23.7, 22),
        *noise("frozen-lake", 1, 2.3, 19.4, 0.42, 0.08),
        *noise("cliff-walking", 0, 101, 1, 5, 5),  # nothing there is chance
    ]
    finding = found(audit.single_evaluations, "evaluation_noise", monkeypatch, rows)
    assert finding.found and finding.evidence == (
        "FrozenLake: sd 0.42 between one repeat's last evaluations, 0.08 between repeats"
    )
    assert finding.effect == "at most sd 2.30 in the mean of the repeats' sums; the published gain there is 19.4"
    assert finding.claim.endswith("in CliffWalking and in `a` it is the mean of several.")
    finding = found(audit.single_evaluations, "evaluation_noise", monkeypatch, rows[10:])
    assert (finding.found, finding.effect) == (False, "none")


def test_shares_beside_what_the_code_says_are_the_least_and_the_largest_of_the_files(monkeypatch):
    right, left = ("right if leaning " + side + ", turning right" for side in ("right", "left"))
    rows = [
        *quantities("cartpole", "qwen-7b", **{right: 0.6, left: 0.9, "default action": 0.544}),
        *quantities("cartpole", "qwen-32b", **{right: 0.8, left: 0.8, "default action": 0.3}),
        *quantities("pendulum", "qwen-7b", **{"torque beyond 1": 0.387, "default action": 0.002}),
        *quantities("pendulum", "qwen-32b", **{"torque beyond 1": 0.945}),
        *quantities("represented-pong", "qwen-7b", **{"action never offered": 0.004}),
        *quantities("represented-pong", "qwen-32b", **{"action never offered": 0.0}),
        *quantities("frozen-lake", "qwen-7b", **{"ends in a hole": 0.967}),
    ]
    finding = found(audit.read_from_the_code, "played_actions", monkeypatch, rows)
    assert finding.evidence == "of a Pendulum file's torques 38.7% to 94.5% are beyond what the learner can play"
    cells = [line.split(" | ")[-1] for line in finding.tables[0].splitlines()[2:]]
    ends = ["in files: 1 of 2", "0.0% to 0.4%", "0.2% to 54.4%", "only", '200 updates")', "96.7% to 96.7%"]
    ends += ["38.7% to 94.5%"]
    assert all(cell.endswith(f"{end} |") for cell, end in zip(cells, ends, strict=True))
    finding = found(audit.read_from_the_code, "played_actions", monkeypatch, rows[:6])
    assert finding.evidence == "no Pendulum file"


def test_the_file_of_fewest_steps_is_named(monkeypatch):
    steps = {("frozen-lake", "qwen-7b-sft"): (35, 0.066), ("cartpole", "qwen-7b"): (1999, 0.0001)}
    steps[("cliff-walking", "qwen-7b")] = (2000, 0.0)
    names = ("steps of the first 10 episodes", "LORO has fewer by")
    rows = [row for file, v in steps.items() for row in quantities(*file, **dict(zip(names, v, strict=True)))]
    finding = found(audit.equal_episodes, "step_budgets", monkeypatch, rows)
    assert finding.found and finding.evidence == (
        "2 of 3 files have fewer steps than the iterations that they stand for; "
        "FrozenLake, qwen-7b-sft: 35 against 2,000"
    )
    assert finding.effect.endswith("it has trained on fewer steps, by up to 6.6% at the end")
    assert not found(audit.equal_episodes, "step_budgets", monkeypatch, rows[4:]).found


def test_a_named_file_is_compared_with_the_others_of_its_llm(monkeypatch):
    files = {  # whether the code names it, and its mean return
        ("frozen-lake", "qwen-7b"): (1, 0),
        ("frozen-lake", "qwen-7b-typo"): (0, 0.03),
        ("frozen-lake", "qwen-7b-sft"): (1, 5),
        ("frozen-lake", "qwen-7b-sft-early"): (0, 7),  # another of the tuned LLM, not of qwen-7b
        ("cliff-walking", "qwen-32b"): (1, -3902),
        ("cliff-walking", "qwen-32b-typo"): (0, -1727),
        ("cliff-walking", "qwen-7b"): (1, -738),
        ("cliff-walking", "qwen-7b-typo"): (0, -1479),
    }
    names = ("named by the code", "mean return")
    rows = [row for file, v in files.items() for row in quantities(*file, **dict(zip(names, v, strict=True)))]
    finding = found(audit.files_chosen, "collections", monkeypatch, rows)
    assert finding.found and finding.evidence == (
        "4 files are not named; CliffWalking, qwen-32b: mean return -3,902 in the file that is, -1,727 in another"
    )
    assert finding.details.startswith("The named file has the lower mean return in 3 of 4 pairs,")


def test_numbers_are_written_as_their_unit_asks():
    written = [("share", 0.12345, "12.3%"), ("yes=1", 1, "yes"), ("yes=1", 0, "no"), ("count", 12345, "12,345")]
    written += [("return", 9.994, "9.99"), ("return", 10.04, "10.0"), ("return", -999.94, "-999.9")]
    written += [("return", -1000.4, "-1,000"), ("return", 7.0, "7"), ("return", math.nan, ""), ("share", math.nan, "")]
    assert [audit.written(value, unit) for unit, value, _ in written] == [text for _, _, text in written]


# --- Numbers, from files that are laid down --------------------------------------------------------------------------


def published(**arms):
    """Return a source whose environments all have these curves, LORO's trained for 33 iterations and 7 ahead."""
    cache = types.SimpleNamespace(name="cache.pkl")
    made = {arm: types.SimpleNamespace(returns=np.array(curves), cache=cache) for arm, curves in arms.items()}
    random = {"mountain-car": [-200.0, -190.0], "cliff-walking": [-500.0, -300.0]}
    return types.SimpleNamespace(
        published=lambda *_: made,
        trained=lambda _: 33,
        gain=lambda _: 7.0,
        random_returns=lambda env, _: np.array(random.get(env, [0.0, 0.0])),
    )


def of(numbers, env, arm):
    return {n.quantity: n.value for n in numbers if (n.env, n.arm) == (env, arm)}


def test_repeats_are_told_apart_as_plain_sums_tell_them():
    curves = np.random.default_rng(0).integers(-9, 9, (2, 5, 30)).astype(float)
    online, loro = curves.tolist()
    source = published(**{"online": online, MAIN: loro})
    first = [sum(curve[10:20]) / 10 for curve in loro]  # after ten episodes of the LLM
    sums, others = ([sum(curve) for curve in arm] for arm in (loro, online))
    numbers = audit_measures.carry_over(source)
    assert of(numbers, "pendulum", MAIN) == pytest.approx(
        {
            "first ten: repeat 0": first[0],
            "first ten: repeats 1-4": sum(first[1:]) / 4,
            "repeat 0 starts lowest": float(all(first[0] < other for other in first[1:])),
            "sum as published": sum(sums) / 5,
            "sum of repeat 0": sums[0],
            "sum of repeats 1-4": sum(sums[1:]) / 4,
            "iterations repeat 0 had trained": 33,
            "gain over online as published": sum(sums) / 5 - sum(others) / 5,
            "gain over online of repeat 0": sums[0] - sum(others) / 5,
            "online runs below repeat 0": sum(other < sums[0] for other in others),
        }
    )
    assert of(numbers, "pendulum", "online")["first ten: repeat 0"] == pytest.approx(sum(online[0][:10]) / 10)


def test_a_repeat_that_starts_as_low_as_another_does_not_start_lowest():
    for second, lowest in ((0.0, 0), (0.5, 1)):
        source = published(online=[[0.0] * 10] * 2, **{MAIN: [[9.0] * 10 + [0.0] * 10, [9.0] * 10 + [second] * 10]})
        assert of(audit_measures.carry_over(source), "cartpole", MAIN)["repeat 0 starts lowest"] == lowest


def test_what_chance_can_do_to_a_sum_is_the_variance_of_its_last_evaluations():
    curves = np.random.default_rng(1).normal(0, [[1], [2], [3]], (3, 40)).tolist()
    within = statistics.mean(statistics.variance(curve[-20:]) for curve in curves)
    expected = {
        "sd within a repeat": math.sqrt(within),
        "sd between repeats": statistics.stdev(statistics.mean(curve[-20:]) for curve in curves),
        "sd of a repeat's sum": statistics.stdev(map(sum, curves)),
        "of it by evaluation, at most": math.sqrt(40 * within),
        "of the mean of all, at most": math.sqrt(40 * within / 3),
        "published gain": 7,
    }
    numbers = audit_measures.evaluation_noise(published(online=curves))
    assert of(numbers, "pendulum", "online") == pytest.approx(expected | {"chance in an evaluation": 1})
    assert of(numbers, "cliff-walking", "online") == pytest.approx(expected | {"chance in an evaluation": 0})


def test_evaluations_of_several_episodes_are_told_by_returns_that_are_not_whole(tmp_path):
    caches = {"CartPole_Neps_10": [9.0, 10.0], "CartPole_Neps_20": [9.5, 10.0], "Pendulum_Neps_10": [-0.3, -0.4]}
    for name, values in caches.items():
        (tmp_path / f"cache_{name}.pkl").write_bytes(pickle.dumps({"online_0": values, "online_1": [1.0, 2.0]}))
    (number,) = audit_measures.means_of_several(Source(tmp_path))
    assert (number.env, number.file, number.value) == ("cartpole", "cache_CartPole_Neps_20.pkl", 0.25)


def test_random_episodes_are_as_long_as_their_returns_make_sure():
    """A step costs 1 in MountainCar and at worst 100 in CliffWalking; 201 steps may still have been capped."""
    arm = "pretrain-random_tau10_n1000"
    curves = [[-201.0] * 5 + [-202.0] * 5 + [-10.0] * 20, [-200.0] * 9 + [-20_150.0] + [-10.0] * 20]
    numbers = audit_measures.uncapped(published(online=curves, **{arm: curves}))
    first, later = 5 * 201 + 5 * 202 + 9 * 200 + 20_150, 2 * 20 * 10
    car, cliff = (of(numbers, env, arm) for env in ("mountain-car", "cliff-walking"))
    assert (car["longest has at least"], car["surely longer than the cap"]) == (20_150, 6 / 20)
    assert (cliff["longest has at least"], cliff["surely longer than the cap"]) == (202, 1 / 20)
    assert (car["lowest of the first tau"], car["highest of the first tau"]) == (-20_150, -200)
    assert (cliff["lowest of our capped random episodes"], car["lowest of our capped random episodes"]) == (-500, -200)
    assert car["sum as published"] == pytest.approx(-(first + later) / 2)
    assert car["share of the first tau"] == pytest.approx(first / (first + later))
    assert car["sum with capped episodes"] == pytest.approx(-later / 2 - 10 * 195)
    assert cliff["sum with capped episodes"] == pytest.approx(-later / 2 - 10 * 400)
    assert "longest has at least" not in of(numbers, "pendulum", arm) and not of(numbers, "pendulum", "online")


def test_the_ball_s_step_and_the_points_are_read_off_the_observations(tmp_path, monkeypatch):
    def game(ball, enemy, player, rewards):
        observations = np.zeros((len(ball), 10))
        observations[:, 4], observations[-1, 6:8] = ball, (enemy, player)
        return observations, np.zeros(len(ball)), rewards, True

    games = [game([0, 8, 8, 12, 4], 3, 1, [0, -1, 0, 1, -1]), game([50, 47], 2, 0, [0, -1])]
    monkeypatch.setattr(
        import_released, "FILES", write_files(tmp_path, {("represented-pong", "a"): authors_pickle(games)})
    )
    monkeypatch.setattr(audit_measures, "replay", lambda _, double: (0.75, 8.0) if double else (0.25, 4.0))
    assert {n.quantity: n.value for n in audit_measures.two_steps(Source(tmp_path))} == {
        "ball's step, stored": (4 + 8) / 2,  # the median of 8, 4, 8 and 3, where it stands still left out
        "replay agrees: one step": 0.25,
        "ball's step: one step": 4,
        "replay agrees: two steps": 0.75,
        "ball's step: two steps": 8,
        "points by the score": 3 + 1 + 2,
        "points in the rewards": 4,
    }


def test_the_longest_cut_off_is_the_cap_and_random_play_is_measured_there(tmp_path, monkeypatch):
    upright, fallen = [0.0] * 4, [0.0, 0.0, 0.3, 0.0]
    episodes = [([upright] * 3, [0] * 3, [1] * 3, True), ([upright] * 5, [0] * 5, [1] * 5, True)]
    episodes.append(([upright] * 9 + [fallen], [0] * 10, [1] * 10, True))
    monkeypatch.setattr(
        import_released, "FILES", write_files(tmp_path, {("cartpole", "qwen-7b"): authors_pickle(episodes)})
    )
    asked = []
    earned = [np.arange(1.0, 5.0), np.arange(1.0, 301.0)]
    monkeypatch.setattr(audit_measures, "play_at_random", lambda *what: asked.append(what) or earned)
    monkeypatch.setattr(Source, "published", published(online=[[3.0, -4.0], [1.0, 2.0]]).published)
    source = Source(tmp_path, random_episodes=6, pong_games=2)
    numbers = audit_measures.lengths(source)
    assert of(numbers, "cartpole", "qwen-7b") == {
        "mean length": 6,
        "shortest": 3,
        "longest": 10,
        "RL length": 200,
        "LLM mean return": 6,
        "random at RL length": (4 + 200) / 2,
        "LLM cap": 5,
        "random at LLM cap": (4 + 5) / 2,
    }
    assert of(numbers, "pendulum", "online") == {"lowest cached evaluation": -4}
    assert source.random_length("represented-pong") == (4 + 300) / 2
    assert asked == [("cartpole", 6), ("represented-pong", 2)]
