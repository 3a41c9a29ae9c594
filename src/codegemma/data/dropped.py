# SPDX-License-Identifier: Apache-2.0
"""Keep the texts of a few files that were left out, so that a person can judge the rules.

Reads the samples that `report.json` names and their sources once more; writes `dropped.jsonl.gz`.
Secrets and personal data are replaced in it as in what is trained on. Files that someone asked to
be left out and unsafe ones are only counted, so there is never a text of them.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from codegemma.data import output, read, redact, steps, texts
from codegemma.data.pipeline import Settings

NAME: Final = "dropped.jsonl.gz"


def keep(out: Path, settings: Settings) -> int:
    """Write the texts of the samples of a prepared data set, unless they are there.

    Args:
        out: Its folder.
        settings: What it was made with.

    Returns:
        How many were written, 0 where there were some already.

    Raises:
        ConfigError: Another run writes into the folder.
    """
    if (out / NAME).exists():
        return 0
    with output.locked(out):
        return _write(out, settings)


def _write(out: Path, settings: Settings) -> int:
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rules = {
        sample: (stage, rule)
        for stage, by_rule in report["samples"].items()
        for rule, samples in by_rule.items()
        for sample in samples
    }
    partial = out / f".{NAME}"
    count = 0
    with gzip.GzipFile(partial, "wb", mtime=0) as file:
        for row in _rows(rules, settings):
            file.write(json.dumps(row).encode() + b"\n")
            count += 1
    partial.replace(out / NAME)
    return count


def _rows(rules: dict[str, tuple[str, str]], settings: Settings) -> Iterator[dict[str, str]]:
    found = read.find_repositories(settings.sources, each=settings.each) if settings.sources else []
    for location in [*found, *texts.find_texts(settings.texts)]:
        if not any(sample.startswith(f"{location.name}/") for sample in rules):
            continue
        repository = steps.read_input(location, recipe=settings.recipe).repository
        for file in redact.redact(repository.files, tagger=settings.tagger)[0]:
            stage, rule = rules.get(f"{location.name}/{file.path}", ("", ""))
            if not rule:
                continue
            yield {
                "stage": stage,
                "rule": rule,
                "repository": repository.origin,
                "path": file.path,
                "text": file.text,
            }
