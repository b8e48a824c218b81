"""Tensors that do not fit are named, and how layers were quantised is told from their shapes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from support.published import config_of, lazy_weights

from gemma4cli.errors import CheckpointError, WeightsMismatchError
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.weights import (
    canonical_name,
    fit_config,
    load_weights,
    quantize_layers,
    sanitize,
)

Weights = dict[str, mx.array]

QUERY = "language_model.model.layers.0.self_attn.q_proj"
GATE = "language_model.model.layers.1.mlp.gate_proj"
EMBEDDING = "language_model.model.embed_tokens"


def load(weights: Weights, raw: dict[str, Any]) -> Gemma4:
    config = fit_config(Gemma4Config.from_dict(raw), {canonical_name(name) for name in weights})
    named = sanitize(weights, config)
    network = Gemma4(config)
    quantize_layers(network, named, raw)
    load_weights(network, named, None)
    return network


@pytest.mark.parametrize(
    ("canonical", "names"),
    [
        (
            "language_model.model.layers.0.mlp.up_proj.weight",
            [
                "model.language_model.layers.0.mlp.up_proj.weight",
                "model.language_model.model.layers.0.mlp.up_proj.weight",
                "model.layers.0.mlp.up_proj.weight",
            ],
        ),
        ("language_model.lm_head.weight", ["lm_head.weight"]),
        ("vision_tower.std_bias", ["model.vision_tower.std_bias"]),
        ("vision_embedder.pos_embedding", ["model.vision_embedder.pos_embedding"]),
        (
            "embed_audio.embedding_projection.weight",
            ["model.embed_audio.embedding_projection.weight"],
        ),
    ],
)
def test_canonical_name(canonical: str, names: list[str]) -> None:
    assert {canonical_name(name) for name in [canonical, *names]} == {canonical}


# What does not fit


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B"])
def test_missing_tensor_is_named(size: str) -> None:
    weights = lazy_weights(f"{size}.google-hf-bf16")
    del weights["model.language_model.layers.3.mlp.up_proj.weight"]
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of(f"google__gemma-4-{size}-it"))
    name = "language_model.model.layers.3.mlp.up_proj.weight"
    assert (caught.value.missing, caught.value.unexpected, caught.value.misshapen) == (
        (name,),
        (),
        (),
    )
    assert f"1 missing (first: {name})" in str(caught.value)


def test_unexpected_tensor_is_named() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    weights["model.language_model.layers.35.mlp.up_proj.weight"] = mx.zeros((1,))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.unexpected == ("language_model.model.layers.35.mlp.up_proj.weight",)
    assert not caught.value.missing


@pytest.mark.parametrize(
    "name",
    [
        "model.language_model.norm.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.vision_tower.patch_embedder.position_embedding_table",
        "model.audio_tower.subsample_conv_projection.layer0.conv.weight",
        "model.audio_tower.layers.0.lconv1d.depthwise_conv1d.weight",
    ],
)
def test_misshapen_tensor_is_named(name: str) -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    shape = weights[name].shape
    weights[name] = mx.zeros((shape[0] + 1, *shape[1:]))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.misshapen == (canonical_name(name),)


def test_square_weights_are_not_turned() -> None:
    """Only convolutions come in two layouts; a transposed linear weight does not fit."""
    weights = lazy_weights("E2B.google-hf-bf16")
    name = "model.language_model.layers.0.self_attn.o_proj.weight"
    weights[name] = weights[name].T
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.misshapen == (canonical_name(name),)


@pytest.mark.parametrize(
    ("size", "part"),
    [
        ("E2B", "model.vision_tower."),
        ("E2B", "model.audio_tower."),
        ("E2B", "model.embed_vision."),
        ("E2B", "model.embed_audio."),
        ("26B-A4B", "model.vision_tower."),
        ("12B", "model.vision_embedder."),
        ("12B", "model.embed_vision."),
    ],
)
def test_half_a_medium_is_a_mismatch(size: str, part: str) -> None:
    """A tower without its projection, or the other way round, is a broken checkpoint."""
    weights = lazy_weights(f"{size}.google-hf-bf16")
    kept = {name: value for name, value in weights.items() if not name.startswith(part)}
    with pytest.raises(WeightsMismatchError) as caught:
        load(kept, config_of(f"google__gemma-4-{size}-it"))
    assert all(name.startswith(part.removeprefix("model.")) for name in caught.value.missing)
    assert len(caught.value.missing) == len(weights) - len(kept)


def test_tower_of_a_model_without_one_is_unexpected() -> None:
    weights = lazy_weights("31B.google-hf-bf16")
    weights["model.embed_audio.embedding_projection.weight"] = mx.zeros((5376, 1536))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-31B-it"))
    assert caught.value.unexpected == ("embed_audio.embedding_projection.weight",)


def test_shared_layers_without_their_own_keys_fit() -> None:
    """Layers that share keys and values may have weights for them, or none."""
    weights = lazy_weights("E2B.google-hf-bf16")
    shared = [n for n in weights if ".layers.34.self_attn.k_" in n or ".34.self_attn.v_" in n]
    assert len(shared) == 3
    for name in shared:
        del weights[name]
    load(weights, config_of("google__gemma-4-E2B-it"))


def test_stored_layers_need_their_own_keys() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    del weights["model.language_model.layers.14.self_attn.k_proj.weight"]
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.missing == ("language_model.model.layers.14.self_attn.k_proj.weight",)


# What was quantised, and how


def pack(weights: Weights, path: str, *, bits: int, group: int, mode: str) -> None:
    """Put the shapes of a quantised layer in place of a float one."""
    *rows, width = weights[f"{path}.weight"].shape
    weights[f"{path}.weight"] = mx.zeros((*rows, width * bits // 32), mx.uint32)
    dtype = mx.bfloat16 if mode == "affine" else mx.uint8
    weights[f"{path}.scales"] = mx.zeros((*rows, width // group), dtype)
    if mode == "affine":
        weights[f"{path}.biases"] = mx.zeros((*rows, width // group), dtype)


def kind_of(network: Gemma4, path: str) -> tuple[int, int, str]:
    module = dict(network.named_modules())[path]
    return module.bits, module.group_size, module.mode


@pytest.mark.parametrize(
    ("mode", "bits", "group"),
    [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
    + [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)],
)
def test_kind_follows_from_shapes(mode: str, bits: int, group: int) -> None:
    weights = lazy_weights("12B.mlx-bf16")
    paths = (QUERY, GATE, EMBEDDING, "embed_vision.embedding_projection")
    for path in paths:
        pack(weights, path, bits=bits, group=group, mode=mode)
    raw = config_of("google__gemma-4-12B-it") | {"quantization": {"mode": mode}}
    network = load(weights, raw)
    assert [kind_of(network, path) for path in paths] == [(bits, group, mode)] * len(paths)
    assert type(network.language_model.model.layers[0].mlp.up_proj) is nn.Linear


def test_kinds_may_differ_from_layer_to_layer() -> None:
    """Whatever the config says of them: the numbers are in the shapes."""
    weights = lazy_weights("26B-A4B.mlx-bf16")
    experts = "language_model.model.layers.2.experts.switch_glu.up_proj"
    pack(weights, QUERY, bits=4, group=64, mode="affine")
    pack(weights, GATE, bits=8, group=32, mode="affine")
    pack(weights, experts, bits=4, group=32, mode="mxfp4")
    overrides = {
        "group_size": 64,
        "bits": 4,
        "mode": "affine",
        experts.removeprefix("language_model."): {"mode": "mxfp4"},
    }
    raw = config_of("google__gemma-4-26B-A4B-it") | {"quantization": overrides}
    network = load(weights, raw)
    assert kind_of(network, QUERY) == (4, 64, "affine")
    assert kind_of(network, GATE) == (8, 32, "affine")
    assert kind_of(network, experts) == (4, 32, "mxfp4")
    assert type(network.language_model.model.layers[2].router.proj) is nn.Linear


@pytest.mark.parametrize("section", [None, {"bits": 4}, {"mode": "q4_k"}, {"mode": []}, True])
def test_unknown_mode_is_refused(section: object) -> None:
    weights = lazy_weights("12B.mlx-bf16")
    pack(weights, QUERY, bits=4, group=32, mode="mxfp4")
    raw = config_of("google__gemma-4-12B-it")
    if section is not None:
        raw["quantization"] = section
    with pytest.raises(CheckpointError, match=f"{QUERY} has mode"):
        load(weights, raw)


@pytest.mark.parametrize(
    ("packed", "groups"),
    [(1, 60), (7, 60), (480, 7), (480, 1), (840, 60)],
    ids=["no bits", "odd bits", "odd groups", "one group", "7 bits"],
)
def test_shapes_that_no_kind_has(packed: int, groups: int) -> None:
    weights = lazy_weights("12B.mlx-bf16")
    pack(weights, QUERY, bits=4, group=64, mode="affine")
    weights[f"{QUERY}.weight"] = mx.zeros((4096, packed), mx.uint32)
    for part in ("scales", "biases"):
        weights[f"{QUERY}.{part}"] = mx.zeros((4096, groups), mx.bfloat16)
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-12B-it"))
    assert caught.value.misshapen == (f"{QUERY}.weight",)


def test_quantised_layer_without_biases_is_a_mismatch() -> None:
    weights = lazy_weights("12B.mlx-community-4bit")
    del weights[f"{QUERY}.biases"]
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("mlx-community__gemma-4-12B-it-4bit"))
    assert caught.value.missing == (f"{QUERY}.biases",)
