import pytest

from alutils.protocol.cell import Cell
from alutils.protocol.validation import check_cell
from alutils.studies.pretrained.plan import PretrainedStudy


def test_a_round_asks_for_so_many_labels_or_for_what_is_left():
    """Of the 1,294 images of digits that may be labelled."""
    fields = dict(dataset="digits", arm="random", seed=0, first_labels=100)
    assert Cell(**fields, acquisition_size=50, rounds=4).schedule_of_labels() == [
        100, 150, 200, 250,
    ]  # fmt: skip
    ends = Cell(**fields, acquisition_size=500, rounds=5)
    assert ends.schedule_of_labels() == [100, 600, 1100, 1294, 1294]
    told = "in some round of digits: its pool of 1294 is empty by then: lower it or lower rounds"
    with pytest.raises(ValueError, match=f"acquisition_size = 500 labels nothing {told}"):
        check_cell(ends)
    small = Cell(**fields, acquisition_fraction=1.0e-4, rounds=3)
    with pytest.raises(ValueError, match="0001 labels nothing in .*: raise it or lower rounds"):
        check_cell(small)
    check_cell(ends.model_copy(update={"rounds": 4}))
    share = Cell(**fields, acquisition_fraction=0.1, rounds=3)
    assert share.schedule_of_labels() == [100, 219, 326]
    too_many = Cell(**fields | {"first_labels": 1295}, acquisition_size=10, rounds=2)
    with pytest.raises(
        ValueError, match="first_labels = 1295 is more than the pool of digits holds, 1294: low"
    ):
        check_cell(too_many)


def test_labels_a_round_end_near_the_last_ones_or_at_the_pool_s_end():
    def last_counts(**changes) -> list[int]:
        study = PretrainedStudy(
            datasets=("digits",), imbalances=(), scratch_datasets=(), seeds=(0,),
            head_counts=(100,), **changes,
        )  # fmt: skip
        (cell,) = {each.cell.without_arm for each in study.settings() if each.factor == "many"}
        return cell.schedule_of_labels()[-2:]

    sizes = {"first_labels": 100, "acquisition_size": 200}
    assert last_counts(**sizes, last_labels=590) == [300, 500]
    assert last_counts(**sizes, last_labels=610) == [500, 700]
    assert last_counts(**sizes, last_labels=5000) == [1100, 1294]
    with pytest.raises(
        ValueError, match="acquisition_size = 900 gives no label count nearer to 400 than the first"
    ):
        last_counts(first_labels=100, acquisition_size=900, last_labels=400)
