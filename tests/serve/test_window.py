# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.errors import ContextLengthError
from codegemma.serve.window import fit_window

LINES = "".join(f"value_{number} = {number}\n" for number in range(400))


@pytest.fixture
def small(fakes, tokenizer):
    completer = fakes.ScriptedCompleter("pass", context_length=256, name="small")
    completer.tokenizer = tokenizer
    return completer


def test_a_prompt_that_fits_is_left_alone(small):
    prompt = Prompt(prefix="x = ", suffix="\n", path="a.py")
    fitted = fit_window(prompt, Sampling(max_tokens=64), small)
    assert fitted.is_whole
    assert fitted.prompt == prompt


def test_infill_is_cut_around_the_cursor_and_leaves_room(small):
    prompt = Prompt(prefix=LINES, suffix=LINES)
    fitted = fit_window(prompt, Sampling(max_tokens=64), small)
    assert 100 < len(fitted.tokens) <= 192
    assert LINES.endswith(fitted.prompt.prefix)
    assert LINES.startswith(fitted.prompt.suffix)
    assert fitted.cut_prefix_chars == len(LINES) - len(fitted.prompt.prefix)


def test_the_prompt_keeps_half_the_context_whatever_is_asked_for(small):
    fitted = fit_window(Prompt(prefix=LINES, suffix=""), Sampling(max_tokens=10_000), small)
    assert 64 < len(fitted.tokens) <= 128


def test_text_from_left_to_right_is_refused_with_both_counts(small):
    short = fit_window(Prompt(prefix="x = "), Sampling(max_tokens=10_000), small)
    assert short.is_whole
    count = len(small.tokenizer.encode(LINES)) + 1
    with pytest.raises(ContextLengthError, match=f"has {count} tokens.* small holds 256"):
        fit_window(Prompt(prefix=LINES), Sampling(max_tokens=1), small)


def test_token_ids_are_never_cut(small):
    tokens = (2, *[300] * 255)
    with pytest.raises(ContextLengthError, match="256 tokens"):
        fit_window(Prompt(tokens=tokens), Sampling(max_tokens=1), small)
    fitted = fit_window(Prompt(tokens=tokens[:-1]), Sampling(max_tokens=1), small)
    assert fitted.prompt.tokens == tokens[:-1]


def test_a_completer_that_tokenizes_elsewhere_cuts_for_itself(scripted):
    assert fit_window(Prompt(prefix=LINES, suffix=""), Sampling(), scripted) is None


def test_a_client_is_told_what_was_cut(serving, small):
    with serving(small) as live:
        body = {"prompt": LINES, "suffix": LINES, "max_tokens": 8}
        whole = live.http.post("/v1/completions", json=body).json()
        streamed = live.http.post("/v1/completions", json={**body, "stream": True}).text
        short = live.http.post("/v1/completions", json={"prompt": "x", "suffix": ""}).json()
        refused = live.http.post("/v1/completions", json={"prompt": LINES})
    cut = len(LINES) - len(small.prompts[0].prefix)
    assert whole["truncated"]["prefix_chars"] == cut
    assert whole["truncated"]["suffix_chars"] > 0
    assert f'"truncated":{{"prefix_chars":{cut},' in streamed
    assert "truncated" not in short
    assert refused.json()["error"]["code"] == "context_length_exceeded"
