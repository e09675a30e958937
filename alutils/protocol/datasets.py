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
    crops: bool = False
    """Whether an image says the same when it is mirrored or its edge is cut."""

    def pool(self, heldout_fraction: float) -> int:
        """Images that may be labelled: the training set without the held-out share."""
        return self.train - int(self.train * heldout_fraction)


DATASETS = {
    "mnist": DatasetFacts(60_000, 10_000, 1, 28, "MNIST", "cd2ab9d0a0830519"),
    "fashion-mnist": DatasetFacts(60_000, 10_000, 1, 28, "Fashion-MNIST", "a2839b338cd08cf9"),
    "cifar10": DatasetFacts(50_000, 10_000, 3, 32, "CIFAR-10", "90cb3c5af89c3fab", crops=True),
    "digits": DatasetFacts(1_437, 360, 1, 28, "digits", "2729f24308ade0e3"),
}


def dataset_title(name: str) -> str:
    """A dataset's name as it is shown."""
    return DATASETS[name].title
