"""One Double DQN step against a plain float64 implementation: no batching over seeds or rows, no autograd."""

from pathlib import Path

import numpy as np
import pytest
import torch

import envs
from algos import dqn


def plain_forward(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    h1 = np.maximum(x @ w1 + b1[0], 0)
    h2 = np.maximum(h1 @ w2 + b2[0], 0)
    return h1, h2, w3 @ h2 + b3[0]


def plain_gradient(online, target, batch, gamma):
    """Loss and gradients of one seed, row by row: van Hasselt et al. 2016, equation 4, with the Huber loss."""
    gradients = [np.zeros_like(w) for w in online]
    losses, chosen_values = [], []
    for s, a, r, s2, ended in batch:
        h1, h2, q = plain_forward(online, s)
        best = int(np.argmax(plain_forward(online, s2)[2]))
        y = r if ended else r + gamma * plain_forward(target, s2)[2][best]
        error = q[a] - y
        losses.append(0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5)
        chosen_values.append(q[a])
        dq = np.zeros_like(q)
        dq[a] = np.clip(error, -1, 1) / len(batch)
        dh2 = (online[4].T @ dq) * (h2 > 0)
        dh1 = (online[2] @ dh2) * (h1 > 0)
        for gradient, value in zip(
            gradients,
            (np.outer(s, dh1), dh1[None], np.outer(h1, dh2), dh2[None], np.outer(dq, h2), dq[None]),
            strict=True,
        ):
            gradient += value
    return gradients, np.mean(losses), np.mean(chosen_values)


def plain_adam(weight, gradient, m, v, step, learning_rate):
    m[:] = 0.9 * m + 0.1 * gradient
    v[:] = 0.999 * v + 0.001 * gradient**2
    return weight - learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)


@pytest.mark.parametrize("env_name", ["cartpole", "frozen-lake"])
def test_three_steps_agree_with_the_plain_implementation(env_name):
    args = dqn.Args(
        output=Path("x.csv"), env=env_name, seeds=3, batch_size=16, hidden_size=12, learning_rate=1e-2, buffer_size=50
    )
    args = dqn.resolve(args)
    env = envs.make(env_name)
    agents = dqn.Agents(args, env, torch.device("cpu"))
    generator = np.random.default_rng(0)
    states = np.eye(int(env.observation_space.n)) if agents.tabular else None
    stored = [None] * 50

    def add(position):
        if agents.tabular:
            s, s2 = generator.integers(len(states), size=(2, 3))
        else:
            s, s2 = generator.normal(size=(2, 3, 4)).astype(np.float32)
        a = generator.integers(env.action_space.n, size=3)
        r = 3 * generator.normal(size=3).astype(np.float32)
        ended = generator.random(3) < 0.3
        agents.add(s, a, r, s2, ended)
        stored[position] = (s, a, r, s2, ended)

    for position in range(50):
        add(position)
    # a target network of its own, copied once more half-way, so that the two networks are never confused
    first = [w.detach().clone() for w in agents.online]
    with torch.no_grad():
        for weight in agents.online:
            weight.copy_(torch.from_numpy(generator.normal(size=tuple(weight.shape))))
    agents.update_target()
    with torch.no_grad():
        torch._foreach_copy_(agents.online, first)

    def weights_of(networks, seed):
        return [w.detach()[seed].double().numpy().copy() for w in networks]

    online = [weights_of(agents.online, i) for i in range(3)]
    target = [weights_of(agents.target, i) for i in range(3)]
    moments = [[(np.zeros_like(w), np.zeros_like(w)) for w in online[i]] for i in range(3)]
    for step in (1, 2, 3):
        for position in range(5 * (step - 1), 5 * step):  # the first ones are overwritten: the buffer is full
            add(position)
        indices = generator.integers(50, size=(3, 16))
        agents.loss_sum.zero_()
        agents.q_sum.zero_()
        agents.update(torch.from_numpy(indices), target_update_interval=2)
        for i in range(3):
            batch = []
            for j in indices[i]:
                s, a, r, s2, ended = (field[i] for field in stored[j])
                batch.append((states[s] if agents.tabular else s, a, r, states[s2] if agents.tabular else s2, ended))
            gradients, loss, q_mean = plain_gradient(online[i], target[i], batch, args.gamma)
            online[i] = [
                plain_adam(w, g, *moments[i][k], step, args.learning_rate)
                for k, (w, g) in enumerate(zip(online[i], gradients, strict=True))
            ]
            if step == 2:
                target[i] = [w.copy() for w in online[i]]
            assert agents.loss_sum[i].item() == pytest.approx(loss, rel=1e-4)
            assert agents.q_sum[i].item() == pytest.approx(q_mean, rel=1e-3, abs=1e-5)
            for mine, plain in zip(weights_of(agents.online, i), online[i], strict=True):
                np.testing.assert_allclose(mine, plain, rtol=1e-3, atol=2e-5)
            for mine, plain in zip(weights_of(agents.target, i), target[i], strict=True):
                np.testing.assert_allclose(mine, plain, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("env_name", ["cartpole", "cliff-walking", "frozen-lake"])
def test_evaluation_is_a_plain_greedy_episode(env_name):
    args = dqn.resolve(dqn.Args(output=Path("x.csv"), env=env_name, seeds=2, hidden_size=12, eval_episodes=3))
    env = envs.make(env_name)
    agents = dqn.Agents(args, env, torch.device("cpu"))
    eval_envs = [[envs.make(env_name) for _ in range(3)] for _ in range(2)]
    returns, lengths = dqn.evaluate(agents, eval_envs, repeat=0, iteration=7)
    for i in range(2):
        weights = [w.detach()[i].double().numpy() for w in agents.online]
        totals, steps = [], []
        for seed in dqn.stream(i, dqn.EVALUATION, 0, 7).integers(2**31, size=3):
            observation, _ = env.reset(seed=int(seed))
            total, length, done = 0.0, 0, False
            while not done:
                x = np.eye(env.observation_space.n)[observation] if agents.tabular else observation.astype(np.float64)
                observation, reward, terminated, truncated, _ = env.step(int(np.argmax(plain_forward(weights, x)[2])))
                total, length, done = total + reward, length + 1, terminated or truncated
            totals.append(total)
            steps.append(length)
        assert returns[i] == pytest.approx(np.mean(totals))
        assert lengths[i] == pytest.approx(np.mean(steps))


def test_first_weights_are_uniform_up_to_one_over_the_root_of_the_inputs():
    args = dqn.resolve(dqn.Args(output=Path("x.csv"), env="cartpole", seeds=3))
    agents = dqn.Agents(args, envs.make("cartpole"), torch.device("cpu"))
    for i, inputs in enumerate((4, 256, 256)):
        bound, drawn = inputs**-0.5, agents.online[2 * i].detach().flatten()
        assert 0.97 * bound < drawn.abs().max().item() <= bound
        assert drawn.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.05)  # of a uniform number
        assert agents.online[2 * i + 1].abs().max().item() <= bound


def test_schedule_follows_algorithm_1():
    def kinds(**options):
        dataset = Path("d") if options["arm"] in ("loro", "mix") else None
        args = dqn.Args(output=Path("x.csv"), iterations=5, tau=2, pretrain_steps=450, dataset=dataset, **options)
        return dqn.schedule(dqn.resolve(args))

    online = [("online", 0, i) for i in range(5)]
    pretrain = [("pretrain", 0, k) for k in range(3)]  # 200 + 200 + 50 gradient steps
    assert kinds(arm="online") == online
    assert kinds(arm="loro") == [("offline", 0, 0), *pretrain, *online[2:]]
    assert kinds(arm="mix") == [("offline", 0, 0), *online[2:]]
    assert kinds(arm="pretrain-on-policy") == [*online[:2], *pretrain, *online[2:]]
    chain = kinds(arm="loro", protocol="released", carry_over=2)
    later = [("offline", 1, 0), ("online", 1, 2), ("online", 1, 3), ("online", 1, 4)]
    assert chain == [("offline", 0, 0), *pretrain, *online[2:], *later], "only the first repeat is pretrained"
    longer = kinds(arm="loro", protocol="released", carry_over=2, repeat_iterations=7)
    unrecorded = [("unrecorded", 0, 5), ("unrecorded", 0, 6)]
    assert longer == [("offline", 0, 0), *pretrain, *online[2:], *unrecorded, *later], "nothing follows the last repeat"


RELEASED = {"shifted": True, "cutoff_as_terminal": True, "discard_offline": True, "warm_up_mean": "dataset"}
PAPER = {"shifted": False, "cutoff_as_terminal": False, "discard_offline": False, "warm_up_mean": "used"}


@pytest.mark.parametrize(
    ("env", "arm", "protocol", "expected"),
    [
        ("cartpole", "loro", "paper", {**PAPER, "carry_over": 1, "target_update_interval": 1000, "eval_episodes": 10}),
        (
            "cartpole",
            "loro",
            "released",
            {**RELEASED, "carry_over": 5, "target_update_interval": 200, "eval_episodes": 1},
        ),
        ("cartpole", "online", "released", {"carry_over": 1, "target_update_interval": 1000, "eval_episodes": 1}),
        ("cartpole", "loro", "released", {"offline_target_update_interval": 200}),
        ("cartpole", "pretrain-random", "paper", {"discard_offline": False, "offline_target_update_interval": 200}),
        ("cartpole", "pretrain-random", "released", {"discard_offline": False, "offline_target_update_interval": 1000}),
        ("cliff-walking", "pretrain-on-policy", "released", {"offline_target_update_interval": 1000}),
        ("cliff-walking", "loro", "paper", {"eval_episodes": 1, "eval_horizon": 200, "iterations": 200}),
        ("represented-pong", "loro", "paper", {"eval_episodes": 1, "eval_horizon": 200, "double_step": False}),
        ("represented-pong", "loro", "released", {"eval_episodes": 1, "eval_horizon": 0, "double_step": True}),
        ("mountain-car", "mix", "paper", {"eval_episodes": 10, "iterations": 300, "discard_offline": False}),
        ("mountain-car", "mix", "released", {"eval_episodes": 1, "discard_offline": True}),
        ("frozen-lake", "mix", "released", {"eval_episodes": 1, "discard_offline": False}),
        ("frozen-lake", "loro", "paper", {"eval_episodes": 10, "eval_horizon": 100, "iterations": 150}),
    ],
)
def test_protocols_are_the_design_s_table(env, arm, protocol, expected):
    dataset = None if arm in ("online", "pretrain-on-policy") else Path("d")
    args = dqn.Args(output=Path("x.csv"), env=env, arm=arm, protocol=protocol, dataset=dataset)
    resolved = dqn.resolve(args)
    assert {name: getattr(resolved, name) for name in expected} == expected


def test_a_flag_that_is_given_wins_over_the_protocol():
    args = dqn.Args(
        output=Path("x.csv"), arm="loro", protocol="released", dataset=Path("d"), shifted=False, carry_over=1
    )
    resolved = dqn.resolve(args)
    assert (resolved.shifted, resolved.carry_over, resolved.discard_offline) == (False, 1, True)
