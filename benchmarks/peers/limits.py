"""What work a checkpoint takes: bytes per token, operations per token and per image.

Counted from the headers of the weights; norms, activations and the KV cache are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

BYTES = {"U32": 4, "BF16": 2}
PACKED = 8
"""4-bit values in a word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What the work takes.

    Attributes:
        step: Bytes of weights that one decoded token reads.
        token: Operations of one token of a prompt through every layer, without the vocabulary.
        image: Operations of the vision tower for one picture; 0 without a tower.
    """

    step: int
    token: int
    image: int


def of_checkpoint(folder: Path, patches: int) -> Load:
    """Count for a checkpoint in MLX's 4-bit layout and a picture of ``patches`` patches."""
    with (folder / "model.safetensors").open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    config = json.loads((folder / "config.json").read_text())
    text = {
        name: entry
        for name, entry in header.items()
        if name.startswith("language_model.") and "embed_tokens_per_layer" not in name
    }
    layers = [entry for name, entry in text.items() if "embed_tokens" not in name]
    tower = [entry for name, entry in header.items() if name.startswith("vision_tower.encoder.")]
    matrices = [prod(entry["shape"]) for entry in tower if len(entry["shape"]) == 2]
    attention = 0
    if tower:
        vision = config["vision_config"]
        attention = 4 * patches**2 * vision["hidden_size"] * vision["num_hidden_layers"]
    return Load(
        step=sum(prod(entry["shape"]) * BYTES[entry["dtype"]] for entry in text.values()),
        token=2 * sum(prod(e["shape"]) * PACKED for e in layers if e["dtype"] == "U32"),
        image=attention + 2 * patches * sum(matrices),
    )
