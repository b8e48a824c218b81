"""Merged checkpoints: what they compute, and that they have the layout of the model's own."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from support.adapters import SCALE, matrices, write_mlx_lm, write_peft
from support.checkpoints import INDEX, PARITY, json_of, mlx_tensors, tensors_of, variant
from support.goldens import ARCHS, goldens, inputs_of, logits_of
from support.quantized_checkpoints import AFFINE4, quantize_checkpoint

from gemma4cli.api import load
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.merging import merge
from gemma4cli.errors import AdapterError, UnsupportedModelError
from gemma4cli.hub.resolving import resolve
from gemma4cli.options import LoadOptions

ADAPTERS = PARITY.parent / "adapters"
CASES = [(arch, path.name) for arch in ARCHS for path in sorted((ADAPTERS / arch).iterdir())]
FLOAT = LoadOptions(dtype="float32")


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    folder.mkdir()
    for _ in merge(resolve(str(base), str(adapter)), folder):
        pass
    return folder


def last_logits(model: LocalModel) -> np.ndarray:
    return np.array(logits_of(model, inputs_of(model, "text"))[-1])


@pytest.mark.parametrize(("arch", "adapter"), CASES)
def test_merged_weights_give_what_those_of_peft_do(arch: str, adapter: str, tmp_path: Path) -> None:
    """In float32, since in bfloat16 the sums are rounded once more."""
    wide = {name: value.astype(mx.float32) for name, value in tensors_of(PARITY / arch).items()}
    base = variant(PARITY / arch, tmp_path / "wide", tensors=wide)
    folder = merged(base, ADAPTERS / arch / adapter, tmp_path / "merged")
    golden = goldens(f"{arch}-adapters")
    expected = golden.get(f"{adapter}/merged", golden[f"{adapter}/text/last"])
    found = last_logits(load(str(folder), options=FLOAT))
    assert np.abs(found - expected).max() <= 1e-3 * golden[f"{adapter}/text/spread"]
    unchanged = tensors_of(base).keys() - tensors_of(folder).keys()
    assert not unchanged
    untied = json_of(folder)["tie_word_embeddings"] is False
    assert untied == (adapter in ("dora", "embeddings")) == ("lm_head.weight" in tensors_of(folder))


def test_types_and_files_stay_those_of_the_model(tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "e2b")
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": {name: tensors[name] for name in names[::2]},
        "model-00002-of-00002.safetensors": {name: tensors[name] for name in names[1::2]},
    }
    base = variant(PARITY / "e2b", tmp_path / "base", shards=shards)
    folder = merged(base, ADAPTERS / "e2b" / "dora", tmp_path / "merged")
    index = json_of(folder, INDEX)["weight_map"]
    assert {name: index[name] for name in names} == json_of(base, INDEX)["weight_map"]
    assert index.keys() - tensors.keys() == {"lm_head.weight"}
    for file in shards:
        for name, value in mx.load(str(folder / file)).items():
            assert value.dtype == mx.bfloat16
            if name in tensors and not name.endswith(("_proj.weight", "norm.weight")):
                assert mx.array_equal(value, tensors[name]).item(), name
    load(str(folder))


def test_quantized_weights_stay_quantized(tmp_path: Path) -> None:
    twelve = load(str(PARITY / "12b"), options=FLOAT)
    packed, same, _ = quantize_checkpoint(twelve, tmp_path, lambda path: AFFINE4, AFFINE4)
    changes = matrices(twelve.network, "layers.1.self_attn.q_proj")
    adapter = write_mlx_lm(tmp_path / "adapter", changes)
    folder = merged(packed.folder, adapter, tmp_path / "merged")
    ((path, (a, b)),) = changes.items()
    found, before = tensors_of(folder), tensors_of(packed.folder)
    assert {n: (v.shape, v.dtype) for n, v in found.items()} == {
        n: (v.shape, v.dtype) for n, v in before.items()
    }
    differ = {name for name in found if not mx.array_equal(found[name], before[name]).item()}
    assert differ == {f"{path}.{key}" for key in ("weight", "scales", "biases")}
    weight = mx.dequantize(*(found[f"{path}.{k}"] for k in ("weight", "scales", "biases")), 32, 4)
    summed = tensors_of(same.folder)[f"{path}.weight"] + SCALE * b @ a
    step = found[f"{path}.scales"].astype(mx.float32).abs().max().item()
    assert mx.abs(weight - summed).max().item() <= step
    load(str(folder))


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="it has no adapter"):
        next(merge(resolve("tiny"), tmp_path))
    twelve = load(str(PARITY / "12b"), options=FLOAT)
    other = write_peft(tmp_path / "other", matrices(twelve.network, "q_proj"))
    with pytest.raises(AdapterError, match="does not fit"):
        next(merge(resolve(str(PARITY / "e2b"), str(other)), tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "adapter"), [("e2b", "lora"), ("12b", "lora"), ("26b", "experts"), ("31b", "dora")]
)
def test_mlx_lm_loads_it(arch: str, adapter: str, tmp_path: Path) -> None:
    """It computes the same text model. A head of its own it finds under MLX's names only."""
    load_model = pytest.importorskip("mlx_lm.utils").load_model
    config = {**json_of(PARITY / arch), "vocab_size": 400}  # mlx-lm's default is Gemma's
    names = mlx_tensors(load(str(PARITY / arch))) if adapter == "dora" else None
    base = variant(PARITY / arch, tmp_path / "base", tensors=names, config=config)
    folder = merged(base, ADAPTERS / arch / adapter, tmp_path / "merged")
    ours = load(str(folder), options=FLOAT)
    theirs, _ = load_model(folder, lazy=True)
    theirs.set_dtype(mx.float32)
    ids = mx.array([list(inputs_of(ours, "text").ids)])
    np.testing.assert_allclose(last_logits(ours), np.array(theirs(ids)[0, -1]), rtol=0, atol=5e-3)
