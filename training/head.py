"""A linear head that teaches states what they stand for, and is thrown away afterwards."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


class Head(nn.Module):
    """``[N, width]`` to logits float32 ``[N, classes]``; the states are normed first."""

    def __init__(self, width: int, classes: int, generator: np.random.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)
        weight = generator.standard_normal(self.linear.weight.shape) / math.sqrt(width)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight))
            self.linear.bias.zero_()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        width = (self.linear.in_features,)
        logits: torch.Tensor = self.linear(nn.functional.rms_norm(states, width, eps=1e-6))
        return logits.float()
