# SPDX-License-Identifier: Apache-2.0
"""Write the training rows of a prepared data set as ids: what training draws, epoch by epoch.

Training cuts and encodes records anew in each epoch and needs none of this; it is for trainers that
read ids. `OUT/rows/EPOCH/` holds a shard of rows for every shard of records, of the same name: its
segments, each where best fit put it, with the number of its record. The manifest beside them says
what they were made of. Cutting and encoding are `loader.draw_segment`'s, rows are `rows`'.
"""

import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from codegemma.data import engine, loader, manifest, output, rows, shards
from codegemma.data.document import Progress
from codegemma.data.engine import Cluster
from codegemma.data.recipes import DataRecipe
from codegemma.data.report import write_json
from codegemma.errors import ConfigError
from codegemma.text.tokenizer import Tokenizer

FOLDER: Final = "rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeJob:
    """What encoding shards needs.

    Args:
        data: Prepared data set.
        target: Where the rows go.
        units: Epoch and shard of each unit.
        seed: Of the draws.
    """

    data: Path
    target: Path
    units: tuple[tuple[int, str], ...]
    seed: int


def materialize(
    data: Path, *, epochs: int, seed: int, cluster: Cluster, progress: Progress
) -> dict[str, Any]:
    """Write the rows of the first epochs. Run again, it does what is missing.

    Args:
        data: Prepared data set.
        epochs: How many; what is held out is encoded once.
        seed: Of the draws; training draws the same where its `input.seed` is this one and it cuts
            as the data set's recipe says.
        cluster: Where it runs; no byte depends on it.
        progress: Told how far the work is.

    Returns:
        The manifest of the rows.

    Raises:
        ConfigError: The data set has rows of other epochs or another seed, or another run writes
            into it.
        DataError: The data set is damaged.
    """
    made_of = manifest.read_manifest(data)
    identity: dict[str, Any] = {
        "seed": seed,
        "epochs": epochs,
        "recipe": made_of["settings"]["recipe"],
        "tokenizer": made_of["tokenizer"]["sha256"],
        "row_tokens": made_of["settings"]["recipe"]["context_tokens"],
        "records": {part: made_of["totals"][part]["sha256"] for part in shards.PARTS},
    }
    made = _finished(data / FOLDER, identity)
    if made is None:
        with output.locked(data):
            made = _finished(data / FOLDER, identity)  # by a run that ended between the two looks
            if made is None:
                made = _write(data, made_of, identity, cluster=cluster, progress=progress)
    return made


def _finished(target: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Give the manifest of finished rows made of the same, None when there are none."""
    if not target.exists():
        return None
    made = _read(target)
    if {key: made.get(key) for key in identity} != identity:
        raise ConfigError(
            f"{target} holds {made.get('epochs')} epochs drawn with seed {made.get('seed')}; "
            "delete it to draw others"
        )
    return made


def _write(
    data: Path,
    made_of: dict[str, Any],
    identity: dict[str, Any],
    *,
    cluster: Cluster,
    progress: Progress,
) -> dict[str, Any]:
    """Encode what is missing and move the rows to their place."""
    epochs: int = identity["epochs"]
    partial = data / f".{FOLDER}"
    if partial.exists() and _read(partial) != identity:
        shutil.rmtree(partial)  # a run with other settings was stopped
    partial.mkdir(exist_ok=True)
    write_json(partial / "manifest.json", identity)
    sizes = {
        (epoch, entry["name"]): int(entry["bytes"])
        for part in shards.PARTS
        for epoch in range(epochs if part == "train" else 1)
        for entry in made_of["shards"][part]
        if entry["records"]
    }
    for epoch in range(epochs):
        (partial / str(epoch)).mkdir(exist_ok=True)
    engine.run(
        "encode",
        encode_shard,
        EncodeJob(data=data, target=partial, units=tuple(sizes), seed=identity["seed"]),
        sizes=list(sizes.values()),
        cluster=cluster,
        folder=partial / "run",
        progress=progress,
    )
    shutil.rmtree(partial / "run")
    files = {f"{epoch}/{name}": partial / str(epoch) / name for epoch, name in sizes}
    made = identity | {"shards": {name: shards.hash_file(path) for name, path in files.items()}}
    write_json(partial / "manifest.json", made)
    partial.replace(data / FOLDER)
    return made


def encode_shard(job: EncodeJob, index: int) -> None:
    """Encode the records of one shard in one epoch, unless that was done before."""
    epoch, name = job.units[index]
    path = job.target / str(epoch) / name
    if path.exists():
        return
    tokenizer, recipe = _made_with(job.data)
    records = [*map(shards.unpack_record, loader.read_shard(job.data / "shards" / name))]
    drawn = [
        loader.draw_segment(record, tokenizer=tokenizer, recipe=recipe, seed=job.seed, epoch=epoch)
        for record in records
    ]
    filled = rows.fill_rows(records, drawn, row_tokens=recipe.context_tokens)
    partial = path.with_name(f".{name}")
    shards.write_shard(partial, map(rows.pack_row, filled))
    partial.replace(path)


@lru_cache(maxsize=1)
def _made_with(data: Path) -> tuple[Tokenizer, DataRecipe]:
    return Tokenizer.from_folder(data), manifest.read_recipe(data)


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # stopped before it was written
