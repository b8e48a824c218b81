"""What the memory of a run depends on in a loaded model: its weights' size and dtype."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, cast

from ..machine.device import numerics
from ..machine.memory import Numerics, Weights

if TYPE_CHECKING:
    import mlx.core as mx
    import mlx.nn as nn

    from ..models.config import Gemma4Config
    from .model import LoadedModel


def weights_in_memory(model: LoadedModel) -> Weights:
    """Bytes of a model's weights in memory, with those of its drafter and of others beside it.

    Computed once.

    Other threads may ask while the model runs, which changes what its layers hold.
    """
    drafter = () if model.drafter is None else (model.drafter.network,)
    networks = [*model.beside, model.network, *drafter]
    key = tuple(id(each) for each in networks)
    if key not in model.sizes:
        # By identity: an output head may be the embeddings with something added.
        tensors = {id(t): (name, t) for each in networks for name, t in tensors_of(each)}.values()
        model.sizes[key] = Weights.of(
            ((name, prod(value.shape) * value.dtype.size) for name, value in tensors),
            mapped=numerics_of(model).native,
        )
    return model.sizes[key]


def sizes_of(model: LoadedModel) -> Gemma4Config:
    """The config with the sizes that this process's memory depends on."""
    return replace(model.network.config, text=model.network.language_model.sizes)


def tensors_of(network: nn.Module) -> list[tuple[str, mx.array]]:
    """All weights with their names."""
    from mlx.utils import tree_flatten

    return cast("list[tuple[str, mx.array]]", tree_flatten(network.parameters()))


def numerics_of(model: LoadedModel) -> Numerics:
    """How a loaded model computes."""
    return replace(numerics(model.options.dtype), item=computed_in(model).size)


def computed_in(model: LoadedModel) -> mx.Dtype:
    """The dtype of its activations."""
    return computed_dtype(model.network)


def computed_dtype(network: nn.Module) -> mx.Dtype:
    """The dtype of a network's activations."""
    dtype: mx.Dtype = network.language_model.model.norm.weight.dtype
    return dtype
