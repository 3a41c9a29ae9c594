# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegemma.data import graph, pack, recipes
from codegemma.data.document import File, Repository
from codegemma.text.tokenizer import Tokenizer

NANO = dataclasses.replace(recipes.nano(), context_tokens=256, window_tokens=(96, 128))
MODULE = "".join(
    f"class Shape{i}:\n"
    f'    """A shape with {i} corners.\n\nAnd a line at the margin."""\n\n'
    f"    corners = {i}\n\n"
    f"    def area(self, side):\n"
    f"        # the area\n"
    f"        return side * self.corners\n\n\n"
    for i in range(12)
)


def pack_texts(tokenizer: Tokenizer, **texts: str) -> list[list[tuple[str, str]]]:
    files = tuple(File(path=f"{name}.py", text=text) for name, text in texts.items())
    repository = Repository(name="r", version="1", files=files)
    records, _, _ = pack.pack_repository(repository, tokenizer=tokenizer, recipe=NANO)
    return [[(file.path, file.text) for file in record.files] for record in records]


def test_short_neighbours_share_a_record_uncut(tokenizer: Tokenizer) -> None:
    assert pack_texts(tokenizer, a="x = 1\n", b="y = 2\n") == [
        [("a.py", "x = 1\n"), ("b.py", "y = 2\n")]
    ]


def test_what_is_imported_stands_before_what_imports_it(tokenizer: Tokenizer) -> None:
    assert pack_texts(tokenizer, a="import z\n", m="y = 2\n", z="x = 1\n") == [
        [("z.py", "x = 1\n"), ("a.py", "import z\n"), ("m.py", "y = 2\n")]
    ]


def test_short_runs_go_whole_into_the_fullest_record_that_has_room(tokenizer: Tokenizer) -> None:
    texts = {name: "x = 1\n" * lines for name, lines in zip("abcd", (20, 40, 5, 32), strict=True)}
    tokens = {name: len(tokenizer.encode(text)) for name, text in texts.items()}
    assert tokens == {"a": 100, "b": 200, "c": 25, "d": 160}  # of 256, and some 20 more a file

    records = pack_texts(tokenizer, **texts)

    assert [[path for path, _ in files] for files in records] == [
        ["a.py"],
        ["b.py"],
        ["c.py", "d.py"],
    ]


def test_files_that_follow_one_another_share_a_record_and_runs_stay_in_order(
    tokenizer: Tokenizer,
) -> None:
    imports = {"b": "a", "d": "c", "f": "e", "h": "g", "j": "i", "n": "m", "p": "o"}
    texts = dict.fromkeys([*imports, *imports.values()], "x = 1\n" * 15)
    for user, dependency in imports.items():
        texts[user] = f"import {dependency}\n" + texts[user]

    records = [[path[0] for path, _ in files] for files in pack_texts(tokenizer, **texts)]

    assert [imports.get(user) == dependency for dependency, user in records] == [True] * 7


def test_what_is_put_together_keeps_the_order_of_the_repository(tokenizer: Tokenizer) -> None:
    sizes = {"a": 10, "b": 45, "c": 10, "d": 45, "e": 10}
    texts = {name: "x = 1\n" * lines for name, lines in sizes.items()}

    records = [[path[0] for path, _ in files] for files in pack_texts(tokenizer, **texts)]

    assert records == [["a", "c", "e"], ["b"], ["d"]]


def test_what_imports_or_tests_its_neighbour_is_not_torn_from_it_for_a_better_fit(
    tokenizer: Tokenizer,
) -> None:
    texts = {
        "a": "x = 1\n" * 20,
        "b": "x = 1\n" * 20,
        "test_b": "x = 1\n" * 3,
        "y": "x = 1\n" * 20,
        "z": "import y\n" + "x = 1\n" * 3,
    }
    tokens = {name: len(tokenizer.encode(text)) for name, text in texts.items()}
    assert tokens == {"a": 100, "b": 100, "test_b": 15, "y": 100, "z": 20}  # of 256, and the paths

    records = [[path for path, _ in files] for files in pack_texts(tokenizer, **texts)]

    assert records == [["y.py", "z.py"], ["a.py"], ["b.py", "test_b.py"]]


def test_runs_that_leave_much_room_are_taken_apart_for_a_better_fit(tokenizer: Tokenizer) -> None:
    sizes = {"a": 20, "b": 5, "c": 36, "d": 20}
    texts = {name: "x = 1\n" * lines for name, lines in sizes.items()}

    records = [[path[0] for path, _ in files] for files in pack_texts(tokenizer, **texts)]

    assert records == [["a", "d"], ["b", "c"]]  # in order they would be a and b, c, d


def test_a_run_in_order_that_fills_its_record_is_not_taken_apart(tokenizer: Tokenizer) -> None:
    sizes = {"a": 19, "b": 19, "c": 23}
    texts = {name: "x = 1\n" * lines for name, lines in sizes.items()}

    records = [[path[0] for path, _ in files] for files in pack_texts(tokenizer, **texts)]

    assert records == [["a", "b"], ["c"]]  # the best fit would be c with a


def test_every_file_of_a_record_names_repository_commit_path_and_line(tokenizer: Tokenizer) -> None:
    files = (File(path="pkg/a.py", text=MODULE), File(path="pkg/b.py", text="x = 1\n"))
    repository = Repository(name="shapes", version="0123abc", files=files)
    records, _, _ = pack.pack_repository(repository, tokenizer=tokenizer, recipe=NANO)

    for file in (file for record in records for file in record.files):
        origin, _, line = file.origin.rpartition(":")
        text = {file.path: file.text for file in files}[file.path]

        assert origin == "shapes@0123abc"
        assert "".join(text.splitlines(True)[int(line) - 1 :]).startswith(file.text)


def test_a_file_that_fits_the_context_is_never_cut(tokenizer: Tokenizer) -> None:
    text = "x = 1\n" * 35
    assert 130 < len(tokenizer.encode(text)) < 230

    assert pack_texts(tokenizer, a=text, b="y = 2\n" * 20) == [
        [("a.py", text)],
        [("b.py", "y = 2\n" * 20)],
    ]


def test_windows_of_a_long_file_make_up_the_file_and_stay_in_the_budget(
    tokenizer: Tokenizer,
) -> None:
    repository = Repository(name="r", version="1", files=(File(path="a.py", text=MODULE),))
    records, num_tokens, ledger = pack.pack_repository(repository, tokenizer=tokenizer, recipe=NANO)
    windows = sorted(
        (file for record in records for file in record.files),
        key=lambda file: int(file.origin.removeprefix("r@1:")),
    )

    assert "".join(window.text for window in windows) == MODULE
    assert windows[0].origin == "r@1:1"
    assert len(windows) > 5
    assert ledger.rows == {}
    assert sum(len(tokenizer.encode(window.text)) for window in windows) <= num_tokens
    assert all(len(tokenizer.encode(window.text)) <= 128 for window in windows)
    for record in records:
        used = sum(len(tokenizer.encode(f.path + "\n" + f.text)) + 16 for f in record.files)
        assert used + 2 <= record.max_tokens == 256


def test_suffix_starts_of_a_window_count_from_its_start(tokenizer: Tokenizer) -> None:
    repository = Repository(name="r", files=(File(path="a.py", text=MODULE),))
    records, _, _ = pack.pack_repository(repository, tokenizer=tokenizer, recipe=NANO)

    for file in (file for record in records for file in record.files):
        for start in file.suffix_starts:
            assert 0 < start <= len(file.text)
            natural = file.text[start : start + 1] in ("", "\n", ")", "]", "}", ",", ";", ":")
            assert natural or file.text[start - 1] == "\n"


LINES = [
    "import os\n",
    "\n",
    "def one():\n",
    "    a = 1\n",
    "    b = 2\n",
    "# about two\n",
    "@decorated\n",
    "def two():\n",
    "    return 2\n",
]
# Where the statements of LINES start, and the starts of their lines.
STARTS = [11, 22, 26, 32, 36, 54, 65, 76, 80]


@pytest.mark.parametrize(
    ("budget", "bounds"),
    [
        (9, [(0, 9)]),
        (7, [(0, 5), (5, 9)]),
        (6, [(0, 5), (5, 9)]),
        (4, [(0, 4), (4, 8), (8, 9)]),
        (1, [(i, i + 1) for i in range(9)]),
    ],
)
def test_cuts_fall_before_the_least_indented_statement_with_its_comments(
    budget: int, bounds: list[tuple[int, int]]
) -> None:
    assert pack.cut_lines(LINES, [1] * 9, STARTS, budgets=[budget]) == bounds


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), min_size=1, max_size=60),
    st.lists(st.integers(10, 60), min_size=1, max_size=3),
)
def test_windows_cover_every_line_once_within_their_budget(
    lines: list[tuple[int, int]], budgets: list[int]
) -> None:
    texts = ["    " * indent + "x\n" for _, indent in lines]
    sizes = [size for size, _ in lines]

    bounds = pack.cut_lines(texts, sizes, [], budgets=budgets)

    assert [first for first, _ in bounds] == [0, *(last for _, last in bounds[:-1])]
    assert bounds[-1][1] == len(lines)
    for index, (first, last) in enumerate(bounds):
        assert first < last
        assert last == first + 1 or sum(sizes[first:last]) <= budgets[index % len(budgets)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 33), st.sampled_from("abcdefgh")), max_size=8))
def test_every_file_is_packed_once_in_the_order_of_the_repository_within_the_budget(
    tokenizer: Tokenizer, files: list[tuple[int, str]]
) -> None:
    texts = {
        name: f"import {wanted}\n" + "x = 1\n" * lines
        for name, (lines, wanted) in zip("abcdefgh", files, strict=False)
    }
    imports = {f"{n}.py": graph.imports_of(File(path="a.py", text=t)) for n, t in texts.items()}
    order = graph.arrange(imports)

    records = pack_texts(tokenizer, **texts)

    assert sorted(path for record in records for path, _ in record) == sorted(order)
    for record in records:
        assert [path for path, _ in record] == sorted((p for p, _ in record), key=order.index)
        assert sum(len(tokenizer.encode(f"{p}\n{t}")) + 16 for p, t in record) <= 254


def test_a_line_that_no_budget_holds_is_left_out_and_counted(tokenizer: Tokenizer) -> None:
    text = "x = 1\n" * 40 + "y = '" + "qz" * 600 + "'\n" + "z = 1\n" * 40
    repository = Repository(name="r", files=(File(path="a.py", text=text),))
    records, _, ledger = pack.pack_repository(repository, tokenizer=tokenizer, recipe=NANO)

    assert ledger.rows == {"line_over_budget": [1, 1207]}
    assert ledger.languages == {"line_over_budget": {"python": [1, 1207]}}
    assert ledger.samples == {"line_over_budget": ["r/a.py"]}
    kept = "".join(file.text for record in records for file in record.files)
    assert kept.count("\n") == 80
