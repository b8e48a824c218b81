"""Starting weights of the vision tower.

Gemma 4's attention has no 1/sqrt(d): the norms of queries and keys carry the scale. In the first
two layers every head starts out looking at a place beside its own patch, so that the tower begins
as something like a convolution: queries and keys are a fixed pattern that comes from a constant
component of the position table, and the rotation by position makes their product peak at a chosen
displacement.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from transformers.models.gemma4.modeling_gemma4 import Gemma4VisionAttention, Gemma4VisionModel

_CONSTANT = 0
"""The hidden component that is the same for every patch."""
_CONSTANT_VALUE = 1.5
_POSITION_SCALE = 0.3
_POST_NORM = 0.5
_LOCAL_SHARPNESS = 20.0
"""The attention logit at the chosen displacement."""
_LOCAL_STRENGTHS = (1.0, 0.8, 0.6, 0.4, 0.3)
"""Of the highest frequencies: they make the peak narrow, the lower ones keep it the only one."""
_CONTENT = 0.25
"""Size of the random part of a local head's queries and keys, relative to its pattern."""
_DISPLACEMENTS = (
    ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)),
    ((-2.0, 0.0), (2.0, 0.0), (0.0, -2.0), (0.0, 2.0)),
)
"""(x, y) in patches for each head of the first layers."""


@torch.no_grad()
def initialise_vision_tower(
    model: Gemma4VisionModel, generator: np.random.Generator, *, local: bool = True
) -> None:
    """Set every weight of the tower; clip bounds stay open."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _fan_in(module, generator)
    for layer in model.encoder.layers:
        attention = layer.self_attn
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight.fill_(attention.head_dim**-0.25)
        for norm in (layer.input_layernorm, layer.pre_feedforward_layernorm):
            norm.weight.fill_(1.0)
        for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
            norm.weight.fill_(_POST_NORM)
    table = model.patch_embedder.position_embedding_table
    table.copy_(_positions(table.shape[1], table.shape[2], generator))
    if local:
        frequencies = model.encoder.rotary_emb.inv_freq.double().numpy()
        for layer, displacements in zip(model.encoder.layers, _DISPLACEMENTS, strict=False):
            _look_beside(layer.self_attn, displacements, frequencies)


def _fan_in(linear: nn.Linear, generator: np.random.Generator) -> None:
    rows, columns = linear.weight.shape
    values = generator.standard_normal((rows, columns)) / math.sqrt(columns)
    linear.weight.copy_(torch.from_numpy(values))


def _positions(length: int, width: int, generator: np.random.Generator) -> torch.Tensor:
    """``[2, length, width]``: smooth in the position, so that rarely seen ones behave."""
    wavelengths = np.geomspace(6.0, 2.0 * length, 24)
    angles = 2 * np.pi * np.arange(length)[:, None] / wavelengths
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    mix = generator.standard_normal((2, waves.shape[1], width)) / math.sqrt(waves.shape[1] / 2)
    table = _POSITION_SCALE * (waves @ mix)
    table[:, :, _CONSTANT] = _CONSTANT_VALUE
    return torch.from_numpy(table)


def _look_beside(
    attention: Gemma4VisionAttention,
    displacements: tuple[tuple[float, float], ...],
    frequencies: np.ndarray,
) -> None:
    """Let each head attend around a displacement from its own patch.

    A head's components are x's cosines, x's sines, then y's: pairs (i, i + d/4) turn together.
    """
    quarter = attention.head_dim // 4
    strength = np.zeros(quarter)
    strength[: len(_LOCAL_STRENGTHS)] = _LOCAL_STRENGTHS
    for head, displacement in enumerate(displacements):
        rows = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        key = np.concatenate([strength, np.zeros(quarter)] * 2)
        query = np.concatenate(
            [
                part
                for distance in displacement
                for part in (
                    strength * np.cos(frequencies * distance),
                    strength * np.sin(frequencies * distance),
                )
            ]
        )
        for projection, pattern in ((attention.q_proj, query), (attention.k_proj, key)):
            weight = projection.linear.weight
            weight[rows] *= _CONTENT
            weight[rows, _CONSTANT] = torch.from_numpy(pattern).to(weight.dtype)
    scale = math.sqrt(_LOCAL_SHARPNESS / attention.head_dim)
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(scale)
