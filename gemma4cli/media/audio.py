"""Sound of any container to samples at 16 kHz, at once or in blocks.

Nothing is padded, split at pauses or turned into features here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import numpy as np
import soxr  # type: ignore[import-untyped]
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.stream import Stream

from ..decoded import SAMPLE_RATE, AudioClip
from ..errors import ChannelNotFoundError, MediaError
from ..messages import Source
from .containers import exact, open_container
from .decoding import FULL_SCALE, GAP_SECONDS, TimedFrame, start_of, timed_frames
from .mixing import Mixer
from .mixing import Samples as Samples
from .parts import parts_of
from .sources import settle
from .tracks import ANY_TRACK, TrackChoice, audio_stream

Channels = int | Literal["mix", "separate"]
"""What becomes of channels: mixed to one, kept, or one of them, counted from 1."""

BLOCK_SECONDS = 1
"""Sound resampled at a time; bounds the memory for files of any length."""

JUMP_SECONDS = 10
"""Pauses up to this length are filled with silence; of longer ones only the time is kept."""

LONGEST_GAP_SECONDS = 3600
"""Where one sequence of samples is wanted, longer gaps are not filled: the clock jumped."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SoundBlock:
    """Samples float32 ``[channels, n]`` in [-1, 1] at 16 kHz, the first of them at ``at``.

    ``at`` counts samples from the start of the recording.
    """

    at: int
    samples: Samples


def load_audio(source: Source, choice: TrackChoice = ANY_TRACK) -> AudioClip:
    """The file's sound, mono float32 ``[N]`` in [-1, 1] at 16 kHz.

    Channels are mixed (see ``mixing``). Damaged packets are left out, with a warning in the log.
    Raises NoAudioTrackError for a file without sound, TrackNotFoundError if it lacks the track,
    MediaDecodeError for one that cannot be decoded at all, and the errors of ``open_source``.
    """
    return AudioClip(samples=_joined(iter_audio(source, choice=choice)), name=source.name)


def load_span(
    source: Source,
    start: float,
    end: float | None,
    origin: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> AudioClip:
    """``load_audio`` for one span; see ``iter_audio``."""
    samples = _joined(iter_audio(source, start, end, origin, choice))
    return AudioClip(samples=samples, name=source.name)


def audio_seconds(source: Source, choice: TrackChoice = ANY_TRACK) -> float | None:
    """The second at which the sound ends, by the file's headers; None if they do not say.

    Raises MediaError.
    """
    source = settle(source)
    total = 0.0
    for number, span in enumerate(parts_of(source)):
        try:
            with open_container(source, span) as container:
                stream = audio_stream(container, source, choice)
                end = claimed_end(stream)
                if end is not None:
                    end -= float(start_of(container) or 0)
                else:
                    end = _claimed_length(container)
        except MediaError:
            if number == 0:
                raise
            continue
        if end is None:
            return None
        total += max(0.0, end)
    return total


def _claimed_length(container: InputContainer) -> float | None:
    """The container's duration; Matroska counts it from 0 of the clock, not from the start."""
    if container.duration is None:
        return None
    early = container.start_time or 0 if "matroska" in container.format.name else 0
    length = container.duration - early if container.duration > early else container.duration
    return length / av.time_base


def claimed_end(track: Stream) -> float | None:
    """The end of a track according to its header, in seconds on the container's clock."""
    tick = exact(track.time_base)
    if track.duration and tick is not None:
        return float(((track.start_time or 0) + track.duration) * tick)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", track.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = tag.groups()  # Matroska's format
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def sound_blocks(
    source: Source, choice: TrackChoice = ANY_TRACK, channels: Channels = "mix"
) -> Iterator[SoundBlock]:
    """The sound with its times: blocks in order, without overlap.

    Second 0 is the container's start, which is what players show as 0; sound before it is left
    out. A block does not begin where the one before it ended if the track begins late or pauses
    for long: that silence takes no memory. With "separate", the number of channels may change from
    block to block. Raises the errors of ``load_audio``, and ChannelNotFoundError.
    """
    shift: int | None = None
    for block in _read(settle(source), choice, channels, None):
        if shift is None:
            # Encoders add a few milliseconds at the start, which containers count in various ways.
            early = -round(GAP_SECONDS * SAMPLE_RATE) < block.at < 0
            shift = -block.at if early else 0
        at = block.at + shift
        if at >= 0:
            yield replace(block, at=at)
        elif at + block.samples.shape[1] > 0:
            yield SoundBlock(at=0, samples=block.samples[:, -at:])


def iter_audio(
    source: Source,
    start: float = 0.0,
    end: float | None = None,
    origin: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> Iterator[Samples]:
    """The sound from ``start`` to ``end`` seconds in blocks: mono float32 ``[n]`` at 16 kHz.

    The blocks of a span are exactly that slice of the whole. Second 0 is the track's first sample
    or, if ``origin`` is given, that second of the container's clock; if the track begins later,
    silence comes first. Raises the errors of ``load_audio``.
    """
    first = round(start * SAMPLE_RATE)
    last = None if end is None else round(end * SAMPLE_RATE)
    zero = None if origin is None else Fraction(origin)
    blocks = _read(settle(source), choice, "mix", zero)
    head = next(blocks)
    if origin is not None:
        first, last = first - head.at, None if last is None else last - head.at
    yield from _cut(_filled(head, blocks), first, last)


def _joined(blocks: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _filled(head: SoundBlock, rest: Iterator[SoundBlock]) -> Iterator[Samples]:
    """Blocks of one channel as one sequence, gaps filled with silence."""
    yield head.samples[0]
    due = head.at + head.samples.shape[1]
    for block in rest:
        if 0 < block.at - due < LONGEST_GAP_SECONDS * SAMPLE_RATE:
            yield from _silence(block.at - due, SAMPLE_RATE)
        yield block.samples[0]
        due = block.at + block.samples.shape[1]


def _read(
    source: Source, choice: TrackChoice, channels: Channels, origin: Fraction | None
) -> Iterator[SoundBlock]:
    """The track's sound, at least one block; ``origin`` as ``timed_frames`` has it."""
    lane: _Lane | None = None
    for run in _runs(timed_frames(source, choice, origin)):
        if lane is None or run.at is not None or not lane.takes(run):
            at = 0 if lane is None else lane.at
            if lane is not None:
                yield from lane.finish()
                at = lane.at
            at = at if run.at is None else round(run.at * SAMPLE_RATE)
            lane = _Lane(run, at, source, channels, is_first=lane is None)
        yield from lane.add(run.samples)
    assert lane is not None, "there is at least one frame"
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


def _runs(frames: Iterator[TimedFrame]) -> Iterator[_Run]:
    """Frames in runs of about a block; short pauses are filled, long ones are in ``at``."""
    waiting: list[AudioFrame] = []
    held = 0
    start: Fraction | None = None
    due: Fraction | None = None
    for timed in frames:
        frame, rate = timed.frame, timed.frame.sample_rate
        gap = Fraction(0) if due is None else timed.at - due
        if waiting and (gap or held >= rate * BLOCK_SECONDS or not _alike(waiting[0], frame)):
            yield _run(start, waiting)
            start, waiting, held = None, [], 0
        if due is None or gap > JUMP_SECONDS:
            start = timed.at
        elif gap:
            names = _names(frame)
            for silence in _silence(round(gap * rate), rate * BLOCK_SECONDS):
                zeros = np.zeros((len(names), len(silence)), np.float32)
                yield _Run(at=None, rate=rate, names=names, samples=zeros)
        waiting.append(frame)
        held += frame.samples
        due = timed.at + Fraction(frame.samples, rate)
    yield _run(start, waiting)


def _run(start: Fraction | None, frames: list[AudioFrame]) -> _Run:
    samples = np.concatenate([_values(frame) for frame in frames], axis=1)
    return _Run(at=start, rate=frames[0].sample_rate, names=_names(frames[0]), samples=samples)


def _alike(one: AudioFrame, other: AudioFrame) -> bool:
    return one.sample_rate == other.sample_rate and _names(one) == _names(other)


def _names(frame: AudioFrame) -> tuple[str, ...]:
    """libav's name of each channel; they are unknown in some files."""
    return tuple(channel.name for channel in frame.layout.channels)


def _values(frame: AudioFrame) -> Samples:
    """One frame as float32 ``[channels, n]``, scaled to [-1, 1]."""
    kind = frame.format.name.removesuffix("p")
    values = frame.to_ndarray()
    if not frame.format.is_planar:  # [1, n * channels], channels interleaved
        values = values.reshape(frame.samples, -1).T
    samples: Samples = values.astype(np.float32)
    if kind == "u8":
        samples -= 128.0
    samples /= FULL_SCALE[kind]
    return samples


def _silence(count: int, most: int) -> Iterator[Samples]:
    """``count`` zeros in blocks of ``most``."""
    for at in range(0, count, most):
        yield np.zeros(min(most, count - at), np.float32)


class Resampler:
    """Blocks ``[channels, n]`` at ``rate`` to blocks at 16 kHz within [-1, 1].

    Samples at 16 kHz are not resampled.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, channels, "float32", "HQ")

    def add(self, samples: Samples, *, last: bool = False) -> Samples:
        """The next samples; some are held back until ``finish``."""
        if self._stream is None:
            return _bounded(samples)
        # soxr takes [n] for one channel and [n, channels] for several.
        packed = samples[0] if self._channels == 1 else np.ascontiguousarray(samples.T)
        out = self._stream.resample_chunk(packed, last=last)
        return _bounded(out[None] if self._channels == 1 else np.ascontiguousarray(out.T))

    def finish(self) -> Samples:
        """What is still held back."""
        return self.add(np.zeros((self._channels, 0), np.float32), last=True)


def resampled(runs: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """Pairs of rate in Hz and samples ``[n]`` as samples at 16 kHz, within [-1, 1]."""
    rate, resampler = SAMPLE_RATE, Resampler(SAMPLE_RATE, 1)
    for new_rate, samples in runs:
        if new_rate != rate:
            yield resampler.finish()[0]
            rate, resampler = new_rate, Resampler(new_rate, 1)
        yield resampler.add(samples[None])[0]
    yield resampler.finish()[0]


def _bounded(samples: Samples) -> Samples:
    """NaN to 0, the rest clipped: float files may contain anything, and resampling overshoots."""
    bounded: Samples = np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)
    return bounded


def _cut(blocks: Iterator[Samples], first: int, last: int | None) -> Iterator[Samples]:
    """The samples ``first <= i < last``; those with negative indices are silence."""
    if first < 0:
        yield from _silence((0 if last is None else min(last, 0)) - first, SAMPLE_RATE)
    at = 0
    for block in blocks:
        stop = len(block) if last is None else min(last - at, len(block))
        wanted = block[max(first - at, 0) : max(stop, 0)]
        if len(wanted):
            yield wanted
        at += len(block)
        if last is not None and at >= last:
            return
