# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, held by tests: where things lie, how long they are, what they import.

Each rule that needs more than a glance is a small function over source text, and is shown here to
catch a planted breach before it is held against the tree.
"""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "codegemma"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if path.name not in ("__init__.py", "__main__.py")]

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_TYPE_IGNORES = 30
IMPORT_LIMIT_S = 0.15
HELP_LIMIT_S = 0.3

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
# Tests of more than one file: of the whole tree, or of what a package does as one.
TESTS_WITHOUT_MIRROR = {
    "tests/data/test_faults.py",
    "tests/model/test_nano.py",
    "tests/model/test_parity.py",
    "tests/sandbox/test_attacks.py",
    "tests/test_architecture.py",
    "tests/test_journey.py",
}
HEAVY = ("jax", "jaxlib", "numpy", "optax", "orbax", "grain", "sentencepiece", "starlette")
# A new flag or recipe is a promise: it is made here, and withdrawn here.
FLAGS = {
    "complete": (
        "--context --explain --heal --json --max-tokens --min-p --mode --model --n --path --seed "
        "--stop --temperature --top-k --top-p -m place"
    ),
    "serve": "--host --model --port --repository --token-file -m",
    "generate": (
        "--explain --heal --json --max-tokens --min-p --model --seed --stop --temperature --top-k "
        "--top-p -m prompt"
    ),
    "chat": "--explain --max-tokens --min-p --model --seed --temperature --top-k --top-p -m",
    "models": "--json",
    "pull": "--revision --yes -y name",
    "convert": "--dtype --max-shard-mb --quantize --to source target",
    "verify": "--json model",
    "prepare": (
        "--decontaminate --each --executor --holdout-fraction --json --keep-dropped "
        "--materialize --mix --model --out --recipe --remove --seed --slurm --thresholds "
        "--unknown-licenses --unlicensed --unsafe-list --vocab-size --workers source"
    ),
    "synthesize": (
        "--count --json --judge --model --out --remove --seed --unlicensed --unsafe-list -m kind "
        "source"
    ),
    "inspect": "--epoch --json --seed shard",
    "evaluate": (
        "--batch --data --env --gate --isolation --json --limit --max-tokens --merge --mode "
        "--model --n --no-score --out --path --seed --shard --temperature --test --top-p -m tasks"
    ),
    "score": "--isolation --json --out --task file",
    "report": "--beside --html --json --limit runs",
    "train": "--data --decay-steps --json --minutes --model --out --recipe --set --start --steps",
}
DATA_RECIPES = [
    *("codegemma-1.1-2b", "codegemma-2b", "codegemma-2b-ast", "codegemma-7b"),
    *("nano", "nano-gpu", "tiny"),
]
TRAIN_RECIPES = ["nano", "nano-gpu", "tiny"]
CARD_STATEMENTS = [f"C{n}" for n in range(1, 28)]


def relative(path: Path) -> str:
    """A path as the reader of a failure wants it."""
    return path.relative_to(ROOT).as_posix()


def tracked_files() -> list[Path]:
    """Every file of the repository, as git lists it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: git lists the files to look at")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """The text files among them."""
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            yield path, data.decode("utf-8", errors="replace")


def walk_sources() -> Iterator[tuple[Path, ast.AST]]:
    """Every node of every source file."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def run_python(code: str) -> str:
    """What a fresh interpreter prints, this one's import hooks left out."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


# Where things lie


def mirror(source: Path) -> Path:
    """The test file of a source file."""
    inside = source.relative_to(PACKAGE)
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"


def test_every_source_has_its_mirrored_test() -> None:
    missing = [relative(mirror(path)) for path in MODULES if not mirror(path).exists()]

    assert missing == []


def test_every_test_mirrors_a_source_or_is_listed() -> None:
    mirrored = {relative(mirror(path)) for path in MODULES}
    scripts = (ROOT / "benchmarks").glob("*.py")
    mirrored |= {f"tests/benchmarks/test_{script.name}" for script in scripts}
    tests = {relative(path) for path in (ROOT / "tests").rglob("test_*.py")}

    assert tests - mirrored - TESTS_WITHOUT_MIRROR == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = [path for path in SOURCES if path.stem in FORBIDDEN_NAMES]

    assert [relative(path) for path in names] == []


def test_packages_hold_one_docstring_and_the_root_the_public_names() -> None:
    for path in sorted(PACKAGE.rglob("*/__init__.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body

        assert len(body) == 1, f"{relative(path)} holds more than its docstring"


def test_public_lists_are_sorted_and_true() -> None:
    lists = 0
    for path, node in walk_sources():
        if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != "__all__":
            continue
        names = ast.literal_eval(node.value)
        inside = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(p for p in inside if p != "__init__"))
        lists += 1

        assert names == sorted(names), relative(path)
        assert [name for name in names if not hasattr(module, name)] == [], relative(path)
    assert lists >= 1


def test_property_tests_have_no_deadline() -> None:
    assert settings().deadline is None


# How long they are


def long_functions(source: str) -> list[str]:
    """Functions over the cap, decorators and docstring included."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def test_a_function_of_81_lines_is_too_long() -> None:
    assert long_functions("def short():\n" + "    pass\n" * 79) == []
    assert long_functions("def long():\n" + "    pass\n" * 80) == ["long"]


def test_files_and_functions_stay_within_their_caps() -> None:
    handwritten = [*SOURCES, *sorted((ROOT / "benchmarks").rglob("*.py"))]
    handwritten += sorted((ROOT / "web" / "src").rglob("*.ts"))
    texts = {path: path.read_text(encoding="utf-8") for path in handwritten}

    assert [relative(p) for p, text in texts.items() if text.count("\n") > MAX_FILE_LINES] == []
    assert [f"{relative(p)}: {name}" for p in SOURCES for name in long_functions(texts[p])] == []


# What they say


def unknown_letters(source: str) -> list[str]:
    """Upper-case letters in jaxtyping shapes, and any letter in einsums, outside `dims.LETTERS`.

    Letters side by side, as in "B TG H", are axes made one; words in lower case are free.
    """
    from codegemma.dims import LETTERS

    tree = ast.parse(source)
    dtypes = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"
        for alias in node.names
    }
    unknown = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            shape = node.slice.elts[-1]
            if ast.unparse(node.value) not in dtypes or not isinstance(shape, ast.Constant):
                continue
            unknown += [c for c in str(shape.value) if c.isupper() and c not in LETTERS]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("einsum"):
            equation = node.args[0]
            letters = str(equation.value) if isinstance(equation, ast.Constant) else "?"
            unknown += [c for c in letters if c not in LETTERS and c not in ",->. "]
    return unknown


def test_a_letter_outside_the_legend_is_found() -> None:
    source = (
        "from jaxtyping import Float, Int as Whole\n"
        'def f(x: Float[Array, "B T D"]) -> Whole[Array, "*B T-1 QG cache"]:\n'
        '    return jnp.einsum("BTD,DM->BTM", x, y) + einsum("BtD->BD", x)\n'
    )

    assert set(unknown_letters(source)) == {"Q", "M", "t"}


def test_every_shape_and_einsum_uses_the_letter_legend() -> None:
    found = {relative(path): unknown_letters(path.read_text(encoding="utf-8")) for path in SOURCES}

    assert {name: letters for name, letters in found.items() if letters} == {}


def test_postponed_annotations_stay_out_of_checked_modules() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}

    assert [
        relative(path)
        for path, text in texts.items()
        if "from __future__ import annotations" in text and "jaxtyping" in text
    ] == []


def test_nothing_prints_outside_the_commands() -> None:
    printing = {
        relative(path)
        for path, node in walk_sources()
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "print"
        and "cli" not in path.relative_to(PACKAGE).parts
    }

    assert printing == set()


def bare_ignores(source: str) -> tuple[int, list[str]]:
    """How many type ignores there are, and those without a code or without a reason."""
    ignores = [
        line for line in source.splitlines() if re.search(r"# (pyright|type): *ignore", line)
    ]
    fine = re.compile(r"# (pyright|type): *ignore\[\w[\w, -]*\]\s+#? *\S+ \S+")
    return len(ignores), [line.strip() for line in ignores if not fine.search(line)]


def test_an_ignore_without_code_or_reason_is_found() -> None:
    source = (
        "a = f()  # pyright: ignore[reportCallIssue]  # the stub lacks the keyword\n"
        "b = f()  # pyright: ignore[reportCallIssue]\n"
        "c = f()  # type: ignore\n"
    )

    assert bare_ignores(source) == (
        3,
        ["b = f()  # pyright: ignore[reportCallIssue]", "c = f()  # type: ignore"],
    )


def test_type_ignores_are_few_and_say_why() -> None:
    counts = {relative(p): bare_ignores(p.read_text(encoding="utf-8")) for p in SOURCES}

    assert sum(count for count, _ in counts.values()) <= MAX_TYPE_IGNORES
    assert {name: bare for name, (_, bare) in counts.items() if bare} == {}


def test_every_source_file_names_its_licence_first() -> None:
    suffixes = {".py", ".ts", ".sh"}
    unnamed = [
        relative(path)
        for path, text in tracked_texts()
        if (path.suffix in suffixes or path.name in ("Makefile", "run"))
        and "SPDX-License-Identifier: Apache-2.0" not in "".join(text.splitlines(True)[:2])
    ]

    assert unnamed == []


# Programs that try to break out of the sandbox name what they would steal.
ATTACKS = ROOT / "tests" / "sandbox"
# The brackets keep these patterns from matching themselves.
LOCAL_ADDRESSES = re.compile(
    r"(^|[^A-Za-z0-9_.])/(wor[k]|far[m]|roo[t])/|file:/[/]/|/opt/(pyp[i]|wheel[s])|/\.librar[y]"
    r"|(pyp[i]|npmj[s]|debia[n])\.(org|com)/|pythonhoste[d]|/packages/[0-9a-f]{2}/[0-9a-f]{2}/"
    r'|"?resolve[d]"?[: ]+"?https?:|registr[y] *= *"?https?:|inde[x]-url[ =]+https?:',
    re.MULTILINE,
)


@pytest.mark.parametrize(
    "text",
    [
        "open('/" + "root/x')",
        "--index" + "-url https://example.test/simple",
        '"res' + 'olved": "https://example.test/a.tgz"',
        "file:/" + "//tmp/a.whl",
    ],
    ids=["home", "index", "lock", "file"],
)
def test_an_address_of_one_machine_is_found(text: str) -> None:
    assert LOCAL_ADDRESSES.search(text)


def test_no_file_names_a_path_or_an_index_of_one_machine() -> None:
    hits = [
        f"{relative(path)}:{number}: {line.strip()[:100]}"
        for path, text in tracked_texts()
        if path.suffix != ".svg" and ATTACKS not in path.parents and LOCAL_ADDRESSES.search(text)
        for number, line in enumerate(text.splitlines(), start=1)
        if LOCAL_ADDRESSES.search(line)
    ]

    assert hits == []


# What they import


def test_imports_go_downward_only() -> None:
    # In a process of its own: import-linter switches off every logger there is.
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert run.returncode == 0, run.stdout


def cpu_seconds(arguments: list[str]) -> float:
    """Least processor time of five runs: what a busy machine does not add to."""
    code = (
        "import resource, subprocess, sys\n"
        "best = 1e9\n"
        "for _ in range(5):\n"
        "    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])\n"
        "    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "    best = min(best, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)\n"
        "print(best)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_importing_the_package_is_quick_and_loads_nothing_heavy() -> None:
    loaded = run_python(
        f"import codegemma, sys; print([name for name in {HEAVY} if name in sys.modules])"
    )
    bare = cpu_seconds([sys.executable, "-c", "pass"])
    with_package = cpu_seconds([sys.executable, "-c", "import codegemma"])

    assert loaded == "[]"
    assert with_package - bare < IMPORT_LIMIT_S


def test_what_is_below_the_model_and_evaluate_load_no_jax_even_through_a_library() -> None:
    light = ("text", "data", "context", "sandbox", "evaluate", "completion.py")
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] in light
    ]

    loaded = run_python(
        f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
        "print([name for name in ('jax', 'jaxlib', 'grain') if name in sys.modules])"
    )

    assert len(names) > 10
    assert loaded == "[]"


# What others rely on


def test_no_flag_comes_or_goes_unnoticed() -> None:
    from codegemma.cli.main import VERBS, load_verb

    flags = {
        verb.name: " ".join(sorted(flag for p in load_verb(verb.name).params for flag in p.opts))
        for verb in VERBS
    }

    assert flags == FLAGS


def test_no_recipe_comes_or_goes_unnoticed() -> None:
    from codegemma.data import recipes as data_recipes
    from codegemma.errors import ConfigError
    from codegemma.train import recipes as train_recipes

    for module, names in ((data_recipes, DATA_RECIPES), (train_recipes, TRAIN_RECIPES)):
        with pytest.raises(ConfigError) as refusal:
            module.by_name("no such recipe")
        listed = str(refusal.value).rpartition(" are " if module is data_recipes else ": ")[2]

        assert sorted(listed.split(", ")) == names
        assert [module.by_name(name).name for name in names] == names
    # Whatever data can be prepared for is trained, or refused by name.
    assert sorted({*TRAIN_RECIPES, *train_recipes.PLANNED}) == DATA_RECIPES


def test_the_command_reference_is_current() -> None:
    command = [sys.executable, "-m", "typer", "codegemma.cli.main", "utils", "docs"]
    written = subprocess.run(
        [*command, "--name", "codegemma"], capture_output=True, check=True, text=True, cwd=ROOT
    ).stdout
    kept = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert written.strip() == kept.strip(), "run `make docs`"


def test_help_is_quick() -> None:
    assert cpu_seconds([sys.executable, "-m", "codegemma", "--help"]) < HELP_LIMIT_S


def pinned(list_name: str) -> dict[str, str]:
    """Package and version of every entry of a requirements list."""
    text = (ROOT / "requirements" / list_name).read_text(encoding="utf-8")
    entry = r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+) \\$"  # NAME[EXTRAS]==VERSION
    return dict(re.findall(entry, text, re.MULTILINE))


@pytest.mark.parametrize("list_name", ["core.txt", "dev.txt"])
def test_every_requirement_is_pinned_with_hashes_and_names_no_address(list_name: str) -> None:
    text = (ROOT / "requirements" / list_name).read_text(encoding="utf-8")
    entries = [e for e in re.split(r"\n(?=\S)", text.strip()) if not e.startswith("#")]

    assert [e.splitlines()[0] for e in entries if "--hash=sha256:" not in e] == []
    assert "://" not in text
    assert (
        len(re.findall(r"--hash", entries[[e.split("==")[0] for e in entries].index("numpy")])) > 30
    )


def test_the_core_list_is_part_of_the_full_list() -> None:
    core, full = pinned("core.txt"), pinned("dev.txt")

    assert {name: version for name, version in core.items() if full.get(name) != version} == {}


@pytest.mark.parametrize(
    ("list_name", "extras"), [("core.txt", []), ("dev.txt", ["data", "train", "evaluate", "dev"])]
)
def test_the_lists_hold_what_the_package_asks_for(list_name: str, extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    versions = pinned(list_name)

    unmet = [
        line
        for line in wanted
        if not Requirement(line).specifier.contains(
            versions.get(canonicalize_name(Requirement(line).name), "0")
        )
    ]

    assert unmet == [], "run `make lock`"


@pytest.mark.parametrize("extra", ["data", "train", "evaluate"])
def test_an_extra_asks_for_nothing_twice_over_the_core(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    more = project["optional-dependencies"][extra]

    assert core & {canonicalize_name(Requirement(line).name) for line in more} == set()


# What the documentation says


def documents() -> list[Path]:
    """Every page written by hand."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{relative(page)}: {target}"
        for page in documents()
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert dead == []


def paper_map_rows() -> list[list[str]]:
    """The cells of every table row of the paper map."""
    text = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_paper_map_has_every_statement_of_the_card_once_and_in_order() -> None:
    first = [cells[0] for cells in paper_map_rows() if re.fullmatch(r"C\d+", cells[0])]

    assert first == CARD_STATEMENTS


def test_the_paper_map_points_at_files_that_are_there() -> None:
    missing = [
        path
        for *_, code, tests in paper_map_rows()
        for cell, folder in ((code, PACKAGE), (tests, ROOT / "tests"))
        for path in re.findall(r"`([^`]+\.(?:py|md))`", cell)
        if not (folder / path).exists()
    ]

    assert missing == []


def test_what_the_paper_map_calls_done_has_a_test() -> None:
    untested = [
        cells[-2] for cells in paper_map_rows() if ".py`" in cells[-2] and ".py`" not in cells[-1]
    ]

    assert untested == []
