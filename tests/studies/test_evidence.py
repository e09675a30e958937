import numpy as np
import pandas as pd
import pytest

from alutils.learning import data
from alutils.running import cluster, run
from alutils.studies.active_learning import evidence
from alutils.studies.active_learning.plan import ActiveLearningStudy

PLAN = ActiveLearningStudy(
    profile="evidence", dataset="digits", arms=("random", "margin"), seeds=(0, 1),
    first_labels=128, acquisition_fraction=0.03, rounds=3, candidates=200, epochs=1, workers=1,
    diagnostics=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory, one_worker) -> tuple[pd.DataFrame, list[evidence.Look]]:
    """A small run with diagnostics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cluster.SHARED, one_worker)
        patch.setenv("ALUTILS_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        results = run.run(PLAN, say=lambda line: None)
        return results, evidence.looks(PLAN, results)


def test_every_round_is_looked_at_under_its_arm(ran):
    results, looks = ran
    assert [(look.arm, look.seed, look.number) for look in looks] == [
        (arm, seed, number) for seed in (0, 1) for arm in PLAN.arms for number in range(3)
    ]
    assert [look.labels for look in looks] == results["labels"].tolist()


def test_captions_tell_what_the_records_hold(ran):
    results, looks = ran
    classes = data.load("digits").classes
    text = evidence.likelihood(results).data
    for arm, own in results[results["round"] == 3].groupby("arm"):
        assert f"{arm} {own['test_nll'].mean():.2f} nats" in text
    assert "Mean confidence minus accuracy, in points: random " in evidence.reliability(looks).data
    confusion = evidence.confusion(looks, classes).data
    worst = evidence._errors([look for look in looks if look.arm == "margin" and look.number == 2])
    assert f"({worst.max():.1f} %)" in confusion
    asked = evidence.asked_for(looks, classes).data
    added = pd.DataFrame(
        [
            [b - a for a, b in zip(one.done["class_counts"], two.done["class_counts"], strict=True)]
            for one, two in zip(looks[::3], looks[2::3], strict=True)
        ]
    )
    margin = 100 * added.div(added.sum(axis=1), axis=0).iloc[[1, 3]].mean()
    assert f"margin: {classes[margin.argmax()]} ({margin.max():.0f} %)" in asked


def test_the_gallery_and_the_map_show_one_seed_at_its_first_middle_and_last_round(ran):
    _, looks = ran
    dataset = data.load("digits")
    assert "picks of seed 0" in evidence.gallery(looks, dataset).data
    page = evidence.pool_map(looks, dataset).data
    assert "1,000 pool images of seed 0" in page
    own = [look for look in looks if look.arm == "margin" and look.seed == 0]
    assert [look.number for look in evidence._moments(own)] == [0, 1, 2]
    assert evidence._moments(own[:1]) == own[:1]


def test_tables_and_times_have_every_arm(ran):
    results, looks = ran
    table = evidence.auroc(looks, data.load("digits").classes).data
    assert table.count("<tr") == 12
    means = table.split("mean of classes")[1]
    for arm in PLAN.arms:
        last = [look for look in looks if look.arm == arm and look.number == 2]
        area = np.mean([look.done["closing"]["auroc"] for look in last])
        assert f"<td>{1e4 * (1 - area):.2f} ± " in means
        assert f"{arm} {1e4 * (1 - area):.2f}" in evidence.roc(looks).data
    assert "ROC at the last round" in evidence.roc(looks).data
    later = results[results["round"] > 1]
    mean = later[[*evidence.PHASES]].sum(axis=1).groupby(later["arm"]).mean()
    assert f"margin {mean['margin']:.1f} s" in evidence.phases(results).data


def test_without_diagnostics_it_says_so(ran):
    results, _ = ran
    for told in (evidence.reliability([]), evidence.roc([]), evidence.gallery([], None)):
        assert "`diagnostics` switches them on" in told.data
    assert "did not judge" in evidence.likelihood(results.drop(columns="test_nll")).data


def test_an_area_near_1_keeps_its_digits():
    """0.99998 and 0.99997, which four decimals would both show as 1.0000."""
    looks = [
        evidence.Look("margin", seed, 0, 128, {"closing": {"auroc": [area, 1.0]}})
        for seed, area in enumerate((0.99998, 0.99997))
    ]
    page = evidence.auroc(looks, ["zero", "one"]).data
    assert "in 1/10,000" in page and "<td>0.25</td>" in page and "<td>0.00</td>" in page
    assert "<td>0.12 ± 0.32</td>" in page
