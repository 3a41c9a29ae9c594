# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from codegemma.generate.record import Record, read_record, write_record

RECORD = Record(fingerprint="ab" * 32, mode="spm", nll={"psm": 0.75, "spm": 0.5})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_record_is_read_back(tmp_path, cache):
    path = write_record(RECORD)
    assert path == cache / "verify" / ("ab" * 32 + ".json")
    assert read_record(tmp_path, fingerprint=RECORD.fingerprint) == RECORD
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_model_has_no_record(tmp_path):
    write_record(RECORD)
    assert read_record(tmp_path, fingerprint="cd" * 32) is None


def test_a_folder_without_a_manifest_is_known_by_its_files(tmp_path):
    from codegemma.model.manifest import fingerprint

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert read_record(folder, fingerprint=None) is None
    found = Record(fingerprint=fingerprint(folder), mode="psm", nll={})
    write_record(found)
    assert read_record(folder, fingerprint=None) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "fingerprint": "x", "mode": "psm", "nll": {}}',
        '{"format": 1, "fingerprint": "x", "mode": "auto", "nll": {}}',
        '{"format": 1, "fingerprint": "x", "mode": "psm"}',
    ],
)
def test_a_record_that_cannot_be_read_is_none(tmp_path, text):
    path = write_record(RECORD)
    path.write_text(text)
    assert read_record(tmp_path, fingerprint=RECORD.fingerprint) is None


def test_a_record_says_what_was_measured():
    raw = json.loads(write_record(RECORD).read_text())
    assert raw == {
        "format": 1,
        "fingerprint": "ab" * 32,
        "mode": "spm",
        "nll": {"psm": 0.75, "spm": 0.5},
    }
