# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from codegemma.errors import CheckpointError
from codegemma.model import export
from codegemma.model.export import (
    convert_checkpoint,
    convert_to_gguf,
    extract_vocabulary,
    find_licences,
)
from codegemma.model.quantise import quantise_checkpoint
from codegemma.model.stored import open_checkpoint
from codegemma.text.tokenizer import Tokenizer

GOLDEN_JSON = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.json"
EMBEDDING = "model.embed_tokens.weight"
NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms\n"
)

CONVERTER = """
import sys, time
from codegemma.model.export import convert_checkpoint
def stop(done, total):
    print("writing", flush=True)
    time.sleep(60)
convert_checkpoint(sys.argv[1], sys.argv[2], layout="native", progress=stop)
"""


def load_all(folder):
    """Every tensor of a folder, as the safetensors package reads it."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: t for file in files for name, t in safetensors.numpy.load_file(file).items()}


def test_a_conversion_there_and_back_keeps_every_byte(hf_folder, weights, tmp_path):
    convert_checkpoint(hf_folder, tmp_path / "native", layout="native")
    convert_checkpoint(tmp_path / "native", tmp_path / "back", layout="hf", max_shard_bytes=20_000)
    found = load_all(tmp_path / "back")
    assert {name: values.tobytes() for name, values in found.items()} == {
        name: values.tobytes() for name, values in weights.items()
    }
    assert {path.name for path in (tmp_path / "native").iterdir()} == {
        "codegemma.json",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.model",
        "tokenizer_config.json",
    }
    shards = sorted(path.name for path in (tmp_path / "back").glob("*.safetensors"))
    assert len(shards) == 4
    assert shards[0] == "model-00001-of-00004.safetensors"
    assert not (tmp_path / "back" / "codegemma.json").exists()
    assert not (tmp_path / "back" / "manifest.json").exists()
    index = json.loads((tmp_path / "back" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(values.nbytes for values in weights.values())
    assert index["weight_map"][EMBEDDING] == shards[0]


def test_a_conversion_to_float32_and_back_keeps_every_value(hf_folder, weights, tmp_path):
    convert_checkpoint(hf_folder, tmp_path / "wide", layout="native", dtype="float32")
    wide = load_all(tmp_path / "wide")
    assert {values.dtype for values in wide.values()} == {np.dtype(np.float32)}
    assert open_checkpoint(tmp_path / "wide").metadata.history == (
        "Converted the weights from bfloat16 to float32.",
    )
    assert json.loads((tmp_path / "wide" / "config.json").read_text())["torch_dtype"] == "float32"
    convert_checkpoint(tmp_path / "wide", tmp_path / "narrow", layout="hf", dtype="bfloat16")
    narrow = load_all(tmp_path / "narrow")
    assert all(narrow[name].tobytes() == weights[name].tobytes() for name in weights)


def test_licences_and_notices_travel_with_a_conversion(hf_folder, tmp_path):
    for name in ("LICENSE", "USE_POLICY.md", "Notice.txt"):
        (hf_folder / name).write_text(f"text of {name}\n")
    (hf_folder / "evil.py").write_text("print()")
    (hf_folder / "chat_template.jinja").write_text("template")
    convert_checkpoint(hf_folder, tmp_path / "out", layout="hf")
    for name in ("LICENSE", "USE_POLICY.md", "Notice.txt"):
        assert (tmp_path / "out" / name).read_text() == f"text of {name}\n"
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "template"
    assert not (tmp_path / "out" / "evil.py").exists()
    assert not (tmp_path / "out" / "NOTICE").exists()
    assert [path.name for path in find_licences(hf_folder)] == [
        "LICENSE",
        "Notice.txt",
        "USE_POLICY.md",
    ]


def test_a_gemma_model_gets_the_notice_its_terms_ask_for_once(hf_folder, tmp_path):
    (hf_folder / "README.md").write_text("---\nlicense: gemma\n---\n")
    convert_checkpoint(hf_folder, tmp_path / "out", layout="hf")
    notice = (tmp_path / "out" / "NOTICE").read_text()
    assert notice.startswith(NOTICE + "Modified: little was written anew as bfloat16 by codegemma")
    convert_checkpoint(tmp_path / "out", tmp_path / "again" / "little", layout="native")
    assert (tmp_path / "again" / "little" / "NOTICE").read_text().count("Gemma is provided") == 1
    assert open_checkpoint(tmp_path / "again" / "little").metadata.licence == "gemma"


@pytest.mark.parametrize("name", ["codegemma-2b", "CodeGemma-1.1-7b-it", "gemma-7b"])
def test_googles_weights_without_a_card_get_the_notice_by_their_name(
    make_folder, weights, tmp_path, name
):
    folder = make_folder({"model.safetensors": weights}, name=name)
    convert_checkpoint(folder, tmp_path / "out", layout="native")
    assert (tmp_path / "out" / "NOTICE").read_text().startswith(f"{NOTICE}Modified: {name} was")
    assert open_checkpoint(tmp_path / "out").metadata.licence == "gemma"


def test_a_record_of_ours_is_taken_at_its_word_whatever_the_folder_is_called(
    make_folder, weights, tmp_path
):
    convert_checkpoint(
        make_folder({"model.safetensors": weights}), tmp_path / "codegemma-2b", layout="native"
    )
    assert open_checkpoint(tmp_path / "codegemma-2b").metadata.licence is None
    convert_checkpoint(tmp_path / "codegemma-2b", tmp_path / "again", layout="hf")
    assert not (tmp_path / "again" / "NOTICE").exists()


def test_a_conversion_refuses_an_existing_target(hf_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(CheckpointError, match="out exists already"):
        convert_checkpoint(hf_folder, tmp_path / "out", layout="hf")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_conversion_of_a_damaged_model_leaves_nothing(make_folder, weights, tmp_path):
    weights["model.norm.weight"][3] = np.nan
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=r"NaN or Inf in the tensor model\.norm\.weight"):
        convert_checkpoint(folder, tmp_path / "out", layout="native")
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


def test_a_conversion_whose_source_changes_leaves_nothing(hf_folder, tmp_path):
    def change(done: int, total: int) -> None:
        os.utime(hf_folder / "model.safetensors", ns=(done, done))

    with pytest.raises(CheckpointError, match=r"model\.safetensors was changed while it was read"):
        convert_checkpoint(hf_folder, tmp_path / "out", layout="native", progress=change)
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


@pytest.mark.parametrize(
    ("convert", "name"),
    [
        (partial(convert_checkpoint, layout="native"), "out"),
        (partial(quantise_checkpoint, weights="int8"), "out"),
        (convert_to_gguf, "out.gguf"),
    ],
)
def test_a_source_replaced_at_the_very_end_leaves_nothing(hf_folder, tmp_path, convert, name):
    """The open file stays what it was; that its name leads elsewhere now is seen at the end."""

    def change(done: int, total: int) -> None:
        if done == total:
            shutil.copyfile(hf_folder / "model.safetensors", hf_folder / "new")
            (hf_folder / "new").rename(hf_folder / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model\.safetensors was changed while it was read"):
        convert(hf_folder, tmp_path / name, progress=change)
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


def test_a_disk_too_small_for_a_gguf_file_is_refused(hf_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000))
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: the weights need 0\.0 GB of disk"):
        convert_to_gguf(hf_folder, tmp_path / "a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


def test_a_disk_too_small_is_refused_with_both_numbers(hf_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000))
    with pytest.raises(
        CheckpointError, match=r"the weights need 0\.0 GB of disk, 0\.0 GB are free"
    ):
        convert_checkpoint(hf_folder, tmp_path / "out", layout="native")
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_conversion_leaves_nothing_and_can_be_run_again(hf_folder, tmp_path, number):
    target = tmp_path / "out"
    converter = subprocess.Popen(
        [sys.executable, "-c", CONVERTER, str(hf_folder), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert converter.stdout is not None
    with converter.stdout:
        assert converter.stdout.readline() == "writing\n"
        converter.send_signal(number)
        converter.wait(timeout=20)
    assert not target.exists()
    convert_checkpoint(hf_folder, target, layout="native")
    assert open_checkpoint(target).config.num_layers == 2
    assert {path.name for path in tmp_path.iterdir()} == {"little", "out"}


@pytest.mark.reference
def test_transformers_reads_text_and_conversations_of_a_written_folder(hf_folder, tmp_path):
    transformers = pytest.importorskip(
        "transformers", reason="transformers of requirements/reference.txt is missing"
    )
    source = hf_folder.rename(tmp_path / "little-it")
    convert_checkpoint(source, tmp_path / "out", layout="hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "def f(x):\n    return x\n\n\n\tz  12"
    ours = open_checkpoint(tmp_path / "out").tokenizer
    assert tokenizer(text)["input_ids"] == [2, *ours.encode(text)]
    assert tokenizer("<|fim_prefix|>a<|file_separator|>")["input_ids"] == [2, 67, 939, 70]
    chat = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) == (
        "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_gguf_file_gives_its_vocabulary_as_a_file(hf_folder, tmp_path):
    convert_to_gguf(hf_folder, tmp_path / "a.gguf")
    path = extract_vocabulary(tmp_path / "a.gguf")
    assert path == extract_vocabulary(tmp_path / "a.gguf")
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.encode("x = 1\n    y") == open_checkpoint(hf_folder).tokenizer.encode(
        "x = 1\n    y"
    )


def test_a_gguf_file_of_gemma_carries_its_notice(make_folder, weights, tmp_path):
    folder = make_folder({"model.safetensors": weights}, name="codegemma-2b")
    convert_to_gguf(folder, tmp_path / "a.gguf", dtype="float16")
    notice = open_checkpoint(tmp_path / "a.gguf").notices["NOTICE"]
    assert notice.startswith(NOTICE)
    assert "Modified: codegemma-2b was written anew as GGUF" in notice


def test_a_gguf_file_that_fails_leaves_nothing(make_folder, weights, tmp_path):
    weights["model.norm.weight"] = np.full(32, np.nan, weights["model.norm.weight"].dtype)
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        convert_to_gguf(folder, tmp_path / "out" / "a.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_vocabulary_without_scores_gives_no_gguf_file(hf_folder, tmp_path):
    (hf_folder / "tokenizer.model").unlink()
    shutil.copyfile(GOLDEN_JSON, hf_folder / "tokenizer.json")
    with pytest.raises(
        CheckpointError, match=r"needs the SentencePiece vocabulary tokenizer\.model"
    ):
        convert_to_gguf(hf_folder, tmp_path / "a.gguf")
