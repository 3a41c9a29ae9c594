# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.errors import PrerequisiteError
from codegemma.evaluate.babelcode.languages import LANGUAGES
from codegemma.evaluate.babelcode.program import build_program, build_python, render_published
from codegemma.evaluate.babelcode.schema import Case, Question, parse_type
from codegemma.sandbox.languages import find_toolchain
from codegemma.sandbox.program import Limits

HALF = Question(
    number="1",
    name="half_of",
    text="Halve.\n",
    parameters=(("x", parse_type("integer")),),
    returns=parse_type("float"),
    cases=(Case(arguments=(3,), expected=1.5), Case(arguments=(2,), expected=1)),
    is_annotated=False,
)
PAIR = Question(
    number="2",
    name="pair",
    text="Pair.",
    parameters=(("x", parse_type("integer")),),
    returns=parse_type("list<integer>"),
    cases=(Case(arguments=(3,), expected=[3, 3]),),
    is_annotated=False,
)
PYTHON, JAVASCRIPT = LANGUAGES["python"], LANGUAGES["javascript"]

PUBLISHED_RUST = """\
use std::collections::HashMap;
use std::collections::HashSet;
use std::cmp::*;
use std::collections::*;
use std::fmt::*;\x20

// Question Prompt (NOT what is passed to the model)
// Halve.
//\x20
//
// SOLUTION CODE
// ============================================
PLACEHOLDER_CODE_BODY

// TESTING CODE\x20
// ============================================
pub fn validate_solution(actual: f32, expected: f32)->bool{
return (actual - expected).abs() < 1e-06
}
pub fn driver(x: i32, expected: f32)->String{
    if validate_solution(PLACEHOLDER_FN_NAME(x), expected) {
      return "PASSED".to_string();
    };
    return "FAILED".to_string();

}

fn main() {
    println!("TEST-0...{}", driver(
      3,\x20
      1.5
    ));
   \x20
    println!("TEST-1...{}", driver(
      2,\x20
      1.0
    ));
   \x20
}"""


def test_published_form_of_one_program():
    assert render_published(HALF, LANGUAGES["rust"]) == PUBLISHED_RUST


def test_every_program_is_the_published_one_byte_for_byte(questions, published_programs):
    by_name = {language.name: language for language in LANGUAGES.values()}
    for folder, count in (("human_eval", 8 * 161), ("sanitized_mbpp", 8 * 342)):
        equal = [
            render_published(questions[folder][row["qid"]], by_name[row["language"]])
            == row["test_code"]
            for row in published_programs[folder]
        ]

        assert (sum(equal), len(equal)) == (count, count)


def test_word_for_a_pass_carries_the_nonce_and_every_test_is_expected():
    program = build_program(HALF, LANGUAGES["go"], "func halfOf() {}", nonce="c0ffee")

    assert program.expected_lines == ("TEST-0...PASSED-c0ffee", "TEST-1...PASSED-c0ffee")
    assert program.source.count("c0ffee") == 1
    assert 'return "PASSED-c0ffee"' in program.source
    assert "PLACEHOLDER" not in program.source
    assert "validateSolution(halfOf(x),expected)" in program.source


@pytest.mark.parametrize("key", ["javascript", "kotlin"])
def test_scripts_do_not_hold_the_nonce(key):
    program = build_program(HALF, LANGUAGES[key], "", nonce="c0ffee")

    assert "c0ffee" not in program.source
    assert program.stdin == "c0ffee"
    assert program.expected_lines == ("TEST-0...PASSED-c0ffee", "TEST-1...PASSED-c0ffee")


def test_java_gets_the_class_that_is_started_and_keeps_no_public_class():
    code = "public class Solution {\n    public float halfOf(Integer x) {}\n}"

    source = build_program(HALF, LANGUAGES["java"], code, nonce="0").source

    assert "\nclass Solution {\n    public float halfOf" in source
    assert source.endswith(
        "\nclass Main {\n    public static void main(String[] args) {\n"
        "        QuestionEvaluator.main(args);\n    }\n}\n"
    )


def test_python_is_judged_by_assertions():
    program = build_python(HALF, PYTHON, "def half_of(x): return x / 2", is_lenient=False)

    assert program.entry_point == "half_of"
    assert program.tests == (
        "def validate_solution(actual, expected):\n"
        "    return abs(actual - expected) < 1e-06\n"
        "assert validate_solution(half_of(3), 1.5), 'TEST-0'\n"
        "assert validate_solution(half_of(2), 1.0), 'TEST-1'\n"
    )
    assert program.source.startswith("import array\n")


@pytest.mark.parametrize(
    ("code", "strict", "lenient"),
    [
        ("return [x, x]", "pass", "pass"),
        ("return x, x", "fail", "pass"),
        ("return x, x + 1", "fail", "fail"),
        ("return 'xx'", "fail", "fail"),
    ],
)
def test_tuple_is_a_list_to_the_lenient_alone(sandbox, code, strict, lenient):
    code = f"def pair(x):\n    {code}"

    assert sandbox.run(build_python(PAIR, PYTHON, code, is_lenient=False)).outcome == strict
    assert sandbox.run(build_python(PAIR, PYTHON, code, is_lenient=True)).outcome == lenient


PRINTED = "TEST-0...PASSED\\nTEST-1...PASSED\\n"
JAVASCRIPT_FORGERIES = {
    "prints the lines": f"process.stdout.write('{PRINTED}'); const halfOf = (x) => 0;",
    "prints and leaves": f"require('fs').writeSync(1, '{PRINTED}'); process.exit(0);",
    "reads its own file": (
        "const text = require('fs').readFileSync(process.argv[1], 'utf8');\n"
        "for (const word of text.match(/PASSED[-\\w]*/g))\n"
        "  console.log(`TEST-0...${word}\\nTEST-1...${word}`);"
    ),
    "reads its own text": (
        "for (const word of arguments.callee.toString().match(/PASSED[-\\w]*/g))\n"
        "  console.log(`TEST-0...${word}\\nTEST-1...${word}`);"
    ),
    "reads the input again": (
        "const word = require('fs').readFileSync('/dev/stdin', 'utf8');\n"
        "console.log(`TEST-0...PASSED-${word}\\nTEST-1...PASSED-${word}`);"
    ),
    "throws a pass": "const halfOf = (x) => { throw {name: 'PASSED'}; };",
    "answers before it is asked": "function halfOf(x) { process.exitCode = 0; process.exit(); }",
    "rewrites what is logged": (
        "const log = console.log;\n"
        "console.log = (line) => log(line.replace('FAILED', 'PASSED'));\n"
        "const halfOf = (x) => 0;"
    ),
    "names the nonce": (
        "console.log(`TEST-0...PASSED-${nonce_of_tests}\\nTEST-1...PASSED-${nonce_of_tests}`);"
    ),
    "reads the nonce from what is written": (
        "const write = process.stdout.write;\n"
        "const forge = (real) => function (...words) {\n"
        "  const at = words.findIndex((word) => typeof word === 'string');\n"
        "  if (at >= 0) words[at] += words[at].replace('TEST-0', 'TEST-1');\n"
        "  return real.apply(this, words);\n};\n"
        "process.stdout.write = forge(process.stdout.write);\n"
        "require('fs').writeSync = forge(require('fs').writeSync);\n"
        "console.log = process.stdout.write;\n"
        "let n = 0;\nconst halfOf = (x) => n++ ? 0 : 1.5;"
    ),
    "takes what is expected from its caller": (
        "function halfOf(x) { return halfOf.caller.arguments[1]; }"
    ),
    "puts another JSON and Math in their place": (
        "JSON = {stringify: () => ''};\nMath = {abs: () => 0};\nconst halfOf = (x) => 0;"
    ),
    "hides the functions of the tests": (
        "function validateSolution() { return true; }\nfunction driver() { return 'PASSED'; }\n"
        "function convertToString() { return ''; }\nconst halfOf = (x) => 0;"
    ),
    "hands the tests a require of its own": (
        "function require(name) {\n"
        "  const word = module.require('fs').readFileSync(0, 'utf8');\n"
        "  console.log(`TEST-0...PASSED-${word}\\nTEST-1...PASSED-${word}`);\n"
        "  return module.require(name);\n}\n"
        "const halfOf = (x) => 0;"
    ),
    "makes all differences small": "Math.abs = () => 0; const halfOf = (x) => 0;",
}


@pytest.mark.parametrize("name", JAVASCRIPT_FORGERIES)
def test_forged_javascript_is_no_pass(sandbox, name):
    _need("javascript")
    program = build_program(HALF, JAVASCRIPT, JAVASCRIPT_FORGERIES[name], nonce="5eed")

    assert sandbox.run(program, Limits(wall_s=30.0)).outcome == "fail"


@pytest.mark.parametrize(
    "code",
    [
        "const halfOf = (x) => x / 2;",
        "let halfOf;\nhalfOf = function main(x) { return x / 2; };",
        "function halfOf(x) { console.log('x'.repeat(70000)); console.log(); return main(x); }\n"
        "const fs = require('fs'), write = 2;\nfunction main(x) { return x / write; }",
        "class Set {}\nfunction halfOf(x) { return driver(x); }\nconst driver = (x) => x / 2;",
    ],
)
def test_names_of_javascript_are_its_own(sandbox, code):
    _need("javascript")
    program = build_program(HALF, JAVASCRIPT, code, nonce="5eed")

    result = sandbox.run(program, Limits(wall_s=30.0, output_bytes=1 << 20))
    assert result.is_pass, result


@pytest.mark.parametrize(
    "code",
    [
        "JSON.stringify = () => ''; const pair = (x) => [];",
        "Object.prototype.toJSON = () => 0; const pair = (x) => [];",
        "Array.prototype.toJSON = () => 0; const pair = (x) => [];",
        "Array.from = () => [];\n"
        "Object.defineProperty(Set, Symbol.hasInstance, {value: () => true});\n"
        "const pair = (x) => [];",
        "function Array() {}\n"
        "Object.defineProperty([].__proto__, 'toJSON', {value: () => 0});\n"
        "const pair = (x) => [];",
    ],
)
def test_javascript_cannot_change_how_values_are_told_apart(sandbox, code):
    _need("javascript")
    honest = build_program(PAIR, JAVASCRIPT, "const pair = (x) => [x, x];", nonce="5eed")
    forged = build_program(PAIR, JAVASCRIPT, code, nonce="5eed")

    assert sandbox.run(honest, Limits(wall_s=30.0)).is_pass
    assert sandbox.run(forged, Limits(wall_s=30.0)).outcome == "fail"


FORGERIES = {
    "cpp prints": f'float halfOf(int x) {{ cout << "{PRINTED}" << flush; _Exit(0); }}',
    "csharp raises": (
        "class PASSED : Exception {}\n"
        "class Solution { public float HalfOf(int x) { throw new PASSED(); } }"
    ),
    "csharp prints": (
        "class Solution { public float HalfOf(int x) {"
        f' Console.Write("{PRINTED}"); Environment.Exit(0); return 0; }} }}'
    ),
    "csharp asserts": (
        "class Solution { public float HalfOf(int x) { Debug.Assert(x / 2f == 9); return 9; } }"
    ),
    "go prints": f'func halfOf(x int) float64 {{ fmt.Print("{PRINTED}"); return 0 }}',
    "java raises": (
        "class PASSED extends RuntimeException {}\n"
        "class Solution { Float halfOf(Integer x) { throw new PASSED(); } }"
    ),
    "java prints": (
        "class Solution { Float halfOf(Integer x) {"
        f' System.out.print("{PRINTED}"); System.exit(0); return 0f; }} }}'
    ),
    "kotlin raises": ("class PASSED : Exception()\nfun halfOf(x: Int): Float { throw PASSED() }"),
    "kotlin names the nonce": (
        'fun halfOf(x: Int): Float { println("TEST-0...PASSED-${nonce_of_tests}\\n'
        'TEST-1...PASSED-${nonce_of_tests}"); return 0f }'
    ),
    "rust prints": (
        f'pub fn half_of(x: i32) -> f32 {{ print!("{PRINTED}"); std::process::exit(0) }}'
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FORGERIES)
def test_forged_program_is_no_pass(sandbox, name):
    key = name.split()[0]
    _need(key)
    program = build_program(HALF, LANGUAGES[key], FORGERIES[name], nonce="5eed")

    result = sandbox.run(program, Limits(wall_s=500.0, memory_bytes=1536 << 20))

    assert result.outcome == "fail", result


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_golden_python_passes_but_for_what_no_program_can(sandbox, questions, golden_python):
    passed = {}
    for folder, is_lenient in (
        ("human_eval", False),
        ("sanitized_mbpp", False),
        ("sanitized_mbpp", True),
    ):
        code = {row["qid"]: row["code"] for row in golden_python[folder]}
        programs = [
            build_python(each, PYTHON, code[number], is_lenient=is_lenient)
            for number, each in questions[folder].items()
        ]
        limits = Limits(cpu_s=30, wall_s=240.0)  # MBPP/123 takes 6 s
        results = dict(zip(questions[folder], sandbox.map(programs, limits), strict=True))
        passed[folder, is_lenient] = {n for n, result in results.items() if result.is_pass}

    assert len(passed["human_eval", False]) == 161
    assert len(passed["sanitized_mbpp", False]) == 312
    # a tuple is no list
    assert len(passed["sanitized_mbpp", True] - passed["sanitized_mbpp", False]) == 25
    # None stands as an empty value in the tests, or is subtracted from
    assert set(questions["sanitized_mbpp"]) - passed["sanitized_mbpp", True] == {
        "160",
        "395",
        "602",
        "746",
        "755",
    }


def _need(key: str) -> None:
    try:
        find_toolchain(key)
    except PrerequisiteError as error:
        pytest.skip(str(error))
