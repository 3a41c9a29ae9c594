# SPDX-License-Identifier: Apache-2.0
import pickle
import time
from pathlib import Path

import pytest

from codegemma.data import safety
from codegemma.data.document import Location
from codegemma.errors import InputError

FILE = "x = 'harmless'\n"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "bad.txt"
    path.write_text(
        "# remarks are no entries\n\nterm:Wicked Thing\nterm:vile\n"
        "sha256:3BEC8B3F1C9A4A5F0D3A1A7A2B7E5D7E2C5B1D0F6E9A8C7B6A5D4C3B2A190807\n"
        "url:https://evil.tld\nurl:host.tld/dark/\nurl:http://port.tld:8080/\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FILE, ""),
        ("# a WICKED,\n# thing\n", "bad.txt: term"),
        ("wicked_thing", ""),
        ("wicked old thing", ""),
        ("x = vile", "bad.txt: term"),
        ("revile", ""),
        ("see http://www.evil.tld/a", "bad.txt: url"),
        ("see https://EVIL.tld.", "bad.txt: url"),
        ("see https://notevil.tld/", ""),
        ("see https://host.tld/dark/x", "bad.txt: url"),
        ("see https://host.tld/light", ""),
        ("see https://host.tld:443/dark/x", "bad.txt: url"),
        ("see http://port.tld:8080/x", "bad.txt: url"),
        ("see http://sub.port.tld:8080", "bad.txt: url"),
        ("see http://port.tld:80/x", ""),
        ("see http://port.tld/x", ""),
    ],
)
def test_terms_and_addresses_are_found_and_neither_entry_nor_text_is_told(
    text: str, found: str, listed: Path
) -> None:
    assert safety.read_unsafe_lists([listed]).scan(text) == found


def test_a_file_is_found_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "hashes"
    # printf 'x = 1\n' | sha256sum
    digest = "9e26bf369911c45c243c684147b23fc9e1dcfcf257d299a1c632016a6fcd33f4"
    path.write_text(f"sha256:{digest}\n", encoding="utf-8")
    scanner = pickle.loads(pickle.dumps(safety.read_unsafe_lists([path])))

    assert scanner.scan("x = 1\n") == "hashes: sha256"
    assert scanner.scan("x = 2\n") == ""


def test_terms_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    entries = "".join(f"term:bad word{number}\n" for number in range(1000))
    path.write_text(entries + "term:bad words of three\n", encoding="utf-8")
    scanner = safety.read_unsafe_lists((path,))

    assert scanner.scan("a bad word999, here") == "many.txt: term"
    assert scanner.scan("bad words of three") == "many.txt: term"
    assert scanner.scan("bad word1000; bad words of") == ""


@pytest.mark.parametrize("line", ["word", "sha256:12", "term:", "url:", "term:..."])
def test_a_line_that_is_no_entry_is_named_and_not_shown(line: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_text(f"# one\n{line}\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"line 2 of .*bad is no entry") as raised:
        safety.read_unsafe_lists([path])
    assert f" {line} " not in str(raised.value)


def test_a_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        safety.read_unsafe_lists([tmp_path / "none"])
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="cannot be read: it is not UTF-8"):
        safety.read_removals([tmp_path / "latin"])


def test_removals_cover_repositories_owners_and_files(tmp_path: Path) -> None:
    path = tmp_path / "removed"
    path.write_text("jane/one\njoe/*\nlib/private/*\n# remark\n", encoding="utf-8")
    removals = safety.read_removals([path])

    assert removals.covers("jane/one")
    assert removals.covers("jane/one", "a.py")
    assert not removals.covers("jane/two")
    assert removals.covers("joe/anything", "x/y.py")
    assert removals.covers("lib", "private/a/b.py")
    assert not removals.covers("lib", "public/a.py")
    assert not safety.Removals().covers("x")


@pytest.mark.parametrize(
    ("name", "path", "is_covered"),
    [
        ("owner/name", "", True),
        ("OWNER/Name", "a/b.py", True),
        ("owner/name-two", "", False),
        ("jane/app", "pages/[slug]/index.ts", True),
        ("jane/app", "pages/s/index.ts", False),
        ("any/old.fork", "", True),
        ("any/old", "x.fork", True),
        ("any/old", "", False),
    ],
)
def test_removals_fold_case_and_know_no_sign_but_the_star(
    name: str, path: str, is_covered: bool
) -> None:
    removals = safety.Removals(
        patterns=("Owner/Name", "jane/app/pages/[slug]/*", "a*/*.fork"),
    )

    assert removals.covers(name, path) is is_covered


def test_removals_know_a_repository_by_its_other_names() -> None:
    removals = safety.Removals(patterns=("torvalds/linux",), aliases=("torvalds/linux",))

    assert removals.covers("linux", "kernel/fork.c")
    assert not safety.Removals(patterns=("torvalds/linux",)).covers("linux")


def test_entries_that_cover_nothing_are_told_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "removed"
    path.write_text("# remark\njane/one\njoe/*\nlib/private/*\n", encoding="utf-8")
    removals = safety.read_removals([path])
    locations = [
        Location(name=name, version="", license="", root=tmp_path, aliases=aliases)
        for name, aliases in (("one", ("Jane/One",)), ("lib", ()))
    ]

    kept, matched = removals.apply(locations)

    assert [at.name for at in kept] == ["lib"]
    assert matched == {"jane/one"}
    assert removals.entry("lib", "private/a.py") == "lib/private/*"
    assert removals.unused(matched) == ["removed:3", "removed:4"]


def test_long_lists_are_looked_up_and_not_gone_through(tmp_path: Path) -> None:
    path = tmp_path / "l"
    hosts = "".join(f"url:host{i}.tld/a\nurl:one.tld/{i}\n" for i in range(50_000))
    path.write_text(hosts, encoding="utf-8")
    scanner = safety.read_unsafe_lists([path])
    removals = safety.Removals(patterns=tuple(f"owner{i}/name" for i in range(50_000)))
    start = time.process_time()

    text = "".join(f"https://www.host{i}.tld/b https://one.tld/x{i}\n" for i in range(2_000))
    assert scanner.scan(text) == ""
    assert scanner.scan(text + "http://one.tld/49999/") == "l: url"
    assert not any(removals.covers("lib", f"a/{i}.py") for i in range(2_000))

    assert time.process_time() - start < 15  # 30 s when every entry is tried


def test_the_fingerprint_changes_with_an_entry_and_not_with_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_text("a/b\n", encoding="utf-8")
    first = safety.fingerprint([path])
    path.write_text("# remark\na/b\n", encoding="utf-8")
    second = safety.fingerprint([path])
    path.write_text("a/c\n", encoding="utf-8")

    assert first == second
    assert safety.fingerprint([path]) != first
