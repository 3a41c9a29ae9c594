# SPDX-License-Identifier: Apache-2.0
"""Hand a stage to a Slurm cluster with datatrove's executor, and watch what becomes of its jobs.

datatrove writes the job and hands it in. This asks Slurm first whether it would take it, waits
until every task is done, and gives up with a reason when the jobs have ended before that or can
never start. Jobs that nobody waits for any longer are cancelled.
"""

import importlib
import logging
import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from codegemma.errors import DataError, PrerequisiteError

_POLL_S: Final = 1.0
_QUEUE_POLL_S: Final = 15.0
"""How often Slurm is asked; its controller serves a whole cluster."""
_GRACE_S: Final = 90.0
"""How long files written on another machine may take to be seen here."""
_TOLD_S: Final = 60.0
_NEVER: Final = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "JobHeldAdmin",
        "JobHeldUser",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "launch_failed_requeued_held",
    }
)
"""Why a job waits, where waiting changes nothing."""

_log = logging.getLogger(__name__)
_Base: Any = importlib.import_module("datatrove.executor.slurm").SlurmPipelineExecutor


class SlurmExecutor(_Base):
    """An array job with one task for each of a stage.

    Args:
        stage: The step that is run.
        tasks: How many tasks.
        workers: Tasks at a time.
        logging_dir: Folder for logs and marks of what is done, on storage that all machines share.
        partition: "" leaves the choice to Slurm.
        memory_gb: Of a task.
        time_limit: Of a task, as `sbatch --time` takes it.
    """

    def __init__(
        self,
        stage: Any,
        *,
        tasks: int,
        workers: int,
        logging_dir: str,
        partition: str,
        memory_gb: int,
        time_limit: str,
    ) -> None:
        self._jobs: list[str] = []
        above: Any = super()
        above.__init__(
            [stage],
            tasks=tasks,
            workers=workers,
            logging_dir=logging_dir,
            partition=partition,
            mem_per_cpu_gb=memory_gb,
            time=time_limit,
            job_name="codegemma",
            qos="",
        )

    @property
    def job_id(self) -> str | None:
        """The job handed in last; large stages are several, one after the other."""
        return self._jobs[-1] if self._jobs else None

    @job_id.setter
    def job_id(self, value: Any) -> None:
        if value is not None:
            self._jobs.append(str(value))

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """Give the options of the job, without a partition where none was named."""
        above: Any = super()
        options: dict[str, Any] = above.get_sbatch_args(max_array)
        return {key: value for key, value in options.items() if key != "partition" or value}

    def launch_merge_stats(self) -> None:
        """Hand in no further job: the statistics are not used, and it would wait for ever."""

    def run(self) -> None:
        """Hand the stage in and wait for its end; on a machine of the cluster, do a task.

        Raises:
            PrerequisiteError: Slurm is not there or does not take the job.
            DataError: The jobs ended before the tasks were done, or cannot start.
        """
        above: Any = super()
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            above.run()
            return
        self._check()
        try:
            above.run()
            self._wait()
        except subprocess.CalledProcessError as error:
            raise PrerequisiteError(f"sbatch refused the job: {error}") from error
        finally:
            self._cancel()

    def _check(self) -> None:
        """Ask Slurm whether it would take the job."""
        if shutil.which("sbatch") is None:
            raise PrerequisiteError("--executor slurm needs the program sbatch of a Slurm cluster")
        script = Path(self.slurm_logs_folder) / "check.slurm"
        options = self.get_sbatch_args(min(self.tasks, self.max_array_size))
        script.write_text(self.get_launch_file_contents(options, "true"), encoding="utf-8")
        answer = _ask("sbatch", "--test-only", str(script))
        if answer.returncode:
            raise PrerequisiteError(
                f"sbatch does not take the job: {_one_line(answer.stderr)}; --slurm "
                "partition=NAME,memory_gb=N,time=HH:MM:SS changes it, and sbatch's own variables, "
                "such as SBATCH_ACCOUNT, are heeded"
            )

    def _wait(self) -> None:
        failed = Path(self.logging_dir.path).parent / "failed"
        asked = began = told = time.monotonic()
        ended: float | None = None
        while left := self._num_left():
            now = time.monotonic()
            if any(failed.iterdir()):
                return
            if now - asked >= _QUEUE_POLL_S:
                asked = now
                waiting = self._states()
                if waiting is None:
                    ended = ended or now
                    if now - ended >= _GRACE_S:
                        raise DataError(self._ending(left))
                elif now - told >= _TOLD_S and waiting and "RUNNING" not in waiting:
                    told = now
                    _log.warning(
                        "Slurm job %s has waited %d s: %s", self.job_id, now - began, waiting
                    )
            time.sleep(_POLL_S)

    def _num_left(self) -> int:
        return len(self.get_incomplete_ranks(range(self.tasks), True))

    def _states(self) -> str | None:
        """Give states and reasons of the tasks that Slurm still has, None when there are none.

        "" where it does not answer: a controller that starts anew is no end of the jobs.
        """
        answer = _ask("squeue", "--noheader", "--format=%T %r", "--jobs", ",".join(self._jobs))
        if answer.returncode:
            return None if "invalid job id" in answer.stderr.lower() else ""
        rows = Counter(line.strip() for line in answer.stdout.splitlines() if line.strip())
        never = [row.partition(" ")[2].strip("()") for row in rows if row.startswith("PENDING")]
        if rows and len(never) == len(rows) and _NEVER.issuperset(never):
            raise DataError(
                f"Slurm job {self.job_id} can never start ({', '.join(sorted(never))}) and was "
                "cancelled; see --slurm and sbatch's own variables"
            )
        return ", ".join(f"{row} ({count})" for row, count in sorted(rows.items())) or None

    def _ending(self, num_left: int) -> str:
        answer = _ask(
            *("sacct", "--noheader", "--parsable2", "--allocations", "--format=State"),
            *("--jobs", ",".join(self._jobs)),
        )
        states = Counter(line.partition(" ")[0] for line in answer.stdout.splitlines() if line)
        told = ", ".join(f"{state} ({count})" for state, count in sorted(states.items()))
        return (
            f"Slurm job {self.job_id} ended and left {num_left} of {self.tasks} tasks undone: "
            f"{told or 'sacct tells nothing of it'}; its log is in {self.slurm_logs_folder}. The "
            "same command goes on where it stopped; --slurm memory_gb=N,time=HH:MM:SS gives a task "
            "more"
        )

    def _cancel(self) -> None:
        """Take back what nobody waits for any longer."""
        if self._jobs and self._num_left():
            _ask("scancel", *self._jobs)


def _ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of Slurm's; one that is not there answers like one that fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _one_line(text: str) -> str:
    return "; ".join(filter(None, map(str.strip, text.splitlines()))) or "it says nothing"
