"""Models with adapters: the layouts agree, quantized weights too, and nothing is changed twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from support.adapters import (
    SCALE,
    matrices,
    mlx_config,
    peft_config,
    write,
    write_mlx_lm,
    write_mlx_vlm,
    write_peft,
)
from support.checkpoints import PARITY
from support.goldens import inputs_of, logits_of
from support.quantized_checkpoints import AFFINE4, MXFP4, Kind, quantize_checkpoint

from gemma4cli.api import change_adapter, load
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.prompt_cache import key_of
from gemma4cli.errors import AdapterError
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.models.low_rank import LowRankLinear, LowRankSwitchLinear, plain_rows
from gemma4cli.options import LoadOptions

EVERY = ("q_proj", "o_proj", "gate_proj", "down_proj", "per_layer_input_gate")
FLOAT = LoadOptions(dtype="float32")


@pytest.fixture(scope="module")
def e2b() -> LocalModel:
    return load(str(PARITY / "e2b"), options=FLOAT)


def logits(model: LocalModel) -> np.ndarray:
    return np.array(logits_of(model, inputs_of(model, "text")))


def adapted(model: LocalModel, folder: Path) -> LocalModel:
    found = change_adapter(model, str(folder))
    assert isinstance(found, LocalModel)
    return found


@pytest.mark.parametrize("layout", [write_mlx_lm, write_mlx_vlm])
def test_all_layouts_give_the_same(
    layout: Callable[..., Path], e2b: LocalModel, tmp_path: Path
) -> None:
    changes = matrices(e2b.network.language_model.model.layers[1], "q_proj", "down_proj")
    changes = {f"language_model.model.layers.1.{path}": each for path, each in changes.items()}
    peft = logits(adapted(e2b, write_peft(tmp_path / "peft", changes)))
    other = logits(adapted(e2b, layout(tmp_path / "other", changes)))
    np.testing.assert_allclose(other, peft, rtol=0, atol=1e-4)
    assert np.abs(peft - logits(e2b)).max() > 0.1


@pytest.mark.parametrize("kind", [AFFINE4, MXFP4], ids=str)
@pytest.mark.parametrize("dora", [False, True])
def test_quantized_weights_are_added_to(dora: bool, kind: Kind, tmp_path: Path) -> None:
    """An adapter on packed weights gives what it gives on the same weights unpacked."""
    twelve = load(str(PARITY / "12b"), options=FLOAT)
    packed, same, _ = quantize_checkpoint(twelve, tmp_path, lambda path: kind, kind)
    changes = matrices(twelve.network, *EVERY)
    folder = write_peft(tmp_path / "adapter", changes, magnitude=1.3 if dora else None)
    found = logits(adapted(packed, folder))
    np.testing.assert_allclose(found, logits(adapted(same, folder)), rtol=0, atol=5e-3)
    assert np.abs(found - logits(packed)).max() > 0.1


def test_norms_of_dora_are_computed_once(e2b: LocalModel, tmp_path: Path) -> None:
    changes = matrices(e2b.network, "q_proj")
    model = adapted(e2b, write_peft(tmp_path / "dora", changes, magnitude=1.3))
    layer = next(each for each in model.network.modules() if isinstance(each, LowRankLinear))
    layer["_kept_share"] = mx.zeros_like(layer["_kept_share"])
    assert not layer(mx.ones((1, layer.lora_a.shape[0]))).any()


def test_dora_of_mlx_lm_scales_rows_to_magnitudes(e2b: LocalModel, tmp_path: Path) -> None:
    path = "language_model.model.layers.2.mlp.up_proj"
    ((_, (a, b)),) = matrices(e2b.network, "layers.2.mlp.up_proj").items()
    m = mx.random.uniform(0.5, 1.5, (b.shape[0],))
    tensors = {f"{path}.lora_a": a.T, f"{path}.lora_b": b.T, f"{path}.m": m}
    config = mlx_config("dora")
    dora = adapted(e2b, write(tmp_path / "dora", tensors, config, "adapters.safetensors"))
    weight = plain_rows(dict(e2b.network.named_modules())[path], 0, 1 << 30).astype(mx.float32)
    summed = weight + SCALE * b @ a
    whole = m[:, None] * summed / mx.linalg.norm(summed, axis=1, keepdims=True)
    config = mlx_config("full")
    tensors = {f"{path}.weight": whole}
    full = adapted(e2b, write(tmp_path / "full", tensors, config, "adapters.safetensors"))
    np.testing.assert_allclose(logits(dora), logits(full), rtol=0, atol=1e-3)


def test_experts_of_mlx_lm_have_a_product_each(tmp_path: Path) -> None:
    model = load(str(PARITY / "26b"), options=FLOAT)
    mx.random.seed(2)
    tensors, fused = {}, {}
    for name, outputs, inputs in (
        ("gate_proj", 16, 32),
        ("up_proj", 16, 32),
        ("down_proj", 32, 16),
    ):
        path = f"language_model.model.layers.0.experts.switch_glu.{name}"
        a = mx.random.normal((8, 2, inputs)) * inputs**-0.5
        b = 0.3 * mx.random.normal((8, outputs, 2))
        tensors |= {f"{path}.lora_a": a, f"{path}.lora_b": b}
        weight = dict(model.network.named_modules())[path]["weight"].astype(mx.float32)
        fused[f"{path}.weight"] = weight + SCALE * b @ a
    thin = write(tmp_path / "thin", tensors, mlx_config(), "adapters.safetensors")
    full = write(tmp_path / "full", fused, mlx_config("full"), "adapters.safetensors")
    found = adapted(model, thin)
    assert sum(isinstance(each, LowRankSwitchLinear) for each in found.network.modules()) == 3
    np.testing.assert_allclose(logits(found), logits(adapted(model, full)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dora", [False, True])
def test_the_layers_compute_what_those_of_mlx_lm_do(dora: bool) -> None:
    lora = pytest.importorskip("mlx_lm.tuner.lora" if not dora else "mlx_lm.tuner.dora")
    mx.random.seed(0)
    base = nn.Linear(64, 48).to_quantized(64, 8)
    theirs = (lora.DoRALinear if dora else lora.LoRALinear).from_base(base, r=4, scale=3.0)
    theirs.lora_b = mx.random.normal(theirs.lora_b.shape)
    m = theirs.m * 1.2 if dora else None
    if dora:
        theirs.m = m
    ours = LowRankLinear(base, theirs.lora_a, theirs.lora_b, 3.0, m)
    x = mx.random.normal((2, 5, 64))
    theirs.eval()
    for training in (True, False):
        ours.train(training)
        assert mx.allclose(ours(x), theirs(x), atol=1e-4, rtol=1e-4).item()
    assert {name for name, _ in tree_flatten(ours.parameters())} == {
        name for name, _ in tree_flatten(theirs.parameters())
    }


def test_the_first_tensor_that_does_not_fit_is_named(e2b: LocalModel, tmp_path: Path) -> None:
    fits = matrices(e2b.network, "layers.0.self_attn.q_proj")
    a, b = next(iter(fits.values()))
    fits["language_model.model.layers.1.mlp.up_proj"] = (a, b)
    fits["language_model.model.layers.99.mlp.up_proj"] = (a, b)
    with pytest.raises(AdapterError) as caught:
        adapted(e2b, write_peft(tmp_path / "other", fits))
    tensor = "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight"
    assert caught.value.tensor == tensor or caught.value.tensor.endswith("lora_B.weight")
    assert "does not fit" in str(caught.value) and "it was trained on tiny" in str(caught.value)


def test_keys_of_layers_that_reuse_others_are_not_needed(e2b: LocalModel, tmp_path: Path) -> None:
    changes = matrices(e2b.network, "layers.0.self_attn.k_proj")
    ((_, pair),) = changes.items()
    unused = {**changes, "language_model.model.layers.7.self_attn.k_proj": pair}
    plain = logits(adapted(e2b, write_peft(tmp_path / "one", changes)))
    assert (logits(adapted(e2b, write_peft(tmp_path / "two", unused))) == plain).all()


def test_an_adapter_is_part_of_what_a_prompt_cache_depends_on(
    e2b: LocalModel, tmp_path: Path
) -> None:
    changes = matrices(e2b.network, "layers.0.self_attn.q_proj")
    one = adapted(e2b, write_peft(tmp_path / "one", changes))
    two = adapted(one, write_peft(tmp_path / "two", changes))
    assert len({key_of(e2b), key_of(one), key_of(two)}) == 3
    assert change_adapter(two, None) is e2b


def test_whole_tensors_take_the_place_of_quantized_ones(tmp_path: Path) -> None:
    twelve = load(str(PARITY / "12b"), options=FLOAT)
    packed, _, _ = quantize_checkpoint(twelve, tmp_path, lambda path: AFFINE4, AFFINE4)
    head = mx.random.normal((400, 32))
    tensors = {"base_model.model.lm_head.modules_to_save.weight": head}
    config = peft_config(modules_to_save=["lm_head"])
    saved = write(tmp_path / "saved", tensors, config, "adapter_model.safetensors")
    found = adapted(packed, saved)
    assert not found.network.config.text.tied_embeddings
    hidden = mx.random.normal((1, 1, 32))
    cap = found.network.config.text.logit_softcap
    expected = mx.tanh(hidden @ head.T / cap) * cap
    assert mx.allclose(found.network.language_model.logits(hidden), expected, atol=1e-3).item()


def test_a_drafter_stays_when_the_adapter_changes(e2b: LocalModel, tmp_path: Path) -> None:
    """How well it guesses is learned anew for each adapter."""
    folder = write_peft(tmp_path / "mine", matrices(e2b.network, "q_proj"))
    drafter = ResolvedModel.of("drafter", PARITY.parent / "drafters" / "e2b")
    model = load(str(PARITY / "e2b"), adapter=str(folder), options=FLOAT, drafter=drafter)
    plain = change_adapter(model, None)
    again = change_adapter(model, str(folder))
    found = [each.drafter for each in (model, plain, again) if isinstance(each, LocalModel)]
    assert len({id(each.network) for each in found if each is not None}) == 1
    assert len({id(each.pace) for each in found if each is not None}) == 3
