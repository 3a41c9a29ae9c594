# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from codegemma.data import recipes
from codegemma.errors import ConfigError


def test_released_models_have_the_published_fim_rates() -> None:
    assert recipes.by_name("codegemma-2b").fim_fraction == 0.8
    assert recipes.by_name("codegemma-1.1-2b").fim_fraction == 0.9
    assert recipes.by_name("codegemma-2b").psm_fraction == 0.5
    assert recipes.by_name("codegemma-2b").context_tokens == 8192


def test_an_unknown_name_lists_the_recipes() -> None:
    with pytest.raises(ConfigError, match=r"'micro'; there are codegemma-1\.1-2b, .*, nano"):
        recipes.by_name("micro")


def test_all_faults_of_a_recipe_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"fim_fraction .* not 1\.5; .*context_tokens .* not 8"):
        dataclasses.replace(recipes.nano(), fim_fraction=1.5, context_tokens=8)


@pytest.mark.parametrize(
    "change",
    [
        {"window_tokens": (2000,)},
        {"window_tokens": ()},
        {"split_kinds": {}},
        {"split_kinds": {"line": 0.0}},
        {"near_copy_threshold": 0.0},
        {"holdout_fraction": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(recipes.nano(), **change)
