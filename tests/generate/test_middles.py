# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from codegemma.generate.middles import (
    Middle,
    cut,
    exchanges,
    measure_middles,
    measure_texts,
    paired_t,
    read_middles,
    read_texts,
)
from codegemma.text.fim import Split

FILE = "import os\n\n\ndef f(x):\n    if x:\n        return 1\n    return os.sep\n"


def test_a_file_is_cut_inside_a_line_and_around_two():
    # Seven lines: a third down is the blank third one, so the fourth; two thirds down the fifth.
    assert list(cut(FILE)) == [
        Split("import os\n\n\ndef ", "f(x):", "\n    if x:\n        return 1\n    return os.sep\n"),
        Split("import os\n\n\ndef f(x):\n    ", "if x:\n        return 1", "\n    return os.sep\n"),
    ]


def test_sixteen_middles_of_eight_files_in_seven_languages_come_with_the_package():
    middles = read_middles()
    assert len(middles) == 16
    assert len(read_texts()) == 8
    suffixes = {middle.path.rpartition(".")[2] for middle in middles}
    assert suffixes == {"py", "js", "ts", "java", "go", "c", "rs"}
    texts = set(read_texts())
    assert all(middle.split.text in texts for middle in middles)
    assert all(middle.split.middle.strip() for middle in middles)


def test_exchanges_are_all_but_the_right_order():
    assert exchanges()[0] == {67: 67, 68: 69, 69: 68}
    assert len({tuple(exchange.values()) for exchange in exchanges()}) == 5
    assert {67: 67, 68: 68, 69: 69} not in exchanges()


def test_a_middle_and_its_end_are_scored_after_the_rendered_prompt(engine):
    middle = Middle(path="a.py", split=Split("x = ", "y\n", "z"))
    encode = engine.tokenizer.encode
    known = [*encode("y\n"), 70]
    for exchange, sentinels in ((None, (67, 69, 68)), ({67: 68, 68: 67, 69: 69}, (68, 69, 67))):
        prefix, suffix, end = sentinels
        context = [2, *encode("a.py\n"), prefix, *encode("x = "), suffix, *encode("z"), end]
        expected = -engine.score([(context, known)])[0].logprob / 2
        found = measure_middles(engine, [middle], mode="psm", exchange=exchange)
        assert found == pytest.approx([expected])


def test_a_whole_text_is_scored_after_bos(engine):
    expected = -engine.score([([2], engine.tokenizer.encode("a = 1"))])[0].logprob / 5
    assert measure_texts(engine, ["a = 1"]) == pytest.approx([expected])


def test_students_t_of_pairs():
    # Differences 1, 2, 3: mean 2, standard deviation 1, standard error 1 / sqrt(3).
    assert paired_t(np.array([1.0, 1, 1]), np.array([2.0, 3, 4])) == pytest.approx(2 * 3**0.5)
