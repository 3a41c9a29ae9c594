# SPDX-License-Identifier: Apache-2.0
"""What a run keeps: samples and scores as JSON Lines that are only ever appended to.

One line is one sample, or one score. A process that was killed while it wrote leaves a broken last
line: it is taken off before the next is written, and what it held is made again. A damaged line
anywhere else is an error, since nothing here writes one. Also reads samples made elsewhere, in the
formats of openai/human-eval and evalplus.
"""

import gzip
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

from filelock import FileLock, Timeout

from codegemma.completion import Prompt, Timings
from codegemma.errors import ConfigError, DataError, InputError
from codegemma.evaluate.task import Sample, Score

logger = logging.getLogger(__name__)

_STATE_FIELDS: Final = frozenset({"tokens", "cut", "typed", "session", "namespace"})
"""Of a prompt: how it was asked, which is no part of what it says."""


@dataclass(frozen=True, slots=True)
class ScoreKey:
    """What a score is of: a sample's text under a variant, named by the hash of what was judged."""

    task_id: str
    index: int
    variant: str
    judged_sha256: str


def score_key(score: Score) -> ScoreKey:
    """Name what a score is of."""
    return ScoreKey(score.task_id, score.index, score.variant, score.judged_sha256)


def hash_prompt(prompt: Prompt, pairs: Sequence[tuple[str, str]] = ()) -> str:
    """Hash what a prompt says, however a model tokenizes it, and its choices, as hex digits.

    A field at its default is left out: one that prompts get later changes no hash of earlier runs.
    """
    values = asdict(prompt)
    said = {
        field.name: values[field.name]
        for field in fields(prompt)
        if field.name not in _STATE_FIELDS and values[field.name] != field.default
    }
    if pairs:
        said["pairs"] = pairs
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class LineFile:
    """A JSON Lines file being appended to, by one process at a time.

    One that was made and got no line is taken away again.

    Args:
        path: The file; it and its folder are made when they are missing.

    Raises:
        ConfigError: Another process is writing it.
        InputError: It cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            _take_off_broken_end(path)
            self._is_new = not path.exists()
            self._file = path.open("ab")
        except Timeout as error:
            raise ConfigError(f"another process is writing {path}; let it end first") from error
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error}") from error

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines and hand them to the system, so that a kill loses none of them."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._file.write(text.encode("utf-8", errors="surrogatepass"))
        self._file.flush()

    def close(self) -> None:
        """Put everything on the disk and let others write."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._is_new and self._file.tell() == 0:
            Path(self._file.name).unlink(missing_ok=True)
        self._file.close()
        self._lock.release()

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file with their line numbers, from 1.

    A broken last line is passed over; a file that is not there has no lines.

    Raises:
        DataError: A line is damaged.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        return
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # a mark that some editors write
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8", errors="surrogatepass"))
            if not isinstance(value, dict):
                raise ValueError("it is not a JSON object")
        except ValueError as error:
            if number == len(lines):
                logger.warning("%s: the last line is broken off and left out", path)
                return
            raise DataError(
                f"{path}:{number} is damaged: {error}; take that line out to have it made again"
            ) from error
        yield number, cast("dict[str, Any]", value)


_NUMBER: Final = (int, float)
_SAMPLE_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "prompt_sha256": (str,),
    "prompt_tokens": (list, type(None)),
    "is_prompt_cut": (bool,),
    "tokens": (list,),
    "finish_reason": (str, type(None)),
    "seed": (int, type(None)),
    "timings": (dict,),
    "wall_s": _NUMBER,
    "refusal": (str,),
}
_SCORE_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "task_id": (str,),
    "sample": (int,),
    "variant": (str,),
    "value": _NUMBER,
    "judged_sha256": (str,),
    "outcome": (str, type(None)),
    "stderr": (str,),
    "wall_s": _NUMBER,
    "backend": (str,),
}


def _check_types(
    line: Mapping[str, Any], types: Mapping[str, tuple[type, ...]], where: str
) -> None:
    """Refuse a line whose fields are not of the types that they are written with."""
    for name, kinds in types.items():
        value = line.get(name)
        is_stray_bool = bool not in kinds and isinstance(value, bool)  # JSON's true is no 1
        if name in line and (is_stray_bool or not isinstance(value, kinds)):
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise DataError(f"{where} is damaged: {name} is {names}, and not {value!r}")


def write_sample(sample: Sample) -> dict[str, Any]:
    """Render a sample as a line; fields that say nothing are left out."""
    line = _changed_fields(sample)
    text = line.pop("text", "")
    is_whole = line.pop("is_whole", False)
    index = line.pop("index", 0)
    task_id = line.pop("task_id")
    return {
        "task_id": task_id,
        "sample": index,
        "solution" if is_whole else "completion": text,
        **line,
    }


def read_samples(path: Path, *, spell: Callable[[str], str] = str) -> list[Sample]:
    """Read samples, ours or made elsewhere.

    A line has `task_id` and `completion`, or `solution` for a whole program. Lines without a number
    of their own are counted per task, in file order.

    Args:
        path: The file, plain or gzip.
        spell: Gives the one spelling of a task id, by which samples are counted.

    Raises:
        DataError: A line is damaged.
        InputError: A line lacks a field or has it twice, or the file holds a sample twice.
    """
    samples: list[Sample] = []
    counts: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        sample = _sample(line, where=where, counts=counts, spell=spell)
        if (sample.task_id, sample.index) in seen:
            raise InputError(
                f"{where} holds sample {sample.index} of {sample.task_id} a second time"
            )
        seen.add((sample.task_id, sample.index))
        samples.append(sample)
    return samples


def write_score(score: Score) -> dict[str, Any]:
    """Render a score as a line; fields that say nothing are left out."""
    line = _changed_fields(score)
    return {"task_id": line.pop("task_id"), "sample": line.pop("index"), **line}


def read_scores(path: Path) -> dict[ScoreKey, Score]:
    """Read scores by what they are of.

    Raises:
        DataError: A line is damaged or no score.
    """
    scores: dict[ScoreKey, Score] = {}
    for number, line in read_lines(path):
        _check_types(line, _SCORE_TYPES, f"{path}:{number}")
        try:
            score = Score(index=line.pop("sample"), **line)
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}:{number} is no score: {error}") from error
        scores[score_key(score)] = score
    return scores


def _sample(
    line: dict[str, Any], *, where: str, counts: dict[str, int], spell: Callable[[str], str]
) -> Sample:
    given = [name for name in ("completion", "solution") if isinstance(line.get(name), str)]
    task_id = line.pop("task_id", None)
    if not isinstance(task_id, str | int) or len(given) != 1:
        raise InputError(
            f"{where} needs a task_id, and either a completion or, for a whole program, a solution"
        )
    task_id = spell(str(task_id))
    index = line.pop("sample", None)
    if not isinstance(index, int) or isinstance(index, bool):
        index = counts.get(task_id, 0)
    counts[task_id] = index + 1
    known = {field.name for field in fields(Sample)} & line.keys()
    rest: dict[str, Any] = {}
    if "prompt_sha256" in known:  # one of ours; other tools may use these names for other things
        _check_types(line, _SAMPLE_TYPES, where)
        rest = {name: line[name] for name in known}
        try:
            rest["timings"] = Timings(**rest.get("timings", {}))
        except TypeError as error:
            raise DataError(f"{where} is damaged: {error}") from error
        for name in ("prompt_tokens", "tokens"):
            if rest.get(name) is not None:
                rest[name] = tuple(rest[name])
    (text_name,) = given
    return Sample(
        task_id=task_id,
        index=index,
        text=line[text_name],
        is_whole=text_name == "solution",
        **rest,
    )


def _changed_fields(value: Sample | Score) -> dict[str, Any]:
    """Give a dataclass's fields by name, those at their defaults left out."""
    line: dict[str, Any] = {}
    for field in fields(value):
        found = getattr(value, field.name)
        if field.name == "timings":
            found = asdict(found)
            if any(found.values()):
                line[field.name] = found
        elif found != field.default:
            line[field.name] = found
    return line


def _take_off_broken_end(path: Path) -> None:
    """End the last line, or take it off where it is not whole."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        if not data or data.endswith(b"\n"):
            return
        start = data.rfind(b"\n") + 1
        try:
            json.loads(data[start:])
        except ValueError:
            logger.warning("%s: the last line was broken off and is taken off", path)
            file.truncate(start)
        else:
            file.write(b"\n")
