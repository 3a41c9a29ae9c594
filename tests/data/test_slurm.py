# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the programs of Slurm do what each test says, and note how they were called."""

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from codegemma.data import engine
from codegemma.data.engine import Cluster
from codegemma.errors import DataError, InputError, PrerequisiteError

slurm = pytest.importorskip("codegemma.data.slurm", reason="datatrove is not installed")

RUN = """
grep -q '#SBATCH --array' "$last" || exit 3
tasks=$(sed -n "s/#SBATCH --array=0-\\([0-9]*\\).*/\\1/p" "$last")
for i in $(seq 0 "$tasks"); do
  SLURM_ARRAY_TASK_ID=$i SLURM_NODELIST=here SLURM_JOB_ID=7 sh "$last" >&2
done
"""
ACCEPT = 'case "$1" in --test-only) exit 0;; esac\n'
HAND_IN = "echo Submitted batch job 7\n"
QUIET = {"squeue": "exit 0", "sacct": "exit 0"}

Fake = Callable[[Mapping[str, str]], Path]


def write_down(job: dict[str, Any], index: int) -> None:
    if job["bad"]:
        raise InputError("bad row")
    (Path(job["out"]) / str(index)).write_text(str(os.getpid()), encoding="utf-8")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put programs with these bodies on the path; gives the file in which calls are noted."""
    calls = tmp_path / "calls"

    def put(bodies: Mapping[str, str]) -> Path:
        srun = 'while [ "$1" != launch_pickled_pipeline ]; do shift; done\nexec "$@"\n'
        for name, body in {"srun": srun, "scontrol": "echo here", "scancel": "", **bodies}.items():
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            head = f'#!/bin/sh\necho {name} "$@" >> {calls}\nfor last in "$@"; do :; done\n'
            program.write_text(head + body, encoding="utf-8")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        here = Path(sys.executable).parent
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{here}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        return calls

    for name, value in (("_POLL_S", 0.01), ("_QUEUE_POLL_S", 0.0), ("_GRACE_S", 0.05)):
        monkeypatch.setattr(slurm, name, value)
    monkeypatch.setattr(slurm, "_TOLD_S", 0.0)
    return put


def run(
    tmp_path: Path, *, bad: bool = False, sizes: tuple[int, ...] = (1, 1), **options: Any
) -> None:
    (tmp_path / "out").mkdir()
    engine.run(
        "stage",
        write_down,
        {"out": str(tmp_path / "out"), "bad": bad},
        sizes=sizes,
        cluster=Cluster(executor="slurm", **options),
        folder=tmp_path / "run",
        progress=lambda *_: None,
    )


def test_the_tasks_are_run_through_sbatch(tmp_path: Path, fake: Fake) -> None:
    calls = fake({"sbatch": ACCEPT + RUN + HAND_IN, **QUIET})

    run(tmp_path, partition="long", memory_gb=16, time_limit="2-00:00:00")

    pids = {file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    (script,) = (tmp_path / "run" / "log").glob("launch_script.slurm")
    options = script.read_text(encoding="utf-8").splitlines()
    assert {
        "#SBATCH --partition=long",
        "#SBATCH --mem-per-cpu=16G",
        "#SBATCH --time=2-00:00:00",
        "#SBATCH --array=0-1%1",
    } <= set(options)
    assert "scancel" not in calls.read_text(encoding="utf-8")


def test_without_a_partition_slurm_chooses(tmp_path: Path) -> None:
    executor = slurm.SlurmExecutor(
        None,
        tasks=3,
        workers=2,
        logging_dir=str(tmp_path),
        partition="",
        memory_gb=2,
        time_limit="24:00:00",
    )

    options = executor.get_sbatch_args(3)

    assert [options[key] for key in ("array", "time", "mem-per-cpu")] == ["0-2%2", "24:00:00", "2G"]
    assert not {"partition", "qos"} & options.keys()


def test_what_sbatch_does_not_take_is_told_in_one_line_and_nothing_is_handed_in(
    tmp_path: Path, fake: Fake
) -> None:
    refusal = "sbatch: error: invalid partition specified: nope\\nallocation failure\\n"
    calls = fake({"sbatch": f"printf '{refusal}' >&2; exit 1", **QUIET})

    with pytest.raises(
        PrerequisiteError,
        match=r"^sbatch does not take the job: sbatch: error: invalid partition specified: nope; "
        r"allocation failure; --slurm partition=NAME,memory_gb=N,time=HH:MM:SS changes it.*$",
    ):
        run(tmp_path, partition="nope")
    assert calls.read_text(encoding="utf-8").count("sbatch --") == 1


def test_a_job_that_ends_undone_is_told_with_what_became_of_it(tmp_path: Path, fake: Fake) -> None:
    calls = fake(
        {
            "sbatch": ACCEPT + HAND_IN,
            "squeue": "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1",
            "sacct": "printf 'OUT_OF_MEMORY\\nCANCELLED by 0\\n'",
        }
    )

    with pytest.raises(
        DataError,
        match=r"Slurm job 7 ended and left 2 of 2 tasks undone: CANCELLED \(1\), "
        r"OUT_OF_MEMORY \(1\); its log is in .*log/slurm_logs",
    ):
        run(tmp_path)
    assert "sacct --noheader" in calls.read_text(encoding="utf-8")


def test_a_job_that_can_never_start_is_told_and_cancelled(tmp_path: Path, fake: Fake) -> None:
    calls = fake({"sbatch": ACCEPT + HAND_IN, "squeue": "echo 'PENDING PartitionTimeLimit'"})

    with pytest.raises(DataError, match=r"Slurm job 7 can never start \(PartitionTimeLimit\)"):
        run(tmp_path)
    assert "scancel 7\n" in calls.read_text(encoding="utf-8")


def test_a_job_that_waits_says_why_and_an_interrupt_cancels_it(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = fake({"sbatch": ACCEPT + HAND_IN, "squeue": "echo 'PENDING Priority'"})
    real, slept = slurm.time.sleep, list[float]()

    def sleep(seconds: float) -> None:
        real(seconds)
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(slurm.time, "sleep", sleep)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert "Slurm job 7 has waited 0 s: PENDING Priority (1)" in caplog.messages
    assert "scancel 7\n" in calls.read_text(encoding="utf-8")


def test_a_controller_that_does_not_answer_is_no_end_of_the_job(tmp_path: Path, fake: Fake) -> None:
    count = f"echo x >> {tmp_path / 'count'}; [ $(wc -l < {tmp_path / 'count'}) -lt 20 ] && "
    fake(
        {
            "sbatch": ACCEPT + HAND_IN,
            "squeue": count + "{ echo Unable to contact slurm controller >&2; exit 1; }; exit 0",
            "sacct": "echo COMPLETED",
        }
    )

    with pytest.raises(DataError, match=r"COMPLETED \(1\)"):
        run(tmp_path)
    assert (tmp_path / "count").read_text().count("x") >= 20


def test_an_error_of_a_task_ends_the_waiting_and_the_job(tmp_path: Path, fake: Fake) -> None:
    calls = fake({"sbatch": ACCEPT + RUN + HAND_IN, "squeue": "echo 'RUNNING None'"})

    with pytest.raises(InputError, match="bad row"):
        run(tmp_path, bad=True, sizes=(1,))
    assert "sbatch" in calls.read_text(encoding="utf-8")
