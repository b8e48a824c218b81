"""Quantized checkpoints run, and their logits are those of their dequantized weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from support.checkpoints import PARITY, json_of, mlx_tensors, variant
from support.goldens import inputs_of, logits_of
from support.quantized_checkpoints import (
    AFFINE4,
    AFFINE8,
    MXFP4,
    MXFP8,
    NVFP4,
    Kind,
    quantize_checkpoint,
)

from gemma4cli.api import load, model_info, stream_generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Finished
from gemma4cli.options import GenerateOptions

PICTURE, CLIP = "image_70", "audio"
GREEDY = GenerateOptions(max_tokens=4, temperature=0)


def logits(model: LoadedModel, case: str = PICTURE) -> np.ndarray:
    return np.array(logits_of(model, inputs_of(model, case)))


@pytest.fixture(scope="module")
def float_logits(tiny: LoadedModel) -> np.ndarray:
    return logits(tiny)


SLOW_KINDS = [
    pytest.param(kind, marks=pytest.mark.slow) for kind in (AFFINE4, AFFINE8, MXFP8, NVFP4)
]
"""The checkpoints of mixed kinds and of experts have these too."""


@pytest.mark.parametrize("kind", [MXFP4, *SLOW_KINDS], ids=str)
def test_a_quantized_model_computes_the_logits_of_its_dequantized_weights(
    kind: Kind, tiny: LoadedModel, float_logits: np.ndarray, tmp_path: Path
) -> None:
    small, same, kinds = quantize_checkpoint(tiny, tmp_path, lambda path: kind, kind)
    assert len(kinds) > 80
    assert {str(entry) for entry in small.quantization} == {str(kind)}
    assert same.quantization == frozenset()
    out = logits(small)
    # The difference that is left is the order of summation.
    np.testing.assert_allclose(out, logits(same), atol=2e-3)
    np.testing.assert_allclose(logits(small, CLIP), logits(same, CLIP), atol=2e-3)
    assert np.std(out - float_logits) < np.std(float_logits)
    *_, last = stream_generate(small, "Say something.", options=GREEDY)
    assert isinstance(last, Finished)
    assert last.usage.completion_tokens >= 1
    assert model_info(str(small.folder)).quantization == (str(kind),)


@pytest.mark.toy
@pytest.mark.parametrize(
    ("kind", "share"),
    [(AFFINE4, 0.42), (AFFINE8, 0.03), (MXFP4, 0.65), (MXFP8, 0.15), (NVFP4, 0.5)],
    ids=str,
)
def test_quantizing_the_built_in_model_changes_its_logits_as_much_as_measured(
    kind: Kind, share: float, tiny: LoadedModel, float_logits: np.ndarray, tmp_path: Path
) -> None:
    """Twice what was measured, as a share of the deviation of its logits."""
    small, _, _ = quantize_checkpoint(tiny, tmp_path, lambda path: kind, kind)
    assert np.std(logits(small) - float_logits) < share * np.std(float_logits)


def mixed(path: str) -> Kind | None:
    """8 bits for the MLP, 4 for most, floats for the projection of images."""
    if "embed_vision" in path:
        return None
    if ".mlp." in path:
        return AFFINE8
    return MXFP8 if "audio_tower" in path else AFFINE4


def test_layers_of_one_model_may_have_different_kinds(
    tiny: LoadedModel, float_logits: np.ndarray, tmp_path: Path
) -> None:
    small, same, kinds = quantize_checkpoint(tiny, tmp_path, mixed, AFFINE4)
    assert set(kinds.values()) == {AFFINE4, AFFINE8, MXFP8}
    assert {str(entry) for entry in small.quantization} == {str(AFFINE4), str(AFFINE8), str(MXFP8)}
    out = logits(small)
    np.testing.assert_allclose(out, logits(same), atol=2e-3)
    assert np.std(out - float_logits) < np.std(float_logits)


@pytest.mark.parametrize("kind", [Kind(mode="affine", bits=8, group=32), NVFP4], ids=str)
def test_quantized_experts_compute_the_logits_of_their_dequantized_weights(
    kind: Kind, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    small, same, kinds = quantize_checkpoint(parity_model("26b"), tmp_path, lambda _: kind, kind)
    assert "language_model.model.layers.0.experts.switch_glu.up_proj" in kinds
    assert "language_model.model.layers.0.router.proj" in kinds
    np.testing.assert_allclose(logits(small), logits(same), atol=5e-3)


# Storage


def test_shards_load_like_one_file(
    parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    model = parity_model("e2b")
    tensors = dict(mx.load(str(model.folder / "model.safetensors")))
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": {n: tensors[n] for n in names[::2]},
        "model-00002-of-00002.safetensors": {n: tensors[n] for n in names[1::2]},
    }
    sharded = load(str(variant(model.folder, tmp_path / "sharded", shards=shards)))
    np.testing.assert_array_equal(logits(sharded), logits(model))


def test_files_beside_the_index_are_ignored(
    parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """A folder may contain another layout next to the one in the index."""
    model = parity_model("e2b")
    tensors = dict(mx.load(str(model.folder / "model.safetensors")))
    folder = variant(model.folder, tmp_path, shards={"weights.safetensors": tensors})
    mx.save_safetensors(str(folder / "model.safetensors"), {"stray": mx.zeros(1)})
    np.testing.assert_array_equal(logits(load(str(folder))), logits(model))


@pytest.mark.parametrize("arch", ["e2b", "12b", "26b"])
def test_mlxs_layout_loads_like_googles(
    arch: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """It has other names, convolutions with channels last, and experts split in two."""
    model = parity_model(arch)
    tensors = mlx_tensors(model)
    assert not set(tensors) & set(mx.load(str(model.folder / "model.safetensors")))
    if arch == "e2b":
        shape = tensors["audio_tower.subsample_conv_projection.layer1.conv.weight"].shape
        assert shape[-1] == 128
    converted = load(str(variant(model.folder, tmp_path, tensors=tensors)))
    np.testing.assert_array_equal(logits(converted), logits(model))


STORED: Mapping[str, tuple[mx.Dtype, float]] = {
    "float32": (mx.float32, 0),
    "bfloat16": (mx.bfloat16, 0),  # as the parity checkpoints are stored
    "float16": (mx.float16, 1e-2),
}


@pytest.mark.parametrize("stored", STORED)
def test_weights_stored_in_any_float_dtype_load(
    stored: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    dtype, tolerance = STORED[stored]
    model = parity_model("31b")
    tensors = {name: value.astype(dtype) for name, value in mlx_tensors(model).items()}
    read = load(str(variant(PARITY / "31b", tmp_path, tensors=tensors)))
    np.testing.assert_allclose(logits(read), logits(model), atol=tolerance)
    assert model_info(str(read.folder)).tensors == len(tensors)


def test_quantization_config_alone_is_read_like_quantization(
    parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """Some MLX conversions only have this key."""
    small, _, _ = quantize_checkpoint(parity_model("26b"), tmp_path, lambda path: NVFP4, NVFP4)
    assert small.quantization
    config = json_of(small.folder)
    config["quantization_config"] = config.pop("quantization")
    (small.folder / "config.json").write_text(json.dumps(config))
    assert load(str(small.folder)).quantization == small.quantization
