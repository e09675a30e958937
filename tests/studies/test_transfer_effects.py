import pandas as pd
import pytest

from alutils.protocol.arms import COPIED
from alutils.records.store import Store
from alutils.reporting.standing import standings
from alutils.studies.profiles import load_study
from alutils.studies.transfer import effects, plan
from alutils.studies.transfer.plan import MNIST
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
            looked_at = labels in plan.SETS[MNIST].label_counts
            base = 90 + cell.seed + labels / 10_000 if looked_at else 10
            return {"test_accuracy": (base + gain(chosen_under, trained_by, arm)) / 100}

        save_finished(Store(profile), cell, measured)

    for profile in (*plan.CHOSEN_UNDER.values(), "transfer"):
        Store(profile).prepare()
    for recipe, profile in plan.CHOSEN_UNDER.items():
        for cell in load_study(profile, MNIST).cells():
            save(profile, cell, recipe, recipe, cell.arm)
    for notebook, chosen_under, trained_by in plan.transfers():
        if notebook == MNIST:
            for source, cell in plan.transfer_study(notebook, chosen_under, trained_by).copies():
                save("transfer", cell, chosen_under, trained_by, source.arm)


def test_picks_and_training_come_apart_as_they_were_put_together(made):
    gains = effects.gains(MNIST)
    assert set(gains) == {(s, t) for s in plan.CHOSEN_UNDER for t in TRAINING}
    for (chosen_under, trained_by), by_seed in gains.items():
        assert by_seed.index.tolist() == [0, 1, 2]
        expected = {arm: gain(chosen_under, trained_by, arm) for arm in plan.SETS[MNIST].arms}
        assert by_seed.mean().to_dict() == pytest.approx(expected)
    picks, training = effects.picks_and_training(gains)
    assert picks.mean().to_dict() == pytest.approx({"random": 0, "margin": 0.4, "kmeans": -0.4})
    assert training.mean().to_dict() == pytest.approx({"random": 0, "margin": 0.2, "kmeans": 0})
    whole = gains["poster", "poster"] - gains["reduced", "reduced"]
    pd.testing.assert_frame_equal(picks + training, whole)
    assert set(standings(picks, "mnist")) == {"margin", "kmeans"}


def test_a_seed_that_lacks_an_arm_is_in_no_effect(made):
    source, cell = plan.transfer_study(MNIST, "reduced", "poster").copies()[-1]
    assert (source.arm, cell.arm, cell.seed) == ("kmeans", COPIED, 2)
    Store("transfer").path(cell).unlink()
    gains = effects.gains(MNIST)
    assert gains["reduced", "poster"].index.tolist() == [0, 1]
    assert gains["reduced", "head"].index.tolist() == [0, 1, 2]
    assert [table.index.tolist() for table in effects.picks_and_training(gains)] == 2 * [[0, 1]]


def test_without_records_there_are_no_gains(outputs):
    gains = effects.gains(MNIST)
    assert all(by_seed.empty for by_seed in gains.values())
    assert all(effect.empty for effect in effects.picks_and_training(gains))
