# SPDX-License-Identifier: Apache-2.0
"""How good the embedded model is on packages that its training never saw.

Held-out lines: 1,000 lines that are neither blank nor a comment, seed 0, uniform over the held-out
packages, at most 2 a file. The model sees the whole file around the line, cut to its context, and
has to give the line; first lines are compared without their trailing whitespace. Beside it, on the
same lines: a 6-gram model with backoff trained on the same files, and the same architecture
untrained. Intervals are Wilson's at 95 %.

Example:
    python benchmarks/bench_nano.py --data /tmp/nano-data --model nano
"""

import argparse
import ast
import dataclasses
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from codegemma.completion import Completer, Completion, Mode, Prompt, Sampling
from codegemma.data.loader import ShardReader
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.generate.ngram import NgramCompleter, train_ngram
from codegemma.model.params import init_params
from codegemma.text.budget import cut_around_cursor
from codegemma.text.fim import encode_whole
from codegemma.text.tokens import FILE_SEPARATOR_ID
from results import Row, cpu_name, write_rows

_MAX_TOKENS = 128
_ORDERS = ("psm", "spm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A held-out line and what stands around it."""

    path: str
    prefix: str
    middle: str
    suffix: str
    is_in_training: bool


def read_files(reader: ShardReader) -> Iterator[tuple[str, str]]:
    """Put the files of a part together again from their windows: (path, text)."""
    windows: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for index in range(len(reader)):
        for file in reader[index].files:
            origin, _, line = file.origin.rpartition(":")
            windows[origin, file.path].append((int(line), file.text))
    for (_, path), parts in sorted(windows.items()):
        text, next_line = "", 1
        for line, part in sorted(parts):
            if line != next_line:  # a window was dropped: what follows is no neighbour of this
                break
            text += part
            next_line = line + part.count("\n") + (not part.endswith("\n"))
        yield path, text


def draw_lines(
    reader: ShardReader, known: frozenset[str], *, num_lines: int, seed: int
) -> list[Line]:
    """Draw held-out lines, uniform over all that qualify, at most 2 a file."""
    files = list(read_files(reader))
    places: list[tuple[int, int, int]] = []
    for number, (_, text) in enumerate(files):
        start = 0
        for line in text.split("\n"):
            if line.strip() and not line.lstrip().startswith("#"):
                places.append((number, start, start + len(line)))
            start += len(line) + 1
    taken: dict[int, int] = defaultdict(int)
    lines: list[Line] = []
    for index in np.random.default_rng(seed).permutation(len(places)):
        number, start, end = places[index]
        if taken[number] == 2:
            continue
        taken[number] += 1
        path, text = files[number]
        end = min(end + 1, len(text))
        middle = text[start:end]
        lines.append(
            Line(
                path=path,
                prefix=text[:start],
                middle=middle,
                suffix=text[end:],
                is_in_training=middle.strip() in known,
            )
        )
        if len(lines) == num_lines:
            break
    return lines


def complete_lines(
    completer: Completer, lines: Sequence[Line], *, stop: tuple[str, ...] = ()
) -> list[Completion]:
    """Complete every line greedily in the completer's own order."""
    prompts = [Prompt(prefix=line.prefix, suffix=line.suffix, path=line.path) for line in lines]
    sampling = Sampling(max_tokens=_MAX_TOKENS, stop=stop)
    done: list[Completion] = []
    for start in range(0, len(prompts), 64):
        for (completion,) in completer.complete(prompts[start : start + 64], sampling):
            done.append(completion)
        print(f"  {completer.info.name}: {len(done)}/{len(prompts)} lines", file=sys.stderr)
    return done


def is_exact(line: Line, completion: Completion) -> bool:
    """Whether the first line is the one that was there."""
    return completion.text.split("\n", 1)[0].rstrip() == line.middle.split("\n", 1)[0].rstrip()


def parses(text: str) -> bool:
    """Whether a Python file parses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a fraction."""
    if total == 0:
        return 0.0, 1.0
    z, p = 1.959964, count / total
    middle = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def fraction_row(
    name: str,
    hits: Sequence[bool],
    *,
    peer: str | None = None,
    peer_hits: Sequence[bool] = (),
    note: str = "",
) -> Row:
    """Make the row of a fraction, with its interval and its ratio to a peer's."""
    value = sum(hits) / max(1, len(hits))
    low, high = wilson(sum(hits), len(hits))
    row = Row(name=name, value=value, unit="fraction", n=len(hits), low=low, high=high, note=note)
    if peer is None:
        return row
    peer_value = sum(peer_hits) / max(1, len(peer_hits))
    ratio = value / peer_value if peer_value else None
    return dataclasses.replace(row, peer=peer, peer_value=peer_value, ratio=ratio)


def middle_nll(engine: Engine, lines: Sequence[Line], *, mode: Mode) -> tuple[float, int]:
    """Mean nats per byte of the middles, their separators counted in, and the bytes."""
    tokenizer = engine.tokenizer
    pairs: list[tuple[list[int], list[int]]] = []
    for line in lines:
        middle = [*tokenizer.encode(line.middle), FILE_SEPARATOR_ID]
        prompt = Prompt(prefix=line.prefix, suffix=line.suffix, path=line.path)
        room = engine.info.context_length - len(middle)
        fitted = cut_around_cursor(prompt, tokenizer=tokenizer, mode=mode, max_tokens=room)
        pairs.append((list(fitted.tokens), middle))
    total = -sum(result.logprob for result in engine.score(pairs))
    num_bytes = sum(len(line.middle.encode()) for line in lines)
    return total / num_bytes, num_bytes


def ngram_nll(completer: NgramCompleter, lines: Sequence[Line]) -> float:
    """Mean nats per byte of the middles after their prefixes."""
    tokenizer = completer.tokenizer
    total = 0.0
    for line in lines:
        context = tokenizer.encode(line.prefix[-400:])
        total -= completer.score(context, tokenizer.encode(line.middle)).logprob
    return total / sum(len(line.middle.encode()) for line in lines)


def untrained_twin(engine: Engine) -> Engine:
    """The same architecture with the weights training starts from."""
    params = jax.tree.map(np.asarray, init_params(engine.config, key=jax.random.key(0)))
    info = dataclasses.replace(engine.info, name="untrained")
    return Engine(params, config=engine.config, tokenizer=engine.tokenizer, info=info)


def measure(engine: Engine, data: Path, *, num_lines: int) -> list[Row]:
    """Measure the model and its baselines."""
    train_files = list(read_files(ShardReader(data, "train")))
    known = frozenset(line.strip() for _, text in train_files for line in text.split("\n"))
    lines = draw_lines(ShardReader(data, "heldout"), known, num_lines=num_lines, seed=0)

    tokenizer = engine.tokenizer
    documents = (encode_whole(tokenizer, text, path=path) for path, text in train_files)
    ngram = NgramCompleter(
        train_ngram(documents, vocab_size=tokenizer.vocab_size), tokenizer=tokenizer
    )
    untrained = untrained_twin(engine)
    drawn = complete_lines(engine, lines)
    ngram_hits = [
        is_exact(line, completion)
        for line, completion in zip(lines, complete_lines(ngram, lines, stop=("\n",)), strict=True)
    ]
    untrained_hits = [
        is_exact(line, completion)
        for line, completion in zip(lines, complete_lines(untrained, lines[:100]), strict=False)
    ]
    hits = [is_exact(line, completion) for line, completion in zip(lines, drawn, strict=True)]
    whole = [
        parses(line.prefix + completion.text + line.suffix)
        for line, completion in zip(lines, drawn, strict=True)
        if parses(line.prefix + line.middle + line.suffix)
    ]
    mode = engine.info.mode
    seen = [hit for hit, line in zip(hits, lines, strict=True) if line.is_in_training]
    unseen = [hit for hit, line in zip(hits, lines, strict=True) if not line.is_in_training]
    rows = [
        fraction_row(
            "exact-match", hits, peer="6-gram", peer_hits=ngram_hits, note=f"greedy, {mode}"
        ),
        fraction_row("exact-match-untrained", untrained_hits),
        fraction_row("exact-match-lines-in-training", seen),
        fraction_row("exact-match-lines-not-in-training", unseen),
        fraction_row(
            "ends-by-itself",
            [c.finish_reason == "stop" for c in drawn],
            note=f"within {_MAX_TOKENS} tokens",
        ),
        fraction_row("file-parses", whole, note="of files that parse as they are"),
    ]
    peers = {"6-gram": ngram_nll(ngram, lines)}
    for order in _ORDERS:
        value, num_bytes = middle_nll(engine, lines, mode=order)
        peers["untrained"] = middle_nll(untrained, lines[:100], mode=order)[0]
        for peer, peer_value in peers.items():
            rows.append(
                Row(
                    name=f"middle-nll-{order}",
                    value=value,
                    unit="nats/byte",
                    n=num_bytes,
                    peer=peer,
                    peer_value=peer_value,
                    ratio=peer_value / value,
                )
            )
    return rows


def main() -> int:
    """Measure, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of `codegemma prepare`")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--lines", type=int, default=1000)
    arguments = parser.parse_args()
    rows = measure(load_engine(arguments.model), arguments.data, num_lines=arguments.lines)
    for row in rows:
        beside = f"{row.peer} {row.peer_value:.4f}" if row.peer_value is not None else ""
        print(f"{row.name:36} {row.value:8.4f} {row.unit:10} n={row.n} {beside}")
    print(write_rows("nano", rows, device=cpu_name()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
