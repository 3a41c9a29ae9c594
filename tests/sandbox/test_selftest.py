# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.errors import SandboxError
from codegemma.sandbox.program import Limits, Program, RunResult
from codegemma.sandbox.selftest import canaries, self_test


def test_sound_box_passes(sandbox):
    self_test(sandbox.run, "bubblewrap")


def test_file_of_the_home_folder_is_what_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("x")
    (tmp_path / ".cache").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    assert repr(str(tmp_path / ".netrc")) in canaries("bubblewrap")[-1].source


@pytest.mark.parametrize("home", ["/usr/sbin", "/bin", "/usr/lib"])
def test_home_among_the_tools_is_not_what_is_looked_for(home, monkeypatch):
    monkeypatch.setenv("HOME", home)

    assert "open('/root/" in canaries("bubblewrap")[-1].source


def test_a_weaker_box_is_asked_for_the_same_properties():
    strict, weaker = canaries("bubblewrap"), canaries("landlock")
    assert [canary.name for canary in weaker] == [canary.name for canary in strict]
    assert [canary.outcome for canary in weaker] == [canary.outcome for canary in strict]
    assert all(canary.words for canary in weaker if "network" in canary.name)


@pytest.mark.parametrize("isolation", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("name", [canary.name for canary in canaries("bubblewrap")])
def test_box_that_lets_one_attack_through_is_refused(name, isolation):
    def run(program: Program, limits: Limits) -> RunResult:
        del limits
        (canary,) = (c for c in canaries(isolation) if c.source == program.source)
        if canary.name == name:
            return RunResult(outcome="fail" if canary.outcome == "pass" else "pass")
        return RunResult(outcome=canary.outcome, stdout=canary.words)

    with pytest.raises(SandboxError, match=f"does not isolate: the check that {name}"):
        self_test(run, isolation)


def test_right_verdict_for_another_reason_is_refused():
    def run(program: Program, limits: Limits) -> RunResult:
        del limits
        (canary,) = (c for c in canaries("bubblewrap") if c.source == program.source)
        words = "" if "network" in canary.name else canary.words
        return RunResult(outcome=canary.outcome, stdout=words)

    with pytest.raises(SandboxError, match="network"):
        self_test(run, "bubblewrap")
