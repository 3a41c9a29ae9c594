# SPDX-License-Identifier: Apache-2.0
"""How fast text is encoded, decoded and parsed, and what the trim rules do to right and wrong.

Speed is in megabytes a CPU second of this process, over the standard library's modules, the
median of five; the peer is sentencepiece on the same texts. For trimming, middles are drawn from
the same modules, seed 0. A right one is the true middle: any change but to its trailing blanks is
damage. A wrong one goes on with a piece of the suffix, a closing bracket or a loop: it is mended
when the true middle comes back, or when at most one round of the loop stays.

Example:
    python benchmarks/bench_text.py tests/golden/tokenizer/tokenizer.model
"""

import argparse
import math
import random
import statistics
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import sentencepiece

from codegemma.text.syntax import suffix_starts
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.trim import MIN_OVERLAP, trim
from results import Row, cpu_name, write_rows

_REPEATS = 5
_DRAWS = 4000
_LONGEST_MIDDLE = 300


def main() -> None:
    """Measure, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path, help="a tokenizer.model")
    path = parser.parse_args().tokenizer
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = [file.read_text("utf-8", errors="ignore") for file in sorted(folder.glob("*.py"))]
    texts = [text for text in texts if len(text) > 1000]
    rows = [*_speed(path, texts), *_trimming(texts)]
    print(write_rows("text", rows, device=cpu_name()))
    for row in rows:
        peer = f"  {row.peer} {row.peer_value:.2f}, ratio {row.ratio:.2f}" if row.peer else ""
        print(f"{row.name:42} {row.value:8.3f} {row.unit}{peer}")


def _speed(path: Path, texts: list[str]) -> list[Row]:
    """Measure encoding of files and of one 10 MB line beside the peer, decoding and parsing."""
    tokenizer = Tokenizer.from_file(path)
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    line = " ".join(texts * 9).replace("\n", " ")[:10_000_000]
    ids = tokenizer.encode_batch(texts)
    assert ids == [peer.encode(text) for text in texts]
    rows = [
        _rate("encode files", texts, tokenizer.encode, peer.encode),
        _rate("encode one 10 MB line", [line], tokenizer.encode, peer.encode),
        _rate("suffix starts", texts, lambda text: suffix_starts(text, "python")),
    ]
    size = sum(len(text.encode()) for text in texts)
    return [*rows, _row("decode files", size, [_spent(ids, tokenizer.decode) for _ in range(5)])]


def _rate(
    name: str,
    texts: list[str],
    ours: Callable[[str], object],
    peers: Callable[[str], object] | None = None,
) -> Row:
    size = sum(len(text.encode()) for text in texts)
    mine, other = [], []
    for _ in range(_REPEATS):
        mine.append(_spent(texts, ours))
        if peers is not None:
            other.append(_spent(texts, peers))
    return _row(name, size, mine, other)


def _row(name: str, size: int, mine: list[float], other: list[float] | None = None) -> Row:
    rates = sorted(size / seconds / 1e6 for seconds in mine)
    peer = statistics.median(size / seconds / 1e6 for seconds in other) if other else None
    value = statistics.median(rates)
    return Row(
        name=name,
        value=value,
        unit="MB/s",
        n=len(mine),
        low=rates[0],
        high=rates[-1],
        peer="sentencepiece" if peer else None,
        peer_value=peer,
        ratio=value / peer if peer else None,
        note=f"{size} bytes",
    )


def _spent(items: list, work: Callable) -> float:
    start = time.process_time()
    for item in items:
        work(item)
    return time.process_time() - start


def _trimming(texts: list[str]) -> list[Row]:
    """Count the true middles that the default rules damage and the wrong ones they mend."""
    rng = random.Random(0)
    starts = [[*suffix_starts(text, "python")] for text in texts]
    good, drawn = Counter[str](), Counter[str]()
    for draw in range(_DRAWS):
        index = rng.randrange(len(texts))
        text = texts[index]
        start = rng.randrange(len(text))
        kind = ("lines", "characters", "syntax")[draw % 3]
        end = min(len(text), start + rng.randrange(1, _LONGEST_MIDDLE))
        if kind == "lines":
            start, end = text.rfind("\n", 0, start) + 1, text.find("\n", end) + 1
        elif kind == "syntax":
            legal = [x for x in starts[index] if start < x <= start + _LONGEST_MIDDLE]
            end = rng.choice(legal) if legal else end
        if end <= start:
            continue
        prefix, middle, suffix = text[:start], text[start:end], text[end:]

        def kept(
            completion: str, before: str = prefix, middle: str = middle, after: str = suffix
        ) -> bool:
            left = trim(completion, prefix=before, suffix=after).text
            return left.rstrip(" \t") == middle.rstrip(" \t")

        drawn[f"keep true middle: {kind}"] += 1
        good[f"keep true middle: {kind}"] += kept(middle)
        copy = suffix[: rng.randrange(1, 200)]
        if len("".join(copy.split())) >= MIN_OVERLAP:
            drawn["mend a copied suffix"] += 1
            good["mend a copied suffix"] += kept(middle + copy)
        if suffix[:1] in (")", "]", "}"):
            drawn["mend a second bracket"] += 1
            good["mend a second bracket"] += kept(middle + suffix[0])
        unit = rng.choice(text.split("\n")) + "\n"
        if len(unit) > 8 and any(char.isalnum() for char in unit):
            left = trim(middle + unit * 12, prefix=prefix, suffix=suffix).text
            drawn["mend a loop"] += 1
            good["mend a loop"] += len(left) <= len(middle) + len(unit)
    return [_fraction(name, good[name], count) for name, count in sorted(drawn.items())]


def _fraction(name: str, good: int, count: int) -> Row:
    """Give a share with its Wilson interval at 95 %."""
    share, z = good / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    half /= 1 + z * z / count
    return Row(
        name=name,
        value=share,
        unit="fraction",
        n=count,
        low=max(0.0, middle - half),
        high=min(1.0, middle + half),
    )


if __name__ == "__main__":
    main()
