"""A study's parameters and data as reports show them, compared with the poster's protocol."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import BASELINE, arm_title
from alutils.protocol.datasets import DATASETS, dataset_title
from alutils.protocol.study import RUNTIME, Study
from alutils.reporting.prose import count, join, paired_seeds, plain, table
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.training_size.plan import TrainingSizeStudy

OPEN = (
    "Where the poster leaves something open (learning rate, dropout, stochastic passes, what is "
    "held out, which accuracy is reported), the profile <code>poster</code> has this study's "
    "choice; where the authors' own code differs, the profile <code>replica</code> follows it."
)
CHOSEN_ON = ("cifar10", "mnist", "fashion-mnist")
"""Datasets on whose held-out images the recipes that differ from the poster's were chosen."""
OBSERVED = ("heldout_every", "stop_set", "diagnostics")
"""Parameters of what is recorded about a training; they don't change the training."""


def protocol(study: Study) -> HTML:
    """The study's parameters, with the poster's values beside them."""
    poster = _poster(study)
    rows = [
        {"parameter": key, "here": plain(value), "profile poster": plain(poster.get(key, ""))}
        for key, value in study.model_dump().items()
        if key not in RUNTIME
    ]
    return HTML(f"{table(pd.DataFrame(rows)).data}<p>{OPEN}</p>")


def parameters(values: Mapping[str, object]) -> HTML:
    """Parameters by name, without those that say where a study runs."""
    rows = [
        {"parameter": key, "value": plain(value)}
        for key, value in values.items()
        if key not in RUNTIME
    ]
    return table(pd.DataFrame(rows))


def departures(study: Study) -> Markdown:
    """The parameters in which this run departs from the poster's protocol, one line each."""
    poster = _poster(study)
    changed = [
        f"- `{key}`: {plain(value)} instead of {plain(poster[key])}"
        for key, value in study.model_dump().items()
        if key in poster and value != poster[key]
    ]
    if not changed:
        return Markdown(f"The poster's protocol, unreduced, for {paired_seeds(len(study.seeds))}.")
    return Markdown(
        f"This run (`{study.profile}`) departs from the poster's protocol in "
        f"{count(len(changed), 'parameter')}, and uses {paired_seeds(len(study.seeds))}:\n\n"
        + "\n".join(changed)
        + _candidates(study)
        + _random_curve(study)
    )


def _random_curve(study: Study) -> str:
    """A paragraph for a study with the authors' single run on random labels, or no text."""
    if not getattr(study, "single_baseline", False):
        return ""
    return (
        "\n\nThe curve of random labels is this study's addition: the authors trained on random "
        f"labels once, at the last label count (here “{arm_title(BASELINE)}”)."
    )


def _candidates(study: Study) -> str:
    """A paragraph for a study that chooses among drawn candidates, or no text."""
    if not study.candidates or isinstance(study, TrainingSizeStudy):
        return ""
    return (
        f"\n\nEach acquisition chooses among {study.candidates:,} candidates drawn at random from "
        "the unlabelled pool, the same number for every arm, rather than from the whole pool."
    )


def data_summary(names: Sequence[str], study: Study) -> HTML:
    """Sizes of the datasets and of their split, as the study's protocol makes it.

    With a sentence on the labels of what is held out.
    """
    rows = []
    for name in names:
        facts = DATASETS[name]
        shape = f"{facts.size} × {facts.size} × {facts.channels}"
        rows.append(
            {
                "dataset": facts.title,
                "image": shape,
                "pool": f"{study.pool_size(name):,}",
                "held out": f"{study.heldout_size(name):,}",
                "checksum": facts.checksum,
            }
        )
    return HTML(f"{table(pd.DataFrame(rows)).data}<p>{held_out(names, study)}</p>")


def held_out(names: Iterable[str], study: Study) -> str:
    """A sentence that held-out images have labels, too, which no label count includes."""
    names = list(names)
    sizes = join([f"{study.heldout_size(name):,} of {dataset_title(name)}" for name in names])
    text = (
        f"The held-out images, {sizes}, are labelled too, but not included in any label count, as "
        "no network is trained on them"
    )
    if chosen := [dataset_title(name) for name in names if name in CHOSEN_ON]:
        text += (
            f"; the reduced recipes, where one is used, were chosen on such images of "
            f"{join(chosen)}, from candidates that had been picked after a look at test accuracy "
            "as well"
        )
    return f"{text}."


def _poster(study: Study) -> dict:
    """The poster's protocol: the defaults of the class of its figure's study.

    Without seeds, ``RUNTIME`` and ``OBSERVED``, and with the dataset of this study, so that these
    count as no departure.
    """
    kind = TrainingSizeStudy if isinstance(study, TrainingSizeStudy) else ActiveLearningStudy
    fields = kind.model_fields
    dataset = {"dataset": study.dataset} if hasattr(study, "dataset") else {}
    left_out = (*RUNTIME, *OBSERVED, "seeds")
    return {key: field.default for key, field in fields.items() if key not in left_out} | dataset
