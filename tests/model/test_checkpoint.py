# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from codegemma.errors import CheckpointError, ConfigError
from codegemma.model import checkpoint as checkpoints
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.model.config import tiny
from codegemma.model.memory import aligned_empty
from codegemma.model.metadata import Metadata
from codegemma.model.params import param_specs

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"
BF16 = np.dtype(ml_dtypes.bfloat16)


def leaves(params):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
    }


def same(first, second):
    first, second = leaves(first), leaves(second)
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and first[key].tobytes() == second[key].tobytes()
        for key in first
    )


@pytest.fixture
def config():
    return tiny(vocab_size=1024, num_kv_heads=2)


@pytest.fixture
def params(config):
    """Random weights, the norms too: zeros would hide a norm in the wrong place."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda spec: jax.device_put(rng.standard_normal(spec.shape, np.float32)),
        param_specs(config),
    )


def save(folder, config, params, **changes):
    save_checkpoint(
        folder,
        config=config,
        params=params,
        tokenizer_file=TOKENIZER,
        metadata=Metadata(name="tiny", mode="spm"),
        **changes,
    )
    return folder


def test_every_weight_of_transformers_finds_its_place(hf_folder, weights):
    params = load_checkpoint(hf_folder).params
    layers = params["layers"]
    for layer in (0, 1):
        stored = {
            name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): values
            for name, values in weights.items()
            if f".layers.{layer}." in name
        }
        q, k, v, o = (stored[f"self_attn.{name}_proj"] for name in "qkvo")
        expected = {
            "attn_norm": stored["input_layernorm"],
            "ffw_norm": stored["post_attention_layernorm"],
            "q": q.reshape(4, 16, 32).transpose(2, 0, 1),
            "k": k.reshape(1, 16, 32).transpose(2, 0, 1),
            "v": v.reshape(1, 16, 32).transpose(2, 0, 1),
            "o": o.reshape(32, 4, 16).transpose(1, 2, 0),
            "gate": stored["mlp.gate_proj"].T,
            "up": stored["mlp.up_proj"].T,
            "down": stored["mlp.down_proj"].T,
        }
        assert set(expected) == set(layers)
        for name, values in expected.items():
            np.testing.assert_array_equal(np.asarray(layers[name][layer]), values, err_msg=name)
    np.testing.assert_array_equal(
        np.asarray(params["embedding"]), weights["model.embed_tokens.weight"]
    )
    np.testing.assert_array_equal(np.asarray(params["final_norm"]), weights["model.norm.weight"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_saved_comes_back_byte_for_byte(tmp_path, config, params, dtype):
    params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), params)
    folder = save(tmp_path / "model", config, params, max_shard_bytes=30_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    found = load_checkpoint(folder)
    assert same(found.params, params)
    assert found.config == config
    assert found.metadata == Metadata(name="tiny", mode="spm")
    assert found.tokenizer_file.read_bytes() == TOKENIZER.read_bytes()
    assert found.fingerprint is not None
    assert len(found.fingerprint) == 64


def test_the_tree_is_the_one_the_model_declares(tmp_path, config, params):
    found = load_checkpoint(save(tmp_path / "model", config, params)).params
    specs = param_specs(config)
    assert jax.tree.structure(found) == jax.tree.structure(specs)
    assert jax.tree.all(jax.tree.map(lambda leaf, spec: leaf.shape == spec.shape, found, specs))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))


def test_a_model_saved_twice_gives_the_same_bytes(tmp_path, config, params):
    first = save(tmp_path / "a" / "tiny", config, params)
    second = save(tmp_path / "b" / "tiny", config, params)
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {
        p.name: p.read_bytes() for p in second.iterdir()
    }


def test_weights_are_rounded_once_whether_saved_or_loaded_as_bfloat16(tmp_path, config, params):
    narrow = save(tmp_path / "narrow", config, params, dtype="bfloat16")
    wide = save(tmp_path / "wide", config, params)
    assert same(load_checkpoint(narrow).params, load_checkpoint(wide, dtype=jnp.bfloat16).params)
    assert load_checkpoint(narrow, dtype="float32").params["embedding"].dtype == jnp.float32


def test_float16_becomes_float32_unless_told_otherwise(make_folder, weights):
    halves = {name: values.astype(np.float16) for name, values in weights.items()}
    folder = make_folder({"model.safetensors": halves})
    found = load_checkpoint(folder).params["final_norm"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(found), halves["model.norm.weight"].astype(np.float32))
    assert load_checkpoint(folder, dtype="bfloat16").params["final_norm"].dtype == BF16


def test_an_unknown_dtype_is_refused(hf_folder):
    with pytest.raises(ConfigError, match="expected the dtype bfloat16 or float32, not 'int4'"):
        load_checkpoint(hf_folder, dtype="int4")


def test_licences_given_lie_in_the_folder(tmp_path, config, params):
    (tmp_path / "LICENSE").write_text("terms")
    folder = save(tmp_path / "model", config, params, licence_files=[tmp_path / "LICENSE"])
    assert (folder / "LICENSE").read_text() == "terms"
    assert "LICENSE" in json.loads((folder / "manifest.json").read_text())["files"]


def test_an_existing_model_is_replaced_only_on_demand(tmp_path, config, params):
    folder = save(tmp_path / "model", config, params)
    doubled = jax.tree.map(lambda leaf: np.asarray(leaf) * 2, params)
    with pytest.raises(CheckpointError, match="model exists already"):
        save(folder, config, doubled)
    assert same(load_checkpoint(folder).params, params)
    save(folder, config, doubled, replace=True)
    assert same(load_checkpoint(folder).params, doubled)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_neither_saved_nor_loaded(
    tmp_path, config, params, make_folder, weights, bad
):
    params["layers"]["up"] = np.array(params["layers"]["up"])
    params["layers"]["up"][1, 3, 5] = bad
    with pytest.raises(
        CheckpointError, match=r"tensor model\.layers\.1\.mlp\.up_proj\.weight holds"
    ):
        save(tmp_path / "model", config, params)
    assert list(tmp_path.iterdir()) == []
    weights["model.layers.1.mlp.up_proj.weight"][5, 3] = bad
    folder = make_folder({"model.safetensors": weights})
    with pytest.raises(
        CheckpointError,
        match=r"model\.safetensors: .* tensor model\.layers\.1\.mlp\.up_proj\.weight",
    ):
        load_checkpoint(folder)


def test_weights_of_another_shape_are_not_saved(tmp_path, config, params):
    params["layers"]["k"] = np.asarray(params["layers"]["k"])[:, :, :1]
    with pytest.raises(
        CheckpointError, match=r"layers\.k of shape \(2, 32, 2, 16\), found \(2, 32"
    ):
        save(tmp_path / "model", config, params)


def test_a_model_larger_than_memory_is_refused_before_it_is_read(hf_folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "available_bytes", lambda: 30_000_000)
    with pytest.raises(
        CheckpointError, match=r"as bfloat16 need 0\.07 GB of memory, 0\.03 GB are free"
    ):
        load_checkpoint(hf_folder)
    monkeypatch.setattr(checkpoints, "available_bytes", lambda: None)
    load_checkpoint(hf_folder)


def test_a_model_larger_than_the_accelerators_memory_is_refused(hf_folder, monkeypatch):
    device = SimpleNamespace(
        platform="gpu", memory_stats=lambda: {"bytes_limit": 150_000, "bytes_in_use": 50_000}
    )
    monkeypatch.setattr(checkpoints.jax, "devices", lambda: [device])
    with pytest.raises(
        CheckpointError, match=r"as bfloat16 need 0\.00 GB of memory on the gpu, 0\.00 GB are free"
    ):
        load_checkpoint(hf_folder)


def test_a_file_changed_while_the_model_loads_is_refused(hf_folder):
    def change(done: int, total: int) -> None:
        os.utime(hf_folder / "model.safetensors", ns=(done, done))

    with pytest.raises(CheckpointError, match=r"model\.safetensors was changed while it was read"):
        load_checkpoint(hf_folder, progress=change)


def test_a_file_replaced_while_the_model_loads_is_refused(hf_folder):
    data = (hf_folder / "model.safetensors").read_bytes()

    def swap(done: int, total: int) -> None:
        if done == total:
            (hf_folder / "new").write_bytes(data)
            (hf_folder / "new").replace(hf_folder / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model\.safetensors was changed while it was read"):
        load_checkpoint(hf_folder, progress=swap)


HOSTILE_TEMPLATE = (
    "{{ cycler.__init__.__globals__.os.system('touch executed') }}"
    "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    "{% for i in range(10 ** 18) %}x{% endfor %}"
)

CHAT = """
import sys
from pathlib import Path
from codegemma.completion import Turn
from codegemma.model.checkpoint import load_checkpoint
from codegemma.text.chat import render_chat
checkpoint = load_checkpoint(Path(sys.argv[1]))
assert checkpoint.metadata.is_instruction
print(render_chat(checkpoint.tokenizer, [Turn(role="user", text="hi")]))
"""


def test_a_chat_template_of_the_folder_is_never_executed(make_folder, weights, tmp_path):
    folder = make_folder({"model.safetensors": weights}, name="little-it")
    templates = [{"name": "default", "template": HOSTILE_TEMPLATE}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    (folder / "chat_template.jinja").write_text(HOSTILE_TEMPLATE)
    # Whoever renders a template imports jinja2, and finds this one.
    engine = tmp_path / "path" / "jinja2.py"
    engine.parent.mkdir()
    engine.write_text("open('executed', 'w').close()\nraise SystemExit('a template was executed')")
    path = os.pathsep.join([str(engine.parent), os.environ.get("PYTHONPATH", "")])
    place = tmp_path / "place"
    place.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", CHAT, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env=os.environ | {"PYTHONPATH": path},
        timeout=100,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert list(place.iterdir()) == []
    # <bos>, the user's turn, and the start of the model's: the template of chat.py.
    assert json.loads(run.stdout) == (
        [2, 106, 950, 673, 108, 714, 107, 108, 106, 952, 529, 945, 108]
    )


def test_progress_ends_at_the_size_of_the_weights(hf_folder):
    seen = []
    load_checkpoint(hf_folder, progress=lambda done, total: seen.append((done, total)))
    assert max(seen) == (110_912, 110_912)


def test_weights_on_a_cpu_are_used_where_they_were_read(config):
    array = aligned_empty((3, 1000), BF16)
    array[:] = 1
    held = jax.device_put(array, jax.devices("cpu")[0], may_alias=True)
    assert held.unsafe_buffer_pointer() == array.ctypes.data


MEASURE = """
import sys, threading, time
import jax
from codegemma.model.checkpoint import load_checkpoint
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
jax.devices()
start, peak, is_done = anonymous(), 0, threading.Event()
def watch():
    global peak
    while not is_done.wait(0.002):
        peak = max(peak, anonymous())
thread = threading.Thread(target=watch)
thread.start()
params = load_checkpoint(sys.argv[1]).params
is_done.set()
thread.join()
print((max(peak, anonymous()) - start) / sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
def test_loading_takes_at_most_1_3_times_the_memory_of_the_weights(make_folder):
    rng = np.random.default_rng(0)
    width, ffw, layers = 1024, 8192, 4
    shapes = {"model.embed_tokens.weight": (1024, width), "model.norm.weight": (width,)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (width,),
                "post_attention_layernorm": (width,),
                "self_attn.q_proj": (width, width),
                "self_attn.k_proj": (256, width),
                "self_attn.v_proj": (256, width),
                "self_attn.o_proj": (width, width),
                "mlp.gate_proj": (ffw, width),
                "mlp.up_proj": (ffw, width),
                "mlp.down_proj": (width, ffw),
            }.items()
        }
    weights = {name: rng.random(shape, np.float32).astype(BF16) for name, shape in shapes.items()}
    folder = make_folder(
        {"model.safetensors": weights},
        changes={
            "hidden_size": width,
            "intermediate_size": ffw,
            "num_hidden_layers": layers,
            "head_dim": 256,
        },
    )
    assert sum(values.nbytes for values in weights.values()) > 220_000_000
    del weights
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) <= 1.3


def test_the_safetensors_package_sees_what_was_saved(tmp_path, config, params):
    folder = save(tmp_path / "model", config, params)
    found = safetensors.numpy.load_file(folder / "model.safetensors")
    expected = np.asarray(params["layers"]["o"][1]).reshape(64, 32).T
    np.testing.assert_array_equal(found["model.layers.1.self_attn.o_proj.weight"], expected)
