"""The parts of the audio tower against plain formulas in numpy."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from plain_decoder import Array, plain, rms_norm, softmax

from gemma4cli.engine.model import LoadedModel
from gemma4cli.models.audio_tower import (
    AudioAttention,
    AudioTower,
    local_mask,
    relative_positions,
)
from gemma4cli.models.layers import ClippedLinear

ParityModel = Callable[[str], LoadedModel]
REACH = 12
"""Keys that a token sees, itself included."""


@pytest.fixture
def tower(parity_model: ParityModel) -> AudioTower:
    return parity_model("e2b").network.audio_tower


def clipped(layer: ClippedLinear, x: Array) -> Array:
    out = np.clip(x, layer.input_min.item(), layer.input_max.item()) @ plain(layer.linear.weight).T
    return np.clip(out, layer.output_min.item(), layer.output_max.item())


def sinusoid(distance: int, width: int) -> Array:
    half = width // 2
    angles = distance * np.exp(-np.arange(half) * np.log(10_000) / (half - 1))
    return np.concatenate([np.sin(angles), np.cos(angles)])


def plain_attention(attention: AudioAttention, x: Array) -> Array:
    """Query by query over the twelve keys up to it, without chunks, padding or shift.

    The projection of distances is not clipped; the cap is applied before the softmax.
    """
    config = attention.config
    width, dims = config.hidden_size, attention.head_dim
    q, k, v = (
        clipped(p, x).reshape(len(x), -1, dims)
        for p in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    learned = np.log1p(np.exp(plain(attention.per_dim_scale)))
    q = q * dims**-0.5 / np.log(2) * learned
    k = k * np.log(1 + np.e) / np.log(2)
    project = plain(attention.relative_k_proj.weight).T
    mixed = np.zeros_like(v)
    for i in range(len(x)):
        keys = range(max(0, i - REACH + 1), i + 1)
        for head in range(q.shape[1]):
            logits = []
            for j in keys:
                position = (sinusoid(i - j, width) @ project).reshape(-1, dims)[head]
                logits.append(q[i, head] @ (k[j, head] + position))
            capped = np.tanh(np.array(logits) / config.logit_cap) * config.logit_cap
            mixed[i, head] = softmax(capped) @ v[list(keys), head]
    return clipped(attention.post, mixed.reshape(len(x), -1))


@pytest.mark.parametrize("length", [1, 11, 12, 13, 30])
def test_attention_is_the_formula(length: int, tower: AudioTower) -> None:
    """The tower computes it in chunks of twelve queries, the last one padded."""
    config = tower.config
    x = np.random.default_rng(length).normal(size=(length, config.hidden_size))
    positions, mask = relative_positions(config), local_mask(config, length)
    for layer in tower.layers:
        out = layer.self_attn(mx.array(x.astype(np.float32))[None], positions, mask)
        expected = plain_attention(layer.self_attn, x)
        np.testing.assert_allclose(np.array(out[0]), expected, atol=1e-4)


@pytest.mark.parametrize("length", [1, 12, 13, 40])
def test_a_token_sees_the_twelve_keys_up_to_its_own(length: int, tower: AudioTower) -> None:
    mask = np.array(local_mask(tower.config, length))
    chunk, before = tower.config.chunk_size, tower.config.context_left - 1
    assert mask.shape == (-(-length // chunk), chunk, chunk + before)
    for token in range(length):
        block, row = divmod(token, chunk)
        seen = np.flatnonzero(mask[block, row]) + block * chunk - before
        assert seen.tolist() == list(range(max(0, token - REACH + 1), token + 1))


def test_relative_positions_are_sinusoids_of_thirteen_distances(tower: AudioTower) -> None:
    """One more than is ever seen, the largest first."""
    rows = np.array(relative_positions(tower.config))
    assert rows.shape == (13, tower.config.hidden_size)
    expected = [sinusoid(distance, tower.config.hidden_size) for distance in range(12, -1, -1)]
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def test_feed_forward_adds_half_of_its_output(tower: AudioTower) -> None:
    part = tower.layers[0].feed_forward1
    x = np.random.default_rng(0).normal(size=(5, tower.config.hidden_size))
    inner = silu(clipped(part.ffw_layer_1, rms_norm(x, plain(part.pre_layer_norm.weight))))
    out = rms_norm(clipped(part.ffw_layer_2, inner), plain(part.post_layer_norm.weight))
    actual = np.array(part(mx.array(x.astype(np.float32))[None])[0])
    np.testing.assert_allclose(actual, x + out / 2, atol=1e-5)


def test_the_convolution_is_causal_with_five_taps(tower: AudioTower) -> None:
    part = tower.layers[1].lconv1d
    width = tower.config.hidden_size
    x = np.random.default_rng(1).normal(size=(9, width))
    value, gate = np.split(
        clipped(part.linear_start, rms_norm(x, plain(part.pre_layer_norm.weight))), 2, axis=-1
    )
    gated = value / (1 + np.exp(-gate))
    taps = plain(part.depthwise_conv1d.weight)[..., 0]  # [width, 5]
    padded = np.concatenate([np.zeros((4, width)), gated])
    mixed = np.stack([(padded[t : t + 5] * taps.T).sum(axis=0) for t in range(9)])
    inner = silu(rms_norm(mixed, plain(part.conv_norm.weight)))
    actual = np.array(part(mx.array(x.astype(np.float32))[None])[0])
    np.testing.assert_allclose(actual, x + clipped(part.linear_end, inner), atol=1e-5)


def test_subsampling_is_the_formula(tower: AudioTower) -> None:
    """A 3x3 convolution of stride two, LayerNorm over channels without a bias, ReLU; twice."""
    part = tower.subsample_conv_projection
    features = np.random.default_rng(2).normal(size=(7, 128))

    def convolve(x: Array, kernel: Array) -> Array:
        """``x`` ``[T, F, C]``, ``kernel`` ``[out, 3, 3, C]``."""
        padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
        times, bins = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
        return np.array(
            [
                [
                    np.einsum("ijc,oijc->o", padded[2 * t : 2 * t + 3, 2 * f : 2 * f + 3], kernel)
                    for f in range(bins)
                ]
                for t in range(times)
            ]
        )

    x = features[..., None]
    for layer in (part.layer0, part.layer1):
        x = convolve(x, plain(layer.conv.weight))
        centered = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6)
        x = np.maximum(0, centered / deviation * plain(layer.norm.weight))
    expected = x.reshape(len(x), -1) @ plain(part.input_proj_linear.weight).T
    actual = np.array(part(mx.array(features.astype(np.float32))[None])[0])
    np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_the_output_projection_has_a_bias(tower: AudioTower) -> None:
    assert mx.abs(tower.output_proj.bias).max().item() > 0.1


def test_values_are_limited_to_the_range_of_the_dtype() -> None:
    from gemma4cli.models.audio_tower import _limit

    x = mx.array([mx.inf, -mx.inf, 3.0])
    assert _limit(x, 1e10).tolist() == pytest.approx([1e10, -1e10, 3.0])
    assert _limit(x.astype(mx.float16), 1e10).tolist() == [65504.0, -65504.0, 3.0]
