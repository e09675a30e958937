import pandas as pd

from alutils.studies.choices import head
from tests.studies.made_up import heldout


def judged(accuracies: dict[tuple[int, float, float], tuple[float, float]]) -> pd.DataFrame:
    """Held-out accuracy on CIFAR-10 and MNIST by candidate, the same at every size."""
    candidate = ("epochs", "peak", "decay")
    return heldout(candidate, accuracies, dataset=("cifar10", "mnist"), labels=(10, 200))


def test_the_cheapest_candidate_within_tolerance_is_chosen():
    values = {(10, 1e-2, 1.0): (60.0, 80.0), (20, 1e-2, 1.0): (60.2, 80.3)}
    assert head.choose(judged(values)) == (10, 1e-2, 1.0)


def test_a_cheap_candidate_that_loses_too_much_is_not():
    values = {(10, 1e-2, 1.0): (60.0, 80.0), (20, 1e-2, 1.0): (60.4, 80.4)}
    assert head.choose(judged(values)) == (20, 1e-2, 1.0)


def test_between_equal_costs_the_more_accurate_one_is_chosen():
    values = {(10, 1e-2, 0.0): (60.0, 80.0), (10, 1e-2, 1.0): (60.2, 80.0)}
    assert head.choose(judged(values)) == (10, 1e-2, 1.0)


def test_every_candidate_is_judged_on_held_out_images_with_seeds_of_its_own():
    studies = head.studies()
    assert len(studies) == len(head.RANGES) * len(head.CANDIDATES) == 24
    cells = {cell.name: cell for study in studies for cell in study.cells()}
    assert len(cells) == 24 * 3 * 3
    assert not any(cell.test for cell in cells.values())
    assert {cell.seed for cell in cells.values()} == {100, 101, 102}
    assert {cell.heldout_every == cell.epochs for cell in cells.values()} == {True}


def test_the_document_names_the_choice_of_each_part():
    few = judged({(10, 1e-2, 1.0): (60.0, 80.0), (20, 3e-2, 0.0): (62.0, 80.0)})
    many = judged({(10, 3e-3, 0.0): (75.0, 90.0), (20, 3e-3, 1.0): (75.1, 90.1)})
    text = head.document(pd.concat([few.assign(part="few"), many.assign(part="many")]))
    assert "**Chosen: 20 epochs, peak rate 0.03, weight decay 0.**" in text
    assert "At an end of the range tried: epochs, rate, decay." in text
    assert "**Chosen: 10 epochs, peak rate 0.003, weight decay 0.** At an end of" in text
    assert "| 20 | 0.03 | 0 | 62.00 | 80.00 | 71.00 |" in text
