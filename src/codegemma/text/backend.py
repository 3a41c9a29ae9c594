# SPDX-License-Identifier: Apache-2.0
"""The two files a vocabulary comes in, read into one shape: SentencePiece and Hugging Face JSON.

A backend knows its pieces and encodes text that holds no control token's spelling; everything
else (refusing control tokens, the round trip, the layout) is `tokenizer.py`'s. Reading never
executes anything from the file, and a damaged file is a CheckpointError.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import sentencepiece

from codegemma.errors import CheckpointError
from codegemma.text.tokens import SPACE


@runtime_checkable
class Backend(Protocol):
    """A vocabulary and its merge rules."""

    vocab_size: int
    special: frozenset[int]
    """Ids the file itself marks as no plain text."""

    def encode(self, text: str) -> list[int]:
        """Encode text; a control token's spelling in it may become that token."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts, in this thread."""
        ...

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Give the spelling of ids, spaces written as U+2581."""
        ...

    def find(self, piece: str) -> int | None:
        """Give the id of a piece, None when there is none."""
        ...


class SentencePieceBackend:
    """A `tokenizer.model`.

    The library reads it in this process, which a process apart would only slow down: under random
    damage it raises, or gives a vocabulary that the layout check refuses or that differs in a
    piece, which only a checksum can tell.

    Raises:
        CheckpointError: The bytes are no SentencePiece model.
    """

    special: frozenset[int] = frozenset()

    def __init__(self, data: bytes, *, path: Path) -> None:
        self._path = path
        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(data)
        except (RuntimeError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a SentencePiece model: {_line(error)}") from error
        self.vocab_size = int(self._processor.get_piece_size())
        if not self.vocab_size:
            raise CheckpointError(f"{path} is not a SentencePiece model: it holds no pieces")

    def encode(self, text: str) -> list[int]:
        """Encode text."""
        return cast("list[int]", self._processor.encode(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts."""
        return cast("list[list[int]]", self._processor.encode(list(texts), num_threads=1))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Give the spelling of ids."""
        try:
            return cast("list[str]", self._processor.id_to_piece(list(tokens)))
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self._path} holds a piece that is not UTF-8") from error

    def find(self, piece: str) -> int | None:
        """Give the id of a piece, None when there is none."""
        token = int(self._processor.piece_to_id(piece))
        return token if self.pieces([token]) == [piece] else None


class JsonBackend:
    """A `tokenizer.json` of the tokenizers library.

    Raises:
        CheckpointError: The bytes are no such file, or its model is not byte-pair merges with
            byte fallback.
    """

    def __init__(self, data: bytes, *, path: Path) -> None:
        import tokenizers

        try:
            document: Any = json.loads(data)
            model = document["model"]
            kind, has_bytes = model.get("type", "BPE"), model.get("byte_fallback", False)
            added: list[dict[str, Any]] = document.get("added_tokens") or []
            self.special = frozenset(int(token["id"]) for token in added if token["special"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path} is not a tokenizer.json: {_line(error)}") from error
        if kind != "BPE" or has_bytes is not True:
            raise CheckpointError(
                f"{path}: expected a BPE model with byte_fallback as Gemma has, found {kind!r} "
                f"with byte_fallback {has_bytes!r}"
            )
        if '"Regex":' in json.dumps([document.get("normalizer"), document.get("pre_tokenizer")]):
            raise CheckpointError(
                f"{path}: expected plain patterns as Gemma has, found a regular expression"
            )
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        except BaseException as error:  # a panic of the library is no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise CheckpointError(f"{path} is not a tokenizer.json: {_line(error)}") from error
        self._ids = {piece.replace(" ", SPACE): token for piece, token in vocabulary.items()}
        self._spellings = {token: piece for piece, token in self._ids.items()}
        self.vocab_size = len(self._spellings)
        if max(self._spellings, default=-1) + 1 != self.vocab_size:
            raise CheckpointError(f"{path}: the ids of its {self.vocab_size} pieces have gaps")

    def encode(self, text: str) -> list[int]:
        """Encode text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode several texts."""
        return [self.encode(text) for text in texts]

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Give the spelling of ids."""
        return [self._spellings[token] for token in tokens]

    def find(self, piece: str) -> int | None:
        """Give the id of a piece, None when there is none."""
        return self._ids.get(piece)


def read_backend(path: Path, data: bytes) -> Backend:
    """Read a vocabulary by the name of its file: `*.json` or else a SentencePiece model.

    Raises:
        CheckpointError: It is damaged, or no vocabulary.
    """
    if path.suffix == ".json":
        return JsonBackend(data, path=path)
    return SentencePieceBackend(data, path=path)


def _line(error: BaseException) -> str:
    """Give an error's message on one line of bounded length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
