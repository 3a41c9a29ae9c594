# SPDX-License-Identifier: Apache-2.0

import copy
import re

import pytest

from codegemma.evaluate.report import dataset
from codegemma.evaluate.report.document import Bars, Bullets, Plot, Shares, Table

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x1b[31m"
TOTALS = {"repositories": 1, "files": 2, "bytes": 30_000, "records": 3, "tokens": 9000}
MANIFEST = {
    "settings": {
        "recipe": {
            "name": "nano",
            "context_tokens": 1024,
            "languages": [],
            "extensions": [".py"],
            "fim_fraction": 0.9,
            "psm_fraction": 0.5,
            "no_path_fraction": 0.2,
            "split_kinds": {"line": 1, "random": 3},
            "permissive_only": True,
            "redact": True,
        },
        "seed": 0,
        "thresholds": 2,
        "removals": [],
        "benchmarks": "ab" * 32,
    },
    "tokenizer": {"sha256": "cd" * 32},
    "versions": {"codegemma": "0.1.0", "rules": "0123456789abcdef"},
    "totals": {"train": TOTALS, "heldout": TOTALS},
    "dropped": {
        "read": {"binary": {"files": 1, "bytes": 5}},
        "license": {"license: unknown": {"files": 1, "bytes": 2000}},
        "copies": {"near_copy": {"files": 1, "bytes": 10_000}},
        "pack": {},
    },
    "repositories": [
        {"name": "mine", "version": "1", "license": "MIT", "part": "train"}
        | {"files": 2, "input_files": 4, "bytes": 30_000, "tokens": 9000}
    ],
}
REPORT = {
    "funnel": {
        "python": {"read": [5, 50_000], "license": [4, 48_000], "copies": [2, 30_000]},
    },
    "samples": {"copies": {"near_copy": ["mine/a.py", "mine/b.py"]}},
    "dropped": {
        "copies": {
            "near_copy": {"go": {"files": 1, "bytes": 10}, "python": {"files": 1200, "bytes": 9}}
        }
    },
    "contamination": [{"file": "mine@1/c.py", "item": "mbpp/m.jsonl.gz#7", "words": "a b c"}],
    "redacted": {"email": 3},
    "unsafe": {"lists": [], "warning": "NO LIST OF UNSAFE CONTENT WAS LOADED"},
    "not_permissive": [["other", "2", "GPL-3.0"]],
    "rates": {
        "segments": 10,
        "files": 200,
        "tokens": 9000,
        "eligible": 200,
        "cut": 180,
        "psm": 90,
        "spm": 90,
        "kinds": {"line": 45, "random": 135},
        "with_path": 160,
        "empty_suffix": 9,
        "fallbacks": 1,
        "files_per_segment": {"1": 6, "4": 4},
        "segment_sizes": [0, 0, 0, 0, 0, 0, 4, 6],
        "middle_chars": {"1": 30, "64": 150},
        "padding_fraction": 0.0123,
    },
}


def blocks(kind, manifest=MANIFEST, report=REPORT):
    return {
        getattr(block, "title", getattr(block, "caption", "")): block
        for section in dataset.sections(manifest, report)
        for block in section.blocks
        if isinstance(block, kind)
    }


def test_the_funnel_tells_what_became_of_every_byte():
    (shares,) = blocks(Shares).values()
    tables = blocks(Table)

    assert shares.parts == ["kept", "licence", "copies"]
    assert shares.rows == [("python", [30, 2, 18])]
    assert tables["Left after each stage, in megabytes"].rows == [
        ["python", "0.05", "0.05", "0.03"]
    ]


def test_every_reason_stands_with_its_count_and_examples():
    rows = blocks(Table)["All reasons, by language and with examples"].rows
    bars = blocks(Bars)["The reasons that took most, by bytes"].rows

    assert rows[2] == [
        "copies",
        "near_copy",
        "1",
        "0.01 MB",
        "python 1,200\ngo 1",
        "mine/a.py\nmine/b.py",
    ]
    assert [label for label, *_ in bars] == [
        "copies: near_copy",
        "license: unknown",
        "read: binary",
    ]


def test_every_example_of_a_reason_is_a_line_of_its_own():
    page = dataset.render_dataset(MANIFEST, REPORT, name="x")

    assert '<td class="lines"><div>mine/a.py</div><div>mine/b.py</div></td>' in page


def test_every_rule_of_copies_has_its_words():
    rules = ("exact_copy", "folded_copy", "near_copy", "repository_copy", "heldout_relative")
    manifest = copy.deepcopy(MANIFEST)
    manifest["dropped"]["copies"] = {rule: {"files": 1, "bytes": 9} for rule in rules}

    rows = blocks(Table, manifest)["Files dropped as copies; one of each stays"].rows

    assert [row[0] for row in rows if row[1]] == [*rules]


def test_shares_drawn_stand_beside_those_asked_for_with_intervals():
    (plot,) = blocks(Plot).values()
    rows = dict(plot.rows)
    drawn, asked = rows["split line"]

    assert list(rows) == [
        "cut, of files long enough",
        "prefix first (PSM), of cut",
        "path line shown",
        "split line",
        "split random",
    ]
    assert (drawn.value, asked.value) == (0.25, 0.25)
    assert drawn.low == pytest.approx(0.1924, abs=2e-4)  # Wilson, 45 of 180
    assert drawn.high == pytest.approx(0.3180, abs=2e-4)
    assert drawn.text == "25.0 % of 180"
    assert rows["path line shown"][1].value == pytest.approx(0.8)


def test_ranges_are_named_by_both_ends():
    bars = blocks(Bars)

    assert [label for label, *_ in bars["Segments by files"].rows] == ["1", "3 to 4"]
    assert bars["Middles by characters"].rows[1] == ("33 to 64", 150, "150 (83.3 %)")
    assert bars["Segments by tokens"].rows[7] == ("897 to 1,024", 6, "6 (60.0 %)")


def test_what_was_not_looked_for_is_said_loudly():
    manifest = copy.deepcopy(MANIFEST)
    manifest["settings"]["benchmarks"] = (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    manifest["totals"]["heldout"] = TOTALS | {"repositories": 0}
    manifest["settings"]["recipe"]["permissive_only"] = False

    section = dataset.sections(manifest, REPORT)[0]
    (bullets,) = [block for block in section.blocks if isinstance(block, Bullets)]

    assert [item.split(":")[0] for item in bullets.items] == [
        "NO LIST OF UNSAFE CONTENT WAS LOADED",
        "Nothing is held out",
        "NO EVALUATION DATA WAS GIVEN",
        "Licences were not looked at",
    ]


def test_a_file_with_several_benchmark_items_counts_once():
    items = [("a.py", "mbpp/m.jsonl.gz#7"), ("a.py", "mbpp/m.jsonl.gz#9"), ("b.py", "x.jsonl#1")]
    hits = [{"file": file, "item": item, "words": "a b c"} for file, item in items]
    report = REPORT | {"contamination": hits}

    rows = blocks(Bars, report=report)["Files by evaluation set, and the items in them"].rows

    assert rows == [("mbpp/m.jsonl.gz", 1, "1 file, 2 items"), ("x.jsonl", 1, "1 file, 1 item")]
    assert len(blocks(Table, report=report)["Hits, all of them"].rows) == 3
    page = dataset.render_dataset(MANIFEST, report, name="x")
    assert "2 files sharing text with evaluation data dropped." in page


def test_an_empty_data_set_has_a_page_too():
    report = REPORT | {"funnel": {}, "samples": {}, "contamination": [], "not_permissive": []}
    manifest = MANIFEST | {"repositories": [], "dropped": {"copies": {}}}
    page = dataset.render_dataset(manifest, report | {"rates": None}, name="empty")

    assert "No example was drawn." in page
    assert "No file was read." in page


def test_hostile_names_make_no_element_and_the_page_runs_and_loads_nothing():
    report = copy.deepcopy(REPORT)
    report["samples"]["copies"]["near_copy"] = [HOSTILE]
    report["contamination"][0] |= {"file": HOSTILE, "words": HOSTILE}
    manifest = copy.deepcopy(MANIFEST)
    manifest["repositories"][0]["name"] = HOSTILE

    page = dataset.render_dataset(manifest, report, name=HOSTILE)

    assert not {"\u202e", "\x1b"} & set(page)
    assert not re.search(r"<(script|img|link|iframe)\b", page)
    assert "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" in page
    assert "script-src" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
