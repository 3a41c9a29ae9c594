# SPDX-License-Identifier: Apache-2.0
"""The scripts of benchmarks/, a small prepared data set, and a run that has learned nothing."""

import dataclasses
import json
import shutil
import sys
import wsgiref
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from codegemma.data import pipeline, recipes
from codegemma.model import config as configs
from codegemma.model.checkpoint import save_checkpoint
from codegemma.model.metadata import Metadata
from codegemma.model.params import init_params
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.provenance import hash_inputs

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "tests" / "golden" / "tokenizer" / "tokenizer.model"

sys.path.append(str(ROOT / "benchmarks"))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(TOKENIZER)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard library's json (train) and wsgiref (held out), prepared."""
    root = tmp_path_factory.mktemp("sources")
    for package in (json, wsgiref):
        source, target = Path(package.__file__).parent, root / package.__name__
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "LICENSE", target / "LICENSE")
    recipe = dataclasses.replace(recipes.nano(), heldout=("wsgiref",))
    settings = pipeline.Settings(
        sources=(root,), recipe=recipe, tokenizer_file=TOKENIZER, each=True
    )
    out = tmp_path_factory.mktemp("data") / "out"
    pipeline.prepare(settings, out=out)
    return out


WriteRun = Callable[..., None]


@pytest.fixture
def write_run() -> WriteRun:
    """Writes the log and configuration of a run."""
    return write_log


def write_log(folder: Path, *, first: int, last: int, data_hash: str = "0" * 64) -> None:
    """Write the log and configuration of a run of so many steps, one line for every tenth."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"kind": "start", "step": first}]
    for step in range(first + 10, last + 1, 10):
        tokens = {"tokens": 4096, "trained_tokens": 4000 * step, "seconds": 2.0 * step}
        lines.append({"kind": "step", "step": step, "loss": 5 - step / 100} | tokens)
    heldout = {"nll_per_token": 3.0, "nll_per_byte": 1.0, "middle_psm_nll_per_byte": 1.5}
    lines.append({"kind": "heldout", "step": last, "middle_spm_nll_per_byte": 1.25} | heldout)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    recipe = {
        "model": dataclasses.asdict(nano_shape()),
        "data": {
            "fim_fraction": 0.9,
            "psm_fraction": 0.5,
            "split_kinds": {"line": 0.5, "random": 0.5},
        },
        "optimizer": {"kind": "muon"},
        "compute": {"dtype": "bfloat16"},
        "input": {"middle_weight": 2.0},
        "schedule": {"peak": 0.002, "warmup_steps": 10, "num_steps": last, "decay_steps": 20},
        "run": {"seed": 0, "log_every": 10},
    }
    config = {
        "recipe": recipe,
        "inputs": {"data": data_hash},
        "device": "cpu",
        "commit": "c" * 40,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def nano_shape() -> configs.ModelConfig:
    """The tiny shape, with nano's context and the small vocabulary of the tests."""
    return dataclasses.replace(configs.tiny(vocab_size=1024), context_length=1024)


@pytest.fixture
def run(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A run of 100 steps that left the weights it began with."""
    folder = tmp_path / "run"
    inputs = hash_inputs(data, tokenizer=tokenizer)
    write_log(folder, first=0, last=100, data_hash=inputs["data"])
    params = init_params(nano_shape(), key=jax.random.key(3))
    training = {"inputs": inputs, "step": 100, "trained_tokens": 400_000}
    save_checkpoint(
        folder / "model",
        config=nano_shape(),
        params=jax.tree.map(np.asarray, params),
        tokenizer_file=TOKENIZER,
        metadata=Metadata(name="nano", training=training),
    )
    return folder
