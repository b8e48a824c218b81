"""What is told of a checkpoint without reading its weights."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from support.checkpoints import PARITY, Tensors, json_of, tensors_of, variant

from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.model_info import ModelInfo, describe
from gemma4cli.errors import CheckpointError
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.hub.safetensors_headers import is_complete, read_headers, weight_names

TINY = BUILTIN["tiny"]


def described(name: str, folder: Path) -> ModelInfo:
    return describe(ResolvedModel.of(name, folder))


def test_parameters_of_plain_weights(tiny: LoadedModel) -> None:
    counts = [v.size for _, v in tree_flatten(tiny.network.parameters())]
    assert described("tiny", TINY).parameters == sum(counts)


def test_parameters_of_quantised_weights_are_counted_unpacked(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for name, value in tensors_of(TINY).items():
        if name.endswith("gate_proj.weight") and "language_model" in name:
            packed, scales, biases = mx.quantize(value, group_size=32, bits=4)
            base = name.removesuffix("weight")
            tensors |= {name: packed, f"{base}scales": scales, f"{base}biases": biases}
        else:
            tensors[name] = value
    config = json_of(TINY) | {"quantization": {"group_size": 32, "bits": 4, "mode": "affine"}}
    packed_folder = variant(TINY, tmp_path / "packed", tensors=tensors, config=config)
    found = described("packed", packed_folder)
    assert found.quantization == ("4-bit affine, groups of 32",)
    assert found.parameters == described("tiny", TINY).parameters
    assert found.size < described("tiny", TINY).size


def test_nothing_is_read() -> None:
    mx.clear_cache()
    before = mx.get_active_memory()
    found = described("tiny", TINY)
    assert mx.get_active_memory() - before < found.size / 10


@pytest.mark.parametrize("size", ["26b", "31b"])
def test_models_that_hear_nothing_have_no_audio_weights(size: str) -> None:
    assert described(size, PARITY / size).weights.audio == 0


# Headers


def test_headers_are_those_of_the_file() -> None:
    headers = read_headers(TINY)
    arrays = mx.load(str(TINY / "model.safetensors"))
    assert {name: header.shape for name, header in headers.items()} == {
        name: array.shape for name, array in arrays.items()
    }
    assert sum(header.size() for header in headers.values()) == sum(
        array.nbytes for array in arrays.values()
    )


def test_floats_are_counted_as_they_are_computed_with() -> None:
    headers = read_headers(TINY)
    floats = [h for h in headers.values() if h.dtype == "BF16"]
    assert floats and all(h.size(4) == 2 * h.size() for h in floats)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 16, (5).to_bytes(8, "little") + b"[1,2]", b"\x02" + bytes(7) + b"{"]
)
def test_what_is_no_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_headers(tmp_path)


@pytest.mark.parametrize("kept", [1000, -1])
def test_file_that_was_cut_short(tmp_path: Path, kept: int) -> None:
    """Its header may be whole, but promises more than there is."""
    whole = (TINY / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: was cut short"):
        read_headers(tmp_path)


def test_headers_of_shards(tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "e2b")
    first, *others = tensors
    shards = {"a.safetensors": {first: tensors[first]}}
    shards["b.safetensors"] = {name: tensors[name] for name in others}
    folder = variant(PARITY / "e2b", tmp_path / "sharded", shards=shards)
    assert read_headers(folder) == read_headers(PARITY / "e2b")
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"b\.safetensors: no such file"):
        read_headers(folder)


def test_broken_index(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        weight_names(tmp_path)
    assert not is_complete(tmp_path)


def test_folder_without_weights_is_not_complete(tmp_path: Path) -> None:
    assert not is_complete(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert is_complete(tmp_path)
