# SPDX-License-Identifier: Apache-2.0
"""Run a stage over all repositories with datatrove's executors: processes here, Ray, or Slurm.

A stage is a function of (job, index) that leaves its result in a file, so that results do not
depend on who ran them, and a stage run again skips what is there. This module shares the work out,
tells how far it is, and brings errors back; it schedules nothing itself.

Differs: datatrove's local executor waits for ever when one of its processes is killed, and its log
prints the values of variables; see docs/decisions/0005-data-engine.md.
"""

import dataclasses
import importlib
import importlib.util
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from datatrove.executor.local import (  # pyright: ignore[reportMissingTypeStubs]  # has none
    LocalPipelineExecutor,
)
from datatrove.pipeline.base import (  # pyright: ignore[reportMissingTypeStubs]  # has none
    PipelineStep,
)

from codegemma import errors
from codegemma.data.document import Progress
from codegemma.errors import ConfigError, PrerequisiteError
from codegemma.text import hazards

Executor = Literal["local", "ray", "slurm"]
EXECUTORS: Final[tuple[Executor, ...]] = ("local", "ray", "slurm")

Work = Callable[[Any, int], None]
"""Does one unit of a job; found by its name in other processes, so it stands at a module's top."""

_TASKS_PER_WORKER: Final = 8
_POLL_S: Final = 0.2
_HAZARDS: Final = "hazards"
"""Folder of a run with what is known of texts that kill the parser; it outlives the run."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Where a stage runs.

    Args:
        executor: "local": processes on this machine; "ray": the Ray cluster of the environment;
            "slurm": an array job. The output folder must be on storage that all machines share.
        workers: Processes at a time.
        partition: Of Slurm; "" leaves it to the cluster.
        memory_gb: Of a Slurm task.
        time_limit: Of a Slurm task, as sbatch takes it.
    """

    executor: Executor = "local"
    workers: int = 1
    partition: str = ""
    memory_gb: int = 2
    time_limit: str = "24:00:00"


class Stage(PipelineStep):
    """The step that datatrove runs: all units of one task, one after the other.

    Args:
        label: Shown in datatrove's statistics.
        plan: File with the job, the function, and each task's units.
    """

    type = "codegemma"

    def __init__(self, label: str, plan: Path) -> None:
        self.name = label
        super().__init__()
        self.plan = str(plan)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Do the units of a task; what goes wrong is written down, for the one who waits."""
        del world_size
        folder = Path(self.plan).parent
        done = 0
        try:
            function, job, tasks = _plan(self.plan)
            for index, size in tasks[rank]:
                with self.track_time(), hazards.watched(folder / _HAZARDS):
                    function(job, index)
                done += size
                _replace(folder / "done" / str(rank), str(done))
        except Exception as error:
            found = {
                "kind": type(error).__name__,
                "message": str(error),
                "errno": getattr(error, "errno", None),
                "trace": traceback.format_exc(),
            }
            _replace(folder / "failed" / str(rank), json.dumps(found))
        return data


class _Local(LocalPipelineExecutor):
    """datatrove's local executor on a pool of processes that notices when one of them dies."""

    def run(self) -> None:
        _quieten()
        if self.workers == 1:
            for rank in range(self.tasks):
                self._run_for_rank(rank, 1)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin) as pool:
            try:
                waiting = [pool.submit(self._run_for_rank, rank, 1) for rank in range(self.tasks)]
                for future in waiting:
                    future.result()
            except BrokenProcessPool as error:
                raise errors.DataError(
                    "a worker process was killed, as a rule for want of memory; run the same "
                    "command again, with fewer --workers, and it goes on where it stopped"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _begin() -> None:
    """Prepare a worker, which ends with the command, however that ends."""
    _quieten()
    command = multiprocessing.parent_process()
    assert command is not None

    def follow() -> None:
        command.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _quieten() -> None:
    """Keep datatrove's log out of a terminal that shows a progress bar."""
    log: Any = importlib.import_module("datatrove.utils.logging")
    log.logger.disable("datatrove")


def run(
    label: str,
    function: Work,
    job: Any,
    *,
    sizes: Sequence[int],
    cluster: Cluster,
    folder: Path,
    progress: Progress,
) -> None:
    """Do all units of a job; where a text killed the parser, go on without parsing it.

    Args:
        label: Name of the stage.
        function: Does a unit.
        job: Its first argument; sent to every task.
        sizes: Size of each unit in bytes, for progress and to share the work out.
        cluster: Where.
        folder: For plan and log; what an earlier run left there is removed, but for what is known
            of texts that kill the parser.
        progress: Told how far the work is.

    Raises:
        CodegemmaError: One of the tasks raised it.
        DataError: A worker was killed.
        OSError: A task could not write.
    """
    folder = folder.resolve()  # datatrove remembers what a relative path first meant
    hazards.settle(folder / _HAZARDS)  # a run may have died of a text
    tasks = _share_out(sizes, cluster.workers)
    plan = (function, job, tasks)
    while True:
        try:
            _run(label, plan, sum(sizes), cluster=cluster, folder=folder, progress=progress)
            return
        except errors.DataError:
            if not hazards.settle(folder / _HAZARDS):
                raise


def _run(
    label: str,
    planned: tuple[Work, Any, list[list[tuple[int, int]]]],
    total: int,
    *,
    cluster: Cluster,
    folder: Path,
    progress: Progress,
) -> None:
    for path in folder.glob("*"):
        if path.is_dir() and path.name != _HAZARDS:
            shutil.rmtree(path)
    for name in ("done", "failed"):
        (folder / name).mkdir(parents=True)
    plan = folder / f"plan-{label}"
    plan.write_bytes(pickle.dumps(planned))
    progress(label, 0, total)
    num_tasks = len(planned[2])
    if num_tasks:
        executor = _executor(cluster, Stage(label, plan), num_tasks, folder)
        with _told(folder, label, total, progress):
            executor.run()
    _raise_failure(folder)
    progress(label, total, total)


def _share_out(sizes: Sequence[int], workers: int) -> list[list[tuple[int, int]]]:
    """Split units into tasks of neighbours (tables are read in order), the largest task first."""
    limit = max(1, sum(sizes) // (workers * _TASKS_PER_WORKER))
    tasks: list[list[tuple[int, int]]] = []
    used = limit + 1
    for index, size in enumerate(sizes):
        if used + size > limit:
            tasks.append([])
            used = 0
        tasks[-1].append((index, size))
        used += size
    return sorted(tasks, key=lambda task: -sum(size for _, size in task))


@lru_cache(maxsize=1)
def _read_plan(path: str, _changed: int) -> tuple[Work, Any, list[list[tuple[int, int]]]]:
    return pickle.loads(Path(path).read_bytes())


def _plan(path: str) -> tuple[Work, Any, list[list[tuple[int, int]]]]:
    return _read_plan(path, Path(path).stat().st_mtime_ns)


def _executor(cluster: Cluster, stage: Stage, num_tasks: int, folder: Path) -> Any:
    options: dict[str, Any] = {
        "tasks": num_tasks,
        "workers": cluster.workers,
        "logging_dir": str(folder / "log"),
    }
    if cluster.executor == "local":
        return _Local([stage], **options)
    if cluster.executor == "ray":
        _join_ray()
        ray: Any = importlib.import_module("datatrove.executor.ray")
        return ray.RayPipelineExecutor([stage], **options)
    _quieten()
    slurm: Any = importlib.import_module("codegemma.data.slurm")
    return slurm.SlurmExecutor(
        stage,
        partition=cluster.partition,
        memory_gb=cluster.memory_gb,
        time_limit=cluster.time_limit,
        **options,
    )


def _join_ray() -> None:
    """Join the cluster that RAY_ADDRESS names, or start one here; it reports to nobody."""
    if importlib.util.find_spec("ray") is None:
        raise PrerequisiteError("--executor ray needs Ray: pip install 'codegemma[cluster]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray: Any = importlib.import_module("ray")
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    _quieten()


@contextmanager
def _told(folder: Path, label: str, total: int, progress: Progress) -> Generator[None]:
    """Tell of what the tasks have written down, from a thread, while the body runs."""
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(_POLL_S):
            done = sum(int(file.read_text() or 0) for file in (folder / "done").glob("*[0-9]"))
            progress(label, min(done, total), total)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _raise_failure(folder: Path) -> None:
    """Raise what the first failed task raised, by its kind where it is one of ours."""
    for file in sorted((folder / "failed").iterdir()):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["errno"] is not None:
            raise OSError(found["errno"], found["message"])
        kind = getattr(errors, found["kind"], None)
        if isinstance(kind, type) and issubclass(kind, errors.CodegemmaError):
            raise kind(found["message"])
        raise RuntimeError(f"a stage failed:\n{found['trace']}")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def cluster_of(executor: str, *, workers: int, slurm: str = "") -> Cluster:
    """Read where stages are to run.

    Args:
        executor: One of `EXECUTORS`.
        workers: Processes at a time.
        slurm: "partition=NAME,memory_gb=N,time=LIMIT", any of them.

    Raises:
        ConfigError: There is no such executor, or no such word for Slurm.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"no executor {executor!r}; there are {', '.join(EXECUTORS)}")
    usual = Cluster()
    given = {key: value for key, _, value in (part.partition("=") for part in slurm.split(","))}
    given.pop("", None)
    memory = given.pop("memory_gb", str(usual.memory_gb))
    partition = given.pop("partition", usual.partition)
    time_limit = given.pop("time", usual.time_limit)
    if given or not memory.isdecimal() or not int(memory) or not time_limit:
        raise ConfigError(
            f"expected --slurm partition=NAME,memory_gb=N,time=HH:MM:SS or some of them, not "
            f"{slurm!r}"
        )
    if slurm and executor != "slurm":
        raise ConfigError(f"--slurm is for --executor slurm, not for {executor}")
    return Cluster(
        executor=next(each for each in EXECUTORS if each == executor),
        workers=workers,
        partition=partition,
        memory_gb=int(memory),
        time_limit=time_limit,
    )
