"""What prompts have computed, kept for other prompts that begin alike.

A server's clients send whole conversations: a prompt resumes where the longest one that it repeats
was kept, be it the last turn of its own conversation or the instructions that many begin with. What
is kept never changes, so conversations may part at any place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..machine.device import device, memory_total
from ..machine.memory import KEPT_CHECKPOINTS
from ..models.gemma4 import Gemma4
from .turn_cache import CachedRun, Content, Held, TurnCache, agreement

_MOST_BYTES = 1_000_000_000
_MEMORY_SHARE = 0.1


def default_limit() -> int:
    """Bytes to keep on this machine: a tenth of its memory, at most 1 GB."""
    return int(min(_MOST_BYTES, _MEMORY_SHARE * memory_total(device())))


class SharedTurns:
    """The newest prompts and answers of a model, up to ``limit`` bytes; the rest is forgotten.

    See ``make_masks`` for ``blocks_on_full_layers``.
    """

    def __init__(self, network: Gemma4, limit: int, *, blocks_on_full_layers: bool = False) -> None:
        self._network = network
        self.limit = limit
        self._blocks_on_full_layers = blocks_on_full_layers
        self._kept: list[Held] = []

    def __len__(self) -> int:
        """How many prompts are kept that are not the beginning of another."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept; checkpoints that conversations share count once."""
        return _size(self._kept)

    def begin(self, content: Content) -> CachedRun:
        """Start the run of a prompt from the longest checkpoint that agrees with it."""
        turns = TurnCache(min(KEPT_CHECKPOINTS, self.limit))
        turns.shared = self.limit > 0
        found = self._longest(content)
        if found is not None:
            self._kept.remove(found)
            self._kept.append(found)
            turns.restore(found)
        return turns.begin(
            self._network, content, blocks_on_full_layers=self._blocks_on_full_layers
        )

    def keep(self, run: CachedRun) -> None:
        """Keep what a run has computed, as far as it has checkpoints."""
        held = run.held()
        held = None if held is None else self._within_limit(held)
        if held is None:
            return
        for other in self._kept:
            if _continues(other, held) and held.checkpoints[-1].position in _positions(other):
                return
        self._kept = [each for each in self._kept if not _continues(held, each)]
        self._kept.append(held)
        self.shrink(self.limit)

    def shrink(self, limit: int) -> None:
        """Forget what has not been used for the longest time, until ``limit`` bytes are kept."""
        while self._kept and self.nbytes > limit:
            del self._kept[0]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def _within_limit(self, held: Held) -> Held | None:
        """What takes no more than the limit of it: without its oldest checkpoints, or nothing."""
        checkpoints = held.checkpoints
        while checkpoints:
            fitting = replace(held, checkpoints=checkpoints)
            if _size([fitting]) <= self.limit:
                return fitting
            checkpoints = checkpoints[1:]
        return None

    def _longest(self, content: Content) -> Held | None:
        """What has the longest checkpoint that agrees with ``content``."""
        best, longest = None, 0
        for held in self._kept:
            agreed = min(agreement(held.content, content), len(content) - 1)
            usable = max((each for each in _positions(held) if each <= agreed), default=0)
            if usable >= longest and usable:
                best, longest = held, usable
        return best


def _continues(one: Held, other: Held) -> bool:
    """Whether ``one`` begins with all of ``other``."""
    return one.content[: len(other.content)] == other.content


def _positions(held: Held) -> list[int]:
    return [each.position for each in held.checkpoints]


def _size(kept: Sequence[Held]) -> int:
    layers = {id(layer): layer for held in kept for layer in held.full_layers if layer is not None}
    checkpoints = {id(each): each for held in kept for each in held.checkpoints}
    return sum(each.nbytes for each in (*layers.values(), *checkpoints.values()))
