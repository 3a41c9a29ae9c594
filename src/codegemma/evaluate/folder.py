# SPDX-License-Identifier: Apache-2.0
"""The folder of one task's run: what lies in it, by which settings, and parts from other machines.

    samples.jsonl   the drawn texts            run.json      settings, versions and times
    scores.jsonl    their scores               result.json   the metrics

A shard's files carry its number, as in `samples-1-of-4.jsonl`, and lie beside those of the others,
wherever they were made: a run without a shard takes them all for its own.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.store import ScoreKey, read_samples, read_scores
from codegemma.evaluate.task import Sample, Score

FORMAT: Final = 1
"""Version of the files."""

_PART: Final = re.compile(r"(samples|scores|run|result)(-\d+-of-\d+)?\.(jsonl|json)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One of several equal parts of a task's problems: number `index` of `count`, from 1."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(
                f"a shard is written i/n with i from 1 to n, not {self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises:
            ConfigError: It is no such pair of numbers.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise ConfigError(f"a shard is written i/n, as in 1/4, not {text!r}")
        return cls(index=int(match[1]), count=int(match[2]))

    @property
    def suffix(self) -> str:
        """What its files carry behind their names."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"


class RunFolder:
    """The folder of one task.

    Args:
        out: Folder of the run of all tasks.
        task_name: The task's name.
        shard: Whose files are written.
    """

    def __init__(self, out: Path, task_name: str, *, shard: Shard | None = None) -> None:
        self.path = out / task_name.replace(":", ".")
        self._suffix = (shard or Shard()).suffix

    def file(self, kind: str) -> Path:
        """Give the path of this shard's "samples", "scores", "run" or "result"."""
        extension = "jsonl" if kind in ("samples", "scores") else "json"
        return self.path / f"{kind}{self._suffix}.{extension}"

    def samples(self) -> dict[tuple[str, int], Sample]:
        """Read all shards' samples, by task id and index.

        Raises:
            DataError: A file is damaged.
            InputError: Two files hold the same sample.
        """
        return _read_samples(self._parts("samples"))

    def scores(self) -> dict[ScoreKey, Score]:
        """Read all shards' scores.

        Raises:
            DataError: A file is damaged.
        """
        found: dict[ScoreKey, Score] = {}
        for path in self._parts("scores"):
            found.update(read_scores(path))
        return found

    def settings(self) -> dict[str, Any] | None:
        """Give what the run was started with, None before its first sample.

        Raises:
            DataError: A file is damaged.
            ConfigError: Shards were run with different settings.
        """
        known: dict[str, Any] | None = None
        for path, record in self.records():
            settings = record["settings"]
            if known is not None:
                refuse_changes(known, settings, where=path)
            known = settings
        return known

    def models(self) -> set[str]:
        """Give the names by which the models of the run's processes were called.

        Raises:
            DataError: A file is damaged.
        """
        records = [record for _, record in self.records()]
        return {str(session["model"]) for record in records for session in record["sessions"]}

    def records(self) -> list[tuple[Path, dict[str, Any]]]:
        """Give what is written of each shard's run: its settings, its sessions, its scoring.

        Raises:
            DataError: A file is damaged.
        """
        return [(path, _read(path)) for path in self._parts("run")]

    def check(self, settings: Mapping[str, Any]) -> None:
        """Compare settings with those of the run, its model apart.

        Raises:
            ConfigError: They differ; each difference is named.
            DataError: A file is damaged.
        """
        known = self.settings()
        if known is not None:
            refuse_changes({**known, "model": {}}, {**settings, "model": {}}, where=self.path)

    def record(self, settings: Mapping[str, Any], *, session: Mapping[str, Any]) -> None:
        """Write down what is run, and one more session of it.

        Raises:
            ConfigError: The folder holds a run of other settings; each difference is named.
            DataError: A file is damaged.
        """
        known = self.settings()
        if known is not None:
            refuse_changes(known, settings, where=self.path)
        path = self.file("run")
        written = _read(path) if path.exists() else _blank(settings)
        written["sessions"].append(dict(session))
        write_json(path, written)

    def record_scoring(self, versions: Mapping[str, str]) -> None:
        """Write down what programs are run with, if it is not what they were run with before.

        Raises:
            DataError: A file is damaged.
            ConfigError: Shards were run with different settings.
        """
        settings = self.settings()
        if settings is None:
            return
        path = self.file("run")
        written = _read(path) if path.exists() else _blank(settings)
        if written["scoring"][-1:] != [dict(versions)]:
            written["scoring"].append(dict(versions))
            write_json(path, written)

    def merge(self, others: Iterable[Path]) -> None:
        """Copy the files of the same task from other runs' folders, all of them or none.

        A file that went on since it was last copied takes the place of its copy.

        Raises:
            ConfigError: Files of one name do not go on from each other, or settings differ.
            DataError: A file is damaged.
            InputError: A folder holds nothing of this task, or two files hold the same sample.
        """
        known = self.settings()
        found = {path.name: path for path in _list(self.path)}
        for other in others:
            source = RunFolder(other, self.path.name)
            paths = [path for path in _list(source.path) if not path.name.startswith("result")]
            if not paths:
                raise InputError(f"{other} holds no run of this task: there is no {source.path}")
            settings = source.settings()
            if known is not None and settings is not None:
                refuse_changes(known, settings, where=source.path)
            known = settings if known is None else known
            for path in paths:
                found[path.name] = _later(found.setdefault(path.name, path), path)
        _read_samples(path for name, path in found.items() if name.startswith("samples"))
        for name, path in found.items():
            if path.parent != self.path:
                self.path.mkdir(parents=True, exist_ok=True)
                draft = self.path / f"{name}.draft"
                draft.write_bytes(path.read_bytes())
                draft.replace(self.path / name)

    def _parts(self, kind: str) -> list[Path]:
        return [path for path in _list(self.path) if path.name.startswith(kind)]


def _read_samples(paths: Iterable[Path]) -> dict[tuple[str, int], Sample]:
    """Read the files of a folder, or of what is to become one.

    Raises:
        DataError: A file is damaged.
        InputError: Two files hold the same sample.
    """
    found: dict[tuple[str, int], tuple[Path, Sample]] = {}
    for path in paths:
        for sample in read_samples(path):
            other, _ = found.setdefault((sample.task_id, sample.index), (path, sample))
            if other != path:
                raise InputError(
                    f"{other} and {path} both hold sample {sample.index} of {sample.task_id}; "
                    "take one of the two files out"
                )
    return {key: sample for key, (_, sample) in found.items()}


def _later(one: Path, other: Path) -> Path:
    """Give of two files of one name the one that goes on where the other ends; `one` if equal.

    Raises:
        ConfigError: Neither does.
        DataError: A file is damaged.
    """
    if one.suffix == ".json":
        first, second = (
            [_read(path).get(name, []) for name in ("sessions", "scoring")] for path in (one, other)
        )
    else:  # a broken last line is made again
        first, second = (
            [data[: data.rfind(b"\n") + 1]] for data in (one.read_bytes(), other.read_bytes())
        )
    for path, begun, whole in ((one, second, first), (other, first, second)):
        if all(b[: len(a)] == a for a, b in zip(begun, whole, strict=True)):
            return path
    raise ConfigError(
        f"{one} and {other} differ and have one name, and neither goes on from the other; runs "
        "that are to be merged are started with --shard i/n"
    )


def refuse_changes(known: Mapping[str, Any], settings: Mapping[str, Any], *, where: Path) -> None:
    """Compare two sets of settings.

    Raises:
        ConfigError: They differ; each difference is named.
    """
    before, now = _flat(known), _flat(json.loads(json.dumps(settings)))
    changes = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise ConfigError(
            f"{where} was made with other settings; go on with those or take another folder: "
            + "; ".join(changes)
        )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))


def _blank(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "settings": dict(settings), "sessions": [], "scoring": []}


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT or not isinstance(value["settings"], dict):
            raise ValueError(f"it is not of format {FORMAT}")
        for session in value["sessions"]:
            str(session["model"])
        if not all(isinstance(value.get(name, []), list) for name in ("sessions", "scoring")):
            raise ValueError("sessions and scoring are lists")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error})") from error
    return value


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(cast("dict[str, Any]", item), f"{prefix}{name}.")
        else:
            flat[prefix + name] = item
    return flat
