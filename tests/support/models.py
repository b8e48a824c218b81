"""Variants of a loaded model."""

from __future__ import annotations

import dataclasses

import pytest

from gemma4cli.engine.model import FeatureCache, LoadedModel


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
