# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from codegemma.generate.stop import RowText, SeamText, StopStrings


def fed(stops, pieces):
    matcher = StopStrings(stops)
    given_out = [matcher.push(piece) for piece in pieces]
    return given_out, matcher.is_stopped, matcher.flush()


def test_a_stop_string_across_pieces_is_never_given_out():
    assert fed(["\nclass"], ["x = 1\ncl", "ass A:"]) == (["x = 1", ""], True, "")


def test_text_that_only_began_a_stop_string_comes_out_late():
    assert fed(["\nclass"], ["x\ncl", "ose()"]) == (["x", "\nclose()"], False, "")


def test_what_is_held_at_the_end_is_flushed():
    assert fed(["END"], ["aE", "N"]) == (["a", ""], False, "EN")


def test_the_first_stop_string_to_be_complete_counts():
    assert fed(["bcd", "c"], ["abcd"])[0] == ["ab"]
    assert fed(["c", "bc"], ["abcd"])[0] == ["a"]
    assert fed(["c", "bcd"], ["ab", "x"]) == (["a", "bx"], False, "")


def test_without_stop_strings_nothing_is_held():
    assert fed([], ["a", "b"]) == (["a", "b"], False, "")


def test_a_stop_string_that_overlaps_itself_is_found():
    assert fed(["aab"], ["aa", "a", "b"]) == (["", "a", ""], True, "")


@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_any_pieces_give_the_text_before_the_first_stop_string(text, stops, cuts):
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    given_out, is_stopped, rest = fed(stops, pieces)
    ends = [(text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    expected = text[: sum(min(ends))] if ends else text
    assert is_stopped == bool(ends)
    assert "".join(given_out) + rest == expected


def sewn(seam, pieces):
    holder = SeamText(seam)
    return [*map(holder.push, pieces), holder.flush()]


def test_the_start_of_the_suffix_is_left_out_at_the_end_of_a_text_alone():
    assert sewn("urn", ["ret", "urn"]) == ["ret", "", ""]
    assert sewn("urn", ["x u", "rn u", "rn"]) == ["x ", "urn ", "", ""]
    assert sewn("urn", ["return x"]) == ["return x", ""]
    assert sewn("urn", ["retur"]) == ["ret", "ur"]
    assert sewn("aab", ["aaab"]) == ["a", ""]
    assert sewn("aa", ["aaa"]) == ["a", ""]
    assert sewn("", ["a", "b"]) == ["a", "b", ""]


@given(
    st.text("ab", max_size=20),
    st.text("ab", max_size=4),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_any_pieces_give_the_text_without_the_seam_it_ends_with(text, seam, cuts):
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    assert "".join(sewn(seam, pieces)) == text.removesuffix(seam)


def row(tokenizer, *, stops=(), stop_ids=(1, 70), max_tokens=50):
    return RowText(tokenizer, stop_ids=frozenset(stop_ids), stops=stops, max_tokens=max_tokens)


def test_a_stop_id_ends_the_row_and_stays_among_its_tokens(tokenizer):
    text = row(tokenizer)
    ids = tokenizer.encode("pass")
    for token in [*ids, 70]:
        text.push(token)
    assert text.text == "pass"
    assert text.tokens == [*ids, 70]
    assert text.finish_reason == "stop"


def test_the_token_that_completes_a_stop_string_is_the_last(tokenizer):
    text = row(tokenizer, stops=("\n\n",))
    ids = [tokenizer.encode(part)[0] for part in ("x", "\n", "\n")]
    pieces = [text.push(token) for token in ids]
    assert pieces == ["x", "", ""]
    assert text.finish_reason == "stop"
    assert text.tokens == ids


def test_a_character_of_several_tokens_comes_out_whole(tokenizer):
    text = row(tokenizer)
    ids = tokenizer.encode("\U0001f600")
    assert len(ids) == 4
    assert [text.push(token) for token in ids] == ["", "", "", "\U0001f600"]


def test_a_broken_character_ends_as_a_replacement_mark(tokenizer):
    text = row(tokenizer, max_tokens=2)
    ids = tokenizer.encode("\U0001f600")[:2]
    assert [text.push(token) for token in ids] == ["", "\ufffd"]
    assert text.finish_reason == "length"


def test_the_last_token_allowed_gives_out_what_was_held(tokenizer):
    text = row(tokenizer, stops=("END",), max_tokens=1)
    token = next(token for token in range(108, 1024) if tokenizer.token_bytes(token) == b"E")
    assert text.push(token) == "E"
    assert text.finish_reason == "length"


def test_an_end_from_outside_gives_out_what_was_held(tokenizer):
    text = row(tokenizer, stops=("E!",))
    token = next(token for token in range(108, 1024) if tokenizer.token_bytes(token) == b"E")
    text.push(token)
    assert text.end("cancelled") == "E"
    assert text.text == "E"
    assert text.finish_reason == "cancelled"
    assert text.end("deadline") == ""
    assert text.finish_reason == "cancelled"


def test_typed_text_is_drawn_and_not_given_out(tokenizer):
    text = RowText(tokenizer, stop_ids={1}, stops=("x",), max_tokens=2, typed=b"ax")
    given_out = []
    for char in "axbc":
        assert (text.rest, text.finish_reason) == (b"ax"[len(given_out) :], None)
        given_out.append(text.push(*tokenizer.encode(char)))
    # The typed "x" is no stop string, and tokens of nothing but typed text do not count.
    assert (given_out, text.text, text.finish_reason) == (["", "", "b", "c"], "bc", "length")
    assert len(text.tokens) == 4


def test_a_token_that_goes_beyond_the_typed_text_counts(tokenizer):
    (word,) = tokenizer.encode("\n\n")
    text = RowText(tokenizer, stop_ids={1}, stops=(), max_tokens=1, typed=b"\n")
    assert (text.push(word), text.finish_reason) == ("\n", "length")


def test_typed_text_ends_where_there_is_no_more_room(tokenizer):
    text = RowText(tokenizer, stop_ids={1}, stops=(), max_tokens=2, typed=b"ab", max_drawn=1)
    assert (text.push(*tokenizer.encode("a")), text.text, text.finish_reason) == ("", "", "length")


def test_the_seam_is_left_out_however_the_row_ends(tokenizer):
    def drawn(chars, *, stops=(), max_tokens=9, reason=None):
        text = RowText(
            tokenizer, stop_ids={1}, stops=stops, max_tokens=max_tokens, typed=b"x", seam="ab"
        )
        tokens = [1 if char == "$" else tokenizer.encode(char)[0] for char in chars]
        given_out = "".join(map(text.push, tokens))
        given_out += text.end(reason) if reason else ""
        assert given_out == text.text
        return text.text, text.finish_reason

    assert drawn("xcab$") == ("c", "stop")
    assert drawn("xca$") == ("ca", "stop")
    assert drawn("xcabE", stops=("E",)) == ("c", "stop")
    assert drawn("xcabc$") == ("cabc", "stop")
    assert drawn("xcab", max_tokens=3) == ("c", "length")
    assert drawn("xcab", reason="cancelled") == ("c", "cancelled")
    assert drawn("xab$") == ("", "stop")
