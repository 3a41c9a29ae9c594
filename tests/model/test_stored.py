# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model import stored
from codegemma.model.convert import hf
from codegemma.model.metadata import Metadata
from codegemma.model.stored import convert_checkpoint, find_licences, open_checkpoint, parse_dtype

EMBEDDING = "model.embed_tokens.weight"
NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms\n"
)

CONVERTER = """
import sys, time
from codegemma.model.stored import convert_checkpoint
def stop(done, total):
    print("writing", flush=True)
    time.sleep(60)
convert_checkpoint(sys.argv[1], sys.argv[2], layout="native", progress=stop)
"""


def load_all(folder):
    """Every tensor of a folder, as the safetensors package reads it."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: t for file in files for name, t in safetensors.numpy.load_file(file).items()}


def test_a_folder_from_the_hub_is_opened(hf_folder, config):
    found = open_checkpoint(hf_folder)
    assert found.config == config
    assert found.metadata == Metadata(name="little")
    assert found.tokenizer.vocab_size == 1024
    assert found.fingerprint is None
    assert found.dtype == ml_dtypes.bfloat16


def test_a_folder_with_only_tokenizer_json_is_opened(hf_folder):
    (hf_folder / "tokenizer.model").unlink()
    golden = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.json"
    shutil.copyfile(golden, hf_folder / "tokenizer.json")
    assert open_checkpoint(hf_folder).tokenizer.path.name == "tokenizer.json"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bfloat16", ml_dtypes.bfloat16),
        (jnp.bfloat16, ml_dtypes.bfloat16),
        (np.float32, np.float32),
        ("float32", np.float32),
    ],
)
def test_a_dtype_is_known_by_any_of_its_names(given, expected):
    assert parse_dtype(given) == np.dtype(expected)


@pytest.mark.parametrize("given", ["float16", "int8", "nonsense", np.float64, object()])
def test_another_dtype_is_refused(given):
    with pytest.raises(ConfigError, match="expected the dtype bfloat16 or float32, not"):
        parse_dtype(given)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nothing: expected a model folder"):
        open_checkpoint(tmp_path / "nothing")


def test_a_folder_without_configuration_or_tokenizer_is_refused(hf_folder):
    (hf_folder / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        open_checkpoint(hf_folder)
    (hf_folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected the file config\.json, which is missing"):
        open_checkpoint(hf_folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_asks_to_run_code_is_refused(hf_folder, name):
    raw = json.loads((hf_folder / "config.json").read_text())
    (hf_folder / name).write_text(json.dumps(raw | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(CheckpointError, match=rf"{name} asks to run code"):
        open_checkpoint(hf_folder)


def test_a_tokenizer_that_is_a_link_out_of_the_folder_is_refused(hf_folder, tmp_path):
    (hf_folder / "tokenizer.model").rename(tmp_path / "elsewhere")
    (hf_folder / "tokenizer.model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is a link out of its folder"):
        open_checkpoint(hf_folder)


def test_a_vocabulary_unlike_the_tokenizers_is_refused(make_folder, weights):
    folder = make_folder({"model.safetensors": weights}, changes={"vocab_size": 1025})
    with pytest.raises(CheckpointError, match=r"vocabulary of 1025, tokenizer\.model has 1024"):
        open_checkpoint(folder)


def test_an_embedding_unlike_the_tokenizer_is_refused(make_folder, weights):
    weights[EMBEDDING] = weights[EMBEDDING][:1000].copy()
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=rf"tensor {EMBEDDING} has 1000 rows, .* has 1024"):
        open_checkpoint(folder)


@pytest.mark.parametrize("vocab_size", [1024, 1152])
def test_rows_of_padding_are_dropped_and_recorded(make_folder, weights, vocab_size):
    plain = weights[EMBEDDING]
    padding = np.full((128, 32), 7, plain.dtype)
    weights[EMBEDDING] = np.concatenate([plain, padding])
    folder = make_folder({"model.safetensors": weights}, changes={"vocab_size": vocab_size})
    found = open_checkpoint(folder)
    assert found.config.vocab_size == 1024
    assert found.metadata.history == ("Dropped 128 rows of padding from the embedding table.",)
    embedding = next(hf.stored_tensors(found.config))
    rows = np.concatenate([b.copy() for b in found.blocks(embedding, dtype=plain.dtype)])
    assert rows.tobytes() == plain.tobytes()


def test_a_model_of_mixed_dtypes_counts_as_the_wider(make_folder, weights):
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.float16)
    folder = make_folder({"model.safetensors": weights})
    assert open_checkpoint(folder).dtype == np.float32


def test_a_value_too_large_for_bfloat16_is_refused(make_folder, weights):
    weights["model.norm.weight"] = np.full(32, np.finfo(np.float32).max, np.float32)
    opened = open_checkpoint(make_folder({"model.safetensors": weights}))
    *_, norm = hf.stored_tensors(opened.config)
    assert len(list(opened.blocks(norm, dtype=np.dtype(np.float32)))) == 1
    with pytest.raises(
        CheckpointError, match=r"model\.norm\.weight holds a value too large for bf"
    ):
        list(opened.blocks(norm, dtype=np.dtype(ml_dtypes.bfloat16)))


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
    for name in ("LICENSE", "USE_POLICY.md", "NOTICE.txt"):
        (hf_folder / name).write_text(f"text of {name}\n")
    (hf_folder / "evil.py").write_text("print()")
    (hf_folder / "chat_template.jinja").write_text("template")
    convert_checkpoint(hf_folder, tmp_path / "out", layout="hf")
    for name in ("LICENSE", "USE_POLICY.md", "NOTICE.txt"):
        assert (tmp_path / "out" / name).read_text() == f"text of {name}\n"
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "template"
    assert not (tmp_path / "out" / "evil.py").exists()
    assert not (tmp_path / "out" / "NOTICE").exists()
    assert [path.name for path in find_licences(hf_folder)] == [
        "LICENSE",
        "NOTICE.txt",
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


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_changed_file_of_a_native_folder_is_refused(hf_folder, tmp_path, name):
    convert_checkpoint(hf_folder, tmp_path / "native", layout="native")
    opened = open_checkpoint(tmp_path / "native")
    manifest = (tmp_path / "native" / "manifest.json").read_bytes()
    assert opened.fingerprint == hashlib.sha256(manifest).hexdigest()
    data = bytearray((tmp_path / "native" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "native" / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name}: expected sha256"):
        open_checkpoint(tmp_path / "native")


def test_weights_added_to_a_native_folder_are_refused(hf_folder, tmp_path):
    native = tmp_path / "native"
    convert_checkpoint(hf_folder, native, layout="native", max_shard_bytes=50_000)
    manifest = json.loads((native / "manifest.json").read_text())
    del manifest["files"]["model-00002-of-00002.safetensors"]
    (native / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        CheckpointError, match=r"00002-of-00002\.safetensors is not in the folder's"
    ):
        open_checkpoint(native)


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


def test_a_disk_too_small_is_refused_with_both_numbers(hf_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000))
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
