# SPDX-License-Identifier: Apache-2.0
"""What token healing is worth at cursors inside a token: the rest of the line, exactly, or not.

Held-out lines (`heldout_lines.py`); in each a place is drawn at which the line's own tokens do not
end. The text before it is the prefix, what follows the line the suffix, and the rest of the line is
to be completed, greedily. Three ways: as the prefix stands; healed; and cut at the token's border,
where what is drawn may be anything and counts if it begins with what was typed. The same is done at
places where a token ends, which healing should leave as they are.

Then spans within a line that begin inside a token, and end inside one or between two: healed at
the cursor alone; at the suffix, too, as commands and server do; and bound there, where the model
may end only behind the suffix's start and otherwise draws its next choice.

Intervals are Wilson's at 95 %; two ways are compared by McNemar's exact test on the same cursors.

Example:
    python benchmarks/bench_healing.py --data nano-data --model nano --cursors 2000
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench_nano import wilson
from codegemma.completion import Completion, Mode, Prompt, Sampling
from codegemma.data.loader import ShardReader
from codegemma.data.manifest import read_manifest
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.text.budget import fit_prompt
from codegemma.text.healing import heal_prefix
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import INFILL_STOP_IDS, NUM_RESERVED
from heldout_lines import Line, draw_lines, read_records
from results import Row, cpu_name, write_rows

MAX_TOKENS = 48
_CHUNK = 64
_PREFIX_CHARS = 400
_SUFFIX_CHARS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """A place in a held-out line, and the rest of the line behind it.

    Args:
        prompt: The text around the rest of the line, as much as is shown.
        rest: What is to be completed.
    """

    prompt: Prompt
    rest: str

    def is_met_by(self, text: str) -> bool:
        """Whether a completion's first line is the rest of the line, up to trailing whitespace."""
        return text.split("\n", 1)[0].rstrip() == self.rest.rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A part of a held-out line that is to be completed.

    Args:
        prompt: The text around it, as much as is shown.
        middle: The part.
    """

    prompt: Prompt
    middle: str


def place_cursors(
    lines: Sequence[Line], tokenizer: Tokenizer, *, num_cursors: int, is_inside: bool
) -> list[Cursor]:
    """Draw places in lines, inside a token or between two: one a line, then a second of some.

    Indentation and the line's end are no places.
    """
    rng = np.random.default_rng(0)
    cursors: list[Cursor] = []
    taken: set[tuple[int, int]] = set()
    for number, line in [*enumerate(lines), *enumerate(lines)]:
        text = line.middle.rstrip()
        indent = len(text) - len(text.lstrip())
        before = line.prefix[-_PREFIX_CHARS:]
        ids = tokenizer.encode(before + text)
        ends = np.cumsum([len(tokenizer.token_bytes(token)) for token in ids])
        borders = {len((before + text).encode()[:end].decode(errors="replace")) for end in ends}
        places = [
            at
            for at in range(indent + 1, len(text))
            if (len(before) + at in borders) != is_inside and (number, at) not in taken
        ]
        if not places or not text.isascii():
            continue
        at = int(rng.choice(places))
        taken.add((number, at))
        suffix = (line.middle[len(text) :] + line.suffix)[:_SUFFIX_CHARS]
        prompt = replace(line.prompt, prefix=before + text[:at], suffix=suffix)
        cursors.append(Cursor(prompt=prompt, rest=text[at:]))
        if len(cursors) == num_cursors:
            break
    return cursors


def place_spans(
    lines: Sequence[Line], tokenizer: Tokenizer, *, num_spans: int, ends_inside: bool
) -> list[Span]:
    """Draw a span of each line that begins inside a token, and ends inside one or between two."""
    rng = np.random.default_rng(0)
    spans: list[Span] = []
    for line in lines:
        text = line.middle.rstrip()
        ids = tokenizer.encode(text)
        ends = np.cumsum([len(tokenizer.token_bytes(token)) for token in ids]).tolist()
        indent = len(text) - len(text.lstrip())
        places = range(indent + 1, len(text))
        starts = [at for at in places if at not in ends]
        stops = [at for at in places if (at not in ends) == ends_inside]
        pairs = [(start, stop) for start in starts for stop in stops if start < stop]
        if not text.isascii() or not pairs:
            continue
        start, stop = pairs[rng.integers(len(pairs))]
        suffix = (line.middle[stop:] + line.suffix)[:_SUFFIX_CHARS]
        prompt = replace(
            line.prompt, prefix=line.prefix[-_PREFIX_CHARS:] + text[:start], suffix=suffix
        )
        spans.append(Span(prompt=prompt, middle=text[start:stop]))
        if len(spans) == num_spans:
            break
    return spans


def measure_spans(
    engine: Engine, spans: Sequence[Span], *, mode: Mode, place: str, note: str
) -> list[Row]:
    """Give the rows of spans that end in one kind of place."""
    sampling = Sampling(max_tokens=MAX_TOKENS, stop=("\n",), mode=mode, heal=True)
    prompts = [span.prompt for span in spans]
    at_cursor = [heal_cursor(engine, prompt, sampling) for prompt in prompts]
    healed = complete(engine, prompts, sampling)
    early = [ends_early(engine, *pair, sampling) for pair in zip(prompts, healed, strict=True)]
    texts = {
        "healed at the cursor": [one.text for one in complete(engine, at_cursor, sampling)],
        "healed at the suffix, too": [one.text for one in healed],
        "bound at the suffix": [
            go_on(engine, prompt, one, sampling) if is_early else one.text
            for prompt, one, is_early in zip(prompts, healed, early, strict=True)
        ],
    }
    hits = {
        title: [text == span.middle for text, span in zip(found, spans, strict=True)]
        for title, found in texts.items()
    }
    name = "healed at the suffix, too"
    rows: list[Row] = []
    for title, found in hits.items():
        low, high = wilson(sum(found), len(spans))
        gained, lost, p = mcnemar(hits[name], found)
        rows.append(
            Row(
                name=f"span inside a line, end {place}, {mode}, {title}",
                value=sum(found) / len(spans),
                unit="fraction",
                n=len(spans),
                low=low,
                high=high,
                note=f"{note}; greedy, {mode}; {name} beside this: {gained} only there, {lost} "
                f"only here, McNemar's p {p:.2g}; {sum(early)} ended without the suffix's start",
            )
        )
    return rows


def heal_cursor(engine: Engine, prompt: Prompt, sampling: Sampling) -> Prompt:
    """Give a prompt its ids, healed at the cursor and not at the suffix."""
    sampling = replace(sampling, heal=False)
    prompt = fit_prompt(prompt, sampling, tokenizer=engine.tokenizer, info=engine.info)
    tokens, typed, _ = heal_prefix(prompt.tokens, tokenizer=engine.tokenizer)
    return replace(prompt, tokens=tokens, typed=typed)


def ends_early(engine: Engine, prompt: Prompt, drawn: Completion, sampling: Sampling) -> bool:
    """Whether the model ended a middle and had not drawn what was left out of the suffix."""
    fitted = fit_prompt(prompt, sampling, tokenizer=engine.tokenizer, info=engine.info)
    *before, last = drawn.tokens
    is_end = last in INFILL_STOP_IDS
    return (
        bool(fitted.seam) and is_end and not engine.tokenizer.decode(before).endswith(fitted.seam)
    )


def go_on(engine: Engine, prompt: Prompt, drawn: Completion, sampling: Sampling) -> str:
    """Give the text of a middle that may not end before what was left out of the suffix."""
    fitted = fit_prompt(prompt, sampling, tokenizer=engine.tokenizer, info=engine.info)
    tokens = list(drawn.tokens[:-1])
    text = ""
    while len(tokens) < MAX_TOKENS and "\n" not in text:
        logits = engine.logits([*fitted.tokens, *tokens])[-1]
        if text.endswith(fitted.seam) and int(logits.argmax()) in INFILL_STOP_IDS:
            break
        logits[:NUM_RESERVED] = -np.inf
        tokens.append(int(logits.argmax()))
        text = engine.tokenizer.decode(tokens).removeprefix(fitted.typed)
    return text.split("\n", 1)[0].removesuffix(fitted.seam)


def complete(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
    """Complete all prompts, neighbours in length together."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].prefix))
    drawn: dict[int, Completion] = {}
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        found = engine.complete([prompts[index] for index in chunk], sampling)
        drawn |= {index: one for index, (one,) in zip(chunk, found, strict=True)}
        print(f"{len(drawn)} of {len(prompts)} cursors", file=sys.stderr)
    return [drawn[index] for index in range(len(prompts))]


def complete_from_border(
    engine: Engine, cursors: Sequence[Cursor], sampling: Sampling
) -> list[str]:
    """Complete from the border before the cursor, unbound; "" where what was typed comes not."""
    tokenizer = engine.tokenizer
    typed = [
        heal_prefix(tokenizer.encode(cursor.prompt.prefix), tokenizer=tokenizer).typed
        for cursor in cursors
    ]
    prompts = [
        replace(one.prompt, prefix=one.prompt.prefix.removesuffix(end))
        for one, end in zip(cursors, typed, strict=True)
    ]
    drawn = complete(engine, prompts, sampling)
    return [
        one.text.removeprefix(end) if one.text.startswith(end) else "\0"
        for one, end in zip(drawn, typed, strict=True)
    ]


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int, float]:
    """Count where only the first hit and only the second; give the two-sided exact p value."""
    first = sum(a and not b for a, b in zip(one, other, strict=True))
    second = sum(b and not a for a, b in zip(one, other, strict=True))
    total, fewer = first + second, min(first, second)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    return first, second, min(1.0, 2 * tail)


def measure(
    engine: Engine, cursors: Sequence[Cursor], *, mode: Mode, place: str, note: str
) -> list[Row]:
    """Give the rows of one kind of place."""
    sampling = Sampling(max_tokens=MAX_TOKENS, stop=("\n",), mode=mode)
    prompts = [cursor.prompt for cursor in cursors]
    texts = {
        "as it stands": [one.text for one in complete(engine, prompts, sampling)],
        "healed": [one.text for one in complete(engine, prompts, replace(sampling, heal=True))],
        "from the border": complete_from_border(engine, cursors, sampling),
    }
    hits = {
        name: [cursor.is_met_by(text) for cursor, text in zip(cursors, found, strict=True)]
        for name, found in texts.items()
    }
    rows: list[Row] = []
    for name in texts:
        low, high = wilson(sum(hits[name]), len(cursors))
        peer = "as it stands" if name != "as it stands" else None
        words = f"{note}; greedy, {mode}"
        if peer is not None:
            gained, lost, p = mcnemar(hits[name], hits[peer])
            words += f"; {gained} only here, {lost} only there, McNemar's p {p:.2g}"
        if name == "healed":
            gained, lost, p = mcnemar(hits[name], hits["from the border"])
            words += f"; beside the border {gained} and {lost}, p {p:.2g}"
        rows.append(
            Row(
                name=f"rest of the line, {place}, {mode}, {name}",
                value=sum(hits[name]) / len(cursors),
                unit="fraction",
                n=len(cursors),
                low=low,
                high=high,
                peer=peer,
                peer_value=sum(hits[peer]) / len(cursors) if peer else None,
                ratio=sum(hits[name]) / max(1, sum(hits[peer])) if peer else None,
                note=words,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--cursors", type=int, default=2000, help="0: spans alone.")
    parser.add_argument("--others", type=int, default=400, help="Places of the other kinds.")
    parser.add_argument("--modes", nargs="+", help="Orders; the model's own if none.")
    parser.add_argument("--name", default="healing", help="Of the results, with date and device.")
    options = parser.parse_args()
    engine = load_engine(options.model)
    num_lines = 4 * max(options.cursors, options.others)
    lines = draw_lines(read_records(ShardReader(options.data, "heldout")), num_lines=num_lines)
    data_hash = read_manifest(options.data)["totals"]["heldout"]["sha256"][:12]
    fingerprint = (engine.info.fingerprint or "none")[:12]
    note = f"{engine.info.name} {fingerprint}, held-out data {data_hash}, seed 0, "
    note += f"{_PREFIX_CHARS} characters before the cursor, {_SUFFIX_CHARS} after the line"
    rows: list[Row] = []
    kinds = (("inside a token", True, options.cursors), ("between tokens", False, options.others))
    modes: list[Mode] = options.modes or [engine.info.mode]
    for mode in modes:
        for place, is_inside, count in kinds:
            if options.cursors:
                cursors = place_cursors(
                    lines, engine.tokenizer, num_cursors=count, is_inside=is_inside
                )
                rows += measure(engine, cursors, mode=mode, place=place, note=note)
            spans = place_spans(
                lines, engine.tokenizer, num_spans=options.others, ends_inside=is_inside
            )
            rows += measure_spans(engine, spans, mode=mode, place=place, note=note)
    print(write_rows(options.name, rows, device=cpu_name()).read_text())


if __name__ == "__main__":
    main()
