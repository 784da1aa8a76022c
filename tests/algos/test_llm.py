"""The language model behind its interface, against transformers' own generate and plain token-by-token reading."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from tiny_llm import CHAT, NO_SYSTEM, save_tiny_llm

from algos import llm as llm_module
from algos.llm import LocalLLM, Sampling, ServerLLM, draw
from envs.errors import Failure, UsageError

GREEDY, SAMPLED = Sampling(0.0, 1.0, 12), Sampling(1.0, 0.9, 12)


def chats(*texts):
    return [[{"role": "system", "content": "You play."}, {"role": "user", "content": text}] for text in texts]


FOUR = chats("go on", "a much longer question, which needs padding", "why?", "go on")


def never(text):
    return False


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return LocalLLM(str(save_tiny_llm(tmp_path_factory.mktemp("model"))), progress=False)


def written(llm, sampling, keys=None, complete=never, prefix=(), which=FOUR):
    keys = [[1, n] for n in range(len(which))] if keys is None else keys
    return [reading.answer for reading in llm.write(which, keys, sampling, complete, list(prefix))]


def test_greedy_answers_are_those_of_generate(tiny):
    prefix = tiny.shared(*chats("0", "left"))
    assert len(prefix) > 10
    for shared in ([], prefix):
        for chat, answer in zip(FOUR, written(tiny, GREEDY, prefix=shared), strict=True):
            ids = torch.tensor([tiny.tokens(tiny.render(chat))])
            new = tiny.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
            assert answer == tiny.tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


def test_an_answer_depends_on_its_key_and_not_on_its_batch(tiny):
    together = written(tiny, SAMPLED)
    alone = [written(tiny, SAMPLED, [[1, n]], which=[chat])[0] for n, chat in enumerate(FOUR)]
    assert together == alone
    assert together[0] != together[3]  # the same question, another key
    assert written(tiny, SAMPLED, [[1, 0], [1, 1], [1, 2], [1, 0]])[0] == together[0]
    assert written(tiny, SAMPLED, [[2, n] for n in range(4)]) != together


def test_writing_stops_where_the_answer_is_complete(tiny):
    whole = written(tiny, GREEDY)
    stopped = written(tiny, GREEDY, complete=lambda text: len(text) >= 3)
    assert all(answer[: len(short)] == short for answer, short in zip(whole, stopped, strict=True))
    assert all(3 <= len(short) <= 4 for short in stopped) and max(map(len, whole)) > 4


def test_tokens_are_drawn_with_their_probabilities():
    p = torch.tensor([0.05, 0.5, 0.15, 0.3])
    uniform = ((np.arange(2000) + 0.5) / 2000).tolist()
    rows = p.log().expand(2000, -1)
    share = torch.bincount(torch.tensor(draw(rows, Sampling(1.0, 1.0, 1), uniform)), minlength=4) / 2000
    assert share.tolist() == pytest.approx(p.tolist(), abs=1e-3)
    # of the likeliest that make up 0.6: the second and the fourth, 0.5 to 0.3
    share = torch.bincount(torch.tensor(draw(rows, Sampling(1.0, 0.6, 1), uniform)), minlength=4) / 2000
    assert share.tolist() == pytest.approx([0, 0.625, 0, 0.375], abs=1e-3)
    # temperature 0.5 squares the probabilities
    share = torch.bincount(torch.tensor(draw(rows, Sampling(0.5, 1.0, 1), uniform)), minlength=4) / 2000
    assert share.tolist() == pytest.approx((p**2 / (p**2).sum()).tolist(), abs=1e-3)
    assert draw(rows[:2], Sampling(0.0, 0.6, 1), [0.1, 0.9]) == [1, 1]


def test_a_flat_distribution_reaches_beyond_the_likely_tokens():
    rows = torch.zeros(1000, 4 * llm_module.LIKELY).log_softmax(-1)
    drawn = draw(rows, Sampling(1.0, 1.0, 1), np.linspace(0, 0.9999, 1000).tolist())
    assert len(set(drawn)) > 900


def test_memory_that_runs_out_halves_the_batch(tiny, monkeypatch, capsys):
    expected = tiny.score(FOUR, "Action:", ("left", "right"), [])
    read = LocalLLM._read

    def little_memory(self, rows, prefix):
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(self, rows, prefix)

    monkeypatch.setattr(LocalLLM, "_read", little_memory)
    monkeypatch.setattr(tiny, "batch_size", 4)
    found = tiny.score(FOUR, "Action:", ("left", "right"), [])
    assert tiny.batch_size == 1 and "--batch-size 2" in capsys.readouterr().err
    for a, b in zip(expected, found, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)

    def no_memory(self, rows, prefix):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LocalLLM, "_read", no_memory)
    with pytest.raises(Failure, match="Not enough memory for a single prompt"):
        tiny.score(FOUR, "Action:", ("left",), [])


def test_another_defect_is_not_taken_for_little_memory(tiny, monkeypatch):
    def broken(self, rows, prefix):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(LocalLLM, "_read", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        tiny.score(FOUR, "Action:", ("left",), [])


def test_many_words_after_few_prompts_score_as_one_by_one(tiny, monkeypatch):
    words = ("left", "right and right again", "hard left", "up")
    expected = [tiny.score([chat], "Action:", (word,), [])[0].scores[word] for chat in FOUR for word in words]
    for batch_size in (3, 32):  # two prompts take all of the batch, or leave room for all words at once
        monkeypatch.setattr(tiny, "batch_size", batch_size)
        found = tiny.score(FOUR, "Action:", words, [])
        scores = [reading.scores[word] for reading in found for word in words]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_words_that_cannot_be_told_apart_are_refused(tiny):
    with pytest.raises(UsageError, match="cannot tell the action word 'hard' from 'hard left'"):
        tiny.score(FOUR, "Action:", ("hard", "hard left"), [])


def test_models_without_chat_template_or_system_role(tmp_path):
    bare = str(save_tiny_llm(tmp_path / "bare", chat_template=None))
    with pytest.raises(UsageError, match="no chat template"):
        LocalLLM(bare, progress=False)
    plain = LocalLLM(bare, plain=True, progress=False)
    assert plain.render(FOUR[0]) == "You play.\n\ngo on\n\n"
    strict = LocalLLM(str(save_tiny_llm(tmp_path / "strict", chat_template=NO_SYSTEM)), progress=False)
    assert strict.render(FOUR[0]) == "<user>You play.\n\ngo on\n<assistant>"
    assert CHAT != NO_SYSTEM


def test_templates_are_told_a_fixed_date_and_whether_to_think(tmp_path):
    told = "{{ date_string }}{% if enable_thinking is false %} at once{% endif %}"
    folder = str(save_tiny_llm(tmp_path / "m", chat_template=f"<{told}>{CHAT}"))
    assert LocalLLM(folder, progress=False).render(FOUR[0]).startswith(f"<{llm_module.DATE}><system>")
    assert LocalLLM(folder, thinking=False, progress=False).render(FOUR[0]).startswith(f"<{llm_module.DATE} at once>")


# --- A server --------------------------------------------------------------------------------------------------------


class Server:
    """Answers chat completions with whatever `reply(number of the request, body)` gives: status and text."""

    def __init__(self, reply):
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, body, self.headers.get("Authorization")))
                status, text = reply(len(outer.requests), body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def completion(text):
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 7}})


@pytest.fixture
def impatient(monkeypatch):
    waits = []
    monkeypatch.setattr(llm_module.time, "sleep", waits.append)
    return waits


def test_a_file_that_changed_since_it_was_unpacked_is_named(tmp_path):
    folder = save_tiny_llm(tmp_path / "model")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    provenance = {"source": "a file", "files": {weights.name: hashlib.sha256(content).hexdigest()}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    described = LocalLLM(str(folder), progress=False).description()
    assert described["source"] == "a file" and "files" not in described
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Failure, match=r"model\.safetensors was changed"):
        LocalLLM(str(folder), progress=False).description()


def test_a_server_is_asked_for_each_chat(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Server(lambda n, body: (200, completion(body["messages"][-1]["content"]))) as server:
        llm = ServerLLM(server.url, "some/model")
        readings = llm.write(FOUR, [[1, n] for n in range(4)], Sampling(0.9, 0.6, 50), never, [])
    assert [reading.answer for reading in readings] == [chat[-1]["content"] for chat in FOUR]
    assert all(reading.tokens == 7 and reading.seconds > 0 for reading in readings)
    paths, bodies, keys = zip(*server.requests, strict=True)
    assert set(paths) == {"/v1/chat/completions"} and set(keys) == {"Bearer secret"}
    assert {body["model"] for body in bodies} == {"some/model"}
    assert all((body["temperature"], body["top_p"], body["max_tokens"]) == (0.9, 0.6, 50) for body in bodies)
    assert len({body["seed"] for body in bodies}) == 4
    assert "secret" not in json.dumps(llm.description())


@pytest.mark.parametrize(
    "trouble", [(500, "down"), (200, "<html>"), (200, "{}"), (429, "slow"), (200, '{"choices": 3}')]
)
def test_a_server_in_trouble_is_asked_again_and_then_given_up(impatient, trouble):
    with Server(lambda n, body: trouble if n <= 2 else (200, completion("left"))) as server:
        readings = ServerLLM(server.url, "m").write(FOUR[:1], [[0]], SAMPLED, never, [])
        assert readings[0].answer == "left" and len(server.requests) == 3
    assert impatient == [1.0, 2.0]
    with Server(lambda n, body: trouble) as server, pytest.raises(Failure, match="run the same command again"):
        ServerLLM(server.url, "m").write(FOUR[:1], [[0]], SAMPLED, never, [])


def test_a_server_that_refuses_or_is_not_there(impatient):
    with Server(lambda n, body: (404, "no such model")) as server, pytest.raises(UsageError, match="no such model"):
        ServerLLM(server.url, "m").write(FOUR[:1], [[0]], SAMPLED, never, [])
    with pytest.raises(Failure, match="failed 5 times"):
        ServerLLM(server.url, "m").write(FOUR[:1], [[0]], SAMPLED, never, [])
    with pytest.raises(UsageError, match="begins with http"):
        ServerLLM("localhost:8000", "m")
