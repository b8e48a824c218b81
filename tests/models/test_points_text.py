"""The parts of the language model against plain formulas in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from plain_decoder import Array, PlainLayer, plain, rms_norm, rotate
from support.published import config_of

from gemma4cli.engine.model import LoadedModel
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4, SoftTokens
from gemma4cli.models.language import LanguageModel, TextModel
from gemma4cli.models.masks import make_masks
from gemma4cli.models.mlx_lm_parts import DecoderLayer, KVCache
from gemma4cli.models.text_layer import TextLayer

ParityModel = Callable[[str], LoadedModel]


def plain_layer(network: Gemma4, index: int) -> PlainLayer:
    layer = network.language_model.model.layers[index]
    tensors = {name: plain(value) for name, value in tree_flatten(layer.parameters())}
    return PlainLayer(network.config.text, index, tensors.__getitem__)


def stream(network: Gemma4, length: int, seed: int = 0) -> Array:
    """Random hidden states like those between two layers."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(length, network.config.text.hidden_size)).astype(np.float32)


def masks_of(network: Gemma4, length: int, layer: TextLayer):
    window = network.config.text.sliding_window
    return make_masks(length=length, offset=0, window=window).of(layer.layer_type)


@pytest.mark.parametrize(
    ("arch", "index"),
    [
        ("e2b", 0),  # sliding, per-layer inputs
        ("e2b", 1),  # full, one key head for four query heads
        ("e4b", 2),
        ("12b", 2),  # full, values are the raw keys
        ("12b", 3),
        ("26b", 1),  # mixture of experts
        ("26b", 2),
        ("31b", 3),
    ],
)
def test_layer_is_the_formula(arch: str, index: int, parity_model: ParityModel) -> None:
    """Longer than the window, so one key too many or too few is noticed."""
    network = parity_model(arch).network
    layer = network.language_model.model.layers[index]
    x, length = stream(network, 41), 41
    ple_size = network.config.text.ple_size
    row = stream(network, length, 1)[:, :ple_size] if ple_size else None
    expected, (keys, values) = plain_layer(network, index)(x, row)
    out, kept, _ = layer(
        mx.array(x)[None],
        masks_of(network, length, layer),
        per_layer_input=None if row is None else mx.array(row)[None],
    )
    np.testing.assert_allclose(np.array(out[0]), expected, atol=2e-4)
    np.testing.assert_allclose(np.array(kept[0][0]), keys, atol=1e-5)
    np.testing.assert_allclose(np.array(kept[1][0]), values, atol=1e-5)


@pytest.mark.parametrize(("arch", "index"), [("e2b", 5), ("e2b", 7), ("e4b", 6)])
def test_a_layer_that_reuses_keys_is_the_formula(
    arch: str, index: int, parity_model: ParityModel
) -> None:
    """It computes its own queries and takes keys and values from another layer."""
    network = parity_model(arch).network
    config = network.config.text
    layer = network.language_model.model.layers[index]
    kind = config.layer_types[index]
    giver = max(i for i in range(config.num_stored_layers) if config.layer_types[i] == kind)
    x, row = stream(network, 41), stream(network, 41, 1)[:, : config.ple_size]
    _, shared = plain_layer(network, giver)(stream(network, 41, 2), row)
    expected, _ = plain_layer(network, index)(x, row, shared)
    assert not {"k_proj", "v_proj", "k_norm"} & set(layer.self_attn)
    out, _, _ = layer(
        mx.array(x)[None],
        masks_of(network, 41, layer),
        per_layer_input=mx.array(row)[None],
        shared_kv=tuple(mx.array(a.astype(np.float32))[None] for a in shared),
        offset=0,
    )
    np.testing.assert_allclose(np.array(out[0]), expected, atol=2e-4)


@pytest.mark.parametrize("arch", ["e2b", "e4b"])
def test_keys_are_reused_from_the_last_layer_of_the_same_kind_that_computes_them(
    arch: str, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys of the chunk are reused, though the cache keeps the window only."""
    network = parity_model(arch).network
    config = network.config.text
    given: dict[int, tuple[mx.array, ...]] = {}
    taken: dict[int, tuple[mx.array, ...]] = {}
    original = TextLayer.__call__

    def spy(self, *args, shared_kv=None, **kwargs):
        result = original(self, *args, shared_kv=shared_kv, **kwargs)
        given[self.layer_idx] = result[1]
        if shared_kv is not None:
            taken[self.layer_idx] = shared_kv
        return result

    monkeypatch.setattr(TextLayer, "__call__", spy)
    length = config.sliding_window + 9
    cache = network.language_model.make_cache()
    masks = make_masks(length=length, offset=0, window=config.sliding_window)
    network.language_model.model(*network.embed(list(range(5, 5 + length))), cache, masks)
    assert sorted(taken) == list(range(config.num_stored_layers, config.num_layers))
    for index, keys_values in taken.items():
        kind = config.layer_types[index]
        giver = max(i for i in range(config.num_stored_layers) if config.layer_types[i] == kind)
        assert keys_values[0] is given[giver][0]
        assert keys_values[0].shape[2] == length
    assert len(cache) == config.num_stored_layers


# Single parts


@pytest.mark.parametrize("arch", ["e2b", "31b"])
@pytest.mark.parametrize("kind", ["sliding_attention", "full_attention"])
def test_rope_is_the_formula(arch: str, kind: str, parity_model: ParityModel) -> None:
    """Far from the start, with the cached position as offset."""
    network = parity_model(arch).network
    config = network.config.text
    index = config.layer_types.index(kind)
    attention = network.language_model.model.layers[index].self_attn
    rope = config.rope_full if kind == "full_attention" else config.rope_sliding
    x = np.random.default_rng(0).normal(size=(2, 5, attention.head_dim)).astype(np.float32)
    out = np.array(attention.rope(mx.array(x)[None], offset=mx.array(700))[0])
    expected = rotate(x, np.arange(700, 705), rope.theta, rope.partial_factor)
    np.testing.assert_allclose(out, expected, atol=2e-4)
    moved = np.abs(out - x).max(axis=(0, 1)) > 1e-3
    turning = attention.head_dim // 8 if kind == "full_attention" else attention.head_dim // 2
    first, second = np.split(moved, 2)
    assert not first[turning:].any()
    assert not second[turning:].any()


def test_the_norm_multiplies_by_its_weight(parity_model: ParityModel) -> None:
    network = parity_model("e2b").network
    norm = network.language_model.model.norm
    x = stream(network, 4) * 0.01  # small, so that the epsilon matters
    np.testing.assert_allclose(
        np.array(norm(mx.array(x))), rms_norm(x, plain(norm.weight)), rtol=1e-5
    )


@pytest.mark.parametrize("size", ["E2B", "E4B", "12B", "26B-A4B", "31B"])
def test_full_layers_have_longer_heads_and_fewer_key_heads_only_if_values_are_keys(
    size: str,
) -> None:
    config = Gemma4Config.from_dict(config_of(f"google__gemma-4-{size}-it")).text
    model = TextModel(config)
    for layer, kind in zip(model.layers, config.layer_types, strict=True):
        attention = layer.self_attn
        full = kind == "full_attention"
        assert attention.q_proj.weight.shape[0] == config.num_heads * (512 if full else 256)
        if not attention.has_kv:
            continue
        few = config.num_global_kv_heads if full and config.k_eq_v else config.num_kv_heads
        assert attention.k_proj.weight.shape[0] == few * (512 if full else 256)
        assert ("v_proj" in attention) == (not (full and config.k_eq_v))
    widths = {layer.mlp.up_proj.weight.shape[0] for layer in model.layers}
    wide = [config.intermediate_size * (2 if config.double_wide_mlp else 1)]
    assert widths == {config.intermediate_size, *wide}
    assert model.layers[0].mlp.up_proj.weight.shape[0] == config.intermediate_size
    assert model.layers[-1].mlp.up_proj.weight.shape[0] == wide[0]


@pytest.mark.parametrize(("width", "scale"), [(1536, 39.25), (2560, 50.5), (3840, 62.0)])
def test_embedding_scale_is_rounded_to_the_dtype(width: int, scale: float) -> None:
    config = Gemma4Config.from_dict(config_of("google__gemma-4-E2B-it")).text
    model = TextModel(config)
    model.config = replace(config, hidden_size=width)
    for dtype, expected in ((mx.bfloat16, scale), (mx.float32, pytest.approx(width**0.5))):
        model.norm.weight = mx.ones(width, dtype)
        model.embed_tokens.weight = mx.ones((4, width), dtype)
        row = model.embed(mx.array([[1]]))
        assert (row.dtype, row[0, 0, 0].item()) == (dtype, expected)


# Per-layer inputs


def plain_inputs(network: Gemma4, ids: list[int], embeddings: Array) -> Array:
    """(norm of the projection / sqrt(hidden) + table * sqrt(P)) / sqrt(2)."""
    config, model = network.config.text, network.language_model.model
    shape = (len(ids), config.num_layers, config.ple_size)
    rows = plain(model.embed_tokens_per_layer.weight)[ids] * config.ple_size**0.5
    projection = plain(model.per_layer_model_projection.weight)
    projected = (embeddings @ projection.T * config.hidden_size**-0.5).reshape(shape)
    norm = plain(model.per_layer_projection_norm.weight)
    return (rms_norm(projected, norm) + rows.reshape(shape)) / 2**0.5


@pytest.mark.parametrize("arch", ["e2b", "e4b"])
def test_per_layer_inputs_are_the_formula(arch: str, parity_model: ParityModel) -> None:
    """Soft tokens go into the projection; their row in the table is the pad token's."""
    network = parity_model(arch).network
    placeholders = network.config.placeholders
    assert placeholders is not None
    ids = [
        7,
        9,
        placeholders.image,
        placeholders.image,
        12,
        placeholders.audio,
        placeholders.video,
        30,
    ]
    values = stream(network, 2, 3)
    soft = SoftTokens(start=2, values=mx.array(values))
    embeddings, inputs = network.embed(ids, [soft])
    assert inputs is not None
    np.testing.assert_array_equal(np.array(embeddings[0, 2:4]), values)
    looked_up = [
        i if i not in (placeholders.image, placeholders.audio, placeholders.video) else 0
        for i in ids
    ]
    expected = plain_inputs(network, looked_up, plain(embeddings[0]))
    np.testing.assert_allclose(np.array(inputs[0]), expected, atol=1e-5)
    assert np.abs(expected[2] - plain_inputs(network, ids, plain(embeddings[0]))[2]).max() > 0.1


@pytest.mark.parametrize("arch", ["e2b", "12b"])
@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_a_generated_placeholder_is_embedded_as_the_pad_token(
    arch: str, kind: str, parity_model: ParityModel
) -> None:
    network = parity_model(arch).network
    placeholder = mx.array(getattr(network.config.placeholders, kind))
    pad = mx.array(network.config.text.pad_token_id)
    (embedding, inputs), (expected, rows) = network.embed(placeholder), network.embed(pad)
    assert mx.array_equal(embedding, expected)
    assert (inputs is None and rows is None) or mx.array_equal(inputs, rows)
    table = network.language_model.model.embed_tokens.weight
    assert not mx.array_equal(table[placeholder], table[pad])


@pytest.mark.parametrize("start", [0, 1, 3, 4, 6])
def test_soft_tokens_land_in_their_chunk(start: int, parity_model: ParityModel) -> None:
    """A chunk of a prompt takes the soft tokens that lie in it, and no others.

    ids   t t * * * t * t        (* placeholder)
    """
    network = parity_model("e4b").network
    placeholders = network.config.placeholders
    assert placeholders is not None
    ids = [5, 6, *[placeholders.audio] * 3, 8, placeholders.image, 9]
    first, second = stream(network, 3, 1), stream(network, 1, 2)
    soft = [
        SoftTokens(start=2, values=mx.array(first)),
        SoftTokens(start=6, values=mx.array(second)),
    ]
    whole, rows = network.embed(ids, soft)
    np.testing.assert_array_equal(np.array(whole[0, [2, 3, 4, 6]]), [*first, *second])
    part, part_rows = network.embed(ids[start : start + 3], soft, start)
    np.testing.assert_array_equal(np.array(part), np.array(whole[:, start : start + 3]))
    np.testing.assert_allclose(np.array(part_rows), np.array(rows[:, start : start + 3]), atol=1e-6)


# Logits


def test_logits_are_tied_and_capped(parity_model: ParityModel) -> None:
    network = parity_model("31b").network
    hidden = stream(network, 3) * 16
    out = np.array(network.language_model.logits(mx.array(hidden)[None])[0])
    raw = hidden @ plain(network.language_model.model.embed_tokens.weight).T
    assert np.abs(raw).max() > 30
    np.testing.assert_allclose(out, 30 * np.tanh(raw / 30), atol=1e-3)


def test_the_cap_does_not_hide_an_infinity(parity_model: ParityModel) -> None:
    model = parity_model("e2b").network.language_model
    hidden = mx.zeros((1, 1, model.config.hidden_size))
    assert mx.isfinite(model.logits(hidden)).all().item()
    hidden[..., 0] = mx.inf
    assert mx.isnan(model.logits(hidden)).all().item()


def test_logits_are_float32_in_any_dtype(parity_model: ParityModel) -> None:
    text = parity_model("31b").network.config.text
    model = LanguageModel(text)
    model.set_dtype(mx.bfloat16)
    logits = model.logits(mx.ones((1, 1, text.hidden_size), mx.bfloat16))
    assert logits.dtype == mx.float32


def test_an_untied_vocabulary_projection_is_used(parity_model: ParityModel) -> None:
    text = replace(
        parity_model("31b").network.config.text, tied_embeddings=False, logit_softcap=None
    )
    model = LanguageModel(text)
    model.lm_head.weight = mx.ones(model.lm_head.weight.shape)
    logits = model.logits(mx.ones((1, 1, text.hidden_size)))
    assert mx.all(logits == text.hidden_size).item()


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [
        ("e2b", mx.float32),
        ("e2b", mx.bfloat16),
        ("31b", mx.float32),
        ("31b", mx.bfloat16),
        ("26b", mx.float32),
    ],
    ids=str,
)
def test_a_layer_computes_exactly_what_mlx_lms_does(
    arch: str, dtype: mx.Dtype, parity_model: ParityModel
) -> None:
    """With a per-layer input, without, and with experts."""
    text = parity_model(arch).network.config.text
    layer = LanguageModel(text).model.layers[0]
    layer.layer_scalar = mx.array([0.7])
    layer.set_dtype(dtype)
    x = mx.random.normal((1, 5, text.hidden_size), key=mx.random.key(1)).astype(dtype)
    extra = {}
    if text.ple_size:
        extra["per_layer_input"] = mx.random.normal((1, 5, text.ple_size)).astype(dtype)
    found, _, _ = layer(x, "causal", KVCache(), **extra)
    expected, _, _ = DecoderLayer.__call__(layer, x, "causal", KVCache(), **extra)
    assert isinstance(layer, TextLayer)
    assert mx.array_equal(found, expected)
