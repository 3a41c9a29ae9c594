# SPDX-License-Identifier: Apache-2.0
import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from codegemma.completion import Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ConfigError

TURNS = (Turn(role="user", text="hello"),)


def test_a_prompt_without_a_suffix_is_left_to_right_and_an_empty_one_is_infill() -> None:
    assert Prompt(prefix="a = ").suffix is None
    assert Prompt(prefix="a = ", suffix="").suffix == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"prefix": "a", "turns": TURNS},
        {"suffix": "", "turns": TURNS},
        {"context": (SourceFile(path="a.py", text="a"),), "turns": TURNS},
    ],
    ids=["code and turns", "empty suffix and turns", "context and turns"],
)
def test_a_prompt_of_two_kinds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="either code or turns, not both"):
        Prompt(**fields)


def test_tokens_may_stand_beside_the_text_they_were_made_of() -> None:
    assert Prompt(prefix="a", suffix="", tokens=(2, 67, 1097, 69, 68)).prefix == "a"


def test_greedy_is_the_default() -> None:
    sampling = Sampling()

    assert (sampling.temperature, sampling.n, sampling.max_tokens) == (0.0, 1, 128)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 101.0),
        ("temperature", float("nan")),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("n", 0),
        ("stop", ("a", "")),
        ("logprobs", 21),
        ("budget_ms", 0.0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="stop string" if name == "stop" else name):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", 1), ("temperature", 100.0), ("top_p", 1.0), ("min_p", 0.0), ("logprobs", 0)],
)
def test_the_ends_of_the_ranges_are_accepted(name: str, value: Any) -> None:
    assert getattr(Sampling(**{name: value}), name) == value


def test_every_fault_is_listed_at_once() -> None:
    with pytest.raises(ConfigError, match=r"max_tokens.*top_k.*n must be"):
        Sampling(max_tokens=0, top_k=0, n=0)


def test_an_unknown_mode_is_refused_where_types_are_not_checked() -> None:
    code = "from codegemma.completion import Sampling; Sampling(mode='pms')"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert "mode must be one of auto, psm, spm, spm2, not pms" in run.stderr


def test_a_prompt_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prompt(prefix="a").prefix = "b"  # type: ignore[misc]
