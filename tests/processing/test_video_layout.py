"""How the sound of a clip is placed between its frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.decoded import SAMPLE_RATE, AudioClip, VideoClip, VideoFrame
from gemma4cli.processing.audio import mel_token_count, raw_token_count
from gemma4cli.processing.config import (
    MelConfig,
    ProcessorConfig,
    RawAudioConfig,
    VisionProcessorConfig,
)
from gemma4cli.processing.processor import Processor
from gemma4cli.processing.prompt import AudioSlot, PromptStyle, VideoSlot
from gemma4cli.processing.tokenizer import Tokenizer
from gemma4cli.processing.video import (
    ClipPlan,
    ClipSection,
    frame_times,
    interleaved,
    plan_clip,
    sections,
)

Order = list[int | tuple[float, float]]


def order_of(found: tuple[ClipSection, ...]) -> Order:
    """Indices of frames, and first and last second of the sound between them."""
    order: Order = []
    for section in found:
        order += section.frames
        if section.sound is not None:
            order.append(section.sound)
    return order


@pytest.mark.parametrize(
    ("times", "end", "sound_end", "longest", "order"),
    [
        pytest.param((0, 10), 20, 20, 30, [0, 1, (0, 20)], id="one span"),
        pytest.param((0, 15, 30, 45), 60, 60, 30, [0, 1, (0, 30), 2, 3, (30, 60)], id="two spans"),
        pytest.param((0, 10), 40, 40, None, [0, 1, (0, 40)], id="no limit"),
        pytest.param((0,), 60, 60, 20, [0, (0, 20), (20, 40), (40, 60)], id="fewer frames"),
        pytest.param((0, 20), 40, 0, 10, [0, 1], id="no sound"),
        pytest.param((0, 10, 20, 30), 40, 15, 20, [0, 1, (0, 15), 2, 3], id="shorter sound"),
        pytest.param((0, 10), 20, 60, 30, [0, 1, (0, 30), (30, 60)], id="longer sound"),
        pytest.param((0, 10), 30, 30.05, 30, [0, 1, (0, 30)], id="padding"),
        pytest.param((0, 20), 40, 20.01, 20, [0, (0, 20), 1], id="inaudible rest"),
        pytest.param((0,), 0, 0, 30, [0], id="no duration"),
    ],
)
def test_sound_follows_the_frames_of_its_span(
    times: tuple[float, ...], end: float, sound_end: float, longest: float | None, order: Order
) -> None:
    found = sections(times, start=0, end=end, sound_end=sound_end, longest=longest)
    assert order_of(found) == order


def test_a_part_of_a_clip_keeps_the_times_of_the_clip() -> None:
    found = sections((100, 110, 120), start=100, end=130, sound_end=130, longest=15)
    assert order_of(found) == [0, 1, (100, 115), 2, (115, 130)]


@given(
    start=st.just(0.0) | st.floats(0, 50),
    seen=st.floats(0.5, 200),
    heard=st.floats(0.5, 200),
    longest=st.floats(1, 40),
    frames=st.integers(1, 40),
)
def test_sections_have_all_frames_and_all_sound_in_equal_spans(
    start: float, seen: float, heard: float, longest: float, frames: int
) -> None:
    end, sound_end = start + seen, start + heard
    times = frame_times(duration=end, frame_count=None, max_frames=frames, start=start)
    found = sections(times, start=start, end=end, sound_end=sound_end, longest=longest)
    assert [n for section in found for n in section.frames] == list(range(len(times)))
    assert all(section.frames or section.sound for section in found)
    sounds = [section.sound for section in found if section.sound is not None]
    assert all(one[1] == other[0] for one, other in pairwise(sounds))
    assert (sounds[0][0], sounds[-1][1]) == pytest.approx((start, sound_end), abs=0.1)
    lengths = [last - first for first, last in sounds]
    assert max(lengths) <= longest + 1e-9
    assert lengths[:-1] == pytest.approx([lengths[0]] * (len(lengths) - 1))


# Frame times


@given(
    duration=st.floats(0, 10_000),
    frame_count=st.none() | st.integers(1, 100_000),
    max_frames=st.integers(1, 200),
    fps=st.none() | st.floats(0.01, 60),
    span=st.tuples(st.floats(0, 1), st.none() | st.floats(0, 2)),
)
def test_frame_times_ascend_inside_the_requested_span(
    duration: float,
    frame_count: int | None,
    max_frames: int,
    fps: float | None,
    span: tuple[float, float | None],
) -> None:
    start = span[0] * duration
    end = None if span[1] is None else max(start, span[1] * duration)
    times = frame_times(
        duration=duration,
        frame_count=frame_count,
        max_frames=max_frames,
        fps=fps,
        start=start,
        end=end,
    )
    last = duration if end is None else min(end, duration)
    assert 1 <= len(times) <= max_frames
    assert times[0] == start
    assert all(before <= after for before, after in pairwise(times))
    assert times[-1] <= last or len(times) == 1
    gaps = [after - before for before, after in pairwise([*times, last])]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-6, abs=1e-6)
    if fps is not None and len(times) > 1:
        assert len(times) <= (last - start) * fps + 1
    if frame_count is not None and len(times) > 1:
        assert len(times) <= frame_count * (last - start) / duration + 0.5


@given(seconds=st.integers(1, 3600))
def test_one_frame_a_second_makes_as_many_frames_as_whole_seconds(seconds: int) -> None:
    """Also if floating point makes the duration slightly longer."""
    times = frame_times(duration=seconds * 0.1 * 10, frame_count=None, max_frames=3600, fps=1.0)
    assert len(times) == seconds


# Plans


def processor(tokenizer: Tokenizer, audio: MelConfig | RawAudioConfig) -> Processor:
    return Processor(
        model="m",
        tokenizer=tokenizer,
        prompt_style=PromptStyle(empty_thought=False),
        config=ProcessorConfig(vision=VisionProcessorConfig(), audio=audio, assumed=()),
        unified=isinstance(audio, RawAudioConfig),
        sees=True,
        hears=True,
    )


@given(
    seen=st.floats(0.5, 300),
    heard=st.just(0.0) | st.floats(0.5, 300),
    frames=st.integers(1, 32),
    size=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    budget=st.none() | st.sampled_from([70, 140, 280]),
    audio=st.sampled_from([MelConfig(), RawAudioConfig()]),
)
def test_a_plan_counts_what_its_slots_take(
    tiny: Tokenizer,
    seen: float,
    heard: float,
    frames: int,
    size: tuple[int, int],
    budget: int | None,
    audio: MelConfig | RawAudioConfig,
) -> None:
    times = frame_times(duration=seen, frame_count=None, max_frames=frames)
    plan = plan_clip(
        processor(tiny, audio),
        times,
        start=0.0,
        end=seen,
        sound_end=heard,
        size=size,
        budget=budget,
    )
    slots = list(plan.slots())
    images = [label for slot in slots if isinstance(slot, VideoSlot) for label in slot.frames]
    sounds = [slot.soft_tokens for slot in slots if isinstance(slot, AudioSlot)]
    assert images == [(time, plan.frame_tokens) for time in times]
    assert 1 <= plan.frame_tokens <= (budget or 70)
    assert plan.soft_tokens == len(times) * plan.frame_tokens + sum(sounds)
    lengths = [round((s.sound[1] - s.sound[0]) * SAMPLE_RATE) for s in plan.sections if s.sound]
    if isinstance(audio, MelConfig):
        assert sounds == [mel_token_count(length, audio) for length in lengths]
    else:
        assert sounds == [raw_token_count(length, audio) for length in lengths]
    assert plan.sound_seconds == pytest.approx(heard if heard else 0.0, abs=0.1)


# Decoded clips


def clip_of(seconds: tuple[float, ...], sound: float | None) -> VideoClip:
    """A clip whose samples count up, so that each shows its position."""
    pixels = np.zeros((48, 48, 3), np.uint8)
    samples = None if sound is None else np.arange(round(sound * SAMPLE_RATE), dtype=np.float32)
    return VideoClip(
        frames=tuple(VideoFrame(pixels=pixels, seconds=each) for each in seconds),
        sound=None if samples is None else AudioClip(samples=samples, name="clip"),
        name="clip",
    )


def plan_of(times: tuple[float, ...], start: float, end: float) -> ClipPlan:
    return ClipPlan(start=start, end=end, times=times, sections=(), frame_tokens=1, sound_tokens=())


def parts(clip: VideoClip, plan: ClipPlan, longest: float | None) -> list[tuple[float, ...]]:
    """Seconds of frames, and first and last second of sound."""
    return [
        tuple(frame.seconds for frame in item.frames)
        if isinstance(item, VideoClip)
        else (item.samples[0] / SAMPLE_RATE, (item.samples[-1] + 1) / SAMPLE_RATE)
        for item in interleaved(clip, plan, longest)
    ]


def test_a_clip_is_divided_as_planned() -> None:
    clip, plan = clip_of((2, 3, 4, 5), 4.0), plan_of((2, 3, 4, 5), 2, 6)
    assert parts(clip, plan, 2.0) == [(2, 3), (0, 2), (4, 5), (2, 4)]


def test_the_length_of_the_decoded_sound_decides() -> None:
    clip, plan = clip_of((0, 1, 2, 3), 1.0), plan_of((0, 1, 2, 3), 0, 4)
    assert parts(clip, plan, 2.0) == [(0, 1), (0, 1), (2, 3)]


def test_a_frame_belongs_to_the_time_it_was_requested_for() -> None:
    """The frame on screen at 2 s began earlier; it still is the first of the second span."""
    clip, plan = clip_of((0, 0.98, 1.98, 2.98), 4.0), plan_of((0, 1, 2, 3), 0, 4)
    assert parts(clip, plan, 2.0) == [(0, 0.98), (0, 2), (1.98, 2.98), (2, 4)]


def test_a_frame_that_begins_a_rounding_error_late_belongs_to_its_time() -> None:
    """Times in a file are whole ticks: a frame may begin half a millisecond after it was due."""
    clip, plan = clip_of((0, 1.0005, 2.0005, 3.0005), 4.0), plan_of((0, 1, 2, 3), 0, 4)
    assert parts(clip, plan, 2.0) == [(0, 1.0005), (0, 2), (2.0005, 3.0005), (2, 4)]


def test_a_frame_that_stays_on_screen_appears_once() -> None:
    clip, plan = clip_of((0, 1), 4.0), plan_of((0, 1, 2, 3), 0, 4)
    assert parts(clip, plan, 2.0) == [(0, 1), (0, 2), (2, 4)]


def test_a_clip_without_sound_is_not_divided() -> None:
    clip, plan = clip_of((0, 1), None), plan_of((0, 1), 0, 2)
    assert parts(clip, plan, 1.0) == [(0, 1)]


@given(
    seen=st.floats(0.5, 20),
    heard=st.floats(0.5, 20),
    longest=st.floats(1, 10),
    frames=st.integers(1, 8),
)
def test_no_frame_and_no_sample_is_lost_or_doubled(
    seen: float, heard: float, longest: float, frames: int
) -> None:
    times = frame_times(duration=seen, frame_count=None, max_frames=frames)
    clip = clip_of(times, heard)
    assert clip.sound is not None
    items = list(interleaved(clip, plan_of(times, 0, seen), longest))
    shown = [f.seconds for item in items if isinstance(item, VideoClip) for f in item.frames]
    sound = np.concatenate([item.samples for item in items if isinstance(item, AudioClip)])
    assert shown == list(times)
    np.testing.assert_array_equal(sound, clip.sound.samples[: len(sound)])
    assert len(clip.sound.samples) - len(sound) <= 0.1 * SAMPLE_RATE
