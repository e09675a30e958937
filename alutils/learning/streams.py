"""Named random streams: independent generators, each derived from its name alone."""

import hashlib

import torch


def stream(seed: int, *name: str | int) -> torch.Generator:
    """CPU generator of the stream ``name`` under ``seed``.

    Streams with different names are independent, so one arm's use of randomness can't shift
    another's, and a resumed run needs no saved generator state. PyTorch's generator uses 32 bits of
    the seed, so it is unlikely but not impossible that two names in a study share a stream. On
    Intel processors, ``bernoulli_``, and hence dropout and MC masks, draws different numbers from
    it, because of MKL.
    """
    return torch.Generator().manual_seed(derived(seed, *name))


def derived(seed: int, *name: str | int) -> int:
    """Seed, of 63 bits, of the stream ``name`` under ``seed``."""
    key = "/".join(str(part) for part in (seed, *name))
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
