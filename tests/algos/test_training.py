"""What must hold for every learner: independent seeds, the same bytes again, resumption, honest transitions."""

import contextlib
import hashlib
import importlib
import json
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import train_and_kill
from recording import Recorder, make_dataset, read, record_random_play, run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import envs
from envs import records
from envs.datasets import save_dataset, told_of_episodes

ROOT = Path(__file__).parents[2]
SMALL = ["--iterations", "6", "--iteration-steps", "60", "--batch-size", "32", "--hidden-size", "32", "--no-progress"]
CASES = [("dqn", "cartpole"), ("dqn", "cliff-walking"), ("sac", "pendulum")]


@pytest.mark.parametrize(("algorithm", "env"), CASES)
@pytest.mark.parametrize("arm", ["online", "loro"])
def test_seed_of_a_batch_is_the_seed_alone(algorithm, env, arm, tmp_path, monkeypatch):
    common = ["--env", env, "--arm", arm, *SMALL]
    if arm == "loro":
        dataset = make_dataset(tmp_path / "data", env)
        common += ["--dataset", dataset, "--tau", 2, "--pretrain-steps", 50]
    run(algorithm, [*common, "--seeds", 3, "--output", tmp_path / "all.csv"], monkeypatch)
    together = read(tmp_path / "all.csv")
    for seed in range(3):
        alone_path = tmp_path / f"{seed}.csv"
        run(algorithm, [*common, "--seeds", 1, "--first-seed", seed, "--output", alone_path], monkeypatch)
        alone = read(alone_path)
        mine = [row for row in together if int(row["seed"]) == seed]
        assert len(alone) == len(mine) == 6
        for a, b in zip(alone, mine, strict=True):
            for column in a:
                if a[column] == "" or b[column] == "":
                    assert a[column] == b[column]
                else:
                    assert float(a[column]) == pytest.approx(float(b[column]), rel=2e-3, abs=2e-3), (seed, column)
    losses = {tuple(row["loss"] for row in together if int(row["seed"]) == seed) for seed in range(3)}
    assert len(losses) == 3, "different seeds must differ"


@pytest.mark.parametrize(("algorithm", "env"), CASES)
def test_same_command_gives_the_same_bytes(algorithm, env, tmp_path, monkeypatch):
    for name in ("a", "b"):
        run(algorithm, ["--env", env, *SMALL, "--seeds", 2, "--output", tmp_path / f"{name}.csv"], monkeypatch)
    for suffix in (".csv", ".policy.safetensors"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert not list(tmp_path.glob("*.checkpoint.safetensors"))


@pytest.mark.parametrize("gpu", [True, False])
def test_a_run_on_a_gpu_records_what_it_took_of_it(gpu, tmp_path, monkeypatch):
    """Pretended: the run itself is on the CPU, and only its record is told otherwise."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 300 * 2**20)
    write = records.Run.write
    device = torch.device("cuda" if gpu else "cpu")
    monkeypatch.setattr(records.Run, "write", lambda self, name, _, policy: write(self, name, device, policy))
    run("dqn", ["--env", "cliff-walking", *SMALL, "--seeds", 1, "--output", tmp_path / "run.csv"], monkeypatch)
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["device"] == ("a GPU" if gpu else "cpu")
    assert {key: value for key, value in described.items() if key.startswith("gpu")} == (
        {"gpu_seconds": described["seconds"], "gpu_peak_memory_mb": 300} if gpu else {}
    )
    for name, file in (("csv_sha256", "run.csv"), ("policy_sha256", "run.policy.safetensors")):
        assert described[name] == hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()


@pytest.mark.parametrize(("algorithm", "env"), [("dqn", "cliff-walking"), ("sac", "pendulum")])
def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(algorithm, env, tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path / "data", env)
    arguments = ["--env", env, "--arm", "loro", "--dataset", dataset, "--tau", 2, "--pretrain-steps", 200, *SMALL]
    arguments += ["--iterations", 24, "--seeds", 2, "--carry-over", 2]
    run(algorithm, [*arguments, "--output", tmp_path / "whole.csv"], monkeypatch)
    output = tmp_path / "killed.csv"
    checkpoint = tmp_path / "killed.checkpoint.safetensors"
    generator = random.Random(1)
    kills = sum(train_and_kill(algorithm, arguments, output, generator.random() * 0.4) for _ in range(4))
    assert kills >= 2, "the run was too short to be killed"
    run(algorithm, [*arguments, "--output", output], monkeypatch)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not checkpoint.exists()


@pytest.mark.parametrize("env_name", list(envs.ENVIRONMENTS))
def test_buffer_holds_what_the_environment_did_and_no_reset(env_name):
    algorithm = importlib.import_module(f"algos.{envs.get(env_name).learner}")
    args = algorithm.resolve(
        algorithm.Args(output=Path("x.csv"), env=env_name, seeds=2, iteration_steps=450, hidden_size=8, batch_size=500)
    )
    training_envs = [Recorder(envs.make(env_name)) for _ in range(2)]
    agents = algorithm.Agents(args, training_envs[0], torch.device("cpu"))
    algorithm.train_iteration(agents, training_envs, repeat=0, iteration=0)
    assert len(agents.buffer) == 450
    fields = {name: tensor[:, :450].numpy() for name, tensor in agents.buffer.fields.items()}
    truncations = 0
    for i, env in enumerate(training_envs):
        for t, (observation, action, reward, next_observation, terminated, truncated) in enumerate(env.steps):
            np.testing.assert_array_equal(fields["observations"][i, t], observation)
            np.testing.assert_array_equal(fields["next_observations"][i, t], next_observation)
            scale = agents.action_scale if env_name == "pendulum" else 1
            np.testing.assert_allclose(fields["actions"][i, t] * scale, action, rtol=1e-6)
            assert fields["rewards"][i, t] == np.float32(reward)
            assert fields["terminations"][i, t] == terminated, "a truncation must not look like a termination"
            truncations += truncated
    if env_name in ("cliff-walking", "mountain-car", "pendulum", "represented-pong"):
        assert truncations >= 2, "this environment should have been cut off"


@pytest.mark.parametrize(("algorithm", "env"), [("dqn", "frozen-lake"), ("sac", "pendulum")])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(algorithm, env, tmp_path):
    command = [sys.executable, "-m", f"algos.{algorithm}", "--env", env, *SMALL, "--output", str(tmp_path / "run.csv")]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: ") and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def bad_inputs(tmp_path):
    """Each case: algorithm, arguments, exit status, words that the sentence must hold."""
    data = make_dataset(tmp_path / "data", "cartpole")
    ok = ["--output", tmp_path / "run.csv"]
    loro = [*ok, "--arm", "loro", "--dataset"]
    return {
        "unknown environment": ("dqn", [*ok, "--env", "chess"], 2, "chess"),
        "environment of the other algorithm": ("dqn", [*ok, "--env", "pendulum"], 2, "algos.sac"),
        "discrete environment for sac": ("sac", [*ok, "--env", "cartpole"], 2, "algos.dqn"),
        "no dataset": ("dqn", [*ok, "--arm", "loro"], 2, "--dataset"),
        "a dataset that is not used": ("dqn", [*ok, "--arm", "online", "--dataset", data], 2, "--dataset"),
        "missing dataset": ("dqn", [*loro, tmp_path / "nowhere"], 2, "nowhere"),
        "tau larger than the dataset": ("dqn", [*loro, data, "--tau", 4], 2, "holds only 3"),
        "dataset of another environment": ("dqn", [*loro, data, "--env", "mountain-car", "--tau", 2], 2, "'cartpole'"),
        "iterations not beyond tau": ("dqn", [*loro, data, "--tau", 3, "--iterations", 3], 2, "must exceed"),
        "no seeds": ("dqn", [*ok, "--seeds", 0], 2, "--seeds"),
        "output is no csv": ("dqn", ["--output", tmp_path / "run.txt"], 2, ".csv"),
        "output folder is a file": ("dqn", ["--output", tmp_path / "data/meta.json/run.csv"], 1, "Cannot write"),
        "double step elsewhere": ("dqn", [*ok, "--double-step", "True"], 2, "represented-pong"),
        "a weight that is no number": ("ppo", [*ok, "--ent-coef", "nan"], 2, "--ent-coef must be at least 0"),
        "a lambda beyond 1": ("ppo", [*ok, "--gae-lambda", "7"], 2, "--gae-lambda must be from 0 to 1"),
        "endless evaluation": ("dqn", [*ok, "--eval-horizon", "0"], 2, "an episode may never end"),
    }


def test_bad_input_is_one_sentence_with_its_exit_status(tmp_path, monkeypatch, capsys):
    for name, (algorithm, arguments, status, words) in bad_inputs(tmp_path).items():
        with pytest.raises(SystemExit) as exit_info:
            run(algorithm, [*arguments, "--no-progress"], monkeypatch)
        message = capsys.readouterr().err.strip()
        assert exit_info.value.code == status, (name, message)
        assert words in message and len(message.splitlines()) == 1, (name, message)
        assert message.startswith("error: ") and "Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"], "nothing may be left behind"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("algorithm", ["dqn", "sac"])
def test_asking_for_a_gpu_where_there_is_none(algorithm, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(algorithm, ["--output", tmp_path / "run.csv", "--device", "cuda"], monkeypatch)
    assert exit_info.value.code == 2 and "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(("algorithm", "env"), [("dqn", "cartpole"), ("sac", "pendulum")])
def test_an_llm_s_episodes_are_no_random_play(algorithm, env, tmp_path, monkeypatch, capsys):
    save_dataset(tmp_path / "data", env, record_random_play(env, 3, 40), {"policy": "an-llm"})
    arguments = ["--env", env, "--arm", "pretrain-random", "--tau", 2, "--dataset", tmp_path / "data"]
    with pytest.raises(SystemExit) as exit_info:
        run(algorithm, [*arguments, "--output", tmp_path / "run.csv"], monkeypatch)
    assert exit_info.value.code == 2 and "is the play of an-llm, not random" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run.json", "run.checkpoint.safetensors", "run.policy.safetensors"])
def test_a_folder_where_a_file_goes_is_named(name, tmp_path, monkeypatch, capsys):
    (tmp_path / name).mkdir()
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", ["--output", tmp_path / "run.csv", "--no-progress"], monkeypatch)
    assert exit_info.value.code == 2 and f"{name} is a folder" in capsys.readouterr().err


def test_unknown_arm_is_refused_with_status_2(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", ["--output", tmp_path / "run.csv", "--arm", "lora"], monkeypatch)
    assert exit_info.value.code == 2 and "lora" in capsys.readouterr().err


def test_checkpoint_of_other_arguments_or_damaged_is_refused(tmp_path, monkeypatch, capsys):
    output = tmp_path / "run.csv"
    algorithm = importlib.import_module("algos.dqn")
    original = algorithm.evaluate

    def interrupted(agents, eval_envs, repeat, iteration):
        if iteration == 3:
            raise KeyboardInterrupt
        return original(agents, eval_envs, repeat, iteration)

    monkeypatch.setattr(algorithm, "evaluate", interrupted)
    arguments = ["--env", "cliff-walking", *SMALL, "--seeds", 1, "--output", output]
    with pytest.raises(SystemExit):
        run("dqn", arguments, monkeypatch)
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    assert checkpoint.exists() and not output.exists()
    monkeypatch.setattr(algorithm, "evaluate", original)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", [*arguments, "--gamma", 0.9], monkeypatch)
    assert exit_info.value.code == 2 and "gamma was 0.99 and is 0.9 now" in capsys.readouterr().err
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", arguments, monkeypatch)
    assert exit_info.value.code == 1 and "is damaged" in capsys.readouterr().err
    checkpoint.write_bytes(content)
    with safe_open(checkpoint, "np") as file:
        metadata = file.metadata()
    tensors = load_file(checkpoint)
    changed = content[:-1] + bytes([content[-1] ^ 1])  # the last bit of the last tensor
    checkpoint.write_bytes(changed)
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", arguments, monkeypatch)
    assert exit_info.value.code == 1 and "another SHA-256" in capsys.readouterr().err
    metadata.pop("sha256")  # earlier versions wrote none
    save_file({name: tensor for name, tensor in tensors.items() if name != "target.0"}, checkpoint, metadata)
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", arguments, monkeypatch)
    assert exit_info.value.code == 1 and "another version of this code" in capsys.readouterr().err
    save_file({name: tensor for name, tensor in tensors.items() if name != "table"}, checkpoint, metadata)
    with pytest.raises(SystemExit) as exit_info:
        run("dqn", arguments, monkeypatch)
    assert exit_info.value.code == 1 and "is damaged" in capsys.readouterr().err
    checkpoint.write_bytes(content)
    run("dqn", arguments, monkeypatch)
    run("dqn", [*arguments[:-1], tmp_path / "whole.csv"], monkeypatch)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_finished_run_is_not_replaced_by_another(tmp_path, monkeypatch, capsys):
    output = tmp_path / "run.csv"
    arguments = ["--env", "cliff-walking", *SMALL, "--seeds", 1, "--output", output]
    run("dqn", arguments, monkeypatch)
    whole = output.read_bytes()
    for other in (["--env", "frozen-lake"], ["--learning-rate", 0.001]):
        with pytest.raises(SystemExit) as exit_info:
            run("dqn", [*arguments, *other], monkeypatch)
        assert exit_info.value.code == 2 and "holds another run" in capsys.readouterr().err
    assert output.read_bytes() == whole
    output.unlink()
    run("dqn", arguments, monkeypatch)  # not whole: made anew
    assert output.read_bytes() == whole


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_the_same_run_is_not_trained_twice_and_other_data_make_another(tmp_path, monkeypatch, capsys, algorithm):
    output, data = tmp_path / "run.csv", make_dataset(tmp_path / "a", "cartpole")
    more = ["--num-steps", 20, "--num-envs", 1] if algorithm == "ppo" else ["--batch-size", 32]
    arguments = ["--env", "cartpole", "--arm", "ppo-bc" if algorithm == "ppo" else "loro", "--tau", 2, "--seeds", 1]
    arguments += ["--iterations", 4, "--iteration-steps", 20, "--pretrain-steps", 20, "--no-progress", *more]
    run(algorithm, [*arguments, "--dataset", data, "--output", output], monkeypatch)
    assert json.loads(output.with_suffix(".json").read_text())["episodes"] == told_of_episodes(data)["episodes"]
    when, whole = output.stat().st_mtime_ns, output.read_bytes()
    capsys.readouterr()
    run(algorithm, [*arguments, "--dataset", data, "--output", output], monkeypatch)
    assert "holds this run already" in capsys.readouterr().out and output.stat().st_mtime_ns == when
    save_dataset(tmp_path / "b", "cartpole", record_random_play("cartpole", 3, 40, seed=5), {"policy": "random"})
    with pytest.raises(SystemExit) as exit_info:
        run(algorithm, [*arguments, "--dataset", tmp_path / "b", "--output", output], monkeypatch)
    assert exit_info.value.code == 2 and "another run (dataset_sha256 was " in capsys.readouterr().err
    assert output.read_bytes() == whole
    policy = tmp_path / "run.policy.safetensors"
    networks = policy.read_bytes()
    for damage in (policy.unlink, lambda: policy.write_bytes(networks[:-1] + b"!"), lambda: output.write_text("s\n")):
        damage()
        run(algorithm, [*arguments, "--dataset", data, "--output", output], monkeypatch)
        assert policy.read_bytes() == networks and output.read_bytes() == whole


def test_a_run_that_other_code_went_on_with_tells_both(tmp_path, monkeypatch):
    """Begun, killed and resumed with code of three commits, the first of them twice."""
    arguments = ["--env", "cliff-walking", *SMALL, "--seeds", 1, "--iterations", 4, "--output", tmp_path / "run.csv"]

    def killed_after_one_block(self, *rest, _save=records.Run.save, **more):
        _save(self, *rest, **more)
        raise KeyboardInterrupt

    for commit in ("a" * 40, "b" * 40, "a" * 40, "c" * 40):
        monkeypatch.setenv("LORO_COMMIT", commit)
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt, SystemExit):
            if commit[0] != "c":
                patched.setattr(records.Run, "save", killed_after_one_block)
            run("dqn", arguments, patched)
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["git_commit"] == "a" * 40 and "torch" in described["versions"]
    assert [code["git_commit"][0] for code in described["resumed_with"]] == ["b", "c"]


def test_a_run_tells_which_code_no_commit_has(tmp_path, monkeypatch):
    """In a repository of its own, as it is cloned and with an environment added to it."""
    code = tmp_path / "code"
    for name in ("algos", "envs", "analysis"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=n", "-c", "user.email=e@e", "commit", "-qm", "m"]):
        subprocess.run(["git", "-C", code, *command], check=True)
    command = [sys.executable, "-m", "algos.dqn", "--env", "cliff-walking", *SMALL, "--seeds", "1", "--output"]
    for name, changed in (("as-cloned", []), ("changed", ["envs/chess.py"])):
        subprocess.run([*command, tmp_path / f"{name}.csv"], cwd=code, check=True, capture_output=True)
        assert json.loads((tmp_path / f"{name}.json").read_text())["git_changed"] == changed
        (code / "envs/chess.py").write_text('"""Another game."""\n')


def test_the_final_policies_play_the_last_evaluation(tmp_path, monkeypatch):
    output = tmp_path / "run.csv"
    run("dqn", ["--env", "cliff-walking", *SMALL, "--seeds", 3, "--output", output], monkeypatch)
    weights = load_file(tmp_path / "run.policy.safetensors")
    last = [row for row in read(output) if row["iteration"] == "5"]
    for seed, row in enumerate(last):
        w1, b1, w2, b2, w3, b3 = (weights[name][seed] for name in ("w1", "b1", "w2", "b2", "w3", "b3"))
        env = envs.make("cliff-walking")
        state, _ = env.reset()
        total, ended = 0.0, False
        while not ended:
            hidden = np.maximum(np.maximum(w1[state] + b1[0], 0) @ w2 + b2[0], 0)
            state, reward, terminated, truncated, _ = env.step(int(np.argmax(hidden @ w3.T + b3[0])))
            total, ended = total + reward, terminated or truncated
        assert total == float(row["eval_return"])


def test_tensorboard_shows_the_same_numbers_as_the_csv(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "run.csv"
    run("dqn", ["--env", "cliff-walking", *SMALL, "--seeds", 2, "--output", output, "--track", tmp_path], monkeypatch)
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = {"eval_return": "charts/eval_return", "train_return": "charts/episodic_return", "q_mean": "losses/q_values"}
    for column, tag in tags.items():
        logged = [event.value for event in events.Scalars(tag)]
        rows = [[float(row[column]) for row in read(output) if int(row["iteration"]) == i] for i in range(6)]
        assert logged == pytest.approx([np.mean(values) for values in rows], rel=1e-5)


def contents_of_the_buffer(arguments, monkeypatch):
    """Run dqn and return, for each (repeat, iteration), how many transitions the buffer held when it began."""
    algorithm = importlib.import_module("algos.dqn")
    original, sizes = algorithm.train_iteration, {}

    def watched(agents, training_envs, repeat, iteration):
        sizes[repeat, iteration] = len(agents.buffer)
        return original(agents, training_envs, repeat, iteration)

    monkeypatch.setattr(algorithm, "train_iteration", watched)
    run("dqn", arguments, monkeypatch)
    monkeypatch.setattr(algorithm, "train_iteration", original)
    return sizes


def test_what_each_arm_keeps_of_the_offline_data(tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path / "data", "cliff-walking", episodes=2, steps=40)  # 80 transitions, cut off
    common = ["--env", "cliff-walking", *SMALL, "--iterations", 4, "--tau", 2, "--pretrain-steps", 60, "--seeds", 1]
    loro = [*common, "--arm", "loro", "--dataset", dataset, "--carry-over", 2]
    kept = contents_of_the_buffer([*loro, "--output", tmp_path / "a.csv"], monkeypatch)
    assert kept == {(0, 2): 80, (0, 3): 140, (1, 2): 80, (1, 3): 140}
    thrown = contents_of_the_buffer([*loro, "--discard-offline", "True", "--output", tmp_path / "b.csv"], monkeypatch)
    assert thrown == {(0, 2): 0, (0, 3): 60, (1, 2): 0, (1, 3): 60}
    shifted = contents_of_the_buffer([*loro, "--shifted", "True", "--output", tmp_path / "c.csv"], monkeypatch)
    assert shifted[0, 2] == 78, "the last shifted step of a cut-off episode has no successor"
    mix = [*common, "--arm", "mix", "--dataset", dataset, "--output", tmp_path / "d.csv"]
    assert contents_of_the_buffer(mix, monkeypatch) == {(0, 2): 80, (0, 3): 140}
    online = [*common, "--arm", "online", "--carry-over", 2, "--output", tmp_path / "e.csv"]
    sizes = contents_of_the_buffer(online, monkeypatch)
    assert [sizes[repeat, 0] for repeat in (0, 1)] == [0, 0] and sizes[1, 3] == 180
    own = [*common, "--arm", "pretrain-on-policy", "--output", tmp_path / "f.csv"]
    assert contents_of_the_buffer(own, monkeypatch) == {(0, i): 60 * i for i in range(4)}


def test_a_chain_hands_its_network_on_and_seeds_do_not(tmp_path, monkeypatch):
    algorithm = importlib.import_module("algos.dqn")
    original, networks = algorithm.evaluate, {}

    def watched(agents, eval_envs, repeat, iteration):
        networks[repeat, iteration] = [w.detach().clone() for w in agents.online]
        return original(agents, eval_envs, repeat, iteration)

    began = {}
    original_training = algorithm.train_iteration

    def watched_training(agents, training_envs, repeat, iteration):
        began[repeat, iteration] = [w.detach().clone() for w in agents.online]
        return original_training(agents, training_envs, repeat, iteration)

    monkeypatch.setattr(algorithm, "evaluate", watched)
    monkeypatch.setattr(algorithm, "train_iteration", watched_training)
    dataset = make_dataset(tmp_path / "data", "cliff-walking", episodes=2)
    arguments = ["--env", "cliff-walking", "--arm", "loro", "--dataset", dataset, *SMALL, "--tau", 2, "--seeds", 2]
    arguments += ["--pretrain-steps", 60, "--carry-over", 2, "--output", tmp_path / "run.csv"]
    run("dqn", arguments, monkeypatch)
    for handed, received in zip(networks[0, 5], began[1, 2], strict=True):
        assert torch.equal(handed, received)
    assert not torch.equal(networks[0, 5][2], began[0, 2][2]), "the first repeat must have learnt something"
    assert not torch.equal(began[0, 2][2][0], began[0, 2][2][1]), "two seeds have two networks"


@pytest.mark.parametrize(("algorithm", "env"), [("dqn", "cartpole"), ("sac", "pendulum")])
@pytest.mark.parametrize("arm", ["loro", "online"])
def test_a_repeat_may_go_on_after_what_is_recorded(algorithm, env, arm, tmp_path, monkeypatch):
    """The rows are those of a run that records the longer repeats whole."""
    arguments = ["--env", env, "--arm", arm, *SMALL, "--seeds", 2, "--carry-over", 2]
    if arm == "loro":
        arguments += ["--dataset", make_dataset(tmp_path / "data", env), "--tau", 2, "--pretrain-steps", 50]
    for name, more in (("whole", ["--iterations", 9]), ("short", ["--repeat-iterations", 9]), ("plain", [])):
        run(algorithm, [*arguments, *more, "--output", tmp_path / f"{name}.csv"], monkeypatch)
    rows = {name: read(tmp_path / f"{name}.csv") for name in ("whole", "short", "plain")}
    assert rows["short"] == [row for row in rows["whole"] if int(row["iteration"]) < 6]
    first = {name: [row for row in table if row["repeat"] == "0"] for name, table in rows.items()}
    assert first["short"] == first["plain"] and rows["short"] != rows["plain"]


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        ("dqn", ["--carry-over", "2", "--repeat-iterations", "5"]),
        ("dqn", ["--repeat-iterations", "500"]),
        ("dqn", ["--gamma", "2"]),
        ("dqn", ["--gamma", "nan"]),
        ("dqn", ["--epsilon", "-1"]),
        ("dqn", ["--learning-rate", "nan"]),
        ("dqn", ["--pretrain-steps", "-100"]),
        ("dqn", ["--buffer-size", "256"]),
        ("dqn", ["--hidden-size", "0"]),
        ("dqn", ["--first-seed", "-1"]),
        ("dqn", ["--iterations", "0"]),
        ("dqn", ["--offline-target-update-interval", "0"]),
        ("dqn", ["--discard-offline", "True"]),
        ("sac", ["--discard-offline", "True", "--env", "pendulum"]),
        ("sac", ["--smoothing", "nan", "--env", "pendulum"]),
        ("ppo", ["--gamma", "inf"]),
    ],
)
def test_numbers_that_no_run_can_have(algorithm, arguments, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(algorithm, [*arguments, "--output", tmp_path / "run.csv"], monkeypatch)
    message = capsys.readouterr().err
    assert exit_info.value.code == 2 and arguments[0] in message and message.count("\n") == 1
    assert not list(tmp_path.iterdir())
