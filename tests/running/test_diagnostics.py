import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from alutils.learning.devices import make_deterministic
from alutils.learning.streams import stream
from alutils.running import diagnostics
from alutils.running.round import CurrentRound, run_round


def made_up(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    rng = stream(0, "diagnostics")
    labels = torch.randint(4, (count,), generator=rng)
    logits = torch.randn(count, 4, generator=rng)
    logits[torch.arange(count), labels] += 1
    return logits.softmax(1), labels


def test_the_area_under_the_roc_curve_is_sklearns():
    probs, labels = made_up()
    closing = diagnostics.closing(probs, labels)
    expected = [roc_auc_score(labels == c, probs[:, c]) for c in range(4)]
    assert closing["auroc"] == pytest.approx(expected, abs=5e-6)
    for curve, area in zip(closing["roc"], expected, strict=True):
        assert len(curve) == 101 and curve[-1] == 1 and np.all(np.diff(curve) >= 0)
        assert np.trapezoid(curve, np.linspace(0, 1, 101)) == pytest.approx(area, abs=0.02)


def test_confusion_and_bins_count_every_prediction():
    probs, labels = made_up()
    closing = diagnostics.closing(probs, labels)
    confusion, right = np.array(closing["confusion"]), int((probs.argmax(1) == labels).sum())
    assert confusion.sum() == sum(closing["bin_count"]) == 300
    assert np.trace(confusion) == right
    assert confusion.sum(1).tolist() == labels.bincount(minlength=4).tolist()
    weights, accuracy = np.array(closing["bin_count"]), np.array(closing["bin_accuracy"])
    assert (weights * accuracy).sum() == pytest.approx(right, abs=0.1)
    filled = weights > 0
    middle = (np.arange(15) + 0.5) / 15
    confidence = np.array(closing["bin_confidence"])
    assert np.abs(confidence - middle)[filled].max() <= 0.5 / 15 + 1e-4


@pytest.fixture(scope="module")
def diagnosed(request):
    """A whole cell of three rounds with diagnostics."""
    from alutils.protocol.cell import Cell

    cell = Cell(
        dataset="digits", arm="margin", seed=0, first_labels=128, rounds=3, epochs=1,
        acquisition_fraction=0.02, figure="test", diagnostics=True,
    )  # fmt: skip
    history = []
    for _ in range(3):
        history += run_round([cell], history, None, "cpu", {})[0]
    return cell, history


def test_a_gallery_describes_the_picks_in_their_order(diagnosed):
    cell, history = diagnosed
    for done in history[:2]:
        gallery = done["gallery"]
        assert gallery["index"] == done["picks"][:20] and len(gallery["truth"]) == 20
        first, second = gallery["likeliest_probability"], gallery["second_probability"]
        assert all(a >= b for a, b in zip(first, second, strict=True))
        assert gallery["likeliest"] != gallery["second"]
    labels = CurrentRound(cell, [], make_deterministic("cpu")).labels
    assert history[0]["gallery"]["truth"] == labels[history[0]["picks"][:20]].tolist()
    assert "gallery" not in history[2]


def test_the_map_shows_the_same_images_in_every_round_and_marks_what_is_asked_for(diagnosed):
    _, history = diagnosed
    maps = [done["map"] for done in history]
    assert maps[0]["index"] == maps[1]["index"] == maps[2]["index"]
    assert maps[0]["marked"] == history[0]["picks"][:20]
    assert maps[2]["marked"] == history[2]["labelled"][:20]
    for image_map in maps:
        lengths = len(image_map["x"]), len(image_map["y"]), len(set(image_map["index"]))
        assert lengths == (diagnostics.MAPPED,) * 3
        position = dict(zip(image_map["index"], image_map["x"], strict=True))
        marked = dict(zip(image_map["marked"], image_map["marked_x"], strict=True))
        assert set(marked) & set(position)
        for index in set(marked) & set(position):
            assert position[index] == pytest.approx(marked[index], abs=0.02)
        assert 0 < sum(image_map["variance"]) <= 1


def test_only_the_last_round_tells_how_the_network_errs(diagnosed):
    _, history = diagnosed
    assert ["closing" in done for done in history] == [False, False, True]
    counts = history[2]["closing"]["confusion"]
    share = np.trace(counts) / np.sum(counts)
    assert share == pytest.approx(history[2]["test_accuracy"])


def test_without_the_test_set_the_last_network_is_judged_on_what_is_held_out(digits_cell):
    cell = digits_cell(rounds=1, diagnostics=True, test=False)
    (done,), _, _ = run_round([cell], [], None, "cpu", {})
    assert np.sum(done["closing"]["confusion"]) == 143 and "test_accuracy" not in done


def test_diagnostics_change_nothing_else(diagnosed):
    cell, history = diagnosed
    plain = cell.model_copy(update={"diagnostics": False})
    (done,), _, _ = run_round([plain], [], None, "cpu", {})
    assert not {"gallery", "map", "closing"} & set(done)
    same = {k: v for k, v in history[0].items() if k in done and not k.startswith("seconds_")}
    assert {k: done[k] for k in same if k != "digest"} == {
        k: v for k, v in same.items() if k != "digest"
    }
