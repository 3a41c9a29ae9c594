# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from codegemma.data import read
from codegemma.data.document import File
from codegemma.errors import InputError

LIMITS = {"extensions": (".py",), "max_bytes": 1000}


def names(sources: list[Path], *, each: bool = False) -> list[tuple[str, str, str]]:
    found = read.find_repositories(sources, each=each)
    read_ones = [read.read_repository(at, **LIMITS)[0] for at in found]
    return [(one.name, one.version, one.license) for one in read_ones]


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def distribution(root: Path, name: str, metadata: str, files: dict[str, str]) -> None:
    folder = root / f"{name}-1.0.dist-info"
    for path, text in files.items():
        write(root / path, text)
    record = "".join(f"{path},,\n" for path in [*files, f"{folder.name}/METADATA"])
    write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}\n")
    write(folder / "RECORD", record)


def test_a_plain_folder_is_one_repository(repository_folder: Path) -> None:
    assert names([repository_folder / "shapes"]) == [("shapes", "", "MIT")]


def test_each_makes_every_child_a_repository(repository_folder: Path) -> None:
    assert names([repository_folder], each=True) == [("orders", "", "MIT"), ("shapes", "", "MIT")]


def test_a_folder_of_git_repositories_gives_those(repository_folder: Path) -> None:
    shapes = repository_folder / "shapes"
    git = ["git", "-C", str(shapes), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()

    assert names([repository_folder]) == [
        ("shapes", head, "MIT"),
        (repository_folder.name, "", ""),
    ]


def test_site_packages_gives_one_repository_per_distribution(tmp_path: Path) -> None:
    distribution(
        tmp_path, "Mine_Own", "License-Expression: MIT\n", {"mine/a.py": "a", "top.py": "b"}
    )
    distribution(tmp_path, "other", "License: GPL\n", {"other.py": "c", "../bin/other.py": "d"})

    found = read.find_repositories([tmp_path])

    assert [(at.name, at.version, at.license, at.paths) for at in found] == [
        ("mine-own", "1.0", "MIT", ("mine/a.py", "top.py")),
        ("other", "1.0", "", ("other.py",)),
    ]


def test_the_same_distribution_in_two_sources_is_read_once(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        distribution(tmp_path / folder, "same", "License-Expression: MIT", {"same.py": folder})

    (found,) = read.find_repositories([tmp_path / "one", tmp_path / "two"])

    assert found.root == tmp_path / "one"


def test_the_standard_library_is_recognised(tmp_path: Path) -> None:
    root = tmp_path / "python3.11"
    for name in ("os.py", "sysconfig.py", "site-packages/x/y.py", "test/test_os.py"):
        write(root / name, "x = 1\n")

    (found,) = read.find_repositories([root])
    repository, _ = read.read_repository(found, **LIMITS)

    assert (found.name, found.version, found.license) == ("cpython", "3.11", "PSF-2.0")
    assert [file.path for file in repository.files] == ["os.py", "sysconfig.py", "test/test_os.py"]


def test_a_source_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a folder, an archive .* or a table"):
        read.find_repositories([tmp_path / "nowhere"])


def test_files_are_read_in_path_order_and_only_by_extension(tmp_path: Path) -> None:
    for path in ("b.py", "a/z.py", "a/y.txt", ".hidden/c.py", "__pycache__/d.py"):
        write(tmp_path / path, "x\n")

    repository, ledger = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.path for file in repository.files] == ["a/z.py", "b.py"]
    assert ledger.rows == {"skipped_folder": [1, 0]}


def test_what_is_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "good.py", "x = 1\n")
    write(tmp_path / "nul.py", b"x\0y")
    write(tmp_path / "latin.py", b"caf\xe9\n")
    write(tmp_path / "large.py", b"x" * 1001)
    write(tmp_path / "pointer.py", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    write(tmp_path / "line\nbreak.py", "x = 1\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "good.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")

    repository, ledger = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.path for file in repository.files] == ["good.py"]
    assert ledger.rows == {
        "binary": [1, 3],
        "not_unicode": [1, 5],
        "too_large": [1, 1001],
        "lfs_pointer": [1, 56],
        "path_with_control_character": [1, 6],
        "symbolic_link": [2, 0],
    }


def test_a_folder_reached_by_a_link_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "inside" / "a.py", "x\n")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    repository, ledger = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.path for file in repository.files] == ["inside/a.py"]
    assert ledger.rows == {"linked_folder": [1, 0]}
    assert ledger.samples == {"linked_folder": [f"{tmp_path.name}/loop/"]}


@pytest.mark.parametrize(
    ("data", "text", "rule"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n", ""),
        (b"\xef\xbb\xbfa\n", "a\n", ""),
        ("é = 1\r\n".encode("utf-16"), "é = 1\n", ""),
        (b"a\x0cb\xe2\x80\xa8c\xc2\x85d\n", "a\x0cb\u2028c\x85d\n", ""),
        (b"\xff\xfeab\0", "", "binary"),
        (b"a\0b", "", "binary"),
        (b"\xe9", "", "not_unicode"),
        (b"", "", ""),
    ],
)
def test_line_ends_become_lf_and_nothing_else_changes(data: bytes, text: str, rule: str) -> None:
    assert read.decode(data)[:2] == (text, rule)


@pytest.mark.parametrize(
    ("data", "line_ends"),
    [
        (b"a\nb\n", "lf"),
        (b"a", "lf"),
        (b"a\r\nb\r\n", "crlf"),
        (b"a\rb\r", "cr"),
        (b"a\r\nb\n", "mixed"),
        (b"a\r\r\n", "mixed"),
        ("a\r\nb\r\n".encode("utf-16"), "crlf"),
    ],
)
def test_how_lines_ended_is_kept_with_the_file(data: bytes, line_ends: str, tmp_path: Path) -> None:
    write(tmp_path / "a.py", "")
    (tmp_path / "a.py").write_bytes(data)

    repository, _ = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.line_ends for file in repository.files] == [line_ends]


def test_paths_of_a_distribution_that_leave_the_folder_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "secret.py", "x\n")
    root = tmp_path / "site-packages"
    distribution(root, "evil", "License-Expression: MIT", {"evil.py": "x = 1\n"})
    (root / "a").mkdir()
    record = root / "evil-1.0.dist-info" / "RECORD"
    outside = f"a/../../secret.py,,\n{tmp_path / 'secret.py'},,\n"
    record.write_text(record.read_text(encoding="utf-8") + outside, encoding="utf-8")

    (found,) = read.find_repositories([root])
    repository, _ = read.read_repository(found, **LIMITS)

    assert repository.files == (File(path="evil.py", text="x = 1\n"),)


def test_two_folders_of_one_name_are_both_read_under_names_of_their_own(tmp_path: Path) -> None:
    for place in ("one", "two"):
        write(tmp_path / place / "same" / "a.py", f"x = '{place}'\n")

    sources = [tmp_path / "one" / "same", tmp_path / "two" / "same", tmp_path / "one" / "same"]

    assert [name for name, _, _ in names(sources)] == ["same", "same~2"]


def test_a_licence_file_holds_for_its_folder(repository_folder: Path) -> None:
    shapes = repository_folder / "shapes"
    write(shapes / "vendored" / "COPYING", "GNU GENERAL PUBLIC LICENSE\nVersion 3")
    write(shapes / "odd" / "LICENSE", "Ask me.")
    write(shapes / "web" / "package.json", '{"license": "ISC"}')

    repository, _ = read.read_repository(*read.find_repositories([shapes]), **LIMITS)

    assert repository.license == "MIT"
    assert repository.licenses == (
        ("", "MIT"),
        ("odd", "LicenseRef-unknown"),
        ("vendored", "GPL-2.0-or-later"),
        ("web", "ISC"),
    )


def test_what_the_metadata_declares_outweighs_a_text_nobody_knows(tmp_path: Path) -> None:
    distribution(
        tmp_path, "own", "License-Expression: MIT\n", {"own/a.py": "a", "own/LICENSE": "Ask me."}
    )

    repository, _ = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert repository.licenses == (("", "MIT"),)


def test_a_path_that_is_no_unicode_is_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "good.py", "x = 1\n")
    with open(bytes(tmp_path) + b"/caf\xe9.py", "wb") as file:  # noqa: PTH123  # a name in bytes
        file.write(b"x = 1\n")

    repository, ledger = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.path for file in repository.files] == ["good.py"]
    assert ledger.rows == {"path_not_unicode": [1, 6]}


def test_a_repository_is_read_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_REPOSITORY_BYTES", 15)
    for name in "abc":
        write(tmp_path / f"{name}.py", "x = 1\n")

    repository, ledger = read.read_repository(*read.find_repositories([tmp_path]), **LIMITS)

    assert [file.path for file in repository.files] == ["a.py", "b.py"]
    assert ledger.rows == {"repository_over_limit": [1, 6]}


def test_a_distribution_is_known_by_the_repository_of_its_source(tmp_path: Path) -> None:
    metadata = (
        "License-Expression: MIT\n"
        "Project-URL: Source, https://github.com/Jane/one/tree/main\n"
        "Project-URL: Sponsor, https://github.com/sponsors/jane\n"
        "Project-URL: Homepage, https://one.readthedocs.io/en/latest\n"
    )
    distribution(tmp_path, "one", metadata, {"one.py": "c"})

    (location,) = read.find_repositories([tmp_path])

    assert location.aliases == ("Jane/one",)


def test_a_second_repository_of_one_name_is_still_known_by_it(tmp_path: Path) -> None:
    for folder in ("a/lib", "b/lib"):
        write(tmp_path / folder / "x.py", "x = 1\n")

    found = read.find_repositories([tmp_path / "a/lib", tmp_path / "b/lib", tmp_path / "b/lib"])

    assert [(at.name, at.aliases) for at in found] == [("lib", ()), ("lib~2", ("lib",))]


def test_names_that_cannot_be_written_are_read_all_the_same(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    write(Path(os.fsdecode(folder)) / "a.py", "x = 1\n")
    row = {
        "repo_name": "a\ud800b",
        "commit_id": "\udfff",
        "files": [{"path": "a.py", "content": "y", "license": "MIT\ud800"}],
    }
    write(tmp_path / "t.jsonl", json.dumps(row) + "\n")

    sources = [Path(os.fsdecode(folder)), tmp_path / "t.jsonl"]
    repositories = [read.read_repository(at, **LIMITS)[0] for at in read.find_repositories(sources)]

    told = [(one.name, one.version, dict(one.licenses)) for one in repositories]
    assert told == [("caf\ufffd", "", {}), ("a\ufffdb", "\ufffd", {"a.py": "MIT\ufffd"})]
    assert [len(one.files) for one in repositories] == [1, 1]


def test_what_is_left_out_is_counted_by_language_with_a_path_that_names_nobody(
    tmp_path: Path,
) -> None:
    root = tmp_path / "mine"
    for path in ("nul.py", "jane@doe.org/nul.py", "a/nul.py"):
        write(root / path, b"\0")
    write(root / "latin.js", b"caf\xe9")
    for path in (".tox/x.py", "a/node_modules/b/c.js", "a/node_modules/d.js", "a/__pycache__/e.py"):
        write(root / path, "x = 1\n")
    write(root / "a" / "ok.py", "x = 1\n")
    (location,) = read.find_repositories([root])

    repository, ledger = read.read_repository(
        location, extensions=(".py", ".js"), max_bytes=1000, languages=("python", "javascript")
    )

    assert [file.path for file in repository.files] == ["a/ok.py"]
    assert ledger.rows == {"binary": [3, 3], "not_unicode": [1, 4], "skipped_folder": [2, 0]}
    assert ledger.languages == {
        "binary": {"python": [3, 3]},
        "not_unicode": {"javascript": [1, 4]},
    }
    assert {rule: sorted(paths) for rule, paths in ledger.samples.items()} == {
        "binary": ["mine/a/nul.py", "mine/nul.py"],
        "not_unicode": ["mine/latin.js"],
        "skipped_folder": ["mine/.tox/", "mine/a/node_modules/"],
    }


def test_the_rows_of_a_table_and_the_folders_of_an_archive_have_their_share_of_its_bytes(
    tmp_path: Path,
) -> None:
    table = tmp_path / "t.jsonl"
    rows = [
        {"repo_name": name, "path": f"{i}.py", "content": "x = 1\n"}
        for i, name in enumerate("aaab")
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for name in ("c/1.py", "d/1.py", "d/2.py", "d/3.py"):
            out.writestr(name, "x = 1\n")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a.py").write_text("x = 1\n")
    found = read.find_repositories([table], each=True)
    found += read.find_repositories([archive], each=True)
    found += read.find_repositories([tmp_path / "e"])

    sizes = read.sizes_bytes(found, extensions=(".py",))

    whole, packed = table.stat().st_size, archive.stat().st_size
    assert [at.name for at in found] == ["a", "b", "c", "d", "e"]
    assert sizes == [whole * 3 // 4, whole // 4, packed // 4, packed * 3 // 4, 6]


def test_of_several_in_a_folder_a_broken_one_is_told_and_the_others_are_given(
    repository_folder: Path,
) -> None:
    (repository_folder / "broken" / ".git").mkdir(parents=True)
    (repository_folder / "broken" / "a.py").write_text("x = 1\n", encoding="utf-8")
    (repository_folder / "cut.zip").write_bytes(b"PK\x03\x04 no more")
    found = read.find_repositories([repository_folder], each=True)

    assert [(at.name, at.is_part, bool(at.fault)) for at in found] == [
        ("broken", True, True),
        ("cut", True, True),
        ("orders", True, False),
        ("shapes", True, False),
    ]
    assert "git cannot read the commit of" in found[0].fault
    assert "cut.zip cannot be read" in found[1].fault
    assert read.sizes_bytes(found, extensions=(".py",))[:2] == [0, 0]
    with pytest.raises(InputError, match=r"git cannot read the commit of .*broken"):
        read.read_repository(found[0], extensions=(".py",), max_bytes=100)
    with pytest.raises(InputError, match=r"git cannot read the commit of .*broken"):
        read.find_repositories([repository_folder / "broken"])


def test_where_all_in_a_folder_are_broken_the_first_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / ".git").mkdir(parents=True)

    with pytest.raises(InputError, match=r"git cannot read the commit of .*a: "):
        read.find_repositories([tmp_path], each=True)
