# SPDX-License-Identifier: Apache-2.0
"""Model folders as other tools write them, small enough to read by eye."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from codegemma.model.config import ModelConfig

GOLDEN_TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer"
VOCAB_SIZE = 1024

# What transformers 4.38 wrote for codegemma-2b, at the size of a test.
HF_CONFIG = {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 16,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "model_type": "gemma",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.38.2",
    "use_cache": True,
    "vocab_size": VOCAB_SIZE,
}

LAYER_SHAPES = {
    "input_layernorm": (32,),
    "self_attn.q_proj": (64, 32),
    "self_attn.k_proj": (16, 32),
    "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 64),
    "post_attention_layernorm": (32,),
    "mlp.gate_proj": (64, 32),
    "mlp.up_proj": (64, 32),
    "mlp.down_proj": (32, 64),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, in place of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CODEGEMMA_CACHE", str(folder))
    return folder


@pytest.fixture
def config() -> ModelConfig:
    """The shape of `HF_CONFIG`."""
    return ModelConfig(
        name="little",
        vocab_size=VOCAB_SIZE,
        width=32,
        ffw_dim=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=1,
        head_dim=16,
        context_length=256,
    )


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    """Random bfloat16 weights by the names of transformers."""
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (VOCAB_SIZE, 32), "model.norm.weight": (32,)}
    for layer in (0, 1):
        for name, shape in LAYER_SHAPES.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return {
        name: rng.standard_normal(shape, np.float32).astype(ml_dtypes.bfloat16)
        for name, shape in shapes.items()
    }


MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes a model folder with the safetensors package: `shards` maps file names to weights."""

    def make(
        shards: dict[str, dict[str, np.ndarray]],
        *,
        name: str = "little",
        changes: dict[str, object] | None = None,
        index: dict[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for shard, tensors in shards.items():
            safetensors.numpy.save_file(tensors, folder / shard, metadata={"format": "pt"})
        if index is None and len(shards) > 1:
            index = {name: shard for shard, tensors in shards.items() for name in tensors}
        if index is not None:
            text = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
            (folder / "model.safetensors.index.json").write_text(text)
        raw = {key: value for key, value in (HF_CONFIG | (changes or {})).items() if value != "-"}
        (folder / "config.json").write_text(json.dumps(raw))
        shutil.copyfile(GOLDEN_TOKENIZER / "tokenizer.model", folder / "tokenizer.model")
        return folder

    return make


@pytest.fixture
def hf_folder(make_folder: MakeFolder, weights: dict[str, np.ndarray]) -> Path:
    """A whole and sound folder in one file."""
    return make_folder({"model.safetensors": weights})


def load_fake_hub() -> ModuleType:
    path = Path(__file__).parents[1] / "fake_hub.py"
    spec = importlib.util.spec_from_file_location("fake_hub", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(hf_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub that has codegemma-2b, at the size of a test, among files nobody should fetch."""
    from huggingface_hub import constants

    files = {path.name: path.read_bytes() for path in sorted(hf_folder.iterdir())}
    for name in ("pytorch_model.bin", "model.gguf", "evil.py", ".gitattributes", "README.md"):
        files[name] = b"---\nlicense: gemma\n---\n"
    hub = load_fake_hub().FakeHub(files)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    hub.close()
