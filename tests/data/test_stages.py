# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import dedup, read, recipes, stages
from codegemma.data.decontaminate import BenchmarkText, build_index
from codegemma.data.document import File, Repository
from codegemma.data.safety import Removals
from codegemma.data.stages import Inspected, Measured

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


def test_a_shared_licence_header_makes_no_copies_and_no_contamination(tmp_path: Path) -> None:
    header = "".join(
        f"# licence sentence number {i} of a long grant of rights\n" for i in range(60)
    )
    other = "".join(f"class Other{i}:\n    field_{i} = 'text {i}'\n\n" for i in range(12))

    found = inspect(tmp_path, {"a.py": header + BODY, "b.py": header + other}, benchmark=header)

    assert stages.copies([found], threshold=0.7) == [{}]
    assert [file.hits for file in found.files] == [(), ()]


def test_of_two_copies_the_earlier_repository_keeps_its_own(tmp_path: Path) -> None:
    first = inspect(tmp_path / "first", {"a.py": BODY})
    second = inspect(
        tmp_path / "second", {"x/b.py": "# moved\n" + BODY.replace("  ", "\t"), "c.py": BODY}
    )

    assert stages.copies([first, second], threshold=0.7) == [
        {},
        {"c.py": "exact_copy", "x/b.py": "near_copy"},
    ]
    assert stages.copies([second, first], threshold=0.7) == [
        {"x/b.py": "near_copy"},
        {"a.py": "exact_copy"},
    ]


SOLUTION = (
    "def largest_common_divisor(first, second):\n    while second: first, second = second, first\n"
)


def test_contaminated_files_are_named_with_the_benchmark_item(tmp_path: Path) -> None:
    found = inspect(tmp_path, {"a.py": BODY, "b.py": BODY + SOLUTION}, benchmark=SOLUTION)

    ((path, hit),) = stages.contaminated([found], max_repositories=3)[0].items()

    assert (path, hit.item) == ("b.py", "set/x.jsonl#7")


IDIOM = "parser.add_argument('--seed', type=int, default=0, help='seed of all random draws')\n"


def test_an_idiom_that_stands_in_many_repositories_is_no_contamination(tmp_path: Path) -> None:
    benchmark = IDIOM + "".join(f"train_{i}(epochs_{i}, rate_{i}, seed)\n" for i in range(30))
    found = [
        inspect(tmp_path / str(i), {"a.py": BODY + IDIOM}, benchmark=benchmark) for i in range(4)
    ]

    assert stages.contaminated(found, max_repositories=3) == [{}, {}, {}, {}]
    assert all(stages.contaminated(found[:3], max_repositories=3))


HUMANEVAL_4 = '''def mean_absolute_deviation(numbers: List[float]) -> float:
    """ For a given list of input numbers, calculate Mean Absolute Deviation
    around the mean of this dataset.
    """
    mean = sum(numbers) / len(numbers)
    return sum(abs(x - mean) for x in numbers) / len(numbers)
'''


def test_a_solution_that_many_repositories_copied_is_dropped_from_all(tmp_path: Path) -> None:
    files = {"a.py": BODY + HUMANEVAL_4}
    found = [inspect(tmp_path / str(i), files, benchmark=HUMANEVAL_4) for i in range(12)]

    assert [set(hits) for hits in stages.contaminated(found, max_repositories=3)] == [{"a.py"}] * 12


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


def measured(sizes: dict[str, int]) -> list[Measured]:
    files = [File(path=path, text=f"{path} ".ljust(n, path[-4])) for path, n in sizes.items()]
    return [
        stages.measure(
            file,
            digest=dedup.content_hash(file.text),
            benchmarks=build_index([]),
            language="python",
        )
        for file in files
    ]


def test_tests_are_cut_to_their_share_of_the_other_code() -> None:
    mine = measured({"a.py": 1000, **{f"test_{i}.py": 100 for i in range(10)}})

    dropped = stages.excess_tests(mine, max_fraction=0.25)

    assert len(dropped) == 8
    assert "a.py" not in dropped


def test_a_repository_is_cut_to_its_share() -> None:
    mine = measured({f"{i}.py": 100 for i in range(10)})

    assert len(stages.excess_share(mine, max_bytes=350)) == 7
    assert stages.excess_share(mine, max_bytes=1000) == set()
    assert stages.excess_share(mine, max_bytes=None) == set()


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


def test_files_whose_owners_asked_for_it_are_left_out(tmp_path: Path) -> None:
    removals = Removals(patterns=(f"{tmp_path.name}/private/*",))

    found = inspect(tmp_path, {"a.py": BODY, "private/x/b.py": BODY}, removals=removals)

    assert paths(found) == ["a.py"]
    assert found.ledgers["removed"].rows == {"asked for": [1, len(BODY)]}


def modules(count: int, word: str) -> dict[str, str]:
    """Files that have nothing in common but their form."""
    return {
        f"{word}{i}.py": "".join(
            f"def {word}_{i}_{j}(value_{i}_{j}):\n    return {word}{i * j} + value_{i}_{j}\n\n"
            for j in range(9)
        )
        for i in range(count)
    }


def test_of_a_repository_and_its_fork_the_one_with_more_files_stays(tmp_path: Path) -> None:
    own = modules(10, "own")
    fork = dict(list(own.items())[:9]) | modules(1, "more")
    old = inspect(tmp_path / "old", fork)
    new = inspect(tmp_path / "new", own | modules(3, "late"))
    other = inspect(tmp_path / "other", modules(8, "other"))

    rules = stages.copies([old, other, new], threshold=0.7)
    protected = stages.copies([old, other, new], threshold=0.7, heldout={"old"})

    assert [set(found.values()) for found in rules] == [{"repository_copy"}, set(), set()]
    assert [len(found) for found in rules] == [10, 0, 0]
    assert [len(found) for found in protected] == [0, 0, 13]  # it has become the other


def rewritten(text: str) -> str:
    """Change every third function, as one who goes on with another's code."""
    lines = text.split("\n")
    for i in range(0, len(lines) - 1, 9):
        lines[i] = f"def renamed_{'abcdefghi'[i // 9 % 9] * 3}_{lines[i][4:9]}(it):"
    return "\n".join(lines)


def test_altered_copies_of_what_is_held_out_are_not_trained_on(tmp_path: Path) -> None:
    own = modules(8, "own")
    kept_apart = inspect(tmp_path / "click", {f"click/{path}": own[path] for path in own})
    taken_over = {f"typer/_click/{path}": rewritten(own[path]) for path in sorted(own)[1:6]}
    taken_over |= {f"typer/_click/{path}": text for path, text in modules(2, "new").items()}
    single = {"lib/own.py": rewritten(own["own7.py"])}
    mine = {f"typer/{path}": text for path, text in modules(3, "mine").items()}
    other = inspect(tmp_path / "typer", taken_over | single | mine)

    rules = stages.copies([kept_apart, other], threshold=0.7, heldout={"click"})
    free = stages.copies([kept_apart, other], threshold=0.7)

    assert rules[0] == {}
    assert rules[1] == dict.fromkeys([*taken_over, *single], "heldout_relative")
    assert free == [{}, {}]  # among themselves they are no copies


def test_two_relatives_leave_the_rest_of_their_folder(tmp_path: Path) -> None:
    own = modules(4, "own")
    kept_apart = inspect(tmp_path / "click", own)
    few = {f"x/{path}": rewritten(own[path]) for path in sorted(own)[1:3]}
    other = inspect(tmp_path / "other", few | {"x/mine.py": modules(1, "mine")["mine0.py"]})

    rules = stages.copies([kept_apart, other], threshold=0.7, heldout={"click"})

    assert rules[1] == dict.fromkeys(few, "heldout_relative")


def test_a_benchmark_repository_is_left_out_whole(tmp_path: Path) -> None:
    found = inspect(tmp_path / "human-eval", {"a.py": BODY})

    assert paths(found) == []
    assert found.ledgers["contamination"].rows == {"benchmark repository": [1, len(BODY)]}
