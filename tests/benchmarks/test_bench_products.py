# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest

import bench_products
from codegemma.kernels import native

CODE = "from codegemma.kernels import native; print(*native.paths())"


@pytest.mark.parametrize(
    ("held", "left"), [("avx", []), ("avx2", ["avx2"]), ("avxvnni", ["avxvnni", "avx2"])]
)
def test_a_process_is_held_to_an_instruction_set(tmp_path, held, left):
    if "avx2" not in native.paths():
        pytest.skip("no native kernels, or a processor without AVX2")
    library = bench_products.hold(tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"LD_PRELOAD": str(library), "CODEGEMMA_HELD": held},
        capture_output=True,
        text=True,
    )
    if "cannot hold CPUID" in found.stderr:
        pytest.skip("this machine has no CPUID faulting")
    has = [path for path in left if path in native.paths()]
    assert (found.returncode, found.stdout.split()) == (0, [*has, "portable"])


def test_an_unknown_instruction_set_is_refused(tmp_path):
    library = bench_products.hold(tmp_path)
    found = subprocess.run(
        ["true"],
        env=os.environ | {"LD_PRELOAD": str(library), "CODEGEMMA_HELD": "mmx"},
        capture_output=True,
        text=True,
    )
    assert (found.returncode, "CODEGEMMA_HELD=mmx: unknown" in found.stderr) == (3, True)
