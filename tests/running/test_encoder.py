"""Rounds of a cell with an encoder: a linear head on its features stands where the network does."""

from dataclasses import replace
from typing import get_args

import cloudpickle
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from alutils.learning import data, scoring, training
from alutils.learning.devices import make_deterministic
from alutils.learning.features import load_features
from alutils.learning.network import build
from alutils.paths import PACKAGE
from alutils.protocol.arms import BUILT_IN
from alutils.protocol.cell import Protocol
from alutils.protocol.encoders import ENCODERS
from alutils.protocol.validation import check_cell
from alutils.records.record import place_of
from alutils.running.round import CurrentRound, run_round
from alutils.strategies.custom import StrategyFailed
from alutils.strategies.own import STRATEGIES
from alutils.studies.own_images.plan import OwnImagesStudy
from alutils.studies.own_labels.plan import OwnLabelsStudy
from alutils.studies.pretrained.plan import PretrainedStudy
from tests.cells import a_cell
from tests.running.test_round import one_round, plain

CPU = torch.device("cpu")


@pytest.fixture
def encoded_cell(digits_cell, stub_encoder):
    def make(**changes):
        return digits_cell(
            **{"encoder": "efficientnet-lite0", "precision": "fp32", "epochs": 2} | changes
        )

    return make


@pytest.mark.parametrize("model", [Protocol, PretrainedStudy, OwnImagesStudy, OwnLabelsStudy])
def test_every_encoder_may_stand_wherever_a_parameter_names_one(model):
    names = get_args(model.model_fields["encoder"].annotation)
    assert tuple(name for name in names if name != "none") == tuple(ENCODERS)


def test_the_names_of_encoders_stand_in_their_two_tables_alone():
    """Beside them is what old heads were made of, which never changes."""
    files = (file for file in PACKAGE.rglob("*.py") if '"resnet18"' in file.read_text("utf-8"))
    tables = {"protocol/encoders.py", "learning/encoders.py", "labelling/saved_head.py"}
    assert {file.relative_to(PACKAGE).as_posix() for file in files} == tables


def test_the_name_of_a_record_has_the_encoder_s_weights(monkeypatch):
    cell = a_cell("cifar10", encoder="resnet18")
    name = cell.name
    other = replace(ENCODERS["resnet18"], sha256="0" * 64)
    monkeypatch.setitem(ENCODERS, "resnet18", other)
    assert cell.name != name
    assert a_cell("cifar10").name == a_cell("cifar10", encoder="none").name


def test_every_arm_chooses_on_features_as_a_pure_function_of_its_cell(encoded_cell):
    cells = [
        encoded_cell(arm=arm, mc_score="mutual-information", diagnostics=True) for arm in BUILT_IN
    ]
    once, facts, _ = run_round(cells, [], None, "cpu", {})
    again, _, _ = run_round(cells[::-1], [], None, "cpu", {})
    assert list(map(plain, once)) == list(map(plain, again[::-1]))
    counts = cells[0].schedule_of_labels()
    assert {len(set(done["picks"])) for done in once} == {counts[1] - counts[0]}
    assert facts["checks"]["mc_passes_differ"] == "yes"
    assert place_of(facts)["features"] == load_features("digits", cells[0].encoder).digest


def test_golden_head(encoded_cell):
    """A change of these figures means other records: raise PROTOCOL_VERSION."""
    done = one_round(encoded_cell(arm="margin", dropout=0.0))
    assert done["labelled"][:6] == [1, 9, 13, 21, 30, 34]
    assert done["picks"][:6] == [98, 762, 392, 1423, 580, 268]
    assert done["test_nll"] == pytest.approx(2.914388, abs=1e-5)


def test_the_strategies_see_standardised_features(encoded_cell):
    current = CurrentRound(encoded_cell(), [], make_deterministic("cpu"))
    view, features = current.view, load_features("digits", "efficientnet-lite0")
    rows = features.dataset.train_images[view.candidates].float()
    assert torch.equal(view.embeddings_N_D, (rows - features.mean) / features.std)
    whole = (features.dataset.train_images.double() - features.mean) / features.std
    torch.testing.assert_close(whole.mean(0), torch.zeros(1_280).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(whole.std(0), torch.ones(1_280).double(), rtol=0, atol=2e-3)
    one, other = view.mc_probs_T_N_C[:2]
    assert not torch.allclose(one, other)


def test_the_head_learns_what_logistic_regression_does(encoded_cell):
    cell = encoded_cell(epochs=60, dropout=0.0, learning_rate=1e-3)
    features, digits = load_features("digits", cell.encoder), data.load("digits")
    net = build(cell, CPU)
    rows = features.dataset.train_images[:640]
    training.train(net, rows, digits.train_labels[:640], cell, 0)
    probs = scoring.predict(net, features.dataset.test_images)
    ours = scoring.accuracy(probs, digits.test_labels)
    reference = LogisticRegression(C=0.01, max_iter=500).fit(
        net.features(rows).numpy(), digits.train_labels[:640].numpy()
    )
    theirs = reference.score(
        net.features(features.dataset.test_images).numpy(), digits.test_labels.numpy()
    )
    assert theirs > 0.85 and ours > theirs - 0.03


def test_nothing_but_the_head_is_trained(encoded_cell):
    cell = encoded_cell(first_labels=128)
    net = build(cell, CPU)
    before = {name: value.clone() for name, value in net.named_buffers()}
    features = load_features("digits", cell.encoder).dataset
    training.train(net, features.train_images[:128], features.train_labels[:128], cell, 0)
    assert all(torch.equal(before[name], value) for name, value in net.named_buffers())
    assert [name for name, _ in net.named_parameters()] == ["head.weight", "head.bias"]


def test_seeds_differ_in_their_head_and_arms_do_not(encoded_cell):
    one, again, other = (
        build(encoded_cell(**changes), CPU).head.weight
        for changes in ({}, {"arm": "margin"}, {"seed": 1})
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("start", ["warm", "shrink-perturb"])
def test_a_head_goes_on_from_the_round_before(encoded_cell, start):
    cell = encoded_cell(start=start, adam_state="rounds")
    (first,), _, state = run_round([cell], [], None, "cpu", {})
    (second,), _, _ = run_round([cell], [first], state, "cpu", {})
    (cold,), _, _ = run_round([encoded_cell()], [first], None, "cpu", {})
    assert second["test_nll"] != cold["test_nll"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stem", "3x3"),
        ("live_taps", False),
        ("precision", "bf16"),
        ("compiled", True),
        ("augmentation", "crop-flip"),
    ],
)
def test_what_frozen_features_would_ignore_is_refused(key, value):
    cell = a_cell("cifar10", encoder="efficientnet-lite0")
    check_cell(cell)
    with pytest.raises(ValueError, match=f"{key} = .*has no effect with encoder = .*encoder none"):
        check_cell(cell.model_copy(update={key: value}))


def asking(view, budget, rng):
    """A strategy of a user that asks for labels."""
    return view.labels_N[:budget]


def test_only_the_oracle_is_given_the_labels(encoded_cell, monkeypatch):
    seen = {}
    for arm in ("margin", "oracle"):
        monkeypatch.setitem(
            STRATEGIES, arm,
            lambda view, budget, rng, arm=arm: seen.update({arm: view}) or torch.arange(budget),
        )  # fmt: skip
        current = CurrentRound(encoded_cell(arm=arm), [], make_deterministic("cpu"))
        current.acquire(current.cell, {})
    labels = data.load("digits").train_labels
    assert torch.equal(seen["oracle"].labels_N, labels[current.pool.unlabelled])
    assert torch.equal(seen["oracle"].labelled_labels_M, labels[current.pool.labelled])
    assert not hasattr(seen["margin"], "labels_N")
    with pytest.raises(StrategyFailed, match="no attribute 'labels_N'"):
        run_round(
            [encoded_cell(arm="asking")], [], None, "cpu", {"asking": cloudpickle.dumps(asking)}
        )


def test_the_oracle_s_picks_leave_less_error_than_random_ones(encoded_cell):
    """Of scikit-learn's classifier, on held-out images that it did not see."""
    cell = encoded_cell(first_labels=10, batch_size=10, acquisition_fraction=0.02)
    current = CurrentRound(cell, [], make_deterministic("cpu"))
    rows, labels = current.net.features(current.images), current.labels
    right = {}
    for arm in ("random", "oracle"):
        picks = current.acquire(cell.model_copy(update={"arm": arm}), {})
        seen = torch.cat([current.pool.labelled, picks])
        fitted = RidgeClassifier(100).fit(rows[seen].numpy(), labels[seen].numpy())
        heldout = current.pool.heldout
        right[arm] = fitted.score(rows[heldout].numpy(), labels[heldout].numpy())
    assert right["oracle"] > right["random"] + 0.02
