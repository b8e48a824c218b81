"""Variants of a loaded model, and its logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import mlx.core as mx
import pytest

from gemma4cli.engine.model import FeatureCache, LoadedModel
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.language import Cache
from gemma4cli.models.masks import NO_MASKS, Masks


def fresh(model: LoadedModel, limit: int | None = None, **generation: object) -> LoadedModel:
    """The same model with an empty feature cache, and optionally other generation settings."""
    cache = FeatureCache() if limit is None else FeatureCache(limit)
    changed = dataclasses.replace(model.generation, **generation)
    return dataclasses.replace(model, soft_tokens=cache, generation=changed)


def narrow(model: LoadedModel, limit: int, patch: pytest.MonkeyPatch) -> None:
    """Give the model a context of ``limit`` tokens."""
    text = dataclasses.replace(model.network.config.text, max_positions=limit)
    config = dataclasses.replace(model.network.config, text=text)
    patch.setattr(model.network, "config", config)


def logits_after(
    network: Gemma4,
    inputs: tuple[mx.array, mx.array | None],
    cache: Sequence[Cache],
    masks: Masks = NO_MASKS,
) -> mx.array:
    """Logits ``[B, L, V]`` after embedded tokens, which extend ``cache``; one by default."""
    text = network.language_model
    return text.logits(text.model(*inputs, cache, masks))
