# SPDX-License-Identifier: Apache-2.0
"""What the requests of a batch take from earlier ones, and what they leave for later ones.

Between a batch and the `PrefixCache`, which knows nothing of requests: it may be None, and then
every prompt is read whole.
"""

from collections.abc import Sequence

from codegemma.generate.entries import Entry, Group
from codegemma.generate.lengths import cache_length, row_bucket
from codegemma.generate.prefix_cache import PrefixCache
from codegemma.generate.rows import Request, Row
from codegemma.generate.weights import Weights, empty_cache
from codegemma.model.cache import KVCache


class Reuse:
    """Where rows start from, and where they go.

    Args:
        weights: The model.
        kept: Rows of earlier requests; None keeps none.
    """

    def __init__(self, weights: Weights, kept: PrefixCache | None) -> None:
        self._weights = weights
        self._kept = kept

    def num_shared(self, request: Request) -> int:
        """Count the tokens of a prompt that need not be read."""
        if self._kept is None:
            return 0
        return self._kept.num_shared(request.tokens, request.owner)

    def begin(self, entries: Sequence[Entry]) -> tuple[KVCache, int]:
        """Give the cache to read prompts into, and how many tokens it holds of one that is alone.

        Args:
            entries: Whose prompts are read together, at least one.
        """
        longest = max(entry.request.num_slots for entry in entries)
        found = None
        if self._kept is not None and len(entries) == 1:
            request = entries[0].request
            with self._weights.lock:
                found = self._kept.take(
                    request.tokens, request.owner, num_slots=self._num_slots(longest)
                )
        if found is None:
            num_rows = row_bucket(len(entries))
            return empty_cache(self._weights, num_rows=num_rows, num_tokens=longest), 0
        cache = self._weights.grown(found.cache, num_slots=self._num_slots(longest))
        return cache, found.num_tokens

    def keep_row(self, row: Row, cache: KVCache, source: int) -> None:
        """Leave a row, as far as it is drawn; of the samples of one prompt the first.

        Args:
            row: The row.
            cache: Where it stands, needed no longer if it holds nothing else.
            source: Which of the cache's rows it is.
        """
        if row.sample == 0:
            held = [*row.asked.tokens, *row.text.tokens]
            self._keep(held[: row.num_held], cache, row.asked, source)

    def keep_prompts(self, group: Group) -> None:
        """Leave what was read of the prompts of requests that have ended already."""
        for index, entry in enumerate(group.entries):
            if entry.is_done:
                held = entry.request.tokens[: group.num_read[index]]
                self._keep(held, group.cache, entry.request, index)

    def _keep(self, held: Sequence[int], cache: KVCache, request: Request, source: int) -> None:
        if self._kept is not None:
            num_slots = self._num_slots(request.num_slots)  # not those of the longest beside it
            with self._weights.lock:
                self._kept.put(held, cache, request.owner, row=source, num_slots=num_slots)

    def _num_slots(self, num_tokens: int) -> int:
        return cache_length(num_tokens, context_length=self._weights.config.context_length)
