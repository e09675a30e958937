"""Labelling by hand, without its user interface: what to ask next, and what was answered.

The first batch is chosen by typicality, before anything is labelled. Then an arm chooses by the
predictions of a linear head, which is retrained in the background after every ``batch`` answers. A
share of what is asked for is drawn at random. Answered images are not asked for again; skipped ones
come back when nothing else is left.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from alutils.labelling.batches import Head, TrainingResult, snapshot, train_head
from alutils.labelling.entries import (
    CHANGE,
    LABEL,
    NONE,
    RANDOM_SHARE,
    SKIP,
    TAKEN_OVER,
    Answers,
    Entry,
)
from alutils.labelling.ledger import Ledger
from alutils.labelling.pool import FeaturePool
from alutils.labelling.settings import Settings
from alutils.labelling.trainings import Trainings
from alutils.learning.scoring import predict
from alutils.learning.streams import stream
from alutils.protocol.parameters import ParameterError

SKIPPED = "skipped"
"""The reason for asking for a skipped image again, once no other is left."""


@dataclass(frozen=True)
class Question:
    """An image that is asked for.

    Attributes
    ----------
    image, position : its name, and its row in the pool
    asked : what asked for it: an arm, or a reason of ``entries``
    model : number of the training that was current then
    guess : its class by that training's head; empty without one
    line : number of the ledger's last line then
    """

    image: str
    position: int
    asked: str
    model: int
    guess: str
    line: int


class Session:
    """Labelling a pool into a ledger; one session per ledger, used by one thread at a time.

    What is asked for depends on the pool, the settings, the answers, and on which training was done
    when an image was asked for, which the ledger keeps. ``answers.replay`` asks for the same again.

    Attributes
    ----------
    pool, settings : what is labelled, and how images are chosen
    ledger : the answers
    """

    def __init__(
        self,
        path: Path,
        pool: FeaturePool,
        classes: Iterable[str],
        settings: Settings,
        say: Callable[[str], None] = print,
    ):
        """Start a ledger, or continue it; raises as ``Ledger``.

        ``say`` is called with one line for each of these: where the ledger continues, what was set
        aside, a failed training, and that skipped images come back. A failed training is reported
        from the thread that asks for images.
        """
        self.pool, self.settings, self.say = pool, settings, say
        self.ledger = Ledger(path, classes, pool.facts | settings.facts, say)
        self._trainings = Trainings(pool, settings, self.ledger.entries, say)
        self._batch: TrainingResult | None = None
        self._asked: dict[str, Question] = {}
        self._said_skipped = False
        order = torch.randperm(len(pool), generator=stream(settings.seed, "random share"))
        self._at_random = [pool.names[i] for i in order.tolist()]
        self._trainings.start(self.due)
        self._trainings.warm_up()
        self._trainings.look_back()
        if self.answers.counts:
            say(f"continuing {self.ledger.path.name}: {describe(self.answers)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the running training, then let somebody else write the ledger."""
        self._trainings.close()
        self.ledger.close()

    @property
    def answers(self) -> Answers:
        """What was answered so far."""
        return self.ledger.answers

    @property
    def classes(self) -> list[str]:
        """The current classes."""
        return self.answers.classes

    @property
    def due(self) -> int:
        """Number of the latest training for which there are enough answers."""
        return len(self.answers.counts) // self.settings.batch

    @property
    def is_training(self) -> bool:
        """Whether the training that is due is still running."""
        return self._trainings.is_running(self.due)

    @property
    def trained_on(self) -> int:
        """Number of labels that the current head was trained on; 0 without one."""
        head = self._batch.head if self._batch else None
        return head.labels if head else 0

    def ask(self, count: int = 1, model: int | None = None) -> list[Question]:
        """What to ask for next, at most ``count``; what was asked for and not answered comes first.

        It waits for a training only at the beginning. Later, while one runs, the rest of the batch
        before is asked for, and then random images. With ``model`` it waits for that training and
        chooses by it; ``model=due`` makes the choice a function of the answers alone.
        """
        self._choose_model(model)
        self._asked = {q.image: q for q in self._asked.values() if not self._answered_since(q)}
        back = {image: self._question_again(image) for image in self.answers.undone}
        self._asked = back | self._asked
        while len(self._asked) < count and (question := self._next()):
            self._asked[question.image] = question
        return list(self._asked.values())[:count]

    def label(self, image: str, label: str, shown: bool = False) -> Entry:
        """Give an image a class; ``shown`` is whether the guess was seen.

        The image must have been asked for, or have an answer, which this one replaces. Returns when
        the answer is on disk. Raises as ``Ledger.append``.
        """
        return self._answer(LABEL, image, label, shown)

    def skip(self, image: str, shown: bool = False) -> Entry:
        """Leave an image for later."""
        return self._answer(SKIP, image, "", shown)

    def none_of_these(self, image: str, shown: bool = False) -> Entry:
        """Say that an image is of none of the classes."""
        return self._answer(NONE, image, "", shown)

    def undo(self) -> Entry:
        """Take back the latest answer, or the class that was added after it.

        An image that is left without an answer is asked for next.
        """
        entry = self.ledger.undo()
        self._trainings.begin(self.due)
        return entry

    def add_class(self, name: str) -> Entry:
        """Add a class; from the next training on the head knows it."""
        return self.ledger.add_class(name)

    def guess(self, image: str) -> str:
        """The class that the current head predicts for an image; empty without a head."""
        return self._guess(self.pool.position[image])

    def head(self) -> Head:
        """The head trained on all labels so far, here and now; raises as ``train_head``."""
        now = snapshot(self.pool, self.settings, self.ledger.entries)
        return train_head(self.pool, self.settings, now)

    def least_confident(self, count: int) -> tuple[list[str], list[str], list[float]]:
        """At most ``count`` unanswered images that the head trained on all labels is least sure of.

        Returns their names, likeliest classes, and the probabilities of these, in ascending order.
        Raises as ``train_head``.
        """
        head, given = self.head(), self.answers.given
        probs_N_C = predict(head.net, self.pool.rows)
        confidence_N, guess_N = probs_N_C.max(1)
        order = [i for i in confidence_N.argsort().tolist() if self.pool.names[i] not in given]
        chosen = order[:count]
        names = [self.pool.names[i] for i in chosen]
        guesses = [head.classes[int(guess_N[i])] for i in chosen]
        return names, guesses, confidence_N[chosen].tolist()

    def trainings(self) -> list[TrainingResult]:
        """The trainings finished so far, by number, for stopping rules.

        When a ledger is reopened, earlier ones are computed again, one by one, in the background.
        """
        return self._trainings.known()

    def wait(self) -> None:
        """Wait until no training runs."""
        self._trainings.wait()

    def to_change(self, image: str) -> Question:
        """A question to change an image's answer; its present answer already counts as given."""
        return replace(self._question(image, CHANGE), line=0)

    def forget(self, but: int | None = None) -> None:
        """Forget unanswered questions, as closing does, except those by training ``but``."""
        self._asked = {q.image: q for q in self._asked.values() if q.model == but}

    def _choose_model(self, model: int | None) -> None:
        """Use training ``model``, or the latest one available."""
        due = self.due
        if model is not None and not 0 <= model <= due:
            raise ParameterError(f"model = {model} is not among the trainings 0 to {due} so far")
        self._trainings.begin(due)
        if model is not None:
            self._batch = self._trainings.get(model)
        elif self._batch is None:
            self._batch = self._trainings.latest(due, wait=True) or self._trainings.get(due)
        else:
            self._batch = self._trainings.latest(due, self._batch.number) or self._batch

    def _answered_since(self, question: Question) -> bool:
        """Whether an image has an answer from after it was asked for."""
        given = self.answers.given.get(question.image)
        return bool(given) and given[-1].number > question.line

    def _next(self) -> Question | None:
        """One more image to ask for; None if all have an answer and none is skipped."""
        given, asked = self.answers.given, self._asked
        free = (name for name in self._at_random if name not in given and name not in asked)
        picks = map(self.pool.names.__getitem__, self._batch.picks)
        pick = next((name for name in picks if name not in given and name not in asked), None)
        if pick is not None and not self._random_is_due():
            return self._question(pick, self._batch.asked)
        if (drawn := next(free, None)) is not None:
            return self._question(drawn, RANDOM_SHARE)
        again = next((name for name in self.answers.skipped if name not in asked), None)
        if again is None:
            return None
        if not self._said_skipped:
            self._said_skipped = True
            self.say("every image has an answer: skipped ones are asked for again")
        return self._question(again, SKIPPED)

    def _random_is_due(self) -> bool:
        """Whether the share of random images would fall short without one more.

        Images from before the first head don't count: without a guess they tell nothing about
        accuracy.
        """
        if not self._batch.head:
            return False
        first = (self.answers.first[image] for image in self.answers.given)
        asked = [e.asked for e in (*first, *self._asked.values()) if e.guess]
        return asked.count(RANDOM_SHARE) + 1 <= self.settings.share * (len(asked) + 1) + 1e-9

    def _question(self, image: str, asked: str) -> Question:
        at = self.pool.position[image]
        model, line = self._batch.number, len(self.ledger.entries)
        return Question(image, at, asked, model, self._guess(at), line)

    def _question_again(self, image: str) -> Question:
        """The question of an image that an undo left without an answer."""
        asked, first = self._asked.get(image), self.answers.first[image].asked
        return asked or self._question(image, self._batch.asked if first == TAKEN_OVER else first)

    def _guess(self, position: int) -> str:
        head = self._batch.head if self._batch else None
        if head is None:
            return ""
        return head.classes[int(predict(head.net, self.pool.rows[[position]]).argmax())]

    def _answer(self, action: str, image: str, label: str, shown: bool) -> Entry:
        question = self._asked.get(image)
        if question is None and image not in self.answers.given:
            raise ParameterError(
                f"image = {image!r} was not asked for and has no answer to change: answer one that "
                "ask() gave"
            )
        asked = {"asked": CHANGE, "model": self._batch.number if self._batch else 0}
        if question is not None:
            asked = {"asked": question.asked, "model": question.model, "guess": question.guess}
        entry = self.ledger.append(action, image=image, label=label, shown=shown, **asked)
        self._asked.pop(image, None)
        self._trainings.begin(self.due)
        return entry


def describe(answers: Answers) -> str:
    """How many answers there are, in words."""
    actions = [entry.action for entry in answers.current.values()]
    skipped, none = actions.count(SKIP), actions.count(NONE)
    labels = len(answers.labels)
    return (
        f"{labels:,} label{'' if labels == 1 else 's'}, {skipped:,} skipped, {none:,} of no class"
    )
