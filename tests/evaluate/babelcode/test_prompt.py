# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.babelcode.prompt import render_prompt, translate
from codegemma.evaluate.babelcode.schema import Case, Question, parse_type

QUESTION = Question(
    number="1",
    name="first_of",
    text="Write a python function to find the first of a list.\n>>> first_of([1])\n1\n",
    parameters=(("items", parse_type("list<integer>")),),
    returns=parse_type("integer"),
    cases=(Case(arguments=([1],), expected=1),),
    is_annotated=True,
)


@pytest.mark.parametrize(
    ("key", "prompt"),
    [
        (
            "cpp",
            "/**\n * Write a c++ function to find the first of vector.\n * >>> firstOf([1])\n * 1\n"
            " */\nint firstOf(vector<int> items) {",
        ),
        (
            "csharp",
            "class Solution {\n    /**\n     * Write a c# function to find the first of a list.\n"
            "     * >>> FirstOf([1])\n     * 1\n     */\n    public int FirstOf(List<int> items) {",
        ),
        (
            "go",
            "// Write a go function to find the first of array.\n// >>> firstOf([1])\n// 1\n"
            "func firstOf(items []int) int {",
        ),
        (
            "python",
            'def first_of(items: List[int]) -> int:\n    """Write a python function to find the '
            'first of a list.\n    >>> first_of([1])\n    1\n    """',
        ),
        (
            "rust",
            "/// Write a rust function to find the first of vector.\n/// >>> first_of([1])\n"
            "/// 1\npub fn first_of(items: Vec<i32>) -> i32 {",
        ),
    ],
)
def test_prompt_is_documentation_and_signature(key, prompt):
    assert render_prompt(QUESTION, LANGUAGES[key]) == prompt


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("Two lists, a dictionary.", "java", "Two arrays, map."),
        ("An array and arrays.", "python", "An list and lists."),
        ("PYTHON Lists or a LIST.", "go", "GO Arrays or ARRAY."),
        ("the listing of the list.", "cpp", "the vectoring of the vector."),
        ("ends /* here */", "kotlin", r"ends \/\* here \*\/"),
        ("ends // here", "go", r"ends \/\/ here"),
        ('ends """ here', "python", r"ends \"\"\" here"),
    ],
)
def test_text_is_said_in_the_words_of_the_language(text, key, said):
    assert translate(text, "f_f", LANGUAGES[key]) == said


def test_every_prompt_is_the_published_one(questions, published_prompts):
    by_name = {language.name: language for language in LANGUAGES.values()}
    for folder, count in (("human_eval", 8 * 161), ("sanitized_mbpp", 8 * 342)):
        equal = [
            render_prompt(questions[folder][row["qid"]], by_name[row["language"]])
            == row["signature_with_docstring"]
            for row in published_prompts[folder]
        ]

        assert (sum(equal), len(equal)) == (count, count)
