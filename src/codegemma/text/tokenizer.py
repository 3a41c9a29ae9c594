# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, exactly, whatever the text holds.

Reads a `tokenizer.model` (SentencePiece) or a `tokenizer.json` in Gemma's layout. Two promises
hold for every valid string: `decode(encode(text)) == text`, and no id of a control token comes
out of text: `<|fim_prefix|>`, `<bos>` or `<unused7>` written in a file are plain characters.
Control tokens are put in by `fim.py` and `chat.py`, by id.
"""

import codecs
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from codegemma.errors import CheckpointError, InputError
from codegemma.text import tokens as t
from codegemma.text.backend import Backend, read_backend
from codegemma.text.healing import ByteTable

FILE_NAMES: Final = ("tokenizer.model", "tokenizer.json")
"""Vocabulary files of a model folder, the preferred one first."""

MAX_FILE_BYTES: Final = 256 << 20
"""Larger vocabulary files are refused; Gemma's are 4 MB (SentencePiece) and 18 MB (JSON)."""

_CHUNK_CHARS: Final = 1024
_WINDOW_CHARS: Final = 8192
_NUM_OVERLAPS: Final = 8
_BORDER: Final = re.compile(r"(?<=[^ \n])[ \n]")
_CROSSES_BORDER: Final = re.compile(rb"[^ \n\xff][ \n]")
_NO_TEXT: Final = b"\xff"  # a byte that is in no text
_SEPARATOR: Final = "\0\uffff\0"
_PROBE: Final = "".join(map(chr, range(128))) + "\r\n\t\t  a   b\n\n\n\u00e9\ufb01\u6f22\U0001f600"
_LATE_CONTROL: Final = ("<unused99>", "[toxicity=0]", "<start_of_image>", "<end_of_image>")
"""Control tokens of Gemma's at the end of the vocabulary, beyond the reserved ids."""


class Tokenizer:
    """A vocabulary in Gemma's layout. Immutable and thread-safe.

    Args:
        backend: The vocabulary.
        path: The file it came from.
        fingerprint: sha256 of that file, in hexadecimal.

    Raises:
        CheckpointError: A fixed id holds something else, or text would not survive.
    """

    def __init__(self, backend: Backend, *, path: Path, fingerprint: str) -> None:
        self._backend = backend
        self.path = path
        self.fingerprint = fingerprint
        self.vocab_size = backend.vocab_size
        self._check_layout()
        late = (backend.find(piece) for piece in _LATE_CONTROL)
        self._controls = frozenset(
            [token for token in range(t.NUM_RESERVED) if t.is_control(token)]
            + [token for token in late if token is not None]
            + [token for token in backend.special if token != t.UNK_ID]
        )
        spellings = {*backend.pieces(sorted(self._controls)), *t.RESERVED_PIECES}
        # Each alternative starts with a plain character: that lets the engine skip to one.
        runs = f"{t.SPACE}{t.SPACE}*"
        self._special = re.compile("|".join([runs, *map(re.escape, sorted(spellings))]))
        self._space_ids = [self._byte_id(byte) for byte in t.SPACE.encode()]
        self._check_controls("".join(sorted(spellings)))
        self._check_round_trip()

    @classmethod
    def from_file(cls, path: Path | str) -> "Tokenizer":
        """Read a `tokenizer.model` or `tokenizer.json`.

        Raises:
            CheckpointError: It is missing, damaged, or not in Gemma's layout.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise CheckpointError(f"cannot read the tokenizer {path}: {error.strerror}") from error
        if len(data) > MAX_FILE_BYTES:
            raise CheckpointError(f"{path} is larger than a vocabulary's {MAX_FILE_BYTES} bytes")
        fingerprint = hashlib.sha256(data).hexdigest()
        return cls(read_backend(path, data), path=path, fingerprint=fingerprint)

    @classmethod
    def from_folder(cls, folder: Path | str) -> "Tokenizer":
        """Read the vocabulary of a model folder, `tokenizer.model` before `tokenizer.json`.

        Raises:
            CheckpointError: The folder has neither, or what it has is refused.
        """
        for name in FILE_NAMES:
            path = Path(folder) / name
            if path.is_file():
                return cls.from_file(path)
        raise CheckpointError(f"{folder} holds no tokenizer: expected {' or '.join(FILE_NAMES)}")

    def encode(self, text: str, *, max_tokens: int = sys.maxsize) -> list[int]:
        """Encode plain text: no `<bos>`, and never the id of a control token.

        A control token's spelling is cut after its first character, so that its parts are encoded
        as ordinary text. U+2581, which SentencePiece uses for the space, goes byte by byte.
        Time is linear in the length of the text, in one line or many.

        Args:
            text: All of it.
            max_tokens: Of a text that has more, the first ids are enough: more than so many.

        Raises:
            InputError: The text holds half of a surrogate pair, which no file can.
        """
        if not text.isascii():
            _check_unicode(text)
        out: list[int] = []
        start = 0
        for match in self._special.finditer(text):
            is_space = match.group()[0] == t.SPACE
            end = match.start() + (not is_space)
            self._encode_run(text[start:end], out, max_tokens)
            if len(out) > max_tokens:
                return out
            out += self._space_ids * (len(match.group()) * is_space)
            start = match.end() if is_space else end
        self._encode_run(text[start:] if start else text, out, max_tokens)
        return out

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Encode several texts, each on its own; faster than one by one where they are short."""
        texts = list(texts)
        joined = "\n".join(texts)
        if not joined.isascii():
            _check_unicode(joined)
        if self._special.search(joined):
            return [self.encode(text) for text in texts]
        if max(map(len, texts), default=0) > 2 * _CHUNK_CHARS:
            return [self.encode(text) for text in texts]
        return self._backend.encode_batch(texts)

    def count_by_line(self, text: str) -> list[int]:
        """Count the tokens of a text by the line in which they begin; they add up to all of them.

        A line holds its end. Behind the last line end there is one more line, which may be empty.

        Raises:
            InputError: The text holds a lone surrogate.
        """
        counts = [0]
        ends = self._line_ends
        for token in self.encode(text):
            counts[-1] += 1
            if token in ends:
                counts += [0] * ends[token]
        return counts

    def decode(self, tokens: Iterable[int]) -> str:
        """Decode ids, control tokens left out; bytes that are no UTF-8 become U+FFFD.

        Raises:
            InputError: An id is outside the vocabulary.
        """
        tokens = list(tokens)
        if tokens and not 0 <= min(tokens) <= max(tokens) < self.vocab_size:
            bad = next(token for token in tokens if not 0 <= token < self.vocab_size)
            raise InputError(f"token id {bad} is outside the vocabulary of {self.vocab_size}")
        return b"".join(map(self._bytes.__getitem__, tokens)).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Give the UTF-8 bytes a token stands for, which may be part of a character.

        Control tokens give b"", the unknown token U+FFFD.

        Raises:
            InputError: The id is outside the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise InputError(f"token id {token} is outside the vocabulary of {self.vocab_size}")
        return self._bytes[token]

    def is_control(self, token: int) -> bool:
        """Whether an id is a control token of this vocabulary."""
        return token in self._controls

    @cached_property
    def byte_table(self) -> ByteTable:
        """The tokens that text can become, in the order of their bytes."""
        table = list(self._bytes)
        table[t.UNK_ID] = b""
        return ByteTable(table)

    def is_longer_end(self, data: bytes) -> bool:
        """Whether some token that text can become ends with `data` and has more in front of it.

        Args:
            data: UTF-8, at least one byte.
        """
        wanted = data + _NO_TEXT
        place = self._joined.find(wanted)
        while place >= 0 and self._joined[place - 1 : place] == _NO_TEXT:
            place = self._joined.find(wanted, place + 1)  # that token was `data` itself
        return place >= 0

    @cached_property
    def _joined(self) -> bytes:
        """Every token that text can become, with a byte around it that no text has."""
        tokens = (data for token, data in enumerate(self._bytes) if token != t.UNK_ID and data)
        return _NO_TEXT + _NO_TEXT.join(tokens) + _NO_TEXT

    @cached_property
    def max_token_bytes(self) -> int:
        """Length of the longest token's bytes: n tokens never hold more than n times as much."""
        return max(map(len, self._bytes))

    @cached_property
    def _line_ends(self) -> dict[int, int]:
        """How many line ends a token holds, of those that hold one."""
        return {token: data.count(b"\n") for token, data in enumerate(self._bytes) if b"\n" in data}

    @cached_property
    def _bytes(self) -> list[bytes]:
        """Bytes of every token."""
        # Through one string: piece by piece would be the slowest part of loading 256,000.
        pieces = _SEPARATOR.join(self._backend.pieces(range(self.vocab_size)))
        table = pieces.replace(t.SPACE, " ").encode().split(_SEPARATOR.encode())
        if len(table) != self.vocab_size:
            raise CheckpointError(f"{self.path}: a piece holds {_SEPARATOR!r}")
        for byte in range(256):
            token = self._backend.find(f"<0x{byte:02X}>")
            if token is not None:
                table[token] = bytes([byte])
        for token in self._controls:
            table[token] = b""
        table[t.UNK_ID] = "\ufffd".encode()
        return table

    @cached_property
    def _has_borders(self) -> bool:
        """Whether no piece holds a space or newline behind another character.

        Then merges cannot cross the border before such a space, and the text's parts encode to
        the same ids as the whole.
        """
        return _CROSSES_BORDER.search(_NO_TEXT.join(self._bytes)) is None

    def _encode_run(self, text: str, out: list[int], max_tokens: int) -> None:
        """Encode text without special spellings, in chunks: short ones are faster by the byte."""
        start = 0
        if len(text) > 2 * _CHUNK_CHARS and self._has_borders:
            while match := _BORDER.search(text, start + _CHUNK_CHARS):
                if len(out) > max_tokens:
                    return
                self._encode_windows(text[start : match.start()], out)
                start = match.start()
        if start < len(text):
            self._encode_windows(text[start:] if start else text, out)

    def _encode_windows(self, text: str, out: list[int]) -> None:
        """Encode text without borders in windows that overlap, to the ids of the whole.

        Merges depend on neighbours alone: ids, each two neighbours of which encode to themselves
        together, are those of the whole. So two windows join at a token from which on both have
        the same ids, for as long as the longest token, which may be a symbol kept whole.
        """
        encode = self._backend.encode
        start, ids = 0, encode(text[:_WINDOW_CHARS])
        while len(text) - start > _WINDOW_CHARS:
            for first, last, offset in islice(self._overlaps(ids), _NUM_OVERLAPS):
                at = start + offset
                following = encode(text[at : at + _WINDOW_CHARS])
                if following[: last - first] == ids[first:last]:
                    break
            else:  # a vocabulary of another kind
                out += encode(text[start:])
                return
            out += ids[:first]
            start, ids = at, following
        out += ids

    def _overlaps(self, ids: list[int]) -> Iterator[tuple[int, int, int]]:
        """Yield tokens that a next window could begin with, the last ones of a window first.

        Beside each, one that begins a longest token's length behind it, and how many characters
        stand before it. The last eighth of a window is not relied on: its end may have cut there.
        """
        margin = _WINDOW_CHARS // 8
        if self.max_token_bytes > margin or t.UNK_ID in ids:
            return
        num_chars, last = 0, 0
        for first in range(len(ids) - 1, 0, -1):
            data = self._bytes[ids[first]]
            num_chars += sum((byte & 0xC0) != 0x80 for byte in data)
            if not last:
                last = first if num_chars >= margin else 0
            elif num_chars >= margin + 2 * self.max_token_bytes and data[0] & 0xC0 != 0x80:
                yield first, last, _WINDOW_CHARS - num_chars

    def _byte_id(self, byte: int) -> int:
        piece = f"<0x{byte:02X}>"
        token = self._backend.find(piece)
        if token is None:
            raise CheckpointError(f"{self.path}: expected the byte piece {piece}, found none")
        return token

    def _check_layout(self) -> None:
        """Refuse a vocabulary whose fixed ids are not Gemma's."""
        if self.vocab_size <= t.NUM_RESERVED:
            raise CheckpointError(
                f"{self.path}: expected more than {t.NUM_RESERVED} pieces, found {self.vocab_size}"
            )
        found = self._backend.pieces(range(t.NUM_RESERVED + 1))
        for token, piece in t.FIXED_PIECES.items():
            expected = {piece}
            if t.FIM_PREFIX_ID <= token <= t.FILE_SEPARATOR_ID:
                expected.add(f"<unused{token - 7}>")
            if found[token] not in expected:
                raise CheckpointError(
                    f"{self.path} is not in Gemma's layout: expected id {token} to be "
                    f"{' or '.join(sorted(expected))}, found {found[token]!r}".replace("\n", "\\n")
                )

    def _check_round_trip(self) -> None:
        """Refuse a vocabulary that changes text: normalises, adds a space, or lacks bytes."""
        decoded = self.decode(self._backend.encode(_PROBE))
        if decoded != _PROBE:
            pairs = enumerate(zip(_PROBE, decoded, strict=False))
            at = next((i for i, (one, other) in pairs if one != other), len(decoded))
            raise CheckpointError(
                f"{self.path} does not give text back as it was: {_PROBE[at : at + 8]!r} came back "
                f"as {decoded[at : at + 8]!r}; expected no normalisation and no added space"
            )

    def _check_controls(self, spellings: str) -> None:
        """Refuse a vocabulary in which the spelling of a control token still becomes one."""
        unsafe = self._controls.intersection(self.encode(spellings))
        if unsafe:
            names = ", ".join(map(repr, self._backend.pieces(sorted(unsafe)[:5])))
            raise CheckpointError(f"{self.path}: control tokens {names} cannot be told from text")


class StreamDecoder:
    """Decodes token by token, holding back bytes until they make whole characters.

    Example:
        The emoji's four byte pieces give "", "", "" and then the emoji.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int, *, skip: int = 0) -> str:
        """Take a token and give the text that is complete with it, "" when none is.

        Args:
            token: Its id.
            skip: How many of its first bytes are left out.
        """
        return self._decoder.decode(self._tokenizer.token_bytes(token)[skip:])

    def flush(self) -> str:
        """End the text: bytes still held back become U+FFFD."""
        return self._decoder.decode(b"", final=True)


def _check_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"text holds a lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}; expected valid Unicode"
        ) from error
