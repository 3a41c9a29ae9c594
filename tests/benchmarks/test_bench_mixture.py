# SPDX-License-Identifier: Apache-2.0
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


def test_descriptions_of_packages_are_rows_of_text(tmp_path: Path) -> None:
    for name, text in (("one", "What one does."), ("two", ""), ("three", "What one does.")):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n\n{text}", encoding="utf-8")

    bench_mixture.write_descriptions(tmp_path, tmp_path / "text.jsonl")

    lines = (tmp_path / "text.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "What one does."}]
