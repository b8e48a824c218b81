"""The KV caches of rows that are being decoded: one row's own, or a batch of several."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from ..models.batch_cache import BatchCache
from ..models.gemma4 import Gemma4
from ..models.mlx_lm_parts import RowCache
from .cache_room import make_room
from .decode import run_tokens
from .sampling import step_is_finite


class RunningRows:
    """Rows join with the cache that their prompt filled, and can be taken out with such a cache.

    A single row runs as it would alone. Several are computed together, or one after the other if
    not ``together``: quantized caches have one row.
    """

    def __init__(self, network: Gemma4, *, together: bool) -> None:
        self._network = network
        self._together = together
        self._single: list[list[RowCache]] = []
        self._batch: BatchCache | None = None

    def __len__(self) -> int:
        return len(self._single) if self._batch is None else len(self._batch)

    def join(self, cache: list[RowCache]) -> None:
        """Add a row after the others."""
        if self._batch is None and (not self._single or not self._together):
            self._single.append(cache)
            return
        if self._batch is None:
            self._batch = self._network.language_model.make_batch_cache()
            self._batch.join(self._single.pop())
        self._batch.join(cache)
        mx.eval(self._batch.state)

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with these rows only."""
        if self._batch is None:
            self._single = [self._single[row] for row in rows]
        elif len(rows) > 1:
            self._batch.keep(rows)
        else:
            self._single = [self._batch.extract(row) for row in rows]
            self._batch = None

    def extract(self, row: int) -> list[RowCache]:
        """The cache of a row, which must not run any more once it is changed."""
        return self._single[row] if self._batch is None else self._batch.extract(row)

    def advance(self, tokens: mx.array, bias: mx.array | None) -> tuple[mx.array, mx.array]:
        """Logits ``[B, V]`` after ``tokens`` ``[B]``, and whether each row's step was finite.

        ``bias`` ``[V]`` is added to the logits.
        """
        if self._batch is None:
            for cache in self._single:
                make_room(cache, 1)
            steps = [
                run_tokens(self._network, cache, token, bias)
                for cache, token in zip(self._single, tokens, strict=True)
            ]
            return (
                mx.concatenate([logits[:, -1] for _, logits, _ in steps]),
                mx.concatenate([finite[:, -1] for _, _, finite in steps]),
            )
        text = self._network.language_model
        inputs = self._network.embed_rows(tokens[:, None])
        hidden = text.model(*inputs, self._batch.layers, self._batch.extend(1))
        logits = text.logits(hidden, bias)[:, -1]
        return logits, step_is_finite(hidden[:, -1], logits)
