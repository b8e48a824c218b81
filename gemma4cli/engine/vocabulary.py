"""The tokens of a model as llguidance takes them, and which of them a grammar allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ..errors import CheckpointError
from ..processing.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Allowed:
    """The tokens that may come next, of ``count``: one bit each in ``octets``."""

    octets: np.ndarray
    count: int

    def mask(self) -> mx.array:
        """Bool ``[V]``.

        The host computes one bit per token; the device unpacks the bits as part of the caller's
        graph. llguidance.mlx has a kernel for this, but it needs Metal.
        """
        bits = (mx.array(self.octets)[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1
        return bits.flatten()[: self.count].astype(mx.bool_)

    def ids(self, most: int) -> mx.array | None:
        """Their ids ``[n]``; None if they are more than ``most``, or none."""
        bits = np.unpackbits(self.octets, count=self.count, bitorder="little")
        if not 0 < np.count_nonzero(bits) <= most:
            return None
        return mx.array(np.flatnonzero(bits).astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The tokens of a model with ``size`` logits."""

    tokens: LLTokenizer
    size: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, size: int, stop_ids: frozenset[int]) -> Vocabulary:
        """The vocabulary for answers that end with ``stop_ids``.

        The first one takes seconds, in which no other thread runs. Raises CheckpointError for a
        vocabulary that llguidance cannot read, one with an id twice for example.
        """
        return cls(_tokens(tokenizer, size, tuple(sorted(stop_ids))), size)

    def allowed(self, matcher: LLMatcher) -> Allowed:
        """Which tokens may come next in a grammar; none if that cannot be computed."""
        return Allowed(np.frombuffer(matcher.compute_bitmask(), np.uint8), self.size)


@lru_cache(maxsize=2)
def _tokens(tokenizer: Tokenizer, size: int, ends: tuple[int, ...]) -> LLTokenizer:
    from llguidance import LLTokenizer

    try:
        return LLTokenizer(
            tokenizer.serialized(),
            n_vocab=size,
            eos_token=list(ends),
            slices=LLTokenizer.json_slices(),
        )
    except ValueError as exc:
        problem = f"cannot be used with a schema ({' '.join(str(exc).split())})"
        raise CheckpointError(tokenizer.source, problem) from exc
