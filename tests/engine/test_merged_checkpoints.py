"""Checkpoints as training and merging tools leave them answer like the plain one, or say why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from support.checkpoints import PARITY, Tensors, json_of, tensors_of, variant

from gemma4cli.api import generate, load
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import CheckpointError, WeightsMismatchError
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.names import canonical_names
from gemma4cli.models.weights import load_weights, sanitize
from gemma4cli.options import GenerateOptions, LoadOptions

E2B = PARITY / "e2b"
QUERY = "model.language_model.layers.0.self_attn.q_proj"
GREEDY = GenerateOptions(max_tokens=6, temperature=0)

Change = Callable[[Tensors], Tensors]


def with_prefix(prefix: str) -> Change:
    return lambda tensors: {f"{prefix}{name}": value for name, value in tensors.items()}


def compiled_layers(tensors: Tensors) -> Tensors:
    return {re.sub(r"(layers\.\d+)\.", r"\1._orig_mod.", n): v for n, v in tensors.items()}


def base_layers(tensors: Tensors) -> Tensors:
    return {re.sub(r"(_proj)\.weight$", r"\1.base_layer.weight", n): v for n, v in tensors.items()}


def extra_buffers(tensors: Tensors) -> Tensors:
    one = mx.ones((1,))
    names = (
        "model.language_model.rotary_emb.inv_freq",
        "model.language_model.rotary_emb.full_attention_original_inv_freq",
        "model.language_model.embed_tokens.embed_scale",
        "model.vision_tower.embeddings.position_ids",
        f"{QUERY}.weight_fake_quant.scale",
        f"{QUERY}.activation_post_process.min_val",
        f"{QUERY}.input_quantizer._amax",
    )
    return tensors | dict.fromkeys(names, one)


@pytest.mark.parametrize(
    "change",
    [
        with_prefix("base_model.model."),
        with_prefix("module."),
        with_prefix("_orig_mod."),
        with_prefix("_orig_mod.module.base_model.model."),
        with_prefix("_fsdp_wrapped_module."),
        with_prefix("model."),
        compiled_layers,
        base_layers,
        lambda tensors: with_prefix("base_model.model.")(base_layers(tensors)),
        extra_buffers,
    ],
    ids=[
        "peft",
        "parallel",
        "compiled",
        "all of these",
        "sharded",
        "model twice",
        "compiled layers",
        "base layers",
        "peft with base layers",
        "buffers",
    ],
)
def test_what_tools_leave_around_the_tensors_does_not_matter(
    change: Change, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    folder = variant(E2B, tmp_path, tensors=change(tensors_of(E2B)))
    model = load(str(folder))
    assert model.processor.sees and model.processor.hears
    expected = generate(parity_model("e2b"), "Hi there", options=GREEDY)
    assert generate(model, "Hi there", options=GREEDY) == expected


def test_value_ranges_that_the_config_switches_off_are_not_used(tmp_path: Path) -> None:
    tensors = tensors_of(E2B)
    config = json_of(E2B)
    plain = {n: v for n, v in tensors.items() if not re.search(r"(put_min|put_max)$", n)}
    assert len(plain) < len(tensors)
    for key in ("vision_config", "audio_config"):
        config[key]["use_clipped_linears"] = False
    config["vision_config"]["standardize"] = False
    plain = {n: v for n, v in plain.items() if ".std_" not in n}
    with_ranges = load(str(variant(E2B, tmp_path / "a", tensors=tensors, config=config)))
    without = load(str(variant(E2B, tmp_path / "b", tensors=plain, config=config)))
    patches = mx.ones((1, 36, 3 * with_ranges.network.config.vision.patch_size**2))  # type: ignore[union-attr]
    soft = [
        np.array(each.network.encode_images(patches, (6, 6))) for each in (with_ranges, without)
    ]
    np.testing.assert_array_equal(*soft)


def test_value_ranges_of_towers_that_were_left_out_do_not_matter(tmp_path: Path) -> None:
    ranges = re.compile(r"(put_min|put_max|\.std_bias|\.std_scale)$")
    tensors = {
        n: v
        for n, v in tensors_of(E2B).items()
        if n.startswith("model.language_model.") or ranges.search(n)
    }
    assert any(ranges.search(name) for name in tensors)
    model = load(str(variant(E2B, tmp_path, tensors=tensors)))
    assert not model.processor.sees and not model.processor.hears


@pytest.mark.parametrize(
    "names",
    [
        (f"{QUERY}.lora_A.weight", f"{QUERY}.lora_B.weight"),
        (f"{QUERY}.lora_A.default.weight", f"{QUERY}.lora_B.default.weight"),
        (f"{QUERY}.lora_a", f"{QUERY}.lora_b"),
        (f"{QUERY}.lora_magnitude_vector",),
        (f"base_model.model.{QUERY}.lora_A.weight",),
        ("lm_head.modules_to_save.default.weight",),
        (f"{QUERY}.hada_w1_a",),
    ],
    ids=lambda names: str(names[0]),
)
def test_adapter_tensors_that_are_not_merged_are_an_error_that_says_so(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    tensors = tensors_of(E2B) | dict.fromkeys(names, mx.ones((4, 4)))
    with pytest.raises(CheckpointError) as caught:
        load(str(variant(E2B, tmp_path, tensors=tensors)))
    message = str(caught.value)
    assert names[0] in message and "not merged" in message
    assert "merge_and_unload" in message and "mlx_lm.fuse" in message
    assert "ownload" not in message


def test_a_prefix_that_only_some_tensors_have_is_not_guessed_away() -> None:
    names = canonical_names(["module.model.norm.weight", "model.layers.0.x.weight"])
    assert names["module.model.norm.weight"] != "language_model.model.norm.weight"


def test_missing_tensors_are_named_and_the_tool_that_left_them_out_is_suspected(
    tmp_path: Path,
) -> None:
    tensors = {n: v for n, v in tensors_of(E2B).items() if "layers.1.mlp" not in n}
    with pytest.raises(WeightsMismatchError) as caught:
        load(str(variant(E2B, tmp_path, tensors=tensors)))
    message = str(caught.value)
    assert all(name in message for name in caught.value.missing[:3])
    assert "a tool made this checkpoint, it left them out" in message


@pytest.mark.parametrize("others", [mx.float32, mx.float16])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_tensors_of_several_dtypes_answer_like_those_of_one(
    others: mx.Dtype, dtype: str, parity_model: Callable[[str], LoadedModel], tmp_path: Path
) -> None:
    """Norms and the last layer in another precision, as a trainer keeps what it trained."""
    mixed = {
        name: value.astype(others)
        if mx.issubdtype(value.dtype, mx.floating) and ("norm" in name or ".layers.3." in name)
        else value
        for name, value in tensors_of(E2B).items()
    }
    folder = variant(E2B, tmp_path / "mixed", tensors=mixed)
    options = LoadOptions(dtype=dtype)  # type: ignore[arg-type]
    one = load(str(E2B), options=options)
    answers = {generate(m, "Hi", options=GREEDY) for m in (one, load(str(folder), options=options))}
    assert len(answers) == 1


def test_without_a_dtype_a_language_model_is_computed_in_that_of_most_numbers() -> None:
    tensors = tensors_of(E2B)
    mixed = {n: v.astype(mx.float32) if "norm" in n else v for n, v in tensors.items()}
    config = Gemma4Config.from_dict(json_of(E2B))
    network = Gemma4(config)
    load_weights(network, sanitize(mixed, config), None)
    assert {v.dtype for _, v in tree_flatten(network.language_model.parameters())} == {mx.bfloat16}
    assert network.embed_vision.embedding_projection.weight.dtype == mx.bfloat16
