# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegemma.data import loader, materialize, pipeline, recipes, rows, shards
from codegemma.data.engine import Cluster
from codegemma.data.loader import ShardReader
from codegemma.data.pipeline import Settings
from codegemma.errors import ConfigError
from codegemma.text import fim
from codegemma.text import tokens as t
from codegemma.text.tokenizer import Tokenizer

RECIPE = dataclasses.replace(
    recipes.codegemma_2b_ast(),
    context_tokens=400,
    window_tokens=(150, 250),
    permissive_only=False,
    no_path_fraction=0.0,
)
STOPS = "".join(
    f"STOP_{i} = ('<|fim_prefix|>', '<|fim_middle|>', '<bos>', '<|file_separator|>')  # {i}\n"
    for i in range(12)
)
LONG = "".join(
    f"def step_{i}(value):\n    '''Add {i} \u00e9\u6f22.'''\n    return value + {i}\n\n\n"
    for i in range(40)
)
SOURCES = {
    "a/stops.py": STOPS,
    "a/long.py": LONG,
    "b/lines.py": LONG[:700].replace("step", "line").replace("\n", "\r\n"),
    "b/main.go": "package main\n\n" + "".join(f"func F{i}() {{ f({i}) }}\n" for i in range(9)),
}


@pytest.fixture
def data(tmp_path: Path, tokenizer_file: Path) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sources" / name).write_text(text, encoding="utf-8", newline="")
    settings = Settings(
        sources=(tmp_path / "sources",), recipe=RECIPE, tokenizer_file=tokenizer_file, each=True
    )
    pipeline.prepare(settings, out=tmp_path / "data")
    return tmp_path / "data"


def write(data: Path, *, epochs: int = 2, seed: int = 0) -> dict[str, Any]:
    def ignore(stage: str, done: int, total: int) -> None:
        del stage, done, total

    return materialize.materialize(
        data, epochs=epochs, seed=seed, cluster=Cluster(), progress=ignore
    )


def segments(data: Path, epoch: int) -> list[list[int]]:
    """The segments of all rows, in the order of their records."""
    (path,) = (data / "rows" / str(epoch)).glob("train-*")
    found: dict[int, list[int]] = {}
    for row in rows.read_rows(path):
        assert len(row.tokens) == RECIPE.context_tokens
        for segment in row.segments:
            mine = row.tokens[segment.start : segment.start + segment.size]
            found[segment.record] = mine.tolist()
    return [found[number] for number in range(len(found))]


def test_segments_are_what_training_draws_in_each_epoch(data: Path) -> None:
    made = write(data)

    reader, tokenizer = ShardReader(data), Tokenizer.from_folder(data)
    for epoch in range(2):
        drawn = [
            loader.encode_record(
                reader[i], tokenizer=tokenizer, recipe=RECIPE, seed=0, epoch=epoch
            ).tolist()
            for i in range(len(reader))
        ]
        assert segments(data, epoch) == drawn
    assert segments(data, 0) != segments(data, 1)
    assert (made["seed"], made["epochs"]) == (0, 2)
    assert json.loads((data / "rows" / "manifest.json").read_text("utf-8")) == made
    assert made["shards"]["0/train-00000-of-00001.array_record"] == shards.hash_file(
        data / "rows" / "0" / "train-00000-of-00001.array_record"
    )


def test_decoded_segments_are_the_sources_and_their_text_made_no_control_token(data: Path) -> None:
    write(data)
    reader, tokenizer = ShardReader(data), Tokenizer.from_folder(data)
    windows: dict[str, list[tuple[int, str]]] = {}
    for index, tokens in enumerate(segments(data, 0)):
        files = reader[index].files
        for file, block in zip(files, fim.parse(tokens, tokenizer), strict=True):
            text = block.text if block.split else block.text.removeprefix(f"{file.path}\n")
            repository, _, line = file.origin.partition(":")
            windows.setdefault(f"{repository}/{file.path}", []).append((int(line), text))
        controls = [token for token in tokens if t.is_control(token)]
        cut = controls.count(t.FIM_MIDDLE_ID)
        assert controls.count(t.FIM_PREFIX_ID) == controls.count(t.FIM_SUFFIX_ID) == cut
        assert controls.count(t.FILE_SEPARATOR_ID) in (len(files) - 1, len(files))
        assert len(controls) == 2 + 3 * cut + controls.count(t.FILE_SEPARATOR_ID)

    decoded = {name: "".join(text for _, text in sorted(found)) for name, found in windows.items()}
    assert decoded == {name: text.replace("\r\n", "\n") for name, text in SOURCES.items()}
    assert len(windows["a/long.py"]) > 3


def test_every_file_of_a_row_begins_where_its_row_says(data: Path) -> None:
    write(data)
    reader, tokenizer = ShardReader(data), Tokenizer.from_folder(data)
    (path,) = (data / "rows" / "0").glob("train-*")
    shown: set[str] = set()
    for row in rows.read_rows(path):
        for segment in row.segments:
            record = reader[segment.record]
            starts = [file.start for file in segment.files]
            ends = [*starts[1:], segment.start + segment.size]
            assert [(f.path, f.origin) for f in segment.files] == [
                (f.path, f.origin) for f in record.files
            ]
            for file, source, end in zip(segment.files, record.files, ends, strict=True):
                mine = row.tokens[file.start : end].tolist()
                text = tokenizer.decode([token for token in mine if not t.is_control(token)])
                assert text.startswith(f"{file.path}\n")
                assert sorted(text) == sorted(f"{file.path}\n{source.text}")
                assert (t.FIM_MIDDLE_ID in mine) == (file.shown != "whole")
                shown.add(file.shown)
    assert shown == {"whole", "psm", "spm"}


def test_a_run_again_leaves_everything_and_other_draws_are_refused(data: Path) -> None:
    made = write(data)
    before = {path: path.stat().st_mtime_ns for path in (data / "rows").rglob("*")}

    assert write(data) == made
    assert {path: path.stat().st_mtime_ns for path in (data / "rows").rglob("*")} == before
    with pytest.raises(ConfigError, match="holds 2 epochs drawn with seed 0; delete it"):
        write(data, epochs=3)


def test_two_runs_do_not_write_rows_into_one_data_set(data: Path) -> None:
    refused: list[str] = []

    def start_another(stage: str, done: int, total: int) -> None:
        if not refused:
            with pytest.raises(ConfigError) as error:
                write(data)
            refused.append(str(error.value))

    made = materialize.materialize(
        data, epochs=2, seed=0, cluster=Cluster(), progress=start_another
    )

    assert refused == [f"another run is preparing data in {data}; wait for it"]
    assert write(data) == made
    assert not (data / ".lock").exists()


def test_a_stopped_run_goes_on_but_not_with_what_another_seed_drew(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = []
    write_shard = shards.write_shard

    def stop(path: Path, rows: Sequence[bytes]) -> None:
        wanted.append(path)
        if len(wanted) == 2:
            raise KeyboardInterrupt
        write_shard(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            write(data, seed=7)
    assert not (data / "rows").exists()

    write(data, seed=0)

    reader, tokenizer = ShardReader(data), Tokenizer.from_folder(data)
    first = loader.encode_record(reader[0], tokenizer=tokenizer, recipe=RECIPE, seed=0, epoch=0)
    assert np.array_equal(first, segments(data, 0)[0])
    assert sorted(path.name for path in (data / "rows").iterdir()) == [
        "0",
        "1",
        "manifest.json",
    ]
