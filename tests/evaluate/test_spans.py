# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import pytest

from codegemma.data.loader import ShardReader
from codegemma.errors import DataError
from codegemma.evaluate.spans import bucket, count_copies, read_spans
from codegemma.text.tokenizer import Tokenizer

GOLDEN = Tokenizer.from_folder(Path(__file__).parents[1] / "golden" / "tokenizer")


def document(name, *, lines=30):
    return "".join(f"def {name}_{n}(first, second):\n    return {n}\n" for n in range(lines))


SHARED = document("shared", lines=10)


@pytest.fixture
def folder(prepare):
    """Five documents; one text stands in three of them, at the start of one."""
    return prepare(
        train=[
            SHARED + document("a"),
            document("b") + SHARED,
            document("c", lines=3) + SHARED + document("d", lines=3),
            document("e"),
            "x = 1\n",
        ],
        heldout=[SHARED + document("f"), document("g")],
    )


def _spans(folder, part, **settings):
    settings = {"num_tokens": 60, "counted": (0, 60), "most": 100} | settings
    return read_spans(folder, part, tokenizer=GOLDEN, **settings)


def test_spans_are_the_first_tokens_of_documents_that_are_long_enough(folder):
    spans = _spans(folder, "train")

    assert len(spans) == 4
    for span in spans:
        assert len(span.tokens) == 60
        assert GOLDEN.decode(span.tokens) == span.text
        part, record, index = span.name.split("/")
        file = ShardReader(folder, part)[int(record)].files[int(index)]
        assert file.text.startswith(span.text)
        assert file.path == span.path
        assert GOLDEN.encode(file.text)[:60] == list(span.tokens)


def test_copies_are_counted_wherever_they_stand_in_the_training_text(folder):
    def counts(part):
        return {span.text.split("_")[0]: span.num_copies for span in _spans(folder, part)}

    assert counts("train") == {"def shared": 3, "def b": 1, "def c": 1, "def e": 1}
    assert counts("heldout") == {"def shared": 3, "def g": 0}


def test_copies_are_of_what_is_asked_for_whatever_leads_to_it(prepare):
    heads = [document(f"h{n}", lines=3) for n in range(4)]
    tokens = len(GOLDEN.encode(heads[0]))
    assert [len(GOLDEN.encode(head)) for head in heads] == [tokens] * 4
    folder = prepare(
        train=[heads[0] + SHARED, heads[1] + SHARED, heads[2] + document("u")],
        heldout=[heads[3] + SHARED],
    )
    settings = {"num_tokens": tokens + 60, "counted": (tokens, tokens + 50)}

    (heldout,) = _spans(folder, "heldout", **settings)

    assert SHARED.startswith(heldout.text)
    assert heldout.num_copies == 2
    assert [span.num_copies for span in _spans(folder, "heldout", num_tokens=tokens + 60)] == [0]
    trained = _spans(folder, "train", **settings)
    assert sorted((span.text[:5], span.num_copies) for span in trained) == [
        ("def s", 2),
        ("def s", 2),
        ("def u", 1),
    ]


@pytest.mark.parametrize("end", range(60, 72))
def test_text_that_begins_and_ends_within_a_word_is_found(prepare, end):
    folder = prepare(train=[document("considerable"), document("other")])

    for start in range(4):
        spans = _spans(folder, "train", num_tokens=72, counted=(start, end))
        assert [span.num_copies for span in spans] == [1, 1]


def test_text_that_differs_in_a_letter_or_a_blank_is_no_copy(prepare):
    text = document("a", lines=4)
    folder = prepare(train=[text + text, text.replace(", ", ",  "), text.upper(), "y = 2\n" + text])

    assert count_copies(ShardReader(folder, "train"), [text]) == [3]


def test_order_is_one_of_chance_and_always_the_same(prepare):
    folder = prepare(train=[document(f"n{n}") for n in range(40)])

    names = [span.name for span in _spans(folder, "train")]

    assert names == [span.name for span in _spans(folder, "train")]
    assert names[:10] == [span.name for span in _spans(folder, "train", most=10)]
    assert names != sorted(names, key=lambda name: int(name.split("/")[1]))


def test_part_without_a_document_is_an_error(prepare):
    with pytest.raises(DataError, match="has no heldout document of 60 tokens"):
        _spans(prepare(train=[document("a")]), "heldout")


def test_buckets_hold_the_numbers_they_name():
    assert [bucket(n) for n in (0, 1, 2, 3, 4, 15, 16, 900)] == [
        "copies-0",
        "copies-1",
        "copies-2-3",
        "copies-2-3",
        "copies-4-15",
        "copies-4-15",
        "copies-16+",
        "copies-16+",
    ]
