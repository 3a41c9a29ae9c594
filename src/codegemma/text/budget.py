# SPDX-License-Identifier: Apache-2.0
"""Fits a prompt into a model's context: the one rule for engine, commands and server alike.

Infill is cut around the cursor, and the prompt says what it lost; text that goes on from left to
right, conversations and given tokens are refused instead, since their start may be what matters.

Of infill, context files go first, whole ones, the farthest from the current file before the
nearest. Then the prefix keeps its tail and the suffix its head, and what one side does not use
goes to the other. Cuts fall on line borders where one is near, and stay where they are while a
user types a little, so that a cache of the prompt's tokens stays good.

On a processor a model of billions of weights reads a full context for a minute or more. There
infill takes no more than the completer says is read while a user waits (`most_read`).

Unstated: the shares of prefix and suffix in the released models' own tools.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from codegemma.completion import (
    CompleterInfo,
    Cut,
    Mode,
    Prompt,
    Sampling,
    SourceFile,
    TokenizerProtocol,
)
from codegemma.errors import ContextLengthError
from codegemma.text.fim import encode_whole, join_infill, path_line, render_prompt
from codegemma.text.healing import heal
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import BOS_ID, FILE_SEPARATOR_ID

PREFIX_FRACTION: Final = 0.75
"""Share of the room that the prefix may claim against a suffix which would fill it too."""

_NUM_FRAME: Final = 4  # <bos> and the three sentinels
_STEP_FRACTION: Final = 16
_CHARS_PER_TOKEN: Final = 4
_BYTES_PER_TOKEN: Final = 3  # fewer than code has in any vocabulary of the released models' size


class _Part(NamedTuple):
    """A text, or what is looked at of it, with its ids."""

    text: str
    tokens: list[int]


def fit_prompt(
    prompt: Prompt, sampling: Sampling, *, tokenizer: TokenizerProtocol, info: CompleterInfo
) -> Prompt:
    """Give a prompt the ids that a model reads of it, and what is cut so that they fit.

    Room is left for `max_tokens` tokens of an infill, or for half the context where more are
    asked for, and no more than `most_read` are taken; for one token of everything else. A prompt
    that has its ids is only measured.

    Args:
        prompt: Code with LF line ends, turns, or tokens.
        sampling: `max_tokens`, `mode` and `heal` count.
        tokenizer: The completer's.
        info: What the completer is.

    Returns:
        The prompt with `tokens`, `cut`, `typed` and `seam`, its texts as they came. As it came for
        a completer that tokenizes elsewhere, whose tokenizer is no `Tokenizer`: it fits them
        itself.

    Raises:
        ContextLengthError: A prompt that is not infill is too long, or an infill's path.
        InputError: A path holds a line break, text a lone surrogate, or turns do not alternate.
    """
    if not isinstance(tokenizer, Tokenizer):
        return prompt
    mode = info.mode if sampling.mode == "auto" else sampling.mode
    if prompt.suffix is not None and not prompt.tokens:
        room = infill_room(sampling, info)
        fitted = cut_around_cursor(prompt, tokenizer=tokenizer, mode=mode, max_tokens=room)
        return _heal(fitted, tokenizer) if sampling.heal else fitted
    tokens = prompt.tokens or tuple(render_prompt(tokenizer, prompt, mode=mode))
    if len(tokens) >= info.context_length:
        raise ContextLengthError(
            f"the prompt has {len(tokens)} tokens, and the context of {info.name} holds "
            f"{info.context_length}, one of them for the completion; only infill, with a suffix "
            "(even an empty one), is cut around the cursor"
        )
    is_code = not (prompt.tokens or prompt.turns)
    prompt = replace(prompt, tokens=tokens)
    return _heal(prompt, tokenizer) if sampling.heal and is_code else prompt


def keep_tail(
    prompt: Prompt, sampling: Sampling, *, tokenizer: TokenizerProtocol, info: CompleterInfo
) -> Prompt:
    """Give a prompt of text its ids, without as much of its start as does not fit.

    As harnesses of benchmarks do, whose examples stand first and whose question stands last. Room
    is left for `max_tokens` tokens, or for half the context where more are asked for.

    Returns:
        The prompt with `tokens`, one `<bos>` first, and `cut`; as it came for a completer that
        tokenizes elsewhere.

    Raises:
        InputError: The text holds a lone surrogate.
    """
    if not isinstance(tokenizer, Tokenizer):
        return prompt
    tokens = render_prompt(tokenizer, prompt, mode="psm")
    room = _room(sampling, info)
    if len(tokens) <= room:
        return replace(prompt, tokens=tuple(tokens))
    kept = tokens[len(tokens) - (room - 1) :]
    cut = Cut(prefix_chars=len(prompt.prefix) - _num_chars(tokenizer, kept))
    return replace(prompt, tokens=(BOS_ID, *kept), cut=cut)


def spare_tokens(
    prompt: Prompt, sampling: Sampling, *, tokenizer: TokenizerProtocol, info: CompleterInfo
) -> int:
    """Count the tokens that an infill prompt leaves for files to be put before it.

    0 where the file under the cursor fills the context by itself: it comes first. Estimated for a
    completer that tokenizes elsewhere.

    Args:
        prompt: Code with a suffix, without context files.
        sampling: `max_tokens` and `mode` count.
        tokenizer: The completer's.
        info: What the completer is.

    Raises:
        ContextLengthError: The infill's path is too long.
        InputError: The path holds a line break, or text a lone surrogate.
    """
    fitted = fit_prompt(prompt, sampling, tokenizer=tokenizer, info=info)
    if fitted.cut is not None:
        return 0
    used = len(fitted.tokens)
    if not fitted.tokens:
        texts = (prompt.prefix, prompt.suffix or "", f"{prompt.path or ''}\n")
        used = _NUM_FRAME + sum(count_tokens(text, tokenizer=tokenizer) for text in texts)
    return max(0, infill_room(sampling, info) - used)


def infill_room(sampling: Sampling, info: CompleterInfo) -> int:
    """Count the tokens that an infill prompt may have."""
    room = _room(sampling, info)
    return room if info.most_read is None else min(room, info.most_read)


def count_tokens(
    text: str, *, tokenizer: TokenizerProtocol | None, max_tokens: int = sys.maxsize
) -> int:
    """Count the tokens of a text; estimated without a tokenizer, or where it is a request away.

    Args:
        text: All of it.
        tokenizer: The completer's.
        max_tokens: Of a text that has more, any number above is good enough.

    Raises:
        InputError: The text holds a lone surrogate.
    """
    if isinstance(tokenizer, Tokenizer):
        return len(tokenizer.encode(text, max_tokens=max_tokens))
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def count_by_line(text: str, *, tokenizer: TokenizerProtocol | None) -> list[int]:
    """Count the tokens of a text line by line, as `Tokenizer.count_by_line`, or as estimated.

    Raises:
        InputError: The text holds a lone surrogate.
    """
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.count_by_line(text)
    lines = text.split("\n")
    counted = [count_tokens(line + "\n", tokenizer=tokenizer) for line in lines[:-1]]
    return [*counted, count_tokens(lines[-1], tokenizer=tokenizer)]


def _heal(prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    tokens, typed, seam = heal(prompt.tokens, tokenizer=tokenizer)
    return replace(prompt, tokens=tokens, typed=typed, seam=seam)


def _room(sampling: Sampling, info: CompleterInfo) -> int:
    return info.context_length - min(sampling.max_tokens, info.context_length // 2)


def cut_around_cursor(
    prompt: Prompt, *, tokenizer: Tokenizer, mode: Mode, max_tokens: int
) -> Prompt:
    """Give an infill prompt at most `max_tokens` ids, leaving out what does not fit.

    What fits is encoded once. Time is bounded by `max_tokens` and the context files, not by the
    length of the file.

    Args:
        prompt: Code with LF line ends and a suffix.
        tokenizer: Vocabulary.
        mode: Order of the parts, not "auto".
        max_tokens: Most ids of the prompt.

    Returns:
        The prompt with `tokens` and `cut`, its texts as they came.

    Raises:
        ContextLengthError: The path line alone is too long.
        ConfigError: `mode` is "auto" or unknown.
        InputError: A path holds a line break, or text a lone surrogate.
    """
    line = path_line(tokenizer, prompt.path)
    room = max_tokens - _NUM_FRAME - len(line)
    if room < 0:
        raise ContextLengthError(
            f"the path and the control tokens of the prompt take {max_tokens - room} tokens, more "
            f"than the {max_tokens} there is room for"
        )
    whole_suffix = prompt.suffix or ""
    prefix = _enough(tokenizer, prompt.prefix, room, _tail)
    suffix = _enough(tokenizer, whole_suffix, room, _head)
    files: list[SourceFile] = []
    tokens = [BOS_ID]
    if len(prefix.tokens) + len(suffix.tokens) <= room:
        room -= len(prefix.tokens) + len(suffix.tokens)
        for file, block in _nearest(tokenizer, prompt.context, room):
            files.append(file)
            tokens += [*block, FILE_SEPARATOR_ID]
    else:
        prefix_room = max(int(room * PREFIX_FRACTION), room - len(suffix.tokens))
        if len(prefix.tokens) > prefix_room:
            prefix = _keep_tail(tokenizer, prompt.prefix, prefix.tokens, prefix_room)
        suffix_room = room - len(prefix.tokens)
        if len(suffix.tokens) > suffix_room:
            suffix_room = _floor(suffix_room, room)
            suffix = _keep_head(tokenizer, whole_suffix, suffix.tokens, suffix_room)
    tokens += join_infill(line, prefix.tokens, suffix.tokens, mode=mode)
    assert len(tokens) <= max_tokens
    cut = Cut(
        prefix_chars=len(prompt.prefix) - len(prefix.text),
        suffix_chars=len(whole_suffix) - len(suffix.text),
        files=tuple(file.path for file in prompt.context if file not in files),
    )
    return replace(prompt, tokens=tuple(tokens), cut=None if cut == Cut() else cut)


def _enough(tokenizer: Tokenizer, text: str, room: int, take: Callable[[str, int], str]) -> _Part:
    """Encode a text, or as much of it as is sure to hold more than `room` tokens."""
    num_chars = _CHARS_PER_TOKEN * (room + 1)
    while True:
        part = take(text, num_chars)
        tokens = tokenizer.encode(part)
        if len(part) == len(text) or len(tokens) > _plenty(room):
            return _Part(part, tokens)
        num_chars *= 2


def _head(text: str, num_chars: int) -> str:
    return text[:num_chars]


def _tail(text: str, num_chars: int) -> str:
    return text[-num_chars:]


def _plenty(room: int) -> int:
    """Tokens of a part that prove its text to have over `room`, whatever its border changed."""
    return room + room // 8 + 16


def _nearest(
    tokenizer: Tokenizer, files: tuple[SourceFile, ...], room: int
) -> list[tuple[SourceFile, list[int]]]:
    """Encode the files that fit, looking from the last one, which stands next to the cursor's."""
    kept: list[tuple[SourceFile, list[int]]] = []
    for file in reversed(files):
        if len(file.text) > room * tokenizer.max_token_bytes:
            continue
        block = encode_whole(tokenizer, file.text, path=file.path)
        if len(block) < room:
            kept.append((file, block))
            room -= len(block) + 1
    return kept[::-1]


def _keep_tail(tokenizer: Tokenizer, text: str, tokens: list[int], room: int) -> _Part:
    """Keep as much of a text's end as fits into `room` tokens, from the start of a line.

    `tokens` are those of its end, more than `room`.
    """
    start = len(text) - _num_chars(tokenizer, tokens[len(tokens) - room :])
    step = _step(room)
    start += -start % step
    while start < len(text):
        border = text.find("\n", start - 1, start + step)
        tail = text[border + 1 if border >= 0 else start :]
        tokens = tokenizer.encode(tail)
        if len(tokens) <= room:
            return _Part(tail, tokens)
        start += step
    return _Part("", [])


def _keep_head(tokenizer: Tokenizer, text: str, tokens: list[int], room: int) -> _Part:
    """Keep as much of a text's start as fits into `room` tokens, up to the end of a line.

    `tokens` are those of its start, more than `room`.
    """
    end = _num_chars(tokenizer, tokens[:room])
    step = _step(room)
    end -= end % step if end > step else 0
    while end > 0:
        border = text.rfind("\n", max(0, end - step), end)
        head = text[: border + 1 if border >= 0 else end]
        tokens = tokenizer.encode(head)
        if len(tokens) <= room:
            return _Part(head, tokens)
        end -= step
    return _Part("", [])


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
