"""Calls of a divided language model, repeated by the processes that hold its other parts.

The first process runs the program. Whatever it asks of its language model or of a KV cache, it
tells the others by name, with numbers in place of caches, and they do the same with theirs. Arrays
that a call takes are not sent with it: all processes add them up, and those that follow add zeros.
So a call can be told before its arrays are computed.

Every call ends by starting to compute what it made. Sums are therefore computed in the same order
everywhere, which they must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from .gemma4 import Gemma4
from .language import Cache, LanguageModel
from .masks import Masks, Visibility
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
        self._next = count()
        self._dropped: list[int] = []

    def call(self, name: str, *arguments: object, makes: Sequence[object] = ()) -> list[mx.array]:
        """Tell a call; returns its arrays as all processes have them."""
        arrays: list[mx.array] = []
        encoded = [self._encoded(each, arrays) for each in arguments]
        made = [self._numbered(each) for each in makes]
        dropped, self._dropped = self._dropped, []
        self.followers.tell(
            {
                "call": name,
                "network": self.number,
                "arguments": encoded,
                "makes": made,
                "dropped": dropped,
            }
        )
        return [self.followers.sum(each) for each in arrays]

    def _numbered(self, made: object) -> int:
        number = next(self._next)
        self._numbers[made] = number
        finalize(made, self._drop, number).atexit = False
        return number

    def _drop(self, number: int) -> None:
        self._dropped.append(number)

    def _encoded(self, value: object, arrays: list[mx.array]) -> object:
        if isinstance(value, mx.array):
            arrays.append(value)
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
    def _rows(self, table: nn.Embedding, ids: mx.array) -> mx.array:
        per_layer = table is not self.embed_tokens
        (ids,) = self._mirror.call("rows", per_layer, ids)
        rows = super()._rows(table, ids)
        mx.async_eval(rows)
        return rows

    @callback
    def _through(
        self,
        count: int,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
    ) -> mx.array:
        room = max((layer.room for layer in cache if isinstance(layer, FullCache)), default=0)
        embeddings, *rest = self._mirror.call(
            "through", count, embeddings, per_layer_inputs, list(cache), masks, room
        )
        per_layer = rest[0] if rest else None
        hidden = super()._through(count, embeddings, per_layer, cache, masks)
        mx.async_eval(hidden, [layer.state for layer in cache])
        return hidden


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


_STEPS_UNTIL_CLEARED = 256
"""Calls of one token after which freed buffers go back to the device."""


_MOST_OF_A_STEP = 16
"""Tokens of an answer that are computed at once; more are a piece of a prompt."""


class Replica:
    """The network of a process that follows, which repeats what it is told.

    ``release_buffers`` gives the memory of arrays that are gone back to the device.
    """

    def __init__(self, whole: Gemma4, group: Group, release_buffers: Callable[[], None]) -> None:
        self.whole = whole
        network: ShardedLanguageModel = whole.language_model
        self._network = network
        self._release_buffers = release_buffers
        self._group = group
        self._objects: dict[int, Any] = {}
        self._steps = 0
        self._calls: Mapping[str, Callable[..., Sequence[object] | None]] = {
            "rows": self._rows,
            "through": self._through,
            "scores": self._scores,
            "make_cache": network.make_cache,
            "checkpoint": self._checkpoint,
            "rewind": network.rewind,
            "newest_keys_values": self._newest_keys_values,
            "resumed_cache": network.resumed_cache,
            "make_batch_cache": self._batch_cache,
            "admit": BatchCache.admit,
            "extend": self._extend,
            "join": self._join,
            "join_all": self._join_all,
            "extract": BatchCache.extract,
            "keep": BatchCache.keep,
        }

    def arguments(self, message: Message) -> list[Any]:
        """What the first process has called something with."""
        for number in message["dropped"]:
            del self._objects[number]
        return [self._decoded(each) for each in message["arguments"]]

    def repeat(self, message: Message) -> None:
        """Do what the first process did."""
        made = self._calls[message["call"]](*self.arguments(message))
        for number, each in zip(message["makes"], made or (), strict=True):
            self._objects[number] = each

    def _decoded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._decoded(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return self._group.sum(mx.zeros(value["array"], getattr(mx, value["dtype"])))
        if "masks" in value:
            full, sliding = (_visibility(each) for each in value["masks"])
            return Masks(full=full, sliding=sliding)
        return self._objects[value["number"]]

    def _rows(self, per_layer: bool, ids: mx.array) -> None:
        text = self._network.model
        table = text.embed_tokens_per_layer if per_layer else text.embed_tokens
        mx.async_eval(text._rows(table, ids))

    def _through(
        self,
        count: int,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
        room: int,
    ) -> None:
        for layer in cache:
            if isinstance(layer, FullCache):
                for _ in layer.make_room(room - layer.offset):
                    self._release_buffers()
        hidden = self._network.model._through(count, embeddings, per_layer_inputs, cache, masks)
        computed = [hidden, [layer.state for layer in cache]]
        self._steps += 1
        if embeddings.shape[1] > _MOST_OF_A_STEP or self._steps % _STEPS_UNTIL_CLEARED == 0:
            mx.eval(computed)
            self._release_buffers()
        else:
            mx.async_eval(computed)

    def _scores(self, hidden: mx.array) -> None:
        mx.async_eval(self._network._scores(hidden))

    def _newest_keys_values(self, cache: Sequence[RowCache]) -> None:
        mx.async_eval(self._network.newest_keys_values(cache))

    def _checkpoint(self, cache: Sequence[RowCache]) -> list[Checkpoint]:
        made = self._network.checkpoint(cache)
        # An unevaluated slice keeps the whole array it comes from alive.
        mx.eval(made.arrays)
        return [made]

    def _batch_cache(self) -> list[object]:
        made = self._network.make_batch_cache()
        return [made, *made.layers]

    def _extend(self, cache: BatchCache, count: int) -> None:
        cache.extend(count)

    def _join(self, cache: BatchCache, row: Sequence[RowCache]) -> None:
        cache.join(row)
        mx.eval(cache.state)

    def _join_all(self, cache: BatchCache, other: BatchCache) -> None:
        cache.join_all(other)
        mx.eval(cache.state)


def _visibility(fields: dict[str, Any]) -> Visibility:
    blocks = fields["blocks"]
    return Visibility(
        **{
            **fields,
            "blocks": None if blocks is None else tuple(blocks),
            "padding": tuple(fields["padding"]),
        }
    )
