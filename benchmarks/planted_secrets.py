# SPDX-License-Identifier: Apache-2.0
"""Secrets of 20 kinds, made by chance in the form of the real ones, and lines that only look so."""

import random
import string
import uuid
from collections.abc import Callable
from typing import Final

_LETTERS: Final = string.ascii_letters + string.digits
_HEX: Final = "0123456789abcdef"


def draw(rng: random.Random, size: int, letters: str = _LETTERS) -> str:
    """Draw a word of this many letters."""
    return "".join(rng.choice(letters) for _ in range(size))


KINDS: Final[dict[str, tuple[Callable[[random.Random], str], str]]] = {
    "aws id": (lambda r: "AKIA" + draw(r, 16, string.ascii_uppercase + "234567"), "x = '{}'"),
    "aws key": (lambda r: draw(r, 40, _LETTERS + "+/"), "aws_secret_access_key = '{}'"),
    "github": (lambda r: "ghp_" + draw(r, 36), "headers['Authorization'] = 'token {}'"),
    "github fine": (lambda r: "github_pat_" + draw(r, 22) + "_" + draw(r, 59), "x = ('{}')"),
    "gitlab": (lambda r: "glpat-" + draw(r, 20), "# run with {}"),
    "slack": (lambda r: f"xoxb-{draw(r, 12, string.digits)}-{draw(r, 24)}", 'x = "{}"'),
    "slack hook": (
        lambda r: f"T{draw(r, 8)}/B{draw(r, 8)}/{draw(r, 24)}",
        "x = 'https://hooks.slack.com/services/{}'",
    ),
    "stripe": (lambda r: "sk_live_" + draw(r, 24), "stripe.api = '{}'"),
    "google": (lambda r: "AIza" + draw(r, 35), "x = f('{}')"),
    "jwt": (
        lambda r: f"eyJ{draw(r, 20)}.eyJ{draw(r, 40)}.{draw(r, 43)}",
        "cookies = {{'session': '{}'}}",
    ),
    "npm": (lambda r: "npm_" + draw(r, 36), "x = '//registry/:_auth={}'"),
    "pypi": (lambda r: "pypi-AgEIcHlwaS5vcmc" + draw(r, 60), "x = '{}'"),
    "openai": (lambda r: "sk-proj-" + draw(r, 44) + "7", "client = C('{}')"),
    "sendgrid": (lambda r: f"SG.{draw(r, 22)}.{draw(r, 43)}", "x = '{}'"),
    "twilio": (lambda r: "AC" + draw(r, 32, _HEX), "x = '{}'"),
    "azure": (lambda r: draw(r, 86, _LETTERS + "+/") + "==", "x = 'Account=a;AccountKey={};B=c'"),
    "hugging face": (lambda r: "hf_" + draw(r, 34), "login('{}')"),
    "url": (lambda r: draw(r, 14), "x = 'postgres://admin:{}@db.internal:5432/prod'"),
    "password": (lambda r: draw(r, 12) + "7!aK", "DB_PASSWORD = '{}'"),
    "api key": (lambda r: draw(r, 32) + "4a", "config['apiKey'] = '{}'"),
}
"""By name: how the value looks, and the line it stands in."""


def decoys(rng: random.Random) -> list[str]:
    """Give 20 lines that look like secrets and are none."""
    return [
        f"commit = '{draw(rng, 40, _HEX)}'",
        f"SHA256 = '{draw(rng, 64, _HEX)}'  # of the archive",
        f"md5sum = '{draw(rng, 32, _HEX)}'",
        f"x = {{'integrity': 'sha512-{draw(rng, 86, _LETTERS + '+/')}=='}}",
        f"x = 'file.whl --hash=sha256:{draw(rng, 64, _HEX)}'",
        f"request_id = '{uuid.UUID(int=rng.getrandbits(128))}'",
        f"password_hash = '$2b$12${draw(rng, 53)}'",
        f"TOKEN_URL = 'https://login.host/{draw(rng, 20)}'",
        f"secret_path = 'projects/p1/secrets/{draw(rng, 10)}/versions/1'",
        "password = os.environ['DB_PASSWORD_2']",
        "api_key = '<your-api-key-1>'",
        "token = 'refresh_token_v2'",
        "parser.add_argument('--password', help='Password 1 of 2')",
        f"assert digest('abc') == '{draw(rng, 40, _HEX)}'",
        "token = '${GITHUB_TOKEN1}'",
        "secret = 'EXAMPLE-KEY-1234567890'",
        "AWS = 'AKIAIOSFODNN7EXAMPLE'",
        "x = 'git@github.com:owner/repository.git'",
        "version = '10.24.35.42'",
        "x = weights@layer.transpose(1)",
    ]


# What was found in real files and read by somebody, who knew where it stood.

JUDGED_RIGHT: Final = frozenset(
    [
        "5de26150",
        "d3dde539",
        "2269cc42",
        "1a990f4c",
        "c6dde512",
        "b1bb7137",
        "0b0111a4",
        "2d32d9b4",
        "ee1773f6",
        "58e2f9c8",
        "3af8db0f",
        "ceeeba86",
        "88092fc1",
        "0a288942",
        "c9fa77e9",
        "fc7a620f",
        "17496d1e",
        "98c2b3ce",
        "71ab9cb2",
        "b71f4431",
        "c3870503",
        "a19657c8",
        "ee8ecac9",
        "0eafeeb6",
        "4550d26b",
        "6bb90f97",
        "435e5148",
        "3f4ffe28",
        "aed86459",
        "ae419e3a",
        "360a7fef",
        "0119cd16",
        "365f08f8",
        "ecdc8b0f",
        "5b093d70",
        "984f4f05",
        "3cb9a675",
        "93c561a2",
        "e716df49",
        "2e6fe94a",
        "1986ece4",
        "a93df10e",
        "6f90e5c2",
        "ae120d5c",
        "4f4f786a",
        "3bfb6b97",
        "9c45a4fa",
        "03cdb5d3",
        "4b5882cb",
        "9d107351",
        "a1cb65b6",
        "df4be079",
        "c00af8b0",
        "e6bcec47",
        "7ec75825",
        "3371353a",
        "f9d7bb2e",
        "132cf0aa",
        "ce522102",
        "6bf557eb",
        "d497da04",
        "bc80a311",
        "9daca5e3",
        "ab0f97cd",
        "a74c7eeb",
        "8c68954e",
        "4fae150b",
        "06ca169c",
        "87f909a8",
        "02c32187",
        "c394cb4a",
        "b71a901d",
        "4b048511",
        "c4b8ecb7",
        "abb13350",
        "8ebef104",
        "0f7da0e7",
        "9f909739",
        "a57c68da",
        "7d2264e1",
        "966808af",
        "52f5e9ea",
    ]
)
"""Beginnings of the SHA-256 of names and addresses of persons, and of a key of an account."""
JUDGED_WRONG: Final = {
    "guest": "usual login of a server in an example",
    "postgres": "usual login of a server in a test",
    "limited123": "password of a test",
    "mypassword": "password of an example",
    "a%20secret": "password of an example",
    **dict.fromkeys(
        (
            "22.214.171.124",
            "126.96.36.199",
            "188.8.131.52",
            "184.108.40.206",
            "220.127.116.11",
            "18.104.22.168",
        ),
        "stand-in for other addresses",
    ),
    **dict.fromkeys(
        (
            "192.0.0.8",
            "192.0.0.9",
            "192.0.0.10",
            "192.31.196.0",
            "192.52.193.0",
            "192.88.99.0",
            "192.175.48.0",
        ),
        "special by a standard",
    ),
}
"""Values that are neither secret nor of a person, and what they are."""
