"""Bounds of the towers' clipped linear layers, from what passes through them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

_MARGIN = 2.5


@torch.no_grad()
def set_clip_bounds(tower: nn.Module, inputs: Iterable[Mapping[str, torch.Tensor]]) -> None:
    """Let every clipped layer bound its input and output at 2.5 times the largest value seen.

    ``inputs`` are the keyword arguments of the tower's forward. The towers are trained unbounded;
    bounds that ordinary inputs never reach let a loader's handling of them be tested.
    """
    layers = [module for module in tower.modules() if isinstance(module, Gemma4ClippableLinear)]
    for layer in layers:
        for bound in (layer.input_min, layer.output_min):
            bound.fill_(-torch.inf)
        for bound in (layer.input_max, layer.output_max):
            bound.fill_(torch.inf)
    largest: dict[nn.Module, list[float]] = {layer: [0.0, 0.0] for layer in layers}

    def watch(layer: nn.Module, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
        seen = largest[layer]
        seen[0] = max(seen[0], float(given[0].abs().max()))
        seen[1] = max(seen[1], float(result.abs().max()))

    hooks = [layer.register_forward_hook(watch) for layer in layers]
    for each in inputs:
        tower(**each)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        given, result = (_MARGIN * value for value in largest[layer])
        layer.input_min.fill_(-given)
        layer.input_max.fill_(given)
        layer.output_min.fill_(-result)
        layer.output_max.fill_(result)
