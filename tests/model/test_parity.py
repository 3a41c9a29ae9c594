# SPDX-License-Identifier: Apache-2.0
"""The model computes what transformers computes, shown on checkpoints that transformers made.

The golden checkpoints and what transformers found for them come from `golden/make_gemma.py`. The
default tests need no torch; those marked `reference` run transformers beside us.
"""

import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codegemma.model import layers
from codegemma.model.cache import init_cache
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.model.transformer import forward, forward_cached, unembed

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("gemma_mqa", "gemma_mha", "gemma_gqa")
LOGITS_TOLERANCE = 1e-4
NUM_GREEDY = 64


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The golden folders, each with the tokenizer they share."""
    root = tmp_path_factory.mktemp("golden")
    for name in NAMES:
        shutil.copytree(GOLDEN / name, root / name)
        shutil.copyfile(GOLDEN / "tokenizer" / "tokenizer.model", root / name / "tokenizer.model")
    return root


def logits_of(params, tokens, *, config, dtype=jnp.float32):
    run = jax.jit(
        lambda params, tokens: unembed(params, forward(params, tokens, config=config, dtype=dtype))
    )
    return np.asarray(run(params, jnp.asarray(tokens, jnp.int32)))


def continue_greedily(params, prompts, lengths, *, config):
    """Read the padded prompts into a cache, then draw one token after the other from it."""
    batch, width = prompts.shape
    read = functools.partial(forward_cached, params, config=config)
    ones = jnp.ones(batch, jnp.int32)

    def best(hidden):
        return jnp.argmax(unembed(params, hidden), axis=-1).astype(jnp.int32)

    def step(state, _):
        token, cache = state
        hidden, cache = read(token[:, None], cache, num_tokens=ones)
        return (best(hidden[:, 0]), cache), token

    @jax.jit
    def run(prompts, lengths):
        cache = init_cache(config, batch=batch, length=width + NUM_GREEDY)
        hidden, cache = read(prompts, cache, num_tokens=lengths)
        last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
        return jax.lax.scan(step, (best(last), cache), length=NUM_GREEDY)[1].T

    return np.asarray(run(jnp.asarray(prompts), jnp.asarray(lengths)))


def check_parity(folder, params, *, config):
    golden = np.load(folder / "golden.npz")
    logits = logits_of(params, golden["tokens"], config=config)
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=LOGITS_TOLERANCE)
    greedy = continue_greedily(params, golden["prompts"], golden["prompt_lengths"], config=config)
    np.testing.assert_array_equal(greedy, golden["greedy"])


def mean_kl(logits, other):
    """Mean KL divergence of `other` from `logits` over all positions, float64."""
    first, second = (x - np.logaddexp.reduce(x, axis=-1, keepdims=True) for x in (logits, other))
    return (np.exp(first) * (first - second)).sum(-1).mean()


@pytest.mark.parametrize("name", NAMES)
def test_float32_has_the_logits_and_the_greedy_tokens_of_transformers(folders, name):
    checkpoint = load_checkpoint(folders / name, dtype="float32")
    check_parity(folders / name, checkpoint.params, config=checkpoint.config)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_as_near_to_float32_as_that_of_transformers(folders, name):
    checkpoint = load_checkpoint(folders / name, dtype="bfloat16")
    golden = np.load(folders / name / "golden.npz")
    logits = logits_of(
        checkpoint.params, golden["tokens"], config=checkpoint.config, dtype=jnp.bfloat16
    )
    found = mean_kl(golden["logits"].astype(np.float64), logits.astype(np.float64))
    assert 0 < found <= 1.5 * golden["kl_bf16"].mean(dtype=np.float64)


def with_layers(params, **changes):
    changed = {name: change(params["layers"][name]) for name, change in changes.items()}
    return {**params, "layers": {**params["layers"], **changed}}


def no_layers(params, monkeypatch):
    return with_layers(params, o=jnp.zeros_like, down=jnp.zeros_like)


def norm_without_one(params, monkeypatch):
    def less_one(scale):
        return scale - 1

    changed = with_layers(params, attn_norm=less_one, ffw_norm=less_one)
    return {**changed, "final_norm": params["final_norm"] - 1}


def interleaved_rotation(params, monkeypatch):
    # Values 0, 2, 4, ... first: rotating i with i + H/2 then rotates 2i with 2i + 1.
    def evens_first(weight):
        return jnp.concatenate([weight[..., 0::2], weight[..., 1::2]], axis=-1)

    return with_layers(params, q=evens_first, k=evens_first)


def erf_gelu(params, monkeypatch):
    gelu = jax.nn.gelu
    monkeypatch.setattr(jax.nn, "gelu", lambda x, approximate=True: gelu(x, approximate=False))
    return params


def unscaled_embedding(params, monkeypatch):
    monkeypatch.setattr(layers, "embed", lambda table, tokens, dtype: table[tokens].astype(dtype))
    return params


def swapped_kv_heads(params, monkeypatch):
    def swap(weight):
        return weight[:, :, ::-1]

    return with_layers(params, k=swap, v=swap)


@pytest.mark.parametrize(
    ("mutate", "name"),
    [
        (no_layers, "gemma_mqa"),
        (no_layers, "gemma_mha"),
        (norm_without_one, "gemma_mqa"),
        (norm_without_one, "gemma_mha"),
        (interleaved_rotation, "gemma_mqa"),
        (interleaved_rotation, "gemma_mha"),
        (erf_gelu, "gemma_mqa"),
        (erf_gelu, "gemma_mha"),
        (unscaled_embedding, "gemma_mqa"),
        (unscaled_embedding, "gemma_mha"),
        (swapped_kv_heads, "gemma_mha"),
        (swapped_kv_heads, "gemma_gqa"),
    ],
)
def test_a_mutant_fails_the_parity_test(folders, name, mutate, monkeypatch):
    checkpoint = load_checkpoint(folders / name, dtype="float32")
    params = mutate(checkpoint.params, monkeypatch)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_parity(folders / name, params, config=checkpoint.config)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_models_are_no_echoes(name):
    golden = np.load(GOLDEN / name / "golden.npz")
    assert golden["greedy"].shape == (8, NUM_GREEDY)
    assert len(np.unique(golden["greedy"])) >= 30
    assert sorted(golden["prompt_lengths"]) == list(range(5, 13))


def transformers_logits(folder, tokens, *, dtype):
    torch = pytest.importorskip("torch", reason="torch of requirements/reference.txt is missing")
    transformers = pytest.importorskip(
        "transformers", reason="transformers of requirements/reference.txt is missing"
    )
    model, report = transformers.GemmaForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor(tokens.astype(np.int64))).logits
    return logits.to(torch.float64).numpy()


live = pytest.mark.parametrize("name", NAMES)


@pytest.mark.reference
@pytest.mark.filterwarnings("default")
@live
def test_transformers_still_finds_what_the_golden_files_hold(folders, name):
    golden = np.load(folders / name / "golden.npz")
    logits = transformers_logits(folders / name, golden["tokens"], dtype="float32")
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=LOGITS_TOLERANCE)


@pytest.mark.reference
@pytest.mark.filterwarnings("default")
@live
def test_transformers_agrees_on_new_tokens_in_both_dtypes(folders, name):
    tokens = np.random.default_rng(1).integers(71, 1024, (3, 200)).astype(np.int32)
    exact = transformers_logits(folders / name, tokens, dtype="float32")
    rounded = transformers_logits(folders / name, tokens, dtype="bfloat16")
    checkpoint = load_checkpoint(folders / name, dtype="float32")
    found = logits_of(checkpoint.params, tokens, config=checkpoint.config)
    np.testing.assert_allclose(found, exact, rtol=0, atol=LOGITS_TOLERANCE)
    half = logits_of(checkpoint.params, tokens, config=checkpoint.config, dtype=jnp.bfloat16)
    assert mean_kl(exact, half.astype(np.float64)) <= 1.5 * mean_kl(exact, rounded)


@pytest.mark.reference
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@live
def test_saved_back_transformers_loads_it_and_agrees(folders, name, dtype, tmp_path):
    checkpoint = load_checkpoint(folders / name)
    save_checkpoint(
        tmp_path / "saved",
        config=checkpoint.config,
        params=checkpoint.params,
        tokenizer_file=checkpoint.tokenizer_file,
        metadata=checkpoint.metadata,
        dtype=dtype,
    )
    golden = np.load(folders / name / "golden.npz")
    logits = transformers_logits(tmp_path / "saved", golden["tokens"], dtype="float32")
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=LOGITS_TOLERANCE)
