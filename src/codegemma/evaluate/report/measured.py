# SPDX-License-Identifier: Apache-2.0
"""The part of a report that holds figures: ours, the published ones beside them, and comparisons.

Every figure stands with its interval, n and effective n. A published figure of a model that was
not run says so; nothing is said to agree that was not measured in the same way.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from codegemma.evaluate.report.agreement import NOT_RUN, Agreement, agree, published_name
from codegemma.evaluate.report.compare import Pair
from codegemma.evaluate.report.document import (
    Block,
    Bullets,
    Mark,
    Paragraph,
    Plot,
    Section,
    Shares,
    Table,
)
from codegemma.evaluate.report.published import BENCHMARKS, MODELS, TITLES, find_benchmark
from codegemma.evaluate.report.runs import PASS, Run, TaskRun
from codegemma.evaluate.report.text import count, interval, number, p_value, unit_of

_INTERVALS = (
    "Intervals are at 95 %. Where items share a problem, as lines cut from one function do, whole "
    "problems are drawn again, and n says how many independent items they are worth if those of a "
    "problem are all alike. One sample a problem gives the share that passed; several give pass@k "
    "without bias."
)
_NO_CLAIM = (
    "A difference counts as shown only where its interval leaves 0 out and the paired test is "
    "below 0.05; otherwise no difference is shown, which does not say that there is none: the "
    "last column has the least one that 80 of 100 such comparisons would find. The p among all "
    "raises each p for the number of comparisons of headlines made here, or of all others (Holm)."
)
_PAIR_HEAD = (
    "task",
    "difference",
    "95 %",
    "p",
    "p among all",
    "verdict",
    "better in one alone",
    "n",
    "detectable",
)


def task_names(runs: Sequence[Run]) -> list[str]:
    """Name all tasks, those of the published table first and in its order."""
    names = dict.fromkeys(name for run in runs for name in run.tasks)
    known = [row.task for row in BENCHMARKS if row.task in names]
    return [*known, *(name for name in names if name not in known)]


def results(runs: Sequence[Run]) -> Section:
    """Give every metric of every run, with a plot of the headlines."""
    rows = [
        row for name in task_names(runs) for run in runs for row in _metric_rows(run, name, runs)
    ]
    blocks: list[Block] = [
        *_headline_plots(runs),
        Table(caption="All metrics", head=("task", "metric", "value", "95 %", "n"), rows=rows),
        Paragraph(text=_INTERVALS),
    ]
    remarks = [
        f"{run.label}, {name}: {remark}"
        for run in runs
        for name, task in run.tasks.items()
        for remark in _remarks(task)
    ]
    if remarks:
        blocks.append(Bullets(items=remarks))
    outcomes = _outcomes(runs)
    return Section(title="Results", blocks=[*blocks, outcomes] if outcomes.rows else blocks)


def beside_published(runs: Sequence[Run]) -> Section:
    """Give the published table with the runs' figures in it."""
    known = {run.label: published_name(run) for run in runs}
    head = ("benchmark", *(f"{run.label} (ours)" for run in runs), *TITLES, "n published", "source")
    rows: list[list[str]] = []
    for row in BENCHMARKS:
        ours = [_ours(run.tasks.get(row.task)) for run in runs]
        if not row.is_published and not any(ours):
            continue
        cells = [
            "-" if percent is None else f"{percent:.1f}{_paper(row.paper_percents, index, percent)}"
            for index, percent in enumerate(row.percents)
        ]
        source = row.source if row.is_published else f"{row.source}: a picture only"
        rows.append([row.title, *(cell or "-" for cell in ours), *cells, f"{row.n:,}", source])
    not_run = [
        title for title, name in zip(TITLES, MODELS, strict=True) if name not in known.values()
    ]
    unpublished = [row.title for row in BENCHMARKS if not row.is_published]
    blocks: list[Block] = [
        Table(caption="Per cent passed: ours, and what Google published", head=head, rows=rows),
        Paragraph(text=_not_run(not_run)),
        Paragraph(
            text=f"Published as a picture without numbers: {', '.join(unpublished)}. A second "
            "figure in brackets is the paper's, where it differs from the card's."
        ),
    ]
    held = [
        (run, found)
        for run in runs
        for row in BENCHMARKS
        if (task := run.tasks.get(row.task)) is not None
        and (found := agree(run, task, row)) is not None
    ]
    blocks += _agreements(held) if held else [_no_agreement()]
    return Section(title="Beside the published figures", blocks=blocks)


def comparison(pairs: Sequence[Pair]) -> Section:
    """Give the paired comparisons, with a plot of the differences of the headlines."""
    headlines = [pair for pair in pairs if pair.is_headline]
    others = [pair for pair in pairs if not pair.is_headline]
    marks = [(_pair_label(pair), [mark]) for pair in headlines if (mark := _difference_mark(pair))]
    plot = Plot(
        title="Differences, in points of per cent",
        series=("difference",),
        rows=marks,
        has_zero_line=True,
    )
    caption = "Differences in points, problem by problem"
    rows = list(map(_pair_row, headlines))
    table = Table(caption=caption, head=_PAIR_HEAD, rows=rows)
    blocks: list[Block] = [plot, table] if marks else [table]
    if others:
        rows = list(map(_pair_row, others))
        blocks.append(
            Table(caption="The same, by other metrics and by part", head=_PAIR_HEAD, rows=rows)
        )
    return Section(title="Comparison", blocks=[*blocks, Paragraph(text=_NO_CLAIM)])


def _pair_label(pair: Pair) -> str:
    what = ", ".join(filter(None, (pair.task, pair.part, "" if pair.is_headline else pair.metric)))
    return f"{what}: {pair.second} over {pair.first}"


def _pair_row(pair: Pair) -> list[str]:
    found, label = pair.comparison, _pair_label(pair)
    if found is None:
        return [label, *["-"] * 4, f"{pair.verdict}: {pair.remark}", "-", "-", "-"]
    ends = {"low": found.low, "high": found.high, "n": found.n, "n_eff": found.n_eff}
    return [
        label,
        _points(found.difference),
        f"{_points(found.low)} to {_points(found.high)}",
        f"{p_value(found.p_value)} ({found.test})",
        "-" if pair.adjusted_p is None else p_value(pair.adjusted_p),
        "; ".join(filter(None, (pair.verdict, pair.remark))),
        f"{found.only_second} against {found.only_first}",
        count(ends),
        f"{100 * found.min_detectable:.1f} points",
    ]


def _difference_mark(pair: Pair) -> Mark | None:
    found = pair.comparison
    if found is None:
        return None
    span = f"{_points(found.low)} to {_points(found.high)}"
    text = f"{_points(found.difference)} points ({span}), {pair.verdict}"
    return Mark(series=0, value=found.difference, low=found.low, high=found.high, text=text)


def _metric_rows(run: Run, name: str, runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    """Lay out all metrics of a task of a run, and those of its parts."""
    task = run.tasks.get(name)
    if task is None:
        return
    label = name if len(runs) == 1 else f"{name}, {run.label}"
    parts = {label: task.metrics} | {f"{label}, {part}": m for part, m in task.parts.items()}
    for title, metrics in parts.items():
        for metric, found in metrics.items():
            unit = unit_of(found)
            value = number(found["value"], unit)
            yield title, metric, value, interval(found, unit), count(found)


def _headline_plots(runs: Sequence[Run]) -> Iterator[Plot]:
    """Draw the headlines, those with one unit together, the published figure as a series."""
    rows: dict[str, list[tuple[str, list[Mark]]]] = {}
    series = [run.label for run in runs]
    for name in task_names(runs):
        marks: list[Mark] = []
        unit = ""
        for index, run in enumerate(runs):
            task = run.tasks.get(name)
            if task is None or not task.headline:
                continue
            unit, found = task.unit(task.headline), task.metrics[task.headline]
            text = f"{number(found['value'], unit)} ({interval(found, unit)}), n {count(found)}"
            ends = {end: float(found[end]) for end in ("value", "low", "high")}
            marks.append(Mark(series=index, text=text, **ends))
            row = find_benchmark(name)
            published = agree(run, task, row) if row else None
            if published is not None:
                value = published.percent / 100
                text = f"published {published.model}: {published.percent} %"
                marks.append(Mark(series=len(runs), value=value, low=value, high=value, text=text))
        if marks:
            rows.setdefault(unit, []).append((name, marks))
    for unit, found in rows.items():
        has_published = any(m.series == len(runs) for _, marks in found for m in marks)
        names = (*series, "published") if has_published else tuple(series)
        title = (
            "Headline metrics" if unit == "fraction" else f"Headline metrics, {unit or 'numbers'}"
        )
        yield Plot(title=title, series=names, rows=found, unit=unit)


def _outcomes(runs: Sequence[Run]) -> Shares:
    rows: list[tuple[str, Counter[str]]] = []
    for name in task_names(runs):
        for run in runs:
            outcomes = run.tasks[name].outcomes if name in run.tasks else {}
            if outcomes:
                label = name if len(runs) == 1 else f"{name}, {run.label}"
                words = {name.replace("_", " "): found for name, found in outcomes.items()}
                rows.append((label, Counter(words)))
    parts = sorted(
        {part for _, found in rows for part in found}, key=lambda part: (part != "pass", part)
    )
    return Shares(
        title="What became of the programs",
        parts=parts,
        rows=[(label, [found[part] for part in parts]) for label, found in rows],
    )


def _remarks(task: TaskRun) -> Iterator[str]:
    result = task.result
    notes = (
        ("num_missing", "problems have no sample"),
        ("num_refused", "samples stand for prompts longer than the model's context"),
        ("num_prompts_cut", "prompts were cut to the model's context"),
    )
    for key, words in notes:
        if result.get(key):
            yield f"{result[key]:,} {words}"
    if result.get("limit"):
        yield f"only the first {result['limit']:,} problems were run"
    weaker = [name for name in result.get("backends", ()) if name != "bubblewrap"]
    if weaker:
        yield f"programs were isolated by {', '.join(weaker)}, which is weaker than bubblewrap"
    changed = task.check_items()
    if changed:
        yield changed


def _not_run(titles: Sequence[str]) -> str:
    """Say of which published figures nothing was measured here."""
    rest = "Of the other models, rows without a figure of ours: the same."
    if not titles:
        return f"Rows without a figure of ours: {NOT_RUN}."
    return f"{', '.join(titles)}: {NOT_RUN}. {rest if len(titles) < len(TITLES) else ''}".strip()


def _agreements(held: Sequence[tuple[Run, Agreement]]) -> list[Block]:
    rows = [
        (
            found.benchmark.title,
            run.label,
            _ours(run.tasks[found.benchmark.task]),
            f"{found.percent}",
            found.verdict,
            found.benchmark.unstated,
        )
        for run, found in held
    ]
    head = ("benchmark", "run", "ours", "published", "verdict", "unstated by the sources")
    return [Table(caption="The same model, here and as published", head=head, rows=rows)]


def _no_agreement() -> Paragraph:
    return Paragraph(
        text="None of the models run here is one whose figures were published: nothing agrees or "
        "disagrees with them."
    )


def _ours(task: TaskRun | None) -> str:
    if task is None or not task.headline:
        return ""
    found, unit = task.metrics[task.headline], task.unit(task.headline)
    if unit != "fraction":
        return f"{number(found['value'], unit)} ({interval(found, unit)}; n {count(found)})"
    name = "" if task.headline == PASS else f" {task.headline}"
    return f"{100 * found['value']:.1f}{name} ({interval(found, unit)}; n {count(found)})"


def _paper(paper: Sequence[float], index: int, percent: float) -> str:
    if not paper or abs(paper[index] - percent) < 1e-9:
        return ""
    return f" ({paper[index]})"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}"
