"""A ledger in use in a notebook: opened, shown to a person, or answered in batch."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from IPython.display import Markdown

from alutils.folders.listing import NO_IMAGES
from alutils.labelling import bundle, hash_chain, older_answers
from alutils.labelling.answers import ReplayDiffers, answer_from, recorded, replay
from alutils.labelling.entries import Answers, Entry, folded_name
from alutils.labelling.images import FolderImages
from alutils.labelling.ledger import Ledger, LedgerLocked, locked
from alutils.labelling.page import LabellingPage
from alutils.labelling.session import Session, describe
from alutils.labelling.widget import LabellingWidget
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from alutils.reporting.prose import count
from alutils.studies.own_labels.plan import LABELS, PERSON, OwnLabelsStudy


@dataclass(frozen=True)
class Labelling:
    """An open ledger, and what is labelled into it.

    Attributes
    ----------
    study, images : the parameters, and the folder
    page : the page of images, with its session
    """

    study: OwnLabelsStudy
    images: FolderImages
    page: LabellingPage

    @property
    def session(self) -> Session:
        """The answers, and what to ask for next."""
        return self.page.session


Shown = TypeVar("Shown")


def undisturbed(report: Callable[[Labelling], Shown]) -> Callable[[Labelling], Shown]:
    """Decorate a report to see one state of the answers: new answers wait until it is done."""

    @wraps(report)
    def alone(labelling: Labelling) -> Shown:
        with labelling.page.lock:
            return report(labelling)

    return alone


NOTHING = "Nothing is labelled yet: label some images, then run this cell again."
_open: dict[Path, Labelling] = {}
"""By ledger, what this process has open; it is closed first when the cell runs again."""


def open_ledger(study: OwnLabelsStudy) -> Labelling:
    """Start the study's ledger or continue it; in batch, start a new one.

    Raises as ``Session``; ``LedgerLocked`` if another process labels into it; ``ParameterError`` if
    a recorded ledger is of other images; ``CanNotWrite`` if the folder can't be made.
    """
    images = FolderImages(study.dataset, study.encoder)
    path = study.ledger_path.resolve()
    if before := _open.pop(path, None):
        before.page.close()
    classes, settings = study.classes or images.classes, study.settings
    if study.answers not in (PERSON, LABELS):
        classes, settings = recorded(_recorded_entries(study, images))
    notes: list[str] = []

    def say(line: str) -> None:
        notes.append(line)
        print(line)

    if images.classes and set(map(folded_name, images.classes)).isdisjoint(
        map(folded_name, classes)
    ):
        say(_no_classes(images))
    if study.answers == PERSON and study.page > study.largest_page:
        say(_much_at_random(study))
    older = _older_answers(study, images, classes, say)
    with _folder_made(study):
        if older:
            with Ledger(path, classes, images.pool.facts | settings.facts, say) as ledger:
                if done := older_answers.take_over(ledger, older):
                    say(done)
        session = Session(path, images.pool, classes, settings, say)
    try:
        page = LabellingPage(session, study.target, study.page, notes)
    except BaseException:  # an interrupt too: the cell can run again
        session.close()
        raise
    labelling = Labelling(study, images, page)
    page.export = lambda: _export(labelling)
    _open[path] = labelling
    return labelling


def _much_at_random(study: OwnLabelsStudy) -> str:
    """A note that a page takes more images than a training chooses, with the largest allowed."""
    return (
        f"page = {study.page} shows more images than a training chooses (batch = {study.batch}), "
        f"so about {1 - study.batch / study.page:.0%} of the images asked for are drawn at random; "
        f"with page = {study.largest_page} the share is {study.share:g}"
    )


def _no_classes(images: FolderImages) -> str:
    """A note that none of the folder's own classes is to be labelled, and what follows."""
    names = ", ".join(images.classes[:3]) + (", ..." if len(images.classes) > 3 else "")
    kept = count(len(images.test_labels), "image")
    return (
        f"none of the folder's own classes ({names}) is one of yours, and {kept} of them "
        f"{'is' if len(images.test_labels) == 1 else 'are'} kept for testing and never asked for: "
        "if its subfolders are not classes, give a table (docs/labelling.md)"
    )


def _recorded_entries(study: OwnLabelsStudy, images: FolderImages) -> list[Entry]:
    """The lines of the recorded ledger; refuses one of other images."""
    entries = hash_chain.read(Path(study.answers))
    if entries and images.pool.position.keys().isdisjoint(Answers(entries).current):
        raise ParameterError(
            f"answers = {study.answers!r} answers none of the images of {images.folder}: give the "
            "folder that the ledger belongs to, or another ledger"
        )
    return entries


def _older_answers(
    study: OwnLabelsStudy,
    images: FolderImages,
    classes: Sequence[str],
    say: Callable[[str], None],
) -> older_answers.OlderAnswers | None:
    """The answers of the older ledger that is named; if none is, ``say`` may suggest one."""
    if study.older_ledger:
        return older_answers.read(Path(study.older_ledger), images, classes)
    if study.answers == PERSON and not study.ledger:
        if hint := older_answers.hint(study.ledger_path, images, classes):
            say(hint)
    return None


@contextmanager
def _folder_made(study: OwnLabelsStudy) -> Iterator[None]:
    """Make sure that the ledger's folder exists; in batch, empty it first.

    If it is made here for ``ledger``, it is marked so as not to be a class of a dataset that it
    lies in. In batch, other runs are kept out until the ledger is open, which then refuses them.
    """
    with ExitStack() as opening:
        try:
            if study.answers != PERSON:
                study.folder.parent.mkdir(parents=True, exist_ok=True)
                opening.callback(_refuse_two_runs(study.folder, study).release)
                if study.folder.exists():
                    _refuse_two_runs(study.ledger_path, study).release()
                    shutil.rmtree(study.folder)
            missing = [f for f in (study.folder, *study.folder.parents) if not f.exists()]
            study.folder.mkdir(parents=True, exist_ok=True)
            if study.ledger and missing:
                (missing[-1] / NO_IMAGES).touch()
        except OSError as error:
            raise CanNotWrite(
                f"{study.folder} can't be created for the answers ({error.strerror or error}): "
                "change the permissions there, or set another place in ledger or ALUTILS_OUTPUTS"
            ) from error
        yield


def _refuse_two_runs(path: Path, study: OwnLabelsStudy) -> FileLock:
    """Acquire the lock of a path; raises if another run in batch has it."""
    try:
        return locked(path)
    except LedgerLocked as error:
        raise LedgerLocked(
            f"another batch run is using {study.folder} ({error}): wait for it, close its "
            "notebook's kernel, or use another profile"
        ) from error


def _export(labelling: Labelling) -> str:
    """Write everything that can be exported; returns where, and what has no link."""
    export = bundle.write_all(labelling.study.folder, labelling.session, labelling.images)
    return f"exported to {export.folder}{without_links(export)}"


def without_links(export: bundle.Export) -> str:
    """The end of a sentence on what has no link in an export, and why; empty if nothing."""
    if export.unlinked:
        return (
            f"; without classes, as links can't be created there ({export.unlinked}): to get them, "
            "keep the ledger on a disk that supports links"
        )
    if not export.without:
        return ""
    return (
        f"; {count(len(export.without), 'image')} without a link, as the file is gone or has "
        f"changed (the first: {export.without[0]})"
    )


def label(labelling: Labelling) -> LabellingWidget | Markdown:
    """The widget for a person; in batch, give the answers and report that."""
    study, session = labelling.study, labelling.session
    if study.answers == PERSON:
        return LabellingWidget(labelling.page, labelling.images)
    if study.answers == LABELS:
        given = answer_from(labelling.images.labels, session, study.answer_count)
        session.wait()
        return Markdown(
            f"{count(given, 'answer')} came from the folder's own labels, as a person would have "
            'given them. In JupyterLab, with `answers = "person"`, this cell shows the images.'
        )
    entries = hash_chain.read(Path(study.answers))
    said = "with the same images asked for as then"
    try:
        replay(session, entries)
    except ReplayDiffers:
        labels = Answers(entries).labels
        answer_from(labels, session, len(labels) - len(session.answers.labels))
        given = len(session.answers.labels)
        said = f"{given:,} of its {len(labels):,} labels, as other images are asked for now"
    session.wait()
    return Markdown(
        f"The answers come from the recorded ledger `{Path(study.answers).name}`, {said}: "
        f"{describe(session.answers)}."
    )
