"""What no cell may ask for: values that are each allowed, but not together."""

import re
from itertools import pairwise

from alutils.protocol.arms import ARMS, COPIED, LARGEST_BATCHBALD
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS


def check_cell(cell: Cell) -> None:
    """Raise ``ValueError`` with key, value and remedy unless the cell can be trained as it is."""
    counts = cell.schedule_of_labels()
    if cell.heldout_every > cell.epochs:
        raise ValueError(
            f"heldout_every = {cell.heldout_every} is more than epochs = {cell.epochs}, so the "
            "held-out set would never be evaluated: lower it, or set 0"
        )
    if cell.heldout_every and not cell.heldout_size(cell.dataset):
        raise ValueError(
            f"heldout_fraction = {cell.heldout_fraction} holds out no image of {cell.dataset}, but "
            f"heldout_every = {cell.heldout_every} needs some: raise heldout_fraction, or set "
            "heldout_every to 0"
        )
    _check_imbalance(cell)
    _check_stop_set(cell)
    _check_recipe(cell)
    _check_encoder(cell)
    _check_copied(cell)
    check_first(cell)
    _check_labels(cell, counts)
    _check_steps(cell)
    _check_passes(cell)
    _check_acquisitions(cell, max((b - a for a, b in pairwise(counts)), default=0))
    _check_clusters(cell)


def _check_imbalance(cell: Cell) -> None:
    facts = DATASETS[cell.dataset]
    if not facts.long_tail(cell.imbalance)[-1]:
        raise ValueError(
            f"imbalance = {cell.imbalance} leaves the rarest class of {cell.dataset} without an "
            f"image, as the most frequent one has {facts.smallest_class}: lower it to at most that"
        )
    if cell.imbalance > 1 and cell.diagnostics and not cell.test:
        raise ValueError(
            f"imbalance = {cell.imbalance} may leave a class without a held-out image, and "
            "diagnostics = true with test = false shows the errors on these images: set test to "
            "true, or diagnostics to false"
        )


def _check_stop_set(cell: Cell) -> None:
    heldout = cell.heldout_size(cell.dataset)
    if cell.stop_set and not 2 <= cell.stop_set <= heldout:
        raise ValueError(
            f"stop_set = {cell.stop_set} is not possible with the {heldout} held-out images of "
            f"{cell.dataset}, as it takes at least 2 of them and at most all: set 2 to {heldout}, "
            "or 0 for none"
        )


def _check_recipe(cell: Cell) -> None:
    if cell.adam_state == "arms" and cell.start != "cold":
        raise ValueError(
            f"start = {cell.start!r} continues from the arm's own previous round, adam_state = "
            "'arms' from the previous arm: use adam_state rounds or fresh, or start cold"
        )
    if cell.adam_state != "fresh" and cell.optimiser != "adam":
        raise ValueError(
            f"adam_state = {cell.adam_state!r} carries Adam's moments, and optimiser = "
            f"{cell.optimiser!r} has none: use adam_state fresh, or optimiser adam"
        )
    if cell.augmentation != "none" and not DATASETS[cell.dataset].crops:
        raise ValueError(
            f"augmentation = {cell.augmentation!r} is not for {cell.dataset}, whose images may "
            "change meaning when they are mirrored or cropped: set none"
        )


NETWORK_ONLY_FIELDS = {
    "stem": "7x7", "precision": "fp32", "live_taps": True, "compiled": False,
    "augmentation": "none",
}  # fmt: skip
"""Fields about ResNet-18 or its images, which don't apply to frozen features."""


def _check_encoder(cell: Cell) -> None:
    """Refuse what a linear head on frozen features would ignore."""
    if cell.encoder == "none":
        return
    for key, neutral in NETWORK_ONLY_FIELDS.items():
        if (value := getattr(cell, key)) != neutral:
            raise ValueError(
                f"{key} = {value!r} has no effect with encoder = {cell.encoder!r}, whose frozen "
                f"features one linear layer classifies: set {key} to {neutral!r}, or encoder none"
            )


def _check_copied(cell: Cell) -> None:
    """Refuse a ``labels_of`` that does not fit the cell."""
    if not cell.labels_of:
        if COPIED in cell.arms:
            raise ValueError(f"arm = {COPIED!r} needs labels_of: name the record, PROFILE/NAME")
        return
    if cell.arms != (COPIED,):
        raise ValueError(
            f"labels_of = {cell.labels_of!r} gives the labels, and arm = {cell.arms[0]!r} would "
            f"choose them: set arm to {COPIED!r}, or labels_of to ''"
        )
    if not cell.label_counts:
        raise ValueError(
            f"labels_of = {cell.labels_of!r} needs label_counts: list the label counts of that "
            "record at which to train"
        )
    name = rf"{re.escape(cell.dataset)}-[^/]+-seed{cell.seed}-[0-9a-f]{{12}}"
    if not re.fullmatch(rf"[a-z0-9][a-z0-9-]*/{name}", cell.labels_of):
        raise ValueError(
            f"labels_of = {cell.labels_of!r} is no record of {cell.dataset} with seed "
            f"{cell.seed}: give PROFILE/NAME of one that is"
        )


def check_first(cell: Cell) -> None:
    """Refuse more first labels than the pool holds, or so many that nothing is left to choose."""
    pool, first = cell.pool_size(cell.dataset), cell.first_labels
    if cell.label_counts or first < pool or (first == pool and cell.rounds == 1):
        return
    told = (
        f"labels the whole pool of {cell.dataset}, so nothing is left to choose"
        if first == pool
        else f"is more than the pool of {cell.dataset} holds, {pool}"
    )
    raise ValueError(f"first_labels = {first} {told}: lower it{_or_imbalance(cell)}")


def _or_imbalance(cell: Cell) -> str:
    """The other remedy where a pool is too small."""
    return f", or imbalance = {cell.imbalance}" if cell.imbalance > 1 else ""


def _check_labels(cell: Cell, counts: list[int]) -> None:
    pool = cell.pool_size(cell.dataset)
    if cell.batch_size > counts[0]:
        raise ValueError(
            f"batch_size = {cell.batch_size} is larger than the first {counts[0]} labels of "
            f"{cell.dataset}, so nothing would be trained: lower batch_size or raise the labels"
        )
    if max(counts) > pool:
        raise ValueError(
            f"{max(counts)}, the largest of the label counts, is more than the pool of "
            f"{cell.dataset} holds, {pool}: lower it{_or_imbalance(cell)}"
        )
    if len(set(counts)) < len(counts):
        empty = f"its pool of {pool} is empty by then: lower it"
        raise ValueError(
            f"{cell.acquisition} labels nothing in some round of {cell.dataset}: "
            f"{empty if counts[-1] == pool else 'raise it'} or lower rounds"
        )


def _check_steps(cell: Cell) -> None:
    """Refuse to train for a single step if one-cycle gives it a learning rate of 0."""
    if cell.schedule == "one-cycle" and min(cell.steps()) == 1:
        raise ValueError(
            f"batch_size = {cell.batch_size} and epochs = {cell.epochs} give a single step on the "
            f"first {min(cell.schedule_of_labels())} labels of {cell.dataset}, and schedule = "
            "'one-cycle' begins at learning rate 0, so nothing would be trained: raise epochs, or "
            "lower batch_size"
        )


def _check_passes(cell: Cell) -> None:
    """Refuse MC passes that are all equal, or a single one, if an arm needs them to differ."""
    if cell.mc_score == "mutual-information" and cell.mc_passes < 2:
        raise ValueError("mc_score = 'mutual-information' needs mc_passes of 2 or more")
    if "bayesian" in cell.arms and cell.dropout == 0 and cell.mc_score == "entropy":
        raise ValueError(
            "dropout = 0.0 makes all MC passes equal, so the bayesian arm would be plain entropy: "
            "raise dropout, take the entropy arm, or set mc_score to mutual-information, which "
            "is then zero up to rounding as in the authors' code"
        )
    arms = [arm for arm in cell.arms if arm in ARMS and ARMS[arm].needs_mc_passes]
    if arms and cell.dropout == 0:
        raise ValueError(
            f"dropout = 0.0 makes all MC passes equal, so the {arms[0]} arm would choose at "
            "random: raise dropout, or leave the arm out"
        )
    if arms and cell.mc_passes < 2:
        raise ValueError(f"mc_passes = 1 gives the {arms[0]} arm nothing to compare: raise it")


def _check_acquisitions(cell: Cell, largest: int) -> None:
    """Refuse more labels per round than there are candidates, or than BatchBALD can choose."""
    if cell.candidates and not cell.label_counts and largest > cell.candidates:
        raise ValueError(
            f"candidates = {cell.candidates} is fewer than the {largest} labels of a round: "
            "raise it, or set 0 to score the whole pool"
        )
    if "batchbald" in cell.arms and largest > LARGEST_BATCHBALD:
        raise ValueError(
            f"{cell.acquisition} asks for up to {largest} labels "
            f"per round of {cell.dataset}, and the batchbald arm chooses at most "
            f"{LARGEST_BATCHBALD}: lower it, or use power-bald"
        )


def _check_clusters(cell: Cell) -> None:
    """Refuse more clusters than a clustering arm has candidates at the start."""
    arms = [arm for arm in cell.arms if arm in ARMS and ARMS[arm].clusters]
    left = cell.pool_size(cell.dataset) - cell.first_labels
    candidates = min(cell.candidates or left, left)
    if arms and cell.rounds > 1 and cell.clusters > candidates:
        or_candidates = ", or raise candidates" if candidates < left else ""
        raise ValueError(
            f"clusters = {cell.clusters} is more than the {candidates} candidates of "
            f"{cell.dataset} that the {arms[0]} arm clusters: lower it{or_candidates}"
        )
