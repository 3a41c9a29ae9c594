# SPDX-License-Identifier: Apache-2.0
import struct
import tracemalloc

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.errors import CheckpointError
from codegemma.kernels.formats import quantise_groups
from codegemma.model.ggufile import QUANTISED, READABLE, WRITABLE, GgufFile, write_gguf

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def info(name, dims, kind, offset):
    head = text(name) + struct.pack("<I", len(dims))
    return head + struct.pack(f"<{len(dims)}QIQ", *dims, kind, offset)


def file_of(*, pairs=(), infos=(), values=b"", counts=None, version=3, alignment=32):
    num_tensors, num_pairs = counts or (len(infos), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_pairs)
    head += b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + values


# Two rows of four float32, then one row of two.
GOOD = {
    "pairs": [pair("general.architecture", STRING, text("gemma")), pair("n", U32, b"\7\0\0\0")],
    "infos": [info("a", (4, 2), 0, 0), info("b", (2,), 0, 32)],
    "values": np.arange(10, dtype="<f4").tobytes(),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def open_file(path, **changes):
    path.write_bytes(file_of(**GOOD | changes))
    return GgufFile(path)


def test_a_file_is_read_as_it_was_written_by_hand(path):
    file = open_file(path)
    assert file.metadata == {"general.architecture": "gemma", "n": 7}
    assert [(name, e.dtype, e.shape) for name, e in file.entries.items()] == [
        ("a", "F32", (2, 4)),
        ("b", "F32", (2,)),
    ]
    assert np.concatenate(list(file.blocks("a"))).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert np.concatenate(list(file.blocks("a", num_rows=1))).tolist() == [[0, 1, 2, 3]]
    assert np.concatenate(list(file.blocks("b"))).tolist() == [8, 9]


HUGE = struct.pack("<Q", 2**63)
A = info("a", (4, 2), 0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "expected GGUF version 2 or 3, found 1"),
        ({"version": 3 << 24}, "it is big-endian"),
        ({"counts": (2**32, 2)}, "announces 4294967296 tensors"),
        ({"counts": (2, 2**63)}, "announces 9223372036854775808 metadata keys"),
        ({"counts": (2, 40_000)}, "is damaged: a metadata key announces"),
        ({"pairs": [HUGE]}, "a metadata key announces 9223372036854775808 bytes"),
        (
            {"pairs": [pair("k", STRING, HUGE)]},
            "the metadata 'k' announces 9223372036854775808 bytes",
        ),
        ({"pairs": [pair("k", STRING, b"\1" + bytes(7) + b"\xff")]}, "'k' is not UTF-8"),
        ({"pairs": [pair("k", 255, b"")]}, "'k' is of the unknown type 255"),
        ({"pairs": [pair("k", ARRAY, b"\4\0\0\0" + HUGE)]}, "'k' should take 36893488147419103232"),
        ({"pairs": [pair("k", ARRAY, b"\10\0\0\0" + HUGE)]}, "'k' announces 9223372036854775808 s"),
        ({"pairs": [pair("k", ARRAY, b"\11\0\0\0" + HUGE)]}, "'k' is a list of the type 9"),
        ({"pairs": [pair("k", BOOL, b"\1")] * 2}, "the metadata key 'k' is given twice"),
        ({"pairs": [pair("general.alignment", U32, bytes(4))]}, "power of two, not 0"),
        ({"pairs": [pair("general.alignment", U32, b"\3\0\0\0")]}, "power of two, not 3"),
        ({"pairs": [pair("general.alignment", F32, bytes(4))]}, "power of two, not 0.0"),
        ({"infos": [A, info("a", (2,), 0, 32)]}, "the tensor a is given twice"),
        ({"infos": [info("a", (), 0, 0)]}, "the tensor a has 0 dimensions"),
        ({"infos": [info("a", (1,) * 5, 0, 0)]}, "the tensor a has 5 dimensions"),
        ({"infos": [info("a", (4, 2), 255, 0)]}, "the tensor a is of the unknown type 255"),
        ({"infos": [info("a", (0, 2), 0, 0)]}, r"of shape \[2, 0\] cannot be of the type F32"),
        ({"infos": [info("a", (4, 2), 8, 0)]}, r"of shape \[2, 4\] cannot be of the type Q8_0"),
        (
            {"infos": [info("a", (2**32, 2**32), 0, 0)]},
            "the tensor a of 73786976294838206464 bytes",
        ),
        ({"infos": [info("a", (4, 2), 0, 2**63)]}, "the tensor a of 32 bytes should begin at 922"),
        ({"infos": [info("a", (4, 2), 0, 32)]}, "is truncated or damaged: the tensor a of 32"),
        ({"infos": [info("a", (2,), 0, 4)]}, "should begin at 132, the file has"),
        ({"infos": [A, info("b", (2,), 0, 0)]}, "the tensors a and b overlap"),
    ],
)
def test_a_header_that_lies_is_refused_by_name_and_allocates_nothing(path, changes, message):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message) as refusal:
            open_file(path, **changes)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(refusal.value)


def test_a_file_cut_at_any_byte_is_refused(path):
    whole = file_of(**GOOD)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model\.gguf"):
            GgufFile(path)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, len(file_of(**GOOD)) - 1), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read_never_anything_else(tmp_path_factory, at, value):
    path = tmp_path_factory.mktemp("damaged") / "model.gguf"
    data = bytearray(file_of(**GOOD))
    data[at] = value
    path.write_bytes(data)
    try:
        file = GgufFile(path)
        for name, entry in file.entries.items():
            if entry.dtype in READABLE:
                list(file.blocks(name))
    except CheckpointError:
        pass


def test_a_value_that_is_not_finite_names_its_tensor(path):
    file = open_file(path, values=np.array([1, np.inf, *range(8)], "<f4").tobytes())
    with pytest.raises(CheckpointError, match="NaN or Inf in the tensor a, in rows 0 to 1"):
        list(file.blocks("a"))


def test_a_file_that_changed_since_it_was_opened_is_refused(path):
    file = open_file(path)
    path.write_bytes(file_of(**GOOD | {"values": bytes(44)}))
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        list(file.blocks("a"))
    path.unlink()
    with pytest.raises(CheckpointError, match="was removed"):
        file.check_unchanged()


def test_other_files_are_no_gguf_files(path):
    for data in (b"", b"GGUF", b"PK\3\4" + bytes(100)):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="no GGUF file"):
            GgufFile(path)


@pytest.mark.parametrize("kind", sorted(READABLE))
def test_values_of_every_type_are_those_the_gguf_package_reads(path, kind):
    qtype = gguf.GGMLQuantizationType[kind]
    values, size = gguf.GGML_QUANT_SIZES[qtype]
    rng = np.random.default_rng(1)
    data = rng.integers(0, 0x3C, (5, 4 * size), np.uint8)  # low bytes: no scale is Inf
    writer = gguf.GGUFWriter(path, "gemma")
    writer.add_tensor("a", data, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = gguf.GGUFReader(path).tensors[0]
    expected = gguf.dequantize(np.asarray(tensor.data), qtype).reshape(5, 4 * values)
    (found,) = GgufFile(path).blocks("a")
    np.testing.assert_array_equal(found.astype(np.float32), expected)


def split_groups(raw, kind):
    """Scales and values of the package's blocks, one by one as ggml's documentation has them."""
    size = {"Q8_0": 34, "Q4_0": 18}[kind]
    groups = raw.reshape(len(raw), -1, size)
    scale = np.frombuffer(groups[..., :2].tobytes(), "<f2").reshape(groups.shape[:2])
    data = groups[..., 2:]
    if kind == "Q4_0":  # value i in the low half of byte i, value i + 16 in its high half
        data = np.stack([data % 16, data // 16], axis=-2).reshape(*data.shape[:2], 32) - np.uint8(8)
    return scale, data.view(np.int8)


@pytest.mark.parametrize("kind", WRITABLE)
def test_what_is_written_is_read_by_the_gguf_package(path, kind):
    values = np.random.default_rng(0).standard_normal((40, 64), np.float32)
    qtype = gguf.GGMLQuantizationType[kind]
    raw = gguf.quantize(values, qtype)
    parts = [values[:7], values[7:]]
    if kind in QUANTISED:
        scale, q = split_groups(raw, kind)
        parts = [(q[:16], scale[:16]), (q[16:], scale[16:])]
    write_gguf(
        path,
        architecture="gemma",
        metadata={"a.number": 7, "a.ratio": 0.5, "a.flag": False, "a.words": ["x", "\u00e9", ""]},
        tensors={"first": ((40, 64), kind), "second": ((3,), "F32")},
        blocks=lambda name: parts if name == "first" else [np.ones(3, np.float32)],
    )
    reader = gguf.GGUFReader(path)
    assert {k: f.contents() for k, f in reader.fields.items() if k.startswith(("a.", "gen"))} == {
        "general.architecture": "gemma",
        "a.number": 7,
        "a.ratio": 0.5,
        "a.flag": False,
        "a.words": ["x", "\u00e9", ""],
    }
    first = next(tensor for tensor in reader.tensors if tensor.name == "first")
    np.testing.assert_array_equal(
        np.asarray(first.data).view(np.uint8).reshape(-1),
        raw.view(np.uint8).reshape(-1),
    )
    file = GgufFile(path)
    found = np.concatenate([block.astype(np.float32) for block in file.blocks("first")])
    # Half a step and the rounding of its size; Q4_0 has a value less on the side of the smaller
    # extreme, which costs that one a whole step.
    bounds = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 254 + 2**-11, "Q4_0": 1 / 8}
    scale = np.abs(values).reshape(40, 2, 32).max(-1).repeat(32).reshape(40, 64)
    assert (np.abs(found - values) <= bounds[kind] * scale).all()
    assert file.metadata["a.words"] == ["x", "\u00e9", ""]


@pytest.mark.parametrize(("kind", "value"), [("F16", 1e6), ("Q8_0", 1e8), ("F32", np.nan)])
def test_a_value_too_large_for_its_type_is_refused(path, kind, value):
    values = np.full((1, 32), value, np.float32)
    block = quantise_groups(values, weights="int8") if kind == "Q8_0" else values
    with pytest.raises(CheckpointError, match=f"tensor a holds a value .* too large for {kind}"):
        write_gguf(
            path,
            architecture="gemma",
            metadata={},
            tensors={"a": ((1, 32), kind)},
            blocks=lambda _: [block],
        )


def test_bfloat16_stays_as_it_is(path):
    values = np.array([[1.0, -3.140625] * 16], ml_dtypes.bfloat16)
    write_gguf(
        path,
        architecture="gemma",
        metadata={},
        tensors={"a": ((1, 32), "BF16")},
        blocks=lambda _: [values],
    )
    (found,) = GgufFile(path).blocks("a")
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantised_values_and_scales_are_those_the_gguf_package_decodes(path, kind):
    qtype = gguf.GGMLQuantizationType[kind]
    _, size = gguf.GGML_QUANT_SIZES[qtype]
    data = np.random.default_rng(2).integers(0, 0x3C, (48, 4 * size), np.uint8)
    data[:, 5::7] ^= 0x80 if kind == "Q8_0" else 0xB7
    data[:, 1::size] &= 0x3B  # the scales stay finite
    writer = gguf.GGUFWriter(path, "gemma")
    writer.add_tensor("a", data, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ((values, scale),) = GgufFile(path).quantised_blocks("a", num_rows=32)
    assert (values.dtype, scale.dtype, values.shape) == (np.int8, np.float16, (32, 4, 32))
    found = values.astype(np.float32) * scale.astype(np.float32)[..., None]
    np.testing.assert_array_equal(found.reshape(32, 128), gguf.dequantize(data, qtype)[:32])


def test_a_scale_that_is_not_finite_is_refused(path):
    data = np.zeros((16, 34), np.uint8)
    data[3, 1] = 0x7C
    writer = gguf.GGUFWriter(path, "gemma")
    writer.add_tensor("a", data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="NaN or Inf in the tensor a, in rows 0 to 15"):
        list(GgufFile(path).quantised_blocks("a"))
