"""The datasets: what must be known of each before it is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What must be known of a dataset before it is loaded."""

    train: int
    test: int
    channels: int
    size: int
    title: str
    checksum: str
    classes: tuple[str, ...]
    figure: int | None = None
    """Number of the poster's figure that compares arms on it; None where there is none."""
    colour: str = "#8c0800"
    marker: str = "X"
    crops: bool = False
    """Whether an image keeps its class when it is mirrored or its edge is cut."""

    def pool(self, heldout_fraction: float) -> int:
        """Images that may be labelled: the training set without the held-out share."""
        return self.train - int(self.train * heldout_fraction)


DIGITS = tuple("0123456789")
DATASETS = {
    "mnist": DatasetFacts(
        60_000, 10_000, 1, 28, "MNIST", "cd2ab9d0a0830519", DIGITS, 4, "#0173b2", "o"
    ),
    "fashion-mnist": DatasetFacts(
        60_000, 10_000, 1, 28, "Fashion-MNIST", "a2839b338cd08cf9",
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    ),
    "cifar10": DatasetFacts(
        50_000, 10_000, 3, 32, "CIFAR-10", "90cb3c5af89c3fab",
        (
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
        3, "#d55e00", "s", crops=True,
    ),
    "digits": DatasetFacts(1_437, 360, 1, 28, "digits", "2729f24308ade0e3", DIGITS),
}  # fmt: skip


def dataset_title(name: str) -> str:
    """A dataset's name as it is shown."""
    return DATASETS[name].title
