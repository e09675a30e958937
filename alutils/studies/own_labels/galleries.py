"""Images that were asked for, and those that the head is least sure of."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from IPython.display import HTML, Markdown

from alutils.labelling.entries import Entry
from alutils.reporting import figures
from alutils.reporting.picture import Picture, Steps
from alutils.reporting.prose import show
from alutils.reporting.style import house_style
from alutils.studies.own_labels.by_hand import NOTHING, Labelling, undisturbed
from alutils.studies.own_labels.progress import reason

SHOWN, COLUMNS = 24, 8
LONGEST = 14
"""Maximum number of letters of a class name drawn; the alternative text has the full name."""
STEPS = 4
"""Maximum number of batches that are shown, from the first to the last."""


@undisturbed
def asked_for(labelling: Labelling) -> HTML | Markdown:
    """The images of a few batches in the order of their answers; one batch is shown at a time."""
    answers = list(labelling.session.answers.current.values())
    if not answers:
        return Markdown(NOTHING)
    batch = labelling.session.settings.batch
    starts = range(0, len(answers), batch)
    chosen = sorted({starts[round(at)] for at in np.linspace(0, len(starts) - 1, STEPS)})
    pages = {
        f"{start + 1:,} to {min(start + batch, len(answers)):,}": _batch(
            labelling, answers[start : start + batch][:SHOWN]
        )
        for start in chosen
    }
    return Steps("asked-for", pages, "Images that were asked for, answers")


def _batch(labelling: Labelling, entries: Sequence[Entry]) -> Picture:
    first = labelling.session.answers.first  # a later answer may be a change
    texts = [(each.answer_text, reason(first[each.image].asked)) for each in entries]
    caption = "Under each image its answer, and what asked for it."
    return _grid(labelling, [entry.image for entry in entries], texts, caption)


@undisturbed
def unsure(labelling: Labelling) -> HTML | Markdown:
    """Unanswered images that the head is least sure of."""
    session = labelling.session
    if len(set(session.answers.labels.values())) < 2:
        return Markdown("There is no head yet: it needs labels of two classes.")
    names, guesses, probabilities = session.least_confident(SHOWN)
    if not names:
        return Markdown("Every image has an answer.")
    texts = [(guess, f"{100 * p:.0f} %") for guess, p in zip(guesses, probabilities, strict=True)]
    caption = (
        "The unanswered images that the head trained on all labels is least sure of. Under each "
        "image the most likely class and its probability."
    )
    return _grid(labelling, names, texts, caption)


@house_style()
def _grid(
    labelling: Labelling, images: Sequence[str], texts: Sequence[tuple[str, str]], caption: str
) -> Picture:
    """Images in rows; under each a class, cut if it is long, and a further line."""
    rows = -(-len(images) // COLUMNS)
    figure, axes = figures.grid(rows, COLUMNS, (8.4, 1.45 * rows))
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(False)
        sns.despine(ax=panel, left=True, bottom=True)
    for panel, image, (name, below) in zip(axes.flat, images, texts, strict=False):
        panel.imshow(labelling.images.picture(image), interpolation="nearest")
        panel.set_xlabel(f"{name[:LONGEST]}\n{below}", fontsize=7)
    told = "; ".join(", ".join(text) for text in texts)
    return show(figure, caption, f"{len(images)} images. {told}.")
