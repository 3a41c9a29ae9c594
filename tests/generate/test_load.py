# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import codegemma
from codegemma.completion import Prompt, Sampling
from codegemma.errors import ConfigError
from codegemma.generate import load
from codegemma.generate.engine import Engine
from codegemma.generate.record import Record, write_record
from codegemma.generate.trimmed import Trimmed
from codegemma.kernels import native
from codegemma.model import config as configs
from codegemma.model.checkpoint import save_checkpoint
from codegemma.model.manifest import fingerprint
from codegemma.model.metadata import Metadata
from codegemma.model.quantise import quantise_checkpoint

TWICE = """
import json, sys
import jax.monitoring
counts = {"hits": 0, "misses": 0}
def count(event, **_):
    kind = event.removeprefix("/jax/compilation_cache/cache_")
    if kind in counts:
        counts[kind] += 1
jax.monitoring.register_event_listener(count)
import codegemma
model = codegemma.load(sys.argv[1])
text = model.generate("return self.", max_tokens=4).text
print(json.dumps({"text": text, **counts}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params, config, tokenizer):
    """The tiny model on disk, in bfloat16."""
    target = tmp_path_factory.mktemp("models") / "small"
    save_checkpoint(
        target,
        config=config,
        params=params,
        tokenizer_file=tokenizer.path,
        metadata=Metadata(name="small", mode="spm"),
        dtype="bfloat16",
    )
    return target


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, which jax is not told of."""
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "keep_compiled_programs", lambda: None)
    return tmp_path / "cache"


def test_a_folder_becomes_a_completer_that_trims(folder):
    completer = load.load_completer(folder)
    assert isinstance(completer, Trimmed)
    assert completer.info.name == str(folder)
    assert completer.info.context_length == 256
    assert completer.info.mode == "spm"
    assert completer.info.device == jax.devices()[0].platform
    assert completer.info.fingerprint == fingerprint(folder)
    assert completer.info.revision is None
    assert not completer.info.is_instruction


def test_scoring_gets_the_engine_itself_which_trims_nothing(folder):
    assert isinstance(load.load_engine(folder), Engine)


@pytest.mark.skipif(jax.devices()[0].platform != "cpu", reason="a choice for CPUs")
def test_a_small_model_runs_in_float32_on_a_cpu_and_as_asked_otherwise(folder, monkeypatch):
    assert load.load_engine(folder).info.dtype == "float32"
    asked = load.load_engine(folder, dtype="bfloat16")
    assert asked.info.dtype == "bfloat16"
    assert asked._weights.params["embedding"].dtype == "bfloat16"
    monkeypatch.setattr(load, "SMALL_MODEL_PARAMS", 1000)
    assert load.load_engine(folder).info.dtype == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_loaded_model_outlives_its_files(folder, tmp_path, dtype):
    """A mapped file that is cut short ends the process at the next look at its weights."""
    if dtype == "int8":
        quantise_checkpoint(folder, tmp_path / "model", weights="int8")
    else:
        shutil.copytree(folder, tmp_path / "model")
    engine = load.load_engine(tmp_path / "model", dtype=None if dtype == "int8" else dtype)
    before = engine.loglikelihood([("return self.", "name\n")])
    for path in (tmp_path / "model").iterdir():
        os.truncate(path, 0)
    assert engine.loglikelihood([("return self.", "name\n")]) == before
    shutil.rmtree(tmp_path / "model")
    prompt = Prompt(tokens=(2, *engine.tokenizer.encode("def ")))
    assert engine.complete([prompt], Sampling(max_tokens=4))[0][0].tokens


def test_guesses_are_charged_by_the_kernels_that_check_them(folder, tmp_path, monkeypatch):
    quantise_checkpoint(folder, tmp_path / "model", weights="int8")

    def cost(path, kernel):
        with monkeypatch.context() as patch:
            patch.setenv("CODEGEMMA_KERNEL", kernel)
            return load.load_engine(path, is_speculative=True)._recent.credit.cost(16)

    assert cost(tmp_path / "model", "none") == 1
    for path in set(native.paths()) & {"portable"}:
        assert cost(tmp_path / "model", path) == 15
        assert cost(folder, path) == 1


def test_a_machine_without_kernels_is_told_so_once(folder, monkeypatch, caplog):
    monkeypatch.setattr(native, "paths", lambda: ())
    told = "no native kernels: everything works, but long contexts are slower"
    for _ in range(2):
        load.load_engine(folder)
    (line,) = caplog.messages
    assert told in line


def test_who_declined_the_kernels_is_told_nothing(folder, monkeypatch, caplog):
    monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    load.load_engine(folder)
    assert not caplog.messages


def test_two_rows_of_the_7b_are_kept_and_smaller_models_stay_within_the_bound():
    assert load.most_kept(configs.by_name("codegemma-7b"), 512 << 20) == 1_879_048_192
    assert load.most_kept(configs.by_name("codegemma-2b"), 512 << 20) == 536_870_912


def test_a_large_model_on_a_processor_reads_as_much_as_a_user_waits_for(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert load.most_read(configs.by_name("codegemma-2b"), "cpu") == 1024
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert load.most_read(configs.by_name("codegemma-7b"), "cpu") == 4096
    assert load.most_read(configs.by_name("codegemma-7b"), "gpu") is None
    assert load.most_read(configs.by_name("nano"), "cpu") is None


def test_what_a_user_waits_for_cuts_nothing_where_a_model_is_measured(folder, monkeypatch):
    monkeypatch.setattr(load, "most_read", lambda config, device: 99)
    assert load.load_completer(folder).info.most_read == 99
    assert load.load_engine(folder).info.most_read is None


def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(ConfigError, match="float64"):
        load.load_engine(folder, dtype="float64")


def test_a_measured_order_comes_before_the_declared_one(folder):
    write_record(Record(fingerprint=fingerprint(folder), mode="spm2", nll={}))
    assert load.load_engine(folder).info.mode == "spm2"


def test_a_model_that_says_nothing_gets_psm(tmp_path, params, config, tokenizer):
    save_checkpoint(
        tmp_path / "silent",
        config=config,
        params=params,
        tokenizer_file=tokenizer.path,
        metadata=Metadata(name="silent"),
    )
    assert load.load_engine(tmp_path / "silent").info.mode == "psm"


def test_the_package_loads_a_model(folder, params):
    model = codegemma.load(folder)
    assert isinstance(model, codegemma.Model)
    assert model.info.dtype == "float32"
    host = np.asarray(params["embedding"])
    rounded = host.astype(model.completer.completer._weights.params["embedding"].dtype)
    placed = np.asarray(model.completer.completer._weights.params["embedding"])
    np.testing.assert_allclose(placed, rounded, rtol=2**-8)


def test_a_completion_compiles_two_programs_once_in_a_lifetime(folder, cache, tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("JAX_")
    } | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def run():
        ran = subprocess.run(
            [sys.executable, "-c", TWICE, str(folder)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(ran.stdout)

    first, second = run(), run()
    assert (first["hits"], first["misses"]) == (0, 2)
    assert (second["hits"], second["misses"]) == (2, 0)
    assert first["text"] == second["text"]
    files = [path.name for path in cache.glob("jax/*/*-cache")]
    assert sorted(name.split("-")[0] for name in files) == ["jit_decode", "jit_prefill"]


def test_a_cache_that_jax_was_given_stays(cache, tmp_path):
    code = (
        "import jax; from codegemma.generate.load import keep_compiled_programs as keep; keep(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(tmp_path / "mine")


def test_without_a_place_to_write_nothing_is_kept(cache, tmp_path):
    (tmp_path / "file").write_text("")
    code = (
        "import jax; from codegemma.generate.load import keep_compiled_programs as keep; keep(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    environment = {**os.environ, "CODEGEMMA_CACHE": str(tmp_path / "file")}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "None"
