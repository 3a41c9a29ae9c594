# SPDX-License-Identifier: Apache-2.0

import json
import shutil

import pytest

from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.folder import RunFolder, Shard, refuse_changes, write_json
from codegemma.evaluate.store import LineFile, write_sample, write_score
from codegemma.evaluate.task import Sample, Score

SETTINGS = {"task": "t", "model": {"fingerprint": "a"}, "sampling": {"temperature": 0.0}}


def _add(folder, task_id):
    with LineFile(folder.file("samples")) as lines:
        lines.write([write_sample(Sample(task_id=task_id, index=0, text="x", prompt_sha256="p"))])
    with LineFile(folder.file("scores")) as lines:
        score = Score(task_id=task_id, index=0, variant="v", value=1.0, judged_sha256="h")
        lines.write([write_score(score)])
    folder.record(SETTINGS, session={"model": "nano"})


def test_shard_is_a_part_of_so_many():
    assert Shard.parse("2/4") == Shard(index=2, count=4)
    assert Shard.parse("2/4").suffix == "-2-of-4"
    assert Shard.parse("1/1").suffix == ""


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2", ""])
def test_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"a shard is written i/n"):
        Shard.parse(text)


def test_task_has_a_folder_that_every_file_system_can_name(tmp_path):
    folder = RunFolder(tmp_path, "bc-humaneval:go", shard=Shard(index=2, count=4))

    assert folder.file("samples") == tmp_path / "bc-humaneval.go" / "samples-2-of-4.jsonl"
    assert folder.file("result") == tmp_path / "bc-humaneval.go" / "result-2-of-4.json"


def test_run_without_a_shard_reads_all_shards(tmp_path):
    for index in (1, 2):
        _add(RunFolder(tmp_path, "t", shard=Shard(index=index, count=2)), f"a{index}")
    whole = RunFolder(tmp_path, "t")
    (whole.path / "samples.scores.jsonl").write_text("not of the run")

    assert list(whole.samples()) == [("a1", 0), ("a2", 0)]
    assert [key.task_id for key in whole.scores()] == ["a1", "a2"]
    assert whole.settings() == SETTINGS
    assert whole.models() == {"nano"}


def test_folder_without_a_run_is_empty(tmp_path):
    folder = RunFolder(tmp_path, "t")

    assert (folder.samples(), folder.scores(), folder.settings()) == ({}, {}, None)
    folder.check(SETTINGS)
    folder.record_scoring({"bubblewrap": "1"})
    assert not folder.path.exists()


def test_other_settings_are_refused_each_by_name(tmp_path):
    folder = RunFolder(tmp_path, "t")
    _add(folder, "a")
    other = {**SETTINGS, "model": {"fingerprint": "b"}, "sampling": {"temperature": 0.8}}

    with pytest.raises(ConfigError) as refusal:
        folder.record(other, session={"model": "m"})

    assert "model.fingerprint was 'a' and is 'b'" in str(refusal.value)
    assert "sampling.temperature was 0.0 and is 0.8" in str(refusal.value)
    with pytest.raises(ConfigError, match=r"other settings.*temperature"):
        folder.check(other)
    folder.check({**SETTINGS, "model": {"fingerprint": "b"}})


def test_sessions_and_what_programs_ran_with_are_noted(tmp_path):
    folder = RunFolder(tmp_path, "t")
    _add(folder, "a")
    folder.record(SETTINGS, session={"model": "elsewhere/nano"})
    for version in ("1", "1", "2"):
        folder.record_scoring({"bubblewrap": version})

    written = json.loads(folder.file("run").read_text())

    assert [session["model"] for session in written["sessions"]] == ["nano", "elsewhere/nano"]
    assert written["scoring"] == [{"bubblewrap": "1"}, {"bubblewrap": "2"}]


def test_shards_of_different_settings_do_not_go_together(tmp_path):
    _add(RunFolder(tmp_path, "t", shard=Shard(index=1, count=2)), "a")
    second = RunFolder(tmp_path, "t", shard=Shard(index=2, count=2))
    write_json(
        second.file("run"),
        {"format": 1, "settings": {**SETTINGS, "task": "u"}, "sessions": [], "scoring": []},
    )

    with pytest.raises(ConfigError, match="task was 't' and is 'u'"):
        RunFolder(tmp_path, "t").settings()


def test_runs_of_other_machines_are_taken_over(tmp_path):
    for index in (1, 2):
        _add(RunFolder(tmp_path / f"m{index}", "t", shard=Shard(index=index, count=2)), f"a{index}")
        (tmp_path / f"m{index}" / "t" / f"result-{index}-of-2.json").write_text("{}")
    folder = RunFolder(tmp_path / "all", "t")

    folder.merge([tmp_path / "m1", tmp_path / "m2"])
    folder.merge([tmp_path / "m1"])  # again, to no effect

    assert [task_id for task_id, _ in folder.samples()] == ["a1", "a2"]
    assert not list(folder.path.glob("result*"))
    assert not list(folder.path.glob("*.draft"))


def test_a_shard_that_went_on_takes_the_place_of_its_copy(tmp_path):
    parts = [
        RunFolder(tmp_path / f"m{index}", "t", shard=Shard(index=index, count=2))
        for index in (1, 2)
    ]
    for part, name in zip(parts, "ab", strict=True):
        _add(part, f"{name}1")
    folder = RunFolder(tmp_path / "all", "t")
    others = [tmp_path / "m1", tmp_path / "m2"]
    folder.merge(others)
    for part, name in zip(parts, "ab", strict=True):
        with part.file("samples").open("a") as file:
            file.write(json.dumps({"task_id": f"{name}2", "sample": 0, "completion": ""}) + "\n")
        part.record(SETTINGS, session={"model": "nano", "started": "later"})

    folder.merge(others)
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "all", older)
    RunFolder(older, "t").merge([tmp_path / "m1"])

    assert [task_id for task_id, _ in folder.samples()] == ["a1", "a2", "b1", "b2"]
    sessions = [len(record["sessions"]) for _, record in folder.records()]
    assert sessions == [2, 2]


def test_a_copy_with_a_broken_end_is_gone_on_from(tmp_path):
    part = RunFolder(tmp_path / "m1", "t", shard=Shard(index=1, count=2))
    _add(part, "a1")
    folder = RunFolder(tmp_path / "all", "t")
    folder.merge([tmp_path / "m1"])
    with folder.file("samples").with_name("samples-1-of-2.jsonl").open("ab") as file:
        file.write(b'{"task_id": "a')
    with part.file("samples").open("a") as file:
        file.write(json.dumps({"task_id": "a2", "sample": 0, "completion": ""}) + "\n")

    folder.merge([tmp_path / "m1"])

    assert [task_id for task_id, _ in folder.samples()] == ["a1", "a2"]


def test_a_shard_that_went_on_with_what_the_target_drew_itself_is_refused(tmp_path):
    part = RunFolder(tmp_path / "m1", "t", shard=Shard(index=1, count=2))
    _add(part, "a1")
    folder = RunFolder(tmp_path / "all", "t")
    folder.merge([tmp_path / "m1"])
    _add(folder, "a2")
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    _add(part, "a2")

    with pytest.raises(InputError, match=r"both hold sample 0 of a2; take one of"):
        folder.merge([tmp_path / "m1"])

    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
    assert [task_id for task_id, _ in folder.samples()] == ["a1", "a2"]


def test_runs_that_cannot_be_merged_are_named(tmp_path):
    for name in ("m1", "m2"):
        _add(RunFolder(tmp_path / name, "t"), name)
    folder = RunFolder(tmp_path / "all", "t")

    with pytest.raises(InputError, match=r"nowhere holds no run of this task"):
        folder.merge([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"differ and have one name, and .* --shard i/n"):
        folder.merge([tmp_path / "m1", tmp_path / "m2"])


def test_a_refused_merge_leaves_its_target_as_it_was(tmp_path):
    for index in (1, 2):
        _add(RunFolder(tmp_path / f"m{index}", "t", shard=Shard(index=index, count=2)), f"a{index}")
    wrong = RunFolder(tmp_path / "wrong", "t", shard=Shard(index=2, count=2))
    _add(wrong, "a2")
    record = json.loads(wrong.file("run").read_text())
    write_json(wrong.file("run"), {**record, "settings": {**SETTINGS, "task": "u"}})
    folder = RunFolder(tmp_path / "all", "t")

    with pytest.raises(ConfigError, match="task was 't' and is 'u'"):
        folder.merge([tmp_path / "m1", tmp_path / "wrong"])

    assert not folder.path.exists()
    folder.merge([tmp_path / "m1", tmp_path / "m2"])
    assert [task_id for task_id, _ in folder.samples()] == ["a1", "a2"]


def test_sample_in_two_files_is_refused(tmp_path):
    for index in (1, 2):
        _add(RunFolder(tmp_path, "t", shard=Shard(index=index, count=2)), "a")

    with pytest.raises(
        InputError, match=r"1-of-2.jsonl and .*2-of-2.jsonl both hold sample 0 of a"
    ):
        RunFolder(tmp_path, "t").samples()


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"format": 9, "settings": {}}', '{"format": 1}'),
        *('{"format": 1, "settings": {}}', '{"format": 1, "settings": {}, "sessions": [5]}'),
        '{"format": 1, "settings": {}, "sessions": [], "scoring": {}}',
    ],
)
def test_damaged_settings_are_an_error(tmp_path, content):
    folder = RunFolder(tmp_path, "t")
    folder.path.mkdir()
    folder.file("run").write_text(content)

    with pytest.raises(DataError, match=r"run.json is damaged"):
        folder.settings()


def test_settings_are_compared_as_they_are_written(tmp_path):
    refuse_changes({"stop": ["a"]}, {"stop": ("a",)}, where=tmp_path)
