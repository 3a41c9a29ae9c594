# SPDX-License-Identifier: Apache-2.0
from codegemma.text import tokens as t
from codegemma.text.tokenizer import Tokenizer


def test_reserved_pieces_stand_where_gemma_has_them():
    assert len(t.RESERVED_PIECES) == 108
    assert t.RESERVED_PIECES[:9] == (
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        "<2mass>",
        "[@BOS@]",
        "<unused0>",
        "<unused1>",
    )
    assert t.RESERVED_PIECES[66:72] == (
        "<unused59>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|file_separator|>",
        "<unused64>",
    )
    assert t.RESERVED_PIECES[105:] == ("<unused98>", "<start_of_turn>", "<end_of_turn>")


def test_ids_below_108_but_for_unknown_are_control():
    assert [token for token in range(-1, 110) if not t.is_control(token)] == [-1, 3, 108, 109]


def test_infill_ends_at_every_sentinel_and_eos_and_chat_at_its_turn_too():
    assert sorted(t.INFILL_STOP_IDS) == [1, 67, 68, 69, 70]
    assert sorted(t.CHAT_STOP_IDS) == [1, 67, 68, 69, 70, 107]


def test_whole_pieces_fill_the_ids_from_108_to_216():
    pieces = t.whole_pieces()
    assert len(pieces) == 217 - 108
    at = {108 + index: piece for index, piece in enumerate(pieces)}
    # The last four are the card's known ids: two spaces, three spaces, "<s>".
    assert (at[108], at[138], at[139], at[140], at[204]) == (
        "\n",
        "\n" * 31,
        "\u2581\u2581",
        "\u2581\u2581\u2581",
        "<s>",
    )
    assert at[216] == "</code>"


def test_whole_pieces_take_what_a_small_vocabulary_can_afford():
    pieces = t.whole_pieces(max_newlines=2, max_spaces=3, max_tabs=2, tags=False)
    assert pieces == ["\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581", "\t", "\t\t"]


def test_a_vocabulary_trained_with_the_options_has_gemmas_layout(tokenizer: Tokenizer):
    assert tokenizer.encode("\n") == [108]
    assert tokenizer.encode("  ") == [139]
    assert tokenizer.encode("<s>") == [204]
    assert tokenizer.encode("\x00") == [217]
    assert tokenizer.encode("\t") == [226]
    assert tokenizer.token_bytes(472) == b"\xff"
