"""Refuse what would run out of memory, before it does.

``G4_IGNORE_MEMORY=1`` refuses nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LoadError, ModelTooLargeError, PromptTooLargeError
from .catalog import largest_within
from .machine import device, model_memory, taken
from .memory import Footprint, Work, audio_size, footprint, vision_size

if TYPE_CHECKING:
    from ..options import DType, GenerateOptions
    from ..processing.inputs import ModelInputs
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


def require_room_for_model(name: str, folder: Path, dtype: DType = "auto") -> None:
    """Raise ModelTooLargeError where not even a short run of the model has room."""
    from .hub import needs_of

    if _ignored():
        return
    try:
        needed = needs_of(folder, _SHORTEST, dtype)
    except LoadError:  # loading says what is wrong, and better
        return
    room = obtainable()
    if needed > room:
        smaller = largest_within(room)
        hint = f"{smaller} would fit" if smaller else "close other programs"
        raise ModelTooLargeError(name, needed, room, f"take a smaller model with -m ({hint})")


def require_room_for_prompt(
    model: LoadedModel, inputs: ModelInputs, options: GenerateOptions
) -> None:
    """Raise PromptTooLargeError where prompt, media and answer have no room."""
    from .info import numerics_of, weights_in_memory

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
    raise PromptTooLargeError(needed.total, room, _way_out(needed, work, sight, sound))


def work_of(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Work:
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
