# SPDX-License-Identifier: Apache-2.0
"""Make `products.bin`: quantised weights, rows and their products in float64, for the kernels.

Written value by value from the description in `kernels/cpp/path.h`, with nothing of the package.
The file holds int32 and arrays one after the other, little-endian: the number of cases, then for
each rows, inputs, outputs, bits; q (bytes), scale (float16), x (float32) and the products (float64)
of x rounded to int8 in groups of 32, as every path but AMX's for many rows rounds it.

Example:
    python tests/golden/make_products.py
"""

from pathlib import Path

import numpy as np

CASES = [  # rows, inputs, outputs, bits
    (1, 64, 32, 8),
    (1, 64, 32, 4),
    (3, 96, 16, 8),
    (7, 32, 48, 4),
    (13, 160, 32, 8),
    (13, 160, 32, 4),
]


def make_case(rng: np.random.Generator, rows: int, inputs: int, outputs: int, bits: int) -> bytes:
    groups = inputs // 32
    limit = 127 if bits == 8 else 7
    whole = rng.integers(-limit - (bits == 4), limit + 1, (outputs, inputs))
    whole[0], whole[1] = limit, -limit - (bits == 4)  # the largest sums there can be
    scale = (rng.random((outputs, groups)) * 0.02 - 0.005).astype(np.float16)
    scale[2, 0], scale[3, 0] = 0.0, np.float16(3e-7)  # nothing, and less than float16 holds fully
    x = rng.standard_normal((rows, inputs)).astype(np.float32) * np.float32(3)
    x[0, :32] = 5.0  # all rounded to 127
    x[-1, -32:] = 0.0
    q = np.zeros((outputs // 16, groups, 8, 16, 4), np.int64)
    scales = np.zeros((outputs // 16, groups, 16), np.float16)
    for output in range(outputs):
        for index in range(inputs):
            place = output // 16, index // 32, index % 32 // 4, output % 16, index % 4
            q[place] = whole[output, index]
        scales[output // 16, :, output % 16] = scale[output]
    stored = q.astype(np.int8).tobytes()
    if bits == 4:
        stored = ((q[:, :, :4] + 8) | (q[:, :, 4:] + 8) << 4).astype(np.uint8).tobytes()
    rounded = np.zeros((rows, inputs))
    for row in range(rows):
        for group in range(groups):
            part = x[row, group * 32 : group * 32 + 32]
            highest = np.abs(part).max()
            inverse = np.float32(127) / highest if highest > 0 else np.float32(0)
            step = np.float64(highest / np.float32(127))
            rounded[row, group * 32 : group * 32 + 32] = np.rint(part * inverse) * step
    weight = whole * scale.astype(np.float64).repeat(32, axis=1)
    header = np.array([rows, inputs, outputs, bits], np.int32).tobytes()
    products = (rounded @ weight.T).astype(np.float64)
    return header + stored + scales.tobytes() + x.tobytes() + products.tobytes()


def main() -> None:
    rng = np.random.default_rng(5)
    data = np.array([len(CASES)], np.int32).tobytes()
    data += b"".join(make_case(rng, *case) for case in CASES)
    (Path(__file__).parent / "products.bin").write_bytes(data)


if __name__ == "__main__":
    main()
