# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import pickle
import shutil
import sysconfig
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codegemma
from codegemma.data import loader, pipeline, recipes, shards, split
from codegemma.data.loader import ShardReader
from codegemma.data.pipeline import Settings
from codegemma.data.shards import Record, RecordFile
from codegemma.errors import DataError
from codegemma.text import fim, syntax
from codegemma.text import tokens as t
from codegemma.text.tokenizer import Tokenizer

NANO = recipes.nano()
NANO_TOKENIZER = Path(codegemma.__file__).parent / "nano" / "tokenizer.model"
TEXTS = ["import os\n\n\ndef f(a):\n    return a\n", "x = [1, 2]\nprint(x)\n"]


def make(texts: list[str], *, max_tokens: int = 1024) -> Record:
    files = tuple(
        RecordFile(
            path=f"pkg/m{i}.py",
            text=text,
            suffix_starts=tuple(syntax.suffix_starts(text, "python")),
            origin="r@1:1",
        )
        for i, text in enumerate(texts)
    )
    return Record(files=files, max_tokens=max_tokens)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of 10 training records in 3 shards and one held-out record."""
    (tmp_path / "shards").mkdir()
    packed = [shards.pack_record(make([f"value_{i} = {i}\n"])) for i in range(10)]
    entries = {
        "train": shards.write_shards(tmp_path / "shards", "train", packed, records_per_shard=4),
        "heldout": shards.write_shards(
            tmp_path / "shards", "heldout", packed[:1], records_per_shard=4
        ),
    }
    recipe = json.loads(json.dumps(dataclasses.asdict(NANO)))
    manifest = {"format": 1, "shards": entries, "settings": {"recipe": recipe}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


def texts(reader: ShardReader) -> set[str]:
    return {reader[i].files[0].text for i in range(len(reader))}


def test_every_record_of_a_part_is_read_once(folder: Path) -> None:
    reader = ShardReader(folder)

    assert len(reader) == 10
    assert texts(reader) == {f"value_{i} = {i}\n" for i in range(10)}
    assert texts(ShardReader(folder, "heldout")) == {"value_0 = 0\n"}


def test_a_reader_is_picklable_after_use(folder: Path) -> None:
    reader = ShardReader(folder)
    first = reader[7]

    assert pickle.loads(pickle.dumps(reader))[7] == first


@pytest.mark.parametrize("index", [-1, 10])
def test_indices_outside_are_refused(folder: Path, index: int) -> None:
    with pytest.raises(IndexError):
        ShardReader(folder)[index]


def test_a_truncated_shard_is_refused_at_once(folder: Path) -> None:
    path = sorted((folder / "shards").glob("train-*"))[1]
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(DataError, match=r"train-00001-of-00003.* must have \d+ bytes but it has"):
        ShardReader(folder)


def test_a_missing_shard_is_refused_at_once(folder: Path) -> None:
    sorted((folder / "shards").glob("train-*"))[0].unlink()

    with pytest.raises(DataError, match="it is missing"):
        ShardReader(folder)


def test_flipped_bits_are_found_by_verify(folder: Path) -> None:
    path = sorted((folder / "shards").glob("train-*"))[1]
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(bytes(data))
    reader = ShardReader(folder)

    with pytest.raises(DataError, match="does not have the sha256"):
        reader.verify()


def test_flipped_bits_in_a_record_are_an_error_not_other_text(folder: Path) -> None:
    before = texts(ShardReader(folder))
    path = sorted((folder / "shards").glob("train-*"))[1]
    whole = path.read_bytes()
    for place in range(64 * 1024 - 8, 0, -1999):
        if place < len(whole):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            try:
                assert texts(ShardReader(folder)) <= before
            except DataError:
                continue


def test_single_records_are_read_by_file_and_number(folder: Path) -> None:
    path = sorted((folder / "shards").glob("train-*"))[0]

    assert loader.read_record(path, 2) == ShardReader(folder)[2]
    with pytest.raises(DataError, match="has records 0 to 2, no 3"):
        loader.read_record(path, 3)
    with pytest.raises(DataError, match="there is no shard"):
        loader.read_record(path.with_name("x"), 0)
    shards.write_shard(path.with_name("empty"), [])
    with pytest.raises(DataError, match="holds no example, which is right where nothing is held"):
        loader.read_record(path.with_name("empty"), 0)
    path.with_name("image").write_bytes(b"\x89PNG" + bytes(5000))
    with pytest.raises(DataError, match="is damaged, or no shard"):
        loader.read_record(path.with_name("image"), 0)


def encode(record: Record, tokenizer: Tokenizer, *, epoch: int = 0) -> list[int]:
    tokens = loader.encode_record(record, tokenizer=tokenizer, recipe=NANO, seed=0, epoch=epoch)
    assert tokens.dtype == np.int32
    return tokens.tolist()


def test_a_segment_gives_its_files_back_in_order(tokenizer: Tokenizer) -> None:
    record = make(TEXTS)
    for epoch in range(30):
        blocks = fim.parse(encode(record, tokenizer, epoch=epoch), tokenizer)

        assert len(blocks) == 2
        for block, file in zip(blocks, record.files, strict=True):
            text = block.text.removeprefix(f"{file.path}\n") if block.split is None else block.text
            assert text == file.text
            assert block.path in (None, file.path)


def test_a_segment_has_one_bos_one_eos_and_a_separator_behind_every_middle(
    tokenizer: Tokenizer,
) -> None:
    num_middles = 0
    for epoch in range(30):
        tokens = encode(make(TEXTS), tokenizer, epoch=epoch)

        assert tokens[0] == t.BOS_ID
        assert tokens[-1] == t.EOS_ID
        assert tokens.count(t.BOS_ID) == tokens.count(t.EOS_ID) == 1
        controls = [token for token in tokens if t.is_control(token)]
        behind = [b for a, b in pairwise(controls) if a == t.FIM_MIDDLE_ID]
        assert set(behind) <= {t.FILE_SEPARATOR_ID}
        num_middles += len(behind)
    assert num_middles > 40


def test_new_epochs_draw_new_cuts_and_equal_ones_the_same(tokenizer: Tokenizer) -> None:
    record = make(TEXTS)
    drawn = [tuple(encode(record, tokenizer, epoch=epoch)) for epoch in range(10)]

    assert len(set(drawn)) == 10
    assert tuple(encode(record, tokenizer, epoch=3)) == drawn[3]


def test_sentinels_written_in_a_file_stay_text(tokenizer: Tokenizer) -> None:
    text = "stop = '<|fim_middle|>'  # and <bos>, <|file_separator|>, <start_of_turn>\n" * 3
    recipe = dataclasses.replace(NANO, fim_fraction=0.0)

    tokens = loader.encode_record(
        make([text]), tokenizer=tokenizer, recipe=recipe, seed=0, epoch=0
    ).tolist()

    assert [token for token in tokens if t.is_control(token)] == [t.BOS_ID, t.EOS_ID]
    assert tokenizer.decode(tokens).removeprefix("pkg/m0.py\n") == text


def test_a_draw_over_the_budget_is_left_uncut(tokenizer: Tokenizer) -> None:
    text = TEXTS[0]
    uncut = len(fim.join_blocks([fim.encode_whole(tokenizer, text, path="pkg/m0.py")]))
    always_cut = dataclasses.replace(NANO, fim_fraction=1.0, no_path_fraction=0.0)

    tokens = loader.encode_record(
        make([text], max_tokens=uncut), tokenizer=tokenizer, recipe=always_cut, seed=0, epoch=0
    ).tolist()

    assert len(tokens) == uncut
    assert t.FIM_MIDDLE_ID not in tokens


def test_a_segment_left_uncut_for_want_of_room_is_told_from_one_drawn_uncut(
    tokenizer: Tokenizer,
) -> None:
    uncut = len(fim.join_blocks([fim.encode_whole(tokenizer, TEXTS[0], path="pkg/m0.py")]))
    always_cut = dataclasses.replace(NANO, fim_fraction=1.0, no_path_fraction=0.0)
    never_cut = dataclasses.replace(always_cut, fim_fraction=0.0)

    def draw(max_tokens: int, recipe: recipes.DataRecipe) -> bool:
        record = make(TEXTS[:1], max_tokens=max_tokens)
        return loader.draw_segment(
            record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=0
        ).is_fallback

    assert draw(uncut, always_cut)
    assert not draw(uncut, never_cut)
    assert not draw(uncut + 16, always_cut)


def test_a_budget_of_another_tokenizer_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="more than its budget of 8"):
        encode(make(TEXTS, max_tokens=8), tokenizer)


PIECES = (
    "def step(value):\n    return value + 1\n",
    "x = {'a': [1, 2], 'b': (3,)}  # <|fim_suffix|>\n",
    "for name in names:\n    print(name, end='')\n",
    "\u00e9\u6f22 = '<bos>' \u2028\n",
)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3),
    st.sampled_from([recipes.nano(), recipes.codegemma_2b(), recipes.codegemma_2b_ast()]),
    st.integers(0, 9),
)
def test_every_text_comes_back_whole_and_makes_no_control_token(
    tokenizer: Tokenizer, texts: list[str], recipe: recipes.DataRecipe, epoch: int
) -> None:
    record = make([text + PIECES[epoch % len(PIECES)] for text in texts], max_tokens=8192)
    always_path = dataclasses.replace(recipe, no_path_fraction=0.0)

    tokens = loader.encode_record(
        record, tokenizer=tokenizer, recipe=always_path, seed=0, epoch=epoch
    ).tolist()

    blocks = fim.parse(tokens, tokenizer)
    for block, file in zip(blocks, record.files, strict=True):
        text = block.text if block.split else block.text.removeprefix(f"{file.path}\n")
        assert text == file.text
    cut = sum(block.split is not None for block in blocks)
    assert sum(t.is_control(token) for token in tokens) == 2 + 3 * cut + tokens.count(
        t.FILE_SEPARATOR_ID
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [recipes.codegemma_2b(), recipes.codegemma_1_1_2b(), recipes.codegemma_2b_ast()]
)
def test_the_rates_of_20000_files_are_those_asked_for(
    tokenizer: Tokenizer, recipe: recipes.DataRecipe
) -> None:
    kinds: Counter[str] = Counter()
    parsed = [make(list(PIECES)).files[i] for i in range(4)]
    for number in range(2000):
        files = tuple(
            dataclasses.replace(parsed[(number + place) % 4], path=f"m{number}_{place}.py")
            for place in range(10)
        )
        record = Record(files=files, max_tokens=8192)
        tokens = loader.encode_record(
            record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=0
        ).tolist()
        for block, file in zip(fim.parse(tokens, tokenizer), files, strict=True):
            kinds[block.mode or "uncut"] += 1
            assert block.text.endswith(file.text)

    cut = kinds["psm"] + kinds["spm"]
    assert sum(kinds.values()) == 20_000
    assert cut / 20_000 == pytest.approx(recipe.fim_fraction, abs=0.005)
    assert kinds["psm"] / cut == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_example_of_a_prepared_package_comes_back_whole_at_the_rates_asked_for(
    tmp_path: Path,
) -> None:
    """Windows of real files, one that does not parse, and draws that find no room, are in it."""
    source = tmp_path / "pygments"
    without = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(Path(sysconfig.get_path("purelib")) / "pygments", source, ignore=without)
    functions = "".join(f"def good_{i}(value):\n    return value + {i}\n\n\n" for i in range(20))
    (source / "broken.py").write_text(functions + "x = = 1 2 ) (\n" * 30, encoding="utf-8")
    recipe = dataclasses.replace(NANO, permissive_only=False, redact=False, heldout=())
    settings = Settings(sources=(source,), recipe=recipe, tokenizer_file=NANO_TOKENIZER)
    manifest = pipeline.prepare(settings, out=tmp_path / "out")
    reader, tokenizer = ShardReader(tmp_path / "out"), Tokenizer.from_file(NANO_TOKENIZER)
    counts: Counter[str] = Counter()
    windows: dict[str, list[tuple[int, str]]] = {}
    epoch = 0
    while counts["eligible"] < 20_000:
        for record in map(reader.__getitem__, range(len(reader))):
            encoded = loader.draw_segment(
                record, tokenizer=tokenizer, recipe=recipe, seed=0, epoch=epoch
            )
            blocks = fim.parse(encoded.tokens.tolist(), tokenizer)
            for file, draw, block in zip(record.files, encoded.draws, blocks, strict=True):
                line = f"{file.path}\n" if draw.has_path and not block.split else ""
                assert block.text == line + file.text
                assert block.split == draw.split
                counts[block.mode or "uncut"] += 1
                counts["eligible"] += split.can_be_cut(file)
                counts["broken"] += file.is_broken
                if not epoch:
                    where = int(file.origin.rpartition(":")[2])
                    windows.setdefault(file.path, []).append((where, file.text))
            controls = [token for token in encoded.tokens.tolist() if t.is_control(token)]
            cut = sum(block.split is not None for block in blocks)
            assert len(controls) == 2 + 3 * cut + controls.count(t.FILE_SEPARATOR_ID)
        epoch += 1

    assert len(windows) == manifest["totals"]["train"]["files"] > 200
    for path, found in windows.items():
        whole = "".join(text for _, text in sorted(found))
        assert whole == (source / path).read_text("utf-8")
    cut = counts["psm"] + counts["spm"]
    assert counts["broken"] == epoch  # one file, in every epoch
    assert cut / counts["eligible"] == pytest.approx(recipe.fim_fraction, abs=0.005)
    assert counts["psm"] / cut == pytest.approx(0.5, abs=0.01)
