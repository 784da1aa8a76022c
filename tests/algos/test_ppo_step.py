"""PPO's pieces against plain float64 implementations: no batching over seeds or rows, no autograd."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recording import Recorder

import envs
from algos import ppo

CPU = torch.device("cpu")


def plain_forward(weights, x):
    w1, b1, w2, b2, w3, b3 = weights
    h1 = np.tanh(x @ w1 + b1[0])
    h2 = np.tanh(h1 @ w2 + b2[0])
    return h1, h2, w3 @ h2 + b3[0]


def plain_backward(weights, x, h1, h2, d_output):
    """Gradients of a sum whose derivative by the network's output is `d_output`."""
    d2 = (weights[4].T @ d_output) * (1 - h2**2)
    d1 = (weights[2] @ d2) * (1 - h1**2)
    return [np.outer(x, d1), d1[None], np.outer(h1, d2), d2[None], np.outer(d_output, h2), d_output[None]]


def plain_policy(output, log_std, action):
    """Return log-probability and entropy of one action, and their derivatives by the output and by log_std."""
    if log_std is None:
        p = np.exp(output - output.max())
        p /= p.sum()
        entropy = -np.sum(p * np.log(p))
        return np.log(p[action]), entropy, np.eye(len(p))[action] - p, -p * (np.log(p) + entropy), None, None
    z = (action - output) / np.exp(log_std)
    log_prob = np.sum(-0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi))
    entropy = np.sum(log_std + 0.5 * np.log(2 * np.pi * np.e))
    return log_prob, entropy, z / np.exp(log_std), np.zeros_like(output), z**2 - 1, np.ones_like(log_std)


def plain_advantages(rewards, values, next_values, terminations, truncations, gamma, gae_lambda):
    """The definition: a sum over the rest of the episode's temporal differences, for every step anew."""
    advantages = []
    for t in range(len(rewards)):
        total, weight = 0.0, 1.0
        for k in range(t, len(rewards)):
            target = rewards[k] + (0.0 if terminations[k] else gamma * next_values[k])
            total += weight * (target - values[k])
            weight *= gamma * gae_lambda
            if terminations[k] or truncations[k]:
                break
        advantages.append(total)
    return np.array(advantages)


def plain_gradient(networks, log_std, batch, args):
    """Loss and gradients of one seed's minibatch, row by row (Schulman et al. 2017, equation 9, both parts clipped)."""
    actor, critic = networks
    d_actor, d_critic = [np.zeros_like(w) for w in actor], [np.zeros_like(w) for w in critic]
    d_log_std = None if log_std is None else np.zeros_like(log_std)
    n, loss = len(batch["rows"]), 0.0
    normal = (batch["advantages"] - batch["advantages"].mean()) / (batch["advantages"].std(ddof=1) + 1e-8)
    for k, (x, action, old_log_prob, old_value, target) in enumerate(batch["rows"]):
        h1, h2, output = plain_forward(actor, x)
        std = None if log_std is None else log_std[0]
        log_prob, entropy, d_log_prob, d_entropy, d_std, d_entropy_std = plain_policy(output, std, action)
        ratio = np.exp(log_prob - old_log_prob)
        clipped = np.clip(ratio, 1 - args.clip_coef, 1 + args.clip_coef)
        surrogate = min(ratio * normal[k], clipped * normal[k])
        slope = ratio * normal[k] if surrogate == ratio * normal[k] else 0.0
        h1_c, h2_c, (value,) = plain_forward(critic, x)
        near = old_value + np.clip(value - old_value, -args.clip_coef, args.clip_coef)
        error, near_error = (value - target) ** 2, (near - target) ** 2
        # Asked of the distance: old + (value - old) may differ from value by rounding where nothing is clipped.
        far = abs(value - old_value) > args.clip_coef and near_error > error and args.clip_vloss
        loss += (-surrogate - args.ent_coef * entropy + args.vf_coef * 0.5 * (near_error if far else error)) / n
        d_output = (-slope * d_log_prob - args.ent_coef * d_entropy) / n
        d_value = np.array([0.0 if far else args.vf_coef * (value - target)]) / n
        for total, part in zip(d_actor, plain_backward(actor, x, h1, h2, d_output), strict=True):
            total += part
        for total, part in zip(d_critic, plain_backward(critic, x, h1_c, h2_c, d_value), strict=True):
            total += part
        if d_log_std is not None:
            d_log_std[0] += (-slope * d_std - args.ent_coef * d_entropy_std) / n
    return [*d_actor, *d_critic, *([] if d_log_std is None else [d_log_std])], loss


def plain_adam(weight, gradient, m, v, step, learning_rate):
    m[:] = 0.9 * m + 0.1 * gradient
    v[:] = 0.999 * v + 0.001 * gradient**2
    return weight - learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-5)


def weights_of(weights, seed):
    return [w.detach()[seed].double().numpy().copy() for w in weights]


def fill_rollout(agents, generator, spread):
    """Fill the rollout with numbers of no environment; `spread` of the rewards differs between the seeds."""
    args, shape = agents.args, (agents.args.seeds, agents.args.num_envs)
    for _ in range(args.num_steps):
        if agents.tabular:
            x, following = (np.eye(agents.inputs)[generator.integers(agents.inputs, size=shape)] for _ in range(2))
        else:
            x, following = generator.normal(size=(2, *shape, agents.inputs)).astype(np.float32)
        if agents.discrete:
            actions = generator.integers(agents.outputs, size=shape)
        else:
            actions = generator.normal(size=(*shape, agents.outputs)).astype(np.float32)
        rewards = (spread[:, None] * generator.normal(size=shape)).astype(np.float32)
        terminations = generator.random(shape) < 0.15
        ends = terminations | (generator.random(shape) < 0.15)
        agents.add(x, actions, rewards, following, terminations, ends)


@pytest.mark.parametrize("env_name", ["cartpole", "frozen-lake", "pendulum"])
def test_an_update_agrees_with_the_plain_implementation(env_name):
    options = {"num_envs": 2, "num_steps": 16, "num_minibatches": 4, "update_epochs": 3, "learning_rate": 3e-3}
    options |= {"hidden_size": 12, "ent_coef": 0.05, "max_grad_norm": 2.0, "iterations": 2}
    args = ppo.resolve(ppo.Args(output=Path("x.csv"), env=env_name, seeds=3, **options))
    agents = ppo.Agents(args, envs.make(env_name), CPU)
    generator = np.random.default_rng(0)
    for weight in agents.weights:  # away from the start, where the policy is uniform and clipping never happens
        weight.detach().add_(torch.from_numpy(0.3 * generator.normal(size=tuple(weight.shape))))
    plain = [weights_of(agents.weights, i) for i in range(3)]
    moments = [[(np.zeros_like(w), np.zeros_like(w)) for w in plain[i]] for i in range(3)]
    steps, is_clipped = 0, [set(), set(), set()]
    for update in range(2):
        fill_rollout(agents, generator, np.array([0.1, 1.0, 10.0]))
        rollout = {name: field.double().numpy().copy() for name, field in agents.rollout.items()}
        agents.loss_sum.zero_()
        agents.update()
        learning_rate = 3e-3 * (1 - update / (2 * 200 // (2 * 16)))  # steps of both iterations, by a rollout's
        for i in range(3):
            losses, step = [], steps
            rows = []
            for t in range(16):
                for e in range(2):
                    x, action = rollout["observations"][i, t, e], rollout["actions"][i, t, e]
                    action = int(action) if agents.discrete else action
                    std = None if agents.discrete else plain[i][12][0]
                    log_prob = plain_policy(plain_forward(plain[i][:6], x)[2], std, action)[0]
                    rows.append([x, action, log_prob, plain_forward(plain[i][6:12], x)[2][0]])
            values = np.array([row[3] for row in rows]).reshape(16, 2)
            advantages = np.zeros((16, 2))
            for e in range(2):
                following = [plain_forward(plain[i][6:12], x)[2][0] for x in rollout["next_observations"][i, :, e]]
                terminated, ended = rollout["terminations"][i, :, e], rollout["ends"][i, :, e]
                advantages[:, e] = plain_advantages(
                    rollout["rewards"][i, :, e], values[:, e], following, terminated, ended, args.gamma, args.gae_lambda
                )
            targets = (advantages + values).ravel()
            permutations = ppo.stream(i, ppo.MINIBATCHES, 0, update)
            for _ in range(3):
                for chosen in permutations.permutation(32).reshape(4, 8):
                    batch = {"rows": [[*rows[k], targets[k]] for k in chosen], "advantages": advantages.ravel()[chosen]}
                    log_std = None if agents.discrete else plain[i][12]
                    gradients, loss = plain_gradient((plain[i][:6], plain[i][6:12]), log_std, batch, args)
                    norm = np.sqrt(sum((g**2).sum() for g in gradients))
                    scale = min(1.0, args.max_grad_norm / (norm + 1e-6))
                    is_clipped[i].add(scale < 1)
                    step += 1
                    losses.append(loss)
                    plain[i] = [
                        plain_adam(w, scale * g, *moments[i][k], step, learning_rate)
                        for k, (w, g) in enumerate(zip(plain[i], gradients, strict=True))
                    ]
            assert agents.loss_sum[i].item() == pytest.approx(sum(losses), rel=1e-3, abs=1e-3)
            for mine, reference in zip(weights_of(agents.weights, i), plain[i], strict=True):
                np.testing.assert_allclose(mine, reference, rtol=2e-3, atol=2e-4)
        steps += 12
    assert False in is_clipped[0] and True in is_clipped[2], "one seed's gradient is clipped, another's is not"


@pytest.mark.parametrize("decay", [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0)])
def test_advantages_are_the_plain_sums(decay):
    generator = np.random.default_rng(1)
    shape = (2, 30, 3)
    rewards, values, next_values = generator.normal(size=(3, *shape))
    terminations, truncations = generator.random((2, *shape)) < 0.1
    terminations[0, :, 0] = truncations[0, :, 0] = False  # one that never ends
    gamma, gae_lambda = decay
    deltas = rewards + gamma * next_values * ~terminations - values
    ends = (terminations | truncations).astype(float)
    mine = ppo.gae(torch.from_numpy(deltas), torch.from_numpy(ends), gamma * gae_lambda).numpy()
    for i, e in np.ndindex(2, 3):
        one = (x[i, :, e] for x in (rewards, values, next_values, terminations, truncations))
        np.testing.assert_allclose(mine[i, :, e], plain_advantages(*one, *decay), rtol=1e-9, atol=1e-12)


def test_running_moments_are_those_of_everything_seen():
    generator = np.random.default_rng(2)
    batches = [generator.normal(3, 5, size=(2, n, 4)) for n in (1, 7, 40)]
    moments = np.tile([[0.0], [1.0], [1e-4]], (2, 1, 4))
    for batch in batches:
        ppo.update_moments(moments, batch)
    seen = np.concatenate(batches, axis=1)
    np.testing.assert_allclose(moments[:, 0], seen.mean(1), rtol=1e-3)
    np.testing.assert_allclose(moments[:, 1], seen.var(1), rtol=1e-3)


@pytest.mark.parametrize("sizes", [(4, 64), (64, 64), (64, 2)])
def test_initial_weights_are_orthogonal_and_differ_between_seeds(sizes):
    generators = [ppo.stream(seed, ppo.INITIAL_WEIGHTS) for seed in (0, 1)]
    w1, _, w2, _, w3, b3 = ppo.initial_weights(generators, [4, 64, 64, 2], 0.01, CPU)
    weight, gain = {(4, 64): (w1, 2**0.5), (64, 64): (w2, 2**0.5), (64, 2): (w3.mT, 0.01)}[sizes]
    for i in range(2):
        matrix = weight[i].detach().numpy() / gain
        small = matrix @ matrix.T if sizes[0] <= sizes[1] else matrix.T @ matrix
        np.testing.assert_allclose(small, np.eye(min(sizes)), atol=1e-5)
    assert not torch.allclose(weight[0], weight[1]) and not b3.any()


@pytest.mark.parametrize("env_name", ["cartpole", "pendulum"])
def test_actions_are_sampled_with_the_probabilities_that_the_loss_uses(env_name):
    args = ppo.resolve(ppo.Args(output=Path("x.csv"), env=env_name, seeds=1, hidden_size=8))
    agents = ppo.Agents(args, envs.make(env_name), CPU)
    generator, count = np.random.default_rng(3), 20_000
    for weight in agents.weights:
        weight.detach().add_(torch.from_numpy(0.3 * generator.normal(size=tuple(weight.shape))))
    inputs = torch.from_numpy(np.tile(generator.normal(size=agents.inputs), (1, count, 1)).astype(np.float32))
    shape = (1, count, agents.outputs)
    noise = generator.gumbel(size=shape) if agents.discrete else generator.standard_normal(shape)
    actions = agents.act(inputs, noise)
    log_prob, entropy = agents.log_prob(inputs, actions)
    assert -log_prob.mean().item() == pytest.approx(entropy[0, 0].item(), abs=0.03)
    if agents.discrete:
        probability = agents.log_prob(inputs[:, :1], torch.ones((1, 1), dtype=torch.int64))[0].exp().item()
        assert actions.float().mean().item() == pytest.approx(probability, abs=0.02)


@pytest.mark.parametrize("env_name", list(envs.ENVIRONMENTS))
def test_rollout_holds_what_the_environments_did_and_no_reset(env_name):
    options = {"num_envs": 2, "num_steps": 60, "num_minibatches": 4, "iteration_steps": 110, "horizon": 23}
    args = ppo.resolve(ppo.Args(output=Path("x.csv"), env=env_name, seeds=2, hidden_size=8, normalize=False, **options))
    agents, environments = ppo.Agents(args, envs.make(env_name), CPU), ppo.Environments(args)
    environments.envs = [[Recorder(env) for env in row] for row in environments.envs]
    environments.replay()
    train_return = ppo.train_iteration(agents, environments, 0)
    assert agents.filled == 55
    for i in range(2):
        returns = []
        for j in range(2):
            recorder = environments.envs[i][j]
            fields = [field[i, :55, j].numpy() for field in agents.rollout.values()]
            assert len(recorder.steps) == 55 and len(set(recorder.resets)) == len(recorder.resets)
            total = 0.0
            for row, step in zip(zip(*fields, strict=True), recorder.steps, strict=True):
                x, action, reward, following, terminated, ended = row
                s, played, r, s2, terminated_truly, truncated_truly = step
                ended_truly = terminated_truly or truncated_truly
                if agents.tabular:
                    s, s2 = np.eye(agents.inputs)[s], np.eye(agents.inputs)[s2]
                np.testing.assert_array_equal(x, s)
                np.testing.assert_array_equal(following, s2)
                bound = 2 if env_name == "pendulum" else np.inf
                np.testing.assert_array_equal(np.clip(action, -bound, bound), played)
                assert (reward, terminated, ended) == (pytest.approx(r), terminated_truly, ended_truly)
                total += r
                if ended_truly:
                    returns.append(total)
                    total = 0.0
        assert returns and train_return[i] == pytest.approx(np.mean(returns))


@pytest.mark.parametrize("env_name", ["cartpole", "pendulum", "cliff-walking"])
def test_normalisation_knows_all_observations_and_discounted_returns(env_name):
    options = {"num_envs": 3, "num_steps": 500, "num_minibatches": 4, "iteration_steps": 330, "horizon": 23}
    args = ppo.resolve(ppo.Args(output=Path("x.csv"), env=env_name, seeds=2, hidden_size=8, gamma=0.9, **options))
    agents, environments = ppo.Agents(args, envs.make(env_name), CPU), ppo.Environments(args)
    environments.envs = [[Recorder(env) for env in row] for row in environments.envs]
    environments.replay()
    noises, act = [], agents.act

    def watched(inputs, noise=None):
        noises.append(noise)
        return act(inputs, noise)

    agents.act = watched
    for iteration in range(2):
        ppo.train_iteration(agents, environments, iteration)
    assert len({noise.tobytes() for noise in noises}) == len(noises) == 220, "no step has another one's noise"
    for i in range(2):
        observations, sums = [], []
        for recorder in environments.envs[i]:
            running = 0.0
            for observation, _, reward, _, terminated, truncated in recorder.steps:
                running = reward + 0.9 * running
                observations.append(observation)
                sums.append(running)
                running = 0.0 if terminated or truncated else running
        found = [agents.return_moments[i, :2, 0], agents.observation_moments[i, :2]]
        wanted = [[np.mean(sums), np.var(sums)], [np.mean(observations, axis=0), np.var(observations, axis=0)]]
        for moments, plain in list(zip(found, wanted, strict=True))[: 1 if agents.tabular else 2]:
            np.testing.assert_allclose(moments, plain, rtol=1e-3, atol=1e-5)
    if env_name != "cliff-walking":
        starts = {recorder.steps[0][0].tobytes() for row in environments.envs for recorder in row}
        assert len(starts) == 6, "no environment begins as another does"


@pytest.mark.parametrize("env_name", list(envs.ENVIRONMENTS))
def test_replay_brings_environments_back(env_name):
    args = ppo.resolve(ppo.Args(output=Path("x.csv"), env=env_name, seeds=2, num_envs=2, horizon=30))
    first, second = ppo.Environments(args), ppo.Environments(args)
    first.replay()
    space, generator = first.envs[0][0].action_space, np.random.default_rng(4)

    def actions():
        space.seed(int(generator.integers(2**31)))
        return np.array([[space.sample() for _ in range(2)] for _ in range(2)])

    for _ in range(37):
        first.step(actions())
    for name, tensor in first.tensors().items():
        second.tensors()[name].copy_(tensor)
    second.replay()
    np.testing.assert_array_equal(first.observations, second.observations)
    for _ in range(45):
        chosen = actions()
        for a, b in zip(first.step(chosen), second.step(chosen), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("env_name", ["cartpole", "cliff-walking", "pendulum"])
def test_evaluation_is_a_plain_greedy_episode(env_name):
    args = ppo.Args(output=Path("x.csv"), env=env_name, seeds=2, hidden_size=12, eval_episodes=3, horizon=50)
    args = ppo.resolve(args)
    env = envs.make(env_name, 50)
    agents = ppo.Agents(args, env, CPU)
    generator = np.random.default_rng(5)
    for weight in agents.weights:
        weight.detach().add_(torch.from_numpy(0.3 * generator.normal(size=tuple(weight.shape))))
    agents.observation_moments[:, 0], agents.observation_moments[:, 1] = 0.1, 0.5
    eval_envs = [[envs.make(env_name, 50) for _ in range(3)] for _ in range(2)]
    returns, lengths = ppo.evaluate(agents, eval_envs, iteration=7)
    for i in range(2):
        weights = weights_of(agents.actor, i)
        totals, steps = [], []
        for seed in ppo.stream(i, ppo.EVALUATION, 0, 7).integers(2**31, size=3):
            observation, _ = env.reset(seed=int(seed))
            total, length, done = 0.0, 0, False
            while not done:
                x = np.eye(48)[observation] if agents.tabular else np.clip((observation - 0.1) / 0.5**0.5, -10, 10)
                output = plain_forward(weights, x)[2]
                action = int(np.argmax(output)) if agents.discrete else np.clip(output, -2, 2).astype(np.float32)
                observation, reward, terminated, truncated, _ = env.step(action)
                total, length, done = total + reward, length + 1, terminated or truncated
            totals.append(total)
            steps.append(length)
        assert returns[i] == pytest.approx(np.mean(totals), rel=1e-3)
        assert lengths[i] == pytest.approx(np.mean(steps))


def test_schedule_of_either_arm():
    args = ppo.Args(output=Path("x.csv"), iterations=8, tau=2, pretrain_steps=450)
    assert ppo.schedule(ppo.resolve(args)) == [("online", i) for i in range(8)]
    args.arm, args.dataset = "ppo-bc", Path("d")
    pretrain = [("pretrain", k) for k in range(3)]  # 200 + 200 + 50 gradient steps
    assert ppo.schedule(ppo.resolve(args)) == [("offline", 0), *pretrain, *[("online", i) for i in range(2, 8)]]
