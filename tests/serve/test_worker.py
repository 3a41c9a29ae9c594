# SPDX-License-Identifier: Apache-2.0
import asyncio
import threading

import pytest

from codegemma.completion import Prompt, Sampling
from codegemma.generate.trimmed import Trimmed
from codegemma.serve import worker as workers
from codegemma.serve.errors import ApiError
from codegemma.serve.worker import Worker

PROMPT = Prompt(prefix="a", suffix="")


async def _until(condition, *, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


async def _text(job):
    return "".join([piece.delta.text async for piece in job.pieces()])


def _ready(completer, **options):
    worker = Worker(lambda: completer, **options)
    worker.start()
    return worker


@pytest.mark.parametrize(
    ("is_watched", "one"), [(True, ["r", "e", "t", ""]), (False, ["ret"])], ids=["stream", "whole"]
)
def test_a_request_is_drawn_in_the_thread_and_read_in_the_loop(scripted, is_watched, one):
    async def run():
        worker = _ready(scripted)
        await _until(lambda: worker.state == "ready")
        job = worker.submit([PROMPT, PROMPT], Sampling(max_tokens=3), is_watched=is_watched)
        found = [(piece.prompt, piece.delta.text) async for piece in job.pieces()]
        assert worker.stop(timeout_s=5.0)
        return found

    assert asyncio.run(run()) == [(0, text) for text in one] + [(1, text) for text in one]


def test_loading_fails_with_a_word_to_whoever_started_it():
    async def run():
        seen = []

        def load():
            raise OSError("no such model")

        worker = Worker(load, on_failure=seen.append)
        worker.start()
        await _until(lambda: worker.state == "failed")
        with pytest.raises(ApiError) as caught:
            worker.submit([PROMPT], Sampling())
        return [str(error) for error in seen], caught.value

    seen, error = asyncio.run(run())
    assert seen == ["no such model"]
    assert (error.status, error.code) == (503, "model_unavailable")


def test_while_the_model_loads_requests_are_asked_to_come_again(scripted):
    async def run():
        may_load = threading.Event()
        worker = Worker(lambda: may_load.wait(10) and scripted)
        worker.start()
        with pytest.raises(ApiError) as caught:
            worker.submit([PROMPT], Sampling())
        may_load.set()
        await _until(lambda: worker.state == "ready")
        text = await _text(worker.submit([PROMPT], Sampling()))
        worker.stop(timeout_s=5.0)
        return caught.value.code, text

    assert asyncio.run(run()) == ("model_loading", "return 42\n")


def test_the_queue_is_bounded_and_a_cancelled_request_leaves_it(scripted):
    async def run():
        worker = _ready(scripted, max_waiting=2)
        await _until(lambda: worker.state == "ready")
        scripted.hold.clear()
        running = worker.submit([PROMPT], Sampling())
        await _until(lambda: len(scripted.prompts) == 1)
        waiting = [worker.submit([PROMPT], Sampling()) for _ in range(2)]
        with pytest.raises(ApiError) as caught:
            worker.submit([PROMPT], Sampling())
        assert (caught.value.status, caught.value.code) == (429, "overloaded")
        worker.cancel(waiting[0])
        assert worker.num_waiting == 1
        assert await _text(waiting[0]) == ""
        late = worker.submit([PROMPT], Sampling())
        scripted.hold.set()
        texts = [await _text(job) for job in (running, waiting[1], late)]
        worker.stop(timeout_s=5.0)
        return texts

    assert asyncio.run(run()) == ["return 42\n"] * 3
    assert len(scripted.prompts) == 3


def test_a_burst_that_reaches_an_idle_worker_at_once_is_taken_in_full(scripted):
    async def run():
        worker = _ready(scripted, max_waiting=2)
        await _until(lambda: worker.state == "ready")
        # No await in between: the worker may not have taken the first one yet.
        burst = [worker.submit([PROMPT], Sampling()) for _ in range(3)]
        texts = [await _text(job) for job in burst]
        worker.stop(timeout_s=5.0)
        return texts

    assert asyncio.run(run()) == ["return 42\n"] * 3


@pytest.mark.parametrize(("is_watched", "num_asked"), [(True, 1), (False, 2)])
def test_cancelling_a_running_request_frees_the_thread_at_its_next_token(
    scripted, is_watched, num_asked
):
    async def run():
        worker = _ready(scripted)
        await _until(lambda: worker.state == "ready")
        scripted.hold.clear()
        job = worker.submit([PROMPT, PROMPT], Sampling(), is_watched=is_watched)
        await _until(lambda: len(scripted.prompts) == 1)
        worker.cancel(job)
        pieces = [piece async for piece in job.pieces()]
        scripted.hold.set()
        after = await _text(worker.submit([PROMPT], Sampling()))
        worker.stop(timeout_s=5.0)
        return [piece.delta.completion.finish_reason for piece in pieces], after

    assert asyncio.run(run()) == (["cancelled"] * num_asked, "return 42\n")
    assert scripted.num_drawn == len("return 42\n")  # of the cancelled request, nothing


def test_an_error_ends_its_request_alone(scripted):
    async def run():
        worker = _ready(scripted)
        await _until(lambda: worker.state == "ready")
        scripted.fail = MemoryError("no room")
        with pytest.raises(MemoryError, match="no room"):
            await _text(worker.submit([PROMPT], Sampling()))
        scripted.fail = None
        text = await _text(worker.submit([PROMPT], Sampling()))
        worker.stop(timeout_s=5.0)
        return text

    assert asyncio.run(run()) == "return 42\n"


def test_stopping_ends_running_and_waiting_requests_and_the_thread(scripted):
    async def run():
        worker = _ready(scripted)
        await _until(lambda: worker.state == "ready")
        scripted.hold.clear()
        running = worker.submit([PROMPT], Sampling())
        await _until(lambda: len(scripted.prompts) == 1)
        waiting = worker.submit([PROMPT], Sampling())
        assert worker.stop(timeout_s=5.0)
        ends = [piece.delta.completion.finish_reason async for piece in running.pieces()]
        with pytest.raises(ApiError) as caught:
            worker.submit([PROMPT], Sampling())
        return ends, await _text(waiting), caught.value.code

    assert asyncio.run(run()) == (["cancelled"], "", "shutting_down")


def test_a_request_may_have_its_infill_as_it_was_drawn(fakes):
    async def run():
        worker = _ready(Trimmed(fakes.ScriptedCompleter("x  ")))
        await _until(lambda: worker.state == "ready")
        texts = [
            await _text(worker.submit([PROMPT], Sampling(), is_watched=is_watched, is_raw=is_raw))
            for is_watched in (False, True)
            for is_raw in (False, True)
        ]
        worker.stop(timeout_s=5.0)
        return texts

    assert asyncio.run(run()) == ["x", "x  ", "x", "x  "]


def test_several_requests_are_drawn_at_one_time_and_the_rest_waits(scripted):
    async def run():
        worker = _ready(scripted, max_drawn=3, max_waiting=1)
        await _until(lambda: worker.state == "ready")
        scripted.hold.clear()
        jobs = [worker.submit([PROMPT], Sampling()) for _ in range(4)]
        await _until(lambda: len(scripted.prompts) == 3)
        assert worker.num_waiting == 1
        with pytest.raises(ApiError) as caught:
            worker.submit([PROMPT], Sampling())
        worker.cancel(jobs[1])
        assert await _text(jobs[1]) == ""
        scripted.hold.set()
        texts = [await _text(job) for job in (jobs[0], jobs[2], jobs[3])]
        assert worker.stop(timeout_s=5.0)
        return caught.value.code, texts

    assert asyncio.run(run()) == ("overloaded", ["return 42\n"] * 3)


@pytest.fixture
def steps(monkeypatch):
    """What was prepared; a step is taken as soon as no request is there."""
    monkeypatch.setattr(workers, "QUIET_S", 0.0)
    return []


def test_what_is_to_be_prepared_is_done_step_by_step_once_the_model_is_there(scripted, steps):
    async def run():
        def prepare(completer):
            assert completer is scripted
            for step in range(3):
                steps.append(step)
                yield step

        worker = _ready(scripted, prepare=prepare)
        await _until(lambda: len(steps) == 3)
        assert worker.stop(timeout_s=5.0)

    asyncio.run(run())
    assert steps == [0, 1, 2]


def test_no_step_is_begun_while_a_request_is_there_nor_soon_after(scripted, steps, monkeypatch):
    async def run():
        is_begun, may_go_on = threading.Event(), threading.Event()

        def prepare(_):
            while True:
                is_begun.set()
                may_go_on.wait(10)
                may_go_on.clear()
                steps.append("")
                yield ""

        worker = _ready(scripted, prepare=prepare)
        await _until(is_begun.is_set)
        scripted.hold.clear()
        job = worker.submit([PROMPT], Sampling())
        await _until(lambda: len(scripted.prompts) == 1)
        may_go_on.set()  # of the step that had begun before the request
        await _until(lambda: len(steps) == 1)
        may_go_on.set()
        await asyncio.sleep(0.05)
        assert len(steps) == 1
        monkeypatch.setattr(workers, "QUIET_S", 60.0)
        scripted.hold.set()
        assert await _text(job) == "return 42\n"
        await asyncio.sleep(0.05)
        assert len(steps) == 1
        may_go_on.set()
        assert worker.stop(timeout_s=5.0)

    asyncio.run(run())


def test_an_error_while_preparing_is_logged_and_requests_go_on(scripted, steps, caplog):
    async def run():
        def prepare(_):
            steps.append(0)
            raise MemoryError("no room")
            yield

        worker = _ready(scripted, prepare=prepare)
        await _until(lambda: "preparing for requests ended early" in caplog.text)
        text = await _text(worker.submit([PROMPT], Sampling()))
        assert worker.stop(timeout_s=5.0)
        return text

    assert asyncio.run(run()) == "return 42\n"
    assert (steps, "no room" in caplog.text) == ([0], True)
