# SPDX-License-Identifier: Apache-2.0
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from codegemma.data import redact
from codegemma.data.document import File
from codegemma.text import syntax
from planted_secrets import KINDS, decoys, draw

SOURCE = Path(__file__).parents[2] / "src" / "codegemma"


def planted(rng: random.Random) -> tuple[list[File], dict[str, str]]:
    """200 secrets and 200 decoys among the lines of this project's own code."""
    paths = sorted((SOURCE / "data").glob("*.py")) + sorted((SOURCE / "evaluate").glob("*.py"))
    values = {make(rng): kind for kind, (make, _) in KINDS.items() for _ in range(10)}
    lines = [KINDS[kind][1].format(value) for value, kind in values.items()]
    lines += [line for _ in range(10) for line in decoys(rng)]
    rng.shuffle(lines)
    files: list[File] = []
    for index, path in enumerate(paths):
        mine = lines[index :: len(paths)]
        text = path.read_text(encoding="utf-8") + "\n\n" + "\n".join(mine) + "\n"
        files.append(File(path=path.name, text=text))
    return files, values


def test_200_planted_secrets_are_found_and_no_decoy(record_property: Callable[..., None]) -> None:
    files, values = planted(random.Random(20261128))

    found = [file.text[f.start : f.end] for file in files for f in redact.find(file.text)]

    missed = [kind for value, kind in values.items() if not any(value in x for x in found)]
    invented = [x for x in found if not any(value in x for value in values)]
    record_property("recall", 1 - len(missed) / len(values))
    record_property("precision", 1 - len(invented) / len(found))
    assert len(values) == 200
    assert missed == []
    assert invented == []


def test_text_that_parsed_still_parses_and_no_value_is_left() -> None:
    files, values = planted(random.Random(7))
    assert all(syntax.parses(file.text, "python") for file in files)

    redacted, counts = redact.redact(files)

    assert all(syntax.parses(file.text, "python") for file in redacted)
    whole = "".join(file.text for file in redacted)
    assert [kind for value, kind in values.items() if value in whole] == []
    assert counts["key"] == 200


LITERALS = {
    "c": ("{}", 'static const char *{name}_{i} = "{value}";', "// {comment}"),
    "cpp": ("{}", 'const std::string {name}_{i}{{"{value}"}};', "// {comment}"),
    "csharp": ("class A {{\n{}\n}}", 'const string {name}_{i} = @"{value}";', "/// {comment}"),
    "go": ("package a\n\n{}", "var {name}_{i} = `{value}`", "// {comment}"),
    "java": ("class A {{\n{}\n}}", 'String {name}_{i} = "{value}";', "/** {comment} */"),
    "javascript": (
        "{}",
        "const {name}_{i} = f(`{value}`);",
        "// {comment}",
    ),
    "kotlin": ("{}", 'val {name}_{i} = """{value}"""', "/* {comment} */"),
    "rust": ("{}", 'const {name}_{i}: &str = r#"{value}"#;', "//! {comment}"),
    "tsx": ("{}", "const {name}_{i}: string = '{value}';", "// {comment}"),
}
"""By language: a file around declarations, one that holds a value, and a comment."""

PERSONAL = (
    "@author Jane Doe",
    "Written by Jane Doe <jane@doe.org>",
    "see 52.95.110.1 and 2a00:1450:4001:81b::200e",
)
URI = "data:image/png;base64," + "QmFz" * 300


@pytest.mark.parametrize("language", LITERALS)
def test_code_of_other_languages_still_parses_and_no_value_is_left(language: str) -> None:
    frame, declaration, comment = LITERALS[language]
    rng = random.Random(11)
    values = {make(rng): kind for kind, (make, _) in KINDS.items() for _ in range(10)}
    lines = [comment.format(comment=text) for text in PERSONAL]
    lines.append(declaration.format(name="image", i="a", value=URI))
    for i, (value, kind) in enumerate(values.items()):
        line = KINDS[kind][1].format(value)
        quoted = re.search(r"(\w+)[^\w']*'\]?(?:\)?[ =:(f]*')?([^']*)'[^']*\Z", line)
        if quoted is None:
            lines.append(comment.format(comment=line.strip("# ")))
        else:
            lines.append(declaration.format(name=quoted[1], i=i, value=quoted[2]))
    text = frame.format("\n".join(lines)) + "\n"
    assert syntax.parses(text, language)
    assert [kind for value, kind in values.items() if value not in text] == []

    (redacted,), counts = redact.redact([File(path="a", text=text)])

    assert syntax.parses(redacted.text, language)
    assert [kind for value, kind in values.items() if value in redacted.text] == []
    assert [
        word for word in ("Jane", "doe.org", "52.95", "2a00", "QmFz") if word in redacted.text
    ] == []
    assert set(counts) == {"data_uri", "email", "ip", "key", "name"}
    assert counts["key"] >= 200


OPAQUE = "k3J9xQ2mZp7Lw5Tn8Vb4Rc6Yd1Hs0Gf"
AWS_ID, AWS_KEY = "AKIA" + "QWERTZUIOPASDFGH", "wJalrXUtnFEMI7K9MDENGbPxRf" + "iCYzQp8sKdLm2Q"
UUID = "8f14e45f-ceea-467f-a0e6-1b2c3d4e5f60"
XAPP = "xapp-1-A012BC3DE4F-1234509876123-" + "9f8e7d6c5b4a3928" * 4
MAIL = "key-3ax6xnjp29jd6fds4gc373sgvjxteol0"
DJANGO = "#8x$k2(w=7!q0z@mn4v^b6%t&y3*u1r_e5jh9+2d@p0fw9i!a"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"boto3.client('s3', '{AWS_ID}', '{AWS_KEY}')", [AWS_ID, AWS_KEY]),
        (f"h = {{'Authorization': 'Bearer {OPAQUE}'}}", [OPAQUE]),
        (f"# curl -H 'Authorization: Bearer {OPAQUE}'", [OPAQUE]),
        ("h = {'Authorization': 'Basic YWRhOmNhbnRlcmJ1cnk5OQ=='}", ["YWRhOmNhbnRlcmJ1cnk5OQ=="]),
        (f"app = App('{XAPP}')", [XAPP]),
        ("r = get(url, {'auth': 'Zx81kqPw02LmNv73Rt'})", ["Zx81kqPw02LmNv73Rt"]),
        (f"SECRET_KEY = 'django-insecure-{DJANGO}'", [f"django-insecure-{DJANGO}"]),
        (f'SECRET_KEY = "{DJANGO}"', [DJANGO]),
        (f"HEROKU_API_KEY = '{UUID}'", [UUID]),
        (f"# export HEROKU_API_KEY={UUID}", [UUID]),
        (f"m = Mail('{MAIL}')", [MAIL]),
        ("os.environ.setdefault('API_KEY', 'Zx81kqPw02LmNv73RtQ9')", ["Zx81kqPw02LmNv73RtQ9"]),
        ('os.getenv("SERVICE_TOKEN", "Zx81kqPw02LmNv73RtQ9")', ["Zx81kqPw02LmNv73RtQ9"]),
        ("c = 'Server=db.host;User Id=sa;Password=kV9!mQ2z;'", ["kV9!mQ2z"]),
        ("PASSWORD = 'violetmarmaladetrombone'", ["violetmarmaladetrombone"]),
        ("class A:\n    password: str | None = 'kV9!mQ2zR4x'", ["kV9!mQ2zR4x"]),
        ("const apiToken?: string = 'Zx81kqPw02LmNv73RtQ9';", ["Zx81kqPw02LmNv73RtQ9"]),
        ('const password string = "kV9!mQ2zR4x"', ["kV9!mQ2zR4x"]),
        ('static char password[] = "kV9!mQ2zR4x";', ["kV9!mQ2zR4x"]),
        ("app.secret_key = b'kV9!mQ2zR4x'", ["kV9!mQ2zR4x"]),
        ("passphrase = 'violet marmalade trombone ladder'", ["violet marmalade trombone ladder"]),
        ("password = 'MyTest!2019Prod'", ["MyTest!2019Prod"]),
    ],
)  # fmt: skip
def test_everyday_forms_are_found_by_what_stands_beside_them(text: str, found: list[str]) -> None:
    assert values(text, "key") == found


@pytest.mark.parametrize(
    "text",
    [
        "h = {'Authorization': 'Bearer ' + token}",
        "h = f'Bearer {get_access_token_2(client)}'",
        "# Authorization: Bearer your-access-token-1-goes-here",
        "# Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "b = 'Basic dXNlcjpwYXNzd29yZA=='",
        "# Basic understanding of Bearer authentication",
        "NAMES = (('qwen2_5_omni_token2wav', 'qwen2_5_omni'), ('auth', 'basic_auth_v2_only'))",
        "c = 'Server=db.host;User Id=sa;Password=myPassword1;'",
        "c = f'Server={host};Password={password};'",
        "request(url, password='k', Password=value;",
        "password = 'enter the new password twice'",
        "PASSWORD = 'passwordresetconfirmation'",
        "<input type=password id='login2Password9'>",
        "token: dict[str, int] = load('reader2Of9Tables')",
        "x = {'token': Token, 'other2Value9': 'reader2Of9Tables'}",
        "KEY = 'primary-key-column-name'",
        "SECRET_KEY = 'changemechangemechangemechangemechangeme!1'",
        "make(API_KEY=settings_of_this_module_2)",
        f"DIGESTS = ['{AWS_KEY}', '{UUID}']",
        "font.load('key-frame-animation-of-the-2nd')",
    ],
)
def test_what_only_stands_like_an_everyday_form_is_left_alone(text: str) -> None:
    assert values(text, "key") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"password_expires_at": "2016-11-06T15:32:17.000000"}\n', []),
        ('{"token_name": "Production-2.4b"}\n', []),
        ("headers = {'Lock-Token': 'urn:uuid:a515cfa4-5da4-22e1-f5b5-00a0451e6bf7'}\n", []),
        ("x = 'mongodb://username:password@host:1234'\n", []),
        ('{"db_password": "hJ7kw2Qx-vT4"}\n', ["hJ7kw2Qx-vT4"]),
        ("x = 'mongodb://username:hJ7kw2QxvT4@host:1234'\n", ["hJ7kw2QxvT4"]),
        ("x = 'mysql://root:S3cr$tPw9@10.0.0.1/x'\n", ["S3cr$tPw9"]),
        ("x = 'redis://u:p%40ss%2Fw0rd@cache:6379'\n", ["p%40ss%2Fw0rd"]),
        ("x = 'amqp://app:Zt7wQ9kL2@mq.corp.com'\n", ["Zt7wQ9kL2"]),
        ("x = 'amqp://app:p.Zt7+wQ9kL2@mq.corp.com'\n", ["p.Zt7+wQ9kL2"]),
        ("mysql://root:$PASSWORD@host mysql://u:$A$B_2@host mysql://u:${PW}9aX@host\n", []),
        ("mysql://u:$(pass)@host 'mysql://%s:%s@host' 'mysql://%(u)s:%(p)s@host'\n", []),
    ],
)
def test_secrets_are_told_from_what_stands_in_their_place(text: str, found: list[str]) -> None:
    assert values(text, "key") == found


def test_an_address_behind_an_escape_leaves_the_escape_whole() -> None:
    text = 'x = "\\nada@lovelace.org"\n'

    (redacted,), _ = redact.redact([File(path="a.py", text=text)])

    assert redacted.text == 'x = "\\nuser1@example.com"\n'


def test_a_password_before_a_host_is_a_key_and_no_address() -> None:
    text = "x = 'amqp://app:Zt7wQ9kL2@mq.corp.com'  # jane@doe.org\n"

    (redacted,), counts = redact.redact([File(path="a.py", text=text)])

    assert redacted.text == "x = 'amqp://app:REDACTED_KEY_1@mq.corp.com'  # user1@example.com\n"
    assert counts == {"key": 1, "email": 1}


def test_one_value_has_one_replacement_in_a_repository() -> None:
    first, second = "AKIA" + "QWERTZUIOPASDFGH", "AKIA" + "YXCVBNMASDFGHJKL"
    files = [
        File(path="a.py", text=f"x = '{first}'\ny = '{second}'\n"),
        File(path="b.py", text=f"z = '{second}'  # jane@doe.org, JANE@doe.org\n"),
    ]

    redacted, counts = redact.redact(files)

    assert redacted[0].text == "x = 'REDACTED_KEY_1'\ny = 'REDACTED_KEY_2'\n"
    assert redacted[1].text == "z = 'REDACTED_KEY_2'  # user1@example.com, user2@example.com\n"
    assert counts == {"key": 3, "email": 2}


def test_a_key_found_once_is_replaced_wherever_the_repository_has_it() -> None:
    key = "kV9!mQ2zR4x"
    files = [
        File(path="a.py", text=f"connect('db', '{key}')\n# not {key}s, {key}_2\n"),
        File(path="b.py", text=f"DB_PASSWORD = '{key}'\n"),
        File(path="c.py", text="connect('db', 'kV9!mQ2zR4')\n"),
    ]

    redacted, counts = redact.redact(files)

    assert [file.text for file in redacted] == [
        f"connect('db', 'REDACTED_KEY_1')\n# not {key}s, REDACTED_KEY_1_2\n",
        "DB_PASSWORD = 'REDACTED_KEY_1'\n",
        "connect('db', 'kV9!mQ2zR4')\n",
    ]
    assert counts == {"key": 3}


def values(text: str, kind: str) -> list[str]:
    return [text[f.start : f.end] for f in redact.find(text) if f.kind == kind]


def test_the_body_of_a_private_key_is_replaced_line_by_line() -> None:
    body = "\\n'\n    '".join(draw(random.Random(i), 64) for i in range(3))
    text = f"KEY = ('-----BEGIN RSA PRIVATE KEY-----\\n'\n    '{body}\\n'\n    '-----END')\n"
    assert syntax.parses(text, "python")

    (redacted,), _ = redact.redact([File(path="k.py", text=text)])

    assert syntax.parses(redacted.text, "python")
    assert re.findall(r"[A-Za-z0-9]{30,}", redacted.text) == []
    assert redacted.text.count("REDACTED_KEY_") == 3


def test_large_data_in_a_uri_is_taken_out() -> None:
    text = f"img = 'data:image/png;base64,{'QmFz' * 300}'\nsmall = 'data:image/png;base64,QmFz'\n"

    (redacted,), counts = redact.redact([File(path="k.py", text=text)])

    assert redacted.text == (
        "img = 'data:image/png;base64,'\nsmall = 'data:image/png;base64,QmFz'\n"
    )
    assert counts == {"data_uri": 1}


@pytest.mark.parametrize(
    "unit", ["a", "@", "a@", "1.", ":", "password", "-----BEGIN PRIVATE KEY-----", "A "]
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    redact.find(unit * (400_000 // len(unit)))
