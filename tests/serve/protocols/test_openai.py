# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from codegemma.completion import CompleterInfo, Prompt, Sampling
from codegemma.serve.errors import ApiError
from codegemma.serve.protocols.openai import (
    check_model,
    encode_special,
    model_ids,
    parse_completion,
    to_prompts,
)
from codegemma.serve.schemas import Fields
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"


def parse(**body):
    return parse_completion(Fields(body))


def refusal(**body):
    with pytest.raises(ApiError) as caught:
        parse(**body)
    assert caught.value.status == 400
    return caught.value


def test_an_empty_request_takes_every_default():
    request = parse()
    assert request.prompts == ("",)
    assert request.suffix is None
    assert request.sampling == Sampling(max_tokens=16, temperature=0.0, heal=True)
    assert (request.model, request.is_stream, request.has_usage, request.is_echo) == (
        "",
        False,
        False,
        False,
    )


def test_every_setting_reaches_the_sampling():
    request = parse(
        prompt="a",
        max_tokens=32,
        temperature=0.7,
        top_k=40,
        top_p=0.9,
        min_p=0.05,
        seed=7,
        n=2,
        best_of=2,
        stop=["\n\n", "END"],
        logprobs=3,
        mode="spm",
        heal=False,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert request.sampling == Sampling(
        max_tokens=32,
        temperature=0.7,
        top_k=40,
        top_p=0.9,
        min_p=0.05,
        seed=7,
        n=2,
        stop=("\n\n", "END"),
        logprobs=3,
        mode="spm",
        heal=False,
    )
    assert request.is_stream
    assert request.has_usage
    assert request.num_choices == 2


def test_what_clients_send_without_meaning_it_changes_nothing():
    request = parse(
        prompt="a",
        model="",
        max_tokens=None,
        stop=[],
        seed=-1,
        top_k=-1,
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        user="me",
        cache_prompt=True,
        id_slot=0,
        n_indent=4,
    )
    assert request.sampling == Sampling(max_tokens=16, heal=True)


def test_more_than_four_stop_strings_are_taken():
    stops = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<eos>", "/src/", "```"]
    assert parse(stop=stops).sampling.stop == tuple(stops)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1e30),
        ("max_tokens", "16"),
        ("temperature", -0.1),
        ("temperature", 1e9),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", -2),
        ("min_p", 2),
        ("n", 0),
        ("n", 9),
        ("n", 1_000_000),
        ("seed", 2**70),
        ("logprobs", 21),
        ("stop", [""]),
        ("stop", [1]),
        ("stop", ["x"] * 65),
        ("mode", "fim"),
        ("heal", "no"),
        ("stream", "yes"),
        ("suffix", 3),
        ("suffix", ["a"]),
        ("path", 1),
        ("model", 1),
        ("best_of", 4),
        ("presence_penalty", 0.5),
        ("logit_bias", {"abc": 1}),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, value):
    error = refusal(prompt="a", **{field: value})
    assert field in error.message
    assert error.code in ("invalid_value", "unsupported_parameter")


@pytest.mark.parametrize(
    "prompt", [1, True, {}, [], [[]], [1, "a"], ["a", 1], [-1], [1.5], [[1], "a", None], [2**40]]
)
def test_a_wrong_prompt_is_refused(prompt):
    assert refusal(prompt=prompt).param == "prompt"


def test_too_many_prompts_are_refused():
    assert "at most 64 prompts, not 65" in refusal(prompt=["a"] * 65).message


def test_echo_with_logprobs_is_refused():
    assert refusal(prompt="a", echo=True, logprobs=1).param == "echo"


def test_a_suffix_needs_a_prompt_of_text():
    assert refusal(prompt=[5, 6], suffix="b").param == "suffix"


def test_a_suffix_makes_it_infill_even_an_empty_one(scripted):
    tokenizer = scripted.tokenizer
    assert to_prompts(parse(prompt="a", suffix="b", path="src/x.py"), tokenizer) == [
        Prompt(prefix="a", suffix="b", path="src/x.py")
    ]
    assert to_prompts(parse(prompt="a", suffix=""), tokenizer) == [Prompt(prefix="a", suffix="")]
    assert to_prompts(parse(prompt="a"), tokenizer) == [Prompt(prefix="a")]


def test_several_prompts_and_token_prompts_keep_their_order(scripted):
    tokenizer = scripted.tokenizer
    assert to_prompts(parse(prompt=["a", "b"]), tokenizer) == [
        Prompt(prefix="a"),
        Prompt(prefix="b"),
    ]
    assert to_prompts(parse(prompt=[2, 1097]), tokenizer) == [Prompt(tokens=(2, 1097))]
    assert to_prompts(parse(prompt=[[2, 1097], [2]]), tokenizer) == [
        Prompt(tokens=(2, 1097)),
        Prompt(tokens=(2,)),
    ]


RENDERED = "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"


def test_a_prompt_rendered_by_the_client_becomes_tokens_with_one_bos(scripted):
    expected = (2, 67, 1097, 69, 1098, 68)
    assert encode_special(RENDERED, scripted.tokenizer) == expected
    assert encode_special("<bos>" + RENDERED, scripted.tokenizer) == expected
    assert to_prompts(parse(prompt=RENDERED), scripted.tokenizer) == [Prompt(tokens=expected)]


def test_repository_context_in_a_rendered_prompt_is_separated(scripted):
    tokens = encode_special(f"x<|file_separator|>{RENDERED}", scripted.tokenizer)
    assert tokens == (2, 1120, 70, 67, 1097, 69, 1098, 68)


def test_other_control_spellings_stay_text_in_a_rendered_prompt(scripted):
    tokens = encode_special("<eos><start_of_turn><bos>" + RENDERED, scripted.tokenizer)
    assert [token for token in tokens if token < 1000] == [2, 67, 69, 68]


def test_sentinels_are_text_when_a_suffix_is_given_or_only_some_are_there(scripted):
    for body in (
        {"prompt": RENDERED, "suffix": ""},
        {"prompt": "a", "suffix": RENDERED},
        {"prompt": "print('<|fim_prefix|>')"},
        {"prompt": RENDERED, "parse_special": False},
    ):
        (prompt,) = to_prompts(parse(**body), scripted.tokenizer)
        assert prompt.tokens == ()
        assert prompt.prefix == body["prompt"]
        assert prompt.suffix == body.get("suffix")


def test_a_client_may_ask_for_sentinels_to_be_read(scripted):
    request = parse(prompt="a<|file_separator|>", parse_special=True)
    assert to_prompts(request, scripted.tokenizer) == [Prompt(tokens=(2, 1097, 70))]


def test_line_ends_are_lf_inside(scripted):
    request = parse(prompt="a\r\nb\r\n", suffix="c\r\n")
    assert to_prompts(request, scripted.tokenizer) == [Prompt(prefix="a\nb\n", suffix="c\n")]
    assert request.line_end(0) == "\r\n"


def info(name):
    return CompleterInfo(name=name, context_length=8, mode="psm")


def test_a_model_also_answers_to_the_name_that_editors_know_codegemma_by():
    assert model_ids(info("codegemma-2b")) == ("codegemma-2b", "codegemma:2b")
    assert model_ids(info("codegemma-7b-it")) == ("codegemma-7b-it", "codegemma:7b-instruct")
    assert model_ids(info("nano")) == ("nano", "codegemma:nano")


def test_a_folders_own_name_is_the_models_name():
    assert model_ids(info("/home/me/models/mine/")) == ("mine", "codegemma:mine")
    assert model_ids(info("C:\\models\\mine")) == ("mine", "codegemma:mine")


def test_a_model_that_is_not_served_is_not_found():
    for name in ("", "nano", "codegemma:nano", "codegemma"):
        check_model(parse(model=name), info("nano"))
    with pytest.raises(ApiError, match="this server has nano") as caught:
        check_model(parse(model="gpt-4"), info("nano"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize("body", [{"suffix": "b"}, {}, {"prompt": [1, 2]}], ids=str)
def test_a_session_goes_with_its_prompts(scripted, body):
    request = parse(**{"prompt": "a", "session": "file:a.py#1", **body})
    assert [one.session for one in to_prompts(request, scripted.tokenizer)] == ["file:a.py#1"]
    assert to_prompts(parse(prompt="a"), scripted.tokenizer)[0].session is None


def test_a_prompt_that_an_editor_laid_out_is_healed_at_its_cursor():
    tokenizer = Tokenizer.from_folder(GOLDEN / "tokenizer")
    text = "<|fim_prefix|>x = ret<|fim_suffix|>\n<|fim_middle|>"
    whole, healed = (
        to_prompts(parse(prompt=text, heal=is_on), tokenizer)[0] for is_on in (False, True)
    )
    assert whole.typed == ""
    assert healed.typed.endswith("ret")
    kept = len(whole.tokens) - len(healed.tokens)
    assert 1 <= kept <= 4
    assert healed.tokens[-3:] == whole.tokens[-3:]  # the suffix and what is around it
    assert tokenizer.decode(healed.tokens) == "x = ret"[: -len(healed.typed)] + "\n"
    assert (whole.seam, healed.seam) == ("", "")
    text = text.replace("\n", "urn x\n")
    assert to_prompts(parse(prompt=text), tokenizer)[0].seam == "urn"
