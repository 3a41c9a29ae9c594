# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.serve.errors import ApiError
from codegemma.serve.schemas import Fields, parse_json


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"\xff\xfe{}", "must be UTF-8"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b'{"temperature": NaN}', "NaN is not a JSON number"),
        (b'{"temperature": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "must be JSON"),
        (b"[1, 2]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body, words):
    with pytest.raises(ApiError, match=words) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_json"


def test_a_missing_or_null_field_takes_its_default():
    fields = Fields({"n": None})
    assert fields.integer("n", 3, low=1, high=8) == 3
    assert fields.number("temperature", 0.5, low=0.0, high=1.0) == 0.5
    assert fields.flag("stream", False) is False
    assert fields.string("model") is None
    assert fields.strings("stop", most=4) == ()
    assert fields.record("stream_options").flag("include_usage", True) is True


def test_values_are_read_as_they_stand():
    fields = Fields({"n": 3.0, "t": 1, "b": True, "s": "x", "stop": ["a", "b"], "one": "c"})
    assert fields.integer("n", None, low=1, high=8) == 3
    assert fields.number("t", None, low=0.0, high=1.0) == 1.0
    assert fields.flag("b", False) is True
    assert fields.string("s") == "x"
    assert fields.strings("stop", most=2) == ("a", "b")
    assert fields.strings("one", most=2) == ("c",)


@pytest.mark.parametrize("value", [0, 9, -1, 1e6, 2.5, True, "3", [3], float("inf"), 2**70])
def test_a_wrong_whole_number_is_refused_by_name(value):
    with pytest.raises(ApiError, match=r"n must be a whole number in \[1, 8\]") as caught:
        Fields({"n": value}).integer("n", 1, low=1, high=8)
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    "value",
    [-0.1, 1.1, float("inf"), float("nan"), True, "1", {}, pytest.param(10**400, id="huge")],
)
def test_a_wrong_number_is_refused_by_name(value):
    with pytest.raises(ApiError, match=r"top_p must be a number in \[0, 1\]") as caught:
        Fields({"top_p": value}).number("top_p", None, low=0.0, high=1.0)
    assert caught.value.param == "top_p"


def test_wrong_flags_strings_lists_and_objects_are_refused_by_name():
    fields = Fields({"f": 1, "s": 2, "l": ["a", ""], "m": ["a", "b", "c"], "o": []})
    with pytest.raises(ApiError, match="f must be true or false, not 1"):
        fields.flag("f", False)
    with pytest.raises(ApiError, match="s must be a string, not 2"):
        fields.string("s")
    with pytest.raises(ApiError, match="l must be a string or a list of at most 2"):
        fields.strings("l", most=2)
    with pytest.raises(ApiError, match="m must be a string or a list of at most 2"):
        fields.strings("m", most=2)
    with pytest.raises(ApiError, match="o must be an object"):
        fields.record("o")


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(ApiError, match="prompt holds half a surrogate pair at character 2"):
        Fields(parse_json(b'{"prompt": "ab\\ud800"}')).string("prompt")


def test_a_whole_surrogate_pair_is_one_character():
    assert Fields(parse_json(b'{"prompt": "\\ud83d\\ude00"}')).string("prompt") == "\U0001f600"


def test_an_unsupported_field_may_stand_with_a_value_that_changes_nothing():
    Fields({"best_of": 1, "logit_bias": {}}).unsupported("best_of", neutral=(1,))
    with pytest.raises(ApiError, match="logit_bias is not offered") as caught:
        Fields({"logit_bias": {"50256": -100}}).unsupported("logit_bias", neutral=({},))
    assert caught.value.code == "unsupported_parameter"


def test_a_long_wrong_value_is_shortened_in_the_message():
    with pytest.raises(ApiError) as caught:
        Fields({"n": "x" * 10_000}).integer("n", 1, low=1, high=8)
    assert len(caught.value.message) < 120
