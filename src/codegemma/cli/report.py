# SPDX-License-Identifier: Apache-2.0
"""`codegemma report RUN...`: a model card of measurements, and a page to look through them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codegemma.cli import options, results
from codegemma.errors import CodegemmaError, ConfigError, InputError

if TYPE_CHECKING:
    from codegemma.evaluate.report.card import ModelFacts, Report
    from codegemma.evaluate.report.runs import Run
    from codegemma.model.hub import KnownModel
    from codegemma.model.metadata import Metadata


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of codegemma evaluate --out, or files of codegemma score --json.",
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(help="Write a page there instead: plots, and every item.")
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(help="Time the first run's infilling anew, beside this: transformers."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="With --beside: the first so many prompts of a task.", min=1)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Lay measurements out as a model card, with the published figures beside ours.

    The card is Markdown, with the metadata that the Hugging Face hub reads. It is of the first
    run's model; the others are compared with it, problem by problem.
    """
    from codegemma.cli.output import write_json, write_text
    from codegemma.evaluate.report.runs import read_runs

    if limit is not None and beside is None:
        raise ConfigError("--limit says how many prompts --beside times; give both or neither")
    if html is not None and html.is_dir():
        raise InputError(f"{html} is a folder; --html takes the name of a file")
    found = read_runs(runs)
    if beside is not None:
        _time_beside(found[0], peer=beside, limit=limit)
    made = _report(found)
    if html is not None:
        _write_page(html, made)
    if as_json:
        write_json(_as_json(made))
    elif html is None:
        from codegemma.evaluate.report.markdown import render_markdown

        write_text(render_markdown(made))


def _report(runs: "Sequence[Run]") -> "Report":
    from datetime import UTC, datetime
    from importlib.metadata import version

    from codegemma.evaluate.report.card import Report
    from codegemma.evaluate.report.compare import compare_runs
    from codegemma.evaluate.report.seconds import read_timings

    with options.waiting("Comparing the runs"):
        return Report(
            runs=runs,
            facts=[_facts(run) for run in runs],
            pairs=compare_runs(runs),
            timings=read_timings(runs),
            made=datetime.now(UTC).date().isoformat(),
            version=version("codegemma"),
        )


def _write_page(path: Path, made: "Report") -> None:
    from codegemma.evaluate.report.page import render_page

    with options.waiting("Writing the page"):
        text = render_page(made)
        draft = path.with_name(path.name + ".draft")
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _as_json(made: "Report") -> dict[str, Any]:
    from dataclasses import asdict

    from codegemma.evaluate.report.latency import compare_paces

    return {
        "runs": [
            {
                "label": run.label,
                "model": run.model,
                "tasks": {name: task.metrics for name, task in run.tasks.items()},
            }
            for run in made.runs
        ],
        "comparisons": [asdict(pair) | {"verdict": pair.verdict} for pair in made.pairs],
        "timings": [asdict(timing) for timing in made.timings],
        "latency": [asdict(pace) for pace in compare_paces(made.runs)],
    }


def _facts(run: "Run") -> "ModelFacts":
    """Find out what is known of a run's model; a folder that is gone or changed tells nothing."""
    from codegemma.cli.models import count_weights
    from codegemma.evaluate.report.card import ModelFacts
    from codegemma.model.hub import TERMS, find_model, resolve
    from codegemma.model.manifest import read_manifest
    from codegemma.model.metadata import read_metadata

    known = find_model(run.model)
    recorded = run.model_settings.get("fingerprint")
    try:
        folder: Path | None = resolve(run.model)
        manifest = read_manifest(folder)
        if recorded is not None and (manifest is None or manifest.sha256 != recorded):
            folder = None
        metadata = read_metadata(folder) if folder is not None else None
    except CodegemmaError:
        folder = metadata = None
    licence = known.licence if known else metadata.licence if metadata else None
    terms = TERMS.get(licence or "")
    return ModelFacts(
        name=_name(run, known, metadata),
        summary=known.summary if known else "",
        repository=known.repository if known else None,
        is_google=known is not None and known.repository is not None,
        is_instruction=bool(run.model_settings.get("is_instruction")),
        num_params=count_weights(known, folder) if known else None,
        licence=licence,
        licence_title=terms.title if terms else "",
        licence_url=terms.url if terms else "",
        training=metadata.training if metadata else {},
        history=metadata.history if metadata else (),
    )


def _name(run: "Run", known: "KnownModel | None", metadata: "Metadata | None") -> str:
    """Name a model; one that was trained on from another goes by its folder."""
    if known:
        return known.name
    if metadata is None:
        return run.model
    return Path(run.model).absolute().name if metadata.training else metadata.name


def _time_beside(run: "Run", *, peer: str, limit: int | None) -> None:
    from codegemma.evaluate.report.seconds import PEERS, measure
    from codegemma.evaluate.scoring import Progress
    from codegemma.model.hub import resolve

    if peer not in PEERS:
        raise ConfigError(f"--beside knows {', '.join(PEERS)}, not {peer!r}")
    folder = resolve(run.model)
    with results.progress() as listener:
        measure(
            run,
            open_completer=lambda: options.open_raw_completer(run.model),
            peer=peer,
            folder=folder,
            limit=limit,
            progress=lambda task, done, total: listener(
                Progress(task, "drawing", done, total, 0, 0)
            ),
        )
