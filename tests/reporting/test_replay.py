import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import isotonic_regression

from alutils.protocol.datasets import DATASETS
from alutils.reporting import replay
from alutils.reporting.forecast import NoForecast, forecast
from alutils.reporting.replay import Rule
from alutils.reporting.statistics import labels_to_reach

LABELS = [100, 200, 400, 600, 900, 1200, 1500]


def results(curves: dict[str, list[float]], **columns: list[float]) -> pd.DataFrame:
    """A table of one record an arm, its rows out of order, of accuracies (%) by label count."""
    rows = [
        {"dataset": "mnist", "arm": arm, "seed": 0, "record": f"mnist-{arm}", "labels": labels,
         "accuracy": value} | {name: values[i] for name, values in columns.items()}
        for arm, curve in curves.items()
        for i, (labels, value) in enumerate(zip(LABELS, curve, strict=False))
    ]  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


LAW = [100 * (1 - 3 * n**-0.4) for n in LABELS]
BUMPY = [55.0, 65.0, 72.0, 76.0, 79.5, 79.0, 81.0]
PEAKED = [55.0, 65.0, 80.0, 70.0, 72.0, 76.0, 81.0]
FLAT = [50.0] * 6 + [60.0]


def test_forecasts_are_those_of_every_round_by_brute_force():
    curves = {"random": LAW, "margin": BUMPY, "kmeans": PEAKED}
    table = results(curves)
    forecasts = replay.replay_forecasts(table, np.random.default_rng(0), a_thousand)
    rng, labels, expected = np.random.default_rng(0), np.array(LABELS), []
    for arm in dict.fromkeys(table["arm"]):
        accuracy = np.array(curves[arm])
        fit = isotonic_regression(accuracy)
        for known in (5, 6):
            state = rng.bit_generator.state
            for target in sorted(set(fit[known:])):
                if target <= accuracy[:known].max():
                    continue
                rng.bit_generator.state = state
                answer = forecast(labels[:known], accuracy[:known], target, rng, size=1000)
                reached = labels_to_reach(labels, accuracy, target)
                first = next(i for i in range(7) if fit[i] >= target)
                expected.append((arm, known, labels[known - 1], target, first - known + 1,
                                 reached - labels[known - 1], answer))  # fmt: skip
    assert len(forecasts) == len(expected) >= 7
    for row, (arm, known, labels_then, target, ahead, truth, answer) in zip(
        forecasts.itertuples(), expected, strict=True
    ):
        assert (row.arm, row.round, row.labels, row.ahead) == (arm, known, labels_then, ahead)
        assert (row.target, row.truth) == pytest.approx((target, truth))
        if isinstance(answer, NoForecast):
            assert row.kind == answer.kind and math.isnan(row.more) and not row.covered
        else:
            assert (row.kind, row.more, row.low, row.high) == (
                "",
                answer.more,
                answer.low,
                answer.high,
            )
            assert row.covered == (answer.low <= truth <= answer.high)


def test_a_target_below_what_was_measured_asks_for_no_forecast():
    """The fit of 79.5 and 79.0 is 79.25, which the fifth round already had."""
    table = results({"margin": BUMPY})
    forecasts = replay.replay_forecasts(table, np.random.default_rng(0), a_thousand)
    assert forecasts[["round", "target", "truth"]].to_numpy().tolist() == [
        [5, 81.0, 600.0],
        [6, 81.0, 300.0],
    ]


def test_what_follows_a_round_changes_nothing_of_its_forecast():
    curves = [LAW, [*LAW[:6], LAW[6] + 1]]
    original, changed = (
        replay.replay_forecasts(results({"random": curve}), np.random.default_rng(0), a_thousand)
        for curve in curves
    )
    shared = original["target"].isin(changed["target"]) & (original["round"] == 5)
    assert shared.sum() == 1
    columns = ["round", "target", "truth", "more", "low", "high"]
    assert original.loc[shared, columns].equals(changed.loc[shared, columns])


def test_shares_and_medians_agree_with_a_count_by_hand():
    forecasts = pd.DataFrame(
        {
            "dataset": ["mnist"] * 5 + ["cifar10"],
            "kind": ["", "", "", "far", "no end", "far"],
            "truth": [100.0, 100.0, 200.0, 100.0, 100.0, 100.0],
            "more": [150.0, 90.0, 100.0, math.nan, math.nan, math.nan],
            "low": [120.0, 80.0, 100.0, math.nan, math.nan, math.nan],
            "high": [200.0, 110.0, 120.0, math.nan, math.nan, math.nan],
            "covered": [False, True, False, False, False, False],
        }
    )
    shares = replay.coverage(forecasts, ["dataset"]).loc["mnist"]
    assert shares["asked"] == 5 and shares["told"] == 0.6
    assert shares[["covered", "above", "below"]].tolist() == pytest.approx([1 / 3] * 3)
    assert shares["error"] == pytest.approx(0.5) and shares["width"] == pytest.approx(0.3)
    cifar10 = replay.coverage(forecasts, ["dataset"]).loc["cifar10"]
    assert cifar10["told"] == 0 and math.isnan(cifar10["covered"])


def test_a_constant_curve_is_never_forecast():
    table = results({"random": FLAT})
    forecasts = replay.replay_forecasts(table, np.random.default_rng(0), a_thousand)
    assert forecasts["kind"].tolist() == ["constant"] * 2 and not forecasts["covered"].any()


def test_a_curve_too_short_to_be_judged_is_left_out():
    forecasts = replay.replay_forecasts(
        results({"random": LAW[:5]}), np.random.default_rng(0), a_thousand
    )
    stops = replay.replay_stopping(results({"random": LAW[:3]}), a_thousand)
    assert forecasts.empty and replay.coverage(forecasts, ["dataset"]).empty
    assert stops.empty and replay.stopping_costs(stops, ["dataset"]).empty


def a_thousand(dataset: str) -> int:
    return 1000


def at(position: int | None) -> dict[str, Rule]:
    """A rule that says stop at a given round of every curve."""
    return {"at": Rule("accuracy", lambda values: np.arange(len(values)) == position)}


@pytest.mark.parametrize(
    "position, stopped, wasted, lost",
    [(0, 100, 0, 26.0), (4, 900, 0, 1.75), (5, 1200, 300, 1.75), (6, 1500, 600, 0.0)],
)
def test_a_stop_costs_labels_or_accuracy(position, stopped, wasted, lost):
    """The fit is 55, 65, 72, 76, 79.25, 79.25, 81: within two points of its end from 900 on."""
    row = replay.replay_stopping(results({"margin": BUMPY}), a_thousand, 2.0, at(position)).iloc[0]
    assert (row["stopped"], row["enough"], row["wasted"]) == (stopped, 900, wasted)
    assert row["lost"] == pytest.approx(lost)


def test_enough_is_within_a_point_of_the_end():
    row = replay.replay_stopping(results({"margin": [50, 60, 69.9, 70.1, 71]}), a_thousand).iloc[0]
    assert row["enough"] == 600


def test_a_rule_that_never_stops_costs_what_the_end_costs():
    row = replay.replay_stopping(results({"margin": BUMPY}), a_thousand, 2.0, at(None)).iloc[0]
    assert math.isnan(row["stopped"]) and (row["wasted"], row["lost"]) == (600, 0)


def test_rules_without_their_column_are_left_out():
    stops = replay.replay_stopping(results({"random": LAW, "margin": BUMPY}), a_thousand)
    assert set(stops["rule"]) == {"measured gain"} and len(stops) == 2
    empty = [math.nan] * 7
    table = results({"random": LAW}, kappa=empty)
    assert set(replay.replay_stopping(table, a_thousand)["rule"]) == {"measured gain"}


def test_rules_read_their_columns():
    kappa = [math.nan, 0.9, 0.99, 0.99, 1.0, 1.0, 1.0]
    entropy = [2.0, 1.0, 0.5, 0.2, 0.15, 0.1, 0.05]
    bound = [math.nan, 9.0, 5.0, 3.0, 2.0, 0.4, 0.3]
    table = results({"random": LAW}, kappa=kappa, pool_entropy=entropy, error_bound=bound)
    stopped = replay.replay_stopping(table, a_thousand).set_index("rule")["stopped"]
    assert stopped["stabilising predictions"] == LABELS[4]
    assert stopped["overall uncertainty"] == LABELS[5]
    assert stopped["expected-error difference"] == LABELS[5]
    assert math.isnan(stopped["measured gain"])


def test_the_threshold_of_uncertainty_is_one_for_any_number_of_classes(monkeypatch):
    """A twentieth of log 2 for two classes, of log 10 for ten."""
    entropy = [0.6, 0.3, 0.1, 0.09, 0.04, 0.03, 0.02]
    table = results({"random": LAW}, pool_entropy=entropy)
    for classes, position in ((10, 2), (2, 5)):
        facts = replace(DATASETS["mnist"], classes=DATASETS["mnist"].classes[:classes])
        monkeypatch.setitem(DATASETS, "mnist", facts)
        stopped = replay.replay_stopping(table, a_thousand).set_index("rule")["stopped"]
        assert stopped["overall uncertainty"] == LABELS[position]


def test_costs_are_means_over_curves():
    table = results({"random": LAW, "margin": BUMPY})
    early = replay.stopping_costs(
        replay.replay_stopping(table, a_thousand, 2.0, at(0)), ["dataset"]
    )
    assert early.loc[("mnist", "at")].tolist() == pytest.approx(
        [2, 1, 1, 0, (26 + LAW[-1] - LAW[0]) / 2]
    )
    never = replay.stopping_costs(
        replay.replay_stopping(table, a_thousand, 2.0, at(None)), ["dataset"]
    )
    assert never.loc[("mnist", "at"), ["stops", "early", "lost"]].tolist() == [0, 0, 0]


def test_few_images_let_no_gain_be_called_small():
    """48 held-out images have a standard error ten times that of 5,000."""
    table = results({"random": [90.0] * 8})
    rules = {"measured gain": replay.RULES["measured gain"]}
    stopped = [
        replay.replay_stopping(table, lambda _, n=n: n, rules=rules)["stopped"].notna().all()
        for n in (5000, 48)
    ]
    assert stopped == [True, False]
