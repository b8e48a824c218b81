"""The KV caches of rows that are being decoded.

Rows of a batch take as much memory as the longest of them, so long and short ones are computed in
groups: a step runs one after the other. A row without a group to join is computed as it would be
alone, and a group whose rows all have the same adapter as if there were no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from ..models.batch_cache import BatchCache
from ..models.gemma4 import Gemma4
from ..models.mixed_adapters import Mixed
from ..models.mlx_lm_parts import RowCache
from .cache_room import make_room
from .decode import run_tokens
from .sampling import step_is_finite

_SHORT = 8192
"""Positions up to which rows share a batch whatever their lengths."""
_TIMES_LONGER = 2
"""How much longer than its shortest row the longest of another batch may be."""


def share_batch(one: int, other: int) -> bool:
    """Whether rows of these lengths may be in the same batch."""
    return max(one, other) <= max(_SHORT, _TIMES_LONGER * min(one, other))


def padded_lengths(lengths: Iterable[int]) -> list[int]:
    """The columns that rows of these lengths take in their batches, shortest first."""
    found: list[list[int]] = []
    for length in sorted(lengths):
        if found and share_batch(found[-1][0], length):
            found[-1].append(length)
        else:
            found.append([length])
    return [group[-1] for group in found for _ in group]


@dataclass(slots=True, eq=False)
class _Group:
    """Rows that are computed together, by their numbers; ``cache`` is a list for a single one."""

    rows: list[int]
    cache: list[RowCache] | BatchCache

    @property
    def shortest(self) -> int:
        return min(self.cache.lengths) if isinstance(self.cache, BatchCache) else self.longest

    @property
    def longest(self) -> int:
        if isinstance(self.cache, BatchCache):
            return max(self.cache.lengths)
        count: int = self.cache[0].offset
        return count


class RunningRows:
    """Rows join with the cache that their prompt filled, and can be taken out with such a cache.

    They are those of several ``networks``, by their numbers, if there is what can compute them
    together, ``mixed``. If not ``together`` each row is a group, as quantized caches must be.
    """

    def __init__(
        self, networks: Sequence[Gemma4], mixed: Mixed | None = None, *, together: bool
    ) -> None:
        self._networks = networks
        self._mixed = mixed
        self._together = together
        self._groups: list[_Group] = []
        self._of: list[int] = []

    def __len__(self) -> int:
        return len(self._of)

    def join(self, cache: list[RowCache], network: int = 0) -> None:
        """Add a row after the others."""
        number, length = len(self), cache[0].offset
        self._of.append(network)
        group = self._group_for(length, length)
        if group is None:
            self._groups.append(_Group([number], cache))
            return
        batch = self._as_batch(group)
        batch.join(cache)
        group.rows.append(number)
        mx.eval(batch.state)

    def join_all(self, cache: BatchCache, network: int = 0) -> None:
        """Add rows after the others, which were computed together."""
        numbers = list(range(len(self), len(self) + len(cache)))
        self._of += [network] * len(cache)
        group = self._group_for(min(cache.lengths), max(cache.lengths))
        if group is None:
            self._groups.append(_Group(numbers, cache))
            return
        batch = self._as_batch(group)
        batch.join_all(cache)
        group.rows += numbers
        mx.eval(batch.state)

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with these rows only, in this order, which is that of before."""
        numbers = {row: number for number, row in enumerate(rows)}
        for group in self._groups:
            left = [i for i, row in enumerate(group.rows) if row in numbers]
            if isinstance(group.cache, BatchCache) and len(left) < len(group.rows):
                if len(left) == 1:
                    group.cache = group.cache.extract(left[0])
                elif left:
                    group.cache.keep(left)
            group.rows = [numbers[group.rows[i]] for i in left]
        self._groups = [group for group in self._groups if group.rows]
        self._of = [self._of[row] for row in rows]

    def extract(self, row: int) -> list[RowCache]:
        """The cache of a row, which is not to run any more once another run changes it."""
        group = next(each for each in self._groups if row in each.rows)
        if isinstance(group.cache, BatchCache):
            return group.cache.extract(group.rows.index(row))
        return group.cache

    def advance(self, tokens: mx.array, bias: mx.array | None) -> tuple[mx.array, mx.array]:
        """Logits ``[B, V]`` after ``tokens`` ``[B]``, and whether each row's step was finite.

        ``bias`` ``[V]`` is added to the logits.
        """
        if len(self._groups) == 1:
            return self._advance(self._groups[0], tokens, bias)
        steps = [self._advance(group, tokens[mx.array(group.rows)], bias) for group in self._groups]
        order = mx.argsort(mx.array([row for group in self._groups for row in group.rows]))
        logits, finite = (mx.concatenate(list(each))[order] for each in zip(*steps, strict=True))
        return logits, finite

    def _advance(
        self, group: _Group, tokens: mx.array, bias: mx.array | None
    ) -> tuple[mx.array, mx.array]:
        network = self._network_of(group)
        if not isinstance(group.cache, BatchCache):
            make_room(group.cache, 1)
            _, logits, finite = run_tokens(network, group.cache, tokens, bias)
            return logits[:, -1], finite[:, -1]
        text = network.language_model
        inputs = network.embed_rows(tokens[:, None])
        hidden = text.model(*inputs, group.cache.layers, group.cache.extend(1))
        logits = text.logits(hidden, bias)[:, -1]
        return logits, step_is_finite(hidden[:, -1], logits)

    def _network_of(self, group: _Group) -> Gemma4:
        """What computes the next step of a group."""
        numbers = [self._of[row] for row in group.rows]
        if self._mixed is None or len(set(numbers)) == 1:
            return self._networks[numbers[0]]
        self._mixed.choice.choose(numbers)
        return self._mixed.network

    def _group_for(self, shortest: int, longest: int) -> _Group | None:
        """The group that rows of these lengths may join."""
        for group in self._groups:
            lengths = min(shortest, group.shortest), max(longest, group.longest)
            if self._together and share_batch(*lengths):
                return group
        return None

    def _as_batch(self, group: _Group) -> BatchCache:
        """The cache of a group, to be joined."""
        if not isinstance(group.cache, BatchCache):
            batch = self._networks[0].language_model.make_batch_cache()
            batch.join(group.cache)
            group.cache = batch
        return group.cache
