"""Models and prompts that do not fit in memory are rejected before they run, with a hint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.published import config_of

from gemma4cli.decoded import AudioClip, Image
from gemma4cli.engine import memory_limits
from gemma4cli.engine.loaded_weights import numerics_of
from gemma4cli.engine.memory_limits import require_memory_for_model, require_memory_for_prompt
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ModelTooLargeError, PromptTooLargeError
from gemma4cli.hub.resolving import resolve
from gemma4cli.machine.device import Device, Memory
from gemma4cli.machine.memory import Numerics, Weights, Work
from gemma4cli.messages import AudioPart, ImagePart, Message, Part, Source, TextPart
from gemma4cli.models.config import Gemma4Config
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

OPTIONS = GenerateOptions(max_tokens=16)
SOURCE = Source(name="drawn")


def set_available(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(memory_limits, "available_memory", lambda: size)


def prompt_with(model: LoadedModel, *, images: int = 0, sound: bool = False) -> ModelInputs:
    parts: list[Part] = [ImagePart(source=SOURCE)] * images
    parts.append(TextPart(text="What is this?"))
    media: list[Image | AudioClip] = [
        Image(pixels=np.zeros((96, 96, 3), np.uint8), name="drawn") for _ in range(images)
    ]
    if sound:
        parts.append(AudioPart(source=SOURCE))
        media.append(AudioClip(samples=np.zeros(160_000, np.float32), name="drawn"))
    return model.processor.prepare([Message(role="user", content=tuple(parts))], media)


def test_a_model_and_a_prompt_that_fit_are_accepted(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel
) -> None:
    set_available(monkeypatch, 10**9)
    require_memory_for_model(resolve("tiny"))
    require_memory_for_prompt(tiny, prompt_with(tiny, images=1, sound=True), OPTIONS)


def test_a_model_that_does_not_fit_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel
) -> None:
    set_available(monkeypatch, 10**6)
    with pytest.raises(ModelTooLargeError) as caught:
        require_memory_for_model(resolve("tiny"))
    assert caught.value.free == 10**6 < caught.value.needed
    text = str(caught.value)
    assert "close other programs" in text and "G4_IGNORE_MEMORY=1" in text and "\n" not in text


def test_the_error_names_a_model_that_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    set_available(monkeypatch, 6 * 10**9)
    monkeypatch.setattr(memory_limits, "needs_of", lambda model, work, dtype: 20 * 10**9)
    with pytest.raises(ModelTooLargeError) as caught:
        require_memory_for_model(replace(resolve("tiny"), name="31b"))
    assert str(caught.value) == (
        "31b needs about 20.0 GB of memory; 6.0 GB available: use a smaller model with -m "
        "(e2b would fit), or set G4_IGNORE_MEMORY=1 to try anyway"
    )


def test_a_broken_config_is_reported_by_loading_instead() -> None:
    require_memory_for_model(replace(resolve("tiny"), config={}))


@pytest.mark.parametrize(
    ("images", "sound", "step", "hint"),
    [
        (0, False, 512, "shorten the text, lower --max-tokens"),
        (1, False, 512, "use a smaller --budget"),
        (0, True, 512, "use a shorter clip"),
        # The frames of a long video fill the cache rather than the tower.
        (200, False, 8192, "fewer frames or images"),
    ],
    ids=["text", "image", "sound", "many frames"],
)
def test_the_error_says_what_to_change_in_a_prompt_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    tiny: LoadedModel,
    images: int,
    sound: bool,
    step: int,
    hint: str,
) -> None:
    set_available(monkeypatch, 10**6)
    inputs = prompt_with(tiny, images=images, sound=sound)
    with pytest.raises(PromptTooLargeError, match=hint):
        require_memory_for_prompt(tiny, inputs, replace(OPTIONS, prefill_step_size=step))


GPU = Numerics(item=2, backend="Metal")
GB = 10**9


def test_the_prefill_step_of_a_gpu_is_the_largest_up_to_2048_that_fits_its_memory() -> None:
    """31B in 4 bits, 32,768 tokens."""
    config = Gemma4Config.from_dict(config_of("google__gemma-4-31B-it"))
    weights = Weights(text=18 * GB, vision=0, audio=0)
    work = Work(tokens=32_768)
    steps = [
        memory_limits.largest_step(config, weights, GPU, work, available)
        for available in (20 * GB, 27 * GB, 48 * GB, 139 * GB)
    ]
    assert steps == sorted(steps) and {steps[0], steps[-1]} == {512, 2048} and 1024 in steps


def test_the_prefill_step_of_a_cpu_is_512_and_the_options_is_taken_anywhere(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = prompt_with(tiny)
    if numerics_of(tiny).on_cpu:
        assert memory_limits.prefill_step(tiny, inputs, OPTIONS) == 512
    monkeypatch.setattr("gemma4cli.engine.loaded_weights.numerics_of", lambda model: GPU)
    set_available(monkeypatch, 10 * GB)
    assert memory_limits.prefill_step(tiny, inputs, OPTIONS) == 2048
    set_available(monkeypatch, 10**6)
    assert memory_limits.prefill_step(tiny, inputs, OPTIONS) == 512
    chosen = replace(OPTIONS, prefill_step_size=7)
    assert memory_limits.prefill_step(tiny, inputs, chosen) == 7


def test_an_answer_counts_with_its_longest_length_up_to_the_context(tiny: LoadedModel) -> None:
    inputs = prompt_with(tiny)
    short = memory_limits.work_of(tiny, inputs, OPTIONS)
    assert short.tokens == len(inputs.ids) + 16
    endless = memory_limits.work_of(tiny, inputs, GenerateOptions(max_tokens=10**6))
    assert endless.tokens == tiny.context_length


def test_media_count_by_their_soft_tokens(tiny: LoadedModel) -> None:
    inputs = prompt_with(tiny, images=2, sound=True)
    work = memory_limits.work_of(tiny, inputs, OPTIONS)
    assert len(work.images) == 2
    assert sum(work.images) + work.clip_tokens == inputs.num_soft_tokens


def test_g4_ignore_memory_disables_the_checks(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel
) -> None:
    set_available(monkeypatch, 0)
    monkeypatch.setenv("G4_IGNORE_MEMORY", "1")
    require_memory_for_model(resolve("tiny"))
    require_memory_for_prompt(tiny, prompt_with(tiny), OPTIONS)


@pytest.mark.parametrize(("backend", "expected"), [("Metal", 700), ("CUDA", 350), ("CPU", 350)])
def test_metal_has_its_limit_available_and_others_free_memory_plus_what_mlx_holds(
    monkeypatch: pytest.MonkeyPatch, backend: str, expected: int
) -> None:
    memory = Memory(total=1000, free=300, limit=700)
    found = Device(backend=backend, name="")  # type: ignore[arg-type]
    monkeypatch.setattr(memory_limits, "device", lambda: found)
    if backend != "Metal":  # there it would take a process
        monkeypatch.setattr(memory_limits, "model_memory", lambda: memory)
    monkeypatch.setattr(memory_limits, "memory_limit", lambda found: memory.limit)
    monkeypatch.setattr(memory_limits, "taken", lambda: 50)
    assert memory_limits.available_memory() == expected
