"""Reject models and prompts that would run out of memory, before they run.

``G4_IGNORE_MEMORY=1`` disables these checks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import LoadError, ModelTooLargeError, PromptTooLargeError
from ..hub.catalog import largest_within
from ..hub.needs import needs_of, weights_needed
from ..machine.address_space import address_limit
from ..machine.device import device, float_size, memory_limit, model_memory, taken
from ..machine.memory import (
    Footprint,
    Kept,
    Numerics,
    Weights,
    Work,
    audio_size,
    cache_size,
    footprint,
    vision_size,
)
from .context_limits import check_plan_context, smaller_clip

if TYPE_CHECKING:
    from ..hub.adapter_files import AdapterFile
    from ..hub.resolved import ResolvedModel
    from ..models.config import Gemma4Config
    from ..options import DType, GenerateOptions
    from ..processing.inputs import ModelInputs
    from ..processing.prompt import Prompt
    from .answering import Prompt as Answered
    from .model import LoadedModel

_SHORTEST = Work(tokens=512)
"""The smallest request a model must fit in memory to be worth loading."""
_STEPS = (512, 1024, 2048)
"""Prefill steps. More make a GPU faster up to the last, and need more memory."""
_STEP_SHARE = 0.9
"""Share of the available memory that a run with more than the first step may take."""


def available_memory() -> int:
    """Bytes that a run may use, including what MLX has already allocated in this process.

    On a Mac the system frees memory of other programs, up to the limit that Metal recommends;
    elsewhere only free memory counts.
    """
    found = device()
    if found is not None and found.backend == "Metal":
        return memory_limit(found)  # what is free is of no interest, and costs a process to ask
    return model_memory().free + (taken() if found is not None else 0)


def require_memory_for_model(
    model: ResolvedModel,
    dtype: DType = "auto",
    drafter: ResolvedModel | None = None,
    adapters: Sequence[AdapterFile] = (),
) -> None:
    """Raise ModelTooLargeError if not even the smallest request fits in memory.

    ``adapters`` are to be loaded beside the model.
    """
    if _ignored():
        return
    try:
        needed = needs_of(model, _SHORTEST, dtype)
        if drafter is not None:
            needed += weights_needed(drafter, dtype)
        needed += sum(each.size(float_size(dtype)) for each in adapters)
    except LoadError:  # loading reports the problem in more detail
        return
    available = available_memory()
    if needed > available:
        smaller = largest_within(available)
        hint = f"use a smaller model with -m ({smaller} would fit)"
        if smaller is None:
            hint = "use a smaller model with -m, close other programs"
        if address_limit() is not None:
            hint = f"raise the limit of this process (ulimit -v), {hint}"
        raise ModelTooLargeError(model.name, needed, available, hint)


def require_memory_for_prompt(
    model: LoadedModel,
    inputs: ModelInputs | Prompt,
    options: GenerateOptions,
    *,
    kept: Kept | None = None,
    hint: str | None = None,
) -> None:
    """Raise PromptTooLargeError if prompt, media and answer do not fit in memory.

    ``kept`` is what the conversation holds, if it is one. ``hint`` says what to change; by default
    it follows from what needs the most memory.
    """
    from .loaded_weights import numerics_of, sizes_of, weights_in_memory

    if _ignored():
        return
    work = work_of(model, inputs, options, kept)
    config, numerics = sizes_of(model), numerics_of(model)
    needed = footprint(config, weights_in_memory(model), numerics, work)
    available = available_memory()
    if needed.total <= available:
        return
    if hint is None:
        vision = vision_size(config.vision, work.images, numerics)
        audio = audio_size(config.audio, work.clip_tokens, numerics)
        hint = _hint(needed, work, vision, audio)
    raise PromptTooLargeError(needed.total, available, hint)


def require_memory_for_plan(model: LoadedModel, prompt: Prompt, options: GenerateOptions) -> None:
    """Raise ContextLengthError or PromptTooLargeError for clips before they are decoded.

    ``prompt`` has placeholders for the planned frames and sound.
    """
    check_plan_context(prompt, model.context_length)
    require_memory_for_prompt(model, prompt, options, hint=smaller_clip("fewer frames"))


def work_of(
    model: LoadedModel,
    inputs: ModelInputs | Prompt,
    options: GenerateOptions,
    kept: Kept | None = None,
) -> Work:
    """The work of answering a prompt, assuming the longest answer that the options allow."""
    spans = [(span.kind, span.end - span.start) for span in inputs.spans]
    return Work(
        tokens=min(len(inputs.ids) + options.max_tokens, model.context_length),
        step=options.prefill_step_size or _STEPS[0],
        images=tuple(length for kind, length in spans if kind != "audio"),
        clip_tokens=max((length for kind, length in spans if kind == "audio"), default=0),
        kept=None if kept is None else replace(kept, soft_tokens=model.soft_tokens.held),
        kv_bits=model.options.kv_bits,
    )


def memory_beside(model: LoadedModel, prompt: Answered, others: Sequence[Answered]) -> int:
    """Bytes that would be left if ``prompt`` ran beside ``others``, at their longest."""
    from .loaded_weights import numerics_of, sizes_of, weights_in_memory
    from .running_rows import padded_lengths

    if _ignored():
        return sys.maxsize
    config, numerics = sizes_of(model), numerics_of(model)
    works = [work_of(model, each.inputs, each.options) for each in (prompt, *others)]
    needed = footprint(config, weights_in_memory(model), numerics, works[0])
    lengths = [work.tokens for work in works]
    if model.options.kv_bits is None:
        lengths = padded_lengths(lengths)
    caches = sum(
        cache_size(config.text, length, numerics.item, works[0].step, model.options.kv_bits).total
        for length in lengths
    )
    return available_memory() - needed.total + needed.cache - caches


def prefill_step(
    model: LoadedModel,
    inputs: ModelInputs,
    options: GenerateOptions,
    kept: Kept | None = None,
) -> int:
    """The options' prefill step, or else the largest that fits the memory of a GPU.

    On a CPU it is always the smallest: larger ones read the prompt no faster there.
    """
    from .loaded_weights import numerics_of, sizes_of, weights_in_memory

    numerics = numerics_of(model)
    if options.prefill_step_size is not None or numerics.on_cpu:
        return options.prefill_step_size or _STEPS[0]
    return largest_step(
        sizes_of(model),
        weights_in_memory(model),
        numerics,
        work_of(model, inputs, options, kept),
        available_memory(),
    )


def largest_step(
    config: Gemma4Config, weights: Weights, numerics: Numerics, work: Work, available: int
) -> int:
    """The largest prefill step with which a run fits ``available`` bytes with some to spare."""

    def fits(step: int) -> bool:
        needed = footprint(config, weights, numerics, replace(work, step=step))
        return needed.total <= _STEP_SHARE * available

    return max(filter(fits, _STEPS), default=_STEPS[0])


def _hint(needed: Footprint, work: Work, vision: int, audio: int) -> str:
    """What to change: the part that needs the most memory of those the user can change."""
    if vision == needed.working and vision > needed.cache:
        return "use a smaller --budget"
    if len(work.images) > 1:
        return "use fewer frames or images, use a smaller --budget"
    if audio == needed.working and audio > needed.cache:
        return "use a shorter clip"
    return "shorten the text, lower --max-tokens, use a smaller model with -m"


def checks_memory() -> bool:
    """Whether runs that do not fit are rejected."""
    return not _ignored()


def _ignored() -> bool:
    return os.environ.get("G4_IGNORE_MEMORY", "") not in ("", "0")
