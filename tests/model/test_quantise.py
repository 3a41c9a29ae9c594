# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from codegemma.kernels.formats import dequantise
from codegemma.model.checkpoint import load_checkpoint
from codegemma.model.export import convert_checkpoint
from codegemma.model.quantise import quantise_checkpoint
from codegemma.model.stored import open_checkpoint

Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
FORMATS = pytest.mark.parametrize("name", ["int8", "int4"])

PEAK = """
import sys, threading, time
from pathlib import Path
from codegemma.model.export import convert_to_gguf
from codegemma.model.quantise import quantise_checkpoint
source, target, name = sys.argv[1:]
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
start, peak = anonymous(), 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
if target.endswith(".gguf"):
    import gguf
    start = anonymous()
    convert_to_gguf(source, target, quantize=name)
else:
    quantise_checkpoint(source, target, weights=name)
print(peak - start)
"""


@pytest.fixture
def folder(hf_folder, tmp_path, name):
    quantise_checkpoint(hf_folder, tmp_path / name, weights=name)
    return tmp_path / name


def tensors_of(folder):
    return safetensors.numpy.load_file(folder / "model.safetensors")


@FORMATS
def test_a_quantised_folder_holds_values_and_scales_by_the_names_of_the_weights(
    folder, weights, name
):
    tensors = tensors_of(folder)
    q, scale = tensors[f"{Q_PROJ}.q"], tensors[f"{Q_PROJ}.scale"]
    width = 512 if name == "int8" else 256
    assert (q.shape, q.dtype) == ((4, width), np.int8 if name == "int8" else np.uint8)
    assert (scale.shape, scale.dtype) == ((4, 16), np.float16)
    matrix = weights[Q_PROJ].astype(np.float32)
    again = dequantise(q.reshape(4, 1, -1), scale.reshape(4, 1, 16))
    steps = np.abs(matrix).max() / (127 if name == "int8" else 7)
    assert np.abs(again - matrix).max() <= 1.01 * steps
    assert tensors["model.embed_tokens.weight.q"].dtype == np.int8
    norm = "model.norm.weight"
    assert (tensors[norm] == weights[norm].astype(np.float32)).all()
    assert json.loads((folder / "codegemma.json").read_text())["weights"] == name
    assert open_checkpoint(folder).metadata.history[-1] == (
        f"Quantised the weights from bfloat16 to {name}."
    )
    # So that others refuse what they would take for a model without weights.
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "codegemma"}


@FORMATS
def test_int8_is_quantised_again_and_read_back_as_floats(folder, hf_folder, name, tmp_path):
    quantise_checkpoint(folder, tmp_path / "again", weights="int4")
    assert open_checkpoint(tmp_path / "again").metadata.weights == "int4"
    convert_checkpoint(folder, tmp_path / "back", layout="hf", dtype="bfloat16")
    assert load_checkpoint(tmp_path / "back").params["embedding"].dtype == jnp.bfloat16


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """One layer of the 2B and an eighth of its vocabulary: bfloat16 in both layouts, and Q8_0."""
    folder = tmp_path_factory.mktemp("large")
    script = (
        f"import sys; sys.path.insert(0, {BENCHMARKS!r})\n"
        "import dataclasses\n"
        "from pathlib import Path\n"
        "from random_checkpoint import write_random_checkpoint\n"
        "from codegemma.model.config import codegemma_2b\n"
        "from codegemma.model.export import convert_to_gguf\n"
        "config = dataclasses.replace(codegemma_2b(), num_layers=1, vocab_size=32_000)\n"
        f"folder = Path({str(folder)!r})\n"
        "write_random_checkpoint(folder / 'hf', config)\n"
        "convert_to_gguf(folder / 'hf', folder / 'bf16.gguf')\n"
        "convert_to_gguf(folder / 'hf', folder / 'q8_0.gguf', quantize='int8')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@FORMATS
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("hf", "out"),
        ("bf16.gguf", "out"),
        ("q8_0.gguf", "out"),
        ("hf", "out.gguf"),
        ("bf16.gguf", "out.gguf"),
    ],
)
def test_quantising_takes_megabytes_whatever_the_size(large, source, target, name, tmp_path):
    """In a process of its own, which is looked at every 5 ms: what is not backed by a file."""
    command = [sys.executable, "-c", PEAK, large / source, tmp_path / target, name]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    files = (tmp_path / target).iterdir() if target == "out" else [tmp_path / target]
    out = sum(path.stat().st_size for path in files)
    # The goal is 1.25 times the output and one tensor; it is the blocks at hand.
    assert out > 90_000_000
    assert int(ran.stdout) < 64_000_000 < 1.25 * out
