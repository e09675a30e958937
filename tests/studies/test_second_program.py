"""The study's analysis against ``tests.second_program``, on its records and on made-up curves."""

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression

from alutils.paths import outputs
from alutils.protocol.arms import POSTER_ARMS
from alutils.records import tidy
from alutils.reporting import arm_comparison, statistics
from alutils.studies.claims import rules
from alutils.studies.claims.findings import Claim
from alutils.studies.profiles import load_study
from alutils.studies.recipes import PROFILE_OF_RECIPE
from tests import second_program as second

KEPT = sorted({"desktop", *PROFILE_OF_RECIPE.values()})
"""Profiles that have an audit and whose records are kept."""
SIZES, LABELS = (540, 1490, 2990, 5490), {"cifar10": (450, 2000, 6549), "mnist": (540, 3000, 7875)}
MADE_UP = 60
"""Studies that are made up."""


@pytest.fixture(scope="module", params=KEPT)
def kept(request):
    """What both programs read of a profile's records: theirs, and our table of results."""
    with warnings.catch_warnings():  # of a dataset without a whole seed there is no mean
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = second.recalculate(outputs() / request.param)
    return theirs, tidy.read(load_study(request.param, "04-claims"))


def curves_of(results: pd.DataFrame) -> second.Curves:
    """The curves that the second program takes, from a table of results."""
    keys = [results["figure"].astype(int), results["dataset"], results["arm"], results["seed"]]
    return {
        key: (rows["labels"].to_numpy(float), rows["accuracy"].to_numpy(float))
        for key, rows in results.sort_values("labels").groupby(keys)
    }


def same(ours: list[float], theirs: list[float]) -> bool:
    """Whether numbers are equal but for rounding, with NaN in the same places."""
    return bool(np.allclose(ours, theirs, rtol=1e-6, atol=1e-8, equal_nan=True))


def hold_claims_against(theirs: dict[str, second.Row], ours: list[Claim]) -> None:
    """Assert that the claims have the same verdicts and findings, in the same order."""
    assert {claim.key: claim.verdict for claim in ours} == {
        key: claim["verdict"] for key, claim in theirs.items()
    }
    for claim in (claim for claim in ours if not claim.missing_runs):
        pairs = list(zip(claim.findings, theirs[claim.key]["findings"], strict=True))
        for mine, other in pairs:
            assert mine.verdict == other["verdict"], (mine.what, other["key"])
            if mine.estimate:
                ends = mine.estimate.mean, mine.estimate.low, mine.estimate.high
                assert same(ends, [other["mean"], other["low"], other["high"]]), mine.what
            if mine.simultaneous:
                wide = mine.simultaneous.low, mine.simultaneous.high
                assert same(wide, other["simultaneous"]), mine.what


def test_both_read_the_same_curves(kept):
    theirs, results = kept
    ours = curves_of(results)
    assert ours.keys() == theirs["curves"].keys() and len(ours) > 10
    for key, curve in ours.items():
        assert same(np.concatenate(curve), np.concatenate(theirs["curves"][key]))


def test_both_judge_the_claims_alike(kept):
    theirs, results = kept
    hold_claims_against(theirs["claims"], rules.judge(results))


@pytest.mark.parametrize("dataset", LABELS)
def test_both_find_the_same_of_every_arm(kept, dataset):
    theirs, results = kept
    ours = results[(results["dataset"] == dataset) & results["figure"].astype(str).isin(["3", "4"])]
    if ours.empty:
        pytest.skip("no seed is whole")
    areas, last = statistics.areas(ours), statistics.final(ours)
    saved = statistics.label_savings(ours)
    beside = arm_comparison.compare_with_random(areas, dataset)
    assert {"random", *beside} == set(POSTER_ARMS) == set(theirs["arms"][dataset])
    for arm, row in theirs["arms"][dataset].items():
        assert same(areas[arm], row["areas"]) and same(last[arm], row["lasts"])
        assert same(saved[arm], row["savings"])
        if arm != "random" and len(areas) > 2:
            mine = beside[arm]
            assert same([mine.difference.low, mine.difference.high], row["simultaneous"])
            assert same([mine.p, mine.p_equal], [row["p"], row["p_equivalent"]])


def a_study(rng: np.random.Generator) -> pd.DataFrame:
    """Made-up results: seeds, gains and spreads as it happens, with ties now and then."""
    seeds, digits = int(rng.integers(2, 7)), int(rng.integers(0, 4))
    noise, level = 10 ** rng.uniform(-2, 0.5), 10 ** rng.uniform(-2, 1.2)
    signs = rng.choice([(-1, 0, 1), (1, 1, 1)])
    rows = []
    for dataset, counts in LABELS.items():
        slope = rng.choice([-1, 0, 1, 1]) * rng.uniform(0, 25)
        gains = {arm: level * rng.choice(signs) * rng.uniform(0.5, 1) for arm in POSTER_ARMS}
        for seed in range(seeds):
            for at, labels in enumerate(SIZES):
                value = 50 + slope * at / 3 + noise * rng.standard_normal()
                rows.append((2, dataset, "random", seed, labels, value))
            start = 50 + noise * rng.standard_normal()
            for arm, gain in (gains | {"random": 0.0}).items():
                for at, labels in enumerate(counts):
                    value = start + (at > 0) * (10 * at + gain + noise * rng.standard_normal())
                    rows.append((second.FIGURE[dataset], dataset, arm, seed, labels, value))
    columns = ["figure", "dataset", "arm", "seed", "labels", "accuracy"]
    return pd.DataFrame(rows, columns=columns).round({"accuracy": digits})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_both_judge_made_up_studies_alike():
    """Every claim meets each of its verdicts."""
    rng, met = np.random.default_rng(0), Counter()
    for _ in range(MADE_UP):
        results = a_study(rng)
        curves = curves_of(results)
        arms = {dataset: second.compare(curves, dataset) for dataset in second.FIGURE}
        ours = rules.judge(results)
        hold_claims_against(second.judge(curves, arms), ours)
        met.update((claim.key, claim.verdict) for claim in ours)
    assert len(met) == 3 * len(rules.RULES), met


def test_its_parts_are_right_by_themselves():
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = np.round(rng.normal(size=rng.integers(1, 20)), 1)
        assert same(second.isotonic(values), isotonic_regression(values).x)
    labels = np.array([1.0, 2.0, 3.0])
    assert second.labels_to_reach((labels, np.array([0.0, 1.0, 2.0])), 1.5) == 2.5
    assert second.labels_to_reach((labels, np.array([5.0, 1.0, 9.0])), 3) == 1
    assert np.isnan(second.labels_to_reach((labels, labels), 4))
    assert second.area((np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 2.0]))) == 5 / 3
    assert second.holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]


def test_it_imports_nothing_of_the_package():
    text = Path(second.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) == {
        "collections", "itertools", "json", "numpy", "pathlib", "scipy", "typing",
    }  # fmt: skip
