"""Decode several rows together, one token per row and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.batch_cache import BatchCache
from ..models.gemma4 import Gemma4
from .sampling import Sampler, are_finite


class BatchDecoder:
    """Decode from a filled cache; ``logits`` ``[B, V]`` are those of the last prompt positions.

    ``samplers`` holds one sampler per row; empty means greedy. ``bias`` and ``lookahead`` are as in
    ``decode_tokens``.
    """

    def __init__(
        self,
        network: Gemma4,
        cache: BatchCache,
        logits: mx.array,
        samplers: Sequence[Sampler],
        *,
        bias: mx.array | None = None,
        lookahead: bool,
    ) -> None:
        self._network = network
        self._cache = cache
        self._samplers = list(samplers)
        self._bias = bias
        self._lookahead = lookahead
        self._tokens = mx.zeros((0,), mx.int32)
        self._ahead: tuple[mx.array, mx.array] | None = self._choose(logits)

    def step(self) -> list[int]:
        """The next token of each row, fetched from the device at once. Raises NonFiniteError."""
        tokens, finite = self._ahead or self._choose(self._advance())
        self._tokens = tokens
        self._ahead = self._choose(self._advance()) if self._lookahead else None
        if not all(cast(list[bool], finite.tolist())):
            raise NonFiniteError("decoding")
        return cast(list[int], tokens.tolist())

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with these rows only."""
        kept = mx.array(list(rows))
        self._cache.keep(rows)
        self._tokens = self._tokens[kept]
        if self._ahead is not None:
            tokens, finite = self._ahead
            self._ahead = tokens[kept], finite[kept]
        if self._samplers:
            self._samplers = [self._samplers[row] for row in rows]

    def _choose(self, logits: mx.array) -> tuple[mx.array, mx.array]:
        """The chosen tokens, and whether each row's logits are finite; both ``[B]``."""
        finite = are_finite(logits)
        biased = logits if self._bias is None else logits + self._bias
        if self._samplers:
            rows = zip(self._samplers, biased, strict=True)
            tokens = mx.stack([sampler(row) for sampler, row in rows])
        else:
            tokens = mx.argmax(biased, axis=-1)
        mx.async_eval(tokens, finite)
        return tokens, finite

    def _advance(self) -> mx.array:
        """Logits ``[B, V]`` after the newest tokens."""
        inputs = self._network.embed_rows(self._tokens[:, None])
        return self._network(*inputs, self._cache.layers, self._cache.extend(1))[:, -1]
