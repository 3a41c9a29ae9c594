# SPDX-License-Identifier: Apache-2.0

from codegemma.evaluate.report import markdown, page
from codegemma.evaluate.report.document import Bullets, Mark, Paragraph, Plot, Shares, Table

HOSTILE = "</td><img src=x onerror=alert(1)>|\u202e"
BLOCKS = (
    Paragraph(text=HOSTILE),
    Bullets(items=[HOSTILE]),
    Table(caption=HOSTILE, head=("a", "b"), rows=[(HOSTILE, HOSTILE)]),
    Table(caption=HOSTILE, head=("a", "b"), rows=[(HOSTILE, HOSTILE)], is_detail=True),
    Plot(
        title=HOSTILE,
        series=(HOSTILE, HOSTILE),
        rows=[(HOSTILE, [Mark(series=1, value=0.5, low=0.4, high=0.6, text=HOSTILE)])],
    ),
    Shares(title=HOSTILE, parts=(HOSTILE,), rows=[(HOSTILE, [3])]),
)


def test_no_block_lets_a_text_be_markup():
    for block in BLOCKS:
        shown = "".join(page._block(block))
        written = "".join(markdown._block(block))

        assert "&lt;img src=x onerror=alert(1)&gt;" in shown, block
        assert "<img" not in shown + written
        assert "</td><" not in shown.replace("</td></tr>", "")
        assert "\u202e" not in shown + written


def test_a_bar_in_a_cell_of_markdown_makes_no_cell():
    table = Table(caption="c", head=("a", "b"), rows=[("x|y", "z")])

    assert list(markdown._block(table))[-1] == r"| x\|y | z |"
