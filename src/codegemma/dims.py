# SPDX-License-Identifier: Apache-2.0
"""The letter legend of array axes: one letter, one meaning, in the whole tree.

Every shape string of a jaxtyping annotation and every einsum uses these letters; anything else in
a shape is a lower-case word, such as "B cache". `tests/test_architecture.py` holds the tree to it.
"""

from typing import Final

LETTERS: Final = {
    "B": "batch",
    "T": "query length",
    "S": "key length",
    "D": "model width",
    "F": "feed-forward width",
    "N": "query heads",
    "K": "key/value heads",
    "G": "query heads per key/value head, N / K",
    "H": "head width",
    "V": "vocabulary",
    "L": "layers",
}
