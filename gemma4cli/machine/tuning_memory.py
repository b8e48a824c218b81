"""How much memory a step of a tuning needs beside the weights, computed before it starts.

Pure arithmetic like ``memory``; upper bounds fitted to measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..models.config import Gemma4Config
from ..models.text_config import TextConfig
from ..models.tower_config import AudioConfig, VisionConfig
from .memory import Numerics


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningWork:
    """What a step of a tuning computes at once.

    ``length`` counts the tokens of each of ``rows``, ``targets`` those that are learned, and
    ``tower_tokens`` the soft tokens that towers compute in the step. ``parameters`` are trained.
    With ``unpacks``, quantized weights are unpacked for products, and kept for the gradient unless
    layers ``recompute`` their inner values; the native part unpacks none.
    """

    rows: int
    length: int
    targets: int
    parameters: int
    recompute: bool
    unpacks: bool = False
    tower_tokens: int = 0


_LOGIT_ROWS = 256
_NATIVE_LOGIT_ROWS = 128
"""Positions whose logits are in memory at once (models/training.py); two times 64 in flight."""
_QUERY_ROWS = 1024
"""Rows of scores that the native part computes again at once for gradients (attention_back.cpp)."""
_SCORE_ARRAYS = 4
"""Arrays of as many numbers as these scores, of all keys."""
_VALUES_IN_FLIGHT = 8
"""Widest arrays of a layer while its gradient is computed."""


def tuning_size(config: Gemma4Config, numerics: Numerics, work: TuningWork) -> int:
    """Everything beside the weights that a step needs: values for the gradients, the optimizer.

    Parameters, their gradients, and both of Adam's means are in float32, and so is a copy of the
    best parameters and one of each during an update.
    """
    text = config.text
    native = numerics.native
    by_layer = [_layer_values(text, work, index, native) for index in range(text.num_layers)]
    layer, every = max(by_layer), sum(by_layer)
    tokens = work.rows * work.length
    entries = tokens * text.num_layers * (2 * text.hidden_size + 3 * text.ple_size)
    unpacked = scores = 0
    if native:
        scores = _SCORE_ARRAYS * _QUERY_ROWS * work.length
        layer += _VALUES_IN_FLIGHT * tokens * _widest(text)
    elif work.unpacks:
        matrices = _matrix_sizes(text)
        unpacked = max(matrices) if work.recompute else sum(matrices)
        unpacked += text.vocab_size * text.hidden_size
    # Values that are computed again are there of two layers at a time.
    again = layer + max(by_layer) if native else 4 * layer
    kept = entries + (again if work.recompute else every + layer)
    at_once = _NATIVE_LOGIT_ROWS if native else _LOGIT_ROWS
    logits = 4 * 5 * min(work.targets, at_once) * text.vocab_size
    towers = _tower_values(config, work, native)
    return numerics.item * (kept + unpacked + scores + towers) + logits + 4 * 8 * work.parameters


def _layer_values(text: TextConfig, work: TuningWork, index: int, native: bool) -> int:
    """Numbers that a layer keeps for its gradient.

    Without the native part, all attention weights and what MLX's norms and activations keep.
    """
    width = _head_width(text, index)
    inner = _inner_width(text, index)
    heads = text.num_heads * width
    if native:
        keys = text.num_kv_heads * width * (index < text.num_stored_layers)
        values = 8 * text.hidden_size + 3 * heads + 4 * keys + 3 * inner + 3 * text.ple_size
    else:
        attended = 2 * text.num_heads * work.length
        values = 6 * text.hidden_size + 4 * heads + 5 * _widest(text) + attended
    return work.rows * work.length * values


def _head_width(text: TextConfig, index: int) -> int:
    return text.global_head_dim if text.layer_types[index] == "full_attention" else text.head_dim


def _inner_width(text: TextConfig, index: int) -> int:
    """Numbers of a token inside a layer's feed-forward step."""
    doubled = text.double_wide_mlp and index >= text.num_stored_layers
    inner = text.intermediate_size * (2 if doubled else 1)
    if text.moe is not None:
        inner += text.moe.top_k * text.moe.intermediate_size
    return inner


def _widest(text: TextConfig) -> int:
    return max(_inner_width(text, index) for index in range(text.num_layers))


def _matrix_sizes(text: TextConfig) -> list[int]:
    """Numbers in the matrices of each layer."""
    sizes = []
    for index in range(text.num_layers):
        heads = 2 * (text.num_heads + text.num_kv_heads) * _head_width(text, index)
        sizes.append(text.hidden_size * (heads + 3 * _widest(text) + 2 * text.ple_size))
    return sizes


def _tower_values(config: Gemma4Config, work: TuningWork, native: bool) -> int:
    """Numbers that towers keep for their gradients; the native part keeps no attention weights."""
    vision, audio = config.vision, config.audio
    widths = [0]
    if isinstance(vision, VisionConfig):
        patches = vision.pooling**2
        in_picture = patches * max(1, work.tower_tokens // max(1, work.rows))
        if native:
            width = 36 * vision.hidden_size + 10 * vision.intermediate_size
            width += _SCORE_ARRAYS * _QUERY_ROWS // vision.num_layers
        else:
            width = 14 * vision.hidden_size + 10 * vision.intermediate_size
            width += 3 * vision.num_heads * in_picture
        widths.append(patches * vision.num_layers * width)
    if isinstance(audio, AudioConfig):
        context = audio.chunk_size + audio.context_left + audio.context_right
        width = 60 * audio.hidden_size + 4 * audio.num_heads * context
        widths.append(audio.num_layers * width)
    return work.tower_tokens * max(widths)
