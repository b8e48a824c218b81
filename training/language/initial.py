"""Starting weights of the language model and the projectors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from transformers.models.gemma4.modeling_gemma4 import Gemma4TextModel

_POST_NORM = 0.5
_PER_LAYER_NORM = 0.3
_LAYER_SCALARS = (0.9, 1.1, 0.95, 1.05, 0.9, 1.1)
"""Not all one, so that a loader that forgets them is found out."""


@torch.no_grad()
def initialise_language_model(model: Gemma4TextModel, generator: np.random.Generator) -> None:
    """Set every weight.

    Gemma 4's attention has no 1/sqrt(d): the norms of queries and keys carry the scale, and at 1
    attention would start out sharp and random.
    """
    config = model.config
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _normal(module.weight, 1 / math.sqrt(module.in_features), generator)
    _normal(model.embed_tokens.weight, 1 / math.sqrt(config.hidden_size), generator)
    _normal(
        model.embed_tokens_per_layer.weight,
        1 / math.sqrt(config.hidden_size_per_layer_input),
        generator,
    )
    for layer, scalar in zip(model.layers, _LAYER_SCALARS, strict=True):
        layer.layer_scalar.fill_(scalar)
        attention = layer.self_attn
        attention.q_norm.weight.fill_(attention.head_dim**-0.25)
        if not attention.is_kv_shared_layer:
            attention.k_norm.weight.fill_(attention.head_dim**-0.25)
        layer.post_attention_layernorm.weight.fill_(_POST_NORM)
        layer.post_feedforward_layernorm.weight.fill_(_POST_NORM)
        layer.post_per_layer_input_norm.weight.fill_(_PER_LAYER_NORM)


@torch.no_grad()
def project_to_words(
    projection: nn.Linear,
    said: torch.Tensor,
    heads: torch.Tensor,
    *,
    size: float = 4.0,
) -> None:
    """Let a soft token start out as the embedding of the words that the tower's heads say.

    ``said`` ``[W, hidden]`` are the words' embeddings, ``heads`` ``[W, width]`` the rows of the
    linear heads that speak for them. With tied embeddings copying them is then easy to learn.
    ``size`` is the root mean square that projected tokens of unit mean square come to have.
    """
    projection.weight.zero_()
    add_words(projection, said, heads, size=size)


@torch.no_grad()
def add_words(
    projection: nn.Linear, said: torch.Tensor, heads: torch.Tensor, *, size: float
) -> None:
    """Add to a soft token what further heads say."""
    weight = said.T @ (heads - heads.mean(dim=0))
    projection.weight += weight * (size / weight.pow(2).sum(dim=1).mean().sqrt())


def rotation(width: int, generator: np.random.Generator) -> torch.Tensor:
    """A random rotation ``[width, width]``: embeddings turned by it are words in another role."""
    turned, _ = np.linalg.qr(generator.standard_normal((width, width)))
    return torch.from_numpy(turned).float()


def _normal(weight: torch.Tensor, std: float, generator: np.random.Generator) -> None:
    values = generator.standard_normal(tuple(weight.shape)) * std
    weight.copy_(torch.from_numpy(values))
