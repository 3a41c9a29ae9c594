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


def test_the_released_models_are_cut_at_natural_suffix_starts_and_a_tenth_anywhere() -> None:
    assert recipes.codegemma_2b().split_kinds == {"suffix_start": 0.9, "random": 0.1}
    assert recipes.codegemma_2b_ast().split_kinds == {
        "suffix_start": 0.6,
        "ast": 0.3,
        "random": 0.1,
    }
    assert recipes.codegemma_2b_ast().fim_fraction == 0.8


def test_each_recipe_has_the_name_it_is_called_by() -> None:
    names = ["nano", "nano-gpu", "tiny", "codegemma-2b", "codegemma-2b-ast", "codegemma-1.1-2b"]
    names.append("codegemma-7b")

    assert [recipes.by_name(name).name for name in names] == names


def test_a_recipe_holds_out_a_hundredth_unless_it_has_a_list() -> None:
    assert recipes.by_name("codegemma-2b").holdout_fraction == 0.01
    assert recipes.by_name("tiny").heldout == ()
    assert "networkx" in recipes.by_name("nano").heldout


def test_an_unknown_name_lists_the_recipes() -> None:
    with pytest.raises(
        ConfigError, match=r"'micro'; there are codegemma-1\.1-2b, .*, nano, .*, tiny"
    ):
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
        {"thresholds": {"cobol": {}}},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(recipes.nano(), **change)
