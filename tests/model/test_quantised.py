# SPDX-License-Identifier: Apache-2.0
import json
import time

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from codegemma.errors import CheckpointError, ConfigError
from codegemma.kernels import native
from codegemma.kernels.formats import dequantise
from codegemma.kernels.weights import ChannelWeight, QuantisedWeight
from codegemma.model import quantised
from codegemma.model.cache import init_cache
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.model.convert import gguf as gguf_layout
from codegemma.model.export import convert_checkpoint, convert_to_gguf
from codegemma.model.hub import NANO_FOLDER
from codegemma.model.manifest import write_manifest
from codegemma.model.quantise import quantise_checkpoint
from codegemma.model.stored import open_checkpoint
from codegemma.model.tensorfile import TensorFile
from codegemma.model.transformer import forward_cached, unembed

Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
FORMATS = pytest.mark.parametrize("name", ["int8", "int4"])


@pytest.fixture
def folder(hf_folder, tmp_path, name):
    quantise_checkpoint(hf_folder, tmp_path / name, weights=name)
    return tmp_path / name


@pytest.fixture
def kernels():
    if native.choose_path() is None:
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")


def tensors_of(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


def rewrite(folder, tensors):
    """Put other tensors into a folder, its manifest made anew."""
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    write_manifest(folder, known={})


@FORMATS
def test_it_loads_in_place_stacked_for_the_kernels(kernels, folder, name, config):
    params = load_checkpoint(folder).params
    q = params["layers"]["q"]
    assert isinstance(q, QuantisedWeight)
    assert (q.q.shape[:3], q.scale.shape, q.shape) == ((2, 4, 1), (2, 4, 1, 16), (32, 4, 16))
    assert (q.q[1].reshape(4, -1) == tensors_of(folder)[f"{Q_PROJ}.q"]).all()
    assert params["embedding"].shape == (32, config.vocab_size)
    assert params["layers"]["attn_norm"].dtype == np.float32


@pytest.mark.slow
@FORMATS
@pytest.mark.parametrize("kernel", ["native", "none", "accelerator"])
def test_a_quantised_model_predicts_what_its_weights_in_float32_do(
    kernel, folder, name, config, monkeypatch, tmp_path
):
    if kernel == "none":
        monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    elif (
        kernel == "accelerator"
    ):  # its path, on a CPU: weights in channels, attention by the facade
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elif native.choose_path() is None:
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")
    convert_checkpoint(folder, tmp_path / "wide", layout="native")
    tokens = jnp.asarray([[2, 5, 900, 41, 300]])

    def logits(path):
        params = load_checkpoint(path).params
        kind = QuantisedWeight if kernel == "native" else ChannelWeight
        assert isinstance(params["embedding"], kind) == (path == folder)
        cache = init_cache(config, batch=1, length=16, dtype=jnp.float32)
        found = []
        for piece in (tokens[:, :4], tokens[:, 4:]):
            hidden, cache = forward_cached(
                params, piece, cache, config=config, num_tokens=jnp.asarray([piece.shape[1]])
            )
            found.append(unembed(params, hidden))
        return np.concatenate(found, axis=1)

    exact = logits(tmp_path / "wide")
    found = logits(folder)
    # Activations rounded to int8: a few percent of the logits' spread after two layers. Weights in
    # channels are one rounding more.
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.05 * exact.std()


@FORMATS
def test_a_broken_folder_is_refused_by_the_name_of_the_tensor(folder, name):
    sound = tensors_of(folder)
    scale, q = f"{Q_PROJ}.scale", f"{Q_PROJ}.q"
    breaches = {
        f"the tensor {scale} is missing": {scale: None},
        f"the tensor {Q_PROJ} is none of this model's": {Q_PROJ: np.zeros((64, 32), np.float32)},
        f"expected the tensor {q} of shape": {q: sound[q][:3]},
        f"expected the tensor {q} as": {q: sound[q].astype(np.int16)},
        f"expected finite values, found NaN or Inf in the tensor {scale}": {
            scale: np.full_like(sound[scale], np.nan)
        },
    }
    if name == "int8":
        message = f"expected values from -127 to 127 in the tensor {q}, found -128"
        breaches[message] = {q: np.full_like(sound[q], -128)}
    for message, change in breaches.items():
        changed = {key: value for key, value in (sound | change).items() if value is not None}
        rewrite(folder, changed)
        with pytest.raises(CheckpointError) as refusal:
            load_checkpoint(folder)
        assert message in str(refusal.value)


@FORMATS
def test_a_folder_of_floats_that_calls_itself_quantised_is_refused(hf_folder, tmp_path, name):
    convert_checkpoint(hf_folder, tmp_path / "out", layout="native")
    raw = json.loads((tmp_path / "out" / "codegemma.json").read_text())
    (tmp_path / "out" / "codegemma.json").write_text(json.dumps(raw | {"weights": name}))
    write_manifest(tmp_path / "out", known={})
    with pytest.raises(CheckpointError, match=r"weight\.q is missing"):
        open_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("name", ["int8"])
def test_what_needs_more_memory_than_there_is_is_refused_unread(folder, name, monkeypatch):
    monkeypatch.setattr(quantised, "available_bytes", lambda: 1000)
    with pytest.raises(
        CheckpointError, match=r"as int8 need 0\.07 GB of memory, 0\.00 GB are free"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["int8"])
def test_quantised_weights_are_not_saved_again(folder, name, config, tmp_path):
    loaded = load_checkpoint(folder)
    with pytest.raises(ConfigError, match="quantised weights are not saved"):
        save_checkpoint(
            tmp_path / "again",
            config=config,
            params=loaded.params,
            tokenizer_file=loaded.tokenizer_file,
            metadata=loaded.metadata,
        )


@pytest.mark.parametrize("name", ["int8"])
def test_layers_of_channels_lie_apart(folder, name, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    layers = load_checkpoint(folder).params["layers"]
    assert isinstance(layers, tuple)
    assert layers[1]["down"].q.shape == (64, 32)
    assert len(jax.tree.leaves(layers[0])) == 16


@pytest.mark.parametrize("name", ["int4"])
def test_what_is_stored_for_the_kernels_is_read_without_a_copy_between(
    kernels, folder, name, monkeypatch
):
    read = TensorFile.blocks
    given = []

    def blocks(self, tensor, **kwargs):
        given.append((tensor, kwargs.get("out")))
        return read(self, tensor, **kwargs)

    monkeypatch.setattr(TensorFile, "blocks", blocks)
    params = load_checkpoint(folder).params
    into = {tensor: out for tensor, out in given if out is not None}
    assert len(into) == 2 * (1 + 2 * 7)  # values and scales of every matrix
    assert np.shares_memory(into[f"{Q_PROJ}.q"], np.asarray(params["layers"]["q"].q))
    assert np.shares_memory(into[f"{Q_PROJ}.scale"], np.asarray(params["layers"]["q"].scale))


@pytest.mark.parametrize("name", ["int8"])
def test_an_interrupt_ends_with_the_tensors_at_hand(tmp_path, name, monkeypatch):
    quantise_checkpoint(NANO_FOLDER, tmp_path / "nano", weights=name)
    monkeypatch.setattr(quantised.os, "cpu_count", lambda: 1)
    told = []

    def progress(done, total):
        told.append((done, total))
        if done == 2:
            raise KeyboardInterrupt
        time.sleep(0.2 if done > 2 else 0)  # the loader hears of the interrupt meanwhile

    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(tmp_path / "nano", progress=progress)
    assert told in ([(1, 47), (2, 47)], [(1, 47), (2, 47), (3, 47)])


def gguf_values(path):
    """Every tensor of a GGUF file as the gguf package decodes it."""
    reader = gguf.GGUFReader(path)
    return {
        tensor.name: gguf.dequantize(np.asarray(tensor.data), tensor.tensor_type)
        for tensor in reader.tensors
    }


@FORMATS
def test_a_gguf_file_is_taken_as_it_is_stored(kernels, hf_folder, tmp_path, name):
    path = tmp_path / "model.gguf"
    convert_to_gguf(hf_folder, path, quantize=name)
    found = load_checkpoint(path)
    assert found.metadata.weights == name
    values = gguf_values(path)
    for leaf, theirs in (("q", "attn_q"), ("gate", "ffn_gate"), ("down", "ffn_down")):
        weight = found.params["layers"][leaf]
        assert weight.bits == int(name[3:])
        for layer in range(2):
            ours = dequantise(np.asarray(weight.q[layer]), np.asarray(weight.scale[layer]))
            np.testing.assert_array_equal(ours, values[f"blk.{layer}.{theirs}.weight"])
    embedding = found.params["embedding"]
    ours = dequantise(np.asarray(embedding.q), np.asarray(embedding.scale))
    np.testing.assert_array_equal(ours, values["token_embd.weight"])


@FORMATS
def test_a_gguf_file_gives_floats_to_who_asks_and_where_nothing_takes_it(
    hf_folder, tmp_path, name, monkeypatch
):
    path = tmp_path / "model.gguf"
    convert_to_gguf(hf_folder, path, quantize=name)
    assert load_checkpoint(path, dtype="float32").params["embedding"].dtype == np.float32
    monkeypatch.setenv(native.SETTING, "none")
    assert load_checkpoint(path).metadata.weights is None


def test_an_embedding_of_another_type_is_quantised_and_the_rest_is_not(
    kernels, hf_folder, tmp_path, monkeypatch
):
    plan = gguf_layout.plan_tensors

    def with_plain_embedding(config, *, kind):
        planned = plan(config, kind=kind)
        return {
            key: (shape, "F16" if key == "model.embed_tokens.weight" else found)
            for key, (shape, found) in planned.items()
        }

    monkeypatch.setattr(gguf_layout, "plan_tensors", with_plain_embedding)
    path = tmp_path / "model.gguf"
    convert_to_gguf(hf_folder, path, quantize="int4")
    found = load_checkpoint(path).params
    assert (found["embedding"].bits, found["layers"]["q"].bits) == (8, 4)
    ours = dequantise(np.asarray(found["embedding"].q), np.asarray(found["embedding"].scale))
    theirs = gguf_values(path)["token_embd.weight"]
    assert np.abs(ours - theirs).max() <= np.abs(theirs).max() / 254 * 1.01


def test_a_gguf_file_of_mixed_types_becomes_floats_and_says_so(
    hf_folder, tmp_path, monkeypatch, caplog
):
    plan = gguf_layout.plan_tensors

    def mixed(config, *, kind):
        planned = plan(config, kind=kind)
        return planned | {Q_PROJ: (planned[Q_PROJ][0], "F16")}

    monkeypatch.setattr(gguf_layout, "plan_tensors", mixed)
    path = tmp_path / "model.gguf"
    convert_to_gguf(hf_folder, path, quantize="int8")
    caplog.clear()
    found = load_checkpoint(path)
    assert found.metadata.weights is None
    assert found.params["embedding"].dtype == np.float32  # which F16 becomes
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its matrices (Q8_0) were decoded to float32, which takes more memory and time; "
        f"`codegemma convert {path} DST --quantize int8` makes a model of int8"
    ]
    caplog.clear()
    load_checkpoint(path, dtype="bfloat16")  # as asked, which is no surprise
    convert_to_gguf(hf_folder, tmp_path / "floats.gguf")
    load_checkpoint(tmp_path / "floats.gguf")
    assert caplog.records == []
