# SPDX-License-Identifier: Apache-2.0
import threading

import numpy as np
import pytest

import codegemma
from codegemma.completion import Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ConfigError, InputError
from codegemma.generate.model import Model
from codegemma.generate.trimmed import Trimmed


@pytest.fixture
def scripted(fakes):
    return fakes.ScriptedCompleter("x)\ny = 1", is_instruction=True)


@pytest.fixture
def model(scripted):
    return Model(scripted)


def test_the_package_offers_its_names():
    assert codegemma.Model is Model
    assert codegemma.Prompt is Prompt
    assert codegemma.CodegemmaError.__name__ == "CodegemmaError"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = codegemma.nothing


def test_complete_asks_for_the_code_around_the_cursor(model, scripted):
    found = model.complete(
        "print(", ")\n", path="a.py", context={"b.py": "z = 1\r\n"}, max_tokens=50, seed=3
    )
    assert found.text == "x)\ny = 1"
    assert scripted.prompts == [
        Prompt(
            prefix="print(",
            suffix=")\n",
            path="a.py",
            context=(SourceFile(path="b.py", text="z = 1\n"),),
        )
    ]
    assert scripted.samplings == [Sampling(max_tokens=50, seed=3, heal=True)]


def test_complete_without_a_suffix_is_infill_at_the_end_of_a_file(model, scripted):
    model.complete("print(")
    model.complete("print(", None)
    assert [prompt.suffix for prompt in scripted.prompts] == ["", None]


def test_line_ends_come_back_as_they_were(model, scripted):
    assert model.complete("a\r\n", "\r\nb").text == "x)\r\ny = 1"
    deltas = list(model.stream_complete("a\r\n", "\r\nb"))
    assert "".join(delta.text for delta in deltas) == "x)\r\ny = 1"
    assert deltas[-1].completion.text == "x)\r\ny = 1"
    assert scripted.prompts[0].prefix == "a\n"
    assert scripted.prompts[0].suffix == "\nb"


def test_generate_goes_on_from_left_to_right(model, scripted):
    assert model.generate("# sum", stop=("\n",)).text == "x)"
    assert [delta.text for delta in model.stream_generate("# sum", stop=("\n",))] == ["x", ")", ""]
    assert scripted.prompts == [Prompt(prefix="# sum")] * 2


def test_chat_takes_turns_and_messages(model, scripted):
    turns = (
        Turn(role="user", text="Hi"),
        Turn(role="model", text="Yes?"),
        Turn(role="user", text="Sum"),
    )
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Sum"},
    ]
    assert model.chat(messages).text == "x)\ny = 1"
    model.chat(turns)
    "".join(delta.text for delta in model.stream_chat(messages))
    assert scripted.prompts == [Prompt(turns=turns)] * 3


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "at least one message"),
        ([{"role": "system", "content": "x"}], "message 1.*'system'.*no system role"),
        ([{"role": "user"}], "message 1"),
    ],
)
def test_messages_that_are_none_are_refused(model, messages, reason):
    with pytest.raises(InputError, match=reason):
        model.chat(messages)


def test_a_stream_can_be_cancelled(model):
    cancel = threading.Event()
    cancel.set()
    (delta,) = model.stream_complete("a", cancel=cancel)
    assert delta.completion.finish_reason == "cancelled"
    (delta,) = model.stream_chat([Turn(role="user", text="Hi")], cancel=cancel)
    assert delta.completion.finish_reason == "cancelled"


def test_a_wrong_setting_is_refused(model):
    with pytest.raises(ConfigError, match="max_tokens must be at least 1, not 0"):
        model.complete("a", max_tokens=0)
    with pytest.raises(TypeError, match="tokens"):
        model.complete("a", tokens=3)


def test_a_model_in_this_process_gives_ids_scores_and_logits(engine):
    model = Model(Trimmed(engine))
    ids = model.tokenize("x = 1")
    assert ids == engine.tokenizer.encode("x = 1")
    assert model.info.name == "tiny"
    logits = model.logits([2, *ids])
    assert logits.shape == (1 + len(ids), 1024)
    np.testing.assert_array_equal(logits, Model(engine).logits([2, *ids]))
    scored = model.loglikelihood("x = ", "1")
    assert scored == engine.loglikelihood([("x = ", "1")])[0]


def test_a_model_elsewhere_gives_no_logits(model):
    with pytest.raises(ConfigError, match="scripted gives no logits"):
        model.logits([2])
