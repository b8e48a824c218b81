"""The towers on the native part, against the same towers on MLX's operations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from gemma4cli.models.audio_tower import AudioTower, token_count
from gemma4cli.models.tower_config import AudioConfig, UnifiedVisionConfig, VisionConfig
from gemma4cli.models.unified_vision import UnifiedVisionEmbedder
from gemma4cli.models.vision_tower import VisionTower

CONFIGS = Path(__file__).parents[2] / "fixtures" / "gemma4" / "configs"


def config_of(checkpoint: str) -> dict[str, Any]:
    return dict(json.loads((CONFIGS / checkpoint / "config.json").read_text()))


def randomized(network: nn.Module) -> nn.Module:
    """The network with random weights; limits of clipped layers take effect.

    Weights are such that attention is spread over many keys: rounding errors stay small.
    """

    def numbers(path: str, value: mx.array) -> mx.array:
        if path.endswith(("_min", "_max")):
            return mx.array(-0.9 if path.endswith("_min") else 0.8)
        if path.endswith(("q_norm.weight", "k_norm.weight")):
            return 0.5 + 0.1 * mx.random.normal(value.shape)
        if path.endswith("norm.weight"):
            return 1 + 0.3 * mx.random.normal(value.shape)
        return mx.random.normal(value.shape) * (0.5 * value.shape[-1] ** -0.5)

    weights = [(path, numbers(path, value)) for path, value in tree_flatten(network.parameters())]
    network.load_weights(weights)
    return network


def on_native(network: nn.Module) -> nn.Module:
    """``network`` itself, moved onto the native part."""
    from gemma4cli.models.native_network import use_native

    use_native(network)
    return network


def close(got: mx.array, expected: mx.array) -> bool:
    spread = mx.abs(expected).mean()
    return bool((mx.abs(got - expected) / spread).max() < 1e-3)


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("grid", [(3, 3), (9, 15)])
def test_the_vision_tower_sees_the_same(
    native: ModuleType, grid: tuple[int, int], clipped: bool, standardize: bool
) -> None:
    mx.random.seed(3)
    raw = config_of("google__gemma-4-E2B-it")["vision_config"]
    config = dataclasses.replace(
        VisionConfig.from_dict(raw),
        hidden_size=96,
        num_heads=3,
        num_kv_heads=3,
        head_dim=32,
        intermediate_size=200,
        num_layers=3,
        clipped_linears=clipped,
        standardize=standardize,
    )
    tower = randomized(VisionTower(config))
    patches = mx.random.uniform(shape=(2, grid[0] * grid[1], 3 * config.patch_size**2))
    expected = tower(patches, grid)
    mx.eval(expected)
    assert close(on_native(tower)(patches, grid), expected)


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("lengths", [[400], [31], [200, 133, 7]])
def test_the_audio_tower_hears_the_same(
    native: ModuleType, lengths: list[int], clipped: bool
) -> None:
    mx.random.seed(3)
    raw = config_of("google__gemma-4-E2B-it")["audio_config"]
    config = dataclasses.replace(
        AudioConfig.from_dict(raw),
        hidden_size=96,
        num_heads=3,
        num_layers=2,
        output_dims=64,
        clipped_linears=clipped,
    )
    tower = randomized(AudioTower(config))
    features = mx.random.normal((len(lengths), max(lengths), 128))
    inside = mx.arange(max(lengths)) < mx.array(lengths)[:, None]
    features = mx.where(inside[..., None], features, 0)
    given = lengths if len(lengths) > 1 else ()
    expected = tower(features, given)
    mx.eval(expected)
    got = on_native(tower)(features, given)
    for row, length in enumerate(lengths):
        count = token_count(length)
        assert close(got[row, :count], expected[row, :count])


def test_the_unified_model_embeds_the_same_patches(native: ModuleType) -> None:
    mx.random.seed(3)
    raw = config_of("google__gemma-4-12B-it")["vision_config"]
    config = dataclasses.replace(UnifiedVisionConfig.from_dict(raw), embed_dim=64)
    embedder = randomized(UnifiedVisionEmbedder(config))
    patches = mx.random.uniform(shape=(1, 6, 3 * config.patch_size**2))
    expected = embedder(patches, (2, 3))
    mx.eval(expected)
    assert close(on_native(embedder)(patches, (2, 3)), expected)
