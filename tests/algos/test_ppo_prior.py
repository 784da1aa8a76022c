"""PPO-Prior: an update by hand, independent seeds, the same bytes, and the pull of the prior."""

import numpy as np
import pytest
import torch
from prior_files import TOMATO, Stopped, read, run, stop_after, write_perfect, write_table, write_uniform

from algos import ppo_prior
from algos.ppo_prior import Agents, Args, Table, gae, minibatches, open_table, resolve
from algos.prior import open_prior
from envs.errors import Failure, UsageError
from envs.text import Situation, TextGame

QUICK = ["--encoder", "numbers", "--no-progress", "--iterations", 3, "--iteration-episodes", 2, "--eval-episodes", 2]


def agents_of(tmp_path, prior_file=None, seeds=2, **options):
    arm = "ppo-prior" if prior_file else "ppo"
    args = resolve(Args(tmp_path / "x.csv", arm=arm, prior=prior_file, encoder="numbers", seeds=seeds, **options))
    game = TextGame(args.env)
    table = open_table(args, game, open_prior(prior_file, args.env) if prior_file else None)
    for situation in game.situations():
        table(situation)
    return Agents(args, table, torch.device("cpu")), game


def rollout_of(lengths, states, actions, generator):
    """Return made-up steps [S, N] of episodes of the given lengths, one list for each seed, padded."""
    longest = max(map(sum, lengths))
    drawn = {
        "states": generator.integers(states, size=(len(lengths), longest)),
        "actions": generator.integers(actions, size=(len(lengths), longest)),
        "rewards": generator.normal(size=(len(lengths), longest)).astype(np.float32),
        "next_states": generator.integers(states, size=(len(lengths), longest)),
        "terminations": np.zeros((len(lengths), longest), np.float32),
        "ends": np.zeros((len(lengths), longest), np.float32),
        "weights": np.zeros((len(lengths), longest), np.float32),
    }
    for seed, episodes in enumerate(lengths):
        ends = np.cumsum(episodes) - 1
        drawn["ends"][seed, ends] = 1
        drawn["terminations"][seed, ends[::2]] = 1  # the others are truncations
        drawn["weights"][seed, : sum(episodes)] = 1
        for name in drawn:
            drawn[name][seed, sum(episodes) :] = 0
    return {name: torch.from_numpy(values) for name, values in drawn.items()}


def reference(agents, rollout, seed):
    """Return the weights after one step on the seed's whole rollout: one transition after the other, float64."""
    args, table = agents.args, agents.table.states(range(len(agents.table)), torch.device("cpu"))
    weights = [w[seed].detach().double().requires_grad_() for w in agents.weights]
    actor, critic = weights[:6], weights[6:]

    def net(w, x):
        return (torch.tanh(torch.tanh(x @ w[0] + w[1]) @ w[2] + w[3]) @ w[4] + w[5])[0, 0]

    def log_pi(state):
        scores = torch.stack([net(actor, table.features[state, a].double()[None]) for a in range(5)])
        return scores - torch.logsumexp(scores, 0)

    def value(state):
        return net(critic, table.own[state].double()[None])

    n = int(rollout["weights"][seed].sum())
    steps = [{name: field[seed, t].item() for name, field in rollout.items()} for t in range(n)]
    with torch.no_grad():
        values = [value(step["states"]).item() for step in steps]
        old = [log_pi(step["states"])[step["actions"]].item() for step in steps]
        deltas = [
            step["rewards"] - v + (0 if step["terminations"] else args.gamma * value(step["next_states"]).item())
            for step, v in zip(steps, values, strict=True)
        ]
    advantages = []
    for t in range(n):  # by the definition: a sum of discounted deltas to the end of the episode
        last = next(u for u in range(t, n) if steps[u]["ends"])
        advantages.append(sum((args.gamma * args.gae_lambda) ** (u - t) * deltas[u] for u in range(t, last + 1)))
    normalised = (np.array(advantages) - np.mean(advantages)) / (np.std(advantages, ddof=1) + 1e-8)
    loss = divergence = torch.zeros((), dtype=torch.float64)
    for step, v, log_old, raw, advantage in zip(steps, values, old, advantages, normalised, strict=True):
        log_probs = log_pi(step["states"])
        ratio = torch.exp(log_probs[step["actions"]] - log_old)
        surrogate = torch.min(advantage * ratio, advantage * torch.clamp(ratio, 1 - args.clip_coef, 1 + args.clip_coef))
        entropy = -(log_probs.exp() * log_probs).sum()
        log_prior = table.log_prior[step["states"]].double()
        divergence = divergence + (log_probs.exp() * (log_probs - log_prior)).sum() / n
        error = (value(step["states"]) - (raw + v)) ** 2
        loss = loss + (-surrogate - args.ent_coef * entropy + args.vf_coef * 0.5 * error) / n
    if args.arm == "ppo-prior":
        loss = loss + args.alpha * divergence
    loss.backward()
    norm = torch.sqrt(sum((w.grad**2).sum() for w in weights)).item()
    scale = min(1, args.max_grad_norm / norm)
    new = [(w - args.learning_rate * w.grad * scale / ((w.grad * scale).abs() + 1e-5)).detach() for w in weights]
    return loss.item(), divergence.item(), norm, new


@pytest.mark.parametrize("prior", [False, True])
def test_an_update_is_what_a_plain_loop_computes(prior, tmp_path):
    file = write_perfect(tmp_path / "p.jsonl", 0.6) if prior else None
    options = {"num_minibatches": 1, "update_epochs": 1, "gamma": 0.9, "alpha": 0.7, "max_grad_norm": 0.3}
    agents, _ = agents_of(tmp_path, file, **options)
    rollout = rollout_of([[3, 4, 2], [5, 1]], len(agents.table), 5, np.random.default_rng(0))
    expected = [reference(agents, rollout, seed) for seed in range(2)]
    loss, _, divergence = agents.update(rollout, 0)
    for seed, (wanted, kl, norm, new) in enumerate(expected):
        assert norm > 0.3  # else nothing is cut
        assert loss[seed] == pytest.approx(wanted, abs=1e-5) and divergence[seed] == pytest.approx(kl, abs=1e-5)
        for found, x in zip(agents.weights, new, strict=True):
            assert found[seed].detach().numpy() == pytest.approx(x.numpy(), abs=2e-5)


def agents_in_rooms(tmp_path, exits, seeds=2):
    """Return agents that have met rooms with so many exits each."""

    def encode(situation):
        generator = np.random.default_rng(len(situation.actions))
        return generator.normal(size=(len(situation.actions), 3)), generator.normal(size=2)

    table = Table(encode, None, floor=0)
    for n in exits:
        table(Situation(f"A room with {n} exits.", tuple(f"take exit {i}" for i in range(n)), "", ()))
    return Agents(resolve(Args(tmp_path / "x.csv", seeds=seeds)), table, torch.device("cpu"))


def test_a_state_that_no_rollout_visits_changes_no_bit(tmp_path):
    """An evaluation may meet more actions than training ever does, and a resumed run has met other states."""
    few, more = (agents_in_rooms(tmp_path, exits) for exits in ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6, 22)))
    rollout = rollout_of([[3, 4, 2], [5, 1]], 5, 2, np.random.default_rng(0))
    measured = [agents.update(rollout, iteration) for agents in (few, more) for iteration in range(3)]
    assert np.array_equal(measured[:3], measured[3:])
    assert all(torch.equal(a, b) for a, b in zip(few.weights, more.weights, strict=True))
    for room, exits in enumerate((2, 3, 4, 5, 6)):
        p = more.p(1, room)
        assert len(p) == exits and p.sum() == pytest.approx(1, abs=1e-6) and np.array_equal(p, few.p(1, room))


def test_advantages_are_the_sums_that_define_them():
    generator = np.random.default_rng(0)
    deltas, ends = generator.normal(size=(2, 9)), (generator.random((2, 9)) < 0.3).astype(float)
    found = gae(torch.from_numpy(deltas), torch.from_numpy(ends), 0.8)
    for seed, t in np.ndindex(2, 9):
        last = next((u for u in range(t, 9) if ends[seed, u]), 8)
        assert found[seed, t].item() == pytest.approx(sum(0.8 ** (u - t) * deltas[seed, u] for u in range(t, last + 1)))


def test_minibatches_divide_each_seed_s_steps_whatever_the_others_have():
    parts = minibatches([np.random.default_rng(s) for s in (0, 1)], [10, 3], 4)
    for seed, steps in enumerate((10, 3)):
        taken = [int(i) for part in parts for i in part[seed] if i >= 0]
        assert sorted(taken) == list(range(steps))
    alone = minibatches([np.random.default_rng(1)], [3], 4)
    assert [[i for i in p[0].tolist() if i >= 0] for p in alone] == [
        [i for i in p[1].tolist() if i >= 0] for p in parts
    ]


def test_a_heavy_penalty_brings_the_policy_to_the_prior(tmp_path, monkeypatch):
    prior = write_perfect(tmp_path / "p.jsonl")
    pull = ["--alpha", 10, "--iterations", 12, "--learning-rate", 1e-2, "--update-epochs", 10, "--seeds", 2]
    arguments = [*QUICK, *pull, "--arm", "ppo-prior", "--prior", prior, "--output", tmp_path / "x.csv"]
    run(ppo_prior, arguments, monkeypatch)
    rows = read(tmp_path / "x.csv")
    first, last = ([row for row in rows if row["iteration"] == str(n)] for n in (0, 11))
    assert all(float(row["eval_success"]) == 1 and float(row["eval_length"]) == 6 for row in last)
    for a, b in zip(first, last, strict=True):
        assert float(b["kl"]) < 0.3 * float(a["kl"])


def test_without_weight_the_prior_changes_nothing(tmp_path, monkeypatch):
    run(ppo_prior, [*QUICK, "--seeds", 2, "--output", tmp_path / "a.csv"], monkeypatch)
    prior = ["--arm", "ppo-prior", "--prior", write_perfect(tmp_path / "p.jsonl"), "--alpha", 0]
    run(ppo_prior, [*QUICK, *prior, "--seeds", 2, "--output", tmp_path / "b.csv"], monkeypatch)
    rows = zip(read(tmp_path / "a.csv"), read(tmp_path / "b.csv"), strict=True)
    for a, b in rows:
        assert a.pop("kl") == "" and float(b.pop("kl")) > 0
        assert a == b


def test_seed_of_a_batch_is_the_seed_alone(tmp_path, monkeypatch):
    common = [*QUICK, "--arm", "ppo-prior", "--prior", write_uniform(tmp_path / "u.jsonl", "frozen-lake-text")]
    common += ["--env", "frozen-lake-text"]
    run(ppo_prior, [*common, "--seeds", 3, "--output", tmp_path / "all.csv"], monkeypatch)
    together = read(tmp_path / "all.csv")
    for seed in range(3):
        output = tmp_path / f"{seed}.csv"
        run(ppo_prior, [*common, "--seeds", 1, "--first-seed", seed, "--output", output], monkeypatch)
        mine = [row for row in together if row["seed"] == str(seed)]
        for a, b in zip(read(output), mine, strict=True):
            assert [float(x) for x in a.values()] == pytest.approx([float(x) for x in b.values()], rel=1e-4, abs=1e-5)
    assert len({row["loss"] for row in together if row["iteration"] == "0"}) == 3, "seeds must differ"


@pytest.mark.parametrize(("env", "actions", "longest"), [("cartpole", 2, 200), ("frozen-lake", 4, 100)])
def test_loro_s_environments_are_learnt_in_too(env, actions, longest, tmp_path, monkeypatch):
    """A uniform prior is log(actions) less entropy away, and a policy at its start close to uniform."""
    prior = ["--arm", "ppo-prior", "--prior", write_uniform(tmp_path / "u.jsonl", env)]
    run(ppo_prior, [*QUICK, *prior, "--env", env, "--seeds", 2, "--output", tmp_path / "x.csv"], monkeypatch)
    rows = read(tmp_path / "x.csv")
    assert len(rows) == 6 and all(0 < float(row["eval_length"]) <= longest for row in rows)
    assert all(0 <= float(row["kl"]) < 0.5 * np.log(actions) for row in rows)
    assert all(row["eval_success"] == "" for row in rows), "success is not defined there"


@pytest.mark.parametrize("saves", [1, 2])
def test_stopped_and_resumed_gives_the_same_bytes(saves, tmp_path, monkeypatch):
    arguments = [*QUICK, "--arm", "ppo-prior", "--prior", write_perfect(tmp_path / "p.jsonl", 0.3), "--seeds", 2]
    run(ppo_prior, [*arguments, "--output", tmp_path / "whole.csv"], monkeypatch)
    output = tmp_path / "stopped.csv"
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        stop_after(ppo_prior, saves, patched)
        run(ppo_prior, [*arguments, "--output", output], patched)
    run(ppo_prior, [*arguments, "--output", output], monkeypatch)
    for suffix in (".csv", ".policy.safetensors"):
        assert output.with_suffix(suffix).read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_actions_are_drawn_with_the_policy_s_probabilities(tmp_path):
    agents, game = agents_of(tmp_path, seeds=1)
    with torch.no_grad():
        agents.actor[4] *= 2000  # far from uniform
    env = game.make()
    state = agents.table(game.read(*env.reset(seed=0)))
    features = agents.table.states([state], torch.device("cpu")).features[0].double()
    w = [weight[0].detach().double() for weight in agents.actor]
    scores = (torch.tanh(torch.tanh(features @ w[0] + w[1]) @ w[2] + w[3]) @ w[4] + w[5])[:, 0]
    expected = torch.softmax(scores, 0).numpy()
    assert expected.max() > 0.3
    taken = []
    for n in range(1500):
        steps, _ = ppo_prior.play(agents, 0, game, env, np.random.default_rng(n), sampled=True)
        taken.append(steps[0][1])
    assert np.bincount(taken, minlength=5) / 1500 == pytest.approx(expected, abs=0.05)


def test_a_prior_with_zeros_needs_a_floor(tmp_path):
    file = write_table(tmp_path / "p.jsonl", lambda _: np.eye(5)[0], TextGame(TOMATO))
    agents_of(tmp_path, file)
    with pytest.raises(UsageError, match="give a --floor above 0"):
        agents_of(tmp_path, file, floor=0)


def test_without_an_action_there_is_nothing_to_do(tmp_path):
    agents, _ = agents_of(tmp_path)
    with pytest.raises(Failure, match="no admissible action"):
        agents.table(Situation("An empty room.", (), "An empty room.", ()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--arm", "ppo-prior"], "--prior is for the arm ppo-prior, which needs it"),
        (["--arm", "ppo-prior", "--prior", "none.jsonl"], "There is no file none.jsonl"),
        (["--alpha", -1], "--alpha must be at least 0, not -1.0"),
        (["--num-minibatches", 0], "--num-minibatches must be at least 1"),
        (["--gamma", 2], "--gamma must be from 0 to 1, not 2.0"),
        (["--hidden-size", 0], "--hidden-size must be at least 1"),
        (["--floor", 2], "--floor must be from 0 to 1"),
        (["--alpha", "nan"], "--alpha must be at least 0"),
        (["--env", "pendulum"], "Unknown environment 'pendulum'"),
    ],
)
def test_bad_arguments(arguments, sentence, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(ppo_prior, [*QUICK, *arguments, "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
