# SPDX-License-Identifier: Apache-2.0
"""The golden vocabulary, and a way to train odd ones."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from codegemma.text import tokens
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder with tokenizer.model, tokenizer.json, encodings.json, chat.json."""
    return GOLDEN


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(GOLDEN / "tokenizer.model")


@pytest.fixture(scope="session")
def json_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(GOLDEN / "tokenizer.json")


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Train a vocabulary in Gemma's layout, with some of the trainer's options changed."""

    def run(**changes: Any) -> Path:
        options = tokens.trainer_options(tokens.whole_pieces()) | changes
        lines = Path(__file__).read_text("utf-8").split("\n")
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 4),
            model_writer=model,
            vocab_size=options.pop("vocab_size", 560),
            minloglevel=2,
            **options,
        )
        path = tmp_path / "tokenizer.model"
        path.write_bytes(model.getvalue())
        return path

    return run
