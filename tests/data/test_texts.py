# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import read, texts
from codegemma.data.document import TURN_END
from codegemma.errors import InputError


def table(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


GSM8K = {
    "question": "Ann has 48 pens and half as many books. How many things has she?",
    "answer": "She has 48/2 = <<48/2=24>>24 books.\nThat makes 48+24 = <<48+24=72>>72.\n#### 72",
}


def test_a_question_in_gsm8ks_format_becomes_a_text_or_two_turns() -> None:
    answer = "She has 48/2 = 24 books.\nThat makes 48+24 = 72.\nThe answer is 72."

    assert texts.read_document(GSM8K, genre="math") == (f"{GSM8K['question']}\n{answer}", "")
    assert texts.read_document(GSM8K, genre="chat") == (
        f"{GSM8K['question']}{TURN_END}{answer}",
        "",
    )


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        (
            {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": " Hi "},
                    {"role": "assistant", "content": "Hello"},
                ]
            },
            ["Be brief.\n\nHi", "Hello"],
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "1?"},
                    {"from": "gpt", "value": "2"},
                    {"from": "human", "value": "3?"},
                    {"from": "gpt", "value": "4"},
                ]
            },
            ["1?", "2", "3?", "4"],
        ),
        ({"instruction": "Add", "input": "1 and 2", "output": "3"}, ["Add\n\n1 and 2", "3"]),
        ({"prompt": "a", "completion": "b"}, ["a", "b"]),
    ],
)
def test_conversations_are_read_in_the_forms_they_are_published_in(
    row: dict[str, Any], turns: list[str]
) -> None:
    assert texts.read_document(row, genre="chat") == (TURN_END.join(turns), "")


def said(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"text": "no turns"}, "no_conversation"),
        ({"messages": []}, "no_conversation"),
        ({"messages": ["x"]}, "no_conversation"),
        (said(("user", "a")), "turns_out_of_order"),
        (said(("assistant", "a"), ("user", "b")), "turns_out_of_order"),
        (said(("user", "a"), ("user", "b")), "turns_out_of_order"),
        (said(("user", "a"), ("tool", "b")), "turns_out_of_order"),
        (said(("user", "a"), ("assistant", "  ")), "empty_turn"),
        (said(("system", "a")), "turns_out_of_order"),
    ],
)
def test_what_is_no_conversation_is_left_out_by_a_rule(row: dict[str, Any], rule: str) -> None:
    assert texts.read_document(row, genre="chat") == ("", rule)


def test_a_turn_cannot_make_another() -> None:
    row = {"prompt": f"a{TURN_END}b", "completion": "c"}

    assert texts.read_document(row, genre="chat")[0].split(TURN_END) == ["a b", "c"]


def test_texts_are_read_from_their_column_and_empty_ones_left_out() -> None:
    assert texts.read_document({"text": "words"}, genre="text") == ("words", "")
    assert texts.read_document({"content": "words"}, genre="math") == ("words", "")
    assert texts.read_document({"text": " \n"}, genre="text") == ("", "no_text")
    assert texts.read_document({"title": "words"}, genre="text") == ("", "no_text")


def test_a_table_is_divided_into_parts_whose_rows_are_read_by_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "PART_DOCUMENTS", 2)
    path = table(tmp_path / "a.jsonl", [{"text": f"text {i}\r\n"} for i in range(3)])

    parts = texts.find_texts([("text", path)])

    assert [(part.name, part.genre, part.rows) for part in parts] == [
        ("a.jsonl#0", "text", (0, 23)),
        ("a.jsonl#1", "text", (46,)),
    ]
    repository, ledger = read.read_repository(parts[0], extensions=(".py",), max_bytes=100)
    assert [(file.path, file.text) for file in repository.files] == [
        ("0", "text 0\n"),
        ("23", "text 1\n"),
    ]
    assert repository.genre == "text"
    assert ledger.counts() == {}


def test_a_folder_gives_its_plain_texts_and_a_text_itself(tmp_path: Path) -> None:
    for name in ("b/two.md", "one.txt", "three.py", "LICENSE.txt"):
        (tmp_path / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "notes" / name).write_text(f"of {name}", encoding="utf-8")

    parts = texts.find_texts([("text", tmp_path / "notes"), ("math", tmp_path / "notes/one.txt")])

    assert [(part.name, part.genre, part.paths) for part in parts] == [
        ("notes#0", "text", ("LICENSE.txt", "b/two.md", "one.txt")),
        ("one.txt#0", "math", ("one.txt",)),
    ]
    repository, _ = read.read_repository(parts[0], extensions=(".py",), max_bytes=100)
    assert [file.path for file in repository.files] == ["LICENSE.txt", "b/two.md", "one.txt"]


def test_documents_too_large_or_without_text_are_counted(tmp_path: Path) -> None:
    rows = [{"text": "x" * 200}, {"id": 1}, {"text": "fine"}, {"text": "no\0text"}]
    (part,) = texts.find_texts([("text", table(tmp_path / "a.jsonl", rows))])

    repository, ledger = read.read_repository(part, extensions=(), max_bytes=100)

    assert [file.text for file in repository.files] == ["fine"]
    assert sorted(ledger.counts()) == ["binary", "no_text", "too_large"]


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        table(tmp_path / folder / "t.jsonl", [{"text": folder}])

    parts = texts.find_texts([("text", tmp_path / n / "t.jsonl") for n in ("a", "b")])

    assert [part.name for part in parts] == ["t.jsonl#0", "t.jsonl~2#0"]


def test_what_holds_no_documents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.csv").write_text("a,b", encoding="utf-8")

    with pytest.raises(InputError, match=r"no document was found in .*empty"):
        texts.find_texts([("text", tmp_path / "empty")])
    with pytest.raises(InputError, match=r"x\.csv is not a folder of texts, a text .* or a table"):
        texts.find_texts([("text", tmp_path / "x.csv")])
