"""Full layers get room at once where a prompt's length is known, else one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable

import mlx.core as mx
import pytest

from gemma4cli.engine.cache_room import make_room
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import Prefill
from gemma4cli.models.attention import FullCache, QuantizedKVCache

CACHES = pytest.mark.parametrize("cache", [FullCache, lambda: QuantizedKVCache(8)])


def arrays(stored: mx.array | tuple[mx.array, ...]) -> tuple[mx.array, ...]:
    return (stored,) if isinstance(stored, mx.array) else stored


def test_a_prompt_gets_its_room_with_the_first_chunk(
    parity_model: Callable[[str], LoadedModel],
) -> None:
    network = parity_model("e2b").network
    cache = network.language_model.make_cache()
    full = next(each for each in cache if isinstance(each, FullCache))
    prefill = Prefill(network=network, ids=[5] * 600, spans=(), soft_tokens=(), step=64)
    rooms = [full.keys.shape[2] for _ in prefill.run(cache) if full.keys is not None]
    assert set(rooms) == {768}


@CACHES
def test_what_a_cache_holds_stays_when_it_grows(cache: Callable[[], FullCache]) -> None:
    keys, values = mx.random.normal((2, 1, 2, 300, 64), key=mx.random.key(1))
    grown, whole = cache(), cache()
    assert not list(grown.make_room(200))
    grown.update_and_fetch(keys[:, :, :200], values[:, :, :200])
    assert not list(grown.make_room(56))
    assert len(list(grown.make_room(57))) == 2
    found = grown.update_and_fetch(keys[:, :, 200:], values[:, :, 200:])
    expected = whole.update_and_fetch(keys, values)
    for one, other in zip(found, expected, strict=True):
        pairs = zip(arrays(one), arrays(other), strict=True)
        assert all(mx.array_equal(a, b) for a, b in pairs)


@CACHES
def test_only_one_layers_keys_or_values_are_in_memory_twice(cache: Callable[[], FullCache]) -> None:
    layers = [cache() for _ in range(5)]
    for layer in layers:
        layer.update_and_fetch(mx.zeros((1, 4, 1000, 128)), mx.zeros((1, 4, 1000, 128)))
        mx.eval(layer.keys, layer.values)
    gc.collect()  # arrays of other tests
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    make_room(layers, 25)
    grown = mx.get_active_memory() - before
    one = sum(each.nbytes for each in arrays(layers[0].keys))
    assert grown == sum(layer.nbytes for layer in layers) // 5
    assert mx.get_peak_memory() - before - grown < 1.1 * one
