# SPDX-License-Identifier: Apache-2.0
"""Finds personal data in a text and names its kinds; what was found is never kept or shown.

Mail addresses and public IP addresses by pattern, keys and passwords by detect-secrets, of which
its entropy rules are left out: on a piece of code without quotes they find nothing else.
"""

import importlib
import ipaddress
import re
from typing import Any, Final

from codegemma.errors import PrerequisiteError

_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_ADDRESS: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_UNNAMED: Final = ("example.com", "example.org", "example.net")
_ENTROPY: Final = "High Entropy"


def find_personal(text: str) -> frozenset[str]:
    """Name the kinds of personal data in a text, such as "mail" or "AWS Access Key".

    Addresses reserved for examples, private networks and the machine itself are nobody's.

    Raises:
        PrerequisiteError: detect-secrets is not installed.
    """
    kinds = {"mail" for found in _MAIL.findall(text) if not found.lower().endswith(_UNNAMED)}
    kinds |= {"address" for found in _ADDRESS.findall(text) if _is_public(found)}
    return frozenset(kinds | _secrets(text))


def _is_public(address: str) -> bool:
    try:
        return ipaddress.IPv4Address(address).is_global
    except ValueError:
        return False


def _secrets(text: str) -> set[str]:
    try:
        scan: Any = importlib.import_module("detect_secrets.core.scan")
        settings: Any = importlib.import_module("detect_secrets.settings")
    except ImportError as error:
        raise PrerequisiteError(
            "finding keys needs the package detect-secrets: pip install 'codegemma[data]'"
        ) from error
    with settings.default_settings():
        found = {str(each.type) for line in text.split("\n") for each in scan.scan_line(line)}
    return {kind for kind in found if _ENTROPY not in kind}
