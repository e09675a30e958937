"""A pool of made-up images: Gaussian blobs, a class each, with their labels."""

from pathlib import Path

import torch

from alutils.labelling.pool import FeaturePool
from alutils.labelling.session import Session
from alutils.labelling.settings import Settings
from alutils.learning.streams import stream

CLASSES = ["ant", "bee", "cat"]


def blobs(count: int = 120, features: int = 8, apart: float = 1.5) -> tuple[FeaturePool, dict]:
    """A pool, its images in two folders, and the class of every image by its name."""
    rng = stream(0, "blobs")
    classes = torch.arange(count) % len(CLASSES)
    centres = apart * torch.randn(len(CLASSES), features, generator=rng)
    rows = centres[classes] + torch.randn(count, features, generator=rng)
    names = [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(count)]
    labels = {name: CLASSES[c] for name, c in zip(names, classes.tolist(), strict=True)}
    return FeaturePool.of(names, rows.half(), "stub"), labels


def quiet(line: str) -> None:
    """What a session says is of no matter here."""


def a_session(folder: Path, pool: FeaturePool, name: str = "ledger.jsonl", **settings) -> Session:
    """A session of three classes with five answers from training to training."""
    say = settings.pop("say", quiet)
    return Session(folder / name, pool, CLASSES, Settings(**{"batch": 5} | settings), say)


def said(session: Session) -> list[tuple]:
    """What must be equal in two ledgers that ask for the same and are answered the same."""
    return [
        (e.number, e.action, e.image, e.label, e.asked, e.guess, e.shown, e.model)
        for e in session.ledger.entries
    ]
