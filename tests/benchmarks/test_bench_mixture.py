# SPDX-License-Identifier: Apache-2.0
import gzip
import json
from dataclasses import replace
from pathlib import Path

import bench_mixture
from codegemma.data.algebra import make_problems


def test_problems_hold_and_wrong_answers_or_steps_do_not() -> None:
    chain, equation, system, product = make_problems(4, seed=3)

    for problem in (chain, equation, system, product):
        assert bench_mixture.holds(problem), problem
    assert not bench_mixture.holds(replace(equation, answer="99"))
    first = system.answer.partition(" = ")[0]
    second = system.answer.partition(", ")[2].partition(" = ")[0]
    assert not bench_mixture.holds(replace(system, answer=f"{first} = 98, {second} = 99"))
    assert not bench_mixture.holds(replace(product, answer=f"{product.answer} + 1"))
    assert not bench_mixture.holds(replace(chain, solution=f"Add 1: 1 = 2\n{chain.solution}"))


def test_documents_of_a_folder_are_rows_of_text_with_their_paragraphs_joined(
    tmp_path: Path,
) -> None:
    text = "One line,\nand another.\n\n- a list\n- of two\n"
    folder = tmp_path / "usr" / "share"
    folder.mkdir(parents=True)
    (folder / "a.md").write_text(text, encoding="utf-8")
    (folder / "b.txt.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "c.rst.gz").write_bytes(gzip.compress(b"Another."))
    (folder / "d.html").write_text("no text file", encoding="utf-8")

    found = list(bench_mixture.documents(tmp_path))
    bench_mixture.write_texts(found, tmp_path / "text.jsonl")

    assert found == [text, "Another."]
    lines = (tmp_path / "text.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == [
        "One line, and another.\n\n- a list\n- of two\n",
        "Another.",
    ]
