# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegemma.errors import CheckpointError
from codegemma.text.backend import JsonBackend, SentencePieceBackend, read_backend
from codegemma.text.tokenizer import Tokenizer

HERE = Path("here")


def test_both_files_give_the_same_pieces(golden: Path):
    model = read_backend(HERE, (golden / "tokenizer.model").read_bytes())
    converted = read_backend(HERE.with_suffix(".json"), (golden / "tokenizer.json").read_bytes())
    assert isinstance(model, SentencePieceBackend)
    assert isinstance(converted, JsonBackend)
    assert model.vocab_size == converted.vocab_size == 1024
    pieces, others = model.pieces(range(1024)), converted.pieces(range(1024))
    # The converted file writes the tab's byte piece as the tab.
    assert [i for i in range(1024) if pieces[i] != others[i]] == [226]
    assert (pieces[226], others[226]) == ("<0x09>", "\t")


def test_find_gives_none_for_a_piece_there_is_not(golden: Path):
    for name in ("tokenizer.model", "tokenizer.json"):
        backend = read_backend(HERE / name, (golden / name).read_bytes())
        assert backend.find("<bos>") == 2
        assert backend.find("no such piece") is None


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"not a model", b"\x0a\xff\xff\xff\xff\x0f", bytes(1000)]
)
def test_bytes_that_are_no_sentencepiece_model_are_refused(data: bytes):
    with pytest.raises(CheckpointError, match=r"^here is not a SentencePiece model: "):
        SentencePieceBackend(data, path=HERE)


READ_DAMAGED = """
import random, sys
LENGTHS = (b"\\0", b"\\x01", b"\\x7f", b"\\xff\\x7f", b"\\xff" * 4 + b"\\x07",
    b"\\xff" * 4 + b"\\x0f", b"\\xff" * 9 + b"\\x01", b"\\xff" * 12)
def lengths(data):
    # Where the length of each top-level field and of the first field within stands.
    found, at = [], 0
    while at < len(data):
        tag, size, shift, start = data[at], 0, 0, at + 1
        assert tag & 7 == 2, at
        at = start
        while True:
            size |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        found.append((start, at))
        if size > 1 and data[at] & 7 == 2 and data[at + 1] < 128:
            found.append((at + 1, at + 2))
        at += size
    return found
from pathlib import Path
from codegemma.errors import CheckpointError
from codegemma.text.tokenizer import Tokenizer
good, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
for seed in range(int(sys.argv[3])):
    rng = random.Random(seed)
    if seed % 2:
        start, end = rng.choice(lengths(good))
        data = good[:start] + rng.choice(LENGTHS) + good[end:]
    else:
        data = bytearray(good[: rng.randrange(len(good))] if seed % 4 else good)
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    try:
        Tokenizer.from_file(path).encode("def f(x):\\n\\treturn '\\u00e9'")
        print("read", flush=True)
    except CheckpointError:
        print("refused", flush=True)
"""


def test_damaged_sentencepiece_models_are_refused_or_read_never_worse(golden: Path, tmp_path: Path):
    # In a process of its own: a crash of the library is a failure here, and names its seed.
    run = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-c", READ_DAMAGED),
            *(str(golden / "tokenizer.model"), str(tmp_path / "tokenizer.model"), "400"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = run.stdout.split()
    assert run.returncode == 0, f"seed {len(found)}: {run.stderr}"
    assert len(found) == 400
    assert found.count("refused") >= 200
    assert "read" in found


def test_a_piece_that_is_not_utf8_is_refused(golden: Path, tmp_path: Path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes((golden / "tokenizer.model").read_bytes().replace(b"return", b"retu\xffn"))
    with pytest.raises(CheckpointError, match="holds a piece that is not UTF-8"):
        Tokenizer.from_file(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model": 1}',
        b'{"model": {"type": "BPE", "byte_fallback": true}, "added_tokens": [{"id": 1}]}',
        b"[" * 100_000,
        b'{"version": "1.0", "model": {"type": "BPE", "byte_fallback": true}}',
        b"\xff\xfe",
    ],
)
def test_bytes_that_are_no_tokenizer_json_are_refused(data: bytes):
    with pytest.raises(CheckpointError, match=r"^here.json is not a tokenizer.json: "):
        JsonBackend(data, path=HERE.with_suffix(".json"))


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(path.read_bytes())
    edit(document)
    return json.dumps(document).encode()


def test_a_model_of_another_kind_is_refused_by_name(golden: Path):
    def edit(document: dict[str, Any]) -> None:
        document["model"]["byte_fallback"] = False

    with pytest.raises(CheckpointError, match="found 'BPE' with byte_fallback False"):
        JsonBackend(change(golden / "tokenizer.json", edit), path=HERE)


def test_a_regular_expression_of_the_file_is_not_run(golden: Path):
    def edit(document: dict[str, Any]) -> None:
        document["pre_tokenizer"]["pattern"] = {"Regex": "(a+)+$"}

    with pytest.raises(CheckpointError, match="found a regular expression"):
        JsonBackend(change(golden / "tokenizer.json", edit), path=HERE)


def test_a_gap_in_the_ids_is_refused(golden: Path):
    def edit(document: dict[str, Any]) -> None:
        document["model"]["vocab"]["<unused99>"] = 2000

    with pytest.raises(CheckpointError, match="ids of its 1025 pieces have gaps"):
        JsonBackend(change(golden / "tokenizer.json", edit), path=HERE)


def test_truncation_and_padding_of_the_file_are_ignored(golden: Path):
    def edit(document: dict[str, Any]) -> None:
        document["truncation"] = {
            "direction": "Right",
            "max_length": 3,
            "strategy": "LongestFirst",
            "stride": 0,
        }

    backend = JsonBackend(change(golden / "tokenizer.json", edit), path=HERE)
    assert len(backend.encode("a b c d e f")) == 6
