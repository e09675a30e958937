"""The poster's loop as a competent PyTorch user writes it, as a baseline for the study's speed.

torchvision's network, transforms and dataset class, a DataLoader, float32, Adam as it comes, and
for MC dropout T full passes through the network.
"""

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import VisionDataset
from torchvision.models import resnet18
from torchvision.transforms import v2

from alutils.learning import data

BATCH = 64
SCORING_BATCH = 500


class Images(VisionDataset):
    """One part of a dataset with the ``__getitem__`` of torchvision's own MNIST and CIFAR10."""

    def __init__(self, images_N_C_H_W: np.ndarray, labels_N: np.ndarray):
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5], [0.5]),
            ]
        )
        self.images = images_N_C_H_W.transpose(0, 2, 3, 1).squeeze()
        self.labels = labels_N.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def load(name: str) -> tuple[Images, Images]:
    """Training and test part of a dataset."""
    dataset = data.load(name)
    return (
        Images(dataset.train_images.numpy(), dataset.train_labels.numpy()),
        Images(dataset.test_images.numpy(), dataset.test_labels.numpy()),
    )


def network(channels: int) -> nn.Module:
    """ResNet-18 with dropout before its last layer."""
    net = resnet18(num_classes=10)
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    net.fc = nn.Sequential(nn.Dropout(0.5), net.fc)
    return net


def train(net: nn.Module, labelled: Subset, epochs: int, one_cycle: float | None = None) -> None:
    """Adam and cross-entropy; a constant rate, or one cycle up to ``one_cycle``."""
    loader = DataLoader(labelled, BATCH, shuffle=True, drop_last=True)
    loss_of = nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
    schedule = None
    if one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, one_cycle, total_steps=epochs * len(loader), pct_start=0.25,
            anneal_strategy="linear", cycle_momentum=False,
        )  # fmt: skip
    net.train()
    for _ in range(epochs):
        for images, labels in loader:
            optimiser.zero_grad()
            loss_of(net(images), labels).backward()
            optimiser.step()
            if schedule:
                schedule.step()


@torch.inference_mode()
def predict(net: nn.Module, images: Subset | Images) -> Tensor:
    """Class probabilities (N, 10), dropout off."""
    net.eval()
    return torch.cat([net(x).softmax(1) for x, _ in DataLoader(images, SCORING_BATCH)])


@torch.inference_mode()
def mc_predict(net: nn.Module, images: Subset | Images, passes: int = 20) -> Tensor:
    """Mean class probabilities (N, 10) of full passes with dropout on."""
    net.eval()
    net.fc[0].train()
    loader = DataLoader(images, SCORING_BATCH)
    return torch.cat([sum(net(x).softmax(1) for _ in range(passes)) / passes for x, _ in loader])


@torch.inference_mode()
def embed(net: nn.Module, images: Subset | Images) -> Tensor:
    """Features before the last layer, (N, 512)."""
    net.eval()
    trunk = nn.Sequential(*list(net.children())[:-1], nn.Flatten())
    return torch.cat([trunk(x) for x, _ in DataLoader(images, SCORING_BATCH)])


def choose(strategy: str, net: nn.Module, pool: Subset, budget: int) -> Tensor:
    """Positions in the pool to label next."""
    if strategy == "bayesian":
        scores = -torch.special.entr(mc_predict(net, pool)).sum(1)
    elif strategy == "kmeans":
        features = embed(net, pool).numpy()
        distances = torch.from_numpy(KMeans(12, n_init=1).fit_transform(features))
        own, second = distances.topk(2, largest=False).values.unbind(1)
        scores = second - own
    else:
        first, second = predict(net, pool).topk(2).values.unbind(1)
        scores = first if strategy == "uncertainty" else first - second
    return scores.argsort()[:budget]


def active_learning(
    name: str,
    strategy: str,
    first: int,
    budgets: list[int],
    epochs: int,
    one_cycle: float,
    seed: int = 0,
) -> list[float]:
    """The complete loop of one arm; returns the test accuracy of every round."""
    torch.manual_seed(seed)
    training, test = load(name)
    order = torch.randperm(int(0.9 * len(training))).tolist()
    labelled, unlabelled = order[:first], order[first:]
    net = network(1 if training.images.ndim == 3 else 3)
    initial = {key: value.clone() for key, value in net.state_dict().items()}
    accuracy = []
    for budget in [*budgets, 0]:
        net.load_state_dict(initial)
        train(net, Subset(training, labelled), epochs, one_cycle)
        right = predict(net, test).argmax(1) == torch.tensor(test.labels)
        accuracy.append(right.float().mean().item())
        if budget:
            picks = choose(strategy, net, Subset(training, unlabelled), budget).tolist()
            taken = set(picks)
            labelled += [unlabelled[i] for i in picks]
            unlabelled = [index for i, index in enumerate(unlabelled) if i not in taken]
    return accuracy


if __name__ == "__main__":
    print(active_learning("mnist", "margin", 540, [540, 540], epochs=10, one_cycle=2e-3))
