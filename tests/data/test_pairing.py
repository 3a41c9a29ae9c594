# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.data.pairing import Pairs, beside_tested, is_test, pair_tests


@pytest.mark.parametrize(
    ("test", "tested"),
    [
        ("pkg/tests/test_shape.py", "pkg/shape.py"),
        ("tests/pkg/test_shape.py", "src/pkg/shape.py"),
        ("pkg/shape_test.py", "pkg/shape.py"),
        ("tests/test_shape.py", "pkg/_shape.py"),
        ("src/test/java/a/FooTest.java", "src/main/java/a/Foo.java"),
        ("src/test/java/a/TestFoo.java", "src/main/java/a/Foo.java"),
        ("a/FooIT.java", "a/Foo.java"),
        ("src/test/kotlin/a/FooSpec.kt", "src/main/kotlin/a/Foo.kt"),
        ("cart/cart_test.go", "cart/cart.go"),
        ("src/shape.test.ts", "src/shape.ts"),
        ("src/__tests__/shape.tsx", "src/shape.tsx"),
        ("spec/shape.spec.js", "lib/shape.js"),
        ("Acme.Billing.Tests/InvoiceTests.cs", "Acme.Billing/Invoice.cs"),
        ("tests/shape.rs", "src/shape.rs"),
        ("tests/shape_test.cpp", "src/shape.cpp"),
    ],
)
def test_a_test_is_paired_by_its_name(test: str, tested: str) -> None:
    assert is_test(test)
    assert not is_test(tested)
    assert pair_tests([test, tested, "other/thing.py", "Other.java"]) == {test: tested}


@pytest.mark.parametrize(
    "path",
    [
        "contest.py",
        "pkg/testimony.py",
        "latest.go",
        "Attestation.java",
        "pkg/protests/a.py",
        "pkg/latest/x.py",
        "greatest_of.rs",
    ],
)
def test_words_that_end_like_test_are_none(path: str) -> None:
    assert not is_test(path)


@pytest.mark.parametrize(
    "path",
    [
        "pkg/tests/data.py",
        "test/support/os_helper.py",
        "pkg/conftest.py",
        "idlelib/idle_test/htest.py",
        "Acme.Tests/Fixture.cs",
    ],
)
def test_what_serves_tests_is_one_though_it_tests_nothing(path: str) -> None:
    assert is_test(path)
    assert pair_tests([path, "pkg/other.py"]) == {}


def test_of_files_with_one_name_the_one_in_the_likest_folder_is_tested() -> None:
    paths = ["a/io/size.py", "b/size.py", "tests/io/test_size.py", "tests/b/test_size.py"]

    assert pair_tests(paths) == {
        "tests/io/test_size.py": "a/io/size.py",
        "tests/b/test_size.py": "b/size.py",
    }


def test_a_test_of_nothing_there_or_of_another_language_is_left_alone() -> None:
    assert pair_tests(["shape.py", "tests/test_size.py", "ShapeTest.java"]) == {}
    assert pair_tests(["a/__init__.py", "tests/__init__.py", "tests/conftest.py"]) == {}


def test_tests_go_behind_what_they_test_unless_placed_already() -> None:
    tests = {"t2": "a", "t1": "a", "t3": "b", "t4": "missing"}

    assert beside_tested(["b", "t3", "a"], tests) == ["b", "t3", "a", "t1", "t2"]


def test_pairs_follow_paths_that_come_and_go() -> None:
    pairs = Pairs(["z/shape.py", "tests/test_shape.py", "tests/test_size.py"])

    assert pairs.tests == {"tests/test_shape.py": "z/shape.py"}
    pairs.update(["shape.py", "size.py", "b/size_test.py"], is_there=True)
    assert pairs.tests == {
        "tests/test_shape.py": "shape.py",
        "tests/test_size.py": "size.py",
        "b/size_test.py": "size.py",
    }
    pairs.update(["shape.py", "tests/test_size.py", "never/was.py"], is_there=False)
    assert pairs.tests == {"tests/test_shape.py": "z/shape.py", "b/size_test.py": "size.py"}
