"""The labelling widget in headless Chromium, by keyboard, with the network blocked."""

import json
import os
import re

import pytest
from PIL import Image
from playwright.sync_api import Page

from alutils.folders.scan import scan
from alutils.labelling.entries import ADD_CLASS, LABEL, NONE, REMOVE_CLASS, SKIP, UNDO
from alutils.labelling.images import FolderImages
from alutils.labelling.page import LabellingPage
from alutils.labelling.session import Session
from alutils.labelling.settings import Settings
from alutils.labelling.widget import LabellingWidget
from tests.browser import barriers
from tests.folders.messy import plain_folder
from tests.labelling.blobs import quiet
from tests.labelling.page import show

READY = "document.querySelector('.al-focused.al-there, .al-next:not([hidden])')"
TYPE = """([key, time]) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  Object.defineProperty(event, "timeStamp", { value: time });
  document.activeElement.dispatchEvent(event);
}"""
CLICK = """(button, [detail, time]) => {
  const event = new MouseEvent("click", { detail, bubbles: true });
  Object.defineProperty(event, "timeStamp", { value: time });
  button.dispatchEvent(event);
}"""
COUNT_PICTURES = """() => {
  const made = URL.createObjectURL;
  window.pictures = 0;
  URL.createObjectURL = (blob) => (window.pictures++, made.call(URL, blob));
}"""


def contrast(*colours: str) -> float:
    """The ratio of two colours, as CSS computes them, that WCAG sets a least one for."""
    shares = [[int(part) / 255 for part in re.findall(r"\d+", colour)[:3]] for colour in colours]
    linear = [[x / 12.92 if x <= 0.04 else ((x + 0.055) / 1.055) ** 2.4 for x in s] for s in shares]
    light = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (light[1] + 0.05) / (light[0] + 0.05)


class Screen:
    """A widget on a page, and the ledger behind it."""

    def __init__(self, page: Page, labelling_page: LabellingPage):
        self.page, self.labelling_page, self.time = page, labelling_page, 0

    def press(self, *keys: str) -> None:
        """Press keys, each once there is an image to see or a page to turn; wait for the reply."""
        for key in keys:
            self.page.wait_for_function(READY)
            self.page.keyboard.press(key)
            self.settle()

    def type(self, text: str, gap: int = 200) -> None:
        """Type characters, each once there is an image to see, as far apart as is told (ms).

        A second passes before the first one.
        """
        self.time += 2000 - gap
        for key in text:
            self.time += gap
            self.page.wait_for_function(READY)
            self.page.evaluate(TYPE, [key, self.time])
            self.settle()

    def click_twice(self, name: str, gap: int) -> None:
        """Click a button, and again after so many milliseconds, as its events say."""
        self.time += 2000
        for count in (1, 2):
            self.page.wait_for_function(READY)
            button = self.page.locator(".al-bar button", has_text=name)
            button.evaluate(CLICK, [count, self.time + gap * count])
            self.settle()

    def later(self) -> None:
        """Have the page believe that a minute went by."""
        self.page.evaluate("{ const now = Date.now; Date.now = () => now() + 60000; }")

    def settle(self) -> None:
        self.page.evaluate("window.last()")

    def lines(self) -> list[tuple[str, str]]:
        entries = self.labelling_page.session.ledger.entries[1:]
        return [(entry.action, entry.label) for entry in entries]

    def tiles(self) -> list[str]:
        return self.page.locator(".al-label").all_text_contents()

    def status(self) -> str:
        return self.page.locator(".al-status").inner_text()

    @property
    def problem(self):
        return self.page.locator(".al-problem")

    def tile_style(self, name: str) -> str:
        """A property of the style of the tile that keys are about."""
        tile = self.page.locator(".al-focused .al-tile")
        return tile.evaluate(f"(tile) => getComputedStyle(tile).{name}")

    def box(self, selector: str) -> dict[str, float]:
        return self.page.locator(selector).first.bounding_box()

    def focused(self) -> int:
        """Number of the tile that has the keyboard's focus; -1 without one."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.al-tile')].indexOf(document.activeElement)"
        )


@pytest.fixture
def a_screen(browser, tmp_path, stub_encoder):
    """Factory of widgets on folders of small images; no page may complain or ask for more."""
    complaints: list[str] = []
    opened = []

    def made(classes=("cat", "car", "dog"), page: int = 4, width: int = 1000, each: int = 8):
        folder = plain_folder(tmp_path / "pictures", ("cat", "dog"), each)
        images = FolderImages(scan(folder), "efficientnet-lite0")
        session = Session(tmp_path / "ledger.jsonl", images.pool, classes, Settings(batch=5), quiet)
        labelling_page = LabellingPage(session, page=page, export=lambda: "exported to here")
        viewport = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, offline=True, color_scheme="light")
        opened.append((context, labelling_page))
        context.on("console", lambda message: complaints.append(message.text))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        show(context.new_page(), LabellingWidget(labelling_page, images))
        screen = Screen(context.pages[0], labelling_page)
        screen.page.locator(".al-tile").first.focus()
        return screen

    yield made
    for context, labelling_page in opened:
        context.close()
        labelling_page.close()
    assert not complaints


def test_keys_answer_the_image_in_focus_which_moves_on(a_screen):
    screen = a_screen()
    screen.press("1", "d", " ")
    assert screen.tiles() == ["cat", "dog", "skipped", ""] and screen.focused() == 3
    screen.press("-")
    assert screen.lines() == [(LABEL, "cat"), (LABEL, "dog"), (SKIP, ""), (NONE, "")]
    assert screen.page.evaluate("document.activeElement.textContent") == "Next images"
    assert "Enter for the next images" in screen.status()
    screen.press("1", "d")  # of no image: the last answer is not changed by who types too fast
    assert len(screen.lines()) == 4 and screen.page.locator(".al-focused").count() == 0
    screen.press("ArrowLeft", "1")
    assert screen.tiles() == ["cat", "dog", "skipped", "cat"]
    screen.press("Enter")
    assert screen.tiles() == [""] * 4 and screen.focused() == 0
    counts = screen.page.locator(".al-counts").inner_text()
    assert counts.startswith("3 labels of 12 images · 1 skipped · 0 of no class")


def test_a_name_is_typed_as_far_as_it_is_no_other_s(a_screen):
    screen = a_screen()
    screen.press("c", "a")
    assert screen.lines() == [] and screen.status() == "ca …: cat, car"
    assert screen.page.locator(".al-fits").count() == 2
    screen.press("r")
    assert screen.lines() == [(LABEL, "car")]
    screen.press("c", "Backspace", "x")
    assert screen.status() == "no class begins with “x”: pause, then type again"
    assert len(screen.lines()) == 1
    assert [u.inner_text() for u in screen.page.locator(".al-class u").all()] == ["cat", "car", "d"]


def test_a_name_that_is_typed_whole_answers_one_image(a_screen):
    names = ("ship", "horse", "impala", "panda", "t-shirt", "sea lion")
    screen = a_screen(classes=names, page=8)
    screen.type("ship")  # h, i and p begin other names
    assert screen.lines() == [(LABEL, "ship")] and screen.focused() == 1
    screen.type("T-Shirt")
    screen.type("sea lion", gap=900)
    assert [label for _, label in screen.lines()] == ["ship", "t-shirt", "sea lion"]
    screen.type("shh")  # the last letter is not of the name that was taken
    screen.type("shi", gap=1100)
    assert [label for _, label in screen.lines()][3:] == ["ship", "horse", "ship", "impala"]
    assert screen.page.locator("dialog[open]").count() == 0


def test_enter_after_a_whole_name_is_part_of_it(a_screen):
    screen = a_screen(classes=("ship", "horse"))
    screen.type([*"ship", "Enter"])
    assert screen.lines() == [(LABEL, "ship")]
    assert screen.page.locator("dialog[open]").count() == 0
    screen.type(["s", "Enter"])
    assert screen.page.locator("dialog[open]").count() == 1


def test_after_a_wrong_letter_the_rest_of_the_name_answers_nothing(a_screen):
    screen = a_screen(classes=("cat", "cow", "dog"))
    screen.type([*"cxd- d", "Backspace"])
    assert screen.status() == "no class begins with “cx”: pause, then type again"
    assert screen.lines() == []
    screen.type("d", gap=1100)
    screen.type(["x", "Escape", "d"])
    assert screen.lines() == [(LABEL, "dog")] * 2


def test_a_name_that_begins_another_one_is_taken_by_enter(a_screen):
    screen = a_screen(classes=("cat", "catfish"))
    screen.press("c", "a", "t", "Enter")
    assert screen.lines() == [(LABEL, "cat")]


def test_digits_type_names_where_a_name_begins_with_one(a_screen):
    screen = a_screen(classes=("0", "1", "2"))
    screen.press("2", "0", "9")
    assert screen.lines() == [(LABEL, "2"), (LABEL, "0")]
    assert screen.page.locator(".al-class kbd").count() == 0


def test_a_digit_within_a_name_is_typed_and_one_before_it_is_a_number(a_screen):
    screen = a_screen(classes=("normal", "stage1", "stage2", "type 1", "type 2"), page=5)
    screen.press(*"stage1", *"stage2", *"type 1", "2", *"type 2")
    assert [label for _, label in screen.lines()] == [
        "stage1", "stage2", "type 1", "stage1", "type 2",
    ]  # fmt: skip


def test_undo_by_either_key_goes_back_to_the_image(a_screen):
    screen = a_screen()
    screen.press("1", "1", "Backspace")
    assert screen.focused() == 1 and screen.tiles() == ["cat", "", "", ""]
    screen.page.keyboard.press("Control+z")
    screen.settle()
    assert screen.focused() == 0 and screen.tiles() == [""] * 4
    assert screen.lines() == [(LABEL, "cat"), (LABEL, "cat"), (UNDO, ""), (UNDO, "")]


def test_a_class_is_added_by_keyboard(a_screen):
    screen = a_screen()
    screen.press("+")
    screen.page.keyboard.type("zebra 2")
    screen.page.keyboard.press("Enter")
    screen.settle()
    assert screen.lines() == [(ADD_CLASS, "zebra 2")] and screen.focused() == 0
    screen.press("z")
    assert screen.lines()[-1] == (LABEL, "zebra 2")


def test_a_mistyped_class_is_taken_back_by_undo(a_screen):
    screen = a_screen()
    screen.press("1", "+")
    screen.page.keyboard.type("zbera")
    screen.page.keyboard.press("Enter")
    screen.settle()
    screen.press("Backspace")
    assert screen.lines() == [(LABEL, "cat"), (ADD_CLASS, "zbera"), (REMOVE_CLASS, "zbera")]
    assert screen.status() == "class zbera taken back" and screen.focused() == 1
    assert screen.page.get_by_role("button", name="zbera").count() == 0
    screen.press("Backspace")
    assert screen.lines()[-1] == (UNDO, "") and screen.focused() == 0


@pytest.mark.parametrize("sign", [{"isComposing": True}, {"keyCode": 229}])
def test_enter_that_confirms_what_an_input_method_wrote_adds_no_class(a_screen, sign):
    screen = a_screen()
    screen.press("+")
    screen.page.keyboard.type("ねこ")
    event = {"key": "Enter", "bubbles": True, "cancelable": True} | sign
    screen.page.locator(".al-new input").dispatch_event("keydown", event)
    screen.settle()
    assert screen.lines() == [] and screen.page.locator(".al-new input").input_value() == "ねこ"
    screen.page.keyboard.press("Enter")
    screen.settle()
    assert screen.lines() == [(ADD_CLASS, "ねこ")]


def test_without_classes_the_first_is_named_by_hand(a_screen):
    screen = a_screen(classes=())
    assert screen.page.locator(".al-classes").inner_text() == "No class yet: press + and name one."
    screen.press("a", "+")
    screen.page.keyboard.type("ant")
    screen.page.keyboard.press("Enter")
    screen.settle()
    screen.press("a")
    assert screen.lines() == [(ADD_CLASS, "ant"), (LABEL, "ant")]


def test_arrows_go_to_other_images_and_an_answer_is_changed_there(a_screen):
    screen = a_screen()
    screen.press("1", "1", "ArrowLeft", "ArrowLeft")
    assert screen.focused() == 0
    screen.press("3")
    assert screen.tiles() == ["dog", "cat", "", ""] and screen.focused() == 2
    screen.press("End")
    assert screen.focused() == 3


def test_the_mouse_answers_and_the_keyboard_goes_on(a_screen):
    screen = a_screen()
    screen.page.locator(".al-tile").nth(2).click()
    screen.page.get_by_role("button", name="dog").click()
    screen.settle()
    assert screen.tiles() == ["", "", "dog", ""] and screen.focused() == 3
    export = screen.page.get_by_role("button", name="Export")
    assert export.get_attribute("aria-keyshortcuts") is None
    assert export.locator("kbd").count() == 0
    export.click()
    screen.settle()
    assert screen.status() == "exported to here"


def test_a_double_click_answers_one_image_or_takes_one_answer_back(a_screen):
    screen = a_screen()
    for number, name in enumerate(("dog", "Skip", "None of these")):
        screen.click_twice(name, 150)
        assert len(screen.lines()) == number + 1
    screen.click_twice("Undo", 150)
    assert len(screen.lines()) == 4
    screen.click_twice("dog", 400)
    assert [what for what, _ in screen.lines()] == [LABEL, SKIP, NONE, UNDO, LABEL, LABEL]


def test_where_keys_are_not_heard_no_image_is_framed_and_a_click_begins(a_screen):
    screen = a_screen()
    hint = screen.page.get_by_text("Click an image to begin")
    framed = screen.tile_style("outlineStyle")
    assert not hint.is_visible()
    screen.page.evaluate("document.activeElement.blur()")
    assert hint.is_visible() and screen.tile_style("outlineStyle") != framed
    # Safari does not focus a button that is clicked
    screen.page.evaluate("document.querySelectorAll('.al-tile')[1].click()")
    assert not hint.is_visible() and screen.focused() == 1
    screen.page.locator(".al-counts").click()
    screen.press("1")
    assert screen.tiles() == ["", "cat", "", ""]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_image_in_focus_has_a_ring_that_can_be_seen_whatever_its_answer(a_screen, scheme):
    screen = a_screen()
    screen.page.emulate_media(color_scheme=scheme)
    screen.press("1", "ArrowLeft")
    assert screen.page.locator(".al-focused.al-answered").count() == 1
    screen.page.locator(".al-class").first.focus()  # keys are about the image all the same
    assert screen.tile_style("outlineStyle") == "solid"
    assert screen.tile_style("outlineWidth") == "3px"
    ground = screen.page.locator(".al").evaluate("(al) => getComputedStyle(al).backgroundColor")
    assert contrast(screen.tile_style("outlineColor"), ground) >= 3


def test_keys_are_heard_where_every_image_has_an_answer(a_screen):
    screen = a_screen(page=12)
    screen.press(*"1" * 12, "Enter")
    assert "Every image has an answer" in screen.status()
    assert not screen.page.get_by_text("Click an image to begin").is_visible()
    screen.page.keyboard.press("Backspace")
    screen.settle()
    assert screen.focused() == 0 and len(screen.labelling_page.session.answers.labels) == 11


def test_an_image_is_enlarged_and_escape_goes_back(a_screen):
    screen = a_screen()
    screen.press("Enter")
    large = screen.page.locator(".al-zoom img")
    large.wait_for()
    screen.page.wait_for_function("document.querySelector('.al-zoom img').naturalWidth == 40")
    screen.page.keyboard.press("1")  # of no image that keys are about now
    screen.page.keyboard.press("Escape")
    screen.page.wait_for_function("!document.querySelector('dialog[open]')")
    assert screen.focused() == 0 and screen.lines() == []


def test_a_large_picture_that_comes_late_is_not_shown_as_another_image_s(a_screen):
    screen = a_screen()
    large = screen.page.locator(".al-zoom img")
    screen.page.evaluate("window.gone = true")
    screen.press("Enter")
    screen.page.keyboard.press("Escape")
    screen.page.evaluate("window.gone = false")
    screen.press("ArrowRight", "Enter")
    screen.page.wait_for_function("document.querySelector('.al-zoom img').naturalWidth")
    shown = large.get_attribute("src")
    screen.page.evaluate(COUNT_PICTURES)
    screen.later()
    screen.page.wait_for_function("window.pictures === 1")
    assert large.get_attribute("src") == shown
    screen.page.keyboard.press("Escape")
    screen.page.wait_for_function("!document.querySelector('.al-zoom img').hasAttribute('src')")


def test_the_guess_is_hidden_until_it_is_asked_for(a_screen):
    screen = a_screen(page=5)
    screen.press("1", "3", "1", "3", "1")
    screen.labelling_page.session.wait()
    screen.press("Enter")
    guess = screen.page.locator(".al-guess").first
    assert guess.inner_text() == ""
    screen.press("?")
    image = screen.labelling_page.state["tiles"][0]["image"]
    assert guess.inner_text() == f"guess: {screen.labelling_page.session.guess(image)}"
    screen.press("?")
    assert guess.inner_text() == ""
    screen.press("1")
    assert screen.labelling_page.session.ledger.entries[-1].shown


def test_one_at_a_time_shows_the_next_image_at_once(a_screen):
    screen = a_screen()
    screen.press("/", "1", "3")
    assert screen.lines() == [(LABEL, "cat"), (LABEL, "dog")]
    assert screen.tiles() == [""] and screen.focused() == 0
    screen.press("/")
    assert screen.tiles() == [""] * 4


def test_what_the_kernel_did_not_answer_is_told_of_and_not_shown_as_saved(a_screen):
    screen = a_screen()
    screen.page.evaluate("window.gone = true")
    screen.page.keyboard.press("1")
    screen.page.keyboard.press("1")
    screen.later()
    screen.problem.get_by_text("2 not saved yet: the kernel is busy, or gone").wait_for()
    assert screen.tiles()[:2] == ["cat …"] * 2 and screen.lines() == []
    assert screen.page.locator(".al-answered").count() == 0


@pytest.mark.parametrize("lost", ["gone", "deaf"])
def test_an_answer_that_got_lost_or_its_reply_is_sent_again_and_saved_once(a_screen, lost):
    screen = a_screen()
    screen.page.evaluate(f"window.{lost} = true")
    screen.page.keyboard.press("1")
    screen.settle()
    screen.page.evaluate(f"window.{lost} = false")
    screen.later()
    screen.page.locator(".al-answered").wait_for()
    assert screen.tiles() == ["cat", "", "", ""] and screen.lines() == [(LABEL, "cat")]
    screen.page.wait_for_function("document.querySelector('.al-problem').textContent === ''")


def test_while_an_answer_is_being_saved_none_is_taken_back(a_screen):
    screen = a_screen()
    screen.press("3")
    screen.page.evaluate("window.gone = true")
    screen.page.keyboard.press("1")
    screen.page.keyboard.press("Backspace")
    assert screen.status() == "an answer is being saved: press again"
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.locator(".al-answered").nth(1).wait_for()
    assert screen.lines() == [(LABEL, "dog"), (LABEL, "cat")]


def test_a_picture_that_got_lost_is_asked_for_again(a_screen):
    screen = a_screen()
    screen.page.evaluate("window.gone = true")
    screen.page.keyboard.press("Enter")
    screen.page.locator("dialog[open]").wait_for()
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.wait_for_function("document.querySelector('.al-zoom img')?.naturalWidth == 40")


def test_while_an_undo_is_on_its_way_nothing_is_answered_or_taken_back(a_screen):
    screen = a_screen()
    screen.press("1", "1")
    screen.page.evaluate("window.gone = true")
    screen.page.keyboard.press("Backspace")
    for key in ("3", "Backspace"):
        screen.page.keyboard.press(key)
        assert screen.tiles() == ["cat", "cat", "", ""]
        assert screen.status() == "an answer is being taken back: press again"
        screen.page.keyboard.press("Escape")
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.wait_for_function("document.querySelectorAll('.al-answered').length === 1")
    assert screen.lines() == [(LABEL, "cat"), (LABEL, "cat"), (UNDO, "")]


def test_while_a_class_is_on_its_way_none_is_chosen_by_keyboard(a_screen):
    screen = a_screen()
    screen.page.evaluate("window.gone = true")
    screen.press("+")
    screen.page.keyboard.type("donkey")
    screen.page.keyboard.press("Enter")
    for key in ("d", "1"):
        screen.page.keyboard.press(key)
        assert screen.tiles() == [""] * 4
        assert screen.status() == "a class is being added: pause, then press again"
        screen.page.keyboard.press("Escape")
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.get_by_role("button", name="donkey").wait_for()
    screen.type("don")
    assert screen.lines() == [(ADD_CLASS, "donkey"), (LABEL, "donkey")]


def test_a_class_and_an_undo_wait_for_each_other(a_screen):
    screen = a_screen()
    screen.press("1")
    screen.page.evaluate("window.gone = true")
    screen.press("+")
    screen.page.keyboard.type("donkey")
    screen.page.keyboard.press("Enter")
    screen.page.keyboard.press("Backspace")
    assert screen.status() == "a class is being added: pause, then press again"
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.get_by_role("button", name="donkey").wait_for()
    assert screen.lines() == [(LABEL, "cat"), (ADD_CLASS, "donkey")]
    screen.page.evaluate("window.gone = true")
    screen.page.keyboard.press("Backspace")
    screen.press("+")
    screen.page.keyboard.type("mule")
    screen.page.keyboard.press("Enter")
    assert screen.status() == "an answer is being taken back: press again"
    screen.page.evaluate("window.gone = false")
    screen.later()
    screen.page.get_by_role("button", name="donkey").wait_for(state="detached")
    screen.page.keyboard.press("Enter")
    screen.page.get_by_role("button", name="mule").wait_for()
    assert [label for _, label in screen.lines()] == ["cat", "donkey", "donkey", "mule"]


def test_one_at_a_time_an_answer_that_is_shown_again_is_passed_by_enter(a_screen):
    screen = a_screen(page=1)
    screen.press("1")
    screen.labelling_page.again(list(screen.labelling_page.session.answers.given))
    screen.press("?")
    answered = "This image is answered: press Enter for the next one, or change the answer."
    assert answered in screen.status()
    screen.press("Enter")
    assert screen.tiles() == [""] and screen.page.locator("dialog[open]").count() == 0


def test_two_views_of_a_widget_show_the_same(a_screen):
    screen = a_screen()
    screen.page.evaluate("void window.again()")
    screen.page.locator("#second .al-there").first.wait_for()
    screen.press("1")
    assert screen.tiles() == ["cat", "", "", ""] * 2


@pytest.mark.parametrize("height", [300, 700])
def test_what_is_said_lies_above_the_images_and_hides_none_in_focus(a_screen, height):
    screen = a_screen(page=24, each=16, width=400)
    screen.page.set_viewport_size({"width": 400, "height": height})
    assert screen.box(".al-problem")["y"] < screen.box(".al-tile")["y"]
    screen.press("1")
    for key in ("End", "Home", *["ArrowDown"] * 7, *["ArrowUp"] * 7):
        screen.press(key)
        tile = screen.box(".al-focused")
        for y in (tile["y"] + 6, tile["y"] + tile["height"] - 6):
            at = f"document.elementFromPoint({tile['x'] + 9}, {y})"
            assert screen.page.evaluate(f"Boolean({at}?.closest('.al-focused'))"), key


@pytest.mark.parametrize("width", [390, 1440])
def test_it_is_accessible_and_fits(a_screen, axe, width):
    screen = a_screen(width=width)
    screen.press("1", " ")
    screen.page.locator("summary").click()
    assert screen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert not (bad := barriers(screen.page, axe)), json.dumps(bad, indent=1)
    texts = [tile.get_attribute("aria-label") for tile in screen.page.locator(".al-tile").all()]
    assert texts == [
        "Image 1 of 4, cat", "Image 2 of 4, skipped", "Image 3 of 4, no answer yet",
        "Image 4 of 4, no answer yet",
    ]  # fmt: skip


def test_a_picture_is_the_file_s_own_or_where_that_changed_the_one_that_was_kept(
    tmp_path, stub_encoder
):
    folder = plain_folder(tmp_path / "pictures")
    images = FolderImages(scan(folder), "efficientnet-lite0")
    name = images.pool.names[0]

    def size(side: int) -> tuple[int, int]:
        (tmp_path / "preview.webp").write_bytes(images.preview(name, side))
        with Image.open(tmp_path / "preview.webp") as shown:
            return shown.size

    assert size(320) == (40, 40) and size(20) == (20, 20)
    os.replace(folder / images.pool.names[1], folder / name)
    assert size(320) == (112, 112)
    (folder / name).unlink()
    assert size(320) == (112, 112)


def test_a_repeated_request_is_answered_with_the_state_though_that_is_the_same(
    tmp_path, stub_encoder
):
    images = FolderImages(scan(plain_folder(tmp_path / "pictures")), "efficientnet-lite0")
    session = Session(tmp_path / "ledger.jsonl", images.pool, ["cat"], Settings(), quiet)
    labelling_page = LabellingPage(session)
    widget = LabellingWidget(labelling_page, images)
    sent = []
    widget.send_state = lambda key: sent.append((key, labelling_page.lock._is_owned()))
    for _ in range(3):
        widget._received(widget, {"do": "page", "size": 2, "id": "1"}, [])
        assert sent.pop() == ("state", True) and len(widget.state["tiles"]) == 2
    labelling_page.close()


def test_a_file_whose_name_is_not_utf8_is_shown_and_answered(tmp_path, stub_encoder):
    folder = plain_folder(tmp_path / "pictures", each=8)
    for number in range(8):
        os.replace(folder / f"cat/{number}.png", folder / f"cat/{number} caf\udce9.png")
    images = FolderImages(scan(folder), "efficientnet-lite0")
    session = Session(tmp_path / "ledger.jsonl", images.pool, ["cat"], Settings(), quiet)
    labelling_page = LabellingPage(session, page=16)
    widget = LabellingWidget(labelling_page, images)
    pictures = []
    widget.send = lambda told, buffers: pictures.append(told["picture"])
    shown = next(t["image"] for t in widget.state["tiles"] if t["image"].startswith("cat"))
    assert json.dumps(widget.state, ensure_ascii=False).encode() and shown.endswith("\\udce9.png")
    widget._received(widget, {"do": "picture", "image": shown, "side": 320}, [])
    widget._received(widget, {"do": LABEL, "image": shown, "label": "cat", "id": "1"}, [])
    assert pictures == [shown] and widget.state["problem"] == ""
    assert list(session.answers.labels) == [shown.replace("\\udce9", "\udce9")]
    labelling_page.close()
