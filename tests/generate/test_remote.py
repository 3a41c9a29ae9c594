# SPDX-License-Identifier: Apache-2.0
import json
import statistics
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from codegemma.completion import Completer, Cut, Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ConfigError, ContextLengthError, InputError, RemoteError
from codegemma.generate.link import Link
from codegemma.generate.load import load_engine
from codegemma.generate.remote import Remote, RemoteName
from codegemma.model.export import convert_to_gguf
from codegemma.model.hub import NANO_FOLDER

MIDDLE = Prompt(prefix="a(", suffix=")")


@pytest.fixture
def open_remote(server):
    opened = []

    def make(rest="", *, delays_s=(0.0, 0.0), **options):
        link = Link(f"{server.url}/v1", delays_s=delays_s, **options)
        opened.append(Remote(f"remote:{server.url}{rest}", link=link))
        return opened[-1]

    yield make
    for remote in opened:
        remote.close()


def _entry(model, owner="someone", **more):
    return {"data": [{"id": model, "owned_by": owner, **more}]}


# Names


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("remote:http://h:8000", ("http://h:8000/v1", None, None)),
        ("remote:http://h:8000/", ("http://h:8000/v1", None, None)),
        ("remote:https://h/v1/", ("https://h/v1", None, None)),
        ("remote:https://h/openai/v1#org/m-1:7b", ("https://h/openai/v1", "org/m-1:7b", None)),
        ("remote:http://[::1]:1#m,fim=codellama", ("http://[::1]:1/v1", "m", "codellama")),
        ("remote:http://h#,fim=suffix", ("http://h/v1", None, "suffix")),
    ],
)
def test_a_name_says_where_and_which(name, parsed):
    found = RemoteName.parse(name)

    assert (found.url, found.model, found.fim) == parsed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("remote:h:8000", "is written remote:URL, as in remote:http://127.0.0.1:8000/v1"),
        ("remote:", "is written remote:URL"),
        ("remote:ftp://h", "is written remote:URL"),
        ("remote:http://h:x", "is written remote:URL"),
        ("remote:http://[h", "is written remote:URL"),
        ("remote:http://me:secret@h", "put the token into CODEGEMMA_REMOTE_TOKEN"),
        ("remote:http://h/v1?key=secret", "put the token into CODEGEMMA_REMOTE_TOKEN"),
        ("remote:http://h#m,fim=gpt", "no infill template 'gpt'; there are codegemma"),
        ("remote:http://h#m,n=1", "takes the option fim=TEMPLATE, not 'n=1'"),
    ],
)
def test_a_name_that_is_none_is_refused(name, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        RemoteName.parse(name)

    assert "secret" not in str(refusal.value)


# What is served


def test_a_server_is_asked_what_it_serves(open_remote, server):
    remote = open_remote()

    assert isinstance(remote, Completer)
    info = remote.info
    assert info.name == f"remote:{server.url}/v1#Qwen/Qwen2.5-Coder-1.5B,fim=qwen2.5-coder"
    assert (info.context_length, info.mode, info.device) == (2048, "psm", "remote")
    assert (info.is_instruction, info.fingerprint, info.dtype) == (False, None, "unknown")


def test_our_server_tells_all_of_its_model(open_remote, server):
    meta = {"n_ctx_train": 1024, "mode": "spm", "is_instruction": True, "dtype": "float32"}
    entries = [
        {"id": name, "owned_by": "codegemma", "meta": {**meta, "fingerprint": "f00"}}
        for name in ("nano", "codegemma:nano")
    ]
    server.models = {"data": entries}

    info = open_remote().info

    assert info.name.endswith("#nano,fim=suffix")
    assert (info.context_length, info.mode, info.dtype) == (1024, "spm", "float32")
    assert (info.is_instruction, info.fingerprint) == (True, "f00")


def test_llama_server_tells_the_context_of_a_request_apart(open_remote, server, http):
    server.models = _entry("codegemma-2b.gguf", "llamacpp", meta={"n_ctx_train": 8192})
    server.answer = lambda asked: http.Reply(
        body={"default_generation_settings": {"n_ctx": 512}}
        if asked.path == "/props"
        else {"choices": []}
    )
    assert open_remote().info.context_length == 512

    server.answer = lambda asked: http.Reply(status=404)
    assert open_remote().info.context_length == 8192


def test_one_of_several_models_is_named(open_remote, server):
    server.models = {"data": [{"id": "a"}, {"id": "starcoder2:3b"}]}

    assert open_remote("#starcoder2:3b").info.name.endswith("#starcoder2:3b,fim=starcoder2")
    assert open_remote("#a,fim=suffix").info.name.endswith("#a,fim=suffix")
    with pytest.raises(ConfigError, match=r"serves a, starcoder2:3b: name one, as in remote:http"):
        open_remote()
    with pytest.raises(ConfigError, match=r"serves a, starcoder2:3b, and not 'b'"):
        open_remote("#b")


@pytest.mark.parametrize("models", [{}, [], {"data": "x"}, {"data": [{"n": "a"}]}, {"data": [1]}])
def test_what_lists_no_models_is_no_completion_server(open_remote, server, models):
    server.models = models

    with pytest.raises(RemoteError, match=r"/v1/models gives no list of models: it is no OpenAI"):
        open_remote()


def test_an_empty_server_is_named(open_remote, server):
    server.models = {"data": []}

    with pytest.raises(ConfigError, match="serves nothing: name one"):
        open_remote()


def test_the_token_is_the_environments(server, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_REMOTE_TOKEN", " t0ken ")

    Remote(f"remote:{server.url}").close()

    assert server.asked[0].headers["Authorization"] == "Bearer t0ken"


def test_a_loading_server_is_waited_for_and_one_that_is_not_there_is_not(open_remote, server, http):
    replies = [http.Reply(status=503), http.Reply(body=http.MODELS)]
    server.models = None
    server.answer = lambda asked: replies.pop(0)

    assert open_remote().info.context_length == 2048
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"cannot reach http://127\.0\.0\.1:1/v1"):
        Remote("remote:http://127.0.0.1:1")
    assert time.monotonic() - began < 10  # further tries would take 15 s


# Completing


def test_prompts_are_completed_side_by_side_in_their_order(open_remote, server, http):
    def answer(asked):
        number = int(asked.body["prompt"].split("fim_prefix|>")[1][0])
        return http.Reply(events=(0.05 * (8 - number) / 8, *http.pieces(f"n{number}")))

    server.answer = answer
    prompts = [Prompt(prefix=str(number), suffix="") for number in range(8)]

    found = open_remote(max_concurrent=4).complete(prompts, Sampling())

    assert [completion.text for (completion,) in found] == [f"n{number}" for number in range(8)]
    assert 2 <= server.most_running <= 4


def test_samples_of_one_prompt_are_requests_of_their_own(open_remote, server, http):
    server.answer = lambda asked: http.Reply(events=http.pieces(str(asked.body["seed"])))

    found = open_remote().complete([MIDDLE] * 2, Sampling(n=3, temperature=0.5, seed=7))

    assert [[each.text for each in samples] for samples in found] == [["7", "8", "9"]] * 2


def test_a_stop_string_the_server_does_not_heed_ends_the_request(open_remote, server, http):
    events = (*http.pieces("return 1\nprint", size=9, reason=None), *[0.01, *http.pieces("x")] * 50)
    server.answer = lambda asked: http.Reply(events=events)
    stops = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")

    ((found,),) = open_remote().complete([MIDDLE], Sampling(stop=stops))

    assert (found.text, found.finish_reason) == ("return 1", "stop")
    assert "\nprint" in server.drawn[0].body["stop"]
    _wait_for(lambda: server.num_hung_up == 1)


def test_an_answer_in_one_piece_will_do(open_remote, server, http):
    body = {
        "choices": [{"text": "42<|fim_pad|>", "finish_reason": "length", "token_ids": [4, 5]}],
        "usage": {"prompt_tokens": 3},
    }
    server.answer = lambda asked: http.Reply(body=body)

    ((found,),) = open_remote().complete([MIDDLE], Sampling())

    assert (found.text, found.tokens, found.prompt_tokens) == ("42", (4, 5), 3)


def test_a_lost_request_is_drawn_anew(open_remote, server, http):
    replies = [
        http.Reply(status=500),
        http.Reply(events=http.pieces("41", reason=None), is_cut=True),
        http.Reply(events=http.pieces("42")),
        http.Reply(events=http.pieces("41", reason=None)),
        http.Reply(events=http.pieces("43")),
    ]
    server.answer = lambda asked: replies.pop(0)
    remote = open_remote(delays_s=(0.0,) * 5)

    texts = [remote.complete([MIDDLE], Sampling())[0][0].text for _ in range(2)]

    assert texts == ["42", "43"]


def test_one_failure_ends_all_and_is_told(open_remote, server, http):
    def answer(asked):
        if "bad" in asked.body["prompt"]:
            return http.Reply(status=400, body={"error": {"message": "no such thing"}})
        return http.Reply(events=(*[{"choices": []}, 0.02] * 2000,))

    server.answer = answer
    began = time.monotonic()

    with pytest.raises(RemoteError, match="400: no such thing"):
        open_remote().complete([MIDDLE, Prompt(prefix="bad", suffix="")], Sampling())

    assert time.monotonic() - began < 15
    _wait_for(lambda: server.num_hung_up == 1)


def test_a_truncated_stream_is_an_error_in_the_end(open_remote, server, http):
    server.answer = lambda asked: http.Reply(events=http.pieces("41", reason=None))

    with pytest.raises(RemoteError, match="ended its answer before the completion's end"):
        open_remote().complete([MIDDLE], Sampling())
    assert len(server.drawn) == 3


def test_a_cancelled_request_ends_at_once_with_what_there_is(open_remote, server, http):
    cancel = threading.Event()
    events = (*http.pieces("ab", reason=None), 1.0, cancel.set, 30)
    server.answer = lambda asked: http.Reply(events=events)
    began = time.monotonic()

    ((found,),) = open_remote().complete([MIDDLE], Sampling(), cancel)

    assert (found.text, found.finish_reason) == ("ab", "cancelled")
    assert time.monotonic() - began < 15


def test_a_budget_ends_a_request_with_what_there_is(open_remote, server, http):
    server.answer = lambda asked: http.Reply(events=(*http.pieces("ab", reason=None), 30))

    ((found,),) = open_remote().complete([MIDDLE], Sampling(budget_ms=2000.0))

    assert (found.text, found.finish_reason) == ("ab", "deadline")


def test_an_infill_that_is_too_long_is_cut_around_the_cursor(open_remote, server, http):
    server.models = _entry("starcoder2", max_model_len=100)

    def answer(asked):
        if len(asked.body["prompt"]) > 140:
            message = "This model's maximum context length is 100 tokens"
            return http.Reply(status=400, body={"message": message})
        return http.Reply(events=http.pieces("ok"))

    server.answer = answer
    remote = open_remote()

    ((found,),) = remote.complete([Prompt(prefix="x" * 500, suffix="y")], Sampling(max_tokens=50))

    assert found.cut == Cut(prefix_chars=399)
    assert server.drawn[-1].body["prompt"] == (f"<fim_prefix>{'x' * 101}<fim_suffix>y<fim_middle>")
    with pytest.raises(ContextLengthError, match="maximum context length is 100"):
        remote.complete([Prompt(prefix="x" * 500)], Sampling(max_tokens=50))


def test_a_prompt_that_cannot_be_shown_is_refused_before_it_is_sent(open_remote, server):
    remote = open_remote()

    with pytest.raises(InputError, match="holds no conversations"):
        remote.complete([Prompt(turns=(Turn(role="user", text="hi"),))], Sampling())
    with pytest.raises(InputError, match=r"the text holds <\|im_start\|>"):
        remote.complete([Prompt(prefix="<|im_start|>")], Sampling())
    with pytest.raises(ConfigError, match="in the order psm, not spm"):
        remote.complete([MIDDLE], Sampling(mode="spm"))
    assert server.drawn == []


def test_log_probabilities_come_where_they_are_served(open_remote, server, http):
    logprobs = {"tokens": ["token_id:5"], "token_logprobs": [-0.5], "top_logprobs": None}
    (event,) = http.pieces("a", size=9)
    event["choices"][0]["logprobs"] = logprobs
    server.answer = lambda asked: http.Reply(events=(event,))

    ((found,),) = open_remote().complete([MIDDLE], Sampling(logprobs=1))

    assert found.logprobs is not None
    assert [(each.token, each.logprob) for each in found.logprobs] == [(5, -0.5)]


# Streaming


def test_text_is_given_as_it_comes(open_remote, server, http):
    events = [event for piece in http.pieces("abc") for event in (piece, 0.1)]
    server.answer = lambda asked: http.Reply(events=tuple(events))

    deltas = list(open_remote().stream(MIDDLE, Sampling()))

    assert "".join(delta.text for delta in deltas) == "abc"
    assert len(deltas) >= 3
    assert [index for index, delta in enumerate(deltas, 1) if delta.completion] == [len(deltas)]
    assert deltas[-1].completion.text == "abc"


def test_samples_are_streamed_side_by_side(open_remote, server, http):
    server.answer = lambda asked: http.Reply(events=http.pieces("ab" * 20))

    deltas = list(open_remote().stream(MIDDLE, Sampling(n=3, temperature=1.0)))

    for index in range(3):
        mine = [delta for delta in deltas if delta.index == index]
        assert "".join(delta.text for delta in mine) == "ab" * 20
        assert [d.completion.text for d in mine if d.completion] == ["ab" * 20]


def test_leaving_a_stream_ends_its_request(open_remote, server, http):
    events = (*[*http.pieces("x", reason=None), 0.02] * 300,)
    server.answer = lambda asked: http.Reply(events=events)

    stream = open_remote().stream(MIDDLE, Sampling())
    next(stream)
    stream.close()

    _wait_for(lambda: server.num_hung_up == 1)


def test_a_cancelled_stream_ends_with_what_was_given(open_remote, server, http):
    server.answer = lambda asked: http.Reply(events=(*http.pieces("ab", reason=None), 30))
    cancel = threading.Event()
    given = ""
    for delta in open_remote().stream(MIDDLE, Sampling(), cancel):
        given += delta.text
        if given == "ab":
            cancel.set()

    assert delta.completion is not None
    assert (delta.completion.text, delta.completion.finish_reason) == ("ab", "cancelled")


def test_a_stream_begins_anew_only_while_nothing_was_given(open_remote, server, http):
    replies = [
        http.Reply(status=503),
        http.Reply(events=({"choices": []},), is_cut=True),
        http.Reply(events=(*http.pieces("ab", reason=None), 0.2), is_cut=True),
    ]
    server.answer = lambda asked: replies.pop(0)
    given = []

    with pytest.raises(RemoteError, match="broke the connection"):
        given += open_remote().stream(MIDDLE, Sampling())

    assert replies == []


# Log likelihood and tokens


def test_continuations_are_scored_by_a_server_that_repeats_prompts(open_remote, server, http):
    def answer(asked):
        assert [asked.body[name] for name in ("echo", "logprobs", "max_tokens")] == [True, 1, 1]
        words = ["<s>", *asked.body["prompt"].split(" ")]
        values = [None, *(-float(len(word)) for word in words[1:])]
        logprobs = {
            "tokens": [*words, "drawn"],
            "token_logprobs": [*values, -9.0],
            "top_logprobs": [None, *({"x": -2.0} for _ in words)],
        }
        usage = {"prompt_tokens": len(words)}
        return http.Reply(body={"choices": [{"logprobs": logprobs}], "usage": usage})

    server.answer = answer

    pairs = [("a b", " ccc dd"), ("a b", " c"), ("", "a bb")]
    long, short, whole = open_remote().loglikelihood(pairs)

    assert (long.logprob, long.is_greedy, long.num_tokens) == (-5.0, False, 2)
    assert (short.logprob, short.is_greedy, short.num_tokens) == (-1.0, True, 1)
    assert (whole.logprob, whole.num_tokens) == (-3.0, 2)
    prompts = sorted(asked.body["prompt"] for asked in server.drawn)
    assert prompts == ["a b", "a b c", "a b ccc dd", "a bb"]


def test_a_server_that_repeats_nothing_refuses_likelihoods_by_name(open_remote, server, http):
    refusal = {"error": {"message": "Only no echo is supported"}}
    server.answer = lambda asked: http.Reply(status=400, body=refusal)
    with pytest.raises(RemoteError, match=r"no log probabilities of a prompt: .*Only no echo is"):
        open_remote().loglikelihood([("a", "b")])

    ignored = {"choices": [{"text": "c", "logprobs": None}], "usage": {"prompt_tokens": 2}}
    server.answer = lambda asked: http.Reply(body=ignored)
    with pytest.raises(RemoteError, match="which loglikelihood needs"):
        open_remote().loglikelihood([("a", "b")])


def test_a_server_tokenizes_where_it_offers_to(open_remote, server, http):
    def answer(asked):
        if asked.path == "/tokenize":
            text = asked.body.get("prompt") or asked.body.get("content")
            return http.Reply(body={"tokens": list(text.encode())})
        return http.Reply(body={"prompt": "vllm", "content": "llama"})

    server.answer = answer
    vllm = open_remote().tokenizer
    server.models = _entry("m", "llamacpp", meta={"n_ctx": 9})
    llama = open_remote().tokenizer
    server.models = _entry("m")
    other = open_remote().tokenizer

    assert (vllm.encode("ab"), llama.encode("ab")) == ([97, 98], [97, 98])
    assert (vllm.decode([1]), llama.decode([1])) == ("vllm", "llama")
    assert [asked.body for asked in server.drawn][1] == {
        "content": "ab",
        "add_special": False,
        "parse_special": False,
    }
    with pytest.raises(RemoteError, match="does not tokenize for others"):
        other.encode("a")


def test_an_answer_without_tokens_is_named(open_remote, server, http):
    server.answer = lambda asked: http.Reply(body={"a": 1})

    with pytest.raises(RemoteError, match="answered /tokenize without tokens"):
        open_remote().tokenizer.encode("a")


def _wait_for(is_so, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


def test_requests_are_json_that_any_server_reads(open_remote, server):
    open_remote().complete([MIDDLE], Sampling())

    assert json.dumps(server.drawn[0].body, allow_nan=False)


# A real server of another project


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory):
    """The address of llama.cpp's server with nano; "codegemma" in its name tells the template."""
    import xllamacpp

    path = tmp_path_factory.mktemp("gguf") / "codegemma-nano.gguf"
    convert_to_gguf(NANO_FOLDER, path, dtype="float32")
    params = xllamacpp.CommonParams()
    params.model.path, params.port = str(path), 0
    params.n_ctx, params.n_parallel = 1024, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.verbosity, params.endpoint_props = False, 0, True
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["psm", "spm", "spm2"])
def test_llama_server_completes_with_nano_as_nano_in_this_process(llama_server, mode):
    here = load_engine("nano")
    code = Path(statistics.__file__).read_text()
    prompts = [
        Prompt(prefix=code[start - 300 : start], suffix=code[start + 9 : start + 300])
        for start in range(400, 8000, 700)
    ]
    prompts.append(replace(prompts[0], path="a.py", context=(SourceFile(path="b.py", text="x"),)))
    sampling = Sampling(max_tokens=24, mode=mode)

    remote = Remote(f"remote:{llama_server}")
    found = remote.complete(prompts, sampling)
    remote.close()

    expected = [here.complete([prompt], sampling)[0][0] for prompt in prompts]
    assert [one.prompt_tokens for (one,) in found] == [one.prompt_tokens for one in expected]
    assert [one.text for (one,) in found] == [one.text for one in expected]
    assert [one.finish_reason for (one,) in found] == [one.finish_reason for one in expected]


@pytest.mark.slow
def test_llama_server_keeps_to_what_is_assumed_of_it(llama_server):
    remote = Remote(f"remote:{llama_server}")
    assert remote.info.context_length == 1024
    assert remote.info.name.endswith("codegemma-nano.gguf,fim=codegemma")

    long = Prompt(prefix="x" * 9000, suffix="")
    ((found,),) = remote.complete([long], Sampling(max_tokens=4))
    assert found.cut is not None
    with pytest.raises(ContextLengthError, match="context size"):
        remote.complete([Prompt(prefix="x" * 9000)], Sampling(max_tokens=4))

    ((found,),) = remote.complete([MIDDLE], Sampling(max_tokens=4, logprobs=2))
    assert found.logprobs is not None
    assert all(len(each.top) == 2 for each in found.logprobs)
    tokenizer = load_engine("nano").tokenizer
    assert tokenizer.decode([each.token for each in found.logprobs]).startswith(found.text)
    assert remote.tokenizer.encode("def f<bos>") == tokenizer.encode("def f<bos>")
    assert remote.tokenizer.decode(tokenizer.encode("    x")) == "    x"

    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    ((found,),) = remote.complete([Prompt(prefix="x = [1,")], Sampling(max_tokens=900), cancel)
    assert found.finish_reason == "cancelled"
    with pytest.raises(RemoteError, match="no log probabilities of a prompt"):
        remote.loglikelihood([("a", "b")])
    remote.close()
