import torch
import torch.nn.functional as F

from alutils.learning import training
from alutils.learning.augmentation import PADDING, crop_flip
from alutils.learning.streams import stream
from alutils.running.round import run_round

SIZE = 6
WINDOWS = [(top, left, mirrored) for top in range(2 * PADDING + 1)
          for left in range(2 * PADDING + 1) for mirrored in (False, True)]  # fmt: skip


def crop_by_slicing(top: int, left: int, mirrored: bool, image: torch.Tensor) -> torch.Tensor:
    """The crop at this window of the padded image, by slicing."""
    cropped = F.pad(image, (PADDING,) * 4)[:, top : top + SIZE, left : left + SIZE]
    return cropped.flip(2) if mirrored else cropped


def test_every_crop_is_a_window_of_the_padded_image_and_every_window_comes_up():
    image = torch.arange(1, 3 * SIZE**2 + 1, dtype=torch.uint8).view(3, SIZE, SIZE)
    window_of = {crop_by_slicing(*window, image).numpy().tobytes(): window for window in WINDOWS}
    crops = crop_flip(image.expand(4000, -1, -1, -1), stream(0, "augmentation", 0))
    assert crops.dtype == torch.uint8 and crops.shape == (4000, 3, SIZE, SIZE)
    drawn = [window_of[crop.numpy().tobytes()] for crop in crops.contiguous()]
    assert len(window_of) == len(WINDOWS) and set(drawn) == set(WINDOWS)
    assert 1800 < sum(mirrored for _, _, mirrored in drawn) < 2200


def test_crops_come_from_their_stream_alone():
    images = torch.randint(256, (20, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    once, again, later = (crop_flip(images, stream(0, "augmentation", i)) for i in (0, 0, 1))
    assert torch.equal(once, again) and not torch.equal(once, later)


def test_training_augments_and_nothing_else_does(digits_cell, monkeypatch):
    """Guards: the pool scored through the training augmentation (deepALplus, LabelBench)."""
    batch_sizes = []

    def watched(images, rng):
        batch_sizes.append(len(images))
        return crop_flip(images, rng)

    monkeypatch.setattr(training, "crop_flip", watched)
    changes = dict(augmentation="crop-flip", epochs=2, heldout_every=1, diagnostics=True, rounds=2)
    cell = digits_cell(arm="bayesian", **changes)
    (done,), _, _ = run_round([cell], [], None, "cpu", {})
    assert batch_sizes == [64] * done["steps"] and len(done["heldout_accuracy"]) == 2
    assert {"gallery", "map", "test_accuracy", "picks"} <= set(done)
    plain = digits_cell(arm="bayesian", **changes | {"augmentation": "none"})
    (unaugmented,), _, _ = run_round([plain], [], None, "cpu", {})
    assert len(batch_sizes) == done["steps"] and unaugmented["test_nll"] != done["test_nll"]
