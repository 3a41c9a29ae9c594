# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.errors import ConfigError, InputError
from codegemma.sandbox.program import Limits, Program


def test_limits_name_every_fault_at_once():
    with pytest.raises(ConfigError, match=r"wall_s must be above 0, not 0.0; .*max_processes"):
        Limits(wall_s=0.0, max_processes=-1)
    with pytest.raises(ConfigError, match=r"cpu_s must be above 0, not 0"):
        Limits(cpu_s=0)


def test_half_a_surrogate_pair_is_refused_before_it_reaches_the_box():
    with pytest.raises(InputError, match="source holds half a surrogate pair at 5"):
        Program(language="python", source="x = '\ud800'")


def test_python_is_not_judged_by_lines():
    with pytest.raises(ConfigError, match="judged by its tests"):
        Program(language="python", source="", expected_lines=("ok",))


def test_other_languages_need_lines_to_be_judged_by():
    with pytest.raises(ConfigError, match="needs expected_lines"):
        Program(language="go", source="package main")


def test_tests_are_for_python():
    with pytest.raises(ConfigError, match="are for Python"):
        Program(language="go", source="", tests="x", expected_lines=("ok",))
