# SPDX-License-Identifier: Apache-2.0
"""Fits a prompt into a number of tokens, around the cursor, and says what it left out.

Context files go first, whole ones, the farthest from the current file before the nearest. Then
the prefix keeps its tail and the suffix its head, and what one side does not use goes to the
other. Cuts fall on line borders where one is near, and stay where they are while a user types a
little, so that a cache of the prompt's tokens stays good. Nothing is left out silently.

Unstated: the shares of prefix and suffix in the released models' own tools.
"""

from dataclasses import dataclass, replace
from typing import Final

from codegemma.completion import Mode, Prompt, SourceFile
from codegemma.errors import ContextLengthError
from codegemma.text.fim import encode_whole, path_line, render_prompt
from codegemma.text.tokenizer import Tokenizer

PREFIX_FRACTION: Final = 0.75
"""Share of the room that the prefix may claim against a suffix which would fill it too."""

_STEP_FRACTION: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A prompt that fits, and what it lost.

    Args:
        tokens: The rendered prompt.
        prompt: The prompt as it was rendered: what is left of it.
        dropped_files: Paths of context files that were left out, in the prompt's order.
        cut_prefix_chars: Characters missing at the prefix's start.
        cut_suffix_chars: Characters missing at the suffix's end.
    """

    tokens: list[int]
    prompt: Prompt
    dropped_files: tuple[str, ...] = ()
    cut_prefix_chars: int = 0
    cut_suffix_chars: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return not (self.dropped_files or self.cut_prefix_chars or self.cut_suffix_chars)


def fit_prompt(tokenizer: Tokenizer, prompt: Prompt, *, mode: Mode, max_tokens: int) -> Fitted:
    """Render a prompt in at most `max_tokens` tokens, leaving out what does not fit.

    Time is bounded by `max_tokens` and the context files, not by the length of the file.

    Args:
        tokenizer: Vocabulary.
        prompt: Code with LF line ends; conversations and tokens are never cut.
        mode: Order of an infill prompt, not "auto".
        max_tokens: Most tokens of the prompt: the context length less what is to be drawn.

    Raises:
        ContextLengthError: A conversation, given tokens, or the path line alone is too long.
        ConfigError: `mode` is "auto" or unknown.
        InputError: A path holds a line break, text a lone surrogate, or turns do not alternate.
    """
    if prompt.turns or prompt.tokens:
        tokens = render_prompt(tokenizer, prompt, mode=mode)
        _check(len(tokens), max_tokens)
        return Fitted(tokens=tokens, prompt=prompt)
    fixed = 1 + len(path_line(tokenizer, prompt.path)) + (0 if prompt.suffix is None else 3)
    _check(fixed, max_tokens)
    room = max_tokens - fixed
    prefix, suffix = prompt.prefix, prompt.suffix or ""
    num_prefix, num_suffix = _count(tokenizer, prefix, room), _count(tokenizer, suffix, room)
    context: tuple[SourceFile, ...] = ()
    if num_prefix + num_suffix <= room:
        context = _nearest(tokenizer, prompt.context, room - num_prefix - num_suffix)
    else:
        prefix_room = max(int(room * PREFIX_FRACTION), room - num_suffix)
        if num_prefix > prefix_room:
            prefix = _keep_tail(tokenizer, prefix, prefix_room)
            num_prefix = len(tokenizer.encode(prefix))
        if num_suffix > room - num_prefix:
            suffix = _keep_head(tokenizer, suffix, _floor(room - num_prefix, room))
    left = replace(
        prompt,
        prefix=prefix,
        suffix=None if prompt.suffix is None else suffix,
        context=context,
    )
    tokens = render_prompt(tokenizer, left, mode=mode)
    assert len(tokens) <= max_tokens
    return Fitted(
        tokens=tokens,
        prompt=left,
        dropped_files=tuple(file.path for file in prompt.context if file not in context),
        cut_prefix_chars=len(prompt.prefix) - len(prefix),
        cut_suffix_chars=len(prompt.suffix or "") - len(suffix),
    )


def _check(num_tokens: int, max_tokens: int) -> None:
    if num_tokens > max_tokens:
        raise ContextLengthError(
            f"the prompt takes {num_tokens} tokens, more than the {max_tokens} there is room for"
        )


def _count(tokenizer: Tokenizer, text: str, room: int) -> int:
    """Count a text's tokens as far as it matters: `room + 1` when there are more."""
    if len(text) > room * tokenizer.max_token_bytes:
        return room + 1
    return min(len(tokenizer.encode(text)), room + 1)


def _nearest(
    tokenizer: Tokenizer, files: tuple[SourceFile, ...], room: int
) -> tuple[SourceFile, ...]:
    """Keep the files that fit, looking from the last one, which stands next to the cursor's."""
    kept: list[SourceFile] = []
    for file in reversed(files):
        if len(file.text) > room * tokenizer.max_token_bytes:
            continue
        num_tokens = len(encode_whole(tokenizer, file.text, path=file.path)) + 1
        if num_tokens <= room:
            kept.append(file)
            room -= num_tokens
    return tuple(reversed(kept))


def _keep_tail(tokenizer: Tokenizer, text: str, room: int) -> str:
    """Keep as much of a text's end as fits into `room` tokens, from the start of a line."""
    candidate = text[max(0, len(text) - room * tokenizer.max_token_bytes) :]
    tokens = tokenizer.encode(candidate)
    start = len(text) - len(candidate)
    start += _num_chars(tokenizer, tokens[: len(tokens) - room])
    step = _step(room)
    start += -start % step
    while start < len(text):
        border = text.find("\n", start - 1, start + step)
        tail = text[border + 1 if border >= 0 else start :]
        if len(tokenizer.encode(tail)) <= room:
            return tail
        start += step
    return ""


def _keep_head(tokenizer: Tokenizer, text: str, room: int) -> str:
    """Keep as much of a text's start as fits into `room` tokens, up to the end of a line."""
    candidate = text[: room * tokenizer.max_token_bytes]
    end = len(candidate) - 1
    tokens = tokenizer.encode(candidate)
    if len(tokens) > room:
        end = len(candidate) - _num_chars(tokenizer, tokens[room:])
    step = _step(room)
    end -= end % step if end > step else 0
    while end > 0:
        border = text.rfind("\n", max(0, end - step), end)
        head = text[: border + 1 if border >= 0 else end]
        if len(tokenizer.encode(head)) <= room:
            return head
        end -= step
    return ""


def _num_chars(tokenizer: Tokenizer, tokens: list[int]) -> int:
    """Count the characters that tokens hold or begin."""
    data = b"".join(map(tokenizer.token_bytes, tokens))
    return sum((byte & 0xC0) != 0x80 for byte in data)


def _step(room: int) -> int:
    """Give the grid, in characters, that cuts stand on: about a sixteenth of the room."""
    return max(1, 3 * room // _STEP_FRACTION)


def _floor(num_tokens: int, room: int) -> int:
    """Round a suffix's room down to sixteenths of the whole, so that it seldom changes."""
    return num_tokens - num_tokens % max(1, room // _STEP_FRACTION)
