# SPDX-License-Identifier: Apache-2.0

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from codegemma.evaluate.report.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x1b[31m\x00'\"&amp;"


class Outline(HTMLParser):
    """The elements of a page, their attributes, and the texts of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.raw = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] in ("script", "style") and data.strip():
            self.raw.append((self.elements[-1][0], data))


@pytest.fixture
def hostile_page(write_run, make_report):
    path = write_run(
        "one",
        [0.0, 1.0],
        model_name=HOSTILE,
        completion=HOSTILE,
        stderr=HOSTILE,
        metric={
            HOSTILE: {
                "value": 0.5,
                "low": 0.1,
                "high": 0.9,
                "n": 2,
                "n_eff": 2.0,
                "variant": "stop",
            }
        },
        outcomes={HOSTILE: 2},
    )
    return render_page(make_report(path))


def test_the_page_loads_nothing_and_its_policy_allows_only_what_stands_in_it(hostile_page):
    page = Outline(hostile_page)

    (policy,) = [
        found["content"]
        for tag, found in page.elements
        if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; script-src ")
    for kind, text in page.raw:
        if text.startswith(("H4sI",)):  # the packed items, which are no script
            continue
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy, kind
    assert "unsafe" not in policy
    loading = {"src", "srcset", "poster", "action", "formaction", "background", "style"}
    assert [found for _, found in page.elements if loading & found.keys()] == []
    links = {found["href"] for tag, found in page.elements if "href" in found}
    assert all(link.startswith("#") for link in links)
    assert "url(" not in hostile_page
    assert "@import" not in hostile_page


def test_hostile_text_makes_no_element(hostile_page, write_run, make_report):
    plain = Outline(render_page(make_report(write_run("two", [0.0, 1.0]))))
    hostile = Outline(hostile_page)

    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in plain.elements}
    assert sum(tag == "script" for tag, _ in hostile.elements) == 2
    assert not any(name.startswith("on") for _, found in hostile.elements for name in found)
    for letter in ("\u202e", "\x1b", "\x00"):
        assert letter not in hostile_page


def test_the_page_has_one_title_and_names_for_all_its_parts(write_run, make_report):
    text = render_page(make_report(write_run("one", [1.0, 0.0]), write_run("two", [0.0, 0.0])))
    page = Outline(text)

    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    named = {found["aria-labelledby"] for _, found in page.elements if "aria-labelledby" in found}
    assert named <= set(ids) | {"item-title"}
    targets = {found["href"][1:] for tag, found in page.elements if tag == "a" and "href" in found}
    assert targets <= set(ids)
    assert sum(tag == "h1" for tag, _ in page.elements) == 1
    drawings = [
        found for tag, found in page.elements if tag == "svg" and found.get("role") == "img"
    ]
    assert len(drawings) == 4  # two plots and a bar for each of two runs
    assert text.count("<title>") == 1 + len(drawings)
    assert ("html", {"lang": "en"}) in page.elements


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Tab:
    """A page opened from its file, and what its console and its network said."""

    def __init__(self, browser, path, **options):
        self.tab = browser.new_page(**options)
        self.tab.set_default_timeout(20_000)
        self.messages = []
        self.requests = []
        self.tab.on("console", lambda message: self.messages.append(message.text))
        self.tab.on("pageerror", lambda error: self.messages.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.messages.append("dialog"), dialog.dismiss()))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready]")

    def found(self):
        return self.tab.text_content("#found")

    def names(self):
        return self.tab.locator("#list .open").all_text_contents()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_items_are_found_filtered_and_opened(browser, write_run, make_report, tmp_path, scheme):
    one = write_run("one", [1.0, 0.0, 0.0, 0.0], completion=HOSTILE, stderr=HOSTILE)
    two = write_run("two", [0.0, 0.0, 0.0, 1.0], stderr="NameError: snark")
    path = tmp_path / "page.html"
    path.write_text(render_page(make_report(one, two)), encoding="utf-8")

    tab = Tab(browser, path, color_scheme=scheme)

    assert tab.found() == "4 of 4 items"
    tab.tab.select_option("#verdict", label="one: pass (1)")
    assert tab.names() == ["HumanEval/0"]
    tab.tab.select_option("#verdict", "differs")
    assert tab.names() == ["HumanEval/0", "HumanEval/3"]
    tab.tab.select_option("#verdict", "")
    tab.tab.fill("#search", "SNARK")
    tab.tab.locator("#found", has_text="3 of 4").wait_for()
    assert tab.names() == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    tab.tab.click("#list .open >> nth=1")
    item = tab.tab.inner_text("#item")
    assert "HumanEval/1" in item
    assert "def f1():" in item
    assert "</script><img src=x onerror=alert(1)><U+202E><U+001B>[31m<U+0000>" in item
    assert "NameError: snark" in item
    assert "return 1" in item
    assert tab.tab.evaluate("document.activeElement.id") == "item"
    assert tab.tab.locator("#item img").count() == 0
    assert tab.messages == []
    assert tab.requests == [path.as_uri()]


@pytest.mark.browser
def test_a_phone_shows_the_page_without_scrolling_sideways(
    browser, write_run, make_report, tmp_path
):
    path = tmp_path / "page.html"
    runs = [write_run("one", [1.0, 0.0], task="humaneval"), write_run("two", [0.0, 0.0])]
    path.write_text(render_page(make_report(*runs)), encoding="utf-8")

    tab = Tab(browser, path, viewport={"width": 390, "height": 800})
    tab.tab.click("#list .open >> nth=0")

    assert tab.tab.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.browser
def test_a_run_of_5815_items_is_shown_and_searched(
    browser, write_run, make_report, tmp_path, few_problems
):
    lines = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f"def f{number}():\n" + "    # a line of the prompt\n" * 40,
            "entry_point": f"f{number}",
            "canonical_solution": "    return 1\n",
            "test": "def check(f):\n    pass\n",
        }
        for number in range(5815)
    ]
    file = few_problems / "human-eval" / "HumanEval.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    from codegemma.evaluate.tasks import humaneval

    data = {humaneval.FILE.name: humaneval.FILE.sha256(few_problems)}
    verdicts = [float(number % 7 == 0) for number in range(5815)]
    run = write_run("big", verdicts, data=data, completion="    x = 1\n" * 20, stderr="E" * 1000)
    path = tmp_path / "page.html"
    path.write_text(render_page(make_report(run)), encoding="utf-8")

    tab = Tab(browser, path)
    tab.tab.fill("#search", "f5814(")
    tab.tab.locator("#found", has_text="1 of 5,815").wait_for()

    assert tab.found() == "1 of 5,815 items"
    assert re.fullmatch(r"page 1 of 1", tab.tab.text_content("#page"))
    assert path.stat().st_size < 2_000_000
    assert tab.messages == []
