# SPDX-License-Identifier: Apache-2.0
"""Compiles programs before a request needs them: those that editors and chat clients ask for.

A program is compiled when it is first met, and its client waits: a second or two each, a tenth of
that where an earlier start left it in the cache folder. Which one a request meets goes by how long
its prompt is, whether its temperature is above 0, and how many requests are drawn beside it. Here
they are compiled by the shapes of their arguments alone: nothing is run, no memory is taken for
keys and values, and the weights' lock stays free, so that requests go on meanwhile.

Not here, and compiled when met: log probabilities, several samples of a prompt, more than `ROWS`
rows, rows beside each other with more slots than the second length of a cache, healing turned off,
scoring.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from codegemma.completion import Sampling
from codegemma.generate import programs
from codegemma.generate.lengths import cache_length, lengths_for
from codegemma.generate.rows import allow
from codegemma.generate.sampling import controls_of
from codegemma.generate.speculation import places_for
from codegemma.generate.weights import Weights, cache_shape
from codegemma.model.cache import KVCache
from codegemma.text.healing import ByteTable

ROWS: Final = (2, 4, 8)
"""Numbers of places in which requests are drawn beside each other."""

_NUM_BESIDE: Final = 2  # lengths of a cache for which those are made


class Kind(NamedTuple):
    """What decides which programs a request meets.

    Args:
        num_rows: Places in the cache.
        num_slots: Tokens that each has room for.
        is_drawn: Whether some row has a temperature above 0.
    """

    num_rows: int
    num_slots: int
    is_drawn: bool


def likely_kinds(context_length: int, *, max_rows: Callable[[int], int]) -> list[Kind]:
    """List kinds in the order in which they are likely to be met.

    Args:
        context_length: The model's.
        max_rows: Most rows of a number of tokens.
    """
    lengths = _lengths(context_length)
    kinds = [Kind(1, length, is_drawn) for length in lengths for is_drawn in (False, True)]
    for length in lengths[:_NUM_BESIDE]:
        rows = [number for number in ROWS if number <= max_rows(length)]
        kinds += [Kind(number, length, is_drawn) for number in rows for is_drawn in (False, True)]
    return kinds


def _lengths(context_length: int) -> list[int]:
    """All lengths of a cache."""
    lengths = [cache_length(1, context_length=context_length)]
    while (longer := cache_length(lengths[-1] + 1, context_length=context_length)) > lengths[-1]:
        lengths.append(longer)
    return lengths


def compile_ahead(
    weights: Weights, *, table: ByteTable, ranks: Any, max_rows: Callable[[int], int]
) -> Iterator[str]:
    """Compile one program after the other; give the name of each when it is there.

    Args:
        weights: The model.
        table: The vocabulary in the order of bytes.
        ranks: Its tokens' places, on the device.
        max_rows: Most rows of a number of tokens.
    """
    kinds = likely_kinds(weights.config.context_length, max_rows=max_rows)
    for kind in kinds:
        for program, words, named in _calls(kind, weights, table=table, ranks=ranks):
            program.lower(*words, **named).compile()
            yield f"{program.__name__} of {kind.num_rows} x {kind.num_slots}"


def _calls(
    kind: Kind, weights: Weights, *, table: ByteTable, ranks: Any
) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Give the programs of a kind, each with arguments like those of `batch.py` and `places.py`."""
    size, params = kind.num_rows, weights.params
    cache = _shape(weights, size, kind.num_slots)
    sampling = Sampling(temperature=1.0 if kind.is_drawn else 0.0)
    common: dict[str, Any] = {
        "controls": controls_of([sampling] * size),
        "config": weights.config,
        "dtype": weights.dtype,
        "num_top": None,
    }
    drawing = common | {"allowed": allow([None] * size, table=table, ranks=ranks)}
    counts = np.ones(size, np.int32)
    for length in lengths_for(size):
        tokens, uniforms = np.zeros((size, length), np.int32), np.zeros((size, 1), np.float32)
        named = drawing | {"num_tokens": counts, "is_end": np.True_, "uniforms": uniforms}
        yield programs.prefill, (params, tokens, cache), named
    named = drawing | {
        "num_steps": np.ones(size, np.int32),
        "stop_ids": np.full((size, programs.MAX_STOP_IDS), programs.NO_TOKEN, np.int32),
        "uniforms": np.zeros((size, programs.MAX_STEPS), np.float32),
    }
    yield programs.decode, (params, np.zeros(size, np.int32), cache), named
    if size == 1:
        for places in places_for(weights.config):
            tokens, uniforms = np.zeros((1, places), np.int32), np.zeros((1, places), np.float32)
            named = common | {"num_tokens": counts, "uniforms": uniforms}
            yield programs.verify, (params, tokens, cache), named
    if not kind.is_drawn:
        yield from _copies(kind, weights)


def _copies(kind: Kind, weights: Weights) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Give the programs that move rows, whatever is drawn: into one place, and to other numbers."""
    size, num_slots = kind.num_rows, kind.num_slots
    cache = _shape(weights, size, num_slots)
    for number in (1, *(rows for rows in ROWS if rows == 2 * size or 4 * rows <= size)):
        yield programs.gather_rows, (cache, np.zeros(number, np.int32)), {}
    if size > 1:
        place = {"source": np.int32(0), "place": np.int32(0)}
        yield programs.put_row, (cache, _shape(weights, 1, num_slots)), place
        for length in _lengths(weights.config.context_length)[:_NUM_BESIDE]:
            if length <= num_slots:
                yield programs.take_row, (cache, 0), {"num_slots": length}
    longer = cache_length(num_slots + 1, context_length=weights.config.context_length)
    if size == 1 and longer > num_slots:
        yield programs.grow, (cache,), {"num_slots": longer}


def _shape(weights: Weights, num_rows: int, num_slots: int) -> KVCache:
    shape = cache_shape(weights.config, num_rows=num_rows, num_slots=num_slots)
    values: Any = jax.ShapeDtypeStruct(shape, weights.cache_dtype)
    length: Any = jax.ShapeDtypeStruct((num_rows,), np.int32)
    return KVCache(values, values, length)
