# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegemma.data import vocabulary
from codegemma.errors import ConfigError
from codegemma.text import tokens as t
from codegemma.text.tokenizer import Tokenizer

TEXTS = [Path(__file__).read_text(encoding="utf-8")]


def test_the_layout_is_gemmas(tokenizer_file: Path) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    pieces = [model.id_to_piece(i) for i in range(700)]

    assert pieces[:4] == ["<pad>", "<eos>", "<bos>", "<unk>"]
    assert pieces[67:71] == [
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|file_separator|>",
    ]
    assert pieces[106:109] == ["<start_of_turn>", "<end_of_turn>", "\n"]
    assert pieces[115] == "\n" * 8
    assert pieces[116] == "\u2581\u2581"
    first_byte = pieces.index("<0x00>")
    assert pieces[first_byte + 255] == "<0xFF>"
    assert "\n" + "\u2581" * 8 in pieces[116:first_byte]


def test_indented_line_ends_are_one_token(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("\n        ")) == 1
    assert tokenizer.decode(tokenizer.encode("\n         x")) == "\n         x"


def test_digits_stay_apart(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("2024")) == 4


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)

    assert tokenizer.decode(tokens) == text
    assert not any(t.is_control(token) for token in tokens)


def test_the_same_text_gives_the_same_bytes() -> None:
    assert vocabulary.train(TEXTS, vocab_size=600) == vocabulary.train(TEXTS, vocab_size=600)


def test_sizes_out_of_reach_are_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size must be at least"):
        vocabulary.train(TEXTS, vocab_size=480)
    with pytest.raises(ConfigError, match="no vocabulary of 4096 pieces from this text"):
        vocabulary.train(TEXTS, vocab_size=4096)


def test_samples_do_not_depend_on_order() -> None:
    texts = [f"text number {i}" for i in range(1000)]

    one = list(vocabulary.sample(texts, max_bytes=300, total_bytes=1000))
    two = list(vocabulary.sample(texts[::-1], max_bytes=300, total_bytes=1000))

    assert sorted(one) == sorted(two)
    assert 240 < len(one) < 360
    assert list(vocabulary.sample(texts, max_bytes=2000, total_bytes=1000)) == texts
