# SPDX-License-Identifier: Apache-2.0

import gzip
import hashlib
import json
from dataclasses import replace

import pytest

from codegemma.completion import Prompt, SourceFile, Timings, Turn
from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate import store
from codegemma.evaluate.task import Sample, Score

SAMPLE = Sample(
    task_id="HumanEval/1",
    index=2,
    text="    return 'ä\u2028'\n",
    prompt_sha256="ab",
    prompt_tokens=(2, 5),
    is_prompt_cut=True,
    tokens=(7, 1),
    finish_reason="stop",
    seed=3,
    timings=Timings(total_ms=4.5),
    wall_s=0.5,
)
SCORE = Score(
    task_id="HumanEval/1", index=2, variant="stop", value=1.0, judged_sha256="cd", outcome="pass"
)


def _write(path, *values):
    with store.LineFile(path) as lines:
        lines.write(values)


def test_samples_come_back_as_they_were_written(tmp_path):
    whole = Sample(task_id="HumanEval/2", index=0, text="x = 1", is_whole=True)
    refused = Sample(
        task_id="HumanEval/3", index=0, text="", prompt_sha256="ab", refusal="too long"
    )

    _write(tmp_path / "s.jsonl", *map(store.write_sample, (SAMPLE, whole, refused)))

    assert store.read_samples(tmp_path / "s.jsonl") == [SAMPLE, whole, refused]


def test_scores_come_back_by_what_they_are_of(tmp_path):
    other = replace(SCORE, judged_sha256="ef", value=0.0, outcome="fail", stderr="E", wall_s=0.1)

    _write(tmp_path / "s.jsonl", *map(store.write_score, (SCORE, other)))

    assert store.read_scores(tmp_path / "s.jsonl") == {
        store.ScoreKey("HumanEval/1", 2, "stop", "cd"): SCORE,
        store.ScoreKey("HumanEval/1", 2, "stop", "ef"): other,
    }


def test_line_of_a_sample_can_be_read_by_other_tools():
    line = store.write_sample(SAMPLE)

    assert (line["task_id"], line["sample"], line["completion"]) == (
        "HumanEval/1",
        2,
        SAMPLE.text,
    )
    assert "is_whole" not in line
    assert store.write_sample(replace(SAMPLE, is_whole=True))["solution"] == SAMPLE.text


def test_samples_made_elsewhere_are_numbered_by_task(tmp_path):
    lines = [
        {"task_id": "HumanEval/0", "completion": "a", "tokens": "not ours", "passed": True},
        {"task_id": 11, "solution": "b"},
        {"task_id": "HumanEval/0", "completion": "c"},
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    expected = [
        ("HumanEval/0", 0, "a", False),
        ("11", 0, "b", True),
        ("HumanEval/0", 1, "c", False),
    ]

    samples = store.read_samples(tmp_path / "s.jsonl")

    assert [(s.task_id, s.index, s.text, s.is_whole) for s in samples] == expected

    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress((tmp_path / "s.jsonl").read_bytes()))

    assert store.read_samples(tmp_path / "s.jsonl.gz") == samples


@pytest.mark.parametrize(
    "line",
    [
        {"completion": "a"},
        {"task_id": "a"},
        {"task_id": "a", "completion": None},
        {"task_id": "a", "completion": "a", "solution": "b"},
    ],
)
def test_line_that_is_no_sample_is_refused_by_its_number(tmp_path, line):
    (tmp_path / "s.jsonl").write_text('{"task_id": "a", "completion": ""}\n' + json.dumps(line))

    with pytest.raises(InputError, match=r"s.jsonl:2 needs a task_id, and either a completion"):
        store.read_samples(tmp_path / "s.jsonl")


def test_sample_that_stands_twice_is_refused(tmp_path):
    _write(tmp_path / "s.jsonl", *map(store.write_sample, (SAMPLE, SAMPLE)))

    with pytest.raises(InputError, match=r"s.jsonl:2 holds sample 2 of HumanEval/1 a second time"):
        store.read_samples(tmp_path / "s.jsonl")


@pytest.mark.parametrize("broken", [b'{"task_id": "b", "compl', b'{"task_id": "b\xc3', b"{"])
def test_line_broken_off_by_a_kill_is_left_out_and_then_replaced(tmp_path, broken, caplog):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"task_id": "a", "completion": "1"}\n' + broken)

    assert [sample.task_id for sample in store.read_samples(path)] == ["a"]
    assert "the last line is broken off" in caplog.text

    _write(path, {"task_id": "c", "completion": "2"})

    assert path.read_bytes() == (
        b'{"task_id": "a", "completion": "1"}\n{"task_id": "c", "completion": "2"}\n'
    )


def test_whole_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"task_id": "a", "completion": "1"}')

    _write(path, {"task_id": "c", "completion": "2"})

    assert [sample.task_id for sample in store.read_samples(path)] == ["a", "c"]


@pytest.mark.parametrize("damage", [b"{", b"[1]", b"\xff\xfe", b"x" * 9])
def test_damage_before_the_last_line_is_an_error_with_its_place(tmp_path, damage):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"task_id": "a", "completion": "1"}\n' + damage + b'\n{"a": 1}\n')

    with pytest.raises(DataError, match=r"s.jsonl:2 is damaged: .*; take that line out"):
        store.read_samples(path)


def test_damaged_last_line_that_has_its_end_is_an_error(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"task_id": "a", "compl\n')

    with pytest.raises(DataError, match=r"s.jsonl:1 is damaged"):
        store.read_samples(path)


def test_missing_file_has_no_lines(tmp_path):
    assert store.read_samples(tmp_path / "gone.jsonl") == []


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"")[:10] + b"\xff" * 20],
    ids=["no gzip", "not deflate"],
)
def test_damaged_archive_is_refused(tmp_path, data):
    (tmp_path / "s.jsonl.gz").write_bytes(data)

    with pytest.raises(DataError, match=r"s.jsonl.gz cannot be read"):
        store.read_samples(tmp_path / "s.jsonl.gz")


def test_score_with_a_field_missing_is_an_error(tmp_path):
    (tmp_path / "s.jsonl").write_text('{"task_id": "a", "sample": 0}\n')

    with pytest.raises(DataError, match=r"s.jsonl:1 is no score"):
        store.read_scores(tmp_path / "s.jsonl")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("prompt_tokens", 5, "prompt_tokens is list or null, and not 5"),
        ("tokens", "a", "tokens is list, and not 'a'"),
        ("timings", None, "timings is dict, and not None"),
        ("timings", {"nonsense": 1}, "unexpected keyword argument 'nonsense'"),
        ("wall_s", True, "wall_s is int or float, and not True"),
        ("refusal", 7, "refusal is str, and not 7"),
    ],
)
def test_field_of_our_own_sample_that_is_none_is_named_with_its_line(tmp_path, name, value, words):
    line = {"task_id": "a", "completion": "", "prompt_sha256": "ab", name: value}
    _write(tmp_path / "s.jsonl", store.write_sample(SAMPLE), line)

    with pytest.raises(DataError, match=rf"s.jsonl:2 is damaged: .*{words}"):
        store.read_samples(tmp_path / "s.jsonl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("value", "x"), ("value", None), ("value", True), ("task_id", ["a"]), ("sample", "0")),
        *(("variant", 1), ("judged_sha256", None), ("outcome", 0), ("stderr", [])),
    ],
)
def test_field_of_a_score_that_is_none_is_named_with_its_line(tmp_path, name, value):
    line = {"task_id": "a", "sample": 0, "variant": "v", "value": 1.0, "judged_sha256": "ab"}
    _write(tmp_path / "s.jsonl", line, line | {name: value})

    with pytest.raises(DataError, match=rf"s.jsonl:2 is damaged: {name} is "):
        store.read_scores(tmp_path / "s.jsonl")


def test_mark_at_the_head_of_a_file_is_no_damage(tmp_path):
    (tmp_path / "s.jsonl").write_bytes(b'\xef\xbb\xbf{"task_id": "a", "completion": "1"}\n')

    assert [sample.task_id for sample in store.read_samples(tmp_path / "s.jsonl")] == ["a"]


def test_file_is_written_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "s.jsonl"
    with store.LineFile(path), pytest.raises(ConfigError, match="another process is writing"):
        store.LineFile(path)

    _write(path, {"a": 1})  # free again

    assert path.read_text() == '{"a": 1}\n'


def test_file_that_got_no_line_is_taken_away_and_an_older_one_stays(tmp_path):
    (tmp_path / "old.jsonl").write_text("")
    for name in ("new", "old"):
        with store.LineFile(tmp_path / f"{name}.jsonl"):
            pass

    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["old.jsonl"]


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match=r"file/out/s.jsonl cannot be written"):
        store.LineFile(tmp_path / "file" / "out" / "s.jsonl")


def test_half_a_surrogate_pair_survives(tmp_path):
    sample = replace(SAMPLE, text="\ud800")

    _write(tmp_path / "s.jsonl", store.write_sample(sample))

    assert store.read_samples(tmp_path / "s.jsonl") == [sample]


def test_hash_of_a_prompt_is_of_what_it_says():
    prompt = Prompt(prefix="a", suffix="b")

    assert store.hash_prompt(prompt) == store.hash_prompt(
        replace(prompt, tokens=(2, 5), session="s")
    )
    others = [
        Prompt(prefix="ab"),
        Prompt(prefix="a", suffix="b", path="p"),
        Prompt(prefix="a", suffix="b", context=(SourceFile(path="p", text="t"),)),
        Prompt(turns=(Turn(role="user", text="a"),)),
        Prompt(prefix="a", suffix=""),
        Prompt(prefix="a"),
    ]
    assert len({store.hash_prompt(each) for each in [prompt, *others]}) == 7


def test_hash_of_a_prompt_stays_what_it_was_when_prompts_get_more_fields():
    prompt = Prompt(prefix="a", suffix="b", path="p.py")

    # Recorded; the SHA-256 of {"path": "p.py", "prefix": "a", "suffix": "b"}, spelt like that.
    digest = hashlib.sha256(b'{"path": "p.py", "prefix": "a", "suffix": "b"}').hexdigest()
    assert digest.startswith("8ea60824a578")
    assert store.hash_prompt(prompt) == digest
    plain = hashlib.sha256(b'{"prefix": "a"}').hexdigest()
    assert store.hash_prompt(Prompt(prefix="a", namespace="n", session="s")) == plain
