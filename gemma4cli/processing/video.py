"""Which frames of a clip the model sees, and how its sound is placed between them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..decoded import SAMPLE_RATE, AudioClip, VideoClip
from .image import fitted_size
from .processor import Processor
from .prompt import AudioSlot, Slot, VideoSlot

_SHORTEST_SOUND = 0.02
"""Seconds; shorter sound may not fill a soft token, and nothing can be heard in it."""

_PADDING = 0.1
"""Seconds by which sound may exceed the picture because codecs fill up the last packet."""

_SLACK = 1e-3
"""Seconds by which a frame may begin after the requested time."""


def frame_times(
    *,
    duration: float,
    frame_count: int | None,
    max_frames: int,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> tuple[float, ...]:
    """Times in seconds from the clip's start, ascending, at most ``max_frames``.

    The span from ``start`` to ``end`` is divided into equal parts, and the time of each is its
    beginning; at a constant frame rate those are the frames i*T//n, as in the reference
    (video_utils.py). ``fps`` asks for that many frames a second, limited by ``max_frames``.
    ``frame_count`` is the number of frames of the whole clip, if known, and limits them too.
    """
    end = duration if end is None else min(end, duration)
    span = max(0.0, end - start)
    count = max_frames if span > 0 else 1
    if fps is not None:
        count = min(count, max(1, math.ceil(span * fps - 1e-9)))
    if frame_count is not None and duration > 0:
        count = min(count, max(1, round(frame_count * span / duration)))
    return tuple(start + span * i / count for i in range(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSection:
    """Consecutive frames in the prompt and the sound that follows them.

    ``frames`` are indices, ``sound`` is (first second, last second). One of the two may be empty,
    never both.
    """

    frames: range
    sound: tuple[float, float] | None


def sections(
    times: Sequence[float], *, start: float, end: float, sound_end: float, longest: float | None
) -> tuple[ClipSection, ...]:
    """The order in the prompt of frames at ``times`` and the sound of the same part of a clip.

    The part from ``start`` to ``end`` is divided into equal spans of at most ``longest`` seconds,
    the longest clip that the model takes. Each span's frames are followed by its sound.

        70 s, a frame every 20 s, longest 30  ->  0 20 sound  40 sound  60 sound

    Sound that continues after the picture extends the part; frames after ``sound_end`` come without
    sound. For a clip without sound, ``sound_end`` is ``start``.
    """
    if sound_end > end + _PADDING:
        end = sound_end
    count = 1 if longest is None else max(1, math.ceil((end - start) / longest - 1e-9))
    bounds = (start + (end - start) * i / count for i in range(count + 1))
    found = []
    first = 0
    for begin, until in pairwise(bounds):
        heard = min(until, sound_end)
        if heard - begin < _SHORTEST_SOUND:
            break
        after = bisect_left(times, until - 1e-9)
        found.append(ClipSection(frames=range(first, after), sound=(begin, heard)))
        first = after
    if first < len(times):
        found.append(ClipSection(frames=range(first, len(times)), sound=None))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """The frames and sound of a clip, known before it is decoded.

    The part begins at ``start`` and its picture ends at ``end``, in seconds. Every frame takes
    ``frame_tokens`` soft tokens; ``sound_tokens`` has one count for each section with sound.
    """

    start: float
    end: float
    times: tuple[float, ...]
    sections: tuple[ClipSection, ...]
    frame_tokens: int
    sound_tokens: tuple[int, ...]

    @property
    def spacing(self) -> float | None:
        """Seconds between frames; None if there is only one."""
        return self.times[1] - self.times[0] if len(self.times) > 1 else None

    @property
    def sound_seconds(self) -> float:
        return sum((s.sound[1] - s.sound[0] for s in self.sections if s.sound is not None), 0.0)

    @property
    def soft_tokens(self) -> int:
        return len(self.times) * self.frame_tokens + sum(self.sound_tokens)

    def slots(self) -> Iterator[Slot]:
        """The slots of the prompt, in order."""
        sounds = iter(self.sound_tokens)
        for section in self.sections:
            if section.frames:
                times = (self.times[number] for number in section.frames)
                yield VideoSlot(frames=tuple((time, self.frame_tokens) for time in times))
            if section.sound is not None:
                yield AudioSlot(soft_tokens=next(sounds))


def plan_clip(
    processor: Processor,
    times: tuple[float, ...],
    *,
    start: float,
    end: float,
    sound_end: float,
    size: tuple[int, int],
    budget: int | None,
) -> ClipPlan:
    """The plan for frames of ``size``, (height, width) in pixels; see ``sections`` for the rest."""
    vision = processor.config.vision
    height, width = fitted_size(*size, budget or vision.video_budget, vision)
    placed = sections(
        times, start=start, end=end, sound_end=sound_end, longest=processor.longest_clip
    )
    return ClipPlan(
        start=start,
        end=end,
        times=times,
        sections=placed,
        frame_tokens=height * width // (vision.patch_size * vision.pooling) ** 2,
        sound_tokens=tuple(
            processor.sound_tokens(section.sound[1] - section.sound[0])
            for section in placed
            if section.sound is not None
        ),
    )


def interleaved(
    clip: VideoClip, plan: ClipPlan, longest: float | None
) -> Iterator[VideoClip | AudioClip]:
    """A decoded clip in the order of the prompt: each section's frames, then its sound.

    Sections follow the length of the decoded sound, which may differ from the planned one. A frame
    that is on screen at several of the planned times belongs to the first.
    """
    sound = clip.sound
    sound_end = plan.start + (0.0 if sound is None else sound.seconds)
    numbers = [bisect_left(plan.times, frame.seconds - _SLACK) for frame in clip.frames]
    for section in sections(
        plan.times, start=plan.start, end=plan.end, sound_end=sound_end, longest=longest
    ):
        pairs = zip(clip.frames, numbers, strict=True)
        frames = tuple(frame for frame, number in pairs if number in section.frames)
        if frames:
            yield VideoClip(frames=frames, sound=None, name=clip.name)
        if section.sound is not None:
            assert sound is not None, "sections have sound only if their clip has"
            first, last = (round((at - plan.start) * SAMPLE_RATE) for at in section.sound)
            samples = np.ascontiguousarray(sound.samples[first:last])
            yield AudioClip(samples=samples, name=clip.name)
