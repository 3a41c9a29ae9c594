# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import constants

from codegemma.generate.record import Record, write_record
from codegemma.model import hub
from codegemma.model.config import tiny
from codegemma.model.export import write_checkpoint
from codegemma.model.metadata import Metadata

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nano, all of codegemma-2b and a part of codegemma-7b."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "NANO_FOLDER", tmp_path / "nano")
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    dtype = np.dtype(ml_dtypes.bfloat16)
    write_checkpoint(
        tmp_path / "nano",
        config=tiny(vocab_size=1024),
        metadata=Metadata(name="nano", mode="spm"),
        blocks=lambda tensor: [np.ones(tensor.shape, dtype)],
        dtype=dtype,
        tokenizer_file=TOKENIZER,
    )
    for name in ("codegemma-2b", "codegemma-7b"):
        root = tmp_path / "hub" / f"models--google--{name}"
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text("abc")
        shutil.copytree(tmp_path / "nano", root / "snapshots" / "abc")
        (root / "snapshots" / "abc" / "codegemma.json").unlink()
        (root / "snapshots" / "abc" / "manifest.json").unlink()
    (root / "snapshots" / "abc" / "model.safetensors").unlink()
    return tmp_path


def listed(run):
    ran = run("models", "--json")
    assert (ran.status, ran.err) == (0, "")
    return {row["name"]: row for row in json.loads(ran.out)["models"]}


def test_the_list_says_what_is_known_and_what_is_here(run, machine):
    rows = listed(run)
    assert {name: row["state"] for name, row in rows.items()} == {
        "nano": "ready",
        "codegemma-2b": "ready",
        "codegemma-1.1-2b": "absent",
        "codegemma-7b": "incomplete",
        "codegemma-7b-it": "absent",
        "codegemma-1.1-7b-it": "absent",
        "gemma-2b": "absent",
        "gemma-7b": "absent",
    }
    folder = machine / "hub" / "models--google--codegemma-2b" / "snapshots" / "abc"
    found = rows["codegemma-2b"]
    assert found == {
        "name": "codegemma-2b",
        "summary": "Code completion",
        "repository": "google/codegemma-2b",
        "num_params": 2_506_172_416,
        "is_instruction": False,
        "mode": "psm",
        "licence": "gemma",
        "state": "ready",
        "folder": str(folder),
        "size_bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }
    assert rows["codegemma-7b-it"]["folder"] is None
    assert rows["gemma-2b"]["mode"] is None


def test_the_embedded_model_is_counted_and_has_its_own_order(run, machine):
    nano = listed(run)["nano"]
    # 1024 x 32 of embedding, two layers of 11,264 and 64 of norms, 32 of the last norm.
    assert (nano["num_params"], nano["mode"], nano["licence"]) == (55_456, "spm", "Apache-2.0")


def test_a_verified_order_goes_first(run, machine):
    from codegemma.model.manifest import fingerprint

    folder = machine / "hub" / "models--google--codegemma-2b" / "snapshots" / "abc"
    write_record(Record(fingerprint=fingerprint(folder), mode="spm2", nll={}))
    assert listed(run)["codegemma-2b"]["mode"] == "spm2"
    assert listed(run)["nano"]["mode"] == "spm"


def test_the_table_is_for_reading(run, machine):
    ran = run("models")
    assert ran.status == 0
    lines = {line.split()[0]: line.split() for line in ran.out.splitlines() if line.split()}
    assert lines["name"][:5] == ["name", "weights", "order", "licence", "on"]
    assert lines["codegemma-1.1-2b"][1:6] == ["2.51", "B", "psm", "gemma", "-"]
    assert lines["codegemma-7b"][5] == "partly"
    assert lines["codegemma-2b"][5:7] == ["0.2", "MB"]


def test_the_last_line_says_what_multiplies_quantised_weights(run, machine, monkeypatch):
    monkeypatch.setenv("CODEGEMMA_KERNEL", "none")
    assert run("models").out.splitlines()[-1].startswith("no native kernels, as CODEGEMMA_KERNEL")
    assert isinstance(json.loads(run("models", "--json").out)["kernels"], list)
