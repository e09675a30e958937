import numpy as np
import pandas as pd
import pytest

from alutils.reporting.statistics import estimate
from alutils.studies.choices import precision


def judged(mnist: list[float], cifar10: list[float]) -> pd.DataFrame:
    """Accuracy at two sizes, bf16 above fp32 by the given points, one value a seed."""
    rows = {
        (dataset, labels, seed): {"fp32": 50.0 + seed, "bf16": 50.0 + seed + gain + shift}
        for dataset, gains in {"mnist": mnist, "cifar10": cifar10}.items()
        for seed, gain in enumerate(gains)
        for labels, shift in ((540, 0.1), (1540, -0.1))
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(["dataset", "labels", "seed"])


def test_the_pooled_difference_is_paired_by_seed():
    gains = [0.1, -0.2, 0.3, 0.0, 0.05]
    differences = precision.differences(judged(gains, gains))
    pooled, expected = differences["mnist", None], estimate(gains, 0.90)
    assert (pooled.mean, pooled.low, pooled.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert differences["cifar10", 540].mean == pytest.approx(np.mean(gains) + 0.1)


def test_the_verdicts_tell_equal_better_and_worse_apart():
    equal, better, worse = [0.0, 0.05, -0.05], [0.9, 1.0, 1.1], [-0.9, -1.0, -1.1]
    assert (
        precision.verdict(estimate(equal, 0.9), "mnist") == "MNIST: equivalent within 0.3 points."
    )
    assert "bf16 is not worse by that much" in precision.verdict(estimate(better, 0.9), "mnist")
    verdict = precision.verdict(estimate(worse, 0.9), "mnist")
    assert verdict == "MNIST: not shown to be equivalent within 0.3 points."


def test_the_comparison_uses_neither_test_set_nor_seeds_of_kept_runs():
    for kind in ("fp32", "bf16"):
        study = precision.study_at(kind)
        assert not study.test and min(study.seeds) >= 100 and len(study.seeds) == 5
        assert study.heldout_every == study.epochs and study.precision == kind


def test_the_document_has_every_row_and_both_verdicts():
    text = precision.document(judged([0.0, 0.05, -0.05], [0.0, 0.1, -0.1]))
    assert text.count("| pooled |") == 2 and text.count("equivalent within") == 2
