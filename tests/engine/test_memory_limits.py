"""What has no room is refused before it runs, with what to change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gemma4cli.decoded import AudioClip, Image
from gemma4cli.engine import memory_limits as room
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ModelTooLargeError, PromptTooLargeError
from gemma4cli.hub.cache import resolve
from gemma4cli.machine.device import Device, Memory
from gemma4cli.messages import AudioPart, ImagePart, Message, Part, Source, TextPart
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

OPTIONS = GenerateOptions(max_tokens=16)
SOURCE = Source(name="drawn")


def give(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(room, "obtainable", lambda: free)


def asked(model: LoadedModel, *, images: int = 0, sound: bool = False) -> ModelInputs:
    parts: list[Part] = [ImagePart(source=SOURCE)] * images
    parts.append(TextPart(text="What is this?"))
    media: list[Image | AudioClip] = [
        Image(pixels=np.zeros((96, 96, 3), np.uint8), name="drawn") for _ in range(images)
    ]
    if sound:
        parts.append(AudioPart(source=SOURCE))
        media.append(AudioClip(samples=np.zeros(160_000, np.float32), name="drawn"))
    return model.processor.prepare([Message(role="user", content=tuple(parts))], media)


def test_what_has_room_runs(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    give(monkeypatch, 10**9)
    room.require_room_for_model(resolve("tiny"))
    room.require_room_for_prompt(tiny, asked(tiny, images=1, sound=True), OPTIONS)


def test_model_without_room(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    give(monkeypatch, 10**6)
    with pytest.raises(ModelTooLargeError) as caught:
        room.require_room_for_model(resolve("tiny"))
    assert caught.value.free == 10**6 < caught.value.needed
    text = str(caught.value)
    assert "close other programs" in text and "G4_IGNORE_MEMORY=1" in text and "\n" not in text


def test_a_model_that_would_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, 6 * 10**9)
    monkeypatch.setattr(room, "needs_of", lambda model, work, dtype: 20 * 10**9)
    with pytest.raises(
        ModelTooLargeError, match=r"takes about 20\.0 GB .* 6\.0 GB .*e2b would fit"
    ):
        room.require_room_for_model(resolve("tiny"))


def test_a_broken_config_is_left_to_loading() -> None:
    room.require_room_for_model(replace(resolve("tiny"), config={}))


@pytest.mark.parametrize(
    ("images", "sound", "advice"),
    [
        (0, False, "shorten the text, lower --max-tokens"),
        (1, False, "take a smaller --budget"),
        (0, True, "take a shorter clip"),
    ],
)
def test_prompt_without_room(
    monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel, images: int, sound: bool, advice: str
) -> None:
    give(monkeypatch, 10**6)
    with pytest.raises(PromptTooLargeError, match=advice):
        room.require_room_for_prompt(tiny, asked(tiny, images=images, sound=sound), OPTIONS)


def test_many_frames_without_room(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    """Frames of a long clip fill the cache rather than the tower."""
    give(monkeypatch, 10**6)
    inputs = asked(tiny, images=30)
    with pytest.raises(PromptTooLargeError, match="fewer frames or images"):
        room.require_room_for_prompt(tiny, inputs, replace(OPTIONS, prefill_step_size=8192))


def test_the_answer_counts_up_to_the_context(tiny: LoadedModel) -> None:
    inputs = asked(tiny)
    short = room.work_of(tiny, inputs, OPTIONS)
    assert short.tokens == len(inputs.ids) + 16
    endless = room.work_of(tiny, inputs, GenerateOptions(max_tokens=10**6))
    assert endless.tokens == tiny.context_length


def test_media_count_by_their_soft_tokens(tiny: LoadedModel) -> None:
    inputs = asked(tiny, images=2, sound=True)
    work = room.work_of(tiny, inputs, OPTIONS)
    assert len(work.images) == 2
    assert sum(work.images) + work.clip_tokens == inputs.num_soft_tokens


def test_it_can_be_tried_all_the_same(monkeypatch: pytest.MonkeyPatch, tiny: LoadedModel) -> None:
    give(monkeypatch, 0)
    monkeypatch.setenv("G4_IGNORE_MEMORY", "1")
    room.require_room_for_model(resolve("tiny"))
    room.require_room_for_prompt(tiny, asked(tiny), OPTIONS)


@pytest.mark.parametrize(("backend", "expected"), [("Metal", 700), ("CUDA", 350), ("CPU", 350)])
def test_obtainable(monkeypatch: pytest.MonkeyPatch, backend: str, expected: int) -> None:
    """On a Mac other programs make room; elsewhere what this process holds comes on top."""
    found = Device(backend=backend, name="")  # type: ignore[arg-type]
    monkeypatch.setattr(room, "device", lambda: found)
    monkeypatch.setattr(room, "model_memory", lambda: Memory(total=1000, free=300, limit=700))
    monkeypatch.setattr(room, "taken", lambda: 50)
    assert room.obtainable() == expected
