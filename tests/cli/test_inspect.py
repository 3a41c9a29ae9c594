# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest

TOKENIZER = str(Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model")
CODE = "".join(f"def step_{i}(value):\n    return value + {i}\n\n\n" for i in range(8))


@pytest.fixture
def shard(run, tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("CODEGEMMA_BENCHMARKS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "steps.py").write_text(CODE, encoding="utf-8")
    ran = run("prepare", "mine", "--out", "o", "--model", TOKENIZER, "--unlicensed", "--json")
    assert ran.status == 0
    return tmp_path / "o" / "shards" / "train-00000-of-00001.array_record"


def test_an_example_is_shown_with_its_sentinels_and_origin(run, shard) -> None:
    shown = [run("inspect", f"{shard}:0", "--epoch", str(epoch)).out for epoch in range(8)]

    assert all(re.search(r"1  steps\.py +mine:1 +[\d,]+  ", text) for text in shown)
    kinds = r"(PSM|SPM), (line|suffix_start|random), +middle [1-9]|whole"
    assert all(re.search(kinds, re.sub(r"\s+", " ", text)) for text in shown)
    assert all("<bos>\n" in text and text.endswith("<eos>\n") for text in shown)
    assert any("<|fim_prefix|>" in text and "<|fim_middle|>" in text for text in shown)
    assert len(set(shown)) > 4


def test_the_record_and_its_tokens_are_printed_for_machines(run, shard) -> None:
    told = json.loads(run("inspect", str(shard), "--json").out)

    marks = {"line_ends": "lf", "is_broken": False}
    assert told["files"] == [{"path": "steps.py", "origin": "mine:1", "text": CODE} | marks]
    assert told["max_tokens"] == 1024
    assert (told["tokens"][0], told["tokens"][-1]) == (2, 1)


def test_markup_in_code_is_shown_as_it_is(run, shard, tmp_path) -> None:
    (tmp_path / "marked").mkdir()
    text = CODE + "title = '[bold]not bold[/bold]'\n# \x1b[31mred\n"
    (tmp_path / "marked" / "[b]a.py").write_text(text, encoding="utf-8")
    run("prepare", "marked", "--out", "m", "--model", TOKENIZER, "--unlicensed", "--json")

    shard = "m/shards/train-00000-of-00001.array_record"
    shown = [run("inspect", shard, "--epoch", str(epoch)).out for epoch in range(8)]

    assert any("title = '[bold]not bold[/bold]'\n" in text for text in shown)
    assert all("[b]a.py" in text for text in shown)
    assert any("# <U+001B>[31mred\n" in text for text in shown)
    assert not any("\x1b" in text for text in shown)


def test_a_materialized_row_is_shown_with_its_segments_and_their_origin(run, shard) -> None:
    words = ("--model", TOKENIZER, "--unlicensed", "--json", "--materialize", "6")
    assert run("prepare", "mine", "--out", "o", *words).status == 0

    paths = [f"o/rows/{epoch}/{shard.name}" for epoch in range(6)]
    shown = [run("inspect", path).out for path in paths]
    told = json.loads(run("inspect", paths[0], "--json").out)

    assert all(re.search(r"1  steps\.py +mine:1 +1  (whole|PSM|SPM)", text) for text in shown)
    assert all("<bos>\n" in text and text.endswith("<eos>\n") for text in shown)
    assert any("<|fim_prefix|>" in text and "<|fim_middle|>" in text for text in shown)
    (segment,) = told["segments"]
    assert (segment["record"], segment["start"]) == (0, 0)
    assert {len(told[name]) for name in told if name != "segments"} == {1024}
    assert told["tokens"][segment["size"] - 1 : segment["size"] + 1] == [1, 0]


def test_the_data_set_is_found_from_a_folder_inside_it(run, shard, monkeypatch) -> None:
    words = ("--model", TOKENIZER, "--unlicensed", "--json", "--materialize", "1")
    assert run("prepare", "mine", "--out", "o", *words).status == 0
    row = shard.parents[1] / "rows" / "0" / shard.name

    for path in (shard, row):
        from_outside = run("inspect", f"{path}:0").out
        monkeypatch.chdir(path.parent)
        assert run("inspect", f"{path.name}:0").out == from_outside
        monkeypatch.chdir(path.parents[1])
        assert run("inspect", f"{path.parent.name}/{path.name}:0").out == from_outside


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (":9", "has records 0 to 0, no 9"),
        (".gone", "there is no shard"),
        (":x", "there is no shard"),
    ],
)
def test_what_is_not_there_is_one_line(run, shard, suffix, message) -> None:
    ran = run("inspect", f"{shard}{suffix}")

    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert message in ran.err


def test_a_damaged_shard_is_one_line(run, shard) -> None:
    shard.write_bytes(b"no records here")

    ran = run("inspect", str(shard))

    assert ran.status == 2
    assert ran.err.count("\n") == 1
