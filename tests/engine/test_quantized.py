"""Quantised checkpoints run, and give what their dequantised weights give.

How far a quantised model is from the float one is rounding, not g4's doing: the bounds here are
twice what was measured on the builtin model, as a share of the deviation of its logits.
"""

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
    quantise_checkpoint,
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


@pytest.mark.parametrize(
    ("kind", "share"),
    [(AFFINE4, 0.42), (AFFINE8, 0.03), (MXFP4, 0.65), (MXFP8, 0.15), (NVFP4, 0.5)],
    ids=str,
)
def test_quantised_model_runs(
    kind: Kind, share: float, tiny: LoadedModel, float_logits: np.ndarray, tmp_path: Path
) -> None:
    small, same, kinds = quantise_checkpoint(tiny, tmp_path, lambda path: kind, kind)
    assert len(kinds) > 80
    assert {str(entry) for entry in small.quantization} == {str(kind)}
    assert same.quantization == frozenset()
    out = logits(small)
    # What is left is the order in which numbers are added.
    np.testing.assert_allclose(out, logits(same), atol=2e-3)
    np.testing.assert_allclose(logits(small, CLIP), logits(same, CLIP), atol=2e-3)
    assert np.std(out - float_logits) < share * np.std(float_logits)
    *_, last = stream_generate(small, "Say something.", options=GREEDY)
    assert isinstance(last, Finished)
    assert last.usage.completion_tokens >= 1
    assert model_info(str(small.folder)).quantization == (str(kind),)


def mixed(path: str) -> Kind | None:
    """8 bits for the MLP, 4 for most, floats for the projection of images."""
    if "embed_vision" in path:
        return None
    if ".mlp." in path:
        return AFFINE8
    return MXFP8 if "audio_tower" in path else AFFINE4


def test_kinds_are_mixed(tiny: LoadedModel, float_logits: np.ndarray, tmp_path: Path) -> None:
    small, same, kinds = quantise_checkpoint(tiny, tmp_path, mixed, AFFINE4)
    assert set(kinds.values()) == {AFFINE4, AFFINE8, MXFP8}
    assert {str(entry) for entry in small.quantization} == {str(AFFINE4), str(AFFINE8), str(MXFP8)}
    out = logits(small)
    np.testing.assert_allclose(out, logits(same), atol=2e-3)
    assert np.std(out - float_logits) < 0.42 * np.std(float_logits)


@pytest.mark.parametrize("kind", [Kind(mode="affine", bits=8, group=32), NVFP4], ids=str)
def test_experts_are_quantised(
    kind: Kind, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    small, same, kinds = quantise_checkpoint(parity_model("26b"), tmp_path, lambda _: kind, kind)
    assert "language_model.model.layers.0.experts.switch_glu.up_proj" in kinds
    assert "language_model.model.layers.0.router.proj" in kinds
    np.testing.assert_allclose(logits(small), logits(same), atol=5e-3)


# Storage


def test_shards_equal_one_file(parity_model: Callable[[str], LoadedModel], tmp_path: Path) -> None:
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
    """An older layout may lie beside the one that the index names."""
    model = parity_model("e2b")
    tensors = dict(mx.load(str(model.folder / "model.safetensors")))
    folder = variant(model.folder, tmp_path, shards={"weights.safetensors": tensors})
    mx.save_safetensors(str(folder / "model.safetensors"), {"stray": mx.zeros(1)})
    np.testing.assert_array_equal(logits(load(str(folder))), logits(model))


@pytest.mark.parametrize("arch", ["e2b", "12b", "26b"])
def test_mlx_layout_equals_googles(
    arch: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """Other names, convolutions with channels last, experts split in two."""
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
def test_storage_dtypes(
    stored: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    dtype, tolerance = STORED[stored]
    model = parity_model("31b")
    tensors = {name: value.astype(dtype) for name, value in mlx_tensors(model).items()}
    read = load(str(variant(PARITY / "31b", tmp_path, tensors=tensors)))
    np.testing.assert_allclose(logits(read), logits(model), atol=tolerance)
    assert model_info(str(read.folder)).tensors == len(tensors)


def test_older_spelling_of_the_quantisation(tiny: LoadedModel, tmp_path: Path) -> None:
    """Some conversions have "quantization_config" alone, with MLX's content."""
    small, _, _ = quantise_checkpoint(tiny, tmp_path, lambda path: MXFP4, MXFP4)
    config = json_of(small.folder)
    config["quantization_config"] = config.pop("quantization")
    (small.folder / "config.json").write_text(json.dumps(config))
    assert load(str(small.folder)).quantization == small.quantization
