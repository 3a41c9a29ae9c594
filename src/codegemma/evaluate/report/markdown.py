# SPDX-License-Identifier: Apache-2.0
"""A report as a Markdown model card, with the metadata that the Hugging Face hub reads at its top.

Plots are left out: the tables hold their numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from codegemma.evaluate.report.card import Report, sections
from codegemma.evaluate.report.document import Block, Bullets, Paragraph, Section, Table
from codegemma.evaluate.report.published import find_benchmark
from codegemma.evaluate.report.runs import TaskRun
from codegemma.evaluate.report.text import as_markdown, count, interval, visible

_HUB_LICENCES: Final = {"Apache-2.0": "apache-2.0", "MIT": "mit", "gemma": "gemma"}
_NO_MARKUP: Final = str.maketrans("<>[]`", "()()'")


def render_markdown(report: Report) -> str:
    """Write the card, its metadata first."""
    lines = ["---", _metadata(report).strip(), "---", f"# {as_markdown(report.title)}", ""]
    lines += [
        f"Measured with codegemma {as_markdown(report.version)}, {as_markdown(report.made)}. Every "
        "figure is of the runs named here.",
        "",
    ]
    for section in sections(report):
        lines += _section(section, depth=2)
    return "\n".join(lines).rstrip() + "\n"


def _metadata(report: Report) -> str:
    """Write the YAML that the hub shows: licence, tags, and the first run's results.

    Source: the hub's format of model cards, "model-index".
    """
    from huggingface_hub import EvalResult, ModelCardData

    facts, run = report.facts[0], report.runs[0]
    known: dict[str, Any] = {"language": "code", "tags": ["code", "fill-in-the-middle", "gemma"]}
    licence = facts.licence
    if licence in _HUB_LICENCES:
        known["license"] = _HUB_LICENCES[licence]
    elif licence:
        known |= {"license": "other", "license_name": _plain(licence)}
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_name=_plain(row.title if (row := find_benchmark(name)) else name),
            dataset_type=_plain(name),
            metric_type=_plain(metric),
            metric_name=_plain(_metric_name(task, metric)),
            metric_value=round(float(task.metrics[metric]["value"]), 6),
        )
        for name, task in run.tasks.items()
        for metric in task.metrics
    ]
    data: Any = ModelCardData(  # its methods have no types
        model_name=_plain(facts.name) or "model",
        eval_results=results or None,
        pipeline_tag="text-generation",
        **known,
    )
    return str(data.to_yaml())


def _plain(text: str) -> str:
    """Write text for the metadata, which some readers take for Markdown: one line, no markup."""
    return " ".join(visible(text).translate(_NO_MARKUP).split())


def _metric_name(task: TaskRun, metric: str) -> str:
    found, unit = task.metrics[metric], task.unit(metric)
    limit = task.result.get("limit")
    part = f", the first {limit} problems alone" if limit else ""
    return f"{metric}, 95 % interval {interval(found, unit)}, n {count(found)}{part}"


def _section(section: Section, *, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {as_markdown(section.title)}"
    yield ""
    for block in section.blocks:
        lines = list(_block(block))
        if lines:
            yield from lines
            yield ""
    for inner in section.sections:
        yield from _section(inner, depth=depth + 1)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield as_markdown(block.text) + (f" <{block.url}>" if block.url else "")
    elif isinstance(block, Bullets):
        for item in block.items:
            yield f"- {as_markdown(item)}"
    elif isinstance(block, Table) and block.rows:
        yield f"{as_markdown(block.caption)}:"
        yield ""
        yield _row(block.head)
        yield _row(["---"] * len(block.head))
        for row in block.rows:
            yield _row([as_markdown(cell) for cell in row])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
