"""The sound of a file in blocks with their times: channels mixed, kept apart or picked, at 16 kHz.

Pauses that only the time stamps show are silence if they are short; of longer ones only the time is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from av.audio.frame import AudioFrame

from ...decoded import SAMPLE_RATE, Samples
from ...errors import ChannelNotFoundError
from ...messages import Source
from ..sources import settle
from .decoding import TimedFrame, timed_frames
from .mixing import Mixer
from .resampling import Resampler
from .track_frames import FULL_SCALE
from .tracks import ANY_TRACK, TrackChoice

Channels = int | Literal["mix", "separate"]
"""What becomes of channels: mixed to one, kept, or one of them, counted from 1."""

BLOCK_SECONDS = 1
"""Sound resampled at a time; bounds the memory for files of any length."""

JUMP_SECONDS = 10
"""Pauses up to this length are filled with silence; of longer ones only the time is kept."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SoundBlock:
    """Samples float32 ``[channels, n]`` in [-1, 1] at 16 kHz, the first of them at ``at``.

    ``at`` counts samples from the start of the recording. One without samples comes before more is
    waited for, where a recording may be over.
    """

    at: int
    samples: Samples


def sound_blocks(
    source: Source, choice: TrackChoice = ANY_TRACK, channels: Channels = "mix"
) -> Iterator[SoundBlock]:
    """The sound with its times: blocks in order, without overlap.

    Second 0 is the container's start, which is what players show as 0; sound before it is left
    out. A block does not begin where the one before it ended if the track begins late or pauses
    for long: that silence takes no memory. With "separate", the number of channels may change from
    block to block. Raises the errors of ``load_audio``, and ChannelNotFoundError.
    """
    for block in read_blocks(settle(source), choice, channels, None):
        if block.at >= 0 or not block.samples.shape[1]:
            yield block
        elif block.at + block.samples.shape[1] > 0:
            yield SoundBlock(at=0, samples=block.samples[:, -block.at :])


def read_blocks(
    source: Source,
    choice: TrackChoice,
    channels: Channels,
    origin: Fraction | None,
    far: Fraction | None = None,
) -> Iterator[SoundBlock]:
    """The track's sound, at least one block; ``origin`` and ``far`` as ``timed_frames`` has them.

    With ``far``, all that is missing at the beginning may also be the whole.
    """
    lane: _Lane | None = None
    is_over = False
    for run in _runs(timed_frames(source, choice, origin, far)):
        if run is None:
            assert lane is not None, "there is at least one frame"
            yield from lane.finish()
            yield SoundBlock(at=lane.at, samples=np.zeros((1, 0), np.float32))
            is_over = True
            continue
        if lane is None or run.at is not None or is_over or not lane.takes(run):
            at = 0 if lane is None else lane.at
            if lane is not None:
                if not is_over:
                    yield from lane.finish()
                at = lane.at
            is_over = False
            at = at if run.at is None else round(run.at * SAMPLE_RATE)
            lane = _Lane(run, at, source, channels, is_first=lane is None)
        yield from lane.add(run.samples)
    assert lane is not None, "there is at least one frame"
    if not is_over:
        yield from lane.finish()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Run:
    """Samples ``[channels, n]`` of one rate and layout, about a block.

    They begin at second ``at``; with None, where the run before them ended.
    """

    at: Fraction | None
    rate: int
    names: tuple[str, ...]
    samples: Samples


class _Lane:
    """The way of samples of one rate and layout: to the channels that are wanted, at 16 kHz.

    ``at`` is the position of the next sample.
    """

    def __init__(
        self, run: _Run, at: int, source: Source, channels: Channels, *, is_first: bool
    ) -> None:
        count = len(run.names)
        if isinstance(channels, int) and channels > count and is_first:
            raise ChannelNotFoundError(source.name, channels, count)
        self.at = at
        self._like = (run.rate, run.names)
        self._mixer = Mixer(run.names, run.rate) if channels == "mix" else None
        # A later part of the recording may have fewer channels.
        self._picked = min(channels, count) - 1 if isinstance(channels, int) else None
        self._resampler = Resampler(run.rate, count if channels == "separate" else 1)

    def takes(self, run: _Run) -> bool:
        """Whether the run is of the same kind."""
        return self._like == (run.rate, run.names)

    def add(self, samples: Samples) -> Iterator[SoundBlock]:
        if self._mixer is not None:
            for mixed in self._mixer.add(samples):
                yield from self._placed(self._resampler.add(mixed[None]))
        elif self._picked is not None:
            yield from self._placed(self._resampler.add(samples[self._picked][None]))
        else:
            yield from self._placed(self._resampler.add(samples))

    def finish(self) -> Iterator[SoundBlock]:
        if self._mixer is not None:
            for mixed in self._mixer.finish():
                yield from self._placed(self._resampler.add(mixed[None]))
        yield from self._placed(self._resampler.finish())

    def _placed(self, samples: Samples) -> Iterator[SoundBlock]:
        if samples.shape[1]:
            yield SoundBlock(at=self.at, samples=samples)
            self.at += samples.shape[1]


def _runs(frames: Iterator[TimedFrame | None]) -> Iterator[_Run | None]:
    """Frames in runs of about a block; short pauses are filled, long ones are in ``at``."""
    waiting: list[AudioFrame] = []
    held = 0
    start: Fraction | None = None
    due: Fraction | None = None
    for timed in frames:
        if timed is None:
            if waiting:
                yield _run(start, waiting)
            start, waiting, held = None, [], 0
            yield None
            continue
        frame, rate = timed.frame, timed.frame.sample_rate
        gap = Fraction(0) if due is None else timed.at - due
        if waiting and (gap or held >= rate * BLOCK_SECONDS or not _alike(waiting[0], frame)):
            yield _run(start, waiting)
            start, waiting, held = None, [], 0
        if due is None or gap > JUMP_SECONDS:
            start = timed.at
        elif gap:
            names = _names(frame)
            for zero in silence(round(gap * rate), rate * BLOCK_SECONDS):
                zeros = np.tile(zero, (len(names), 1))
                yield _Run(at=None, rate=rate, names=names, samples=zeros)
        waiting.append(frame)
        held += frame.samples
        due = timed.at + Fraction(frame.samples, rate)
    if waiting:
        yield _run(start, waiting)


def _run(start: Fraction | None, frames: list[AudioFrame]) -> _Run:
    names = _names(frames[0])
    return _Run(at=start, rate=frames[0].sample_rate, names=names, samples=_values(frames))


def _alike(one: AudioFrame, other: AudioFrame) -> bool:
    return (
        one.sample_rate == other.sample_rate
        and one.format.name == other.format.name
        and _names(one) == _names(other)
    )


def _names(frame: AudioFrame) -> tuple[str, ...]:
    """libav's name of each channel; they are unknown in some files."""
    return tuple(channel.name for channel in frame.layout.channels)


def _values(frames: list[AudioFrame]) -> Samples:
    """Frames that are alike as float32 ``[channels, n]``, scaled to [-1, 1].

    Files of floats may hold anything; what is no number must not spoil the other channels.
    """
    kind = frames[0].format.name.removesuffix("p")
    values = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    if not frames[0].format.is_planar:  # [1, n * channels], channels interleaved
        values = values.reshape(sum(frame.samples for frame in frames), -1).T
    samples: Samples = values.astype(np.float32)
    if kind == "u8":
        samples -= 128.0
    samples /= FULL_SCALE[kind]
    if kind in ("flt", "dbl"):
        samples = np.nan_to_num(samples, nan=0.0).clip(-1.0, 1.0)
    return samples


def silence(count: int, most: int) -> Iterator[Samples]:
    """``count`` zeros in blocks of ``most``."""
    for at in range(0, count, most):
        yield np.zeros(min(most, count - at), np.float32)
