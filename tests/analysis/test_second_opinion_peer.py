"""What d3rlpy is asked to do, with a stand-in for d3rlpy that writes every call down."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

ANALYSIS = Path(__file__).parents[2] / "analysis"


class Learner:
    """Counts what it is taught; an evaluation returns the count."""

    made = 0

    def __init__(self, log, settings):
        Learner.made += 1
        self.log, self.settings, self.name, self.steps = log, settings, Learner.made, 0

    def fit(self, dataset, n_steps, **_):
        self.log.append(("offline", self.name, self.settings["target_update_interval"], n_steps, dataset))

    def fit_online(self, env, buffer, explorer, n_steps, **_):
        self.steps += n_steps
        self.log.append(("online", self.name, self.settings["target_update_interval"], n_steps, buffer, explorer))


@pytest.fixture
def peer(monkeypatch):
    """Return the program with its stand-in, and the calls that are made of it."""
    log, buffers = [], iter(range(100))
    library = ModuleType("d3rlpy")
    library.algos = SimpleNamespace(
        DoubleDQNConfig=lambda **settings: SimpleNamespace(create=lambda device: Learner(log, settings)),
        QLearningAlgoBase=object,
        ConstantEpsilonGreedy=lambda epsilon: f"epsilon {epsilon}",
    )
    library.dataset = SimpleNamespace(
        MDPDataset=lambda *arrays: [array.tolist() for array in arrays],
        create_fifo_replay_buffer=lambda limit, env: (limit, next(buffers)),
    )
    library.seed = lambda seed: log.append(("seed", seed))
    library.envs = SimpleNamespace(seed_env=lambda env, seed: log.append(("environment's seed", seed)))
    modules = {"d3rlpy": library, "d3rlpy.logging": ModuleType("logging"), "d3rlpy.metrics": ModuleType("metrics")}
    modules["d3rlpy.logging"].NoopAdapterFactory = lambda: None
    modules["d3rlpy.metrics"].EnvironmentEvaluator = lambda env, n_trials: (
        lambda learner, dataset: learner.steps + 0.5 * (n_trials - 1)
    )
    modules["structlog"] = ModuleType("structlog")
    modules["structlog"].configure = modules["structlog"].make_filtering_bound_logger = lambda *_, **__: None
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "bench_peer", raising=False)
    monkeypatch.syspath_prepend(ANALYSIS)
    spec = importlib.util.spec_from_file_location("peer", ANALYSIS / "second_opinion_peer.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    Learner.made = 0
    yield program, log
    sys.modules.pop("bench_peer", None)


def run(program, arm, tmp_path, monkeypatch, capsys):
    arrays = {"observations": np.ones((3, 4)), "actions": np.array([0, 1, 0]), "rewards": np.ones(3)}
    np.savez(tmp_path / "episodes.npz", **arrays, terminals=np.array([0.0, 0.0, 1.0]))
    options = ["--seed", "7", "--repeats", "2", "--iterations", "3", "--pretrain-steps", "3000"]
    monkeypatch.setattr(sys, "argv", ["peer", "cartpole", arm, str(tmp_path / "episodes.npz"), *options])
    program.main()
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_chain_of_loro_is_pretrained_once_and_hands_one_network_on(peer, tmp_path, monkeypatch, capsys):
    program, log = peer
    printed = run(program, "loro", tmp_path, monkeypatch, capsys)
    recorded = [np.ones((3, 4)).tolist(), [0, 1, 0], [1, 1, 1], [0, 0, 1]]
    assert log[:3] == [("seed", 7), ("environment's seed", 7), ("offline", 1, 200, 3000, recorded)]
    repeats = [("online", 1, 200, 200, (100_000, buffer), "epsilon 0.1") for buffer in (0, 0, 0, 1, 1, 1)]
    assert log[3:] == repeats, "one network, 200 steps at a time, an empty buffer for each repeat"
    # one greedy episode after every 200 steps, and the second repeat goes on where the first ended
    assert printed == [[str(k // 3), str(k % 3), str(200.0 * (k + 1))] for k in range(6)]


def test_agents_of_online_rl_have_networks_of_their_own_and_learn_nothing_offline(peer, tmp_path, monkeypatch, capsys):
    program, log = peer
    printed = run(program, "online", tmp_path, monkeypatch, capsys)
    trained = [call for call in log if call[0] in ("offline", "online")]
    networks = [name for _, name, *_ in trained]
    assert len(set(networks[:3])) == len(set(networks[3:])) == 1 and networks[0] != networks[3]
    assert [call[2:5] for call in trained] == [(1000, 200, (100_000, buffer)) for buffer in (0, 0, 0, 1, 1, 1)]
    assert [float(value) for *_, value in printed] == [200, 400, 600] * 2
