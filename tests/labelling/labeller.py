"""A process that labels made-up images without a pause, until somebody kills it."""

from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from alutils.labelling import export
from alutils.labelling.class_folders import without_file, write_folders
from alutils.labelling.saved_head import save_head
from alutils.labelling.session import Session
from alutils.learning.scoring import predict
from tests.labelling.blobs import a_session, blobs

MANY = 1000
"""Images in the pool: more than a ledger of the test has answers."""


def acknowledged(entry) -> tuple:
    """What a person saw of a line that was acknowledged."""
    return entry.number, entry.action, entry.image, entry.label, entry.session


def label_until_killed(folder: Path, acknowledge: Connection) -> None:
    """Answer, undo, skip, add classes, change answers and export, telling of every line.

    Each line is told of once the call that wrote it has returned, at once and unbuffered.
    """
    torch.set_num_threads(1)
    pool, labels = blobs(MANY)
    with a_session(folder, pool) as session:
        for step in count(len(session.ledger.entries)):
            for entry in _answers(session, labels, step):
                acknowledge.send(acknowledged(entry))
            if step % 9 == 0 and len(session.answers.labels) > 12:
                _export(folder, session, step)


def _answers(session: Session, labels: dict, step: int) -> list:
    """One or two lines, of every kind in turn."""
    image = session.ask(1 + step % 3)[0].image
    if step % 41 == 0:
        added = [session.add_class(f"class {step}")]
        return added if step % 2 else [*added, session.undo()]
    if step % 11 == 0:
        return [session.skip(image), session.undo()]
    if step % 7 == 0:
        return [session.none_of_these(image)]
    if step % 5 == 0:
        return [session.label(image, "ant"), session.label(image, labels[image])]
    return [session.label(image, labels[image], shown=step % 2 == 0)]


def _export(folder: Path, session: Session, step: int) -> None:
    """Everything that can be exported; folders under names that are new."""
    answers, pool = session.answers, session.pool
    export.write_csv(folder / "labels.csv", answers)
    export.write_coco(folder / "coco.json", answers)
    export.write_label_studio(folder / "tasks.json", answers, folder / "pictures")
    head = session.head()
    probs = predict(head.net, pool.rows)
    export.write_predictions(folder / "rest.csv", answers, pool.names, head.classes, probs)
    save_head(folder / f"head {session.ledger.session} {step}", head, "stub")
    classes = folder / f"classes {session.ledger.session} {step}"
    root = folder / "pictures"
    write_folders(classes, answers, root, without_file(answers.labels, root, {}))
