"""Prompts that are longer than the model's context; mlx is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ContextLengthError

if TYPE_CHECKING:
    from ..messages import MediaKind
    from ..processing.inputs import ModelInputs
    from ..processing.prompt import Prompt

_FRAME_TEXT = 8
"""Tokens around the soft tokens of a frame: its timestamp and markers."""
_SMALLER_MEDIA: dict[MediaKind, str] = {
    "image": "fewer images, a smaller --budget",
    "audio": "shorter recordings",
    "video": "fewer video frames (--video-max-frames)",
}
_SMALLER_PART = "part of the clip with --from and --to, or split it with --segment"


def check_context(inputs: ModelInputs, limit: int) -> None:
    """Raise ContextLengthError for a prompt that fills the whole context of ``limit`` tokens."""
    if len(inputs.ids) >= limit:
        kinds = {span.kind for span in inputs.spans}
        cures = ["less text", *(cure for kind, cure in _SMALLER_MEDIA.items() if kind in kinds)]
        raise ContextLengthError(len(inputs.ids), limit, f"use {', '.join(cures)}")


def check_plan_context(prompt: Prompt, limit: int) -> None:
    """Raise ContextLengthError for clips before they are decoded.

    ``prompt`` has placeholders for the planned frames and sound.
    """
    tokens = len(prompt.ids)
    if tokens < limit:
        return
    frames = [span.end - span.start for span in prompt.spans if span.kind == "video"]
    each = _FRAME_TEXT + max(frames, default=0)
    fitting = (limit - 1 - tokens) // each + len(frames)
    if fitting < 1:
        raise ContextLengthError(
            tokens, limit, f"leave the sound out with --no-audio, use {_SMALLER_PART}"
        )
    raise ContextLengthError(tokens, limit, smaller_clip(f"at most about {fitting} frames"))


def smaller_clip(frames: str) -> str:
    """What to do about a clip that is too large; ``frames`` is how many to use."""
    return f"use {frames} with --video-max-frames, a smaller --budget, {_SMALLER_PART}"
