"""What the twin's tensors are called in a published checkpoint."""

from __future__ import annotations

_NAMES = {
    "embed_vision.patch_": "vision_embedder.patch_",
    "embed_vision.pos_": "vision_embedder.pos_",
    "embed_vision.multimodal_embedder.": "embed_vision.",
}
"""Where the reference's modules go by another name than the published tensors."""


def published_name(name: str) -> str:
    """A tensor's name in the published checkpoints, from its name in Gemma4UnifiedModel."""
    for ours, theirs in _NAMES.items():
        if name.startswith(ours):
            return f"model.{theirs}{name.removeprefix(ours)}"
    return f"model.{name}"


COMPUTED = "language_model.rotary_emb."
"""The module whose buffers are computed, not stored."""
