# SPDX-License-Identifier: Apache-2.0
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegemma.context import index as index_module
from codegemma.context.index import RepositoryIndex
from codegemma.data.graph import Weight

Write = Callable[[Mapping[str, str]], Path]


def edges(index: RepositoryIndex) -> set[tuple[str, str]]:
    return {(user, target) for user, targets in index.edges.items() for target in targets}


def both_ways(index: RepositoryIndex) -> bool:
    whole = index.graph
    back = {(user, target) for target, users in whole.users.items() for user in users}
    return back == edges(index)


def test_source_files_and_their_edges_are_found(shop: Path) -> None:
    index = RepositoryIndex(shop)

    assert index.refresh() == 9
    assert sorted(index.edges) == [
        "shop/__init__.py",
        "shop/cart.py",
        "shop/customer.py",
        "shop/far.py",
        "shop/farther.py",
        "shop/money.py",
        "shop/report.py",
        "shop/unlinked.py",
        "tests/test_cart.py",
    ]
    assert index.edges["shop/cart.py"] == {
        "shop/customer.py": Weight(1, True),
        "shop/money.py": Weight(1, True),
    }
    assert index.tests == {"tests/test_cart.py": "shop/cart.py"}
    assert index.imported_names("shop/cart.py", "shop/money.py") == ["Money"]
    assert both_ways(index)
    assert index.is_whole
    assert index.refresh() == 0


def test_new_changed_and_vanished_files_are_seen(shop: Path, write: Write) -> None:
    index = RepositoryIndex(shop)
    index.refresh()
    write({"shop/cart.py": "from .unlinked import x\n", "shop/new.py": "import shop.far\n"})
    (shop / "shop" / "money.py").unlink()

    assert index.refresh() == 3
    fresh = RepositoryIndex(shop)
    fresh.refresh()
    assert edges(index) == edges(fresh) == {
        ("shop/cart.py", "shop/unlinked.py"),
        ("shop/report.py", "shop/cart.py"),
        ("shop/far.py", "shop/report.py"),
        ("shop/farther.py", "shop/far.py"),
        ("shop/new.py", "shop/far.py"),
    }  # fmt: skip
    assert both_ways(index)


def test_a_change_of_one_file_reads_and_links_that_file_alone(
    shop: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RepositoryIndex(shop)
    index.refresh()
    read: list[str] = []
    linked: list[str] = []
    real_read, real_link = index_module._read_imports, index_module.graph.link
    monkeypatch.setattr(
        index_module, "_read_imports", lambda root, path: read.append(path) or real_read(root, path)
    )
    monkeypatch.setattr(
        index_module.graph,
        "link",
        lambda path, imports, resolver: (
            linked.append(path) or real_link(path, imports, resolver=resolver)
        ),
    )
    write({"shop/cart.py": "from .money import Money\n"})

    assert index.refresh() == 1
    assert (read, linked) == (["shop/cart.py"], ["shop/cart.py"])
    assert both_ways(index)


TEXTS = {
    ".py": (
        "import b\n", "import a.b\n", "from a import b, c\n", "from . import b\n",
        "from .b import c\n", "from a.b.c import d\n", "from b import c\nfrom ..b import a\n", "",
    ),
    ".go": (
        'package a\nimport "x.org/m/a"\n', 'package a\nimport "x.org/m/a/b"\n',
        'package a\nimport "x.org/m"\n', 'package a\nimport "y.org/b"\n', "package a\n",
    ),
    ".ts": (
        "import {c} from './b'\n", "import {c} from '../a'\n", "import {c} from '@/a/b'\n",
        "import {c} from '@x/b/c'\n", "",
    ),
    ".java": ("import a.b.C;\n", "import a.b.*;\n", "import b.*;\n", "package a.b;\n"),
    ".h": ('#include "b.h"\n', '#include "a/b.h"\n', '#include "../b.h"\n', "#include <c.h>\n"),
}  # fmt: skip
"""Imports that mean one file or another as files come and go."""
NAMES = ("__init__", "a", "b", "c", "test_b", "b_test", "index")
FOLDERS = ("", "a/", "b/", "a/b/", "a/a/", "b/a/b/", "tests/")
PATHS = st.builds(
    "{}{}{}".format, st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.sampled_from([*TEXTS])
)
EDITS = st.lists(st.tuples(PATHS, st.integers(-3, 7)), min_size=1, max_size=4)


@pytest.mark.slow
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(EDITS, min_size=2, max_size=8))
def test_files_that_come_change_and_go_leave_what_reading_all_anew_gives(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    rounds: list[list[tuple[str, int]]],
) -> None:
    monkeypatch.setattr(index_module, "_RELINKED_FRACTION", 1)
    root = tmp_path_factory.mktemp("repository")
    for number, path in enumerate(("a/b.py", "a/b.go", "b/b.ts", "a/b/C.java", "a/b.h", "c.py")):
        texts = TEXTS[Path(path).suffix]
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(texts[number % len(texts)])
    index = RepositoryIndex(root)
    index.refresh()
    for time, edits in enumerate(rounds):
        for path, choice in edits:
            if choice < 0:
                (root / path).unlink(missing_ok=True)
                continue
            texts = TEXTS[Path(path).suffix]
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(texts[choice % len(texts)])
            os.utime(root / path, (time, time))
        index.refresh()
        fresh = RepositoryIndex(root)
        fresh.refresh()
        assert index.edges == fresh.edges
        assert index.tests == fresh.tests
        assert both_ways(index)


def test_a_file_that_comes_or_goes_links_those_alone_that_it_may_concern(
    shop: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({f"other/m{i}.py": "import json\nfrom shop import cart\n" for i in range(20)})
    index = RepositoryIndex(shop)
    index.refresh()
    linked: list[str] = []
    real = index_module.graph.link
    monkeypatch.setattr(
        index_module.graph,
        "link",
        lambda path, imports, resolver: (
            linked.append(path) or real(path, imports, resolver=resolver)
        ),
    )
    write({"shop/json.py": "", "other/new.py": "import shop.far\n"})

    assert index.refresh() == 2
    assert sorted(linked) == ["other/new.py", "shop/json.py"]
    linked.clear()
    (shop / "shop" / "money.py").unlink()

    assert index.refresh() == 1
    assert sorted(linked) == ["shop/cart.py", "shop/customer.py"]
    assert index.edges["shop/cart.py"] == {"shop/customer.py": Weight(1, True)}


def test_the_cache_is_written_after_many_changes_not_after_each(
    shop: Path, write: Write, tmp_path: Path
) -> None:
    write({f"other/m{i}.py": "import shop.cart\n" for i in range(100)})
    cache = tmp_path / "index.json"
    index = RepositoryIndex(shop, cache=cache)
    index.refresh()
    write({"shop/cart.py": "", "other/new.py": ""})
    index.refresh()

    assert "other/new.py" not in cache.read_text()
    write({"other/newer.py": "import shop.far\n"})
    index.refresh()

    assert {"other/new.py", "other/newer.py"} < json.loads(cache.read_text())["files"].keys()


def test_a_file_of_the_same_size_with_a_new_time_is_read_again(shop: Path) -> None:
    index = RepositoryIndex(shop)
    index.refresh()
    file = shop / "shop" / "report.py"
    before = file.stat().st_mtime_ns
    file.write_text("from .mart import Cart\n")
    os.utime(file, ns=(before + 1, before + 1))

    assert index.refresh() == 1
    assert index.edges["shop/report.py"] == {}


def test_what_was_read_is_kept_for_the_next_process(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache" / "index.json"
    first = RepositoryIndex(shop, cache=cache)
    first.refresh()
    monkeypatch.setattr(index_module, "_read_imports", lambda *_: pytest.fail("read again"))
    second = RepositoryIndex(shop, cache=cache)

    assert second.refresh() == 0
    assert second.edges == first.edges
    assert second.tests == first.tests
    assert [path.name for path in cache.parent.iterdir()] == ["index.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 0}', "\x00", '{"format": 1, "root": "x", "files": 3}']
)
def test_a_damaged_cache_is_made_anew(shop: Path, tmp_path: Path, text: str) -> None:
    cache = tmp_path / "index.json"
    cache.write_text(text)

    assert RepositoryIndex(shop, cache=cache).refresh() == 9
    assert json.loads(cache.read_text())["root"] == str(shop)


def test_a_cache_of_damaged_entries_is_made_anew(shop: Path, tmp_path: Path) -> None:
    cache = tmp_path / "index.json"
    kept = {"format": 1, "root": str(shop), "files": {"shop/cart.py": [[1], [["a"]]]}}
    cache.write_text(json.dumps(kept))

    assert RepositoryIndex(shop, cache=cache).refresh() == 9


def test_a_cache_that_cannot_be_written_is_done_without(shop: Path) -> None:
    assert RepositoryIndex(shop, cache=shop / "notes.txt" / "index.json").refresh() == 9


def test_links_out_of_the_repository_are_not_followed(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("import shop\n")
    (shop / "link.py").symlink_to(tmp_path / "secret.py")
    (shop / "folder").symlink_to(tmp_path)
    index = RepositoryIndex(shop)

    assert index.refresh() == 9
    assert index.read("gone.py") == ""


def test_a_repository_is_looked_at_up_to_a_number_of_files(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codegemma.context.disk.MAX_FILES", 3)
    index = RepositoryIndex(shop)

    assert index.refresh() == 3
    assert not index.is_whole


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert RepositoryIndex(tmp_path / "gone").refresh() == 0
