# SPDX-License-Identifier: Apache-2.0
"""Put a trained run into the package as `nano`: weights, their own record, figures, model card.

Reads run folders of `codegemma train` and the data they were trained on. Everything is made in a
temporary folder, verified there, and takes the place of `src/codegemma/nano` in one step; a dated
result is kept. A model whose held-out likelihood is not better than that of the one in the package
is refused.

Example:
    python benchmarks/ship_nano.py --run nano-run --run nano-run-2 --data nano-data
"""

import argparse
import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from bench_nano import (
    ORDERS,
    Order,
    Sample,
    draw_sample,
    measure,
    middle_nll,
    print_rows,
    tell,
)
from codegemma.errors import CodegemmaError, ConfigError
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.generate.middles import MODES, measure_middles, read_middles
from codegemma.generate.verify import RECORD_KEY, examine
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.model.folder import atomic_folder
from codegemma.model.manifest import fingerprint, write_manifest
from codegemma.model.metadata import METADATA_NAME, read_metadata
from codegemma.train.metrics import best_order
from nano_card import Part, read_origin, read_parts, render_card
from results import Row, cpu_name, write_rows

PACKAGE = Path(__file__).parents[1] / "src" / "codegemma" / "nano"
MAX_BYTES = 32_000_000
_LICENSE, _NOTICE = (Path(__file__).parents[1] / name for name in ("LICENSE", "NOTICE"))
_MAX_SHARD_BYTES = 15_000_000
_COMPARED_LINES = 250


def build(
    runs: Sequence[Path],
    data: Path,
    folder: Path,
    *,
    num_lines: int,
    shipped: Path | None,
    is_forced: bool = False,
) -> list[Row]:
    """Make the package's folder of the last run's model, measured and verified.

    Args:
        runs: The runs that made it, in order.
        data: What the last of them was trained on.
        folder: Folder to write.
        num_lines: Held-out lines to measure on.
        shipped: The model it is to be better than, None for none.
        is_forced: Whether one that is not better is made all the same.

    Raises:
        ConfigError: The runs or the data do not belong together, or the model is not better.
        CheckpointError: It does not pass its verification, or is too large.
    """
    source = load_checkpoint(runs[-1] / "model")
    _check_data(source.metadata.training, data)
    origin = read_origin(source.metadata.training, shipped)
    parts = read_parts(runs, last_step=source.metadata.training["step"])
    mode = _best_order(parts[-1])
    save_checkpoint(
        folder,
        config=source.config,
        params=source.params,
        tokenizer_file=source.tokenizer_file,
        metadata=dataclasses.replace(
            source.metadata,
            name="nano",
            mode=mode,
            licence="Apache-2.0",
            training=dict(source.metadata.training) | {"earlier": _earlier(parts)},
        ),
        licence_files=[_LICENSE, _NOTICE],
        dtype="bfloat16",
        max_shard_bytes=_MAX_SHARD_BYTES,
    )
    engine = load_engine(folder)
    _record(folder, engine)
    tell("drawing held-out lines")
    sample = draw_sample(data, num_lines=num_lines)
    nats: dict[Order, Float64[np.ndarray, " lines"]] = {}
    nats[mode] = middle_nll(engine, sample.lines, order=mode)
    if shipped is not None:
        _compare(nats[mode], sample, shipped, is_forced=is_forced)
    nats |= {o: middle_nll(engine, sample.lines, order=o) for o in ORDERS if o != mode}
    rows = measure(engine, data, sample, nats=nats)
    print_rows(rows)
    card = render_card(
        parts,
        data=data,
        rows=rows,
        mode=mode,
        left_out=sample.left_out,
        trained_tokens=source.metadata.training["trained_tokens"],
        origin=origin,
    )
    _describe(folder, {"heldout": {row.name: round(row.value, 6) for row in rows}}, card=card)
    load_checkpoint(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MAX_BYTES:
        raise ConfigError(f"the model takes {size:,} bytes, more than {MAX_BYTES:,}")
    return rows


def _record(folder: Path, engine: Engine) -> None:
    """Add the likelihoods that `verify` holds the model to, and verify it."""
    middles = read_middles()
    record = {order: measure_middles(engine, middles, mode=order).mean() for order in MODES}
    _describe(folder, {RECORD_KEY: {order: round(float(nll), 6) for order, nll in record.items()}})
    report = examine(load_engine(folder), read_metadata(folder), fingerprint=fingerprint(folder))
    for check in report.checks:
        tell(f"{'passed' if check.is_passed else 'FAILED'} {check.name}: {check.detail}")
    if not report.is_passed:
        raise ConfigError("the model does not pass `codegemma verify`; nothing was shipped")


def _describe(folder: Path, figures: dict[str, Any], *, card: str | None = None) -> None:
    """Add to what the folder says of its training, and its card; list all files anew."""
    metadata = read_metadata(folder)
    metadata = dataclasses.replace(metadata, training=dict(metadata.training) | figures)
    text = json.dumps(metadata.raw, indent=2) + "\n"
    (folder / METADATA_NAME).write_text(text, encoding="utf-8")
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    write_manifest(folder)


def _compare(
    nats: Float64[np.ndarray, " lines"], sample: Sample, shipped: Path, *, is_forced: bool
) -> None:
    """Refuse a model that is not better than the shipped one on the first lines of the sample."""
    lines = sample.lines[:_COMPARED_LINES]
    old = load_engine(shipped)
    order: Order = "psm" if old.info.mode == "psm" else "spm"
    num_bytes = sum(line.num_bytes for line in lines)
    before = float(middle_nll(old, lines, order=order).sum()) / num_bytes
    after = float(nats[: len(lines)].sum()) / num_bytes
    words = (
        f"{after:.4f} nats per byte on {len(lines)} held-out lines, the shipped one {before:.4f}"
    )
    tell(f"the new model has {words}")
    if after >= before and not is_forced:
        raise ConfigError(f"not shipped: the new model has {words}; --force ships it all the same")


def _check_data(training: Any, data: Path) -> None:
    found = hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()
    wanted = training["inputs"]["data"]
    if found != wanted:
        raise ConfigError(
            f"the run was trained on data whose manifest has sha256 {wanted[:12]}, that of {data} "
            f"has {found[:12]}"
        )


def _best_order(part: Part) -> Order:
    """Take the order whose middles the training's own held-out rows show as likelier."""
    order = best_order(part.lines)
    if order is None:
        raise ConfigError("the last run has no held-out loss in its log: it cannot be shipped")
    return order


def _earlier(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {
            "steps": [part.first, part.last],
            "schedule": part.config["recipe"]["schedule"],
            "inputs": part.config["inputs"],
            "commit": part.config["commit"],
        }
        for part in parts[:-1]
    ]


def main() -> int:
    """Build, and put it into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        action="append",
        help="folder of `codegemma train`; repeat it for a training in parts, the last one last",
    )
    parser.add_argument("--data", type=Path, required=True, help="what the last run trained on")
    parser.add_argument("--lines", type=int, default=1000, help="held-out lines to measure on")
    parser.add_argument("--force", action="store_true", help="ship also what is not better")
    parser.add_argument(
        "--into", type=Path, help="make this folder, and leave the package and the results alone"
    )
    arguments = parser.parse_args()
    target: Path = arguments.into or PACKAGE
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "nano"
            rows = build(
                arguments.run,
                arguments.data,
                folder,
                num_lines=arguments.lines,
                shipped=PACKAGE if (PACKAGE / "manifest.json").is_file() else None,
                is_forced=arguments.force,
            )
            with atomic_folder(target, replace=True) as partial:
                shutil.copytree(folder, partial, dirs_exist_ok=True)
    except CodegemmaError as error:
        print(f"ship_nano: {error}", file=sys.stderr)
        return 2
    print(target)
    if arguments.into is None:
        print(write_rows("nano", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
