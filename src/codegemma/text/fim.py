# SPDX-License-Identifier: Apache-2.0
r"""Fill in the middle: a cut file or a prompt to token ids, and a sequence back to its parts.

One block is one file. Cut into prefix P, suffix S and middle M it reads, by mode:

    psm    path\n <|fim_prefix|>P <|fim_suffix|>S <|fim_middle|>M
    spm    path\n <|fim_suffix|>S <|fim_prefix|>P <|fim_middle|>M
    spm2   path\n <|fim_prefix|><|fim_suffix|>S <|fim_middle|>P M

without the blanks; uncut it is `path\n` and the content. The parts are encoded apart, so a
prompt's tokens are the head of the training block's. This module does not draw splits (that is
data's) and does not cut anything to a length (that is `budget.py`'s).

Source: CodeGemma, arXiv 2406.11409, 'Fill-in-the-middle' and figures 2 and 4 (PSM); Bavarian et
al., arXiv 2207.14255, appendix D (both SPM orders).
Unstated: the released models' SPM order, whether uncut files carry a path line, and the places of
`<bos>` and `<eos>` in a packed example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from codegemma.completion import Mode, Prompt
from codegemma.errors import ConfigError, InputError
from codegemma.text.chat import render_chat
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import (
    BOS_ID,
    EOS_ID,
    FILE_SEPARATOR_ID,
    FIM_MIDDLE_ID,
    FIM_PREFIX_ID,
    FIM_SUFFIX_ID,
    PAD_ID,
)

InfillMode = Literal["psm", "spm", "spm2"]


@dataclass(frozen=True, slots=True)
class Split:
    """A text cut in three; any part may be empty."""

    prefix: str
    middle: str
    suffix: str

    @property
    def text(self) -> str:
        """The text as it was before the cut."""
        return self.prefix + self.middle + self.suffix


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One file of a parsed sequence.

    Args:
        text: The file's text; of an uncut file all that was shown, its path line too, since
            nothing tells the two apart.
        path: What the path line says; None without one, and for an uncut file.
        split: How it was cut, None when it was not.
        mode: The order of the parts, None when it was not cut.
    """

    text: str
    path: str | None = None
    split: Split | None = None
    mode: InfillMode | None = None


def encode_infill(tokenizer: Tokenizer, split: Split, *, path: str | None, mode: Mode) -> list[int]:
    """Encode one cut file, up to the end of its middle, without the separator that follows.

    Args:
        tokenizer: Vocabulary.
        split: The parts, encoded apart.
        path: Repository path for the path line; None or "" for none.
        mode: Order of the parts, not "auto".

    Raises:
        ConfigError: `mode` is "auto" or unknown.
        InputError: The path holds a line break, or some text a lone surrogate.
    """
    return _infill_head(tokenizer, split, path=path, mode=mode) + tokenizer.encode(split.middle)


def encode_whole(tokenizer: Tokenizer, text: str, *, path: str | None) -> list[int]:
    """Encode one uncut file: its path line, unless `path` is None or "", and its content.

    Raises:
        InputError: The path holds a line break, or some text a lone surrogate.
    """
    return path_line(tokenizer, path) + tokenizer.encode(text)


def join_blocks(blocks: Sequence[Sequence[int]]) -> list[int]:
    """Join the encoded files of one repository into a training segment.

    `<bos>`, the blocks with `<|file_separator|>` between them, `<eos>`. A block with a middle is
    followed by the separator even as the last one: that is how a model learns to end a middle.
    """
    tokens = [BOS_ID]
    for index, block in enumerate(blocks):
        tokens += block
        if index + 1 < len(blocks) or FIM_MIDDLE_ID in block:
            tokens.append(FILE_SEPARATOR_ID)
    return [*tokens, EOS_ID]


def render_prompt(tokenizer: Tokenizer, prompt: Prompt, *, mode: Mode) -> list[int]:
    """Encode a prompt of any kind; the completion's first token comes next.

    Code: `<bos>`, each context file uncut and followed by the separator, then the current file up
    to where its middle starts; with `suffix=None` its path line and prefix alone. A conversation
    goes through the chat template; given tokens are taken as they are.

    Raises:
        ConfigError: `mode` is "auto" or unknown.
        InputError: A path holds a line break, text a lone surrogate, or turns do not alternate.
    """
    if prompt.tokens:
        return list(prompt.tokens)
    if prompt.turns:
        return render_chat(tokenizer, prompt.turns)
    tokens = [BOS_ID]
    for file in prompt.context:
        tokens += encode_whole(tokenizer, file.text, path=file.path)
        tokens.append(FILE_SEPARATOR_ID)
    if prompt.suffix is None:
        return tokens + encode_whole(tokenizer, prompt.prefix, path=prompt.path)
    split = Split(prompt.prefix, "", prompt.suffix)
    return tokens + _infill_head(tokenizer, split, path=prompt.path, mode=mode)


def join_infill(
    line: Sequence[int], prefix: Sequence[int], suffix: Sequence[int], *, mode: Mode
) -> list[int]:
    """Join the encoded parts of a block up to where the middle starts.

    Args:
        line: The path line, empty for none.
        prefix: Text before the cursor.
        suffix: Text after it.
        mode: Order of the parts, not "auto".

    Raises:
        ConfigError: `mode` is "auto" or unknown.
    """
    if mode == "psm":
        return [*line, FIM_PREFIX_ID, *prefix, FIM_SUFFIX_ID, *suffix, FIM_MIDDLE_ID]
    if mode == "spm":
        return [*line, FIM_SUFFIX_ID, *suffix, FIM_PREFIX_ID, *prefix, FIM_MIDDLE_ID]
    if mode == "spm2":
        return [*line, FIM_PREFIX_ID, FIM_SUFFIX_ID, *suffix, FIM_MIDDLE_ID, *prefix]
    raise ConfigError(f"expected an infill order psm, spm or spm2, not {mode!r}")


def path_line(tokenizer: Tokenizer, path: str | None) -> list[int]:
    """Encode the line that names a file; nothing when `path` is None or "".

    Raises:
        InputError: The path holds a line break.
    """
    if not path:
        return []
    if "\n" in path or "\r" in path:
        raise InputError(f"a path must be one line, not {path!r}")
    return tokenizer.encode(path + "\n")


def parse(tokens: Sequence[int], tokenizer: Tokenizer) -> list[Block]:
    """Take a training segment, or a prompt with its completion, apart into files.

    `<bos>`, `<eos>` and padding are skipped. A middle that was not finished is returned as far as
    it goes. `spm2` with an empty middle side and `psm` with an empty prefix are the same tokens:
    what follows `<|fim_prefix|><|fim_suffix|>` is reported as `psm`, all of it middle.

    Raises:
        InputError: The sentinels of a block are in none of the three orders.
    """
    skipped = {PAD_ID, BOS_ID, EOS_ID}
    blocks: list[list[int]] = [[]]
    for token in tokens:
        if token == FILE_SEPARATOR_ID:
            blocks.append([])
        elif token not in skipped:
            blocks[-1].append(token)
    if not blocks[-1]:
        blocks.pop()
    return [_parse_block(block, tokenizer) for block in blocks]


def _infill_head(tokenizer: Tokenizer, split: Split, *, path: str | None, mode: Mode) -> list[int]:
    """Encode a block up to where the middle starts."""
    line = path_line(tokenizer, path)
    prefix, suffix = tokenizer.encode(split.prefix), tokenizer.encode(split.suffix)
    return join_infill(line, prefix, suffix, mode=mode)


def _parse_block(block: list[int], tokenizer: Tokenizer) -> Block:
    sentinels = {FIM_PREFIX_ID, FIM_MIDDLE_ID, FIM_SUFFIX_ID}
    places = [index for index, token in enumerate(block) if token in sentinels]
    if not places:
        return Block(text=tokenizer.decode(block))
    order = tuple(block[place] for place in places)
    bounds = zip(places, [*places[1:], len(block)], strict=True)
    parts = [tokenizer.decode(block[start + 1 : end]) for start, end in bounds]
    line = tokenizer.decode(block[: places[0]])
    path = line.removesuffix("\n") or None
    if order == (FIM_PREFIX_ID, FIM_SUFFIX_ID, FIM_MIDDLE_ID):
        split, mode = Split(parts[0], parts[2], parts[1]), "psm"
    elif order == (FIM_SUFFIX_ID, FIM_PREFIX_ID, FIM_MIDDLE_ID):
        split, mode = Split(parts[1], parts[2], parts[0]), "spm"
    else:
        raise InputError(f"the sentinels {order} of a block are in no known order")
    return Block(text=split.text, path=path, split=split, mode=mode)
