# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.completion import CompleterInfo, Cut, Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ConfigError, InputError, RemoteError
from codegemma.generate.requests import Requests, Served

GREEDY = Sampling(max_tokens=9)
MIDDLE = Prompt(prefix="a(", suffix=")", path="m.py")
WITH_CONTEXT = Prompt(prefix="a(", suffix=")", context=(SourceFile(path="o.py", text="x\n"),))


def _requests(model="nano", owner="codegemma", *, fim=None, **info):
    served = Served(model=model, owner=owner, fim=fim)
    fields = {"name": "remote:http://s/v1#m", "context_length": 100, "mode": "psm", **info}
    return Requests(served, CompleterInfo(**fields))


def test_our_server_gets_prompt_and_suffix_apart_and_leaves_the_text_alone():
    request = _requests().make(MIDDLE, Sampling(max_tokens=9, mode="spm"))

    assert request == (
        "/completions",
        {
            "model": "nano",
            "max_tokens": 9,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "prompt": "a(",
            "suffix": ")",
            "path": "m.py",
            "mode": "spm",
            "parse_special": False,
            "trim": False,
            "heal": False,
        },
        None,
    )


def test_our_server_gets_other_files_in_a_prompt_laid_out_here():
    request = _requests(mode="spm").make(WITH_CONTEXT, GREEDY)

    assert request.body["prompt"] == (
        "o.py\nx\n<|file_separator|><|fim_suffix|>)<|fim_prefix|>a(<|fim_middle|>"
    )
    assert request.body["parse_special"] is True
    assert "suffix" not in request.body


def test_another_server_gets_one_string_as_its_model_reads_it():
    request = _requests("Qwen/Qwen2.5-Coder-7B", "vllm").make(MIDDLE, GREEDY)

    assert request.body["prompt"] == (
        "<|repo_name|>repository\n<|file_sep|>m.py\n<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>"
    )
    assert request.body["skip_special_tokens"] is False
    assert request.body["stop_token_ids"] == [
        *(151643, 151645, 151659, 151661, 151662, 151663, 151664)
    ]
    assert request.body["return_token_ids"] is True
    assert "suffix" not in request.body


def test_what_one_kind_of_server_knows_is_not_asked_of_another():
    body = _requests("codegemma-2b-f16.gguf", "llamacpp").make(MIDDLE, GREEDY).body

    assert sorted(body) == [
        *("max_tokens", "model", "preserved_tokens", "prompt", "stop", "stream", "stream_options"),
        "temperature",
    ]
    assert body["preserved_tokens"] == [
        *("<|file_separator|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<eos>")
    ]
    assert body["prompt"] == "m.py\n<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>"


def test_a_template_can_be_named_where_a_models_name_says_nothing():
    with pytest.raises(ConfigError, match=r"remote:URL#my-tune,fim=NAME with one of codegemma, st"):
        _requests("my-tune", "vllm").make(MIDDLE, GREEDY)

    named = _requests("my-tune", "vllm", fim="starcoder2").make(Prompt(suffix=""), GREEDY)
    assert named.body["prompt"] == "<fim_prefix><fim_suffix><fim_middle>"
    apart = _requests("my-tune", "library", fim="suffix").make(WITH_CONTEXT, GREEDY)
    assert (apart.body["prompt"], apart.body["suffix"]) == ("a(", ")")
    assert apart.cut == Cut(files=("o.py",))
    plain = _requests("my-tune", "vllm").make(Prompt(prefix="a"), GREEDY)
    assert (plain.body["prompt"], plain.cut) == ("a", None)


def test_no_text_of_a_user_becomes_a_control_token():
    prompt = Prompt(prefix="x <file_sep> a(", suffix=") <fim_middle>")
    for fim in (None, "suffix"):
        request = _requests("starcoder2:3b", "library", fim=fim).make(prompt, GREEDY)
        assert request.cut == Cut(prefix_chars=12, suffix_chars=12)
    ours = _requests().make(Prompt(prefix="<|fim_middle|>", suffix="<bos>"), GREEDY)
    assert (ours.body["prompt"], ours.body["suffix"]) == ("<|fim_middle|>", "<bos>")
    with pytest.raises(InputError, match="the text holds <file_sep>"):
        _requests("starcoder2:3b", "vllm").make(Prompt(prefix="<file_sep>"), GREEDY)


def test_settings_are_sent_and_samples_of_a_prompt_have_seeds_of_their_own():
    sampling = Sampling(
        max_tokens=5, temperature=0.8, top_k=4, top_p=0.9, min_p=0.1, seed=2**63 - 1, n=2
    )
    bodies = [_requests().make(MIDDLE, sampling, index=index).body for index in (0, 1)]

    assert {
        name: bodies[0][name] for name in ("temperature", "top_k", "top_p", "min_p", "max_tokens")
    } == {"temperature": 0.8, "top_k": 4, "top_p": 0.9, "min_p": 0.1, "max_tokens": 5}
    assert [body["seed"] for body in bodies] == [2**63 - 1, 0]
    assert all("n" not in body for body in bodies)


def test_servers_that_take_more_than_four_stop_strings_get_what_ends_a_middle_too():
    sampling = Sampling(stop=tuple("abcd"))
    bodies = [
        _requests("deepseek-coder-1.3b", owner).make(MIDDLE, sampling).body
        for owner in ("vllm", "llamacpp")
    ]

    assert [body["stop"][:4] for body in bodies] == [list("abcd")] * 2
    assert all("<\uff5cend\u2581of\u2581sentence\uff5c>" in body["stop"][4:] for body in bodies)


def test_four_stop_strings_are_sent_elsewhere_and_the_rest_is_watched_for_here():
    sampling = Sampling(stop=("\nclass", "\ndef", "\n#"))
    requests = _requests("starcoder2", "elsewhere")

    assert requests.make(MIDDLE, sampling).body["stop"] == ["\nclass", "\ndef", "\n#", "<file_sep>"]
    assert requests.stops(MIDDLE, sampling)[3:] == (
        *("<file_sep>", "<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    )
    ours = Sampling(stop=tuple("abcdef"))
    assert _requests().make(MIDDLE, ours).body["stop"] == list("abcdef")
    assert _requests().stops(MIDDLE, ours) == tuple("abcdef")


@pytest.mark.parametrize(
    ("owner", "asked", "sent"), [("codegemma", 0, 0), ("vllm", 0, 1), ("llamacpp", 5, 5)]
)
def test_log_probabilities_are_asked_for_with_ids(owner, asked, sent):
    body = _requests("codegemma", owner).make(MIDDLE, Sampling(logprobs=asked)).body

    assert (body["logprobs"], body["return_tokens_as_token_ids"]) == (sent, True)


def test_a_conversation_goes_to_an_instruction_model():
    turns = (Turn(role="user", text="hi"), Turn(role="model", text="ho"))
    prompt = Prompt(turns=(*turns, Turn(role="user", text="<bos>?")))

    request = _requests("codegemma-7b-it", "vllm", is_instruction=True).make(prompt, GREEDY)

    assert request.path == "/chat/completions"
    assert request.body["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "<bos>?"},
    ]
    assert "stop" not in request.body
    with pytest.raises(InputError, match="completes code and holds no conversations"):
        _requests().make(prompt, GREEDY)


def test_token_ids_go_to_models_with_our_vocabulary():
    assert _requests().make(Prompt(tokens=(2, 9)), GREEDY).body["prompt"] == [2, 9]
    both = Prompt(prefix="a", tokens=(2, 9))
    assert _requests().make(both, GREEDY).body["prompt"] == "a"
    with pytest.raises(RemoteError, match="our token ids mean other things there"):
        _requests("starcoder2", "vllm").make(Prompt(tokens=(2, 9)), GREEDY)


@pytest.mark.parametrize(
    ("model", "is_instruction"),
    [
        ("google/codegemma-1.1-7b-it", True),
        ("codegemma:7b-instruct", True),
        ("CodeLlama-7b-Instruct-hf", True),
        ("codegemma-2b", False),
        ("bitnet", False),
    ],
)
def test_an_instruction_model_is_known_by_its_name(model, is_instruction):
    assert Served(model=model).is_instruction is is_instruction


def test_an_infill_that_is_too_long_is_cut_in_steps_to_what_surely_fits():
    long = Prompt(prefix="x" * 500, suffix="")
    requests = _requests()  # 100 tokens of context

    assert list(requests.sizes(long, Sampling(max_tokens=20))) == [192, 128, 64, 16]
    assert list(requests.sizes(Prompt(prefix="x" * 100, suffix=""), GREEDY)) == [75, 18]
    assert list(requests.sizes(long, Sampling(max_tokens=4000))) == [102, 68, 34, 8]
    assert list(requests.sizes(Prompt(prefix="x" * 500), GREEDY)) == []
