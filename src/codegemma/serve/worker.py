# SPDX-License-Identifier: Apache-2.0
"""Threads that complete requests from a bounded queue; one of them loads the model first.

Another one prepares for requests that may come, a step at a time, while there are none.

A request is a `Job`: the worker puts each piece of text on it, or each completion where nobody
watches them grow; an endpoint reads them from the event loop, and `cancel` ends it at once, whether
it still waits or is being drawn. Requests are not batched here: those that several threads draw
at one time share the completer, and an engine draws them together.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from codegemma.completion import Completer, Delta, Prompt, Sampling
from codegemma.generate.trimmed import Trimmed
from codegemma.serve.errors import ApiError

logger = logging.getLogger(__name__)

MAX_WAITING = 32
MAX_DRAWN = 8
QUIET_S = 1.0
"""How long no request must have been there for a step of preparation."""

State = Literal["loading", "ready", "failed", "stopped"]
_NICE = 10  # not 19: a thread that holds the interpreter must get to let it go
_STOPPING = ("shutting_down", "the server is stopping")
_UNAVAILABLE = {
    "loading": ("model_loading", "the model is being loaded; try again in a moment"),
    "failed": ("model_unavailable", "the model could not be loaded; see the server's log"),
    "ready": _STOPPING,
    "stopped": _STOPPING,
}


class Piece(NamedTuple):
    """A delta and which of the job's prompts it belongs to."""

    prompt: int
    delta: Delta


class Job:
    """One request's prompts on their way through the worker, and the text that came out so far."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        is_watched: bool,
        is_raw: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.prompts = tuple(prompts)
        self.sampling = sampling
        self.is_watched = is_watched
        self.is_raw = is_raw
        self.cancelled = threading.Event()
        self._loop = loop
        self._pieces: asyncio.Queue[Piece | BaseException | None] = asyncio.Queue()

    def put(self, piece: Piece | BaseException | None) -> None:
        """Hand a piece, an error or the end (None) to the reader; called by the worker's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield what was drawn, as it is drawn; raises the error that ended it."""
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class Worker:
    """The threads, their queue and the completer they own.

    Args:
        load: Makes the completer; called once, in the first thread.
        max_waiting: Most requests that may wait behind those being drawn.
        max_drawn: Most requests that are drawn at one time.
        prepare: Gives the steps of what is done while there are no requests, at low priority.
        on_ready: Called in the thread once the completer is there.
        on_failure: Called in the thread with the error that ended loading.
    """

    def __init__(
        self,
        load: Callable[[], Completer],
        *,
        max_waiting: int = MAX_WAITING,
        max_drawn: int = 1,
        prepare: Callable[[Completer], Iterator[object]] | None = None,
        on_ready: Callable[[Completer], None] = lambda _: None,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.state: State = "loading"
        self._load = load
        self._max_waiting = max_waiting
        self._max_drawn = max_drawn
        self._prepare = prepare
        self._last_ended = 0.0
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._completer: Completer | None = None
        self._waiting: deque[Job] = deque()
        self._drawn: set[Job] = set()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, name="codegemma-worker-0", daemon=True)]

    @property
    def completer(self) -> Completer:
        """The completer.

        Raises:
            ApiError: It is not there yet, could not be loaded, or the server is stopping.
        """
        if self.state != "ready" or self._completer is None:
            raise self.unavailable()
        return self._completer

    def unavailable(self) -> ApiError:
        """Say why there is no completer."""
        code, message = _UNAVAILABLE[self.state]
        return ApiError(503, code, message)

    @property
    def num_waiting(self) -> int:
        """Requests that wait behind those being drawn."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether a thread still runs."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin to load."""
        self._threads[0].start()

    def stop(self, *, timeout_s: float) -> bool:
        """Cancel what runs and waits; say whether the threads ended within the time.

        Loading cannot be cancelled and is not waited for.
        """
        with self._changed:
            self.state = "stopped"
            jobs = [*self._waiting, *self._drawn]
            self._changed.notify_all()
        for job in jobs:
            self.cancel(job)
        end = time.monotonic() + (timeout_s if self._completer is not None else 0.0)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not self.is_alive

    def submit(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        is_watched: bool = False,
        is_raw: bool = False,
    ) -> Job:
        """Queue a request.

        Args:
            prompts: What to complete.
            sampling: How.
            is_watched: Whether text is wanted as it is drawn; else there is one piece for each
                completion.
            is_raw: Whether infills are left as they were drawn, untrimmed.

        Raises:
            ApiError: 503 without a model, 429 when too many requests wait already.
        """
        loop = asyncio.get_running_loop()
        job = Job(prompts, sampling, is_watched=is_watched, is_raw=is_raw, loop=loop)
        with self._changed:
            _ = self.completer
            num_ahead = len(self._waiting) + len(self._drawn)
            if num_ahead >= self._max_waiting + self._max_drawn:
                message = f"{self._max_waiting} requests are waiting already; try again in a moment"
                raise ApiError(429, "overloaded", message)
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """End a job: a waiting one leaves the queue, a running one stops at its next token."""
        job.cancelled.set()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.put(None)

    def _run(self) -> None:
        try:
            completer = self._load()
        except BaseException as error:
            self.state = "failed"
            self._on_failure(error)
            return
        with self._changed:
            self._completer = completer
            if self.state == "loading":
                self.state = "ready"
        self._on_ready(completer)
        with self._changed:
            if self.state == "ready":
                for number in range(1, self._max_drawn):
                    self._start(self._work, completer, name=f"codegemma-worker-{number}")
                if self._prepare is not None:
                    self._start(self._prepare_steps, completer, name="codegemma-preparer")
        self._work(completer)

    def _start(self, run: Callable[[Completer], None], completer: Completer, *, name: str) -> None:
        thread = threading.Thread(target=run, args=(completer,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _prepare_steps(self, completer: Completer) -> None:
        """Do a step whenever there has been no request for a while, until there are none left."""
        assert self._prepare is not None
        _lower_priority()
        try:
            steps = self._prepare(completer)
            while self._wait_for_quiet() and next(steps, None) is not None:
                pass
        except Exception:  # what is not prepared is made when it is asked for
            logger.warning("preparing for requests ended early", exc_info=True)

    def _wait_for_quiet(self) -> bool:
        """Wait until there has been no request for a while; False where the server stops."""
        with self._changed:
            while self.state != "stopped":
                left = self._last_ended + QUIET_S - time.monotonic()
                if self._waiting or self._drawn:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    return True
        return False

    def _work(self, completer: Completer) -> None:
        job: Job | None = None
        while (job := self._next(job)) is not None:
            _draw(completer, job)

    def _next(self, ended: Job | None) -> Job | None:
        """Take the next request; None where there will be no more."""
        with self._changed:
            if ended is not None:
                self._drawn.remove(ended)
                self._last_ended = time.monotonic()
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self.state == "stopped")
            if not self._waiting:
                return None
            job = self._waiting.popleft()
            self._drawn.add(job)
            return job


def _lower_priority() -> None:
    """Let the other threads go first, where a thread has a priority of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _draw(completer: Completer, job: Job) -> None:
    if job.is_raw and isinstance(completer, Trimmed):
        completer = completer.completer
    try:
        if job.is_watched:
            _stream(completer, job)
        else:
            drawn = completer.complete(job.prompts, job.sampling, job.cancelled)
            for number, completions in enumerate(drawn):
                for index, completion in enumerate(completions):
                    delta = Delta(text=completion.text, index=index, completion=completion)
                    job.put(Piece(number, delta))
        job.put(None)
    except BaseException as error:
        job.put(error)


def _stream(completer: Completer, job: Job) -> None:
    for number, prompt in enumerate(job.prompts):
        for delta in completer.stream(prompt, job.sampling, job.cancelled):
            job.put(Piece(number, delta))
        if job.cancelled.is_set():
            break
