"""What earlier turns of a conversation left in the KV cache, for the next prompt to go on from.

A prompt is compared with what was run before, token by token and medium by medium; nothing is
assumed about how a prompt repeats an answer. Knows no messages.

    ran before   <bos> ... question <turn|> \\n | <|turn> model \\n answer |
    next prompt  <bos> ... question <turn|> \\n   <|turn> model \\n answer   <turn|> \\n <|turn> ...
                                              ^ place                    ^ place: go on from here
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ..models.gemma4 import Gemma4
from ..models.language import RowCache
from ..models.mlx_lm_parts import KVCache
from ..processing.inputs import ModelInputs

_KEPT_BYTES = 1024**3

Content = Sequence[int | str]
"""What stands at each position: an id, or the digest of the medium whose placeholder it is."""


def content_of(inputs: ModelInputs) -> list[int | str]:
    """A prompt as what decides its keys and values; placeholders of all media have one id."""
    content: list[int | str] = list(inputs.ids)
    for span, feature in zip(inputs.spans, inputs.features, strict=True):
        content[span.start : span.end] = [feature.digest] * (span.end - span.start)
    return content


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Sliding layers as they stood when ``position`` tokens were in the cache; None for others."""

    position: int
    states: tuple[tuple[Any, ...] | None, ...]

    @property
    def arrays(self) -> list[mx.array]:
        return [array for state in self.states if state is not None for array in state[:2]]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


class TurnCache:
    """The cache of one conversation, from turn to turn.

    Keys and values of full layers are only ever appended to, so the newest cache has those of all
    places. A sliding layer forgets what has left its window and cannot go back; its state is kept
    for each place, ``limit`` bytes in all, and the oldest leave first. E2B takes 6 MB a place, the
    31B 0.8 GB.
    """

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._limit = limit
        self._runs = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._network: Gemma4 | None = None
        self._open_full_layers = False
        self._content: tuple[int | str, ...] = ()
        self._full_layers: list[KVCache | None] = []
        self._places: list[_Place] = []

    def begin(
        self, network: Gemma4, content: Content, *, open_full_layers: bool = False
    ) -> CachedRun:
        """A run of a prompt, as far as its beginning is here.

        The last position is left to compute, since its logits are wanted. What disagrees with the
        prompt is forgotten. ``open_full_layers``: see ``make_masks``.
        """
        if network is not self._network or open_full_layers != self._open_full_layers:
            self.clear()
            self._network, self._open_full_layers = network, open_full_layers
        agreed = min(_agreement(self._content, content), len(content) - 1)
        self._places = [place for place in self._places if place.position <= agreed]
        cache = network.language_model.make_cache()
        start = 0
        if self._places:
            start = self._places[-1].position
            for layer, full, state in zip(
                cache, self._full_layers, self._places[-1].states, strict=True
            ):
                layer.state = _beginning(full, start) if state is None else _handles(state)
        self._content = tuple(content[:start])
        self._full_layers = [layer if isinstance(layer, KVCache) else None for layer in cache]
        self._runs += 1
        return CachedRun(self, self._runs, cache, start, list(content))

    def keep(self, run: CachedRun) -> None:
        """Keep a run's cache as it stands, unless another run has begun since."""
        position = run.cached
        newest = self._places[-1].position if self._places else 0
        if run.number != self._runs or position <= newest:
            return
        place = _Place(
            position,
            tuple(None if isinstance(layer, KVCache) else _state(layer) for layer in run.cache),
        )
        if place.nbytes > self._limit:
            return
        # A slice that waits to be computed holds the whole of what it is cut from.
        mx.eval(place.arrays)
        self._content = tuple(run.content[:position])
        self._places.append(place)
        while sum(each.nbytes for each in self._places) > self._limit:
            del self._places[0]


class CachedRun:
    """One prompt and its answer, on the way into ``cache``.

    ``start`` tokens were there from the beginning. ``content`` is the prompt's, and what has been
    generated since.
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

    def keep(self) -> None:
        """Let a later prompt begin here. Between two steps only, when all layers are as far."""
        self._turns.keep(self)

    def forget(self) -> None:
        """Keep nothing of any turn: the cache cannot be trusted."""
        self._turns.clear()


def _agreement(one: Content, other: Content) -> int:
    """How many positions are the same from the beginning on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _beginning(layer: KVCache, count: int) -> tuple[Any, ...]:
    """The state of a full layer when ``count`` tokens were in it."""
    keys, values, _ = layer.state
    return keys[..., :count, :], values[..., :count, :], count


def _state(layer: RowCache) -> tuple[Any, ...]:
    """The state of a sliding layer, no longer than the window."""
    keys, values, offset, sink, window, index = layer.state
    excess = keys.shape[2] - window
    if excess > 0:
        # A chunk leaves its own length as well, in order.
        keys, values = (mx.contiguous(each[..., excess:, :]) for each in (keys, values))
        index = window
    return _handles((keys, values, offset, sink, window, index))


def _handles(state: Iterable[Any]) -> tuple[Any, ...]:
    """A state whose arrays are objects of their own: caches assign to slices in place."""
    return tuple(each[...] if isinstance(each, mx.array) else each for each in state)
