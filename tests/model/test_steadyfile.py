# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from codegemma.errors import CheckpointError
from codegemma.model.steadyfile import Signature, SteadyFile


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(5, 5))
    return path


def replace(path):
    """Put another file of the same size and time in its place."""
    other = path.with_suffix(".new")
    other.write_bytes(b"abcdefghij")
    os.utime(other, ns=(5, 5))
    other.replace(path)


CHANGES = {
    "touched": lambda path: os.utime(path, ns=(6, 6)),
    "grown": lambda path: (path.write_bytes(b"0123456789a"), os.utime(path, ns=(5, 5))),
    "cut": lambda path: (os.truncate(path, 4), os.utime(path, ns=(5, 5))),
    "replaced": replace,
}


def test_a_steady_file_is_read_from_any_place_any_number_of_times(path):
    file = SteadyFile(path)
    assert file.signature == Signature(10, 5, path.stat().st_ino)
    for offset, buffering, expected in ((0, 0, b"012"), (7, -1, b"789"), (7, 0, b"789")):
        with file.reading(offset, buffering=buffering) as opened:
            assert opened.read(3) == expected
    file.check_unchanged()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_changed_before_it_is_read_is_refused(path, change):
    file = SteadyFile(path)
    change(path)
    with (
        pytest.raises(CheckpointError, match="x was changed while it was read; load it again"),
        file.reading(),
    ):
        pytest.fail("it was opened")
    with pytest.raises(CheckpointError, match="x was changed while it was read; load it again"):
        file.check_unchanged()


@pytest.mark.parametrize("change", [CHANGES[name] for name in ("touched", "grown", "cut")])
def test_a_file_changed_while_it_is_read_is_refused_at_the_end(path, change):
    def read_while_it_changes():
        with SteadyFile(path).reading() as opened:
            assert opened.read(3) == b"012"
            change(path)

    with pytest.raises(CheckpointError, match="x was changed while it was read"):
        read_while_it_changes()


def test_what_is_open_goes_on_where_another_file_takes_its_place_and_the_check_refuses_it(path):
    file = SteadyFile(path)
    with file.reading() as opened:
        replace(path)
        assert opened.read() == b"0123456789"
    with pytest.raises(CheckpointError, match="was changed"):
        file.check_unchanged()


def test_a_file_that_is_gone_or_none_is_named(path, tmp_path):
    file = SteadyFile(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="x was removed while it was read"):
        file.check_unchanged()
    with pytest.raises(CheckpointError, match=r"cannot read .*x: No such file"), file.reading():
        pytest.fail("it was opened")
    with pytest.raises(CheckpointError, match=r"cannot read .*x: No such file"):
        SteadyFile(path)
    folder = SteadyFile(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot read .*: Is a dir"), folder.reading():
        pytest.fail("it was opened")


def test_an_error_of_the_reader_comes_through_as_it_is(path):
    file = SteadyFile(path)
    with pytest.raises(KeyError), file.reading():
        raise KeyError("mine")
