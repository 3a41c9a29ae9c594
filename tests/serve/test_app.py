# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import json
import logging
import socket
import threading
import time

import openai
import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.context.beside import FilesBeside
from codegemma.generate.load import load_completer, load_engine
from codegemma.generate.named import open_named
from codegemma.generate.remote import Remote
from codegemma.text.budget import fit_prompt

REQUEST = {"prompt": "def f():\n    ", "suffix": "\n", "max_tokens": 64}


def events(answer):
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.fixture
def client(live):
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{live.port}/v1", api_key="none", max_retries=0
    ) as made:
        yield made


def test_the_openai_sdk_completes_with_a_suffix(client, scripted):
    answer = client.completions.create(
        model="scripted",
        prompt="def f():\n    ",
        suffix="\nprint(f())\n",
        max_tokens=64,
        extra_body={"path": "src/f.py", "top_k": 5},
    )
    assert answer.choices[0].text == "return 42\n"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 11
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    (prompt,) = scripted.prompts
    assert (prompt.prefix, prompt.suffix) == ("def f():\n    ", "\nprint(f())\n")
    assert prompt.path == "src/f.py"
    assert scripted.samplings[0].top_k == 5


def test_the_openai_sdk_streams_what_it_would_get_whole(client):
    stream = client.completions.create(
        model="scripted",
        prompt="x",
        suffix="",
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces = list(stream)
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == "return 42\n"
    assert [piece.choices[0].finish_reason for piece in pieces[-2:-1]] == ["stop"]
    assert pieces[-1].usage.total_tokens == pieces[-1].usage.prompt_tokens + 11


def test_the_openai_sdk_gets_n_samples_and_log_probabilities(client):
    answer = client.completions.create(
        model="scripted", prompt=["a", "b"], n=2, logprobs=1, max_tokens=3, stop=["u"]
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.text for choice in answer.choices} == {"ret"}
    assert answer.choices[0].logprobs.tokens == ["r", "e", "t"]
    assert answer.choices[0].logprobs.text_offset == [0, 1, 2]


def test_the_openai_sdk_reads_our_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="scripted", prompt="x", n=1_000_000)
    assert caught.value.code == "invalid_value"
    assert caught.value.param == "n"
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-4", prompt="x")
    assert caught.value.code == "model_not_found"


def test_the_openai_sdk_lists_models(client):
    assert [model.id for model in client.models.list()] == ["scripted", "codegemma:scripted"]


def test_clients_that_show_unlike_tokens_share_nothing_of_what_was_read(serving):
    """Whether the server asks for one or not; those that show none are one client."""
    engine = load_engine("nano", prefix_cache_bytes=1 << 26)
    body = {"prompt": "import os\n\n\ndef area(radius):\n    return radius * " * 2, "max_tokens": 2}

    def ask(token):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        usage = live.http.post("/v1/completions", json=body, headers=headers).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"] > 16

    with serving(engine) as live:
        assert [ask(token) for token in (None, "ann", "bob")] == [False] * 3
        assert [ask(token) for token in (None, "ann", "bob", "eve")] == [True] * 3 + [False]


def test_streamed_text_is_the_whole_text_for_every_choice(live):
    body = {"prompt": ["a", "b\r\n"], "n": 2, "max_tokens": 64, "echo": True}
    whole = live.http.post("/v1/completions", json=body).json()
    texts = dict.fromkeys(range(4), "")
    for event in events(live.http.post("/v1/completions", json={**body, "stream": True})):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]
    assert list(texts.values()) == ["areturn 42\n"] * 2 + ["b\r\nreturn 42\r\n"] * 2


def test_json_is_compact_for_clients_that_search_it(live):
    assert '"text":"return 42\\n"' in live.http.post("/v1/completions", json=REQUEST).text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 10_000, b'{"a":' * 10_000, b"\xff\xfe", b'{"n":NaN}', b'"text"'],
    ids=["empty", "cut", "deep-list", "deep-object", "not-utf8", "nan", "string"],
)
def test_a_malformed_body_is_refused(live, scripted, body):
    live.http.get("/health")
    headers = {"content-type": "application/json"}
    answer = live.http.post("/v1/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert scripted.prompts == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context_is_refused_with_both_counts(serving, fakes, stream):
    with serving(fakes.ScriptedCompleter(context_length=100)) as live:
        body = {"prompt": "x" * 200, "stream": stream}
        answer = live.http.post("/v1/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "201" in error["message"]
    assert "100" in error["message"]


def test_a_client_is_told_what_was_cut_of_an_infill_longer_than_the_context(
    serving, fakes, tokenizer
):
    lines = "".join(f"value_{number} = {number}\n" for number in range(400))
    small = fakes.ScriptedCompleter("pass", context_length=256, name="small")
    small.tokenizer = tokenizer
    with serving(small) as live:
        body = {"prompt": lines, "suffix": lines, "max_tokens": 8}
        whole = live.http.post("/v1/completions", json=body).json()
        streamed = live.http.post("/v1/completions", json={**body, "stream": True}).text
        short = live.http.post("/v1/completions", json={"prompt": "x", "suffix": ""}).json()
        refused = live.http.post("/v1/completions", json={"prompt": lines})
    cut = small.prompts[0].cut
    assert 0 < cut.prefix_chars < len(lines)
    assert whole["truncated"] == {
        "prefix_chars": cut.prefix_chars,
        "suffix_chars": cut.suffix_chars,
    }
    assert f'"truncated":{{"prefix_chars":{cut.prefix_chars},' in streamed
    assert "truncated" not in short
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert len(small.prompts) == 3


def test_while_the_model_loads_health_and_completions_say_so(serving, scripted):
    may_load = threading.Event()
    with serving(lambda: may_load.wait(10) and scripted, wait=False) as live:
        health = live.http.get("/health")
        assert health.status_code == 503
        assert health.json()["status"] == "loading"
        answer = live.http.post("/v1/completions", json=REQUEST)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "model_loading"
        assert live.http.get("/v1/models").status_code == 503
        may_load.set()
        while live.http.get("/health").status_code == 503:
            time.sleep(0.005)
        assert live.http.get("/health").json() == {
            "status": "ok",
            "model": "scripted",
            "waiting": 0,
        }
        assert live.http.post("/v1/completions", json=REQUEST).status_code == 200


def test_a_client_that_leaves_while_the_model_loads_does_not_stop_it(serving, scripted):
    may_load = threading.Event()
    with serving(lambda: may_load.wait(10) and scripted, wait=False) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        may_load.set()
        while live.http.get("/health").status_code == 503:
            time.sleep(0.005)
        assert live.http.post("/v1/completions", json=REQUEST).status_code == 200


def test_requests_beyond_the_queue_are_turned_away_while_the_others_wait(serving, scripted):
    scripted.hold.clear()
    pool = concurrent.futures.ThreadPoolExecutor(8)
    with pool, serving(scripted, max_waiting=2) as live:
        sent = [pool.submit(live.http.post, "/v1/completions", json=REQUEST) for _ in range(3)]
        while live.app.state.worker.num_waiting < 2:
            time.sleep(0.005)
        refused = live.http.post("/v1/completions", json=REQUEST)
        scripted.hold.set()  # before this none of the others ends
        statuses = [answer.result().status_code for answer in sent]
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "overloaded"
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_the_model(serving, fakes, stream):
    completer = fakes.ScriptedCompleter("x" * 5000, delay_s=0.01)
    body = json.dumps({"prompt": "a", "max_tokens": 5000, "stream": stream})
    request = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    with serving(completer) as live:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(request.encode())
            if stream:
                assert connection.recv(20).startswith(b"HTTP/1.1 200")
            while completer.num_drawn < 3:
                time.sleep(0.002)
        answer = live.http.post("/v1/completions", json={"prompt": "b", "max_tokens": 1})
        assert answer.json()["choices"][0]["text"] == "x"
    assert completer.num_drawn < 500


def test_a_client_that_hangs_up_leaves_other_streams_unharmed(serving, fakes):
    completer = fakes.ScriptedCompleter("x" * 200, delay_s=0.002)
    body = json.dumps({"prompt": "a", "max_tokens": 200, "stream": True})
    request = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    with serving(completer) as live, concurrent.futures.ThreadPoolExecutor(4) as pool:
        kept = [
            pool.submit(live.http.post, "/v1/completions", json=json.loads(body)) for _ in range(2)
        ]
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(request.encode())
        found = [events(answer.result()) for answer in kept]
    for pieces in found:
        assert "".join(piece["choices"][0]["text"] for piece in pieces) == "x" * 200


def test_a_model_that_fails_mid_stream_ends_the_stream_with_an_error(live, scripted, caplog):
    scripted.fail = RuntimeError("out of memory at /secret/path")
    with caplog.at_level(logging.ERROR):
        answer = live.http.post("/v1/completions", json={**REQUEST, "stream": True})
    last = answer.text.split("\n\n")[-2]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "[DONE]" not in answer.text
    scripted.fail = None
    assert live.http.post("/v1/completions", json=REQUEST).status_code == 200


def test_a_model_that_fails_before_the_answer_is_a_500_without_insides(live, scripted):
    scripted.fail = RuntimeError("out of memory at /secret/path")
    answer = live.http.post("/v1/completions", json=REQUEST)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


def test_a_client_that_hangs_up_within_its_request_is_no_fault_of_ours(live, scripted, caplog):
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        connection.sendall(head.encode())
        time.sleep(0.1)

    assert live.http.get("/health").status_code == 200
    assert caplog.records == []
    assert scripted.prompts == []


def test_a_body_that_never_ends_is_given_up(serving, scripted):
    with serving(scripted, body_timeout_s=0.2) as live:
        answer = live.raw(
            "POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
            "Content-Length: 100\nConnection: close\n\n{"
        )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


def test_idle_connections_do_not_keep_others_out(live):
    idle = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(200)]
    try:
        assert live.http.post("/v1/completions", json=REQUEST).status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_a_huge_header_is_refused(live):
    answer = live.raw("GET /health HTTP/1.1\nHost: localhost\nX-Long: " + "x" * 200_000 + "\n\n")
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


def test_an_unknown_path_is_told_in_the_same_shape(live):
    answer = live.http.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert live.http.post("/v1/chat/completions", json={}).status_code == 404
    assert live.http.post("/", json={}).json()["error"]["code"] == "method_not_allowed"
    wrong = live.http.get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == "method_not_allowed"


def test_a_model_is_described_by_its_names_alone(live):
    listed = live.http.get("/v1/models").json()["data"]
    assert live.http.get(f"/v1/models/{listed[0]['id']}").json() == listed[0]
    other = live.http.get("/v1/models/gpt/4")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "path", ["/../app.py", "/%2e%2e/app.py", "/assets/../../app.py", "/..%5capp.py"]
)
def test_paths_do_not_leave_the_pages_folder(live, path):
    answer = live.raw(f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_prompts_and_completions_are_never_logged(live, caplog):
    with caplog.at_level(logging.DEBUG):
        live.http.post("/v1/completions", json={"prompt": "my-secret-prompt"})
        live.http.post("/v1/completions", json={"prompt": "my-secret-prompt", "n": 99})
        live.http.post(
            "/v1/completions",
            content=b'{"my-secret-prompt',
            headers={"content-type": "application/json"},
        )
    assert "my-secret" not in caplog.text
    assert "return 42" not in caplog.text


def test_our_protocols_stand_in_front_of_another_server(serving, http):
    def answer(asked):
        text = "return 42)" if "<fim_prefix>" in asked.body["prompt"] else "left to right"
        return http.Reply(events=http.pieces(text, size=3))

    script = http.ScriptedServer(answer)
    script.models = {"data": [{"id": "starcoder2:3b", "owned_by": "library"}]}
    with (
        http.serving(script),
        serving(lambda: open_named(f"remote:{script.url}")) as live,
        openai.OpenAI(base_url=f"http://127.0.0.1:{live.port}/v1", api_key="none") as client,
    ):
        infill = client.completions.create(model="", prompt="f(", suffix=") + 12345678")
        plain = client.completions.create(model="", prompt="f(", stream=True)
        texts = [choice.text for piece in plain for choice in piece.choices]
        rendered = live.http.post(
            "/v1/completions", json={"prompt": "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"}
        )

    assert infill.choices[0].text == "return 42"  # trimmed here: the bracket is there already
    assert "".join(texts) == "left to right"
    assert script.drawn[0].body["prompt"] == "<fim_prefix>f(<fim_suffix>) + 12345678<fim_middle>"
    assert rendered.status_code == 503
    assert "does not tokenize for others" in rendered.json()["error"]["message"]


@pytest.mark.slow
def test_nano_behind_the_server_completes_as_nano_in_this_process(serving):
    served = load_completer("nano")
    here = load_engine("nano")
    code = "def mean(values):\n    total = sum(values)\n    return total / len(values)\n"
    cuts = [(at, min(at + 12, len(code))) for at in range(0, len(code), 9)]
    prompts = [Prompt(prefix=code[:start], suffix=code[end:]) for start, end in cuts]
    prompts += [Prompt(prefix=code[:20]), Prompt(prefix="x = 1\n" * 900 + "y = ", suffix=code)]

    with serving(served) as live:
        remote = Remote(f"remote:http://127.0.0.1:{live.port}")
        found = remote.complete(prompts, Sampling(max_tokens=24))
        remote.close()

    sampling = Sampling(max_tokens=24)
    expected = [
        here.complete(
            [fit_prompt(prompt, sampling, tokenizer=here.tokenizer, info=here.info)], sampling
        )[0][0]
        for prompt in prompts
    ]
    assert [one.text for (one,) in found] == [one.text for one in expected]
    assert [one.tokens for (one,) in found] == [one.tokens for one in expected]
    assert [one.finish_reason for (one,) in found] == [one.finish_reason for one in expected]
    assert found[-1][0].cut is not None
    assert remote.info.fingerprint == here.info.fingerprint


@pytest.fixture
def shop(tmp_path):
    for path, text in {
        "shop/money.py": "class Money:\n    amount = 0\n",
        "shop/cart.py": "from .money import Money\n\nclass Cart: ...\n",
        "other/cart.py": "x = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def test_an_infill_that_names_its_path_is_shown_files_of_the_servers_repository(
    serving, scripted, shop
):
    body = {**REQUEST, "path": "shop/cart.py"}
    with serving(scripted, beside=FilesBeside(shop)) as server:
        whole = server.http.post("/v1/completions", json=body).json()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        pieces = events(server.http.post("/v1/completions", json=streamed))
        for change in ({"context": False}, {"path": None}, {"suffix": None}):
            answer = server.http.post("/v1/completions", json={**body, **change}).json()
            assert "context" not in answer

    assert whole["context"] == pieces[-1]["context"] == ["shop/money.py"]
    assert not any("context" in piece for piece in pieces[:-1])
    shown, again, *others = scripted.prompts
    assert shown.context == again.context
    assert [(file.path, file.text) for file in shown.context] == [
        ("shop/money.py", "class Money:\n    amount = 0\n")
    ]
    assert all(prompt.context == () for prompt in others)


def test_a_server_without_a_repository_shows_the_file_alone(live, scripted):
    answer = live.http.post("/v1/completions", json={**REQUEST, "path": "shop/cart.py"}).json()
    assert "context" not in answer
    assert scripted.prompts[0].context == ()


def test_context_is_true_or_false(live):
    answer = live.http.post("/v1/completions", json={**REQUEST, "context": "all"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "context"
