"""The frames of an audio track with their times, through everything that may happen to it.

Parts that were put together, damage, and tracks that take over from each other.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from ...errors import MediaDecodeError, MediaError, NoAudioTrackError
from ...messages import Source
from ..containers import Span, exact, open_container, promised_seconds, reason
from ..parts import is_waiting, part_after, parts_of
from .mp3_padding import padding_of, without_padding
from .takeover import taken_over
from .timeline import Timeline
from .track_frames import Progress, ends_short, track_frames
from .tracks import ANY_TRACK, TrackChoice, audio_stream

log = logging.getLogger(__name__)

_LONGEST_GAP = 3600.0
"""Longer gaps mean that the clock was set anew, in containers where that happens."""

_CLOCKS_JUMP = frozenset({"mpegts", "mpeg"})
"""libav's names of containers in which times may begin anew."""

_UNTIMED = frozenset({"aac", "ac3", "amr", "dts", "eac3", "flac", "gsm", "loas", "mp3", "truehd"})
"""libav's names of formats without time stamps: those it gives assume that no parameter changes."""

_SOUGHT = frozenset({"asf", "avi", "matroska", "mov", "ogg", "webm"})
"""libav's names of containers in which a time leads to its sound, from wherever it is read."""

_LEAD = 5
"""Seconds of sound to decode before what is wanted: decoders and mixing depend on what was."""

_EARLY_SECONDS, _EARLY_SHARE = 1.0, 0.02
"""Sound that may be missing at the end without a warning: times in headers are rounded."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TimedFrame:
    """A frame and the second at which it begins, which is where the one before it ended or later.

    It is later only where the sound pauses.
    """

    at: Fraction
    frame: AudioFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class _Segment:
    """What to read next: a span with a clock of its own, or what follows where a track took over.

    The latter counts on from ``zero``, the second 0 on the clock; ``track`` is the new track's id,
    or None if there is only one.
    """

    span: Span
    zero: Fraction | None = None
    far: Fraction | None = None
    track: int | None = None
    takes_over: bool = False


def timed_frames(
    source: Source,
    choice: TrackChoice = ANY_TRACK,
    origin: Fraction | None = None,
    far: Fraction | None = None,
) -> Generator[TimedFrame | None, None, None]:
    """Every frame that libav can decode, at least one; damaged packets are skipped.

    None comes before it waits for a pipe to say whether another recording follows.

    Second 0 is the container's start, which is what players show as 0, or ``origin`` on its clock.
    Frames that end before second ``far`` may be left out.
    ``source`` is settled. Damage, and what else is missing, is a warning in the log. Raises
    NoAudioTrackError, TrackNotFoundError, MediaDecodeError, and the errors of ``open_source``.
    """
    segments = [_Segment(span=span) for span in parts_of(source)]
    segments[0] = replace(segments[0], zero=origin, far=far if len(segments) == 1 else None)
    timeline = Timeline()
    is_first = True
    while segments:
        segment = segments.pop(0)
        try:
            for each in _read(source, choice, segment, timeline, is_first=is_first):
                if isinstance(each, TimedFrame):
                    yield each
                else:
                    segments.insert(0, each)
        except MediaError as error:
            if is_first:
                raise
            if not segment.takes_over:  # else nothing took over after all
                log.warning(
                    "%s: the sound from second %.1f on was left out: %s",
                    source.name,
                    timeline.end or 0,
                    error.problem,
                )
        is_first = False
        if not segments and is_waiting(source, segment.span):
            yield None
        if not segments and (following := part_after(source, segment.span)) is not None:
            segments.append(_Segment(span=following))


def start_of(container: InputContainer) -> Fraction | None:
    """The second of the container's clock that players show as 0; None if it has no clock."""
    if container.start_time is None:
        return None
    return Fraction(container.start_time, av.time_base)


def _read(
    source: Source, choice: TrackChoice, segment: _Segment, timeline: Timeline, *, is_first: bool
) -> Iterator[TimedFrame | _Segment]:
    """The frames of one segment; at last, if another track takes over, the segment that follows."""
    with open_container(source, segment.span) as container:
        stream = _stream(container, source, choice, segment, is_first=is_first)
        zero = start_of(container) if segment.zero is None else segment.zero
        demuxer = container.format.name
        longest = _LONGEST_GAP if demuxer in _CLOCKS_JUMP else inf
        base = timeline.end or Fraction(0)
        sought = zero is not None and _seek(container, stream, zero, segment.far)
        if not segment.takes_over:
            timeline.offset = base
        progress = Progress()
        begun = base if sought else None
        padding = padding_of(source, segment.span, demuxer)
        frames = track_frames(container, stream, source, progress)
        for frame in without_padding(frames, padding):
            if frame is None:
                following = taken_over(source, stream, segment.span, progress)
                if following is not None:
                    yield _following(following, zero)
                    return
                continue
            tick = None if demuxer in _UNTIMED else exact(frame.time_base)
            begin = None if frame.pts is None or tick is None else frame.pts * tick
            if begin is not None:
                zero = begin if zero is None else zero
                begin -= zero
            at = timeline.add(begin, Fraction(frame.samples, frame.sample_rate), longest)
            begun = at if begun is None else begun
            yield TimedFrame(at=at, frame=frame)
        heard = (timeline.end or base) - (base if begun is None else begun)
        _report(source, stream, segment, progress, heard, timeline.end)
        following = taken_over(source, stream, segment.span, progress)
        if following is not None:
            yield _following(following, zero)
        elif container.streams.video and container.duration is not None:
            timeline.end = max(
                timeline.end or base, base + Fraction(container.duration, av.time_base)
            )


def _seek(
    container: InputContainer, stream: AudioStream, zero: Fraction, far: Fraction | None
) -> bool:
    """Go to where reading for second ``far`` begins; False if all is read from the start."""
    tick = exact(stream.time_base)
    if far is None or tick is None or _SOUGHT.isdisjoint(container.format.name.split(",")):
        return False
    try:
        container.seek(round((zero + far - _LEAD) / tick), stream=stream)
    except av.FFmpegError:
        return False
    return True


def _following(rest: tuple[Span, int | None], zero: Fraction | None) -> _Segment:
    span, track = rest
    return _Segment(span=span, zero=zero, track=track, takes_over=True)


def _stream(
    container: InputContainer,
    source: Source,
    choice: TrackChoice,
    segment: _Segment,
    *,
    is_first: bool,
) -> AudioStream:
    if segment.track is not None:
        for each in container.streams.audio:
            if each.id == segment.track and each.codec_context is not None:
                return each
    if not is_first and isinstance(choice.wanted, int):
        # Parts may have fewer tracks.
        most = len(container.streams.audio)
        choice = choice if choice.wanted <= most else ANY_TRACK
    return audio_stream(container, source, choice)


def _report(
    source: Source,
    stream: AudioStream,
    segment: _Segment,
    progress: Progress,
    heard: Fraction,
    end: Fraction | None,
) -> None:
    """What is missing: an error if it is everything, else a warning."""
    failure = progress.failure or progress.broken
    if not progress.frames and failure is not None:
        raise MediaDecodeError(
            source.name, f"none of its sound can be decoded ({reason(failure)})"
        ) from failure
    if not progress.frames:
        raise NoAudioTrackError(source.name, "its audio track has no samples")
    if progress.damaged:
        log.warning("%s: %d damaged audio packets were left out", source.name, progress.damaged)
    if progress.broken is not None and not ends_short(stream):
        log.warning(
            "%s: the sound cannot be read any further than second %.1f (%s)",
            source.name,
            end,
            reason(progress.broken),
        )
    promised = promised_seconds(stream, source, segment.span)
    missing = 0 if promised is None else promised - heard
    if promised is not None and missing > max(_EARLY_SECONDS, _EARLY_SHARE * promised):
        log.warning(
            "%s: the file is cut short: it has %.1f s of %.1f s",
            source.name,
            heard,
            promised,
        )
