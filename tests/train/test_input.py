# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codegemma.data.loader import Encoded
from codegemma.errors import ConfigError, DataError
from codegemma.text.tokens import EOS_ID, FILE_SEPARATOR_ID, FIM_MIDDLE_ID
from codegemma.train.input import (
    Batch,
    BatchIterator,
    InputConfig,
    Weighted,
    make_batches,
    make_segment,
    middle_mask,
    pack_rows,
)

MID, SEP, EOS = FIM_MIDDLE_ID, FILE_SEPARATOR_ID, EOS_ID


def tokens(*ids: int) -> NDArray[np.int32]:
    return np.array(ids, np.int32)


def encode(record: int, epoch: int) -> Encoded:
    """Record n in epoch e is e, then n times 100 + n; record 3 was left uncut."""
    ids = np.array([epoch] + [100 + record] * record, np.int32)
    return Encoded(ids, is_fallback=record == 3)


def start(num_records: int = 7, **settings: Any) -> BatchIterator:
    config = InputConfig(**({"row_tokens": 8, "rows": 2, "seed": 3} | settings))
    return make_batches([Weighted(range(num_records))], encode=encode, config=config)


def segments(batch: Batch) -> list[list[int]]:
    """The segments of a batch, row by row."""
    found = []
    for row, ids in zip(batch.tokens, batch.segment_ids, strict=True):
        found += [row[ids == number].tolist() for number in range(1, ids.max() + 1)]
    return found


def test_segments_share_a_row_with_places_and_weights_of_their_own() -> None:
    config = InputConfig(row_tokens=8, rows=1)

    (row,) = pack_rows([tokens(2, 11, 12, 1), tokens(2, 13, 1)], config=config)

    assert row.tokens.tolist() == [[2, 11, 12, 1, 2, 13, 1, 0]]
    assert row.segment_ids.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0]]
    assert row.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0]]
    assert row.loss_weights.tolist() == [[0, 1, 1, 1, 0, 1, 1, 0]]
    assert [array.dtype.name for array in row] == ["int32", "int32", "int32", "float32"]


def test_a_segment_goes_to_the_first_row_with_room() -> None:
    config = InputConfig(row_tokens=5, rows=1)
    parts = [tokens(1, 1, 1), tokens(2, 2, 2, 2), tokens(3, 3)]

    rows = [row.tokens.tolist()[0] for row in pack_rows(parts, config=config)]

    assert sorted(rows) == [[1, 1, 1, 3, 3], [2, 2, 2, 2, 0]]


def test_a_middle_reaches_to_its_separator_and_no_further() -> None:
    ids = tokens(2, 67, 11, 69, 12, MID, 13, 14, SEP, 15, SEP, 67, 69, MID, SEP, EOS)

    assert middle_mask(ids).astype(int).tolist() == [0] * 6 + [1, 1, 1] + [0] * 5 + [1, 0]


def test_an_unended_middle_reaches_to_the_end() -> None:
    assert middle_mask(tokens(2, MID, 11, 12)).tolist() == [False, False, True, True]
    assert not middle_mask(tokens(2, SEP, 11, SEP)).any()


def test_middles_weigh_what_the_configuration_says() -> None:
    config = InputConfig(row_tokens=8, middle_weight=2.5)

    segment = make_segment(tokens(2, 11, MID, 12, SEP, EOS), config=config)

    assert segment["loss_weights"].tolist() == [0, 1, 1, 2.5, 2.5, 1]


def test_a_segment_longer_than_a_row_is_refused() -> None:
    with pytest.raises(DataError, match="a segment of 9 tokens does not fit a row of 8"):
        make_segment(tokens(*range(9)), config=InputConfig(row_tokens=8))


def test_every_epoch_holds_every_record_once_in_another_order() -> None:
    batches = start()
    seen: dict[int, list[int]] = {}
    for _ in range(16):
        for segment in segments(next(batches)):
            seen.setdefault(segment[0], []).append(len(segment) - 1)
    batches.close()

    assert sorted(seen[0]) == sorted(seen[1]) == [0, 1, 2, 3, 4, 5, 6]
    assert seen[0] != seen[1]


def mixed(weights: list[float]) -> BatchIterator:
    """Records of 1 and of 2 tokens behind the epoch, from 5 and from 9 of them."""
    sources = [
        Weighted([1000 + i for i in range(5)], weights[0]),
        Weighted([2000 + i for i in range(9)], weights[1]),
    ]

    def encode_mixed(record: int, epoch: int) -> Encoded:
        return Encoded(np.array([epoch] + [record] * (record // 1000), np.int32), is_fallback=False)

    config = InputConfig(row_tokens=8, rows=2, seed=3)
    return make_batches(sources, encode=encode_mixed, config=config)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.2, 0.013])
def test_records_are_drawn_by_weight_and_each_source_in_epochs_of_its_own(share: float) -> None:
    batches = mixed([1 - share, share])
    drawn = [tuple(segment) for _ in range(400) for segment in segments(next(batches))]
    batches.close()

    second = [segment for segment in drawn if segment[1] >= 2000]
    assert len(second) / len(drawn) == pytest.approx(share, abs=0.003)
    for source, size in ((1000, 5), (2000, 9)):
        seen = [record for _, record, *_ in drawn if record // 1000 * 1000 == source]
        assert set(seen) == {source + i for i in range(size)}
        epochs = Counter(epoch for epoch, record, *_ in drawn if record // 1000 * 1000 == source)
        whole = [count for epoch, count in epochs.items() if epoch < max(epochs) - 5]
        assert set(whole) <= {size}


def test_a_mixture_goes_on_from_any_batch() -> None:
    straight = mixed([0.7, 0.3])
    for _ in range(20):
        next(straight)
    state = straight.state
    wanted = [next(straight) for _ in range(5)]
    straight.close()

    resumed = mixed([0.7, 0.3])
    resumed.restore(state)
    for want in wanted:
        assert all(np.array_equal(a, b) for a, b in zip(next(resumed), want, strict=True))
    resumed.close()


def test_segments_left_uncut_are_counted_in_the_batch_that_holds_them() -> None:
    batches = start()
    for _ in range(9):
        batch = next(batches)

        assert batches.num_fallbacks == sum(103 in segment for segment in segments(batch))
    batches.close()


def test_the_seed_decides_the_order() -> None:
    def first(seed: int) -> list[list[int]]:
        batches = start(seed=seed)
        batch = next(batches)
        batches.close()
        return segments(batch)

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_a_batch_holds_the_rows_of_all_its_micro_batches() -> None:
    batches = start(rows=2, micro_batches=3)
    assert next(batches).tokens.shape == (6, 8)
    batches.close()


def test_a_segment_goes_into_the_fullest_row_that_has_room() -> None:
    sizes = (5, 6, 2, 3)
    given = [np.full(size, size, np.int32) for size in sizes]

    rows = pack_rows(given, config=InputConfig(row_tokens=8))

    filled = sorted(sorted({int(token) for token in row.tokens[0]}) for row in rows)
    assert filled == [[2, 6], [3, 5]]


def test_going_on_from_any_batch_gives_the_batches_that_followed() -> None:
    straight = start()
    states, batches = [], []
    for _ in range(9):
        batches.append(next(straight))
        states.append(straight.state)
    straight.close()

    for place in (0, 1, 4, 7):
        resumed = start()
        resumed.restore(states[place])
        for want in batches[place + 1 :]:
            got = next(resumed)
            assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
        resumed.close()


def test_no_records_are_refused() -> None:
    with pytest.raises(DataError, match="no training records"):
        start(num_records=0)


def test_faults_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"rows must be at least 1, not 0.*middle_weight"):
        InputConfig(rows=0, middle_weight=-1.0)
