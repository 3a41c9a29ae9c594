# SPDX-License-Identifier: Apache-2.0
import textwrap

import pytest

from codegemma.data import prose

ESSAY = (
    "The river rises in the hills above the town, and for most of the year it is no more than a "
    "stream that children cross on stones. In spring, when the snow of the mountains has melted, "
    "it fills the valley from wall to wall.\n\n"
    "Farmers have learned to live with that. They keep their animals on the higher ground until "
    "May, and they plant nothing near the banks that they could not bear to lose. What the water "
    "leaves behind is a thin layer of dark mud, which is the best soil in the district.\n\n"
    "Nobody alive remembers the great flood, but every house has a line cut into the stone beside "
    "its door to show how high it came. Visitors take the marks for decoration. The people who "
    "live here have been told as children what they are, and look at the sky when they pass.\n"
)
GERMAN = "Der Fluss entspringt in den Bergen, und im Winter liegt dort viel Schnee. " * 3


@pytest.mark.parametrize(("text", "name"), [(ESSAY, "en"), (GERMAN, "de")])
def test_the_language_of_a_text_is_told(text: str, name: str) -> None:
    assert prose.language(text) == name


def rule(text: str) -> str:
    return prose.dropping_rule(text, found="en", languages=("en",))


def test_plain_prose_stays() -> None:
    assert rule(ESSAY) == ""


def test_other_languages_are_dropped_unless_they_are_taken() -> None:
    assert prose.dropping_rule(GERMAN, found="de", languages=("en",)) == "other_language"
    assert prose.dropping_rule(ESSAY, found="de", languages=("de",)) == ""


@pytest.mark.parametrize(
    ("text", "rule_name"),
    [
        (ESSAY.partition(" from wall")[0], "gopher: short_doc"),
        (ESSAY + ESSAY.split("\n\n")[0] * 6, "gopher: duplicated_5_n_grams"),
        (ESSAY.replace("the", "# the").replace("and", "# and"), "gopher: too_many_hashes"),
        ("- " + ESSAY.replace("\n\n", "\n- ").replace(". ", "\n- "), "gopher: too_many_bullets"),
        (ESSAY + "if (flood) { run(); }\n", "c4: curly_bracket"),
        (ESSAY.replace("\n\n", "\n\nLorem ipsum dolor sit amet.\n\n", 1), "c4: lorem_ipsum"),
        (textwrap.fill(ESSAY, width=40) + "\n", "fineweb: line_punct_ratio"),
    ],
)  # fmt: skip
def test_the_filters_of_gopher_c4_and_fineweb_drop_what_they_are_for(
    text: str, rule_name: str
) -> None:
    assert rule(text) == rule_name
