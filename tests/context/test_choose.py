# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegemma.completion import CompleterInfo, Prompt, Sampling
from codegemma.context import choose as choose_module
from codegemma.context.choose import MIN_TOKENS, Shown, choose
from codegemma.context.index import RepositoryIndex
from codegemma.text.budget import fit_prompt, spare_tokens
from codegemma.text.tokenizer import Tokenizer

Write = Callable[[Mapping[str, str]], Path]


def chosen(
    root: Path, path: str, tokenizer: Tokenizer, max_tokens: int = 4000
) -> tuple[Shown, ...]:
    index = RepositoryIndex(root)
    index.refresh()
    return choose(index, path, tokenizer=tokenizer, max_tokens=max_tokens)


def reasons(shown: tuple[Shown, ...]) -> list[tuple[str, str]]:
    return [(one.file.path, one.reason) for one in shown]


def test_files_are_chosen_by_imports_and_names_and_shown_in_the_order_of_packing(
    shop: Path, tokenizer: Tokenizer
) -> None:
    assert reasons(chosen(shop, "shop/cart.py", tokenizer)) == [
        ("shop/money.py", "imported"),
        ("shop/customer.py", "imported"),
        ("tests/test_cart.py", "tests it"),
        ("shop/report.py", "imports it"),
        ("shop/far.py", "near"),
    ]


def test_a_test_is_shown_what_it_tests(shop: Path, tokenizer: Tokenizer) -> None:
    assert reasons(chosen(shop, "tests/test_cart.py", tokenizer)) == [
        ("shop/cart.py", "tested by it")
    ]


def test_the_file_itself_is_never_shown_nor_one_that_has_nothing_to_do_with_it(
    shop: Path, tokenizer: Tokenizer
) -> None:
    for path in ("shop/money.py", "shop/unlinked.py", "shop/new.py", "elsewhere/x.py"):
        assert not {path, "shop/unlinked.py"} & {
            one.file.path for one in chosen(shop, path, tokenizer)
        }
    assert chosen(shop, "shop/unlinked.py", tokenizer) == ()


def test_what_is_imported_comes_before_what_imports_when_room_is_short(
    write: Write, tokenizer: Tokenizer
) -> None:
    filler = "x = 1\n" * 20
    root = write(
        {"a.py": "import b\n", "b.py": filler, "c.py": "import a\n" + filler, "d.py": "import c\n"}
    )

    assert reasons(chosen(root, "a.py", tokenizer, 150)) == [("b.py", "imported")]
    assert reasons(chosen(root, "a.py", tokenizer, 1000)) == [
        ("b.py", "imported"),
        ("c.py", "imports it"),
        ("d.py", "near"),
    ]


@pytest.mark.parametrize(
    ("path", "text"), [("cart/b.go", "package cart\n"), ("a/cart/B.java", "package a.cart;\n")]
)
def test_files_of_one_folder_are_one_package_where_the_language_says_so(
    write: Write, tokenizer: Tokenizer, path: str, text: str
) -> None:
    other = path.replace("b.", "a.").replace("B.", "A.")
    root = write(
        {path: text, other: text, "z/" + path: text, path.rpartition("/")[0] + "/x.py": ""}
    )

    assert reasons(chosen(root, path, tokenizer)) == [(other, "beside it")]


def test_of_a_long_file_the_definition_of_what_is_wanted_is_shown(
    write: Write, tokenizer: Tokenizer
) -> None:
    filler = "".join(f"def other_{i}():\n    return {i}\n\n\n" for i in range(300))
    wanted = "class Wanted:\n    def __init__(self):\n        self.x = 1\n\n\n"
    root = write({"a.py": "from b import Wanted\n", "b.py": filler + wanted + filler})

    (shown,) = chosen(root, "a.py", tokenizer, 200)

    assert shown.file.text.startswith(wanted)
    assert not shown.is_whole
    assert shown.file.text.endswith("\n\n\n")  # cut before a statement at the margin
    assert 100 < shown.num_tokens <= 200


@pytest.mark.parametrize(
    ("ending", "definition"),
    [
        ("py", "async def wanted():\n    return 1\n"),
        ("py", "wanted: int = 1\n"),
        ("ts", "export default function wanted() {\n  return 1\n}\n"),
        ("ts", "export const wanted = 1\n"),
        ("go", "func (t *Table) wanted() int {\n\treturn 1\n}\n"),
        ("rs", "pub static wanted: u8 = 1;\n"),
        ("h", "#define wanted 1\n"),
    ],
)
def test_definitions_are_known_by_the_words_before_a_name(ending: str, definition: str) -> None:
    before = "unwanted = 1\nconst wantedToo = 2\n# def unwanted(wanted):\n\n" * 40
    text = before + definition + before

    window = choose_module._window(text, f"b.{ending}", ["other", "wanted"], None, 60)

    assert window.startswith(definition)


def test_a_file_of_one_endless_line_or_of_nothing_is_passed_over(
    write: Write, tokenizer: Tokenizer
) -> None:
    texts = {"a.py": "import b\nimport c\nimport d\n", "b.py": "x = '" + "qz" * 9000 + "'\n"}
    root = write({**texts, "c.py": "\n\n", "d.py": "y = 1\n"})
    (root / "e.py").write_bytes(b"import a\n\xff\xfe")

    assert reasons(chosen(root, "a.py", tokenizer, 500)) == [("d.py", "imported")]


def test_fewer_tokens_than_a_file_is_worth_show_nothing(shop: Path, tokenizer: Tokenizer) -> None:
    assert chosen(shop, "shop/cart.py", tokenizer, MIN_TOKENS - 1) == ()


TEXTS = st.lists(st.integers(0, 400), min_size=6, max_size=6)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TEXTS, st.integers(MIN_TOKENS, 1500))
def test_what_is_chosen_fits_and_nothing_is_cut_for_it(
    write: Write, tokenizer: Tokenizer, sizes: list[int], context_length: int
) -> None:
    texts = {
        f"m{i}.py": f"import m{i + 1}\n" + "value = 1\n" * size for i, size in enumerate(sizes)
    }
    root = write(texts)
    info = CompleterInfo(name="m", context_length=context_length, mode="spm")
    prompt = Prompt(prefix=texts["m2.py"], suffix="\n", path="m2.py")
    spare = spare_tokens(prompt, Sampling(), tokenizer=tokenizer, info=info)
    shown = chosen(root, "m2.py", tokenizer, spare)

    with_files = Prompt(
        prefix=prompt.prefix, suffix="\n", path="m2.py", context=tuple(one.file for one in shown)
    )
    fitted = fit_prompt(with_files, Sampling(), tokenizer=tokenizer, info=info)
    alone = fit_prompt(prompt, Sampling(), tokenizer=tokenizer, info=info)

    assert sum(one.num_tokens for one in shown) <= spare
    assert fitted.cut == alone.cut
    assert len(fitted.tokens) == len(alone.tokens) + sum(one.num_tokens for one in shown)
