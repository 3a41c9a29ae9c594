# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML file that needs nothing else: tables, plots, and a browser of the items.

The page opens from a folder, asks no other host for anything, and says so in its policy; its script
and its style stand in it and are named there by their hashes. Everything but the browser of items
is readable without the script.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from codegemma.evaluate.report.card import Report, sections
from codegemma.evaluate.report.document import (
    Bars,
    Block,
    Bullets,
    Paragraph,
    Plot,
    Section,
    Shares,
    Table,
)
from codegemma.evaluate.report.items import pack_items
from codegemma.evaluate.report.plot import draw_bars, draw_plot, draw_shares
from codegemma.evaluate.report.text import as_html

_FOLDER: Final = Path(__file__).parent
_BROWSER: Final = """<section id="items" aria-labelledby="items-title">
<h2 id="items-title">Items</h2>
<noscript><p>Looking through the items needs JavaScript.</p></noscript>
<div id="browser" hidden>
<form id="filters" role="search">
<label>Task <select id="task"></select></label>
<label>Verdict <select id="verdict"></select></label>
<label class="wide">Search <input id="search" type="search" autocomplete="off" spellcheck="false"
 placeholder="name, prompt, completion, error"></label>
</form>
<p id="note" class="muted" hidden></p>
<p id="found" role="status" aria-live="polite"></p>
<div class="scroll" tabindex="0" role="region" aria-label="List of items">
<table id="list"><thead></thead><tbody></tbody></table></div>
<p class="pages"><button type="button" id="back">Back</button> <span id="page"></span>
<button type="button" id="on">On</button></p>
<article id="item" aria-labelledby="item-title" tabindex="-1" hidden></article>
</div>
</section>
"""
_FIGURE: Final = re.compile(r"[-+<]?\s?[\d,.]+( %| s)?( points)?")


def render_page(report: Report) -> str:
    """Write the page of a report on a model.

    Raises:
        CodegemmaError: A file of samples or scores is damaged.
    """
    return render_document(
        sections(report),
        title=report.title,
        kind="measured",
        note=f"Measured with codegemma {report.version}, {report.made}.",
        items=pack_items(report.runs),
    )


def render_document(
    found: Sequence[Section], *, title: str, kind: str, note: str, items: str | None = None
) -> str:
    """Write a page of sections.

    Args:
        found: Its sections.
        title: Its heading.
        kind: What it is, for the browser's tab.
        note: Stands under the heading.
        items: What `items.pack_items` gives, to be looked through; None for no such browser, and
            no script.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "" if items is None else (_FOLDER / "page.js").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        + (f"script-src {_hash(script)}; " if script else "")
        + f"style-src {_hash(style)}"
    )
    titles = [section.title for section in found] + ([] if items is None else ["Items"])
    links = "".join(f'<a href="#{_anchor(one)}">{as_html(one)}</a>' for one in titles)
    body = "".join(part for section in found for part in _section(section, depth=2))
    browser = "" if items is None else _BROWSER
    data = (
        ""
        if items is None
        else f'<script type="text/plain" id="data">{items}</script>\n<script>{script}</script>\n'
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{as_html(title)}: {as_html(kind)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{as_html(title)}</h1>
<p class="muted">{as_html(note)}</p>
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{body}{browser}</main>
{data}</body>
</html>
"""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def _section(section: Section, *, depth: int) -> Iterator[str]:
    name = _anchor(section.title)
    yield f'<section id="{name}" aria-labelledby="{name}-title">\n'
    yield f'<h{depth} id="{name}-title">{as_html(section.title)}</h{depth}>\n'
    for block in section.blocks:
        yield from _block(block)
    for inner in section.sections:
        yield from _section(inner, depth=depth + 1)
    yield "</section>\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        link = f' <a href="{as_html(block.url)}">{as_html(block.url)}</a>' if block.url else ""
        yield f"<p>{as_html(block.text)}{link}</p>\n"
    elif isinstance(block, Bullets):
        if block.items:
            items = "".join(f"<li>{as_html(item)}</li>" for item in block.items)
            yield f"<ul>{items}</ul>\n"
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Plot):
        yield draw_plot(block)
    elif isinstance(block, Bars):
        yield draw_bars(block)
    else:
        assert isinstance(block, Shares)
        yield draw_shares(block)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    caption = as_html(table.caption)
    if table.is_detail:
        yield f"<details><summary>{caption}</summary>\n"
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n<table>'
    if not table.is_detail:
        yield f"<caption>{caption}</caption>"
    yield "\n<thead><tr>"
    yield "".join(f'<th scope="col">{as_html(cell)}</th>' for cell in table.head)
    yield "</tr></thead>\n<tbody>\n"
    for first, *others in table.rows:
        yield f'<tr><th scope="row">{as_html(first)}</th>'
        for cell in others:
            yield _cell(cell)
        yield "</tr>\n"
    yield "</tbody></table></div>\n"
    if table.is_detail:
        yield "</details>\n"


def _cell(text: str) -> str:
    """Write a cell; of several lines each is a block, so that one that wraps is still one."""
    if "\n" in text:
        lines = "".join(f"<div>{as_html(line)}</div>" for line in text.split("\n"))
        return f'<td class="lines">{lines}</td>'
    kind = ' class="figure"' if _FIGURE.match(text) else ""
    return f"<td{kind}>{as_html(text)}</td>"
