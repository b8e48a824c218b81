"""Calls of a divided language model, repeated by the processes that hold its other parts.

The first process runs the program. Whatever it asks of its language model or of a KV cache, it
tells the others by name, with numbers in place of caches, and they do the same with theirs. Arrays
that a call takes are not sent with it: all processes add them up, and those that follow add zeros.
So a call can be told before its arrays are computed. What a call makes, all processes have: it has
a number too, by which later calls name it.

Every call ends by starting to compute what it made. Sums are therefore computed in the same order
everywhere, which they must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import Any, Protocol
from weakref import WeakKeyDictionary, finalize

import mlx.core as mx
import mlx.nn as nn

from ..callbacks import callback
from .attention import FullCache, KeysValues
from .batch_cache import BatchCache
from .caches import Checkpoint, resume
from .language import Cache, LanguageModel
from .masks import Masks
from .mlx_lm_parts import KVCache, RowCache
from .sharded_text import Group, ShardedLanguageModel, ShardedTextModel

Message = dict[str, Any]
"""A call as JSON: its name, arguments, the numbers of what it makes and of what is not needed."""


class Followers(Group, Protocol):
    """The other processes, as the first one sees them."""

    def tell(self, message: Message) -> None:
        """Send a call to all of them. Raises an error if one has ended."""

    def next_number(self) -> int:
        """A number for another network."""

    def close(self, number: int) -> None:
        """Let them forget a network."""


class Mirror:
    """What the first process tells the others about one network, by its ``number``."""

    def __init__(self, followers: Followers, number: int) -> None:
        self.followers = followers
        self.number = number
        self._numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._arrays: dict[int, int] = {}  # by identity: equality is another array
        self._promised: list[int] = []
        self._next = count()
        self._dropped: list[int] = []

    def call(
        self, name: str, *arguments: object, makes: Sequence[object] = (), arrays_made: int = 0
    ) -> list[mx.array]:
        """Tell a call; returns its arrays as all processes have them.

        If it makes arrays, ``keep`` is called with them next.
        """
        arrays: list[tuple[mx.array, bool]] = []
        encoded = [self._encoded(each, arrays) for each in arguments]
        made = [self._numbered(each) for each in makes]
        self._promised = [next(self._next) for _ in range(arrays_made)]
        dropped, self._dropped = self._dropped, []
        self.followers.tell(
            {
                "call": name,
                "network": self.number,
                "arguments": encoded,
                "makes": [*made, *self._promised],
                "dropped": dropped,
            }
        )
        return [self.followers.sum(each) if is_new else each for each, is_new in arrays]

    def keep(self, made: Sequence[mx.array]) -> None:
        """Start to compute the arrays that the last call makes; they must not be changed."""
        for number, each in zip(self._promised, made, strict=True):
            self._arrays[id(each)] = number
            finalize(each, self._forget, id(each), number).atexit = False
        mx.async_eval(*made)

    def _forget(self, identity: int, number: int) -> None:
        del self._arrays[identity]
        self._drop(number)

    def _numbered(self, made: object) -> int:
        number = next(self._next)
        self._numbers[made] = number
        finalize(made, self._drop, number).atexit = False
        return number

    def _drop(self, number: int) -> None:
        self._dropped.append(number)

    def _encoded(self, value: object, arrays: list[tuple[mx.array, bool]]) -> object:
        if isinstance(value, mx.array):
            number = self._arrays.get(id(value))
            arrays.append((value, number is None))
            if number is not None:
                return {"number": number}
            return {"array": list(value.shape), "dtype": str(value.dtype).rpartition(".")[2]}
        if isinstance(value, Masks):
            return {"masks": [asdict(value.full), asdict(value.sliding)]}
        if isinstance(value, list | tuple):
            return [self._encoded(each, arrays) for each in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return {"number": self._numbers[value]}


def lead(network: LanguageModel, followers: Followers, number: int) -> None:
    """Let the first process's divided ``network`` tell the others what it computes."""
    network.__class__ = _leading(LeadingLanguageModel, type(network))
    network.model.__class__ = _leading(LeadingTextModel, type(network.model))
    _tell_as(network, Mirror(followers, number))


def lead_apart(network: LeadingLanguageModel, number: int) -> None:
    """Let a copy of a network that leads tell what it computes under a number of its own."""
    _tell_as(network, Mirror(network._mirror.followers, number))


def _tell_as(network: LanguageModel, mirror: Mirror) -> None:
    for module in (network, network.model):
        module._mirror = mirror
    finalize(network, mirror.followers.close, mirror.number).atexit = False


def _leading(leading: type[nn.Module], sharded: type[nn.Module]) -> type[nn.Module]:
    """What the first process's class adds to one of all processes, of the native part or not."""
    return (
        leading if sharded in leading.__bases__ else type(leading.__name__, (leading, sharded), {})
    )


class LeadingTextModel(ShardedTextModel):
    _mirror: Mirror

    @callback
    def embed(self, ids: mx.array) -> mx.array:
        made = 2 if self.config.ple_size else 1
        (ids,) = self._mirror.call("embed", ids, arrays_made=made)
        found = self.looked_up(ids)
        self._mirror.keep(found)
        embeddings, *self["_found"] = found
        return embeddings

    @callback
    def per_layer_inputs(self, ids: mx.array, embeddings: mx.array) -> mx.array | None:
        """As in the base, of the ids whose ``embed`` was called last."""
        if not self.config.ple_size:
            return None
        found = self._mirror.call("mix", *self.pop("_found"), embeddings, arrays_made=1)
        made = self.per_layer_of(*found)
        self._mirror.keep([made])
        return made

    @callback
    def __call__(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> mx.array:
        inputs = self._told("run", embeddings, per_layer_inputs, cache, masks, arrays_made=1)
        hidden = super().__call__(*inputs, cache, masks)
        self._mirror.keep([hidden])
        mx.async_eval([layer.state for layer in cache])
        return hidden

    @callback
    def fill(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> None:
        inputs = self._told("fill", embeddings, per_layer_inputs, cache, masks)
        super().fill(*inputs, cache, masks)
        mx.async_eval([layer.state for layer in cache])

    def _told(
        self,
        name: str,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
        arrays_made: int = 0,
    ) -> tuple[mx.array, mx.array | None]:
        room = max((layer.room for layer in cache if isinstance(layer, FullCache)), default=0)
        embeddings, *rest = self._mirror.call(
            name,
            embeddings,
            per_layer_inputs,
            list(cache),
            masks,
            room,
            arrays_made=arrays_made,
        )
        return embeddings, rest[0] if rest else None


class LeadingLanguageModel(ShardedLanguageModel):
    _mirror: Mirror

    @callback
    def _scores(self, hidden: mx.array) -> mx.array:
        (hidden,) = self._mirror.call("scores", hidden)
        scores = super()._scores(hidden)
        mx.async_eval(scores)
        return scores

    @callback
    def make_cache(self) -> list[RowCache]:
        cache = super().make_cache()
        self._mirror.call("make_cache", makes=cache)
        return cache

    @callback
    def checkpoint(self, cache: Sequence[RowCache]) -> Checkpoint:
        made = super().checkpoint(cache)
        self._mirror.call("checkpoint", list(cache), makes=[made])
        return made

    @callback
    def rewind(self, cache: Sequence[RowCache], count: int) -> None:
        super().rewind(cache, count)
        self._mirror.call("rewind", list(cache), count)

    @callback
    def newest_keys_values(self, cache: Sequence[RowCache]) -> dict[str, KeysValues]:
        self._mirror.call("newest_keys_values", list(cache))
        found = super().newest_keys_values(cache)
        mx.async_eval(found)
        return found

    @callback
    def resumed_cache(
        self, full_layers: Sequence[KVCache | None], checkpoint: Checkpoint
    ) -> list[RowCache]:
        cache = super().make_cache()
        resume(cache, full_layers, checkpoint)
        self._mirror.call("resumed_cache", list(full_layers), checkpoint, makes=cache)
        return cache

    @callback
    def make_batch_cache(self) -> BatchCache:
        text = self.config
        kinds = text.layer_types[: text.num_stored_layers]
        made = LeadingBatchCache(kinds, text.sliding_window)
        made.mirror = self._mirror
        self._mirror.call("make_batch_cache", makes=[made, *made.layers])
        return made


class LeadingBatchCache(BatchCache):
    mirror: Mirror

    @callback
    def admit(self, padding: Sequence[int]) -> None:
        super().admit(padding)
        self.mirror.call("admit", self, list(padding))

    @callback
    def extend(self, count: int) -> Masks:
        masks = super().extend(count)
        self.mirror.call("extend", self, count)
        return masks

    @callback
    def join(self, row: Sequence[RowCache]) -> None:
        super().join(row)
        self.mirror.call("join", self, list(row))

    @callback
    def join_all(self, other: BatchCache) -> None:
        super().join_all(other)
        self.mirror.call("join_all", self, other)

    @callback
    def extract(self, row: int) -> list[RowCache]:
        made = super().extract(row)
        self.mirror.call("extract", self, row, makes=made)
        return made

    @callback
    def keep(self, rows: Sequence[int]) -> None:
        super().keep(rows)
        self.mirror.call("keep", self, list(rows))
