"""Every published checkpoint fits: no tensor missing, none unexpected, none misshapen.

The lists of their tensors go through the same steps as a real load, at full size, and no array is
ever computed.
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
    canonical_name,
    fit_config,
    load_weights,
    quantize_layers,
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
    """What loading does between the files and the model; also the kinds of quantisation."""
    config = Gemma4Config.from_dict(raw)
    config = fit_config(config, {canonical_name(name) for name in weights})
    named = sanitize(weights, config)
    network = Gemma4(config)
    kinds = quantize_layers(network, named, raw)
    load_weights(network, named, None)
    return network, {str(kind) for kind in kinds}


def test_every_list_has_its_config() -> None:
    assert set(CONFIG_OF_LIST) == set(tensor_lists())


@pytest.mark.parametrize("name", CONFIG_OF_LIST)
def test_published_checkpoint_loads(name: str) -> None:
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
    assert total > 3e9  # the whole model, and yet:
    assert mx.get_active_memory() - before < 1_000_000


@pytest.mark.parametrize("name", CONFIG_OF_LIST)
def test_sanitizing_twice_changes_nothing(name: str) -> None:
    config = Gemma4Config.from_dict(config_of(CONFIG_OF_LIST[name]))
    once = sanitize(lazy_weights(name), config)
    twice = sanitize(once, config)
    assert {n: v.shape for n, v in twice.items()} == {n: v.shape for n, v in once.items()}


@pytest.mark.parametrize("size", ["E2B", "E4B", "12B", "26B-A4B", "31B"])
def test_google_and_mlx_layouts_become_one(size: str) -> None:
    config = Gemma4Config.from_dict(config_of(f"google__gemma-4-{size}-it"))
    google, mlx = (
        {n: value.size for n, value in sanitize(lazy_weights(f"{size}.{kind}"), config).items()}
        for kind in ("google-hf-bf16", "mlx-bf16")
    )
    assert google == mlx


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B", "31B"])
@pytest.mark.parametrize("prefix", ["model.", "language_model.model."])
def test_text_only_layout_loads(size: str, prefix: str) -> None:
    """As mlx-lm writes it: without towers, under its own or under mlx-vlm's names."""
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
def test_untied_vocabulary_projection(kind: str, name: str) -> None:
    raw = config_of("google__gemma-4-E2B-it")
    raw["tie_word_embeddings"] = False
    head = mx.zeros((262144, 1536), mx.bfloat16)
    network, _ = load_lazily(lazy_weights(f"E2B.{kind}") | {name: head}, raw)
    assert network.language_model.lm_head.weight is head


def test_tied_vocabulary_projection_is_left_out() -> None:
    head = mx.zeros((262144, 1536), mx.bfloat16)
    weights = lazy_weights("E2B.google-hf-bf16") | {"lm_head.weight": head}
    network, _ = load_lazily(weights, config_of("google__gemma-4-E2B-it"))
    assert "lm_head" not in network.language_model
