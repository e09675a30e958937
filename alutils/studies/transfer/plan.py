"""Labels that one network chose, trained on by another: ``python -m alutils transfer``.

An arm's accuracy depends on its picks and on the training on them. Here the labels that an arm held
under one recipe are trained on by other recipes, to tell the two apart. What is concluded, and
how, was fixed beforehand: ``docs/plan.md``.
"""

from dataclasses import dataclass
from typing import Any

from alutils.protocol.arms import COPIED
from alutils.protocol.cell import Cell, Count
from alutils.protocol.study import Levels, Study
from alutils.records.copied import SourceNotFinished, copied_labels
from alutils.running import run
from alutils.running.progress import Say
from alutils.studies.profiles import load_study, protocol_of
from alutils.studies.recipes import CIFAR10, MNIST, PROFILE_OF_RECIPE, STRONG_PROFILE


@dataclass(frozen=True)
class LabelSets:
    """Which label sets of a notebook's records are trained on."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    label_counts: tuple[int, ...]


LABEL_SETS = {
    CIFAR10: LabelSets(
        ("random", "margin", "bayesian", "kmeans"), (0, 1, 2, 3, 4), (2588, 4623, 6560)
    ),
    MNIST: LabelSets(("random", "margin", "kmeans"), (0, 1, 2), (3105, 5548, 7874)),
}
"""By notebook; the label counts are those of its rounds 6, 11 and 16, the last one."""


class TransferStudy(Study):
    """The label sets of another study's arms, trained on by this study's own recipe."""

    profile: str = "transfer"
    source: str = PROFILE_OF_RECIPE["reduced"]
    """Profile of the records that hold the label sets."""
    notebook: str = CIFAR10
    """Notebook that these records are of."""
    arms: Levels[str] = LABEL_SETS[CIFAR10].arms
    label_counts: Levels[Count] = LABEL_SETS[CIFAR10].label_counts

    def cells(self) -> list[Cell]:
        """One cell per seed and arm; its rounds are the label counts."""
        return [cell for _, cell in self.copies()]

    def copies(self) -> list[tuple[Cell, Cell]]:
        """The cells whose labels are copied, each with the one that copies them."""
        chosen = {
            (cell.seed, cell.arm): cell for cell in load_study(self.source, self.notebook).cells()
        }
        wanted = [(seed, arm) for seed in self.seeds for arm in self.arms]
        for seed, arm in wanted:
            if (seed, arm) not in chosen:
                raise ValueError(
                    f"source = {self.source!r} has no {arm} with seed {seed} in {self.notebook}: "
                    "leave it out of arms or seeds"
                )
        return [(chosen[key], self._copy(chosen[key])) for key in wanted]

    def _copy(self, chosen: Cell) -> Cell:
        cell = self._sizes_cell("transfer", chosen.dataset, chosen.seed, self.label_counts)
        labels_of = f"{self.source}/{chosen.name}"
        return cell.model_copy(update={"arm": COPIED, "labels_of": labels_of})


def recipe(name: str, notebook: str) -> dict[str, Any]:
    """The protocol of the ``head``, the ``strong``, the ``poster``'s or the ``reduced`` recipe."""
    if name == "head":
        return protocol_of("desktop", "09-pretrained-features")
    if name == "strong":
        return protocol_of(STRONG_PROFILE, CIFAR10)
    return protocol_of(PROFILE_OF_RECIPE[name], notebook)


def transfer_study(notebook: str, chosen_under: str, trained_by: str) -> TransferStudy:
    """The study of label sets that were chosen under one recipe, trained on by another."""
    sets = LABEL_SETS[notebook]
    values = {
        "source": PROFILE_OF_RECIPE[chosen_under],
        "notebook": notebook,
        "arms": sets.arms,
        "seeds": sets.seeds,
        "label_counts": sets.label_counts,
    }
    return TransferStudy.parse(values | recipe(trained_by, notebook), "transfer")


def transfers() -> list[tuple[str, str, str]]:
    """Notebook, recipe under which its arms chose, and recipe that trains, in their order.

    The strong recipe is for CIFAR-10 only.
    """
    return [
        (notebook, chosen_under, trained_by)
        for trained_by in ("head", "strong", "poster", "reduced")
        for notebook in LABEL_SETS
        for chosen_under in PROFILE_OF_RECIPE
        if trained_by != chosen_under and (trained_by, notebook) != ("strong", MNIST)
    ]


def studies() -> list[TransferStudy]:
    """The studies of all transfers."""
    return [transfer_study(*transfer) for transfer in transfers()]


def with_finished_sources(study: TransferStudy, say: Say) -> TransferStudy | None:
    """The study with the seeds whose label sets all exist, or None; ``say`` reports the others."""
    seeds = []
    for seed in study.seeds:
        try:
            for cell in study.model_copy(update={"seeds": (seed,)}).cells():
                copied_labels(cell)
        except SourceNotFinished as error:
            say(f"seed {seed} is left out for now: {error}")
        else:
            seeds.append(seed)
    return study.model_copy(update={"seeds": tuple(seeds)}) if seeds else None


def main() -> None:
    """Run what is missing and can be run; say what waits for another profile's records."""
    ready = [with_finished_sources(study, print) for study in studies()]
    run.run_all([study for study in ready if study])
