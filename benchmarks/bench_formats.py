# SPDX-License-Identifier: Apache-2.0
"""What each format of weights costs in likelihood: nats a byte of held-out middles, beside float32.

The same held-out lines for all (`heldout_lines.py`), in the order a model is best at. The interval
is that of the value; the difference to float32, on the same lines, is far surer than its ends.

Example:
    codegemma convert nano /tmp/n8 --quantize int8; codegemma convert nano /tmp/n4 --quantize int4
    python benchmarks/bench_formats.py --data nano-data --models nano /tmp/n8 /tmp/n4
"""

import argparse
import sys
from pathlib import Path

from bench_nano import middle_nll, nll_row
from codegemma.data.loader import ShardReader
from codegemma.data.manifest import read_manifest
from codegemma.generate.load import load_engine
from codegemma.kernels import native
from heldout_lines import draw_lines, read_records
from results import Row, cpu_name, write_rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of `codegemma prepare`")
    parser.add_argument("--models", nargs="+", required=True, help="floats first")
    parser.add_argument("--lines", type=int, default=500)
    arguments = parser.parse_args()
    lines = draw_lines(
        read_records(ShardReader(arguments.data, "heldout")), num_lines=arguments.lines
    )
    digest = read_manifest(arguments.data)["totals"]["heldout"]["sha256"][:12]
    rows: list[Row] = []
    for model in arguments.models:
        engine = load_engine(model)
        order = "spm" if engine.info.mode == "spm" else "psm"
        nats = middle_nll(engine, lines, order=order)
        note = f"{order}, held-out data {digest}, {native.describe()}"
        peer = rows[0] if rows else None
        rows.append(nll_row(f"nll-{engine.info.dtype}", nats, lines, note=note, peer=peer))
    for row in rows:
        print(f"{row.name:20} {row.value:.5f} nats/byte [{row.low:.5f}, {row.high:.5f}]")
    print(write_rows("formats", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
