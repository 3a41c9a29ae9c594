# SPDX-License-Identifier: Apache-2.0
"""Read records by index, and turn one into the tokens of a training segment.

Reads what `pipeline` wrote and its manifest; knows nothing of batches, devices or jax.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codegemma.data import manifest, shards, split
from codegemma.data.document import GENRES, Genre
from codegemma.data.recipes import DataRecipe
from codegemma.data.shards import Part, Record
from codegemma.data.split import Draw
from codegemma.errors import DataError
from codegemma.text.chat import render_conversation
from codegemma.text.fim import encode_infill, encode_whole, join_blocks
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import START_OF_TURN_ID

_DRAWS = 4


class Encoded(NamedTuple):
    """A segment, and how it came about.

    Args:
        tokens: Ids, int32 [T].
        is_fallback: Whether every file was left uncut because no draw kept to the budget.
        draws: How each of its files is shown.
        starts: Where each of its files begins in the tokens, its path line or first sentinel.
    """

    tokens: NDArray[np.int32]
    is_fallback: bool
    draws: tuple[Draw, ...] = ()
    starts: tuple[int, ...] = ()


class ShardReader:
    """Records of one genre and part of a data set, in shard order. Picklable; opens files lazily.

    Args:
        folder: Output folder of `codegemma prepare`.
        split: "train" or "heldout".
        genre: What the records hold.

    Raises:
        DataError: The manifest is missing or damaged, or a shard is not as it says.
    """

    def __init__(self, folder: Path, split: Part = "train", genre: Genre = "code") -> None:
        self.folder = Path(folder)
        self.manifest = manifest.read_manifest(self.folder)
        self._paths: list[Path] = []
        self._ends: list[int] = []
        for entry in self.manifest["shards"][split]:
            if entry.get("genre", "code") != genre:
                continue
            path = self.folder / "shards" / entry["name"]
            size = path.stat().st_size if path.is_file() else None
            if size != entry["bytes"]:
                found = "it is missing" if size is None else f"it has {size}"
                raise DataError(
                    f"shard {path} must have {entry['bytes']} bytes but {found}; prepare again"
                )
            self._paths.append(path)
            self._ends.append((self._ends[-1] if self._ends else 0) + entry["records"])
        self._readers: dict[int, Any] = {}

    def __len__(self) -> int:
        """Number of records."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Record:
        """Read a record.

        Raises:
            IndexError: The index is outside [0, len).
            DataError: The shard is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        first = self._ends[shard - 1] if shard else 0
        if shard not in self._readers:
            self._readers[shard] = _open(self._paths[shard])
        return _read(self._readers[shard], self._paths[shard], index - first)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind; they are opened again where the reader arrives."""
        return self.__dict__ | {"_readers": {}}

    def verify(self) -> None:
        """Compare every shard's sha256 with the manifest.

        Raises:
            DataError: One differs.
        """
        entries = {e["name"]: e for part in self.manifest["shards"].values() for e in part}
        for path in self._paths:
            if shards.hash_file(path) != entries[path.name]["sha256"]:
                raise DataError(f"shard {path} does not have the sha256 of the manifest")


def readers(folder: Path, split: Part = "train") -> dict[Genre, ShardReader]:
    """Give a reader for each genre of which a part of a data set has records.

    Raises:
        DataError: As `ShardReader`.
    """
    found: dict[Genre, ShardReader] = {}
    for genre in GENRES:
        reader = ShardReader(folder, split, genre)
        if len(reader):
            found[genre] = reader
    return found


def read_record(path: Path, index: int) -> Record:
    """Read one record of one shard file.

    Raises:
        DataError: There is no such file or record, or it is damaged.
    """
    return shards.unpack_record(read_bytes(path, index))


def read_bytes(path: Path, index: int) -> bytes:
    """Read one row of one shard file, as it was written.

    Raises:
        DataError: There is no such file or row, or it is damaged.
    """
    reader = _open_existing(path)
    count = reader.num_records()
    if index >= count:
        raise DataError(f"{path} has records 0 to {count - 1}, no {index}")
    return _read_row(reader, path, index)


def read_shard(path: Path) -> Iterator[bytes]:
    """Read the rows of one shard file, as they were written.

    Raises:
        DataError: There is no such file, or it is damaged.
    """
    reader = _open_existing(path)
    return (_read_row(reader, path, index) for index in range(reader.num_records()))


def read_shards(folder: Path, entries: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """Read the rows of several shards, as a manifest lists them, one after the other.

    Raises:
        DataError: One is missing or damaged.
    """
    for entry in entries:
        if entry["records"]:
            yield from read_shard(folder / entry["name"])


def _open_existing(path: Path) -> Any:
    try:
        is_file = path.is_file()
    except OSError as error:
        raise DataError(f"cannot read the shard {path}: {error.strerror}") from error
    if not is_file:
        raise DataError(f"there is no shard {path}")
    return _open(path)


def _open(path: Path) -> Any:
    """Open a shard; the binding reports damage at opening, at reading or at closing."""
    reader = shards.array_record().ArrayRecordReader(str(path), "readahead_buffer_size:0")
    if not reader.ok():
        raise DataError(f"{path} is damaged, or no shard; prepare the data again")
    if reader.num_records() == 0:
        raise DataError(f"{path} holds no example, which is right where nothing is held out")
    return reader


def _read(reader: Any, path: Path, index: int) -> Record:
    return shards.unpack_record(_read_row(reader, path, index))


def _read_row(reader: Any, path: Path, index: int) -> bytes:
    try:
        return reader.read([index])[0]
    except Exception as error:  # the binding raises several kinds for damaged files
        raise DataError(f"record {index} of {path} is damaged: {error}") from error


def encode_record(
    record: Record, *, tokenizer: Tokenizer, recipe: DataRecipe, seed: int, epoch: int
) -> NDArray[np.int32]:
    """Encode one segment: int32 [T] with T at most `record.max_tokens`, as `draw_segment` does."""
    return draw_segment(record, tokenizer=tokenizer, recipe=recipe, seed=seed, epoch=epoch).tokens


def draw_segment(
    record: Record, *, tokenizer: Tokenizer, recipe: DataRecipe, seed: int, epoch: int
) -> Encoded:
    """Cut and encode a record, and say whether it had to be left uncut.

    A pure function of its arguments. Only code is cut. A draw that overflows the budget is drawn
    again 3 times, then every file is left uncut.

    Raises:
        DataError: Uncut, the record is over its budget: it was counted with another tokenizer.
    """
    for attempt in range(_DRAWS if record.genre == "code" else 0):
        rng = split.generator(record, seed=seed, epoch=epoch, purpose=f"fim{attempt}")
        draws = [split.draw_file(file, recipe=recipe, rng=rng) for file in record.files]
        encoded = _encode(record, draws, tokenizer)
        if len(encoded.tokens) <= record.max_tokens:
            return encoded
    uncut = (split.UNCUT,) * len(record.files)
    encoded = _encode(record, uncut, tokenizer)
    if len(encoded.tokens) > record.max_tokens:
        raise DataError(
            f"a record of {record.files[0].origin} has {len(encoded.tokens)} tokens, more than its "
            f"budget of {record.max_tokens}; it was prepared with another tokenizer"
        )
    return encoded._replace(is_fallback=record.genre == "code")


def _encode(record: Record, draws: Sequence[Draw], tokenizer: Tokenizer) -> Encoded:
    if record.genre == "chat":
        tokens = np.asarray(
            render_conversation(tokenizer, [file.text for file in record.files]), np.int32
        )
        starts = np.flatnonzero(tokens == START_OF_TURN_ID).tolist()
        return Encoded(tokens, is_fallback=False, draws=tuple(draws), starts=tuple(starts))
    blocks: list[list[int]] = []
    for file, draw in zip(record.files, draws, strict=True):
        path = file.path if draw.has_path else None
        if draw.split is None:
            blocks.append(encode_whole(tokenizer, file.text, path=path))
        else:
            blocks.append(encode_infill(tokenizer, draw.split, path=path, mode=draw.mode))
    tokens = np.asarray(join_blocks(blocks), np.int32)
    starts = accumulate((len(block) + 1 for block in blocks[:-1]), initial=1)
    return Encoded(tokens, is_fallback=False, draws=tuple(draws), starts=tuple(starts))
