"""Named random streams: independent generators, each derived from its name alone."""

import hashlib

import torch


def stream(seed: int, *name: str | int) -> torch.Generator:
    """Generator, on the CPU, of the stream ``name`` under ``seed``.

    Streams of different names are independent, so that one arm's use of randomness can't shift
    another's, and a resumed run needs no saved generator state. PyTorch's generator takes 32 bits
    of the seed: that two of a study's names share a stream is unlikely, not impossible. On Intel's
    processors ``bernoulli_``, and so dropout and MC masks, draws other numbers from it, by MKL.
    """
    return torch.Generator().manual_seed(derived(seed, *name))


def derived(seed: int, *name: str | int) -> int:
    """Seed, of 63 bits, of the stream ``name`` under ``seed``."""
    key = "/".join(str(part) for part in (seed, *name))
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
