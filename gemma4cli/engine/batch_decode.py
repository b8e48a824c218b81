"""Decode several rows together, one token per row and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.batch_cache import BatchCache
from ..models.gemma4 import Gemma4
from .freed_buffers import release_buffers
from .sampling import Sampler, are_finite, step_is_finite

_STEPS_UNTIL_CLEARED = 512
"""See ``decode``; the buffers of a batch are larger, and allocating them anew takes longer."""


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
        self._steps = 0
        self._tokens = mx.zeros((0,), mx.int32)
        first = logits if bias is None else logits + bias
        self._ahead: tuple[mx.array, mx.array] | None = self._choose(first, are_finite(logits))

    def step(self) -> list[int]:
        """The next token of each row, fetched from the device at once. Raises NonFiniteError."""
        tokens, finite = self._ahead or self._choose(*self._advance())
        self._tokens = tokens
        self._ahead = self._choose(*self._advance()) if self._lookahead else None
        if not all(cast(list[bool], finite.tolist())):
            raise NonFiniteError("decoding")
        self._steps += 1
        if self._steps % _STEPS_UNTIL_CLEARED == 0:
            release_buffers()
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

    def _choose(self, logits: mx.array, finite: mx.array) -> tuple[mx.array, mx.array]:
        """The chosen tokens ``[B]``, and ``finite``; both are being computed."""
        if self._samplers:
            tokens = Sampler.sample_rows(self._samplers, logits)
        else:
            tokens = mx.argmax(logits, axis=-1)
        mx.async_eval(tokens, finite)
        return tokens, finite

    def _advance(self) -> tuple[mx.array, mx.array]:
        """Logits ``[B, V]`` after the newest tokens, and whether each row's step was finite."""
        text = self._network.language_model
        inputs = self._network.embed_rows(self._tokens[:, None])
        hidden = text.model(*inputs, self._cache.layers, self._cache.extend(1))
        logits = text.logits(hidden, self._bias)[:, -1]
        return logits, step_is_finite(hidden[:, -1], logits)
