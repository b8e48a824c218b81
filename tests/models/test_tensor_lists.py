"""The tensors of every published checkpoint match the networks, at full size.

Lists of their tensors go through the same steps as a real load. The arrays stay lazy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from support.published import config_of, lazy_weights, tensor_lists

from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.weights import (
    fit_config,
    fit_head,
    load_weights,
    quantize_layers,
    renamed,
    sanitize,
)

AFFINE = "4-bit affine, groups of 64"
ROUTER = "8-bit affine, groups of 64"
CONFIG_OF_LIST = {
    "12B.google-hf-bf16": "google__gemma-4-12B-it",
    "12B.mlx-bf16": "google__gemma-4-12B",
    "12B.mlx-community-4bit": "mlx-community__gemma-4-12B-it-4bit",
    "26B-A4B.google-hf-bf16": "google__gemma-4-26B-A4B-it",
    "26B-A4B.mlx-bf16": "google__gemma-4-26B-A4B-it",
    "26B-A4B.mlx-community-4bit": "mlx-community__gemma-4-26b-a4b-it-4bit",
    "31B.google-hf-bf16": "google__gemma-4-31B-it",
    "31B.mlx-bf16": "google__gemma-4-31B-it",
    "31B.mlx-community-4bit": "mlx-community__gemma-4-31b-it-4bit",
    "E2B.google-hf-bf16": "google__gemma-4-E2B-it",
    "E2B.mlx-bf16": "google__gemma-4-E2B-it",
    "E2B.mlx-community-4bit-2026-04": (
        "mlx-community__gemma-4-e2b-it-4bit/config.rev-2026-04.json"
    ),
    "E2B.mlx-community-4bit": "mlx-community__gemma-4-e2b-it-4bit",
    "E4B.google-hf-bf16": "google__gemma-4-E4B-it",
    "E4B.mlx-bf16": "google__gemma-4-E4B-it/config.transformers-5.12.1-resave.json",
    "E4B.mlx-community-4bit-2026-04": (
        "mlx-community__gemma-4-e4b-it-4bit/config.rev-2026-04.json"
    ),
    "E4B.mlx-community-4bit": "mlx-community__gemma-4-e4b-it-4bit",
}


def load_lazily(weights: Mapping[str, mx.array], raw: Mapping[str, Any]) -> tuple[Gemma4, set[str]]:
    """The network, loaded as from files, and the kinds of quantization."""
    config = Gemma4Config.from_dict(raw)
    named = renamed(weights)
    config, named = fit_head(fit_config(config, named), named)
    named = sanitize(named, config)
    network = Gemma4(config)
    kinds = quantize_layers(network, named, raw)
    load_weights(network, named, None)
    return network, {str(kind) for kind in kinds}


def test_each_list_of_tensors_has_a_config() -> None:
    assert set(CONFIG_OF_LIST) == set(tensor_lists())


EARLIER = "-2026-04"
"""What a list is called whose checkpoint was published anew since; a plain run has the newest."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith(EARLIER) else [])
        for name in CONFIG_OF_LIST
    ],
)
def test_a_published_checkpoint_loads_without_reading_its_weights(name: str) -> None:
    before = mx.get_active_memory()
    network, kinds = load_lazily(lazy_weights(name), config_of(CONFIG_OF_LIST[name]))
    config = network.config
    assert kinds == (
        set() if "4bit" not in name else {AFFINE, ROUTER} if "26B" in name else {AFFINE}
    )
    assert config.vision is not None
    assert (config.audio is not None) == (not name.startswith(("26B", "31B")))
    parameters = dict(tree_flatten(network.parameters()))
    total = sum(value.nbytes for value in parameters.values())
    assert total > 3e9  # the whole model
    assert mx.get_active_memory() - before < 1_000_000


def shapes_of(weights: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights.items()}


@pytest.mark.parametrize("size", ["E2B", "E4B", "12B", "26B-A4B", "31B"])
def test_googles_layout_becomes_mlxs_and_sanitizing_again_changes_nothing(size: str) -> None:
    config = Gemma4Config.from_dict(config_of(f"google__gemma-4-{size}-it"))
    layouts = {
        name: sanitize(lazy_weights(name), config)
        for name in CONFIG_OF_LIST
        if name.startswith(f"{size}.")
    }
    google, mlx = layouts[f"{size}.google-hf-bf16"], layouts[f"{size}.mlx-bf16"]
    assert {n: v.size for n, v in google.items()} == {n: v.size for n, v in mlx.items()}
    for once in layouts.values():
        assert shapes_of(sanitize(once, config)) == shapes_of(once)


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B", "31B"])
@pytest.mark.parametrize("prefix", ["model.", "language_model.model."])
def test_a_text_only_checkpoint_loads_under_the_names_of_mlx_lm_and_mlx_vlm(
    size: str, prefix: str
) -> None:
    inner = "language_model.model."
    weights = {
        prefix + name.removeprefix(inner): value
        for name, value in lazy_weights(f"{size}.mlx-bf16").items()
        if name.startswith(inner)
    }
    raw = config_of(f"google__gemma-4-{size}-it")
    if prefix == "model.":
        raw = {**raw["text_config"], "eos_token_id": [1, 106]}
    network, _ = load_lazily(weights, raw)
    assert network.config.vision is None
    assert network.config.audio is None
    assert network.config.unified == (size == "12B")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("google-hf-bf16", "lm_head.weight"), ("mlx-bf16", "language_model.lm_head.weight")],
)
def test_an_untied_vocabulary_projection_is_loaded(kind: str, name: str) -> None:
    raw = config_of("google__gemma-4-E2B-it")
    raw["tie_word_embeddings"] = False
    head = mx.ones((262144, 1536), mx.bfloat16)
    network, _ = load_lazily(lazy_weights(f"E2B.{kind}") | {name: head}, raw)
    assert network.language_model.lm_head.weight is head


def test_a_vocabulary_projection_that_equals_the_embeddings_is_dropped() -> None:
    head = mx.zeros((262144, 1536), mx.bfloat16)
    weights = lazy_weights("E2B.google-hf-bf16") | {"lm_head.weight": head}
    network, _ = load_lazily(weights, config_of("google__gemma-4-E2B-it"))
    assert "lm_head" not in network.language_model
