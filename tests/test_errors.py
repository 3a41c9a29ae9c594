# SPDX-License-Identifier: Apache-2.0
import inspect
import re

import pytest

from codegemma import errors


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = re.findall(r"^[|` -]*(\w+Error)", errors.__doc__ or "", re.MULTILINE)
    defined = [name for name, value in inspect.getmembers(errors, inspect.isclass)]

    assert sorted(drawn) == sorted(defined)


def test_every_error_can_be_caught_at_the_root() -> None:
    for name, value in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(value, errors.CodegemmaError), name


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (errors.ConfigError, ValueError),
        (errors.InputError, ValueError),
        (errors.ContextLengthError, errors.InputError),
    ],
)
def test_callers_who_know_only_python_catch_them_too(
    error: type[Exception], also: type[Exception]
) -> None:
    with pytest.raises(also, match="why"):
        raise error("why")
