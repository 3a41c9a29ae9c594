# SPDX-License-Identifier: Apache-2.0
"""Write instruction data: pairs a model makes from snippets of code, and algebra problems.

A pair is made as OSS-Instruct does: a model is shown a random snippet and asked for a problem it
inspires and a solution. A second request, to the same or another model, judges how helpful and how
correct the pair is; what falls short, was cut off or does not parse is counted and not kept. Pair i
of a seed begins from the same snippet always, so a run that was stopped goes on where it was.

Source: CodeGemma, arXiv 2406.11409, 'Instruction tuning': pairs after OSS-Instruct (arXiv
    2312.02120), filtered by a model that judges helpfulness and correctness.
Unstated: CodeGemma's prompts, its judge and the bar; OSS-Instruct's own words are not used.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from codegemma.completion import Completer, Prompt, Sampling, Turn
from codegemma.data import algebra, decontaminate, read, recipes, stages
from codegemma.data.document import File
from codegemma.data.safety import Removals, UnsafeScanner
from codegemma.errors import ConfigError, InputError
from codegemma.text import syntax

MIN_SCORE: Final = 4
"""Least of both scores, from 1 to 5, of a pair that is kept."""

MAX_SNIPPET_LINES: Final = 15
_MIN_CHARS: Final = 40
_NO_REMOVALS: Final = Removals()
_TEMPERATURE: Final = 0.8
_SECTIONS: Final = re.compile(
    r"\[Problem\](?P<problem>.*?)\[Solution\](?P<solution>.*)\Z", re.DOTALL | re.IGNORECASE
)
_FENCE: Final = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SCORE: Final = re.compile(r"^\W*(helpfulness|correctness)\W+([1-5])\b", re.I | re.MULTILINE)
_LANGUAGES: Final = {"py": "python", "js": "javascript", "ts": "typescript", "c++": "cpp"}

_WRITE: Final = """Here is a piece of code from an open source project:

```
{snippet}
```

Let it inspire you to a programming task of your own, on its subject or a related one, and solve
it. The task must stand for itself: whoever reads it has not seen the code above. The solution must
be complete and right, with its code in one fenced block. Answer in exactly this form:

[Problem]
(the task)
[Solution]
(the solution)"""

_JUDGE: Final = """Judge this programming task and its solution strictly. Would someone who learns
to program be helped by it, and is the solution correct and complete? Give two whole numbers from 1
(bad) to 5 (faultless), in exactly this form:

Helpfulness: (number)
Correctness: (number)

[Problem]
{problem}
[Solution]
{solution}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """A piece of code to begin from.

    Args:
        text: A few whole lines.
        origin: Repository, path and first line.
    """

    text: str
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a model wrote: a task and its solution, and why it is not kept, "" for nothing."""

    problem: str = ""
    solution: str = ""
    rule: str = ""


def write_pairs(
    files: Sequence[tuple[str, File]],
    *,
    out: Path,
    count: int,
    writer: Completer,
    judge: Completer,
    seed: int = 0,
    max_tokens: int = 1024,
    progress: Callable[[int, Counter[str]], None] | None = None,
) -> Counter[str]:
    """Try so many pairs and append those that are kept to a file, a conversation a line.

    Those that are not stand in a file beside it, `OUT.rejected`, by number and rule alone.

    Args:
        files: Source files with the names of their repositories.
        out: JSONL file; what it holds already is not made again.
        count: Pairs to try, in all runs together.
        writer: Writes.
        judge: Judges; may be the same.
        seed: Of the snippets and of the drawing.
        max_tokens: Most tokens of an answer.
        progress: Told how many were tried and how they fared.

    Returns:
        How many were kept, and how many each rule rejected, of all runs.

    Raises:
        ConfigError: A model is no instruction model.
        InputError: No file has a snippet worth showing, or the output is of another seed or models.
    """
    for completer in (writer, judge):
        if not completer.info.is_instruction:
            raise ConfigError(
                f"{completer.info.name} is no instruction model and takes no conversation; name "
                "one, such as codegemma-7b-it or remote:URL"
            )
    usable = [(name, file) for name, file in files if len(file.text.strip()) >= _MIN_CHARS]
    if not usable:
        raise InputError("there is no source file to take a snippet from")
    rejected = out.with_name(f"{out.name}.rejected")
    tally = Counter[str]()
    names = {"seed": seed, "model": writer.info.name, "judge": judge.info.name}
    tried = _resume(out, rejected, names=names, tally=tally)
    for index in range(tried, count):
        snippet = draw_snippet(usable, index=index, seed=seed)
        draft = _write(writer, snippet, seed=seed + index, max_tokens=max_tokens)
        rule, scores = draft.rule, (0, 0)
        if not rule:
            rule, scores = _judge(judge, draft)
        row: dict[str, Any] = {"index": index, **names}
        if rule:
            _append(rejected, row | {"rule": rule})
        else:
            _append(out, row | _as_row(draft, snippet, scores))
        tally[rule or "kept"] += 1
        if progress:
            progress(index + 1, tally)
    return tally


def read_sources(
    sources: Sequence[Path],
    *,
    removals: Removals = _NO_REMOVALS,
    scanner: UnsafeScanner | None = None,
    permissive_only: bool = True,
) -> list[tuple[str, File]]:
    """Read the source files of repositories as `prepare` would show them to a model.

    The same stages decide: who asked to be left out is, so is code under another licence, what the
    filters and the scanner drop and what is a benchmark's; secrets and personal data are replaced.

    Args:
        sources: Folders and files, see `read.find_repositories`.
        removals: Whose owners asked to be left out.
        scanner: Looks for unsafe content; None looks for none.
        permissive_only: Whether code without a known permissive licence is left out.

    Raises:
        InputError: A source is none.
    """
    recipe = replace(recipes.codegemma_2b(), permissive_only=permissive_only)
    found: list[tuple[str, File]] = []
    locations, _ = removals.apply(read.find_repositories(sources))
    for location in locations:
        repository, ledger = read.read_repository(
            location,
            extensions=recipe.extensions,
            max_bytes=recipe.max_file_bytes,
            languages=recipe.languages,
        )
        inspected = stages.inspect(
            repository,
            recipe=recipe,
            benchmarks=decontaminate.build_index([]),
            input_hash="",
            ledger=ledger,
            removals=replace(removals, aliases=location.aliases),
            scanner=scanner,
        )
        found += ((repository.name, file) for file in inspected.repository.files)
    return found


def draw_snippet(files: Sequence[tuple[str, File]], *, index: int, seed: int) -> Snippet:
    """Draw a file and up to 15 of its lines; a function of its arguments alone."""
    digest = hashlib.sha256(f"snippet/{seed}/{index}".encode()).digest()
    numbers = [int.from_bytes(digest[place : place + 8], "little") for place in (0, 8, 16)]
    name, file = files[numbers[0] % len(files)]
    lines = file.text.split("\n")
    size = 1 + numbers[1] % min(MAX_SNIPPET_LINES, len(lines))
    first = numbers[2] % (len(lines) - size + 1)
    while size < len(lines) and len("".join(lines[first : first + size]).strip()) < _MIN_CHARS:
        first, size = max(0, first - 1), size + 1
    text = "\n".join(lines[first : first + size])
    return Snippet(text=text, origin=f"{name}/{file.path}:{first + 1}")


def read_draft(text: str, *, is_whole: bool) -> Draft:
    """Take an answer of the writer apart, and say what is wrong with it."""
    match = _SECTIONS.search(text)
    if not match:
        return Draft(rule="no_sections")
    problem, solution = match["problem"].strip(), match["solution"].strip()
    if not is_whole:
        return Draft(rule="cut_off")
    if len(problem) < _MIN_CHARS or not solution:
        return Draft(rule="too_short")
    blocks = _FENCE.findall(solution)
    if not blocks:
        return Draft(rule="no_code")
    for match in blocks:
        name, code = str(match[0]), str(match[1])
        language = _LANGUAGES.get(name.lower(), name.lower())
        is_known = syntax.has_grammar(language)
        if is_known and not syntax.parses(code, language):
            return Draft(rule="does_not_parse")
    return Draft(problem=problem, solution=solution)


def write_algebra(out: Path, *, count: int, seed: int = 0) -> None:
    """Write so many algebra problems, in GSM8K's format: a question and an answer a line."""
    partial = out.with_name(f".{out.name}")
    with partial.open("w", encoding="utf-8") as file:
        for problem in algebra.make_problems(count, seed=seed):
            answer = f"{problem.solution}\n#### {problem.answer}"
            file.write(json.dumps({"question": problem.question, "answer": answer}) + "\n")
    partial.replace(out)


def _write(writer: Completer, snippet: Snippet, *, seed: int, max_tokens: int) -> Draft:
    prompt = Prompt(turns=(Turn(role="user", text=_WRITE.format(snippet=snippet.text)),))
    sampling = Sampling(max_tokens=max_tokens, temperature=_TEMPERATURE, seed=seed)
    ((completion,),) = writer.complete([prompt], sampling)
    return read_draft(completion.text, is_whole=completion.finish_reason == "stop")


def _judge(judge: Completer, draft: Draft) -> tuple[str, tuple[int, int]]:
    """Ask for both scores; give the rule that rejects the pair, "" for none, and the scores."""
    asked = _JUDGE.format(problem=draft.problem, solution=draft.solution)
    prompt = Prompt(turns=(Turn(role="user", text=asked),))
    ((completion,),) = judge.complete([prompt], Sampling(max_tokens=32))
    found = {name.lower(): int(score) for name, score in _SCORE.findall(completion.text)}
    if len(found) < len(("helpfulness", "correctness")):
        return "judgement_unclear", (0, 0)
    scores = found["helpfulness"], found["correctness"]
    if scores[0] < MIN_SCORE:
        return "not_helpful", scores
    return ("", scores) if scores[1] >= MIN_SCORE else ("not_correct", scores)


def _as_row(draft: Draft, snippet: Snippet, scores: tuple[int, int]) -> dict[str, Any]:
    return {
        "origin": snippet.origin,
        "helpfulness": scores[0],
        "correctness": scores[1],
        "messages": [
            {"role": "user", "content": draft.problem},
            {"role": "assistant", "content": draft.solution},
        ],
    }


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _resume(out: Path, rejected: Path, *, names: dict[str, Any], tally: Counter[str]) -> int:
    """Count what was made before, take away a line that a kill cut off, and give its number."""
    tried = 0
    for path in (out, rejected):
        if not path.exists():
            continue
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for line in whole.splitlines():
            row = _row(line, path)
            if {name: row.get(name) for name in names} != names:
                raise InputError(
                    f"{path} was written with another seed or other models; choose another file"
                )
            tally[row.get("rule", "kept")] += 1
            tried += 1
    return tried


def _row(line: bytes, path: Path) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path} holds a line that is no JSON: {error}") from error
