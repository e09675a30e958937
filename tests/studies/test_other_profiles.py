"""What 08 tells of a strong recipe and of 150 rounds, from records that were never trained."""

import numpy as np
import pytest

from alutils.commands import fingerprints
from alutils.records.store import Store
from alutils.reporting import statistics
from alutils.studies.profiles import load_study
from alutils.studies.reductions import other_profiles, readme_text
from tests.studies.made_up import save_finished

NOTEBOOKS = (other_profiles.CIFAR10, other_profiles.MNIST)


def save(profile: str, notebook: str, gains: dict[str, float], seeds: int = 99) -> None:
    """Records in which an arm has so many points more than random, with a spread over seeds."""
    store = Store(profile)
    store.prepare()
    for cell in load_study(profile, notebook).cells():
        if cell.seed < seeds:
            more = gains.get(cell.arm, 0.0) + (0.1 * (cell.seed - 1) if cell.arm in gains else 0)
            save_finished(store, cell, lambda _, n, more=more: {"test_accuracy": (50 + more) / 100})


def test_a_strong_recipe_is_judged_and_held_against_the_reduced_one(outputs):
    save("strong-recipe", NOTEBOOKS[0], {"margin": 2.0, "badge": -3.0})
    save(other_profiles.REDUCED, NOTEBOOKS[0], {"margin": 0.5})
    (text,) = other_profiles.strong_recipe()
    told = text.data
    assert told.startswith("On CIFAR-10, from 450 to 5,018 labels, over 3 paired seeds, judged")
    assert "margin lies above random; BADGE lies below random" in told
    assert "margin +2.00 (+1.64 to +2.36, 3 seeds); BADGE -3.00 (" in told
    assert "(not tested): +1.50 points (+1.50 to +1.50, 3 seeds). With 3 seeds a sign-flip" in told
    paragraphs = readme_text.recipe_paragraphs(load_study("desktop", "08-reductions"))
    assert paragraphs[-1].startswith(
        "Choosing under a stronger recipe (random, margin and BADGE with crops and flips, 30 "
        "epochs; profile `strong-recipe`, [08](../outputs/desktop/08-reductions.ipynb)): on CIFAR"
    )
    assert paragraphs[-1].endswith(told[2:])
    short = (
        " With crops and flips (30 epochs, up to 5,018 labels, 3 seeds), margin lies above random; "
        "BADGE lies below random."
    )
    assert readme_text.strong_in_short("cifar10") == short
    assert readme_text.strong_in_short("mnist") == ""


def test_two_seeds_of_a_strong_recipe_are_not_judged(outputs):
    save("strong-recipe", NOTEBOOKS[0], {"margin": 2.0}, seeds=2)
    (text,) = other_profiles.strong_recipe()
    told = text.data
    assert "with fewer than 3 paired seeds; these runs have 2. Interim, " in told
    assert readme_text.strong_in_short("cifar10") == ""


def test_what_is_equivalent_under_a_strong_recipe_is_said(outputs):
    save("strong-recipe", NOTEBOOKS[0], {"margin": 0.05, "badge": -3.0})
    assert readme_text.strong_in_short("cifar10") == (
        " With crops and flips (30 epochs, up to 5,018 labels, 3 seeds), BADGE lies below random; "
        "margin is equivalent to random within 1 point."
    )


def test_150_rounds_stand_within_or_outside_what_one_more_seed_would_give(outputs):
    for notebook in NOTEBOOKS:
        save(other_profiles.REDUCED, notebook, {"margin": 0.5, "kmeans": 0.5})
    save("poster-rounds", NOTEBOOKS[1], {"margin": 0.7, "kmeans": 2.0})
    (text,) = other_profiles.poster_rounds()
    (line,) = text.data.splitlines()
    assert line.startswith("- **MNIST**, 150 rounds, 1 seed, compared with 4 other seeds")
    values = np.array([0.5, 0.6, 0.7, 0.8])  # of seeds 1 to 4
    half = 3.182446 * values.std(ddof=1) * np.sqrt(1 + 1 / 4)
    ends = f"{0.65 - half:+.2f} to {0.65 + half:+.2f}, centred on +0.65"
    interval = f"the prediction interval for one more seed ({ends})"
    assert f"margin +0.60 points over random, within {interval}" in line
    assert f"K-means +1.90 points over random, outside {interval}" in line
    assert "uncertainty +0.00 points over random, within" in line


def test_without_the_reduced_recipe_nothing_stands_beside(outputs):
    save("strong-recipe", NOTEBOOKS[0], {"margin": 2.0})
    save("poster-rounds", NOTEBOOKS[1], {"margin": 0.7})
    (strong,) = other_profiles.strong_recipe()
    assert "under the reduced recipe is not available for comparison." in strong.data
    (text,) = other_profiles.poster_rounds()
    (line,) = text.data.splitlines()
    assert "no comparison, which takes 3 other seeds" in line and "nan" not in line
    assert "margin +0.60 points over random; K-means" in line


def test_a_record_of_the_ceiling_makes_the_report_stale(outputs, monkeypatch):
    monkeypatch.setattr(fingerprints, "sources", lambda *_: "sources")
    for notebook in ("02-cifar10-active-learning", "01-training-size"):
        study = load_study("desktop", notebook)
        before = fingerprints.fingerprint(notebook, study)
        (file, *_) = study.files()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a record")
        assert fingerprints.fingerprint(notebook, study) != before
        file.unlink()


@pytest.mark.parametrize("profile", ["strong-recipe", "transfer"])
def test_a_cell_of_another_profile_makes_the_report_stale_once_it_ends(
    outputs, monkeypatch, profile
):
    """And not with every round of its run."""
    monkeypatch.setattr(fingerprints, "sources", lambda *_: "sources")
    study = load_study("desktop", "08-reductions")
    other = next(each for each in study.related() if each.profile == profile)
    few = other.cells()[:1]
    monkeypatch.setattr(type(study), "related", lambda self: [other])
    monkeypatch.setattr(type(other), "cells", lambda self: few)
    store, hashes = Store(profile), [fingerprints.all_else("08-reductions", study)]
    store.prepare()
    save_finished(store, few[0], lambda _, n: {"test_accuracy": 0.5})
    whole = store.load(few[0])
    for status, kept in (("running", 1), ("running", 2), ("failed", 2), ("finished", None)):
        store.save(few[0], whole | {"status": status, "rounds": whole["rounds"][:kept]})
        hashes.append(fingerprints.all_else("08-reductions", study))
    untouched, first, second, failed, finished = hashes
    assert untouched == first == second and len({first, failed, finished}) == 3


def test_one_more_replication_lies_in_its_interval_as_often_as_stated():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *values, one = rng.normal(3, 2, 6)
        interval = statistics.prediction_interval(values)
        inside += interval.low <= one <= interval.high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)
