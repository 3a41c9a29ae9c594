# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from codegemma.errors import ConfigError
from nano_card import Origin, read_origin, read_parts, render_card
from results import Row

NAMES = {
    "exact-match": 0.13,
    "exact-match-new-lines": 0.1,
    "exact-match-known-lines": 0.3,
    "6-gram-exact-match": 0.05,
    "6-gram-exact-match-new-lines": 0.0,
    "6-gram-exact-match-known-lines": 0.2,
    "untrained-exact-match": 0.0,
    "ends-by-itself": 0.951,
    "file-parses": 0.849,
    "file-parses-trimmed": 0.86,
}
NOTE = "psm, prompts cut to 128 tokens; data 0"
LEFT_OUT = {"click 8.5.1": 0.364}
LIKELIHOODS = ("middle-nll-psm", "middle-nll-spm", "6-gram-middle-nll", "untrained-middle-nll")


def rows() -> list[Row]:
    fractions = [
        Row(name=name, value=value, unit="fraction", n=1000, low=value / 2, high=value * 2)
        for name, value in NAMES.items()
    ]
    return fractions + [
        Row(name=name, value=1.25, unit="nats/byte", n=1000, low=1.0, high=1.5, note=NOTE)
        for name in LIKELIHOODS
    ]


def test_parts_end_where_the_next_one_begins(
    write_run: Callable[..., None], tmp_path: Path
) -> None:
    write_run(tmp_path / "a", first=0, last=80)
    write_run(tmp_path / "b", first=50, last=120)

    first, second = read_parts([tmp_path / "a", tmp_path / "b"], last_step=115)

    assert (first.first, first.last, first.steps[-1]["step"]) == (0, 50, 50)
    assert (second.first, second.last, second.steps[-1]["step"]) == (50, 115, 110)
    assert (first.decay_steps, second.decay_steps) == (0, 20)


@pytest.mark.parametrize(
    ("names", "last_step", "message"),
    [
        (["b"], 120, "b begins after step 50; name the run before it first"),
        (["a"], 100, "a logs no steps from 0 to 100"),
        (["a", "b", "none"], 120, "none is no run of `codegemma train`"),
    ],
)
def test_runs_that_do_not_make_a_training_are_refused(
    names: list[str],
    last_step: int,
    message: str,
    write_run: Callable[..., None],
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "a", first=0, last=80)
    write_run(tmp_path / "b", first=50, last=120)

    with pytest.raises(ConfigError, match=message):
        read_parts([tmp_path / name for name in names], last_step=last_step)


def test_the_card_says_what_was_reached_and_what_was_missed(
    data: Path, write_run: Callable[..., None], tmp_path: Path
) -> None:
    write_run(tmp_path / "a", first=0, last=80)
    parts = read_parts([tmp_path / "a"], last_step=80)

    card = render_card(
        parts, data=data, rows=rows(), mode="spm", trained_tokens=320_000, left_out=LEFT_OUT
    )

    assert card.startswith("---\nlicense: apache-2.0\n")
    for line in (
        "| exact line | 1,000 | 13.0% (6.5% to 26.0%) | 6-gram 5.0% (2.5% to 10.0%); "
        "untrained 0.0% (0.0% to 0.0%) |",
        "| middle, PSM, nats per byte | 1,000 | 1.250 (1.000 to 1.500) | "
        "6-gram 1.250 (1.000 to 1.500); untrained 1.250 (1.000 to 1.500) |",
        "| exact lines | 12.0% | 13.0% | reached |",
        "| exact lines over the 6-gram model's | 2.0 times | 2.6 times | reached |",
        "| ends by itself | 95.0% | 95.1% | reached |",
        "| file still parses, as drawn | 85.0% | 84.9% | missed |",
        "| 1 to 80 | 4,096 | 0.002 | 10 | 20 | 000000000000 | bfloat16 | 2 |",
        "| 80 | 0.32 | 4.550 | 3.000 | 1.000 | 1.500 | 1.250 |",
    ):
        assert line in card.splitlines()
    text = " ".join(card.split())
    assert "- 80 steps, 0.32 million tokens," in text
    assert "in 3 minutes." in text
    assert "its likelihoods are in PSM, prompts cut to 128 tokens." in text
    assert "click 8.5.1 is held out too but not measured: 36% of its longer lines" in text
    assert "wsgiref." in text
    assert max(len(line) for line in card.splitlines() if "|" not in line) <= 100


@pytest.mark.parametrize("is_old", [False, True])
def test_the_card_of_a_training_that_went_on_holds_the_whole_of_it(
    data: Path, write_run: Callable[..., None], tmp_path: Path, is_old: bool
) -> None:
    write_run(tmp_path / "a", first=0, last=80)
    parts = read_parts([tmp_path / "a"], last_step=80)
    first = render_card(
        parts, data=data, rows=rows(), mode="spm", trained_tokens=320_000, left_out={}
    )
    if is_old:
        first = first.replace(" bfloat16 | 2 |", "")
    origin = Origin(
        fingerprint="ab" * 32,
        step=80,
        trained_tokens=320_000,
        card=first,
        dtype="float32",
        middle_weight=1.0,
    )

    card = render_card(
        parts,
        data=data,
        rows=rows(),
        mode="spm",
        trained_tokens=320_000,
        left_out={},
        origin=origin,
    )

    lines = card.splitlines()
    for line in (
        "| 1 to 80 | 4,096 | 0.002 | 10 | 20 | 000000000000 | "
        + ("float32 | 1 |" if is_old else "bfloat16 | 2 |"),
        "| 81 to 160 | 4,096 | 0.002 | 10 | 20 | 000000000000 | bfloat16 | 2 |",
        "| 80 | 0.32 | 4.550 | 3.000 | 1.000 | 1.500 | 1.250 |",
        "| 160 | 0.64 | 4.550 | 3.000 | 1.000 | 1.500 | 1.250 |",
    ):
        assert lines.count(line) == 1
    text = " ".join(card.split())
    assert "- 160 steps, 0.64 million tokens," in text
    assert "- The last 80 steps, 3 minutes, began with the weights that were in the package" in text
    assert "(`abababababab`)" in text


def test_a_training_that_began_with_other_weights_than_the_package_s_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    training = {"origin": {"name": "nano", "fingerprint": "ab" * 32, "step": 1}}
    for shipped in (None, tmp_path):
        with pytest.raises(ConfigError, match="began with the weights abababababab of nano"):
            read_origin(training, shipped)
    assert read_origin({"origin": None}, tmp_path) is None
    assert read_origin({}, None) is None
