"""What the tower's soft tokens are asked while it is trained: linear heads and their loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..head import Head
from .labels import CLASSES, IGNORED

_NONE_WEIGHT = {"shape": 0.15, "color": 0.15, "center": 0.2, "first": 0.1, "second": 0.05}
"""The weight of class 0, which most tokens have, where it means that there is nothing."""
HEAD_WEIGHT = {
    "shape": 1.0,
    "color": 1.0,
    "center": 0.5,
    "row": 0.5,
    "column": 0.5,
    "count": 1.0,
    "order": 1.0,
    "first": 2.0,
    "second": 0.3,
    "index": 0.7,
    "length": 0.4,
}


class Heads(nn.Module):
    """What a soft token, or the state of one, shows: logits ``[tokens, classes]`` of each head."""

    def __init__(self, width: int, generator: np.random.Generator) -> None:
        super().__init__()
        self.all = Head(width, sum(CLASSES.values()), generator)

    def forward(self, soft_tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = self.all(soft_tokens).split(list(CLASSES.values()), dim=-1)
        return dict(zip(CLASSES, parts, strict=True))


def by_head(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """int64 ``[tokens]`` of each head, from ``label_rows``, int8 ``[tokens, heads]``."""
    return dict(zip(CLASSES, rows.long().unbind(1), strict=True))


def heads_loss(
    logits: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum of the heads' losses, and each of them; NaN where no target is known."""
    losses = {}
    for name, classes in CLASSES.items():
        weight = torch.ones(classes, device=logits[name].device)
        weight[0] = _NONE_WEIGHT.get(name, 1.0)
        losses[name] = functional.cross_entropy(
            logits[name], targets[name], weight=weight, ignore_index=IGNORED
        )
    weighed = torch.stack([HEAD_WEIGHT[name] * loss for name, loss in losses.items()])
    return weighed.nansum(), losses
