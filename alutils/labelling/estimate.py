"""How good the head is so far, how many more labels a target needs, and whether to stop.

Everything is estimated from images drawn at random. Each is drawn from those that have no answer
and are not being asked for, and the head that guesses its class has not seen its answer. So the
share of correct guesses is an unbiased estimate of the accuracy on these images at that time,
whatever the arm chose before. On all images without an answer, the accuracy differs from it by at
most the share of them that is being asked for; it is lower if the arm asks for those that the head
is least sure of. The difference is negligible among thousands of images, but may be several points
if a page is a tenth of what is left. Images that were skipped or are of no class are left out: the
accuracy is that on images that a person can assign to a class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from alutils.labelling.batches import TrainingResult
from alutils.labelling.entries import LABEL, RANDOM_SHARE, Answers
from alutils.reporting.forecast import (
    FEWEST_ROUNDS,
    Forecast,
    NoForecast,
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
"""Minimum number of random images, of consecutive trainings, for a point of the curve."""

LATELY = 30
"""Latest random images, whose share of correct guesses lags less behind the head."""

SHOWING = 100
"""Fewest latest random images that show whether a target is reached (see ``images_needed``)."""


@dataclass(frozen=True)
class Guess:
    """A random image with its answer, and the guess made before that.

    Attributes
    ----------
    right : whether the guess is the current answer
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
    """Share of correct guesses (%) with its Wilson interval.

    Attributes
    ----------
    accuracy, low, high : in percent
    images, shown : number of images, and of those answered with the guess visible
    heads : number of trainings that guessed
    labels : the fewest and the most labels of these trainings
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
        shown = f", {self.shown:,} of them with the guess visible" if self.shown else ""
        images = f"{self.images:,} random image{'' if self.images == 1 else 's'}"
        return (
            f"{self.accuracy:.1f} % ({self.low:.1f} to {self.high:.1f}, {images}{shown}), "
            f"{heads} trained on {over}, on images not yet answered at the time"
        )


@dataclass(frozen=True)
class Reached:
    """A target that the ``latest`` random images show to be reached."""

    latest: RunningAccuracy


def guesses(answers: Answers, batch: int) -> list[Guess]:
    """Every random image that a head guessed and that has a label now, in order of first answers.

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
    """Number of labels that a training had; 0 if a repair left too few turns for any."""
    turns = min(model * batch, len(counts))
    return counts[turns - 1] if turns else 0


def running_accuracy(guessed: Sequence[Guess]) -> RunningAccuracy | None:
    """The share of correct guesses over all trainings that guessed; None without a guess.

    For a more recent but less certain value, pass only the last of ``guesses``. The interval is
    Wilson's (1927). Accuracy rises from head to head, so an average over many lags behind the last.
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

    share = 100 * right / images  # may lie outside the interval by rounding, at 0 or 100 %
    low, high = proportion_confint(right, images, alpha=1 - LEVEL, method="wilson")
    return min(100 * float(low), share), max(100 * float(high), share)


def curve(guessed: Sequence[Guess]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy against labels in points of ``MERGED`` images or more.

    Returns rising label counts, and for each the number of correct guesses and of images, all
    int64 (R,). Trainings with the same number of labels share a point, and images left over at the
    end go to the last point.
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
) -> Forecast | Reached | NoForecast:
    """Labels that a target (%) needs beyond the current ``labels``, or why that is unknown.

    A target counts as reached if Wilson's interval for the latest random images lies above it: for
    the latest ``images_needed`` of them, whatever they show, or for all if there are fewer. The
    interval holds for a single look, and this one is repeated after every training, so it will
    occasionally call a target reached when the accuracy is just below it. The forecast is that of
    ``reporting.forecast`` on ``curve``, minus the labels given since its last point.
    """
    latest = running_accuracy(guessed[-images_needed(target) :])
    if latest and latest.low >= target:
        return Reached(latest)
    counts, right, images = curve(guessed)
    if len(counts) < FEWEST_ROUNDS:
        return NoForecast(
            "rounds",
            f"a forecast needs {FEWEST_ROUNDS} points of at least {MERGED} random images each; "
            f"so far it has {len(counts)}, from {len(guessed)} images",
        )
    accuracy = 100 * right / images
    interval = f"{latest.accuracy:.1f} %, {latest.low:.1f} to {latest.high:.1f}"
    if latest.accuracy >= target:
        reason = f"the last {latest.images} random images reach it, but are too few to show it"
        return NoForecast("rounds", f"{reason} ({interval})")
    if accuracy[-1] >= target:
        reason = f"the last {images[-1]} random images reach it, too few to show it; the last"
        return NoForecast("rounds", f"{reason} {latest.images} do not ({interval})")
    errors = [standard_errors(a, n) for a, n in zip(accuracy, images, strict=True)]
    told = forecast(counts, accuracy, target, rng, errors=errors)
    if isinstance(told, NoForecast):
        return told
    since = labels - int(counts[-1])
    return replace(told, **{key: max(0, more - since) for key, more in vars(told).items()})


def images_needed(target: float) -> int:
    """Number of images whose Wilson interval can show a target (%) as reached despite some errors.

    Twice as many as are needed if every guess is correct, and at least ``SHOWING``.
    """
    share = target / 100
    square = stats.norm.ppf((1 + LEVEL) / 2) ** 2
    return max(SHOWING, 2 * math.ceil(square * share / max(1 - share, 1e-9)))


def forecast_sentence(told: Forecast | Reached | NoForecast, target: float) -> str:
    """A forecast in words."""
    if isinstance(told, NoForecast):
        return f"not known yet for {target:g} %: {told.reason}"
    if isinstance(told, Reached):
        by = told.latest
        return (
            f"{target:g} % is reached: {by.accuracy:.1f} % ({by.low:.1f} to {by.high:.1f}) on the "
            f"last {by.images:,} random images"
        )
    if told == Forecast(0, 0, 0):
        return f"{target:g} % should be reached by now, but that is not measured yet"
    return f"about {told.more:,} ({told.low:,} to {told.high:,}) more for {target:g} %"


RULES = {
    "predictions are stable": "Bloodgood and Vijay-Shanker, 2009",
    "little is uncertain": "Zhu et al., 2008",
    "the error hardly changes": "after Ishibashi and Hino, 2020",
}
"""Rules of ``reporting.stopping`` by what they find, with their source."""


def stopping(trainings: Sequence[TrainingResult]) -> dict[str, np.ndarray]:
    """Whether each rule says stop after each of the trainings, at least one, bool (T,).

    The rules use no labels, so they need no random images. They read how the head's predictions
    change from one training to the next, on images of the stop set without an answer, and how
    uncertain they are.
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


def _step(before: TrainingResult, now: TrainingResult) -> dict[str, float]:
    """The change in predictions between two consecutive trainings, or NaN."""
    rows = now.unanswered_S
    if now.number != before.number + 1 or rows.sum() < 2:
        return {"kappa": np.nan, "error_bound": np.nan}
    new = now.stop_probs_S_C.shape[1] - before.stop_probs_S_C.shape[1]
    earlier = np.pad(before.stop_probs_S_C, ((0, 0), (0, new)))
    return stability.changes(earlier[rows], now.stop_probs_S_C[rows])


def stopping_sentence(trainings: Sequence[TrainingResult]) -> str:
    """What the rules say, in words."""
    if len(trainings) < 2:
        return "not known yet: a rule needs at least two trainings"
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
        return f"no longer, but it did at {labels[np.flatnonzero(says)[-1]]:,} labels"
    unbroken = len(says) - int(np.argmin([*says[::-1], False]))
    return f"yes, since {labels[unbroken]:,} labels"


def advice(
    guessed: Sequence[Guess], trainings: Sequence[TrainingResult], labels: int, target: float
) -> dict[str, str]:
    """How good the head is, how many more labels a target (%) needs, and whether to stop."""
    accuracy = running_accuracy(guessed)
    lately = running_accuracy(guessed[-LATELY:]) if len(guessed) > LATELY else None
    more = more_labels(guessed, labels, target, np.random.default_rng(0))
    return {
        "Accuracy": str(accuracy or "no random image has both a guess and a label yet"),
        **({"Recent accuracy": str(lately)} if lately else {}),
        "How many more": forecast_sentence(more, target),
        "Whether to stop": stopping_sentence(trainings),
    }
