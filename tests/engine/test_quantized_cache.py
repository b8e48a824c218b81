"""A quantized KV cache: exact to its numbers, at every length, in every way a cache is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from support.goldens import ARCHS, FOLDER, inputs_of
from support.models import logits_after

from gemma4cli.engine.generate import generate
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import Prefill
from gemma4cli.engine.prompt_reading import can_read_together
from gemma4cli.engine.turn_cache import TurnCache
from gemma4cli.errors import OptionError
from gemma4cli.events import Finished
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.machine.backend import native_in_use
from gemma4cli.models import attention
from gemma4cli.models.attention import QuantizedKVCache, attend, attend_to_packed, dequantized
from gemma4cli.models.block_sizes import group_size
from gemma4cli.models.caches import rewind
from gemma4cli.models.language import Cache
from gemma4cli.models.masks import NO_MASKS, Mask
from gemma4cli.models.mlx_lm_parts import KVCache, RotatingKVCache
from gemma4cli.options import GenerateOptions, LoadOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(temperature=0, repetition_guard=False)
LENGTHS = (1, 2, 31, 32, 33, 63, 255, 256, 257, 511, 512, 513, 600)


@pytest.fixture
def quantized(parity_model: ParityModel) -> Callable[..., LoadedModel]:
    """A parity checkpoint with a cache of so many bits, put back afterwards."""
    changed: list[LoadedModel] = []

    def model(arch: str, bits: int = 8) -> LoadedModel:
        found = parity_model(arch)
        changed.append(found)
        found.network.language_model.kv_bits = bits
        return replace(found, options=replace(found.options, kv_bits=bits))

    yield model
    for each in changed:
        each.network.language_model.kv_bits = None


def ids_of(model: LoadedModel, length: int) -> list[int]:
    rng = np.random.default_rng(length)
    ids: list[int] = rng.integers(10, 200, length).tolist()
    return ids


def logits_of(
    model: LoadedModel,
    ids: list[int],
    *,
    start: int = 0,
    decoded: int = 0,
    cache: Sequence[Cache] | None = None,
) -> np.ndarray:
    """The logits of ``ids`` from ``start`` on; what is before is in ``cache``.

    The last ``decoded`` go through the network one by one.
    """
    network = model.network
    cache = cache or network.language_model.make_cache()
    known = ids[: len(ids) - decoded]
    prefill = Prefill(network=network, ids=known, spans=(), soft_tokens=(), step=64, start=start)
    rows = [prefill.all_logits(cache)] if len(known) > start else []
    for token in ids[len(known) :]:
        rows.append(logits_after(network, network.embed([token]), cache)[0])
    return np.array(mx.concatenate(rows))


def filled(bits: int, keys: mx.array, values: mx.array, step: int) -> QuantizedKVCache:
    cache = QuantizedKVCache(bits)
    for start in range(0, keys.shape[2], step):
        part = slice(start, start + step)
        cache.update_and_fetch(keys[:, :, part], values[:, :, part])
    return cache


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [32, 64, 96, 512])
def test_a_cache_holds_what_quantizing_all_at_once_gives(width: int, bits: int) -> None:
    """Whatever the steps were; buffers grow by 256 positions."""
    keys, values = mx.random.normal((2, 1, 2, 600, width), key=mx.random.key(width))
    whole = filled(bits, keys, values, 600).keys_and_values()
    for step in (1, 7, 256, 300):
        cache = filled(bits, keys, values, step)
        for one, other in zip(cache.keys_and_values(), whole, strict=True):
            assert all(mx.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert cache.keys[0].shape[2] < 600 + 300
    exact = dequantized(whole[0], width)
    assert mx.abs(exact - keys).max().item() < 8 / 2**bits


@pytest.mark.parametrize("shape", [(8, 1, 1), (4, 2, 5), (4, 4, 70), (6, 2, 300)])
@pytest.mark.parametrize("masked", ["causal", "none", "array", "rows"])
def test_attention_equals_attention_on_the_dequantized_arrays(
    shape: tuple[int, int, int], masked: str
) -> None:
    """By products with the packed numbers as well, which GPUs of Macs use."""
    heads, shared, length = shape
    queries = mx.random.normal((1, heads, length, 64), key=mx.random.key(1))
    keys, values = mx.random.normal((2, 1, shared, 300, 64), key=mx.random.key(2))
    packed_keys, packed_values = filled(8, keys, values, 100).keys_and_values()
    visible = mx.random.uniform(shape=(length, 300), key=mx.random.key(3)) < 0.5
    visible = visible | (mx.arange(300)[None] == 0)
    masks: dict[str, Mask] = {
        "causal": "causal",
        "none": None,
        "array": visible,
        "rows": visible[None, None],
    }
    mask = masks[masked]
    arrays = dequantized(packed_keys, 64), dequantized(packed_values, 64)
    expected = mx.fast.scaled_dot_product_attention(queries, *arrays, scale=0.3, mask=mask)
    for function in (attend, attend_to_packed):
        found = function(queries, packed_keys, packed_values, 0.3, mask)
        np.testing.assert_allclose(np.array(found), np.array(expected), atol=2e-5)


@pytest.mark.parametrize("masked", ["causal", "array", "rows"])
@pytest.mark.parametrize("length", [1, 7, 50])
def test_attention_in_parts_equals_attention_at_once(
    length: int, masked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = mx.random.normal((1, 4, length, 32), key=mx.random.key(1))
    keys, values = mx.random.normal((2, 1, 2, 90, 32), key=mx.random.key(2))
    newest = mx.arange(90 - length, 90)[:, None]
    visible = newest >= mx.arange(90)[None]
    masks: dict[str, Mask] = {"causal": "causal", "array": visible, "rows": visible[None, None]}
    whole = attend(queries, keys, values, 1.0, masks[masked])
    for most in (1, 4 * 90 * 3, 4 * 90 * 49):
        monkeypatch.setattr(attention, "MOST_SCORES", most)
        parts = attend(queries, keys, values, 1.0, masks[masked])
        np.testing.assert_allclose(np.array(parts), np.array(whole), atol=1e-5)


def test_only_full_attention_layers_are_quantized(quantized: Callable[..., LoadedModel]) -> None:
    network = quantized("e2b").network
    kinds = network.config.text.layer_types
    for kind, layer in zip(kinds, network.language_model.make_cache(), strict=False):
        expected = QuantizedKVCache if kind == "full_attention" else RotatingKVCache
        assert type(layer) is expected


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_stay_near_at_every_length(
    arch: str, quantized: Callable[..., LoadedModel], parity_model: ParityModel
) -> None:
    """Around the window of 32, the chunks of 64 and the growth by 256; prefilled and decoded.

    One conversation is prefilled up to each length but its last tokens, which are decoded.
    """
    ids = ids_of(parity_model(arch), max(LENGTHS))
    exact = logits_of(parity_model(arch), ids)
    model = quantized(arch)
    cache = model.network.language_model.make_cache()
    for start, length in pairwise((0, *LENGTHS)):
        decoded = min(length - start, 3)
        near = logits_of(model, ids[:length], start=start, decoded=decoded, cache=cache)
        error = np.sqrt(np.square(near - exact[start:length]).mean()) / exact.std()
        # With experts, a token near the border between two may go to the other one.
        assert error < (0.1 if arch == "26b" else 0.02), (length, error)


@pytest.mark.parametrize("case", ["text", "image"])
@pytest.mark.parametrize("arch", ARCHS)
def test_a_later_turn_continues_as_if_it_were_the_first(
    arch: str, case: str, quantized: Callable[..., LoadedModel]
) -> None:
    """The turn cache shortens quantized layers; images come before text."""
    model = quantized(arch)
    inputs = inputs_of(model, case)
    turns = TurnCache()
    first = answer_of(model, inputs, turns)
    ids = (*inputs.ids, *first.token_ids, *ids_of(model, 20))
    later = replace(inputs, ids=ids)
    again = answer_of(model, later, turns, max_tokens=12)
    alone = answer_of(model, later, max_tokens=12)
    assert again.usage.cached_tokens > 0
    assert again.token_ids == alone.token_ids


def answer_of(
    model: LoadedModel, inputs: ModelInputs, turns: TurnCache | None = None, max_tokens: int = 30
) -> Finished:
    *_, finished = generate(model, inputs, replace(GREEDY, max_tokens=max_tokens), turns)
    assert isinstance(finished, Finished)
    return finished


@pytest.mark.parametrize("arch", ARCHS)
def test_guesses_are_taken_back(arch: str, quantized: Callable[..., LoadedModel]) -> None:
    """A drafter reads quantized keys and changes no answer."""
    model = quantized(arch)
    inputs = inputs_of(model, "text")
    folder = FOLDER / "drafters" / arch
    drafted = load_drafter(ResolvedModel.of(folder.name, folder), model)
    found = answer_of(drafted, inputs)
    assert found.token_ids == answer_of(model, inputs).token_ids


def test_a_quantized_cache_that_was_rewound_continues_as_before() -> None:
    keys, values = mx.random.normal((2, 1, 1, 300, 64), key=mx.random.key(4))
    once = filled(8, keys, values, 300).keys_and_values()
    cache = filled(8, keys[:, :, :250], values[:, :, :250], 250)
    cache.update_and_fetch(values[:, :, :20], keys[:, :, :20])
    rewind([cache], 20)
    again = cache.update_and_fetch(keys[:, :, 250:], values[:, :, 250:])
    for one, other in zip(again, once, strict=True):
        assert all(mx.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_prompts_are_not_answered_in_a_batch(
    quantized: Callable[..., LoadedModel], parity_model: ParityModel
) -> None:
    inputs = inputs_of(parity_model("e2b"), "text")
    assert can_read_together(parity_model("e2b"), inputs)
    assert not can_read_together(quantized("e2b"), inputs)


def test_groups_divide_heads() -> None:
    assert [group_size(width) for width in (512, 256, 96, 32, 80, 16)] == [
        64,
        64,
        32,
        32,
        None,
        None,
    ]
    cache = QuantizedKVCache(8)
    keys = mx.random.normal((1, 1, 5, 80), key=mx.random.key(0))
    assert mx.array_equal(cache.update_and_fetch(keys, keys)[0], keys)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(OptionError, match="KV bits must be 8, not 4"):
        LoadOptions(kv_bits=4)


@pytest.mark.slow
def test_logits_and_answers_stay_near_after_32_768_tokens(parity_model: ParityModel) -> None:
    """The next 32 tokens are the same wherever the second likeliest is not close."""
    if not native_in_use():
        pytest.skip("takes minutes without the native part")
    network = parity_model("e2b").network
    ids = ids_of(parity_model("e2b"), 32_768)
    run = Prefill(network=network, ids=ids, spans=(), soft_tokens=(), step=512)
    caches = []
    for bits in (None, 8):
        network.language_model.kv_bits = bits
        caches.append(network.language_model.make_cache())
    network.language_model.kv_bits = None
    hidden = [list(run.run(cache))[-1] for cache in caches]
    for _ in range(32):
        exact, near = (np.array(network.language_model.logits(each)[0, -1]) for each in hidden)
        assert np.sqrt(np.square(near - exact).mean()) < 0.02 * exact.std()
        second, first = np.sort(exact)[-2:]
        if first - second > 0.1 * exact.std():
            assert near.argmax() == exact.argmax()
        token = int(exact.argmax())
        text = network.language_model.model
        hidden = [text(*network.embed([token]), cache, NO_MASKS) for cache in caches]
    full = [[each for each in cache if isinstance(each, KVCache)] for cache in caches]
    sizes = [sum(each.nbytes for each in layers) for layers in full]
    assert sizes[1] < 0.4 * sizes[0]
