# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.completion import Sampling
from codegemma.errors import ConfigError
from codegemma.evaluate.task import Task, Variant


def _variant(name: str) -> Variant:
    return Variant(name=name, cut=lambda _, text: text, check=lambda _, text: float(text == "a"))


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_variants_have_names_of_their_own(names):
    with pytest.raises(ConfigError, match="needs variants of different names"):
        Task(
            name="t",
            files=(),
            problems=lambda _: (),
            sampling=Sampling(),
            variants=tuple(map(_variant, names)),
            raw=_variant("raw"),
        )
