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
