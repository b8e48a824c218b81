"""Prefill several prompts into one cache; shorter prompts join in later chunks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx

from ..models.batch_cache import BatchCache
from ..models.gemma4 import Gemma4, SoftTokens
from .freed_buffers import release_buffers


def batch_chunks(lengths: Sequence[int], step: int) -> Iterator[tuple[int, int, int]]:
    """Split into chunks: columns [start, end), and the number of rows that have begun by ``end``.

    ``lengths`` are the rows' lengths, longest first; all rows end in the same column. A chunk has
    up to ``step`` tokens over all of its rows, padding included, and at least one column. The last
    column is a separate chunk, because only its logits are read.

        lengths 6 and 3, step 4   ->   (0, 3, 1) (3, 5, 2) (5, 6, 2)
    """
    last = lengths[0] - 1
    begins = [lengths[0] - length for length in lengths]
    start = 0
    while start < last:
        end = start + 1
        while end < last and bisect_left(begins, end + 1) * (end + 1 - start) <= step:
            end += 1
        yield start, end, bisect_left(begins, end)
        start = end
    yield last, last + 1, len(lengths)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPrefill:
    """The prefill of several prompts, longest first. None may have bidirectional image blocks.

    ``soft_tokens`` holds those of each prompt. ``step`` counts the tokens of all rows together.
    """

    network: Gemma4
    ids: Sequence[Sequence[int]]
    soft_tokens: Sequence[Sequence[SoftTokens]]
    step: int

    def run(self, cache: BatchCache) -> Generator[int, None, mx.array]:
        """Fill an empty ``cache``; returns the logits ``[B, V]`` of the last positions.

        Yields the number of filled columns after each chunk but the last.
        """
        text = self.network.language_model
        lengths = [len(ids) for ids in self.ids]
        padding = [lengths[0] - length for length in lengths]
        for start, end, rows in batch_chunks(lengths, self.step):
            cache.admit(padding[len(cache) : rows])
            inputs = self._embed(start, end, padding[:rows])
            masks = cache.extend(end - start)
            if end < lengths[0]:
                text.model.fill(*inputs, cache.layers, masks)
                mx.eval(cache.state)
                # Free the chunk's buffers: the next chunk has a different size.
                release_buffers()
                yield end
            else:
                logits = text.logits(text.model(*inputs, cache.layers, masks))[:, -1]
        return logits

    def _embed(
        self, start: int, end: int, padding: Sequence[int]
    ) -> tuple[mx.array, mx.array | None]:
        """Network inputs for columns [start, end) of the first ``len(padding)`` rows."""
        pad_id = self.network.config.text.pad_token_id
        tokens = []
        for ids, before in zip(self.ids, padding, strict=False):
            empty = min(max(before - start, 0), end - start)
            tokens.append([pad_id] * empty + list(ids[start + empty - before : end - before]))
        starts = [start - before for before in padding]
        return self.network.embed_rows(tokens, self.soft_tokens[: len(starts)], starts)
