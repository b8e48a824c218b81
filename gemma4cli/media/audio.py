"""Sound of any container to mono samples at 16 kHz, at once or in blocks.

Nothing is padded, split at pauses or turned into features here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from ..decoded import SAMPLE_RATE, AudioClip
from ..errors import MediaDecodeError, NoAudioTrackError
from ..messages import Source
from .containers import exact, open_container, packets, promised_seconds, reason

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]

BLOCK_SECONDS = 1
"""Sound resampled at a time; bounds the memory for files of any length."""

GAP_SECONDS = Fraction(1, 10)
"""Longer gaps in the track's time stamps are filled with silence, so that times stay true."""

LONGEST_GAP_SECONDS = 3600
"""Longer gaps mean that the clock of the recording jumped; they are not filled."""

_EARLY_SECONDS, _EARLY_SHARE = 1.0, 0.02
"""Sound that may be missing at the end without a warning: times in headers are rounded."""

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}


def load_audio(source: Source) -> AudioClip:
    """The file's sound, mono float32 ``[N]`` in [-1, 1] at 16 kHz.

    Channels are averaged. Of several audio tracks, the one that libav rates best is used.
    Damaged packets are replaced by silence, with a warning in the log. Raises NoAudioTrackError for
    a file without sound, MediaDecodeError for one that cannot be decoded at all, and the errors of
    ``open_source``.
    """
    return AudioClip(samples=_joined(iter_audio(source)), name=source.name)


def load_span(
    source: Source, start: float, end: float | None, origin: float | None = None
) -> AudioClip:
    """``load_audio`` for one span; see ``iter_audio``."""
    return AudioClip(samples=_joined(iter_audio(source, start, end, origin)), name=source.name)


def audio_seconds(source: Source) -> float | None:
    """Seconds of sound by the file's header; None if it has no duration. Raises MediaError."""
    with open_container(source) as container:
        stream = _audio_stream(container, source)
        tick = exact(stream.time_base)
        if stream.duration is not None and tick is not None:
            return float(stream.duration * tick)
        return None if container.duration is None else container.duration / av.time_base


def iter_audio(
    source: Source, start: float = 0.0, end: float | None = None, origin: float | None = None
) -> Iterator[Samples]:
    """The sound from ``start`` to ``end`` seconds in blocks: mono float32 ``[n]`` at 16 kHz.

    The blocks of a span are exactly that slice of the whole. Second 0 is the track's first sample
    or, if ``origin`` is given, that second of the container's clock; if the track begins later,
    silence comes first. Raises the errors of ``load_audio``.
    """
    first = round(start * SAMPLE_RATE)
    last = None if end is None else round(end * SAMPLE_RATE)
    with open_container(source) as container:
        stream = _audio_stream(container, source)
        frames = _frames(container, stream, source)
        head = next(frames)
        tick = exact(head.time_base)
        if origin is not None and head.pts is not None and tick is not None:
            shift = round((head.pts * tick - Fraction(origin)) * SAMPLE_RATE)
            first, last = first - shift, None if last is None else last - shift
        yield from _cut(resampled(_runs(head, frames)), first, last)


def _joined(blocks: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _audio_stream(container: InputContainer, source: Source) -> AudioStream:
    """The best audio track with a known codec; some cameras add one with an unknown codec."""
    if not container.streams.audio:
        hint = ": use g4 video for its pictures" if container.streams.video else ""
        raise NoAudioTrackError(source.name, f"has no audio track{hint}")
    known = [track for track in container.streams.audio if track.codec_context is not None]
    if not known:
        raise MediaDecodeError(source.name, "its audio track has an unknown codec")
    best = container.streams.best("audio")
    return next((track for track in known if track is best), known[0])


def _frames(container: InputContainer, stream: AudioStream, source: Source) -> Iterator[AudioFrame]:
    """Every frame that libav can decode, at least one; damaged packets are skipped."""
    failure: av.FFmpegError | None = None
    failures = decoded = 0
    seconds = Fraction(0)
    reading = packets(container, stream)
    while True:
        try:
            packet = next(reading, None)
            frames = packet.decode() if packet is not None else None
        except av.FFmpegError as exc:
            failure, failures = exc, failures + 1
            continue
        if frames is None:
            break
        for frame in frames:
            if frame.samples:
                decoded += 1
                seconds += Fraction(frame.samples, frame.sample_rate)
                yield _checked(frame, source)
    if not decoded and failure is not None:
        raise MediaDecodeError(
            source.name, f"none of its sound can be decoded ({reason(failure)})"
        ) from failure
    if not decoded:
        raise NoAudioTrackError(source.name, "its audio track has no samples")
    if failures:
        log.warning("%s: %d damaged audio packets were left out", source.name, failures)
    promised = promised_seconds(container, stream, source)
    if promised is not None and promised - seconds > max(_EARLY_SECONDS, _EARLY_SHARE * promised):
        log.warning(
            "%s: the file is cut short: it has %.1f s of %.1f s", source.name, seconds, promised
        )


def _checked(frame: AudioFrame, source: Source) -> AudioFrame:
    if frame.format.name.removesuffix("p") not in _FULL_SCALE:
        raise MediaDecodeError(
            source.name, f"has an unsupported sample format ({frame.format.name})"
        )
    return frame


def _mono(frame: AudioFrame) -> Samples:
    """One frame as float32 ``[n]``: scaled to [-1, 1], channels averaged."""
    kind = frame.format.name.removesuffix("p")
    values = frame.to_ndarray()
    if not frame.format.is_planar:  # [1, n * channels], channels interleaved
        values = values.reshape(frame.samples, -1).T
    samples: Samples = values.astype(np.float32)
    if kind == "u8":
        samples -= 128.0
    samples /= _FULL_SCALE[kind]
    if len(samples) > 1:
        samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
    return samples.reshape(-1)


def _runs(head: AudioFrame, rest: Iterator[AudioFrame]) -> Iterator[tuple[int, Samples]]:
    """Pairs of rate in Hz and samples ``[n]``, about a block at a time, gaps filled with silence.

    ``due`` is the second at which the next frame is due, by the samples so far.
    """
    rate, waiting, held = head.sample_rate, [_mono(head)], head.samples
    due = _begin(head, Fraction(0)) + Fraction(head.samples, rate)
    for frame in rest:
        begin = _begin(frame, due)
        gap = begin - due
        if frame.sample_rate != rate or held >= rate * BLOCK_SECONDS:
            yield rate, np.concatenate(waiting)
            rate, waiting, held = frame.sample_rate, [], 0
        if GAP_SECONDS < gap < LONGEST_GAP_SECONDS:
            for silence in _silence(round(gap * rate), rate * BLOCK_SECONDS):
                yield rate, np.concatenate([*waiting, silence])
                waiting, held = [], 0
        waiting.append(_mono(frame))
        held += frame.samples
        due = (begin if abs(gap) > GAP_SECONDS else due) + Fraction(frame.samples, rate)
    yield rate, np.concatenate(waiting)


def _begin(frame: AudioFrame, default: Fraction) -> Fraction:
    """The frame's time in seconds on the container's clock, ``default`` if it has none."""
    tick = exact(frame.time_base)
    if frame.pts is None or tick is None:
        return default
    return frame.pts * tick


def _silence(count: int, most: int) -> Iterator[Samples]:
    """``count`` zeros in blocks of ``most``."""
    for at in range(0, count, most):
        yield np.zeros(min(most, count - at), np.float32)


def resampled(runs: Iterator[tuple[int, Samples]]) -> Iterator[Samples]:
    """Pairs of rate in Hz and samples ``[n]`` as samples at 16 kHz, within [-1, 1].

    Samples at 16 kHz are not resampled.
    """
    rate, resampler = SAMPLE_RATE, None
    for new_rate, samples in runs:
        if new_rate != rate:
            if resampler is not None:
                yield _bounded(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            rate, resampler = new_rate, None
            if rate != SAMPLE_RATE:
                resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
        yield _bounded(samples if resampler is None else resampler.resample_chunk(samples))
    if resampler is not None:
        yield _bounded(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


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
