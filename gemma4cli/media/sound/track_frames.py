"""The frames of one track of an open container, across damage, and what was damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from ...errors import MediaDecodeError
from ...messages import Source
from ..containers import exact

FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "flt": 1.0, "dbl": 1.0}
"""The largest value of each sample format of libav; planar ones have a "p" after the name."""

TRANSPORT_STREAM, FLASH = "mpegts", "flv"
"""libav's names of the containers in which another track may take over at any time."""

_LOWEST_RATE = 1_000
"""Hertz below which samples are measurements: speech does not fit, and hours fit into kilobytes."""

_STUCK = 5
"""Damaged packets in a row after which another codec may have taken over."""

_ABSENT = 30
"""Packets of other tracks, about a second, after which one of them may have taken over."""

_PAUSE = Fraction(1, 2)
"""Seconds without packets, after which the same holds where other tracks are not seen."""

_MOST_RETRIES = 3
"""How often reading is resumed at the same position after an error."""

_TAGS = (b"ID3", b"TAG", b"APETAGEX")
"""What comes before and after the sound of MP3 and AAC files."""

_SHORT_LAST = ("amr", "gsm")
"""Codecs with packets of fixed size, whose last one is often incomplete."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """What happened while a track was read; positions are bytes of the span that is open."""

    frames: int = 0
    failure: av.FFmpegError | None = None
    damaged: int = 0
    last: int | None = None
    """The last packet of the track."""
    stuck: int | None = None
    """The first of the damaged packets since the last frame."""
    first_of: dict[int, int] = field(default_factory=dict)
    """The first packet of each other audio track, by its id in the container."""
    absent: int = 0
    """Packets of other tracks since the last one of this track."""
    broken: av.FFmpegError | None = None
    """Why the file cannot be read any further."""


def track_frames(
    container: InputContainer, stream: AudioStream, source: Source, progress: Progress
) -> Iterator[AudioFrame | None]:
    """Frames with samples, and None where another track may have taken over.

    After None, reading goes on. Raises MediaDecodeError for samples that cannot be used.
    """
    in_a_row = 0
    size = 0
    before: Packet[Stream] | None = None
    for packet in _packets(container, stream, progress):
        if packet is None or packet.stream_index != stream.index:
            if packet is not None and packet.pos is not None and packet.size:
                number = container.streams[packet.stream_index].id
                progress.first_of.setdefault(number, packet.pos)
            progress.absent += 1
            if progress.absent == _ABSENT:
                yield None
            continue
        if packet.pos is not None and packet.size:
            if container.format.name == FLASH and _seconds_between(before, packet) > _PAUSE:
                yield None
            progress.last, progress.absent = packet.pos, 0
            before = packet
        try:
            frames = packet.decode()
        except av.FFmpegError as exc:
            if bytes(packet)[:8].startswith(_TAGS):
                continue  # between recordings that were put together
            if ends_short(stream) and 0 < packet.size < size:
                continue
            progress.failure = exc
            progress.damaged, in_a_row = progress.damaged + 1, in_a_row + 1
            if progress.stuck is None:
                progress.stuck = packet.pos
            if in_a_row == _STUCK:
                yield None
            continue
        size = packet.size or size
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.samples:
                in_a_row, progress.stuck = 0, None
                progress.frames += 1
                yield _checked(frame, source)


def _seconds_between(before: Packet[Stream] | None, packet: Packet[Stream]) -> Fraction:
    tick = exact(packet.time_base)
    if before is None or before.dts is None or packet.dts is None or tick is None:
        return Fraction(0)
    return (packet.dts - before.dts) * tick


def ends_short(stream: AudioStream) -> bool:
    """Whether the last packet of such a track is often incomplete."""
    return stream.codec_context.name.startswith(_SHORT_LAST)


def _packets(
    container: InputContainer, stream: AudioStream, progress: Progress
) -> Iterator[Packet[Stream] | None]:
    """The packets of the track to the end, across what cannot be read.

    In transport streams there are those of all audio tracks, and None for packets of tracks that
    did not exist when the file was opened.
    """
    several = container.format.name == TRANSPORT_STREAM
    read: list[AudioStream] = list(container.streams.audio) if several else [stream]
    retries = 0
    while True:
        try:
            for packet in container.demux(*read):
                retries = 0
                yield packet
        except IndexError:
            yield None
            continue
        except av.FFmpegError as exc:
            progress.broken, retries = exc, retries + 1
            if retries < _MOST_RETRIES:
                continue
        return


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
