# SPDX-License-Identifier: Apache-2.0
"""Runs as a report takes them: what `codegemma evaluate` left in a folder, whatever its tasks are.

Also takes the result of `codegemma score --json`, kept in a file, for samples made elsewhere.

Figures come from the results as they were printed. Items, with their prompts and clusters, come
from samples, scores and the benchmark's data; where the data is not on this machine, or is other
data than the run read, the figures stay and what needs the items says what it lacks.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from codegemma.errors import CodegemmaError, ConfigError, DataError, InputError
from codegemma.evaluate.benchmark import benchmark_folder
from codegemma.evaluate.folder import RunFolder
from codegemma.evaluate.problems import read_problems
from codegemma.evaluate.registry import find_tasks
from codegemma.evaluate.report.text import unit_of
from codegemma.evaluate.scoring import task_samples
from codegemma.evaluate.store import ScoreKey, read_scores
from codegemma.evaluate.summary import problem_values
from codegemma.evaluate.task import Problem, Sample, Score

PASS: Final = "pass@1"
_RESULT: Final = "result.json"
_ENDS: Final = ("value", "low", "high", "n", "n_eff")
_NEAR: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """One task of a run.

    Args:
        out: Folder of the run of all tasks.
        result: As the run wrote it.
        settings: What all samples have in common.
        sessions: What drew them, in order.
        scoring: Versions of what ran the programs, the last ones.
    """

    out: Path
    result: Mapping[str, Any]
    settings: Mapping[str, Any]
    sessions: Sequence[Mapping[str, Any]]
    scoring: Mapping[str, str]

    @property
    def name(self) -> str:
        """The task, as the command line spells it."""
        return str(self.result["task"])

    @property
    def scored_file(self) -> Path | None:
        """The samples made elsewhere that were scored; None for a run of our own."""
        file = self.result.get("file")
        return Path(file) if isinstance(file, str) else None

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """All metrics by name, the headline first."""
        found: dict[str, Mapping[str, Any]] = dict(self.result["metric"])
        if PASS in found:
            found = {PASS: found.pop(PASS), **found}
        return found

    @property
    def parts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Metrics of the parts that are counted by themselves too, such as subjects."""
        return cast("dict[str, dict[str, dict[str, Any]]]", self.result.get("group") or {})

    @property
    def headline(self) -> str:
        """Name of the metric that stands for the task; "" where nothing is scored."""
        return next(iter(self.metrics), "")

    @property
    def sampling(self) -> dict[str, Any]:
        """How its samples were drawn."""
        return cast("dict[str, Any]", self.settings.get("sampling") or {})

    @property
    def data(self) -> dict[str, str]:
        """Hashes of the files that it read, by name."""
        return cast("dict[str, str]", self.settings.get("data") or {})

    @property
    def outcomes(self) -> dict[str, int]:
        """What became of its programs, of the headline's; empty where none ran."""
        found = cast("dict[str, int]", self.result.get("outcomes") or {})
        return {} if set(found) <= {"not run"} else found

    @property
    def batch(self) -> str:
        """Prompts that were given to the model together."""
        return " and ".join(sorted({str(each.get("batch", "?")) for each in self.sessions}))

    @cached_property
    def samples(self) -> list[Sample]:
        """All samples of the folder.

        Raises:
            CodegemmaError: A file is damaged.
        """
        if self.scored_file is not None:
            task = next(task for task in find_tasks(self.name) if task.name == self.name)
            return task_samples(task, list(self.problems[0].values()), self.scored_file)
        return list(RunFolder(self.out, self.name).samples().values())

    @cached_property
    def scores(self) -> dict[tuple[str, int, str], Score]:
        """The newest score of each sample and variant.

        Raises:
            CodegemmaError: A file is damaged.
        """
        found: Mapping[ScoreKey, Score] = {}
        if self.scored_file is None:
            found = RunFolder(self.out, self.name).scores()
        elif (kept := self.result.get("scores_file")) is not None:
            found = read_scores(Path(kept))
        return {(one.task_id, one.index, one.variant): one for one in found.values()}

    @cached_property
    def sample_scores(self) -> dict[tuple[str, int], list[Score]]:
        """The newest scores of each sample, by problem and index.

        Raises:
            CodegemmaError: A file is damaged.
        """
        found: dict[tuple[str, int], list[Score]] = {}
        for score in self.scores.values():
            found.setdefault((score.task_id, score.index), []).append(score)
        return found

    def variant(self, metric: str) -> str:
        """Name the way of scoring behind a metric."""
        return str(self.metrics[metric].get("variant", metric))

    def unit(self, metric: str) -> str:
        """Name a metric's unit."""
        return unit_of(self.metrics[metric])

    def problem_means(self, metric: str) -> dict[str, float]:
        """Give the mean value of each problem's samples, of the problems that the result counts."""
        kept = self.kept_ids()
        values = problem_values(self.samples, self.scores, variant=self.variant(metric))
        return {name: sum(v) / len(v) for name, v in values.items() if kept is None or name in kept}

    def kept_ids(self) -> set[str] | None:
        """Name the problems of a run with a limit; None where all samples count or cannot be told.

        A folder may hold more samples than its last result is of.
        """
        limit = self.result.get("limit")
        if not isinstance(limit, int) or len({s.task_id for s in self.samples}) <= limit:
            return None
        problems, _ = self.problems
        return set(list(problems)[:limit]) if problems else None

    @cached_property
    def problems(self) -> tuple[dict[str, Problem], str]:
        """Its problems by name, in the benchmark's order, or none and the reason why."""
        try:
            own = self.scored_file is None
            kept = read_problems(RunFolder(self.out, self.name).path) if own else None
            if kept is not None:
                return kept, ""
            task = next((task for task in find_tasks(self.name) if task.name == self.name), None)
            if task is None:
                return {}, f"{self.name} stands for several tasks"
            if task.reads_prepared:
                return {}, "the run keeps no problems: run codegemma evaluate again"
            data = benchmark_folder(task.files)
            changed = [
                file.name for file in task.files if file.sha256(data) != self.data.get(file.name)
            ]
            if changed:
                return {}, f"{changed[0]} is not here as the run read it"
            return {problem.task_id: problem for problem in task.problems(data)}, ""
        except CodegemmaError as error:
            return {}, str(error)

    def check_items(self) -> str:
        """Say in what the scores on the disk differ from the result; "" if in nothing."""
        name = self.headline
        if not name or "variant" not in self.metrics[name] or not _is_mean(name):
            return ""
        means = list(self.problem_means(name).values())
        expected = float(self.metrics[name]["value"])
        found = sum(means) / len(means) if means else math.nan
        if abs(found - expected) < _NEAR:
            return ""
        return (
            f"the scores on the disk give {found:.4f}, not the {expected:.4f} of {_RESULT}: run "
            "codegemma evaluate again"
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of one model on one or more tasks.

    Args:
        label: How a reader tells it from the others.
        path: Its folder.
        tasks: By name, in the order of the names.
    """

    label: str
    path: Path
    tasks: Mapping[str, TaskRun]

    @property
    def first(self) -> TaskRun:
        """The task whose settings name the model."""
        return next(iter(self.tasks.values()))

    @property
    def model(self) -> str:
        """The model, by the name that it was asked for."""
        names = dict.fromkeys(
            str(session["model"]) for task in self.tasks.values() for session in task.sessions
        )
        return " or ".join(names) or str(self.model_settings.get("name", self.label))

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """What the run recorded of the model."""
        return cast("Mapping[str, Any]", self.first.settings.get("model", {}))


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders, of all tasks or of one, and results of scored samples.

    Raises:
        InputError: A folder holds no result, or two are the same.
        ConfigError: A folder holds runs of several models.
        DataError: A file is damaged.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise InputError("a run is given twice; a report compares different ones")
    return [
        _read_run(path, label=label) for path, label in zip(paths, _labels(resolved), strict=True)
    ]


def _read_run(path: Path, *, label: str) -> Run:
    if path.is_file():
        task = _read_scored(path)
        return Run(label=label, path=path, tasks={task.name: task})
    folders = [path] if (path / _RESULT).is_file() else sorted(_folders(path))
    tasks = [_read_task(folder) for folder in folders if (folder / _RESULT).is_file()]
    if not tasks:
        parts = [name.name for folder in folders for name in folder.glob("*-of-*.json*")]
        hint = "is it the folder given to codegemma evaluate --out?"
        if parts:
            hint = f"it holds parts such as {parts[0]}: join them with evaluate --merge"
        elif any((folder / "samples.jsonl").is_file() for folder in folders):
            hint = "the run is not finished: run codegemma evaluate again"
        raise InputError(f"{path} holds no {_RESULT}; {hint}")
    models = {json.dumps(task.settings.get("model"), sort_keys=True): task for task in tasks}
    if len(models) > 1:
        names = " and ".join(task.name for task in models.values())
        raise ConfigError(
            f"{path} holds runs of different models or dtypes ({names}); a report takes a folder "
            "for each model"
        )
    return Run(label=label, path=path, tasks={task.name: task for task in tasks})


def _folders(path: Path) -> list[Path]:
    try:
        return [folder for folder in path.iterdir() if folder.is_dir()]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _read_task(folder: Path) -> TaskRun:
    path = folder / _RESULT
    result = _read_result(path, mend="run codegemma evaluate again")
    name = str(result["task"])
    run = RunFolder(folder.parent, name)
    if run.path != folder:
        raise DataError(f"{path} is of {name}, whose folder is called {run.path.name}")
    records = [record for _, record in run.records()]
    scoring = [versions for record in records for versions in record.get("scoring", ())]
    return TaskRun(
        out=folder.parent,
        result=result,
        settings=run.settings() or result.get("settings") or {},
        sessions=[session for record in records for session in record["sessions"]],
        scoring=scoring[-1] if scoring else {},
    )


def _read_scored(path: Path) -> TaskRun:
    mend = "a report takes folders of evaluate --out, and what score --json printed"
    result = _read_result(path, mend=mend)
    if not isinstance(result.get("file"), str):
        raise DataError(f"{path} does not say of which samples it is; {mend}")
    return TaskRun(
        out=path.parent,
        result=result,
        settings=result.get("settings") or {},
        sessions=[],
        scoring=result.get("scoring") or {},
    )


def _read_result(path: Path, *, mend: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        str(result["task"])
        groups = cast("dict[str, Any]", result.get("group") or {})
        for metrics in (result["metric"], *groups.values()):
            for metric in metrics.values():
                if not all(math.isfinite(float(metric[end])) for end in _ENDS):
                    raise ValueError("a metric is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}); {mend}") from error
    return result


def _is_mean(metric: str) -> bool:
    return metric == PASS or not metric.startswith("pass@")


def _labels(paths: Sequence[Path]) -> list[str]:
    """Name folders by the fewest last parts of their paths that tell them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]
