"""One SAC step against a plain float64 implementation: one seed and one row at a time."""

import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import envs
from algos import sac
from envs.errors import UsageError


def plain_network(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    return w3 @ torch.relu(torch.relu(x @ w1 + b1[0]) @ w2 + b2[0]) + b3[0]


def plain_policy(weights, s, noise):
    """Action and log-density of tanh(u), u ~ N(mean, std), with the change of variables in its textbook form."""
    mean, log_std = plain_network(weights, s)
    std = torch.exp(torch.clamp(log_std, -20, 2))
    u = mean + std * noise
    log_density = -((u - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return torch.tanh(u), log_density - torch.log(1 - torch.tanh(u) ** 2)


def plain_step(weights, batch, noise, optimizers, gamma, smoothing):
    """Haarnoja et al. 2018 (1812.05905), algorithm 1: critics, temperature, actor, targets, in this order."""
    actor, critics, targets, log_temperature = weights
    ys = []
    for (_, _, r, s2, ended), z in zip(batch, noise[0], strict=True):
        with torch.no_grad():
            a2, log_density = plain_policy(actor, s2, z)
            q2 = min(plain_network(target, torch.cat([s2, a2[None]]))[0] for target in targets)
            ys.append(r + gamma * (1 - ended) * (q2 - log_temperature.exp() * log_density))
    loss = 0
    for critic in critics:
        errors = [plain_network(critic, torch.cat([s, a]))[0] - y for (s, a, *_), y in zip(batch, ys, strict=True)]
        loss = loss + sum(e**2 for e in errors) / len(batch)
    optimizers["critics"].zero_grad()
    loss.backward()
    optimizers["critics"].step()

    samples = [plain_policy(actor, s, z) for (s, *_), z in zip(batch, noise[1], strict=True)]
    entropy_gap = sum(log_density.detach() - 1 for _, log_density in samples) / len(batch)
    optimizers["temperature"].zero_grad()
    (-log_temperature.exp() * entropy_gap).backward()
    optimizers["temperature"].step()
    objective = 0
    for (s, *_), (a, log_density) in zip(batch, samples, strict=True):
        q = torch.minimum(*(plain_network(critic, torch.cat([s, a[None]]))[0] for critic in critics))
        objective = objective + (log_temperature.detach().exp() * log_density - q) / len(batch)
    optimizers["actor"].zero_grad()
    objective.backward()
    optimizers["actor"].step()
    with torch.no_grad():
        for critic, target in zip(critics, targets, strict=True):
            for online, slow in zip(critic, target, strict=True):
                slow.copy_((1 - smoothing) * slow + smoothing * online)
    return loss.item()


def test_three_steps_agree_with_the_plain_implementation():
    args = sac.Args(output=Path("x.csv"), seeds=2, batch_size=8, hidden_size=10, learning_rate=1e-2, smoothing=0.1)
    args = sac.resolve(args)
    agents = sac.Agents(args, envs.make("pendulum"), torch.device("cpu"))
    generator = np.random.default_rng(0)
    stored = []
    for _ in range(40):
        s, s2 = generator.normal(size=(2, 2, 3)).astype(np.float32)
        a = generator.uniform(-1, 1, size=(2, 1)).astype(np.float32)
        r, ended = generator.normal(size=2).astype(np.float32), generator.random(2) < 0.3
        agents.buffer.add(s, a, r, s2, ended)
        stored.append((s, a, r, s2, ended))

    def copies(weights, row):
        return [w.detach()[row].double().clone().requires_grad_() for w in weights]

    plain = []
    for i in range(2):
        actor = copies(agents.actor, i)
        critics = [copies(agents.critics, 2 * i + c) for c in range(2)]
        targets = [copies(agents.targets, 2 * i + c) for c in range(2)]
        log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
        groups = {"actor": actor, "critics": critics[0] + critics[1], "temperature": [log_temperature]}
        optimizers = {name: torch.optim.Adam(group, lr=1e-2, foreach=False) for name, group in groups.items()}
        plain.append(((actor, critics, targets, log_temperature), optimizers))
    for _ in range(3):
        indices = generator.integers(40, size=(2, 8))
        noise = generator.normal(size=(2, 2, 8, 1)).astype(np.float32)
        agents.loss_sum.zero_()
        agents.update(torch.from_numpy(indices), torch.from_numpy(noise))
        for i, (weights, optimizers) in enumerate(plain):
            batch = [[torch.tensor(np.asarray(f[i], dtype=np.float64)) for f in stored[j]] for j in indices[i]]
            z = torch.from_numpy(noise[:, i, :, 0]).double()
            loss = plain_step(weights, batch, z, optimizers, args.gamma, args.smoothing)
            assert agents.loss_sum[i].item() == pytest.approx(loss, rel=1e-3)
            actor, critics, targets, log_temperature = weights
            pairs = [
                (agents.actor, i, actor),
                (agents.critics, 2 * i, critics[0]),
                (agents.critics, 2 * i + 1, critics[1]),
            ]
            pairs += [(agents.targets, 2 * i, targets[0]), (agents.targets, 2 * i + 1, targets[1])]
            for mine, row, theirs in pairs:
                for a, b in zip(mine, theirs, strict=True):
                    np.testing.assert_allclose(a[row].detach().numpy(), b.detach().numpy(), rtol=2e-3, atol=2e-4)
            assert agents.log_temperature[i].item() == pytest.approx(log_temperature.item(), rel=1e-3)


def test_actions_reach_the_environment_s_bounds_unless_left_unscaled():
    for unscaled, bound in ((False, 2.0), (True, 1.0)):
        args = sac.resolve(sac.Args(output=Path("x.csv"), seeds=1, unscaled_actions=unscaled))
        agents = sac.Agents(args, envs.make("pendulum"), torch.device("cpu"))
        with torch.no_grad():
            agents.actor[5][..., 0] = 50.0  # a policy that wants all it can get
        action = agents.act(np.zeros((1, 1, 3), dtype=np.float32)) * agents.action_scale
        assert action.item() == pytest.approx(bound)


@pytest.mark.parametrize("unscaled", [False, True])
def test_evaluation_is_plain_episodes_of_the_mean_action(unscaled):
    args = sac.resolve(sac.Args(output=Path("x.csv"), seeds=2, hidden_size=12, unscaled_actions=unscaled))
    env = envs.make("pendulum")
    agents = sac.Agents(args, env, torch.device("cpu"))
    with torch.no_grad():
        agents.actor[4] *= 10  # torques that matter
    returns, lengths = sac.evaluate(agents, [[envs.make("pendulum") for _ in range(2)] for _ in range(2)], 1, 7)
    for i in range(2):
        actor = [weight[i].detach().double() for weight in agents.actor]
        totals = []
        for seed in sac.stream(i, sac.EVALUATION, 1, 7).integers(2**31, size=2):
            observation, _ = env.reset(seed=int(seed))
            total, truncated = 0.0, False
            while not truncated:
                mean = plain_network(actor, torch.from_numpy(observation).double())[:1]
                torque = (1 if unscaled else 2) * torch.tanh(mean).numpy()
                observation, reward, _, truncated, _ = env.step(torque.astype(np.float32))
                total += reward
            totals.append(total)
        assert returns[i] == pytest.approx(np.mean(totals), rel=1e-3) and lengths[i] == 200


@pytest.mark.parametrize("log_std", [-30.0, -5.0, 1.0, 5.0])
def test_the_width_of_the_policy_has_the_usual_limits(log_std):
    """Between exp(-20) and exp(2), as in the paper's code and everybody's since."""
    args = sac.resolve(sac.Args(output=Path("x.csv"), seeds=1, hidden_size=4))
    agents = sac.Agents(args, envs.make("pendulum"), torch.device("cpu"))
    with torch.no_grad():
        agents.actor[4].zero_()
        agents.actor[5].copy_(torch.tensor([[[0.0, log_std]]]))
        noise = torch.full((1, 1, 1), 0.01)
        action, log_prob, _ = sac.get_action(agents.actor, torch.zeros(1, 1, 3), noise)
    u = math.exp(min(max(log_std, -20), 2)) * 0.01
    assert action.item() == pytest.approx(math.tanh(u), rel=1e-4)
    normal = -0.5 * 0.01**2 - min(max(log_std, -20), 2) - 0.5 * math.log(2 * math.pi)
    assert log_prob.item() == pytest.approx(normal - math.log(1 - math.tanh(u) ** 2), rel=1e-4)


RELEASED = {"shifted": True, "cutoff_as_terminal": True, "discard_offline": True, "warm_up_mean": "dataset"}
RELEASED |= {"eval_episodes": 1, "exploration": "mean-or-zero", "unscaled_actions": True}
PAPER = {"shifted": False, "cutoff_as_terminal": False, "discard_offline": False, "warm_up_mean": "used"}
PAPER |= {"eval_episodes": 10, "exploration": "sample", "unscaled_actions": False, "carry_over": 1, "iterations": 200}


@pytest.mark.parametrize(
    ("arm", "protocol", "expected"),
    [
        ("loro", "paper", PAPER),
        ("mix", "paper", PAPER),
        ("online", "paper", PAPER),
        ("loro", "released", {**RELEASED, "carry_over": 5}),
        ("mix", "released", {**RELEASED, "carry_over": 1}),
        ("online", "released", {**RELEASED, "carry_over": 1, "discard_offline": False}),
        ("pretrain-random", "released", {**RELEASED, "carry_over": 1, "discard_offline": False}),
    ],
)
def test_protocols_are_the_design_s_table(arm, protocol, expected):
    dataset = None if arm == "online" else Path("d")
    resolved = sac.resolve(sac.Args(output=Path("x.csv"), arm=arm, protocol=protocol, dataset=dataset))
    assert {name: getattr(resolved, name) for name in expected} == expected


@pytest.mark.parametrize(("tau", "discards"), [(10, True), (20, True), (30, False)])
def test_released_mix_has_the_data_where_the_authors_had(tau, discards):
    args = sac.Args(output=Path("x.csv"), arm="mix", protocol="released", tau=tau, dataset=Path("d"))
    assert sac.resolve(args).discard_offline == discards


def test_first_weights_are_uniform_up_to_one_over_the_root_of_the_inputs():
    args = sac.resolve(sac.Args(output=Path("x.csv"), seeds=3, hidden_size=256))
    agents = sac.Agents(args, envs.make("pendulum"), torch.device("cpu"))
    for weights, first in ((agents.actor, 3), (agents.critics, 4)):
        for i, inputs in enumerate((first, 256, 256)):
            bound = inputs**-0.5
            drawn = weights[2 * i].detach().flatten()
            assert 0.97 * bound < drawn.abs().max().item() <= bound
            assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)  # of a uniform number
            assert weights[2 * i + 1].abs().max().item() <= bound


def test_actions_that_tanh_cannot_reach_are_refused():
    env = envs.make("pendulum")
    args = sac.resolve(sac.Args(output=Path("x.csv"), seeds=1))
    for low, high in ((0.0, 1.0), (-1.0, 3.0), (-np.inf, np.inf)):
        env.action_space = gymnasium.spaces.Box(low, high, (1,))
        with pytest.raises(UsageError, match="must be symmetric"):
            sac.Agents(args, env, torch.device("cpu"))


def test_released_exploration_is_the_mean_or_zero(monkeypatch):
    args = sac.resolve(
        sac.Args(output=Path("x.csv"), seeds=1, protocol="released", hidden_size=8, batch_size=500, iteration_steps=200)
    )
    env = envs.make("pendulum")
    agents = sac.Agents(args, env, torch.device("cpu"))
    sac.train_iteration(agents, [env], repeat=0, iteration=0)
    actions = agents.buffer.fields["actions"][0, :200, 0].numpy()
    observations = agents.buffer.fields["observations"][0, :200].numpy()
    means = agents.act(observations[None])[0, :, 0]
    zero = actions == 0
    assert 5 <= zero.sum() <= 40
    np.testing.assert_allclose(actions[~zero], means[~zero], rtol=1e-4, atol=1e-6)
