# SPDX-License-Identifier: Apache-2.0
import threading

from codegemma.completion import Sampling
from codegemma.generate.entries import Entry
from codegemma.generate.rows import Request, Row


def make(tokenizer, *, start=None, cancel=None, **settings):
    sampling = Sampling(**settings)
    request = Request(tokens=[2], max_tokens=3, stop_ids=frozenset())
    row = Row(request, request=0, sample=0, sampling=sampling, seed=0, tokenizer=tokenizer)
    words = {} if start is None else {"start": start}
    return Entry(
        number=0,
        request=request,
        sampling=sampling,
        rows=[row],
        cancel=cancel,
        is_watched=False,
        drafter=None,
        piece_lengths=(64,),
        **words,
    )


def test_a_request_ends_when_it_is_cancelled_or_its_time_is_over(tokenizer):
    cancel = threading.Event()
    entry = make(tokenizer, cancel=cancel)
    assert (entry.interruption(), entry.seconds_left) == (None, None)
    cancel.set()
    assert entry.interruption() == "cancelled"
    assert make(tokenizer, start=0.0, budget_ms=1.0).interruption() == "deadline"
    late = make(tokenizer, budget_ms=60_000.0)
    assert late.interruption() is None
    assert 0 < late.seconds_left <= 60


def test_the_host_looks_in_only_where_something_may_happen_between_tokens(tokenizer):
    assert not make(tokenizer).needs_host
    assert make(tokenizer, cancel=threading.Event()).needs_host
    assert make(tokenizer, stop=("x",)).needs_host
    assert make(tokenizer, budget_ms=5.0).needs_host


def test_it_is_done_with_its_last_row(tokenizer):
    entry = make(tokenizer)
    assert not entry.is_done
    entry.rows[0].text.end("cancelled")
    assert entry.is_done
