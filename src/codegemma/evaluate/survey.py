# SPDX-License-Identifier: Apache-2.0
"""Find the snippets of a repository to be masked, and the tests that tell whether one is right.

Runs the tests of the commit once with coverage, by test; takes functions that tests cover and that
use names of other files, those changed last first; and keeps one whose tests pass as it is and fail
with its body removed. What was found is kept in a file, so that a run that goes on, and the run of
another model, mask the same.

Without pytest or without coverage in the environment, and in other languages than Python, all of
the command is run for each function, and a function counts as covered if that fails with its body
removed.

Source: CodeGemma, arXiv 2406.11409, section 5, the in-house check on newly committed code.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from codegemma.data import graph
from codegemma.data.document import File
from codegemma.data.pairing import is_test
from codegemma.data.resolve import Resolver, family_of
from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.folder import write_json
from codegemma.evaluate.repository import Repository, answer_of, limits
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

FORMAT: Final = 1
MAX_TESTS: Final = 20
"""Most tests that are run for a function, those first that run the fewest lines."""
_MAX_BYTES: Final = 1_000_000
_FIRST_RUN_S: Final = 1800.0
_TAIL_CHARS: Final = 300

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
        wall_s: Seconds they took on the code as it is.
        spans: What may be masked.
    """

    path: str
    name: str
    changed: int
    tests: tuple[str, ...]
    wall_s: float
    spans: tuple[Span, ...]


def survey(
    repository: Repository,
    *,
    sandbox: Sandbox,
    file: Path,
    max_functions: int,
    told: Told | None = None,
) -> list[Covered]:
    """Give the functions to be masked, from a file where they were found before.

    Args:
        repository: The commit, and how it is tested.
        sandbox: Shows what `Repository.binds` names.
        file: Where they are kept.
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
        "max_functions": max_functions,
    }
    if file.exists():
        return _read(file, identity)
    found = list(_find(repository, sandbox, max_functions, told or _tell_nobody))
    if not found:
        raise InputError(
            f"the tests of {repository.name} cover no function that uses another file and fails "
            "them without its body"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {**identity, "functions": [asdict(one) for one in found]})
    return found


def _tell_nobody(done: int, total: int) -> None:
    pass


def _find(
    repository: Repository, sandbox: Sandbox, max_functions: int, told: Told
) -> Iterator[Covered]:
    covered, whole = _cover(repository, sandbox)
    texts = _read_texts(repository)
    candidates = _candidates(repository, texts, covered)
    count = 0
    for place, candidate in enumerate(candidates):
        told(place, len(candidates))
        if count == max_functions:
            return
        path, function, changed, tests = candidate
        wrong = repository.program(changed=(path, without_body(texts[path], function)), tests=tests)
        programs = [wrong] if whole else [wrong, repository.program(tests=tests)]
        result, *rights = sandbox.map(programs, limits(_FIRST_RUN_S / 10))
        right = whole or rights[0]
        if right.is_pass and not result.is_pass:
            count += 1
            yield Covered(
                path=path,
                name=function.name,
                changed=changed,
                tests=tests,
                wall_s=round(right.wall_s, 2),
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
    words = " ".join((result.stderr or result.stdout)[-_TAIL_CHARS:].split())
    return InputError(
        f"the tests of {repository.name} do not pass in the sandbox as they are "
        f"({result.outcome}): {words}"
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
) -> list[tuple[str, Function, int, tuple[str, ...]]]:
    """List functions with their tests, those changed last first."""
    find = _finder(texts)
    found: list[tuple[str, Function, int, tuple[str, ...]]] = []
    for path in texts:
        if is_test(path) or (covered is not None and path not in covered):
            continue
        functions = find(path)
        times = repository.line_times(path) if functions else []
        for function in functions:
            tests = _tests_of(function, covered[path]) if covered is not None else ()
            if tests or covered is None:
                changed = max(times[function.first_line - 1 : function.last_line], default=0)
                found.append((path, function, changed, tests))
    return sorted(found, key=lambda one: (-one[2], one[0], one[1].first_line))


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


def _read(file: Path, identity: Mapping[str, Any]) -> list[Covered]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        changes = [
            f"{name} was {kept.get(name)!r} and is {value!r}"
            for name, value in identity.items()
            if kept.get(name) != value
        ]
        found = [
            Covered(
                path=one["path"],
                name=one["name"],
                changed=one["changed"],
                tests=tuple(one["tests"]),
                wall_s=one["wall_s"],
                spans=tuple(Span(**span) for span in one["spans"]),
            )
            for one in kept["functions"]
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{file} is damaged: {error!r}; delete it to look again") from error
    if changes:
        raise ConfigError(
            f"{file} was made with other settings; take another folder: {'; '.join(changes)}"
        )
    return found
