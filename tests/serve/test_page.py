# SPDX-License-Identifier: Apache-2.0
import re
import shutil
import threading

import pytest

from codegemma.serve.page import WEB_FOLDER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FOREIGN = re.compile(r"https?://(?!www\.w3\.org/|127\.0\.0\.1|localhost)[\w.-]+")


def test_the_page_and_its_files_are_served_with_their_types(live):
    page = live.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    found = re.findall(r'(?:src|href)="\./([^"]+)"', page.text)
    assert any(name.endswith(".js") for name in found)
    assert any(name.endswith(".css") for name in found)
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for name in found:
        answer = live.http.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(kinds[f".{name.rpartition('.')[2]}"])
        is_hashed = name.startswith("assets/")
        assert ("immutable" in answer.headers["cache-control"]) == is_hashed


def test_the_page_is_open_without_a_token_so_that_it_can_ask_for_one(serving, scripted):
    with serving(scripted, token="s3cret") as live:
        page = live.http.get("/")
        assert page.status_code == 200
        for name in re.findall(r'(?:src|href)="\./([^"]+)"', page.text):
            assert live.http.get(f"/{name}").status_code == 200


def test_the_page_asks_no_other_host_for_anything():
    page = (WEB_FOLDER / "index.html").read_text("utf-8")
    assert FOREIGN.findall(page) == []
    for style in WEB_FOLDER.glob("assets/*.css"):
        assert FOREIGN.findall(style.read_text("utf-8")) == []


def test_the_licences_of_what_the_page_bundles_ship_with_it():
    text = (WEB_FOLDER / "LICENSES.txt").read_text("utf-8")
    for name in ("@codemirror/view", "@codemirror/lang-python", "@lezer/common"):
        assert re.search(rf"^{name} \d+\.\d+\.\d+ \(MIT\)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Page:
    """A page in a browser, and what its console and its network said."""

    def __init__(self, browser, live, **options):
        self.tab = browser.new_page(**options)
        self.tab.set_default_timeout(20_000)
        self.messages = []
        self.hosts = set()
        self.tab.on("console", lambda message: self.messages.append(message.text))
        self.tab.on("pageerror", lambda error: self.messages.append(str(error)))
        self.tab.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.tab.goto(f"http://127.0.0.1:{live.port}/")

    def wait(self, state):
        self.tab.wait_for_selector(f"#status[data-state={state}]")

    def ghost(self):
        return self.tab.wait_for_selector(".cm-ghost").text_content()

    def wait_for_ghost(self, text):
        self.tab.wait_for_function(
            "text => document.querySelector('#editor').shadowRoot"
            ".querySelector('.cm-ghost')?.textContent === text",
            arg=text,
        )

    def wait_for_no_ghost(self):
        self.tab.wait_for_selector(".cm-ghost", state="detached")

    def text(self):
        return self.tab.evaluate(
            "() => [...document.querySelector('#editor').shadowRoot"
            ".querySelectorAll('.cm-line')].map(line => line.innerText).join('\\n')"
        )


@pytest.mark.browser
def test_typing_shows_a_suggestion_that_tab_accepts(browser, serving, fakes):
    def answer(prompt, _):
        return "self.width * self.height" if prompt.prefix.endswith("return ") else ""

    completer = fakes.ScriptedCompleter(answer, name="nano")
    with serving(completer) as live:
        page = Page(browser, live)
        page.wait("ready")
        assert page.tab.text_content("#status-text") == "nano on cpu"
        page.wait_for_ghost("self.width * self.height")
        page.tab.wait_for_selector("#drawn:has-text('25 tokens')")
        page.tab.keyboard.type("self.")
        page.wait_for_ghost("width * self.height")
        page.tab.keyboard.press("Control+ArrowRight")
        page.wait_for_ghost(" * self.height")
        page.tab.keyboard.press("Tab")
        page.wait_for_no_ghost()
        assert "        return self.width * self.height\n" in page.text()
        assert re.fullmatch(r"\d+ ms|\d+\.\d+ s", page.tab.text_content("#latency"))
        page.tab.close()
    first = completer.prompts[0]
    assert first.path == "main.py"
    assert first.prefix.endswith("    def area(self):\n        return ")
    assert first.suffix.startswith("\n\n\n@dataclass\nclass Triangle:")
    assert page.hosts == {f"127.0.0.1:{live.port}"}
    assert page.messages == []


@pytest.mark.browser
def test_escape_dismisses_and_ctrl_space_asks_again(browser, serving, fakes):
    with serving(fakes.ScriptedCompleter("x = 1")) as live:
        page = Page(browser, live)
        page.wait_for_ghost("x = 1")
        page.tab.keyboard.press("Escape")
        page.wait_for_no_ghost()
        page.tab.keyboard.press("Control+Space")
        page.wait_for_ghost("x = 1")
        page.tab.keyboard.press("Escape")
        page.tab.keyboard.press("Alt+Backslash")
        page.wait_for_ghost("x = 1")
        page.tab.keyboard.press("ArrowLeft")
        page.wait_for_no_ghost()
        page.tab.close()


@pytest.mark.browser
def test_a_key_that_disagrees_cancels_the_request_and_asks_anew(browser, serving, fakes):
    completer = fakes.ScriptedCompleter("y" * 64, delay_s=0.05)
    with serving(completer) as live:
        page = Page(browser, live)
        page.ghost()
        page.tab.keyboard.type("q")
        page.tab.wait_for_function("() => true")
        page.ghost()
        while len(completer.prompts) < 2:
            page.tab.wait_for_timeout(10)
        assert completer.prompts[1].prefix.endswith("return q")
        assert completer.num_drawn < 64
        page.tab.close()


@pytest.mark.browser
def test_settings_reach_the_server_and_survive_a_reload(browser, serving, fakes):
    completer = fakes.ScriptedCompleter("let x = 1;\nlet y")
    with serving(completer) as live:
        page = Page(browser, live, color_scheme="light")
        page.wait("ready")
        page.tab.select_option("#file-type", "rust")
        page.tab.check("#single-line")
        page.tab.fill("#max-tokens", "16")
        page.tab.fill("#temperature", "0.5")
        page.tab.click("#theme")
        page.tab.click("#theme")
        page.tab.reload()
        page.wait_for_ghost("let x = 1;")
        assert page.tab.text_content("#path") == "main.rs"
        assert page.tab.get_attribute("html", "data-theme") == "dark"
        curl = page.tab.text_content("#curl")
        assert '"max_tokens": 16' in curl
        assert f"curl http://127.0.0.1:{live.port}/v1/completions" in curl
        assert page.messages == []
        page.tab.close()
    assert completer.samplings[-1].max_tokens == 16
    assert completer.samplings[-1].temperature == 0.5
    assert completer.samplings[-1].stop == ("\n",)
    assert completer.prompts[-1].path == "main.rs"


@pytest.mark.browser
def test_the_page_says_that_the_model_loads_and_that_the_server_is_gone(browser, serving, fakes):
    may_load = threading.Event()
    completer = fakes.ScriptedCompleter("x = 1")
    with serving(lambda: may_load.wait(20) and completer, wait=False) as live:
        page = Page(browser, live)
        page.wait("loading")
        assert page.tab.text_content("#status-text") == "Loading the model"
        may_load.set()
        page.wait("ready")
        page.wait_for_ghost("x = 1")
    page.tab.keyboard.press("Control+Space")
    page.wait("offline")
    assert "No server" in page.tab.text_content("#status-text")
    page.tab.close()


@pytest.mark.browser
def test_an_error_is_shown_in_the_servers_words(browser, serving, fakes):
    with serving(fakes.ScriptedCompleter("x", context_length=50)) as live:
        page = Page(browser, live)
        page.tab.wait_for_selector("#note[data-kind=error]")
        assert "the context holds 50" in page.tab.text_content("#note")
        page.tab.close()


@pytest.mark.browser
def test_a_server_with_a_token_is_asked_with_it(browser, serving, fakes):
    with serving(fakes.ScriptedCompleter("x = 1"), token="s3cret") as live:
        page = Page(browser, live)
        page.wait("token")
        page.tab.fill("#token", "wrong")
        page.tab.keyboard.press("Enter")
        page.tab.wait_for_selector("#token-note:has-text('did not accept')")
        page.tab.fill("#token", "s3cret")
        page.tab.keyboard.press("Enter")
        page.wait("ready")
        page.wait_for_ghost("x = 1")
        assert "$CODEGEMMA_TOKEN" in page.tab.text_content("#curl")
        assert "s3cret" not in page.tab.text_content("#curl")
        page.tab.close()


@pytest.mark.browser
def test_the_packaged_model_completes_code_in_the_page(browser, serving):
    from codegemma.generate.load import load_completer

    with serving(lambda: load_completer("nano")) as live:
        page = Page(browser, live)
        page.wait("ready")
        assert page.tab.text_content("#status-text") == "nano on cpu"
        page.tab.wait_for_selector("#drawn:has-text('tokens')")
        ghost = page.ghost()
        page.tab.keyboard.press("Tab")
        page.wait_for_no_ghost()
        assert ghost.strip()
        assert f"        return {ghost.splitlines()[0]}\n" in page.text()
        assert page.messages == []
        page.tab.close()
