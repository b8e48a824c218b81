"""Where the sound of a clip stands between its frames."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from gemma4cli.decoded import SAMPLE_RATE, AudioClip, VideoClip, VideoFrame
from gemma4cli.processing.video import ClipPlan, ClipSection, frame_times, interleaved, sections


def told(found: tuple[ClipSection, ...]) -> list[int | tuple[float, float]]:
    """Numbers of frames, and from where to where the sound between them goes."""
    order: list[int | tuple[float, float]] = []
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
        pytest.param((0, 10), 40, 40, None, [0, 1, (0, 40)], id="no bound"),
        pytest.param((0,), 60, 60, 20, [0, (0, 20), (20, 40), (40, 60)], id="fewer frames"),
        pytest.param((0, 20), 40, 0, 10, [0, 1], id="no sound"),
        pytest.param((0, 10, 20, 30), 40, 15, 20, [0, 1, (0, 15), 2, 3], id="shorter sound"),
        pytest.param((0, 10), 20, 60, 30, [0, 1, (0, 30), (30, 60)], id="longer sound"),
        pytest.param((0, 10), 30, 30.05, 30, [0, 1, (0, 30)], id="padding"),
        pytest.param((0, 20), 40, 20.01, 20, [0, (0, 20), 1], id="nothing to hear"),
        pytest.param((0,), 0, 0, 30, [0], id="no length"),
    ],
)
def test_order(
    times: tuple[float, ...],
    end: float,
    sound_end: float,
    longest: float | None,
    order: list[int | tuple[float, float]],
) -> None:
    found = sections(times, start=0, end=end, sound_end=sound_end, longest=longest)
    assert told(found) == order


def test_part_of_a_clip() -> None:
    found = sections((100, 110, 120), start=100, end=130, sound_end=130, longest=15)
    assert told(found) == [0, 1, (100, 115), 2, (115, 130)]


def test_all_frames_and_all_sound_in_equal_spans() -> None:
    """Whatever the numbers are; and nothing is longer than the model hears."""
    draw = random.Random(5)
    for _ in range(300):
        start = draw.choice([0.0, draw.uniform(0, 50)])
        end, sound_end = (start + draw.uniform(0.5, 200) for _ in range(2))
        longest = draw.choice([1.0, 7.3, 30.0])
        times = frame_times(
            duration=end, frame_count=None, max_frames=draw.randrange(1, 40), start=start
        )
        found = sections(times, start=start, end=end, sound_end=sound_end, longest=longest)
        assert [n for section in found for n in section.frames] == list(range(len(times)))
        sounds = [section.sound for section in found if section.sound is not None]
        assert all(one[1] == other[0] for one, other in pairwise(sounds))
        assert (sounds[0][0], sounds[-1][1]) == pytest.approx((start, sound_end), abs=0.1)
        lengths = [last - first for first, last in sounds]
        assert max(lengths) <= longest + 1e-9
        assert lengths[:-1] == pytest.approx([lengths[0]] * (len(lengths) - 1))


def made(seconds: tuple[float, ...], sound: float | None) -> VideoClip:
    """A clip whose samples count up, so that one can tell which are where."""
    pixels = np.zeros((48, 48, 3), np.uint8)
    samples = None if sound is None else np.arange(round(sound * SAMPLE_RATE), dtype=np.float32)
    return VideoClip(
        frames=tuple(VideoFrame(pixels=pixels, seconds=each) for each in seconds),
        sound=None if samples is None else AudioClip(samples=samples, name="made"),
        name="made",
    )


def plan(times: tuple[float, ...], start: float, end: float) -> ClipPlan:
    return ClipPlan(start=start, end=end, times=times, sections=(), frame_tokens=1, sound_tokens=())


def parts(clip: VideoClip, plan: ClipPlan, longest: float | None) -> list[tuple[float, ...]]:
    """Seconds of frames, and first and last second of sound."""
    return [
        tuple(frame.seconds for frame in item.frames)
        if isinstance(item, VideoClip)
        else (item.samples[0] / SAMPLE_RATE, (item.samples[-1] + 1) / SAMPLE_RATE)
        for item in interleaved(clip, plan, longest)
    ]


def test_clip_in_parts() -> None:
    clip, wanted = made((2, 3, 4, 5), 4.0), plan((2, 3, 4, 5), 2, 6)
    assert parts(clip, wanted, 2.0) == [(2, 3), (0, 2), (4, 5), (2, 4)]


def test_true_length_of_the_sound_decides() -> None:
    clip, wanted = made((0, 1, 2, 3), 1.0), plan((0, 1, 2, 3), 0, 4)
    assert parts(clip, wanted, 2.0) == [(0, 1), (0, 1), (2, 3)]


def test_frame_belongs_to_the_time_at_which_it_was_asked_for() -> None:
    """The frame on screen at 2 s began before; it still opens the second span."""
    clip, wanted = made((0, 0.98, 1.98, 2.98), 4.0), plan((0, 1, 2, 3), 0, 4)
    assert parts(clip, wanted, 2.0) == [(0, 0.98), (0, 2), (1.98, 2.98), (2, 4)]


def test_frame_that_begins_a_rounding_error_late_belongs_to_its_time() -> None:
    """Times in a file are whole ticks: a frame may begin half a millisecond after it was due."""
    clip, wanted = made((0, 1.0005, 2.0005, 3.0005), 4.0), plan((0, 1, 2, 3), 0, 4)
    assert parts(clip, wanted, 2.0) == [(0, 1.0005), (0, 2), (2.0005, 3.0005), (2, 4)]


def test_frame_that_stays_on_screen_stands_once() -> None:
    clip, wanted = made((0, 1), 4.0), plan((0, 1, 2, 3), 0, 4)
    assert parts(clip, wanted, 2.0) == [(0, 1), (0, 2), (2, 4)]


def test_clip_without_sound_stays_whole() -> None:
    clip, wanted = made((0, 1), None), plan((0, 1), 0, 2)
    assert parts(clip, wanted, 1.0) == [(0, 1)]
