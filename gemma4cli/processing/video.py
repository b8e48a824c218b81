"""Which moments of a clip are shown to the model, and which of its sound stands behind them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..decoded import SAMPLE_RATE, AudioClip, VideoClip
from .audio import mel_token_count, raw_token_count
from .config import MelConfig, RawAudioConfig
from .image import fitted_size
from .processor import Processor
from .prompt import AudioSlot, Slot, VideoSlot

_SHORTEST_SOUND = 0.02
"""Seconds; what is shorter makes no soft token and says nothing."""

_PADDING = 0.1
"""Seconds by which codecs, whose packets have one length, draw sound out behind the picture."""

_SLACK = 1e-3
"""Seconds by which a frame may begin after the time at which it was asked for."""


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

    The span is cut into equal parts and each is shown as it begins; for a steady frame rate those
    are the frames number i*T//n, the reference's choice (video_utils.py). ``fps`` asks for that
    many a second, as far as ``max_frames`` allows. ``frame_count`` is how many frames the whole
    clip has, where known: no more are asked for.
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
class Stretch:
    """Frames that stand together in the prompt, and the sound behind them.

    ``frames`` are their numbers, ``sound`` is from which second to which it is heard. One of the
    two may be missing, never both.
    """

    frames: range
    sound: tuple[float, float] | None


def stretches(
    times: Sequence[float], *, start: float, end: float, sound_end: float, longest: float | None
) -> tuple[Stretch, ...]:
    """How frames at ``times`` and the sound of the same part of a clip stand in the prompt.

    The part from ``start`` to ``end`` is cut into equal spans that the model hears at once, which
    is ``longest`` seconds: frames of the span, sound of the span, frames of the next.

        70 s, a frame every 20 s, longest 30  ->  0 20 sound  40 sound  60 sound

    Sound that goes on behind the picture lengthens the part; behind ``sound_end`` there are only
    frames. A clip without sound ends at ``start``.
    """
    if sound_end > end + _PADDING:
        end = sound_end
    count = 1 if longest is None else max(1, math.ceil((end - start) / longest - 1e-9))
    bounds = [start + (end - start) * i / count for i in range(count + 1)]
    found = []
    first = 0
    for begin, until in pairwise(bounds):
        heard = min(until, sound_end)
        if heard - begin < _SHORTEST_SOUND:
            break
        behind = bisect_left(times, until - 1e-9)
        found.append(Stretch(frames=range(first, behind), sound=(begin, heard)))
        first = behind
    if first < len(times):
        found.append(Stretch(frames=range(first, len(times)), sound=None))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPlan:
    """What is shown and heard of a clip, known before it is decoded.

    The part begins at ``start`` and its picture ends at ``end``, in seconds. Every frame takes
    ``frame_tokens`` soft tokens, the sound of the stretches ``sound_tokens``, those without left
    out.
    """

    start: float
    end: float
    times: tuple[float, ...]
    stretches: tuple[Stretch, ...]
    frame_tokens: int
    sound_tokens: tuple[int, ...]

    @property
    def spacing(self) -> float | None:
        """Seconds from one frame to the next."""
        return self.times[1] - self.times[0] if len(self.times) > 1 else None

    @property
    def sound_seconds(self) -> float:
        return sum((s.sound[1] - s.sound[0] for s in self.stretches if s.sound is not None), 0.0)

    @property
    def soft_tokens(self) -> int:
        return len(self.times) * self.frame_tokens + sum(self.sound_tokens)

    def slots(self) -> Iterator[Slot]:
        """What stands in the prompt, in order."""
        sounds = iter(self.sound_tokens)
        for stretch in self.stretches:
            if stretch.frames:
                times = (self.times[number] for number in stretch.frames)
                yield VideoSlot(frames=tuple((time, self.frame_tokens) for time in times))
            if stretch.sound is not None:
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
    """The plan for frames of ``size`` (height, width) in pixels; the rest as for ``stretches``."""
    vision = processor.config.vision
    height, width = fitted_size(*size, budget or vision.video_budget, vision)
    placed = stretches(
        times, start=start, end=end, sound_end=sound_end, longest=processor.longest_clip
    )
    return ClipPlan(
        start=start,
        end=end,
        times=times,
        stretches=placed,
        frame_tokens=height * width // (vision.patch_size * vision.pooling) ** 2,
        sound_tokens=tuple(
            _sound_tokens(stretch.sound, processor.config.audio)
            for stretch in placed
            if stretch.sound is not None
        ),
    )


def _sound_tokens(sound: tuple[float, float], config: MelConfig | RawAudioConfig) -> int:
    samples = round((sound[1] - sound[0]) * SAMPLE_RATE)
    if isinstance(config, MelConfig):
        return mel_token_count(samples, config)
    return raw_token_count(samples, config)


def interleaved(
    clip: VideoClip, plan: ClipPlan, longest: float | None
) -> Iterator[VideoClip | AudioClip]:
    """A decoded clip in the order of the prompt: frames of a span, then its sound.

    The true length of the sound decides, not the planned one. A frame that is on screen at
    several times stands at the first.
    """
    sound = clip.sound
    sound_end = plan.start + (0.0 if sound is None else sound.seconds)
    numbers = [bisect_left(plan.times, frame.seconds - _SLACK) for frame in clip.frames]
    for stretch in stretches(
        plan.times, start=plan.start, end=plan.end, sound_end=sound_end, longest=longest
    ):
        pairs = zip(clip.frames, numbers, strict=True)
        frames = tuple(frame for frame, number in pairs if number in stretch.frames)
        if frames:
            yield VideoClip(frames=frames, sound=None, name=clip.name)
        if stretch.sound is not None:
            assert sound is not None, "a stretch has no sound that its clip lacks"
            first, last = (round((at - plan.start) * SAMPLE_RATE) for at in stretch.sound)
            samples = np.ascontiguousarray(sound.samples[first:last])
            yield AudioClip(samples=samples, name=clip.name)
