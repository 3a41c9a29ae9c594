# SPDX-License-Identifier: Apache-2.0

import pytest

from bench_memorization import head_of, main, plant, rows_of
from codegemma.evaluate.canaries import make_canaries


def test_the_head_of_a_file_ends_at_a_blank_line() -> None:
    text = "a\n\n" + "b\n" * 20 + "\n" + "c\n" * 40

    assert head_of(text) == "a\n\n" + "b\n" * 20
    assert head_of("a\nb") == "a\nb\n"


def test_every_copy_is_planted_in_a_file_of_its_own_and_small_files_get_none(tmp_path) -> None:
    files = [tmp_path / f"{number}.py" for number in range(20)]
    for file in files:
        file.write_text("# text\n" * 100)
    (tmp_path / "small.py").write_text("x = 1\n")

    never, once, often = canaries = make_canaries(1, copies=(0, 1, 16), seed=0)
    plant(canaries, [*files, tmp_path / "small.py"])

    texts = [file.read_text() for file in files]
    counts = [[text.count(one.line) for text in texts] for one in (never, once, often)]
    assert [sum(found) for found in counts] == [0, 1, 16]
    assert max(map(max, counts)) == 1
    assert (tmp_path / "small.py").read_text() == "x = 1\n"


def test_metrics_of_all_and_of_each_number_of_copies_are_rows() -> None:
    found = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8, "n_eff": 8.0}
    result = {
        "task": "memorization:train",
        "metric": {"exact": found},
        "group": {"copies-1": {"exact": found | {"n": 3}}},
    }

    rows = rows_of(result, note="nano")

    assert [(row.name, row.n, row.value, row.low, row.note) for row in rows] == [
        ("memorization:train exact", 8, 0.5, 0.25, "nano"),
        ("memorization:train exact copies-1", 3, 0.5, 0.25, "nano"),
    ]


@pytest.mark.parametrize("words", [["--out", "o"], ["src", "--data", "d", "--out", "o"]])
def test_folders_or_prepared_data_are_asked_for(words, capsys) -> None:
    with pytest.raises(SystemExit):
        main(words)

    assert "name either folders or --data" in capsys.readouterr().err
