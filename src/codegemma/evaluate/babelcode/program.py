# SPDX-License-Identifier: Apache-2.0
"""Test programs: one question in one language, as published and as we run it.

`render_published` gives BabelCode's own text, byte for byte; it is what a port is compared by.
What is run differs from it in the word that stands for a passed test, which carries a nonce that
no program can print by chance, and in what the sandbox asks for:

- Java gets a class Main, which the sandbox starts, and loses `public` before its classes, which
  only the file's own class may carry there.
- JavaScript is kept from changing how values are turned into text, and its tests stand in a
  function of their own and run after the program: no name of the program, not even one that
  is hoisted, reaches the nonce or what prints it.
- JavaScript and Kotlin, which are run from their source, read the nonce from their input instead;
  in Kotlin under a name that the program cannot know.
- Python is judged by assertions instead of lines.

A program shares its process with the tests, so one written against this very harness could forge
its verdict: by what it reads of its own memory, or in a compiled language of its own file, which
hold the nonce. One that prints what a pass looks like, or ends early, or raises errors named
PASSED, fails.
"""

import re
import secrets
from typing import Final

from codegemma.evaluate.babelcode.language import Language
from codegemma.evaluate.babelcode.naming import rename
from codegemma.evaluate.babelcode.schema import Question
from codegemma.sandbox.program import Program

CODE: Final = "PLACEHOLDER_CODE_BODY"
ENTRY: Final = "PLACEHOLDER_FN_NAME"
CLASS: Final = "PLACEHOLDER_CLS_NAME"
CLASS_NAME: Final = "Solution"

_TOLERANCES = {"float": "1e-06", "double": "1e-09"}
_JAVASCRIPT_START = """\
(() => {
'use strict';
const {Array, JSON, Math, Set, process} = globalThis;
const {readFileSync, writeSync} = process.mainModule.require('fs');
const nonce_of_tests = readFileSync(0, 'utf8');
const console = {log: (line) => {
  for (;;) {
    try { return writeSync(1, `\\n${line}\\n`); } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}};
{
  const {Boolean, Number, Object, String, Symbol} = globalThis;
  for (const each of [Object, Array, String, Number, Boolean])
    Object.defineProperty(each.prototype, 'toJSON', {value: undefined});
  Object.defineProperty(Set, Symbol.hasInstance, {value: Set[Symbol.hasInstance]});
  [JSON, Math, globalThis.console].forEach(Object.freeze);
}
"""
_JAVASCRIPT_RUN = "if (require.main === module) {\n  main();\n}"
_JAVASCRIPT_LATER = "process.nextTick(main);"
_JAVA_START = "\nclass Main {\n    public static void main(String[] args) {\n"
_LENIENT = """\
def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value

"""


def render_published(question: Question, language: Language) -> str:
    """Render a test program as BabelCode publishes it, its three placeholders unfilled."""
    return _render(question, language, code=CODE, entry=ENTRY, class_name=CLASS, passed="PASSED")


def build_program(question: Question, language: Language, code: str, *, nonce: str) -> Program:
    """Build the program that tests `code`, for any language but Python.

    Args:
        question: What the code answers.
        language: The code's language.
        code: A whole solution, with the signature of the prompt.
        nonce: Letters and digits that the code cannot know.
    """
    passed, stdin = f"PASSED-{nonce}", ""
    lines = tuple(f"TEST-{number}...{passed}" for number in range(len(question.cases)))
    name = "nonce_of_tests"
    if language.key == "kotlin":
        name += f"_{secrets.token_hex(16)}"
    if language.key in ("javascript", "kotlin"):
        passed, stdin = f'PASSED-" + {name} + "', nonce
    if language.key == "java":
        code = re.sub(
            r"(?m)^public (?=(?:abstract |final )*(?:class|interface|enum|record)\b)", "", code
        )
    source = _render(
        question,
        language,
        code=CODE if language.key == "javascript" else code,
        entry=rename(question.name, language.convention),
        class_name=CLASS_NAME,
        passed=passed,
    )
    if language.key == "java":
        source += f"{_JAVA_START}        QuestionEvaluator.main(args);\n    }}\n}}\n"
    if language.key == "javascript":
        head, tests = source.split(CODE)
        tests = tests.replace(_JAVASCRIPT_RUN, _JAVASCRIPT_LATER)
        source = f"{_JAVASCRIPT_START}{tests}}})();\n{head}{code}\n"
    if language.key == "kotlin":
        header = language.section("header", {})
        source = source.replace(header, f"{header}\nval {name} = readLine()\n", 1)
    return Program(language=language.key, source=source, expected_lines=lines, stdin=stdin)


def build_python(question: Question, language: Language, code: str, *, is_lenient: bool) -> Program:
    """Build the program that tests Python `code`: assertions in place of printed lines.

    Args:
        question: What the code answers.
        language: Python.
        code: A whole solution.
        is_lenient: Whether a tuple equals the list of the same elements, at any depth.
    """
    header = language.section("header", {})
    equal = _equal(question, language)
    tests = [f"def validate_solution(actual, expected):\n    return {equal}\n"]
    if is_lenient:
        equal = equal.replace("actual", "plain(actual)").replace("expected", "plain(expected)")
        tests = [_LENIENT, f"def validate_solution(actual, expected):\n    return {equal}\n"]
    entry = rename(question.name, language.convention)
    for number, (arguments, expected) in enumerate(_values(question, language)):
        tests.append(
            f"assert validate_solution({entry}({arguments}), {expected}), 'TEST-{number}'\n"
        )
    return Program(
        language="python",
        source=f"{header}\n\n{code}\n",
        tests="".join(tests),
        entry_point=entry,
    )


def _render(
    question: Question, language: Language, *, code: str, entry: str, class_name: str, passed: str
) -> str:
    cases = [
        language.section(
            "case", {"number": str(number), "arguments": arguments, "expected": expected}
        )
        for number, (arguments, expected) in enumerate(_values(question, language))
    ]
    comment = language.comment[:2]
    marks = {
        "header": language.section("header", {}),
        "comment": "\n".join(f"{comment} {line}" for line in question.text.split("\n")),
        "code": code,
        "entry": entry,
        "class": class_name,
        "passed": passed,
        "parameters": parameters(question, language),
        "names": ", ".join(name for name, _ in question.parameters),
        "returns": language.type_name(question.returns),
        "equal": _equal(question, language),
        "cases": "".join(cases),
    }
    return language.section("program", marks)


def parameters(question: Question, language: Language) -> str:
    """Spell the parameters of a question's function as its signature has them."""
    pattern = language.parameter
    if language.key == "python" and not question.is_annotated:
        pattern = "{name}"
    return ", ".join(
        pattern.format(name=name, type=language.type_name(kind))
        for name, kind in question.parameters
    )


def _equal(question: Question, language: Language) -> str:
    tolerance = _TOLERANCES.get(question.returns.kind)
    if tolerance is None:
        return language.equal
    suffix = language.suffixes.get(question.returns.kind, "")
    return language.close.format(tolerance=tolerance + suffix)


def _values(question: Question, language: Language) -> list[tuple[str, str]]:
    """Spell arguments and expected result of each test."""
    return [
        (
            language.separator.join(
                language.literal(kind, value)
                for (_, kind), value in zip(question.parameters, case.arguments, strict=True)
            ),
            language.literal(question.returns, case.expected),
        )
        for case in question.cases
    ]
