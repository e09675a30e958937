import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from scipy import stats

from alutils.protocol.arms import BUILT_IN, CONTROLS, FURTHER, ORACLES, POSTER_ARMS, arm_title
from alutils.protocol.datasets import DATASETS
from alutils.records.store import Store
from alutils.reporting import (
    arm_comparison,
    captions,
    charts,
    figures,
    page,
    prose,
    published,
    record_facts,
    statistics,
    tables,
)
from alutils.studies import profiles, setup
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.beyond.plan import BeyondStudy
from tests.records.test_records import rounds
from tests.reporting.test_statistics import results

ABOVE = {"random": [[0.5] * 3, [0.6] * 3, [0.7] * 3],
         "margin": [[0.6] * 3, [0.71] * 3, [0.8] * 3],
         "kmeans": [[0.4] * 3, [0.49] * 3, [0.6] * 3],
         "bayesian": [[0.9] * 3, [0.2] * 3, [0.7] * 3]}  # fmt: skip


def test_the_answer_says_which_arms_are_shown_to_differ():
    text = tables.answer(results(ABOVE)).data
    assert "margin lies above random" in text
    assert "K-means lies below random" in text
    assert "neither a difference nor equivalence within 0.3 points is shown for Bayesian" in text
    assert "two one-sided tests of equivalence at 5 %, Holm-corrected for 3 arms)" in text
    assert "On MNIST, from 100 to 400 labels, over 3 paired seeds" in text


def areas(**gains: list[float]) -> pd.DataFrame:
    """Areas of random, 50 in every seed, and of arms with these gains by seed."""
    (seeds,) = {len(values) for values in gains.values()}
    return pd.DataFrame(
        {"random": [50.0] * seeds} | {a: 50 + np.array(g) for a, g in gains.items()}
    )


NOISE = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


def test_no_difference_never_stands_alone_where_equivalence_is_shown():
    by_seed = areas(margin=NOISE, kmeans=0.4 + NOISE, bayesian=-0.4 + NOISE,
                    uncertainty=40 * NOISE, entropy=3 + NOISE)  # fmt: skip
    sentence = arm_comparison.sentence(by_seed, "cifar10")
    assert sentence == (
        "entropy lies above random; "
        "K-means lies above random, by less than the margin of 1 point; "
        "Bayesian lies below random, by less than the margin of 1 point; "
        "margin and uncertainty are equivalent to random within 1 point"
    )
    wide = 50 + 200 * NOISE
    wider = arm_comparison.sentence(by_seed.assign(uncertainty=wide), "cifar10")
    assert "; margin is equivalent to random within 1 point; neither a difference" in wider
    assert "K-means and entropy lie above random; Bayesian lies below random; margin is" in (
        arm_comparison.sentence(by_seed, "mnist")
    )
    assert "margin is equivalent to random within 0.3 points" in arm_comparison.sentence(
        by_seed, "mnist"
    )
    digits = arm_comparison.sentence(by_seed, "digits")
    three = by_seed[["random", "uncertainty"]].assign(b=wide, c=wide)
    expected = "neither a difference nor equivalence within 1 point is shown for any of the 3 arms"
    assert arm_comparison.sentence(three.assign(uncertainty=wide), "cifar10") == expected
    assert digits.endswith("no difference is shown for margin and uncertainty")


def test_a_decision_beside_an_interval_over_zero_is_explained():
    """Of four arms three have tiny p-values; the fourth's, 0.03, is corrected no more by Holm."""
    clear = {arm: 3 + NOISE for arm in ("margin", "kmeans", "bayesian")}
    by_seed = areas(**clear, uncertainty=[0.2, 0.5, 1.0, 1.5, 1.8])
    verdict = arm_comparison.compare_with_random(by_seed, "cifar10")["uncertainty"]
    assert verdict.differs and 0.0125 < verdict.p < 0.05
    assert verdict.difference.low < 0 < statistics.estimate(by_seed["uncertainty"] - 50).low
    sentence = arm_comparison.sentence(by_seed, "cifar10")
    assert "; the simultaneous interval of uncertainty reaches zero, but Holm's test" in sentence
    assert "reaches zero" not in arm_comparison.sentence(
        by_seed.drop(columns="uncertainty"), "cifar10"
    )


def test_the_table_of_tests_has_what_was_tested():
    table = results(ABOVE)
    html = arm_comparison.table(table).data
    verdicts = arm_comparison.compare_with_random(statistics.areas(table), "mnist")
    for arm, verdict in verdicts.items():
        (row,) = (row for row in html.split("<tr>") if f"<td>{arm_title(arm)}</td>" in row)
        assert prose.points(verdict.difference, "") in row
        for shown, p in ((verdict.differs, verdict.p), (verdict.equivalent, verdict.p_equal)):
            assert f"<td>{'yes' if shown else 'not shown'} ({prose.p_value(p)})</td>" in row
        assert f"<td>{statistics.dunnett(statistics.areas(table))[arm]:.3f}</td>" in row
    assert "equivalent within 0.3 points (p)" in html and "after Holm's correction for 3" in html
    assert "equivalent" not in arm_comparison.table(table.assign(dataset="digits")).data
    assert "nothing is tested" in arm_comparison.table(table[table["seed"] < 2]).data


def test_what_a_test_without_normality_could_show_is_told():
    """2/2^5 = 0.0625, which four tests make 0.25; one-sided half of it."""
    text = told_of_normality(5, 4)
    assert text == (
        "With 5 seeds a sign-flip test, which does not assume normality, gives no p below 0.0625 "
        "(2/2^5) for a difference or 0.0312 (1/2^5) for equivalence, and after Holm's correction "
        "for 4 tests none below 0.05: what is shown here assumes that differences are "
        "approximately normal."
    )
    assert text in arm_comparison.table(five_seeds()).data
    single = told_of_normality(5, 1)
    assert "below 0.0625 (2/2^5) for a difference: what" in single and "Holm" not in single
    assert told_of_normality(2, 4) == told_of_normality(6, 1) == told_of_normality(50, 16) == ""
    assert "0.0156 (2/2^7) for a difference, and after" in told_of_normality(7, 4)
    assert "for equivalence" not in told_of_normality(5, 4, "digits")


def told_of_normality(seeds: int, arms: int, dataset: str = "mnist") -> str:
    """What is told of so many arms beside random."""
    areas = pd.DataFrame(0.0, index=range(seeds), columns=["random", *range(arms)])
    return arm_comparison.normality(areas, dataset)


def five_seeds() -> pd.DataFrame:
    """Four arms beside random, over five seeds."""
    rng = np.random.default_rng(2)
    arms = dict.fromkeys(POSTER_ARMS)
    return results({arm: (0.5 + rng.normal(0, 0.02, (5, 3))).tolist() for arm in arms})


def test_a_p_value_that_normality_alone_gives_is_not_written_out():
    assert [prose.p_value(p) for p in (4.6e-38, 0.00099, 0.001, 0.0123, 1.0)] == [
        "below 0.001", "below 0.001", "0.001", "0.012", "1",
    ]  # fmt: skip


def test_the_margin_is_told_in_labels_of_random_at_its_end():
    """Two fits gain 10 points by the last 200 labels; one is flat there, and gains 5 by 100."""
    table = results({"random": [[0.5, 0.6, 0.7], [0.6, 0.7, 0.6], [0.4, 0.4, 0.5]]})
    assert statistics.labels_before(table, 0.3).tolist() == pytest.approx([6, 206, 6])
    text = arm_comparison.margin_in_labels(table)
    assert text == (
        "At random's last label count, 0.3 points of accuracy are worth about 70 labels (on "
        "monotone fits; 10 to 210 by seed)."
    )
    margin = table.assign(arm="margin", accuracy=table["accuracy"] + table["seed"])
    assert text in arm_comparison.table(pd.concat([table, margin])).data
    level = results({"random": [[0.5, 0.5, 0.5]] * 3})
    assert arm_comparison.margin_in_labels(level) == ""
    assert arm_comparison.margin_in_labels(table.assign(dataset="digits")) == ""


def test_a_spread_pooled_over_arms_stands_beside_intervals():
    """Against the additive model's own residuals: two arms off by +1, -1 and 0 beside random."""
    by_seed = areas(margin=[1.0, -1.0, 0.0], kmeans=[-1.0, 1.0, 0.0])
    error = np.sqrt(2 * (4 / 4) / 3)  # residuals of margin and K-means alone: 4, with 2 * 2 freedom
    half, wide = (error * stats.t.ppf(1 - alpha / 2, 4) for alpha in (0.05, 0.025))
    text = arm_comparison.pooled(by_seed)
    assert text == (
        f"With a spread pooled over all 3 arms (4 degrees of freedom), every interval would be ± "
        f"{half:.2f} points, or ± {wide:.2f} if simultaneous (with few seeds, a much narrower "
        "interval may be so by chance). The simultaneous ones would put all 2 on neither side; "
        "this decides nothing."
    )
    narrow = areas(margin=3 + NOISE[:3], kmeans=-3 + NOISE[:3], bayesian=NOISE[:3])
    told = "put margin above random, K-means below random and Bayesian on neither side;"
    assert told in arm_comparison.pooled(narrow)
    more = narrow.assign(**{f"arm {i}": narrow["margin"] for i in range(2)})
    told = "put K-means below random, Bayesian on neither side and all others above random;"
    assert told in arm_comparison.pooled(more)
    assert (
        arm_comparison.pooled(by_seed[["random", "margin"]])
        == ""
        == arm_comparison.pooled(by_seed[:1])
    )
    enough = pd.concat([by_seed, by_seed, by_seed, by_seed], ignore_index=True)
    assert arm_comparison.pooled(enough[:10]) == "" != arm_comparison.pooled(enough[:9])


def test_the_figure_of_differences_has_both_intervals():
    areas_of_arms = statistics.areas(results(ABOVE))
    wide = statistics.paired_differences(areas_of_arms, tests=3)
    panel = figures.area_differences(areas_of_arms, "MNIST").axes[0]
    drawn = [line.get_xdata() for line in panel.lines if line.get_linewidth() == 0.8]
    for each in wide.values():
        assert any(np.allclose(line, [each.low, each.high]) for line in drawn if len(line) == 2)
    table = results(ABOVE)
    html = captions.area_differences(table).data
    assert "not corrected; thin: the simultaneous interval for 3 arms (Bonferroni); dots" in html
    margin = wide["margin"]
    assert f"simultaneous {margin.low:+.2f} to {margin.high:+.2f}; K-means" in html
    assert (
        "spread" not in html
        and arm_comparison.pooled(areas_of_arms) in arm_comparison.table(table).data
    )


@pytest.mark.parametrize(("seeds", "lines"), [(1, 0), (2, 0), (3, 2)])
def test_an_interval_is_drawn_of_three_seeds_or_more(seeds, lines):
    """Both its own and the simultaneous one; a mean of fewer is hollow."""
    table = results({arm: curves[:seeds] for arm, curves in ABOVE.items()})
    panel = figures.area_differences(statistics.areas(table), "MNIST").axes[0]
    drawn = [line for line in panel.lines if line.get_linewidth() in (2, 0.8)]
    widths = [line for line in drawn if len(set(line.get_xdata())) == 2]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert (len(widths), len(hollow)) == (3 * lines, 0 if lines else 3)
    page = captions.area_differences(table).data
    assert ("t interval" in page, "simultaneous" in page) == (bool(lines), bool(lines))
    assert ("; dots below: one per seed." in page) == (seeds > 1)


def test_a_caption_says_which_means_have_no_interval():
    fewer = "hollow: fewer than 3 seeds, no interval"
    assert prose.mean_over([1]) == "1 seed, without an interval"
    assert prose.mean_over([2, 2]) == f"mean of 2 paired seeds, {fewer}"
    assert prose.mean_over([2, 5]) == (
        f"mean with its 95 % t interval ({fewer}) over 2 to 5 paired seeds"
    )


def test_labels_of_held_out_images_are_told_to_be_in_no_label_count():
    study = profiles.load_study("desktop", "02-cifar10-active-learning")
    told = "The held-out images, 5,000 of CIFAR-10 and 6,000 of MNIST, are labelled too, but"
    page = setup.data_summary(["cifar10", "mnist"], study).data
    assert told in page and "chosen on such images of CIFAR-10 and MNIST, from" in page
    assert "candidates that had been picked after a look at test accuracy as well.</p>" in page


def test_no_recipe_was_chosen_by_images_of_another_dataset():
    study = profiles.load_study("smoke", "02-cifar10-active-learning")
    told = setup.held_out(["digits"], study)
    assert told.endswith("no network is trained on them.")


@pytest.mark.parametrize(("places", "one"), [("aa", True), ("ab", False), ("a", True), ("", False)])
def test_times_are_compared_on_one_type_of_processor(outputs, places, one):
    """The first cells of the recipes are finished, each on a processor of its own or not."""
    study = BeyondStudy(profile="smoke", datasets=("mnist",), seeds=(0,))
    store = Store(study.profile)
    store.prepare()
    recipe_cells = [each.cell for each in study.settings() if each.factor == "recipe"]
    for cell, processor in zip(recipe_cells, places, strict=False):
        where = {"provenance": {"processor": processor, "device": "cpu"}}
        whole = {"status": "finished", "rounds": rounds(cell.length)}
        store.save(cell, store.load(cell) | whole | where)
    assert record_facts.one_processor(study, "recipe") == one


def test_a_label_saving_is_stated_as_the_share_of_labels_that_are_needed():
    """Shares of 50 and 25 % have the mean 37.5 %; that of their savings, 3, would be 33 %."""
    assert prose.share_of_labels(pd.Series([2.0, 4.0, 8 / 3])) == (
        "38 % of the labels (6 to 69 %, 3 seeds)"
    )
    assert prose.share_of_labels(pd.Series([1.0, 4.0, 5.0])) == (
        "48 % of the labels (20 to 100 % by seed, 3 seeds)"
    )
    single_seed = prose.share_of_labels(pd.Series([4.0]))
    assert single_seed == "25 % of the labels (one seed, no interval)"
    curves = {"random": [[0.5, 0.6, 0.8]] * 3, "margin": [[0.5, 0.8, 0.9]] * 3}
    text = tables.savings(results(curves)).data
    assert "by margin with 50 % of the labels (50 to 50 %, 3 seeds)." in text
    assert "own fit" not in text and tables.BY_CHANCE not in text
    curves["margin"] = [[0.5, 0.8, 0.9]] * 2 + [[0.5, 0.6, 0.7]]
    text = tables.savings(results(curves)).data
    assert "margin in 2 of 3 seeds (median" in text and text.endswith(tables.BY_CHANCE)
    curves["margin"] = [[0.5, 0.8, 0.9]] * 3
    flat = curves | {"random": [[0.5, 0.8, 0.8], *2 * [[0.5, 0.6, 0.8]]]}
    told = tables.savings(results(flat)).data
    assert told.endswith(" Random's own fit reaches its last accuracy at 83 % of its labels.")
    never = flat | {"margin": [[0.5, 0.6, 0.7]] * 3}
    assert "own fit" not in tables.savings(results(never)).data


def test_one_seed_that_misses_takes_no_saving_away():
    """Shares of 20, 25, 40 and 50 % and a seed that misses: the third of five is 40 %."""
    shares = [5.0, 4.0, 2.5, 2.0]
    assert tables.reached(pd.Series([*shares, float("nan")]), 200) == (
        "in 4 of 5 seeds (median 40 %, 80 labels; seeds that miss it ranked last)"
    )
    for savings, told in (([5.0, 4.0, *2 * [float("nan")]], "in 2 of 4 seeds"),
                          (3 * [float("nan")], "in none of 3 seeds")):  # fmt: skip
        assert tables.reached(pd.Series(savings), 200) == told
    whole = pd.Series(shares)
    assert tables.reached(whole, 200) == f"with {prose.share_of_labels(whole)}"


def test_why_an_interval_reaches_past_the_margin_is_told_where_one_does():
    """Three arms: 98.33 % intervals are wider than the 90 % ones that Holm's first test goes by."""
    past, within = 0.75 + 10 * NOISE, NOISE
    by_arm = arm_comparison.compare_with_random(
        areas(margin=past, kmeans=within, bayesian=within), "cifar10"
    )
    assert by_arm["margin"].equivalent and by_arm["margin"].difference.high > 1
    assert arm_comparison.reaches_past(by_arm, "cifar10") == (
        "The interval of margin extends beyond 1 point because it is two-sided at 98.33 %; "
        "equivalence is decided by two one-sided tests at 5 %, Holm-corrected."
    )
    assert arm_comparison.reaches_past({"kmeans": by_arm["kmeans"]}, "cifar10") == ""
    clear = arm_comparison.compare_with_random(areas(margin=5 + within), "digits")
    assert (
        arm_comparison.reaches_past(clear, "digits")
        == ""
        == arm_comparison.too_wide(clear, "digits")
    )


def test_what_is_shown_of_an_arm_is_told_in_a_few_words():
    arms = areas(margin=NOISE, kmeans=-0.4 + NOISE, bayesian=3 + NOISE, entropy=200 * NOISE)
    by_arm = arm_comparison.compare_with_random(arms, "cifar10")
    assert [each.word("cifar10") for each in by_arm.values()] == [
        "equivalent to random", "below random by less than the margin of 1 point", "above random",
        "not shown to differ from random",
    ]  # fmt: skip
    assert [each.short for each in by_arm.values()] == [
        "equivalent", "below, by less than the margin", "above", "open",
    ]  # fmt: skip


def test_seeds_have_lines_of_their_own_up_to_ten():
    for seeds in (10, 11):
        table = results({"random": [[0.5 + 0.01 * i, 0.6, 0.7] for i in range(seeds)]})
        drawn = figures.learning_curves(table).axes[0].lines
        assert len([line for line in drawn if line.get_linewidth() == 0.7]) == seeds * (seeds < 11)
        rows = {len(one) for one in charts.learning_curves(table)["datasets"].values()}
        assert rows == ({3, 30} if seeds == 10 else {3})
    band = "95 % t interval (clipped at the axes)"
    assert prose.lines_of([38]) == f"mean and {band} of 38 paired seeds"
    assert prose.lines_of([38, 3]) == (
        f"mean and {band} of 3 to 38 paired seeds, individual lines for up to 10 seeds"
    )


@pytest.mark.parametrize(("arms", "with_lines"), [(6, 6), (7, 1)])
def test_of_many_arms_random_alone_has_its_interval(arms, with_lines):
    """Three seeds, so that an arm with its spread has three thin lines."""
    names = list(POSTER_ARMS) + ["entropy", "badge"]
    table = results({arm: ABOVE["random"] for arm in names[:arms]})
    panel = figures.learning_curves(table).axes[0]
    assert len(panel.collections) == with_lines
    assert len([line for line in panel.lines if line.get_linewidth() == 0.7]) == 3 * with_lines
    chart = charts.learning_curves(table)
    band, lines, means, _ = (chart["datasets"][one["data"]["name"]] for one in chart["layer"])
    drawn = [len({row["arm"] for row in rows}) for rows in (band, lines, means)]
    assert drawn == [with_lines, with_lines, arms]
    caption = captions.learning_curves(table).static.caption
    assert ("; for arms other than random, only the mean." in caption) == (arms != with_lines)


def checked(labels: str = "a", weights: str = "b", **changes) -> dict:
    """A record's cell, and the hashes of what arms of a seed have in common."""
    cell = {"figure": "f", "dataset": "mnist", "arm": "margin", "seed": 0, "first_labels": 540}
    checks = {"first_labels": labels, "initial_weights": weights}
    return {"cell": cell | {"stem": "7x7"} | changes, "provenance": {"checks": checks}}


def test_cells_with_other_labels_or_weights_by_design_are_not_said_to_differ():
    records = [
        checked(),
        checked(weights="c", stem="3x3"),
        checked(labels="d", first_labels=990),
    ]
    assert "same within each seed" in record_facts._alike(records, "initial_weights")
    assert "same within each seed" in record_facts._alike(records, "first_labels")
    records.append(checked(weights="e", arm="kmeans"))
    assert "differ within seed 0 of mnist" in record_facts._alike(records, "initial_weights")


@pytest.mark.parametrize(
    ("change", "labels_alike", "weights_alike"),
    [
        ({}, False, False),
        ({"imbalance": 10.0}, True, False),
        ({"first_labels": 10}, True, False),
        ({"encoder": "resnet18"}, False, True),
        ({"stem": "3x3"}, False, True),
    ],
)
def test_labels_and_weights_are_compared_where_the_seed_draws_them_alike(
    change, labels_alike, weights_alike
):
    """Labels from one pool and as many, weights of one network; whatever else differs."""
    both = {"imbalance": 1.0, "encoder": "none"}
    records = [checked(**both), checked("c", "d", **both | change)]
    for what, alike in (("first_labels", labels_alike), ("initial_weights", weights_alike)):
        told = "the same within each seed" if alike else "differ within seed 0 of mnist"
        assert record_facts._alike(records, what).endswith(f"{told}.")


def test_how_bf16_was_multiplied_is_stated_for_every_place():
    able, unable = ({"bf16_products": has, "device": "cpu"} for has in (True, False))
    gpu = {"bf16_products": False, "device": "NVIDIA H100"}

    def sentences(precision: str, *places: dict) -> list[str]:
        provenance = places[-1] | {"earlier_places": list(places[:-1])}
        return record_facts._products(
            [{"cell": {"precision": precision}, "provenance": provenance}]
        )

    assert sentences("bf16", able) == sentences("bf16", able, able) == [record_facts.BF16[True]]
    assert sentences("bf16", unable, able) == [record_facts.BF16[False], record_facts.BF16[True]]
    assert sentences("bf16", gpu) == [record_facts.BF16[True]]
    assert sentences("fp32", unable) == sentences("bf16", {"device": "cpu"}) == []


def test_seeds_compared_on_several_processor_types_are_named():
    study = ActiveLearningStudy(arms=("random", "margin"), seeds=(0, 1, 2), dataset="mnist")

    def note(*types: str, study=study) -> str:
        places = [{"processor": name, "device": "cpu"} if name else {} for name in types]
        cells = zip(study.cells(), places, strict=False)
        facts = {cell.name: {"provenance": place} for cell, place in cells}
        return record_facts._processors(study, facts)

    assert note("a", "a", "b", "b", "a", "a") == note("a", "", "b", "b") == note() == ""
    assert "on several types in MNIST seed 1, which may explain part of" in note(
        "a", "a", "a", "b", "b", "b"
    )
    assert "in MNIST seeds 0 and 2, which" in note("a", "b", "a", "a", "b", "a")
    moved = {"processor": "a", "device": "cpu"}
    moved |= {"earlier_places": [{"processor": "b", "device": "cpu"}]}
    cells = [cell.name for cell in study.cells()[:2]]
    assert "seed 0" in record_facts._processors(study, {cells[0]: {"provenance": moved}})
    early = {"device": "cpu", "bf16_products": True}  # of an unnamed type
    for able in (True, False):
        late = {"device": "cpu", "bf16_products": able, "processor": "a"}
        facts = {cells[0]: {"provenance": early}, cells[1]: {"provenance": late}}
        assert ("seed 0" in record_facts._processors(study, facts)) != able
    for first, second, differ in (("ab", "bb", False), ("ab", "ac", True)):
        gpus = [{"processor": host, "device": gpu} for host, gpu in (first, second)]
        facts = {name: {"provenance": gpu} for name, gpu in zip(cells, gpus, strict=True)}
        assert bool(record_facts._processors(study, facts)) == differ


def test_cells_that_are_not_compared_may_be_of_several_processor_types():
    """Neither settings of several factors, nor figures of an audit."""

    def place(processor: str) -> dict:
        return {"processor": processor, "device": "cpu"}

    study = BeyondStudy(datasets=("mnist",), seeds=(0,))
    factors = {setting.cell.name: setting.factor for setting in study.settings()}
    by_factor = {name: {"provenance": place(factor)} for name, factor in factors.items()}
    assert record_facts._processors(study, by_factor) == ""
    last = [name for name, factor in factors.items() if factor == "ranking"][-1]
    by_factor[last] = {"provenance": place("another")}
    assert "in MNIST (ranking) seed 0," in record_facts._processors(study, by_factor)
    audit = profiles.load_study("desktop", "04-claims")
    by_figure = {cell.name: {"provenance": place(str(cell.figure))} for cell in audit.cells()}
    assert record_facts._processors(audit, by_figure) == ""


def test_verdicts_are_interim_until_every_cell_is_finished(outputs):
    study = ActiveLearningStudy(arms=("random", "margin"), seeds=(0,), profile="smoke")
    store = Store(study.profile)
    store.prepare()
    random, margin = study.cells()
    for cell, expected in ((random, "with 1 of 2 runs"), (margin, "")):
        whole = {"status": "finished", "rounds": rounds(cell.length)}
        store.save(cell, store.load(cell) | whole)
        note = record_facts.interim(study)
        assert expected in note and bool(expected) == bool(note)


def test_a_failed_training_leaves_its_seed_out_and_nothing_to_wait_for(outputs):
    study = ActiveLearningStudy(arms=("random", "margin"), seeds=(0, 3), profile="smoke")
    store = Store(study.profile)
    store.prepare()
    failed = {"status": "failed", "final": {"error": "the loss is nan"}}
    for cell in study.cells():
        whole = {"status": "finished", "rounds": rounds(cell.length)}
        wrong = (cell.arm, cell.seed) == ("margin", 3)
        store.save(cell, store.load(cell) | (failed if wrong else whole))
        note = record_facts.interim(study)
        assert ("Interim" in note) == (not wrong)
        text = record_facts.run_status(study).data
        assert text.startswith("**Interim: ") == (not wrong)
        assert "of 4 runs (one arm, dataset and seed each) are finished" in text
    assert note.endswith("and not replaced, if a training of one failed: CIFAR-10 seed 3.")


def test_a_seed_is_left_out_of_what_is_compared_with_its_failed_training_alone(outputs):
    study = profiles.load_study("smoke", "07-beyond-the-poster")
    store = Store(study.profile)
    store.prepare()
    (cell, *_) = (each.cell for each in study.settings() if each.level == "SGD")
    store.save(cell, store.load(cell) | {"status": "failed", "final": {"error": "nan"}})
    dataset = DATASETS[cell.dataset].title
    told = f"if a training of one failed: {dataset} (recipe) seed {cell.seed}."
    assert record_facts.interim(study).endswith(told)


def test_a_warning_before_an_answer_hides_nothing():
    """Neither a stream before the figure nor a cell without outputs."""
    image = '<img src="data:image/png;base64,aaaa">'
    outputs = [{"output_type": "stream", "text": "careful"}, {"data": {"text/html": [image]}}]
    cell = {"cell_type": "code", "metadata": {"tags": ["headline"]}, "outputs": outputs}
    assert page.headline({"cells": [cell]}) == (image, "aaaa")
    assert page.headline({"cells": [cell | {"outputs": []}]}) == ("", "")


def test_a_headline_in_words_has_no_image():
    words = {"output_type": "display_data", "data": {"text/markdown": "No pair is finished yet."}}
    cell = {"cell_type": "code", "metadata": {"tags": ["headline"]}, "outputs": [words]}
    notebook = {"cells": [cell], "metadata": {"title": "Nothing yet"}}
    assert page.headline(notebook) == ("", "")
    assert "Nothing yet" in page.index("smoke", {"one": notebook}, [], "")


def test_with_one_seed_nothing_is_claimed():
    table = results({arm: curves[:1] for arm, curves in ABOVE.items()})
    assert "fewer than 3 paired seeds; this run has 1." in tables.answer(table, " Interim.").data
    assert tables.answer(table, " Interim.").data.endswith(" Interim.")
    assert "no interval" in tables.differences_table(table).data


def test_tables_and_figures_hold_every_arm():
    table = results(ABOVE)
    for html in (tables.curve_table(table).data, tables.differences_table(table).data):
        assert "margin" in html
    assert "+10." in tables.differences_table(table).data
    assert figures.learning_curves(table).axes[0].get_legend() is not None
    html = captions.learning_curves(table).static.data
    assert "<figcaption>Figure 4. Test accuracy on MNIST against labels" in html
    assert "K-means from" in html
    html = captions.gains(table).data
    assert "individual lines of 3 paired seeds, not corrected." in html
    assert "margin from +10.3 points at 100 labels to +10.3 points at 400" in html


def test_a_figure_with_an_arm_of_a_user_is_none_of_the_poster_s():
    html = captions.learning_curves(results(ABOVE | {"mine": ABOVE["random"]})).static.data
    assert "<figcaption>Learning curves. Test accuracy on MNIST against labels" in html


def test_a_chart_has_the_markers_of_the_static_figure():
    arms = [*FURTHER[:3], "random", "of a user"]
    table = results({arm: ABOVE["random"] for arm in arms})
    drawn = figures.learning_curves(table).axes[0].get_legend().legend_handles
    (shapes,) = (
        layer["encoding"]["shape"]["scale"]["range"]
        for layer in charts.learning_curves(table)["layer"]
        if "shape" in layer["encoding"]
    )
    assert len(set(shapes)) == len({handle.get_marker() for handle in drawn}) == len(arms)
    assert shapes[arms.index("random")] == "circle"
    diamond = charts._outline("D").strip("MZ").split("L")
    assert diamond == ["0,1.414", "1.414,0", "0,-1.414", "-1.414,0", "0,1.414"]


def test_a_chart_holds_its_numbers_and_says_where_one_seed_leaves_no_interval():
    two_seeds = results({"random": [[0.5, 0.6, 0.7], [0.6, 0.6, 0.7]]})
    chart = charts.learning_curves(two_seeds.drop(index=5))
    band, lines, means, marks = (chart["datasets"][one["data"]["name"]] for one in chart["layer"])
    assert band == means == marks
    low, high = stats.t.interval(0.95, 1, 55, 5)
    assert means[0] == {"arm": "random", "labels": 100, "accuracy": 55.0, "low": round(low, 3),
                        "high": round(high, 3), "interval": f"{low:.2f} to {high:.2f}"}  # fmt: skip
    assert means[2] == {"arm": "random", "labels": 400, "accuracy": 70.0, "low": None,
                        "high": None, "interval": "none (one seed)"}  # fmt: skip
    assert lines[3] == {"arm": "random", "labels": 100, "accuracy": 60.0, "seed": 1}
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart


def test_captions_and_tables_name_their_dataset():
    caption = captions.area_differences(results(ABOVE)).data
    assert "<figcaption>MNIST: area under the budget curve of each arm minus" in caption
    assert "MNIST: wins of, over" in tables.wins(results(ABOVE)).data


def test_captions_and_alternative_text_are_escaped():
    html = prose.show(figures.learning_curves(results(ABOVE)), "a < b", 'say "x"').data
    assert "a &lt; b" in html and "&quot;x&quot;" in html and "base64," in html


def test_reductions_name_what_differs_from_the_poster():
    text = setup.departures(profiles.load_study("quick", "03-mnist-active-learning")).data
    assert "`epochs`: 10 instead of 100" in text and "candidates drawn at random" in text
    unreduced = setup.departures(profiles.load_study("poster", "03-mnist-active-learning")).data
    assert "`epochs`" not in unreduced and "addition" not in unreduced
    replica = setup.departures(profiles.load_study("replica", "03-mnist-active-learning")).data
    assert replica.endswith("The curve of random labels is this study's addition: the authors "
                            "trained on random labels once, at the last label count (here "
                            "“baseline run”).")  # fmt: skip


def test_reductions_name_another_recipe_and_leave_another_dataset_to_its_title():
    changes = {"optimiser": "sgd", "weight_decay": 5e-4, "augmentation": "crop-flip",
               "schedule": "cosine", "stem": "3x3", "start": "warm"}  # fmt: skip
    text = setup.departures(ActiveLearningStudy(**changes)).data
    for line in ("`optimiser`: sgd instead of adam", "`weight_decay`: 0.0005 instead of 0",
                 "`augmentation`: crop-flip instead of none", "`start`: warm instead of cold",
                 "in 6 parameters"):  # fmt: skip
        assert line in text
    fashion = ActiveLearningStudy(dataset="fashion-mnist")
    assert "unreduced" in setup.departures(fashion).data


def test_an_arm_of_a_user_has_a_style_of_its_own():
    assert figures.arm_style("mine", ["random", "mine"]) not in map(figures.arm_style, BUILT_IN)


def test_no_two_arms_look_or_are_called_the_same():
    arms = [*POSTER_ARMS, *CONTROLS, *FURTHER, *ORACLES]
    user_arms = [f"mine {i}" for i in range(5)]
    styles = [figures.arm_style(arm, [*arms, *user_arms]) for arm in [*arms, *user_arms]]
    assert len({(to_hex(colour), marker) for colour, marker in styles}) == len(styles)
    assert len({to_hex(figures.arm_style(arm)[0]) for arm in FURTHER}) == len(FURTHER)
    assert len({arm_title(arm) for arm in arms}) == len(arms)


def test_arms_of_about_one_shape_have_colours_that_differ_clearly():
    shapes = {"h": "H", "d": "D"}
    by_shape: dict[str, list[np.ndarray]] = {}
    for arm in BUILT_IN:
        colour, marker = figures.arm_style(arm)
        by_shape.setdefault(shapes.get(marker, marker), []).append(255 * np.array(to_rgb(colour)))
    for colours in by_shape.values():
        for first, second in combinations(colours, 2):
            assert np.linalg.norm(first - second) >= 100


def test_published_numbers_are_those_of_the_tables():
    size = published.training_size()
    assert len(size) == 30 and size["accuracy"].max() == 98.40
    theirs = published.active_learning("cifar10")
    curve = theirs[theirs["arm"] == "kmeans"]
    assert len(curve) == 16 and curve["accuracy"].iloc[-1] == 57.56
    assert theirs[theirs["arm"] == "random"]["accuracy"].tolist() == [55.56]
    assert published.active_learning("digits").empty


def test_a_missing_dataset_in_the_published_numbers_leaves_the_note_true():
    frame = results({"random": [[0.1] * 3] * 2}).assign(dataset="digits")
    assert "no numbers for this dataset" in tables.published_note(frame).data


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_training_size_sentences(dataset):
    frame = pd.DataFrame(results({"random": [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]}))
    frame = frame.assign(dataset=dataset, figure=2)
    text = tables.size_sentences(frame).data
    assert "15.00 % at 100 labels and 35.00 % at 400" in text and "+20.00 points" in text
    assert "Hollow points" not in captions.training_size(frame).data  # theirs begin at 540
    more = frame.assign(labels=2 * frame["labels"])
    assert ("Hollow points" in captions.training_size(more).data) == (dataset == "mnist")


def test_published_points_are_drawn_and_named_for_arms_of_the_table_alone():
    frame = results(ABOVE).assign(labels=lambda rows: 10 * rows["labels"], figure=4)
    assert set(figures.published_arms(frame)["arm"]) == {"margin", "kmeans", "bayesian"}
    two_arms = frame[frame["arm"].isin(["random", "margin"])]
    assert set(figures.published_arms(two_arms)["arm"]) == {"margin"}
    assert figures.published_arms(two_arms.assign(encoder="resnet18")).empty
    for few in (
        two_arms.assign(labels=two_arms["labels"] // 10),
        two_arms.replace({"margin": "badge"}),
    ):
        assert figures.published_arms(few).empty
        assert "Hollow" not in captions.learning_curves(few).static.data
        assert "for other arms, or for more labels" in tables.published_note(few).data
