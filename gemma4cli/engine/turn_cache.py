"""The KV cache of a conversation, kept between turns so that the next prompt can resume from it.

A prompt is compared with the cached content token by token and medium by medium; nothing is assumed
about how a prompt repeats an answer. Operates on ids and digests, not on messages.

    cached       <bos> ... question <turn|> \\n | <|turn> model \\n answer |
    next prompt  <bos> ... question <turn|> \\n   <|turn> model \\n answer   <turn|> \\n <|turn> ...
                                              ^ checkpoint               ^ checkpoint: resume here
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from ..machine.memory import KEPT_CHECKPOINTS, Kept
from ..models.caches import Checkpoint
from ..models.gemma4 import Gemma4
from ..models.mlx_lm_parts import KVCache, RowCache
from ..processing.inputs import ModelInputs
from ..processing.prompt import MediaSpan

_NEAREST_STOP, _STOP_FACTOR = 64, 4
"""Tokens from the end of a prompt to the last checkpoint inside of it; how much farther others are.

A short question fits after the last one.
"""

Content = Sequence[int | str]
"""The content of each position: a token id, or for placeholders the digest of the medium."""


def content_of(inputs: ModelInputs) -> list[int | str]:
    """What determines a prompt's keys and values: ids, and digests at the placeholders.

    Placeholders alone would not do: those of two different images have the same id.
    """
    content: list[int | str] = list(inputs.ids)
    for span, feature in zip(inputs.spans, inputs.features, strict=True):
        content[span.start : span.end] = [feature.digest] * (span.end - span.start)
    return content


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Held:
    """What a turn cache holds: ``content`` up to the newest checkpoint, and its full layers.

    ``full_layers`` has None for sliding layers; the others may hold more positions.
    """

    network: Gemma4
    blocks_on_full_layers: bool
    content: tuple[int | str, ...]
    full_layers: tuple[KVCache | None, ...]
    checkpoints: tuple[Checkpoint, ...]


class TurnCache:
    """The cache of one conversation, kept from turn to turn.

    Full layers only ever append keys and values, so the newest cache covers every checkpoint. A
    sliding layer drops what leaves its window and cannot go back, so each checkpoint keeps a copy
    of its state. Checkpoints use up to ``limit`` bytes; the oldest are dropped first. One takes
    6 MB on E2B and 0.8 GB on the 31B.

    Attributes:
        shared: Whether other conversations begin alike; then there are checkpoints inside of
            prompts too.
    """

    def __init__(self, limit: int = KEPT_CHECKPOINTS) -> None:
        self.shared = False
        self._limit = limit
        self._runs = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._network: Gemma4 | None = None
        self._blocks_on_full_layers = False
        self._content: tuple[int | str, ...] = ()
        self._full_layers: list[KVCache | None] = []
        self._checkpoints: list[Checkpoint] = []

    @property
    def kept(self) -> Kept | None:
        """What the conversation holds in memory; None if it keeps nothing for later turns."""
        if not self._limit:
            return None
        return Kept(
            checkpoints=sum(each.nbytes for each in self._checkpoints),
            positions=self._checkpoints[-1].position if self._checkpoints else 0,
        )

    def begin(
        self, network: Gemma4, content: Content, *, blocks_on_full_layers: bool = False
    ) -> CachedRun:
        """Start a run of a prompt from the last checkpoint that agrees with it.

        At least the last position remains to be computed, because its logits are needed. Later
        checkpoints are dropped. ``blocks_on_full_layers``: see ``make_masks``.
        """
        if network is not self._network or blocks_on_full_layers != self._blocks_on_full_layers:
            self.clear()
            self._network, self._blocks_on_full_layers = network, blocks_on_full_layers
        agreed = min(agreement(self._content, content), len(content) - 1)
        self._checkpoints = [each for each in self._checkpoints if each.position <= agreed]
        text = network.language_model
        start = 0
        if self._checkpoints:
            start = self._checkpoints[-1].position
            cache = text.resumed_cache(self._full_layers, self._checkpoints[-1])
        else:
            cache = text.make_cache()
        self._content = tuple(content[:start])
        self._full_layers = _full_layers(cache)
        self._runs += 1
        return CachedRun(self, self._runs, cache, start, list(content))

    def keep(self, run: CachedRun) -> None:
        """Add a checkpoint for a run's current position, unless another run has begun since."""
        position = run.cached
        newest = self._checkpoints[-1].position if self._checkpoints else 0
        if run.number != self._runs or position <= newest or self._network is None:
            return
        checkpoint = self._network.language_model.checkpoint(run.cache)
        if checkpoint.nbytes > self._limit:
            return
        # An unevaluated slice keeps the whole array it comes from alive.
        mx.eval(checkpoint.arrays)
        self._content = tuple(run.content[:position])
        self._checkpoints.append(checkpoint)
        self._drop_oldest()

    def move(self, run: CachedRun) -> None:
        """Hold the full layers of a run's present cache, unless another run has begun since."""
        if run.number == self._runs:
            self._full_layers = _full_layers(run.cache)

    def _drop_oldest(self) -> None:
        """Drop checkpoints that are over the limit."""
        while sum(each.nbytes for each in self._checkpoints) > self._limit:
            del self._checkpoints[0]

    def held(self) -> Held | None:
        """What there is to continue from; None if there is nothing."""
        if self._network is None or not self._checkpoints:
            return None
        return Held(
            network=self._network,
            blocks_on_full_layers=self._blocks_on_full_layers,
            content=self._content,
            full_layers=tuple(self._full_layers),
            checkpoints=tuple(self._checkpoints),
        )

    def restore(self, held: Held) -> None:
        """Hold what another turn cache held, instead of what is here."""
        self._network = held.network
        self._blocks_on_full_layers = held.blocks_on_full_layers
        self._content = held.content
        self._full_layers = list(held.full_layers)
        self._checkpoints = list(held.checkpoints)
        self._drop_oldest()


class CachedRun:
    """The run of one prompt and its answer; ``cache`` is filled as it goes.

    The first ``start`` tokens were cached when it began. ``content`` is that of the prompt and of
    the tokens generated so far.
    """

    def __init__(
        self,
        turns: TurnCache,
        number: int,
        cache: list[RowCache],
        start: int,
        content: list[int | str],
    ) -> None:
        self._turns = turns
        self.number = number
        self.cache = cache
        self.start = start
        self.content = content

    @property
    def cached(self) -> int:
        """How many tokens are in the cache now."""
        count: int = self.cache[0].offset
        return count

    def stops(self, end: int, spans: Sequence[MediaSpan]) -> list[int]:
        """Where to keep checkpoints in a prompt before ``end``, for prompts that begin alike.

        Distances from the end grow by the same factor, so that both another question and another
        chapter find one not far before the place where they differ. None is inside of a medium.
        """
        if not self._turns.shared:
            return []
        places = set()
        distance = _NEAREST_STOP
        while (place := end - distance) > self.start:
            place = next((span.end for span in spans if span.start < place < span.end), place)
            if self.start + _NEAREST_STOP <= place < end:
                places.add(place)
            distance *= _STOP_FACTOR
        return sorted(places)

    def keep(self) -> None:
        """Add a checkpoint here. Call between steps only, when all layers are at one position."""
        self._turns.keep(self)

    def move(self, cache: list[RowCache]) -> None:
        """Go on in another cache, which holds the same and perhaps more."""
        self.cache = cache
        self._turns.move(self)

    def held(self) -> Held | None:
        """What there is to continue from, if this is the last run of its turn cache."""
        return self._turns.held()

    def release(self) -> None:
        """Hold nothing any more, as the cache is used elsewhere."""
        self.cache = []
        self.forget()

    def forget(self) -> None:
        """Drop everything cached, because it cannot be trusted."""
        self._turns.clear()


def _full_layers(cache: Sequence[RowCache]) -> list[KVCache | None]:
    return [layer if isinstance(layer, KVCache) else None for layer in cache]


def agreement(one: Content, other: Content) -> int:
    """The length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
