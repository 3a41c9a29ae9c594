# SPDX-License-Identifier: Apache-2.0
"""Replace secrets and personal data in source text: keys, e-mail, IP addresses, authors' names.

Anchored rules, and detect-secrets' where it knows a provider that they do not, look where a cheap
search finds their mark; passwords and keys are found by the name they are assigned to and by what
they look like. One value has one
replacement in a repository, numbered by first appearance, so nothing can be computed back from it.
Replacements are plain words: text that parsed still parses. Values are given to nobody and
logged nowhere; counts are.

This finds what looks like what it knows. Names in running text and in copyright notices, telephone
numbers, addresses, and secrets without a mark stay.

Source: kinds and exemptions as for StarCoder 2, arXiv 2402.19173, "PII redaction". Differs: rules
    instead of a trained model, numbered words instead of tags such as <EMAIL>, which break JSX.
"""

import base64
import importlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from codegemma.data import personal
from codegemma.data.document import File
from codegemma.data.names import NameTagger, tagged
from codegemma.data.personal import Finding, Kind

# A mark that is searched for first, and the pattern whose group "v", or all of it, is replaced.
_ANCHORED: Final = tuple(
    (mark, re.compile(pattern))
    for mark, pattern in (
        ("AKIA", r"\bAKIA[A-Z0-9]{16}\b"),
        ("ASIA", r"\bASIA[A-Z0-9]{16}\b"),
        *((f"gh{kind}_", rf"\bgh{kind}_[A-Za-z0-9]{{36,255}}\b") for kind in "pousr"),
        ("github_pat_", r"\bgithub_pat_\w{40,255}\b"),
        ("glpat-", r"\bglpat-[\w-]{20,}"),
        ("xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("hooks.slack.com", r"hooks\.slack\.com/services/(?P<v>\w{6,}/\w{6,}/\w{16,})"),
        ("k_live_", r"\b[rs]k_live_\w{16,}"),
        ("k_test_", r"\b[rs]k_test_\w{16,}"),
        ("AIza", r"\bAIza[\w-]{35}(?![\w-])"),
        ("GOCSPX-", r"\bGOCSPX-[\w-]{28}"),
        ("ya29.", r"\bya29\.[\w-]{20,}"),
        ("eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
        ("npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("pypi-AgE", r"\bpypi-AgE[\w-]{40,}"),
        ("sk-", r"\bsk-(?:proj-|ant-(?:api\d\d-)?|or-v1-)?(?=[\w-]*\d)[\w-]{32,}"),
        ("SG.", r"\bSG\.[\w-]{20,24}\.[\w-]{39,50}"),
        ("-us", r"\b[0-9a-f]{32}-us\d{1,2}\b"),
        ("AC", r"\bAC[0-9a-f]{32}\b"),
        ("SK", r"\bSK[0-9a-f]{32}\b"),
        (":AA", r"\b\d{8,10}:AA[\w-]{33}\b"),
        ("AccountKey=", r"AccountKey=(?P<v>[A-Za-z0-9+/]{40,}={0,2})"),
        ("AccessKey=", r"SharedAccessKey=(?P<v>[A-Za-z0-9+/]{40,}={0,2})"),
        ("xapp-", r"\bxapp-\d-[A-Z0-9]{8,}-\d{8,}-[0-9a-f]{32,}"),
        ("key-", r"\bkey-(?=[a-z]*\d)[0-9a-z]{32}\b"),
        ("AKC", r"\bAKC[A-Za-z0-9]{50,}\b"),
        ("hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
        ("sq0", r"\bsq0(?:atp|csp|idp)-[\w-]{22,43}"),
        ("_v1_", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
        ("shp", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
        ("dapi", r"\bdapi[0-9a-f]{32}\b"),
        (
            "://",
            r"://(?<=\w://)[^\s:/@\"'`{}$<>]{1,64}:(?!(?:\$[A-Za-z_]\w*)+@)"
            r"(?P<v>(?:[^\s:/@\"'`{}$<>%]|%[0-9A-Fa-f]{2}|\$(?![{(])){3,128})@[\w.-]+",
        ),
    )
)
_MIN_KNOWN: Final = 10
_MAX_KNOWN: Final = 200
_DISCORD: Final = re.compile(r"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])")
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----")
_MAX_PEM: Final = 20_000
_BASE64: Final = re.compile(r"(?<!\\)[A-Za-z0-9+/]{16,}={0,2}|(?<=\\n)[A-Za-z0-9+/]{16,}={0,2}")
_AWS_ID: Final = re.compile(r"\bA[KS]IA[A-Z0-9]{16}\b")
_AWS_KEY: Final = re.compile(r"""(?P<quote>["'`])(?P<v>[A-Za-z0-9+/]{40})(?P=quote)""")
_AWS_REACH: Final = 200
_BEARER: Final = re.compile(r"\bBearer[ \t]+(?P<v>[\w.~+/-]{20,512}={0,2})(?![\w{%$<(=])")
_BASIC: Final = re.compile(r"\bBasic[ \t]+(?P<v>[A-Za-z0-9+/]{12,512}={0,2})(?![\w{%$<(+/=-])")
_CONNECTION: Final = re.compile(
    r"""\b(?:password|pwd)=(?P<v>[^;\s"'`<>{}$%&]{6,64})(?=[;"'`])""", re.IGNORECASE
)
_CONNECTED: Final = re.compile(
    r"\b(?:server|data source|host|uid|user id|database|initial catalog)=[^;\"'`]+;", re.IGNORECASE
)
_VARIABLE: Final = re.compile(
    r"""\b(?P<n>[A-Z][A-Z0-9_]{0,40}(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD))="""
    r"""(?P<v>[A-Za-z0-9_.~+/=-]{16,128})(?=[\s"'`]|\Z)"""
)
_PASSWORD_NAME: Final = re.compile(r"(?:passw(?:or)?d|passphrase|pwd)\Z", re.IGNORECASE)
_PHRASE: Final = re.compile(r"[a-z]{3,}(?:[ -][a-z]{3,}){3,7}|[a-z]{20,64}")
_SENTENCE: Final = re.compile(
    r"\b(?:the|for|and|not|with|must|has|are|can|enter|please|that|this|when|used|use|user|from|is"
    r"|too|was|does|has|field|name|value|type|string|required|new|old|confirm|login|sign|reset)\b"
)
_ASSIGNED: Final = re.compile(
    r"""(?P<n>(?:passw(?:or)?d|passphrase|pwd|secret|token|api_?-?key|access_?-?key|auth_?-?key
    |account_?-?key|private_?-?key|encryption_?-?key|credential|(?<![a-z])auth(?![a-z]))[\w-]{0,16})
    (?:\[\w{0,4}\]|[ \t]+(?:string|\[\]byte)|\??[ \t]*:[ \t]*[&'\w.<>\[\]|? ]{1,32}(?=[ \t]*=))?
    (?P<comma>["'`\]]{0,2}[ \t]*(?::=|=>|==|[:={])|["'`][ \t]*,)[ \t]*(?:\w{1,8}\()?
    (?:[bruf@$]{1,2}\#?|"")?(?P<quote>["'`])(?P<v>[^"'`\n\\]{8,256})(?P=quote)""",
    re.VERBOSE,
)
"""On text in lower case: a telling name, the type some languages give behind it, and a value."""
_VALUE: Final = re.compile(
    r"""[:=>,{][ \t]*(?:\w{1,8}\()?(?:[bruf@$]{1,2}#?|"")?["'`][^"'`\n\\]{8,256}["'`]"""
)
_MAX_NAME: Final = 48
_NAME_BEFORE: Final = re.compile(r"[\w.-]{0,40}\Z")
_CALL: Final = re.compile(r"""\w\(["'`]\Z""")
"""What stands before a name that a function takes beside its value."""
_ASSIGNED_MARKS: Final = ("pass", "pwd", "secret", "token", "key", "credential", "auth")
_NO_VALUE_NAME: Final = re.compile(
    r"hash|salt|digest|checksum|field|label|name$|type|url|uri|path|file|prefix|suffix|hint|message"
    r"|error|regex|pattern|help|prompt|title|header|param|placeholder|column|public|class|kind"
    r"|endpoint|env|_?id$|format|selector|xpath|css|icon|tokenizer|tokens$|keyword|expir|_at$",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(
    r"pass(word|wd)?|secret|token|change|example|sample|your|dummy|fake|test|mock|todo|default|none"
    r"|null|undefined|insert|replace|redacted|placeholder|x{4,}|\*{3,}|\.{3}|1234|qwerty"
    r"|(?<![a-z])(?:abc|foo|bar)(?![a-z])|lorem|invalid|wrong|random|correct|secure",
    re.IGNORECASE,
)
_NO_MIXED: Final = re.compile(
    r"change|example|sample|your|dummy|replace|redacted|placeholder|x{4,}|\*{3,}|\.{3}|1234|qwerty"
    r"|pass|p@ss|secret|token",
    re.IGNORECASE,
)
"""Of a value of all classes of characters, which may well hold a word such as "test"."""

_NO_ANCHORED: Final = re.compile(
    r"EXAMPLE|example|xxxx|XXXX|REDACTED|your[-_]|\A(?:password|passwd|secret|token)\Z"
)
_DATA_URI: Final = re.compile(r"data:[\w/+.;=-]{3,80};base64,(?P<v>[A-Za-z0-9+/=]{1024,})")


def find(text: str, *, names: Iterable[tuple[int, int]] = ()) -> list[Finding]:
    """List what is to be replaced, in the order of the text, without overlaps.

    Args:
        text: Of a file.
        names: Places of names that are known already, see `names.tagged`.
    """
    found = [*_keys(text), *personal.find(text)]
    found += [Finding("name", *span) for span in names]
    if ";base64," in text:
        found += [Finding("data_uri", *match.span("v")) for match in _DATA_URI.finditer(text)]
    return _apart(found)


def _apart(found: Sequence[Finding]) -> list[Finding]:
    """Order findings; of those that overlap the first stays, and of two at one place the longer.

    A key stays before an address: what precedes the host of a URL is a password.
    """
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda f: (f.start, -f.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
        elif finding.kind == "key" and kept[-1].kind == "email":
            kept[-1] = finding
    return kept


def redact(
    files: Sequence[File], *, tagger: NameTagger | None = None
) -> tuple[list[File], Counter[str]]:
    """Replace what is found in the files of one repository.

    Args:
        files: In an order that numbers the replacements; paths are left alone.
        tagger: Finds names that have no mark; None for none.

    Returns:
        The files, and how many values of each kind were replaced.
    """
    numbers: dict[tuple[Kind, str], str] = {}
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    redacted: list[File] = []
    found = [
        find(file.text, names=tagged(file.text, tagger, path=file.path) if tagger else ())
        for file in files
    ]
    known = _known_keys(files, found)
    for file, findings in zip(files, found, strict=True):
        parts: list[str] = []
        place = 0
        again = [
            Finding("key", *match.span())
            for value, pattern in known
            if value in file.text
            for match in pattern.finditer(file.text)
        ]
        for finding in _apart([*findings, *again]) if again else findings:
            value = file.text[finding.start : finding.end]
            key = (finding.kind, value)
            if key not in numbers:
                kind = finding.kind + ("6" if ":" in value and finding.kind == "ip" else "")
                numbers[key] = _REPLACEMENTS[kind](seen[kind])
                seen[kind] += 1
            parts += [file.text[place : finding.start], numbers[key]]
            place = finding.end
            counts[finding.kind] += 1
        whole = "".join([*parts, file.text[place:]]) if parts else file.text
        redacted.append(replace(file, text=whole))
    return redacted, counts


def _known_keys(
    files: Sequence[File], found: Sequence[Sequence[Finding]]
) -> list[tuple[str, re.Pattern[str]]]:
    """Give keys that were found, the longest first, to look for where nothing tells them."""
    values = {
        file.text[one.start : one.end]
        for file, findings in zip(files, found, strict=True)
        for one in findings
        if one.kind == "key" and one.end - one.start >= _MIN_KNOWN
    }
    ordered = sorted(values, key=lambda value: (-len(value), value))[:_MAX_KNOWN]
    return [(v, re.compile(rf"(?<![^\W_]){re.escape(v)}(?![^\W_])")) for v in ordered]


_REPLACEMENTS: Final[dict[str, Callable[[int], str]]] = {
    "key": lambda n: f"REDACTED_KEY_{n + 1}",
    "email": lambda n: f"user{n + 1}@example.com",
    "ip": lambda n: f"{('192.0.2', '198.51.100', '203.0.113')[n // 254 % 3]}.{n % 254 + 1}",
    "ip6": lambda n: f"2001:db8::{n % 65535 + 1:x}",
    "name": lambda n: f"Author {n + 1}",
    "data_uri": lambda _: "",
}


def _keys(text: str) -> Iterator[Finding]:
    for mark, pattern in _ANCHORED:
        if mark in text:
            for match in pattern.finditer(text):
                span = match.span("v") if "v" in pattern.groupindex else match.span()
                if not _is_placeholder(text[slice(*span)], is_anchored=True):
                    yield Finding("key", *span)
    if "PRIVATE KEY" in text:
        for match in _PEM.finditer(text):
            end = text.find("-----END", match.end(), match.end() + _MAX_PEM)
            for part in _BASE64.finditer(text, match.end(), max(end, match.end())):
                yield Finding("key", *part.span())
    lowered = text.lower()
    yield from _keys_in_context(text, lowered)
    if any(mark in lowered for mark in _ASSIGNED_MARKS):
        if len(lowered) != len(text):  # a letter whose small form is longer
            lowered = "".join(c.lower() if c.isascii() else c for c in text)
        yield from _assigned_keys(text, lowered)
        yield from _by_detect_secrets(text, lowered)


def _keys_in_context(text: str, lowered: str) -> Iterator[Finding]:
    """Find values without a form of their own by what stands beside them."""
    if "AKIA" in text or "ASIA" in text:
        yield from _aws_keys(text)
    for match in _BEARER.finditer(text) if "Bearer" in text else ():
        if _looks_secret("token", match["v"]):
            yield Finding("key", *match.span("v"))
    for match in _BASIC.finditer(text) if "Basic" in text else ():
        if _is_login(match["v"]):
            yield Finding("key", *match.span("v"))
    has_any = ";" in text and any(mark in lowered for mark in ("password=", "pwd="))
    for match in _CONNECTION.finditer(text) if has_any else ():
        if _is_of_connection(text, match):
            yield Finding("key", *match.span("v"))
    has_any = any(mark in text for mark in ("KEY=", "TOKEN=", "SECRET=", "PASSWORD=", "PASSWD="))
    for match in _VARIABLE.finditer(text) if has_any else ():
        if _looks_secret(match["n"], match["v"]):
            yield Finding("key", *match.span("v"))


def _aws_keys(text: str) -> Iterator[Finding]:
    """Find the secret keys that stand beside an identifier of theirs."""
    for match in _AWS_ID.finditer(text):
        begin, end = max(0, match.start() - _AWS_REACH), match.end() + _AWS_REACH
        for key in _AWS_KEY.finditer(text, begin, end):
            if _num_classes(key["v"]) >= 3 and not _is_placeholder(key["v"], is_anchored=True):
                yield Finding("key", *key.span("v"))


def _is_of_connection(text: str, match: re.Match[str]) -> bool:
    """Tell whether a password stands in the string of a connection to a database."""
    value = match["v"]
    begin = max(0, match.start() - 300, text.rfind("\n", 0, match.start()))
    near = text[begin : match.end() + 100]
    is_secret = _num_classes(value) >= 2 and not _is_placeholder(value, is_anchored=False)
    return is_secret and _CONNECTED.search(near) is not None


def _is_login(value: str) -> bool:
    """Tell whether base64 is a name and a password."""
    try:
        login = base64.b64decode(value, validate=True).decode("utf-8")
    except ValueError:
        return False
    name, colon, password = login.partition(":")
    is_word = _is_placeholder(password, is_anchored=False) or " " in password
    return bool(name and colon and login.isprintable()) and not is_word


def _num_classes(value: str) -> int:
    return sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", r"\d", r"[^A-Za-z0-9]"))


def _assigned_keys(text: str, lowered: str) -> Iterator[Finding]:
    for match in _assigned(lowered):
        begin = _NAME_BEFORE.search(lowered, max(0, match.start() - 40), match.start())
        name = (begin[0] if begin else "") + match["n"]
        start = begin.start() if begin else match.start()
        if "," in match["comma"] and not _CALL.search(lowered, max(0, start - 3), start):
            continue  # neighbours in a list
        if _looks_secret(name, text[slice(*match.span("v"))]):
            yield Finding("key", *match.span("v"))


def _assigned(lowered: str) -> Iterator[re.Match[str]]:
    """Find telling names with a quoted value; values first, since they are quicker to search."""
    searched = 0
    for value in _VALUE.finditer(lowered):
        begin = max(searched, value.start() - _MAX_NAME)
        if any(mark in lowered[begin : value.start()] for mark in _ASSIGNED_MARKS):
            for match in _ASSIGNED.finditer(lowered, begin, value.end()):
                searched = match.end()
                yield match


def _looks_secret(name: str, value: str) -> bool:
    """Tell whether a value assigned to a telling name is a secret, not a word about one."""
    if _NO_VALUE_NAME.search(name) or value.startswith("urn:"):
        return False
    classes = _num_classes(value)
    if re.search(r"secret_?key\Z", name, re.IGNORECASE) and _is_of_django(value):
        return True
    if classes == 4 and len(value) >= 12 and not value.isidentifier():
        if _NO_MIXED.search(value):
            return False
    elif _is_placeholder(value, is_anchored=False):
        return False
    if _PASSWORD_NAME.search(name) and _PHRASE.fullmatch(value):
        return not _SENTENCE.search(value)
    if re.search(r"[\s{}<>$()\[\],;|]|://|\A[#@]|\A\.{0,2}/[a-z]+(?:[/.]|\Z)|%[sd(]", value):
        return False
    has_digit = re.search(r"\d", value) is not None
    if classes < 2 or re.fullmatch(r"[\d.:-]+", value):
        return False
    if not has_digit and (len(value) < 24 or classes < 3 or re.search(r"[_.-]", value)):
        return False  # words joined together
    if re.search(r"auth\Z", name, re.IGNORECASE) and len(value) < 16:
        return False
    return _entropy(value) >= (2.7 if "pass" in name.lower() or "pwd" in name.lower() else 3.0)


def _is_of_django(value: str) -> bool:
    """Tell whether a value is of 50 characters of all kinds, as the tools of Django make them."""
    bare = value.removeprefix("django-insecure-")
    is_long = len(bare) >= 40 and re.fullmatch(r"[!-~]+", bare) is not None
    return (
        is_long and _num_classes(bare) >= 3 and _entropy(bare) >= 4 and not _NO_MIXED.search(bare)
    )


def _is_placeholder(value: str, *, is_anchored: bool) -> bool:
    if len(set(value)) < 5:
        return True
    if is_anchored:
        return _NO_ANCHORED.search(value) is not None
    return _PLACEHOLDER.search(value) is not None


def _entropy(value: str) -> float:
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())


_RESCANNED: Final = (
    "api",
    "secret",
    "token",
    "key",
    "softlayer",
    "artifactory",
    "cloudant",
    "discord",
)


def _by_detect_secrets(text: str, lowered: str) -> Iterator[Finding]:
    """Look with detect-secrets' rules for providers at the lines that carry one of their marks."""
    if not any(
        mark in lowered for mark in ("artifactory", "cloudant", "softlayer", "discord", "ibm")
    ):
        return
    place = 0
    for line in text.split("\n"):
        low = line.lower()
        if len(line) < 2000 and any(mark in low for mark in _RESCANNED):
            for pattern in _plugins():
                for match in pattern.finditer(line):
                    group = 1 if pattern.groups else 0
                    begin, end = match.span(group)
                    if end - begin >= 16 and not _is_placeholder(line[begin:end], is_anchored=True):
                        yield Finding("key", place + begin, place + end)
            for match in _DISCORD.finditer(line):
                yield Finding("key", place + match.start(), place + match.end())
        place += len(line) + 1


@lru_cache(maxsize=1)
def _plugins() -> tuple[re.Pattern[str], ...]:
    """Give the patterns of detect-secrets that no rule above covers; none when it is missing."""
    patterns: list[re.Pattern[str]] = []
    for module, name in (
        ("artifactory", "ArtifactoryDetector"),
        ("cloudant", "CloudantDetector"),
        ("softlayer", "SoftlayerDetector"),
        ("ibm_cloud_iam", "IbmCloudIamDetector"),
        ("ibm_cos_hmac", "IbmCosHmacDetector"),
    ):
        try:
            plugin: Any = importlib.import_module(f"detect_secrets.plugins.{module}")
        except ModuleNotFoundError:
            return ()
        patterns.extend(getattr(plugin, name).denylist)
    return tuple(patterns)
