# SPDX-License-Identifier: Apache-2.0
import jax
import pytest

from codegemma.kernels import native


@pytest.fixture(params=["amx", "avx512", "avxvnni", "avx2", "neon", "portable"])
def path(request, monkeypatch):
    """Every path of the kernels that this processor has, chosen for the test."""
    if not native.paths():
        pytest.skip("no native kernels: apt-get install g++ cmake, then make setup")
    if request.param not in native.paths():
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("CODEGEMMA_KERNEL", request.param)
    return request.param


@pytest.fixture
def refused():
    """What a refusal of a kernel is: jax tells it as either, by where it is met."""
    return ValueError, jax.errors.JaxRuntimeError
