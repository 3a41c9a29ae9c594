# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import pickle
from pathlib import Path

import pytest

from codegemma.data import decontaminate, shingles
from codegemma.data.decontaminate import BenchmarkIndex, BenchmarkText, Hit
from codegemma.errors import InputError

SOLUTION = '''def truncate_number(number: float) -> float:
    """ Given a positive floating point number return its decimals. """
    return number % 1.0
'''
OTHER = "def add(left, right):\n    return left + right  # the sum of both given values, no more\n"


def index(text: str = SOLUTION) -> BenchmarkIndex:
    return decontaminate.build_index([BenchmarkText(item="he.jsonl#2", text=text)])


def find(index: BenchmarkIndex, text: str) -> list[Hit]:
    return index.hits(text, shingles.hash_words(text))


def test_a_verbatim_copy_is_found_and_named() -> None:
    hits = find(index(), "import os\n\n" + SOLUTION + "\nx = 1\n")

    assert {hit.item for hit in hits} == {"he.jsonl#2"}
    assert hits[0].words == (
        "def truncate_number number float float given a positive floating point"
    )


def test_a_reindented_and_repunctuated_copy_is_found() -> None:
    copy = "\t\t" + SOLUTION.replace("\n", "\n\t\t").replace('"""', "'''").upper()

    assert find(index(), copy) != []


def test_other_code_is_no_hit() -> None:
    assert find(index(), OTHER) == []


def test_nine_common_words_are_no_hit() -> None:
    words = "truncate_number number float float given a positive floating point"

    assert find(index(), f"before {words} after") == []


def test_runs_of_numbers_and_repeats_tell_nothing() -> None:
    numbers = " ".join(map(str, range(30)))
    repeats = "assert candidate assert candidate " * 10

    assert find(index(numbers), numbers) == []
    assert find(index(repeats), repeats) == []


def test_loops_over_single_letters_and_the_alphabet_tell_nothing() -> None:
    loops = "for i in range(n):\n    for j in range(m):\n        if i < j:\n            return i\n"
    index = decontaminate.build_index(
        [
            BenchmarkText(item="a#1", text=f"def crossed(n, m):\n{loops}"),
            BenchmarkText(item="a#2", text="ring = 'a b c d e f g h i j k l m'"),
        ]
    )

    assert find(index, f"def spread(n, m):\n{loops}") == []
    assert find(index, "keys = ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j')") == []
    assert find(index, f"x = 1\ndef crossed(n, m):\n{loops}")


def test_runs_found_in_many_repositories_are_named_common() -> None:
    hits = find(index(), SOLUTION)
    by_repository = [hits, hits, hits[:1]]

    common = decontaminate.common_ngrams(by_repository, max_repositories=2)

    assert common == {hits[0].ngram}


def test_an_empty_index_hits_nothing() -> None:
    assert find(decontaminate.build_index([]), SOLUTION) == []
    assert len(decontaminate.build_index([])) == 0


def test_an_index_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(index()))

    assert find(again, SOLUTION) == find(index(), SOLUTION)


def test_all_strings_of_json_files_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "tests": ["b", {"inner": "c"}], "number": 3}, {"prompt": "d"}]
    (tmp_path / "set").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "set" / "x.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "y.json").write_text(json.dumps(rows[1:]), encoding="utf-8")
    (tmp_path / "LICENSE").write_text("not a benchmark", encoding="utf-8")

    found = [(text.item, text.text) for text in decontaminate.read_benchmarks([tmp_path])]

    assert found == [
        ("set/x.jsonl.gz#0", "a"),
        ("set/x.jsonl.gz#0", "b"),
        ("set/x.jsonl.gz#0", "c"),
        ("set/x.jsonl.gz#1", "d"),
        ("y.json#0", "d"),
    ]


def test_a_program_is_found_without_its_docstring_and_comments(tmp_path: Path) -> None:
    signature = "def rotate(items, places):\n"
    body = "    head, tail = items[:places], items[places:]\n    return tail + head\n"
    prompt = signature + '    """ Rotate the items. """\n'
    row = {"prompt": prompt, "canonical_solution": body.replace("]\n", "]  # cut\n")}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")

    found = decontaminate.build_index(decontaminate.read_benchmarks([path]))

    assert {hit.item for hit in find(found, signature + body)} == {"x.jsonl#0"}


def test_a_missing_path_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        list(decontaminate.read_benchmarks([tmp_path / "nowhere"]))
    (tmp_path / "bad.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputError, match=r"bad\.jsonl\.gz cannot be read"):
        list(decontaminate.read_benchmarks([tmp_path]))


SHORT = "return sum(outer - inner for outer, inner in zipped)"


@pytest.mark.parametrize(
    "text",
    [
        f"def f(zipped):\n    {SHORT}\n",
        "x=1\n" + SHORT.replace(" ", "") + "\n",
        "def f(zipped):\n    return sum(\n        outer - inner\n"
        "        for outer, inner in zipped)\n",
    ],
    ids=["verbatim", "without blanks", "broken up"],
)
def test_a_text_shorter_than_ten_words_is_found_whole_whatever_its_white_space(text: str) -> None:
    index = decontaminate.build_index(
        [BenchmarkText(item="short#1", text=SHORT), BenchmarkText(item="tiny#2", text="return x")]
    )

    assert [hit.item for hit in find(index, text)] == ["short#1"]
    assert find(index, "return sum(outer + inner for outer, inner in zipped)") == []
    assert find(index, "return x") == []


def test_a_whole_function_is_found_however_short_and_its_head_alone_is_not() -> None:
    long = "def tetra(n):\n    return (n * (n + 1) * (n + 2)) / 6"
    texts = [
        "def lcopy(xs):\n  return xs[:]",
        long,
        "def lcopy(xs, to):",
        "lcopy of a list, returned",
    ]
    index = decontaminate.build_index(BenchmarkText(item=text[:9], text=text) for text in texts)

    assert [hit.item for hit in find(index, f"x = 1\n\n{texts[0]}\n\ny = 2\n")] == ["def lcopy"]
    assert [hit.item for hit in find(index, f"y = 2\n{long}\n")] == ["def tetra"]
    assert find(index, "def lcopy(xs):\n    return list(xs)\n") == []
    assert find(index, "def lcopy(xs, to):\n    to += xs\n") == []


def test_comments_of_c_like_languages_are_no_disguise(tmp_path: Path) -> None:
    code = (
        "int add_all(int first, int second) {\n  // adds them up\n  int total = first + second;\n"
    )
    code += "  /* the end */\n  return total * factor_of(first) - offset_of(second);\n}\n"
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"solution": code}) + "\n", encoding="utf-8")
    index = decontaminate.build_index(decontaminate.read_benchmarks([path]))
    bare = code.replace("  // adds them up\n", "").replace("  /* the end */\n", "")

    assert find(index, code)
    assert find(index, "\t" + bare.replace("\n", "\n\t"))


@pytest.mark.parametrize(
    ("name", "is_benchmark"),
    [
        ("openai/human-eval", True),
        ("HumanEval_infilling", False),
        ("someone/human_eval-infilling", True),
        ("lm-eval", True),
        ("MultiPL-E-main", True),
        ("someone/apps", False),
        ("rich", False),
    ],
)
def test_benchmark_repositories_are_known_by_name(name: str, is_benchmark: bool) -> None:
    assert decontaminate.is_benchmark_repository(name) is is_benchmark


def test_two_short_texts_that_begin_alike_are_both_looked_for() -> None:
    begin = "first = alpha.beta(gamma), delta.epsilon,"
    texts = [BenchmarkText(item=f"short#{end}", text=f"{begin} {end}()") for end in ("one", "two")]
    index = decontaminate.build_index(texts)

    assert [hit.item for hit in find(index, f"x = 1\n{begin} two()\n")] == ["short#two"]
    assert [hit.item for hit in find(index, f"x = 1\n{begin} one()\n")] == ["short#one"]


def test_a_run_that_crosses_from_one_benchmark_text_into_the_next_is_no_hit() -> None:
    left, right = (
        " ".join(f"{name}{number}word" for number in range(12)) for name in ("left", "right")
    )
    index = decontaminate.build_index(
        [BenchmarkText(item="l", text=left), BenchmarkText(item="r", text=right)]
    )

    assert len(index) == 6
    assert find(index, " ".join([*left.split()[7:], *right.split()[:5]])) == []
    assert {hit.item for hit in find(index, left + " " + right)} == {"l", "r"}


def test_a_run_that_two_benchmark_items_share_is_the_first_ones() -> None:
    index = decontaminate.build_index(
        [BenchmarkText(item="one", text=SOLUTION), BenchmarkText(item="two", text=SOLUTION + "x")]
    )

    assert {hit.item for hit in find(index, SOLUTION)} == {"one"}
