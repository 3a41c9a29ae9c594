# SPDX-License-Identifier: Apache-2.0
import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import engine
from codegemma.data.engine import Cluster
from codegemma.errors import ConfigError, DataError, InputError, PrerequisiteError

Told = list[tuple[str, int, int]]


def write_down(job: dict[str, Any], index: int) -> None:
    (Path(job["out"]) / str(index)).write_text(str(os.getpid()), encoding="utf-8")


def fail(job: dict[str, Any], index: int) -> None:
    if index == job.get("bad", 1):
        raise {"input": InputError("bad row"), "full": OSError(errno.ENOSPC, "full")}.get(
            job["how"], KeyError("secret")
        )


def die(job: dict[str, Any], index: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(
    tmp_path: Path,
    work: engine.Work,
    *,
    cluster: Cluster | None = None,
    sizes: tuple[int, ...] = (5, 1, 3, 900),
    **job: Any,
) -> Told:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    told: Told = []
    engine.run(
        "stage",
        work,
        {"out": str(out), **job},
        sizes=sizes,
        cluster=cluster or Cluster(),
        folder=tmp_path / "run",
        progress=lambda *now: told.append(now),
    )
    return told


@pytest.mark.parametrize("workers", [1, 2])
def test_every_unit_is_done_once_and_progress_reaches_its_end(workers: int, tmp_path: Path) -> None:
    told = run(tmp_path, write_down, cluster=Cluster(workers=workers))

    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["0", "1", "2", "3"]
    assert told[0] == ("stage", 0, 909)
    assert told[-1] == ("stage", 909, 909)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_without_units_nothing_is_run(tmp_path: Path) -> None:
    assert run(tmp_path, die, sizes=()) == [("stage", 0, 0), ("stage", 0, 0)]


def test_neighbours_share_a_task_and_the_largest_task_comes_first() -> None:
    tasks = engine._share_out([1, 1, 1, 50, 1, 1], 1)

    assert [[index for index, _ in task] for task in tasks] == [[3], [0, 1, 2], [4, 5]]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_arrives_as_its_kind(workers: int, tmp_path: Path) -> None:
    cluster = Cluster(workers=workers)

    with pytest.raises(InputError, match="bad row"):
        run(tmp_path, fail, cluster=cluster, how="input")
    with pytest.raises(OSError, match="full") as raised:
        run(tmp_path, fail, how="full")
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match=r"a stage failed:\n(.*\n)*KeyError: 'secret'"):
        run(tmp_path, fail, how="other")


def test_a_killed_worker_ends_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"killed, .* fewer --workers, and it goes on"):
        run(tmp_path, die, cluster=Cluster(workers=2))


def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    command = multiprocessing.get_context("spawn").Process(target=run_and_wait, args=(tmp_path,))
    command.start()
    while len(files := list((tmp_path / "out").glob("*[0-9]"))) < 2:
        assert command.is_alive()
        time.sleep(0.05)
    command.kill()
    command.join()

    workers = [int(file.read_text(encoding="utf-8")) for file in files]
    assert len(set(workers)) == 2
    while any(is_running(worker) for worker in workers):
        time.sleep(0.05)


def run_and_wait(tmp_path: Path) -> None:
    run(tmp_path, write_down_and_wait, cluster=Cluster(workers=2), sizes=(1, 1))


def write_down_and_wait(job: dict[str, Any], index: int) -> None:
    path = Path(job["out"]) / str(index)
    path.with_suffix(".new").write_text(str(os.getpid()), encoding="utf-8")
    path.with_suffix(".new").replace(path)
    threading.Event().wait()


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # dead, and its new parent was not told yet


def test_an_interrupt_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt)


def interrupt(job: dict[str, Any], index: int) -> None:
    raise KeyboardInterrupt


def test_the_values_of_variables_are_in_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError):
        run(tmp_path, fail, how="other", password="hunter2hunter2")

    logs = [p.read_text(encoding="utf-8") for p in (tmp_path / "run" / "log").rglob("*.*")]
    assert len(logs) == 4  # a log and statistics of each of two tasks
    assert "hunter2" not in "".join([*logs, *capfd.readouterr()])


def test_the_words_for_slurm_are_read() -> None:
    cluster = engine.cluster_of("slurm", workers=3, slurm="partition=long,time=2-00:00:00")

    assert cluster == Cluster(
        executor="slurm", workers=3, partition="long", memory_gb=2, time_limit="2-00:00:00"
    )
    assert engine.cluster_of("local", workers=1) == Cluster()
    assert engine.cluster_of("slurm", workers=1, slurm="memory_gb=16").memory_gb == 16


@pytest.mark.parametrize("words", ["memory_gb=much", "memory_gb=-1", "queue=x", "time=", "long"])
def test_other_words_for_slurm_are_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=f"expected --slurm partition=NAME.* not '{words}'"):
        engine.cluster_of("slurm", workers=1, slurm=words)


def test_words_for_slurm_are_for_slurm_alone() -> None:
    with pytest.raises(ConfigError, match="--slurm is for --executor slurm, not for ray"):
        engine.cluster_of("ray", workers=1, slurm="memory_gb=16")


def test_a_cluster_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(PrerequisiteError, match="sbatch"):
        run(tmp_path, write_down, cluster=Cluster(executor="slurm"))
    with pytest.raises(ConfigError, match="no executor 'spark'; there are local, ray, slurm"):
        engine.cluster_of("spark", workers=1)
