# SPDX-License-Identifier: Apache-2.0
"""A SentencePiece model as the three lists that GGUF keeps of it, and back.

GGUF stores each piece's spelling, score and type, in the numbers SentencePiece itself uses; what
else a `tokenizer.model` of Gemma's holds (byte fallback, no normalisation, no added space) is the
same in all of them. Only these fields of the protocol buffer are read.

Source: sentencepiece_model.proto; the Protocol Buffers encoding.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from codegemma.errors import CheckpointError
from codegemma.text import tokens as t


class PieceType(IntEnum):
    """What a piece is, in SentencePiece's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Pieces in the order of their ids: spelling, score and type of each."""

    pieces: Sequence[str]
    scores: Sequence[float]
    types: Sequence[int]


# Fields of ModelProto and of the messages in it, by number.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_SPELLING, _SCORE, _TYPE = 1, 2, 3
_TRAINER_FIELDS: Final = {
    3: 2,  # model_type BPE
    35: 1,  # byte_fallback
    40: t.UNK_ID,
    41: t.BOS_ID,
    42: t.EOS_ID,
    43: t.PAD_ID,
}
_TRAINER_PIECES: Final = {45: t.UNK, 46: t.BOS, 47: t.EOS, 48: t.PAD}
_NORMALIZER_FIELDS: Final = {3: 0, 4: 0, 5: 1}  # no added space, spaces kept, spaces escaped
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parse_sentencepiece(data: bytes, *, place: str) -> Vocabulary:
    """Read the pieces of a `tokenizer.model`.

    Raises:
        CheckpointError: The bytes are no SentencePiece model.
    """
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    try:
        for number, _, message in _fields(data):
            if number != _PIECES:
                continue
            assert isinstance(message, bytes)
            found = {field: value for field, _, value in _fields(message)}
            pieces.append(bytes(found[_SPELLING]).decode())  # pyright: ignore[reportArgumentType]  # a wrong wire type raises TypeError
            scores.append(struct.unpack("<f", found.get(_SCORE, bytes(4)))[0])  # pyright: ignore[reportArgumentType]  # as above, struct.error
            types.append(PieceType(found.get(_TYPE, PieceType.NORMAL)))
    except (AssertionError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise CheckpointError(f"{place} is not a SentencePiece model") from error
    return Vocabulary(pieces=pieces, scores=scores, types=types)


def render_sentencepiece(vocabulary: Vocabulary) -> bytes:
    """Give the `tokenizer.model` of a vocabulary in Gemma's layout."""
    model = b"".join(
        _message(
            _PIECES,
            _message(_SPELLING, piece.encode())
            + _tag(_SCORE, _FIXED32)
            + struct.pack("<f", score)
            + _number(_TYPE, kind),
        )
        for piece, score, kind in zip(
            vocabulary.pieces, vocabulary.scores, vocabulary.types, strict=True
        )
    )
    trainer = b"".join(_number(field, value) for field, value in _TRAINER_FIELDS.items())
    trainer += b"".join(_message(field, text.encode()) for field, text in _TRAINER_PIECES.items())
    normalizer = _message(1, b"identity")
    normalizer += b"".join(_number(field, value) for field, value in _NORMALIZER_FIELDS.items())
    return model + _message(_TRAINER, trainer) + _message(_NORMALIZER, normalizer)


def restore_types(vocabulary: Vocabulary) -> Vocabulary:
    """Give pieces the types of Gemma's layout, where a converter took them for normal ones.

    Converters ask SentencePiece for a piece's type, which does not tell pieces kept whole from
    learned ones; those stand between the reserved ids and the byte pieces.
    """
    types = list(vocabulary.types)
    first_byte = types.index(PieceType.BYTE) if PieceType.BYTE in types else 0
    for token, kind in enumerate(types[:first_byte]):
        if token < t.NUM_RESERVED and token != t.UNK_ID:
            types[token] = PieceType.CONTROL
        elif token >= t.NUM_RESERVED and kind == PieceType.NORMAL:
            types[token] = PieceType.USER_DEFINED
    return Vocabulary(pieces=vocabulary.pieces, scores=vocabulary.scores, types=types)


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and value of every field of a message."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _read_varint(data, position)
            yield number, kind, value
            continue
        if kind == _BYTES:
            size, position = _read_varint(data, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}[kind]
        if position + size > len(data):
            raise IndexError("a field ends beyond the message")
        yield number, kind, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number has no end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value)


def _message(number: int, data: bytes) -> bytes:
    return _tag(number, _BYTES) + _varint(len(data)) + data
