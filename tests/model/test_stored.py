# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model.convert import hf
from codegemma.model.export import convert_checkpoint
from codegemma.model.metadata import Metadata
from codegemma.model.stored import open_checkpoint, parse_dtype

EMBEDDING = "model.embed_tokens.weight"


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


def test_a_native_folder_without_its_manifest_is_refused(hf_folder, tmp_path):
    convert_checkpoint(hf_folder, tmp_path / "native", layout="native")
    (tmp_path / "native" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected manifest\.json beside codegemma\.json"):
        open_checkpoint(tmp_path / "native")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: bytes(5000)])
def test_a_damaged_tokenizer_is_refused(hf_folder, damage):
    path = hf_folder / "tokenizer.model"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        open_checkpoint(hf_folder)
