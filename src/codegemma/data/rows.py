# SPDX-License-Identifier: Apache-2.0
"""Training rows of the context length: whole segments side by side, and where each came from.

Takes segments that `loader.draw_segment` encoded and gives what a trainer reads; cuts nothing and
draws nothing. `materialize` writes rows; `train` fills its own as it draws.

A stored row is a line of JSON, `{"segments": [...]}`, and four arrays of one length,
little-endian: tokens, segment_ids and positions (int32), loss_weights (float32).
"""

import bisect
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codegemma.data import loader
from codegemma.data.loader import Encoded
from codegemma.data.shards import Record
from codegemma.errors import DataError

_INT: Final = np.dtype("<i4")
_FLOAT: Final = np.dtype("<f4")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFile:
    """A file, or a window of one, in a segment of a row.

    Args:
        origin: `name@version:LINE` of its repository, as in the record.
        path: Inside the repository; "" or the role where the record holds no code.
        start: Place in the row of the first of its tokens, from 0.
        shown: "whole", or the order of its parts, "psm" or "spm".
        kind: How the cut was drawn, "" for an uncut file.
        has_path: Whether its path line is shown.
    """

    origin: str
    path: str
    start: int
    shown: str = "whole"
    kind: str = ""
    has_path: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSegment:
    """A segment of a row.

    Args:
        record: Number of the record in the shard of the same name.
        start: Place in the row of its first token, `<bos>`.
        size: Tokens.
        files: In their order.
    """

    record: int
    start: int
    size: int
    files: tuple[RowFile, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """A row of whole segments, those of one shard.

    Args:
        tokens: Ids, int32 [T]; 0 where the row is not filled.
        segment_ids: Number of the segment, from 1, int32 [T]; 0 is padding.
        positions: Place of each token in its segment, from 0, int32 [T].
        loss_weights: float32 [T]: 1, and 0 for the first token of a segment and for padding.
        segments: What is in it.
    """

    tokens: NDArray[np.int32]
    segment_ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    loss_weights: NDArray[np.float32]
    segments: tuple[RowSegment, ...]


def fill_rows(records: Sequence[Record], drawn: Sequence[Encoded], *, row_tokens: int) -> list[Row]:
    """Put the segments of a shard into as few rows as best fit finds.

    Args:
        records: What the segments were drawn from.
        drawn: One of each.
        row_tokens: Length of a row, in which each segment has room.

    Returns:
        Rows in the order of their first segments, and these in that of the records.
    """
    places = best_fit([len(encoded.tokens) for encoded in drawn], room=row_tokens)
    return [
        _row([(i, records[i], drawn[i]) for i in numbers], row_tokens=row_tokens)
        for numbers in places
    ]


def best_fit(sizes: Sequence[int], *, room: int) -> list[list[int]]:
    """Share out items over bins: from the largest down, each into the fullest that has room.

    Source: Ding et al., arXiv 2404.10830.

    Example: sizes 5, 3, 6, 2 in bins of 8 are shared out as [[0, 1], [2, 3]].
    """
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # room of a bin and its number, sorted
    for item in sorted(range(len(sizes)), key=lambda item: (-sizes[item], item)):
        place = bisect.bisect_left(free, (sizes[item], -1))
        if place == len(free):
            bins.append([])
            left, number = room, len(bins) - 1
        else:
            left, number = free.pop(place)
        bins[number].append(item)
        bisect.insort(free, (left - sizes[item], number))
    return sorted(sorted(items) for items in bins)


def _row(segments: Sequence[tuple[int, Record, Encoded]], *, row_tokens: int) -> Row:
    tokens, segment_ids, positions = (np.zeros(row_tokens, np.int32) for _ in range(3))
    loss_weights = np.zeros(row_tokens, np.float32)
    told: list[RowSegment] = []
    start = 0
    for number, (record_number, record, encoded) in enumerate(segments, start=1):
        size = len(encoded.tokens)
        mine = slice(start, start + size)
        tokens[mine] = encoded.tokens
        segment_ids[mine] = number
        positions[mine] = np.arange(size)
        loss_weights[start + 1 : start + size] = 1
        files = tuple(
            RowFile(
                origin=file.origin,
                path=file.path,
                start=start + begin,
                shown=draw.mode if draw.split else "whole",
                kind=draw.kind or "",
                has_path=draw.has_path,
            )
            for file, draw, begin in zip(record.files, encoded.draws, encoded.starts, strict=True)
        )
        told.append(RowSegment(record=record_number, start=start, size=size, files=files))
        start += size
    return Row(
        tokens=tokens,
        segment_ids=segment_ids,
        positions=positions,
        loss_weights=loss_weights,
        segments=tuple(told),
    )


def pack_row(row: Row) -> bytes:
    """Serialise a row."""
    head = {"segments": [asdict(segment) for segment in row.segments]}
    arrays = (row.tokens, row.segment_ids, row.positions)
    return b"".join(
        (
            json.dumps(head, separators=(",", ":")).encode() + b"\n",
            *(array.astype(_INT).tobytes() for array in arrays),
            row.loss_weights.astype(_FLOAT).tobytes(),
        )
    )


def is_row(data: bytes) -> bool:
    """Tell whether what a shard holds is a row, not a record of text."""
    return data.startswith(b'{"segments":')


def unpack_row(data: bytes) -> Row:
    """Read a row back.

    Raises:
        DataError: The bytes are no row.
    """
    line, _, body = data.partition(b"\n")
    try:
        told = tuple(_segment(values) for values in json.loads(line)["segments"])
        integers = np.frombuffer(body, _INT, count=len(body) // 16 * 3).reshape(3, -1)
        weights = np.frombuffer(body, _FLOAT, offset=len(body) // 16 * 12)
        if len(weights) != integers.shape[1]:
            raise ValueError("the arrays are not of one length")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"a row is damaged: {error}; delete the rows and write them anew"
        ) from error
    tokens, segment_ids, positions = integers.astype(np.int32)
    return Row(
        tokens=tokens,
        segment_ids=segment_ids,
        positions=positions,
        loss_weights=weights.astype(np.float32),
        segments=told,
    )


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of one shard file.

    Raises:
        DataError: It is missing, damaged, or holds records of text.
    """
    return map(unpack_row, loader.read_shard(path))


def _segment(values: dict[str, Any]) -> RowSegment:
    files = tuple(RowFile(**file) for file in values.pop("files"))
    return RowSegment(**values, files=files)
