# SPDX-License-Identifier: Apache-2.0
"""How many sessions are kept that show the same context files, and what going on from one costs.

Editors take turns, each with its own text behind the same tokens of context files; keys and values
are made up, in the shape of a model. Counted is how many sessions' whole text is still there when
all have had their turn, beside the number of whole rows that fit. Timed, by the processor and by
the clock, is what a request at the limit waits for: a row put together from blocks, beside the copy
of a whole one that another session's request gets, and putting a row where another is cut for it.

Example:
    python benchmarks/bench_sessions.py --shape codegemma-2b --sessions 64
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from codegemma.generate import programs
from codegemma.generate.lengths import cache_length
from codegemma.generate.load import PREFIX_CACHE_BYTES, most_kept
from codegemma.generate.prefix_cache import Kept, Owner, PrefixCache
from codegemma.generate.weights import cache_shape, row_bytes
from codegemma.model.cache import BFLOAT16_BITS, KVCache
from codegemma.model.config import ModelConfig, by_name
from results import Row, cpu_name, write_rows

_SAMPLES = 5


class Times:
    """Milliseconds of one kind of work, by the processor and by the clock."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self.passed: list[float] = []

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what is done meanwhile."""
        start, before = time.perf_counter(), time.process_time()
        yield
        self.spent.append(1000 * (time.process_time() - before))
        self.passed.append(1000 * (time.perf_counter() - start))


def make_row(config: ModelConfig, *, num_slots: int) -> KVCache:
    """Make up the keys and values of a row."""
    shape = cache_shape(config, num_rows=1, num_slots=num_slots)
    values = np.full(shape, 1, BFLOAT16_BITS)
    k, v, length = map(jax.device_put, (values, values, np.zeros(1, np.int32)))
    return jax.block_until_ready(KVCache(k, v, length))


def measure(name: str, *, num_sessions: int, num_common: int, num_own: int) -> list[Row]:
    """Give all sessions their turn, then the oldest that are left a second."""
    config = by_name(name)
    kept = PrefixCache(max_bytes=most_kept(config, PREFIX_CACHE_BYTES))
    num_slots = cache_length(num_common + num_own, context_length=config.context_length)
    texts = [
        np.concatenate([np.arange(num_common), 10_000 * (1 + session) + np.arange(num_own)])
        for session in range(num_sessions)
    ]
    owners = [Owner(None, str(session)) for session in range(num_sessions)]
    for text, owner in zip(texts, owners, strict=True):
        kept.put(text.tolist(), make_row(config, num_slots=num_slots), owner)
    num_kept = sum(
        kept.num_shared([*text.tolist(), 0], owner) == len(text)
        for text, owner in zip(texts, owners, strict=True)
    )
    num_whole = kept.max_bytes // row_bytes(config, num_slots=num_slots, itemsize=2)
    note = (
        f"shape {config.num_layers} x {config.num_kv_heads} x {config.head_dim}, bfloat16, at most "
        f"{kept.max_bytes} bytes, {num_common} tokens in common and {num_own} own, {num_slots} "
        f"slots a row"
    )
    rows = [
        Row(
            name=f"{name}, sessions kept",
            value=num_kept,
            unit="sessions",
            n=num_sessions,
            peer="whole rows alone",
            peer_value=num_whole,
            ratio=num_kept / num_whole,
            note=f"{note}; {kept.size_bytes} bytes held",
        )
    ]
    joined, cut, copied = Times(), Times(), Times()

    def take(index: int) -> Kept:
        found = kept.take([*texts[index].tolist(), 0], owners[index], num_slots=num_slots)
        assert found is not None, "a session that was just counted"
        return found

    oldest = num_sessions - num_kept
    for index in range(oldest, oldest + min(_SAMPLES, num_kept - 1)):
        with joined.measured():
            found = take(index)
            jax.block_until_ready(found.cache)
        with copied.measured():
            jax.block_until_ready(programs.gather_rows(found.cache, np.zeros(1, np.int32)))
        with cut.measured():
            kept.put(texts[index].tolist(), found.cache, owners[index])
    rows.append(_time_row(f"{name}, row put together from blocks", joined, note, copied))
    rows.append(_time_row(f"{name}, row put where another is cut", cut, note))
    return rows


def _time_row(name: str, ours: Times, note: str, peer: Times | None = None) -> Row:
    value = statistics.median(ours.passed)
    peer_value = None if peer is None else statistics.median(peer.passed)
    spent = f"{note}; processor {statistics.median(ours.spent):.1f} ms"
    if peer is not None:
        spent += f", of the copy {statistics.median(peer.spent):.1f}"
    return Row(
        name=name,
        value=value,
        unit="ms",
        n=len(ours.passed),
        low=min(ours.passed),
        high=max(ours.passed),
        peer=None if peer is None else "copy of a whole row",
        peer_value=peer_value,
        ratio=None if peer_value is None else peer_value / value,
        note=spent,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", default=["codegemma-2b"])
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--common", type=int, default=2000)
    parser.add_argument("--own", type=int, default=600)
    options = parser.parse_args()
    rows: list[Row] = []
    for shape in options.shape:
        rows += measure(
            shape,
            num_sessions=options.sessions,
            num_common=options.common,
            num_own=options.own,
        )
    print(write_rows("sessions", rows, device=cpu_name()).read_text())


if __name__ == "__main__":
    main()
