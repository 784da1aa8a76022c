"""DQN and SAC against Algorithm 1 as a plain loop: the buffer at every update, and every row of the CSV.

Updates are watched and not made, so that the networks stay as they were drawn and every action can be told from them.
"""

import importlib

import numpy as np
import pytest
import torch
from recording import Recorder, read, run

import envs
from envs.datasets import Episode, save_dataset

SEEDS, ITERATIONS, TAU, BATCH = 2, 5, 2, 8
STEPS = 250  # of an iteration: an episode that is cut off at 200, and a part of one
LENGTHS = (7, 4, 9)  # of the recorded episodes; the first ends by itself, the second is cut off, the third is not used
PRETRAIN_STEPS = 610  # no multiple of an iteration's
TARGETS = {"offline": 30, "online": 70}
OFFLINE_ARMS = ("loro", "mix", "pretrain-random")


def recorded(env):
    """Return the three made-up episodes of an environment."""
    generator, episodes = np.random.default_rng(3), []
    for length, cut_off in zip(LENGTHS, (False, True, False), strict=True):
        if env == "pendulum":
            angles = generator.uniform(-3, 3, length + 1)
            observations = np.stack([np.cos(angles), np.sin(angles), angles], axis=1).astype(np.float32)
            actions = generator.uniform(-2, 2, (length, 1)).astype(np.float32)
        else:
            observations, actions = generator.integers(48, size=length + 1), generator.integers(4, size=length)
        ends = np.arange(length) == length - 1
        rewards = generator.integers(-9, 0, length).astype(float)
        episodes.append(Episode(observations, actions, rewards, ends & (not cut_off), ends & cut_off))
    return episodes


def offline_rows(env, shifted, cutoff_as_terminal, unscaled):
    """Return what enters the buffer of the first two episodes, step by step: torques as shares of the largest."""
    rows = []
    for episode, cut_off in zip(recorded(env)[:TAU], (False, True), strict=True):
        last = len(episode.actions) - 1
        for t, (action, reward) in enumerate(zip(episode.actions, episode.rewards, strict=True)):
            now, after = (t + 1, min(t + 2, last + 1)) if shifted else (t, t + 1)
            ends = t == last and (not cut_off or cutoff_as_terminal)
            if t == last and shifted and not ends:
                continue  # what follows the last observation is not known
            share = action / 2 if env == "pendulum" and not unscaled else action
            rows.append((episode.observations[now], share, reward, episode.observations[after], ends))
    return rows


def algorithm_1(arm, repeats, discard, offline, played):
    """Return the updates as (phase, buffer), `played` giving one agent's steps in the environment, in order."""
    updates, played = [], iter(played)

    def iteration(buffer):
        for _ in range(STEPS):
            buffer.append(next(played))
            if len(buffer) > BATCH:
                updates.append(("online", list(buffer)))

    for repeat in range(repeats):
        buffer = list(offline) if arm in OFFLINE_ARMS else []
        for _ in range(TAU if arm == "pretrain-on-policy" else 0):
            iteration(buffer)
        if arm in ("loro", "pretrain-random", "pretrain-on-policy") and repeat == 0:
            updates += [("offline", list(buffer))] * PRETRAIN_STEPS
        if arm in ("loro", "mix") and discard:
            buffer = []
        for _ in range(ITERATIONS if arm == "online" else ITERATIONS - TAU):
            iteration(buffer)
    return updates


class Watched:
    """A run of one program with its updates, its environments and its evaluations in sight."""

    def __init__(self, env, arm, options, tmp_path, monkeypatch):
        self.env, self.arm, self.options, self.learner = env, arm, options, envs.get(env).learner
        self.released, self.repeats = "released" in options, 2 if "--carry-over" in options else 1
        self.module = importlib.import_module(f"algos.{self.learner}")
        self.updates, self.environments, self.agents = [], [], None
        make = envs.make
        watched = self

        def make_and_watch(*arguments, **more):
            watched.environments.append(Recorder(make(*arguments, **more)))
            return watched.environments[-1]

        def update(self, indices, *rest):
            kept = {}
            if len(watched.updates) % 97 == 0:
                for name, field in self.buffer.fields.items():
                    kept[name] = field[:, : len(self.buffer)].clone().numpy()
            watched.updates.append((len(self.buffer), indices.clone().numpy(), rest, kept))
            watched.agents = self
            self.updates += 1

        def evaluate(agents, eval_envs, repeat, iteration):
            return 100 * repeat + iteration + np.arange(SEEDS) / 10, 7 + np.arange(SEEDS)

        monkeypatch.setattr(self.module.envs, "make", make_and_watch)
        monkeypatch.setattr(self.module.Agents, "update", update)
        monkeypatch.setattr(self.module, "evaluate", evaluate)
        save_dataset(tmp_path / "data", env, recorded(env), {"policy": "random"})
        arguments = ["--env", env, "--arm", arm, "--tau", TAU, "--pretrain-steps", PRETRAIN_STEPS, "--no-progress"]
        arguments += ["--dataset", tmp_path / "data"] if arm in OFFLINE_ARMS else []
        arguments += ["--iterations", ITERATIONS, "--iteration-steps", STEPS, "--batch-size", BATCH, "--seeds", SEEDS]
        if self.learner == "dqn":
            arguments += ["--target-update-interval", TARGETS["online"]]
            arguments += ["--offline-target-update-interval", TARGETS["offline"]]
        arguments += ["--hidden-size", 16, "--output", tmp_path / "run.csv", *options]
        run(self.learner, arguments, monkeypatch)
        self.environments = [watching for watching in self.environments if watching.steps]  # evaluations take none
        self.rows = read(tmp_path / "run.csv")

    def played(self, agent):
        """Return an agent's steps as they should enter the buffer."""
        scale = 2 if self.env == "pendulum" and not self.released else 1
        return [(s, a / scale, r, s2, end) for s, a, r, s2, end, _ in self.environments[agent].steps]


CASES = [
    ("loro", ["--carry-over", 2]),
    ("loro", ["--protocol", "released", "--carry-over", 2]),
    ("loro", ["--shifted", "True"]),
    ("loro", ["--cutoff-as-terminal", "True"]),
    ("mix", []),
    ("mix", ["--protocol", "released"]),
    ("mix", ["--protocol", "released", "--discard-offline", "False"]),
    ("pretrain-random", []),
    ("pretrain-on-policy", []),
    ("online", []),
]


@pytest.fixture(
    scope="module", params=[(env, *case) for env in ("cliff-walking", "pendulum") for case in CASES], ids=str
)
def run_(request, tmp_path_factory):
    """Return the run of one case, which all tests of it look at."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Watched(*request.param, tmp_path_factory.mktemp("run"), monkeypatch)


def test_every_update_sees_the_buffer_of_algorithm_1(run_):
    flags = {name: run_.released or f"--{name}" in run_.options for name in ("shifted", "cutoff-as-terminal")}
    offline = offline_rows(run_.env, flags["shifted"], flags["cutoff-as-terminal"], unscaled=run_.released)
    discards = run_.released and "--discard-offline" not in run_.options
    for agent in range(SEEDS):
        expected = algorithm_1(run_.arm, run_.repeats, discards, offline, run_.played(agent))
        assert [size for size, *_ in run_.updates] == [len(buffer) for _, buffer in expected]
        kept = [(buffer, found) for (_, buffer), (*_, found) in zip(expected, run_.updates, strict=True) if found]
        assert len(kept) > 5
        for buffer, found in kept:
            for column, (name, field) in enumerate(found.items()):
                wanted = np.array([row[column] for row in buffer], dtype=float).reshape(field[agent].shape)
                np.testing.assert_allclose(field[agent], wanted, rtol=1e-6, err_msg=name)
    if run_.learner == "dqn":
        assert [rest[0] for *_, rest, _ in run_.updates] == [TARGETS[phase] for phase, _ in expected]


@pytest.mark.parametrize("env", ["cliff-walking", "pendulum"])
def test_minibatches_are_uniform_over_all_that_was_stored_until_then(env, tmp_path, monkeypatch):
    run_ = Watched(env, "loro", [], tmp_path, monkeypatch)
    shares = []
    for size, indices, *_ in run_.updates:
        assert indices.min() >= 0 and indices.max() < size
        shares.append((indices + 0.5) / size)
    shares = np.array(shares)
    for phase in (shares[:PRETRAIN_STEPS], shares[PRETRAIN_STEPS:]):
        for agent in range(SEEDS):  # a uniform number has the mean 1/2 and the variance 1/12
            assert phase[:, agent].mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / phase[:, agent].size))
    newest = [(indices == size - 1).mean() * size for size, indices, *_ in run_.updates[PRETRAIN_STEPS:]]
    assert np.mean(newest) == pytest.approx(1, abs=0.5), "the transition just stored can be drawn like any other"
    assert len({indices.tobytes() for _, indices, *_ in run_.updates[:PRETRAIN_STEPS]}) > 0.99 * PRETRAIN_STEPS
    assert not np.array_equal(run_.updates[-1][1][0], run_.updates[-1][1][1]), "two agents draw for themselves"
    if env == "pendulum":
        noise = torch.stack([rest[0] for *_, rest, _ in run_.updates]).numpy()
        assert len(np.unique(noise)) > 0.99 * noise.size
        assert noise.mean() == pytest.approx(0, abs=4 / np.sqrt(noise.size))
        assert noise.std() == pytest.approx(1, abs=0.02)


def test_epsilon_greedy_is_greedy_but_for_epsilon(tmp_path, monkeypatch):
    run_ = Watched("cliff-walking", "online", ["--epsilon", "0.4"], tmp_path, monkeypatch)
    steps = [env.steps for env in run_.environments[:SEEDS]]
    observations = np.array([[step[0] for step in of_agent] for of_agent in steps])
    actions = np.array([[step[1] for step in of_agent] for of_agent in steps])
    other = (actions != run_.agents.act(observations)).mean()
    expected = 0.4 * 3 / 4  # one of the four actions is the greedy one
    assert other == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / actions.size))
    agreeing = [(a[STEPS * i : STEPS * (i + 1)] == a[:STEPS]).mean() for a in actions for i in range(1, ITERATIONS)]
    assert max(agreeing) < 1, "no iteration repeats another one's draws"


def test_sac_explores_with_its_normal_distribution(tmp_path, monkeypatch):
    run_ = Watched("pendulum", "online", [], tmp_path, monkeypatch)
    for agent in range(SEEDS):
        w1, b1, w2, b2, w3, b3 = (weight[agent].detach().double().numpy() for weight in run_.agents.actor)
        observations = np.array([step[0] for step in run_.environments[agent].steps], dtype=float)
        hidden = np.maximum(np.maximum(observations @ w1 + b1, 0) @ w2 + b2, 0)
        mean, log_std = (hidden @ w3.T + b3).T
        torques = np.array([step[1][0] for step in run_.environments[agent].steps], dtype=float)
        drawn = (np.arctanh(torques / 2) - mean) / np.exp(log_std)
        assert drawn.mean() == pytest.approx(0, abs=4 / np.sqrt(drawn.size))
        assert drawn.std() == pytest.approx(1, abs=0.1)


def test_every_row_says_what_happened(run_):
    returns = [float(sum(episode.rewards)) for episode in recorded(run_.env)]
    counted = 3 if run_.released else TAU  # the warm-up's mean: over all that were collected, or those used
    taken = np.zeros(SEEDS, dtype=int)
    rows = {(int(row["seed"]), int(row["repeat"]), int(row["iteration"])): row for row in run_.rows}
    assert len(rows) == len(run_.rows) == SEEDS * ITERATIONS * run_.repeats
    for agent, repeat, iteration in sorted(rows):
        row = rows[agent, repeat, iteration]
        if run_.arm in OFFLINE_ARMS and iteration < TAU:
            assert float(row["env_steps"]) == sum(LENGTHS[: iteration + 1])
            assert float(row["train_return"]) == returns[iteration]
            assert float(row["eval_return"]) == pytest.approx(np.mean(returns[:counted]))
            assert float(row["eval_length"]) == pytest.approx(np.mean(LENGTHS[:counted]))
            assert row["loss"] == row["q_mean"] == ""
            continue
        before, online = (sum(LENGTHS[:TAU]), iteration + 1 - TAU) if run_.arm in OFFLINE_ARMS else (0, iteration + 1)
        assert float(row["env_steps"]) == before + online * STEPS
        steps = run_.environments[agent].steps[taken[agent] : taken[agent] + STEPS]
        taken[agent] += STEPS
        begun = 1 + sum(bool(step[4] or step[5]) for step in steps[:-1])
        assert float(row["train_return"]) == pytest.approx(sum(step[2] for step in steps) / begun)
        assert float(row["eval_return"]) == pytest.approx(100 * repeat + iteration + agent / 10)
        assert float(row["eval_length"]) == 7 + agent
        assert float(row["loss"] or 0) == float(row["q_mean"] or 0) == 0  # nothing was learnt
    assert begun == 2, "an episode of 200 steps and the beginning of another"
