"""The picture of the labelling page in the README: run by hand after a change of the page.

``python -m tests.by_hand.label_picture``. 8,000 training images of CIFAR-10 are written into class
folders, of which 300 are labelled as their folders say; then a page with five answers and a guess
is drawn into ``docs/labelling.png``. Needs Chromium; the folder's features stay in the data cache.
"""

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from alutils.labelling.answers import answer_from
from alutils.labelling.widget import LabellingWidget
from alutils.learning import data
from alutils.paths import ROOT
from alutils.studies.own_labels import by_hand
from alutils.studies.own_labels.plan import OwnLabelsStudy
from tests.browser import CHROMIUM, OPTIONS
from tests.labelling.page import show

IMAGES, LABELS, ANSWERED, SHOWN = 8_000, 300, 5, 12
TARGET = 80.0
"""Accuracy (%) for which the page says how many more labels it takes."""
WIDTH, SCALE = 920, 1.5


def write_folders(folder: Path) -> None:
    """Write the first training images of CIFAR-10 as PNG files in class folders."""
    dataset = data.load("cifar10")
    for i in range(IMAGES):
        place = folder / dataset.classes[int(dataset.train_labels[i])]
        place.mkdir(exist_ok=True)
        pixels_H_W_C = dataset.train_images[i].permute(1, 2, 0).numpy()
        Image.fromarray(pixels_H_W_C).save(place / f"{i:05d}.png")


def draw(labelling: by_hand.Labelling, file: Path) -> None:
    """Answer some images of the next page by keyboard, ask for a guess, and take the picture."""
    labels = labelling.images.labels
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        context = browser.new_context(
            viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE,
            color_scheme="light", offline=True,
        )  # fmt: skip
        page = context.new_page()
        show(page, LabellingWidget(labelling.page, labelling.images))
        page.locator(".al-tile").first.focus()
        for tile in labelling.page.state["tiles"][:ANSWERED]:
            name = labels[tile["image"]]
            key = str(1 + labelling.session.classes.index(name))
            page.keyboard.press(key if len(key) == 1 else name[0])  # truck alone begins with a t
            page.evaluate("window.last()")
        page.keyboard.press("?")
        page.evaluate("window.last()")
        page.wait_for_timeout(1000)
        page.locator("#first").screenshot(path=file)
        Image.open(file).quantize(256).save(file, optimize=True)
        browser.close()


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as place:
        folder, ledger = Path(place, "images"), Path(place, "ledger.jsonl")
        folder.mkdir()
        write_folders(folder)
        fields = {"dataset": str(folder), "ledger": str(ledger), "page": SHOWN, "target": TARGET}
        labelling = by_hand.open_ledger(OwnLabelsStudy.parse(fields))
        answer_from(labelling.images.labels, labelling.session, LABELS)
        labelling.session.wait()
        labelling.page.handle({"do": "next", "id": "a new page"})
        draw(labelling, ROOT / "docs" / "labelling.png")
        labelling.page.close()


if __name__ == "__main__":
    main()
