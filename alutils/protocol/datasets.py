"""The datasets: what must be known of each before it is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What must be known of a dataset before it is loaded."""

    train: int
    smallest_class: int
    """Training images of the class that has fewest."""
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

    def long_tail(self, imbalance: float) -> list[int]:
        """Images of each class in a thinned training set, from the most frequent to the rarest.

        Class k of C keeps n * imbalance^(-k / (C - 1)), rounded down, as in long-tailed CIFAR (Cui
        et al., arXiv 1901.05555). n is the smallest class of the whole training set, so that the
        profile is the same whichever classes are the rare ones.
        """
        last = len(self.classes) - 1
        return [int(self.smallest_class / imbalance ** (k / last)) for k in range(last + 1)]

    def kept_count(self, imbalance: float) -> int:
        """Training images left by an imbalance; 1 leaves all."""
        return self.train if imbalance == 1 else sum(self.long_tail(imbalance))


DIGITS = tuple("0123456789")
DATASETS = {
    "mnist": DatasetFacts(
        60_000, 5_421, 10_000, 1, 28, "MNIST", "cd2ab9d0a0830519", DIGITS, 4, "#0173b2", "o"
    ),
    "fashion-mnist": DatasetFacts(
        60_000, 6_000, 10_000, 1, 28, "Fashion-MNIST", "a2839b338cd08cf9",
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    ),
    "cifar10": DatasetFacts(
        50_000, 5_000, 10_000, 3, 32, "CIFAR-10", "90cb3c5af89c3fab",
        (
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
        3, "#d55e00", "s", crops=True,
    ),
    "digits": DatasetFacts(1_437, 141, 360, 1, 28, "digits", "2729f24308ade0e3", DIGITS),
}  # fmt: skip


def dataset_title(name: str) -> str:
    """A dataset's name as it is shown."""
    return DATASETS[name].title
