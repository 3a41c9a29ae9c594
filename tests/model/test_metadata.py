# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from codegemma.errors import CheckpointError
from codegemma.model.metadata import Metadata, read_metadata

RAW = {
    "format": 1,
    "name": "nano",
    "is_instruction": False,
    "mode": "spm",
    "licence": "Apache-2.0",
    "training": {"recipe": "nano", "seed": 0},
    "history": ["Converted the weights from float32 to bfloat16."],
}


def test_what_is_written_is_read_back(tmp_path):
    metadata = Metadata(
        name="nano",
        mode="spm",
        licence="Apache-2.0",
        training={"recipe": "nano", "seed": 0},
        history=("Converted the weights from float32 to bfloat16.",),
    )
    assert metadata.raw == RAW
    (tmp_path / "codegemma.json").write_text(json.dumps(RAW))
    assert read_metadata(tmp_path) == metadata


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "expected format 1, found 2"),
        ({"mode": "xyz"}, "expected name"),
        ({"mode": "auto"}, "expected name"),
        ({"name": None}, "expected name"),
        ({"is_instruction": 1}, "expected name"),
        ({"training": []}, "expected name"),
        ({"history": [1]}, "expected name"),
        ({"history": "text"}, "expected name"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path, change, message):
    (tmp_path / "codegemma.json").write_text(json.dumps(RAW | change))
    with pytest.raises(CheckpointError, match=rf"codegemma\.json: {message}"):
        read_metadata(tmp_path)


def test_a_folder_from_elsewhere_tells_by_its_name(tmp_path):
    folder = tmp_path / "my-codegemma-7b-it"
    folder.mkdir()
    assert read_metadata(folder) == Metadata(name="my-codegemma-7b-it", is_instruction=True)


def test_a_hub_snapshot_is_named_after_its_repository(tmp_path):
    folder = tmp_path / "models--google--codegemma-1.1-7b-it" / "snapshots" / "abcdef"
    folder.mkdir(parents=True)
    assert read_metadata(folder) == Metadata(name="codegemma-1.1-7b-it", is_instruction=True)


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("README.md", "---\nlibrary_name: transformers\nlicense: gemma\n---\n# Card\n", "gemma"),
        ("README.md", "---\ntags:\n- code\nlicense: Apache-2.0\n---\n", "apache-2.0"),
        ("README.md", "---\ntags: code\n---\nlicense: gemma\n", None),
        ("README.md", "# no front matter\nlicense: gemma\n", None),
        ("NOTICE", "Gemma is provided under ... found at ai.google.dev/gemma/terms\n", "gemma"),
    ],
)
def test_the_licence_is_read_from_card_or_notice(tmp_path, name, text, licence):
    (tmp_path / name).write_text(text)
    assert read_metadata(tmp_path).licence == licence
