# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.errors import SandboxError
from codegemma.sandbox.program import Limits, Program, RunResult
from codegemma.sandbox.selftest import CANARIES, self_test


def test_sound_box_passes(sandbox):
    self_test(sandbox.run)


@pytest.mark.parametrize("name", [canary.name for canary in CANARIES])
def test_box_that_lets_one_attack_through_is_refused(name):
    def run(program: Program, limits: Limits) -> RunResult:
        del limits
        (canary,) = (canary for canary in CANARIES if canary.source == program.source)
        if canary.name == name:
            return RunResult(outcome="fail" if canary.outcome == "pass" else "pass")
        return RunResult(outcome=canary.outcome, stdout=canary.words)

    with pytest.raises(SandboxError, match=f"does not isolate: the check that {name}"):
        self_test(run)


def test_right_verdict_for_another_reason_is_refused():
    def run(program: Program, limits: Limits) -> RunResult:
        del limits
        (canary,) = (canary for canary in CANARIES if canary.source == program.source)
        words = "" if "network" in canary.name else canary.words
        return RunResult(outcome=canary.outcome, stdout=words)

    with pytest.raises(SandboxError, match="network"):
        self_test(run)
