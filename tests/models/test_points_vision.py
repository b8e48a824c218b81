"""The parts of the vision tower and the 12B's patch embedder against plain formulas in numpy."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from plain_decoder import Array, gelu, plain, rms_norm, softmax

from gemma4cli.engine.model import LoadedModel
from gemma4cli.models import vision_tower
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.layers import ClippedLinear, MultimodalEmbedder
from gemma4cli.models.unified_vision import ExactLayerNorm
from gemma4cli.models.vision_tower import VisionLayer, axial_angles, rotate_axial

ParityModel = Callable[[str], LoadedModel]


def pixels(rows: int, columns: int, side: int = 16, seed: int = 0) -> npt.NDArray[np.float32]:
    size = (1, rows * columns, side * side * 3)
    return np.random.default_rng(seed).random(size, np.float32)


def patch_positions(rows: int, columns: int) -> tuple[Array, Array]:
    """x and y of each patch in raster order."""
    return np.tile(np.arange(columns), rows), np.repeat(np.arange(rows), columns)


def rotate_half(x: Array, positions: Array, theta: float) -> Array:
    """``x`` ``[N, H, d]`` rotated by ``positions`` ``[N]``."""
    dims = x.shape[-1]
    angles = positions[:, None, None] * theta ** (-2 * np.arange(dims // 2) / dims)
    first, second = x[..., : dims // 2], x[..., dims // 2 :]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def turn(x: Array, xs: Array, ys: Array, theta: float) -> Array:
    """x rotates the first half of a head and y the second, each like a whole head."""
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([rotate_half(left, xs, theta), rotate_half(right, ys, theta)], axis=-1)


def test_rope_has_two_axes() -> None:
    xs, ys = patch_positions(3, 5)
    x = np.random.default_rng(0).normal(size=(1, 15, 2, 12)).astype(np.float32)
    angles = axial_angles(mx.array(xs), mx.array(ys), 12, 100.0, mx.float32)
    out = np.array(rotate_axial(mx.array(x), angles)[0])
    np.testing.assert_allclose(out, turn(x[0], xs, ys, 100.0), atol=1e-5)


@pytest.mark.parametrize("arch", ["e2b", "31b"])
def test_patch_embedder_is_the_formula(arch: str, parity_model: ParityModel) -> None:
    """2 (p - 1/2), projected, plus a row of the first table for x and of the second for y."""
    embedder = parity_model(arch).network.vision_tower.patch_embedder
    xs, ys = patch_positions(3, 6)
    patches = pixels(3, 6)
    table = plain(embedder.position_embedding_table)
    projected = (2 * patches[0] - 1) @ plain(embedder.input_proj.weight).T
    out = embedder(mx.array(patches), mx.array(xs), mx.array(ys))
    np.testing.assert_allclose(np.array(out[0]), projected + table[0][xs] + table[1][ys], atol=1e-4)


def clipped(layer: ClippedLinear, x: Array) -> Array:
    if not layer.clipped:
        return x @ plain(layer.linear.weight).T
    low, high = layer.input_min.item(), layer.input_max.item()
    out = np.clip(x, low, high) @ plain(layer.linear.weight).T
    return np.clip(out, layer.output_min.item(), layer.output_max.item())


def plain_layer(layer: VisionLayer, x: Array, xs: Array, ys: Array) -> Array:
    """Every patch sees every patch; the scale is one; values are normed too."""
    attention = layer.self_attn
    config = attention.config
    heads = (len(x), -1, config.head_dim)
    normed = rms_norm(x, plain(layer.input_layernorm.weight))
    q, k, v = (
        clipped(p, normed).reshape(heads)
        for p in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    q = turn(rms_norm(q, plain(attention.q_norm.weight)), xs, ys, config.rope_theta)
    k = turn(rms_norm(k, plain(attention.k_norm.weight)), xs, ys, config.rope_theta)
    weights = softmax(np.einsum("qhd,khd->hqk", q, k))
    mixed = np.einsum("hqk,khd->qhd", weights, rms_norm(v)).reshape(len(x), -1)
    x = x + rms_norm(clipped(attention.o_proj, mixed), plain(layer.post_attention_layernorm.weight))
    normed = rms_norm(x, plain(layer.pre_feedforward_layernorm.weight))
    mlp = layer.mlp
    inner = gelu(clipped(mlp.gate_proj, normed)) * clipped(mlp.up_proj, normed)
    out = clipped(mlp.down_proj, inner)
    return x + rms_norm(out, plain(layer.post_feedforward_layernorm.weight))


@pytest.mark.parametrize("arch", ["e2b", "26b"])
@pytest.mark.parametrize("block", [2048, 7])
def test_layer_is_the_formula(
    arch: str, block: int, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result does not depend on the chunks of queries."""
    monkeypatch.setattr(vision_tower, "VISION_QUERIES", block)
    tower = parity_model(arch).network.vision_tower
    config = tower.config
    xs, ys = patch_positions(3, 6)
    x = np.random.default_rng(1).normal(size=(18, config.hidden_size)).astype(np.float32)
    angles = axial_angles(
        mx.array(xs), mx.array(ys), config.head_dim, config.rope_theta, mx.float32
    )
    for layer in tower.encoder.layers:
        out = np.array(layer(mx.array(x)[None], angles)[0])
        np.testing.assert_allclose(out, plain_layer(layer, x, xs, ys), atol=2e-4)


@pytest.mark.parametrize("arch", ["e2b", "31b"])
@pytest.mark.parametrize("grid", [(3, 3), (6, 12), (12, 6)])
def test_pooling_goes_by_position(
    arch: str, grid: tuple[int, int], parity_model: ParityModel
) -> None:
    """Patch (x, y) goes into token x//3 + (columns/3) * (y//3), a ninth of it; then * sqrt(D)."""
    tower = parity_model(arch).network.vision_tower
    width = tower.config.hidden_size
    rows, columns = grid
    xs, ys = patch_positions(rows, columns)
    hidden = np.random.default_rng(2).normal(size=(1, rows * columns, width)).astype(np.float32)
    pooled = np.zeros((rows * columns // 9, width))
    np.add.at(pooled, xs // 3 + (xs.max() + 1) // 3 * (ys // 3), hidden[0] / 9)
    expected = pooled * width**0.5
    if tower.config.standardize:
        expected = (expected - plain(tower.std_bias)) * plain(tower.std_scale)
    out = tower._pool(mx.array(hidden), grid)
    np.testing.assert_allclose(np.array(out[0]), expected, atol=1e-5)


def test_half_precision_survives_the_scale(parity_model: ParityModel) -> None:
    """Pooled times sqrt(D) exceeds float16's range; standardized it fits again."""
    tower = parity_model("31b").network.vision_tower
    width = tower.config.hidden_size
    hidden = mx.full((1, 9, width), 20_000.0, mx.float16)
    bias = mx.full((width,), 97_900.0)
    kept = (tower.std_bias, tower.std_scale)
    try:
        tower.std_bias, tower.std_scale = bias, mx.ones(width)
        out = tower._pool(hidden, (3, 3))
    finally:
        tower.std_bias, tower.std_scale = kept
    assert out.dtype == mx.float16
    assert mx.isfinite(out).all().item()
    assert 20_000 * width**0.5 > mx.finfo(mx.float16).max


def test_images_of_one_grid_are_encoded_together(parity_model: ParityModel) -> None:
    network = parity_model("31b").network
    first, second = (mx.array(pixels(3, 6, seed=seed)) for seed in (1, 2))
    both = network.encode_images(mx.concatenate([first, second]), (3, 6))
    alone = [network.encode_images(patches, (3, 6))[0] for patches in (first, second)]
    assert both.shape[:2] == (2, 2)
    np.testing.assert_allclose(np.array(both), np.array(mx.stack(alone)), atol=1e-4)
    assert mx.abs(both[0] - both[1]).max().item() > 0.1


def test_clipped_linear_clips_on_both_sides() -> None:
    layer = ClippedLinear(2, 1, clipped=True)
    layer.linear.weight = mx.array([[1.0, 2.0]])
    layer.input_min, layer.input_max = mx.array(-1.0), mx.array(2.0)
    layer.output_min, layer.output_max = mx.array(-2.5), mx.array(5.5)
    x = mx.array([[3.0, 1.0], [9.0, 9.0], [-9.0, 0.5], [-9.0, -9.0]])
    assert layer(x).tolist() == [[4.0], [5.5], [0.0], [-2.5]]
    assert layer(x.astype(mx.bfloat16)).dtype == mx.bfloat16
    layer.clipped = False
    assert layer(x).tolist() == [[5.0], [27.0], [-8.0], [-27.0]]


def test_projection_norms_without_a_weight() -> None:
    embedder = MultimodalEmbedder(4, 3, 1e-6)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 50
    expected = rms_norm(x) @ plain(embedder.embedding_projection.weight).T
    np.testing.assert_allclose(np.array(embedder(mx.array(x))), expected, atol=1e-5)
    assert set(embedder.parameters()) == {"embedding_projection"}


# The 12B


def layer_norm(norm: ExactLayerNorm, x: Array) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centered / deviation * plain(norm.weight) + plain(norm.bias)


def plain_unified(network: Gemma4, patches: Array, rows: int, columns: int) -> Array:
    embedder = network.vision_embedder
    xs, ys = patch_positions(rows, columns)
    dense = embedder.patch_dense
    hidden = layer_norm(embedder.patch_ln1, patches) @ plain(dense.weight).T + plain(dense.bias)
    table = plain(embedder.pos_embedding)
    hidden = layer_norm(embedder.patch_ln2, hidden) + table[xs, 0] + table[ys, 1]
    return layer_norm(embedder.pos_norm, hidden)


@pytest.mark.parametrize("kind", ["photo", "flat", "nearly flat"])
def test_unified_embedder_is_the_formula(kind: str, parity_model: ParityModel) -> None:
    """A flat patch has no variance, so the epsilon and every digit of the mean matter."""
    network = parity_model("12b").network
    patches = pixels(2, 3, side=48)
    if kind != "photo":
        shade = np.float32(0.7843137)
        patches = np.full_like(patches, shade) + (kind == "nearly flat") * patches / 255
    out = np.array(network.vision_embedder(mx.array(patches), (2, 3))[0])
    expected = plain_unified(network, patches[0].astype(np.float64), 2, 3)
    np.testing.assert_allclose(out, expected, atol=2e-3)
