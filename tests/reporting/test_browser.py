"""The rendered reports of ``smoke`` in headless Chromium, with the network blocked."""

import json

import pytest
from playwright.sync_api import Page

from alutils.studies import profiles
from tests.browser import barriers

PAGES = ["index", *profiles.notebooks("smoke")]
CURVES = ["02-cifar10-active-learning", "03-mnist-active-learning", "05-your-own-strategy"]


@pytest.fixture
def open_page(browser, smoke):
    """Factory of opened pages; at the end none of them may have complained or asked for more."""
    complaints: list[str] = []
    contexts = []

    def opened(name: str, width: int = 1440) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, offline=True))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto((smoke / "smoke" / f"{name}.html").as_uri())
        page.wait_for_function("document.readyState === 'complete'")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_fits_a_phone(open_page, name):
    page = open_page(name, 390)
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.locator("img").all()
    texts = [picture.get_attribute("alt") for picture in pictures]
    assert pictures and len(set(texts)) == len(texts) and all(len(text) > 20 for text in texts)
    loaded = "image => image.complete && image.naturalWidth > 0"
    assert all(picture.evaluate(loaded) for picture in pictures)


@pytest.mark.parametrize("name", PAGES[1:])
def test_the_contents_lead_to_their_sections_and_code_unfolds(open_page, name):
    page = open_page(name)
    links = page.locator("nav ul a").all()
    assert len(links) >= 4
    for link in links:
        target = link.get_attribute("href").removeprefix("#")
        assert page.locator(f"[id='{target}']").inner_text().strip("¶ ") == link.inner_text()
    links[-1].click()
    assert page.evaluate("scrollY") > 500
    folds = page.locator("details.code > div")
    assert not any(fold.is_visible() for fold in folds.all())
    page.get_by_role("button", name="Show all code").click()
    assert all(fold.is_visible() for fold in folds.all()) and folds.count() > 5
    page.get_by_role("button", name="Hide all code").click()
    assert not any(fold.is_visible() for fold in folds.all())


@pytest.mark.parametrize("name", CURVES)
def test_a_pointer_on_a_mark_gets_its_numbers(open_page, smoke, name):
    page = open_page(name)
    marks = page.locator(".chart path[aria-label*='95 % interval']")
    marks.first.wait_for()
    study = profiles.load_study("smoke", name)
    assert marks.count() == study.rounds * (len(study.arms) + (name[0:2] == "05"))
    marks.nth(4).hover(force=True)
    words = page.locator("#vg-tooltip-element.visible").inner_text().split()
    assert {"arm", "labels", "accuracy", "interval"} <= set(words)
    label = marks.nth(4).get_attribute("aria-label")
    assert f"labels: {words[words.index('labels') + 1]}" in label


def test_a_chart_that_can_not_be_drawn_leaves_the_static_figure(browser, smoke, tmp_path):
    page, complaints = browser.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    whole = (smoke / "smoke" / f"{CURVES[1]}.html").read_text()
    assert whole.count("data-spec='{") == 1
    file = tmp_path / "broken.html"
    file.write_text(whole.replace("data-spec='{", "data-spec='NaN, {"))
    page.goto(file.as_uri())
    page.locator(".static img").wait_for()
    assert page.locator(".chart svg").count() == 0 and not complaints
    page.close()


def test_the_gallery_is_stepped_through_without_a_script(open_page):
    page = open_page(CURVES[1])
    shown = page.locator(".steps .step")
    assert shown.count() == 2 and [step.is_visible() for step in shown.all()] == [True, False]
    page.locator(".steps label").nth(1).click()
    assert [step.is_visible() for step in shown.all()] == [False, True]
    page.locator(".steps input").nth(1).press("ArrowLeft")
    assert [step.is_visible() for step in shown.all()] == [True, False]


def test_in_print_there_are_the_static_figure_and_every_step(open_page):
    page = open_page(CURVES[1])
    page.locator(".chart svg").wait_for()
    assert not page.locator(".static img").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".static img").is_visible() and not page.locator(".chart").is_visible()
    assert all(step.is_visible() for step in page.locator(".steps .step").all())


@pytest.mark.parametrize("name", PAGES)
def test_no_serious_barrier_to_access(open_page, axe, name):
    """Of the dark scheme the contrasts alone: only colours depend on the scheme."""
    page = open_page(name, 390)
    page.evaluate(
        "document.querySelectorAll('details').forEach(details => { details.open = true; })"
    )
    bad = barriers(page, axe)
    assert not bad, json.dumps(bad, indent=1)
