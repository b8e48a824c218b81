"""Starting weights of the audio tower from which it learns within minutes."""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel

_BRANCH_NORMS = ("post_layer_norm.weight", "norm_post_attn.weight")


def initialise_audio_tower(model: Gemma4AudioModel, generator: torch.Generator) -> None:
    """Fan-in weights; branches that are added to the stream start at half their strength."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            fan_in = module.weight[0].numel()
            rectified = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            nn.init.normal_(module.weight, std=(rectified / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.endswith(_BRANCH_NORMS):
            nn.init.constant_(parameter, 0.5)
