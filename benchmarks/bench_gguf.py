# SPDX-License-Identifier: Apache-2.0
"""Measure what each GGUF format costs nano: held-out NLL and the size of the file.

The first 400 tokens of held-out files are scored from left to right, by the weights as they are
and as read back from each format; and with the values of Q8_0 and Q4_0 as they are served, by the
kernels, which round activations to int8, with keys and values in bfloat16.
Usage: DATA_FOLDER [--files N].
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from codegemma.data.loader import ShardReader
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.kernels import native
from codegemma.model.export import convert_to_gguf
from codegemma.model.hub import NANO_FOLDER
from codegemma.model.quantise import quantise_checkpoint
from codegemma.text.tokens import BOS_ID
from heldout_lines import read_files, read_records
from results import Row, cpu_name, write_rows

_NUM_TOKENS = 400
_FORMATS = {
    "F16": {"dtype": "float16"},
    "BF16": {"dtype": "bfloat16"},
    "Q8_0": {"quantize": "int8"},
    "Q4_0": {"quantize": "int4"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=64)
    options = parser.parse_args()
    texts = [text for _, text in read_files(read_records(ShardReader(options.data, "heldout")))]
    exact = load_engine(NANO_FOLDER)
    chosen = np.random.default_rng(0).permutation(len(texts))[: options.files]
    rows_of_ids = [exact.tokenizer.encode(texts[i][:4000])[:_NUM_TOKENS] for i in chosen]
    expected = score(exact, rows_of_ids)
    rows = [_row("stored weights", expected, expected, size_bytes=_folder_bytes())]
    with tempfile.TemporaryDirectory() as folder:
        for name, words in _FORMATS.items():
            path = Path(folder) / f"{name}.gguf"
            convert_to_gguf(NANO_FOLDER, path, **words)
            found = score(load_engine(path, dtype="float32"), rows_of_ids)
            rows.append(_row(name, found, expected, size_bytes=path.stat().st_size))
        for weights in ("int8", "int4"):
            target = Path(folder) / weights
            quantise_checkpoint(NANO_FOLDER, target, weights=weights)
            found = score(load_engine(target), rows_of_ids)
            size_bytes = (target / "model.safetensors").stat().st_size
            name = f"{weights} as served ({native.choose_path() or 'no native kernels'})"
            rows.append(_row(name, found, expected, size_bytes=size_bytes))
    path = write_rows("gguf", rows, device=cpu_name())
    print(path.read_text())


def score(engine: Engine, rows: list[list[int]]) -> np.ndarray:
    """Give NLL in nats and tokens of each row, [rows, 2]."""
    found = engine.score([([BOS_ID], row) for row in rows])
    return np.array([[-one.logprob, one.num_tokens] for one in found])


def _row(name: str, found: np.ndarray, expected: np.ndarray, *, size_bytes: int) -> Row:
    """Give the rise in NLL a token; the interval is over files, 2,000 bootstrap samples, seed 0."""
    draws = np.random.default_rng(0).integers(0, len(found), (2000, len(found)))
    rise = found[:, 0] - expected[:, 0]
    rises = rise[draws].sum(1) / found[:, 1][draws].sum(1)
    low, high = np.quantile(rises, [0.025, 0.975])
    num_tokens = int(found[:, 1].sum())
    value = float(found[:, 0].sum() / num_tokens)
    peer_value = float(expected[:, 0].sum() / num_tokens)
    return Row(
        name=f"held-out NLL, {name}",
        value=value,
        unit="nats a token",
        n=num_tokens,
        low=float(low),
        high=float(high),
        peer="stored weights (bfloat16)",
        peer_value=peer_value,
        ratio=peer_value / value,
        note=f"{len(found)} files; low and high bound the rise; {size_bytes / 1e6:.2f} MB",
    )


def _folder_bytes() -> int:
    return (NANO_FOLDER / "model.safetensors").stat().st_size


if __name__ == "__main__":
    main()
