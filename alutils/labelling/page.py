"""What a person who labels is shown: a page of images, and what is known so far.

A user interface shows ``state`` and sends requests, each with its own id. The next state lists
those that are answered, so that nothing counts as saved before it is on disk.
"""

import threading
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from alutils.labelling import estimate
from alutils.labelling.entries import (
    ADD_CLASS,
    CHANGE,
    LABEL,
    NONE,
    REMOVE_CLASS,
    SKIP,
    UNDO,
    Entry,
)
from alutils.labelling.session import Question, Session
from alutils.labelling.settings import LARGEST_PAGE
from alutils.protocol.parameters import ParameterError, StudyError

LOOK = "look"
"""Action that only asks for the state."""
MANY = 12
"""Images per page by default, and those that a page of one image is switched to."""
REMEMBERED = 200
"""Maximum number of answered requests that the state lists."""


@dataclass
class Tile:
    """An image of the page.

    Attributes
    ----------
    question : as it was asked for
    guess_visible : whether the guess is shown
    """

    question: Question
    guess_visible: bool = False


class LabellingPage:
    """A session's page of images.

    Threads take turns, as JupyterLab's messages arrive while cells run.

    Attributes
    ----------
    session : whose images they are
    lock : held during every action here, and by anyone who reads the session elsewhere
    notes : messages of the session, the latest last
    """

    def __init__(
        self,
        session: Session,
        target: float = 95.0,
        page: int = MANY,
        notes: Iterable[str] = (),
        export: Callable[[], str] | None = None,
    ):
        """Ask for the first page.

        Parameters
        ----------
        target : accuracy (%) that the forecast is for
        page : images per page; with 1, an answer brings up the next image
        notes : messages of the session; read whenever the state is
        export : writes everything that can be exported, and says where
        """
        self.session, self.target, self.export = session, target, export
        self.notes = notes
        self._page, self._many = page, page if page > 1 else MANY
        self._tiles: list[Tile] = []
        self._again: list[str] = []
        self._focus = ""
        self._guess_seen: set[str] = set()
        self._done: set[str] = set()
        self._answered: deque[str] = deque(maxlen=REMEMBERED)
        self._latest: dict[str, Any] = {}
        self._problem, self._told = "", ""
        self._advice: dict[str, str] = {}
        self._advised: tuple[int, int] = (-1, -1)
        self._adviser = ThreadPoolExecutor(1, thread_name_prefix="advice")
        self._advising: Future[dict[str, str]] | None = None
        self._closed = False
        self.lock = threading.RLock()
        self._turn_page()

    def close(self) -> None:
        """Take no more requests, and let somebody else write the ledger."""
        with self.lock:
            self._closed = True
            self._adviser.shutdown(wait=True, cancel_futures=True)
            self.session.close()

    def again(self, images: Iterable[str]) -> None:
        """Show answered images again, to change their answers, page by page, in this order.

        Images that were asked for and have no answer come after them. An open user interface gets
        them at its next request. Raises ``ParameterError`` if an image has no answer or no image is
        given.
        """
        with self.lock:
            images, given = list(images), self.session.answers.given
            if without := [image for image in images if image not in given] or not images:
                told = f"image = {without[0]!r} has no answer" if images else "there is no image"
                raise ParameterError(f"{told} to change: give images that were answered")
            self._again = images
            self._turn_page()

    def handle(self, request: Mapping[str, Any]) -> None:
        """Carry out a request, unless it was carried out before.

        The state reports what the ledger refuses, as ``problem``, and any other error with its
        type, since nobody reads the traceback of a request. It does so until a request other than
        ``LOOK`` comes.
        """
        number, action = str(request.get("id", "")), str(request.get("do", ""))
        with self.lock:
            if number not in self._done:
                self._done.add(number)
                self._take(action, request)
            if number not in self._answered:
                self._answered.append(number)

    def _take(self, action: str, request: Mapping[str, Any]) -> None:
        """Carry out a request, and keep any error."""
        if action != LOOK:
            self._problem, self._told = "", ""
        try:
            self._do(action, request)
        except (ParameterError, StudyError) as error:
            self._problem = str(error)
        except Exception as error:
            self._problem = f"{action!r} failed ({type(error).__name__}: {error})"
        try:
            self._advise()
        except Exception as error:  # the answer is saved, so the state must still be sent
            self._advice = _no_advice(error)

    @property
    def state(self) -> dict[str, Any]:
        """What a user interface shows, as JSON values.

        If that fails, it is the previous state with the requests answered since, and says so.
        """
        with self.lock:
            try:
                self._latest = self._facts()
            except Exception as error:
                if not self._latest:
                    raise
                return self._latest | {
                    "answered": list(self._answered),
                    "problem": f"what is shown is not up to date ({type(error).__name__}: {error}):"
                    " run the notebook's cells again",
                }
            return self._latest

    def _facts(self) -> dict[str, Any]:
        answers, session = self.session.answers, self.session
        current = list(answers.current.values())
        actions = Counter(entry.action for entry in current)
        labels = Counter(entry.label for entry in current if entry.action == LABEL)
        self._take_advice()
        return {
            "classes": [{"name": name, "labels": labels[name]} for name in answers.classes],
            "tiles": [self._shown(tile) for tile in self._tiles],
            "ahead": self._ahead,
            "focus": self._focus,
            "page": self._page,
            "many": self._many,
            "complete": not self._open_tiles(),
            "finished": not self._tiles,
            "labels": actions[LABEL],
            "skipped": actions[SKIP],
            "none": actions[NONE],
            "images": len(session.pool),
            "training": session.is_training,
            "trained_on": session.trained_on,
            "can_undo": bool(answers.last or answers.added),
            "advice": self._advice,
            "advising": self._advising is not None,
            "notes": list(self.notes)[-3:],
            "told": self._told,
            "problem": self._problem,
            "can_export": self.export is not None,
            "answered": list(self._answered),
        }

    def _do(self, action: str, request: Mapping[str, Any]) -> None:
        image = str(request.get("image", ""))
        if self._closed and action != LOOK:
            name = self.session.ledger.path.name
            raise ParameterError(f"{name} is closed: open it again by running the cells again")
        if action in (LABEL, SKIP, NONE):
            self._answer(action, image, str(request.get("label", "")))
        elif action == UNDO:
            self._undo()
        elif action == ADD_CLASS:
            name = unicodedata.normalize("NFC", str(request["label"]))
            self._told = f"new class {self.session.add_class(name).label}"
        elif action == "guess":
            self._show_guess(image)
        elif action == "next":
            if not self._open_tiles():
                self._turn_page()
        elif action == "page":
            self._page = min(max(1, int(request["size"])), LARGEST_PAGE)
            self._again = self._shown_again() + self._again
            self._turn_page()
        elif action == "export" and self.export:
            self._told = self.export()
        elif action != LOOK:
            raise ParameterError(f"do = {action!r} is not a known action")

    def _answer(self, action: str, image: str, label: str) -> None:
        seen = image in self._guess_seen
        if action == LABEL:
            entry = self.session.label(image, label, seen)
        elif action == SKIP:
            entry = self.session.skip(image, seen)
        else:
            entry = self.session.none_of_these(image, seen)
        self._focus, self._told = "", entry.answer_text
        if self._page == 1 and not self._open_tiles():
            self._turn_page()

    def _undo(self) -> None:
        """Take back the class that was just added, or the latest answer, and show its image."""
        entry = self.session.undo()
        if entry.action == REMOVE_CLASS:
            self._told, self._focus = f"class {entry.label} taken back", ""
            return
        image = self._focus = entry.image
        before = self.session.answers.given.get(image)
        self._told = f"taken back: it is {before[-1].answer_text} again" if before else "taken back"
        question = self.session.to_change(image) if before else self.session.ask(1)[0]
        tiles = {tile.question.image: tile for tile in self._tiles}
        if image not in tiles:
            if self._page == 1:
                self._again = self._shown_again() + self._again
                self._tiles = []
            self._tiles.insert(0, Tile(question))
        elif not before:
            tiles[image].question = question

    def _show_guess(self, image: str) -> None:
        for tile in self._tiles:
            if tile.question.image == image:
                guess = tile.question.guess
                self._told = f"guess: {guess}" if guess else "no guess yet: label more first"
                tile.guess_visible = bool(guess) and not tile.guess_visible
                if tile.guess_visible:
                    self._guess_seen.add(image)

    def _turn_page(self) -> None:
        """Show a new page, starting with images asked for and not yet answered."""
        if self._again:
            shown, self._again = self._again[: self._page], self._again[self._page :]
            self._tiles = [Tile(self.session.to_change(image)) for image in shown]
            self._focus = shown[0] if self._page == 1 else ""
            self._ahead = self._again[: self._page == 1]
            return
        asked = self.session.ask(self._page + (self._page == 1))
        self._tiles = [Tile(question) for question in asked[: self._page]]
        self._focus = ""
        self._ahead = [question.image for question in asked[self._page :]]

    def _shown_again(self) -> list[str]:
        """Images of the page that were answered before, and are there to be changed."""
        return [tile.question.image for tile in self._tiles if tile.question.asked == CHANGE]

    def _open_tiles(self) -> list[Tile]:
        """Tiles without an answer since their image was asked for."""
        return [tile for tile in self._tiles if not self._entry(tile)]

    def _entry(self, tile: Tile) -> Entry | None:
        """A tile's answer, if it was given after the image was asked for."""
        given = self.session.answers.given.get(tile.question.image)
        return given[-1] if given and given[-1].number > tile.question.line else None

    def _shown(self, tile: Tile) -> dict[str, Any]:
        entry = self._entry(tile)
        return {
            "image": tile.question.image,
            "answer": entry.action if entry else "",
            "label": entry.label if entry else "",
            "guess": tile.question.guess if tile.guess_visible else "",
        }

    def _advise(self) -> None:
        """Start to estimate how good the head is, if there is a new training or batch."""
        self._take_advice()
        trainings = self.session.trainings()
        now = (len(trainings), self.session.due)
        if now == self._advised or self._advising or self._closed:
            return
        self._advised = now
        guessed = estimate.guesses(self.session.answers, self.session.settings.batch)
        labels = len(self.session.answers.labels)
        self._advising = self._adviser.submit(
            estimate.advice, guessed, trainings, labels, self.target
        )

    def _take_advice(self) -> None:
        if not (self._advising and self._advising.done()):
            return
        done, self._advising = self._advising, None
        if done.cancelled():
            return
        if error := done.exception():
            self._advice = _no_advice(error)
        else:
            self._advice = done.result()


def _no_advice(error: BaseException) -> dict[str, str]:
    return {"Accuracy": f"not known ({type(error).__name__}: {error})"}
