"""Sections of 08 on runs of other profiles: each is shown once there are some."""

from collections.abc import Callable
from dataclasses import dataclass

from IPython.display import HTML, Markdown

from alutils.reporting.picture import Several
from alutils.reporting.prose import join
from alutils.studies.recipes import PROFILE_OF_RECIPE, ROUNDS_PROFILE, STRONG_PROFILE
from alutils.studies.reductions import both_recipes, other_profiles
from alutils.studies.transfer import page as transfer

Shown = HTML | Markdown


@dataclass(frozen=True)
class Section:
    """A question, and the report's section on it.

    Attributes
    ----------
    command : the one that makes its runs
    parts : what is shown below the text; nothing without runs
    """

    title: str
    text: str
    command: str
    parts: Callable[[], list[Shown]]


SECTIONS = (
    Section(
        "Does a verdict depend on the recipe?",
        "Figures 3 and 4 in full, once under the poster's recipe and once under the reduced one, "
        "over the seeds that have every arm under both. Every arm's difference in area from random "
        "is tested under each recipe as in 02 and 03; the paired difference of the two is "
        "descriptive. The claims that rest on these figures are judged by the rules of 04 on the "
        "same seeds. No verdict is withdrawn if the other recipe disagrees: both are reported.",
        f"make study PROFILE={PROFILE_OF_RECIPE['poster']}",
        both_recipes.parts,
    ),
    Section(
        "Training or picking?",
        "An arm's gain comes from its picks and from the training on them. To tell the two apart, "
        "the labels that arms held under one recipe are trained on with the other. What the "
        "poster's recipe adds to an arm's gain over random is then the sum of two parts: *picks* "
        "(the poster's minus the reduced recipe's, trained alike) and *training* (on the same "
        "picks). "
        "Gains are means over three label counts, paired by seed. Intervals of the parts are "
        "simultaneous over a dataset's arms; the tests, within the margins of Figures 3 and 4, are "
        "corrected for the same number (Holm).\n\nDo picks travel? Two recipes under which none of "
        "the labels was chosen are trained on them: a stronger one (crops and flips, longer), and "
        "a linear head on the features of a pretrained encoder. An arm's picks travel if they are "
        "worth something under both recipes, their own and the other.",
        ".venv/bin/python -m alutils transfer",
        transfer.shown,
    ),
    Section(
        "Choosing under a strong recipe",
        "Better training may leave less or more to gain by choosing. Random, margin and BADGE are "
        "run on CIFAR-10 with crops and flips, trained longer; the report of 02 in the profile "
        f"`{STRONG_PROFILE}` has the curves.",
        f"make study PROFILE={STRONG_PROFILE}",
        other_profiles.strong_recipe,
    ),
    Section(
        "The poster's 150 rounds",
        "All arms are run with one seed, acquiring 0.1 % of the pool at a time, each round trained "
        f"with the recipe of `quick`; the reports of 02 and 03 in the profile `{ROUNDS_PROFILE}` "
        "have the curves. One seed is no test. Each arm's difference in area is given with the "
        "interval in which one more seed would lie in 95 % of cases under the reduced recipe with "
        "1 % at a time; a value outside it says that recipe, rounds or chance make a difference, "
        "not which.",
        f"make study PROFILE={ROUNDS_PROFILE}",
        other_profiles.poster_rounds,
    ),
)


def sections() -> Several:
    """The sections that have runs, and in one line those whose runs are still to come."""
    shown: list[Shown] = []
    later = []
    for section in SECTIONS:
        if parts := section.parts():
            shown += [Markdown(f"### {section.title}\n\n{section.text}"), *parts]
        else:
            later.append(f"“{section.title}” (`{section.command}`)")
    if later:
        shown.append(Markdown(f"Still to come: {join(later)}."))
    return Several(*shown)
