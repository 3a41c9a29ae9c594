# SPDX-License-Identifier: Apache-2.0
import json

import ml_dtypes
import numpy as np
import pytest

from codegemma.errors import CheckpointError
from codegemma.model.config import codegemma_7b
from codegemma.model.convert import hf

EMBEDDING = "model.embed_tokens.weight"
Q0 = "model.layers.0.self_attn.q_proj.weight"


def match(folder, config, **changes):
    weights = hf.find_weights(folder)
    hf.match_weights(weights, config=config, **({"num_padding_rows": 0, "is_tied": True} | changes))


def halves(weights):
    names = sorted(weights)
    first = {name: weights[name] for name in names[:10]}
    return first, {name: weights[name] for name in names[10:]}


def test_the_tensors_of_the_7b_model_have_the_published_shapes():
    shapes = {tensor.name: tensor.shape for tensor in hf.stored_tensors(codegemma_7b())}
    assert len(shapes) == 2 + 28 * 9
    assert shapes[EMBEDDING] == (256_000, 3072)
    assert shapes["model.layers.27.self_attn.q_proj.weight"] == (4096, 3072)
    assert shapes["model.layers.27.self_attn.o_proj.weight"] == (3072, 4096)
    assert shapes["model.layers.27.mlp.down_proj.weight"] == (3072, 24_576)
    assert shapes["model.norm.weight"] == (3072,)


def test_weights_in_one_file_and_in_shards_are_found(make_folder, weights, config):
    one = make_folder({"model.safetensors": weights}, name="one")
    first, second = halves(weights)
    two = make_folder({"a.safetensors": first, "b.safetensors": second}, name="two")
    for folder in (one, two):
        found = hf.find_weights(folder)
        assert set(found) == set(weights)
        match(folder, config)
    assert hf.find_weights(two)[min(weights)].path.name == "a.safetensors"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.PTH", "a.ckpt", "a.pickle"])
def test_a_folder_of_pickles_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match=f"{name} is a pickle, .*and is refused"):
        hf.find_weights(tmp_path)


def test_a_pickle_beside_safetensors_is_not_looked_at(hf_folder, config):
    (hf_folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    match(hf_folder, config)


def test_a_pickle_called_safetensors_is_refused(hf_folder):
    (hf_folder / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(100))
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*"):
        hf.find_weights(hf_folder)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no weights: expected model\.safetensors or"):
        hf.find_weights(tmp_path)


def test_two_sets_of_weights_are_refused(make_folder, weights):
    index = dict.fromkeys(weights, "model.safetensors")
    folder = make_folder({"model.safetensors": weights}, index=index)
    with pytest.raises(CheckpointError, match="two sets of weights"):
        hf.find_weights(folder)


@pytest.mark.parametrize(
    "shard",
    [
        "../../etc/x.safetensors",
        "/etc/x.safetensors",
        "C:\\x.safetensors",
        "a\\..\\..\\b.safetensors",
    ],
)
def test_an_index_that_leaves_the_folder_is_refused(make_folder, weights, shard):
    folder = make_folder({"a.safetensors": weights}, index={EMBEDDING: shard})
    with pytest.raises(CheckpointError, match=rf"index\.json, tensor {EMBEDDING}: .*leaves the"):
        hf.find_weights(folder)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(make_folder, weights, tmp_path):
    folder = make_folder({"a.safetensors": weights}, index={EMBEDDING: "a.safetensors"})
    (folder / "a.safetensors").rename(tmp_path / "elsewhere")
    (folder / "a.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        CheckpointError, match=rf"tensor {EMBEDDING}: .*is a link out of its folder"
    ):
        hf.find_weights(folder)


def test_an_index_that_names_a_pickle_is_refused(make_folder, weights):
    folder = make_folder({"a.safetensors": weights}, index={EMBEDDING: "pytorch_model.bin"})
    with pytest.raises(CheckpointError, match=r"in pytorch_model\.bin, no safetensors file"):
        hf.find_weights(folder)


def test_a_missing_shard_is_named(make_folder, weights):
    folder = make_folder({"a.safetensors": weights}, index={EMBEDDING: "b.safetensors"})
    with pytest.raises(CheckpointError, match=rf"tensor {EMBEDDING}: .*b\.safetensors, which is"):
        hf.find_weights(folder)


@pytest.mark.parametrize("index", [{"weight_map": []}, {"weight_map": {"x": 1}}, {}])
def test_an_index_without_a_map_is_refused(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"index\.json: expected a weight_map"):
        hf.find_weights(tmp_path)


def test_a_tensor_in_two_shards_is_refused(make_folder, weights):
    first, second = halves(weights)
    twice = {**second, min(weights): weights[min(weights)]}
    folder = make_folder({"a.safetensors": first, "b.safetensors": twice})
    with pytest.raises(CheckpointError, match=f"the tensor {min(weights)} stands in two files"):
        hf.find_weights(folder)


def test_a_tensor_the_index_does_not_name_is_refused(make_folder, weights):
    index = {name: "a.safetensors" for name in weights if name != Q0}
    folder = make_folder({"a.safetensors": weights}, index=index)
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: the tensor {Q0} is not in"):
        hf.find_weights(folder)


def test_a_tensor_its_shard_does_not_hold_is_named(make_folder, weights):
    first, second = halves(weights)
    index = dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "a.safetensors")
    index[max(second)] = "b.safetensors"
    folder = make_folder({"a.safetensors": first, "b.safetensors": second}, index=index)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: the tensor .* is missing, though"):
        hf.find_weights(folder)


def test_a_missing_tensor_is_named(make_folder, weights, config):
    del weights[Q0]
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=f"little: the tensor {Q0} is missing"):
        match(folder, config)


def test_a_missing_layer_is_named(make_folder, weights, config):
    weights = {name: values for name, values in weights.items() if ".layers.1." not in name}
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.input_layernorm\.weight is miss"):
        match(folder, config)


def test_surplus_tensors_are_named(make_folder, weights, config):
    weights["model.layers.2.x.weight"] = weights["model.layers.2.y.weight"] = np.ones(1, np.float32)
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(
        CheckpointError,
        match=r"model\.safetensors: the tensor model\.layers\.2\.x\.weight is none .*1 more",
    ):
        match(folder, config)


def test_a_misshapen_tensor_is_named(make_folder, weights, config):
    weights[Q0] = np.ascontiguousarray(weights[Q0].T)
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(
        CheckpointError, match=rf"tensor {Q0} of shape \[64, 32\], found \[32, 64\]"
    ):
        match(folder, config)


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.uint8, ml_dtypes.float8_e4m3fn])
def test_a_tensor_of_another_dtype_is_named(make_folder, weights, config, dtype):
    weights[Q0] = weights[Q0].astype(dtype)
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(CheckpointError, match=rf"tensor {Q0} as BF16, F32, F16, found "):
        match(folder, config)


def test_an_output_table_is_accepted_if_it_is_the_embedding(make_folder, weights, config):
    weights["lm_head.weight"] = weights[EMBEDDING].copy()
    match(make_folder({"model.safetensors": weights}, name="same"), config, is_tied=False)
    weights["lm_head.weight"][1023, 31] += 1
    folder = make_folder({"model.safetensors": weights}, name="other")
    with pytest.raises(CheckpointError, match=r"the tensor lm_head\.weight differs from model\."):
        match(folder, config)
    weights["lm_head.weight"] = weights[EMBEDDING][:5].copy()
    folder = make_folder({"model.safetensors": weights}, name="short")
    with pytest.raises(CheckpointError, match=r"the tensor lm_head\.weight differs from model\."):
        match(folder, config)


def test_an_output_table_of_its_own_must_be_there(hf_folder, config):
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is missing, .*tie_word_embeddings"):
        match(hf_folder, config, is_tied=False)


def test_rows_of_padding_are_accepted_where_announced(make_folder, weights, config):
    weights[EMBEDDING] = np.concatenate([weights[EMBEDDING], weights[EMBEDDING][:128]])
    folder = make_folder({"model.safetensors": weights})
    match(folder, config, num_padding_rows=128)
    with pytest.raises(CheckpointError, match=r"of shape \[1024, 32\], found \[1152, 32\]"):
        match(folder, config)


def test_shards_are_filled_in_order_up_to_their_size():
    sizes = {"a": 4, "b": 5, "c": 2, "d": 30, "e": 1}
    assert hf.plan_shards(sizes, max_shard_bytes=10) == {
        "model-00001-of-00004.safetensors": ["a", "b"],
        "model-00002-of-00004.safetensors": ["c"],
        "model-00003-of-00004.safetensors": ["d"],
        "model-00004-of-00004.safetensors": ["e"],
    }
    assert hf.plan_shards(sizes, max_shard_bytes=42) == {"model.safetensors": list("abcde")}
