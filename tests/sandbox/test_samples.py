# SPDX-License-Identifier: Apache-2.0
import pytest

from codegemma.errors import PrerequisiteError
from codegemma.sandbox.languages import TOOLCHAINS, find_toolchain
from codegemma.sandbox.samples import SAMPLES


def test_every_language_with_tools_has_a_sample():
    assert SAMPLES.keys() == TOOLCHAINS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("language", SAMPLES)
def test_samples_of_installed_tools_pass(language, sandbox):
    try:
        find_toolchain(language)
    except PrerequisiteError as error:
        pytest.skip(str(error))

    sandbox.check(language)
