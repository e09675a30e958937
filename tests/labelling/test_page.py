import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest

from alutils.labelling import estimate
from alutils.labelling.answers import answer_from
from alutils.labelling.entries import ADD_CLASS, LABEL, NONE, SKIP, START, UNDO
from alutils.labelling.page import REMEMBERED, LabellingPage
from alutils.labelling.repair import repair
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from tests.labelling.blobs import a_session, blobs


@pytest.fixture
def a_page(tmp_path):
    """Factory of pages on a ledger of made-up images, with five answers a training."""
    pool, labels = blobs()
    pages = []

    def made(page: int = 4, **options) -> LabellingPage:
        pages.append(LabellingPage(a_session(tmp_path, pool), page=page, **options))
        return pages[-1]

    made.labels = labels
    yield made
    for page in pages:
        page.close()


class Hands:
    """Sends requests, each with an id of its own."""

    def __init__(self, page: LabellingPage):
        self.page, self.count = page, 0

    def __call__(self, do: str, image: str = "", **more) -> dict:
        self.count += 1
        self.page.handle({"do": do, "image": image, "id": str(self.count)} | more)
        state = self.page.state
        assert state["answered"][-1] == str(self.count)
        return state


def images(state: dict) -> list[str]:
    return [tile["image"] for tile in state["tiles"]]


def said(state: dict) -> list[tuple[str, str]]:
    return [(tile["answer"], tile["label"]) for tile in state["tiles"]]


def lines(page: LabellingPage) -> list[tuple[str, str, str]]:
    return [(e.action, e.image, e.label) for e in page.session.ledger.entries]


def test_a_page_is_answered_image_by_image_and_then_turned(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    assert len(first) == 4 and said(page.state) == [("", "")] * 4
    do(LABEL, first[0], label="ant")
    do(SKIP, first[1])
    do(NONE, first[2])
    state = do("next")  # one is open, so the page stays
    assert images(state) == first and not state["complete"]
    state = do(LABEL, first[3], label="cat")
    assert said(state) == [(LABEL, "ant"), (SKIP, ""), (NONE, ""), (LABEL, "cat")]
    assert state["complete"] and (state["labels"], state["skipped"], state["none"]) == (2, 1, 1)
    assert [(one["name"], one["labels"]) for one in state["classes"]] == [
        ("ant", 1), ("bee", 0), ("cat", 1),
    ]  # fmt: skip
    state = do("next")
    assert not set(images(state)) & set(first) and not state["complete"]
    assert lines(page)[1:] == [
        (LABEL, first[0], "ant"), (SKIP, first[1], ""), (NONE, first[2], ""),
        (LABEL, first[3], "cat"),
    ]  # fmt: skip


def test_the_same_request_is_done_once(a_page):
    page = a_page()
    image = images(page.state)[0]
    for _ in range(2):
        page.handle({"do": LABEL, "image": image, "label": "ant", "id": "a click"})
    assert lines(page)[1:] == [(LABEL, image, "ant")]


def test_a_request_from_long_ago_is_named_again_and_not_done_again(a_page):
    page = a_page()
    image = images(page.state)[0]
    late = {"do": LABEL, "image": image, "label": "ant", "id": "late"}
    page.handle(late)
    do = Hands(page)
    for _ in range(REMEMBERED):
        do("look")
    assert "late" not in page.state["answered"]
    page.handle(late)
    assert page.state["answered"][-1] == "late" and len(lines(page)) == 2


def test_a_state_that_can_not_be_told_says_so_and_names_what_was_saved(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    with patch.object(page, "_shown", side_effect=KeyError("a/000.png")):
        state = do(LABEL, first[0], label="ant")
    assert images(state) == first and len(lines(page)) == 2
    assert state["problem"] == (
        "what is shown is not up to date (KeyError: 'a/000.png'): run the notebook's cells again"
    )
    assert said(do("look"))[0] == (LABEL, "ant") and page.state["problem"] == ""


def test_one_at_a_time_goes_on_by_itself_and_knows_the_next(a_page):
    page = a_page(page=1)
    do = Hands(page)
    state = page.state
    for _ in range(3):
        (image,), (after,) = images(state), state["ahead"]
        state = do(LABEL, image, label="bee")
        assert images(state) == [after] and state["told"] == "bee"


def test_an_undo_on_the_page_opens_its_image_and_puts_the_focus_there(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    for image in first[:2]:
        do(LABEL, image, label="ant")
    state = do(UNDO)
    assert said(state) == [(LABEL, "ant")] + [("", "")] * 3
    assert (state["focus"], state["told"]) == (first[1], "taken back")
    state = do(LABEL, first[1], label="cat")
    assert state["focus"] == "" and said(state)[1] == (LABEL, "cat")


@pytest.mark.parametrize("size", [1, 3])
def test_an_undo_of_an_earlier_page_brings_its_image_back(a_page, size):
    page = a_page(size)
    do, first = Hands(page), images(page.state)
    for image in first:
        do(LABEL, image, label="ant")
    second = images(do("next"))
    state = do(UNDO)
    assert images(state) == ([first[-1]] if size == 1 else [first[-1], *second])
    state = do(LABEL, first[-1], label="bee")
    assert page.session.answers.labels[first[-1]] == "bee"
    assert size > 1 or images(state) == second


def test_an_answer_can_be_changed_and_the_change_be_taken_back(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    do(LABEL, first[0], label="ant")
    assert said(do(LABEL, first[0], label="cat"))[0] == (LABEL, "cat")
    state = do(UNDO)
    assert said(state)[0] == (LABEL, "ant") and state["told"] == "taken back: it is ant again"
    assert [entry.asked for entry in page.session.ledger.entries[1:3]] == ["first batch", "change"]


@pytest.mark.parametrize("size", [1, 2])
def test_answers_of_earlier_pages_are_shown_again_and_changed(a_page, size):
    page = a_page(size)
    do, first = Hands(page), []
    while len(first) < 6:
        for image in images(do("next")):
            first.append(image)
            do(NONE if len(first) == 2 else LABEL, image, label="ant")
    open_ones = images(do("next"))
    page.again(image for image, label in page.session.answers.labels.items() if label == "ant")
    ants = [first[0], *first[2:]]
    for start in range(0, 5, size):
        state = page.state
        shown = ants[start : start + size]
        assert images(state) == shown and state["complete"]
        assert state["focus"] == (shown[0] if size == 1 else "")
        assert said(state) == [(LABEL, "ant")] * len(shown)
        do(LABEL, shown[0], label="bee")
        if size > 1:
            assert said(page.state)[0] == (LABEL, "bee")
            do("next")
    assert images(page.state)[: len(open_ones)] == open_ones and not page.state["complete"]
    labels = page.session.answers.labels
    assert {labels[image] for image in ants[::size]} == {"bee"} and labels.keys() == set(ants)
    assert [e.asked for e in page.session.ledger.entries if e.label == "bee"] == ["change"] * (
        5 if size == 1 else 3
    )


@pytest.mark.parametrize("size", [1, 2])
def test_a_change_on_an_earlier_page_that_is_taken_back_has_its_image_shown(a_page, size):
    page = a_page(size)
    do, first = Hands(page), []
    while len(first) < 4:
        for image in images(page.state):
            first.append(image)
            do(LABEL, image, label="ant")
        do("next")
    page.again(first)
    changed = images(page.state)[-1]
    do(LABEL, changed, label="bee")
    shown = images(do("next"))
    state = do(UNDO)
    assert state["told"] == "taken back: it is ant again"
    assert state["focus"] == changed and images(state)[0] == changed
    assert said(state)[0] == (LABEL, "ant")
    rest = images(state)[1:] + images(do("next"))
    assert rest[: len(shown)] == shown  # what was before the undo comes back, nothing is lost


def test_another_page_size_passes_over_no_answer_that_is_shown_again(a_page):
    page = a_page(2)
    do, first = Hands(page), []
    while len(first) < 6:
        for image in images(do("next")):
            first.append(image)
            do(LABEL, image, label="ant")
    page.again(first)
    assert images(do("page", size=1)) == first[:1]
    assert images(do("page", size=4)) == first[:4]


def test_only_what_was_answered_is_shown_again(a_page):
    page = a_page()
    shown = images(page.state)
    with pytest.raises(ParameterError, match=f"image = '{shown[0]}' has no answer to change: give"):
        page.again(shown)
    with pytest.raises(ParameterError, match="there is no image to change: give images that were"):
        page.again([])
    assert images(page.state) == shown


def test_the_guess_is_sent_when_it_is_asked_for_and_the_ledger_knows_who_saw_it(a_page):
    page = a_page(page=5)
    do = Hands(page)
    assert do("guess", images(page.state)[0])["told"] == "no guess yet: label more first"
    for image in images(page.state):
        do(LABEL, image, label=a_page.labels[image])
    page.session.wait()
    state = do("next")
    assert [tile["guess"] for tile in state["tiles"]] == [""] * 5
    seen, hidden, *_ = images(state)
    guess = page.session.guess(seen)
    state = do("guess", seen)
    assert [tile["guess"] for tile in state["tiles"]] == [guess, "", "", "", ""]
    assert do("guess", seen)["tiles"][0]["guess"] == ""  # hidden again, but it was seen
    for image in (seen, hidden):
        do(LABEL, image, label="ant")
    last = page.session.ledger.entries[-2:]
    assert [(entry.shown, bool(entry.guess)) for entry in last] == [(True, True), (False, True)]


def test_a_new_class_is_there_at_once_and_a_refused_one_is_told_of(a_page):
    page = a_page()
    do = Hands(page)
    assert do(ADD_CLASS, label="dog")["classes"][-1] == {"name": "dog", "labels": 0}
    state = do(ADD_CLASS, label="DOG")
    assert state["problem"] == "class 'DOG' already exists as 'dog': use that"
    assert do(ADD_CLASS, label="Ka\u0308fer")["classes"][-1]["name"] == "K\xe4fer"
    assert page.state["can_undo"]
    state = do(UNDO)
    assert state["classes"][-1]["name"] == "dog" and state["told"] == "class K\xe4fer taken back"
    assert not state["can_undo"]  # no answer is there yet
    for image in images(page.state)[:2]:
        do(LABEL, image, label="ant")
    assert do(UNDO)["focus"]
    do(ADD_CLASS, label="dgo")
    assert do(UNDO)["focus"] == ""  # wherever it is by now, it stays


def test_an_answer_that_is_not_kept_leaves_its_image_open(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    with patch.object(page.session.ledger, "append", side_effect=CanNotWrite("the disk is full")):
        state = do(LABEL, first[0], label="ant")
    assert state["problem"] == "the disk is full" and said(state)[0] == ("", "")
    state = do(LABEL, first[0], label="wasp")
    assert "label = 'wasp' is not a class" in state["problem"]
    state = do(LABEL, "a/999.png", label="ant")
    assert "image = 'a/999.png' was not asked for" in state["problem"]
    state = do("dance")
    assert state["problem"] == "do = 'dance' is not a known action"
    assert [action for action, *_ in lines(page)] == [START]


def test_every_image_is_asked_for_and_then_those_that_were_skipped(a_page):
    page = a_page(page=60)
    do = Hands(page)
    skipped = images(page.state)[:2]
    for _ in range(2):
        for image in images(page.state):
            if image in skipped and image not in page.session.answers.given:
                do(SKIP, image)
            else:
                do(LABEL, image, label=a_page.labels[image])
        do("next")
    assert images(page.state) == skipped
    for image in skipped:
        do(LABEL, image, label="ant")
    state = do("next")
    assert state["finished"] and state["tiles"] == [] and state["labels"] == 120


def test_the_size_of_a_page_is_changed_and_what_is_open_stays(a_page):
    page = a_page()
    do, first = Hands(page), images(page.state)
    do(LABEL, first[0], label="ant")
    state = do("page", size=1)
    assert images(state) == first[1:2] and state["ahead"] == first[2:3]
    state = do("page", size=1000)
    assert images(state)[:3] == first[1:] and len(images(state)) == 60
    assert state["many"] == 4


def test_from_one_at_a_time_a_page_is_of_twelve(a_page):
    assert a_page(page=1).state["many"] == 12


def test_advice_is_what_estimate_says_of_the_answers_so_far(a_page):
    page = a_page(page=20, target=80.0)
    do = Hands(page)
    for _ in range(4):
        for image in images(page.state):
            do(LABEL, image, label=a_page.labels[image])
        page.session.wait()
        do("next")
    while do("look")["advising"] or page.state["training"]:
        pass
    session = page.session
    guessed = estimate.guesses(session.answers, session.settings.batch)
    assert guessed
    assert page.state["advice"] == estimate.advice(guessed, session.trainings(), 80, 80.0)


def test_everything_is_exported_by_what_the_desk_was_given(a_page):
    assert Hands(a_page(export=lambda: "written to here"))("export")["told"] == "written to here"


def test_an_undo_among_skipped_images_keeps_every_image_of_the_page(a_page):
    page = a_page(page=60)
    do = Hands(page)
    first, last = images(page.state), 57
    for image in first:
        do(LABEL, image, label="ant")
    for i, image in enumerate(images(do("next"))):
        do(SKIP if i > last else LABEL, image, label="ant")
    skipped = images(do("next"))
    state = do(UNDO)
    assert len(skipped) == 2 and images(state) == skipped and state["focus"] == skipped[1]


def test_a_guess_that_was_seen_counts_as_seen_on_another_page_too(a_page):
    page = a_page(page=5)
    do = Hands(page)
    for image in images(page.state):
        do(LABEL, image, label=a_page.labels[image])
    page.session.wait()
    seen = images(do("next"))[0]
    do("guess", seen)
    do("page", size=1)
    do(LABEL, seen, label="ant")
    assert page.session.ledger.entries[-1].shown


def test_what_went_wrong_is_told_until_something_is_done(a_page):
    page = a_page()
    do, image = Hands(page), images(page.state)[0]
    do(LABEL, image, label="wasp")
    assert "label = 'wasp' is not a class" in do("look")["problem"]
    assert do(LABEL, image, label="ant")["problem"] == ""
    assert do("look")["told"] == "ant"


def test_an_error_that_nobody_expected_is_told_and_the_desk_goes_on(a_page):
    page = a_page(export=lambda: 1 / 0)
    do, image = Hands(page), images(page.state)[0]
    assert do("export")["problem"] == "'export' failed (ZeroDivisionError: division by zero)"
    assert do(LABEL, image, label="ant")["labels"] == 1


def test_advice_that_fails_is_told_and_the_desk_goes_on(a_page):
    with patch.object(estimate, "advice", side_effect=ValueError("no fit")):
        page = a_page()
        do, image = Hands(page), images(page.state)[0]
        do(LABEL, image, label="ant")
        while (state := do("look"))["advising"]:
            pass
    assert state["advice"] == {"Accuracy": "not known (ValueError: no fit)"}
    assert state["labels"] == 1


def test_an_answer_is_shown_as_saved_though_advice_can_not_begin(a_page):
    page = a_page()
    do, image = Hands(page), images(page.state)[0]
    with patch.object(estimate, "guesses", side_effect=IndexError("no such count")):
        state = do(LABEL, image, label="ant")
    assert state["advice"] == {"Accuracy": "not known (IndexError: no such count)"}
    assert state["labels"] == 1 and said(state)[0] == (LABEL, "ant")


def test_after_a_repair_the_desk_goes_on_with_what_is_left(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool, share=0.5) as session:
        answer_from(labels, session, 40)
    path = tmp_path / "ledger.jsonl"
    content = path.read_bytes()
    middle = len(content) // 3
    path.write_bytes(content[:middle] + b"x" * 4000 + content[middle + 4000 :])
    kept, _ = repair(path)
    assert 10 < kept < 41
    page = LabellingPage(a_session(tmp_path, pool, share=0.5))
    do = Hands(page)
    answers = page.session.answers
    for entry in page.session.ledger.entries:
        assert entry.model <= (entry.number - 2) // 5 or entry.action == START
    guessed = estimate.guesses(answers, 5)
    assert guessed and all(g.labels == answers.counts[5 * g.model - 1] for g in guessed)
    for image in images(page.state):
        assert do(LABEL, image, label=labels[image])["problem"] == ""
    page.session.wait()
    while do("look")["advising"] or page.state["training"]:
        pass
    assert "Error" not in str(page.state["advice"])
    page.close()


def test_nobody_is_answered_while_another_one_has_the_turn(a_page):
    page = a_page()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (page.handle({"do": "look", "id": "1"}), done.set()))
    with page.lock:
        thread.start()
        assert not done.wait(0.1)
        page.handle({"do": "look", "id": "2"})  # whoever has it may go on
    thread.join()
    assert page.state["answered"] == ["2", "1"]


def test_an_answer_is_saved_though_no_training_can_begin(a_page):
    notes = []
    page = a_page(page=1, notes=notes)
    do = Hands(page)
    page.session._trainings.say = notes.append
    with patch.object(ThreadPoolExecutor, "submit", side_effect=RuntimeError("no new thread")):
        for _ in range(7):
            state = do(LABEL, images(page.state)[0], label="ant")
            assert state["problem"] == ""
    assert state["labels"] == 7
    told = "training 1 failed (RuntimeError: no new thread): the previous model stays in use"
    assert notes == [told]


def test_a_closed_desk_says_that_it_is_closed(a_page):
    page = a_page()
    image = images(page.state)[0]
    page.close()
    do = Hands(page)
    for request in (LABEL, "next", "page", "guess"):
        state = do(request, image, label="ant", size=1)
        assert "ledger.jsonl is closed: open it again" in state["problem"]
    assert do("look")["problem"] == state["problem"] and len(images(state)) == 4
