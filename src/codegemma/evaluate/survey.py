# SPDX-License-Identifier: Apache-2.0
"""Find the snippets of a repository to be masked, and the tests that tell whether one is right.

Runs the tests of the commit once with coverage, by test; takes functions that tests cover and that
use names of other files, those changed last first; and keeps one whose tests pass as it is and fail
with its body removed. What was found, and what is still to be tried, is kept in a file: a run that
goes on, or asks for more, and the run of another model mask the same.

Without pytest or without coverage in the environment, and in other languages than Python, all of
the command is run for each function, and a function counts as covered if that fails with its body
removed.

Source: CodeGemma, arXiv 2406.11409, section 5, the in-house check on newly committed code.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.pairing import is_test
from codegemma.data.resolve import Resolver, family_of
from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.folder import write_json
from codegemma.evaluate.repository import Repository, answer_of, limits, words_of
from codegemma.evaluate.snippets import (
    Function,
    Span,
    find_braced_functions,
    find_functions,
    without_body,
)
from codegemma.sandbox.program import RunResult
from codegemma.sandbox.run import Sandbox
from codegemma.text import bodies, syntax
from codegemma.text.imports import find_imports

logger = logging.getLogger(__name__)

FORMAT: Final = 2
MAX_TESTS: Final = 20
"""Most tests that are run for a function, those first that run the fewest lines."""
_MAX_BYTES: Final = 1_000_000
_FIRST_RUN_S: Final = 1800.0

Told = Callable[[int, int], None]
"""Told (functions tried, functions there are)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """A function that its tests tell right from wrong.

    Args:
        path: Of its file.
        name: Qualified.
        changed: When its body was last changed, in seconds since 1970.
        tests: That are run for it; none are all of the command.
        ending: Last line that the command has to print then, its numbers masked; "" for any.
        wall_s: Seconds they took on the code as it is.
        spans: What may be masked.
    """

    path: str
    name: str
    changed: int
    tests: tuple[str, ...]
    ending: str = ""
    wall_s: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A function that tests may cover: all of them without coverage."""

    path: str
    function: Function
    changed: int
    tests: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class _Search:
    """How far a search is, with the last line and the seconds of a command without coverage."""

    waiting: list[_Candidate]
    found: list[Covered] = field(default_factory=list)
    num_tried: int = 0
    ending: str = ""
    wall_s: float | None = None


def survey(
    repository: Repository,
    *,
    sandbox: Sandbox,
    file: Path,
    max_functions: int,
    told: Told | None = None,
) -> list[Covered]:
    """Give the functions to be masked, those found before first; the search goes on behind them.

    Args:
        repository: The commit, and how it is tested.
        sandbox: Shows what `Repository.binds` names.
        file: Where they are kept, with what is still to be tried.
        max_functions: Most functions, those changed last.
        told: Told how far it is.

    Raises:
        ConfigError: The file is of another commit or command.
        DataError: The file is damaged.
        InputError: The tests do not pass as they are, or cover no function that depends on another
            file.
    """
    identity = {
        "format": FORMAT,
        "commit": repository.commit,
        "test": list(repository.test.words),
    }
    search = _read(file, identity) if file.exists() else _begin(repository, sandbox)
    total = search.num_tried + len(search.waiting)
    while search.waiting and len(search.found) < max_functions:
        if told is not None:
            told(search.num_tried, total)
        covered = _try(repository, sandbox, search.waiting.pop(0), search)
        search.num_tried += 1
        search.found += [covered] if covered else []
        if covered or not search.waiting:
            write_json(file, {**identity, **asdict(search)})
    if not search.found:
        raise InputError(
            f"the tests of {repository.name} cover no function that uses another file and fails "
            "them without its body"
        )
    return search.found[:max_functions]


def _begin(repository: Repository, sandbox: Sandbox) -> "_Search":
    covered, whole = _cover(repository, sandbox)
    waiting = _candidates(repository, _read_texts(repository), covered)
    if whole is None:
        return _Search(waiting=waiting)
    ending = (answer_of(whole.stdout) or {}).get("ending", "")
    if not ending:
        logger.warning(
            "the tests of %s print nothing: a completion that ends them early passes; take a "
            "command that says what it ran",
            repository.name,
        )
    return _Search(waiting=waiting, ending=ending, wall_s=round(whole.wall_s, 2))


def _try(
    repository: Repository, sandbox: Sandbox, candidate: "_Candidate", search: "_Search"
) -> Covered | None:
    """Give a function whose tests pass as it is and fail with its body removed."""
    path, function, tests = candidate.path, candidate.function, candidate.tests
    text = (repository.folder / path).read_bytes().decode("utf-8")
    wrong = repository.program(
        changed=(path, without_body(text, function)), tests=tests, ending=search.ending
    )
    rights = [repository.program(tests=tests)] if search.wall_s is None else []
    result, *known = sandbox.map([wrong, *rights], limits(_FIRST_RUN_S / 10))
    if result.is_pass or not all(right.is_pass for right in known):
        return None
    return Covered(
        path=path,
        name=function.name,
        changed=candidate.changed,
        tests=tests,
        ending=search.ending,
        wall_s=round(known[0].wall_s, 2) if search.wall_s is None else search.wall_s,
        spans=function.spans,
    )


def _cover(
    repository: Repository, sandbox: Sandbox
) -> tuple[Mapping[str, Any] | None, RunResult | None]:
    """Run all tests with coverage, and without it where it cannot tell which test runs what.

    Returns:
        The lines of each file by test, or None and what became of the command.

    Raises:
        InputError: The tests do not pass as they are.
    """
    if repository.test.is_pytest:
        result = sandbox.run(repository.program(with_coverage=True), limits(_FIRST_RUN_S))
        answer = answer_of(result.stdout)
        if answer is not None and answer["outcomes"]["passed"]:
            passed = set(answer["outcomes"]["passed"])
            return {
                path: {test: lines for test, lines in tests.items() if test in passed}
                for path, tests in answer["covered"].items()
            }, None
        if "No module named coverage" not in result.stdout:
            raise _not_passing(repository, result)
    result = sandbox.run(repository.program(), limits(_FIRST_RUN_S))
    if not result.is_pass:
        raise _not_passing(repository, result)
    return None, result


def _not_passing(repository: Repository, result: RunResult) -> InputError:
    how = "" if result.outcome in ("pass", "fail") else f" ({result.outcome})"
    return InputError(
        f"the tests of {repository.name} do not pass in the sandbox as they are{how}: "
        f"{words_of(result) or 'they printed nothing'}"
    )


def _read_texts(repository: Repository) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in sorted(repository.folder.rglob("*")):
        language = syntax.language_of(file.name)
        if language is None or not syntax.has_grammar(language):
            continue
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _MAX_BYTES:
            try:
                text = file.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            if "\r" not in text:  # a file of other line ends is not masked
                texts[file.relative_to(repository.folder).as_posix()] = text
    return texts


def _candidates(
    repository: Repository, texts: Mapping[str, str], covered: Mapping[str, Any] | None
) -> list[_Candidate]:
    """List functions with their tests, those changed last first."""
    find = _finder(texts)
    found: list[_Candidate] = []
    for path in texts:
        if is_test(path) or (covered is not None and path not in covered):
            continue
        functions = find(path)
        times = repository.line_times(path) if functions else []
        for function in functions:
            tests = _tests_of(function, covered[path]) if covered is not None else ()
            if tests or covered is None:
                changed = max(times[function.first_line - 1 : function.last_line], default=0)
                found.append(_Candidate(path=path, function=function, changed=changed, tests=tests))
    return sorted(found, key=lambda one: (-one.changed, one.path, one.function.first_line))


def _finder(texts: Mapping[str, str]) -> Callable[[str], list[Function]]:
    """Give what finds the functions of a file that use another one.

    In Python a name is another file's if it is imported from there. Elsewhere names reach a file in
    ways that its imports do not tell, such as the rest of its package: it is another file's if such
    a file of the same languages defines it, and this one does not.
    """
    imports = {path: graph.imports_of(File(path=path, text=text)) for path, text in texts.items()}
    resolver = Resolver(imports)
    languages = {path: syntax.language_of(path) or "" for path in texts}
    defined = {
        path: bodies.find_names(text, languages[path])
        for path, text in texts.items()
        if languages[path] in bodies.LANGUAGES and not is_test(path)
    }

    def find(path: str) -> list[Function]:
        if languages[path] == "python":

            def is_of_repository(statement: str) -> list[bool]:
                wanted = find_imports(statement + "\n", language="python")
                return [resolver.resolve(path, one) is not None for one in wanted]

            return find_functions(texts[path], is_of_repository=is_of_repository)
        family = family_of(path)
        names = [found for other, found in defined.items() if family_of(other) == family]
        others = frozenset[str]().union(*names) - defined[path]
        return find_braced_functions(texts[path], languages[path], others=others)

    return find


def _tests_of(function: Function, tests: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    lines = range(function.first_line, function.last_line + 1)
    hits = [test for test, covered in tests.items() if any(line in lines for line in covered)]
    return tuple(sorted(sorted(hits, key=lambda test: (len(tests[test]), test))[:MAX_TESTS]))


def _read(file: Path, identity: Mapping[str, Any]) -> _Search:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        changes = [
            f"{name} was {kept.get(name)!r} and is {value!r}"
            for name, value in identity.items()
            if kept.get(name) != value
        ]
        search = (
            None
            if changes
            else _Search(
                waiting=[
                    _Candidate(**_fields(one, function=Function(**_fields(one["function"]))))
                    for one in kept["waiting"]
                ],
                found=[Covered(**_fields(one)) for one in kept["found"]],
                **{name: kept[name] for name in ("num_tried", "ending", "wall_s")},
            )
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{file} is damaged: {error!r}; delete it to look again") from error
    if search is None:
        raise ConfigError(
            f"{file} was made with other settings; take another folder: {'; '.join(changes)}"
        )
    return search


def _fields(kept: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Give the fields of a class as they were before they were JSON."""
    found = dict(kept)
    if "spans" in found:
        found["spans"] = tuple(Span(**span) for span in found["spans"])
    if "tests" in found:
        found["tests"] = tuple(found["tests"])
    return found | others
