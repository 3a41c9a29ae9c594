# SPDX-License-Identifier: Apache-2.0
"""Batches of packed rows from records: shuffled, encoded anew in each epoch, resumable exactly.

Reads indexable sources of records, drawn by weight, and a function that encodes one; gives rows of
whole segments
side by side, each with its own positions. Nothing is cut: a segment longer than a row is refused.
The state of the iterator is a small JSON object, kept with every checkpoint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast, runtime_checkable

import grain
import numpy as np
from grain import experimental
from numpy.typing import NDArray

from codegemma.data.loader import Encoded
from codegemma.errors import ConfigError, DataError
from codegemma.text.tokens import FILE_SEPARATOR_ID, FIM_MIDDLE_ID

_OPEN_ROWS: Final = 32
"""Rows that are filled at a time, each segment going into the fullest that has room for it."""
_PREFETCHED_BATCHES: Final = 2


@runtime_checkable
class Source(Protocol):
    """Records by index, such as a ShardReader."""

    def __len__(self) -> int:
        """Number of records."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Record `index`."""
        ...


class Weighted(NamedTuple):
    """A source of records, and how often one of them is drawn, as a share of all draws."""

    source: Source
    weight: float = 1.0


Encode = Callable[[Any, int], Encoded]
"""Encodes a record as one segment, given the epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """Shape of a batch and the order of the data.

    Args:
        seed: Of the shuffle and of every draw in encoding.
        row_tokens: Length of a row.
        rows: Rows of a micro-batch.
        micro_batches: Micro-batches whose gradients make one step.
        middle_weight: Loss weight of the tokens of a middle and of the separator that ends it;
            all others weigh 1.
    """

    seed: int = 0
    row_tokens: int = 1024
    rows: int = 8
    micro_batches: int = 1
    middle_weight: float = 1.0

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be at least 1, not {getattr(self, name)}"
            for name in ("row_tokens", "rows", "micro_batches")
            if getattr(self, name) < 1
        ]
        if self.middle_weight <= 0:
            faults.append(f"middle_weight must be above 0, not {self.middle_weight}")
        if faults:
            raise ConfigError("input: " + "; ".join(faults))


class Batch(NamedTuple):
    """Rows of packed segments: arrays [B T] of numpy or jax, int32 and the last float32.

    Args:
        tokens: Ids, 0 where a row is not filled.
        segment_ids: Number of the segment within its row, from 1; 0 is padding.
        positions: Place of each token in its segment, from 0.
        loss_weights: Weight of predicting each token from those before it in its segment; 0 for
            the first of a segment and for padding.
    """

    tokens: Any
    segment_ids: Any
    positions: Any
    loss_weights: Any


class BatchIterator(Iterator[Batch]):
    """Batches whose place can be stored and restored.

    Each batch has `micro_batches * rows` rows; batches are prepared ahead in one thread.

    Attributes:
        num_fallbacks: Segments of the last batch that were left uncut for want of room.
    """

    def __init__(self, iterator: grain.DatasetIterator) -> None:
        self._iterator = iterator
        self.num_fallbacks = 0

    def __next__(self) -> Batch:
        rows = next(self._iterator)
        self.num_fallbacks = int(rows["is_fallback"].sum())
        return _as_batch(rows)

    @property
    def state(self) -> dict[str, Any]:
        """Place after the last batch given out, as a JSON object."""
        return self._iterator.get_state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a place: the next batch is the one that followed when it was taken."""
        self._iterator.set_state(dict(state))

    def close(self) -> None:
        """Stop preparing batches ahead."""
        self._iterator.close()


def make_batches(
    sources: Sequence[Weighted], *, encode: Encode, config: InputConfig
) -> BatchIterator:
    """Start at the first batch of an endless, shuffled, packed stream.

    Records are drawn from the sources in a fixed turn that keeps to the weights at every length;
    each source is gone through once in each of its own epochs.

    Args:
        sources: Records, with weights above 0.
        encode: Gives one segment of a record; pure in (record, epoch).
        config: Batch shape and seed.

    Raises:
        DataError: There is no source, or an empty one; later, a segment is longer than a row.
    """
    if not sources or not all(len(source) for source, _ in sources):
        raise DataError("there are no training records; prepare more or larger repositories")
    streams = [_segments(source, encode=encode, config=config) for source, _ in sources]
    weights = [weight for _, weight in sources]
    mixed = streams[0] if len(streams) == 1 else grain.MapDataset.mix(streams, weights)
    rows = mixed.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    features = ("tokens", "loss_weights", "is_fallback")
    packed = _pack(rows, config, features=features).batch(config.rows * config.micro_batches)
    prefetched = experimental.ThreadPrefetchIterDataset(
        packed, prefetch_buffer_size=_PREFETCHED_BATCHES
    )
    return BatchIterator(iter(prefetched))


def _segments(source: Source, *, encode: Encode, config: InputConfig) -> grain.MapDataset:
    """Give the segments of a source, over and over, each epoch in an order of its own."""
    num_records = len(source)

    def to_segment(index: int, record: Any) -> dict[str, NDArray[Any]]:
        encoded = encode(record, index // num_records)
        segment = make_segment(encoded.tokens, config=config)
        return segment | {"is_fallback": np.array([encoded.is_fallback], np.int32)}

    return (
        grain.MapDataset.source(cast(Any, source))
        .seed(config.seed)
        .shuffle()
        .repeat()
        .map_with_index(to_segment)
    )


def pack_rows(segments: Sequence[NDArray[np.int32]], *, config: InputConfig) -> list[Batch]:
    """Pack given segments into single-row batches, in order; the last rows may be part empty."""
    dataset = grain.MapDataset.source([make_segment(tokens, config=config) for tokens in segments])
    packed = _pack(dataset.to_iter_dataset(), config, features=("tokens", "loss_weights"))
    return [_as_batch(row, add_axis=True) for row in packed]


def make_segment(tokens: NDArray[np.int32], *, config: InputConfig) -> dict[str, NDArray[Any]]:
    """Give a segment its loss weights.

    Raises:
        DataError: It is longer than a row.
    """
    if len(tokens) > config.row_tokens:
        raise DataError(
            f"a segment of {len(tokens)} tokens does not fit a row of {config.row_tokens}; "
            "prepare with a smaller context or train with longer rows"
        )
    weights = np.ones(len(tokens), np.float32)
    weights[middle_mask(tokens)] = config.middle_weight
    weights[:1] = 0
    return {"tokens": np.asarray(tokens, np.int32), "loss_weights": weights}


def middle_mask(tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the tokens after each `<|fim_middle|>`, up to and with the separator that ends them."""
    last_start = np.maximum.accumulate(
        np.where(tokens == FIM_MIDDLE_ID, np.arange(len(tokens)), -1)
    )
    ends = np.where(tokens == FILE_SEPARATOR_ID, np.arange(len(tokens)), -1)
    last_end = np.maximum.accumulate(np.concatenate([[-1], ends[:-1]]))
    return (last_start > last_end) & (tokens != FIM_MIDDLE_ID)


def _pack(
    dataset: grain.IterDataset, config: InputConfig, *, features: Sequence[str]
) -> grain.IterDataset:
    return experimental.BestFitPackIterDataset(
        dataset,
        length_struct=dict.fromkeys(features, config.row_tokens),
        num_packing_bins=_OPEN_ROWS,
        seed=config.seed,
    )


def _as_batch(row: Mapping[str, Any], *, add_axis: bool = False) -> Batch:
    arrays = Batch(
        row["tokens"], row["tokens_segment_ids"], row["tokens_positions"], row["loss_weights"]
    )
    return Batch(*(array[None] for array in arrays)) if add_axis else arrays
