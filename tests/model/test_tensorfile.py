# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from codegemma.errors import CheckpointError
from codegemma.model import tensorfile
from codegemma.model.tensorfile import TensorFile, is_finite, write_tensorfile

BF16 = np.dtype(ml_dtypes.bfloat16)


def raw_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(file, name, **kwargs):
    return np.concatenate([block.copy() for block in file.blocks(name, **kwargs)])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_what_the_safetensors_package_wrote_is_read(tmp_path, dtype):
    rng = np.random.default_rng(0)
    tensors = {
        "matrix": rng.standard_normal((300, 7)).astype(dtype),
        "vector": rng.standard_normal(5).astype(dtype),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    file = TensorFile(tmp_path / "x")
    assert {name: e.shape for name, e in file.entries.items()} == {
        "matrix": (300, 7),
        "vector": (5,),
    }
    for name, values in tensors.items():
        found = read(file, name)
        assert found.dtype == values.dtype
        assert found.tobytes() == values.tobytes()
    assert read(file, "matrix", num_rows=3).tobytes() == tensors["matrix"][:3].tobytes()


def test_blocks_are_whole_rows_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "BLOCK_BYTES", 100)
    values = np.arange(70, dtype=np.float32).reshape(10, 7)
    safetensors.numpy.save_file({"x": values}, tmp_path / "x")
    shapes = [block.shape for block in TensorFile(tmp_path / "x").blocks("x")]
    assert shapes == [(3, 7), (3, 7), (3, 7), (1, 7)]
    assert read(TensorFile(tmp_path / "x"), "x").tolist() == values.tolist()


def test_rows_are_read_straight_into_an_array_that_takes_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "BLOCK_BYTES", 4 * 8 * 2)
    values = np.arange(40, dtype=np.float32).reshape(5, 8)
    safetensors.numpy.save_file({"a": values}, tmp_path / "a.safetensors")
    out = np.zeros((5, 8), np.float32)
    blocks = list(TensorFile(tmp_path / "a.safetensors").blocks("a", out=out))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert all(np.shares_memory(block, out) for block in blocks)
    assert (out == values).all()


def test_the_safetensors_package_reads_what_is_written(tmp_path):
    values = {"b": np.arange(12).reshape(3, 4).astype(BF16), "a": np.ones(2, BF16)}
    digest = write_tensorfile(
        tmp_path / "x",
        {name: array.shape for name, array in values.items()},
        dtype=BF16,
        blocks=lambda name: [values[name]],
    )
    data = (tmp_path / "x").read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    assert b'{"__metadata__":{"format":"pt"},' in data
    found = safetensors.numpy.load_file(tmp_path / "x")
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in values.items()
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_not_written(tmp_path, bad):
    with pytest.raises(CheckpointError, match="refused to write x: the tensor w holds NaN or Inf"):
        write_tensorfile(
            tmp_path / "x",
            {"w": (2,)},
            dtype=np.dtype(np.float32),
            blocks=lambda name: [np.array([1, bad], np.float32)],
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 65_535, 65_536, 99_999])
def test_nan_and_inf_are_found_anywhere(dtype, bad, place):
    values = np.full(100_000, ml_dtypes.finfo(dtype).max, dtype)
    values[1::2] = ml_dtypes.finfo(dtype).min
    values[2::3] = ml_dtypes.finfo(dtype).smallest_subnormal
    assert is_finite(values)
    values[place] = bad
    assert not is_finite(values)


def test_a_tensor_with_nan_is_refused_by_name(tmp_path):
    values = np.ones((4, 3), np.float32)
    values[2, 1] = np.nan
    safetensors.numpy.save_file({"bad": values, "good": values[:2].copy()}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    assert read(file, "good").shape == (2, 3)
    with pytest.raises(CheckpointError, match=r"x: expected finite values, .* the tensor bad, in"):
        read(file, "bad")


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"{", b"", "not valid JSON"),
        (b"[" * 50_000, b"", "not valid JSON"),
        (b"\xff\xfe{}", b"", "not valid JSON"),
        (b"[]", b"", "not a JSON object"),
        (
            b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
            "tensor w is given twice",
        ),
        ({"w": entry([2], 0, 4)}, bytes(4), "tensor w of shape"),
        ({"w": entry([1], 4, 8)}, bytes(8), "tensor w of shape"),
        ({"w": entry([1], 0, 4), "v": entry([1], 2, 6)}, bytes(6), "tensor v of shape"),
        ({"w": entry([-1], 0, 4)}, bytes(4), "tensor w is not valid"),
        ({"w": entry([1 << 62, 1 << 62], 0, 4)}, bytes(4), "tensor w is not valid"),
        ({"w": entry([1 << 40, 1 << 40], 0, 4)}, bytes(4), "tensor w of shape"),
        ({"w": entry([1], 4, 0)}, bytes(4), "tensor w is not valid"),
        ({"w": entry([1], -4, 0)}, bytes(4), "tensor w is not valid"),
        ({"w": entry([1], 0, 4, "F99")}, bytes(4), "tensor w is not valid"),
        ({"w": entry("1", 0, 4)}, bytes(4), "tensor w is not valid"),
        ({"w": 3}, bytes(4), "tensor w is not valid"),
        ({"w": entry([1], 0, 4)}, bytes(3), "truncated or damaged"),
        ({"w": entry([1], 0, 4)}, bytes(5), "truncated or damaged"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, data, message):
    with pytest.raises(CheckpointError, match=rf"x\b.*{message}"):
        TensorFile(raw_file(tmp_path / "x", header, data))


@pytest.mark.parametrize("length", [1 << 63, 1 << 30, 3])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    (tmp_path / "x").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(CheckpointError, match=f"announces a header of {length} bytes"):
        TensorFile(tmp_path / "x")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    safetensors.numpy.save_file({"w": np.ones(4, np.float32)}, tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="cut"):
            TensorFile(tmp_path / "cut")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot read .*x: No such file"):
        TensorFile(tmp_path / "x")


def test_a_file_changed_since_its_header_was_read_is_refused(tmp_path):
    values = np.ones((4, 4), np.float32)
    safetensors.numpy.save_file({"w": values}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    file.check_unchanged()
    os.utime(tmp_path / "x", ns=(1, 1))
    with pytest.raises(CheckpointError, match="x was changed while it was read"):
        read(file, "w")
    with pytest.raises(CheckpointError, match="x was changed while it was read"):
        file.check_unchanged()


def test_a_file_changed_between_two_blocks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "BLOCK_BYTES", 16)
    safetensors.numpy.save_file({"w": np.ones((4, 4), np.float32)}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    blocks = file.blocks("w")
    next(blocks)
    os.utime(tmp_path / "x", ns=(1, 1))
    with pytest.raises(CheckpointError, match="x was changed while it was read"):
        list(blocks)


def test_a_file_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "BLOCK_BYTES", 16)
    safetensors.numpy.save_file({"w": np.ones((4, 4), np.float32)}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    blocks = file.blocks("w")
    next(blocks)
    os.truncate(tmp_path / "x", file.entries["w"].offset + 20)
    with pytest.raises(CheckpointError, match="x ended within the tensor w"):
        list(blocks)


def test_a_removed_file_is_noticed(tmp_path):
    safetensors.numpy.save_file({"w": np.ones(4, np.float32)}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    (tmp_path / "x").unlink()
    with pytest.raises(CheckpointError, match="x was removed while it was read"):
        file.check_unchanged()
