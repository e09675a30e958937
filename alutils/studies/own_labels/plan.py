"""What is labelled, by whom, and how the images are chosen."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from alutils.folders import index
from alutils.labelling.entries import class_refusal
from alutils.labelling.settings import LARGEST_PAGE, Settings
from alutils.paths import NOTEBOOKS, outputs
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.protocol.encoders import EncoderName
from alutils.protocol.parameters import Parameters
from alutils.studies.own_images.dataset import NameOrExample

PERSON, LABELS = "person", "labels"
"""Who answers, if it is not a recorded ledger: a person, or the folder's own labels."""


def _absolute(path: str) -> str:
    """The absolute form of a path from the notebook; a ``~`` of an unknown user is kept.

    A relative path starts at the notebook's folder, in which its kernel runs, whichever folder a
    command is given in.
    """
    own = Path(path)
    with suppress(RuntimeError):
        own = own.expanduser()
    return str((NOTEBOOKS / own).resolve())


LedgerPath = Annotated[str, AfterValidator(lambda value: value and _absolute(value))]
"""Path of a ledger, absolute once it is validated; empty for none."""
Answerer = Annotated[
    str, AfterValidator(lambda value: value if value in (PERSON, LABELS) else _absolute(value))
]
"""Who answers; another value is the path of a recorded ledger."""


class OwnLabelsStudy(Parameters):
    """A folder of images that is labelled; it has no cells, as nothing is compared.

    An empty ``dataset`` means a small folder of digits made for the study (``folders.example``), an
    empty ``ledger`` one under the outputs. A new ledger starts with the answers of
    ``older_ledger``, which is one of an earlier state of the folder, or a table of labels.
    ``classes`` are the first ones, by default the folder's own. Answers come from a person; in
    batch they come from the folder's labels (``answer_count`` of them), or from the recorded ledger
    whose path is given as ``answers``.
    """

    dataset: NameOrExample = ""
    classes: tuple[str, ...] = ()
    ledger: LedgerPath = ""
    older_ledger: LedgerPath = ""
    answers: Answerer = PERSON
    answer_count: Annotated[int, Field(ge=1, le=10_000_000)] = 150
    encoder: EncoderName = "efficientnet-lite0"
    arm: str = "uherding"
    batch: int = 10
    share: float = 0.2
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    candidates: Annotated[int, Field(ge=0, le=10_000_000)] = 2500
    mc_passes: Annotated[int, Field(ge=1, le=10_000)] = 20
    clusters: Annotated[int, Field(ge=2, le=10_000)] = 12
    target: Annotated[float, Field(gt=0, lt=100)] = 95.0
    page: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 12

    def cells(self) -> list[Cell]:
        """None, as labels are not results of a run."""
        return []

    def own_features(self) -> list[tuple[str, str]]:
        """The folder's features, on which a head is trained between answers."""
        return [(self.dataset, self.encoder)]

    def files(self) -> list[Path]:
        """The ledger that the notebook reads, and the list of the files that were left out."""
        read = {PERSON: [self.ledger_path], LABELS: []}.get(self.answers, [Path(self.answers)])
        return [*read, index.left_out_file(self.dataset)]

    @property
    def settings(self) -> Settings:
        """How images are chosen; raises ``ParameterError``."""
        return Settings(**{key: getattr(self, key) for key in Settings.__dataclass_fields__})

    @property
    def largest_page(self) -> int:
        """Largest page of which a training chooses all images but the random ``share``."""
        return int(self.batch / (1 - self.share) + 1e-9)

    @property
    def batch_folder(self) -> Path:
        """The folder that every run in batch recreates; no ledger that is to last lies in it."""
        return outputs() / self.profile / "labels" / "batch"

    @property
    def folder(self) -> Path:
        """The folder of the ledger and of exports; that of ``ledger`` if it is given."""
        if self.answers != PERSON:
            return self.batch_folder
        return self.ledger_path.parent if self.ledger else self.batch_folder.with_name(self.dataset)

    @property
    def ledger_path(self) -> Path:
        """The file of the answers."""
        if self.ledger and self.answers == PERSON:
            return Path(self.ledger)
        return self.folder / "ledger.jsonl"

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.dataset.startswith(index.PREFIX):
            raise ValueError(
                f"dataset = {self.dataset!r} is no folder of images: give the path of one, or "
                "leave it empty for an example"
            )
        for i, name in enumerate(self.classes):
            if refusal := class_refusal(name, self.classes[:i]):
                raise ValueError(f"classes: {refusal}")
        if self.ledger and not self.ledger.endswith(".jsonl"):
            raise ValueError(
                f"ledger = {self.ledger!r} is not a ledger's name: give a file whose name ends in "
                ".jsonl, which is created if it doesn't exist"
            )
        self.settings  # noqa: B018  raises where it is not allowed
        self._check_answers()
        self._check_older()
        for key in ("answers", "ledger"):
            self._check_lasts(key, getattr(self, key))
        return self

    def _check_answers(self) -> None:
        if self.answers == LABELS and not DATASETS[self.dataset].classes:
            raise ValueError(
                f"answers = {LABELS!r}, but the folder has no labels to answer with: set "
                f"{PERSON!r}, or sort its images into one folder per class"
            )
        if self.answers not in (PERSON, LABELS) and not os.path.isfile(self.answers):
            raise ValueError(
                f"answers = {self.answers!r} is no file: give {PERSON!r}, {LABELS!r}, or the path "
                "of a recorded ledger"
            )
        if self.answers != PERSON and self.ledger:
            raise ValueError(
                f"ledger = {self.ledger!r} is for a person's answers, and answers = "
                f"{self.answers!r}: leave it empty, or set answers = {PERSON!r}"
            )

    def _check_older(self) -> None:
        if not self.older_ledger:
            return
        older = Path(self.older_ledger)
        if self.answers != PERSON:
            problem = f"is for a person's answers, and answers = {self.answers!r}: leave it empty"
        elif not os.path.isfile(older):
            problem = "is no file: give the path of a ledger or table, or leave it empty"
        elif older == self.ledger_path.resolve():
            problem = "is the ledger that answers go to: set ledger to a new file as well"
        else:
            return
        raise ValueError(f"older_ledger = {self.older_ledger!r} {problem}")

    def _check_lasts(self, key: str, value: str) -> None:
        """Refuse a ledger that a run in batch would remove."""
        if Path(value).is_relative_to(self.batch_folder.resolve()):
            raise ValueError(
                f"{key} = {value!r} lies in the folder that every batch run deletes first: copy "
                "the ledger to another folder, or give another"
            )
