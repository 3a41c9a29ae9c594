# SPDX-License-Identifier: Apache-2.0
"""What may happen to a run of `codegemma prepare`, each as it happens: real processes and disks.

Hostile sources, code that strains the parser, kill -9, a full disk, planted secrets and benchmark
solutions, two runs in one folder; and that workers and machines change no byte.
"""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from codegemma.data import pipeline, recipes
from codegemma.data.engine import Cluster
from codegemma.data.loader import ShardReader
from codegemma.data.pipeline import Settings

PACKAGE = Path(pipeline.__file__).parents[1]
TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"
NUM_REPOSITORIES = 12

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def code(name: str, *, functions: int = 4) -> str:
    """Code that is like no other's."""
    rng = random.Random(name)

    def word() -> str:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9))

    return "".join(
        f"def {word()}({word()}, value):\n    {word()} = value + {word()}.{word()}\n"
        f"    return {word()}({word()}) if value else '{word()} {word()}'\n\n\n"
        for _ in range(functions)
    )


def write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Twelve repositories of this project's own modules, each file with something of its own."""
    modules = [path for path in sorted((PACKAGE / "data").glob("*.py")) if path.stat().st_size]
    folder = tmp_path / "sources"
    for number in range(NUM_REPOSITORIES):
        write(folder / f"r{number}" / "LICENSE", "MIT License")
        for module in modules[number::NUM_REPOSITORIES]:
            text = module.read_text(encoding="utf-8") + code(f"r{number}_{module.stem}")
            write(folder / f"r{number}" / "pkg" / module.name, text)
    return folder


def arguments(sources: Path, out: Path, *more: str) -> list[str]:
    words = ["prepare", str(sources), "--each", "--out", str(out), "--model", str(TOKENIZER)]
    return [sys.executable, "-m", "codegemma", *words, "--holdout-fraction", "0.2", "--json", *more]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "CODEGEMMA_BENCHMARKS"}
    return kept | {"CODEGEMMA_CACHE": str(tmp_path / "cache")}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def prepare(sources: Path, out: Path, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {"recipe": recipes.tiny(), "each": True} | changes
    settings = Settings(sources=(sources,), tokenizer_file=TOKENIZER, **values)
    return pipeline.prepare(settings, out=out)


def hostile_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("LICENSE", "MIT License")
        file.writestr("good.py", code("zipped"))
        file.writestr("../outside.py", code("outside"))
        file.writestr("/absolute.py", code("absolute"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("good.py", code("second"))
        file.writestr("bomb.py", b"a" * 50_000_000)


def hostile_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as file:
        for name, data in {
            "LICENSE": b"MIT License",
            "good.py": code("tarred").encode(),
            "../../escaped.py": code("escaped").encode(),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
        for name, kind, target in (
            ("link.py", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.py", tarfile.LNKTYPE, "../../escaped.py"),
            ("device.py", tarfile.CHRTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            file.addfile(entry)


def test_hostile_sources_are_skipped_and_counted_and_nothing_is_written_outside(
    tmp_path: Path,
) -> None:
    """Fault 34."""
    place = tmp_path / "deep" / "sources"
    plain = place / "plain"
    write(plain / "LICENSE", "MIT License")
    write(plain / "good.py", code("good"))
    write(plain / "wide.py", code("wide").encode("utf-16"))
    write(plain / "ends.py", code("ends").replace("\n", "\r\n").replace("\r\n", "\r", 3))
    write(plain / "nul.py", b"x = 1\n\0")
    write(plain / "latin.py", "name = 'caf\u00e9'\n".encode("latin-1"))
    write(plain / "large.py", b"")
    os.truncate(plain / "large.py", 1 << 30)  # a line of a gigabyte that takes no room
    write(plain / "pointer.py", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (plain / "loop").symlink_to(plain, target_is_directory=True)
    (plain / "self.py").symlink_to("self.py")
    os.mkfifo(plain / "pipe.py")
    hostile_zip(place / "zipped.zip")
    hostile_tar(place / "tarred.tar.gz")
    before = {path for path in tmp_path.rglob("*") if path != place}

    manifest = prepare(place, tmp_path / "deep" / "out")

    files = sorted(
        (file.origin, file.path, file.text)
        for part in ("train", "heldout")
        for record in ShardReader(tmp_path / "deep" / "out", part)
        for file in record.files
    )
    assert [(origin, path) for origin, path, _ in files] == [
        ("plain:1", "ends.py"),
        ("plain:1", "good.py"),
        ("plain:1", "wide.py"),
        ("tarred:1", "good.py"),
        ("zipped:1", "good.py"),
    ]
    assert files[0][2] == code("ends")
    assert files[2][2] == code("wide")
    read = {rule: row["files"] for rule, row in manifest["dropped"]["read"].items()}
    assert read == {
        "binary": 1,
        "duplicate_path": 1,
        "lfs_pointer": 1,
        "linked_folder": 1,
        "not_a_file": 2,
        "not_unicode": 1,
        "path_outside": 3,
        "symbolic_link": 3,
        "too_large": 2,
    }
    after = {path for path in tmp_path.rglob("*") if tmp_path / "deep" / "out" not in path.parents}
    assert after - before == {place, tmp_path / "deep" / "out"} - before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".py", "x = " + "(" * 150_000 + ")" * 150_000 + "\n"),
        (".py", "".join(" " * depth + "if x:\n" for depth in range(1200))),
        (".java", "class A { int x = " + "(" * 150_000 + "1" + ")" * 150_000 + "; }\n"),
        (".js", "[" * 300_000 + "\n"),
        (".go", "package a\nfunc f() {\n" + "{\n" * 100_000),
        (".cpp", "A<" * 150_000 + "\n"),
        (".rs", "fn f() { " + "match x { " * 40_000 + "\n"),
        (".ts", "type A = " + "{a:" * 100_000 + "\n"),
        (".py", "def f(:\n    return ]\n" * 20_000),
    ],
    ids=["brackets", "blocks", "java", "js", "go", "cpp", "rust", "ts", "errors"],
)
def test_code_that_strains_the_parser_ends_and_costs_no_other_file(
    suffix: str, text: str, tmp_path: Path
) -> None:
    """Fault 35: the bounds are parser steps, so the answer is the same everywhere.

    Without bounds one of these takes longer than any test may.
    """
    folder = tmp_path / "mine"
    wrapped = "\n".join(text[i : i + 80] for i in range(0, len(text), 80))  # no long lines
    write(folder / "deep" / f"bad{suffix}", text)
    write(folder / "deep" / f"wrapped{suffix}", wrapped)
    write(folder / "good.py", code("good"))

    recipe = recipes.codegemma_2b()
    manifest = prepare(tmp_path, tmp_path / "o", recipe=recipe_of_all(recipe))

    paths = [file.path for record in ShardReader(tmp_path / "o") for file in record.files]
    assert "good.py" in paths
    kept = len({path for path in paths if path != "good.py"})
    assert kept + sum(row["files"] for row in manifest["dropped"]["filter"].values()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_the_parser_costs_itself_alone(
    workers: int, tmp_path: Path, environment: dict[str, str], dying_parser: Path
) -> None:
    """Fault 35: the parser here dies of a mark, with its process.

    Of several workers one dies, and the run goes on by itself; where there is one it is the run,
    and the next one goes on.
    """
    deadly = environment | {"PYTHONPATH": str(dying_parser)}
    sources = tmp_path / "sources"
    for name in ("r0", "r1", "r2", "r3"):
        write(sources / name / "LICENSE", "MIT License")
        write(sources / name / "a.py", code(name))
    bad = sources / "r3" / "bad.py"
    write(bad, code("bad") + "NOTE = 'kill the parser'\n")
    words = arguments(sources, tmp_path / "a", "--workers", str(workers))

    ran = [subprocess.run(words, env=deadly, capture_output=True, text=True, check=False)]
    if workers == 1:
        assert ran[0].returncode == -signal.SIGSEGV
        ran.append(subprocess.run(words, env=deadly, capture_output=True, text=True, check=False))

    assert ran[-1].returncode == 0, ran[-1].stderr
    dropped = json.loads(ran[-1].stdout)["dropped"]["filter"]
    assert dropped == {"syntax_errors": {"files": 1, "bytes": bad.stat().st_size}}
    bad.unlink()
    subprocess.run(arguments(sources, tmp_path / "b"), env=environment, check=True)
    one, other = (contents(tmp_path / name / "shards") for name in ("a", "b"))
    assert one == other


def recipe_of_all(recipe: recipes.DataRecipe) -> recipes.DataRecipe:
    import dataclasses

    return dataclasses.replace(recipe, permissive_only=False)


def stages_of(out: Path) -> list[str]:
    partial = out / ".partial"
    return [
        name
        for name, pattern in (
            ("first inspected", "inspect/*"),
            ("first packed", "pack/*"),
            ("shards begun", "shards/*"),
            ("report", "report.json"),
        )
        if any(partial.glob(pattern))
    ]


@pytest.mark.slow
def test_a_run_killed_at_any_moment_and_started_again_gives_the_same_bytes(
    sources: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Fault 36."""
    whole = tmp_path / "whole"
    subprocess.run(arguments(sources, whole), env=environment, check=True, capture_output=True)
    expected = contents(whole)
    title = b"<h1>Data set whole</h1>"
    out = tmp_path / "out"
    command = arguments(sources, out, "--workers", "2")
    killed: list[str] = []
    for moment in ("first inspected", "first packed", "shards begun", "", "report"):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        limit = time.monotonic() + 60
        while process.poll() is None and moment and moment not in stages_of(out):
            assert time.monotonic() < limit
            time.sleep(0.02)
        if not moment:
            time.sleep(1.0)
        if process.poll() is None:
            process.kill()
            killed.append(moment)
        process.wait()
        if (out / "manifest.json").exists():
            shutil.rmtree(out)  # it was quicker than the look at it: begin again
    assert len(killed) >= 3

    subprocess.run(command, env=environment, check=True, capture_output=True)
    found = contents(out)
    found["report.html"] = found["report.html"].replace(b"<h1>Data set out</h1>", title)
    found["report.html"] = found["report.html"].replace(
        b"Data set out: audit", b"Data set whole: audit"
    )
    assert found == expected


@pytest.mark.slow
def test_one_two_and_eight_workers_give_the_same_bytes(sources: Path, tmp_path: Path) -> None:
    made = []
    for workers in (1, 2, 8):
        out = tmp_path / str(workers)
        prepare(sources, out, cluster=Cluster(workers=workers))
        made.append(contents(out))

    assert made[0] == made[1] == made[2]
    assert len(json.loads(made[0]["manifest.json"])["repositories"]) == NUM_REPOSITORIES


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_and_processes_give_the_same_bytes(
    sources: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'codegemma[cluster]'")
    for number in range(4, NUM_REPOSITORIES):  # Ray starts a process for every task
        shutil.rmtree(sources / f"r{number}")
    local, ray = tmp_path / "local" / "out", tmp_path / "ray" / "out"
    subprocess.run(arguments(sources, local), env=environment, check=True, capture_output=True)
    command = arguments(sources, ray, "--executor", "ray", "--workers", "2")

    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    assert json.loads(ran.stdout)["totals"]["train"]["records"] > 0
    assert "datatrove" not in ran.stderr
    assert contents(ray) == contents(local)


@pytest.mark.slow
def test_a_full_disk_stops_a_run_with_one_line_and_it_goes_on(
    sources: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Fault 37, on a small file system in memory that is given room after."""
    unshare = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here: unshare --mount --map-root-user")
    whole = tmp_path / "whole"
    subprocess.run(arguments(sources, whole), env=environment, check=True, capture_output=True)
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = """
        set -u
        disk=$1; kept=$2; shift 2
        mount -t tmpfs -o size=128k tmpfs "$disk" || exit 90
        "$@"; echo "status $?"
        ls -A "$disk/whole"
        mount -o remount,size=64m "$disk" || exit 91
        "$@" >/dev/null; echo "status $?"
        cp -r "$disk/whole" "$kept"
    """
    command = ["sh", "-c", script, "sh", str(disk), str(kept), *arguments(sources, disk / "whole")]

    ran = subprocess.run([*unshare, *command], env=environment, capture_output=True, text=True)

    lines = ran.stderr.splitlines()
    assert lines[0] == (
        f"codegemma: the disk of {disk / 'whole'} is full; make room and run the same command "
        "again: it goes on where it stopped"
    )
    assert ran.stdout.split("\n")[0] == "status 2"
    assert "manifest.json" not in ran.stdout.split("status")[1]
    assert ran.stdout.rstrip().endswith("status 0")
    assert contents(kept) == contents(whole)


def test_planted_secrets_people_and_benchmark_solutions_are_all_found(tmp_path: Path) -> None:
    """Fault 38."""
    solution = (
        "def close_pairs(numbers, threshold):\n    for left, first in enumerate(numbers):\n"
        "        for right, second in enumerate(numbers):\n            if left != right:\n"
        "                if abs(first - second) < threshold:\n                    return True\n"
        "    return False\n"
    )
    benchmark = tmp_path / "set.jsonl"
    commented = solution.replace("):\n", '):\n    """Find neighbours."""\n', 1)
    commented = commented.replace("\n", "  # with care\n")
    rows = [{"prompt": "", "canonical_solution": text} for text in (solution, commented)]
    write(benchmark, "".join(json.dumps(row) + "\n" for row in rows))
    rng = random.Random(38)
    letters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"
    draw = lambda size: "".join(rng.choices(letters, k=size))  # noqa: E731
    canaries = {
        "aws": "AKIA" + draw(16).upper(),
        "github": "ghp_" + draw(36),
        "slack": f"xoxb-{rng.randrange(10**11)}-{draw(24)}",
        "google": "AIza" + draw(35),
        "password": draw(10) + "7!aZ" + draw(6),
        "url": draw(14),
        "mail": f"{draw(8).lower()}@corp-{draw(6).lower()}.com",
        "address": "81.169.145.77",
        "author": "Wilhelmina Quastenberg",
    }
    planted = (
        f"# Author: {canaries['author']}\n"
        f"KEY = '{canaries['aws']}'\nGITHUB = '{canaries['github']}'\n"
        f"SLACK = '{canaries['slack']}'\nMAPS = '{canaries['google']}'\n"
        f"password = '{canaries['password']}'\n"
        f"DB = 'postgres://app:{canaries['url']}@db.internal/x'\n"
        f"MAIL = '{canaries['mail']}'\nHOST = '{canaries['address']}'\n"
    )
    folder = tmp_path / "sources" / "mine"
    write(folder / "LICENSE", "MIT License")
    write(folder / "secrets.py", code("head") + planted + code("tail"))
    write(folder / "verbatim.py", code("one") + solution)
    write(folder / "indented.py", code("two") + "class A:\n\t" + solution.replace("\n", "\n\t"))
    write(folder / "commented.py", code("three") + commented)
    write(folder / "clean.py", code("four"))
    out = tmp_path / "out"

    manifest = prepare(tmp_path / "sources", out, benchmarks=(benchmark,))

    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    texts = {file.path: file.text for record in ShardReader(out) for file in record.files}
    assert sorted(texts) == ["clean.py", "secrets.py"]
    assert [kind for kind, value in canaries.items() if value in texts["secrets.py"]] == []
    compile(texts["secrets.py"], "secrets.py", "exec")
    assert report["redacted"] == {"email": 1, "ip": 1, "key": 6, "name": 1}
    assert sorted(hit["file"] for hit in report["contamination"]) == [
        "mine/commented.py",
        "mine/indented.py",
        "mine/verbatim.py",
    ]
    assert sum(row["files"] for row in manifest["dropped"]["contamination"].values()) == 3
    everything = b"".join(contents(out).values())
    assert [kind for kind, value in canaries.items() if value.encode() in everything] == []


@pytest.mark.slow
def test_a_second_process_on_the_same_folder_stops_with_a_line(
    sources: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Fault 39."""
    out = tmp_path / "out"
    first = subprocess.Popen(
        arguments(sources, out), env=environment, stdout=subprocess.PIPE, text=True
    )
    while first.poll() is None and not stages_of(out):
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it is as slow as it takes the second one to come
    second = subprocess.run(
        arguments(sources, out), env=environment, capture_output=True, text=True, check=False
    )
    first.send_signal(signal.SIGCONT)
    told, _ = first.communicate()

    assert first.returncode == 0
    assert json.loads(told)["totals"]["train"]["records"] > 0
    assert second.returncode == 2
    assert second.stderr == (f"codegemma: another run is preparing data in {out}; wait for it\n")
