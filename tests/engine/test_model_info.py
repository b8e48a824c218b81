"""Describing a checkpoint without reading its weights."""

from __future__ import annotations

import json
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
from gemma4cli.hub.safetensors_headers import missing_files, read_headers, weight_names

TINY = BUILTIN["tiny"]


def described(name: str, folder: Path) -> ModelInfo:
    return describe(ResolvedModel.of(name, folder))


def test_parameters_are_counted(tiny: LoadedModel) -> None:
    counts = [v.size for _, v in tree_flatten(tiny.network.parameters())]
    assert described("tiny", TINY).parameters == sum(counts)


def test_parameters_of_quantized_weights_are_counted_unpacked(tmp_path: Path) -> None:
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


def test_describing_a_checkpoint_reads_no_weights() -> None:
    mx.clear_cache()
    before = mx.get_active_memory()
    found = described("tiny", TINY)
    assert mx.get_active_memory() - before < found.size / 10


@pytest.mark.parametrize("size", ["26b", "31b"])
def test_models_without_audio_have_no_audio_weights(size: str) -> None:
    assert described(size, PARITY / size).weights.audio == 0


# Headers


def test_headers_have_the_shapes_and_sizes_of_the_arrays() -> None:
    headers = read_headers(TINY)
    arrays = mx.load(str(TINY / "model.safetensors"))
    assert {name: header.shape for name, header in headers.items()} == {
        name: array.shape for name, array in arrays.items()
    }
    assert sum(header.size() for header in headers.values()) == sum(
        array.nbytes for array in arrays.values()
    )


def test_floats_count_in_the_size_they_are_computed_in() -> None:
    headers = read_headers(TINY)
    floats = [h for h in headers.values() if h.dtype == "BF16"]
    assert floats and all(h.size(4) == 2 * h.size() for h in floats)


def test_an_invalid_header_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    contents = (b"", b"\xff" * 16, (5).to_bytes(8, "little") + b"[1,2]", b"\x02" + bytes(7) + b"{")
    for content in contents:
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            read_headers(tmp_path)


@pytest.mark.parametrize("kept", [1000, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, kept: int) -> None:
    """Its header may be complete but describe more than the file has."""
    whole = (TINY / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is incomplete"):
        read_headers(tmp_path)


def test_headers_of_shards_equal_those_of_one_file(tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "e2b")
    first, *others = tensors
    shards = {"a.safetensors": {first: tensors[first]}}
    shards["b.safetensors"] = {name: tensors[name] for name in others}
    folder = variant(PARITY / "e2b", tmp_path / "sharded", shards=shards)
    assert read_headers(folder) == read_headers(PARITY / "e2b")
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"b\.safetensors: no such file"):
        read_headers(folder)


def test_an_invalid_index_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        weight_names(tmp_path)


def test_a_folder_lacks_config_tokenizer_and_weights_until_they_are_there(tmp_path: Path) -> None:
    required = ["config.json", "tokenizer.json", "model.safetensors"]
    for count, name in enumerate(required):
        assert missing_files(tmp_path) == required[count:]
        (tmp_path / name).write_bytes(b"")
    assert missing_files(tmp_path) == []


def test_weights_that_an_index_names_are_required(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("config.json", "tokenizer.json", "model-1.safetensors"):
        (tmp_path / name).write_bytes(b"")
    assert missing_files(tmp_path) == ["model-2.safetensors"]
