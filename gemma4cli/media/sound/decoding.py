"""The frames of an audio track with their times, through everything that may happen to it.

Parts that were put together, damage, and transport streams in which another track takes over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from ...errors import MediaDecodeError, MediaError, NoAudioTrackError
from ...messages import Source
from ..containers import Span, exact, open_container, promised_seconds, reason
from ..parts import parts_of
from .tracks import ANY_TRACK, TrackChoice, audio_stream

log = logging.getLogger(__name__)

FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
"""The largest value of each sample format of libav; planar ones have a "p" after the name."""

GAP_SECONDS = Fraction(1, 10)
"""Longer gaps in the time stamps are pauses; shorter ones are inaccurate time stamps."""

_LONGEST_GAP = 3600.0
"""Longer gaps mean that the clock was set anew, in containers where that happens."""

_CLOCKS_JUMP = frozenset({"mpegts", "mpeg"})
"""libav's names of containers in which times may begin anew."""

_UNTIMED = frozenset({"aac", "ac3", "amr", "dts", "eac3", "flac", "gsm", "loas", "mp3", "truehd"})
"""libav's names of formats without time stamps: those it gives assume that no parameter changes."""

_TRACKS_CHANGE = "mpegts"
"""libav's name of the container in which another track may take over at any time."""

_LOWEST_RATE = 1_000
"""Hertz below which samples are measurements: speech does not fit, and hours fit into kilobytes."""

_EARLY_SECONDS, _EARLY_SHARE = 1.0, 0.02
"""Sound that may be missing at the end without a warning: times in headers are rounded."""

_STUCK = 5
"""Damaged packets in a row after which another codec may have taken over."""

_MOST_RETRIES = 3
"""How often reading is resumed at the same place after an error."""

_TAGS = (b"ID3", b"TAG", b"APETAGEX")
"""What comes before and after the sound of MP3 and AAC files."""

_SHORT_LAST = ("amr", "gsm")
"""Codecs with packets of fixed size, whose last one is often incomplete."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TimedFrame:
    """A frame and the second at which it begins, which is where the one before it ended or later.

    It is later only where the sound pauses for more than ``GAP_SECONDS``.
    """

    at: Fraction
    frame: AudioFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What to read next: a span, which is a part of its own unless another track takes over.

    That track is ``track``, a PID, and ``zero`` the time of the clock at second 0. ``zero`` None
    is the container's start.
    """

    span: Span
    zero: Fraction | None = None
    track: int | None = None


@dataclass(kw_only=True, slots=True)
class _Timeline:
    """Where the sound so far ends, and how far the clock of the file is behind that; in seconds."""

    end: Fraction | None = None
    offset: Fraction = Fraction(0)

    def place(self, begin: Fraction | None, length: Fraction, longest: float) -> Fraction:
        """Where a frame begins that begins at ``begin`` by the clock; None if it does not say.

        A clock that goes back, or that advances by more than ``longest``, was set anew.
        """
        if self.end is None:
            at = Fraction(0) if begin is None else begin + self.offset
        else:
            at = self.end
            gap = Fraction(0) if begin is None else begin + self.offset - self.end
            if gap < -GAP_SECONDS or gap > longest:
                self.offset -= gap
            elif gap > GAP_SECONDS:
                at += gap
        self.end = at + length
        return at


@dataclass(kw_only=True, slots=True)
class _State:
    """What happened while a span was read; positions are bytes of the span."""

    decoded: int = 0
    seconds: Fraction = Fraction(0)
    failure: av.FFmpegError | None = None
    damaged: int = 0
    last: int | None = None
    """The last packet of the track."""
    stuck: int | None = None
    """The first of the damaged packets since the last frame."""
    first_of: dict[int, int] = field(default_factory=dict)
    """The first packet of each audio track, by its id in the container."""
    broken: av.FFmpegError | None = None
    """Why the file cannot be read any further."""


def timed_frames(
    source: Source, choice: TrackChoice = ANY_TRACK, origin: Fraction | None = None
) -> Iterator[TimedFrame]:
    """Every frame that libav can decode, at least one; damaged packets are skipped.

    Second 0 is the container's start, which is what players show as 0, or ``origin`` on its clock.
    ``source`` is settled. Damage, and what else is missing, is a warning in the log. Raises
    NoAudioTrackError, TrackNotFoundError, MediaDecodeError, and the errors of ``open_source``.
    """
    places = [_Place(span=span) for span in parts_of(source)]
    places[0] = replace(places[0], zero=origin)
    timeline = _Timeline()
    is_first = True
    while places:
        place = places.pop(0)
        try:
            for each in _read(source, choice, place, timeline, is_first=is_first):
                if isinstance(each, TimedFrame):
                    yield each
                else:
                    places.insert(0, each)
        except MediaError as error:
            if is_first:
                raise
            if place.track is not None:
                continue  # nothing took over after all
            log.warning(
                "%s: the sound from second %.1f on was left out: %s",
                source.name,
                timeline.end or 0,
                error.problem,
            )
        is_first = False


def start_of(container: InputContainer) -> Fraction | None:
    """The second of the container's clock that players show as 0; None if it has no clock."""
    if container.start_time is None:
        return None
    return Fraction(container.start_time, av.time_base)


def _read(
    source: Source, choice: TrackChoice, place: _Place, timeline: _Timeline, *, is_first: bool
) -> Iterator[TimedFrame | _Place]:
    """The frames of one span; at last, if another track takes over, the place where it does."""
    with open_container(source, place.span) as container:
        stream = _stream(container, source, choice, place, is_first=is_first)
        zero = start_of(container) if place.zero is None else place.zero
        demuxer = container.format.name
        longest = _LONGEST_GAP if demuxer in _CLOCKS_JUMP else inf
        base = timeline.end or Fraction(0)
        if place.track is None:
            timeline.offset = base
        state = _State()
        for frame in _frames(container, stream, source, state):
            if frame is None:
                takes_over = _taken_over(source, stream, place, zero, state)
                if takes_over is not None:
                    yield takes_over
                    return
                continue
            tick = None if demuxer in _UNTIMED else exact(frame.time_base)
            begin = None if frame.pts is None or tick is None else frame.pts * tick
            if begin is not None:
                zero = begin if zero is None else zero
                begin -= zero
            at = timeline.place(begin, Fraction(frame.samples, frame.sample_rate), longest)
            yield TimedFrame(at=at, frame=frame)
        _report(source, container, stream, place, state, timeline)
        takes_over = _taken_over(source, stream, place, zero, state)
        if takes_over is not None:
            yield takes_over
        elif container.streams.video and container.duration is not None:
            timeline.end = max(
                timeline.end or base, base + Fraction(container.duration, av.time_base)
            )


def _stream(
    container: InputContainer,
    source: Source,
    choice: TrackChoice,
    place: _Place,
    *,
    is_first: bool,
) -> AudioStream:
    if place.track is not None:
        for each in container.streams.audio:
            if each.id == place.track and each.codec_context is not None:
                return each
    if not is_first and isinstance(choice.wanted, int):
        # Parts may have fewer tracks.
        most = len(container.streams.audio)
        choice = choice if choice.wanted <= most else ANY_TRACK
    return audio_stream(container, source, choice)


def _frames(
    container: InputContainer, stream: AudioStream, source: Source, state: _State
) -> Iterator[AudioFrame | None]:
    """Frames, and None where so much is damaged that another codec may have taken over.

    After None, reading goes on.
    """
    in_a_row = 0
    size = 0
    for packet in _packets(container, stream, state):
        if packet.stream_index != stream.index:
            if packet.pos is not None and packet.size:
                state.first_of.setdefault(container.streams[packet.stream_index].id, packet.pos)
            continue
        if packet.pos is not None and packet.size:
            state.last = packet.pos
        try:
            frames = packet.decode()
        except av.FFmpegError as exc:
            if bytes(packet)[:8].startswith(_TAGS):
                continue  # between recordings that were put together
            if _ends_short(stream) and 0 < packet.size < size:
                continue
            state.failure, state.damaged, in_a_row = exc, state.damaged + 1, in_a_row + 1
            if state.stuck is None:
                state.stuck = packet.pos
            if in_a_row == _STUCK:
                yield None
            continue
        size = packet.size or size
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.samples:
                in_a_row, state.stuck = 0, None
                state.decoded += 1
                state.seconds += Fraction(frame.samples, frame.sample_rate)
                yield _checked(frame, source)


def _packets(
    container: InputContainer, stream: AudioStream, state: _State
) -> Iterator[Packet[Stream]]:
    """The packets of the audio tracks to the end, across what cannot be read."""
    read: list[AudioStream] = (
        list(container.streams.audio) if container.format.name == _TRACKS_CHANGE else [stream]
    )
    retries = 0
    while True:
        try:
            for packet in container.demux(*read):
                retries = 0
                yield packet
        except IndexError:  # a packet of a track that did not exist when the file was opened
            continue
        except av.FFmpegError as exc:
            state.broken, retries = exc, retries + 1
            if retries < _MOST_RETRIES:
                continue
        return


def _ends_short(stream: AudioStream) -> bool:
    return stream.codec_context.name.startswith(_SHORT_LAST)


def _checked(frame: AudioFrame, source: Source) -> AudioFrame:
    if frame.sample_rate < _LOWEST_RATE:
        raise MediaDecodeError(
            source.name,
            f"has a sample rate of {frame.sample_rate} Hz, too low for speech: "
            f"{_LOWEST_RATE:,} Hz or more are needed",
        )
    if frame.format.name.removesuffix("p") not in FULL_SCALE:
        raise MediaDecodeError(
            source.name, f"has an unsupported sample format ({frame.format.name})"
        )
    return frame


def _report(
    source: Source,
    container: InputContainer,
    stream: AudioStream,
    place: _Place,
    state: _State,
    timeline: _Timeline,
) -> None:
    """What is missing: an error if it is everything, else a warning."""
    failure = state.failure or state.broken
    if not state.decoded and failure is not None:
        raise MediaDecodeError(
            source.name, f"none of its sound can be decoded ({reason(failure)})"
        ) from failure
    if not state.decoded:
        raise NoAudioTrackError(source.name, "its audio track has no samples")
    if state.damaged:
        log.warning("%s: %d damaged audio packets were left out", source.name, state.damaged)
    if state.broken is not None and not _ends_short(stream):
        log.warning(
            "%s: the sound cannot be read any further than second %.1f (%s)",
            source.name,
            timeline.end,
            reason(state.broken),
        )
    promised = promised_seconds(container, stream, source, place.span)
    missing = 0 if promised is None else promised - state.seconds
    if promised is not None and missing > max(_EARLY_SECONDS, _EARLY_SHARE * promised):
        log.warning(
            "%s: the file is cut short: it has %.1f s of %.1f s",
            source.name,
            state.seconds,
            promised,
        )


def _taken_over(
    source: Source, stream: AudioStream, place: _Place, zero: Fraction | None, state: _State
) -> _Place | None:
    """Where another audio track takes over in a transport stream; None if none does.

    That track begins after the last packet of this one, or after the packets that this one's
    decoder rejects: a program may change its PID or its codec at any time.
    """
    if stream.container.format.name != _TRACKS_CHANGE:
        return None
    at = state.stuck if state.stuck is not None else state.last
    if not at:
        return None
    span = replace(place.span, start=place.span.start + at)
    try:
        with open_container(source, span) as rest:
            # The end of a stream may look like another format.
            tracks = rest.streams.audio if rest.format.name == _TRACKS_CHANGE else ()
            for each in tracks:
                context = each.codec_context
                if context is None:
                    continue
                if each.id == stream.id:
                    # Its last packet alone may not suffice to recognize the codec.
                    new = state.stuck is not None and context.name != stream.codec_context.name
                else:
                    new = state.first_of.get(each.id, at) >= at
                if new:
                    return _Place(span=span, zero=zero, track=each.id)
    except MediaError:
        # Nothing that can be opened follows.
        return None
    return None
