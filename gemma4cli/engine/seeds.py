"""The seeds of several answers to one command; mlx is not imported."""

from __future__ import annotations

import hashlib


def seed_of(seed: int | None, number: int) -> int | None:
    """The seed of answer ``number``: the given seed for the first, a derived one for the others.

    Derived by hashing, so that answers of neighboring seeds are unrelated.
    """
    if seed is None or number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
