# SPDX-License-Identifier: Apache-2.0
"""Train a SentencePiece BPE model in Gemma's layout from source text.

Reads texts, gives the bytes of a `tokenizer.model`; the same texts give the same bytes. Ids 0 to
107 are those of every Gemma vocabulary (`text.tokens`), then come newline, space and tab runs and
indented line ends, the 256 bytes, then what is learned.

Differs: Gemma's vocabulary has no piece for a line end with its indentation; a small one gains by
it, since every second token of indented code would be white space.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import sentencepiece

from codegemma.errors import ConfigError
from codegemma.text import tokens

_INDENTED: Final = (
    *("\n" + tokens.SPACE * width for width in range(4, 25, 4)),
    *("\n\n" + tokens.SPACE * width for width in range(4, 13, 4)),
)
"""Line ends with the indentation behind them; worth 6 % of all tokens of Python."""
_CHUNK_CHARS: Final = 2000


def sample(texts: Iterable[str], *, max_bytes: int, total_bytes: int) -> Iterator[str]:
    """Pass on about max_bytes of the texts, chosen by their hash, not by their order.

    Args:
        texts: All texts.
        max_bytes: Size of the sample.
        total_bytes: Size of all texts.
    """
    limit = min(1.0, max_bytes / max(1, total_bytes)) * 2**64
    for text in texts:
        digest = hashlib.sha256(text.encode()).digest()
        if int.from_bytes(digest[:8], "little") < limit:
            yield text


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Cut texts at line ends into sentences that the trainer does not discard for their length."""
    for text in texts:
        for start in range(0, len(text), _CHUNK_CHARS):
            yield text[start : start + _CHUNK_CHARS]


def _whole_pieces() -> list[str]:
    runs = tokens.whole_pieces(max_newlines=8, max_spaces=31, max_tabs=4, tags=False)
    return [*runs, *_INDENTED]


def smallest_size() -> int:
    """Give the least vocabulary size: all fixed pieces, the bytes, and room for 128 letters."""
    return tokens.NUM_RESERVED + len(_whole_pieces()) + 256 + 128


def train(texts: Iterable[str], *, vocab_size: int) -> bytes:
    """Train a vocabulary and give the bytes of its `tokenizer.model`.

    Merges never cross a space or a line end and digits stay apart, as in Gemma.

    Args:
        texts: Training text.
        vocab_size: Number of ids, reserved ones included.

    Raises:
        ConfigError: The size is too small for the reserved ids, or there is too little text.
    """
    whole = _whole_pieces()
    if vocab_size < smallest_size():
        raise ConfigError(f"vocab_size must be at least {smallest_size()}, not {vocab_size}")
    options: dict[str, Any] = tokens.trainer_options(whole) | {
        "vocab_size": vocab_size,
        "character_coverage": 0.9995,
        "max_sentence_length": 8 * _CHUNK_CHARS,
        "max_sentencepiece_length": 24,
        "num_threads": 1,
        "minloglevel": 2,
    }
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts), model_writer=written, **options
        )
    except RuntimeError as error:
        reason = re.sub(r"\s+", " ", str(error))[:300]
        raise ConfigError(
            f"no vocabulary of {vocab_size} pieces from this text: {reason}"
        ) from error
    return written.getvalue()
