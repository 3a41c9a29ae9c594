# SPDX-License-Identifier: Apache-2.0
"""How many tokens come out in all when several requests are drawn at one time, as the server does.

Threads ask one engine for completions at once, each for several one after the other, and the engine
draws them in one batch; beside it the same requests one at a time. Tokens for a second of this
process's processor time, and for a second by the clock, which neighbours disturb. Prompts are
random ids, of which nothing is kept, so that every request reads and draws as much.

Example:
    python benchmarks/bench_batch.py --model nano --at-once 1 2 4 8
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from codegemma.completion import Prompt, Sampling
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from results import Row, cpu_name, write_rows

_REQUESTS = 8
_SAMPLES = 3


def make_prompts(engine: Engine, *, num_tokens: int) -> list[Prompt]:
    """Give prompts of random ids of ordinary text."""
    rng = np.random.default_rng(0)
    ids = rng.integers(300, engine.config.vocab_size, (_REQUESTS, num_tokens))
    return [Prompt(tokens=(2, *row.tolist())) for row in ids]


def draw(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> int:
    """Complete prompts one after the other as streams; give the number of tokens."""
    num_tokens = 0
    for prompt in prompts:
        for delta in engine.stream(prompt, sampling):
            num_tokens += len(delta.completion.tokens) if delta.completion else 0
    return num_tokens


def measure(
    engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, *, at_once: int
) -> tuple[float, float]:
    """Tokens a second of processor time and by the clock, when so many requests run at one time."""
    shares = [prompts[start::at_once] for start in range(at_once)]
    begin, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(at_once) as pool:
        num_tokens = sum(pool.map(lambda share: draw(engine, share, sampling), shares))
    spent = time.process_time() - processor
    return num_tokens / spent, num_tokens / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--prompt", type=int, default=250, help="Tokens of a prompt.")
    parser.add_argument("--tokens", type=int, default=64, help="Tokens to draw.")
    options = parser.parse_args()
    engine = load_engine(options.model)
    sampling = Sampling(max_tokens=options.tokens)
    prompts = make_prompts(engine, num_tokens=options.prompt)
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in options.at_once}
    for sample in range(_SAMPLES + 1):
        for count in options.at_once:
            speeds = measure(engine, prompts, sampling, at_once=count)
            if sample:  # the first one compiles
                found[count].append(speeds)
    rows: list[Row] = []
    for clock, words in enumerate(("processor time", "the clock")):
        alone = statistics.median(speeds[clock] for speeds in found[options.at_once[0]])
        for count in options.at_once:
            speeds = [one[clock] for one in found[count]]
            value = statistics.median(speeds)
            rows.append(
                Row(
                    name=f"tokens a second of {words}, {count} requests at one time",
                    value=value,
                    unit="tokens a second",
                    n=_SAMPLES,
                    low=min(speeds),
                    high=max(speeds),
                    peer=f"{options.at_once[0]} at one time",
                    peer_value=alone,
                    ratio=value / alone,
                    note=f"{options.model}, {_REQUESTS} requests of {options.prompt} tokens, "
                    f"{options.tokens} drawn of each",
                )
            )
    print(write_rows("batch", rows, device=cpu_name()).read_text())


if __name__ == "__main__":
    main()
