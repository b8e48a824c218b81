"""Choose the next token from logits."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from ..machine.backend import native_in_use
from ..options import TokenBias


class Sampler:
    """Maps logits ``[V]`` to a token id, a scalar. Without ``keys`` it uses no randomness."""

    def __init__(self, rule: Rule, keys: Keys | None = None) -> None:
        self._rule = rule
        self._keys = keys

    def __call__(self, logits: mx.array) -> mx.array:
        return self._rule.choose(logits, None if self._keys is None else self._keys.next())

    @staticmethod
    def sample_rows(samplers: Sequence[Sampler], logits: mx.array) -> mx.array:
        """Token ids ``[B]`` for logits ``[B, V]``, the same as each row's sampler gives alone."""
        rule = samplers[0]._rule
        if any(each._rule != rule for each in samplers):
            return mx.stack([each(row) for each, row in zip(samplers, logits, strict=True)])
        keys = [each._keys.next() for each in samplers if each._keys is not None]
        return rule.choose(logits, mx.stack(keys) if keys else None)

    def put_back(self, count: int) -> None:
        """Undo the last ``count`` draws: the next ones use the same keys again."""
        if self._keys is not None:
            self._keys.put_back(count)


_MOST_PUT_BACK = 64

_COLDEST = 1e-30
"""Logits divided by less are infinite in float32; by more than its inverse, excluded ones are NaN.
"""


def suppress(vocab_size: int, ids: Sequence[int]) -> mx.array | None:
    """A bias for logits ``[V]`` that excludes ``ids``; None if there are none."""
    kept = [i for i in ids if 0 <= i < vocab_size]
    if not kept:
        return None
    bias = mx.zeros((vocab_size,), mx.float32)
    bias[mx.array(kept)] = -mx.inf
    return bias


def are_finite(values: mx.array) -> mx.array:
    """Whether all ``values`` ``[..., N]`` of a row are finite, ``[...]``."""
    # One NaN or infinity makes the sum NaN or infinite.
    return _is_finite(values.sum(axis=-1))


@partial(mx.compile, shapeless=True)
def _is_finite(value: mx.array) -> mx.array:
    return mx.isfinite(value)


def step_is_finite(hidden: mx.array, logits: mx.array) -> mx.array:
    """Whether a step after the first computed numbers in each row, ``[...]``.

    ``hidden`` ``[..., D]`` are the normalized hidden states; ``logits`` ``[..., V]`` may exclude
    tokens. The head's weights do not change, and the first step's logits are all checked: after
    it, finite hidden states give finite logits. In float16 they need not, as it ends at 65,504;
    logits that exceed it have become NaN.
    """
    if hidden.dtype != mx.float16:
        return are_finite(hidden)
    total = logits.sum(axis=-1)
    return total == total


def make_sampler(
    *,
    temperature: float,
    top_p: float,
    top_k: int,
    key: mx.array | None = None,
    bias: Sequence[TokenBias] = (),
) -> Sampler:
    """A sampler; with ``temperature`` 0 it takes the most likely token.

    Top-k is applied first, so that top-p sorts a few candidates and not the whole vocabulary.
    ``key`` makes sampling reproducible.
    """
    if temperature == 0:
        return Sampler(Rule(temperature=0.0, top_p=1.0, top_k=1, bias=tuple(bias)))
    warmth = min(max(temperature, _COLDEST), 1 / _COLDEST)
    rule = Rule(temperature=warmth, top_p=top_p, top_k=top_k, bias=tuple(bias))
    return Sampler(rule, Keys(key if key is not None else mx.random.key(secrets.randbits(63))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How tokens are chosen; with ``temperature`` 0 the most likely one, without randomness."""

    temperature: float
    top_p: float
    top_k: int
    bias: tuple[TokenBias, ...] = ()

    def choose(self, logits: mx.array, key: mx.array | None) -> mx.array:
        """Token ids ``[...]`` for logits ``[..., V]`` and a key for each row, ``[..., 2]``."""
        if self.bias:
            ids = mx.array([each.token for each in self.bias])
            added = mx.array([each.bias for each in self.bias], logits.dtype)
            logits = logits.at[..., ids].add(added)
        if self.temperature == 0:
            return mx.argmax(logits, axis=-1)
        assert key is not None
        if not 0 < self.top_k < logits.shape[-1]:
            return _drawn(logits / self.temperature, key, self.top_p)
        logits, ids = likeliest(logits, self.temperature, self.top_k)
        drawn = _drawn(logits, key, self.top_p)
        return mx.take_along_axis(ids, drawn[..., None], axis=-1)[..., 0]


def likeliest(logits: mx.array, temperature: float, count: int) -> tuple[mx.array, mx.array]:
    """The ``count`` largest of ``logits`` ``[..., V]``, by ``temperature``, and their ids.

    The largest comes first: a draw depends on the order, which must be that of any other step that
    computes the same logits but for rounding.
    """
    if native_in_use():
        from ..native import _native

        return _native.top_k(logits / temperature, count)
    negated = logits / -temperature
    ids = mx.argpartition(negated, kth=count - 1, axis=-1)[..., :count]
    found = mx.take_along_axis(negated, ids, axis=-1)
    order = mx.argsort(found, axis=-1)
    return -mx.take_along_axis(found, order, axis=-1), mx.take_along_axis(ids, order, axis=-1)


@mx.compile
def _drawn(logits: mx.array, key: mx.array, top_p: float) -> mx.array:
    """An index for each row of ``logits`` ``[..., n]``, drawn with the row's own key."""
    if top_p < 1:
        logits = _nucleus(logits, top_p)
    if key.ndim == 1:
        return mx.random.categorical(logits, key=key)
    return mx.vmap(lambda row, own: mx.random.categorical(row, key=own))(logits, key)


def _nucleus(logits: mx.array, top_p: float) -> mx.array:
    """Set all logits to -inf except the likeliest whose probabilities add up to ``top_p``.

    The likeliest is always kept: the probabilities before it add up to zero.
    """
    order = mx.argsort(-logits, axis=-1)
    falling = mx.take_along_axis(logits, order, axis=-1)
    probabilities = mx.softmax(falling, axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    kept = mx.where(before < top_p, falling, -mx.inf)
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
