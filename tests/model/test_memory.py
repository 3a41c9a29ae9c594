# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from codegemma.model import memory

GB = 1_000_000_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of one's own making: files of /proc and of two cgroups, one within the other."""
    (tmp_path / "meminfo").write_text("MemTotal:  9765625 kB\nMemAvailable:   3906250 kB\n")
    (tmp_path / "cgroup").write_text("0::/outer/inner\n")
    inner = tmp_path / "fs" / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_CGROUP_ROOT", tmp_path / "fs")
    return inner


def limit(folder, *, most, used, pages):
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\nactive_file {pages}\ninactive_file 0\n")


@pytest.mark.skipif(os.name == "nt", reason="/proc")
def test_without_limits_it_is_what_the_machine_has(machine):
    assert memory.available_bytes() == 4 * GB


@pytest.mark.skipif(os.name == "nt", reason="/proc")
def test_a_cgroup_that_leaves_less_decides_and_file_pages_count_as_free(machine):
    limit(machine, most=3 * GB, used=2 * GB, pages=GB // 2)
    assert memory.available_bytes() == 3 * GB // 2


@pytest.mark.skipif(os.name == "nt", reason="/proc")
def test_an_outer_cgroup_counts_too(machine):
    limit(machine, most="max", used=2 * GB, pages=0)
    limit(machine.parent, most=3 * GB, used=2 * GB, pages=0)
    assert memory.available_bytes() == GB


@pytest.mark.skipif(os.name == "nt", reason="/proc")
def test_a_machine_that_does_not_tell_gives_none(tmp_path, monkeypatch):
    for name in ("_MEMINFO", "_CGROUP", "_CGROUP_ROOT"):
        monkeypatch.setattr(memory, name, tmp_path / "nothing")
    assert memory.available_bytes() is None


def test_this_machine_has_more_than_a_megabyte_left():
    available = memory.available_bytes()
    assert available is None or available > 1_000_000


@pytest.mark.parametrize("shape", [(3, 5), (1 << 21,)])
def test_an_array_starts_where_jax_takes_it_as_it_is(shape):
    made = memory.aligned_empty(shape, np.dtype(np.float16))
    assert (made.shape, made.dtype, made.ctypes.data % 64) == (shape, np.float16, 0)
    assert made.flags.c_contiguous
