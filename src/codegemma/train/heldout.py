# SPDX-License-Identifier: Apache-2.0
"""The loss on held-out records: of all tokens, and of middles in each order, per token and byte.

What is held out of other genres than code is measured beside it, each genre for itself.

Reads held-out records and the data recipe; draws and packs a fixed set once, so that every reading
of a run is of the same tokens. Exact matches of completions are `evaluate`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from codegemma.data.document import Genre
from codegemma.data.loader import encode_record
from codegemma.data.recipes import DataRecipe
from codegemma.model.params import Params
from codegemma.text.tokenizer import Tokenizer
from codegemma.train.input import Batch, InputConfig, Source, middle_mask, pack_rows

Scorer = Callable[[Params, Batch], Float[Array, "B T"]]

_SETS = {"mixed": {}, "psm": {"psm_fraction": 1.0}, "spm": {"psm_fraction": 0.0}}


class HeldoutLoss:
    """A fixed sample of held-out rows and the bytes their tokens stand for.

    Args:
        sources: Held-out records by genre.
        tokenizer: Vocabulary.
        recipe: How records are cut; the middle sets cut every file, with the same cuts for both
            orders.
        config: Row length, rows of a batch and seed.
        num_rows: Rows of each set, at most: three of code, one of each other genre.
    """

    def __init__(
        self,
        sources: Mapping[Genre, Source],
        *,
        tokenizer: Tokenizer,
        recipe: DataRecipe,
        config: InputConfig,
        num_rows: int,
    ) -> None:
        self._bytes = token_sizes(tokenizer)
        self._batches: dict[str, list[Batch]] = {}
        changed = {
            name: replace(recipe, fim_fraction=1.0, **change) if change else recipe
            for name, change in _SETS.items()
        }
        for genre, source in sources.items():
            for name, cut_by in changed.items() if genre == "code" else [(genre, recipe)]:
                segments = _draw(
                    source, tokenizer=tokenizer, recipe=cut_by, config=config, num_rows=num_rows
                )
                rows = pack_rows(segments, config=config)[:num_rows]
                self._batches[name] = _stack(rows, config.rows)

    def measure(self, params: Params, *, scorer: Scorer) -> dict[str, float | int]:
        """Score the sample.

        Returns:
            `nll_per_token` and `nll_per_byte` (nats) of all tokens of code, of the middles with
            their separators as `middle_psm_...` and `middle_spm_...`, and of other genres as
            `text_...`, each with its number of tokens.
        """
        results: dict[str, float | int] = {}
        for name, batches in self._batches.items():
            total, tokens, size = 0.0, 0, 0
            for batch in batches:
                logprobs = np.asarray(jax.device_get(scorer(params, batch)), np.float64)
                mask = np.asarray(batch.loss_weights) > 0
                if name in ("psm", "spm"):
                    mask &= np.stack([middle_mask(row) for row in np.asarray(batch.tokens)])
                total -= float(logprobs[mask].sum())
                tokens += int(mask.sum())
                size += int(self._bytes[np.asarray(batch.tokens)[mask]].sum())
            prefix = "" if name == "mixed" else f"{name}_"
            prefix = f"middle_{prefix}" if name in ("psm", "spm") else prefix
            results[f"{prefix}nll_per_token"] = total / max(1, tokens)
            results[f"{prefix}nll_per_byte"] = total / max(1, size)
            results[f"{prefix}tokens"] = tokens
        return results


def _draw(
    source: Source,
    *,
    tokenizer: Tokenizer,
    recipe: DataRecipe,
    config: InputConfig,
    num_rows: int,
) -> list[NDArray[np.int32]]:
    """Draw records, in an order of the seed alone, until their segments fill the rows."""
    segments: list[NDArray[np.int32]] = []
    wanted = num_rows * config.row_tokens
    for index in np.random.default_rng(config.seed).permutation(len(source)).tolist():
        segments.append(
            encode_record(
                source[index], tokenizer=tokenizer, recipe=recipe, seed=config.seed, epoch=0
            )
        )
        wanted -= len(segments[-1])
        if wanted <= 0:
            break
    return segments


def token_sizes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """UTF-8 bytes each id stands for; 0 for control ids."""
    return np.array([len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)], np.int64)


def _stack(rows: Sequence[Batch], size: int) -> list[Batch]:
    """Join single rows to batches of `size`, the last filled up with empty rows."""
    batches: list[Batch] = []
    for start in range(0, len(rows), size):
        group = list(rows[start : start + size])
        group += [Batch(*(np.zeros_like(x) for x in group[0]))] * (size - len(group))
        batches.append(Batch(*(np.concatenate(arrays) for arrays in zip(*group, strict=True))))
    return batches
