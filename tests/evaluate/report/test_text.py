# SPDX-License-Identifier: Apache-2.0

import pytest

from codegemma.evaluate.report import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("def f(x):\n\treturn x\n", "def f(x):\n\treturn x\n"),
        ("a\r\nb\rc", "a\nb<U+000D>c"),
        ("\x00\x1b[31m\x7f", "<U+0000><U+001B>[31m<U+007F>"),
        ("a\u202eb\u2066c\u200f", "a<U+202E>b<U+2066>c<U+200F>"),
        ("zero\u200bwidth\ufeff\u00ad", "zero<U+200B>width<U+FEFF><U+00AD>"),
        ("half \ud800 pair", "half <U+D800> pair"),
        ("tags \U000e0041", "tags <U+E0041>"),
        ("line\u2028end", "line<U+2028>end"),
        ("gr\u00fcn \u65e5\u672c \U0001f600", "gr\u00fcn \u65e5\u672c \U0001f600"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(raw, shown):
    assert text.visible(raw) == shown


def test_html_is_escaped_in_elements_and_attributes():
    hostile = "</script><img src=x onerror=\"alert('1')\">&amp;"

    assert text.as_html(hostile) == (
        "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#x27;1&#x27;)&quot;&gt;&amp;amp;"
    )
    assert text.as_html("a\u202eb") == "a&lt;U+202E&gt;b"


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        ("a|b", r"a\|b"),
        ("<img onerror=x>", "&lt;img onerror=x&gt;"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("![x](y)", r"!\[x\](y)"),
        ("`code` *b* _i_ ~~s~~", r"\`code\` \*b\* \_i\_ \~\~s\~\~"),
        ("two\nlines\n# head", "two lines # head"),
        ("https://x.test www.x.test a@b.test", r"https\://x.test www\.x.test a\@b.test"),
        ("\\| &lt;", r"\\\| \&lt;"),
        ("a\u202eb", "a&lt;U+202E&gt;b"),
    ],
)
def test_markdown_is_escaped_and_stays_on_one_line(raw, written):
    assert text.as_markdown(raw) == written


def test_figures_are_written_with_their_units():
    metric = {"value": 0.123, "low": 0.1, "high": 0.2, "n": 1033, "n_eff": 101.4}

    assert text.number(0.1234, "fraction") == "12.3 %"
    assert text.number(1234.5, "ms") == "1,234 ms"
    assert text.number(2.5, "") == "2.5"
    assert text.interval(metric, "fraction") == "10.0 to 20.0"
    assert text.count(metric) == "1,033, worth 101"
    assert text.count({"n": 12, "n_eff": 12.0}) == "12"
    assert (text.p_value(0.0004), text.p_value(0.25)) == ("< 0.001", "0.250")
