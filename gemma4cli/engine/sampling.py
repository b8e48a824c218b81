"""Choose the next token from logits."""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Sequence

import mlx.core as mx

from ..machine.backend import native_in_use


class Sampler:
    """Maps logits ``[V]`` to a token id, a scalar. Without ``keys`` it uses no randomness."""

    def __init__(
        self, choose: Callable[[mx.array, mx.array | None], mx.array], keys: Keys | None = None
    ) -> None:
        self._choose = choose
        self._keys = keys

    def __call__(self, logits: mx.array) -> mx.array:
        return self._choose(logits, None if self._keys is None else self._keys.next())

    def put_back(self, count: int) -> None:
        """Undo the last ``count`` draws: the next ones use the same keys again."""
        if self._keys is not None:
            self._keys.put_back(count)


_MOST_PUT_BACK = 64

_COLDEST = 1e-30
"""Logits divided by less are infinite in float32; by more than its inverse, excluded ones are NaN.
"""


def seed_of(seed: int | None, number: int) -> int | None:
    """The seed of answer ``number``: the given seed for the first, a derived one for the others.

    Derived by hashing, so that answers of neighboring seeds are unrelated.
    """
    if seed is None or number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def suppress(vocab_size: int, ids: Sequence[int]) -> mx.array | None:
    """A bias for logits ``[V]`` that excludes ``ids``; None if there are none."""
    kept = [i for i in ids if 0 <= i < vocab_size]
    if not kept:
        return None
    bias = mx.zeros((vocab_size,), mx.float32)
    bias[mx.array(kept)] = -mx.inf
    return bias


def are_finite(logits: mx.array) -> mx.array:
    """Whether all logits ``[..., V]`` of a row are finite, ``[...]``."""
    # One NaN or infinity makes the sum NaN or infinite.
    return mx.isfinite(logits.sum(axis=-1))


def make_sampler(
    *, temperature: float, top_p: float, top_k: int, key: mx.array | None = None
) -> Sampler:
    """A sampler; with ``temperature`` 0 it takes the most likely token.

    Top-k is applied first, so that top-p sorts a few candidates and not the whole vocabulary.
    ``key`` makes sampling reproducible.
    """
    if temperature == 0:
        return Sampler(lambda logits, _: mx.argmax(logits, axis=-1))
    temperature = min(max(temperature, _COLDEST), 1 / _COLDEST)
    likeliest = _likeliest()

    def sample(logits: mx.array, key: mx.array | None) -> mx.array:
        logits = logits / temperature
        count = min(top_k, logits.shape[-1]) if top_k else logits.shape[-1]
        if count < logits.shape[-1]:
            ids = likeliest(logits, count)
            logits = logits[ids]
        else:
            ids = mx.arange(count)
        if top_p < 1:
            logits = _nucleus(logits, top_p)
        return ids[mx.random.categorical(logits, key=key)]

    return Sampler(sample, Keys(key if key is not None else mx.random.key(secrets.randbits(63))))


def _likeliest() -> Callable[[mx.array, int], mx.array]:
    """A function of logits ``[V]`` and a count: the ids of that many of the largest logits."""
    if native_in_use():
        from ..native import _native

        return lambda logits, count: _native.top_k(logits, count)[1]
    return lambda logits, count: mx.argpartition(-logits, kth=count - 1, axis=-1)[:count]


def _nucleus(logits: mx.array, top_p: float) -> mx.array:
    """Set all logits to -inf except the likeliest whose probabilities add up to ``top_p``.

    The likeliest is always kept: the probabilities before it add up to zero.
    """
    order = mx.argsort(-logits)
    probabilities = mx.softmax(logits[order])
    before = mx.cumsum(probabilities) - probabilities
    kept = mx.where(before < top_p, logits[order], -mx.inf)
    return mx.put_along_axis(logits, order, kept, axis=-1)


class Keys:
    """A fresh random key for each draw."""

    def __init__(self, key: mx.array) -> None:
        self._key = key
        self._unused: list[mx.array] = []
        self._used: deque[mx.array] = deque(maxlen=_MOST_PUT_BACK)

    def next(self) -> mx.array:
        if self._unused:
            key = self._unused.pop()
        else:
            self._key, key = mx.random.split(self._key)
        self._used.append(key)
        return key

    def put_back(self, count: int) -> None:
        """Make ``next`` return the last ``count`` keys again."""
        for _ in range(count):
            self._unused.append(self._used.pop())
