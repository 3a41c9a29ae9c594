# SPDX-License-Identifier: Apache-2.0
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import read, table
from codegemma.data.document import Repository
from codegemma.errors import InputError

LIMITS = {"extensions": (".py",), "max_bytes": 1000}

STACK_V3 = [
    {
        "repo_path": "owner/one",
        "commit_id": "c1",
        "files": [
            {"file_path": "b.py", "content": "b\r\n", "detected_licenses": ["MIT", "Apache-2.0"]},
            {"file_path": "a.py", "content": "a\n", "detected_licenses": []},
            {"file_path": "LICENSE", "content": "MIT License", "detected_licenses": []},
            {"file_path": "../x.py", "content": "x\n", "detected_licenses": []},
            {"file_path": "a.py", "content": "again\n", "detected_licenses": []},
            {"file_path": "null.py", "content": None, "detected_licenses": []},
        ],
    },
    {"repo_path": "owner/two", "commit_id": "c2", "files": []},
]
FILE_A_ROW = [
    {"repo_name": "r/one", "path": "b.py", "content": "b\n", "license": "MIT"},
    {"repo_name": "r/two", "path": "z.py", "content": "z\n", "license": "GPL-3.0"},
    {"repo_name": "r/one", "path": "a.py", "content": "a\n", "license": None},
    {"repo_name": "r/one", "path": "big.py", "content": "#" * 1001, "license": None},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict[str, Any]], *, group: int = 2) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pq.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


def read_all(path: Path) -> list[tuple[Repository, dict[str, list[int]]]]:
    found = [read.read_repository(at, **LIMITS) for at in read.find_repositories([path])]
    return [(repository, ledger.rows) for repository, ledger in found]


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_a_row_of_the_stack_is_a_repository(write: Any, tmp_path: Path) -> None:
    suffix = ".jsonl" if write is jsonl else ".parquet"

    (one, dropped), (two, _) = read_all(write(tmp_path / f"stack{suffix}", STACK_V3))

    assert (one.name, one.version, one.license) == ("owner/one", "c1", "MIT")
    assert [(file.path, file.text) for file in one.files] == [("a.py", "a\n"), ("b.py", "b\n")]
    assert one.licenses == (("", "MIT"), ("b.py", "Apache-2.0 AND MIT"))
    assert dropped == {"path_outside": [1, 0], "duplicate_path": [1, 0], "row_damaged": [1, 0]}
    assert (two.name, two.files) == ("owner/two", ())


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("mit", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        (["bsd-3-clause", "MIT OR gpl-2.0"], "(MIT OR gpl-2.0) AND BSD-3-Clause"),
        ("gpl-3.0", "gpl-3.0"),
        ("Ask me first", "Ask me first"),
    ],
)
def test_licences_are_read_as_spdx_has_them(written: Any, read_as: str, tmp_path: Path) -> None:
    row = {"repo_name": "r", "path": "a.py", "content": "a\n", "license": written}

    ((found, _),) = read_all(jsonl(tmp_path / "x.jsonl", [row]))

    assert found.license == read_as


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_rows_of_files_are_grouped_by_repository(write: Any, tmp_path: Path) -> None:
    suffix = ".jsonl" if write is jsonl else ".parquet"

    (one, dropped), (two, _) = read_all(write(tmp_path / f"files{suffix}", FILE_A_ROW))

    assert [(file.path, file.text) for file in one.files] == [("a.py", "a\n"), ("b.py", "b\n")]
    assert (one.name, one.licenses) == ("r/one", (("b.py", "MIT"),))
    assert dropped == {"too_large": [1, 1001]}
    assert (two.name, two.license) == ("r/two", "GPL-3.0")


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_files_of_a_repository_are_grouped_over_the_tables_of_a_folder(
    write: Any, tmp_path: Path
) -> None:
    suffix = ".jsonl" if write is jsonl else ".parquet"
    more = [{"repo_name": "r/one", "path": "c.py", "content": "c\n", "license": "MIT"}]
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("# Files\n")
    tables = [
        write(folder / f"a{suffix}", FILE_A_ROW),
        write(folder / "sub" / f"b{suffix}", [*more, *more]),
    ]

    (one, dropped), (two, _) = read_all(folder)

    assert [file.path for file in one.files] == ["a.py", "b.py", "c.py"]
    assert dropped == {"too_large": [1, 1001], "duplicate_path": [1, 0]}
    assert (one.name, two.name, two.license) == ("r/one", "r/two", "GPL-3.0")
    named = read.find_repositories(tables)
    assert named == read.find_repositories([folder])
    sizes = [path.stat().st_size for path in tables]
    shares = read.sizes_bytes(named, extensions=(".py",))
    assert shares == [sizes[0] * 3 // 4 + sizes[1], sizes[0] // 4]


def test_repositories_of_one_name_in_two_tables_stay_apart(tmp_path: Path) -> None:
    tables = [jsonl(tmp_path / f"{name}.jsonl", STACK_V3[1:]) for name in "ab"]

    found = read.find_repositories(tables)

    assert [at.name for at in found] == ["owner/two", "owner/two~2"]


def test_tables_without_a_row_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")

    with pytest.raises(InputError, match=r"no repository was found in .*a\.jsonl"):
        read.find_repositories([tmp_path / "a.jsonl"])


def test_rows_are_read_in_any_order_from_many_row_groups(tmp_path: Path) -> None:
    rows = [{"repo": f"r{i}", "path": "a.py", "content": f"x = {i}\n"} for i in range(100)]
    path = parquet(tmp_path / "many.parquet", rows, group=37)
    places = read.find_repositories([path])

    for index in (0, 5, 4, 99, 36, 37, 38, 98, 1):
        repository, _ = read.read_repository(places[index], **LIMITS)
        assert repository.files[0].text == f"x = {index}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"repo": "r", "path": "a.py", "content": "x"}\n{"repo": "r", "pa',
            "byte 46 .* cut short",
        ),
        ("[1]\n", "byte 0 .* is no JSON object"),
        ('{"path": "a.py", "content": "x"}\n', "names no repository: expected one of repo_path"),
        ("[" * 100_000 + "\n", "byte 0 .* is no JSON"),
    ],
    ids=["cut", "list", "nameless", "nested"],
)
def test_a_damaged_table_is_refused_with_the_place(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=message):
        read.find_repositories([tmp_path / "x.jsonl"])


def test_a_row_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_ROW_BYTES", 100)

    with pytest.raises(InputError, match="over 100 bytes long"):
        read.find_repositories([jsonl(tmp_path / "x.jsonl", STACK_V3)])


def test_a_row_of_parquet_over_the_limit_is_refused_and_those_beside_it_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large one is found where it is decoded, or told by its group before it is."""
    rows = [{"repo_name": f"r{i}", "path": "a.py", "content": f"{i}" * 90} for i in range(4)]
    rows[2]["content"] = "".join(f"{i:x}" for i in range(1500))
    monkeypatch.setattr(table, "MAX_ROW_BYTES", 2500)

    together, alone = (parquet(tmp_path / f"{n}.parquet", rows, group=n) for n in (4, 1))

    for path, place in ((together, "row 2"), (alone, "one of rows 2 to 2")):
        for number in (0, 1, 3):
            assert table.read_row(path, number) == rows[number]
        with pytest.raises(InputError, match=f"^{place} of .* is over 2500 bytes long"):
            table.read_row(path, 2)


def test_rows_of_a_large_group_are_decoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"repo_name": f"r{i}", "content": "same " * 100} for i in range(20)]
    path = parquet(tmp_path / "x.parquet", rows, group=20)
    for limit, together in ((1 << 30, 16), (6000, 1)):
        monkeypatch.setattr(table, "MAX_ROW_BYTES", limit)
        cursor = table._Cursor(path)

        assert [cursor.row(place) for place in range(20)] == rows
        assert table._Cursor(path).row(0) == rows[0]
        fresh = table._Cursor(path)
        fresh.row(0)
        assert fresh._batch.num_rows == together


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense PAR1")

    with pytest.raises(InputError, match=r"x\.parquet is no Parquet file"):
        read.find_repositories([tmp_path / "x.parquet"])


def test_content_in_lone_surrogates_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"repo": "r", "path": "a.py", "content": "\\ud800"}\n', encoding="utf-8")

    ((found, dropped),) = read_all(path)

    assert (found.files, dropped) == ((), {"not_unicode": [1, 3]})


def compressed(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
        return path
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        file.write(text.encode())
    return path


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_compressed_tables_read_like_plain_ones(suffix: str, tmp_path: Path) -> None:
    rows = [
        {"repo": f"r{i % 3}", "path": f"{i:02}.py", "content": f"x = {i} # {'y' * 200}\n"}
        for i in range(60)
    ]
    plain = jsonl(tmp_path / "plain.jsonl", rows)
    packed = compressed(tmp_path / f"packed{suffix}", plain.read_text(encoding="utf-8"))

    assert read_all(packed) == read_all(plain)
    places = read.find_repositories([packed])
    for index in (2, 0, 1, 0):  # of which each begins before the end of the one before
        repository, _ = read.read_repository(places[index], **LIMITS)
        assert [file.path for file in repository.files] == [
            f"{i:02}.py" for i in range(index, 60, 3)
        ]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_compressed_table_cut_short_is_refused(suffix: str, tmp_path: Path) -> None:
    text = "".join(json.dumps({"repo": str(i * 7919), "content": "x"}) + "\n" for i in range(9999))
    packed = compressed(tmp_path / f"x{suffix}", text)
    packed.write_bytes(packed.read_bytes()[:-100])

    with pytest.raises(InputError, match=f"x{suffix} is damaged or was cut short"):
        read.find_repositories([packed])
