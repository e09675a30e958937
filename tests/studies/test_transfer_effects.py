import pandas as pd
import pytest

from alutils.protocol.arms import COPIED
from alutils.records.store import Store
from alutils.reporting.arm_comparison import compare_with_random
from alutils.studies.profiles import load_study
from alutils.studies.recipes import MNIST, PROFILE_OF_RECIPE
from alutils.studies.transfer import effects, page, plan
from tests.studies.made_up import save_finished

PICKS = {("reduced", "margin"): 0.5, ("poster", "margin"): 0.9, ("poster", "kmeans"): -0.4}
"""Points over random of what an arm picks under a recipe; 0 where it is not named."""
TRAINING = {"reduced": 0.0, "poster": 0.2, "head": -0.5}
"""Points that margin gains or loses with whoever trains."""


def gain(chosen_under: str, trained_by: str, arm: str) -> float:
    training = TRAINING[trained_by] if arm == "margin" else 0.0
    return PICKS.get((chosen_under, arm), 0.0) + training


@pytest.fixture
def made(outputs) -> None:
    """Finished records of MNIST in which picks and training have known effects on every seed.

    Beside the label counts that are looked at, accuracy is far off.
    """

    def save(profile, cell, chosen_under, trained_by, arm):
        def measured(cell, labels):
            looked_at = labels in plan.LABEL_SETS[MNIST].label_counts
            base = 90 + cell.seed + labels / 10_000 if looked_at else 10
            return {"test_accuracy": (base + gain(chosen_under, trained_by, arm)) / 100}

        save_finished(Store(profile), cell, measured)

    for profile in (*PROFILE_OF_RECIPE.values(), "transfer"):
        Store(profile).prepare()
    for recipe, profile in PROFILE_OF_RECIPE.items():
        for cell in load_study(profile, MNIST).cells():
            save(profile, cell, recipe, recipe, cell.arm)
    for notebook, chosen_under, trained_by in plan.transfers():
        if notebook == MNIST:
            for source, cell in plan.transfer_study(notebook, chosen_under, trained_by).copies():
                save("transfer", cell, chosen_under, trained_by, source.arm)


def test_picks_and_training_come_apart_as_they_were_put_together(made):
    gains = effects.gains(MNIST)
    assert set(gains) == {(s, t) for s in PROFILE_OF_RECIPE for t in TRAINING}
    for (chosen_under, trained_by), by_seed in gains.items():
        assert by_seed.index.tolist() == [0, 1, 2]
        expected = {arm: gain(chosen_under, trained_by, arm) for arm in plan.LABEL_SETS[MNIST].arms}
        assert by_seed.mean().to_dict() == pytest.approx(expected)
    picks, training = effects.picks_and_training(gains)
    by_arm = {"random": 0, "margin": 0.4, "kmeans": -0.4}
    assert picks.mean.mean().to_dict() == pytest.approx(by_arm)
    by_arm = {"random": 0, "margin": 0.2, "kmeans": 0}
    assert training.mean.mean().to_dict() == pytest.approx(by_arm)
    whole = gains["poster", "poster"] - gains["reduced", "reduced"]
    pd.testing.assert_frame_equal(picks.mean + training.mean, whole)
    assert set(compare_with_random(picks.mean, "mnist")) == {"margin", "kmeans"}


def test_a_seed_that_lacks_an_arm_is_in_no_effect(made):
    source, cell = plan.transfer_study(MNIST, "reduced", "poster").copies()[-1]
    assert (source.arm, cell.arm, cell.seed) == ("kmeans", COPIED, 2)
    Store("transfer").path(cell).unlink()
    gains = effects.gains(MNIST)
    assert gains["reduced", "poster"].index.tolist() == [0, 1]
    assert gains["reduced", "head"].index.tolist() == [0, 1, 2]
    assert [effect.mean.index.tolist() for effect in effects.picks_and_training(gains)] == [
        [0, 1], [0, 1],
    ]  # fmt: skip


def test_without_records_there_are_no_gains(outputs):
    gains = effects.gains(MNIST)
    assert all(by_seed.empty for by_seed in gains.values())
    assert all(effect.mean.empty for effect in effects.picks_and_training(gains))


def test_parts_are_told_as_the_plan_concludes_from_them(made):
    (title, margin, kmeans, _, normal) = page.parts().data.splitlines()
    assert title == "- **MNIST**, 3 paired seeds:"
    assert margin.startswith(
        "  - margin: gain over random under the poster's recipe minus that under the reduced one: "
        "+0.60 points (+0.60 to +0.60, 3 seeds), not corrected. Of this, +0.40 (+0.40 to +0.40, 3 "
        "seeds) is due to its picks (the recipe changed what is picked for the better; trained "
        "with the poster's recipe +0.40 "
    )
    assert "to the training (the recipe makes more of what is picked, by too little to" in margin
    assert "the recipe changed what is picked for the worse" in kmeans
    assert "(which recipe trained makes no difference; on the poster's picks +0.00" in kmeans
    assert normal.startswith("With 3 seeds a sign-flip test, which does not assume normality,")


def test_picks_travel_where_both_recipes_gain_by_them(made):
    lines, normal = page.travel().data.split("\n\n")
    poster, reduced = sorted(lines.splitlines())
    assert normal.startswith("With 3 seeds a sign-flip test")
    assert (
        "chosen under the poster's recipe, trained with the head on pretrained features, 3"
        in poster
    )
    assert "margin gains +0.40 (+0.40 to +0.40, 3 seeds), simultaneous; minus its gain" in poster
    assert "its own recipe: -0.70 (" in poster
    assert "not corrected; its picks travel; K-means gains -0.40" in poster
    assert poster.endswith("no gain is shown that could travel.")
    assert "not corrected; its picks do not travel; K-means" in reduced  # 0.5 becomes 0, within 0.3


@pytest.mark.parametrize(
    ("own", "moved", "told"),
    [
        ([1.0, 1.1, 0.9], [0.5, 0.6, 0.55], "its picks travel"),
        ([1.0, 1.1, 0.9], [-0.5, -0.6, -0.55], "its picks do not travel"),
        ([1.0, 1.1, 0.9], [0.0, 0.01, -0.01], "its picks do not travel"),
        ([1.0, 1.1, 0.9], [0.1, 0.11, 0.09], "its picks travel, by too little to matter"),
        ([1.0, 1.1, 0.9], [0.0, 0.5, -0.5], "undecided"),
        ([1.0, 0.1, -0.9], [0.5, 0.6, 0.55], "no gain is shown that could travel"),
        ([-1.0, -1.1, -0.9], [0.5, 0.6, 0.55], "no gain is shown that could travel"),
        ([1.0, 1.1], [0.5, 0.6], "not tested"),
    ],
)
def test_every_conclusion_about_travelling_can_be_reached(own, moved, told):
    tables = [pd.DataFrame({"random": 0.0, "margin": values}) for values in (own, moved)]
    assert page._travel(*tables, "mnist").endswith(told)


def test_what_lacks_seeds_is_interim_and_not_tested_below_three(made):
    for _, cell in plan.transfer_study(MNIST, "reduced", "poster").copies():
        if cell.seed:
            Store("transfer").path(cell).unlink()
    told = page.parts().data
    assert "**MNIST**, 1 seed of 3 (interim; a test needs 3):" in told
    assert told.count("not tested") == 4 and "for the better" not in told
    assert "sign-flip" not in told


def test_a_seed_whose_training_failed_is_not_waited_for(made):
    store = Store(PROFILE_OF_RECIPE["reduced"])
    cells = load_study(PROFILE_OF_RECIPE["reduced"], MNIST).cells()
    (margin,) = [cell for cell in cells if (cell.arm, cell.seed) == ("margin", 1)]
    failed = {"status": "failed", "rounds": [], "final": {"error": "the loss is nan"}}
    store.save(margin, store.load(margin) | failed)
    told = page.parts().data
    assert "2 paired seeds of 3 (a training failed in the others; a test needs 3)" in told
    source, copy = plan.transfer_study(MNIST, "poster", "reduced").copies()[-1]
    assert source.seed == 2
    Store("transfer").path(copy).unlink()
    assert "1 seed of 3 (interim" in page.parts().data


def test_the_table_has_every_gain_there_is(made):
    table = page.table().data
    assert table.count("<tr>") + table.count("<tr ") == 1 + 2 * 6
    assert "the head on pretrained features" in table and "CIFAR-10" not in table


def test_without_records_the_command_that_makes_them_is_named(outputs):
    for told in (page.parts(), page.travel()):
        assert "`.venv/bin/python -m alutils transfer`" in told.data
    assert page.table() is None
