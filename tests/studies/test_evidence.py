import numpy as np
import pandas as pd
import pytest

from alutils.learning import data
from alutils.running import cluster, round, run
from alutils.studies.active_learning import diagnosed_rounds, evidence, picks
from alutils.studies.active_learning.diagnosed_rounds import DiagnosedRound, spread_out
from alutils.studies.active_learning.plan import ActiveLearningStudy

STUDY = ActiveLearningStudy(
    profile="evidence", dataset="digits", arms=("random", "margin"), seeds=(0, 1),
    first_labels=128, acquisition_fraction=0.03, rounds=3, candidates=200, epochs=1, workers=1,
    diagnostics=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory, one_worker) -> tuple[pd.DataFrame, list[DiagnosedRound]]:
    """A small run with diagnostics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cluster.SHARED, one_worker)
        patch.setenv("ALUTILS_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        results = run.run(STUDY, say=lambda line: None)
        return results, diagnosed_rounds.read(STUDY, results)


def test_every_round_is_looked_at_under_its_arm(ran):
    results, diagnosed = ran
    assert [(each.arm, each.seed, each.number) for each in diagnosed] == [
        (arm, seed, number) for seed in (0, 1) for arm in STUDY.arms for number in range(3)
    ]
    assert [each.labels for each in diagnosed] == results["labels"].tolist()


def test_captions_tell_what_the_records_hold(ran):
    results, diagnosed = ran
    classes = data.load("digits").classes
    text = evidence.likelihood(results).data
    for arm, rows in results[results["round"] == 3].groupby("arm"):
        assert f"{arm} {rows['test_nll'].mean():.2f} nats" in text
    page = evidence.reliability(diagnosed).data
    assert "Mean confidence minus accuracy, in points: random " in page
    confusion = evidence.confusion(diagnosed, classes).data
    last = [each for each in diagnosed if each.arm == "margin" and each.number == 2]
    worst = evidence._errors(last)
    assert f"({worst.max():.1f} %)" in confusion
    asked = picks.asked_for(diagnosed, classes).data
    added = pd.DataFrame(
        [
            np.subtract(last.entries["class_counts"], first.entries["class_counts"])
            for first, last in zip(diagnosed[::3], diagnosed[2::3], strict=True)
        ]
    )
    margin = 100 * added.div(added.sum(axis=1), axis=0).iloc[[1, 3]].mean()
    assert f"margin: {classes[margin.argmax()]} ({margin.max():.0f} %)" in asked


def test_the_gallery_and_the_map_show_one_seed_at_its_first_middle_and_last_round(ran):
    _, diagnosed = ran
    dataset = data.load("digits")
    assert "picks of seed 0" in picks.gallery(diagnosed, dataset).data
    page = picks.pool_map(diagnosed, dataset).data
    assert "1,000 pool images of seed 0" in page
    rounds = [each for each in diagnosed if each.arm == "margin" and each.seed == 0]
    assert [each.number for each in spread_out(rounds)] == [0, 1, 2]
    assert spread_out(rounds[:1]) == rounds[:1]


def test_tables_and_times_have_every_arm(ran):
    results, diagnosed = ran
    table = evidence.auroc(diagnosed, data.load("digits").classes).data
    assert table.count("<tr") == 12
    means = table.split("mean of classes")[1]
    for arm in STUDY.arms:
        last = [each for each in diagnosed if each.arm == arm and each.number == 2]
        area = np.mean([each.entries["closing"]["auroc"] for each in last])
        assert f"<td>{1e4 * (1 - area):.2f} ± " in means
    later = results[results["round"] > 1]
    mean = later[[*evidence.PHASES]].sum(axis=1).groupby(later["arm"]).mean()
    assert f"margin {mean['margin']:.1f} s" in evidence.phases(results).data


def test_every_phase_that_a_round_is_timed_by_is_shown():
    assert set(evidence.PHASES) == set(round.PHASES)


def test_without_diagnostics_it_says_so(ran):
    results, _ = ran
    for shown in (evidence.reliability([]), evidence.auroc([], []), picks.gallery([], None)):
        assert "`diagnostics` turns them on" in shown.data
    assert "not evaluated" in evidence.likelihood(results.drop(columns="test_nll")).data


def likely(*by_seed: list[float]) -> str:
    """The caption of random's likelihood (nats) at 100, 200 and 300 labels of digits."""
    rows = [
        {"dataset": "digits", "arm": "random", "seed": seed, "labels": 100 * i, "test_nll": nll,
         "test_ece": 0.1}
        for seed, nlls in enumerate(by_seed)
        for i, nll in enumerate(nlls, 1)
    ]  # fmt: skip
    return evidence.likelihood(pd.DataFrame(rows)).caption


def test_where_a_uniform_guess_has_the_better_likelihood_is_told():
    """Its is log 10 = 2.303; a later count that is worse again does not count."""
    worse = "Up to {} random labels, the networks' likelihood is worse than that of a uniform guess"
    assert worse.format(200) in likely([3.0, 2.5, 2.2], [2.4, 2.2, 2.2])
    assert worse.format(100) in likely([3.0, 2.2, 2.5])
    assert worse.format(300) in likely([3.0, 3.0, 3.0])
    assert "uniform" not in likely([2.2, 2.5, 2.0])
    assert "set: mean over 2 seeds." in likely([1.0], [2.0]) and "set: one seed." in likely([1.0])


@pytest.mark.parametrize(
    ("counts", "fewest"), [([99, 9900], 100), ([29, 30, 1500], 31), ([19, 20, 21], 20)]
)
def test_a_bin_of_few_predictions_is_not_drawn(monkeypatch, counts, fewest):
    """Of many predictions 100 are needed, of fewer a fiftieth of them, and 20 at least."""
    shown = {}
    monkeypatch.setattr(
        evidence,
        "show",
        lambda figure, caption, _: shown.update(line=figure.axes[0].lines[1], caption=caption),
    )
    evidence.reliability([closed(0, bin_count=counts, bin_confidence=counts, bin_accuracy=counts)])
    assert shown["line"].get_xdata().tolist() == [n for n in counts if n >= fewest]
    assert f"Bins of fewer than {fewest} predictions are left out." in shown["caption"]


def closed(seed: int, **closing) -> DiagnosedRound:
    """A last round of margin with what it found on the judged images."""
    return DiagnosedRound("margin", seed, 0, 128, {"closing": closing})


def test_errors_are_in_per_cent_of_the_true_class():
    rounds = [closed(0, confusion=[[5, 1], [0, 2]]), closed(1, confusion=[[3, 1], [0, 3]])]
    assert evidence._errors(rounds).tolist() == [[0, 20], [0, 0]]
    page = evidence.confusion(rounds, ["cat", "dog"]).data
    assert "margin: cat taken for dog (20.0 %)" in page


def test_confidence_is_held_against_accuracy_over_all_predictions():
    """Of 40 predictions: 9 + 24 by confidence, 7 + 24 right."""
    rounds = [
        closed(0, bin_count=[10], bin_confidence=[0.9], bin_accuracy=[0.7]),
        closed(1, bin_count=[30], bin_confidence=[0.8], bin_accuracy=[0.8]),
    ]
    assert "in points: margin +5.0. Bins" in evidence.reliability(rounds).data
    assert evidence._pooled(rounds, "bin_accuracy").tolist() == pytest.approx([31 / 40])


def test_an_area_near_1_keeps_its_digits():
    """0.99998 and 0.99997, which four decimals would both show as 1.0000."""
    diagnosed = [
        DiagnosedRound("margin", seed, 0, 128, {"closing": {"auroc": [area, 1.0]}})
        for seed, area in enumerate((0.99998, 0.99997))
    ]
    page = evidence.auroc(diagnosed, ["zero", "one"]).data
    assert "in units of 1/10,000" in page and "<td>0.25</td>" in page and "<td>0.00</td>" in page
    assert "<td>0.12 ± 0.32</td>" in page
