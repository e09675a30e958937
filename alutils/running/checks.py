"""Checks that every round runs on itself; one that fails ends the cell with an error."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from alutils.learning.network import Classifier
from alutils.learning.scoring import predict
from alutils.learning.streams import stream
from alutils.learning.training import dropout_mask
from alutils.protocol.cell import Cell
from alutils.strategies.pool import Pool
from alutils.strategies.view import PoolView

SAMPLE = 200
"""Number of images of the pool on which scoring is checked."""
ROUNDING = 1e-4
"""Difference between two logits, relative to the largest one, that rounding may cause."""


class SelfCheckFailed(RuntimeError):
    """A round violated the protocol; the message says how."""


@contextmanager
def buffers_unchanged(net: Classifier) -> Iterator[None]:
    """Raise if a buffer of ``net`` changes: the running statistics of its batch norms."""
    before = [buffer.clone() for buffer in net.buffers()]
    yield
    if not all(map(torch.equal, before, net.buffers())):
        raise SelfCheckFailed("scoring changed the network's batch-norm statistics")


def label_lists(cell: Cell, number: int, pool: Pool, labelled: list[list[int]]) -> None:
    """Raise if the rounds' label lists repeat an index or don't add up to the schedule."""
    everything = [index for added in labelled for index in added]
    expected = cell.schedule_of_labels()[number]
    if not len(set(everything)) == len(everything) == len(pool.labelled) == expected:
        raise SelfCheckFailed(
            f"{len(everything)} labels in the rounds, {len(set(everything))} of them different, "
            f"{len(pool.labelled)} in the pool; the protocol has {expected}"
        )


def copied(cell: Cell, order: list[int], labelled: list[list[int]]) -> None:
    """Raise if the rounds' labels are not the first labels of the record they are copied from."""
    everything = sorted(index for added in labelled for index in added)
    if everything != sorted(order[: len(everything)]):
        raise SelfCheckFailed(
            f"the {len(everything)} labels are not the first of {cell.labels_of}: that record was "
            "made anew after a round here, so remove this cell's record and run again"
        )


def scoring(net: Classifier, images: Tensor, pool: Pool, cell: Cell, number: int) -> str:
    """Raise if scoring is not repeatable, or if MC passes don't differ exactly when masks do.

    Returns, in words, whether two passes differ.
    """
    sample = pool.may_label.nonzero().squeeze(1)[:SAMPLE]
    name = (cell.seed, "self-check", number)
    view = PoolView(net, images, sample, sample[:0], 2, cell.dropout, cell.clusters, stream(*name))
    once, again = (probs.max(1).values for probs in (view.probs_N_C, predict(net, images, sample)))
    if not torch.equal(once.argsort(stable=True), again.argsort(stable=True)):
        raise SelfCheckFailed("scoring the same images twice gave two orders")
    logits = view.pass_logits_N_T_C  # probabilities may be 0 and 1 in both, whatever the masks
    first, second = logits.unbind(1)
    differ = bool(((first - second).abs() > ROUNDING * logits.abs().max()).any())
    masks = dropout_mask(2, net.head.in_features, cell.dropout, stream(*name))
    if differ == torch.equal(*masks):
        relation = "differ" if differ else "are equal"
        why = "" if view.embeddings_N_D.any() else ": the network is dead, lower learning_rate"
        raise SelfCheckFailed(f"the MC passes {relation} at dropout = {cell.dropout:g}{why}")
    return "yes" if differ else f"no: dropout = {cell.dropout:g}"


def fingerprint(values: list[int] | dict[str, Tensor]) -> str:
    """Short hash of a list of indices, or of tensors by name."""
    digest = hashlib.sha256()
    if isinstance(values, list):
        digest.update(repr(values).encode())
    else:
        for name, tensor in values.items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
