from unittest.mock import patch

import pytest
import torch

from alutils.labelling import batches, trainings
from alutils.labelling.answers import answer_from
from alutils.labelling.batches import Head, TrainingResult, snapshot, train_and_choose
from alutils.labelling.pool import FeaturePool
from alutils.labelling.session import SKIPPED, Question, Session
from alutils.labelling.settings import Settings
from alutils.learning.head import FeatureNet
from alutils.learning.network import initialise
from alutils.learning.scoring import predict
from alutils.learning.streams import stream
from alutils.learning.training import train
from alutils.protocol import arms
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError
from alutils.strategies.own import STRATEGIES, register
from alutils.strategies.view import PoolView
from tests.labelling.blobs import CLASSES, a_session, blobs


def test_the_first_batch_is_the_most_typical_with_nothing_labelled(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool, batch=6, seed=3) as session:
        asked = session.ask(6)
    view = PoolView(
        FeatureNet(pool.mean, pool.std, 3), pool.rows, torch.arange(120), torch.arange(0),
        mc_passes=20, dropout=0.5, clusters=12, rng=stream(3, "mc-masks", 0),
    )  # fmt: skip
    picks = STRATEGIES["typiclust"](view, 6, stream(3, "acquisition", "typiclust", 0))
    assert [question.position for question in asked] == picks.tolist()
    assert {(q.asked, q.model, q.guess) for q in asked} == {("first batch", 0, "")}


def test_a_batch_is_what_the_arm_says_of_a_head_trained_as_records_have_it(tmp_path):
    """Against the same calls made by hand, on a snapshot with a skip and an image of no class."""
    pool, labels = blobs()
    with a_session(tmp_path, pool, arm="margin", seed=1, candidates=60) as session:
        for question in session.ask(5)[:3]:
            session.label(question.image, labels[question.image])
        session.skip(session.ask()[0].image)
        session.none_of_these(session.ask()[0].image)
        session.add_class("dog")  # after the turn: the head of this batch does not know it
        now = snapshot(pool, session.settings, session.ledger.entries, 1)
        entries = session.ledger.entries
    at = sorted(pool.position[e.image] for e in entries[1:4])
    assert now.labelled.tolist() == at and now.classes == tuple(CLASSES) and now.number == 1
    assert now.labels.tolist() == [CLASSES.index(labels[pool.names[i]]) for i in at]
    answered = {pool.position[entry.image] for entry in entries[1:6]}
    assert now.unanswered.tolist() == [i for i in range(120) if i not in answered]

    net = FeatureNet(pool.mean, pool.std, 3)
    initialise(net, stream(1, "weights"))
    cell = Cell(
        dataset="any", arm="margin", seed=1, first_labels=3, epochs=20, batch_size=3,
        learning_rate=1e-2, schedule="one-cycle", weight_decay=1.0,
    )  # fmt: skip
    train(net, pool.rows[now.labelled], now.labels, cell, 1)
    left = now.unanswered
    left = left[torch.randperm(len(left), generator=stream(1, "candidates", 1))[:60]].sort().values
    probs = predict(net, pool.rows, left)
    top = probs.topk(2, dim=1).values
    by_hand = left[(top[:, 0] - top[:, 1]).argsort(stable=True)[:5]].tolist()
    batch = train_and_choose(pool, session.settings, now)
    assert list(batch.picks) == by_hand and batch.asked == "margin"
    assert batch.entropy == pytest.approx(-(probs * probs.log()).sum(1).mean().item(), abs=1e-5)
    assert torch.equal(batch.head.net.head.weight, net.head.weight)


def test_with_fewer_than_two_classes_typicality_goes_on(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool, share=0.5) as session:
        for _ in range(10):
            question = session.ask(model=session.due)[0]
            session.label(question.image, "ant")
        assert [(q.asked, q.guess) for q in session.ask(3, 2)] == [("typiclust", "")] * 3
        with pytest.raises(ParameterError, match="a head needs labels of two classes"):
            session.head()


def test_from_many_labels_on_the_head_has_the_other_recipe(monkeypatch):
    pool, labels = blobs(240)
    seen = []
    monkeypatch.setattr(batches, "train", lambda net, rows, y, cell, number: seen.append(cell))
    for count in (2, 199, 200):
        at = torch.arange(count)
        now = batches.Snapshot(4, tuple(CLASSES), at, at % 3, torch.arange(count, 240))
        batches.train_head(pool, Settings(), now)
    assert [(cell.batch_size, cell.learning_rate) for cell in seen] == [
        (2, 1e-2), (10, 1e-2), (50, 3e-3),
    ]  # fmt: skip
    assert {(c.epochs, c.schedule, c.weight_decay, c.optimiser) for c in seen} == {
        (20, "one-cycle", 1.0, "adam")
    }


def test_nothing_answered_is_asked_for_again_and_skipped_ones_at_the_end_alone(tmp_path):
    pool, labels = blobs(40)
    lines: list[str] = []
    with a_session(tmp_path, pool, share=0.3, say=lines.append) as session:
        order = []
        for i in range(40):
            question = session.ask(model=session.due)[0]
            order.append(question.image)
            if i % 4 == 1:
                session.skip(question.image)
            elif i % 4 == 2:
                session.none_of_these(question.image)
            else:
                session.label(question.image, labels[question.image])
        assert sorted(order) == sorted(pool.names) and not lines
        back = session.ask(40, session.due)
        assert [q.image for q in back] == order[1::4] and {q.asked for q in back} == {SKIPPED}
        assert lines == ["every image has an answer: skipped ones are asked for again"]
        for question in back:
            session.label(question.image, labels[question.image])
        assert session.ask(3) == []
        assert len(session.answers.labels) == 30


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 0.7])
def test_the_stated_share_is_drawn_at_random_from_what_has_no_answer(tmp_path, share):
    """By construction: always the first without an answer in the seed's permutation of the pool."""
    pool, labels = blobs()
    with a_session(tmp_path, pool, share=share, seed=2) as session:
        answer_from(labels, session, 80)
        entries = session.ledger.entries[1:]
    asked = [entry.asked for entry in entries]
    assert asked[:5] == ["first batch"] * 5
    for count in range(1, 76):
        assert asked[5 : 5 + count].count("random share") == int(share * count + 1e-9)
    order = [pool.names[i] for i in torch.randperm(120, generator=stream(2, "random share"))]
    answered = set()
    for entry in entries:
        if entry.asked == "random share":
            assert entry.image == next(name for name in order if name not in answered)
            assert entry.guess in CLASSES and entry.model > 0
        answered.add(entry.image)


@pytest.mark.parametrize("page", [1, 4])
def test_the_running_accuracy_is_unbiased_whatever_the_arm_takes(tmp_path, monkeypatch, page):
    """The arm takes what the head gets wrong; what is at random is right as often as the rest.

    A head that is given: class by the image's first letter, which is right for two in three. Each
    draw is held against the share that is right among all images that have no answer and are not
    being asked for just then; with all that have no answer it differs by what is asked for at most.
    """
    pool, labels = blobs(30)
    right = torch.arange(30) % 3 != 0
    worst = (
        *right.logical_not().nonzero().squeeze(1).tolist(),
        *right.nonzero().squeeze(1).tolist(),
    )
    head = Head(FeatureNet(pool.mean, pool.std, 3), tuple(CLASSES), 5)
    monkeypatch.setattr(
        trainings, "train_and_choose",
        lambda pool, settings, now, choose=True: TrainingResult(now.number, "worst", worst, head),
    )  # fmt: skip
    monkeypatch.setattr(Session, "_guess", lambda self, at: "bee" if right[at] else "ant")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # thousands of them
    apart = []

    def share_right(but_for: set[str]) -> float:
        left = [at for at, name in enumerate(pool.names) if name not in but_for]
        return right[left].double().mean().item()

    for seed in range(100):
        with a_session(tmp_path, pool, f"{seed}", seed=seed, share=0.5) as session:
            for _ in range(20 // page):
                asked, given = session.ask(page, model=session.due), set(session.answers.given)
                for i, question in enumerate(asked):
                    if question.asked == "random share":
                        before = {earlier.image for earlier in asked[:i]}
                        expected = share_right(given | before)
                        bound = len(before) / (len(pool) - len(given))
                        assert abs(expected - share_right(given)) <= bound + 1e-9
                        apart.append(float(right[question.position]) - expected)
                for question in asked:
                    session.label(question.image, "bee")
    apart = torch.tensor(apart)
    assert len(apart) == 100 * 10
    assert abs(apart.mean() / (apart.std() / 1000**0.5)) < 2
    assert apart.std() > 0.3


def test_what_was_undone_is_asked_for_next(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 7)
        first, second = [entry.image for entry in session.ledger.entries[-2:]]
        waiting = session.ask()[0]
        session.undo(), session.undo()
        assert [q.image for q in session.ask(3)] == [first, second, waiting.image]
        session.label(second, "cat")
        assert [q.image for q in session.ask(2)] == [first, waiting.image]
        assert session.answers.labels[second] == "cat"


def test_only_what_was_asked_for_or_answered_takes_an_answer(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        question = session.ask()[0]
        other = next(name for name in pool.names if name != question.image)
        with pytest.raises(ParameterError, match=f"image = '{other}' was not asked for"):
            session.label(other, "ant")
        session.label(question.image, "ant")
        entry = session.label(question.image, "bee")
        assert (entry.asked, entry.guess) == ("change", "") and len(session.ledger.entries) == 3


def test_a_training_that_fails_is_said_once_and_labelling_goes_on(tmp_path, monkeypatch):
    pool, labels = blobs()
    real = trainings.train_and_choose

    def failing(pool, settings, now, choose=True):
        if now.number == 2:
            raise ArithmeticError("no number")
        return real(pool, settings, now, choose)

    monkeypatch.setattr(trainings, "train_and_choose", failing)
    lines: list[str] = []
    with a_session(tmp_path, pool, say=lines.append) as session:
        for _ in range(17):
            question = session.ask()[0]
            session.label(question.image, labels[question.image])
            session.wait()
        assert [entry.model for entry in session.ledger.entries[1:]] == [0] * 5 + [1] * 10 + [3] * 2
        assert [batch.number for batch in session.trainings()] == [1, 3]
    told = "training 2 failed (ArithmeticError: no number): the previous model stays in use"
    assert lines == [told]
    with pytest.raises(ArithmeticError), a_session(tmp_path, pool) as session:
        session.ask(model=2)


def test_after_opening_the_trainings_before_are_known_again(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 22)
        session.wait()
        before = session.trainings()
    with a_session(tmp_path, pool) as session:
        session.wait()
        after = session.trainings()
        assert session.guess(pool.names[7]) == ""  # nothing was asked for yet
        question = session.ask()[0]
        assert session.guess(question.image) == question.guess in CLASSES
    assert [b.number for b in after] == [b.number for b in before] == [1, 2, 3, 4]
    for a, b in zip(before, after, strict=True):
        assert (a.stop_probs_S_C == b.stop_probs_S_C).all() and a.entropy == b.entropy
        assert (a.unanswered_S == b.unanswered_S).all()
        assert a.head.labels == b.head.labels == a.number * 5


def test_the_head_knows_a_class_from_the_training_after_it_was_added(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 8)
        session.add_class("dog")
        answer_from(labels, session, 2)
        session.wait()
        assert [batch.head.classes for batch in session.trainings()] == [
            ("ant", "bee", "cat"), ("ant", "bee", "cat", "dog"),
        ]  # fmt: skip
        head = session.head()
        assert head.labels == 10 and head.classes[-1] == "dog"


def test_settings_and_pools_that_can_not_be_are_refused_by_name(tmp_path):
    for settings, reason in (
        ({"arm": "margn"}, "arm = 'margn' is unknown: did you mean 'margin'"),
        ({"arm": "oracle"}, "arm = 'oracle' is unknown"),
        ({"share": 1.0}, "share = 1.0 is no share"),
        ({"batch": 0}, "batch = 0 asks for nothing"),
        ({"arm": "batchbald", "batch": 101}, "batch = 101 is more than the 100"),
        ({"arm": "bald", "mc_passes": 1}, "mc_passes = 1 gives the bald arm nothing to compare"),
        ({"candidates": 3}, "candidates = 3 is fewer than batch = 10"),
    ):
        with pytest.raises(ParameterError, match=reason):
            Settings(**settings)
    rows = torch.ones(2, 3)
    for names, given, reason in (
        (["a"], rows, "shape .2, 3. for 1 images"),
        (["a", "a"], rows, "2 images are called 'a'"),
        (["a", ""], rows, "an image has an empty name"),
        (["a", "b"], rows * float("nan"), "a feature is not finite"),
    ):
        with pytest.raises(ParameterError, match=reason):
            FeaturePool.of(names, given)
    pool, _ = blobs(20)
    a_session(tmp_path, pool).close()
    other = FeaturePool.of([*pool.names[:-1], "x.png"], pool.rows, "stub")
    with pytest.raises(ParameterError, match="was started with other images, or other names for"):
        a_session(tmp_path, other)
    a_session(tmp_path, pool).close()  # its lock was given back


def test_a_users_own_strategy_chooses_too(tmp_path):
    with patch.dict(STRATEGIES), patch.dict(arms.CUSTOM_ARMS, clear=True):
        register("lowest", lowest)
        pool, labels = blobs()
        with a_session(tmp_path, pool, arm="lowest", share=0.0) as session:
            answer_from(labels, session, 5)
            asked = session.ask(5, 1)
            left = [name for name in pool.names if name not in session.answers.given]
            assert [question.image for question in asked] == left[:5]
            assert session.ledger.facts["arm_source"] == arms.CUSTOM_ARMS["lowest"]


def lowest(view, budget, rng):
    """The candidates that come first."""
    return torch.arange(budget)


def test_a_question_names_all_that_an_answer_keeps_of_it(tmp_path):
    pool, labels = blobs()
    with a_session(tmp_path, pool) as session:
        answer_from(labels, session, 6)
        question = session.ask()[0]
        assert isinstance(question, Question) and pool.names[question.position] == question.image
        entry = session.label(question.image, "ant", shown=True)
    kept = (entry.image, entry.asked, entry.model, entry.guess, entry.shown)
    assert kept == (question.image, question.asked, 1, question.guess, True)


def test_an_image_that_was_skipped_asked_for_again_and_undone_is_asked_for_next(tmp_path):
    pool, _ = blobs(12)
    with a_session(tmp_path, pool) as session:
        while (asked := session.ask()[0]).asked != SKIPPED:
            session.skip(asked.image)
        session.ask(12)
        last = session.undo().image
        assert last != asked.image
        assert session.ask()[0].image == last
