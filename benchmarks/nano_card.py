# SPDX-License-Identifier: Apache-2.0
"""The model card of `nano`, from the logs of its training, its data's manifest and its figures.

Reads run folders of `codegemma train`, one for each part of the training in order, and rows of
`bench_nano.py`; gives text. What was measured or set is taken from them, never typed.
"""

import json
import os
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegemma.data.manifest import read_manifest
from codegemma.errors import ConfigError
from codegemma.model.config import ModelConfig
from codegemma.model.manifest import fingerprint
from codegemma.model.metadata import read_metadata
from codegemma.model.params import num_params
from codegemma.train.metrics import read_metrics
from results import Row

EXACT_GOAL = 0.12
NGRAM_GOAL = 2.0
ENDS_GOAL = 0.95
PARSES_GOAL = 0.85
_MOST_POINTS = 24
_LOSS_LINES = 10
_WIDTH = 100

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One run folder's share of the training.

    Args:
        config: What the run was started with.
        lines: Its log, up to where the next part took over.
        first: Step it began after.
        last: Last step of it that counts.
    """

    config: dict[str, Any]
    lines: list[Line]
    first: int
    last: int

    @property
    def steps(self) -> list[Line]:
        """The lines of the log about steps."""
        return [line for line in self.lines if line["kind"] == "step"]

    @property
    def decay_steps(self) -> int:
        """Steps of its decay, 0 when it did not come to it."""
        schedule = self.config["recipe"]["schedule"]
        start = schedule["num_steps"] - schedule["decay_steps"]
        return schedule["decay_steps"] if self.last > start else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The model whose weights a training began with.

    Args:
        fingerprint: Its sha256.
        step: Steps it had been trained for.
        trained_tokens: Tokens it had been trained on.
        card: Its model card, whose tables of the training the new card goes on with.
        dtype: Of the products in its training.
        middle_weight: Of a middle's tokens in its loss.
    """

    fingerprint: str
    step: int
    trained_tokens: int
    card: str
    dtype: str
    middle_weight: float


def read_origin(training: Mapping[str, Any], shipped: Path | None) -> Origin | None:
    """Read what a model's training began with: fresh weights (None), or those that ship now.

    Args:
        training: What the model records of its training.
        shipped: The folder of the model in the package, None if there is none.

    Raises:
        ConfigError: It began with other weights than those.
    """
    origin = training.get("origin")
    if origin is None:
        return None
    if shipped is None or fingerprint(shipped) != origin["fingerprint"]:
        raise ConfigError(
            f"the training began with the weights {origin['fingerprint'][:12]} of "
            f"{origin['name']}, which are not those in the package; its card cannot be told"
        )
    recipe = read_metadata(shipped).training["recipe"]
    return Origin(
        fingerprint=origin["fingerprint"],
        step=origin["step"],
        trained_tokens=origin["trained_tokens"],
        card=(shipped / "README.md").read_text(encoding="utf-8"),
        dtype=recipe["compute"]["dtype"],
        middle_weight=recipe["input"]["middle_weight"],
    )


def read_parts(runs: Sequence[Path], *, last_step: int) -> list[Part]:
    """Read the runs that made a model, in order; each goes on from a step of the one before.

    Raises:
        ConfigError: A run has no log, or does not begin within the one before.
    """
    logs: list[list[Line]] = []
    for run in runs:
        if not (run / "metrics.jsonl").is_file() or not (run / "config.json").is_file():
            raise ConfigError(f"{run} is no run of `codegemma train`: it has no log")
        logs.append(read_metrics(run / "metrics.jsonl"))
    starts = [next((line["step"] for line in log if line["kind"] == "start"), 0) for log in logs]
    if starts[0] != 0:
        raise ConfigError(f"{runs[0]} begins after step {starts[0]}; name the run before it first")
    parts: list[Part] = []
    for place, (run, log) in enumerate(zip(runs, logs, strict=True)):
        first = starts[place]
        last = starts[place + 1] if place + 1 < len(runs) else last_step
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        lines = [line for line in log if first <= line["step"] <= last]
        part = Part(config=config, lines=lines, first=first, last=last)
        # A run that was stopped ends between two lines.
        if not part.steps or part.steps[-1]["step"] <= last - config["recipe"]["run"]["log_every"]:
            raise ConfigError(
                f"{run} logs no steps from {first} to {last}; name the runs in the order they "
                "were made"
            )
        parts.append(part)
    return parts


def render_card(
    parts: Sequence[Part],
    *,
    data: Path,
    rows: Sequence[Row],
    mode: str,
    trained_tokens: int,
    left_out: Mapping[str, float],
    origin: Origin | None = None,
) -> str:
    """Write the card.

    Args:
        parts: Of `read_parts`.
        data: What the last of them was trained on.
        rows: Of `bench_nano.measure`.
        mode: Order of the completions.
        trained_tokens: Tokens of all parts together.
        left_out: Of `bench_nano.Sample`.
        origin: What the first of them began with, None for fresh weights.
    """
    manifest = read_manifest(data)
    model = parts[-1].config["recipe"]["model"]
    millions = num_params(ModelConfig(**model)) / 1e6
    if origin is not None:
        trained_tokens += origin.trained_tokens
    share = trained_tokens / manifest["totals"]["train"]["tokens"]
    amount = f"{trained_tokens / 1e6:.2f} million tokens, {share:.0%} of one pass over the data"
    sections = (
        f"""---
license: apache-2.0
language: code
tags: [code, fill-in-the-middle, gemma]
---
# nano

The embedded model of `codegemma`: the CodeGemma architecture and prompt formats at {millions:.1f}
million parameters, trained by this project's own pipeline on a CPU. It makes every command run
without a download. It is a demonstration and a test subject, not a coding assistant: use a
released CodeGemma model for work.""",
        _results(rows, mode=mode, left_out=left_out),
        _goals(rows, amount=amount),
        _training(parts, amount=amount, origin=origin),
        _curve(parts, origin=origin),
        _data(manifest),
        f"""## Limits

- It knows Python's looks, not what code means. Expect wrong names, wrong logic and repetition.
- Its context is {model["context_length"]:,} tokens, about {3 * model["context_length"]:,}
characters; what does not fit is cut.
- It saw Python alone. It was not tuned to follow instructions and holds no conversation.
- The likelihoods that `codegemma verify` holds it to are of eight short files, six of them in
languages it never saw: they tell a damaged file from a whole one, not a good model from a bad one.
- Parts of its training text may come back verbatim, under the licences of the packages above.""",
    )
    return _wrap("\n\n".join(sections)) + "\n"


def _results(rows: Sequence[Row], *, mode: str, left_out: Mapping[str, float]) -> str:
    by_name = {row.name: row for row in rows}

    def cells(label: str, name: str, *beside: str) -> str:
        row = by_name[name]
        others = "; ".join(
            f"{peer} {_value(by_name[f'{peer}-{part}'])}"
            for peer, part in (other.split("/") for other in beside)
        )
        return f"| {label} | {row.n:,} | {_value(row)} | {others} |"

    likelihoods = ("6-gram/middle-nll", "untrained/middle-nll")
    table = (
        cells("exact line", "exact-match", "6-gram/exact-match", "untrained/exact-match"),
        cells(
            "exact line that is not in the training text",
            "exact-match-new-lines",
            "6-gram/exact-match-new-lines",
        ),
        cells(
            "exact line that is in the training text too",
            "exact-match-known-lines",
            "6-gram/exact-match-known-lines",
        ),
        cells("ends by itself within 128 tokens", "ends-by-itself"),
        cells("file still parses, completion as drawn", "file-parses"),
        cells("file still parses, completion as commands show it", "file-parses-trimmed"),
        cells("middle, PSM, nats per byte", "middle-nll-psm", *likelihoods),
        cells("middle, SPM, nats per byte", "middle-nll-spm", *likelihoods),
    )
    untrained = (by_name["untrained-middle-nll"].note or "").split(";")[0].replace("psm", "PSM")
    copies = "".join(
        f" {name} is held out too but not measured: {share:.0%} of its longer lines stand in the "
        "training text, in a copy that another package made its own."
        for name, share in left_out.items()
    )
    return f"""## Held-out results

Lines of packages that training never saw: neither blank nor a comment, seed 0, uniform over all of
them, at most 2 a file. The prompt is the whole file around the line, cut to the context; greedy,
in {mode.upper()}, the order that its training measured best. First lines are compared without
trailing whitespace. Intervals are at 95 %: Wilson's, and for likelihoods a bootstrap over files.

| what | n | nano | beside it |
|---|---|---|---|
{_lines(table)}

All are measured on the same lines by `benchmarks/bench_nano.py`, but that the untrained twin
completed only the first {by_name["untrained-exact-match"].n} of them, and that its likelihoods are
in {untrained}. The 6-gram model with backoff was counted on the same training text and sees the
prefix alone. A likelihood covers the line, its end, and the end of the middle. Files that do not
parse as they are do not count among those that may still parse.{copies}"""


def _goals(rows: Sequence[Row], *, amount: str) -> str:
    by_name = {row.name: row for row in rows}
    exact, ngram = by_name["exact-match"], by_name["6-gram-exact-match"]
    ratio = exact.value / ngram.value if ngram.value else float("inf")
    goals = (
        ("exact lines", EXACT_GOAL, exact.value, "{:.1%}"),
        ("exact lines over the 6-gram model's", NGRAM_GOAL, ratio, "{:.1f} times"),
        ("ends by itself", ENDS_GOAL, by_name["ends-by-itself"].value, "{:.1%}"),
        ("file still parses, as drawn", PARSES_GOAL, by_name["file-parses"].value, "{:.1%}"),
    )
    table = (
        f"| {name} | {form.format(goal)} | {form.format(value)} | "
        f"{'reached' if value >= goal else 'missed'} |"
        for name, goal, value, form in goals
    )
    text = f"""## Against the goals

| what | goal | measured | |
|---|---|---|---|
{_lines(table)}"""
    if all(value >= goal for _, goal, value, _ in goals):
        return text
    return f"""{text}

That is after {amount}. Why the rest is missed, what was tried and measured, and what was not, is in
[decision 0004](../../../docs/decisions/0004-nano-settings.md)."""


def _training(parts: Sequence[Part], *, amount: str, origin: Origin | None) -> str:
    recipe = parts[-1].config["recipe"]
    model, data = recipe["model"], recipe["data"]
    minutes = parts[-1].steps[-1]["seconds"] / 60
    before = origin.step if origin else 0
    beginning = ""
    if origin is not None:
        beginning = f"""
- The last {parts[-1].last:,} steps, {minutes:.0f} minutes, began with the weights that were in the
package before (`{origin.fingerprint[:12]}`), with fresh moments of the optimiser."""
    table = (
        f"| {before + part.first + 1:,} to {before + part.last:,} | {part.steps[-1]['tokens']:,} | "
        f"{part.config['recipe']['schedule']['peak']} | "
        f"{part.config['recipe']['schedule']['warmup_steps']} | "
        f"{part.decay_steps or 'none'} | {part.config['inputs']['data'][:12]} | "
        f"{part.config['recipe']['compute']['dtype']} | "
        f"{part.config['recipe']['input']['middle_weight']:g} |"
        for part in parts
    )
    earlier = _earlier_rows(origin, "How it was trained")
    if origin is not None and earlier and earlier[0].count("|") == 7:  # a card before these columns
        earlier = [f"{row} {origin.dtype} | {origin.middle_weight:g} |" for row in earlier]
    cuts = ", ".join(f"{kind} {share:.0%}" for kind, share in data["split_kinds"].items())
    return f"""## How it was trained

- Shape: {model["num_layers"]} layers, width {model["width"]}, feed-forward {model["ffw_dim"]},
{model["num_heads"]} query heads and {model["num_kv_heads"]} key/value head of
{model["head_dim"]}, vocabulary {model["vocab_size"]:,}, context {model["context_length"]:,} tokens.
Stored as bfloat16.
- {before + parts[-1].last:,} steps, {amount}, on a {parts[-1].config["device"]} of
{os.cpu_count()} cores{"" if origin else f", in {minutes:.0f} minutes"}.{beginning}
- Weights and moments in float32; a token of a middle has a weight of its own in the loss, any other 1.
- {recipe["optimizer"]["kind"].capitalize()} for the matrices, AdamW for the rest; warmup, stable
phase, decay; seed {recipe["run"]["seed"]}.
- FIM rate {data["fim_fraction"]:.0%}, {data["psm_fraction"]:.0%} of it PSM and the rest SPM. Cuts:
{cuts}.
- Recipe, versions, commit and hashes are in `codegemma.json`.

| steps | tokens a step | peak rate | warmup steps | decay steps | data | products | weight of middles |
|---|---|---|---|---|---|---|---|
{_lines([*earlier, *table])}

The column of the data is the head of the sha256 of its manifest; another head is an earlier
preparation of the same sources."""  # noqa: E501 - one line is one row of the table


def _earlier_rows(origin: Origin | None, heading: str) -> list[str]:
    """Take the rows of the table below a heading of the origin's card."""
    if origin is None:
        return []
    section = origin.card.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def _curve(parts: Sequence[Part], *, origin: Origin | None) -> str:
    rows: list[str] = []
    step, tokens = (origin.step, origin.trained_tokens) if origin else (0, 0)
    for part in parts:
        for line in part.lines:
            if line["kind"] != "heldout" or "nll_per_token" not in line:
                continue
            before = [step for step in part.steps if step["step"] <= line["step"]][-_LOSS_LINES:]
            if not before:
                continue
            loss = sum(step["loss"] for step in before) / len(before)
            millions = (tokens + before[-1]["trained_tokens"]) / 1e6
            rows.append(
                f"| {step + line['step']:,} | {millions:.2f} | {loss:.3f} | "
                f"{line['nll_per_token']:.3f} | {line['nll_per_byte']:.3f} | "
                f"{line['middle_psm_nll_per_byte']:.3f} | {line['middle_spm_nll_per_byte']:.3f} |"
            )
    every = max(1, -(-len(rows) // _MOST_POINTS))
    rows = [*_earlier_rows(origin, "Loss curve"), *rows[:-1][::every], *rows[-1:]]
    return f"""## Loss curve

Nats. Training: the mean of the last {_LOSS_LINES} lines of the log, each token with its
weight of those steps. Held out: a fixed draw from the held-out packages, cut as in training; another draw for each
preparation of the data.

| step | million tokens | training, a token | held out, a token | a byte | middle PSM, a byte | middle SPM, a byte |
|---|---|---|---|---|---|---|
{_lines(rows)}"""  # noqa: E501 - one line is one row of the table


def _data(manifest: dict[str, Any]) -> str:
    totals = manifest["totals"]
    groups: dict[str, list[Line]] = defaultdict(list)
    for row in manifest["repositories"]:
        if row["part"] == "train" and row["records"]:
            groups[row["license"]].append(row)
    ordered = sorted(groups.items(), key=lambda group: -sum(row["tokens"] for row in group[1]))
    table = (
        f"| {name} | {len(rows)} | {sum(row['files'] for row in rows):,} | "
        f"{sum(row['bytes'] for row in rows) / 1e6:.2f} | "
        f"{sum(row['tokens'] for row in rows) / 1e6:.2f} |"
        for name, rows in ordered
    )
    packages = (f"- {name}: {_packages(rows)}" for name, rows in ordered)
    held = _packages([row for row in manifest["repositories"] if row["part"] == "heldout"])
    train, heldout = totals["train"], totals["heldout"]
    return f"""## Data

The CPython standard library and the packages this project installs, as far as their licences are
permissive: {train["files"]:,} Python files, {train["bytes"] / 1e6:.0f} MB,
{train["tokens"] / 1e6:.1f} million tokens in {train["records"]:,} records. Vendored copies,
generated files, near copies and everything that shares ten words in a row with a benchmark were
removed.

| licence | packages | files | MB | million tokens |
|---|---|---|---|---|
{_lines(table)}

{_lines(packages)}

Held out whole, {heldout["files"]:,} files and {heldout["tokens"] / 1e6:.1f} million tokens:
{held}."""


def _packages(rows: Sequence[Line]) -> str:
    return ", ".join(f"{row['name']} {row['version']}".strip() for row in rows)


def _value(row: Row) -> str:
    assert row.low is not None
    assert row.high is not None
    if row.unit == "fraction":
        return f"{row.value:.1%} ({row.low:.1%} to {row.high:.1%})"
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _wrap(text: str) -> str:
    """Fill the lines of paragraphs and of list items; headings and tables stay."""
    blocks: list[str] = []
    for block in text.split("\n\n"):
        if block.startswith(("|", "#", "---")):
            blocks.append(block)
            continue
        items = re.split(r"\n(?=- )", block)
        indent = "  " if block.startswith("- ") else ""
        blocks.append(_lines(_fill(item, indent) for item in items))
    return "\n\n".join(blocks)


def _fill(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
