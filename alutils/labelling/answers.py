"""Answers for unattended sessions, from known labels or from a recorded ledger."""

from collections.abc import Mapping, Sequence

from alutils.labelling.entries import (
    ADD_CLASS,
    CHANGE,
    LABEL,
    REMOVE_CLASS,
    SKIP,
    START,
    TAKEN_OVER,
    UNDO,
    Entry,
    folded_name,
)
from alutils.labelling.session import SKIPPED, Session
from alutils.labelling.settings import Settings
from alutils.protocol.parameters import ParameterError, StudyError

MOST_AT_ONCE = 100
"""Maximum number of images asked for and still unanswered when another one is answered."""


class ReplayDiffers(StudyError):
    """A session asks for something other than a recorded ledger answers."""


def answer_from(labels: Mapping[str, str], session: Session, count: int) -> int:
    """Give up to ``count`` answers from known labels, by image; returns how many were given.

    An image without a label is skipped, and one whose class the session lacks (names compared by
    ``folded_name``) is answered as none of these. Each training is waited for, so that the same
    seed asks for the same images.
    """
    for done in range(count):
        asked = session.ask(model=session.due)
        if not asked or asked[0].asked == SKIPPED:
            return done
        image = asked[0].image
        classes = {folded_name(name): name for name in session.classes}
        if image not in labels:
            session.skip(image)
        elif name := classes.get(folded_name(labels[image])):
            session.label(image, name)
        else:
            session.none_of_these(image)
    return count


def recorded(entries: Sequence[Entry]) -> tuple[list[str], Settings]:
    """The classes and settings that a ledger started with; ``ParameterError`` if it is empty."""
    if not entries:
        raise ParameterError("the recorded ledger is empty: give one that has answers")
    facts = entries[0].facts
    settings = {key: facts[key] for key in Settings.__dataclass_fields__ if key in facts}
    return list(facts["classes"]), Settings(**settings)


def replay(session: Session, entries: Sequence[Entry]) -> None:
    """Give a recorded ledger's answers to a session that asks for the same images.

    A session that already has the first of these answers continues after them. The training that
    was current when an image was asked for is waited for.

    Raises ``ReplayDiffers`` if the session does not ask for what was answered, because its pool,
    settings or answers differ, or because another processor rounds differently. There
    ``answer_from`` can still give the recorded labels to whatever is asked for.
    """
    done = session.ledger.entries
    for entry, mine in zip(entries, done, strict=False):
        if entry.action != START and _said(entry) != _said(mine):
            raise ReplayDiffers(
                f"line {entry.number} of {session.ledger.path.name} is not that of the recorded "
                "ledger: replay that into a new one"
            )
    before = ""
    for entry in entries[len(done) :]:
        if entry.session != before:
            session.forget()
            before = entry.session
        _give(session, entry)


def _said(entry: Entry) -> tuple[str, str, str]:
    return entry.action, entry.image, entry.label


def _give(session: Session, entry: Entry) -> None:
    """Give one recorded answer."""
    if entry.action in (UNDO, REMOVE_CLASS):
        session.ledger.append(entry.action, image=entry.image, label=entry.label)
    elif entry.action == ADD_CLASS:
        session.add_class(entry.label)
    elif entry.asked == TAKEN_OVER:
        session.ledger.take_over([(entry.image, entry)])
    else:
        _ask_for(session, entry)
        if entry.action == LABEL:
            session.label(entry.image, entry.label, entry.shown)
        elif entry.action == SKIP:
            session.skip(entry.image, entry.shown)
        else:
            session.none_of_these(entry.image, entry.shown)


def _ask_for(session: Session, entry: Entry) -> None:
    """Ask until a recorded answer's image is asked for; several may be asked for at a time.

    What other trainings asked for is forgotten: while both were open, either may have asked.
    """
    if entry.model > session.due:
        raise _differs(entry)
    if entry.asked == CHANGE:
        session.ask(0, entry.model)
        return
    session.forget(but=entry.model)
    for count in range(1, MOST_AT_ONCE + 1):
        asked = session.ask(count, entry.model)
        for question in asked:
            if question.image == entry.image:
                if (question.asked, question.guess) != (entry.asked, entry.guess):
                    raise _differs(entry)
                return
        if len(asked) < count:
            break
    raise _differs(entry)


def _differs(entry: Entry) -> ReplayDiffers:
    return ReplayDiffers(
        f"line {entry.number} of the recorded ledger answers {entry.image!r}, which is not asked "
        "for in that way: open the session with the pool, classes and settings that the ledger "
        "was started with, on the same type of processor"
    )
