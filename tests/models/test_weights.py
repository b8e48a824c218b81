"""Mismatched tensors are named; a layer's quantization follows from its tensors' shapes."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from support.published import config_of, lazy_weights

from gemma4cli.errors import CheckpointError, WeightsMismatchError
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.names import canonical_name
from gemma4cli.models.weights import (
    fit_config,
    fit_head,
    load_weights,
    quantize_layers,
    renamed,
    sanitize,
)

Weights = dict[str, mx.array]

QUERY = "language_model.model.layers.0.self_attn.q_proj"
GATE = "language_model.model.layers.1.mlp.gate_proj"
EMBEDDING = "language_model.model.embed_tokens"


def load(weights: Weights, raw: dict[str, Any]) -> Gemma4:
    named = renamed(weights)
    config, named = fit_head(fit_config(Gemma4Config.from_dict(raw), named), named)
    named = sanitize(named, config)
    network = Gemma4(config)
    quantize_layers(network, named, raw)
    load_weights(network, named, None)
    return network


def test_names_of_every_layout_become_those_of_mlx() -> None:
    layouts = {
        "language_model.model.layers.0.mlp.up_proj.weight": [
            "model.language_model.layers.0.mlp.up_proj.weight",
            "model.language_model.model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
        ],
        "language_model.lm_head.weight": ["lm_head.weight"],
        "vision_tower.std_bias": ["model.vision_tower.std_bias"],
        "vision_embedder.pos_embedding": ["model.vision_embedder.pos_embedding"],
        "embed_audio.embedding_projection.weight": [
            "model.embed_audio.embedding_projection.weight"
        ],
    }
    for canonical, names in layouts.items():
        assert {canonical_name(name) for name in [canonical, *names]} == {canonical}


# Mismatches


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B"])
def test_a_missing_tensor_is_an_error_that_names_it(size: str) -> None:
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


def test_an_unexpected_tensor_is_an_error_that_names_it() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    weights["model.language_model.layers.35.mlp.up_proj.weight"] = mx.zeros((1,))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.unexpected == ("language_model.model.layers.35.mlp.up_proj.weight",)
    assert not caught.value.missing


def test_tensors_of_the_wrong_shape_are_an_error_that_names_them() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    names = [
        "model.language_model.norm.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.vision_tower.patch_embedder.position_embedding_table",
        "model.audio_tower.subsample_conv_projection.layer0.conv.weight",
        "model.audio_tower.layers.0.lconv1d.depthwise_conv1d.weight",
    ]
    for name in names:
        first, *others = weights[name].shape
        weights[name] = mx.zeros((first + 1, *others))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.misshapen == tuple(sorted(canonical_name(name) for name in names))


@pytest.mark.parametrize(
    ("name", "dtype", "needed"),
    [
        ("model.language_model.norm.weight", mx.int32, "a floating-point type"),
        ("model.language_model.embed_tokens.weight", mx.float64, "a floating-point type"),
        ("model.vision_tower.patch_embedder.position_embedding_table", mx.uint8, "a floating"),
        ("model.audio_tower.layers.0.lconv1d.depthwise_conv1d.weight", mx.bool_, "a floating"),
    ],
)
def test_a_tensor_of_a_type_that_nothing_computes_with_is_an_error(
    name: str, dtype: mx.Dtype, needed: str
) -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    weights[name] = mx.zeros(weights[name].shape, dtype, stream=mx.cpu)
    with pytest.raises(CheckpointError, match=f"{needed}") as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert canonical_name(name) in str(caught.value)


def test_a_transposed_linear_weight_has_the_wrong_shape() -> None:
    """Only convolutions come in two layouts."""
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
def test_a_tower_without_its_projection_or_the_reverse_is_an_error(size: str, part: str) -> None:
    weights = lazy_weights(f"{size}.google-hf-bf16")
    kept = {name: value for name, value in weights.items() if not name.startswith(part)}
    with pytest.raises(WeightsMismatchError) as caught:
        load(kept, config_of(f"google__gemma-4-{size}-it"))
    assert all(name.startswith(part.removeprefix("model.")) for name in caught.value.missing)
    assert len(caught.value.missing) == len(weights) - len(kept)


def test_a_tensor_of_a_medium_that_the_config_lacks_is_unexpected() -> None:
    weights = lazy_weights("31B.google-hf-bf16")
    weights["model.embed_audio.embedding_projection.weight"] = mx.zeros((5376, 1536))
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-31B-it"))
    assert caught.value.unexpected == ("embed_audio.embedding_projection.weight",)


def test_layers_that_reuse_keys_may_lack_weights_for_them() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    shared = [n for n in weights if ".layers.34.self_attn.k_" in n or ".34.self_attn.v_" in n]
    assert len(shared) == 3
    for name in shared:
        del weights[name]
    load(weights, config_of("google__gemma-4-E2B-it"))


def test_layers_that_compute_keys_need_weights_for_them() -> None:
    weights = lazy_weights("E2B.google-hf-bf16")
    del weights["model.language_model.layers.14.self_attn.k_proj.weight"]
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-E2B-it"))
    assert caught.value.missing == ("language_model.model.layers.14.self_attn.k_proj.weight",)


# Quantization


def pack(weights: Weights, path: str, *, bits: int, group: int, mode: str) -> None:
    """Replace a float layer's tensors by those of a quantized one."""
    *rows, width = weights[f"{path}.weight"].shape
    weights[f"{path}.weight"] = mx.zeros((*rows, width * bits // 32), mx.uint32)
    dtype = mx.bfloat16 if mode == "affine" else mx.uint8
    weights[f"{path}.scales"] = mx.zeros((*rows, width // group), dtype)
    if mode == "affine":
        weights[f"{path}.biases"] = mx.zeros((*rows, width // group), dtype)


def kind_of(network: Gemma4, path: str) -> tuple[int, int, str]:
    module = dict(network.named_modules())[path]
    return module.bits, module.group_size, module.mode


KINDS = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
KINDS += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]


def test_mode_bits_and_group_size_of_a_layer_follow_from_its_tensors() -> None:
    """One checkpoint with a layer of each kind. Biases mean affine; other modes are named."""
    weights = lazy_weights("12B.mlx-bf16")
    paths = [f"language_model.model.layers.{i}.self_attn.q_proj" for i in range(len(KINDS))]
    modes = {}
    for path, (mode, bits, group) in zip(paths, KINDS, strict=True):
        pack(weights, path, bits=bits, group=group, mode=mode)
        modes[path] = {"mode": mode}
    network = load(weights, config_of("google__gemma-4-12B-it") | {"quantization": modes})
    found = [kind_of(network, path) for path in paths]
    assert found == [(bits, group, mode) for mode, bits, group in KINDS]
    assert type(network.language_model.model.layers[0].mlp.up_proj) is nn.Linear


def test_a_mode_in_the_config_applies_to_linear_layers_embeddings_and_projections() -> None:
    weights = lazy_weights("12B.mlx-bf16")
    paths = (QUERY, GATE, EMBEDDING, "embed_vision.embedding_projection")
    for path in paths:
        pack(weights, path, bits=8, group=32, mode="mxfp8")
    raw = config_of("google__gemma-4-12B-it") | {"quantization": {"mode": "mxfp8"}}
    network = load(weights, raw)
    assert [kind_of(network, path) for path in paths] == [(8, 32, "mxfp8")] * len(paths)


def test_shapes_override_the_bits_and_group_size_in_the_config() -> None:
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
def test_an_unknown_mode_is_an_error_that_names_the_layer(section: object) -> None:
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
def test_shapes_of_an_unsupported_quantization_are_an_error(packed: int, groups: int) -> None:
    weights = lazy_weights("12B.mlx-bf16")
    pack(weights, QUERY, bits=4, group=64, mode="affine")
    weights[f"{QUERY}.weight"] = mx.zeros((4096, packed), mx.uint32)
    for part in ("scales", "biases"):
        weights[f"{QUERY}.{part}"] = mx.zeros((4096, groups), mx.bfloat16)
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("google__gemma-4-12B-it"))
    assert caught.value.misshapen == (f"{QUERY}.weight",)


def test_an_affine_layer_without_biases_is_an_error() -> None:
    weights = lazy_weights("12B.mlx-community-4bit")
    del weights[f"{QUERY}.biases"]
    with pytest.raises(WeightsMismatchError) as caught:
        load(weights, config_of("mlx-community__gemma-4-12B-it-4bit"))
    assert caught.value.missing == (f"{QUERY}.biases",)
