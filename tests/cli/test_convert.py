# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from codegemma.model.config import tiny
from codegemma.model.export import write_checkpoint
from codegemma.model.metadata import Metadata
from codegemma.model.stored import open_checkpoint

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "LICENSE").write_text("terms")
    dtype = np.dtype(ml_dtypes.bfloat16)
    write_checkpoint(
        tmp_path / "source",
        config=tiny(vocab_size=1024),
        metadata=Metadata(name="source"),
        blocks=lambda tensor: [np.ones(tensor.shape, dtype)],
        dtype=dtype,
        tokenizer_file=TOKENIZER,
        licence_files=[tmp_path / "LICENSE"],
        layout="hf",
    )
    return tmp_path / "source"


def test_a_model_is_converted_in_layout_and_dtype(run, source, tmp_path):
    words = ("--to", "native", "--dtype", "float32")
    ran = run("convert", str(source), str(tmp_path / "out"), *words)
    assert ran.status == 0, ran.err
    assert ran.out == ""
    assert ran.err.endswith(f"wrote {tmp_path / 'out'}\n")
    found = open_checkpoint(tmp_path / "out")
    assert (found.dtype, found.fingerprint is not None) == (np.dtype(np.float32), True)
    assert (tmp_path / "out" / "LICENSE").read_text() == "terms"


def test_a_model_is_quantised(run, source, tmp_path):
    ran = run("convert", str(source), str(tmp_path / "out"), "--quantize", "int4")
    assert ran.status == 0, ran.err
    assert open_checkpoint(tmp_path / "out").metadata.weights == "int4"
    assert (tmp_path / "out" / "LICENSE").read_text() == "terms"


def test_the_prompt_order_that_a_layout_has_no_place_for_is_told(run, source, tmp_path):
    ran = run("convert", "nano", str(tmp_path / "out"), "--to", "hf")

    assert ran.status == 0, ran.err
    assert f"prompt order, spm, has no place in this layout: codegemma verify {tmp_path}" in ran.err


def test_files_are_kept_to_the_size_asked_for(run, source, tmp_path):
    ran = run("convert", str(source), str(tmp_path / "out"), "--to", "hf", "--max-shard-mb", "1")
    assert ran.status == 0, ran.err
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < 1_000_000
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_model_becomes_a_gguf_file_once(run, source, tmp_path):
    words = ("convert", str(source), str(tmp_path / "out.gguf"), "--to", "gguf")
    ran = run(*words, "--quantize", "int8")
    assert ran.status == 0, ran.err
    found = open_checkpoint(tmp_path / "out.gguf")
    assert found.config.num_layers == 2
    assert found.notices == {"LICENSE": "terms"}
    again = run(*words, "--dtype", "float16")
    assert (again.status, again.out) == (2, "")
    assert "out.gguf exists already" in again.err.splitlines()[-1]
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == ["", ".gguf"]
    both = run(
        *words[:2], str(tmp_path / "b.gguf"), *words[3:], "--quantize", "int4", "--dtype", "float32"
    )
    assert "the weights become float32 or int4, not both" in both.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "hf"], "exists already; remove it or choose another name"),
        (["--to", "gguf"], "out: expected the name of a file that ends in .gguf"),
        (["--to", "onnx"], "'onnx' is not one of"),
        (["--to", "hf", "--dtype", "float16"], "expected the dtype bfloat16 or float32"),
        (["--to", "hf", "--dtype", "int8"], "'int8' is not one of"),
        (["--quantize", "int2"], "'int2' is not one of"),
        (["--quantize", "int8", "--to", "hf"], "no --to hf, no --dtype"),
        (["--quantize", "int8", "--dtype", "float32"], "no --to hf, no --dtype"),
        (["--to", "gguf", "--max-shard-mb", "9"], "one file: no --max-shard-mb with --to gguf"),
        ([], "expected --to hf, native or gguf, or --quantize int8 or int4"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, source, tmp_path, words, message):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    ran = run("convert", str(source), str(tmp_path / "out"), *words)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_an_unknown_source_is_one_line(run, tmp_path):
    ran = run("convert", "codegema-2b", str(tmp_path / "out"), "--to", "hf")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "codegemma: 'codegema-2b' is neither a model nor a folder; did you mean codegemma-2b?"
    ]


def test_a_card_travels_and_nothing_is_drawn_where_nobody_watches(run, source, tmp_path):
    card = "---\nlicense: mit\n---\n# mine\n"
    (source / "README.md").write_text(card)
    ran = run("convert", str(source), str(tmp_path / "hf"), "--to", "hf")
    assert ran == (0, "", f"wrote {tmp_path / 'hf'}\n")
    assert (tmp_path / "hf" / "README.md").read_text() == card
    assert open_checkpoint(tmp_path / "hf").metadata.licence == "mit"


def test_a_folder_without_a_name_is_refused(run, source):
    ran = run("convert", str(source), "", "--to", "hf")
    assert ran == (2, "", "codegemma: DST must name a folder to make, not '.'\n")
