# SPDX-License-Identifier: Apache-2.0
"""Replace secrets and personal data in source text: keys, e-mail, IP addresses, authors' names.

Anchored rules and detect-secrets' own look where a cheap search finds their mark; passwords and
keys are found by the name they are assigned to and by what they look like. One value has one
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
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from codegemma.data.document import File

Kind = Literal["key", "email", "ip", "name", "data_uri"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A value to replace: its kind, and its place in characters (end exclusive)."""

    kind: Kind
    start: int
    end: int


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
        ("://", r"://(?<=\w://)[^\s:/@\"'`{}$<>]{1,64}:(?P<v>[^\s:/@\"'`{}$<>%]{3,128})@[\w.-]+"),
    )
)
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
_EMAIL: Final = re.compile(
    r"(?:(?<![\w.+%/@=\\-])|(?<=\\[nrt]))[A-Za-z0-9](?:[\w.+%-]{0,62}[A-Za-z0-9_])?@"
    r"(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}(?P<tld>[A-Za-z]{2,12}))(?![\w@(-]|\.\w)"
)
_EMAIL_MARK: Final = re.compile(r"@(?<=\w@)[A-Za-z0-9][A-Za-z0-9-]{0,62}\.[A-Za-z0-9]")
"""In every text with an address; it begins with a letter that is searched for quickly."""
_TLDS_WORDS: Final = """
    com org net edu gov mil int info biz io dev app ai tech cloud xyz online de uk fr jp cn ru
    br it nl es se fi dk pl ch be au ca us eu cz gr hu ie il ir kr mx nz pt ro sg th tr tw ua za
    vn ph hk sk si hr lt lv ee lu bg rs kz by co tv cc me in at no id is ar cl my ae sa pk ng
"""
_TLDS: Final = frozenset(_TLDS_WORDS.split())
_SAFE_HOST: Final = re.compile(
    r"(.*\.)?(example\.\w+|test|invalid|localhost|domain\.com|email\.com|mail\.com|host\.com|foo\.com"
    r"|bar\.com|users\.noreply\.github\.com|company\.com)",
    re.IGNORECASE,
)
_SAFE_LOCAL: Final = frozenset({"git", "noreply", "no-reply", "user", "root", "hg", "svn"})
_IPV4: Final = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])"
)
_IPV4_MARK: Final = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d")
_IPV6_MARK: Final = re.compile(r":[0-9A-Fa-f]{1,4}:")
_KNOWN_IPS_WORDS: Final = """
    8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 208.67.222.222 208.67.220.220 4.4.4.4 1.2.3.4
    2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111
"""
_KNOWN_IPS: Final = frozenset(_KNOWN_IPS_WORDS.split())
_AUTHOR: Final = re.compile(
    r"(?:@author:?|[\\@:]authors?:|__author__[ ]*=[ ]*[\"']|^[ \t#*/;-]{0,8}Authors?:)[ \t]*"
    r"(?P<v>[A-Z](?:[\w.-]|'(?=\w)){1,24}(?:[ ][A-Z](?:[\w.-]|'(?=\w)){0,24}){1,3})",
    re.MULTILINE,
)
_BEFORE_EMAIL: Final = re.compile(r"(?P<v>[A-Z][\w'.-]{1,24}(?: [A-Z][\w'.-]{0,24}){1,3}) [<(]\Z")
_DATA_URI: Final = re.compile(r"data:[\w/+.;=-]{3,80};base64,(?P<v>[A-Za-z0-9+/=]{1024,})")


def find(text: str) -> list[Finding]:
    """List what is to be replaced, in the order of the text, without overlaps."""
    found = [*_keys(text), *_emails(text), *_addresses(text), *_names(text)]
    if ";base64," in text:
        found += [Finding("data_uri", *match.span("v")) for match in _DATA_URI.finditer(text)]
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda f: (f.start, -f.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def redact(files: Sequence[File]) -> tuple[list[File], Counter[str]]:
    """Replace what is found in the files of one repository.

    Args:
        files: In an order that numbers the replacements; paths are left alone.

    Returns:
        The files, and how many values of each kind were replaced.
    """
    numbers: dict[tuple[Kind, str], str] = {}
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    redacted: list[File] = []
    for file in files:
        parts: list[str] = []
        place = 0
        for finding in find(file.text):
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


_REPLACEMENTS: Final[dict[str, Callable[[int], str]]] = {
    "key": lambda n: f"REDACTED_KEY_{n + 1}",
    "email": lambda n: f"user{n + 1}@example.com",
    "ip": lambda n: f"{('192.0.2', '198.51.100', '203.0.113')[n // 254 % 3]}.{n % 254 + 1}",
    "ip6": lambda n: f"2001:db8::{n % 65535 + 1:x}",
    "name": lambda n: f"Author {n + 1}",
    "data_uri": lambda _: "",
}


def holds_personal_data(path: str) -> bool:
    """Tell whether a path names a person by e-mail address."""
    spaced = path.replace("/", " ")
    return "@" in path and any(
        True for text in (spaced, spaced.rpartition(".")[0]) for _ in _emails(text)
    )


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
        plugin: Any = importlib.import_module(f"detect_secrets.plugins.{module}")
        patterns.extend(getattr(plugin, name).denylist)
    return tuple(patterns)


def _emails(text: str) -> Iterator[Finding]:
    if not _EMAIL_MARK.search(text):
        return
    for match in _EMAIL.finditer(text):
        local = match[0].partition("@")[0]
        if match["tld"].lower() not in _TLDS or local.lower() in _SAFE_LOCAL:
            continue
        if _SAFE_HOST.fullmatch(match["host"]) or (len(local) < 2 and len(match["tld"]) < 3):
            continue
        yield Finding("email", *match.span())


def _addresses(text: str) -> Iterator[Finding]:
    for match in _IPV4.finditer(text) if _IPV4_MARK.search(text) else ():
        if _is_public(match[0]) and not _is_version(text, match):
            yield Finding("ip", *match.span())
    if _IPV6_MARK.search(text):
        for match in _IPV6.finditer(text):
            if match[0].count(":") >= 3 and _is_public(match[0]):
                yield Finding("ip", *match.span())


def _is_public(value: str) -> bool:
    if value in _KNOWN_IPS:
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _is_version(text: str, match: re.Match[str]) -> bool:
    """Tell whether four numbers are a version, an object identifier or the like."""
    if all(int(part) < 20 for part in match[0].split(".")):
        return True
    begin = text.rfind("\n", 0, match.start()) + 1
    before = text[max(begin, match.start() - 60) : match.start()].lower()
    return (
        re.search(r"version|\bv\s*$|section|release|assembly|oid|firefox|chrome|mozilla|/$", before)
        is not None
    )


def _names(text: str) -> Iterator[Finding]:
    if "uthor" in text:
        for match in _AUTHOR.finditer(text):
            yield Finding("name", *match.span("v"))
    if _EMAIL_MARK.search(text):
        for match in _EMAIL.finditer(text):
            begin = max(0, match.start() - 110)
            named = _BEFORE_EMAIL.search(text[begin : match.start()])
            if named:
                yield Finding("name", begin + named.start("v"), begin + named.end("v"))
