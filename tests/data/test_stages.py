# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import dedup, read, recipes, stages, texts
from codegemma.data.decontaminate import BenchmarkText, build_index
from codegemma.data.document import File, Repository
from codegemma.data.safety import Removals
from codegemma.data.stages import Inspected

NANO = recipes.nano()
BODY = "".join(f"def step_{i}(value_{i}):\n    return value_{i} + {i}\n\n" for i in range(12))


def inspect(
    folder: Path,
    files: dict[str, str],
    benchmark: str = "",
    *,
    is_strict: bool = False,
    **lists: Any,
) -> Inspected:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (location,) = read.find_repositories([folder])
    repository, ledger = read.read_repository(location, extensions=(".py",), max_bytes=10**6)
    return stages.inspect(
        repository,
        recipe=NANO if is_strict else dataclasses.replace(NANO, permissive_only=False),
        benchmarks=build_index([BenchmarkText(item="set/x.jsonl#7", text=benchmark)]),
        input_hash=stages.content_hash(repository),
        ledger=ledger,
        **lists,
    )


def paths(inspected: Inspected) -> list[str]:
    assert [file.path for file in inspected.repository.files] == [f.path for f in inspected.files]
    return [file.path for file in inspected.files]


def test_filters_are_applied_and_counted(tmp_path: Path) -> None:
    files = {"a.py": BODY, "b.py": "x = 1\n", "c_pb2.py": BODY, "nul.py": "\0"}

    found = inspect(tmp_path, files)

    assert paths(found) == ["a.py"]
    assert found.ledgers["filter"].rows == {"too_short": [1, 6], "generated": [1, len(BODY)]}
    assert found.ledgers["read"].rows == {"binary": [1, 1]}
    assert found.input.rows == {"read": [3, 2 * len(BODY) + 6]}
    assert found.ledgers["filter"].languages["too_short"] == {"python": [1, 6]}
    assert [file.size_bytes for file in found.files] == [len(BODY)]


def test_the_input_hash_changes_with_any_path_or_text(tmp_path: Path) -> None:
    first = inspect(tmp_path / "1", {"a.py": BODY, "b.py": "x = 1\n"}).input_hash

    assert inspect(tmp_path / "2", {"a.py": BODY, "b.py": "x = 1\n"}).input_hash == first
    assert inspect(tmp_path / "3", {"a.py": BODY, "b.py": "x = 2\n"}).input_hash != first
    assert inspect(tmp_path / "4", {"a.py": BODY, "c.py": "x = 1\n"}).input_hash != first


def test_the_recipe_names_the_repositories_held_out() -> None:
    names = {"networkx", "numpy", *(f"r{i}" for i in range(500))}

    assert stages.choose_heldout(names, recipe=NANO, seed=0) == {"networkx"}


def test_a_fraction_of_repositories_is_held_out_by_name_and_seed() -> None:
    recipe = dataclasses.replace(NANO, holdout_fraction=0.25)
    names = {f"r{i}" for i in range(2000)}
    held = [stages.choose_heldout(names, recipe=recipe, seed=seed) for seed in (0, 1)]

    assert len(held[0]) / 2000 == pytest.approx(0.25, abs=0.03)
    assert held[0] != held[1]
    assert stages.choose_heldout(names | {"new"}, recipe=recipe, seed=0) - {"new"} == held[0]


def test_a_listed_repository_alone_is_trained_on() -> None:
    assert stages.choose_heldout({"rich"}, recipe=NANO, seed=0) == frozenset()


@pytest.mark.parametrize(("num_names", "num_held"), [(1, 0), (2, 1), (5, 4)])
def test_one_repository_is_always_left_to_train_on(num_names: int, num_held: int) -> None:
    recipe = dataclasses.replace(NANO, holdout_fraction=1.0)
    names = {f"r{i}" for i in range(num_names)}

    assert len(stages.choose_heldout(names, recipe=recipe, seed=0)) == num_held


MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this work, "
    "to deal in the Software without restriction"
)


def test_each_file_is_taken_or_left_by_its_own_licence(tmp_path: Path) -> None:
    files = {
        "LICENSE": MIT,
        "a.py": BODY,
        "b.py": "# SPDX-License-Identifier: GPL-3.0-only\n" + BODY.replace("step", "stage"),
        "third/COPYING": "Mozilla Public License Version 2.0",
        "third/c.py": BODY.replace("step", "pace"),
        "third/d.py": "# SPDX-License-Identifier: ISC\n" + BODY.replace("step", "leap"),
    }

    found = inspect(tmp_path, files, is_strict=True)

    assert paths(found) == ["a.py", "third/d.py"]
    assert sorted(found.ledgers["license"].rows) == ["license: GPL-3.0-only", "license: MPL-2.0"]
    assert found.ledgers["license"].samples["license: MPL-2.0"] == [f"{tmp_path.name}/third/c.py"]
    assert not found.is_barred


def test_a_repository_without_a_licence_is_barred_or_kept_by_choice(tmp_path: Path) -> None:
    found = inspect(tmp_path / "1", {"a.py": BODY}, is_strict=True)
    keep = dataclasses.replace(NANO, keep_unlicensed=True)

    assert found.is_barred
    assert paths(found) == []
    for license, is_taken in (("", True), ("LicenseRef-unknown", True), ("GPL-2.0", False)):
        repository = Repository(name="r", licenses=(("", license),) if license else ())
        refused = stages.refused_license(File(path="a/b.py", text=BODY), repository, recipe=keep)
        assert (refused is None) is is_taken


SECRET = "AKIA" + "QWERTZUIOPASDFGH"


def test_secrets_are_replaced_after_copies_were_hashed_and_before_all_else(tmp_path: Path) -> None:
    text = BODY + f"KEY = '{SECRET}'  # jane@doe.org\n"

    found = inspect(tmp_path, {"a.py": text})
    (file,) = found.repository.files

    assert file.text == BODY + "KEY = 'REDACTED_KEY_1'  # user1@example.com\n"
    assert found.files[0].digest == dedup.content_hash(text)
    assert found.files[0].size_bytes == len(file.text)
    assert found.redacted == {"email": 1, "key": 1}


class Scanner:
    version = "1"

    def scan(self, text: str) -> str:
        return "mine: term" if "wicked" in text else ""


def test_unsafe_files_are_dropped_and_only_counted(tmp_path: Path) -> None:
    files = {"a.py": BODY, "b.py": BODY + "wicked = 1\n", "jane@doe.org.py": BODY + "x = 1\n"}

    found = inspect(tmp_path, files, scanner=Scanner())

    assert paths(found) == ["a.py"]
    assert found.ledgers["unsafe"].languages == {
        "mine: term": {"python": [1, len(BODY) + 11]},
        "person in path": {"python": [1, len(BODY) + 6]},
    }
    assert found.ledgers["unsafe"].samples == {}


def test_paths_of_people_and_of_unsafe_files_stand_in_no_ledger_and_no_signals(
    tmp_path: Path,
) -> None:
    files = {
        "home/jane@doe.org/a.py": "x = 1\n",  # too short
        "home/jane@doe.org/b.py": "# SPDX-License-Identifier: GPL-2.0-only\n" + BODY,
        "home/joe/wicked.py": BODY + "wicked = 1\n",
        "home/joe/short.py": "x = 2\n",
    }

    found = inspect(tmp_path, files, scanner=Scanner())

    written = json.dumps([ledger.as_json() for ledger in found.ledgers.values()])
    assert "jane" not in written
    assert [row[0] for row in found.signals] == ["home/joe/short.py"]
    assert found.ledgers["unsafe"].rows["person in path"][0] == 2


def test_a_repository_with_many_unsafe_files_is_dropped_whole(tmp_path: Path) -> None:
    files = {f"{i}.py": BODY + f"wicked = {i}\n" for i in range(4)} | {"a.py": BODY}

    found = inspect(tmp_path, files, scanner=Scanner())

    assert paths(found) == []
    assert found.ledgers["unsafe"].rows["repository with many hits"] == [1, len(BODY)]


def test_unsafe_documents_leave_those_beside_them_in_their_file(tmp_path: Path) -> None:
    table = tmp_path / "a.jsonl"
    words = [
        f"Chapter {i} is about copper, the first of the metals that we know." for i in range(9)
    ]
    rows = [{"text": f"{line} {'wicked' * (i < 4)}"} for i, line in enumerate(words)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (location,) = texts.find_texts([("math", table)])
    repository, ledger = read.read_repository(location, extensions=(".py",), max_bytes=10**6)

    found = stages.inspect(
        repository,
        recipe=NANO,
        benchmarks=build_index([]),
        input_hash="",
        ledger=ledger,
        scanner=Scanner(),
    )

    assert len(found.files) == 5
    assert found.ledgers["unsafe"].rows == {
        "mine: term": [4, sum(len(r["text"]) for r in rows[:4])]
    }


def test_files_whose_owners_asked_for_it_are_left_out(tmp_path: Path) -> None:
    removals = Removals(patterns=(f"{tmp_path.name}/private/*",))

    found = inspect(tmp_path, {"a.py": BODY, "private/x/b.py": BODY}, removals=removals)

    assert paths(found) == ["a.py"]
    assert found.ledgers["removed"].rows == {"asked for": [1, len(BODY)]}


def test_a_benchmark_repository_is_left_out_whole(tmp_path: Path) -> None:
    found = inspect(tmp_path / "human-eval", {"a.py": BODY})
    renamed = Removals(aliases=("openai/human-eval",))
    known = inspect(tmp_path / "mine", {"a.py": BODY}, removals=renamed)

    assert paths(found) == paths(known) == []
    rows = {"benchmark repository": [1, len(BODY)]}
    assert found.ledgers["contamination"].rows == known.ledgers["contamination"].rows == rows


def test_files_that_hardly_parse_stay_but_are_not_to_be_cut(tmp_path: Path) -> None:
    noise = "well then, my friend said: ) ( [ jane@doe.org\n"
    files = {"few.py": BODY + noise, "many.py": BODY + noise * 8}

    found = inspect(tmp_path, files)

    assert [(file.path, file.is_broken) for file in found.repository.files] == [
        ("few.py", False),
        ("many.py", True),
    ]
    errors = {row[0]: row[3].error_fraction or 0.0 for row in found.signals}
    assert 0 < errors["few.py"] < 0.2 < errors["many.py"] < 0.5
    assert "jane" not in found.repository.files[1].text  # redacted, and marked all the same
