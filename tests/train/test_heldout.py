# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from codegemma.data.loader import readers
from codegemma.model.params import Params
from codegemma.text.tokenizer import Tokenizer
from codegemma.text.tokens import FILE_SEPARATOR_ID
from codegemma.train.heldout import HeldoutLoss, token_sizes
from codegemma.train.input import Batch
from codegemma.train.recipes import TrainRecipe


def one_nat_each(params: Params, batch: Batch) -> Array:
    return -jnp.ones(batch.tokens.shape)


def ten_nats_a_separator(params: Params, batch: Batch) -> Array:
    return -10.0 * (batch.tokens == FILE_SEPARATOR_ID).astype(np.float32)


@pytest.fixture(scope="module")
def sample(data: Path, tokenizer: Tokenizer, recipe: TrainRecipe) -> HeldoutLoss:
    return HeldoutLoss(
        readers(data, "heldout"),
        tokenizer=tokenizer,
        recipe=recipe.data,
        config=recipe.input,
        num_rows=5,
    )


def test_a_model_of_one_nat_a_token_has_that_loss(sample: HeldoutLoss) -> None:
    results = sample.measure({}, scorer=one_nat_each)

    for name in ("nll_per_token", "middle_psm_nll_per_token", "middle_spm_nll_per_token"):
        assert results[name] == pytest.approx(1.0)
    assert 0.2 < results["nll_per_byte"] < 0.7


def test_both_orders_score_the_same_middles(sample: HeldoutLoss) -> None:
    results = sample.measure({}, scorer=one_nat_each)

    assert results["middle_psm_tokens"] == results["middle_spm_tokens"] > 10
    assert results["middle_psm_nll_per_byte"] == results["middle_spm_nll_per_byte"]
    assert results["tokens"] > 4 * results["middle_psm_tokens"]


def test_the_separator_that_ends_a_middle_counts(sample: HeldoutLoss) -> None:
    results = sample.measure({}, scorer=ten_nats_a_separator)
    per_token = results["middle_psm_nll_per_token"]

    # One separator a middle, 10 nats each, spread over the tokens of the middles.
    assert 10 * 1 / 128 < per_token < 10 / 2


def test_rows_are_those_asked_for_and_the_rest_of_a_batch_is_empty(
    data: Path, tokenizer: Tokenizer, recipe: TrainRecipe
) -> None:
    seen: list[Batch] = []

    def look(params: Params, batch: Batch) -> Array:
        seen.append(batch)
        return jnp.zeros(batch.tokens.shape)

    HeldoutLoss(
        readers(data, "heldout"),
        tokenizer=tokenizer,
        recipe=recipe.data,
        config=dataclasses.replace(recipe.input, rows=2),
        num_rows=3,
    ).measure({}, scorer=look)

    assert [batch.tokens.shape for batch in seen] == [(2, 128)] * 6
    filled = [int((batch.segment_ids.max(axis=1) > 0).sum()) for batch in seen]
    assert filled == [2, 1, 2, 1, 2, 1]


def test_sizes_are_bytes_of_text_and_0_for_control_ids(tokenizer: Tokenizer) -> None:
    sizes = token_sizes(tokenizer)

    assert sizes[:3].tolist() == [0, 0, 0]
    assert sizes[FILE_SEPARATOR_ID] == 0
    for text in ("def f(x):\n    return x\n", "caf\u00e9 \u4e2d"):
        assert sum(sizes[i] for i in tokenizer.encode(text)) == len(text.encode())
