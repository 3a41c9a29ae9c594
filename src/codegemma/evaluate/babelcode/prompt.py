# SPDX-License-Identifier: Apache-2.0
"""Prompts: the signature of a question's function with its documentation, in one language.

The text of a question speaks of Python and its words; here it speaks of the target language. The
rules are those of BabelCode to the letter, oddities included, since a prompt that reads otherwise
measures something else: an article before a replaced word vanishes with it, and a word found once
in a fitting place is replaced at every place.

Source: BabelCode, arXiv 2302.01973, section 3; the rules from google-research/babelcode.
Unstated: CodeGemma's report does not give its BabelCode prompts; these, without examples and
without the header of imports, are the ones that BabelCode publishes.
"""

import re
from collections.abc import Callable
from typing import Final

from codegemma.evaluate.babelcode.language import Language
from codegemma.evaluate.babelcode.naming import rename
from codegemma.evaluate.babelcode.program import parameters
from codegemma.evaluate.babelcode.schema import Question

_CASES: Final[tuple[Callable[[str], str], ...]] = (str.title, str.lower, str.upper)


def render_prompt(question: Question, language: Language) -> str:
    """Render the prompt for a question; it ends where the function's body begins."""
    returns = language.type_name(question.returns)
    if language.key == "python":
        returns = f" -> {returns}" if question.is_annotated else ""
    text = translate(question.text, question.name, language)
    marks = {
        "documentation": _document(text.replace("\\", "\\\\"), language),
        "name": rename(question.name, language.convention),
        "parameters": parameters(question, language),
        "returns": returns,
    }
    return language.section("prompt", marks)


def translate(text: str, name: str, language: Language) -> str:
    """Say a question's text in the words of a language.

    Examples:
        translate("Write a python function ...", "f", go)   "Write a go function ..."

    Args:
        text: As the question has it.
        name: Of the question's function.
        language: The language.
    """
    text = text.replace(name, rename(name, language.convention))
    for case in _CASES:
        text = text.replace(case("python"), case(language.spoken))
    for case in _CASES:
        for word, others in language.words:
            text = _say(text, case(word), [case(other) for other in others])
    return _escape(text, language)


def _say(text: str, word: str, others: list[str]) -> str:
    """Put `word` in the place of the words that mean the same elsewhere, longest finding first."""
    pattern = rf"( ?(?:a|an)?(?:^| )(?:{'|'.join(others)})s?)(?=[ ,.])"
    article = "an " if word[0] in "aeiou" else "a "
    for found in sorted(set(re.findall(pattern, text)), key=lambda each: (-len(each), each)):
        before = " " if found.startswith(" ") else ""
        if found.startswith(("a ", "an ")):
            before = article
        plural = "s" if found.endswith("s") and not word.endswith("s") else ""
        text = text.replace(found, before + word + plural)
    return text


def _escape(text: str, language: Language) -> str:
    """Keep a text from ending the comment it will stand in."""
    if language.style == "quotes":
        return text.replace('"""', r"\"\"\"")
    if language.style == "lines":
        return text.replace(language.comment, language.comment.replace("/", r"\/"))
    return text.replace("*/", r"\*/").replace("/*", r"/\*").replace("/", r"\/")


def _document(text: str, language: Language) -> str:
    for character in language.escapes:
        text = text.replace(character, f"\\{character}")
    lines = text.splitlines()
    if language.style == "lines":
        return "\n".join(f"{language.comment} {line}" for line in lines)
    if language.style == "quotes":
        return "\n".join(f"    {line}" for line in [f'"""{lines[0]}', *lines[1:], '"""'])
    indent = "    " if language.style == "method" else ""
    return "\n".join(indent + line for line in ["/**", *(f" * {line}" for line in lines), " */"])
