# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.errors import ConfigError
from codegemma.generate.ngram import NgramCompleter, NgramModel, train_ngram


def _model(tokens: list[int], *, order: int = 2, vocab_size: int = 4) -> NgramModel:
    return NgramModel.count(np.array(tokens, np.int32), vocab_size=vocab_size, order=order)


def test_bigram_probabilities_follow_absolute_discounting():
    # unigrams of 2 3 2 3 2 0: {2: 3, 3: 2, 0: 1} of 6; after 2: {3: 2, 0: 1} of 3
    model = _model([2, 3, 2, 3, 2, 0])

    unigram = [
        (1 - 0.75) / 6 + 0.75 * 3 / 6 / 4,
        0.75 * 3 / 6 / 4,
        2.25 / 6 + 0.09375,
        1.25 / 6 + 0.09375,
    ]
    np.testing.assert_allclose(model.probabilities([]), unigram)
    after_two = [
        0.25 / 3 + 0.5 * unigram[0],
        0.5 * unigram[1],
        0.5 * unigram[2],
        1.25 / 3 + 0.5 * unigram[3],
    ]
    np.testing.assert_allclose(model.probabilities([2]), after_two)


def test_probabilities_sum_to_one_for_seen_and_unseen_contexts():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50, 4000).astype(np.int32)
    model = NgramModel.count(tokens, vocab_size=64, order=4)

    for context in ([], [1], [1, 2, 3], [60, 61, 62], rng.integers(0, 50, 9).tolist()):
        assert model.probabilities(context).sum() == pytest.approx(1.0)


def test_longer_context_decides_where_shorter_ones_agree():
    model = _model([1, 2, 3, 0, 2, 2, 0, 1, 2, 3, 0, 2, 2, 0], order=3)

    assert model.probabilities([1, 2]).argmax() == 3
    assert model.probabilities([0, 2]).argmax() == 2


def test_completer_continues_the_prefix_and_stops_at_a_stop_string(tokenizer):
    text = "def add(a, b):\n    return a + b\n"
    model = train_ngram([tokenizer.encode(text)] * 3, vocab_size=tokenizer.vocab_size)
    completer = NgramCompleter(model, tokenizer=tokenizer)

    [(completion,)] = completer.complete(
        [Prompt(prefix="def add(a, b):\n", suffix="")], Sampling(max_tokens=30, stop=("\n",))
    )

    assert completion.text == "    return a + b"
    assert completion.finish_reason == "stop"


def test_completer_refuses_to_sample(tokenizer):
    completer = NgramCompleter(_model([2, 3, 2, 3]), tokenizer=tokenizer)

    with pytest.raises(ConfigError, match="temperature must be 0"):
        completer.complete([Prompt(prefix="a")], Sampling(temperature=0.5))


def test_a_saved_model_gives_the_same_probabilities(tmp_path):
    model = _model([1, 2, 3, 0, 2, 2, 0, 1, 2, 3, 0, 2, 2, 0], order=3)

    model.save(tmp_path)
    loaded = NgramModel.load(tmp_path)

    assert (loaded.order, loaded.vocab_size) == (3, 4)
    np.testing.assert_array_equal(loaded.probabilities([1, 2]), model.probabilities([1, 2]))


def test_documents_are_read_up_to_the_limit():
    documents = iter([[2, 3, 2], [2, 2, 2], [3, 3, 3]])

    model = train_ngram(documents, vocab_size=4, order=2, max_tokens=8)

    assert next(documents) == [3, 3, 3]
    # 2 3 2 <eos> 2 2 2 <eos>: one of eight tokens is a 3
    assert model.probabilities([])[3] == pytest.approx((1 - 0.75) / 8 + 0.75 * 3 / 8 / 4)


def test_too_few_tokens_are_refused():
    with pytest.raises(ConfigError, match="more tokens than 6"):
        train_ngram([[2, 3]], vocab_size=4)
