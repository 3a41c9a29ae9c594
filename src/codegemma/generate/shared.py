# SPDX-License-Identifier: Apache-2.0
"""One batch for the requests of many threads: whoever waits for text draws for all of them.

There is no thread of its own. Of the threads that want text one steps the batch at a time, puts
what came out where each of the others finds it, and goes on until its own requests have ended.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from codegemma.generate.batch import Batch
from codegemma.generate.rows import Piece, Request


class SharedBatch:
    """Draws for any number of threads through one batch.

    Args:
        batch: Used by nobody else.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._changed = threading.Condition()
        self._is_stepping = False
        self._found: dict[int, deque[Piece | BaseException]] = {}

    def draw(self, requests: Sequence[Request], **settings: Any) -> Iterator[Piece]:
        """Yield the text of requests as it is drawn, and each completion with its last piece.

        Their pieces carry the requests' places in the sequence. A generator that is closed early
        ends its requests.

        Args:
            requests: What to complete.
            **settings: As of `Batch.add`, for all of them.
        """
        with self._changed:
            place_of = {
                self._batch.add(request, **settings): place
                for place, request in enumerate(requests)
            }
            self._found |= {number: deque() for number in place_of}
        num_left = len(requests) * settings["sampling"].n
        try:
            while num_left:
                for piece in self._next(place_of):
                    num_left -= piece.completion is not None
                    yield replace(piece, request=place_of[piece.request])
        finally:
            with self._changed:
                for number in place_of:
                    del self._found[number]
                    self._batch.drop(number)
                if not self._is_stepping:
                    self._batch.settle()

    def _next(self, numbers: Iterable[int]) -> list[Piece]:
        """Give the pieces of some requests; if there are none, step, or wait for who does."""
        with self._changed:
            while not (found := self._take(numbers)):
                if not self._is_stepping:
                    self._is_stepping = True
                    break
                self._changed.wait()
        if found:
            return found
        pieces: list[Piece] = []
        failed: dict[int, BaseException] = {}
        try:
            pieces = self._batch.step()
        except BaseException as error:
            failed = dict.fromkeys(self._batch.fail(), error)
            raise
        finally:
            with self._changed:
                self._is_stepping = False
                for piece in pieces:
                    if piece.request in self._found:
                        self._found[piece.request].append(piece)
                for number, error in failed.items():
                    if number in self._found:
                        self._found[number].append(error)
                self._changed.notify_all()
        return []

    def _take(self, numbers: Iterable[int]) -> list[Piece]:
        taken: list[Piece] = []
        for number in numbers:
            found = self._found[number]
            while found:
                piece = found.popleft()
                if isinstance(piece, BaseException):
                    raise piece
                taken.append(piece)
        return taken
