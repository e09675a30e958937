"""Labelling by keyboard in a real JupyterLab, with a killed kernel: run by hand.

``python -m tests.by_hand.label_study [FOLDER]``. Forty images of the example are labelled, three
answers taken back, two images skipped and a class added; the kernel is killed while an answer is on
its way, and labelling goes on. Then all is exported. Every answer must be in the ledger once, and
the export must equal it. Screenshots go into the folder. Needs Chromium.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Page

from alutils.labelling import hash_chain
from alutils.labelling.entries import LABEL, SKIP, UNDO, Answers
from tests.by_hand.lab import ERROR, lab, put_notebook, run_all

NAME = "11-label-your-own"
FIRST, KILLED_AT, LAST = 12, 25, 40
"""Labels after which answers are taken back and images skipped, the kernel killed, all is done."""


class Labeller:
    """Who labels: by the name of an image's folder, which is its class, by keyboard alone."""

    def __init__(self, page: Page, ledger: Path, pictures: Path):
        self.page, self.ledger, self.pictures = page, ledger, pictures
        self.pressed: list[tuple[str, str, str]] = []

    def see(self, name: str) -> None:
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def begin(self) -> None:
        """Run all cells, and put the keyboard's focus on the first image."""
        run_all(self.page)
        self.page.locator(".al-there").first.wait_for(timeout=180_000)
        self.page.locator(".al").scroll_into_view_if_needed()
        self.page.locator(".al-focused .al-tile").focus()

    def image(self) -> str:
        """The image in focus, once it can be seen; goes on to the next page where one is full."""
        while True:
            focused = self.page.locator(".al-focused.al-there").first
            self.page.locator(".al-focused.al-there, .al-next:visible").first.wait_for()
            if self.page.locator(".al-next").is_visible():
                self.page.keyboard.press("Enter")
                self.page.wait_for_function("!document.querySelector('.al-answered')")
                continue
            return focused.get_attribute("data-image")

    def lines(self) -> int:
        return len(hash_chain.read(self.ledger))

    def press(self, key: str, action: str, image: str, label: str = "") -> None:
        """One answer, waited for until the ledger has it."""
        before = self.lines()
        self.page.keyboard.press(key)
        self.pressed.append((action, image, label))
        for _ in range(500):
            if self.lines() > before:
                break
            time.sleep(0.01)
        self.page.wait_for_function("!document.querySelector('.al-waits')")

    def label(self) -> None:
        image = self.image()
        digit = image.split("/")[0]
        self.press(digit, LABEL, image, digit)


def kill_kernel() -> None:
    """Kill the kernel of the JupyterLab that this process started."""
    children = psutil.Process().children(recursive=True)
    kernels = [one for one in children if "ipykernel_launcher" in " ".join(one.cmdline())]
    assert len(kernels) == 1, kernels
    kernels[0].kill()


def study(page: Page, ledger: Path, pictures: Path) -> list[tuple[str, str, str]]:
    """Label; returns the answers that were given, those lost with the kernel left out."""
    me = Labeller(page, ledger, pictures)
    me.begin()
    me.see("1 opened")
    for _ in range(FIRST):
        me.label()
    me.see("2 twelve labels")
    for _ in range(3):
        me.press("Backspace", UNDO, Answers(hash_chain.read(ledger)).last)
    me.see("3 three taken back")
    for _ in range(2):
        me.press(" ", SKIP, me.image())
    me.see("4 two skipped")
    page.keyboard.press("+")
    page.keyboard.type("blot")
    me.see("5 a new class")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="blot").wait_for()
    while len(Answers(hash_chain.read(ledger)).labels) < KILLED_AT:
        me.label()
    page.keyboard.press("?")
    me.see("6 the guess")
    page.keyboard.press("Enter")
    me.see("7 enlarged")
    page.keyboard.press("Escape")
    image = me.image()
    digit = image.split("/")[0]
    page.keyboard.press(digit)
    kill_kernel()
    me.see("8 the kernel was killed")
    page.get_by_role("button", name="Ok", exact=True).click(timeout=60_000)
    kept = [(e.action, e.image, e.label) for e in hash_chain.read(ledger)][-1] == (
        LABEL,
        image,
        digit,
    )
    me.pressed += [(LABEL, image, digit)] * kept
    print(f"killed in mid-answer: the ledger {'has' if kept else 'does not have'} it")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    me.begin()
    me.see("9 goes on")
    while len(Answers(hash_chain.read(ledger)).labels) < LAST:
        me.label()
    me.see("10 forty labels")
    page.get_by_role("button", name="Export", exact=True).click()
    page.locator(".al-status", has_text="exported to").wait_for(timeout=60_000)
    me.see("11 exported")
    return me.pressed


def check(ledger: Path, pressed: list[tuple[str, str, str]]) -> None:
    """Every answer is in the ledger once, in its order, and the export equals it."""
    entries = hash_chain.read(ledger)
    said = [(e.action, e.image, e.label) for e in entries if e.action in (LABEL, SKIP, UNDO)]
    assert said == pressed, (said, pressed)
    export = next(ledger.parent.glob("export*"))
    rows = csv.DictReader((export / "labels.csv").open(encoding="utf-8"))
    exported = {row["image"]: row["label"] for row in rows if row["action"] == LABEL}
    assert exported == Answers(entries).labels
    links = {
        str(link.relative_to(folder)): folder.name
        for folder in (export / "classes").iterdir()
        for link in folder.rglob("*.png")
    }
    assert links == exported
    print(f"{len(pressed)} answers are in the ledger once each; {len(exported)} labels exported")


def main(pictures: str) -> None:
    """Label, and check what was kept."""
    Path(pictures).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ledger = folder / "labels" / "mine.jsonl"
        put_notebook(NAME, {"ledger": str(ledger)}, folder)
        with lab(folder, NAME) as page:
            pressed = study(page, ledger, Path(pictures))
            assert not page.locator(ERROR).count()
        check(ledger, pressed)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["label-study"]))
