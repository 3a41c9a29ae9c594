# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - the card's tables are long lines
"""Put a trained run into the package as `nano`: weights, its own record, figures and model card.

Reads a run folder of `codegemma train` and the data it was trained on; writes
`src/codegemma/nano/` (bfloat16, files of at most 15 MB) and a dated result. The card's figures are
those of the weights as shipped. Ship only what beats the weights that are there.

Example:
    python benchmarks/ship_nano.py --run /tmp/nano-run --data /tmp/nano-data
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench_nano
from codegemma.data.manifest import read_manifest
from codegemma.generate.load import load_engine
from codegemma.generate.middles import MODES, measure_middles, read_middles
from codegemma.generate.verify import RECORD_KEY
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from results import Row, cpu_name, write_rows

_FOLDER = Path(__file__).parents[1] / "src" / "codegemma" / "nano"
_LICENSE = Path(__file__).parents[1] / "LICENSE"
_MAX_SHARD_BYTES = 15_000_000


def ship_weights(run: Path, folder: Path) -> None:
    """Save the run's model with the order it measured best at and its own likelihoods."""
    checkpoint = load_checkpoint(run / "model")
    heldout = read_metrics(run, kind="heldout")[-1]
    mode = min(("psm", "spm"), key=lambda order: heldout[f"middle_{order}_nll_per_byte"])
    metadata = dataclasses.replace(
        checkpoint.metadata, name="nano", mode=mode, licence="Apache-2.0"
    )

    def save(training: dict[str, Any]) -> None:
        save_checkpoint(
            folder,
            config=checkpoint.config,
            params=checkpoint.params,
            tokenizer_file=checkpoint.tokenizer_file,
            metadata=dataclasses.replace(metadata, training=training),
            licence_files=[_LICENSE],
            dtype="bfloat16",
            max_shard_bytes=_MAX_SHARD_BYTES,
            replace=True,
        )

    training = {key: value for key, value in metadata.training.items() if key != RECORD_KEY}
    save(training)
    engine, middles = load_engine(folder), read_middles()
    record = {order: measure_middles(engine, middles, mode=order).mean() for order in MODES}
    save({**training, RECORD_KEY: {order: round(float(nll), 6) for order, nll in record.items()}})


def read_metrics(run: Path, *, kind: str) -> list[dict[str, Any]]:
    """Read the lines of a kind from a run's log, a step that was done twice once."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    by_step = {line["step"]: line for line in lines if line["kind"] == kind}
    return [by_step[step] for step in sorted(by_step)]


def render_card(run: Path, data: Path, rows: Sequence[Row]) -> str:
    """Write the model card."""
    manifest, config = read_manifest(data), json.loads((run / "config.json").read_text())
    steps, heldout = read_metrics(run, kind="step"), read_metrics(run, kind="heldout")
    recipe, totals = config["recipe"], manifest["totals"]
    model, last = recipe["model"], steps[-1]
    by_name = {row.name: row for row in rows if row.peer != "untrained"}
    untrained = {row.name: row for row in rows if row.peer == "untrained"}
    exact, ends, whole = (by_name[n] for n in ("exact-match", "ends-by-itself", "file-parses"))
    seen, unseen = (by_name[f"exact-match-lines-{n}"] for n in ("in-training", "not-in-training"))
    psm, spm = by_name["middle-nll-psm"], by_name["middle-nll-spm"]
    curve = "\n".join(
        f"| {line['step']} | {line['nll_per_token']:.3f} | {line['nll_per_byte']:.3f} | "
        f"{line['middle_psm_nll_per_byte']:.3f} | {line['middle_spm_nll_per_byte']:.3f} |"
        for line in _thin(heldout)
    )
    parts = {
        part: [r for r in manifest["repositories"] if r["part"] == part]
        for part in ("train", "heldout")
    }
    sources = "\n".join(
        f"| {r['name']} | {r['version']} | {r['license']} | {r['bytes'] / 1e6:.2f} |"
        for r in sorted(parts["train"], key=lambda r: -r["bytes"])
        if r["bytes"]
    )
    held = ", ".join(f"{r['name']} {r['version']}" for r in parts["heldout"])
    return f"""---
license: apache-2.0
language: code
tags: [code, fill-in-the-middle, gemma]
---
# nano

The embedded model of `codegemma`: the CodeGemma architecture and prompt formats at
{_count_params(model) / 1e6:.1f} million parameters, trained by this project's own pipeline on a CPU.
It makes every command run without a download. It is a demonstration and a test subject, not a
coding assistant: use a released CodeGemma model for work.

## Held-out results

Measured on {exact.n:,} lines (seed 0, at most 2 a file) of packages that training never saw, greedy,
{exact.note.split(", ")[1].upper()}, with `benchmarks/bench_nano.py`; 95 % intervals.

| what | nano | beside it |
|---|---|---|
| the exact line | {_percent(exact)} | 6-gram model {exact.peer_value:.1%} |
| the same, line not in the training text (n = {unseen.n}) | {_percent(unseen)} | |
| the same, line also in the training text (n = {seen.n}) | {_percent(seen)} | |
| ends by itself within 128 tokens | {_percent(ends)} | |
| the file still parses (n = {whole.n}) | {_percent(whole)} | |
| middle, PSM, nats per byte | {psm.value:.3f} | 6-gram {psm.peer_value:.3f}, untrained {untrained[psm.name].peer_value:.3f} |
| middle, SPM, nats per byte | {spm.value:.3f} | 6-gram {spm.peer_value:.3f}, untrained {untrained[spm.name].peer_value:.3f} |

## How it was trained

- Shape: {model["num_layers"]} layers, width {model["width"]}, feed-forward {model["ffw_dim"]}, {model["num_heads"]} query heads and
  {model["num_kv_heads"]} key/value head of {model["head_dim"]}, vocabulary {model["vocab_size"]:,}, context {model["context_length"]:,} tokens.
- {last["step"]:,} steps of {last["tokens"]:,} tokens, {last["trained_tokens"] / 1e6:.2f} million in all, of {totals["train"]["tokens"] / 1e6:.1f} million prepared;
  {last["seconds"] / 60:.0f} minutes on {config["device"]}; seed {recipe["run"]["seed"]}.
- {recipe["optimizer"]["kind"]} for the matrices, AdamW for the rest; peak rate {recipe["schedule"]["peak"]}, {recipe["schedule"]["warmup_steps"]} steps of
  warmup, {recipe["schedule"]["decay_steps"]} of decay.
- FIM rate {recipe["data"]["fim_fraction"]:.0%}, half PSM and half SPM; cuts {_cuts(recipe["data"]["split_kinds"])}.
- Stored as bfloat16; recipe, versions and hashes are in `codegemma.json`.

Held-out loss (nats):

| step | per token | per byte | middle PSM, per byte | middle SPM, per byte |
|---|---|---|---|---|
{curve}

## Data

{totals["train"]["files"]:,} Python files, {totals["train"]["bytes"] / 1e6:.0f} MB, of permissively licensed packages; vendored copies, generated
files, near copies and everything that shares 10 words in a row with a benchmark removed. Held out
whole: {held}.

| package | version | licence | MB |
|---|---|---|---|
{sources}

## Limits

- It knows Python's looks, not what code means. Expect wrong names and wrong logic.
- Its context is {model["context_length"]:,} tokens, about {model["context_length"] * 3:,} characters; what does not fit is cut.
- It saw Python alone. It was not tuned to follow instructions and holds no conversation.
- Parts of its training text may come back verbatim; their licences are in the table above.
"""


def _thin(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most twelve lines, the last among them."""
    every = max(1, -(-len(lines) // 12))
    return [*lines[:-1][::every], lines[-1]]


def _percent(row: Row) -> str:
    return f"{row.value:.1%} ({row.low:.1%} to {row.high:.1%})"


def _cuts(kinds: dict[str, float]) -> str:
    return ", ".join(f"`{kind}` {share:.0%}" for kind, share in kinds.items())


def _count_params(model: dict[str, Any]) -> int:
    from codegemma.model.config import ModelConfig
    from codegemma.model.params import num_params

    return num_params(ModelConfig(**model))


def main() -> int:
    """Ship, measure, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of `codegemma train`")
    parser.add_argument("--data", type=Path, required=True, help="output of `codegemma prepare`")
    parser.add_argument("--lines", type=int, default=1000)
    arguments = parser.parse_args()
    ship_weights(arguments.run, _FOLDER)
    rows = bench_nano.measure(load_engine(_FOLDER), arguments.data, num_lines=arguments.lines)
    (_FOLDER / "README.md").write_text(render_card(arguments.run, arguments.data, rows))
    for row in rows:
        print(f"{row.name:36} {row.value:8.4f} {row.unit:10} n={row.n} {row.peer or ''}")
    print(write_rows("nano", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
