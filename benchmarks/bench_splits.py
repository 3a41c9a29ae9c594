# SPDX-License-Identifier: Apache-2.0
"""What natural suffix starts do for a small model, beside cuts at any character.

Trains one small model twice on the same records, steps and seeds: once with the cuts of
`codegemma-2b` (nine in ten end where a suffix starts naturally) and once with random cuts alone.
Both are read on held-out files, cut by each kind: the loss of the middles, in nats a byte. The
interval of a difference is a bootstrap over seeds and held-out records, both drawn with
replacement; both mixes have the same seeds, so that a seed's two models are one pair.

Example:
    python benchmarks/bench_splits.py --data nano-data --out out
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from codegemma.data import recipes as data_recipes
from codegemma.data.loader import ShardReader, encode_record
from codegemma.data.recipes import DataRecipe, SplitKind
from codegemma.model import config as models
from codegemma.model.checkpoint import load_checkpoint
from codegemma.text.tokenizer import Tokenizer
from codegemma.train import loop
from codegemma.train.heldout import token_sizes
from codegemma.train.input import Batch, InputConfig, middle_mask, pack_rows
from codegemma.train.optimizer import ScheduleConfig
from codegemma.train.recipes import RunConfig, TrainRecipe
from codegemma.train.recipes import tiny as tiny_recipe
from codegemma.train.step import ComputeConfig, make_scorer
from results import Row, cpu_name, write_rows

MIXES: dict[str, dict[SplitKind, float]] = {
    "suffix_start": {"suffix_start": 0.9, "random": 0.1},
    "random": {"random": 1.0},
}
KINDS: tuple[SplitKind, ...] = ("suffix_start", "ast", "random")
ROW_TOKENS = 1024
ROWS = 2


def main(words: Sequence[str] | None = None) -> None:
    """Train, read, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="output of codegemma prepare")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--records", type=int, default=64, help="held-out records")
    arguments = parser.parse_args(words)
    jax.config.update("jax_compilation_cache_dir", str(arguments.out / "compiled"))
    losses: dict[str, NDArray[np.float64]] = {}
    for name, mix in MIXES.items():
        runs = [
            measure(train(mix, seed=seed, arguments=arguments), arguments=arguments)
            for seed in range(arguments.seeds)
        ]
        losses[name] = np.stack(runs)  # [seeds, kinds, records, 2]
    print(write_rows("splits", rows_of(losses, arguments=arguments), device=cpu_name()))


def data_recipe(mix: Mapping[SplitKind, float]) -> DataRecipe:
    """Give the cuts of `codegemma-2b`, with a mix of kinds of our own."""
    return replace(data_recipes.codegemma_2b(), split_kinds=dict(mix), context_tokens=ROW_TOKENS,
                   window_tokens=(ROW_TOKENS,))  # fmt: skip


def make_recipe(mix: Mapping[SplitKind, float], *, seed: int, steps: int) -> TrainRecipe:
    """A model of about 1.3 million parameters, with warmup and a decay of a sixth."""
    model = replace(models.nano(), name="splits", width=128, ffw_dim=384, num_layers=4, head_dim=32)
    return replace(
        tiny_recipe(),
        name="splits",
        model=model,
        data=data_recipe(mix),
        input=InputConfig(row_tokens=ROW_TOKENS, rows=ROWS, seed=seed),
        schedule=ScheduleConfig(
            peak=5e-3, warmup_steps=20, num_steps=steps, decay_steps=max(1, steps // 6)
        ),
        compute=ComputeConfig(loss_chunk=1024),
        run=RunConfig(seed=seed, log_every=50, heldout_every=10**6, heldout_rows=2,
                      checkpoint_every=10**6),
    )  # fmt: skip


def train(mix: Mapping[SplitKind, float], *, seed: int, arguments: argparse.Namespace) -> Path:
    """Train one model and give its folder."""
    recipe = make_recipe(mix, seed=seed, steps=arguments.steps)
    out = arguments.out / f"{next(iter(mix))}-{seed}"
    return loop.train(recipe, data=arguments.data, out=out).model


def measure(model: Path, *, arguments: argparse.Namespace) -> NDArray[np.float64]:
    """Read the middles of held-out records: [kinds, records, 2], nats and bytes of each."""
    checkpoint = load_checkpoint(model)
    tokenizer = Tokenizer.from_folder(model)
    reader = ShardReader(arguments.data, "heldout")
    order = np.random.default_rng(0).permutation(len(reader))[: arguments.records].tolist()
    score = make_scorer(model=checkpoint.config, compute=ComputeConfig(loss_chunk=1024))
    params: Any = jax.device_put(checkpoint.params)
    sizes = token_sizes(tokenizer)
    found = np.zeros((len(KINDS), len(order), 2))
    for place, kind in enumerate(KINDS):
        recipe = replace(
            data_recipe({kind: 1.0}),
            fim_fraction=1.0,
            empty_suffix_fraction=0.0,
            no_path_fraction=0.0,
        )
        for which, index in enumerate(order):
            tokens = encode_record(
                reader[index], tokenizer=tokenizer, recipe=recipe, seed=0, epoch=0
            )
            (row,) = pack_rows([tokens], config=InputConfig(row_tokens=ROW_TOKENS, rows=1))
            found[place, which] = read_middles(row, np.asarray(score(params, row)), sizes)
    return found


def read_middles(row: Batch, logprobs: NDArray[Any], sizes: NDArray[np.int64]) -> tuple[float, int]:
    """Give the nats of a row's middles, with the separators that end them, and their bytes."""
    mask = middle_mask(row.tokens[0])
    return -float(logprobs[0][mask].sum()), int(sizes[row.tokens[0][mask]].sum())


def rows_of(
    losses: Mapping[str, NDArray[np.float64]], *, arguments: argparse.Namespace
) -> list[Row]:
    """Compare the two mixes on each kind of cut."""
    rows: list[Row] = []
    note = (
        f"1.3 million parameters, {arguments.steps} steps of {ROWS * ROW_TOKENS:,} tokens, "
        f"mean of {arguments.seeds} seeds; interval of the difference ours minus the peer's, seeds "
        "and records drawn, "
    )
    for place, kind in enumerate(KINDS):
        ours, theirs = (losses[name][:, place] for name in MIXES)
        low, high = interval(ours, theirs)
        value, peer = (float(x[..., 0].sum() / x[..., 1].sum()) for x in (ours, theirs))
        spread = [
            float(run[place, :, 0].sum() / run[place, :, 1].sum())
            for name in MIXES
            for run in losses[name]
        ]
        rows.append(
            Row(
                name=f"loss of held-out {kind} middles after training on suffix_start cuts",
                value=value,
                unit="nats per byte",
                n=ours.shape[1],
                peer="the same model after random cuts",
                peer_value=peer,
                ratio=peer / value,
                note=f"{note}{low:+.4f} to {high:+.4f}; by seed "
                + ", ".join(f"{one:.4f}" for one in spread),
            )
        )
    return rows


def interval(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, repeats: int = 2000
) -> tuple[float, float]:
    """Give the 95 % interval of the difference in nats a byte.

    Args:
        ours: Nats and bytes of each seed and record, [seeds, records, 2].
        theirs: The peer's, of the same seeds and records.
        repeats: How often seeds and records are drawn with replacement.
    """
    rng = np.random.default_rng(0)
    num_seeds, num_records, _ = ours.shape
    seeds = rng.integers(0, num_seeds, (repeats, num_seeds, 1))
    records = rng.integers(0, num_records, (repeats, 1, num_records))
    sums = [x[seeds, records].sum(axis=(1, 2)) for x in (ours, theirs)]
    means = [drawn[:, 0] / drawn[:, 1] for drawn in sums]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975]).tolist()
    return low, high


if __name__ == "__main__":
    main()
