# SPDX-License-Identifier: Apache-2.0
import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from codegemma.data import dropped, output, pipeline, recipes
from codegemma.data.pipeline import Settings
from codegemma.errors import ConfigError

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer.model"
GOOD = "".join(f"def add_{i}(value_{i}):\n    return value_{i} + {i}\n\n" for i in range(12))
LONG = f"KEY = 'AKIAQWERTYUIOPASDFGH'\nVALUES = '{'a b ' * 400}'\n"
ASKED = GOOD.replace("add", "asked")
BAD = GOOD.replace("add_1(", "unsafe_word_here(")


@dataclasses.dataclass(frozen=True)
class Tagger:
    """A user's, who knows one name."""

    version: str = "1"

    def tag(self, text: str) -> list[tuple[int, int]]:
        place = text.find("Bert")
        return [(place, place + 4)] if place >= 0 else []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "mine"
    folder.mkdir()
    texts = {"good.py": GOOD, "long.py": LONG, "asked.py": ASKED, "bad.py": BAD}
    for name, text in {**texts, "LICENSE": "MIT License"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "removals.txt").write_text("mine/asked.py\n", encoding="utf-8")
    (tmp_path / "unsafe.txt").write_text("term:unsafe_word_here\n", encoding="utf-8")
    return Settings(
        sources=(folder,),
        recipe=recipes.tiny(),
        tokenizer_file=TOKENIZER,
        removals=(tmp_path / "removals.txt",),
        unsafe_lists=(tmp_path / "unsafe.txt",),
    )


def rows(out: Path) -> list[dict[str, str]]:
    with gzip.open(out / dropped.NAME, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_texts_that_a_rule_left_out_are_kept_redacted_and_no_others(
    settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    manifest = pipeline.prepare(settings, out=out)

    assert dropped.keep(out, settings) == 1
    (row,) = rows(out)
    assert (row["stage"], row["path"]) == ("filter", "long.py")
    assert {row["rule"]: 1} == {
        rule: count["files"] for rule, count in manifest["dropped"]["filter"].items()
    }
    assert row["text"].endswith("a b '\n")
    assert "AKIA" not in row["text"]
    assert manifest["dropped"]["removed"]["asked for"]["files"] == 1
    assert [count["files"] for count in manifest["dropped"]["unsafe"].values()] == [1]


def test_what_another_file_or_a_tagger_tells_is_replaced_in_kept_texts_too(
    settings: Settings, tmp_path: Path
) -> None:
    key = "q7Zk0pXw3Rt9Lm2V"
    (folder,) = settings.sources
    (folder / "good.py").write_text(f'PASSWORD = "{key}"\n' + GOOD, encoding="utf-8")
    (folder / "long.py").write_text(f"# {key} of Bert\n{LONG}", encoding="utf-8")
    settings = dataclasses.replace(settings, tagger=Tagger())
    out = tmp_path / "out"
    pipeline.prepare(settings, out=out)

    dropped.keep(out, settings)

    (row,) = rows(out)
    assert row["path"] == "long.py"
    assert key not in row["text"]
    assert "Bert" not in row["text"]


def test_kept_texts_are_not_written_again(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline.prepare(settings, out=out)
    dropped.keep(out, settings)
    before = (out / dropped.NAME).read_bytes()

    assert dropped.keep(out, settings) == 0
    (out / dropped.NAME).unlink()
    dropped.keep(out, settings)
    assert (out / dropped.NAME).read_bytes() == before


def test_texts_are_not_kept_while_another_run_writes(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline.prepare(settings, out=out)

    with output.locked(out), pytest.raises(ConfigError, match="another run is preparing data"):
        dropped.keep(out, settings)

    assert not (out / dropped.NAME).exists()
