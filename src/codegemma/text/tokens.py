# SPDX-License-Identifier: Apache-2.0
"""Ids and spellings of Gemma's fixed tokens, and the layout of a vocabulary in Gemma's order.

Ids 0 to 108 are the same in every vocabulary we read or train: control tokens, then the newline,
the first of the symbols that SentencePiece keeps whole (runs of newlines, runs of spaces, tags).
The 256 byte pieces follow, then what was learned. This module knows names and numbers only; it
reads no file.

Source: Gemma's tokenizer as its published tests and configurations show it (paper-map: 3.3).
"""

from typing import Any, Final

PAD_ID: Final = 0
EOS_ID: Final = 1
BOS_ID: Final = 2
UNK_ID: Final = 3
FIM_PREFIX_ID: Final = 67
FIM_MIDDLE_ID: Final = 68
FIM_SUFFIX_ID: Final = 69
FILE_SEPARATOR_ID: Final = 70
START_OF_TURN_ID: Final = 106
END_OF_TURN_ID: Final = 107
NEWLINE_ID: Final = 108

PAD: Final = "<pad>"
EOS: Final = "<eos>"
BOS: Final = "<bos>"
UNK: Final = "<unk>"
FIM_PREFIX: Final = "<|fim_prefix|>"
FIM_MIDDLE: Final = "<|fim_middle|>"
FIM_SUFFIX: Final = "<|fim_suffix|>"
FILE_SEPARATOR: Final = "<|file_separator|>"
START_OF_TURN: Final = "<start_of_turn>"
END_OF_TURN: Final = "<end_of_turn>"

INFILL_STOP_IDS: Final = frozenset(
    {EOS_ID, FIM_PREFIX_ID, FIM_MIDDLE_ID, FIM_SUFFIX_ID, FILE_SEPARATOR_ID}
)
"""Tokens that end a middle: the model goes on to another file, or to nothing."""

CHAT_STOP_IDS: Final = INFILL_STOP_IDS | {END_OF_TURN_ID}
"""Tokens that end a reply of an instruction model."""

NUM_RESERVED: Final = 108
"""Ids below this one have a fixed meaning."""

_NAMED: Final = {
    PAD_ID: PAD,
    EOS_ID: EOS,
    BOS_ID: BOS,
    UNK_ID: UNK,
    4: "<mask>",
    5: "<2mass>",
    6: "[@BOS@]",
    FIM_PREFIX_ID: FIM_PREFIX,
    FIM_MIDDLE_ID: FIM_MIDDLE,
    FIM_SUFFIX_ID: FIM_SUFFIX,
    FILE_SEPARATOR_ID: FILE_SEPARATOR,
    START_OF_TURN_ID: START_OF_TURN,
    END_OF_TURN_ID: END_OF_TURN,
}

RESERVED_PIECES: Final = tuple(_NAMED.get(i, f"<unused{i - 7}>") for i in range(NUM_RESERVED))
"""Spelling of ids 0 to 107. Gemma's own base models call 67 to 70 `<unused60>` to `<unused63>`."""

NEWLINE: Final = "\n"

FIXED_PIECES: Final = {
    **{token: piece for token, piece in _NAMED.items() if token not in (4, 5, 6)},
    NEWLINE_ID: NEWLINE,
}
"""Spelling of the ids whose meaning is relied on."""

SPACE: Final = "\u2581"
"""How SentencePiece writes a space inside a piece."""

_BLOCK_TAGS: Final = ("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td")
_HEADING_TAGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6", "blockquote")
_INLINE_TAGS: Final = ("strong", "em", "b", "i", "u", "s", "sub", "sup", "code")


def is_control(token: int) -> bool:
    """Whether an id is one of the fixed control tokens, which plain text never becomes."""
    return 0 <= token < NUM_RESERVED and token != UNK_ID


def control_pieces() -> list[str]:
    """List the spellings of ids 4 to 107 in order, a SentencePiece trainer's `control_symbols`.

    The trainer numbers pad, eos, bos, unk (ids 0 to 3 by its own settings), then these, then
    `whole_pieces`, then the 256 byte pieces, so that the vocabulary comes out in Gemma's order.
    """
    return list(RESERVED_PIECES[4:])


def whole_pieces(
    *, max_newlines: int = 31, max_spaces: int = 31, max_tabs: int = 0, tags: bool = True
) -> list[str]:
    """List the symbols kept whole in plain text, in the order of their ids from 108 on.

    They are a trainer's `user_defined_symbols`. With the defaults they fill ids 108 to 216 and
    the byte pieces start at 217, as in Gemma.

    Args:
        max_newlines: Longest run of newlines with a piece of its own, at least 1.
        max_spaces: Longest run of spaces (U+2581), from 2 on; below 2 for none.
        max_tabs: Longest run of tabs, from 1 on; 0 for none. Gemma keeps its tab runs at the
            end of the vocabulary and a single tab as a byte piece.
        tags: Whether to include Gemma's HTML tags.
    """
    newlines = ["\n" * count for count in range(1, max_newlines + 1)]
    spaces = [SPACE * count for count in range(2, max_spaces + 1)]
    tabs = ["\t" * count for count in range(1, max_tabs + 1)]
    groups = (_BLOCK_TAGS, _HEADING_TAGS, _INLINE_TAGS) if tags else ()
    html = [f"<{slash}{tag}>" for group in groups for slash in ("", "/") for tag in group]
    return newlines + spaces + html + tabs


def trainer_options(whole: list[str]) -> dict[str, Any]:
    """Give the `SentencePieceTrainer` settings under which a vocabulary has Gemma's shape.

    Byte-pair merges with byte fallback; digits apart; merges never cross a space; text is not
    normalised. Vocabulary size, sampling of the text and threads are the caller's affair.

    Args:
        whole: Symbols kept whole, from `whole_pieces`.

    Source: Gemma report, arXiv 2403.08295, 'Tokenizer' (split digits, whitespace kept, bytes).
    """
    return {
        "model_type": "bpe",
        "pad_id": PAD_ID,
        "eos_id": EOS_ID,
        "bos_id": BOS_ID,
        "unk_id": UNK_ID,
        "pad_piece": PAD,
        "eos_piece": EOS,
        "bos_piece": BOS,
        "unk_piece": UNK,
        "control_symbols": control_pieces(),
        "user_defined_symbols": whole,
        "byte_fallback": True,
        "split_digits": True,
        "split_by_number": True,
        "split_by_whitespace": True,
        "split_by_unicode_script": True,
        "allow_whitespace_only_pieces": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
    }
