"""What prompts have computed, kept for other prompts that begin alike.

A server's clients send whole conversations: a prompt resumes where the longest one that it repeats
was kept, be it the last turn of its own conversation or the instructions that many begin with. What
is kept never changes, so conversations may part at any place.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from ..limit_variables import limit_of
from ..machine.device import device, memory_total
from ..machine.memory import KEPT_CHECKPOINTS
from ..models.gemma4 import Gemma4
from ..models.mlx_lm_parts import RowCache
from .turn_cache import CachedRun, Content, Held, TurnCache

LIMIT_VARIABLE = "G4_KEPT_PROMPTS_MB"
_MOST_BYTES = 1_000_000_000
_MOST_MB = 1_000_000
_MEMORY_SHARE = 0.1
_MOST_PROMPTS = 256
"""Prompts to look through in search of one that begins alike."""


def default_limit() -> int:
    """Bytes to keep on this machine: a tenth of its memory, at most 1 GB, or what a variable says.

    Raises OptionError for a variable that is no such number.
    """
    own = min(_MOST_BYTES, _MEMORY_SHARE * memory_total(device()))
    mb = limit_of(LIMIT_VARIABLE, own / 2**20, "MB", most=_MOST_MB, zero=True)
    return int(mb * 2**20)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A prompt, perhaps with its answer; ``parts`` are the bytes of its arrays by their owners."""

    held: Held
    parts: dict[int, int]

    @classmethod
    def of(cls, held: Held) -> _Kept:
        owners = [*held.checkpoints, *(each for each in held.full_layers if each is not None)]
        return cls(held, {id(each): each.nbytes for each in owners})

    @property
    def newest(self) -> int:
        return self.held.checkpoints[-1].position

    def longest_within(self, network: Gemma4, content: Content) -> int:
        """The longest checkpoint from which ``content`` can go on in ``network``, or 0."""
        own = self.held.content
        if self.held.network is not network:
            return 0
        for each in reversed(self.held.checkpoints):
            # At least the last position remains to be computed. Most others differ in the last one.
            last = each.position - 1
            if each.position >= len(content) or own[last] != content[last]:
                continue
            if own[:last] == tuple(content[:last]):
                return each.position
        return 0

    def begins(self, other: _Kept) -> bool:
        """Whether ``other`` goes on from all that is held here."""
        own = self.held.content
        is_same = self.held.network is other.held.network
        return is_same and own == other.held.content[: len(own)]


class SharedTurns:
    """The newest prompts and answers, up to ``limit`` bytes; the rest is forgotten.

    They may be of several networks, such as one with several adapters: what one has computed is
    never found by another. See ``make_masks`` for ``blocks_on_full_layers``.

    Attributes:
        limit: Bytes to keep.
        nbytes: Bytes that are kept; what several prompts have in common counts once.
    """

    def __init__(self, limit: int, *, blocks_on_full_layers: bool = False) -> None:
        self.limit = limit
        self.nbytes = 0
        self._blocks_on_full_layers = blocks_on_full_layers
        self._kept: list[_Kept] = []
        self._uses: Counter[int] = Counter()

    def __len__(self) -> int:
        """How many prompts are kept that are not the beginning of another."""
        return len(self._kept)

    def begin(self, network: Gemma4, content: Content) -> CachedRun:
        """Start the run of a prompt from the longest checkpoint that agrees with it."""
        turns = TurnCache(min(KEPT_CHECKPOINTS, self.limit))
        turns.shared = self.limit > 0
        longest, found = 0, None
        for each in self._kept:
            position = each.longest_within(network, content)
            if position and position >= longest:
                longest, found = position, each
        if found is not None:
            self._kept.remove(found)
            self._kept.append(found)
            turns.restore(found.held)
        return turns.begin(network, content, blocks_on_full_layers=self._blocks_on_full_layers)

    def keep(self, run: CachedRun) -> None:
        """Keep what a run has computed, as far as it has checkpoints."""
        held = run.held()
        kept = None if held is None else self._within_limit(held)
        if kept is None:
            return
        for each in list(self._kept):
            known = [checkpoint.position for checkpoint in each.held.checkpoints]
            if kept.newest in known and kept.begins(each):
                return
            if each.begins(kept):
                self._remove(each)
        self._kept.append(kept)
        for part, size in kept.parts.items():
            self.nbytes += size * (self._uses[part] == 0)
            self._uses[part] += 1
        if len(self._kept) > _MOST_PROMPTS:
            self._remove(self._kept[0])
        self.shrink(self.limit)

    def keep_all(self, network: Gemma4, content: Content, cache: list[RowCache]) -> None:
        """Keep what ``cache`` holds of ``content``, with the checkpoints in it that are kept."""
        run = self.begin(network, content)
        run.move(cache)
        run.keep()
        self.keep(run)

    def shrink(self, limit: int) -> None:
        """Forget what has not been used for the longest time, until ``limit`` bytes are kept."""
        while self._kept and self.nbytes > limit:
            self._remove(self._kept[0])

    def _remove(self, kept: _Kept) -> None:
        self._kept.remove(kept)
        for part, size in kept.parts.items():
            self._uses[part] -= 1
            if not self._uses[part]:
                del self._uses[part]
                self.nbytes -= size

    def _within_limit(self, held: Held) -> _Kept | None:
        """What takes no more than the limit of it: without its oldest checkpoints, or nothing."""
        checkpoints = held.checkpoints
        while checkpoints:
            kept = _Kept.of(replace(held, checkpoints=checkpoints))
            if sum(kept.parts.values()) <= self.limit:
                return kept
            checkpoints = checkpoints[1:]
        return None
