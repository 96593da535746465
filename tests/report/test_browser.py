"""The page in a real browser, from a file: it draws, stays offline, follows the theme, and fits a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = os.environ.get("UNMASK_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; UNMASK_CHROMIUM names one")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page that remembers everything it did wrong."""

    def __init__(
        self, browser: playwright.Browser, path: Path, width: int = 1280, scheme: str = "light"
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page = context.new_page()
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console", lambda m: self.trouble.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-figures=drawn]", timeout=120_000)


@pytest.fixture(scope="module")
def wide(browser: playwright.Browser, page_file: Path) -> Watched:
    return Watched(browser, page_file)


@pytest.fixture(scope="module")
def phone(browser: playwright.Browser, page_file: Path) -> Watched:
    return Watched(browser, page_file, width=390, scheme="dark")


@pytest.mark.parametrize("which", ["wide", "phone"])
def test_draws_everything_in_silence_and_offline(
    which: str, page_file: Path, request: pytest.FixtureRequest
) -> None:
    watched: Watched = request.getfixturevalue(which)
    assert watched.trouble == []
    assert [url for url in watched.requests if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
    state = watched.page.evaluate(
        """() => [...document.querySelectorAll('.chart')].map(box => {
            const svg = box.querySelector('svg');
            const drawn = svg ? svg.getBoundingClientRect() : { width: 0, height: 0 };
            const marks = box.querySelectorAll('[class*=role-mark] :is(path, line, text)');
            return [box.id, drawn.width, marks.length, drawn.height - box.getBoundingClientRect().height]; })"""
    )
    assert len(state) >= 30
    for id_, width, marks, grown in state:
        assert width > 150, id_
        assert marks > 1, id_
        assert abs(grown) <= 1, f"{id_} does not keep the height that was reserved for it"


def test_hostile_answers_do_nothing(wide: Watched) -> None:
    assert wide.page.evaluate("() => window.pwned") is None
    wide.page.locator("#partisan-table-surface-answers > summary").click()
    assert wide.page.locator("#partisan-table-surface-answers td").count() == 240 * 7
    assert wide.page.evaluate("() => window.pwned") is None
    assert wide.page.locator("img").count() == 0


def test_no_sideways_scrolling_on_a_phone(phone: Watched) -> None:
    assert phone.page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
    for summary in phone.page.locator("summary").all():
        summary.evaluate("element => { element.parentElement.open = true; }")
    phone.page.wait_for_timeout(200)
    assert phone.page.evaluate("() => document.scrollingElement.scrollWidth") <= 390


def test_the_theme_button_turns_page_and_figures(wide: Watched) -> None:
    page = wide.page
    colours = """() => [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('.chart .mark-symbol path')).fill]"""
    light = page.evaluate(colours)
    button = page.get_by_role("button", name="Switch to the dark theme")
    button.click()
    dark = page.evaluate(colours)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.get_by_role("button", name="Switch to the light theme").click()
    assert page.evaluate(colours) == light


def test_the_keyboard_reaches_skip_link_and_controls(browser: playwright.Browser, page_file: Path) -> None:
    page = Watched(browser, page_file).page
    page.keyboard.press("Tab")
    focused = "() => document.activeElement.className || document.activeElement.id || document.activeElement.tagName"
    assert page.evaluate(focused) == "skip"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().top >= 0")
    wanted = {"theme", "topic", "base", "aligned", "SUMMARY"}
    for _ in range(200):
        page.keyboard.press("Tab")
        wanted -= set(
            page.evaluate("() => ['name', 'id', 'tagName'].map(key => document.activeElement[key])")
        )
        if not wanted:
            break
    assert not wanted
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_answers_are_filtered_by_label(wide: Watched) -> None:
    page = wide.page
    page.locator("select[name=aligned]").select_option("neutral")
    cards = page.locator(".card:visible")
    assert cards.count() > 0
    assert all(card.get_attribute("data-aligned") == "neutral" for card in cards.all())
    page.locator("select[name=topic]").select_option("taxation")
    assert all(card.get_attribute("data-topic") == "taxation" for card in page.locator(".card:visible").all())
    page.locator("select[name=topic]").select_option("")
    page.locator("select[name=aligned]").select_option("")
    before = page.locator(".card:visible").count()
    page.get_by_role("button", name="Show more").click()
    assert page.locator(".card:visible").count() > before


def test_latents_are_found_by_words_of_their_contexts_and_open_to_shaded_tokens(wide: Watched) -> None:
    page = wide.page
    rows = page.locator(".latent:visible")
    assert rows.count() == 14
    find = page.get_by_role("searchbox", name="Find")
    find.fill("TAXPAYERS")
    assert rows.count() == 7
    assert {row.get_attribute("data-pole") for row in rows.all()} == {"Republican"}
    page.locator("select[name=state]").select_option("alive")
    assert {row.get_attribute("data-state") for row in rows.all()} == {"alive"}
    rows.first.locator("summary").focus()
    page.keyboard.press("Enter")
    peak = rows.first.locator(".context .peak").first
    assert peak.is_visible()
    shade = "element => getComputedStyle(element).backgroundColor"
    weaker = rows.first.locator(".context.base mark:not(.peak)").first
    assert peak.evaluate(shade) != weaker.evaluate(shade)
    find.fill("no latent has this")
    assert rows.count() == 0
    assert page.locator("form[data-latents] output").inner_text() == "none fits"
    find.fill("")
    page.locator("select[name=state]").select_option("")
    assert rows.count() == 14


def test_latents_are_sorted_by_a_column_and_back(wide: Watched) -> None:
    page = wide.page
    order = "() => [...document.querySelectorAll('.latent')].map(row => Number(row.dataset.auroc))"
    found = page.evaluate(order)
    head = page.locator("[data-sort=auroc] button")
    head.click()
    assert page.evaluate(order) == sorted(found, reverse=True)
    head.click()
    assert page.evaluate(order) == sorted(found)


def test_a_table_can_be_downloaded_and_its_text_is_tame(wide: Watched, tmp_path: Path) -> None:
    page = wide.page
    page.evaluate("() => { document.getElementById('partisan-table-surface-answers').open = true; }")
    with page.expect_download() as caught:
        page.locator("#partisan-table-surface-answers [data-download]").click()
    assert caught.value.suggested_filename == "partisan-surface.answers.csv"
    caught.value.save_as(tmp_path / "answers.csv")
    text = (tmp_path / "answers.csv").read_bytes().decode()
    assert text.startswith("side,topic,question,sample,text,label,confidence\r\n")
    assert ",=HYPERLINK" not in text
    assert ',"=HYPERLINK' not in text
    assert "'=HYPERLINK" in text


def test_a_link_to_a_table_opens_it(wide: Watched) -> None:
    wide.page.locator("a[href='#partisan-table-surface-summary']").first.click()
    cell = wide.page.wait_for_selector("#partisan-table-surface-summary[open] td")
    assert cell is not None
    assert cell.is_visible()


def test_a_saved_figure_stands_alone(wide: Watched, tmp_path: Path) -> None:
    with wide.page.expect_download() as caught:
        wide.page.locator("[data-save=partisan-surface-intensity]").click()
    caught.value.save_as(tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    assert "rgb(" in svg


def test_print_keeps_the_figures_and_drops_the_controls(browser: playwright.Browser, page_file: Path) -> None:
    page = Watched(browser, page_file, scheme="dark").page
    page.emulate_media(media="print")
    shown = page.evaluate(
        """() => [...document.querySelectorAll('.chart svg')]
            .filter(svg => svg.getBoundingClientRect().height > 50).length"""
    )
    assert shown == page.locator(".chart").count()
    assert page.locator("#theme").is_hidden()
    ink = page.evaluate("() => getComputedStyle(document.body).color")
    assert ink == "rgb(26, 28, 31)", "paper is light whatever the screen was"


def test_without_scripts_the_verdict_and_findings_are_there(
    browser: playwright.Browser, page_file: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("h2 .label").inner_text() == "Masked"
    assert page.locator(".strip").first.bounding_box()["width"] > 200
    assert page.locator("#theme").is_hidden()
    assert page.locator(".card:visible").count() == 120
    assert page.locator(".latent:visible").count() == 14
    page.locator(".latent > summary").first.click()
    assert page.locator(".latent .context").first.is_visible()
