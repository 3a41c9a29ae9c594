# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from codegemma.data import archive, read
from codegemma.data.document import Repository
from codegemma.errors import InputError

LIMITS = {"extensions": (".py",), "max_bytes": 1000}
FILES = {"lib-1.0/LICENSE": b"MIT License", "lib-1.0/b.py": b"b\r\n", "lib-1.0/a.py": b"a\n"}


def tar(path: Path, files: dict[str, bytes], *links: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:  # pyright: ignore[reportCallIssue, reportArgumentType]  # a literal
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, kind in links:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            out.addfile(info)
    return path


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def read_one(path: Path) -> tuple[Repository, dict[str, list[int]]]:
    (location,) = read.find_repositories([path])
    repository, ledger = read.read_repository(location, **LIMITS)
    return repository, ledger.rows


def zstd(path: Path, plain: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        file.write(plain.read_bytes())
    return path


def test_an_archive_that_zstandard_compressed_is_read_and_its_end_missed(tmp_path: Path) -> None:
    plain = tar(tmp_path / "plain.tar", FILES | {"lib-1.0/c.py": bytes(range(1, 250)) * 3})
    packed = zstd(tmp_path / "lib-1.0.tar.zst", plain)
    found, _ = read_one(packed)
    assert [file.path for file in found.files] == ["a.py", "b.py"]

    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"lib-1\.0\.tar\.zst cannot be read"):
        read.find_repositories([packed])


def test_a_bomb_that_zstandard_made_is_not_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_LEAST_LIMIT", 1 << 20)
    files = {"a.py": b"a\n", "zeros.bin": bytes(30 << 20), "z.py": b"z\n"}

    found, dropped = read_one(zstd(tmp_path / "b.tar.zst", tar(tmp_path / "b.tar", files)))

    assert [file.path for file in found.files] == ["a.py"]
    assert dropped == {"archive_over_limit": [1, 0]}


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip", "whl"])
def test_an_archive_is_a_repository_without_its_top_folder(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"lib-1.0.{suffix}"
    mode = {"tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(suffix, "w")
    made = packed(path, FILES) if suffix in ("zip", "whl") else tar(path, FILES, mode=mode)

    found, dropped = read_one(made)

    assert (found.name, found.license, dropped) == ("lib-1.0", "MIT", {})
    assert [(file.path, file.text) for file in found.files] == [("a.py", "a\n"), ("b.py", "b\n")]


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize("name", ["lib-1.0.tar", "lib-1.0.zip"])
def test_a_tar_that_ends_with_a_zip_is_no_zip(name: str, tmp_path: Path) -> None:
    inner = zipped({"inner/evil.py": b"x = 1\n"})

    found, dropped = read_one(tar(tmp_path / name, FILES | {"lib-1.0/tests/data.zip": inner}))

    assert [file.path for file in found.files] == ["a.py", "b.py"]
    assert dropped == {}


def test_a_zip_behind_a_program_is_one(tmp_path: Path) -> None:
    (tmp_path / "tool.jar").write_bytes(b"#!/bin/sh\nexec java -jar $0\n" + zipped(FILES))

    assert [file.path for file in read_one(tmp_path / "tool.jar")[0].files] == ["a.py", "b.py"]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_leaves_the_others(method: int, tmp_path: Path) -> None:
    text = "".join(f"x_{i} = {i * 7919 % 104729}\n" for i in range(60)).encode()
    data = bytearray(zipped({"a.py": text, "b.py": b"b\n"}, method=method))
    begin = 30 + len("a.py") + 20
    data[begin : begin + 40] = b"\xff" * 40
    (tmp_path / "x.zip").write_bytes(bytes(data))

    found, dropped = read_one(tmp_path / "x.zip")

    assert [file.path for file in found.files] == ["b.py"]
    assert dropped == {"unreadable": [1, len(text)]}


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_damage_to_the_stream_of_a_tar_is_told(mode: str, tmp_path: Path) -> None:
    text = "".join(f"x_{i} = {i * 7919 % 104729}\n" for i in range(40)).encode()
    path = tar(tmp_path / "x.tar", {f"{i}.py": text for i in range(300)}, mode=mode)
    (location,) = read.find_repositories([path])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))

    _, ledger = read.read_repository(location, **LIMITS)

    assert ledger.rows["archive_damaged"] == [1, 0]


def test_a_damaged_header_in_a_tar_is_no_end_of_it(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {"a.py": b"a\n", "b.py": b"b\n", "c.py": b"c\n"})
    (location,) = read.find_repositories([path])
    data = bytearray(path.read_bytes())
    data[1024:1100] = b"\xff" * 76
    path.write_bytes(bytes(data))

    found, ledger = read.read_repository(location, **LIMITS)

    assert [file.path for file in found.files] == ["a.py"]
    assert ledger.rows == {"archive_damaged": [1, 0]}


def test_each_folder_at_the_top_is_a_repository_when_asked(tmp_path: Path) -> None:
    path = packed(tmp_path / "all.zip", FILES | {"other/c.py": b"c\n", "README": b""})

    found = read.find_repositories([path], each=True)

    assert [(at.name, at.member) for at in found] == [("lib-1.0", "lib-1.0/"), ("other", "other/")]
    assert [at.name for at in read.find_repositories([path])] == ["all"]


def many(path: Path, *, folders: int) -> Path:
    files = {
        f"r{i}/{name}": f"x = {i}\n".encode() for i in range(folders) for name in ("a.py", "b.py")
    }
    return packed(path, files) if path.suffix == ".zip" else tar(path, files, mode="w:gz")


@pytest.mark.parametrize("name", ["all.zip", "all.tar.gz"])
def test_the_folders_of_an_archive_are_read_in_one_pass(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = archive._members
    monkeypatch.setattr(
        archive,
        "_members",
        lambda path: (seen.append(member[0]) or member for member in real(path)),
    )
    found = read.find_repositories([many(tmp_path / name, folders=50)], each=True)
    assert (len(found), len(seen)) == (50, 100)

    texts = [file.text for at in found for file in read.read_repository(at, **LIMITS)[0].files]

    assert texts == [f"x = {i}\n" for i in range(50) for _ in "ab"]
    assert len(seen) == 200


@pytest.mark.parametrize("name", ["all.zip", "all.tar.gz"])
def test_the_folders_of_an_archive_may_be_read_in_any_order_and_side_by_side(
    name: str, tmp_path: Path
) -> None:
    found = read.find_repositories([many(tmp_path / name, folders=4)], each=True)
    one, other = (archive.blobs(at, wanted=bool, max_bytes=99) for at in found[1:3])
    assert [next(one).data, next(other).data, next(other).data] == [b"x = 1\n", *[b"x = 2\n"] * 2]
    assert [len([*other]), next(one).path, len([*one])] == [0, "b.py", 0]

    for place in (3, 0, 0, 2, 1):
        (first, second) = read.read_repository(found[place], **LIMITS)[0].files
        assert first.text == second.text == f"x = {place}\n"


def test_folders_that_lie_in_one_another_s_midst_are_told_apart(tmp_path: Path) -> None:
    files = {"a/1.py": b"a\n", "b/1.py": b"b\n", "../x.py": b"", "a/2.py": b"a\n", "b/2.py": b"b\n"}
    found = read.find_repositories([tar(tmp_path / "x.tar", files | {"/y.py": b""})], each=True)

    read_ones = [read.read_repository(at, **LIMITS) for at in found]

    assert [at.name for at in found] == ["a", "b"]
    assert [[f.text for f in r.files] for r, _ in read_ones] == [["a\n"] * 2, ["b\n"] * 2]
    assert [ledger.rows for _, ledger in read_ones] == [
        {"path_outside": [1, 0]},
        {"path_outside": [2, 0]},
    ]


def test_an_archive_that_changed_is_not_read_on_from_where_it_was(tmp_path: Path) -> None:
    path = many(tmp_path / "all.tar.gz", folders=3)
    found = read.find_repositories([path], each=True)
    read.read_repository(found[0], **LIMITS)
    many(path, folders=30)

    assert read.read_repository(found[1], **LIMITS)[0].files[0].text == "x = 1\n"


def test_a_folder_of_archives_gives_them_when_asked(tmp_path: Path) -> None:
    tar(tmp_path / "one.tar", FILES)
    packed(tmp_path / "two.zip", FILES)

    assert [at.name for at in read.find_repositories([tmp_path], each=True)] == ["one", "two"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_paths_that_lead_outside_and_second_copies_are_counted_and_nothing_is_written(
    kind: str, tmp_path: Path
) -> None:
    evil = {"../out.py": b"x\n", "/abs.py": b"x\n", "a/../../b.py": b"x\n", "ok.py": b"x\n"}
    folder = tmp_path / "in"
    folder.mkdir()
    if kind == "tar":
        path = tar(
            folder / "evil.tar", evil, ("link.py", tarfile.SYMTYPE), ("p.py", tarfile.FIFOTYPE)
        )
    else:
        path = packed(folder / "evil.zip", evil)

    found, dropped = read_one(path)

    assert [file.path for file in found.files] == ["ok.py"]
    more = {"symbolic_link": [1, 0], "not_a_file": [1, 0]} if kind == "tar" else {}
    assert dropped == {"path_outside": [3, 0], **more}
    assert [item.name for item in tmp_path.rglob("*")] == ["in", path.name]


def test_of_two_members_with_one_path_the_first_stays(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        for data in (b"first\n", b"second\n"):
            info = tarfile.TarInfo("a.py")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))

    found, dropped = read_one(tmp_path / "x.tar")

    assert [file.text for file in found.files] == ["first\n"]
    assert dropped == {"duplicate_path": [1, 0]}


def test_a_large_member_is_not_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.py": b"#" * 1001, "b.py": b"b\n"})

    found, dropped = read_one(path)

    assert [file.path for file in found.files] == ["b.py"]
    assert dropped == {"too_large": [1, 1001]}


def test_a_member_that_lies_about_its_size_is_read_to_the_limit_alone(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.py": b"#" * 100_000})
    data = path.read_bytes()
    size = (100_000).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (10).to_bytes(4, "little")))

    found, dropped = read_one(path)

    assert not found.files or len(found.files[0].text) <= 1000
    assert sum(count for count, _ in dropped.values()) + len(found.files) == 1


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_bomb_ends_the_reading_early(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_LEAST_LIMIT", 1 << 20)
    files = {"a.py": b"a\n", "zeros.bin": bytes(30 << 20), "z.py": b"z\n"}
    if kind == "tar":
        path = tar(tmp_path / "bomb.tar.gz", files, mode="w:gz")
    else:
        path = packed(tmp_path / "bomb.zip", files)
    assert path.stat().st_size < 100_000

    found, dropped = read_one(path)

    assert [file.path for file in found.files] == ["a.py"]
    assert dropped == {"archive_over_limit": [1, 0]}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_what_is_no_archive_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not an archive" * 100)

    with pytest.raises(InputError, match=f"{name} cannot be read"):
        read.find_repositories([tmp_path / name])


def test_an_archive_cut_short_gives_what_is_whole_or_is_refused(tmp_path: Path) -> None:
    files = {f"{i}.py": f"x = {i}\n".encode() * 20 for i in range(200)}
    whole = tar(tmp_path / "w.tar.gz", files, mode="w:gz").read_bytes()
    path = tmp_path / "cut.tar.gz"
    for size in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:size])
        try:
            found, _ = read_one(path)
        except InputError:
            continue
        assert all(file.text == files[file.path].decode() for file in found.files)


def test_an_encrypted_member_is_counted(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {"a.py": b"a\n", "b.py": b"b\n"})
    data = bytearray(path.read_bytes())
    local, central = data.find(b"PK\x03\x04"), data.find(b"PK\x01\x02")
    data[local + 6] |= 1
    data[central + 8] |= 1
    path.write_bytes(bytes(data))

    found, dropped = read_one(path)

    assert [file.path for file in found.files] == ["b.py"]
    assert dropped == {"unreadable": [1, 2]}


def test_gzip_of_gzip_is_not_followed(tmp_path: Path) -> None:
    inner = tar(tmp_path / "in.tar.gz", {"a.py": b"a\n"}, mode="w:gz").read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(inner))

    with pytest.raises(InputError, match="cannot be read"):
        read.find_repositories([tmp_path / "x.tar.gz"])
