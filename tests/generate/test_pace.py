# SPDX-License-Identifier: Apache-2.0
from codegemma.generate.pace import Pace


def test_a_pace_starts_slowly_and_doubles_while_calls_are_short():
    pace = Pace(1)
    seen = []
    for _ in range(8):
        seen.append(pace.next_steps(1000, seconds_left=None))
        pace.record(seen[-1], 0.001)
    assert seen == [1, 2, 4, 8, 16, 32, 64, 64]
    pace.record(64, 0.2)
    assert pace.next_steps(1000, seconds_left=None) == 32


def test_a_pace_looks_at_what_is_left():
    pace = Pace(64)
    assert pace.next_steps(10, seconds_left=None) == 10
    pace.record(10, 1.0)
    assert pace.next_steps(64, seconds_left=0.55) == 5
    assert pace.next_steps(64, seconds_left=0.01) == 1
