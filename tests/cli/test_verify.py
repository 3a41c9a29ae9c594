# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from codegemma.generate import verify
from codegemma.generate.verify import Check, Report, Shown


@pytest.fixture
def report(monkeypatch):
    """Make `verify` find this, whatever the model."""

    def make(*, is_passed):
        made = Report(
            model="mine",
            fingerprint="ab",
            checks=(
                Check(name="parameters", is_passed=True, detail="4,819,712"),
                Check(name="middles", is_passed=is_passed, detail="psm 0.5"),
            ),
            mode="psm",
            nll={"psm": 0.5},
            shown=(Shown(path="a.py", expected="x\n", drawn="y", is_ended=True),),
            record="verify/ab.json" if is_passed else None,
        )
        monkeypatch.setattr(verify, "verify", lambda model, *, progress: made)

    return make


def test_a_passed_verification_is_laid_out(run, report):
    report(is_passed=True)
    assert run("verify", "mine") == (
        0,
        "parameters   passed  4,819,712\n"
        "middles      passed  psm 0.5\n"
        "completions  shown   1 of 1 ended by themselves\n"
        "\n"
        "a.py  ended by itself\n"
        "  expected  'x\\n'\n"
        "  drawn     'y'\n"
        "\n"
        "best order   psm, recorded in verify/ab.json\n",
        "",
    )


def test_a_failed_one_exits_with_2_and_names_what_failed(run, report):
    report(is_passed=False)
    ran = run("verify", "mine")
    assert ran.status == 2
    assert "middles      FAILED  psm 0.5\n" in ran.out
    assert "best order" not in ran.out
    assert ran.err == "codegemma: mine failed its verification: middles (psm 0.5)\n"


def test_machines_get_one_json_object(run, report):
    report(is_passed=False)
    ran = run("verify", "mine", "--json")
    assert ran.status == 2
    found = json.loads(ran.out)
    assert found["is_passed"] is False
    assert found["checks"][1] == {"name": "middles", "is_passed": False, "detail": "psm 0.5"}
    assert found["nll"] == {"psm": 0.5}


def test_an_unknown_model_is_refused(run):
    ran = run("verify", "codegema-2b")
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert "did you mean codegemma-2b?" in ran.err
