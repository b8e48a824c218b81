"""Starting weights from a checkpoint: a finished model learns on, or gives a new one its tower.

What a stage keeps in its own folder goes before: a checkpoint is only read where a stage begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

_CLIP_BOUNDS = ("input_min", "input_max", "output_min", "output_max")


def weights_of(checkpoint: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The weights of the part ``prefix`` in float32, without the bounds of clipped linears."""
    stored = load_file(checkpoint / "model.safetensors")
    return {
        name.removeprefix(prefix): value.float()
        for name, value in stored.items()
        if name.startswith(prefix) and not name.endswith(_CLIP_BOUNDS)
    }


def start_from(module: nn.Module, checkpoint: Path, prefix: str) -> None:
    """Load a part of a checkpoint. Clip bounds stay open, as they have to be while it learns.

    Raises RuntimeError if the checkpoint has not exactly the weights that the module asks for.
    """
    bounds = {n: v for n, v in module.state_dict().items() if n.endswith(_CLIP_BOUNDS)}
    module.load_state_dict(bounds | weights_of(checkpoint, prefix))


def heads_from(heads: Mapping[str, nn.Module], file: Path, stage: str) -> None:
    """Load heads of a stage, by name, from what ``training.kept_heads`` wrote.

    Raises RuntimeError if they are others.
    """
    kept = load_file(file)
    for head, module in heads.items():
        prefix = kept_prefix(stage, head)
        module.load_state_dict(
            {n.removeprefix(prefix): v.float() for n, v in kept.items() if n.startswith(prefix)}
        )


def kept_prefix(stage: str, head: str) -> str:
    """What the names of a head's weights begin with in a file of kept heads."""
    return f"{stage}.{head}."


def progress(step: int, steps: int, learnt: float) -> float:
    """How much of a curriculum is over, 0-1, if ``learnt`` of it was when the stage began."""
    return learnt + (1 - learnt) * step / steps
