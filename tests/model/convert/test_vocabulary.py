# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import sentencepiece

from codegemma.errors import CheckpointError
from codegemma.model.convert.vocabulary import (
    PieceType,
    Vocabulary,
    parse_sentencepiece,
    render_sentencepiece,
    restore_types,
)
from codegemma.text.backend import SentencePieceBackend
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[2] / "golden" / "tokenizer"


@pytest.fixture(scope="module")
def data():
    return (GOLDEN / "tokenizer.model").read_bytes()


@pytest.fixture(scope="module")
def vocabulary(data):
    return parse_sentencepiece(data, place="tokenizer.model")


def test_pieces_and_scores_are_those_sentencepiece_reads(data, vocabulary):
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = list(range(processor.get_piece_size()))
    assert list(vocabulary.pieces) == processor.id_to_piece(ids)
    assert list(vocabulary.scores) == processor.get_score(ids)
    for kind, is_kind in (
        (PieceType.CONTROL, processor.is_control),
        (PieceType.BYTE, processor.is_byte),
        (PieceType.UNKNOWN, processor.is_unknown),
    ):
        assert [found == kind for found in vocabulary.types] == is_kind(ids)
    assert vocabulary.types[108] == PieceType.USER_DEFINED
    assert vocabulary.types[-1] == PieceType.NORMAL


def test_a_rendered_model_encodes_as_the_one_it_came_from(vocabulary):
    rendered = render_sentencepiece(vocabulary)
    assert parse_sentencepiece(rendered, place="") == vocabulary
    path = Path("model.gguf")
    tokenizer = Tokenizer(SentencePieceBackend(rendered, path=path), path=path, fingerprint="")
    for row in json.loads((GOLDEN / "encodings.json").read_text()):
        assert tokenizer._backend.encode(row["text"]) == row["ids"]


def test_types_a_converter_lost_are_restored(vocabulary):
    lost = [
        PieceType.NORMAL if kind in (PieceType.USER_DEFINED, PieceType.CONTROL) else kind
        for kind in vocabulary.types
    ]
    flat = Vocabulary(pieces=vocabulary.pieces, scores=vocabulary.scores, types=lost)
    assert restore_types(flat) == vocabulary
    assert restore_types(vocabulary) == vocabulary


@pytest.mark.parametrize("cut", [1, 5, 40, 1000])
def test_a_damaged_model_is_refused(data, cut):
    with pytest.raises(CheckpointError, match=r"x\.model is not a SentencePiece model"):
        parse_sentencepiece(data[:-cut][: 400 - cut] + b"\xff", place="x.model")
