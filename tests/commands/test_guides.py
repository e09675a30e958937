"""The Python that the guides show runs as it stands there."""

import re
from contextlib import chdir

from alutils.labelling import estimate
from alutils.labelling.hash_chain import read
from alutils.paths import ROOT
from tests.folders.messy import plain_folder


def blocks(guide: str) -> list[str]:
    """The Python blocks of a guide."""
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_labelling_from_a_script(tmp_path, stub_encoder):
    (script,) = (block for block in blocks("labelling.md") if "with Session(" in block)
    folder = plain_folder(tmp_path / "pictures", ("cat", "dog"), 8)
    assert "/home/me/pictures/pets" in script
    with chdir(tmp_path):
        exec(script.replace("/home/me/pictures/pets", str(folder)), {})
    assert [entry.label for entry in read(tmp_path / "pets.jsonl")[1:]] == ["cat"]


def test_what_a_target_costs_in_answers_is_as_told():
    text = " ".join((ROOT / "docs/labelling.md").read_text(encoding="utf-8").split())
    fewest = next(n for n in range(1, 1000) if estimate.wilson(n, n)[0] >= 95)
    images = estimate.images_needed(95)
    right = next(n for n in range(images) if estimate.wilson(n, images)[0] >= 95)
    assert f"({images} for 95 %, {estimate.images_needed(99)} for 99 %)" in text
    assert (
        f"95 % takes {fewest} random images that are all guessed right, or {right} of {images}: "
        f"with a `share` of a fifth, that is {5 * fewest} or {5 * images} answers, once" in text
    )


def test_results_are_read_and_a_curve_is_extended():
    """Of the committed records, with fewer draws."""
    shown: dict = {}
    for script in blocks("results.md"):
        exec(script.replace("size=10_000", "size=100"), shown)
    assert set(shown["results"]["arm"]) == set(shown["study"].arms)
