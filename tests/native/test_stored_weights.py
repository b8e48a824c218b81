"""The native part keeps weights in the type they are stored in, which halves the memory of most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from support.checkpoints import PARITY, Tensors, mlx_tensors, variant
from support.goldens import inputs_of, logits_of
from support.quantized_checkpoints import AFFINE4, quantize_checkpoint

from gemma4cli.api import load
from gemma4cli.engine.model import LoadedModel

CASE = "image_70"


def experts_of(model: LoadedModel) -> Tensors:
    return {name: value for name, value in mlx_tensors(model).items() if ".switch_glu." in name}


def logits(model: LoadedModel) -> np.ndarray:
    return np.array(logits_of(model, inputs_of(model, CASE)))


def test_experts_in_bfloat16_stay_so_and_compute_what_they_do_in_float32(
    native: ModuleType, tmp_path: Path
) -> None:
    narrow = load(str(PARITY / "26b"))
    assert {value.dtype for value in experts_of(narrow).values()} == {mx.bfloat16}
    widened = {name: value.astype(mx.float32) for name, value in mlx_tensors(narrow).items()}
    wide = load(str(variant(PARITY / "26b", tmp_path, tensors=widened)))
    assert {value.dtype for value in experts_of(wide).values()} == {mx.float32}
    np.testing.assert_allclose(logits(narrow), logits(wide), atol=1e-5)


def test_scales_of_quantized_experts_stay_in_bfloat16(
    native: ModuleType, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    small, _, _ = quantize_checkpoint(parity_model("26b"), tmp_path, lambda _: AFFINE4, AFFINE4)
    factors = {
        name: value.dtype
        for name, value in experts_of(small).items()
        if name.endswith((".scales", ".biases"))
    }
    assert factors
    assert set(factors.values()) == {mx.bfloat16}


@pytest.mark.parametrize("arch", ["e2b", "26b"])
def test_no_matrix_of_the_language_model_is_widened(native: ModuleType, arch: str) -> None:
    tensors = mlx_tensors(load(str(PARITY / arch)))
    wide = [
        name
        for name, value in tensors.items()
        if name.startswith("language_model.") and value.ndim > 1 and value.dtype != mx.bfloat16
    ]
    assert wide == []
