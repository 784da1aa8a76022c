"""Whole PPO runs: independent seeds, the same bytes again, resumption, behaviour cloning, bad input."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import train_and_kill
from recording import make_dataset, read, run

import envs
from algos import ppo
from envs.datasets import Episode, load_dataset

# rollouts of 60 steps and iterations of 40: neither is a multiple of the other
SMALL = ["--iterations", 8, "--iteration-steps", 40, "--num-envs", 2, "--num-steps", 30, "--num-minibatches", 2]
SMALL += ["--update-epochs", 2, "--hidden-size", 16, "--eval-episodes", 2, "--no-progress"]
CLONE = ["--arm", "ppo-bc", "--tau", 2, "--pretrain-steps", 50]
CASES = [("cartpole", "ppo"), ("cliff-walking", "ppo-bc"), ("pendulum", "ppo"), ("pendulum", "ppo-bc")]


def arguments_of(env, arm, tmp_path):
    common = ["--env", env, *SMALL]
    return common if arm == "ppo" else [*common, *CLONE, "--dataset", make_dataset(tmp_path / "data", env)]


@pytest.mark.parametrize(("env", "arm"), CASES)
def test_seed_of_a_batch_is_the_seed_alone(env, arm, tmp_path, monkeypatch):
    common = arguments_of(env, arm, tmp_path)
    run("ppo", [*common, "--seeds", 3, "--output", tmp_path / "all.csv"], monkeypatch)
    together = read(tmp_path / "all.csv")
    for seed in range(3):
        alone_path = tmp_path / f"{seed}.csv"
        run("ppo", [*common, "--seeds", 1, "--first-seed", seed, "--output", alone_path], monkeypatch)
        mine = [row for row in together if int(row["seed"]) == seed]
        for a, b in zip(read(alone_path), mine, strict=True):
            for column in a:
                if a[column] == "" or b[column] == "":
                    assert a[column] == b[column]
                else:
                    assert float(a[column]) == pytest.approx(float(b[column]), rel=2e-3, abs=2e-3), (seed, column)
    losses = {tuple(row["loss"] for row in together if int(row["seed"]) == seed) for seed in range(3)}
    assert len(losses) == 3, "different seeds must differ"


@pytest.mark.parametrize(("env", "arm"), [("cartpole", "ppo"), ("pendulum", "ppo-bc"), ("frozen-lake", "ppo-bc")])
def test_same_command_gives_the_same_bytes(env, arm, tmp_path, monkeypatch):
    common = arguments_of(env, arm, tmp_path)
    for name in ("a", "b"):
        run("ppo", [*common, "--seeds", 2, "--output", tmp_path / f"{name}.csv"], monkeypatch)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert not list(tmp_path.glob("*.checkpoint.safetensors"))


@pytest.mark.parametrize("env", ["cartpole", "frozen-lake", "pendulum"])
def test_interrupted_anywhere_and_resumed_gives_the_same_bytes(env, tmp_path, monkeypatch):
    arguments = [*arguments_of(env, "ppo-bc", tmp_path), "--seeds", 2, "--horizon", 130, "--output"]
    run("ppo", [*arguments, tmp_path / "whole.csv"], monkeypatch)
    original = ppo.evaluate
    for stop in (3, 5, 6):  # in the middle of a rollout, at the end of one, in the middle again

        def interrupted(agents, eval_envs, iteration, stop=stop):
            if iteration == stop:
                raise KeyboardInterrupt
            return original(agents, eval_envs, iteration)

        monkeypatch.setattr(ppo, "evaluate", interrupted)
        with pytest.raises(SystemExit):
            run("ppo", [*arguments, tmp_path / "again.csv"], monkeypatch)
    monkeypatch.setattr(ppo, "evaluate", original)
    run("ppo", [*arguments, tmp_path / "again.csv"], monkeypatch)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch):
    arguments = [*arguments_of("pendulum", "ppo-bc", tmp_path), "--iterations", 30, "--seeds", 2]
    run("ppo", [*arguments, "--output", tmp_path / "whole.csv"], monkeypatch)
    output, checkpoint = tmp_path / "killed.csv", tmp_path / "killed.checkpoint.safetensors"
    generator = random.Random(1)
    kills = sum(train_and_kill("ppo", arguments, output, generator.random() * 0.3) for _ in range(3))
    assert kills >= 2, "the run was too short to be killed"
    run("ppo", [*arguments, "--output", output], monkeypatch)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not checkpoint.exists()


def test_updates_and_evaluations_have_two_clocks(tmp_path, monkeypatch):
    weights, original = {}, ppo.evaluate

    def watched(agents, eval_envs, iteration):
        weights[iteration] = [w.detach().clone() for w in agents.weights]
        return original(agents, eval_envs, iteration)

    monkeypatch.setattr(ppo, "evaluate", watched)
    run("ppo", ["--env", "cartpole", *SMALL, "--seeds", 1, "--output", tmp_path / "run.csv"], monkeypatch)
    rows = read(tmp_path / "run.csv")
    for i in range(8):
        has_update = 40 * (i + 1) // 60 > 40 * i // 60
        assert (rows[i]["loss"] != "") == has_update == (rows[i]["q_mean"] != "")
        assert int(rows[i]["env_steps"]) == 40 * (i + 1)
        if i:
            same = all(torch.equal(a, b) for a, b in zip(weights[i], weights[i - 1], strict=True))
            assert same == (not has_update)


@pytest.mark.parametrize("arm", ["ppo", "ppo-bc"])
def test_the_learning_rate_falls_to_nothing_over_the_updates_online(arm, tmp_path, monkeypatch):
    rates, optimize = [], ppo.Agents.optimize

    def watched(agents, loss, learning_rate):
        rates.append(learning_rate)
        optimize(agents, loss, learning_rate)

    monkeypatch.setattr(ppo.Agents, "optimize", watched)
    arguments = [*arguments_of("cartpole", arm, tmp_path), "--learning-rate", 0.01, "--output", tmp_path / "run.csv"]
    run("ppo", [*arguments, "--seeds", 1], monkeypatch)
    cloning, updates = (50, 6 * 40 // 60) if arm == "ppo-bc" else (0, 8 * 40 // 60)  # of 8 iterations 2 are warm-up
    falling = [0.01 * (1 - k / updates) for k in range(updates) for _ in range(2 * 2)]  # epochs x minibatches
    assert rates == pytest.approx([0.01] * cloning + falling)


def test_warm_up_rows_hold_the_mean_return_of_the_episodes_used(tmp_path, monkeypatch):
    arguments = arguments_of("cartpole", "ppo-bc", tmp_path)
    run("ppo", [*arguments, "--seeds", 2, "--output", tmp_path / "run.csv"], monkeypatch)
    used = load_dataset(tmp_path / "data", "cartpole")[:2]
    mean = np.mean([episode.total_reward for episode in used])
    for seed in "01":
        rows = [row for row in read(tmp_path / "run.csv") if row["seed"] == seed]
        assert [float(row["eval_return"]) for row in rows[:2]] == pytest.approx([mean] * 2)
        assert [int(row["env_steps"]) for row in rows[:2]] == [len(used[0]), len(used[0]) + len(used[1])]
        assert int(rows[2]["env_steps"]) == len(used[0]) + len(used[1]) + 40
        assert len(rows) == 8


def played(env_name, policy, episodes, steps):
    """Episodes of a policy in its environment, cut off after `steps`."""
    env, recorded = envs.make(env_name), []
    for seed in range(episodes):
        observations, actions, rewards, ended = [env.reset(seed=seed)[0]], [], [], False
        while not ended and len(actions) < steps:
            actions.append(policy(observations[-1]))
            observation, reward, ended, _, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        ends = np.arange(len(actions)) == len(actions) - 1
        recorded.append(Episode(np.array(observations), np.array(actions), np.array(rewards), ends & ended, ends))
    return recorded


def balance(observation):
    return int(observation[2] + observation[3] > 0)


def along_the_cliff(observation):
    row, column = divmod(int(observation), 12)
    return 0 if row == 3 else 1 if column < 11 else 2


def swing(observation):
    return np.clip([1.5 * observation[1] - 0.2 * observation[2]], -2, 2).astype(np.float32)


def cloned(env_name, episodes, **options):
    args = ppo.Args(Path("x.csv"), env_name, "ppo-bc", Path("d"), seeds=2, pretrain_steps=600, **options)
    agents = ppo.Agents(ppo.resolve(args), envs.make(env_name), torch.device("cpu"))
    before = [w.detach().clone() for w in agents.critic]
    agents.see(episodes)
    for kind, block in ppo.schedule(args):
        if kind == "pretrain":
            ppo.pretrain(agents, episodes, block)
    return agents, before


@pytest.mark.parametrize(
    ("env_name", "policy"), [("cartpole", balance), ("cliff-walking", along_the_cliff), ("pendulum", swing)]
)
def test_behaviour_cloning_learns_a_known_policy(env_name, policy):
    agents, _ = cloned(env_name, played(env_name, policy, 8, 100), learning_rate=3e-3)
    fresh = played(env_name, policy, 12, 100)[8:]  # other starts than those learnt from
    observations = np.concatenate([episode.observations[:-1] for episode in fresh])
    actions = np.concatenate([episode.actions for episode in fresh])
    chosen = agents.played(agents.act(agents.encode(np.stack([observations] * 2))))
    for seed in range(2):
        if agents.discrete:
            assert np.mean(chosen[seed] == actions) > 0.95
        else:
            assert np.mean(np.abs(chosen[seed] - actions)) < 0.1
    assert not np.array_equal(agents.weights[0][0].detach(), agents.weights[0][1].detach())


def test_the_critic_learns_the_episodes_discounted_returns_or_stays_as_it_was():
    episodes = played("cliff-walking", along_the_cliff, 1, 100)
    agents, _ = cloned("cliff-walking", episodes, learning_rate=3e-3)
    agents.args.normalize = False
    values = ppo.forward(agents.critic, agents.encode(np.stack([episodes[0].observations[:-1]] * 2))).squeeze(2)
    returns = np.array([-(1 - 0.99**k) / (1 - 0.99) for k in range(13, 0, -1)])  # -1 a step, 13 steps
    running = np.array([-(1 - 0.99**k) / (1 - 0.99) for k in range(1, 14)])
    for seed in range(2):
        np.testing.assert_allclose(values[seed].detach() * math.sqrt(running.var()), returns, atol=0.5)
    agents, before = cloned("cliff-walking", episodes, learning_rate=3e-3, pretrain_value=False)
    assert all(torch.equal(a, b) for a, b in zip(agents.critic, before, strict=True))


def test_ppo_begins_with_an_optimizer_that_has_forgotten_the_cloning(tmp_path, monkeypatch):
    began, original = {}, ppo.train_iteration

    def watched(agents, environments, iteration):
        began[iteration] = [value.clone() for state in agents.optimizer.state.values() for value in state.values()]
        return original(agents, environments, iteration)

    monkeypatch.setattr(ppo, "train_iteration", watched)
    arguments = arguments_of("cartpole", "ppo-bc", tmp_path)
    run("ppo", [*arguments, "--seeds", 1, "--output", tmp_path / "run.csv"], monkeypatch)
    assert min(began) == 2 and not any(value.any() for value in began[2])
    assert any(value.any() for value in began[4])


def test_bad_input_is_one_sentence_with_its_exit_status(tmp_path, monkeypatch, capsys):
    data = make_dataset(tmp_path / "data", "cartpole")
    ok = ["--output", tmp_path / "run.csv"]
    clone = [*ok, "--arm", "ppo-bc", "--dataset"]
    cases = {
        "unknown environment": ([*ok, "--env", "chess"], 2, "chess"),
        "no dataset": ([*ok, "--arm", "ppo-bc"], 2, "--dataset"),
        "a dataset that is not used": ([*ok, "--dataset", data], 2, "--dataset"),
        "missing dataset": ([*clone, tmp_path / "nowhere"], 2, "nowhere"),
        "tau larger than the dataset": ([*clone, data, "--tau", 4], 2, "holds only 3"),
        "dataset of another environment": ([*clone, data, "--env", "mountain-car", "--tau", 2], 2, "'cartpole'"),
        "iterations not beyond tau": ([*clone, data, "--tau", 3, "--iterations", 3], 2, "must exceed"),
        "no seeds": ([*ok, "--seeds", 0], 2, "--seeds"),
        "no horizon": ([*ok, "--horizon", 0], 2, "--horizon"),
        "pretraining backwards": ([*clone, data, "--pretrain-steps", -1], 2, "--pretrain-steps must be at least 0"),
        "environments that do not fit": ([*ok, "--num-envs", 3], 2, "--num-envs 3"),
        "minibatches that do not fit": ([*ok, "--num-minibatches", 7], 2, "--num-minibatches 7"),
        "minibatches of one step": ([*ok, "--num-minibatches", 512], 2, "--num-minibatches 512"),
        "no rollout gets full": ([*ok, "--iterations", 2], 2, "nothing would be learnt"),
        "output is no csv": (["--output", tmp_path / "run.txt"], 2, ".csv"),
        "output folder is a file": (["--output", tmp_path / "data/meta.json/run.csv"], 1, "Cannot write"),
    }
    for name, (arguments, status, words) in cases.items():
        with pytest.raises(SystemExit) as exit_info:
            run("ppo", [*arguments, "--no-progress"], monkeypatch)
        message = capsys.readouterr().err.strip()
        assert exit_info.value.code == status, (name, message)
        assert words in message and len(message.splitlines()) == 1, (name, message)
        assert message.startswith("error: ") and "Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"], "nothing may be left behind"


def test_unknown_arm_is_refused_with_status_2(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run("ppo", ["--output", tmp_path / "run.csv", "--arm", "loro"], monkeypatch)
    assert exit_info.value.code == 2 and "loro" in capsys.readouterr().err
