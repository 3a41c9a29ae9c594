# SPDX-License-Identifier: Apache-2.0
r"""A model against the n-gram baseline on the tests of repositories, paired snippet by snippet.

The baseline is counted on the model's own training data and completes from the text before the
cursor alone. Both are asked for the same snippets, with and without other files of the repository,
greedily, a prompt at a time, and trimmed alike. A run that was stopped goes on from its folder.

Example:
    python benchmarks/bench_repository.py --data data --out runs --functions 8 \\
        --repository . 'python -m pytest -q tests/text' 'codegemma 0.1.0'
"""

import argparse
import os
import statistics
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codegemma.completion import CompleterInfo, Completion, Delta, Loglikelihood, Prompt, Sampling
from codegemma.data.loader import ShardReader
from codegemma.evaluate.drawing import DrawSettings
from codegemma.evaluate.folder import RunFolder
from codegemma.evaluate.repository import Command, Repository
from codegemma.evaluate.runner import RunSettings, run_task
from codegemma.evaluate.statistics import compare
from codegemma.evaluate.tasks import repo
from codegemma.generate.load import load_engine
from codegemma.generate.ngram import NgramCompleter
from codegemma.sandbox.run import Sandbox
from ngram_baseline import load_or_count
from results import Row, cpu_name, write_rows

_CONTEXT_CHARS = 400
_METRICS = {"trimmed": "pass@1", "exact-match": "exact match", "edit-similarity": "edit similarity"}


class _Elsewhere:
    """A tokenizer that no prompt is fitted with: the baseline reads text, and its end alone."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")


class _Baseline:
    """The n-gram model as a completer of what stands before the cursor."""

    def __init__(self, ngram: NgramCompleter) -> None:
        self._ngram = ngram
        self.tokenizer = _Elsewhere()
        self.info = CompleterInfo(name=ngram.info.name, context_length=1 << 30, mode="psm")

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, cancel: threading.Event | None = None
    ) -> list[tuple[Completion, ...]]:
        shown = [Prompt(prefix=prompt.prefix[-_CONTEXT_CHARS:]) for prompt in prompts]
        return self._ngram.complete(shown, sampling, cancel)

    def stream(
        self, prompt: Prompt, sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        return self._ngram.stream(prompt, sampling, cancel)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Loglikelihood]:
        return self._ngram.loglikelihood(pairs)


def main() -> None:
    """Run both on every repository, compare, write the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--data", type=Path, required=True, help="training data of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--functions", type=int, default=30, help="most functions of a repository")
    parser.add_argument(
        "--repository", nargs=3, action="append", required=True,
        metavar=("PATH", "TEST", "NAME"),
    )  # fmt: skip
    options = parser.parse_args()
    engine = load_engine(options.model)
    ngram = load_or_count(ShardReader(options.data, "train"), engine.tokenizer)
    baseline = _Baseline(NgramCompleter(ngram, tokenizer=engine.tokenizer))
    models = {options.model: engine, baseline.info.name: baseline}
    rows: list[Row] = []
    for path, test, name in options.repository:
        command = Command.parse(test, environment=None)
        with Repository(Path(path), test=command) as repository:
            rows += _rows(repository, name, models, options.out, options.functions)
    print(write_rows("repository", rows, device=cpu_name()))
    for row in rows:
        peer = f"  {row.peer} {row.peer_value:.3f}" if row.peer_value is not None else ""
        print(f"{row.name:58} {row.value:8.3f} [{row.low}, {row.high}] n {row.n}{peer}  {row.note}")


def _rows(
    repository: Repository, name: str, models: dict[str, Any], out: Path, functions: int
) -> list[Row]:
    items: dict[str, dict[tuple[str, str], float]] = {}
    latency: dict[str, dict[str, list[float]]] = {}
    cut: dict[str, int] = {}
    ids: list[str] = []
    clusters: dict[str, str] = {}
    groups: dict[str, str] = {}
    with Sandbox(num_workers=os.cpu_count() or 1, binds=repository.binds) as sandbox:
        for model, completer in models.items():
            # The functions are found once: the second run masks what the first did.
            folder = out / model
            first = out / next(iter(models)) / f"repo.{repository.name}" / "survey.json"
            own = folder / f"repo.{repository.name}" / "survey.json"
            if first.exists() and not own.exists():
                own.parent.mkdir(parents=True, exist_ok=True)
                own.write_bytes(first.read_bytes())
            task = repo.make_task(repository, sandbox=sandbox, out=folder, max_functions=functions)
            run_task(
                task,
                out=folder,
                model=model,
                open_completer=lambda completer=completer: completer,
                sandbox=sandbox,
                settings=RunSettings(draw=DrawSettings(batch=1)),
            )
            problems = task.problems(Path())
            ids = [problem.task_id for problem in problems]
            clusters = {problem.task_id: problem.cluster for problem in problems}
            groups = {problem.task_id: problem.group for problem in problems}
            read = RunFolder(folder, task.name)
            items[model] = {
                (key.variant, key.task_id): score.value for key, score in read.scores().items()
            }
            samples = read.samples()
            cut[model] = sum(sample.is_prompt_cut for sample in samples.values())
            latency[model] = {}
            for (task_id, _), sample in samples.items():
                latency[model].setdefault(groups[task_id], []).append(sample.wall_s * 1000)
    count = len(set(clusters.values()))
    note = f"commit {repository.commit[:10]}, greedy, {count} functions"
    rows = [
        row
        for group in ("", *dict.fromkeys(groups.values()))
        for row in _compared(
            f"{name}: {group or 'all'}",
            [one for one in ids if not group or groups[one] == group],
            items,
            clusters,
            note,
        )
    ]
    for model, by_group in latency.items():
        rows += [
            Row(
                name=f"{name}: {group}: latency of {model}",
                value=statistics.median(spent),
                unit="ms",
                n=len(spent),
                low=min(spent),
                high=max(spent),
                note="median, least and most; wall clock, the machine not alone",
            )
            for group, spent in by_group.items()
        ]
        rows.append(
            Row(
                name=f"{name}: prompts of {model} cut to its context",
                value=cut[model] / len(ids),
                unit="fraction",
                n=len(ids),
            )
        )
    return rows


def _compared(
    name: str,
    ids: Sequence[str],
    items: dict[str, dict[tuple[str, str], float]],
    clusters: dict[str, str],
    note: str,
) -> list[Row]:
    ours, theirs = items
    rows = []
    for variant, metric in _METRICS.items():
        first = [items[theirs][variant, one] for one in ids]
        second = [items[ours][variant, one] for one in ids]
        found = compare(first, second, [clusters[one] for one in ids])
        says = "no difference shown" if found.low <= 0 <= found.high else "a difference"
        rows.append(
            Row(
                name=f"{name}: {metric}: {ours} minus {theirs}",
                value=found.difference,
                unit="fraction",
                n=found.n,
                low=found.low,
                high=found.high,
                note=(
                    f"{ours} {statistics.mean(second):.3f}, {theirs} {statistics.mean(first):.3f}; "
                    f"{found.only_second} better, {found.only_first} worse; p {found.p_value:.3f}, "
                    f"effective n {found.n_eff:.0f}, {found.method}: {says}; {note}"
                ),
            )
        )
    return rows


if __name__ == "__main__":
    main()
