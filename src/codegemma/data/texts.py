# SPDX-License-Identifier: Apache-2.0
"""Find and read documents that are no repositories: natural language, mathematics, conversations.

A folder gives its plain-text files, a table (.jsonl, .parquet) a document for each row, in columns
found by name: a `text`; a question with its answer, as in GSM8K; or a conversation (`messages` of
role and content, `conversations` of from and value). A source is divided into parts of so many
documents, which workers share and of which some are held out. What a document is worth is judged
later, by `prose` and the stages.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from codegemma.data import table
from codegemma.data.document import TURN_END, Blob, Genre, Location, Wanted, as_unicode
from codegemma.errors import InputError

PART_DOCUMENTS: Final = 500
"""Documents of a part of a source."""

_EXTENSIONS: Final = (".txt", ".md", ".markdown", ".rst", ".tex")
_TEXT: Final = ("text", "content")
_CONVERSATION: Final = ("messages", "conversations", "conversation", "turns")
_ROLE: Final = ("role", "from")
_SAID: Final = ("content", "value", "text")
_PAIRS: Final = (
    ("question", "answer"),
    ("problem", "solution"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("query", "response"),
)
_ROLES: Final = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "model",
    "gpt": "model",
    "model": "model",
    "system": "system",
}
_CALCULATION: Final = re.compile(r"<<[^<>\n]*>>")
_RESULT: Final = re.compile(r"^#### +(.+?)\s*\Z", re.MULTILINE)
Turns = list[tuple[str, str]]
T = TypeVar("T")


def find_texts(sources: Sequence[tuple[Genre, Path]]) -> list[Location]:
    """List the parts of the given sources; of two with one name the second gets "~2" behind it.

    Raises:
        InputError: A source is of no such kind, is damaged, or holds nothing.
    """
    locations: list[Location] = []
    names: dict[str, int] = {}
    for genre, path in sources:
        name = as_unicode(path.resolve().name)
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name}~{names[name]}"
        parts = list(_parts(path))
        if not parts:
            raise InputError(f"no document was found in {path}")
        locations += [
            replace(part, name=f"{name}#{number}", genre=genre) for number, part in enumerate(parts)
        ]
    return locations


def _parts(path: Path) -> Iterator[Location]:
    start = Location(name="", version="", license="", root=path)
    if path.is_file() and table.is_table(path):
        for rows in _divided(table.row_places(path)):
            yield replace(start, kind="rows", rows=rows)
    elif path.is_file() and path.suffix in _EXTENSIONS:
        yield replace(start, root=path.parent, paths=(path.name,))
    elif path.is_dir():
        files = (file for file in path.rglob("*") if file.suffix in _EXTENSIONS)
        paths = sorted(file.relative_to(path).as_posix() for file in files if file.is_file())
        for names in _divided(paths):
            yield replace(start, paths=names)
    else:
        raise InputError(
            f"{path} is not a folder of texts, a text ({', '.join(_EXTENSIONS)}) or a table "
            f"({', '.join(table.SUFFIXES)}) with a document in each row"
        )


def _divided(values: Iterable[T]) -> Iterator[tuple[T, ...]]:
    waiting = iter(values)
    while part := tuple(islice(waiting, PART_DOCUMENTS)):
        yield part


def blobs(location: Location, *, wanted: Wanted, max_bytes: int) -> Iterator[Blob]:
    """Give the documents of the location's rows, each under the place of its row."""
    for place in location.rows:
        path = str(place)
        if not wanted(path):
            continue
        text, rule = read_document(table.read_row(location.root, place), genre=location.genre)
        data = text.encode("utf-8", "surrogatepass")
        if not rule and len(data) > max_bytes:
            yield Blob(path=path, rule="too_large", size_bytes=len(data))
        else:
            yield Blob(path=path, data=data, rule=rule, size_bytes=len(data))


def read_document(row: dict[str, Any], *, genre: Genre) -> tuple[str, str]:
    """Give a row's text, and the rule that leaves it out, "" for none.

    A question and its answer are two turns of a conversation, or one text of two paragraphs. Notes
    for a calculator (`<<2*3=6>>`) are left out of answers, and a last line `#### 6` is put into
    words, as an evaluation asks for them.
    """
    if genre == "chat":
        turns = _conversation(row) or _pair(row)
        if not turns:
            return "", "no_conversation"
        return _joined(turns)
    text = next((row[name] for name in _TEXT if isinstance(row.get(name), str)), None)
    if text is None:
        text = "\n".join(said for _, said in _pair(row))
    return (text, "") if text.strip() else ("", "no_text")


def _joined(turns: Turns) -> tuple[str, str]:
    """Put what a system says before the next user's words, and check the order."""
    said: list[str] = []
    instructions = ""
    for role, text in turns:
        text = text.replace(TURN_END, " ").strip()
        if role == "system" and text:
            instructions += text + "\n\n"
        elif role != ("model" if len(said) % 2 else "user"):
            return "", "turns_out_of_order"
        elif not text:
            return "", "empty_turn"
        else:
            said.append(instructions + text)
            instructions = ""
    if not said or len(said) % 2:
        return "", "turns_out_of_order"
    return TURN_END.join(said), ""


def _conversation(row: dict[str, Any]) -> Turns:
    turns = next((row[name] for name in _CONVERSATION if isinstance(row.get(name), list)), None)
    found: Turns = []
    for turn in cast("list[Any]", turns or []):
        if not isinstance(turn, dict):
            return []
        values = cast("dict[str, Any]", turn)
        role = next((str(values[name]) for name in _ROLE if values.get(name)), "")
        text = next((values[name] for name in _SAID if isinstance(values.get(name), str)), "")
        found.append((_ROLES.get(role.lower(), "unknown"), text))
    return found


def _pair(row: dict[str, Any]) -> Turns:
    for asked, answered in _PAIRS:
        question, answer = row.get(asked), row.get(answered)
        if isinstance(question, str) and isinstance(answer, str):
            more = row.get("input")
            if isinstance(more, str) and more.strip():
                question = f"{question}\n\n{more}"
            answer = _RESULT.sub(r"The answer is \1.", _CALCULATION.sub("", answer))
            return [("user", question), ("model", answer)]
    return []
