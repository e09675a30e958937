import pytest
import torch

from alutils.learning import scoring, training
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.cell import Protocol
from tests.cells import a_cell

CPU = torch.device("cpu")


def small_set(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = stream(0, "set")
    images = torch.randint(256, (count, 1, 28, 28), generator=rng, dtype=torch.uint8)
    return images, torch.randint(10, (count,), generator=rng)


def fit(count: int = 130, heldout=None, **changes):
    cell = a_cell(**changes)
    net = build(cell, CPU)
    return net, training.train(net, *small_set(count), cell, 0, heldout)


def test_one_cycle_rises_in_the_first_quarter_and_falls_to_zero():
    protocol = Protocol(schedule="one-cycle", learning_rate=2e-3)
    rates = [training.learning_rate(protocol, step, 100) for step in range(100)]
    assert rates[0] == 0 and rates[25] == pytest.approx(2e-3)
    assert rates[10] == pytest.approx(2e-3 * 0.1 / 0.25)
    assert rates[70] == pytest.approx(2e-3 * 0.3 / 0.75)
    assert training.learning_rate(Protocol(), 77, 100) == 5e-4


def test_a_cosine_falls_from_the_peak_to_zero_step_by_step():
    protocol = Protocol(schedule="cosine", learning_rate=0.1)
    rates = [training.learning_rate(protocol, step, 100) for step in range(101)]
    assert rates[0] == 0.1 and rates[50] == pytest.approx(0.05) and abs(rates[100]) < 1e-12
    assert rates[25] == pytest.approx(0.1 * (1 + 0.5**0.5) / 2)
    assert rates == sorted(rates, reverse=True)


class Line(torch.nn.Module):
    """A weight and a bias in place of a network."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 1)
        with torch.no_grad():
            self.head.weight.fill_(2.0)
            self.head.bias.fill_(-1.0)

    def step(self, optimiser: torch.optim.Optimizer, gradient: float) -> list[float]:
        for parameter in self.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimiser.step()
        return [parameter.item() for parameter in self.parameters()]


def test_decay_is_decoupled_from_adam_and_takes_biases_too():
    net, rate, decay = Line(), 0.1, 0.02
    protocol = Protocol(learning_rate=rate, weight_decay=decay)
    optimiser = training.make_optimiser(net, protocol)
    expected, mean, square = [2.0, -1.0], 0.0, 0.0
    for t, gradient in enumerate((3.0, -1.0, 0.5), start=1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        move = rate * mean / (1 - 0.9**t) / ((square / (1 - 0.999**t)) ** 0.5 + 1e-8)
        expected = [value * (1 - rate * decay) - move for value in expected]
        assert net.step(optimiser, gradient) == pytest.approx(expected, rel=1e-5)


def test_sgd_has_nesterovs_momentum_and_an_l2_penalty():
    net, rate, decay = Line(), 0.1, 0.02
    protocol = Protocol(optimiser="sgd", learning_rate=rate, weight_decay=decay)
    optimiser = training.make_optimiser(net, protocol)
    expected, speed = [2.0, -1.0], [0.0, 0.0]
    for gradient in (3.0, -1.0, 0.5):
        slopes = [gradient + decay * value for value in expected]
        speed = [0.9 * v + slope for v, slope in zip(speed, slopes, strict=True)]
        steps = [slope + 0.9 * v for v, slope in zip(speed, slopes, strict=True)]
        expected = [value - rate * step for value, step in zip(expected, steps, strict=True)]
        assert net.step(optimiser, gradient) == pytest.approx(expected, rel=1e-5)


def test_without_decay_adam_is_adam_itself():
    assert type(training.make_optimiser(Line(), Protocol())) is torch.optim.Adam
    assert type(training.make_optimiser(Line(), Protocol(weight_decay=0.1))) is torch.optim.AdamW


@pytest.mark.parametrize(("optimiser", "precision"), [("adam", "fp32"), ("sgd", "bf16")])
def test_a_modern_recipe_trains_as_a_pure_function_of_its_seed(optimiser, precision):
    """Small stem, decay, cosine and crops together, on images of CIFAR-10's shape."""
    cell = a_cell(
        "cifar10", epochs=2, batch_size=8, stem="3x3", optimiser=optimiser, weight_decay=5e-4,
        schedule="cosine", augmentation="crop-flip", precision=precision, heldout_every=1,
    )  # fmt: skip
    rng = stream(0, "set")
    images = torch.randint(256, (20, 3, 32, 32), generator=rng, dtype=torch.uint8)
    labels, ends = torch.randint(10, (20,), generator=rng), []
    for changes in ({}, {}, {"augmentation": "none"}):
        changed = cell.model_copy(update=changes)
        net = build(changed, CPU)
        trained = training.train(net, images, labels, changed, 0, heldout=(images, labels))
        assert trained.steps == 4 and len(trained.heldout_accuracy) == 2
        ends.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_the_incomplete_last_batch_is_dropped():
    _, trained = fit(count=130, epochs=2)
    assert trained.steps == 4


def test_training_is_a_pure_function_of_its_seed():
    (net, trained), (same_net, same_trained) = fit(epochs=2), fit(epochs=2)
    other_net, _ = fit(epochs=2, seed=1)
    assert trained == same_trained
    assert all(
        torch.equal(p, q) for p, q in zip(net.parameters(), same_net.parameters(), strict=True)
    )
    assert not torch.equal(net.head.weight, other_net.head.weight)


def test_adam_without_decay_is_what_trains():
    net, _ = fit(count=64, epochs=1, dropout=0.0)
    reference = build(a_cell(), CPU).train()
    images, labels = small_set(64)
    order = torch.randperm(64, generator=stream(0, "batches", 0))
    optimiser = torch.optim.Adam(reference.parameters(), lr=5e-4)
    torch.nn.functional.cross_entropy(reference(images[order]), labels[order]).backward()
    optimiser.step()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_two_epochs_are_those_of_a_plain_loop():
    """The rate goes on from epoch to epoch, and accuracy is that of the last one alone."""
    recipe = {"epochs": 2, "dropout": 0.0, "schedule": "one-cycle", "learning_rate": 2e-3}
    cell = a_cell(**recipe)
    net, trained = fit(count=130, **recipe)
    assert not net.training
    reference, (images, labels) = build(cell, CPU).train(), small_set(130)
    optimiser, rng = training.make_optimiser(reference, cell), stream(0, "batches", 0)
    for step in range(4):
        if step % 2 == 0:
            order, right = torch.randperm(130, generator=rng), 0
        batch = order[64 * (step % 2) :][:64]
        optimiser.param_groups[0]["lr"] = training.learning_rate(cell, step, 4)
        logits = reference(images[batch])
        right += int((logits.argmax(1) == labels[batch]).sum())
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
        optimiser.step()
    assert trained.train_accuracy == pytest.approx(right / 128)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_dropout_masks_change_training_and_are_scaled():
    with_dropout, _ = fit(epochs=1)
    without, _ = fit(epochs=1, dropout=0.0)
    assert not torch.equal(with_dropout.head.weight, without.head.weight)
    keep = training.dropout_mask(64, 512, 0.5, stream(0, "m"))
    assert set(keep.unique().tolist()) == {0.0, 2.0} and keep.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("rows", "features"), [(1, 1), (3, 7), (10, 1280), (64, 512)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.97])
def test_dropout_masks_are_those_of_bernoulli(rows, features, rate):
    ours, theirs = stream(5, "m"), stream(5, "m")
    for _ in range(3):
        drawn = torch.empty(rows, features).bernoulli_(1 - rate, generator=theirs)
        keep = training.dropout_mask(rows, features, rate, ours)
        assert torch.equal(keep, drawn.div_(1 - rate))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("at_once", [True, False])
def test_dropout_masks_are_drawn_at_once_where_that_gives_the_same(at_once, monkeypatch):
    called, bernoulli = [], torch.Tensor.bernoulli_

    def counted(self, *args, **kwargs):
        called.append(1)
        return bernoulli(self, *args, **kwargs)

    monkeypatch.setattr(training, "bernoulli_is_uniform", lambda: at_once)
    monkeypatch.setattr(torch.Tensor, "bernoulli_", counted)
    training.dropout_mask(10, 99, 0.5, stream(5, "m"))
    assert len(called) == (not at_once)


def test_heldout_accuracy_is_taken_every_so_many_epochs_and_changes_nothing():
    heldout = small_set(50)
    net, trained = fit(heldout=heldout, epochs=4, heldout_every=2)
    plain, _ = fit(epochs=4)
    assert len(trained.heldout_accuracy) == 2
    _, odd = fit(heldout=heldout, epochs=3, heldout_every=2)
    assert len(odd.heldout_accuracy) == 1
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), plain.parameters(), strict=True))


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step():
    cell = a_cell(epochs=1)
    net = build(cell, CPU)
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))
    with pytest.raises(training.NotFinite, match=r"nan at step 1 of 1 \(epoch 1\)"):
        training.train(net, *small_set(64), cell, 2)


def test_prediction_drops_nothing_and_changes_no_buffer(monkeypatch):
    """Guards: the pool scored through the training path, samples dropped, BatchNorm updated."""
    net, _ = fit(epochs=1)
    images, _ = small_set(130)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    whole = scoring.predict(net, images)
    monkeypatch.setattr(scoring, "SCORING_BATCH", 64)
    chunked = scoring.predict(net, images)
    assert whole.shape == (130, 10) and torch.allclose(whole, chunked, atol=1e-6)
    assert torch.equal(chunked, scoring.predict(net.train(), images)) and not net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_judging_against_a_hand_worked_example():
    probs = torch.tensor([[0.85, 0.15], [0.61, 0.39], [0.34, 0.66], [0.68, 0.32]])
    judged = scoring.evaluate(probs, torch.tensor([0, 1, 1, 0]))
    assert judged["test_accuracy"] == 0.75
    nll = -torch.tensor([0.85, 0.39, 0.66, 0.68]).log().mean().item()
    assert judged["test_nll"] == pytest.approx(nll, rel=1e-6)
    # of 15 bins: one right at 0.85; one wrong at 0.61 and one right at 0.66; one right at 0.68
    assert judged["test_ece"] == pytest.approx((0.15 + (0.61 + 0.66 - 1) + 0.32) / 4, rel=1e-6)


def test_judging_a_certain_wrong_answer_stays_finite():
    judged = scoring.evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert 0 < judged["test_nll"] < 100 and judged["test_ece"] == 1
