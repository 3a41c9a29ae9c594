# SPDX-License-Identifier: Apache-2.0
import threading

import pytest

from codegemma.completion import Cut, Loglikelihood, TokenLogprob
from codegemma.errors import RemoteError
from codegemma.generate.answers import Row, prompt_length, read_loglikelihood, read_logprobs, said
from codegemma.generate.link import TransientError


def _row(*events, stops=(), has_logprobs=False, news=None):
    row = Row(server="http://s", stops=stops, has_logprobs=has_logprobs, news=news)
    for event in events:
        row.push(event)
    return row


def _piece(text, reason=None, **more):
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason, **more}]}


def test_pieces_join_to_a_completion_with_its_counts():
    row = _row(
        _piece("ab", token_ids=[5]),
        {**_piece("c", "length", token_ids=[6, 7]), "timings": {"prompt_ms": 3.5}},
        {
            "choices": [],
            "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
        },
    )
    row.finish()

    found = row.completion()

    assert (found.text, found.tokens, found.finish_reason) == ("abc", (5, 6, 7), "length")
    assert (found.prompt_tokens, found.cached_tokens, found.cut) == (9, 4, None)
    assert found.timings.prompt_ms == 3.5
    assert found.timings.total_ms >= found.timings.first_token_ms > 0
    assert found.logprobs is None


def test_a_conversation_has_pieces_of_another_shape():
    def delta(content, reason=None):
        return {"choices": [{"delta": content, "finish_reason": reason}]}

    streamed = _row(delta({"role": "assistant"}), delta({"content": "hi"}), delta({}, "stop"))
    whole = _row({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})

    assert streamed.completion().text == whole.completion().text == "hi"


def test_a_stop_string_ends_a_row_across_pieces():
    row = _row(_piece("a<|fim"), stops=("<|fim_pad|>",))
    assert (row.text, row.is_ended) == ("a", False)

    row.push(_piece("_pad|> more"))

    assert (row.text, row.is_ended) == ("a", True)
    assert row.completion().finish_reason == "stop"


def test_what_could_have_become_a_stop_string_is_text_at_the_end():
    assert _row(_piece("a<|fim", "stop"), stops=("<|fim_pad|>",)).completion().text == "a<|fim"


def test_a_row_is_read_on_another_thread_as_it_grows():
    news = threading.Event()
    row = _row(_piece("ab"), news=news)

    assert news.is_set()
    assert (row.take(), row.take()) == ("ab", "")
    row.push(_piece("c"))
    assert row.take() == "c"


def test_a_row_that_is_ended_from_outside_takes_no_more():
    row = _row(_piece("ab<"), stops=("<x>",))

    row.end("cancelled")
    row.push(_piece("c", "stop"))
    row.end("deadline")

    found = row.completion()
    assert (found.text, found.finish_reason) == ("ab<", "cancelled")


def test_another_try_begins_anew_with_its_own_cut():
    row = _row(_piece("ab", token_ids=[1]))
    row.restart(Cut(prefix_chars=2))

    row.push({**_piece("x", "stop"), "truncated": {"prefix_chars": 3, "suffix_chars": 1}})

    found = row.completion()
    assert (found.text, found.tokens) == ("x", ())
    assert found.cut == Cut(prefix_chars=5, suffix_chars=1)


def test_an_answer_that_breaks_off_is_worth_another_try():
    with pytest.raises(TransientError, match="http://s ended its answer before the completion's"):
        _row(_piece("ab")).finish()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"error": {"message": "out of\nmemory"}}, "failed while it drew: out of memory"),
        ({"error": "gone"}, "failed while it drew: gone"),
        ([], "an event is no JSON object"),
        ({}, "there are no choices"),
        ({"choices": ["a"]}, "a choice is no JSON object"),
        ({"choices": [{}]}, "there is no text in a choice"),
        ({"choices": [{"text": None}]}, "there is no text in a choice"),
        (_piece("", "content_filter"), "ended a completion with 'content_filter'"),
        (_piece("", {"a": 1}), "ended a completion with"),
    ],
)
def test_what_is_no_completion_is_said(event, words):
    with pytest.raises(RemoteError, match=words):
        _row(event)


VLLM = {
    "tokens": ["token_id:5", "token_id:6"],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"token_id:5": -0.5, "token_id:9": -2}, {"token_id:6": -1.0}],
    "text_offset": [0, 1],
}
LLAMA = {
    "content": [
        {
            "id": 5,
            "token": "a",
            "bytes": [97],
            "logprob": -0.5,
            "top_logprobs": [
                {"id": 5, "token": "a", "bytes": [97], "logprob": -0.5},
                {"id": 9, "token": "b", "bytes": [98], "logprob": -2},
            ],
        },
        {"id": 6, "token": "c", "bytes": [], "logprob": -1.0, "top_logprobs": []},
    ]
}


def test_log_probabilities_of_either_shape_are_read():
    assert read_logprobs(VLLM, server="s") == [
        TokenLogprob(token=5, logprob=-0.5, top=((5, -0.5), (9, -2.0))),
        TokenLogprob(token=6, logprob=-1.0, top=((6, -1.0),)),
    ]
    assert read_logprobs(LLAMA, server="s") == [
        TokenLogprob(token=5, logprob=-0.5, top=((5, -0.5), (9, -2.0))),
        TokenLogprob(token=6, logprob=-1.0),
    ]
    assert _row(_piece("a", "stop", logprobs=VLLM), has_logprobs=True).completion().logprobs


@pytest.mark.parametrize(
    "logprobs",
    [
        {**VLLM, "tokens": ["a", "b"]},
        {**VLLM, "token_logprobs": [-1.0]},
        {"content": [{"logprob": -1.0}]},
        "words",
    ],
)
def test_log_probabilities_without_ids_are_refused_by_name(logprobs):
    with pytest.raises(RemoteError, match="http://s gives log probabilities without token ids"):
        _row(_piece("a", logprobs=logprobs), has_logprobs=True)


def test_log_probabilities_that_do_not_come_are_missed():
    with pytest.raises(RemoteError, match="gives no log probabilities; ask without"):
        _row(_piece("a", "stop"), has_logprobs=True).completion()


ECHO = {
    "choices": [
        {
            "text": "<bos>a b c d",
            "logprobs": {
                "tokens": ["<bos>", "a", " b", " c", " d"],
                "token_logprobs": [None, -3.0, -0.5, -0.25, -9.0],
                "top_logprobs": [None, {"x": -1.0}, {" b": -0.5}, {" q": -0.125, " c": -0.25}, {}],
            },
        }
    ],
    "usage": {"prompt_tokens": 4, "completion_tokens": 1},
}


def test_a_continuation_is_scored_by_the_tokens_after_its_context():
    assert read_loglikelihood(ECHO, num_context=2, server="s") == Loglikelihood(
        logprob=-0.75, is_greedy=False, num_tokens=2
    )
    assert prompt_length(ECHO, server="s") == 4


def test_likeliest_continuation_is_greedy():
    shorter = {**ECHO, "usage": {"prompt_tokens": 3}}

    assert read_loglikelihood(shorter, num_context=2, server="s").is_greedy


@pytest.mark.parametrize(
    "answer",
    [
        {**ECHO, "usage": {"prompt_tokens": 2}},
        {**ECHO, "usage": {"prompt_tokens": 40}},
        {**ECHO, "choices": [{"text": "d", "logprobs": None}]},
        {
            **ECHO,
            "choices": [
                {"logprobs": {"tokens": ["d"], "token_logprobs": [-1.0], "top_logprobs": [{}]}}
            ],
        },
        {},
        [],
    ],
)
def test_answer_that_says_nothing_of_the_prompt_is_refused_by_name(answer):
    with pytest.raises(RemoteError, match=r"http://s gives no log probabilities of a prompt \("):
        read_loglikelihood(answer, num_context=2, server="http://s")


def test_prompts_are_counted_by_the_server():
    with pytest.raises(RemoteError, match="http://s does not say how many tokens a prompt has"):
        prompt_length({"usage": None}, server="http://s")


def test_words_of_an_error_are_found_in_every_shape():
    assert said({"error": {"message": "a\n b"}}) == "a b"
    assert said({"detail": [1]}) == "[1]"
    assert said({}) == ""
