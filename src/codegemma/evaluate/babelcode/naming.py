# SPDX-License-Identifier: Apache-2.0
"""Names of functions in the habit of each language: snake_case, camelCase, PascalCase."""

import re
from typing import Literal

Convention = Literal["snake", "camel", "pascal"]

# A word begins at a capital after a small letter or digit, at a capital before a small letter,
# and after each underscore.
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[^_])(?=[A-Z][a-z])|_+")


def rename(name: str, convention: Convention) -> str:
    """Write a name in another convention.

    Examples:
        rename("remove_Occ", "snake")      "remove_occ"
        rename("is_not_prime", "camel")    "isNotPrime"
    """
    words = _BORDER.split(name)
    if convention == "snake":
        return "_".join(word.lower() for word in words)  # an underscore in front stays
    first, *others = [word.title() for word in words if word]
    return "".join([first.lower() if convention == "camel" else first, *others])
