"""A line of a ledger, and what all lines so far add up to: the current answers."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

START = "start"
"""Action of a ledger's first line, which holds the classes and other fixed facts."""
LABEL, SKIP, NONE = "label", "skip", "none-of-these"
UNDO, ADD_CLASS, REMOVE_CLASS = "undo", "add-class", "remove-class"
ANSWERS = (LABEL, SKIP, NONE)
TURNS = (*ANSWERS, UNDO)
"""Actions that count towards the next training."""
FIRST_BATCH, RANDOM_SHARE = "first batch", "random share"
CHANGE, TAKEN_OVER = "change", "taken over"
"""What else than an arm may have asked for an image: typicality, before any answer; the share that
is drawn at random; nothing, if an answer is changed or comes from an older ledger."""


@dataclass(frozen=True)
class Entry:
    """A line of a ledger.

    Attributes
    ----------
    number : from 1, without gaps
    time : UTC, ISO 8601
    action : one of ``START``, ``TURNS``, ``ADD_CLASS``, ``REMOVE_CLASS``
    image, label : name of the image, and of the class; empty if the action has none
    asked : what asked for the image: an arm, or one of the reasons above
    guess : class that the model predicted before it saw an answer; empty without a model
    shown : whether the person saw the guess before answering
    model : number of the training whose choice and guess were current when the image was asked for
    session : changes whenever the ledger is opened
    facts : in the first line, what is fixed for the whole ledger
    """

    number: int
    time: str
    action: str
    image: str = ""
    label: str = ""
    asked: str = ""
    guess: str = ""
    shown: bool = False
    model: int = 0
    session: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def answer_text(self) -> str:
        """An answer as it is shown: its class, or what was done instead of naming one."""
        return {SKIP: "skipped", NONE: "none of these"}.get(self.action, self.label)

    @property
    def content(self) -> dict[str, Any]:
        """The line's fields; facts only in the first line."""
        return {key: value for key, value in vars(self).items() if value or key != "facts"}


class Answers:
    """The current answers after some lines of a ledger.

    Attributes
    ----------
    classes : in order, later additions at the end
    added : the class that the last line added, which can be removed; empty after any other line
    given : by image, the answers that were not undone, the current one last
    first : by image, its first answer, even if undone or changed since
    undone : images that an undo left without an answer, the latest first
    counts : number of images with a label, after each turn
    """

    def __init__(self, entries: Iterable[Entry] = ()):
        self.classes: list[str] = []
        self.added = ""
        self.given: dict[str, list[Entry]] = {}
        self.first: dict[str, Entry] = {}
        self.undone: list[str] = []
        self.counts: list[int] = []
        self._order: list[str] = []
        for entry in entries:
            self.apply(entry)

    @property
    def current(self) -> dict[str, Entry]:
        """By image, its current answer, in the order in which images were first answered."""
        return {image: answers[-1] for image, answers in self.given.items()}

    @property
    def labels(self) -> dict[str, str]:
        """By image, the class of each current answer that is a label."""
        return {image: e.label for image, e in self.current.items() if e.action == LABEL}

    @property
    def labelled_classes(self) -> list[str]:
        """The classes of these labels, in their order."""
        labels = set(self.labels.values())
        return [name for name in self.classes if name in labels]

    @property
    def skipped(self) -> list[str]:
        """Skipped images, those skipped longest ago first."""
        skips = [e for e in self.current.values() if e.action == SKIP]
        return [entry.image for entry in sorted(skips, key=lambda entry: entry.number)]

    @property
    def last(self) -> str:
        """The image whose answer an undo would take back; empty if there is none."""
        return self._order[-1] if self._order else ""

    def refusal(self, entry: Entry) -> str:
        """Why a line can't follow those so far, in one sentence; empty if it can.

        Class names may have the same ``folded_name`` here, as older ledgers accepted that.
        """
        action, label = entry.action, entry.label
        if action == LABEL and label not in self.classes:
            return f"label = {label!r} is not a class ({', '.join(self.classes)}): add it first"
        if action in ANSWERS and not entry.image:
            return f"action = {action!r} names no image: say which"
        if action == UNDO and (not self.last or entry.image != self.last):
            return "there is no answer left to undo"
        if action == ADD_CLASS and label in self.classes:
            return f"class {label!r} already exists: use it"
        if action == REMOVE_CLASS and (not label or label != self.added):
            return f"class {label!r} was not added just now, so it can't be removed"
        known = (*TURNS, ADD_CLASS, REMOVE_CLASS)
        if action not in known and (action != START or self.classes):
            return f"action = {action!r} is unknown: {', '.join(known)}"
        return ""

    def apply(self, entry: Entry) -> None:
        """Add a line that ``refusal`` does not refuse."""
        self.added = entry.label if entry.action == ADD_CLASS else ""
        if entry.action == START:
            self.classes = list(entry.facts["classes"])
        elif entry.action == ADD_CLASS:
            self.classes.append(entry.label)
        elif entry.action == REMOVE_CLASS:
            self.classes.pop()
        else:
            image, before = entry.image, self._has_label(entry.image)
            if entry.action == UNDO:
                self._undo(image)
            else:
                self._answer(image, entry)
            count = self.counts[-1] if self.counts else 0
            self.counts.append(count + self._has_label(image) - before)

    def _answer(self, image: str, entry: Entry) -> None:
        self.given.setdefault(image, []).append(entry)
        self.first.setdefault(image, entry)
        self._order.append(image)
        if image in self.undone:
            self.undone.remove(image)

    def _undo(self, image: str) -> None:
        self._order.pop()
        self.given[image].pop()
        if not self.given[image]:
            del self.given[image]
            self.undone.insert(0, image)

    def _has_label(self, image: str) -> bool:
        return image in self.given and self.given[image][-1].action == LABEL


def folded_name(name: str) -> str:
    """A form that class names share if they differ only in case or Unicode normalisation.

    On some file systems these would share a folder.
    """
    return unicodedata.normalize("NFC", name).casefold()


def class_refusal(name: str, classes: Iterable[str]) -> str:
    """Why a name can't be given to a further class; empty if it can."""
    if not name.strip() or name != name.strip() or not name.isprintable():
        return f"class {name!r} is not a name: use printable characters and no space at the ends"
    same = [other for other in classes if folded_name(other) == folded_name(name)]
    return f"class {name!r} already exists as {same[0]!r}: use that" if same else ""
