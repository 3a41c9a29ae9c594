# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.errors import ConfigError
from codegemma.evaluate.gate import Gate


def _metric(value, low, high):
    return {"value": value, "low": low, "high": high}


RESULTS = [
    {
        "task": "memorization:train",
        "metric": {"exact": _metric(0.02, 0.01, 0.04)},
        "group": {"copies-16+": {"exact": _metric(0.5, 0.3, 0.7)}},
    },
    {"task": "humaneval", "metric": {"pass@1": _metric(0.3, 0.2, 0.4)}, "group": {}},
]


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        ("exact<=0.02", True),
        ("exact <= 0.019", False),
        ("exact.high<=0.02", False),
        ("exact.high<=0.04", True),
        ("exact/copies-16+<=0.5", True),
        ("exact/copies-16+.low<=0.2", False),
        ("pass@1>=0.3", True),
        ("pass@1.low>=0.3", False),
    ],
)
def test_gate_bounds_a_value_or_an_end_of_its_interval(text, is_kept):
    breaches = Gate.parse(text).breaches(RESULTS)

    assert (breaches == []) is is_kept


def test_breach_says_where_and_by_how_much():
    assert Gate.parse("exact<=0.01").breaches(RESULTS) == [
        "memorization:train: the gate exact<=0.01 is not kept, with 0.0200"
    ]


def test_every_result_with_the_metric_is_held_to_it():
    both = [RESULTS[0], RESULTS[0] | {"task": "memorization:fim-train"}]

    assert len(Gate.parse("exact<=0").breaches(both)) == 2


def test_gate_about_nothing_is_an_error():
    for text in ("exakt<=0.1", "exact/copies-1<=0.1"):
        with pytest.raises(ConfigError, match="no task that was run has what the gate"):
            Gate.parse(text).breaches(RESULTS)


@pytest.mark.parametrize("text", ["", "exact", "exact<0.1", "exact<=2", "exact<=.", "<=0.1"])
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match="a gate is METRIC<=FRACTION"):
        Gate.parse(text)
