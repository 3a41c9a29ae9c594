# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import stat
import sys
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


def test_slurm_runs_the_tasks_through_sbatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for sbatch runs the script of every array task, as Slurm would."""
    programs = tmp_path / "bin"
    programs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text(
        "#!/bin/sh\n"
        'for last in "$@"; do :; done\n'
        'tasks=$(sed -n "s/#SBATCH --array=0-\\([0-9]*\\).*/\\1/p" "$last")\n'
        'grep -q merge_stats "$last" || for i in $(seq 0 "$tasks"); do\n'
        '  SLURM_ARRAY_TASK_ID=$i SLURM_NODELIST=here SLURM_JOB_ID=7 sh "$last" >&2; done\n'
        "echo Submitted batch job 7\n",
        encoding="utf-8",
    )
    (programs / "srun").write_text(
        '#!/bin/sh\nwhile [ "$1" != launch_pickled_pipeline ]; do shift; done\nexec "$@"\n',
        encoding="utf-8",
    )
    (programs / "scontrol").write_text("#!/bin/sh\necho here\n", encoding="utf-8")
    for program in programs.iterdir():
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    here = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}:{here}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    run(tmp_path, write_down, cluster=Cluster(executor="slurm"), sizes=(1, 1))

    pids = {file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = engine.Stage("s", Path("plan"))
    monkeypatch.setenv("PATH", "")

    with pytest.raises(PrerequisiteError, match="sbatch"):
        engine._executor(Cluster(executor="slurm"), stage, 1, Path("run"))
    with pytest.raises(ConfigError, match="no executor 'spark'; there are local, ray, slurm"):
        engine.executor_of("spark")
