# SPDX-License-Identifier: Apache-2.0
"""A prepared data set as one page: what went in, what was left out and why, what comes out.

Reads `manifest.json` and `report.json` of `codegemma prepare` and gives sections; nothing is
measured here. Paths and texts of sources may be hostile; `page` escapes them.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from codegemma.evaluate.report.document import (
    Bars,
    Block,
    Bullets,
    Mark,
    Paragraph,
    Plot,
    Section,
    Shares,
    Table,
)
from codegemma.evaluate.report.page import render_document
from codegemma.evaluate.statistics import wilson

_MAX_HITS: Final = 500
_MAX_REPOSITORIES: Final = 1000
_STAGES: Final = {
    "removed": "asked for",
    "license": "licence",
    "filter": "quality",
    "unsafe": "unsafe",
    "contamination": "contamination",
    "copies": "copies",
    "share": "share",
}
"""What a reader is told of a stage that drops whole files."""


def render_dataset(manifest: Mapping[str, Any], report: Mapping[str, Any], *, name: str) -> str:
    """Write the page of a data set.

    Args:
        manifest: `manifest.json`.
        report: `report.json`.
        name: Of the data set.
    """
    versions = manifest["versions"]
    note = (
        f"Prepared with codegemma {versions['codegemma']}, rules {versions.get('rules', '?')}, "
        f"recipe {manifest['settings']['recipe']['name']}."
    )
    found = sections(manifest, report)
    return render_document(found, title=f"Data set {name}", kind="audit", note=note)


def sections(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> list[Section]:
    """Give the sections of the page, in their order."""
    return [
        Section(title="What it is", blocks=list(_summary(manifest, report))),
        Section(title="Funnel", blocks=list(_funnel(report["funnel"]))),
        Section(title="Left out", blocks=list(_drops(manifest["dropped"], report))),
        Section(title="Examples", blocks=list(_examples(manifest, report.get("rates")))),
        Section(title="Copies", blocks=list(_copies(manifest["dropped"]["copies"], report))),
        Section(title="Contamination", blocks=list(_contamination(manifest, report))),
        Section(title="Personal data and safety", blocks=list(_safety(manifest, report))),
        Section(title="Repositories", blocks=list(_repositories(manifest, report))),
    ]


def _summary(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Block]:
    settings = manifest["settings"]
    recipe = settings["recipe"]
    warnings = [report["unsafe"]["warning"]]
    if not manifest["totals"]["heldout"]["repositories"]:
        warnings.append("Nothing is held out: no held-out loss can be measured.")
    if not settings.get("benchmarks") or not _has_benchmarks(settings):
        warnings.append("NO EVALUATION DATA WAS GIVEN: nothing was decontaminated.")
    if not recipe["permissive_only"]:
        warnings.append("Licences were not looked at: code under any licence, or none, is in it.")
    yield Bullets(items=[warning for warning in warnings if warning])
    rows = [
        [part, *(f"{row[key]:,}" for key in ("repositories", "files")), _size(row["bytes"])]
        + [f"{row[key]:,}" for key in ("records", "tokens")]
        for part, row in manifest["totals"].items()
    ]
    head = ["part", "repositories", "files", "text", "records", "tokens uncut"]
    yield Table(caption="What came out", head=head, rows=rows)
    facts = [
        ["context", f"{recipe['context_tokens']:,} tokens"],
        ["languages", ", ".join(recipe["languages"] or recipe["extensions"])],
        ["tokenizer, sha256", manifest["tokenizer"]["sha256"]],
        ["seed of the held-out draw", str(settings["seed"])],
        ["thresholds", f"version {settings['thresholds']}"],
        ["removal lists", ", ".join(settings["removals"]) or "none"],
        *([name, text] for name, text in manifest["versions"].items()),
    ]
    yield Table(caption="How it was made", head=["", ""], rows=facts, is_detail=True)


def _has_benchmarks(settings: Mapping[str, Any]) -> bool:
    """Tell whether any evaluation data was given; the hash of no file is that of nothing."""
    return not str(settings["benchmarks"]).startswith("e3b0c44298fc1c14")


def _funnel(funnel: Mapping[str, Mapping[str, Sequence[int]]]) -> Iterator[Block]:
    if not funnel:
        yield Paragraph(text="No file was read.")
        return
    stages = [stage for stage in next(iter(funnel.values())) if stage != "read"]
    rows: list[tuple[str, list[int]]] = []
    for language, row in sorted(funnel.items(), key=lambda item: -item[1]["read"][1]):
        left = [row["read"][1], *(row[stage][1] for stage in stages)]
        lost = [before - after for before, after in itertools.pairwise(left)]
        rows.append((language, [left[-1] // 1000, *(size // 1000 for size in lost)]))
    parts = ["kept", *(_STAGES.get(stage, stage) for stage in stages)]
    used = [place for place in range(len(parts)) if any(row[1][place] for row in rows)]
    yield Shares(
        title="What became of the text that was read, in kilobytes",
        parts=[parts[place] for place in used],
        rows=[(language, [counts[place] for place in used]) for language, counts in rows],
    )
    for unit, place in (("files", 0), ("megabytes", 1)):
        yield Table(
            caption=f"Left after each stage, in {unit}",
            head=["language", "read", *(_STAGES.get(stage, stage) for stage in stages)],
            rows=[
                [
                    language,
                    *(
                        f"{row[stage][0]:,}" if place == 0 else f"{row[stage][1] / 1e6:,.2f}"
                        for stage in ("read", *stages)
                    ),
                ]
                for language, row in funnel.items()
            ],
            is_detail=place == 0,
        )


def _drops(
    dropped: Mapping[str, Mapping[str, Mapping[str, int]]], report: Mapping[str, Any]
) -> Iterator[Block]:
    samples: Mapping[str, Mapping[str, Sequence[str]]] = report["samples"]
    by_language: Mapping[str, Mapping[str, Any]] = report.get("dropped", {})
    yield Paragraph(
        text="Every file that was left out has one reason, the first that held. Stage read is what "
        "never was decoded, stage pack parts of files that no budget holds."
    )
    rules = [
        (
            rule if rule.startswith(stage) else f"{stage}: {rule}",
            row["bytes"],
            f"{_files(row['files'])}, {_size(row['bytes'])}",
        )
        for stage, rows in dropped.items()
        for rule, row in rows.items()
    ]
    largest = sorted(rules, key=lambda rule: -rule[1])[:15]
    if largest:
        yield Bars(title="The reasons that took most, by bytes", rows=largest)
    yield Table(
        caption="All reasons, by language and with examples",
        head=["stage", "rule", "files", "text", "files by language", "such as"],
        rows=[
            [
                stage,
                rule,
                f"{row['files']:,}",
                _size(row["bytes"]),
                "\n".join(_languages(by_language.get(stage, {}).get(rule, {}))),
                "\n".join(samples.get(stage, {}).get(rule, ())),
            ]
            for stage, rows in dropped.items()
            for rule, row in rows.items()
        ],
    )


def _languages(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Name languages with their files, the most first."""
    for language, row in sorted(counts.items(), key=lambda item: -item[1]["files"]):
        yield f"{language} {row['files']:,}"


def _examples(manifest: Mapping[str, Any], rates: Mapping[str, Any] | None) -> Iterator[Block]:
    if not rates or not rates["segments"]:
        yield Paragraph(text="No example was drawn.")
        return
    recipe = manifest["settings"]["recipe"]
    yield Paragraph(
        text=f"Measured on {rates['segments']:,} segments with {rates['files']:,} files and "
        f"{rates['tokens']:,} tokens, drawn as training draws them in epoch 0 with seed 0."
    )
    kinds = recipe["split_kinds"]
    total = sum(kinds.values())
    asked: list[tuple[str, int, int, float]] = [
        ("cut, of files long enough", rates["cut"], rates["eligible"], recipe["fim_fraction"]),
        ("prefix first (PSM), of cut", rates["psm"], rates["cut"], recipe["psm_fraction"]),
        (
            "path line shown",
            rates["with_path"],
            rates["files"],
            1 - recipe["no_path_fraction"],
        ),
        *(
            (f"split {kind}", rates["kinds"].get(kind, 0), rates["cut"], weight / total)
            for kind, weight in kinds.items()
        ),
    ]
    rows = [(label, _marks(part, whole, wanted)) for label, part, whole, wanted in asked if whole]
    yield Plot(title="Shares drawn and shares asked for", series=("drawn", "asked"), rows=rows)
    yield Paragraph(
        text=f"Of the cut files {_percent(rates['empty_suffix'], rates['cut'])} have an empty "
        f"suffix. {rates['fallbacks']:,} segments were left uncut for want of room. Rows of whole "
        f"segments have {100 * rates['padding_fraction']:.2f} % padding. A split of a kind that "
        "finds nothing to cut in a text counts as random."
    )
    step = recipe["context_tokens"] // 8
    yield _histogram(
        "Segments by tokens",
        [(f"{i * step + 1:,} to {(i + 1) * step:,}", n) for i, n in enumerate(_sizes(rates))],
    )
    yield _histogram("Segments by files", _ranges(rates["files_per_segment"]))
    yield _histogram("Middles by characters", _ranges(rates["middle_chars"]))


def _ranges(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Name the ranges that end at powers of two."""
    ends = [(int(end), count) for end, count in counts.items()]
    return [
        (f"{end:,}" if end <= 2 else f"{end // 2 + 1:,} to {end:,}", count) for end, count in ends
    ]


def _sizes(rates: Mapping[str, Any]) -> Sequence[int]:
    return rates["segment_sizes"]


def _marks(part: int, whole: int, wanted: float) -> list[Mark]:
    low, high = wilson(part / whole, float(whole))
    words = f"{_percent(part, whole)} of {whole:,}"
    drawn = Mark(series=0, value=part / whole, low=low, high=high, text=words)
    return [
        drawn,
        Mark(series=1, value=wanted, low=wanted, high=wanted, text=f"{100 * wanted:.1f} %"),
    ]


def _histogram(title: str, counts: Sequence[tuple[str, int]]) -> Bars:
    whole = sum(count for _, count in counts)
    return Bars(
        title=title,
        rows=[(name, count, f"{count:,} ({_percent(count, whole)})") for name, count in counts],
    )


def _copies(rules: Mapping[str, Mapping[str, int]], report: Mapping[str, Any]) -> Iterator[Block]:
    if not rules:
        yield Paragraph(text="None was found.")
        return
    names = {
        "exact_copy": "the same text, byte by byte",
        "folded_copy": "the same text but for white space, such as indentation",
        "near_copy": "at least as like as the threshold, by MinHash, verified",
        "repository_copy": "of a repository most of whose files are another's",
        "heldout_relative": "altered from code that is held out, or in a folder full of such files",
    }
    samples = report["samples"].get("copies", {})
    yield Table(
        caption="Files dropped as copies; one of each stays",
        head=["rule", "what", "files", "text", "such as"],
        rows=[
            [
                rule,
                names.get(rule, ""),
                f"{row['files']:,}",
                _size(row["bytes"]),
                "\n".join(samples.get(rule, ())),
            ]
            for rule, row in rules.items()
        ],
    )


def _contamination(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Block]:
    hits: Sequence[Mapping[str, str]] = report["contamination"]
    if not _has_benchmarks(manifest["settings"]):
        yield Paragraph(text="NO EVALUATION DATA WAS GIVEN: nothing was looked for.")
        return
    if not hits:
        yield Paragraph(text="No file shares a telling run of words with the evaluation data.")
        return
    files_of: dict[str, set[str]] = {}
    items_of: dict[str, set[str]] = {}
    for hit in hits:
        name = hit["item"].rpartition("#")[0]
        files_of.setdefault(name, set()).add(hit["file"])
        items_of.setdefault(name, set()).add(hit["item"])
    yield Paragraph(
        text=f"{_files(len({hit['file'] for hit in hits}))} sharing text with evaluation data "
        "dropped. Renamed and translated copies are not found."
    )
    counts = sorted(((name, len(files)) for name, files in files_of.items()), key=lambda c: -c[1])
    rows = [(name, n, f"{_files(n)}, {_items(len(items_of[name]))}") for name, n in counts]
    yield Bars(title="Files by evaluation set, and the items in them", rows=rows)
    shown = f"the first {_MAX_HITS:,} of {len(hits):,}" if len(hits) > _MAX_HITS else "all of them"
    yield Table(
        caption=f"Hits, {shown}",
        head=["file", "item", "words shared"],
        rows=[[hit["file"], hit["item"], hit["words"]] for hit in hits[:_MAX_HITS]],
        is_detail=True,
    )


def _safety(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Block]:
    names = {
        "key": "keys, tokens, passwords",
        "email": "e-mail addresses",
        "ip": "IP addresses",
        "name": "names beside a mark",
        "data_uri": "data URIs",
    }
    counts: Mapping[str, int] = report["redacted"]
    if not manifest["settings"]["recipe"]["redact"]:
        yield Paragraph(text="NOTHING WAS REPLACED: the recipe leaves personal data as it is.")
    yield Bars(
        title="Values replaced",
        rows=[
            (text, counts.get(kind, 0), f"{counts.get(kind, 0):,}") for kind, text in names.items()
        ],
    )
    lists = [f"list {text.partition(' ')[0]}" for text in report["unsafe"]["lists"]]
    yield Bullets(items=[*lists, report["unsafe"]["warning"]] if lists else [])
    if report["unsafe"]["warning"]:
        yield Paragraph(text=report["unsafe"]["warning"])


def _repositories(manifest: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Block]:
    rows: Sequence[Mapping[str, Any]] = manifest["repositories"]
    licences: Counter[str] = Counter()
    for row in rows:
        licences[row["license"] or "unknown"] += row["bytes"]
    yield Bars(
        title="Text by licence of the repository",
        rows=[(name, size, _size(size)) for name, size in licences.most_common(20) if size],
    )
    ordered = sorted(rows, key=lambda row: -row["tokens"])
    shown = f"the largest {_MAX_REPOSITORIES:,}" if len(rows) > _MAX_REPOSITORIES else "all"
    yield Table(
        caption=f"Repositories, {shown}",
        head=["name", "version", "licence", "part", "files", "of", "text", "tokens"],
        rows=[
            [row["name"], row["version"], row["license"], row["part"]]
            + [f"{row[key]:,}" for key in ("files", "input_files")]
            + [_size(row["bytes"]), f"{row['tokens']:,}"]
            for row in ordered[:_MAX_REPOSITORIES]
        ],
        is_detail=True,
    )
    refused = report.get("refused")
    if refused:
        yield Table(
            caption=f"{len(refused):,} repositories that could not be read",
            head=["name", "why"],
            rows=[[name, fault] for name, fault in refused],
        )
    barred = report["not_permissive"]
    if barred:
        yield Table(
            caption=f"{len(barred):,} repositories kept out by their licence",
            head=["name", "version", "licence"],
            rows=[[name, version, found or "unknown"] for name, version, found in barred],
            is_detail=True,
        )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.2f} MB" if size_bytes >= 10_000 else f"{size_bytes:,} B"
