"""The output head that a checkpoint has is used, whatever config.json says about it.

A head with the rows of the embeddings in another order moves the logits in the same way, so the
plain checkpoint says what they must be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from support.checkpoints import PARITY, Tensors, json_of, tensors_of, variant
from support.models import logits_after
from support.quantized_checkpoints import AFFINE4, AFFINE8, Kind

from gemma4cli.api import load, model_info
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import CheckpointError, WeightsMismatchError
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.needs import needs_of
from gemma4cli.hub.resolving import resolve
from gemma4cli.machine.device import float_size
from gemma4cli.machine.memory import Work

TINY = BUILTIN["tiny"]
SIZES = ("e2b", "e4b", "12b", "26b", "31b")
EMBEDDINGS = "model.language_model.embed_tokens.weight"
HEADS = ("lm_head.", "language_model.lm_head.", "model.language_model.lm_head.", "model.lm_head.")


def logits(model: LoadedModel) -> np.ndarray[Any, Any]:
    network = model.network
    cache = network.language_model.make_cache()
    return np.array(logits_after(network, network.embed([7]), cache)[0, -1])


def config_with(source: str | Path, outer: bool | None, inner: bool | None) -> dict[str, Any]:
    config = json_of(PARITY / source)
    for section, value in ((config, outer), (config["text_config"], inner)):
        section.pop("tie_word_embeddings", None)
        if value is not None:
            section["tie_word_embeddings"] = value
    return config


def reversed_head(tensors: Tensors) -> mx.array:
    return mx.contiguous(tensors[EMBEDDINGS][::-1])


@pytest.mark.parametrize("size", SIZES)
def test_a_head_beside_a_tied_config_is_used(
    size: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    tensors = tensors_of(PARITY / size)
    headed = tensors | {"lm_head.weight": reversed_head(tensors)}
    folder = variant(PARITY / size, tmp_path, tensors=headed, config=config_with(size, True, True))
    np.testing.assert_allclose(
        logits(load(str(folder))), logits(parity_model(size))[::-1], rtol=1e-5, atol=1e-5
    )
    assert not model_info(str(folder)).tied


@pytest.mark.parametrize("prefix", HEADS)
def test_a_head_is_known_by_each_of_its_names(
    prefix: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    tensors = tensors_of(PARITY / "e2b")
    headed = tensors | {f"{prefix}weight": reversed_head(tensors)}
    folder = variant(PARITY / "e2b", tmp_path, tensors=headed)
    np.testing.assert_allclose(
        logits(load(str(folder))), logits(parity_model("e2b"))[::-1], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_equals_the_embeddings_takes_no_memory(
    size: str, tied: bool, tmp_path: Path
) -> None:
    tensors = tensors_of(PARITY / size)
    same = tensors | {"lm_head.weight": mx.array(tensors[EMBEDDINGS])}
    config = config_with(size, tied, tied)
    info = model_info(str(variant(PARITY / size, tmp_path, tensors=same, config=config)))
    plain = model_info(str(PARITY / size))
    assert info.tied and plain.tied
    assert (info.size, info.parameters, info.tensors) == (
        plain.size,
        plain.parameters,
        plain.tensors,
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_tied_checkpoint_with_only_a_head_has_it_as_embeddings(
    size: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    tensors = tensors_of(PARITY / size)
    tensors["lm_head.weight"] = tensors.pop(EMBEDDINGS)
    folder = variant(PARITY / size, tmp_path, tensors=tensors)
    model = load(str(folder))
    np.testing.assert_allclose(logits(model), logits(parity_model(size)), rtol=1e-5, atol=1e-5)
    assert model.network.config.text.tied_embeddings


@pytest.mark.parametrize(
    ("outer", "inner"), [(True, True), (True, False), (False, True), (True, None), (None, True)]
)
def test_without_a_head_either_config_can_tie(
    outer: bool | None, inner: bool | None, tmp_path: Path
) -> None:
    folder = variant(PARITY / "e2b", tmp_path, config=config_with("e2b", outer, inner))
    assert load(str(folder)).network.config.text.tied_embeddings


@pytest.mark.parametrize("lost", ["lm_head.weight", EMBEDDINGS])
def test_an_untied_checkpoint_needs_head_and_embeddings(lost: str, tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "e2b")
    tensors["lm_head.weight"] = reversed_head(tensors)
    del tensors[lost]
    folder = variant(
        PARITY / "e2b", tmp_path, tensors=tensors, config=config_with("e2b", False, False)
    )
    with pytest.raises(WeightsMismatchError) as caught:
        load(str(folder))
    assert len(caught.value.missing) == 1 and caught.value.missing[0].endswith(
        lost.removeprefix("model.language_model.")
    )


def pack(tensors: Tensors, path: str, kind: Kind) -> mx.array:
    """Quantize one tensor; returns the values that the packed ones stand for."""
    weight = tensors.pop(f"{path}.weight").astype(mx.float32)
    options = {"group_size": kind.group, "bits": kind.bits, "mode": kind.mode}
    packed, scales, biases = mx.quantize(weight, **options)
    tensors |= {f"{path}.weight": packed, f"{path}.scales": scales, f"{path}.biases": biases}
    return mx.dequantize(packed, scales, biases, **options)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("embeddings", "head"),
    [(None, AFFINE8), (AFFINE4, None), (AFFINE4, AFFINE8), (AFFINE4, AFFINE4)],
    ids=["only the head", "only the embeddings", "other bits", "both alike"],
)
def test_a_quantized_head_is_used_whether_the_embeddings_are_quantized_or_not(
    embeddings: Kind | None, head: Kind | None, tied: bool, tmp_path: Path
) -> None:
    packed = tensors_of(TINY)
    packed["language_model.lm_head.weight"] = reversed_head(packed)
    plain = dict(packed)
    for path, kind in (
        (EMBEDDINGS.removesuffix(".weight"), embeddings),
        ("language_model.lm_head", head),
    ):
        if kind is not None:
            plain[f"{path}.weight"] = pack(packed, path, kind)
    config = config_with(TINY, tied, tied)
    section = {"quantization": (head or embeddings or AFFINE4).section}
    small = variant(TINY, tmp_path / "small", tensors=packed, config=config | section)
    same = variant(TINY, tmp_path / "same", tensors=plain, config=config_with(TINY, False, False))
    np.testing.assert_allclose(
        logits(load(str(small))), logits(load(str(same))), rtol=1e-3, atol=1e-3
    )
    kinds = {str(kind) for kind in (embeddings, head) if kind is not None}
    assert set(model_info(str(small)).quantization) == kinds


def test_a_quantized_head_that_equals_the_embeddings_is_tied(tmp_path: Path) -> None:
    tensors = tensors_of(TINY)
    pack(tensors, EMBEDDINGS.removesuffix(".weight"), AFFINE4)
    path = EMBEDDINGS.removesuffix("weight")
    tensors |= {
        f"lm_head.{part}": mx.array(tensors[f"{path}{part}"])
        for part in ("weight", "scales", "biases")
    }
    config = json_of(TINY) | {"quantization": AFFINE4.section}
    folder = variant(TINY, tmp_path, tensors=tensors, config=config)
    assert model_info(str(folder)).tied


def test_the_memory_of_a_run_includes_the_head(tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "31b")
    head = reversed_head(tensors)
    size = head.size * (float_size() or head.itemsize)
    folder = variant(PARITY / "31b", tmp_path, tensors=tensors | {"lm_head.weight": head})
    plain, headed = (model_info(str(each)) for each in (PARITY / "31b", folder))
    assert headed.size - plain.size == size
    assert headed.memory[0].run.text - plain.memory[0].run.text == size
    work = Work(tokens=64)
    more = needs_of(resolve(str(folder)), work) - needs_of(resolve(str(PARITY / "31b")), work)
    assert more == size


def test_two_heads_are_an_error_that_names_both(tmp_path: Path) -> None:
    tensors = tensors_of(PARITY / "e2b")
    names = ("lm_head.weight", "language_model.lm_head.weight")
    both = tensors | {name: reversed_head(tensors) for name in names}
    with pytest.raises(CheckpointError) as caught:
        load(str(variant(PARITY / "e2b", tmp_path, tensors=both)))
    assert all(name in str(caught.value) for name in names)
