# SPDX-License-Identifier: Apache-2.0
"""`codegemma models`: what is known by name, and what of it is on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codegemma.cli import options

if TYPE_CHECKING:
    from codegemma.model.hub import KnownModel


def models(as_json: options.Json = False) -> None:
    """List the models by name: size, infill order, licence, and where they lie.

    Any other model is named by its folder. Nothing is asked of the network.
    """
    from codegemma.cli.output import write_json
    from codegemma.kernels import native
    from codegemma.model.hub import MODELS

    rows = [_describe(model) for model in MODELS]
    if as_json:
        write_json({"models": rows, "kernels": native.paths()})
        return
    _print_table(rows)
    print(native.describe())


def _describe(model: "KnownModel") -> dict[str, Any]:
    from codegemma.model.hub import locate

    state, folder = locate(model)
    return {
        "name": model.name,
        "summary": model.summary,
        "repository": model.repository,
        "num_params": count_weights(model, folder),
        "is_instruction": model.is_instruction,
        "mode": _mode(model, folder) if folder is not None and state == "ready" else model.mode,
        "licence": model.licence,
        "state": state,
        "folder": None if folder is None else str(folder),
        "size_bytes": 0 if folder is None else _size_bytes(folder),
    }


def _mode(model: "KnownModel", folder: Path) -> str | None:
    """Take the infill order that `verify` measured, else the model's own word, else its makers'."""
    from codegemma.generate.record import read_record
    from codegemma.model.manifest import MANIFEST_NAME, fingerprint
    from codegemma.model.metadata import read_metadata

    has_manifest = (folder / MANIFEST_NAME).exists()
    record = read_record(folder, fingerprint=fingerprint(folder) if has_manifest else None)
    if record is not None:
        return record.mode
    return read_metadata(folder).mode or model.mode


def count_weights(model: "KnownModel", folder: Path | None) -> int:
    """Count a model's weights: of the folder, where there is one, since nano's shape may change."""
    import math

    from codegemma.model.convert.hf import find_weights

    if model.repository is not None or folder is None:
        return model.num_params
    weights = find_weights(folder)
    return sum(math.prod(file.entries[name].shape) for name, file in weights.items())


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "weights", "order", "licence", "on disk", "what for"):
        table.add_column(heading, no_wrap=heading != "what for")
    for row in rows:
        size = f"{row['size_bytes'] / 1e9:.2f} GB"
        if row["size_bytes"] < 1e8:
            size = f"{row['size_bytes'] / 1e6:.1f} MB"
        table.add_row(
            row["name"],
            _count(row["num_params"]),
            row["mode"] or "-",
            row["licence"],
            {"ready": size, "incomplete": f"partly ({size})", "absent": "-"}[row["state"]],
            row["summary"],
        )
    Console().print(table)


def _count(num_params: int) -> str:
    if num_params < 1e9:
        return f"{num_params / 1e6:.1f} M"
    return f"{num_params / 1e9:.2f} B"
