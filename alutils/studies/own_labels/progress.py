"""How good the head is so far, how many more labels it takes, and what was asked for."""

from collections import Counter

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown

from alutils.labelling import estimate
from alutils.labelling.entries import CHANGE, FIRST_BATCH, RANDOM_SHARE, TAKEN_OVER, UNDO
from alutils.labelling.session import describe
from alutils.protocol.arms import arm_title
from alutils.reporting import figures, prose
from alutils.reporting.style import house_style
from alutils.studies.own_labels.by_hand import NOTHING, Labelling, undisturbed

COLOUR, OTHER = "#0173b2", "#8c0800"


@undisturbed
def sentences(labelling: Labelling) -> Markdown:
    """The current state of labelling, in words."""
    session, target = labelling.session, labelling.study.target
    answers = session.answers
    if not answers.labels:
        return Markdown(NOTHING)
    guessed = estimate.guesses(answers, session.settings.batch)
    advice = estimate.advice(guessed, session.trainings(), len(answers.labels), target)
    lines = [
        f"Of {len(session.pool):,} images: {describe(answers)}.",
        *(f"{what}: {text}." for what, text in advice.items()),
    ]
    if (test := _test_sentence(labelling)) is not None:
        lines.insert(2, test)
    return Markdown("\n".join(f"- {line}" for line in lines))


def _test_sentence(labelling: Labelling) -> str | None:
    """The head's accuracy on the folder's own test part, if it has one with labels."""
    heads = [batch.head for batch in labelling.session.trainings()]
    accuracy = labelling.images.test_accuracy(heads[-1]) if heads else None
    if accuracy is None:
        return None
    labels, images = heads[-1].labels, len(labelling.images.test_labels)
    low, high = estimate.wilson(round(accuracy / 100 * images), images)
    return (
        f"For comparison, the head trained on {labels:,} labels has an accuracy of "
        f"{accuracy:.1f} % ({low:.1f} to {high:.1f}) on the {images:,} images that the folder "
        "keeps for testing, which nobody was asked about."
    )


def test_curve(labelling: Labelling) -> list[tuple[int, float]]:
    """Labels and accuracy (%) on the folder's test part for every training; empty without one."""
    heads = [batch.head for batch in labelling.session.trainings()]
    measured = [(head.labels, labelling.images.test_accuracy(head)) for head in heads]
    return [(labels, accuracy) for labels, accuracy in measured if accuracy is not None]


@undisturbed
@house_style()
def curve(labelling: Labelling) -> HTML | Markdown:
    """Accuracy against labels: on random images, and on the folder's test part."""
    session, target = labelling.session, labelling.study.target
    guessed = estimate.guesses(session.answers, session.settings.batch)
    labels, right, images = estimate.curve(guessed)
    test = test_curve(labelling)
    if not len(labels) and not test:
        return Markdown(
            f"No curve yet: a point needs {estimate.MERGED} randomly drawn images that the head "
            "guessed and that have a label."
        )
    figure, ((axes,),) = figures.grid(size=(8, 4.5))
    accuracy = 100 * right / np.maximum(images, 1)
    ends = [estimate.wilson(int(r), int(n)) for r, n in zip(right, images, strict=True)]
    low, high = np.array(ends).reshape(-1, 2).T
    axes.errorbar(labels, accuracy, (accuracy - low, high - accuracy), fmt="o", color=COLOUR,
                  capsize=3, label="on random images, with 95 % interval")  # fmt: skip
    if test:
        axes.plot(*zip(*test, strict=True), color=OTHER, label="on the folder's test images")
    axes.axhline(target, color="grey", linewidth=1, linestyle="--", label=f"target: {target:g} %")
    axes.set(xlabel="labels", ylabel="accuracy (%)")
    figures.legend(axes)
    sns.despine(ax=axes)
    points = "; ".join(
        f"{x:,} labels: {y:.0f} % ({a:.0f} to {b:.0f}, {n} images)"
        for x, y, (a, b), n in zip(labels, accuracy, ends, images, strict=True)
    )
    caption = (
        "Accuracy of the head against the number of labels it was trained on. Points: images drawn "
        "at random and guessed before they were answered, at least "
        f"{estimate.MERGED} per point, with Wilson's interval."
    )
    return prose.show(figure, caption, f"Accuracy by labels. {points or 'No point yet.'}")


def reason(asked: str) -> str:
    """What asked for an image, as it is shown."""
    known = {FIRST_BATCH: FIRST_BATCH, RANDOM_SHARE: "at random", TAKEN_OVER: TAKEN_OVER}
    return known.get(asked) or arm_title(asked)


@undisturbed
def asked_for(labelling: Labelling) -> HTML | Markdown:
    """Labels by class, what asked for their images, and right guesses on random images."""
    answers = labelling.session.answers
    if not answers.labels:
        return Markdown(NOTHING)
    reasons = Counter(
        (label, answers.first[image].asked) for image, label in answers.labels.items()
    )
    asked = list(dict.fromkeys(why for _, why in reasons))
    guessed = estimate.guesses(answers, labelling.session.settings.batch)
    made = Counter(guess.label for guess in guessed)
    right = Counter(guess.label for guess in guessed if guess.right)
    rows = [
        {"class": name, "labels": f"{sum(reasons[name, why] for why in asked):,}"}
        | {reason(why): f"{reasons[name, why]:,}" for why in asked}
        | {"right of guessed at random": f"{right[name]:,} of {made[name]:,}"}
        for name in answers.classes
    ]
    entries = labelling.session.ledger.entries
    undone = sum(entry.action == UNDO for entry in entries)
    changed = sum(entry.asked == CHANGE for entry in entries)
    shown = sum(answers.current[image].shown for image in answers.labels)
    text = (
        f"{prose.count(undone, 'answer')} taken back, {changed} changed later, {shown} given with "
        "the guess visible. The ledger keeps all of them."
    )
    return HTML(prose.table(pd.DataFrame(rows)).data + f"<p>{text}</p>")
