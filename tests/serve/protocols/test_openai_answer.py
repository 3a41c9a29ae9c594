# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from codegemma.completion import Completion, Timings, TokenLogprob
from codegemma.serve.protocols.openai import parse_completion
from codegemma.serve.protocols.openai_answer import Answer, models_body
from codegemma.serve.schemas import Fields


@pytest.fixture
def answer(scripted):
    def make(**body):
        return Answer(parse_completion(Fields(body)), scripted)

    return make


def completion(text, *, reason="stop", **more):
    tokens = tuple(1000 + ord(letter) for letter in text)
    return Completion(
        text=text,
        tokens=tokens,
        finish_reason=reason,
        prompt_tokens=10,
        cached_tokens=4,
        timings=Timings(prompt_ms=3.0, first_token_ms=4.0, total_ms=8.5),
        **more,
    )


def test_a_whole_answer_has_what_openai_clients_read(answer):
    found = answer(prompt="a").whole([completion("xy")])
    assert found.pop("id").startswith("cmpl-")
    assert found.pop("created") > 1_700_000_000
    assert found == {
        "object": "text_completion",
        "model": "scripted",
        "choices": [{"index": 0, "text": "xy", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        "timings": {
            "cache_n": 4,
            "prompt_n": 6,
            "prompt_ms": 3.0,
            "predicted_n": 2,
            "predicted_ms": 5.5,
        },
    }


def test_a_prompt_counts_once_however_many_completions_it_has(answer):
    found = answer(prompt=["a", "b"], n=2).whole([completion("xyz") for _ in range(4)])
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    assert found["usage"]["prompt_tokens"] == 20
    assert found["usage"]["completion_tokens"] == 12
    assert found["timings"]["prompt_ms"] == 6.0


@pytest.mark.parametrize(
    ("reason", "told"), [("stop", "stop"), ("length", "length"), ("deadline", "length")]
)
def test_openai_knows_two_reasons_to_end(answer, reason, told):
    found = answer(prompt="a").whole([completion("x", reason=reason)])
    assert found["choices"][0]["finish_reason"] == told


def test_pieces_carry_text_and_the_last_one_the_reason(answer):
    stream = answer(prompt="a")
    first, last = stream.piece(0, "x", None), stream.piece(0, "", completion("x"))
    assert first["choices"][0] == {
        "index": 0,
        "text": "x",
        "logprobs": None,
        "finish_reason": None,
    }
    assert last["choices"][0]["finish_reason"] == "stop"
    assert first["id"] == last["id"]
    assert "usage" not in first
    usage = stream.usage([completion("x")])
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 11


def test_echo_repeats_the_prompt_once_before_each_choice(answer):
    found = answer(prompt=["ab", "cd"], echo=True).whole([completion("x"), completion("y")])
    assert [choice["text"] for choice in found["choices"]] == ["abx", "cdy"]
    stream = answer(prompt=[1104, 1105], echo=True)
    pieces = [stream.piece(0, "x", None), stream.piece(0, "y", completion("xy"))]
    assert [piece["choices"][0]["text"] for piece in pieces] == ["hix", "y"]


def test_a_completion_gets_the_line_ends_of_the_file(answer):
    crlf = answer(prompt="a\r\nb\r\n", suffix="")
    assert crlf.whole([completion("x\ny\n")])["choices"][0]["text"] == "x\r\ny\r\n"
    assert answer(prompt="a\n").piece(0, "x\n", None)["choices"][0]["text"] == "x\n"


def test_log_probabilities_cover_the_text_and_not_the_token_that_ended_it(answer):
    entries = tuple(
        TokenLogprob(token=token, logprob=logprob, top=((1000 + ord("z"), -3.0),))
        for token, logprob in ((1120, -0.1), (1121, -0.2), (70, -0.3))
    )
    found = answer(prompt="a", logprobs=1).whole([completion("xy", logprobs=entries)])
    assert found["choices"][0]["logprobs"] == {
        "tokens": ["x", "y"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"z": -3.0}, {"z": -3.0}],
        "text_offset": [0, 1],
    }
    plain = answer(prompt="a", logprobs=0).whole([completion("xy", logprobs=entries)])
    assert plain["choices"][0]["logprobs"]["top_logprobs"] is None


def test_log_probabilities_leave_out_what_was_typed_and_drawn_again(answer):
    entries = tuple(TokenLogprob(token=1000 + ord(letter), logprob=-0.5) for letter in "abxy")
    tokens = tuple(entry.token for entry in entries)
    drawn = replace(completion("xy", logprobs=entries), tokens=tokens, typed="ab", typed_tokens=2)
    whole = answer(prompt="ab", logprobs=0).whole([drawn])
    found = whole["choices"][0]["logprobs"]
    assert (found["tokens"], found["text_offset"]) == (["x", "y"], [0, 1])
    assert (whole["usage"]["completion_tokens"], whole["timings"]["predicted_n"]) == (2, 4)


def test_the_list_of_models_names_each_alias(scripted):
    found = models_body(scripted.info, created=5)
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["scripted", "codegemma:scripted"]
    assert found["data"][0]["meta"]["n_ctx_train"] == 8192


def test_drawn_ids_are_told_to_those_who_ask(answer):
    drawn = completion("xy")
    stream = answer(prompt="a", return_token_ids=True)
    first, last = stream.piece(0, "x", None), stream.piece(0, "y", drawn)

    assert "token_ids" not in first["choices"][0]
    assert last["choices"][0]["token_ids"] == [1120, 1121]
    assert "token_ids" not in answer(prompt="a").whole([drawn])["choices"][0]


def test_log_probabilities_name_tokens_by_id_when_asked(answer):
    entries = (TokenLogprob(token=1120, logprob=-0.1, top=((1122, -3.0),)),)
    asked = answer(prompt="a", logprobs=1, return_tokens_as_token_ids=True)

    assert asked.whole([completion("x", logprobs=entries)])["choices"][0]["logprobs"] == {
        "tokens": ["token_id:1120"],
        "token_logprobs": [-0.1],
        "top_logprobs": [{"token_id:1122": -3.0}],
        "text_offset": [0],
    }
