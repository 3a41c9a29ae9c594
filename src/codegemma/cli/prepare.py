# SPDX-License-Identifier: Apache-2.0
"""`codegemma prepare`: repositories of source code to the shards a model is trained on."""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from codegemma.cli import output
from codegemma.errors import PrerequisiteError

if TYPE_CHECKING:
    from codegemma.data.document import Genre
    from codegemma.data.pipeline import Settings
    from codegemma.data.recipes import DataRecipe

_MAX_SHOWN: Final = 5

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders (a repository, a folder of repositories, site-packages), git "
        "repositories, archives (.zip, .tar.gz, ...), tables (.jsonl, .parquet). "
        "text:PATH, math:PATH and chat:PATH are tables and folders of documents."
    ),
]
Decontaminate = Annotated[
    list[Path] | None,
    typer.Option(help="Evaluation data to keep out; default $CODEGEMMA_BENCHMARKS."),
]
Unlicensed = Annotated[
    bool, typer.Option("--unlicensed", help="Keep code under any licence, or none.")
]
UnknownLicenses = Annotated[
    bool, typer.Option("--unknown-licenses", help="Keep code without a known licence, too.")
]
UnsafeLists = Annotated[
    list[Path] | None,
    typer.Option(help="List of unsafe content: term:, sha256: or url: a line. None is built in."),
]
Mix = Annotated[
    str | None,
    typer.Option(help="Shares of the tokens drawn: code=0.8,text=0.2; default the recipe's."),
]
Thresholds = Annotated[
    Path | None,
    typer.Option(
        help="Other thresholds of the filters, in JSON by language or for all of them: "
        '{"default": {"max_line": 2000}, "go": {"max_comment": 0.8}}.'
    ),
]
Materialize = Annotated[
    int,
    typer.Option(
        help="Write the training rows of so many epochs as ids, for trainers that read those; "
        "`codegemma train` draws them itself.",
        min=0,
    ),
]
KeepDropped = Annotated[
    bool,
    typer.Option(
        "--keep-dropped",
        help="Keep the texts of up to five files that each rule left out, in OUT/dropped.jsonl.gz.",
    ),
]

SlurmOptions = Annotated[
    str,
    typer.Option(
        "--slurm",
        help="Of a task of --executor slurm: partition=NAME,memory_gb=2,time=24:00:00, or some of "
        "them; sbatch's own variables, such as SBATCH_ACCOUNT, are heeded.",
    ),
]


def prepare(
    source: Sources,
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    recipe: Annotated[str, typer.Option(help="How files are chosen and cut.")] = "nano",
    model: Annotated[
        str, typer.Option(help="Model, or tokenizer file, that the token budgets are counted with.")
    ] = "nano",
    mix: Mix = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="Train a tokenizer of this size instead.", min=1)
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Take every child folder or archive as a repository.")
    ] = False,
    unlicensed: Unlicensed = False,
    unknown_licenses: UnknownLicenses = False,
    holdout_fraction: Annotated[
        float | None,
        typer.Option(help="Share kept apart for testing; default the recipe's list, or 0.01."),
    ] = None,
    decontaminate: Decontaminate = None,
    remove: Annotated[
        list[Path] | None,
        typer.Option(help="List of repositories and files whose owners asked to be left out."),
    ] = None,
    unsafe_list: UnsafeLists = None,
    thresholds: Thresholds = None,
    materialize: Materialize = 0,
    keep_dropped: KeepDropped = False,
    seed: Annotated[int, typer.Option(help="Seed of the held-out draw, and of --materialize.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    executor: Annotated[
        str, typer.Option(help="Where they run: local, ray or slurm (OUT on shared storage).")
    ] = "local",
    slurm: SlurmOptions = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print totals and drops.")] = False,
) -> None:
    """Prepare training data: read, filter, deduplicate, decontaminate, pack.

    Writes OUT/shards, OUT/tokenizer.model, OUT/manifest.json, OUT/report.json and the same as a
    page, OUT/report.html; with --materialize OUT/rows, too. One of several repositories that
    cannot be read is left out and named, and the exit status is 3.
    """
    try:
        from codegemma.data import engine, pipeline
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise PrerequisiteError(
            f"preparing data needs the package {package}: pip install 'codegemma[data]'"
        ) from error
    from codegemma.model.folder import cache_folder

    sources, texts = _sorted_sources(source)
    settings = pipeline.Settings(
        sources=sources,
        texts=texts,
        recipe=_chosen(recipe, mix, holdout_fraction, unlicensed, unknown_licenses, thresholds),
        tokenizer_file=None if vocab_size else _tokenizer_file(model),
        vocab_size=vocab_size,
        each=each,
        benchmarks=tuple(decontaminate) if decontaminate else _default_benchmarks(),
        removals=tuple(remove or ()),
        unsafe_lists=tuple(unsafe_list or ()),
        seed=seed,
        cluster=engine.cluster_of(executor, workers=workers, slurm=slurm),
        cache=cache_folder(),
    )
    with output.resumable():
        manifest = _run(settings, out, materialize, is_quiet=as_json)
    if keep_dropped:
        from codegemma.data import dropped

        dropped.keep(out, settings)
    _write_page(manifest, out)
    (_print_json if as_json else _print_summary)(manifest, out)
    for line in _warnings(manifest, settings, out):
        print(f"codegemma: {line}", file=sys.stderr)
    if manifest.get("refused"):
        raise typer.Exit(3)


def _sorted_sources(
    words: list[str],
) -> "tuple[tuple[Path, ...], tuple[tuple[Genre, Path], ...]]":
    """Tell repositories from what GENRE: stands before."""
    from codegemma.data.document import GENRES

    sources: list[Path] = []
    texts: list[tuple[Genre, Path]] = []
    for word in words:
        start, _, rest = word.partition(":")
        genre: Genre | None = next((each for each in GENRES if each == start and rest), None)
        if genre is None or genre == "code":
            sources.append(Path(rest if genre else word))
        else:
            texts.append((genre, Path(rest)))
    return tuple(sources), tuple(texts)


def _mixture(mix: str) -> "dict[Genre, float]":
    """Read shares such as code=0.8,text=0.2."""
    from codegemma.data.document import GENRES
    from codegemma.errors import ConfigError

    shares: dict[Genre, float] = {}
    for part in mix.split(","):
        name, _, share = part.strip().partition("=")
        genre: Genre | None = next((each for each in GENRES if each == name), None)
        try:
            if genre is None or not 0 < float(share) < math.inf:
                raise ValueError(part)
            shares[genre] = float(share)
        except ValueError:
            raise ConfigError(
                f"--mix takes shares above 0 of {', '.join(GENRES)}, such as code=0.8,text=0.2; "
                f"not {part.strip()!r}"
            ) from None
    return shares


def _chosen(
    name: str,
    mix: str | None,
    holdout_fraction: float | None,
    unlicensed: bool,
    unknown_licenses: bool,
    thresholds: Path | None,
) -> "DataRecipe":
    """Give the recipe of this name with what the options change in it."""
    from codegemma.data import recipes
    from codegemma.data.thresholds import read_changes

    changes: dict[str, Any] = {"permissive_only": not unlicensed}
    if mix is not None:
        changes["mixture"] = _mixture(mix)
    if holdout_fraction is not None:
        changes |= {"holdout_fraction": holdout_fraction, "heldout": ()}
    if unknown_licenses:
        changes["keep_unlicensed"] = True
    if thresholds is not None:
        changes["thresholds"] = read_changes(thresholds)
    return dataclasses.replace(recipes.by_name(name), **changes)


def _warnings(manifest: dict[str, Any], settings: "Settings", out: Path) -> Iterator[str]:
    """Say what a user should know of a data set that is good but lacks something."""
    refused = manifest.get("refused", ())
    for name, fault in refused[:_MAX_SHOWN]:
        yield f"{name} is left out: {fault}"
    if refused:
        yield (
            f"{len(refused)} of the repositories could not be read; the data set is whole without "
            "them"
        )
    held = manifest["totals"]["heldout"]["repositories"]
    total = held + manifest["totals"]["train"]["repositories"]
    if not held:
        yield (
            "nothing is held out, so training will measure no held-out loss: "
            + (
                "whole repositories are, and there is only one; name more sources"
                if total == 1
                else f"none of the {total} repositories was drawn at a fraction of "
                f"{settings.recipe.holdout_fraction}; give a larger --holdout-fraction"
            )
        )
    missing = sorted(set(settings.recipe.mixture).difference(manifest["mixture"]))
    if missing:
        yield (
            f"nothing of {' or '.join(missing)} is there to train on, though the mixture has a "
            "share for it: the others keep their proportions"
        )
    if not settings.benchmarks:
        yield (
            "nothing is decontaminated: name evaluation data with --decontaminate or in "
            "$CODEGEMMA_BENCHMARKS, or do not judge the model by public benchmarks"
        )
    report = _read_report(out)
    if report["unsafe"]["warning"]:
        yield report["unsafe"]["warning"]
    unused = report.get("unused_removals")
    if unused:
        yield (
            f"removal entries that cover nothing of these sources: {', '.join(unused[:_MAX_SHOWN])}"
            + (f" and {len(unused) - _MAX_SHOWN} more" if len(unused) > _MAX_SHOWN else "")
        )


def _tokenizer_file(model: str) -> Path:
    """Find the vocabulary of a model; a path to a vocabulary stands for itself."""
    if Path(model).is_file() and not model.endswith(".gguf"):
        return Path(model)
    from codegemma.errors import InputError
    from codegemma.model import hub
    from codegemma.model.export import extract_vocabulary
    from codegemma.text.tokenizer import FILE_NAMES

    folder = hub.resolve(model)
    if folder.is_file():
        return extract_vocabulary(folder)
    for name in FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} holds no tokenizer: expected {' or '.join(FILE_NAMES)}")


def _default_benchmarks() -> tuple[Path, ...]:
    given = os.environ.get("CODEGEMMA_BENCHMARKS")
    return (Path(given),) if given else ()


def _run(settings: "Settings", out: Path, epochs: int, *, is_quiet: bool) -> dict[str, Any]:
    """Run the pipeline under a progress bar on stderr, which goes away at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from codegemma.data import materialize, pipeline

    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    is_hidden = is_quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as bar:
        bar.add_task("start", total=None)

        def show(stage: str, done: int, total: int) -> None:
            (task,) = bar.tasks
            if task.description == stage:
                bar.update(task.id, completed=done, total=total)
                return
            bar.remove_task(task.id)  # a stage goes at a pace of its own
            bar.add_task(stage, completed=done, total=total or None)

        manifest = pipeline.prepare(settings, out=out, progress=show)
        if epochs:
            materialize.materialize(
                out, epochs=epochs, seed=settings.seed, cluster=settings.cluster, progress=show
            )
        return manifest


def _read_report(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def _write_page(manifest: dict[str, Any], out: Path) -> None:
    """Write the report as a page beside its JSON, unless it is there."""
    from codegemma.data.output import locked
    from codegemma.evaluate.report.dataset import render_dataset

    page = render_dataset(manifest, _read_report(out), name=out.resolve().name)
    path = out / "report.html"
    if path.exists() and path.read_text(encoding="utf-8") == page:
        return
    partial = out / ".report.html"
    with locked(out):
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)


def _print_json(manifest: dict[str, Any], out: Path) -> None:
    del out
    shown = {key: manifest[key] for key in ("totals", "dropped", "mixture")}
    print(json.dumps(shown | {"refused": manifest.get("refused", [])}))


def _print_summary(manifest: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    drops = Table(title="Dropped", title_justify="left")
    for column in ("stage", "rule", "files", "MB"):
        drops.add_column(column, justify="right" if column in ("files", "MB") else "left")
    for stage, rules in manifest["dropped"].items():
        for rule, row in rules.items():
            drops.add_row(stage, rule, f"{row['files']:,}", f"{row['bytes'] / 1e6:.2f}")
    console.print(drops)
    kept = Table(title="Kept", title_justify="left")
    for column in ("part", "repositories", "files", "MB", "records", "tokens"):
        kept.add_column(column, justify="left" if column == "part" else "right")
    for part, row in manifest["totals"].items():
        kept.add_row(
            part,
            f"{row['repositories']:,}",
            f"{row['files']:,}",
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['records']:,}",
            f"{row['tokens']:,}",
        )
    console.print(kept)
    if len(manifest["mixture"]) > 1:
        mixed = Table(title="Mixture", title_justify="left")
        for column in ("genre", "share of tokens", "records", "tokens"):
            mixed.add_column(column, justify="left" if column == "genre" else "right")
        for genre, row in manifest["mixture"].items():
            mixed.add_row(
                genre, f"{row['weight']:.1%}", f"{row['records']:,}", f"{row['tokens']:,}"
            )
        console.print(mixed)
    console.print(f"{out / 'report.html'}", soft_wrap=True, highlight=False)
