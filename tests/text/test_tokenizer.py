# SPDX-License-Identifier: Apache-2.0
import argparse
import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.errors import CheckpointError, InputError
from codegemma.text import tokens
from codegemma.text.tokenizer import StreamDecoder, Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer"
MODEL = Tokenizer.from_file(GOLDEN / "tokenizer.model")
JSON = Tokenizer.from_file(GOLDEN / "tokenizer.json")
SPELLINGS = [piece for piece in tokens.RESERVED_PIECES if "unused" not in piece] + ["<unused7>"]

odd_text = st.lists(
    st.one_of(
        st.sampled_from(SPELLINGS),
        st.sampled_from(
            ["<", "<|", "\u2581", " ", "  ", "\n", "\r\n", "\t", "\x00", "\x0c", "<s>"]
        ),
        st.sampled_from(["\U0001f600", "e\u0301\u0302", "\u2028", "\ufeff", "1", "ab", "_x"]),
        st.text(max_size=5),
    ),
    max_size=30,
).map("".join)


@given(odd_text)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_as_it_was_and_holds_no_control_token(text: str):
    for tokenizer in (MODEL, JSON):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert [token for token in ids if token < 108] == []


@given(odd_text)
@settings(max_examples=200, deadline=None)
def test_both_files_of_a_vocabulary_give_the_same_ids(text: str):
    assert JSON.encode(text) == MODEL.encode(text)


@given(odd_text)
@settings(max_examples=100, deadline=None)
def test_the_tokens_of_a_text_are_counted_by_the_lines_in_which_they_begin(text: str):
    for tokenizer in (MODEL, JSON):
        starts = [0]
        for token in tokenizer.encode(text):
            starts.append(starts[-1] + len(tokenizer.token_bytes(token)))
        data = text.encode()
        lines = [data[:start].count(b"\n") for start in starts[:-1]]

        counts = tokenizer.count_by_line(text)
        assert counts == [lines.count(number) for number in range(text.count("\n") + 1)]


@given(odd_text, st.integers(0, 3000))
@settings(max_examples=100, deadline=None)
def test_of_a_text_of_too_many_tokens_the_first_ones_are_given(text: str, max_tokens: int):
    for tokenizer in (MODEL, JSON):
        whole = text + "value = f(1, 2)\n" * 200 + text
        ids = tokenizer.encode(whole)
        first = tokenizer.encode(whole, max_tokens=max_tokens)

        assert first == ids[: len(first)]
        assert len(first) == len(ids) or len(first) > max_tokens


def test_a_long_text_is_not_encoded_beyond_what_is_asked_for():
    text = "value = f(1, 2)\n" * 100_000

    assert 100 < len(MODEL.encode(text, max_tokens=100)) < 2000


def test_a_token_of_a_line_end_and_more_counts_for_the_line_it_ends():
    assert [MODEL.token_bytes(token) for token in MODEL.encode("a\n\n\nb\n")] == [
        b"a", b"\n\n\n", b"b", b"\n"
    ]  # fmt: skip
    assert MODEL.count_by_line("a\n\n\nb\n") == [2, 0, 0, 2, 0]
    assert MODEL.count_by_line("") == [0]


@pytest.mark.parametrize("row", json.loads((GOLDEN / "encodings.json").read_text("utf-8")))
def test_ids_are_those_of_sentencepiece_itself(row: dict[str, object]):
    text = str(row["text"])
    assert MODEL.encode(text) == row["ids"]
    assert JSON.encode(text) == row.get("json_ids", row["ids"])
    assert MODEL.decode(MODEL.encode(text)) == text


@given(
    token=st.integers(108, 1023),
    start=st.integers(0, 8),
    other=st.sampled_from([b"", b"n", b"urn", b"xyzzy", "\u6f22".encode()]),
)
def test_the_ends_of_tokens_are_those_of_a_plain_search(token: int, start: int, other: bytes):
    every = [MODEL.token_bytes(token) for token in range(108, 1024)]
    for data in (every[token - 108][start:], other):
        is_end = any(one.endswith(data) and one != data for one in every)
        is_text = data and data != b"\xff"
        assert not is_text or MODEL.is_longer_end(data) == is_end


def test_nothing_encodes_to_nothing():
    assert MODEL.encode("") == []
    assert MODEL.decode([]) == ""
    assert MODEL.encode_batch(["\n", "", "  "]) == [[108], [], [139]]


@pytest.mark.parametrize("tokenizer", [MODEL, JSON], ids=["model", "json"])
def test_a_batch_gives_the_ids_of_each_text_alone(tokenizer: Tokenizer):
    rows = json.loads((GOLDEN / "encodings.json").read_text("utf-8"))
    plain = [str(row["text"]) for row in rows]
    batches = [plain, [*plain, "<|fim_", "prefix|>"], ["x" * 5000, "def f():"], ["a", "b<bos>", ""]]

    for batch in [*batches, [text for text in plain if text.isascii()]]:
        assert tokenizer.encode_batch(batch) == [tokenizer.encode(text) for text in batch]
    with pytest.raises(InputError, match="surrogate"):
        tokenizer.encode_batch(["fine", "\ud800"])


def test_a_control_tokens_spelling_is_cut_after_its_first_character():
    pieces = [MODEL.token_bytes(token) for token in MODEL.encode("<|fim_prefix|>")]
    assert pieces[0] == b"<"
    assert b"".join(pieces) == b"<|fim_prefix|>"


def test_a_space_as_sentencepiece_writes_it_stays_itself():
    assert MODEL.encode("\u2581") == [443, 367, 346]
    assert [MODEL.token_bytes(token) for token in (443, 367, 346)] == [b"\xe2", b"\x96", b"\x81"]
    assert MODEL.decode(MODEL.encode("a\u2581 b")) == "a\u2581 b"


def test_controls_that_the_file_would_match_in_text_are_still_text(train: Callable[..., Path]):
    # Gemma's own file declares some of them as user-defined symbols, which text does match.
    path = train(
        control_symbols=[], user_defined_symbols=tokens.control_pieces() + tokens.whole_pieces()
    )
    raw = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert raw.encode("<|fim_prefix|>") == [67]
    tokenizer = Tokenizer.from_file(path)
    text = "".join(tokens.RESERVED_PIECES) + "<<bos><bos>>"
    ids = tokenizer.encode(text)
    assert min(ids) >= 108
    assert tokenizer.decode(ids) == text


def test_base_checkpoints_call_the_sentinels_unused(train: Callable[..., Path]):
    pieces = tokens.control_pieces()
    pieces[67 - 4 : 71 - 4] = ["<unused60>", "<unused61>", "<unused62>", "<unused63>"]
    tokenizer = Tokenizer.from_file(train(control_symbols=pieces))
    for text in ("<unused60>", "<|fim_prefix|>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert min(tokenizer.encode(text)) >= 108


def test_late_control_tokens_are_control_too(train: Callable[..., Path]):
    whole = [*tokens.whole_pieces(), "<unused99>"]
    tokenizer = Tokenizer.from_file(train(user_defined_symbols=whole))
    assert tokenizer.is_control(217)
    assert tokenizer.decode([217]) == ""
    assert 217 not in tokenizer.encode("<unused99>")


@pytest.mark.parametrize("text", ["\ud800", "ok \udc80 not ok"])
def test_lone_surrogates_are_refused_with_their_place(text: str):
    place = text.index("\udc80") if "\udc80" in text else 0
    with pytest.raises(InputError, match=f"at character {place}; expected valid Unicode"):
        MODEL.encode(text)


def test_control_tokens_decode_to_nothing_and_unknown_to_a_replacement():
    assert MODEL.decode([2, 67, 108, 68, 1]) == "\n"
    assert MODEL.decode([3]) == "\ufffd"
    assert MODEL.token_bytes(67) == b""


def test_bytes_that_are_no_character_decode_to_a_replacement():
    assert MODEL.decode([217 + 0xC3]) == "\ufffd"


@pytest.mark.parametrize("token", [-1, 1024, 10**9])
def test_ids_outside_the_vocabulary_are_refused(token: int):
    message = f"token id {token} is outside the vocabulary of 1024"
    with pytest.raises(InputError, match=message):
        MODEL.decode([108, token])
    with pytest.raises(InputError, match=message):
        MODEL.token_bytes(token)


def test_a_stream_gives_whole_characters_only():
    stream = StreamDecoder(MODEL)
    emoji = [217 + byte for byte in "\U0001f600".encode()]
    assert [stream.push(token) for token in [108, *emoji, 67]] == [
        "\n",
        "",
        "",
        "",
        "\U0001f600",
        "",
    ]
    assert stream.flush() == ""


def test_a_stream_that_breaks_off_inside_a_character_says_so():
    stream = StreamDecoder(MODEL)
    assert stream.push(217 + 0xC3) == ""
    assert stream.flush() == "\ufffd"


@given(st.lists(st.integers(0, 1023), max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_stream_gives_what_decoding_at_once_gives(ids: list[int]):
    stream = StreamDecoder(MODEL)
    assert "".join(map(stream.push, ids)) + stream.flush() == MODEL.decode(ids)


def test_long_text_encodes_to_the_ids_of_the_whole():
    text = Path(str(argparse.__file__)).read_text("utf-8")
    raw = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / "tokenizer.model"))
    for long in (text, text.replace("\n", " "), "x" * 5000 + text, text.replace(" ", "")):
        assert len(long) > 10 * 1024
        assert MODEL.encode(long) == raw.encode(long)


def test_text_is_not_cut_when_merges_could_cross_the_cut(train: Callable[..., Path]):
    path = train(split_by_whitespace=False, vocab_size=700)
    raw = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert any("\u2581" in piece[1:].strip("\u2581") for piece in raw.id_to_piece(range(473, 700)))
    text = Path(__file__).read_text("utf-8").replace("\u2581", "")
    plain = text.replace("<", "(")
    assert Tokenizer.from_file(path).encode(plain) == raw.encode(plain)


UNBROKEN = {
    "run": "a" * 30_001,
    "words": Path(str(argparse.__file__)).read_text("utf-8").translate({32: None, 10: None}),
    "newlines": "\n" * 20_003,
    "tabs": "\t" * 20_003,
    "symbols": "<table></tr>" * 2000 + "</table><" * 3000,
    "bytes": "\U0001f600e\u0301" * 5000,
    "digits": "0123456789" * 3000,
    "odd": "".join(random.Random(0).choices("ab(_\u00e9", k=30_000)),
}


@pytest.mark.parametrize("overlaps", [8, 0], ids=["windows", "whole"])
@pytest.mark.parametrize("name", UNBROKEN)
@pytest.mark.parametrize("tokenizer", [MODEL, JSON], ids=["model", "json"])
def test_text_without_borders_is_read_in_windows_to_the_ids_of_the_whole(
    tokenizer: Tokenizer, name: str, overlaps: int, monkeypatch: pytest.MonkeyPatch
):
    text, encode, sizes = UNBROKEN[name], tokenizer._backend.encode, list[int]()

    def watched(part: str) -> list[int]:
        sizes.append(len(part))
        return encode(part)

    monkeypatch.setattr("codegemma.text.tokenizer._NUM_OVERLAPS", overlaps)
    monkeypatch.setattr(tokenizer._backend, "encode", watched)
    assert tokenizer.encode(text) == encode(text)
    # Without a place where windows meet, the text is read as a whole.
    assert (max(sizes) <= 8192) == (overlaps > 0)
    assert sum(sizes) < 2 * len(text)


def seconds_of(tokenizer: Tokenizer, text: str) -> float:
    """Processor seconds that encoding takes; what comes out is checked too."""
    start = time.process_time()
    ids = tokenizer.encode(text)
    spent = time.process_time() - start
    assert tokenizer.decode(ids) == text
    return spent


@pytest.mark.parametrize(
    "unit", ["def f(x): return x ", " ", "a", "<", "<bos>", "\u2581", "e\u0301\u0302\u0303", "\n"]
)
@pytest.mark.parametrize("tokenizer", [MODEL, JSON], ids=["model", "json"])
def test_time_grows_with_the_length_of_a_line_and_no_faster(tokenizer: Tokenizer, unit: str):
    tokenizer.encode(unit * (20_000 // len(unit)))
    sizes = (20_000, 320_000)
    short, long = (seconds_of(tokenizer, unit * (size // len(unit))) for size in sizes)
    # 16 times the text; quadratic time would take 256 times as long.
    assert long < 32 * max(short, 0.01)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("tokenizer", "unit"),
    [
        *((MODEL, unit) for unit in ("def f(x): return x ", "a", "abc;", "\u2581", " ")),
        *((JSON, unit) for unit in ("a", " ")),
    ],
)
def test_a_line_of_10_mb_takes_time_as_its_length(tokenizer: Tokenizer, unit: str):
    size = len(unit.encode())
    totals = (625_000, 10_000_000)
    short, long = (seconds_of(tokenizer, unit * (total // size)) for total in totals)
    # 16 times the text; the longest line that took more than its share took 35 times as long.
    assert long < 24 * max(short, 0.05)
    assert long < 60


def test_the_fingerprint_is_the_files_sha256():
    data = (GOLDEN / "tokenizer.model").read_bytes()
    assert MODEL.fingerprint == hashlib.sha256(data).hexdigest()
    assert MODEL.path == GOLDEN / "tokenizer.model"
    assert MODEL.vocab_size == 1024


def test_a_folder_is_read_by_its_model_before_its_json(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"expected tokenizer.model or tokenizer.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((GOLDEN / "tokenizer.json").read_bytes())
    assert Tokenizer.from_folder(tmp_path).path.name == "tokenizer.json"
    (tmp_path / "tokenizer.model").write_bytes((GOLDEN / "tokenizer.model").read_bytes())
    assert Tokenizer.from_folder(tmp_path).path.name == "tokenizer.model"


def test_a_missing_file_and_one_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(CheckpointError, match="No such file"):
        Tokenizer.from_file(tmp_path / "tokenizer.model")
    monkeypatch.setattr("codegemma.text.tokenizer.MAX_FILE_BYTES", 100)
    with pytest.raises(CheckpointError, match="larger than a vocabulary's 100 bytes"):
        Tokenizer.from_file(GOLDEN / "tokenizer.model")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"<|fim_middle|>", b"<|fim_muddle|>", "expected id 68 to be <unused61> or <|fim_middle|>"),
        (b"<eos>", b"</s>>", "expected id 1 to be <eos>, found '</s>>'"),
        (b"<end_of_turn>", b"<end_of_tutu>", "expected id 107 to be <end_of_turn>"),
        (b"\n\x01\n\x15", b"\n\x01\x0b\x15", r"expected id 108 to be \n, found '\x0b'"),
    ],
)
def test_a_vocabulary_in_another_layout_is_refused_by_id(
    old: bytes, new: bytes, found: str, tmp_path: Path
):
    data = (GOLDEN / "tokenizer.model").read_bytes()
    assert data.count(old) >= 1
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data.replace(old, new))
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.from_file(path)
    assert found in str(caught.value)


def test_a_vocabulary_without_the_fixed_ids_is_refused(train: Callable[..., Path]):
    path = train(control_symbols=[], user_defined_symbols=[], vocab_size=400)
    with pytest.raises(CheckpointError, match="expected id 67 to be <unused60> or"):
        Tokenizer.from_file(path)


def test_a_vocabulary_without_byte_pieces_is_refused(train: Callable[..., Path]):
    with pytest.raises(CheckpointError, match="expected the byte piece <0xE2>, found none"):
        Tokenizer.from_file(train(byte_fallback=False, vocab_size=400))


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_rule_name": "nmt_nfkc"},
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
    ],
)
def test_a_vocabulary_that_changes_text_is_refused(
    changes: dict[str, object], train: Callable[..., Path]
):
    with pytest.raises(CheckpointError, match="does not give text back as it was"):
        Tokenizer.from_file(train(**changes))


def test_a_control_token_spelled_like_code_is_refused(train: Callable[..., Path]):
    controls = tokens.control_pieces()
    controls[4] = "e"
    path = train(
        control_symbols=[], user_defined_symbols=controls + tokens.whole_pieces(), vocab_size=560
    )
    with pytest.raises(CheckpointError, match="control tokens 'e' cannot be told from text"):
        Tokenizer.from_file(path)


@pytest.mark.skipif(
    "CODEGEMMA_TOKENIZER" not in os.environ,
    reason="CODEGEMMA_TOKENIZER names no tokenizer.model or tokenizer.json of a released model",
)
def test_known_ids_of_the_released_vocabulary():
    tokenizer = Tokenizer.from_file(os.environ["CODEGEMMA_TOKENIZER"])
    known = {
        "This is a test": [1596, 603, 476, 2121],
        "Hi  Hello": [2151, 139, 4521],
        "Hi   Hello": [2151, 140, 4521],
        "": [],
        " ": [235248],
        "  ": [139],
        " Hello": [25957],
        "<s>": [204],
        "A sample test": [235280, 6453, 2121],
        "\u751f\u6d3b\u7684\u771f\u8c1b\u662f": [122182, 235710, 245467, 235427],
        "The quick brown fox jumps over the lazy dog.": [
            *(651, 4320, 8426, 25341, 36271, 1163, 573, 27894, 5929, 235265)
        ],
        "BERT is designed to pre-train deep bidirectional representations from unlabeled text by "
        "jointly conditioning on both left and right context in all layers.": [
            *(25894, 603, 6869, 577, 953, 235290, 8297, 5271, 209099, 41642, 774, 748, 78253, 2793),
            *(731, 51506, 34346, 611, 2145, 2731, 578, 1833, 4807, 575, 832, 16630, 235265),
        ],
        "user": [1645],
        "model": [2516],
        "\n": [108],
    }
    assert {text: tokenizer.encode(text) for text in known} == known
    assert tokenizer.decode([869]) == "og"
    assert tokenizer.decode([30112, 869]) == " expenditureog"
