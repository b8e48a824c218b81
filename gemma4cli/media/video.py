"""Clips: duration, size and sound; ``frames`` extracts their frames.

Sizes are those at which a player shows the clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from ..decoded import AudioClip
from ..errors import NoAudioTrackError
from ..messages import Source
from .audio import load_span
from .containers import exact, open_container, packets
from .frames import Track, iter_frames, video_stream

__all__ = ["VideoInfo", "iter_frames", "load_sound", "probe_video"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """Properties of a clip.

    ``duration`` is in seconds, from the first frame to the end of the last; ``width`` and
    ``height`` are in pixels as a player shows them, upright; ``frames`` is an estimate.
    ``origin`` is the first frame's time in seconds on the container's clock. ``sound_end`` is the
    end of the sound according to the header, in seconds from the first frame; None if it is
    unknown, or if there is no sound.
    """

    duration: float
    width: int
    height: int
    frames: int
    has_sound: bool
    sound_end: float | None
    origin: float


def probe_video(source: Source) -> VideoInfo:
    """The clip's properties; decodes one frame and reads the packets near the end.

    Raises NoVideoTrackError for a file without a video track (cover art does not count),
    MediaDecodeError for a damaged file or a still image, and the errors of ``open_source``.
    """
    with open_container(source) as container:
        stream = video_stream(container, source)
        sound = container.streams.best("audio")
        sound_end = None if sound is None else _claimed_end(sound)
        track = Track(container, stream, source)
        head = track.first()
        rate, tick, frame_ticks = track.rate, track.tick, track.frame_ticks
        end = _end_by_seeking(container, stream, frame_ticks)
    if end is None:
        end = _end_by_reading(source, frame_ticks)
    width, height = head.size
    duration = max(end - head.pts, frame_ticks) * tick
    origin = float(head.pts * tick)
    return VideoInfo(
        duration=float(duration),
        width=width,
        height=height,
        frames=max(1, round(duration * rate)),
        has_sound=sound is not None,
        sound_end=None if sound_end is None else max(0.0, sound_end - origin),
        origin=origin,
    )


def load_sound(
    source: Source, info: VideoInfo, start: float = 0.0, end: float | None = None
) -> AudioClip | None:
    """The clip's sound from ``start`` to ``end`` seconds, or None if it has no audio track.

    Seconds count from the first frame, as ``info`` of ``probe_video`` has it; if the sound begins
    later, silence comes first. Raises the errors of ``load_audio`` except NoAudioTrackError.
    """
    try:
        return load_span(source, start, end, info.origin)
    except NoAudioTrackError:
        return None


def _claimed_end(track: Stream) -> float | None:
    """The end of a track according to its header, in seconds on the container's clock."""
    tick = exact(track.time_base)
    if track.duration and tick is not None:
        return float(((track.start_time or 0) + track.duration) * tick)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", track.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = tag.groups()  # Matroska's format
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _end_by_seeking(container: InputContainer, stream: VideoStream, frame_ticks: int) -> int | None:
    """The end of the last frame in ticks, from the packets near the end; None if seeking fails."""
    if container.duration is None:
        return None
    try:
        container.seek((container.start_time or 0) + container.duration)
    except av.FFmpegError:
        return None
    end, _ = _last_end(container, stream, frame_ticks)
    return end


def _end_by_reading(source: Source, frame_ticks: int) -> int:
    """The end of the last frame in ticks, from all packets."""
    with open_container(source) as container:
        end, untimed = _last_end(container, video_stream(container, source), frame_ticks)
    return untimed * frame_ticks if end is None else end


def _last_end(
    container: InputContainer, stream: VideoStream, frame_ticks: int
) -> tuple[int | None, int]:
    """The end of the last frame from the current position, and the number of packets without time.

    A packet's duration is the distance to the next packet in the file, which for reordered frames
    differs from the time on screen; so the end is limited to that in the track's header. Reading
    stops at the first damaged packet.
    """
    last, untimed = None, 0
    reading = packets(container, stream)
    while True:
        try:
            packet = next(reading, None)
        except av.FFmpegError:
            break
        if packet is None:
            break
        if packet.pts is None:
            untimed += packet.size > 0
        elif not packet.is_discard and (last is None or packet.pts > last[0]):
            last = (packet.pts, packet.pts + (packet.duration or frame_ticks))
    if last is None:
        return None, untimed
    claimed = (stream.start_time or 0) + (stream.duration or 0)
    return min(last[1], claimed) if claimed > last[0] else last[1], untimed
