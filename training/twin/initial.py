"""Starting weights of the twin, chosen so that nothing has to be found by chance.

The vision embedder starts as the low spatial frequencies of a square in three colour axes. The
audio projection starts as windowed cosines and sines on a mel scale, and the first MLP squares
them: a linear map of raw samples hears phases only, energies need a product.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import Gemma4UnifiedModel
from transformers.models.gemma4_unified.modeling_gemma4_unified import (
    Gemma4UnifiedTextAttention,
    Gemma4UnifiedTextDecoderLayer,
    Gemma4UnifiedVisionEmbedder,
)

from gemma4cli.decoded import SAMPLE_RATE

_POST_NORM = 0.5
_FIRST_POST_NORM = 0.25
"""Of the first attention: what it mixes in before the squares are taken is noise to them."""
_POSITION_SCALE = 0.3
_CONSTANT = -1
"""The component that is the same in every square of a picture."""
_CONSTANT_VALUE = 2.0
_DISPLACEMENTS = ((-1.0, 1.0, -8.0, 8.0), (-2.0, 2.0, -16.0, 16.0))
"""Where the heads of the first layers look: beside a square, and in rows of eight above it."""
_STRENGTHS = (1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.3, 0.2)
"""Of the highest frequencies: they make the peak narrow, the lower ones keep it the only one."""
_SHARPNESS = 12.0
"""The attention logit at the chosen displacement."""
_CONTENT = 0.25
"""Size of the random part of such a head's queries and keys, relative to its pattern."""
_BANDS = 20
_PARTS_OF_A_FRAME = 4
_LOWEST_HERTZ, _HIGHEST_HERTZ = 150.0, 5500.0
_SHARE_OF_A_COLOR_AXIS = 0.22
_COLOR_AXES = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
"""Brightness, red against green, yellow against blue; orthonormal rows over (R, G, B)."""


@torch.no_grad()
def initialise(model: Gemma4UnifiedModel, generator: np.random.Generator) -> None:
    """Set every weight that transformers has not set as it should be."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _fan_in(module, generator)
    text = model.language_model
    table = text.embed_tokens.weight
    rows = generator.standard_normal(table.shape) / math.sqrt(table.shape[1])
    table.copy_(torch.from_numpy(rows))
    for layer in text.layers:
        attention = layer.self_attn
        for norm in (attention.q_norm, attention.k_norm):
            # Gemma 4's attention has no 1/sqrt(d): these norms carry it.
            norm.weight.fill_(attention.head_dim**-0.25)
        for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm):
            norm.weight.fill_(_POST_NORM)
    _see_low_frequencies(model.embed_vision, generator)
    frequencies = text.rotary_emb.sliding_attention_inv_freq.double().numpy()
    for layer, displacements in zip(text.layers, _DISPLACEMENTS, strict=False):
        _look_beside(layer.self_attn, displacements, frequencies)
    hidden = text.config.hidden_size
    if hidden != 2 * _BANDS * _PARTS_OF_A_FRAME:
        raise ValueError(f"a filter bank of {2 * _BANDS * _PARTS_OF_A_FRAME} does not fit {hidden}")
    projection = model.embed_audio.embedding_projection.weight
    projection.copy_(torch.from_numpy(filter_bank(projection.shape[1])))
    _square(text.layers[0], generator)


def _fan_in(linear: nn.Linear, generator: np.random.Generator) -> None:
    rows, columns = linear.weight.shape
    values = generator.standard_normal((rows, columns)) / math.sqrt(columns)
    linear.weight.copy_(torch.from_numpy(values))
    if linear.bias is not None:
        linear.bias.zero_()


def _see_low_frequencies(
    embedder: Gemma4UnifiedVisionEmbedder, generator: np.random.Generator
) -> None:
    width, inputs = embedder.patch_dense.weight.shape
    side = math.isqrt(inputs // 3)
    embedder.patch_dense.weight.copy_(torch.from_numpy(cosine_patterns(side, width)))
    length = embedder.pos_embedding.shape[0]
    wavelengths = np.geomspace(6.0, 2.0 * length, 24)
    angles = 2 * np.pi * np.arange(length)[:, None] / wavelengths
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    mix = generator.standard_normal((2, waves.shape[1], width)) / math.sqrt(waves.shape[1] / 2)
    table = _POSITION_SCALE * np.einsum("pw,awd->pad", waves, mix)
    embedder.pos_embedding.copy_(torch.from_numpy(table))
    embedder.pos_norm.weight[_CONSTANT] = 0.0
    embedder.pos_norm.bias[_CONSTANT] = _CONSTANT_VALUE
    projection = embedder.multimodal_embedder.embedding_projection.weight
    projection[:, _CONSTANT] = projection[_CONSTANT] = 0.0
    projection[_CONSTANT, _CONSTANT] = 1.0


def _look_beside(
    attention: Gemma4UnifiedTextAttention,
    displacements: tuple[float, ...],
    frequencies: npt.NDArray[np.float64],
) -> None:
    """Let each head attend at a displacement, in tokens, wherever the constant component is.

    A head's components are cosines, then sines: the pairs (i, i + d/2) turn together.
    """
    strength = np.zeros(len(frequencies))
    strength[: len(_STRENGTHS)] = _STRENGTHS
    key = np.concatenate([strength, np.zeros_like(strength)])
    queries = [
        np.concatenate([strength * wave(frequencies * distance) for wave in (np.cos, np.sin)])
        for distance in displacements
    ]
    keys = [key] * (attention.k_proj.weight.shape[0] // attention.head_dim)
    for projection, patterns in ((attention.q_proj, queries), (attention.k_proj, keys)):
        projection.weight *= _CONTENT
        pattern = torch.from_numpy(np.concatenate(patterns)) / _CONSTANT_VALUE
        projection.weight[:, _CONSTANT] = pattern.to(projection.weight.dtype)
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(math.sqrt(_SHARPNESS / attention.head_dim))


def cosine_patterns(side: int, count: int) -> npt.NDArray[np.float64]:
    """``[count, side*side*3]``: cosines of the lowest frequencies in three colour axes.

    More of brightness than of colour, as eyes and encoders have it. Higher frequencies are made
    louder, for pictures have less of them.
    """
    places = math.pi * (np.arange(side) + 0.5) / side
    order = sorted(
        ((down, across) for down in range(side) for across in range(side)),
        key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair),
    )
    of_color = round(_SHARE_OF_A_COLOR_AXIS * count)
    patterns: list[npt.NDArray[np.float64]] = []
    for number, (down, across) in enumerate(order[: count - 2 * of_color]):
        plane = np.outer(np.cos(down * places), np.cos(across * places))
        plane *= math.sqrt(3 * (1 + math.hypot(down, across)) / np.square(plane).mean()) / side**2
        axes = _COLOR_AXES if number < of_color else _COLOR_AXES[:1]
        patterns += [(plane[..., None] * axis).reshape(-1) for axis in axes]
    return np.stack(patterns)


def filter_bank(samples: int) -> npt.NDArray[np.float64]:
    """``[2 * bands * parts, samples]``: a cosine and a sine of each band for each part of a frame.

    Hann windows of neighbouring parts overlap by half; a frame of loudness 1 gives about 1.
    """
    mels = np.linspace(_to_mel(_LOWEST_HERTZ), _to_mel(_HIGHEST_HERTZ), _BANDS)
    hertz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    length = 2 * samples / (_PARTS_OF_A_FRAME + 1)
    time = np.arange(samples)
    filters = []
    for frequency in hertz:
        angle = 2 * np.pi * frequency * time / SAMPLE_RATE
        for part in range(_PARTS_OF_A_FRAME):
            place = (time + 0.5 - part * length / 2) / length
            window = np.where((place > 0) & (place < 1), np.sin(np.pi * place) ** 2, 0.0)
            for wave in (np.cos(angle), np.sin(angle)):
                filters.append(window * wave / np.linalg.norm(window * wave))
    return np.stack(filters)


def _to_mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def _square(layer: Gemma4UnifiedTextDecoderLayer, generator: np.random.Generator) -> None:
    """Let pairs of hidden units of the MLP give the square of each component.

    gelu(x) * x is the square of a positive x and little of a negative one, so one unit sees the
    component and another its negative. A band's cosines and sines lead to the same place.
    """
    mlp = layer.mlp
    hidden, units = mlp.down_proj.weight.shape
    gain = 1.5
    for component in range(hidden):
        for unit, sign in ((2 * component, gain), (2 * component + 1, -gain)):
            for projection in (mlp.gate_proj, mlp.up_proj):
                projection.weight[unit] = 0.0
                projection.weight[unit, component] = sign
    directions = generator.standard_normal((hidden, hidden // 2)) / math.sqrt(units)
    energies = torch.from_numpy(np.repeat(directions, 4, axis=1))
    mlp.down_proj.weight[:, : energies.shape[1]] = energies.to(mlp.down_proj.weight.dtype)
    layer.post_attention_layernorm.weight.fill_(_FIRST_POST_NORM)
