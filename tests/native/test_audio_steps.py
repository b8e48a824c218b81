"""The native part's steps of the audio tower and its layer norm, against MLX's."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from gemma4cli.models.audio_tower import AudioAttention, _clip_masks, relative_positions
from gemma4cli.models.tower_config import AudioConfig

CONFIGS = Path(__file__).parents[2] / "fixtures" / "gemma4" / "configs"


@pytest.fixture
def config() -> AudioConfig:
    """A small tower with E2B's window; one with keys after the query comes from ``replace``."""
    raw = json.loads((CONFIGS / "google__gemma-4-E2B-it" / "config.json").read_text())
    tower = AudioConfig.from_dict(raw["audio_config"])
    return dataclasses.replace(tower, hidden_size=96, num_heads=2, clipped_linears=False)


def attended(
    native: ModuleType, config: AudioConfig, layer: AudioAttention, x: mx.array, counts: list[int]
) -> mx.array:
    """The layer on the native part."""
    heads = (*x.shape[:2], config.num_heads, layer.head_dim)
    q, k, v = (p(x).reshape(heads) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
    relative = layer.relative_k_proj(relative_positions(config))
    out = native.local_attention(
        q,
        k,
        v,
        relative.reshape(-1, *heads[2:]),
        nn.softplus(layer.per_dim_scale) * (layer.head_dim**-0.5 / math.log(2)),
        k_scale=math.log(1 + math.e) / math.log(2),
        cap=config.logit_cap,
        before=config.context_left - 2,
        after=max(0, config.context_right - 1),
        nearest=config.context_left - 1,
        lengths=mx.array(counts, mx.int32),
    )
    return layer.post(out)


@pytest.mark.parametrize("right", [0, 4])
@pytest.mark.parametrize("counts", [[1], [12], [100], [30, 7, 55]])
def test_a_sound_token_attends_to_the_tokens_around_it(
    native_set: ModuleType, config: AudioConfig, counts: list[int], right: int
) -> None:
    """Where the tower computes by chunks and hides what is too far, the kernel goes by distance."""
    config = dataclasses.replace(config, context_right=right)
    layer = AudioAttention(config)
    layer.per_dim_scale = mx.random.normal((layer.head_dim,))
    x = mx.random.normal((len(counts), max(counts), config.hidden_size)) * 3
    expected = layer(x, relative_positions(config), _clip_masks(config, counts))
    got = attended(native_set, config, layer, x, counts)
    for row, count in enumerate(counts):
        assert mx.allclose(got[row, :count], expected[row, :count], rtol=1e-4, atol=1e-5)
    assert mx.isfinite(got).all()


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((1, 1, 1, 1), 1), ((2, 7, 5, 3), 40), ((1, 64, 16, 1), 128), ((1, 33, 32, 128), 32)],
)
def test_a_convolution_halves_time_and_frequency(
    native_set: ModuleType, shape: tuple[int, ...], outputs: int
) -> None:
    x, weight = mx.random.normal(shape), mx.random.normal((outputs, 3, 3, shape[-1]))
    expected = mx.conv2d(x, weight, stride=2, padding=1)
    got = native_set.convolve(x, weight)
    assert got.shape == expected.shape
    assert mx.allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_rows_after_a_clips_end_count_as_zeros(native: ModuleType) -> None:
    x, weight = mx.random.normal((3, 9, 6, 2)), mx.random.normal((5, 3, 3, 2))
    ends = [9, 4, 1]
    inside = mx.arange(9) < mx.array(ends)[:, None]
    expected = mx.conv2d(mx.where(inside[..., None, None], x, 0), weight, stride=2, padding=1)
    got = native.convolve(x, weight, mx.array(ends, mx.int32))
    assert mx.allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 64), (1, 3, 37)])
def test_each_channel_is_convolved_with_its_past(
    native_set: ModuleType, shape: tuple[int, ...]
) -> None:
    x, weight = mx.random.normal(shape), mx.random.normal((shape[-1], 5, 1))
    padded = mx.pad(x, [(0, 0), (4, 0), (0, 0)])
    expected = mx.conv1d(padded, weight, groups=shape[-1])
    assert mx.allclose(native_set.convolve_past(x, weight), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [1, 32, 128, 6912])
def test_a_row_is_centered_and_scaled(native_set: ModuleType, width: int) -> None:
    x = np.random.default_rng(5).normal(3, 2, (9, width)).astype(np.float32)
    weight, bias = mx.random.normal((width,)), mx.random.normal((width,))
    exact = x.astype(np.float64)
    exact -= exact.mean(axis=-1, keepdims=True)
    exact /= np.sqrt(np.square(exact).mean(axis=-1, keepdims=True) + 1e-5)
    expected = exact * np.array(weight)
    got = np.array(native_set.layer_norm(mx.array(x), weight, 1e-5, bias))
    np.testing.assert_allclose(got, expected + np.array(bias), rtol=1e-5, atol=1e-5)
    got = np.array(native_set.layer_norm(mx.array(x), weight, 1e-5, least=0.0))
    np.testing.assert_allclose(got, np.maximum(expected, 0), rtol=1e-5, atol=1e-5)


def test_a_row_of_one_color_has_nothing_left(native_set: ModuleType) -> None:
    """It has no variance: an error of the mean would grow 300 times."""
    x = mx.full((1, 6912), 0.7)
    got = native_set.layer_norm(x, mx.ones((6912,)), 1e-5)
    assert mx.abs(got).max() < 1e-4


def test_shapes_that_do_not_fit_are_refused(native: ModuleType) -> None:
    x = mx.zeros((1, 5, 2, 8))
    rule = {"k_scale": 1.0, "cap": 50.0, "before": 3, "after": 0, "nearest": 4}
    with pytest.raises(ValueError, match="relative"):
        native.local_attention(x, x, x, mx.zeros((4, 1, 8)), mx.zeros((8,)), **rule)
    with pytest.raises(ValueError, match="weight"):
        native.convolve(x, mx.zeros((4, 3, 3, 7)))
    with pytest.raises(ValueError, match="taps"):
        native.convolve_past(x[0], mx.zeros((7, 3, 1)))
    with pytest.raises(ValueError, match="column"):
        native.layer_norm(x, mx.ones((7,)), 1e-5)
