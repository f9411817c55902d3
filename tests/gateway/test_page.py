"""The page at ``/``: its files by themselves, and in a real browser in front of a real gateway."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import httpx
import pytest

from qwen3_ascend_rerank import Reranker, __version__
from qwen3_ascend_rerank.gateway import page
from qwen3_ascend_rerank.testing import FakeEngine
from tests.support.browser import CHROMIUM, Browser, Tab
from tests.support.gateways import KEY, HeldEngine, RunningGateway

from .conftest import MAX_LENGTH

FOLDER = resources.files(page)
SOURCES = {name: FOLDER.joinpath(name).read_text(encoding="utf-8") for name in page.FILES}
TEXTS = json.loads(SOURCES["texts.json"])
QUERY = "What is the capital of China?"
PASSAGES = ["Bread is made of flour.", "Beijing is the capital of China.", "Paris is a city."]


class Markup(HTMLParser):
    """Every element of the page, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def having(self, attribute: str) -> list[str]:
        return [given[attribute] or "" for _, given in self.elements if attribute in given]


MARKUP = Markup(SOURCES["index.html"])


@pytest.fixture(scope="module")
def free() -> Iterator[RunningGateway]:
    """One that wants no key."""
    with RunningGateway(Reranker("lexical", max_length=MAX_LENGTH), key="") as running:
        yield running


class TestItsFiles:
    @pytest.mark.parametrize("name", page.FILES)
    def test_are_shown_to_everybody_under_a_policy(
        self, gateway: RunningGateway, name: str
    ) -> None:
        answer = httpx.get(gateway.url + page.page_path(name))
        assert answer.status_code == 200
        assert answer.text == SOURCES[name]
        assert answer.headers["content-type"] == page.FILES[name]
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert httpx.head(gateway.url + page.page_path(name)).status_code == 200

    def test_are_all_there_is(self) -> None:
        there = {one.name for one in FOLDER.iterdir() if one.is_file()}
        assert {name for name in there if not name.endswith(".py")} == set(page.FILES)

    def test_need_nothing_from_elsewhere(self) -> None:
        for name, text in SOURCES.items():
            found = set(re.findall(r"(?:https?:)?//[\w.]+\.[\w./]+", text))
            assert found <= {"http://www.w3.org/2000/svg"}, name

    def test_hold_no_script_or_style_in_the_markup(self) -> None:
        for tag, given in MARKUP.elements:
            assert tag != "style"
            assert tag != "script" or given.get("src")
            assert not [name for name in given if name.startswith("on") or name == "style"]

    def test_point_at_what_there_is(self) -> None:
        named = [one for name in ("src", "href") for one in MARKUP.having(name) if one[0] != "#"]
        imported = [f"page/{one}" for one in re.findall(r'from "\./(.+)"', SOURCES["main.js"])]
        fetched = re.findall(r'fetched\("(page/.+?)"', SOURCES["main.js"])
        assert {f"/{one}" for one in named + imported + fetched} == {
            page.page_path(name) for name in page.FILES if name != "index.html"
        }

    def test_label_every_field(self) -> None:
        labels = MARKUP.having("for")
        for tag, given in MARKUP.elements:
            if tag in ("input", "textarea", "select"):
                assert given["id"] in labels or given["aria-labelledby"] in MARKUP.having("id")
        for attribute in ("aria-describedby", "aria-labelledby"):
            for ids in MARKUP.having(attribute):
                assert set(ids.split()) <= set(MARKUP.having("id"))


class TestItsTexts:
    def test_are_the_same_in_both_languages(self) -> None:
        english, chinese = TEXTS["en"], TEXTS["zh"]
        assert list(english) == list(chinese)
        for name, text in english.items():
            fields = [sorted(re.findall(r"\{\w+\}", one)) for one in (text, chinese[name])]
            assert fields[0] == fields[1], name
        told = [name for name in english if re.search("[\u4e00-\u9fff]", chinese[name])]
        assert set(english) - set(told) == set()

    def test_are_all_said(self) -> None:
        script = SOURCES["main.js"]
        plain = set(MARKUP.having("data-text")) | set(re.findall(r'"([a-z_]+)"', script))
        plain |= set(re.findall(r"^\s+([a-z_]+):", script, re.MULTILINE))
        begun = {"state_", "selfcheck_"}
        assert {f"`{one}${{" in script for one in begun} == {True}
        ended = {f"{one}_missing" for one in ("query", "passages")}
        unsaid = {
            name
            for name in TEXTS["en"]
            if name not in plain | ended and not name.startswith(tuple(begun))
        }
        assert unsaid == set()
        said = set(re.findall(r'say\("([a-z_]+)"', script)) | set(MARKUP.having("data-text"))
        assert said <= set(TEXTS["en"])


class TestWithoutABrowser:
    def test_the_root_still_answers_requests_for_scores(self, free: RunningGateway) -> None:
        answer = free.post("/", {"query": QUERY, "documents": PASSAGES})
        assert answer.json()["results"][0]["index"] == 1

    def test_only_the_page_itself_needs_no_key(self, gateway: RunningGateway) -> None:
        for method, path in (("POST", "/"), ("POST", "/page/main.js"), ("GET", "/page/none")):
            assert httpx.request(method, gateway.url + path).status_code == 401

    def test_may_be_left_out(self) -> None:
        with RunningGateway(Reranker(FakeEngine()), key="", page=False) as gateway:
            assert gateway.client.get("/").status_code == 405
            assert gateway.client.get("/page/main.js").status_code == 404
            answer = gateway.post("/", {"query": QUERY, "documents": PASSAGES})
            assert answer.status_code == 200

    def test_what_it_shows_is_said_to_every_client(self, free: RunningGateway) -> None:
        said = free.client.get("/version").json()
        assert said["version"] == __version__
        assert (said["model"], said["root"], said["selfcheck"]) == ("lexical", "lexical", "auto")
        assert (said["device"], said["dtype"], said["max_length"]) == ("cpu", "float32", 512)
        usage = free.post(
            "/v1/rerank", {"query": QUERY, "documents": ["long " * 900, "a", "a"]}
        ).json()["usage"]
        counts = (usage["documents_truncated"], usage["pairs_reused"], usage["texts_defused"])
        assert counts == (1, 1, 0)

    def test_an_engine_that_was_not_examined_is_not_called_so(self) -> None:
        with RunningGateway(Reranker(FakeEngine()), key="") as gateway:
            assert gateway.client.get("/version").json()["selfcheck"] == "off"


# ---- in a browser -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with Browser() as running:
        yield running


def opened(browser: Browser, gateway: RunningGateway, state: str = "ready", **look: Any) -> Tab:
    tab = browser.open(f"{gateway.url}/", **look)
    assert tab.until(f"document.querySelector('#state').className === '{state}'")
    return tab


def rank(tab: Tab, passages: list[str], query: str = QUERY) -> None:
    tab.fill("#query", query)
    tab.fill("#passages", "\n".join(passages))
    tab.click("#rank")


def ranked(tab: Tab, count: int) -> bool:
    return tab.until(f"document.querySelectorAll('#results > li').length === {count}")


def shown(tab: Tab, what: str) -> list[str]:
    found = tab.run(
        f"[...document.querySelectorAll('#results > li {what}')].map((one) => one.textContent)"
    )
    return list(found)


class TestARanking:
    def test_is_that_of_every_client(
        self, browser: Browser, free: RunningGateway, core: Reranker
    ) -> None:
        with opened(browser, free) as tab:
            rank(tab, PASSAGES)
            assert ranked(tab, 3)
            right = core.rerank(QUERY, PASSAGES)
            assert shown(tab, ".text") == right.texts
            assert shown(tab, ".which") == [f"Passage {one.index + 1}" for one in right]
            assert shown(tab, ".score b") == [f"{one.score:.4f}" for one in right]
            odds = [float(one.replace("−", "-")) for one in shown(tab, ".log_odds b")]
            assert odds == pytest.approx([one.log_odds for one in right], abs=6e-4)
            widths = tab.run(
                "[...document.querySelectorAll('.bar div')].map((one) => "
                "one.getBoundingClientRect().width / one.parentNode.clientWidth)"
            )
            assert widths == pytest.approx([one.score for one in right], abs=0.01)
            assert re.fullmatch(r"3 ranked in [\d,]+ ms; best: passage 2\.", tab.text("#said"))
            assert tab.complaints() == []
            assert {one.rpartition(":")[2].partition("/")[0] for one in tab.asked()} == {
                str(free.port)
            }

    def test_says_what_runs_and_that_it_was_checked(
        self, browser: Browser, free: RunningGateway
    ) -> None:
        with opened(browser, free) as tab:
            assert tab.until("!document.querySelector('#about-server').hidden")
            about = tab.text("#about")
            assert "lexical (matches words; no language model)" in about
            assert re.search(r"torch 2\.", about)
            assert "passed (auto)" in about

    def test_leaves_every_text_a_text(self, browser: Browser, free: RunningGateway) -> None:
        hostile = [
            "<img src=x onerror=document.title='broken'><b>Beijing</b>",
            "price \u202e00.1\u202c\x07\u2028 here",
            "عاصمة الصين هي بكين",
            "Beijing " * 900,
        ]
        with opened(browser, free) as tab:
            rank(tab, hostile)
            assert ranked(tab, 4)
            texts = shown(tab, ".text")
            assert hostile[0] in texts
            assert "price [U+202E]00.1[U+202C][U+0007][U+2028] here" in texts
            assert tab.run("document.querySelectorAll('#results b b, #results img').length") == 0
            assert tab.run("document.title") == "qwen3-ascend-rerank"
            assert shown(tab, ".tag") == ["cut"]
            assert "Cut because they are too long: 1." in tab.text("#notes")
            (long,) = [one for one in texts if one.endswith(" …")]
            assert len(long) < 500
            tab.click(".more")
            assert hostile[3].strip() in shown(tab, ".text")
            directions = tab.run(
                "[...document.querySelectorAll('.text')].map((one) => "
                "getComputedStyle(one).direction)"
            )
            assert directions.count("rtl") == 1

    def test_shows_the_best_passage_of_a_long_one_and_marks_it_in_all_of_it(
        self, browser: Browser
    ) -> None:
        core = Reranker("lexical", max_length=200, long_documents="max_passage")
        with RunningGateway(core, key="") as running, opened(browser, running) as tab:
            rank(tab, ["🙂 bread and salt " * 90 + PASSAGES[1]])
            assert ranked(tab, 1)
            (best,) = shown(tab, "mark")
            assert best.endswith(PASSAGES[1])
            assert shown(tab, ".text") == [best]
            assert "were read in passages" in tab.text("#notes")
            tab.click(".more")
            (whole,) = shown(tab, ".text")
            assert whole.startswith("🙂 bread")
            assert whole.endswith(best)
            assert shown(tab, "mark") == [best]

    def test_comes_with_a_command_that_gives_the_same(
        self, browser: Browser, free: RunningGateway
    ) -> None:
        hostile = ["it's \u202e$(touch x) `id` \\", *PASSAGES]
        with opened(browser, free) as tab:
            rank(tab, hostile)
            assert ranked(tab, 4)
            command = tab.text("#curl")
            assert "\\u202E" in command
            best = shown(tab, ".which")
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
            rows = json.loads(done.stdout)["results"]
            assert [f"Passage {row['index'] + 1}" for row in rows] == best

    @pytest.mark.parametrize(
        ("typed", "count"), [("a\nb\n\n", 2), ("a\nb\n \n\nc\n", 2), ("  \n", 0), ("one", 1)]
    )
    def test_counts_passages_by_lines_or_by_empty_ones(
        self, browser: Browser, free: RunningGateway, typed: str, count: int
    ) -> None:
        with opened(browser, free) as tab:
            tab.fill("#passages", typed)
            assert tab.text("#count") == f"Passages: {count}"


class TestForEverybody:
    def test_speaks_the_language_of_the_browser_and_the_one_that_is_chosen(
        self, browser: Browser, free: RunningGateway
    ) -> None:
        with opened(browser, free, language="zh-CN,en") as tab:
            assert tab.run("document.documentElement.lang") == "zh-Hans"
            tab.click("#example")
            tab.click("#rank")
            assert ranked(tab, 4)
            assert re.fullmatch(
                r"已排序 4 个段落，用时 .+ 毫秒；最相关的是段落 3。", tab.text("#said")
            )
            assert shown(tab, ".which")[0] == "段落 3"
            tab.run(
                "const one = document.querySelector('#language'); one.value = 'en';"
                "one.dispatchEvent(new Event('change'))"
            )
            assert tab.run("document.documentElement.lang") == "en"
            assert shown(tab, ".which")[0] == "Passage 3"
            assert tab.text("#rank") == "Rank"
        with opened(browser, free, language="fr-FR,de") as tab:
            assert tab.text("#rank") == "Rank"

    def test_is_used_by_keyboard_alone(self, browser: Browser, free: RunningGateway) -> None:
        with opened(browser, free) as tab:
            order = []
            for _ in range(7):
                tab.press("Tab")
                order.append(tab.focused())
            assert order == [
                *("A", "language", "query", "passages", "instruction-name", "rank", "example"),
            ]
            tab.press("Enter")
            assert tab.run("document.querySelector('#query').value") == TEXTS["en"]["example_query"]
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert tab.run(outline) == "solid"
            tab.focus("#passages")
            tab.press("Enter", modifiers=2)
            assert ranked(tab, 4)
            assert tab.focused() == "passages"

    def test_names_everything_for_a_screen_reader(
        self, browser: Browser, free: RunningGateway
    ) -> None:
        with opened(browser, free) as tab:
            rank(tab, PASSAGES)
            assert ranked(tab, 3)
            nodes = [
                one for one in tab.ask("Accessibility.getFullAXTree")["nodes"] if not one["ignored"]
            ]
            names: dict[str, list[str]] = {}
            for one in nodes:
                names.setdefault(one["role"]["value"], []).append(
                    one.get("name", {}).get("value", "")
                )
            for role in ("textbox", "button", "combobox", "link", "heading", "region"):
                assert all(names.get(role, [])), (role, names.get(role))
            assert names["textbox"] == ["Query", "Passages"]
            assert len(names["status"]) >= 2
            assert len(names["listitem"]) == 3
            assert "image" not in names

    def test_says_what_is_missing_and_goes_there(
        self, browser: Browser, free: RunningGateway
    ) -> None:
        with opened(browser, free) as tab:
            tab.fill("#query", QUERY)
            tab.click("#rank")
            assert tab.focused() == "passages"
            assert tab.text("#passages-wrong") == "Paste at least one passage."
            assert tab.run("document.querySelector('#passages').ariaInvalid") == "true"
            assert tab.run("document.querySelector('#query').ariaInvalid") == "false"

    @pytest.mark.parametrize("width", [320, 390, 768, 1280])
    def test_fits_every_screen(self, browser: Browser, free: RunningGateway, width: int) -> None:
        with opened(browser, free, width=width) as tab:
            rank(tab, [*PASSAGES, "x" * 399])
            assert ranked(tab, 4)
            assert tab.run("document.documentElement.scrollWidth") <= width
            form, result = tab.run(
                "['form', 'section'].map((one) => "
                "document.querySelector(one).getBoundingClientRect().left)"
            )
            assert (form == result) == (width < 800)

    @pytest.mark.parametrize("dark", [False, True])
    def test_is_readable_by_day_and_by_night(
        self, browser: Browser, free: RunningGateway, dark: bool
    ) -> None:
        with opened(browser, free, dark=dark) as tab:
            rank(tab, ["long " * 900, "b"])
            assert ranked(tab, 2)
            for what in ("body", ".hint", ".which", ".score", ".tag", "#rank", ".more", "#state"):
                colours = tab.run(_COLOURS.replace("WHAT", what))
                assert contrast(*colours) >= 4.5, (what, colours)
            assert (tab.run(_COLOURS.replace("WHAT", "body"))[1][0] < 128) == dark


_COLOURS = """
(() => {
  const of = (one, name) => getComputedStyle(one)[name].match(/[\\d.]+/g).map(Number);
  let ground = document.querySelector("WHAT");
  const ink = of(ground, "color");
  while (of(ground, "backgroundColor")[3] === 0) ground = ground.parentElement;
  return [ink, of(ground, "backgroundColor")];
})()
"""
"""Of a text and of what is behind it."""


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2, from 1 to 21."""

    def luminance(colour: list[float]) -> float:
        parts = [value / 255 for value in colour[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


class TestTheKey:
    def test_is_asked_for_where_it_is_wanted_and_kept_nowhere(
        self, browser: Browser, gateway: RunningGateway
    ) -> None:
        with opened(browser, gateway) as tab:
            assert tab.until("!document.querySelector('#key-field').hidden")
            assert tab.run("document.querySelector('#about-server').hidden")
            rank(tab, PASSAGES)
            assert tab.until("document.querySelector('#error').innerText")
            assert tab.text("#error") == TEXTS["en"]["key_wrong"]
            assert tab.focused() == "key"
            tab.fill("#key", KEY)
            tab.press("Tab")
            assert tab.until("!document.querySelector('#about-server').hidden")
            tab.click("#rank")
            assert ranked(tab, 3)
            assert tab.text("#error") == ""
            assert "Bearer $KEY" in tab.text("#curl")
            assert KEY not in tab.run("document.documentElement.outerHTML")
            kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
            assert tab.run(kept) == [0, 0, "", f"{gateway.url}/"]
            tab.go(f"{gateway.url}/")
            assert tab.run("document.querySelector('#key').value") == ""

    def test_is_not_asked_for_where_it_is_not(self, browser: Browser, free: RunningGateway) -> None:
        with opened(browser, free) as tab:
            assert tab.until("!document.querySelector('#about-server').hidden")
            assert tab.run("document.querySelector('#key-field').hidden")


class TestWhatGoesWrong:
    def test_is_told_in_the_servers_words(self, browser: Browser, free: RunningGateway) -> None:
        with opened(browser, free) as tab:
            rank(tab, PASSAGES, "capital " * 600)
            assert tab.until("document.querySelector('#error').innerText")
            said = tab.text("#error")
            assert said.startswith("Not ranked (400): max_length is 512")
            assert tab.text("#said") == ""
            rank(tab, PASSAGES)
            assert ranked(tab, 3)
            assert tab.text("#error") == ""

    def test_can_be_stopped(self, browser: Browser) -> None:
        engine = HeldEngine()
        with RunningGateway(Reranker(engine), key="") as gateway:
            with opened(browser, gateway) as tab:
                rank(tab, PASSAGES)
                assert tab.until("document.querySelector('#rank').innerText === 'Stop'")
                assert tab.text("#said") == "Ranking 3 passages …"
                tab.click("#rank")
                assert tab.until("document.querySelector('#said').innerText === 'Stopped.'")
                assert tab.text("#rank") == "Rank"
            engine.let.set()

    def test_is_waited_for(self, browser: Browser) -> None:
        let = threading.Event()

        class Slow(FakeEngine):
            async def start(self) -> None:
                import asyncio

                while not let.is_set():  # noqa: ASYNC110 - another thread lets it
                    await asyncio.sleep(0.01)

        gateway = RunningGateway(Reranker(Slow()), key="").listen()
        with opened(browser, gateway, "starting") as tab:
            assert tab.text("#state") == "The model is being loaded …"
            rank(tab, PASSAGES)
            assert tab.until("document.querySelector('#error').innerText")
            assert tab.text("#error").endswith("Try again in 5 s.")
            let.set()
            assert tab.until("document.querySelector('#state').className === 'ready'")
            assert "not asked for" in tab.text("#about")
            gateway.__exit__()
            tab.click("#rank")
            assert tab.until("/cannot be reached/.test(document.querySelector('#error').innerText)")
            assert tab.until("document.querySelector('#state').className === 'gone'")
            assert tab.text("#state") == "The server cannot be reached."
