"""The audit: planted defects are reported with the planted numbers, and where there are none it says so."""

import csv
import hashlib
import math
import pickle
import shutil
import sys
import types
from unittest import mock

import numpy as np
import pytest

import envs
from analysis import audit, audit_measures, import_released
from analysis.audit_measures import Source
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


def authors_pickle(episodes):
    """Pickle (observations, actions, rewards, terminated) with classes named as the authors' are."""
    homes = {"Episode": "components", "InfiniteBuffer": "buffers", "MDPDataset": "compat"}
    modules = {name: types.ModuleType(name) for name in ("d3rlpy", "d3rlpy.dataset")}
    made = {}
    for name, home in homes.items():
        made[name] = type(name, (), {"__module__": f"d3rlpy.dataset.{home}"})
        modules[f"d3rlpy.dataset.{home}"] = types.ModuleType(home)
        setattr(modules[f"d3rlpy.dataset.{home}"], name, made[name])
    dataset, buffer = made["MDPDataset"](), made["InfiniteBuffer"]()
    buffer._episodes, dataset._buffer = [], buffer
    for observations, actions, rewards, terminated in episodes:
        record = made["Episode"]()
        record.observations, record.actions = np.array(observations), np.array(actions).reshape(-1, 1)
        record.rewards, record.terminated = np.array(rewards, dtype=float).reshape(-1, 1), bool(terminated)
        buffer._episodes.append(record)
    with mock.patch.dict(sys.modules, modules):
        return pickle.dumps(dataset, protocol=4)


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
        arm(cache, "online", length)
        first = first or cache.copy()
        cache |= {} if defects else first
        for llm in ("7b", "32b"):
            arm(cache, f"finetune_{llm}", length)
            for steps in (1000, 3000):
                key = f"pretrain_{llm}_{steps}"
                arm(cache, key, length + 7)
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
    assert sorted(effects) == list(range(1, 13))
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
    assert trained == [length + 7 for length in ITERATIONS.values()]

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
    assert {i for i, effect in effects.items() if effect.startswith("not found")} == {2, 3, 4, 5, 6, 7, 8, 12}
    assert page.count("Not found in these files") == 8
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
