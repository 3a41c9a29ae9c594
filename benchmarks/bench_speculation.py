# SPDX-License-Identifier: Apache-2.0
"""Measure what guessing tokens and keeping rows save a user who types: replayed edits, nano.

Real lines of held-out files are deleted and typed again, four characters a key, with a completion
asked for at each key, by three engines in turn: plain; one that keeps rows; one that also guesses.
The orders of the three alternate. Times are wall-clock and, which neighbours disturb less, this
process's processor time. Then what a pass that checks guesses takes, in steps of drawing one token
by one, beside what guessing is charged for it (see `Credit`); --model tries another model. Usage:
DATA_FOLDER [--files N] [--mode spm] [--model 2B].
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from codegemma.completion import Prompt, Sampling
from codegemma.data.loader import ShardReader
from codegemma.generate import programs
from codegemma.generate.engine import Engine
from codegemma.generate.load import PREFIX_CACHE_BYTES, load_engine
from codegemma.generate.speculation import PLACES, Credit
from codegemma.generate.weights import empty_cache
from codegemma.kernels import native
from codegemma.model.cache import KVCache
from heldout_lines import draw_lines, read_records
from results import Row, cpu_name, write_rows

_KEYS_A_LINE = 5
_CHARS_A_KEY = 4
_HELD, _STEPS, _REPEATS = 400, 8, 15
_ENGINES = {
    "plain": {},
    "kept rows": {"prefix_cache_bytes": PREFIX_CACHE_BYTES},
    "guesses": {"prefix_cache_bytes": PREFIX_CACHE_BYTES, "is_speculative": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--mode", default="spm", choices=("psm", "spm"))
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--model", action="append", help="Whose passes are measured, too.")
    options = parser.parse_args()
    edits = read_edits(options.data, num_lines=options.files)
    sampling = Sampling(max_tokens=options.max_tokens, mode=options.mode)
    engines = {name: load_engine("nano", **words) for name, words in _ENGINES.items()}
    times, counts = replay(engines, edits, sampling)
    rows = make_rows(times, counts, options) + measure_passes("nano", engines["plain"])
    engines.clear()
    for name in options.model or ():
        rows += measure_passes(name, load_engine(name))
    path = write_rows("speculation", rows, device=cpu_name())
    print(path.read_text())


def read_edits(data: Path, *, num_lines: int) -> list[list[Prompt]]:
    """Give the prompts of each line that is typed again, key by key."""
    lines = draw_lines(read_records(ShardReader(data, "heldout")), num_lines=num_lines)
    edits: list[list[Prompt]] = []
    for line in lines:
        ends = range(0, min(len(line.middle), _KEYS_A_LINE * _CHARS_A_KEY), _CHARS_A_KEY)
        edits.append(
            [
                Prompt(
                    prefix=line.prefix[-2000:] + line.middle[:end],
                    suffix=line.suffix[:600],
                    session=line.path,
                )
                for end in ends
            ]
        )
    return edits


def replay(
    engines: dict[str, Engine], edits: list[list[Prompt]], sampling: Sampling
) -> tuple[dict[str, list[np.ndarray]], dict[str, int]]:
    """Time every edit of every engine; count what the guessing one did."""
    for engine in engines.values():  # compiled, and not measured
        for prompt in edits[0]:
            engine.complete([prompt], sampling)
    times: dict[str, list[np.ndarray]] = {name: [] for name in engines}
    counts = {"passes": 0, "steps": 0, "tokens": 0, "requests": 0, "differing": 0}
    names = list(engines)
    for number, edit in enumerate(edits[1:]):
        texts: dict[str, list[str]] = {}
        for name in names[number % 3 :] + names[: number % 3]:
            restore = count_calls(counts) if name == "guesses" else None
            spent: list[np.ndarray] = []
            texts[name] = []
            for prompt in edit:
                begin = _clocks()
                (found,) = engines[name].complete([prompt], sampling)[0]
                spent.append(_clocks() - begin)
                texts[name].append(found.text)
                if restore:
                    counts["tokens"] += len(found.tokens)
                    counts["requests"] += 1
            times[name].append(np.array(spent))
            if restore:
                restore()
        counts["differing"] += sum(
            one != other for one, other in zip(texts["plain"], texts["guesses"], strict=True)
        )
    return times, counts


def _clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def count_calls(counts: dict[str, int]) -> Callable[[], None]:
    """Count the passes that check guesses and the steps without; give what ends it."""
    verify, decode = programs.verify, programs.decode

    def counted_verify(*words: Any, **named: Any) -> Any:
        counts["passes"] += 1
        return verify(*words, **named)

    def counted_decode(*words: Any, **named: Any) -> Any:
        drawn, cache = decode(*words, **named)
        counts["steps"] += int((np.asarray(drawn.tokens)[0] != programs.NO_TOKEN).sum())
        return drawn, cache

    programs.verify, programs.decode = counted_verify, counted_decode

    def restore() -> None:
        programs.verify, programs.decode = verify, decode

    return restore


def make_rows(
    times: dict[str, list[np.ndarray]], counts: dict[str, int], options: argparse.Namespace
) -> list[Row]:
    """Give the figures; intervals are over files, 2,000 bootstrap samples, seed 0."""
    sums = {name: np.array([edit.sum(0) for edit in found]) for name, found in times.items()}
    num_files = len(sums["plain"])
    draws = np.random.default_rng(0).integers(0, num_files, (2000, num_files))
    note = (
        f"nano, {options.mode}, {num_files} lines, {counts['requests']} requests, "
        f"at most {options.max_tokens} tokens"
    )
    rows: list[Row] = []
    pairs = (("kept rows", "plain"), ("guesses", "kept rows"), ("guesses", "plain"))
    for (name, peer), clock in itertools.product(pairs, (0, 1)):
        ours, theirs = sums[name][:, clock], sums[peer][:, clock]
        ratios = theirs[draws].sum(1) / ours[draws].sum(1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        rows.append(
            Row(
                name=f"typing, {name} beside {peer}, {('wall clock', 'processor time')[clock]}",
                value=float(ours.sum()) / counts["requests"] * 1e3,
                unit="ms a request",
                n=counts["requests"],
                low=float(low),
                high=float(high),
                peer=peer,
                peer_value=float(theirs.sum()) / counts["requests"] * 1e3,
                ratio=float(theirs.sum() / ours.sum()),
                note=f"{note}; low and high are those of the ratio",
            )
        )
    later = counts["tokens"] - counts["requests"]  # the first token comes with the prompt
    rows.append(
        Row(
            name="tokens a pass or step",
            value=later / (counts["passes"] + counts["steps"]),
            unit="tokens",
            n=counts["passes"] + counts["steps"],
            note=f"{note}; {counts['passes']} passes, {counts['steps']} steps",
        )
    )
    rows.append(
        Row(
            name="tokens a pass that checks a guess",
            value=(later - counts["steps"]) / max(1, counts["passes"]),
            unit="tokens",
            n=counts["passes"],
            note=note,
        )
    )
    rows.append(
        Row(
            name="texts that differ from plain drawing",
            value=counts["differing"],
            unit="texts",
            n=counts["requests"],
            note=note,
        )
    )
    return rows


def measure_passes(name: str, engine: Engine) -> list[Row]:
    """Time passes of every width beside steps, in turn, behind 400 tokens."""
    weights = engine._weights
    common: dict[str, Any] = {
        "controls": None,
        "config": weights.config,
        "dtype": weights.dtype,
        "num_top": None,
    }
    cache = empty_cache(weights, num_rows=1, num_tokens=_HELD + 2 * _STEPS)

    def at_place() -> KVCache:
        return cache._replace(length=jax.device_put(np.full(1, _HELD, np.int32)))

    def step() -> float:
        nonlocal cache
        begin = time.perf_counter()
        drawn, cache = programs.decode(
            weights.params,
            np.full(1, 300, np.int32),
            at_place(),
            stop_ids=np.full((1, programs.MAX_STOP_IDS), programs.NO_TOKEN, np.int32),
            uniforms=np.zeros((1, programs.MAX_STEPS), np.float32),
            num_steps=np.full(1, _STEPS, np.int32),
            **common,
        )
        jax.block_until_ready(drawn)
        return (time.perf_counter() - begin) / _STEPS

    def check(places: int) -> float:
        nonlocal cache
        begin = time.perf_counter()
        drawn, cache = programs.verify(
            weights.params,
            np.full((1, places), 300, np.int32),
            at_place(),
            num_tokens=np.full(1, places, np.int32),
            uniforms=np.zeros((1, places), np.float32),
            **common,
        )
        jax.block_until_ready(drawn)
        return time.perf_counter() - begin

    is_quantised = engine.info.dtype in ("int8", "int4")
    cost = Credit(native.choose_path() if is_quantised else None).cost
    ratios: dict[int, list[float]] = {places: [] for places in PLACES}
    for repeat in range(_REPEATS + 1):  # the first one compiles
        one = step()
        for places, found in ratios.items():
            spent = check(places)
            if repeat:
                found.append(spent / one)
    return [
        Row(
            name=f"a pass of {places} places, {name}",
            value=statistics.median(found),
            unit="steps",
            n=len(found),
            low=min(found),
            high=max(found),
            note=f"{engine.info.dtype}, behind {_HELD} tokens; charged {1 + cost(places):g}",
        )
        for places, found in ratios.items()
    ]


if __name__ == "__main__":
    main()
