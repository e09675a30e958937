import pytest

from alutils.paths import ROOT
from alutils.protocol.parameters import ParameterError
from alutils.studies.pretrained.plan import FEW_ARMS, MANY_ARMS, PretrainedStudy

FIGURE_2 = (540, 840, 1240, 1490, 1990, 2990, 3990, 5490)


def test_a_cell_serves_one_setting():
    names = [setting.cell.name for setting in PretrainedStudy().settings()]
    assert len(set(names)) == len(names) == len(PretrainedStudy().cells())


def test_the_network_from_scratch_has_the_records_of_figure_2():
    kept = {file.stem for file in (ROOT / "outputs" / "desktop" / "runs").glob("*.json")}
    study = PretrainedStudy(stop_set=100, dropout=0.2, candidates=3000, learning_rate=1e-3)
    cells = [each.cell for each in study.settings() if each.factor == "scratch"]
    assert {(cell.dataset, cell.seed) for cell in cells} == {
        (dataset, seed) for dataset in ("mnist", "cifar10") for seed in (0, 1, 2)
    }
    assert {cell.label_counts for cell in cells} == {FIGURE_2}
    assert {cell.name for cell in cells} <= kept


def test_both_parts_have_the_label_counts_that_their_parameters_say():
    few, many = list(range(10, 201, 10)), list(range(200, 2001, 200))
    for setting in PretrainedStudy().settings():
        if setting.factor in ("few", "many"):
            expected = few if setting.factor == "few" else many
            assert setting.cell.schedule_of_labels() == expected


def test_few_labels_are_trained_in_a_way_of_their_own():
    study = PretrainedStudy(epochs=7, batch_size=32, learning_rate=2e-3, stop_set=100)
    recipes = {
        each.factor: (each.cell.epochs, each.cell.batch_size, each.cell.learning_rate)
        for each in study.settings()
    }
    assert recipes == {
        "scratch": (100, 64, 5e-4), "head": (7, 32, 2e-3),
        "few": (20, 10, 1e-2), "many": (7, 32, 2e-3),
    }  # fmt: skip
    stop_sets = {(each.factor, each.cell.stop_set) for each in study.settings()}
    assert stop_sets == {("scratch", 0), ("head", 0), ("few", 100), ("many", 100)}


def test_imbalanced_pools_have_seeds_and_datasets_of_their_own():
    study = PretrainedStudy(seeds=(0, 1), imbalanced_seeds=(1, 4))
    seeds: dict[tuple, set[int]] = {}
    for each in study.settings():
        seeds.setdefault((each.factor, each.level, each.cell.dataset), set()).add(each.cell.seed)
    datasets = ("cifar10", "mnist", "fashion-mnist")
    parts = [(part, 1.0, name) for part in ("few", "many") for name in datasets]
    rare = [(part, ratio, "cifar10") for part in ("few", "many") for ratio in (10.0, 100.0)]
    heads = [("head", "", name) for name in datasets]
    scratch = [("scratch", "", name) for name in ("mnist", "cifar10")]
    assert seeds == (
        dict.fromkeys([*parts, *heads], {0, 1})
        | dict.fromkeys(rare, {1, 4})
        | dict.fromkeys(scratch, {0, 1, 2})
    )
    for each in study.settings():
        assert each.cell.imbalance == (each.level or 1.0)


def test_the_arms_of_both_parts_hold_the_oracle_and_random():
    for part, arms in (("few", FEW_ARMS), ("many", MANY_ARMS)):
        assert PretrainedStudy().arms_of(part) == arms
        assert {"random", "oracle"} < set(arms)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "none"}, "encoder = 'none' is not allowed: .*'efficientnet-lite0'"),
        ({"few_arms": ["margin", "badge"]}, r"few_arms = .* must have random, the baseline"),
        ({"many_arms": ["margin", "badge"]}, r"many_arms = .* must have random"),
        ({"few_arms": ["random", "oracle"]}, "and a strategy to hold against it"),
        ({"many_arms": ["random"]}, "and a strategy to hold against it"),
        ({"few_arms": ["random", "badg"]}, "few_arms = 'badg' is unknown: did you mean"),
        ({"imbalance": 10.0}, "imbalance = 10.0 is what this study varies: set it to 1"),
        ({"imbalances": [1.0]}, "imbalances = .* is not allowed: .*greater than 1"),
        ({"datasets": ["cifar"]}, "datasets = 'cifar' is unknown: did you mean 'cifar10'"),
        ({"imbalanced_datasets": ["mnst"]}, "imbalanced_datasets = 'mnst' is unknown"),
        ({"scratch_datasets": ["mnst"]}, "scratch_datasets = 'mnst' is unknown"),
        ({"datasets": ["mnist", "mnist"]}, "datasets = .* holds duplicates"),
        ({"few_arms": ["random", "margin", "margin"]}, "few_arms = .* holds duplicates"),
        ({"many_arms": ["random", "margin", "margin"]}, "many_arms = .* holds duplicates"),
        ({"imbalances": [10.0, 10.0]}, "imbalances = .* holds duplicates"),
        ({"imbalanced_seeds": [1, 1]}, "imbalanced_seeds = .* holds duplicates"),
        ({"scratch_seeds": [1, 1]}, "scratch_seeds = .* holds duplicates"),
        ({"head_counts": [500, 100]}, r"head_counts = \[500, 100\] must increase"),
        ({"scratch_counts": [540, 540]}, r"scratch_counts = \[540, 540\] must increase"),
        ({"stop_set": 2000}, "stop_set = 2000 is not possible with the 1240 held-out images"),
        ({"few_batch_size": 20}, "few_batch_size = 20 is larger than few_first = 10"),
        ({"few_last": 15}, "few_last = 15 is not few_size = 10 or more above few_first = 10"),
        ({"few_last": 2_000_000}, "few_last = 2000000 is not allowed"),
        ({"acquisition_size": 4000}, "acquisition_size = 4000 gives no label count nearer to"),
        ({"last_labels": 200}, "last_labels = 200 is not above first_labels = 200"),
        ({"scratch_batch_size": 600}, "scratch_batch_size = 600 is larger than the first of"),
        ({"scratch_heldout_every": 101}, "= 101 is more than scratch_epochs = 100"),
        (
            {"reported": "heldout-last", "heldout_every": 5, "scratch_heldout_every": 0},
            "reported = 'heldout-last' needs scratch_heldout_every above 0",
        ),
        ({"reported": "heldout-best", "heldout_every": 5}, "use test or heldout-last"),
        ({"precision": "bf16"}, "precision = 'bf16' has no effect with encoder"),
    ],
)  # fmt: skip
def test_what_can_not_be_compared_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        PretrainedStudy.parse(values)
