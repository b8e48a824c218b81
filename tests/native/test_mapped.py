"""Tensors that stay in their file equal those that MLX reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from gemma4cli.api import load
from gemma4cli.models.masks import NO_MASKS

TENSORS = {
    "half": mx.arange(7).astype(mx.bfloat16),
    "packed": mx.arange(12, dtype=mx.uint32).reshape(3, 4),
    "flag": mx.array([True, False, True]),
    "scalar": mx.array(2.5),
    "empty": mx.zeros((0, 4)),
}


@pytest.fixture
def file(tmp_path: Path, native: ModuleType) -> Path:
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), TENSORS)
    return path


def test_every_tensor_has_the_values_of_the_file_at_any_byte_address(file: Path) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    found = mapped_tensors(file)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert mx.array_equal(found[name], value), name


def test_a_tensor_outlives_the_name_of_its_file_and_never_changes_it(file: Path) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    before = file.read_bytes()
    half = mapped_tensors(file)["half"]
    kept = file.rename(file.with_name("kept"))
    half[0] = 5
    # A cast to a type of the same size may reuse the memory of its input.
    cast = half.astype(mx.float16)
    del half
    assert cast.tolist() == [5, 1, 2, 3, 4, 5, 6]
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [32], "data_offsets": [0, 64]},
        {"shape": [8]},
        {"shape": [2**31 - 1, 2**31 - 1]},
        {"dtype": "F4"},
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(
    tmp_path: Path, native: ModuleType, changed: dict[str, object]
) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    entry = {"dtype": "BF16", "shape": [7], "data_offsets": [0, 14], **changed}
    header = json.dumps({"half": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
    with pytest.raises(ValueError):
        mapped_tensors(path)
    path.write_bytes((1 << 60).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="header"):
        mapped_tensors(path)


def test_a_tensor_in_large_pages_has_the_same_values(file: Path, native: ModuleType) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    found = mapped_tensors(file)
    moved = {name: native.in_large_pages(value) for name, value in found.items()}
    del found
    for name, value in TENSORS.items():
        assert mx.array_equal(moved[name], value), name
    other = mx.arange(3)
    mx.eval(other)
    assert native.in_large_pages(other).tolist() == [0, 1, 2]


def test_moving_the_weights_while_decoding_changes_nothing(
    native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma4cli.models import native_text

    def logits(after: int) -> list[mx.array]:
        monkeypatch.setattr(native_text, "_MANY_STEPS", after)
        network = load("tiny").network
        cache = network.language_model.make_cache()
        return [network(*network.embed([9]), cache, NO_MASKS)[0, -1] for _ in range(16)]

    for one, other in zip(logits(2), logits(1000), strict=True):
        assert mx.array_equal(one, other)
