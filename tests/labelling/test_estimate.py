import math
from dataclasses import replace

import numpy as np
import pytest

from alutils.labelling import estimate
from alutils.labelling.batches import Head, TrainingResult
from alutils.labelling.entries import Answers, Entry
from alutils.labelling.estimate import Guess, Reached
from alutils.reporting.forecast import Forecast, NoForecast, forecast, standard_errors
from alutils.running import stability


def answers(*lines: dict) -> Answers:
    """The answers of some lines, with two classes."""
    start = Entry(1, "", "start", facts={"classes": ["ant", "bee"]})
    return Answers([start, *(Entry(i, "", **line) for i, line in enumerate(lines, 2))])


def line(image: str, label: str, **fields) -> dict:
    fields = {"action": "label", "asked": "random share", "guess": "ant", "model": 1} | fields
    return {"image": image, "label": label} | fields


def test_a_guess_is_held_against_the_answer_that_holds_and_was_made_before_any():
    kept = answers(
        line("a", "ant", asked="first batch", guess="", model=0),
        line("b", "bee", asked="first batch", guess="", model=0),
        line("right", "ant"),
        line("wrong", "bee", shown=True),
        line("arm's", "bee", asked="margin"),
        line("skipped", "", action="skip"),
        line("no class", "", action="none-of-these"),
        line("changed", "bee"),
        line("changed", "ant", asked="change", guess=""),
        line("undone", "bee", guess="bee", model=4),
        line("undone", "", action="undo"),
        line("undone", "ant", guess="ant", model=4),
    )
    assert kept.counts == [1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 6, 7]
    assert estimate.guesses(kept, batch=2) == [
        Guess(True, 1, 2, False, "ant"), Guess(False, 1, 2, True, "bee"),
        Guess(True, 1, 2, False, "ant"), Guess(False, 4, 6, False, "ant"),
    ]  # fmt: skip


def test_the_interval_is_wilsons():
    """Against the formula written out."""
    guessed = [Guess(i < 7, 1 + i // 5, 10 + i, i == 0) for i in range(10)]
    p, n, z = 0.7, 10, 1.959963984540054
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    running = estimate.running_accuracy(guessed)
    assert running.accuracy == 70.0
    assert (running.low, running.high) == pytest.approx(
        (100 * (middle - half), 100 * (middle + half))
    )
    assert (running.images, running.shown, running.labels) == (10, 1, (10, 19))
    assert running.heads == 2
    apart = estimate.running_accuracy([guessed[0], replace(guessed[1], model=9)])
    assert "averaged over 2 heads" in str(apart)  # seven trainings between guessed nothing
    assert str(running) == (
        "70.0 % (39.7 to 89.2, 10 random images, 1 of them with the guess visible), averaged over "
        "2 heads trained on 10 to 19 labels, on images not yet answered at the time"
    )
    assert str(estimate.running_accuracy(guessed[3:4])) == (
        "100.0 % (20.7 to 100.0, 1 random image), of the head trained on 13 labels, on images not "
        "yet answered at the time"
    )
    assert estimate.running_accuracy([]) is None


@pytest.mark.parametrize("images", range(1, 101))
def test_no_share_lies_outside_its_interval(images):
    """Guards: all of ten right, of which rounding put the interval's end below 100 %."""
    assert estimate.wilson(images, images)[1] >= 100 and estimate.wilson(0, images)[0] <= 0


def test_a_point_of_the_curve_has_ten_images_and_whole_trainings():
    guessed = []
    for labels, right, images in ((10, 1, 4), (20, 3, 7), (30, 6, 12), (20, 1, 1), (40, 3, 3)):
        guessed += [Guess(i < right, labels // 10, labels, False) for i in range(images)]
    counts, right, images = estimate.curve(guessed)
    assert counts.tolist() == [round((4 * 10 + 8 * 20) / 12), round((12 * 30 + 3 * 40) / 15)]
    assert right.tolist() == [5, 9] and images.tolist() == [12, 15]
    assert [part.tolist() for part in estimate.curve(guessed[:9])] == [[], [], []]


RIGHT = [1051, 1329, 1452, 1526, 1576, 1613, 1641, 1665]
"""Of 2,000 images at 10 to 80 labels: wrong is a share of 1.5 over the root of the labels."""


def rising(last: int = 8) -> list[Guess]:
    """2,000 images a training, whose guesses are right as ``RIGHT`` has it, evenly spread."""
    return [
        Guess(i * count // 2000 < (i + 1) * count // 2000, number, 10 * number, False)
        for number, count in enumerate(RIGHT[:last], 1)
        for i in range(2000)
    ]


def test_a_forecast_is_that_of_the_curve_less_what_was_labelled_since():
    guessed = rising()
    counts = 10 * np.arange(1, 9)
    accuracy = np.array(RIGHT) / 20
    errors = [standard_errors(value, 2000) for value in accuracy]
    told = forecast(counts, accuracy, 87.0, np.random.default_rng(1), errors=errors)
    assert isinstance(told, Forecast) and told.low < 40 < told.more < told.high
    more = estimate.more_labels(guessed, 120, 87.0, np.random.default_rng(1))
    assert more == Forecast(told.more - 40, 0, told.high - 40)
    assert estimate.forecast_sentence(more, 87.0) == (
        f"about {told.more - 40:,} (0 to {told.high - 40:,}) more for 87 %"
    )
    assert estimate.forecast_sentence(Forecast(1200, 70, 30_000), 95) == (
        "about 1,200 (70 to 30,000) more for 95 %"
    )


def test_what_can_not_be_told_says_why():
    rng = np.random.default_rng(0)
    few = estimate.more_labels(rising(4), 40, 95.0, rng)
    assert estimate.forecast_sentence(few, 95.0) == (
        "not known yet for 95 %: a forecast needs 5 points of at least 10 random images each; so "
        "far it has 4, from 8000 images"
    )
    assert estimate.more_labels([], 0, 95.0, rng).kind == "rounds"
    unsure = estimate.more_labels(rising(), 80, 83.0, rng)
    assert unsure == NoForecast(
        "rounds",
        "the last 100 random images reach it, but are too few to show it (84.0 %, 75.6 to 89.9)",
    )
    flat = [Guess(i % 2 == 0, n, 10 * n, False) for n in range(1, 8) for i in range(20)]
    assert estimate.more_labels(flat, 70, 95.0, rng).kind == "constant"


def two_a_training(trainings: int, wrong: tuple[int, ...] = (), early: int = 15) -> list[Guess]:
    """Two images a training, wrong in the ``early`` ones, then right but for those ``wrong``."""
    return [
        Guess(i >= 2 * early and i not in wrong, 1 + i // 2, 10 * (1 + i // 2), False)
        for i in range(2 * trainings)
    ]


def test_a_target_is_reached_once_enough_of_the_latest_images_show_it():
    """Two images at random a training, as with the defaults; the first thirty are wrong."""
    rng = np.random.default_rng(0)
    assert (estimate.images_needed(95), estimate.images_needed(99), estimate.images_needed(50)) == (
        146,
        762,
        100,
    )
    assert estimate.images_needed(100) > 10**9
    says = [
        estimate.more_labels(two_a_training(count), 10 * count, 95.0, rng)
        for count in range(80, 90)
    ]
    shown = [isinstance(told, Reached) for told in says]
    assert shown == sorted(shown) and 0 < sum(shown) < 10
    assert estimate.forecast_sentence(says[shown.index(True)], 95.0) == (
        "95 % is reached: 98.6 % (95.1 to 99.6) on the last 146 random images"
    )


def test_a_target_that_a_lucky_stretch_alone_reaches_is_not_reached():
    """The rule takes the latest images, be they better or worse than others."""
    rng = np.random.default_rng(0)
    late = two_a_training(150, wrong=tuple(range(280, 300, 4)))
    before = estimate.more_labels(late[:280], 1400, 95.0, rng)
    assert isinstance(before, Reached)
    assert estimate.more_labels(late, 1500, 95.0, rng) == NoForecast(
        "rounds",
        "the last 146 random images reach it, but are too few to show it (96.6 %, 92.2 to 98.5)",
    )
    lucky = two_a_training(80, wrong=tuple(range(60, 150, 3)))
    assert estimate.more_labels(lucky, 800, 95.0, rng) == NoForecast(
        "rounds",
        "the last 10 random images reach it, too few to show it; the last 146 do not (68.5 %, 60.6 "
        "to 75.5)",
    )


def test_a_forecast_that_the_labels_since_have_caught_up_with_is_not_measured():
    told = estimate.more_labels(rising(), 100_000, 87.0, np.random.default_rng(1))
    assert told == Forecast(0, 0, 0)
    assert estimate.forecast_sentence(told, 87.0) == (
        "87 % should be reached by now, but that is not measured yet"
    )


def test_a_guess_of_a_training_that_a_repair_left_too_few_turns_for_is_left_out():
    kept = answers(line("a", "ant", model=9), line("b", "ant", model=0), line("c", "ant"))
    assert [guess.labels for guess in estimate.guesses(kept, batch=2)] == [3, 2]
    skips = answers(line("a", "", action="skip"), line("b", "", action="skip"), line("c", "ant"))
    assert estimate.guesses(skips, batch=2) == []


def training(
    number: int, probs: list, unanswered: list, entropy: float, classes: int = 2
) -> TrainingResult:
    head = Head(None, ("ant", "bee", "cat")[:classes], 10 * number)
    return TrainingResult(
        number, "margin", (), head, np.array(probs), np.array(unanswered), entropy
    )


def test_stopping_rules_read_what_has_no_answer_and_what_follows_each_other():
    sure, other = [[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]], [[0.1, 0.9], [0.2, 0.8], [0.8, 0.2]]
    last_two = [False, True, True]
    trainings = [
        training(1, sure, [True] * 3, 0.6),
        training(2, other, last_two, 0.5),  # the image that changed has an answer
        training(3, other, last_two, 0.03),
        training(4, other, last_two, 0.2),
    ]
    assert {rule: says.tolist() for rule, says in estimate.stopping(trainings).items()} == {
        "predictions are stable": [False, False, False, True],
        "little is uncertain": [False, False, True, False],
        "the error hardly changes": [False, True, True, True],
    }
    apart = [trainings[0], *trainings[2:]]  # training 2 is not known yet
    assert estimate.stopping(apart)["the error hardly changes"].tolist() == [False, False, True]
    assert not estimate.stopping(apart)["predictions are stable"].any()
    assert estimate.stopping_sentence(trainings) == (
        "predictions are stable (Bloodgood and Vijay-Shanker, 2009): yes, since 40 labels; little "
        "is uncertain (Zhu et al., 2008): no longer, but it did at 30 labels; the error hardly "
        "changes (after Ishibashi and Hino, 2020): yes, since 20 labels"
    )
    assert estimate.stopping_sentence(trainings[:1]) == (
        "not known yet: a rule needs at least two trainings"
    )


def test_a_rule_says_stop_since_it_last_began_to():
    """And an entropy is held against that of the classes that there were then."""
    probs, nothing = [[0.9, 0.1]] * 3, [True] * 3
    entropies = [0.01, 0.6, 0.01, 0.01]
    again = [training(i, probs, nothing, e) for i, e in enumerate(entropies, 1)]
    assert "little is uncertain (Zhu et al., 2008): yes, since 30 labels" in (
        estimate.stopping_sentence(again)
    )
    more = [[0.8, 0.1, 0.1]] * 3
    grown = [training(1, probs, nothing, 0.04), training(2, more, nothing, 0.06, classes=3)]
    assert estimate.stopping(grown)["little is uncertain"].tolist() == [False, False]
    assert "little is uncertain (Zhu et al., 2008): no;" in estimate.stopping_sentence(grown)


def test_a_target_that_few_images_show_to_be_reached_needs_no_forecast():
    guessed = two_a_training(20, early=0)
    told = estimate.more_labels(guessed, 200, 80.0, np.random.default_rng(0))
    assert isinstance(told, Reached) and told.latest.images == 40
    assert isinstance(estimate.more_labels([], 0, 80.0, np.random.default_rng(0)), NoForecast)


def test_a_class_that_was_added_between_two_trainings_had_no_probability():
    before = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    now = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]])
    pair = training(1, before, [True] * 3, 1), training(2, now, [True] * 3, 1, 3)
    padded = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]])
    assert estimate._step(*pair) == stability.changes(padded, now)
    nothing_left = training(2, now, [True, False, False], 1, 3)
    assert all(np.isnan(value) for value in estimate._step(pair[0], nothing_left).values())


def test_advice_tells_of_the_last_images_too_once_there_are_more():
    guessed = [Guess(i >= 30, i // 6, 10 * (1 + i // 6), False) for i in range(60)]
    told = estimate.advice(guessed, [], 100, 90.0)
    assert list(told) == ["Accuracy", "Recent accuracy", "How many more", "Whether to stop"]
    assert told["Accuracy"].startswith("50.0 %")
    assert told["Recent accuracy"].startswith("100.0 % (88.6 to 100.0, 30 random images)")
    assert "Recent accuracy" not in estimate.advice(guessed[:30], [], 100, 90.0)
