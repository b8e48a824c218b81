"""The same subsampling, several times faster on a CPU.

The reference normalises over channels that lie far apart in memory and copies the map twice for
it. Here the channels lie side by side from the convolution on, so the norm needs no copy.
"""

from __future__ import annotations

import types

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4AudioModel,
    Gemma4AudioSubSampleConvProjectionLayer,
)

from ..device import on_gpu


def use_channels_last(tower: Gemma4AudioModel) -> None:
    """Let ``tower`` subsample with channels last, from now on; a GPU does so by itself."""
    if on_gpu():
        return
    projection = tower.subsample_conv_projection
    for layer in (projection.layer0, projection.layer1):
        layer.forward = types.MethodType(_forward, layer)


def _forward(
    self: Gemma4AudioSubSampleConvProjectionLayer,
    hidden_states: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Maps ``[B, C, T, F]`` to half of T and F, as the reference layer does."""
    if mask is not None:
        hidden_states = hidden_states * mask[:, None, :, None]
    convolved = (
        _convolved_one(self.conv, hidden_states)
        if self.conv.in_channels == 1
        else self.conv(hidden_states).permute(0, 2, 3, 1)
    )
    # Under autocast the norm would widen the whole map to float32, and the next layer narrow it.
    with torch.autocast(hidden_states.device.type, enabled=False):
        rectified = self.act(self.norm(convolved))
    return rectified.permute(0, 3, 1, 2), None if mask is None else mask[:, ::2]


def _convolved_one(conv: nn.Conv2d, hidden_states: torch.Tensor) -> torch.Tensor:
    """``[B, 1, T, F]`` to ``[B, T/2, F/2, C]``; torch puts the channels of one channel first."""
    padded = F.pad(hidden_states[:, 0], (1, 1, 1, 1))
    windows = padded.unfold(1, 3, 2).unfold(2, 3, 2).flatten(3)
    return windows @ conv.weight.flatten(1).T
