"""How good the head is by now, how many more labels a target needs, and whether to stop.

All rests on the images that were drawn at random. An image is drawn from those that have no answer
and are not being asked for, and the head that guesses its class has not seen its answer: so the
share of right guesses is an unbiased estimate of the accuracy, at that time, on these, whatever the
arm chose before. On all images without an answer the accuracy differs from it by at most the share
of them that is being asked for; it is lower where the arm asks for what the head is least sure of.
That is nothing among thousands, and may be points where a page is a tenth of what is left. Images
that were skipped or are of no class are left out: the accuracy is that on images that a person can
give a class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from alutils.labelling.batches import Batch
from alutils.labelling.entries import LABEL, RANDOM_SHARE, Answers
from alutils.reporting.forecast import (
    FEWEST_ROUNDS,
    CannotTell,
    Forecast,
    forecast,
    standard_errors,
)
from alutils.reporting.statistics import LEVEL
from alutils.reporting.stopping import (
    error_difference,
    overall_uncertainty,
    stabilising_predictions,
)
from alutils.running import stability

MERGED = 10
"""Images at random, of trainings in a row, that make a point of the curve at least."""

LATELY = 30
"""Images at random, the last ones, whose share of right guesses lags less behind the head."""

SHOWING = 100
"""Images at random, the latest, that show whether a target is reached, or more: ``enough``."""


@dataclass(frozen=True)
class Guess:
    """An image at random with its answer, and what was guessed before that.

    Attributes
    ----------
    right : whether the guess is the answer that holds
    model, labels : number of the training that guessed, and labels it had
    shown : whether the guess was seen before the first answer
    label : the class that the answer names
    """

    right: bool
    model: int
    labels: int
    shown: bool
    label: str = ""


@dataclass(frozen=True)
class RunningAccuracy:
    """Share of right guesses (%) with its Wilson interval.

    Attributes
    ----------
    accuracy, low, high : in percent
    images : those it rests on, of which ``shown`` were answered with the guess in sight
    heads : number of the trainings that guessed
    labels : the fewest and the most that they had
    """

    accuracy: float
    low: float
    high: float
    images: int
    shown: int
    heads: int
    labels: tuple[int, int]

    def __str__(self) -> str:
        first, last = self.labels
        over = f"{first:,} labels" if first == last else f"{first:,} to {last:,} labels"
        heads = "of the head" if self.heads == 1 else f"averaged over {self.heads:,} heads"
        shown = f", {self.shown:,} of them with the guess in sight" if self.shown else ""
        images = f"{self.images:,} image{'' if self.images == 1 else 's'}"
        return (
            f"{self.accuracy:.1f} % ({self.low:.1f} to {self.high:.1f}, {images} at "
            f"random{shown}), {heads} with {over}, on images not answered at the time"
        )


@dataclass(frozen=True)
class Reached:
    """A target that the ``latest`` images at random show to be reached."""

    latest: RunningAccuracy


def guesses(answers: Answers, batch: int) -> list[Guess]:
    """Every image at random that a head guessed and that has a label now, in the order asked for.

    ``batch`` is the number of answers between two trainings.
    """
    current = answers.current
    found = []
    for image, first in answers.first.items():
        now = current.get(image)
        if now and now.action == LABEL and first.asked == RANDOM_SHARE and first.guess:
            if labels := _labels_of(first.model, answers.counts, batch):
                right = first.guess == now.label
                found.append(Guess(right, first.model, labels, first.shown, now.label))
    return found


def _labels_of(model: int, counts: Sequence[int], batch: int) -> int:
    """Labels that a training had; 0 where the turns that a repair left were too few for one."""
    turns = min(model * batch, len(counts))
    return counts[turns - 1] if turns else 0


def running_accuracy(guessed: Sequence[Guess]) -> RunningAccuracy | None:
    """The share of right guesses, over all the trainings that guessed; None without a guess.

    For a newer but less sure value give the last of ``guesses`` alone. The interval is Wilson's
    (1927). Accuracy rises from head to head, so over many heads it lags behind the last one's.
    """
    if not guessed:
        return None
    right, images = sum(guess.right for guess in guessed), len(guessed)
    low, high = wilson(right, images)
    heads = len({guess.model for guess in guessed})
    labels = [guess.labels for guess in guessed]
    return RunningAccuracy(
        100 * right / images, low, high, images, sum(guess.shown for guess in guessed),
        heads, (min(labels), max(labels)),
    )  # fmt: skip


def wilson(right: int, images: int) -> tuple[float, float]:
    """Wilson's interval in percent."""
    from statsmodels.stats.proportion import proportion_confint

    share = 100 * right / images  # which rounding puts beyond an end at 0 or 100 %
    low, high = proportion_confint(right, images, alpha=1 - LEVEL, method="wilson")
    return min(100 * float(low), share), max(100 * float(high), share)


def curve(guessed: Sequence[Guess]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy against labels in points of ``MERGED`` images or more.

    Returns label counts, rising; the number of right guesses; and that of images, int64 (R,).
    Trainings with the same number of labels share a point, and what is left at the end goes to the
    last one.
    """
    points: list[list[Guess]] = [[]]
    for labels in sorted({guess.labels for guess in guessed}):
        if len(points[-1]) >= MERGED:
            points.append([])
        points[-1] += [guess for guess in guessed if guess.labels == labels]
    if len(points) > 1 and len(points[-1]) < MERGED:
        points[-2:] = [points[-2] + points[-1]]
    points = [point for point in points if len(point) >= MERGED]
    return (
        np.array([round(np.mean([guess.labels for guess in p])) for p in points], dtype=int),
        np.array([sum(guess.right for guess in p) for p in points], dtype=int),
        np.array([len(p) for p in points], dtype=int),
    )


def more_labels(
    guessed: Sequence[Guess], labels: int, target: float, rng: np.random.Generator
) -> Forecast | Reached | CannotTell:
    """Labels that a target (%) needs beyond the ``labels`` there are, or why that can't be told.

    A target counts as reached where Wilson's interval for the latest images at random lies above
    it: for the latest ``enough``, whatever they show, or for all where there are fewer. The
    interval holds for one look, and this one is taken again after every training: it says so once
    in a while where the accuracy is just below the target. The forecast is that of
    ``reporting.forecast`` on ``curve``, less what was labelled since its last point.
    """
    latest = running_accuracy(guessed[-enough(target) :])
    if latest and latest.low >= target:
        return Reached(latest)
    counts, right, images = curve(guessed)
    if len(counts) < FEWEST_ROUNDS:
        return CannotTell(
            "rounds",
            f"a forecast needs {FEWEST_ROUNDS} points of {MERGED} images at random or more, and "
            f"so far there are {len(counts)}, of {len(guessed)} images",
        )
    accuracy = 100 * right / images
    interval = f"{latest.accuracy:.1f} %, {latest.low:.1f} to {latest.high:.1f}"
    if latest.accuracy >= target:
        reason = f"the last {latest.images} images at random reach it and are too few to show it"
        return CannotTell("rounds", f"{reason} ({interval})")
    if accuracy[-1] >= target:
        reason = f"the last {images[-1]} images at random reach it, too few to show it; the last"
        return CannotTell("rounds", f"{reason} {latest.images} do not ({interval})")
    errors = [standard_errors(a, n) for a, n in zip(accuracy, images, strict=True)]
    told = forecast(counts, accuracy, target, rng, errors=errors)
    if isinstance(told, CannotTell):
        return told
    since = labels - int(counts[-1])
    return replace(told, **{key: max(0, more - since) for key, more in vars(told).items()})


def enough(target: float) -> int:
    """Images whose Wilson interval can show that a target (%) is reached, though some are wrong.

    Twice as many as show it where every guess is right, and ``SHOWING`` at least.
    """
    share = target / 100
    square = stats.norm.ppf((1 + LEVEL) / 2) ** 2
    return max(SHOWING, 2 * math.ceil(square * share / max(1 - share, 1e-9)))


def forecast_sentence(told: Forecast | Reached | CannotTell, target: float) -> str:
    """A forecast in words."""
    if isinstance(told, CannotTell):
        return f"cannot be told for {target:g} %: {told.reason}"
    if isinstance(told, Reached):
        by = told.latest
        return (
            f"{target:g} % is reached: {by.accuracy:.1f} % ({by.low:.1f} to {by.high:.1f}) of the "
            f"last {by.images:,} images at random"
        )
    if told == Forecast(0, 0, 0):
        return f"{target:g} % should be reached by now; that is not measured yet"
    return f"about {told.more:,} ({told.low:,} to {told.high:,}) more for {target:g} %"


RULES = {
    "predictions are stable": "Bloodgood and Vijay-Shanker, 2009",
    "little is uncertain": "Zhu et al., 2008",
    "the error hardly changes": "after Ishibashi and Hino, 2020",
}
"""Rules of ``reporting.stopping`` by what they find, with their source."""


def stopping(trainings: Sequence[Batch]) -> dict[str, np.ndarray]:
    """Whether each rule says stop after each of the trainings, bool (T,); one at least is there.

    They read the pool without its labels, so they need no image at random: how the head's
    predictions change from a training to the next, on those of the stop set that have no answer,
    and how uncertain they are.
    """
    steps = [_step(*pair) for pair in zip(trainings, trainings[1:], strict=False)]
    unknown = {"kappa": np.nan, "error_bound": np.nan}
    kappas, limits = (
        np.array([step[key] for step in (unknown, *steps)]) for key in ("kappa", "error_bound")
    )
    classes = np.array([max(2, len(batch.head.classes)) for batch in trainings])
    entropies = np.array([batch.entropy for batch in trainings])
    says = (
        stabilising_predictions(kappas),
        overall_uncertainty(entropies, classes),
        error_difference(limits),
    )
    return dict(zip(RULES, says, strict=True))


def _step(before: Batch, now: Batch) -> dict[str, float]:
    """What two trainings that follow each other say of the step between them, or NaN."""
    rows = now.unanswered_S
    if now.number != before.number + 1 or rows.sum() < 2:
        return {"kappa": np.nan, "error_bound": np.nan}
    new = now.stop_probs_S_C.shape[1] - before.stop_probs_S_C.shape[1]
    earlier = np.pad(before.stop_probs_S_C, ((0, 0), (0, new)))
    return stability.changes(earlier[rows], now.stop_probs_S_C[rows])


def stopping_sentence(trainings: Sequence[Batch]) -> str:
    """What the rules say, in words."""
    if len(trainings) < 2:
        return "cannot be told: a rule needs two trainings at least"
    labels = [batch.head.labels for batch in trainings]
    return "; ".join(
        f"{rule} ({RULES[rule]}): {_said(says, labels)}"
        for rule, says in stopping(trainings).items()
    )


def _said(says: np.ndarray, labels: Sequence[int]) -> str:
    """Whether a rule says stop now, and since how many labels, or that it did before."""
    if not says.any():
        return "no"
    if not says[-1]:
        return f"no longer, as it did at {labels[np.flatnonzero(says)[-1]]:,} labels"
    unbroken = len(says) - int(np.argmin([*says[::-1], False]))
    return f"yes, since {labels[unbroken]:,} labels"


def advice(
    guessed: Sequence[Guess], trainings: Sequence[Batch], labels: int, target: float
) -> dict[str, str]:
    """How good the head is, how many more labels a target (%) needs, and whether to stop."""
    accuracy = running_accuracy(guessed)
    lately = running_accuracy(guessed[-LATELY:]) if len(guessed) > LATELY else None
    more = more_labels(guessed, labels, target, np.random.default_rng(0))
    return {
        "Accuracy": str(accuracy or "no image at random has a guess and a label yet"),
        **({"Accuracy lately": str(lately)} if lately else {}),
        "How many more": forecast_sentence(more, target),
        "Whether to stop": stopping_sentence(trainings),
    }
