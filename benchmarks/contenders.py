"""The same work done by this project, the plain loop and two peers: ``contenders.py NAME ...``.

As a program it does one piece of work per line on its standard input and answers each; so several
can be kept ready and measured in turns.
"""

import argparse
import os
import sys
from functools import cache

import numpy as np
import plain_loop
import torch
from torch import nn

from alutils.learning import data
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.learning.training import train
from alutils.protocol.cell import Cell
from alutils.strategies.view import PoolView

PASSES = 20


class Ours:
    """The study's own training and scoring, on one thread, as its workers do it."""

    epochs = 3
    """Epochs of one piece of training; the other contenders, three times slower, train one."""

    def __init__(self, dataset: str, count: int):
        self.cell = Cell(
            dataset=dataset,
            arm="bayesian",
            seed=0,
            first_labels=count,
            epochs=self.epochs,
            precision="bf16",
        )
        images = data.load(dataset)
        self.images, self.labels = images.train_images, images.train_labels
        self.net = build(self.cell, torch.device("cpu"))
        self.count = count

    def train(self) -> None:
        train(self.net, self.images[: self.count], self.labels[: self.count], self.cell, 0)

    def score(self) -> None:
        assert len(self._view().probs_N_C) == self.count

    def mc(self) -> None:
        assert len(self._view().mc_mean_N_C) == self.count

    def _view(self) -> PoolView:
        candidates = torch.arange(self.count)
        rng = stream(0, "mc-masks")
        return PoolView(self.net, self.images, candidates, candidates[:0], PASSES, 0.5, 12, rng)


_kept = cache(Ours)


def train_ours(dataset: str, count: int) -> int:
    """Train once what this process keeps ready; returns how many images that was."""
    _kept(dataset, count).train()
    return count * Ours.epochs


class Plain:
    """The plain loop's functions."""

    def __init__(self, dataset: str, count: int):
        images, _ = plain_loop.load(dataset)
        self.images = plain_loop.Subset(images, range(count))
        self.net = plain_loop.network(data.load(dataset).train_images.shape[1])

    def train(self) -> None:
        plain_loop.train(self.net, self.images, epochs=1)

    def score(self) -> None:
        plain_loop.predict(self.net, self.images)

    def mc(self) -> None:
        plain_loop.mc_predict(self.net, self.images, PASSES)


class Baal:
    """baal's ``ModelWrapper`` on a torchvision dataset, as in its documentation."""

    def __init__(self, dataset: str, count: int):
        from baal.modelwrapper import ModelWrapper, TrainingArgs

        images, _ = plain_loop.load(dataset)
        self.images = plain_loop.Subset(images, range(count))
        net = plain_loop.network(data.load(dataset).train_images.shape[1])
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
        self.model = ModelWrapper(
            net,
            TrainingArgs(
                optimizer=optimiser, criterion=nn.CrossEntropyLoss(), batch_size=plain_loop.BATCH,
                epoch=1, workers=0,
            ),
        )  # fmt: skip

    def train(self) -> None:
        self.model.train_on_dataset(self.images)

    def mc(self) -> None:
        self.model.eval()
        self.model.model.fc[0].train()
        self.model.predict_on_dataset(self.images, PASSES, verbose=False)


class Skorch:
    """skorch's ``NeuralNetClassifier`` on normalised arrays in memory, as in its documentation."""

    def __init__(self, dataset: str, count: int):
        from skorch import NeuralNetClassifier

        images = data.load(dataset)
        self.images = (images.train_images[:count].float() - 127.5).div_(127.5).numpy()
        self.labels = images.train_labels[:count].numpy()
        self.model = NeuralNetClassifier(
            plain_loop.network(self.images.shape[1]), criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam, lr=5e-4, batch_size=plain_loop.BATCH, max_epochs=1,
            iterator_train__shuffle=True, iterator_train__drop_last=True,
            iterator_valid__batch_size=plain_loop.SCORING_BATCH, train_split=None, verbose=0,
        )  # fmt: skip
        self.model.initialize()

    def train(self) -> None:
        self.model.partial_fit(self.images, self.labels)

    def score(self) -> None:
        self.model.predict_proba(self.images)


class Limit:
    """The most that the machine can do: products of 2048 x 2048 matrices."""

    SIDE = 2048

    def __init__(self, dataset: str, count: int):
        self.matrices = {
            kind: [torch.randn(self.SIDE, self.SIDE).to(kind) for _ in range(2)]
            for kind in (torch.float32, torch.bfloat16)
        }
        self.count = count

    def fp32(self) -> None:
        self._multiply(torch.float32)

    def bf16(self) -> None:
        self._multiply(torch.bfloat16)

    def _multiply(self, kind: torch.dtype) -> None:
        for _ in range(self.count):
            torch.mm(*self.matrices[kind])


CONTENDERS = {"ours": Ours, "plain": Plain, "baal": Baal, "skorch": Skorch, "limit": Limit}


def main() -> None:
    """Set up, work once to warm up, say how many images that was, then work once per line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("work")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    np.random.seed(0)
    answers, sys.stdout = sys.stdout, sys.stderr  # peers print; answers keep their own channel
    contender = CONTENDERS[options.name](options.dataset, options.count)
    work = getattr(contender, options.work)
    epochs = getattr(contender, "epochs", 1) if options.work == "train" else 1
    work()
    print(options.count * epochs, file=answers, flush=True)
    for _ in sys.stdin:
        work()
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
