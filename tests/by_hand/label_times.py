"""How long labelling lets a person wait: run by hand, with nothing else running.

``python -m tests.by_hand.label_times FOLDER``, a sorted one, whose labels answer: from opening
the notebook's ledger to the first images, features cached or not; of an answer until it is saved,
with a training beside it and without; from the last answer of a batch until what is asked for is
chosen by it.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from alutils.labelling.widget import LabellingWidget
from alutils.studies.own_labels import by_hand
from alutils.studies.own_labels.plan import OwnLabelsStudy

ANSWERS = 100


def opening(folder: str, ledger: Path) -> tuple[float, by_hand.Labelling]:
    """Seconds from the parameters to a page whose pictures are there, and the ledger."""
    began = time.perf_counter()
    study = OwnLabelsStudy.parse({"dataset": folder, "ledger": str(ledger)})
    labelling = by_hand.open_ledger(study)
    widget = LabellingWidget(labelling.page, labelling.images)
    for tile in widget.state["tiles"]:
        labelling.images.preview(tile["image"], 320)
    return time.perf_counter() - began, labelling


def answering(labelling: by_hand.Labelling) -> dict[str, list[float]]:
    """Seconds of every answer, by whether a training ran, and of every training."""
    session, page = labelling.session, labelling.page
    took: dict[str, list[float]] = {"alone": [], "beside a training": [], "a batch": []}
    for number in range(ANSWERS):
        if page.state["complete"]:
            page.handle({"do": "next", "id": f"next {number}"})
        tile = next(tile for tile in page.state["tiles"] if not tile["answer"])
        label = labelling.images.labels[tile["image"]]
        kind = "beside a training" if session.is_training else "alone"
        began = time.perf_counter()
        page.handle({"do": "label", "image": tile["image"], "label": label, "id": str(number)})
        page.state  # noqa: B018  what the answer waits for, too
        took[kind].append(time.perf_counter() - began)
        if number % 20 == 9:
            began = time.perf_counter()
            while session.is_training:
                time.sleep(0.005)
            took["a batch"].append(time.perf_counter() - began)
    return took


def main(folder: str) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("as the cache is", "cached"):
            seconds, labelling = opening(folder, Path(place) / f"{name}.jsonl")
            print(f"from opening to the first images, {name}: {seconds:.1f} s")
        for kind, seconds in answering(labelling).items():
            if seconds:
                middle, most = np.median(seconds), max(seconds)
                print(f"{kind}: median {1000 * middle:.0f} ms, at most {1000 * most:.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
