# SPDX-License-Identifier: Apache-2.0
import dataclasses

from codegemma.data import compare, dedup, recipes, stages
from codegemma.data.decontaminate import BenchmarkText, build_index
from codegemma.data.document import File, Ledger, Repository
from codegemma.data.stages import Inspected, Measured

RECIPE = dataclasses.replace(recipes.nano(), permissive_only=False)
BODY = "".join(f"def step_{i}(value_{i}):\n    return value_{i} + {i}\n\n" for i in range(12))


def inspect(name: str, files: dict[str, str], benchmark: str = "") -> Inspected:
    rows = tuple(File(path=path, text=text) for path, text in sorted(files.items()))
    found = stages.inspect(
        Repository(name=name, files=rows),
        recipe=RECIPE,
        benchmarks=build_index([BenchmarkText(item="set/x.jsonl#7", text=benchmark)]),
        input_hash="",
        ledger=Ledger(),
    )
    assert len(found.files) == len(files)
    return found


def test_a_shared_licence_header_makes_no_copies_and_no_contamination() -> None:
    header = "".join(
        f"# licence sentence number {i} of a long grant of rights\n" for i in range(60)
    )
    other = "".join(f"class Other{i}:\n    field_{i} = 'text {i}'\n\n" for i in range(12))

    found = inspect("r", {"a.py": header + BODY, "b.py": header + other}, benchmark=header)

    assert compare.find_copies([found], threshold=0.7) == [{}]
    assert [file.hits for file in found.files] == [(), ()]


def test_of_two_repositories_alike_the_earlier_keeps_its_files() -> None:
    other = modules(2, "other")
    first = inspect("first", {"a.py": BODY, "b.py": other["other0.py"]})
    second = inspect(
        "second", {"x/b.py": "# moved\n" + BODY.replace("  ", "\t"), "c.py": other["other1.py"]}
    )

    assert compare.find_copies([first, second], threshold=0.7) == [{}, {"x/b.py": "near_copy"}]
    assert compare.find_copies([second, first], threshold=0.7) == [{}, {"a.py": "near_copy"}]


def test_a_file_stays_where_more_of_the_files_are_copies() -> None:
    own = modules(10, "own")
    lib = inspect("lib", own)
    taken = dict(list(own.items())[:3]) | {"near.py": "import os\n\n" + own["own4.py"]}
    app = inspect(
        "app",
        {f"base/{path}": text for path, text in taken.items()}
        | modules(10, "up")
        | modules(10, "down"),
    )
    late = inspect("late", modules(8, "late") | {"late/own9.py": own["own9.py"]})
    copied = dict.fromkeys(("base/own0.py", "base/own1.py", "base/own2.py"), "exact_copy")
    expected = [copied | {"base/near.py": "near_copy"}, {}, {"late/own9.py": "exact_copy"}]

    assert compare.find_copies([app, lib, late], threshold=0.7) == expected
    assert compare.find_copies([lib, late, app], threshold=0.7) == [expected[i] for i in (1, 2, 0)]


def test_held_out_files_stay_and_so_does_a_library_that_many_took_from() -> None:
    own = list(modules(10, "own").items())
    lib = inspect("lib", dict(own))
    apps = [
        inspect(f"app{i}", {own[i][0]: own[i][1]} | modules(3, f"mine{'abcdefghijkl'[i]}x"))
        for i in range(8)
    ]
    taken = [{path: "exact_copy"} for path, _ in own[:8]]

    assert compare.find_copies([*apps, lib], threshold=0.7) == [*taken, {}]
    held = compare.find_copies([*apps, lib], threshold=0.7, heldout={"app0"})
    assert held == [{}, *taken[1:], {own[0][0]: "exact_copy"}]


def test_a_small_repository_that_is_part_of_another_goes_whole() -> None:
    own = modules(8, "own")
    snippet = inspect("snippet", {"a.py": own["own3.py"]})
    lib = inspect("lib", own)

    assert compare.find_copies([snippet, lib], threshold=0.7) == [{"a.py": "repository_copy"}, {}]
    protected = compare.find_copies([snippet, lib], threshold=0.7, heldout={"snippet"})
    assert protected == [{}, {"own3.py": "exact_copy"}]


SOLUTION = (
    "def largest_common_divisor(first, second):\n    while second: first, second = second, first\n"
)


def test_contaminated_files_are_named_with_the_benchmark_item() -> None:
    found = inspect("r", {"a.py": BODY, "b.py": BODY + SOLUTION}, benchmark=SOLUTION)

    ((path, (hit,)),) = compare.contaminated([found], max_repositories=3)[0].items()

    assert (path, hit.item) == ("b.py", "set/x.jsonl#7")


def test_every_benchmark_item_of_a_file_is_named_once() -> None:
    other = (
        "def smallest_common_multiple(left, right):\n    return left * right // gcd(left, right)\n"
    )
    index = build_index(
        [BenchmarkText(item="a#0", text=SOLUTION), BenchmarkText(item="b#4", text=other)]
    )
    file = File(path="a.py", text=BODY + SOLUTION + BODY.replace("step", "other") + other)
    found = stages.inspect(
        Repository(name="r", files=(file,)),
        recipe=RECIPE,
        benchmarks=index,
        input_hash="",
        ledger=Ledger(),
    )
    ledgers = {name: Ledger() for name in ("copies", "contamination", "share")}

    dropped, hits = compare.select(
        [found], recipe=RECIPE, heldout=(), read_text=None, ledgers=ledgers
    )

    assert dropped == [{"a.py"}]
    assert [(hit["file"], hit["item"]) for hit in hits] == [("r/a.py", "a#0"), ("r/a.py", "b#4")]
    assert ledgers["contamination"].rows == {"a#0": [1, file.size_bytes]}


IDIOM = "parser.add_argument('--seed', type=int, default=0, help='seed of all random draws')\n"


def test_an_idiom_that_stands_in_many_repositories_is_no_contamination() -> None:
    benchmark = IDIOM + "".join(f"train_{i}(epochs_{i}, rate_{i}, seed)\n" for i in range(30))
    found = [inspect(f"r{i}", {"a.py": BODY + IDIOM}, benchmark=benchmark) for i in range(4)]

    assert compare.contaminated(found, max_repositories=3) == [{}, {}, {}, {}]
    assert all(compare.contaminated(found[:3], max_repositories=3))


HUMANEVAL_4 = '''def mean_absolute_deviation(numbers: List[float]) -> float:
    """ For a given list of input numbers, calculate Mean Absolute Deviation
    around the mean of this dataset.
    """
    mean = sum(numbers) / len(numbers)
    return sum(abs(x - mean) for x in numbers) / len(numbers)
'''


def test_a_solution_that_many_repositories_copied_is_dropped_from_all() -> None:
    files = {"a.py": BODY + HUMANEVAL_4}
    found = [inspect(f"r{i}", files, benchmark=HUMANEVAL_4) for i in range(12)]

    assert [set(hits) for hits in compare.contaminated(found, max_repositories=3)] == [
        {"a.py"}
    ] * 12


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

    dropped = compare.excess_tests(mine, max_fraction=0.25)

    assert len(dropped) == 8
    assert "a.py" not in dropped


def test_a_repository_is_cut_to_its_share() -> None:
    mine = measured({f"{i}.py": 100 for i in range(10)})

    assert len(compare.excess_share(mine, max_bytes=350)) == 7
    assert compare.excess_share(mine, max_bytes=1000) == set()
    assert compare.excess_share(mine, max_bytes=None) == set()


def modules(count: int, word: str) -> dict[str, str]:
    """Files that have nothing in common but their form."""
    return {
        f"{word}{i}.py": "".join(
            f"def {word}_{i}_{j}(value_{i}_{j}):\n    return {word}{i * j} + value_{i}_{j}\n\n"
            for j in range(9)
        )
        for i in range(count)
    }


def test_of_a_repository_and_its_fork_the_one_with_more_files_stays() -> None:
    own = modules(10, "own")
    fork = dict(list(own.items())[:9]) | modules(1, "more")
    old = inspect("old", fork)
    new = inspect("new", own | modules(3, "late"))
    other = inspect("other", modules(8, "other"))

    rules = compare.find_copies([old, other, new], threshold=0.7)
    protected = compare.find_copies([old, other, new], threshold=0.7, heldout={"old"})

    assert [set(found.values()) for found in rules] == [{"repository_copy"}, set(), set()]
    assert [len(found) for found in rules] == [10, 0, 0]
    assert [len(found) for found in protected] == [0, 0, 13]  # it has become the other


def rewritten(text: str) -> str:
    """Change every third function, as one who goes on with another's code."""
    lines = text.split("\n")
    for i in range(0, len(lines) - 1, 9):
        lines[i] = f"def renamed_{'abcdefghi'[i // 9 % 9] * 3}_{lines[i][4:9]}(it):"
    return "\n".join(lines)


def test_altered_copies_of_what_is_held_out_are_not_trained_on() -> None:
    own = modules(8, "own")
    kept_apart = inspect("click", {f"click/{path}": own[path] for path in own})
    taken_over = {f"typer/_click/{path}": rewritten(own[path]) for path in sorted(own)[1:6]}
    taken_over |= {f"typer/_click/{path}": text for path, text in modules(2, "new").items()}
    single = {"lib/own.py": rewritten(own["own7.py"])}
    mine = {f"typer/{path}": text for path, text in modules(3, "mine").items()}
    other = inspect("typer", taken_over | single | mine)

    rules = compare.find_copies([kept_apart, other], threshold=0.7, heldout={"click"})
    free = compare.find_copies([kept_apart, other], threshold=0.7)

    assert rules[0] == {}
    assert rules[1] == dict.fromkeys([*taken_over, *single], "heldout_relative")
    assert free == [{}, {}]  # among themselves they are no copies


def test_two_relatives_leave_the_rest_of_their_folder() -> None:
    own = modules(4, "own")
    kept_apart = inspect("click", own)
    few = {f"x/{path}": rewritten(own[path]) for path in sorted(own)[1:3]}
    other = inspect("other", few | {"x/mine.py": modules(1, "mine")["mine0.py"]})

    rules = compare.find_copies([kept_apart, other], threshold=0.7, heldout={"click"})

    assert rules[1] == dict.fromkeys(few, "heldout_relative")
