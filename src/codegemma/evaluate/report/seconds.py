# SPDX-License-Identifier: Apache-2.0
"""How long infilling took: a run's own seconds, the published ones, and another engine's.

Published seconds are of another machine and are never set against ours. Beside another engine the
same prompts are completed anew, one after the other, by both on this machine.
"""

import importlib
import json
import operator
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from codegemma.completion import Completer, CompleterInfo, Prompt, Sampling
from codegemma.errors import ConfigError, DataError, InputError, PrerequisiteError
from codegemma.evaluate.folder import RunFolder, write_json
from codegemma.evaluate.report.document import Block, Paragraph, Section, Table
from codegemma.evaluate.report.published import TIME_CONDITIONS, TITLES, find_benchmark
from codegemma.evaluate.report.runs import Run, TaskRun
from codegemma.text.tokens import INFILL_STOP_IDS

PEERS: Final = ("transformers",)
INFILLING: Final = "humaneval-infilling-"
_FILE: Final = "beside.json"

Draw = Callable[[tuple[int, ...], int], list[int]]
"""Completes a prompt's ids greedily with at most so many; gives them without the one that ended
them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Ours beside another engine on the same prompts, one at a time, on one machine.

    Args:
        task: The task.
        run: Label of the run.
        peer: The other engine, with its version.
        n: Prompts, the same ones in the same order.
        seconds: Ours, in all.
        peer_seconds: The other's.
        tokens: Drawn by ours.
        peer_tokens: Drawn by the other.
        same_texts: Prompts that both completed with the same ids.
        dtype: Of the activations of both.
        device: Where both ran.
        measured: When.
    """

    task: str
    run: str
    peer: str
    n: int
    seconds: float
    peer_seconds: float
    tokens: int
    peer_tokens: int
    same_texts: int
    dtype: str
    device: str
    measured: str


def seconds(runs: Sequence[Run], timings: Sequence[Timing]) -> Section | None:
    """Give the section on time, None where no run is of infilling."""
    rows: list[list[str]] = []
    for run in runs:
        for name, task in run.tasks.items():
            if not name.startswith(INFILLING):
                continue
            total, n = float(task.result.get("seconds_drawing", 0.0)), len(task.samples)
            each = statistics.median(sample.wall_s for sample in task.samples) if n else 0.0
            ended = task.result.get("finish_reasons", {}).get("stop", 0)
            rows.append(
                [
                    f"{run.label}, {name}",
                    f"{total:,.1f} s",
                    f"{int(task.result.get('num_samples', n)):,}",
                    f"{each:.3f} s",
                    f"{100 * ended / n:.0f} %" if n else "-",
                    f"batch {task.batch}, {run.model_settings.get('dtype')}, {_device(task)}",
                ]
            )
    if not rows:
        return None
    head = ("run", "in all", "n", "median of one", "ended by itself", "under")
    blocks: list[Block] = [Table(caption="Seconds to complete", head=head, rows=rows)]
    blocks.append(
        _beside_table(timings) if timings else Paragraph(text="No other engine was timed.")
    )
    published = [
        (row.title, *(f"{value:,}" for value in row.seconds), f"{row.n:,}")
        for row in (find_benchmark(f"{INFILLING}{kind}") for kind in ("single", "multi"))
        if row is not None
    ]
    blocks += [
        Table(
            caption="Published seconds, on another machine, not run here",
            head=("benchmark", *TITLES, "n"),
            rows=published,
        ),
        Paragraph(
            text=f"Those were measured with {TIME_CONDITIONS}; ours are not set against them."
        ),
    ]
    return Section(title="Time of infilling", blocks=blocks)


def read_timings(runs: Sequence[Run]) -> list[Timing]:
    """Read what was measured beside other engines, and kept in the runs' folders.

    Raises:
        DataError: A file is damaged.
    """
    found: list[Timing] = []
    for run in runs:
        for name in run.tasks:
            path = _file(run, name)
            if not path.is_file():
                continue
            try:
                value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                value |= {"run": run.label, "task": name}
                found.append(Timing(**value))
            except (OSError, ValueError, TypeError) as error:
                raise DataError(f"{path} is damaged: {error}; remove it") from error
    return found


def measure(
    run: Run,
    *,
    open_completer: Callable[[], Completer],
    peer: str,
    folder: Path,
    limit: int | None,
    progress: Callable[[str, int, int], None],
) -> list[Timing]:
    """Complete the prompts of a run's infilling tasks anew with both engines, and keep the times.

    Args:
        run: Its prompts are taken as the model read them.
        open_completer: Opens ours, with the run's model.
        peer: Name of the other engine.
        folder: The model's files.
        limit: The first so many prompts of each task; None takes all.
        progress: Told task, prompts done and prompts in all, those of both engines.

    Raises:
        ConfigError: The model is another than the run's.
        InputError: The run has no infilling with known prompts.
        PrerequisiteError: The other engine is not installed.
    """
    names = [name for name in run.tasks if name.startswith(INFILLING)]
    prompts = {name: _prompts(run.tasks[name], limit) for name in names}
    if not any(prompts.values()):
        raise InputError(f"{run.path} holds no infilling whose prompts could be completed anew")
    modules = _import_transformers()
    completer = open_completer()
    info, recorded = completer.info, run.model_settings
    changed = [
        f"{name} {getattr(info, name)} instead of {recorded.get(name)}"
        for name in ("fingerprint", "dtype")
        if getattr(info, name) != recorded.get(name)
    ]
    if changed:
        raise ConfigError(f"{run.path} was made by another model: {', '.join(changed)}")
    theirs, version = _open_transformers(modules, folder, info=info)
    ours = partial(_draw, completer)
    found: list[Timing] = []
    for name, wanted in prompts.items():
        if not wanted:
            continue
        most = int(run.tasks[name].sampling["max_tokens"])
        both: list[_Timed] = []
        for draw in (ours, theirs):
            done = len(both) * len(wanted)
            tell = partial(_tell, progress, name, done, 2 * len(wanted))
            both.append(_timed(draw, wanted, most, tell=tell))
        timing = Timing(
            task=name,
            run=run.label,
            peer=f"{peer} {version}",
            n=len(wanted),
            seconds=round(both[0].seconds, 3),
            peer_seconds=round(both[1].seconds, 3),
            tokens=sum(map(len, both[0].texts)),
            peer_tokens=sum(map(len, both[1].texts)),
            same_texts=sum(map(operator.eq, both[0].texts, both[1].texts)),
            dtype=info.dtype,
            device=info.device,
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_json(_file(run, name), asdict(timing))
        found.append(timing)
    return found


def _draw(completer: Completer, ids: tuple[int, ...], max_tokens: int) -> list[int]:
    ((completion,),) = completer.complete([Prompt(tokens=ids)], Sampling(max_tokens=max_tokens))
    tokens = list(completion.tokens)
    return tokens[:-1] if tokens and tokens[-1] in INFILL_STOP_IDS else tokens


def _import_transformers() -> tuple[Any, Any]:
    try:
        return importlib.import_module("torch"), importlib.import_module("transformers")
    except ImportError as error:
        raise PrerequisiteError(
            "--beside transformers needs torch and transformers: pip install -r "
            "requirements/reference.txt"
        ) from error


def _open_transformers(
    modules: tuple[Any, Any], folder: Path, *, info: CompleterInfo
) -> tuple[Draw, str]:
    torch, transformers = modules
    device = "cpu" if info.device == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise PrerequisiteError(f"torch does not see the {info.device} that ours runs on")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, info.dtype), local_files_only=True
    ).to(device)

    def draw(ids: tuple[int, ...], max_tokens: int) -> list[int]:
        read = torch.tensor([ids], device=device)
        drawn = model.generate(
            read,
            attention_mask=torch.ones_like(read),
            do_sample=False,
            max_new_tokens=max_tokens,
            eos_token_id=sorted(INFILL_STOP_IDS),
            pad_token_id=0,
        )
        tokens = [int(token) for token in drawn[0][len(ids) :]]
        return tokens[:-1] if tokens and tokens[-1] in INFILL_STOP_IDS else tokens

    return draw, str(transformers.__version__)


class _Timed(NamedTuple):
    seconds: float
    texts: list[list[int]]


def _timed(
    draw: Draw,
    prompts: Sequence[tuple[int, ...]],
    max_tokens: int,
    *,
    tell: Callable[[int], None],
) -> _Timed:
    """Draw once untimed, which loads and compiles, then all prompts in order.

    The first is as long as the longest prompt and like none of them, so that no engine has read
    any before its time is taken.
    """
    start, *rest = max(prompts, key=len)
    draw((start, *reversed(rest)), max_tokens)
    total, texts = 0.0, list[list[int]]()
    for prompt in prompts:
        began = time.monotonic()
        texts.append(draw(prompt, max_tokens))
        total += time.monotonic() - began
        tell(len(texts))
    return _Timed(total, texts)


def _tell(
    progress: Callable[[str, int, int], None], name: str, before: int, total: int, done: int
) -> None:
    progress(name, before + done, total)


def _prompts(task: TaskRun, limit: int | None) -> list[tuple[int, ...]]:
    known = [sample.prompt_tokens for sample in task.samples if sample.index == 0]
    return [tokens for tokens in known if tokens][:limit]


def _beside_table(timings: Sequence[Timing]) -> Table:
    rows = [
        (
            f"{each.run}, {each.task}",
            f"{each.seconds:,.1f} s",
            f"{each.peer_seconds:,.1f} s ({each.peer})",
            f"{each.peer_seconds / each.seconds:.2f}" if each.seconds else "-",
            f"{each.n:,}",
            f"{each.tokens:,} and {each.peer_tokens:,}",
            f"{each.same_texts:,}",
            f"{each.dtype}, {each.device}, batch 1, {each.measured[:10]}",
        )
        for each in timings
    ]
    head = ("run", "ours", "other", "other over ours", "n", "tokens", "same completion", "under")
    return Table(caption="The same prompts on one machine", head=head, rows=rows)


def _file(run: Run, name: str) -> Path:
    return RunFolder(run.tasks[name].out, name).path / _FILE


def _device(task: TaskRun) -> str:
    return " and ".join(sorted({str(session.get("device")) for session in task.sessions}))
