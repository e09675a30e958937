import threading
from itertools import groupby

import pytest

from alutils.labelling import trainings
from alutils.labelling.answers import ReplayDiffers, answer_from, recorded, replay
from alutils.labelling.hash_chain import read
from alutils.labelling.settings import Settings
from alutils.protocol.parameters import ParameterError
from tests.labelling.blobs import CLASSES, a_session, blobs, said


def test_the_same_seed_asks_for_the_same_and_another_seed_for_other_images(tmp_path):
    pool, labels = blobs()
    kept = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with a_session(tmp_path, pool, name, seed=seed, arm="badge") as session:
            assert answer_from(labels, session, 42) == 42
            kept.append(said(session)[1:])
    assert kept[0] == kept[1] != kept[2]


@pytest.fixture
def gate(monkeypatch):
    """Trainings wait until it is set."""
    gate, real = threading.Event(), trainings.train_and_choose

    def gated(pool, settings, now, choose=True):
        assert gate.wait(60) or not now.number
        return real(pool, settings, now, choose)

    monkeypatch.setattr(trainings, "train_and_choose", gated)
    gate.set()
    yield gate
    gate.set()


def test_answering_never_waits_for_a_training_and_a_replay_asks_for_the_same(tmp_path, gate):
    """While a training waits, images at random are asked for; then what is left of its batch."""
    pool, labels = blobs()
    with a_session(tmp_path, pool, share=0.2) as session:
        for number in (1, 2):
            session.ask()
            gate.clear()
            while len(session.answers.counts) < 10 * number:
                question = session.ask()[0]
                session.label(question.image, labels[question.image], shown=number == 2)
            gate.set()
            session.wait()
        session.skip(session.ask()[0].image)
        asked = [(e.asked, e.model) for e in session.ledger.entries[1:]]
        runs = [(*key, len(list(group))) for key, group in groupby(asked)]
        assert runs == [
            ("first batch", 0, 5), ("random share", 0, 5),
            ("uherding", 2, 4), ("random share", 2, 1), ("uherding", 2, 1), ("random share", 2, 4),
            ("uherding", 4, 1),
        ]  # fmt: skip
        kept = said(session)
    classes, settings = recorded(read(tmp_path / "ledger.jsonl"))
    assert classes == CLASSES and settings == Settings(batch=5, share=0.2)
    with a_session(tmp_path, pool, "again.jsonl", share=0.2) as session:
        replay(session, read(tmp_path / "ledger.jsonl"))
        assert said(session) == kept


def change_of_mind(session, labels):
    """Answers, three undone, a skip, classes added, an answer changed, several asked at a time."""
    answer_from(labels, session, 12)
    for _ in range(3):
        session.undo()
    session.add_class("dgo"), session.undo(), session.add_class("dog")
    session.ask(4)
    for question in reversed(session.ask(6)):
        session.label(question.image, "dog" if question.position % 5 == 0 else "bee")
    session.skip(session.ask()[0].image)
    session.label(next(iter(session.answers.given)), "dog")
    session.undo(), session.undo()
    answer_from(labels, session, 9)


def test_an_undo_passed_over_a_class_before_classes_could_be_taken_back(tmp_path):
    """As older ledgers have it, which are given again as they are."""
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 3)
        session.add_class("dog")
        session.ledger.append("undo", image=session.answers.last)
        session.label(session.ask()[0].image, "dog")
        kept = said(session)
    with a_session(tmp_path, pool, "again.jsonl") as session:
        replay(session, read(tmp_path / "ledger.jsonl"))
        assert said(session) == kept and session.classes == [*CLASSES, "dog"]


def test_a_replay_follows_undo_change_of_mind_and_several_at_a_time(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        change_of_mind(session, labels)
        kept, answers = said(session), vars(session.answers)
        actions = [entry.action for entry in session.ledger.entries]
        assert actions.count("undo") == 5
        assert (actions.count("add-class"), actions.count("remove-class")) == (2, 1)
        assert session.classes[-1] == "dog" and "dgo" not in session.classes
    recorded_entries = read(tmp_path / "ledger.jsonl")
    with a_session(tmp_path, pool, "again.jsonl") as session:
        replay(session, recorded_entries[:20])
    with a_session(tmp_path, pool, "again.jsonl") as session:
        replay(session, recorded_entries)  # goes on after what it has
        assert said(session) == kept
        assert session.answers.labels == {
            image: entries[-1].label
            for image, entries in answers["given"].items()
            if entries[-1].action == "label"
        }


@pytest.mark.parametrize("seed", [0, 1])
def test_a_replay_goes_by_the_training_that_asked_where_two_did_before_an_answer(tmp_path, seed):
    """Four images by one training, two more by the next, answered from the last on."""
    pool, labels = blobs()
    with a_session(tmp_path, pool, share=0.0, seed=seed) as session:
        answer_from(labels, session, 15)
        session.ask(4, 2)
        for question in reversed(session.ask(6, 3)):
            session.label(question.image, labels[question.image])
        kept = said(session)
        assert [entry.model for entry in session.ledger.entries[-6:]] == [3, 3, 2, 2, 2, 2]
    with a_session(tmp_path, pool, "again.jsonl", share=0.0, seed=seed) as session:
        replay(session, read(tmp_path / "ledger.jsonl"))
        assert said(session) == kept


def test_a_session_that_was_closed_at_any_time_goes_on_with_the_same_question(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 23)
        kept = said(session)
    lines: list[str] = []
    for count in range(23):
        with a_session(tmp_path, pool, "parts", say=lines.append) as session:
            assert len(session.answers.counts) == count
            answer_from(labels, session, 1)
            session.ask(3)
    with a_session(tmp_path, pool, "parts") as session:
        assert said(session) == kept
    assert lines[0] == "continuing parts: 1 label, 0 skipped, 0 of no class" and len(lines) == 22


def test_the_oracle_skips_what_it_does_not_know_and_tells_other_classes_apart(tmp_path):
    pool, labels = blobs(30)
    known = {image: "dog" if label == "cat" else label for image, label in labels.items()}
    del known[pool.names[0]], known[pool.names[1]]
    with a_session(tmp_path, pool) as session:
        assert answer_from(known, session, 50) == 30
        answers = session.answers
        assert answers.labels == {i: c for i, c in known.items() if c != "dog"}
        assert sorted(answers.skipped) == sorted(pool.names[:2])
        none = {i for i, e in answers.current.items() if e.action == "none-of-these"}
        assert none == {image for image, label in known.items() if label == "dog"}


def test_a_replay_that_can_not_be_says_so(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 8)
    entries = read(tmp_path / "ledger.jsonl")
    with a_session(tmp_path, pool, "other", seed=9) as session:
        with pytest.raises(
            ReplayDiffers, match="of the recorded ledger answers '.*', which is not"
        ):
            replay(session, entries)
    with a_session(tmp_path, pool, "early") as session:
        with pytest.raises(ReplayDiffers, match="line 7 of the recorded ledger answers"):
            replay(session, [entries[0], *entries[6:]])
        with pytest.raises(ParameterError, match="model = 1 is not among the trainings 0 to 0"):
            session.ask(model=1)
    with a_session(tmp_path, pool, "mine") as session:
        session.skip(session.ask()[0].image)
        with pytest.raises(ReplayDiffers, match="line 2 of mine is not that of the recorded"):
            replay(session, entries)
