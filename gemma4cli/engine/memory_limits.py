"""Refuse what would run out of memory, before it does.

``G4_IGNORE_MEMORY=1`` refuses nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import ContextLengthError, LoadError, ModelTooLargeError, PromptTooLargeError
from ..hub.cache import needs_of
from ..hub.catalog import largest_within
from ..machine.device import device, model_memory, taken
from ..machine.memory import Footprint, Work, audio_size, footprint, vision_size

if TYPE_CHECKING:
    from ..hub.resolved import ResolvedModel
    from ..options import DType, GenerateOptions
    from ..processing.inputs import ModelInputs
    from ..processing.prompt import Prompt
    from .model import LoadedModel

_SHORTEST = Work(tokens=512)
"""A short question and its answer: a model that has no room for it is of no use."""


def obtainable() -> int:
    """Bytes that a run may take, those that this process holds already included.

    On a Mac other programs make room up to what Metal recommends; elsewhere it is what is free.
    """
    memory = model_memory()
    found = device()
    if found is not None and found.backend == "Metal":
        return memory.limit
    return memory.free + (taken() if found is not None else 0)


def require_room_for_model(model: ResolvedModel, dtype: DType = "auto") -> None:
    """Raise ModelTooLargeError where not even a short run of the model has room."""
    if _ignored():
        return
    try:
        needed = needs_of(model, _SHORTEST, dtype)
    except LoadError:  # loading says what is wrong, and better
        return
    room = obtainable()
    if needed > room:
        smaller = largest_within(room)
        hint = f"{smaller} would fit" if smaller else "close other programs"
        raise ModelTooLargeError(model.name, needed, room, f"take a smaller model with -m ({hint})")


def require_room_for_prompt(
    model: LoadedModel,
    inputs: ModelInputs | Prompt,
    options: GenerateOptions,
    *,
    hint: str | None = None,
) -> None:
    """Raise PromptTooLargeError where prompt, media and answer have no room.

    ``hint`` says what to change where the caller knows better.
    """
    from .model_info import numerics_of, weights_in_memory

    if _ignored():
        return
    work = work_of(model, inputs, options)
    config, numerics = model.network.config, numerics_of(model)
    needed = footprint(config, weights_in_memory(model), numerics, work)
    room = obtainable()
    if needed.total <= room:
        return
    sight = vision_size(config.vision, work.images, numerics)
    sound = audio_size(config.audio, work.clip_tokens, numerics)
    raise PromptTooLargeError(needed.total, room, hint or _way_out(needed, work, sight, sound))


def require_room_for_plan(model: LoadedModel, prompt: Prompt, options: GenerateOptions) -> None:
    """Raise ContextLengthError or PromptTooLargeError for clips that are not decoded yet.

    ``prompt`` has placeholders for what is planned.
    """
    tokens, limit = len(prompt.ids), model.context_length
    frames = [span.end - span.start for span in prompt.spans if span.kind == "video"]
    if tokens < limit:
        require_room_for_prompt(model, prompt, options, hint=_smaller_clip("fewer frames"))
        return
    each = _FRAME_TEXT + max(frames, default=0)
    fitting = (limit - 1 - tokens) // each + len(frames)
    if fitting < 1:
        raise ContextLengthError(
            tokens, limit, f"leave the sound out with --no-audio, or take {_SMALLER_PART}"
        )
    raise ContextLengthError(tokens, limit, _smaller_clip(f"at most about {fitting} frames"))


_FRAME_TEXT = 8
"""Tokens around the soft tokens of a frame: its time, and markers."""
_SMALLER_PART = "a part of the clip with --from and --to, or go through it with --segment"


def _smaller_clip(frames: str) -> str:
    return f"take {frames} with --video-max-frames, a smaller --budget, {_SMALLER_PART}"


def work_of(model: LoadedModel, inputs: ModelInputs | Prompt, options: GenerateOptions) -> Work:
    """What answering a prompt has to do; the answer is taken to be as long as it may be."""
    spans = [(span.kind, span.end - span.start) for span in inputs.spans]
    return Work(
        tokens=min(len(inputs.ids) + options.max_tokens, model.context_length),
        step=options.prefill_step_size,
        images=tuple(length for kind, length in spans if kind != "audio"),
        clip_tokens=max((length for kind, length in spans if kind == "audio"), default=0),
    )


def _way_out(needed: Footprint, work: Work, sight: int, sound: int) -> str:
    """What to change, by what takes most of all that can be changed."""
    if sight == needed.working and sight > needed.cache:
        return "take a smaller --budget"
    if len(work.images) > 1:
        return "take fewer frames or images, or a smaller --budget"
    if sound == needed.working and sound > needed.cache:
        return "take a shorter clip"
    return "shorten the text, lower --max-tokens, or take a smaller model with -m"


def _ignored() -> bool:
    return os.environ.get("G4_IGNORE_MEMORY", "") not in ("", "0")
