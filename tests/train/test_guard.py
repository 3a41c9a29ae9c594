# SPDX-License-Identifier: Apache-2.0
import os
import signal
import threading
from pathlib import Path

import pytest

from codegemma.errors import ConfigError
from codegemma.train.guard import interrupts, locked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_is_noted_and_a_second_acts(number: signal.Signals) -> None:
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        with interrupts() as is_interrupted:
            assert not is_interrupted()
            os.kill(os.getpid(), number)
            assert is_interrupted()
            assert acted == []
            os.kill(os.getpid(), number)
            assert acted == [number]
        os.kill(os.getpid(), number)
        assert acted == [number, number]
    finally:
        signal.signal(number, before)


def test_another_thread_is_left_as_it_is() -> None:
    seen = []

    def work() -> None:
        with interrupts() as is_interrupted:
            seen.append(is_interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [False]


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with (
        locked(out),
        pytest.raises(ConfigError, match="another process is training in"),
        locked(out),
    ):
        pass
    with locked(out):
        assert out.is_dir()
