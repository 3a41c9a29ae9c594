# SPDX-License-Identifier: Apache-2.0
"""How good the embedded model is on packages that its training never saw.

The same held-out lines (`heldout_lines.py`) for all: the model, a 6-gram model with backoff of the
training text (`ngram_baseline.py`), and the same architecture untrained. Completions are drawn
greedily by the engine, in batches; likelihoods are of a line, its end and the end of the middle.
Intervals are at 95 %: Wilson's for fractions, for likelihoods a bootstrap over files.

Example:
    python benchmarks/bench_nano.py --data nano-data --model nano
"""

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float64

from codegemma.completion import Completion, Sampling
from codegemma.data.loader import ShardReader
from codegemma.data.manifest import read_manifest
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.model.params import init_params
from codegemma.text.budget import cut_around_cursor
from codegemma.text.tokens import FILE_SEPARATOR_ID
from codegemma.text.trim import trim
from heldout_lines import (
    Line,
    draw_lines,
    find_copied,
    find_known,
    parses,
    read_records,
    without,
)
from ngram_baseline import Baseline
from results import Row, cpu_name, write_rows

Order = Literal["psm", "spm"]
ORDERS: tuple[Order, ...] = ("psm", "spm")
MAX_TOKENS = 128
UNTRAINED_LINES = 100
UNTRAINED_PROMPT = 128
_CHUNK = 64
_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Held-out lines and where they are from.

    Args:
        lines: The lines.
        is_known: Whether each also stands in the training text.
        data_hash: Of the held-out part.
        left_out: Held-out packages that the training text has a copy of: the share of their lines.
    """

    lines: tuple[Line, ...]
    is_known: tuple[bool, ...]
    data_hash: str
    left_out: dict[str, float]

    @property
    def note(self) -> str:
        """What a row says of it."""
        return "; ".join([f"data {self.data_hash}", *(f"without {name}" for name in self.left_out)])


def draw_sample(data: Path, *, num_lines: int) -> Sample:
    """Draw the lines and look for them in the training text."""
    train = ShardReader(data, "train")
    heldout = list(read_records(ShardReader(data, "heldout")))
    copied = find_copied(read_records(train), heldout)
    lines = draw_lines(without(heldout, copied), num_lines=num_lines)
    return Sample(
        lines=tuple(lines),
        is_known=tuple(find_known(read_records(train), lines)),
        data_hash=read_manifest(data)["totals"]["heldout"]["sha256"][:12],
        left_out=copied,
    )


def complete_lines(engine: Engine, lines: Sequence[Line]) -> list[Completion]:
    """Complete every line greedily, in the order the model is best at, neighbours in length."""
    order = sorted(range(len(lines)), key=lambda i: len(lines[i].prefix) + len(lines[i].suffix))
    drawn: dict[int, Completion] = {}
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        prompts = [lines[index].prompt for index in chunk]
        found = engine.complete(prompts, Sampling(max_tokens=MAX_TOKENS))
        drawn |= {index: completion for index, (completion,) in zip(chunk, found, strict=True)}
        tell(f"{engine.info.name}: {len(drawn)} of {len(lines)} lines completed")
    return [drawn[index] for index in range(len(lines))]


def middle_nll(
    engine: Engine, lines: Sequence[Line], *, order: Order, max_prompt: int | None = None
) -> Float64[np.ndarray, " lines"]:
    """Nats of each middle and of ending there, after as much of its file as the context holds.

    Args:
        engine: The model.
        lines: What to score.
        order: Of the prompt.
        max_prompt: Most tokens of a prompt; None for the whole context.
    """
    nats: list[float] = []
    for start in range(0, len(lines), _CHUNK):
        pairs: list[tuple[Sequence[int], list[int]]] = []
        for line in lines[start : start + _CHUNK]:
            middle = [*engine.tokenizer.encode(line.middle), FILE_SEPARATOR_ID]
            room = engine.info.context_length - len(middle)
            prompt = cut_around_cursor(
                line.prompt,
                tokenizer=engine.tokenizer,
                mode=order,
                max_tokens=room if max_prompt is None else min(room, max_prompt),
            )
            pairs.append((prompt.tokens, middle))
        nats += [-scored.logprob for scored in engine.score(pairs)]
        tell(f"{engine.info.name}: {len(nats)} of {len(lines)} lines scored, {order}")
    return np.array(nats)


def untrained_twin(engine: Engine) -> Engine:
    """The same architecture with the weights training starts from."""
    params = jax.tree.map(np.asarray, init_params(engine.config, key=jax.random.key(0)))
    info = dataclasses.replace(engine.info, name="untrained")
    return Engine(params, config=engine.config, tokenizer=engine.tokenizer, info=info)


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a fraction."""
    if total == 0:
        return 0.0, 1.0
    z, p = 1.959964, count / total
    middle = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def bootstrap(
    nats: Float64[np.ndarray, " lines"], lines: Sequence[Line], *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of nats per byte: percentiles over files drawn with replacement."""
    _, group = np.unique([line.file for line in lines], return_inverse=True)
    per_file = np.bincount(group, weights=nats)
    bytes_per_file = np.bincount(group, weights=[line.num_bytes for line in lines])
    count = len(per_file)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    low, high = np.quantile((draws @ per_file) / (draws @ bytes_per_file), (0.025, 0.975))
    return float(low), float(high)


def fraction_row(name: str, hits: Sequence[bool], *, note: str, peer: Row | None = None) -> Row:
    """Make the row of a fraction, with its interval and its ratio to a peer's."""
    low, high = wilson(sum(hits), len(hits))
    value = sum(hits) / max(1, len(hits))
    row = Row(name=name, value=value, unit="fraction", n=len(hits), low=low, high=high, note=note)
    if peer is None:
        return row
    ratio = value / peer.value if peer.value else None
    return dataclasses.replace(row, peer=peer.name, peer_value=peer.value, ratio=ratio)


def nll_row(
    name: str,
    nats: Float64[np.ndarray, " lines"],
    lines: Sequence[Line],
    *,
    note: str,
    peer: Row | None = None,
) -> Row:
    """Make the row of a likelihood in nats per byte, with its interval and its ratio to a peer."""
    low, high = bootstrap(nats, lines)
    value = float(nats.sum()) / sum(line.num_bytes for line in lines)
    row = Row(name=name, value=value, unit="nats/byte", n=len(lines), low=low, high=high, note=note)
    if peer is None:
        return row
    return dataclasses.replace(row, peer=peer.name, peer_value=peer.value, ratio=peer.value / value)


def measure(
    engine: Engine,
    data: Path,
    sample: Sample,
    *,
    nats: dict[Order, Float64[np.ndarray, " lines"]] | None = None,
) -> list[Row]:
    """Measure the model and its baselines.

    Args:
        engine: The model.
        data: What it was trained on, for the n-gram model.
        sample: Lines to measure on.
        nats: Of `middle_nll` by order, where known already.
    """
    lines, note = sample.lines, sample.note
    nats = nats or {order: middle_nll(engine, lines, order=order) for order in ORDERS}
    drawn = complete_lines(engine, lines)
    tell("n-gram model")
    ngram = Baseline(data, tokenizer=engine.tokenizer)
    ngram_hits = [line.is_matched_by(ngram.complete(line)) for line in lines]
    ngram_nll = nll_row(f"{ngram.name}-middle-nll", ngram.middle_nll(lines), lines, note=note)
    untrained_exact, untrained_nll = _untrained_rows(engine, lines, note=note)
    return [
        *_exact_rows(engine, sample, drawn, ngram_hits, peer=ngram.name),
        untrained_exact,
        *_shape_rows(lines, drawn, note=note),
        *(
            nll_row(f"middle-nll-{order}", nats[order], lines, note=note, peer=peer)
            for order in ORDERS
            for peer in (ngram_nll, untrained_nll)
        ),
        ngram_nll,
        untrained_nll,
    ]


def _exact_rows(
    engine: Engine,
    sample: Sample,
    drawn: Sequence[Completion],
    ngram_hits: Sequence[bool],
    *,
    peer: str,
) -> list[Row]:
    hits = [
        line.is_matched_by(completion.text)
        for line, completion in zip(sample.lines, drawn, strict=True)
    ]
    parts: dict[str, Callable[[bool], bool]] = {
        "": lambda _: True,
        "-new-lines": lambda is_known: not is_known,
        "-known-lines": lambda is_known: is_known,
    }
    rows: list[Row] = []
    for part, holds in parts.items():
        ours, theirs = (
            [hit for hit, is_known in zip(found, sample.is_known, strict=True) if holds(is_known)]
            for found in (hits, ngram_hits)
        )
        note = f"greedy; {sample.note}"
        beside = fraction_row(f"{peer}-exact-match{part}", theirs, note=note)
        note = f"greedy, {engine.info.mode}; {sample.note}"
        rows += [fraction_row(f"exact-match{part}", ours, note=note, peer=beside), beside]
    return rows


def _shape_rows(lines: Sequence[Line], drawn: Sequence[Completion], *, note: str) -> list[Row]:
    """Whether completions end, and whether they leave files parsing that parse as they are."""
    whole = [
        (line, completion.text)
        for line, completion in zip(lines, drawn, strict=True)
        if parses(line.prefix + line.middle + line.suffix)
    ]
    raw = [parses(line.prefix + text + line.suffix) for line, text in whole]
    trimmed = [
        parses(line.prefix + trim(text, prefix=line.prefix, suffix=line.suffix).text + line.suffix)
        for line, text in whole
    ]
    ends = [completion.finish_reason == "stop" for completion in drawn]
    return [
        fraction_row("ends-by-itself", ends, note=f"greedy, within {MAX_TOKENS} tokens; {note}"),
        fraction_row("file-parses", raw, note=f"greedy, as drawn; {note}"),
        fraction_row("file-parses-trimmed", trimmed, note=f"greedy, as commands show it; {note}"),
    ]


def _untrained_rows(engine: Engine, lines: Sequence[Line], *, note: str) -> tuple[Row, Row]:
    untrained = untrained_twin(engine)
    some = lines[:UNTRAINED_LINES]
    hits = [
        line.is_matched_by(completion.text)
        for line, completion in zip(some, complete_lines(untrained, some), strict=True)
    ]
    nats = middle_nll(untrained, lines, order="psm", max_prompt=UNTRAINED_PROMPT)
    cut = f"psm, prompts cut to {UNTRAINED_PROMPT} tokens; {note}"
    return (
        fraction_row("untrained-exact-match", hits, note=f"greedy, the first lines; {note}"),
        nll_row("untrained-middle-nll", nats, lines, note=cut),
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line for each row."""
    for row in rows:
        beside = f"{row.peer} {row.peer_value:.4f}" if row.peer_value is not None else ""
        print(
            f"{row.name:28} {row.value:7.4f} [{row.low:.4f}, {row.high:.4f}] {row.unit:10}"
            f"n={row.n:<5} {beside}"
        )


def tell(text: str) -> None:
    """Say on stderr what was done, and when."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of `codegemma prepare`")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--lines", type=int, default=1000)
    arguments = parser.parse_args()
    sample = draw_sample(arguments.data, num_lines=arguments.lines)
    rows = measure(load_engine(arguments.model), arguments.data, sample)
    print_rows(rows)
    print(write_rows("nano", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
