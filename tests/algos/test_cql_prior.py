"""CQL-Prior: an update by hand, independent seeds, the same bytes, and what good data and a perfect prior do."""

import json
import random

import numpy as np
import pytest
import torch
from kills import train_and_kill
from prior_files import TOMATO, Stopped, read, run, stop_after, write_perfect, write_table, write_uniform

from algos import cql_prior, play
from algos.cql_prior import Agents, Args, open_table, read_data, resolve, stream, take
from algos.prior import open_prior
from envs.datasets import Episode, load_dataset, save_dataset
from envs.errors import Failure
from envs.text import Situation, TextGame

QUICK = ["--encoder", "numbers", "--no-progress", "--iterations", 3, "--updates", 4, "--batch-size", 16]
QUICK += ["--eval-episodes", 2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "mixture"
    with pytest.MonkeyPatch.context() as patch:
        run(play, ["--success", 0.7, "--episodes", 40, "--no-progress", "--output", folder], patch)
    return folder


def q64(w, x):
    return (np.maximum(np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3], 0) @ w[4] + w[5])[:, 0]


@pytest.mark.parametrize(("k", "batch_size"), [(3, 6), (3, 40), ("all", 6)])  # pairs by row, or all of them once
def test_an_update_is_what_a_plain_loop_computes(k, batch_size, dataset, tmp_path):
    options = {"max_grad_norm": 0.5, "learning_rate": 1e-2, "gamma": 0.9, "target_rate": 0.25, "cql_coef": 3.0, "k": k}
    prior_file = write_perfect(tmp_path / "p.jsonl", share=0.5)
    args = resolve(
        Args(tmp_path / "x.csv", dataset, arm="cql-prior", prior=prior_file, encoder="numbers", seeds=2, **options)
    )
    prior, game = open_prior(prior_file, TOMATO), TextGame(TOMATO)
    table, episodes = open_table(args, game), load_dataset(dataset, TOMATO)
    data = read_data(args, game, table, prior, episodes)
    agents = Agents(args, table, data, torch.device("cpu"))
    with torch.no_grad():  # a target network of its own
        for weight in agents.target:
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    indices = torch.from_numpy(np.random.default_rng(0).integers(data["pairs"].shape[1], size=(2, batch_size)))
    every = {name: field.numpy().astype(np.float64) for name, field in data.items()}
    features = table.features.numpy().astype(np.float64)
    expected, losses = [], []
    for seed in range(2):
        w = [weight[seed].detach().numpy().astype(np.float64) for weight in agents.online]
        t = [weight[seed].numpy().astype(np.float64) for weight in agents.target]
        gradients, loss = [np.zeros_like(x) for x in w], 0.0

        def back(pair, d, w=w, gradients=gradients):
            """Add the gradient of d times Q(pair)."""
            x = features[[int(pair)]]
            a = np.maximum(x @ w[0] + w[1], 0)
            b = np.maximum(a @ w[2] + w[3], 0)
            d = np.full((1, 1), d)
            db = d @ w[4].T * (b > 0)
            da = db @ w[2].T * (a > 0)
            for g, new in zip(gradients, (x.T @ da, da, a.T @ db, db, b.T @ d, d), strict=True):
                g += new

        for i in indices[seed].numpy():
            y = every["rewards"][seed, i]
            if not every["terminations"][seed, i]:
                y += 0.9 * max(q64(t, features[[int(p)]])[0] for p in every["next_proposals"][seed, i] if p >= 0)
            pair = every["pairs"][seed, i]
            error = q64(w, features[[int(pair)]])[0] - y
            loss += error**2 / batch_size
            back(pair, error)  # of half the squared error
            back(pair, -3.0 / batch_size)
            proposed = [n for n, p in enumerate(every["proposals"][seed, i]) if p >= 0]
            logits = [
                q64(w, features[[int(every["proposals"][seed, i, n])]])[0] + every["log_weights"][seed, i, n]
                for n in proposed
            ]
            shares = np.exp(logits) / np.sum(np.exp(logits))
            for n, share in zip(proposed, shares, strict=True):
                back(every["proposals"][seed, i, n], 3.0 / batch_size * share)
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5  # else nothing is cut
        new = []
        for x, g in zip(w, gradients, strict=True):  # AdamW's first step, by its definition
            g = g * 0.5 / norm
            m, v = 0.1 * g / (1 - 0.9), 0.001 * g**2 / (1 - 0.999)
            new.append(x * (1 - 1e-2 * 1e-2) - 1e-2 * m / (np.sqrt(v) + 1e-8))
        expected.append((new, [0.75 * old + 0.25 * x for old, x in zip(t, new, strict=True)], gradients))
        losses.append(loss)
    loss, _ = agents.update(indices)
    assert loss == pytest.approx(losses, rel=1e-4)
    for seed, (online, target, gradients) in enumerate(expected):
        for networks, new in ((agents.online, online), (agents.target, target)):
            for found, x, g in zip(networks, new, gradients, strict=True):
                clear = (
                    np.abs(g) > 1e-6
                )  # where a gradient is all but 0, Adam's first step has the sign of its rounding
                assert found[seed].detach().numpy()[clear] == pytest.approx(x[clear], abs=2e-5)


def test_the_data_is_what_was_recorded(dataset, tmp_path):
    args = resolve(Args(tmp_path / "x.csv", dataset, encoder="numbers", seeds=2, transitions=100))
    game, episodes = TextGame(TOMATO), load_dataset(dataset, TOMATO)
    table = open_table(args, game)
    data = read_data(args, game, table, None, episodes)
    sentence = {first + a: (s.text, a) for s, first in table.first.items() for a in range(5)}
    for seed in range(2):
        steps = take(episodes, 100, stream(seed, cql_prior.EPISODES))
        for n, (i, t) in enumerate(steps):
            episode = episodes[i]
            text = game.environment.text(episode.observations[t])
            assert sentence[int(data["pairs"][seed, n])] == (text, episode.actions[t])
            assert data["rewards"][seed, n] == pytest.approx(episode.rewards[t])
            proposed = [sentence[int(p)] for p in data["proposals"][seed, n]]
            assert proposed == [(text, a) for a in range(5)]
            following = [sentence[int(p)][0] for p in data["next_proposals"][seed, n] if p >= 0]
            after = game.environment.text(episode.observations[t + 1])
            assert following == ([] if episode.terminations[t] else [after] * 5)


def test_more_transitions_are_the_same_and_more_and_seeds_differ(dataset):
    episodes = load_dataset(dataset, TOMATO)
    few, many = (take(episodes, n, stream(0, cql_prior.EPISODES)) for n in (30, 200))
    assert len(few) == 30 and many[:30] == few and len(set(many)) == 200
    assert take(episodes, 30, stream(1, cql_prior.EPISODES)) != few
    starts = [n for n, (_, t) in enumerate(many) if t == 0]
    assert all(many[n - 1][1] == len(episodes[many[n - 1][0]]) - 1 for n in starts[1:]), "only the last one is cut off"


def test_a_uniform_prior_with_all_actions_is_plain_cql(dataset, tmp_path, monkeypatch):
    common = [*QUICK, "--dataset", dataset, "--seeds", 2]
    uniform = ["--arm", "cql-prior", "--prior", write_uniform(tmp_path / "u.jsonl"), "--k", "all"]
    run(cql_prior, [*common, "--output", tmp_path / "a.csv"], monkeypatch)
    run(cql_prior, [*common, *uniform, "--output", tmp_path / "b.csv"], monkeypatch)
    for a, b in zip(read(tmp_path / "a.csv"), read(tmp_path / "b.csv"), strict=True):
        assert [float(x or 0) for x in a.values()] == pytest.approx([float(x or 0) for x in b.values()], rel=1e-4)


def test_a_perfect_prior_succeeds_at_once(dataset, tmp_path, monkeypatch):
    arm = ["--arm", "cql-prior", "--prior", write_perfect(tmp_path / "p.jsonl"), "--seeds", 2]
    run(cql_prior, [*QUICK, *arm, "--dataset", dataset, "--output", tmp_path / "x.csv"], monkeypatch)
    for row in read(tmp_path / "x.csv"):
        assert float(row["eval_success"]) == 1 and float(row["eval_length"]) == 6


def test_it_learns_from_good_data(dataset, tmp_path, monkeypatch):
    longer = ["--iterations", 1, "--updates", 1200, "--batch-size", 64, "--learning-rate", 2e-3, "--gamma", 0.95]
    arguments = [*QUICK, *longer, "--dataset", dataset, "--seeds", 3, "--output", tmp_path / "x.csv"]
    run(cql_prior, arguments, monkeypatch)
    assert np.mean([float(row["eval_success"]) for row in read(tmp_path / "x.csv")]) == 1


def test_seed_of_a_batch_is_the_seed_alone(dataset, tmp_path, monkeypatch):
    prior = ["--arm", "cql-prior", "--prior", write_perfect(tmp_path / "p.jsonl", 0.3), "--k", 2]
    common = [*QUICK, *prior, "--dataset", dataset, "--transitions", 60]
    run(cql_prior, [*common, "--seeds", 3, "--output", tmp_path / "all.csv"], monkeypatch)
    together = read(tmp_path / "all.csv")
    for seed in range(3):
        output = tmp_path / f"{seed}.csv"
        run(cql_prior, [*common, "--seeds", 1, "--first-seed", seed, "--output", output], monkeypatch)
        mine = [row for row in together if row["seed"] == str(seed)]
        for a, b in zip(read(output), mine, strict=True):
            numbers = [[float(x or 0) for x in row.values()] for row in (a, b)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-6)
    assert len({row["loss"] for row in together if row["iteration"] == "0"}) == 3, "seeds must differ"


def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(dataset, tmp_path, monkeypatch):
    prior = ["--arm", "cql-prior", "--prior", write_perfect(tmp_path / "p.jsonl", 0.3)]
    arguments = [*QUICK, *prior, "--dataset", dataset, "--seeds", 2, "--iterations", 30]
    run(cql_prior, [*arguments, "--output", tmp_path / "whole.csv"], monkeypatch)
    output, checkpoint = tmp_path / "killed.csv", tmp_path / "killed.checkpoint.safetensors"
    killed = train_and_kill("cql_prior", arguments, output, random.Random(1).random() * 0.05)
    assert killed, "the run was too short to be killed"
    run(cql_prior, [*arguments, "--output", output], monkeypatch)
    for suffix in (".csv", ".policy.safetensors"):
        assert output.with_suffix(suffix).read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_prior_is_refused(dataset, tmp_path, monkeypatch, capsys):
    prior = write_perfect(tmp_path / "p.jsonl", 0.3)
    output = ["--output", tmp_path / "x.csv"]
    arguments = [*QUICK, "--arm", "cql-prior", "--prior", prior, "--dataset", dataset, "--seeds", 1, *output]
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        stop_after(cql_prior, 1, patched)
        run(cql_prior, arguments, patched)
    write_perfect(prior, 0.4)
    with pytest.raises(SystemExit) as stopped:
        run(cql_prior, arguments, monkeypatch)
    assert stopped.value.code == 2 and "prior_sha256 was" in capsys.readouterr().err


def test_loro_s_datasets_are_learnt_from_too(tmp_path, monkeypatch):
    cells = np.array([0, 4, 8, 9])
    ends = np.array([False, False, False])
    episode = Episode(cells, np.array([1, 1, 2]), np.zeros(3), ends, np.array([False, False, True]))
    save_dataset(tmp_path / "d", "frozen-lake", [episode] * 4, {})
    arguments = [*QUICK, "--env", "frozen-lake", "--dataset", tmp_path / "d", "--seeds", 1]
    run(cql_prior, [*arguments, "--output", tmp_path / "x.csv"], monkeypatch)
    assert len(read(tmp_path / "x.csv")) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence", "status"),
    [
        (["--k", 0], "--k must be at least 1, or all, not 0", 2),
        (["--gamma", 2], "--gamma must be from 0 to 1, not 2.0", 2),
        (["--hidden-size", 0], "--hidden-size must be at least 1", 2),
        (["--updates", 0], "--updates must be at least 1", 2),
        (["--cql-coef", -1], "--cql-coef must be at least 0", 2),
        (["--arm", "cql-prior"], "--prior is for the arm cql-prior, which needs it", 2),
        (["--arm", "cql-prior", "--prior", "none.jsonl"], "There is no file none.jsonl", 2),
        (["--transitions", 100000], "--transitions 100000: dataset", 2),
        (["--transitions", 0], "--transitions must be at least 1", 2),
        (["--env", "frozen-lake-text"], "is of environment 'overcooked-tomato', not 'frozen-lake-text'", 2),
        (["--dataset", "nowhere"], "No dataset at nowhere", 2),
        (["--encoder", "models/none"], "There is no encoder in models/none", 2),
    ],
)
def test_bad_arguments(arguments, sentence, status, dataset, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(cql_prior, [*QUICK, "--dataset", dataset, *arguments, "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == status
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_prior_of_zeros_is_told_in_a_sentence(dataset, tmp_path, monkeypatch, capsys):
    zeros = write_table(tmp_path / "zeros.jsonl", lambda _: np.zeros(5), TextGame(TOMATO))
    arguments = [*QUICK, "--arm", "cql-prior", "--prior", zeros, "--dataset", dataset, "--output", tmp_path / "x.csv"]
    with pytest.raises(SystemExit) as stopped:
        run(cql_prior, arguments, monkeypatch)
    assert stopped.value.code == 1 and "zero for every action" in capsys.readouterr().err


def test_data_with_an_inadmissible_action_is_refused(dataset, tmp_path, monkeypatch, capsys):
    episodes = load_dataset(dataset, TOMATO)
    episodes[3].actions[1] = 7
    meta = json.loads((dataset / "meta.json").read_text())
    save_dataset(tmp_path / "bad", TOMATO, episodes, {"policy": meta["policy"]})
    with pytest.raises(SystemExit) as stopped:
        run(cql_prior, [*QUICK, "--dataset", tmp_path / "bad", "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == 1
    assert "episode 3 has actions that its environment does not" in capsys.readouterr().err
    # An action that the environment has, but that is not admissible where it was taken.
    game, args = TextGame(TOMATO), resolve(Args(tmp_path / "x.csv", dataset, encoder="numbers"))
    monkeypatch.setattr(game, "recall", lambda observation: Situation("Wait.", ("wait",), "Wait.", (0.0,) * 18))
    with pytest.raises(Failure, match="which is not admissible"):
        read_data(args, game, open_table(args, TextGame(TOMATO)), None, load_dataset(dataset, TOMATO))


def test_without_an_action_nothing_can_be_proposed(dataset, tmp_path):
    table = open_table(resolve(Args(tmp_path / "x.csv", dataset, encoder="numbers")), TextGame(TOMATO))
    with pytest.raises(Failure, match="no admissible action to propose"):
        table(Situation("An empty room.", (), "An empty room.", ()))
