"""Clips: their measures, and the sound that belongs to a span.

Frames are taken by ``frames.py``. Knows no models and not which frames are wanted. Pixel
aspect ratios other than 1 are ignored: pixels come as they are stored.
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
from .containers import open_container, packets
from .frames import Track, iter_frames, load_frames, video_stream

__all__ = ["VideoInfo", "iter_frames", "load_frames", "load_sound", "probe_video"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """A clip's measures.

    ``duration`` is in seconds, from the first frame to the end of the last; ``width`` and
    ``height`` are pixels as displayed, rotation applied; ``frames`` is an estimate, ``fps`` an
    average; ``start`` is the first frame's second on the container's own clock. ``sound_end`` is
    where the sound ends by its header, in seconds from the first frame; None where that says
    nothing, or where there is no sound.
    """

    duration: float
    width: int
    height: int
    frames: int
    fps: float
    has_sound: bool
    sound_end: float | None
    start: float


def probe_video(source: Source) -> VideoInfo:
    """The clip's measures; decodes one frame and reads packets near the end.

    Raises NoVideoTrackError for a file with nothing to see (cover art does not count),
    MediaDecodeError for a damaged file or a still image, and what ``open_source`` raises.
    """
    with open_container(source) as container:
        stream = video_stream(container, source)
        sound = container.streams.best("audio")
        sound_end = None if sound is None else _claimed_end(sound)
        track = Track(container, stream, source)
        head = track.first()
        rate, tick, frame_ticks = track.rate, track.tick, track.frame_ticks
    width, height = head.frame.width, head.frame.height
    if head.turns % 2:
        width, height = height, width
    duration = max(_end(source, frame_ticks) - head.pts, frame_ticks) * tick
    start = float(head.pts * tick)
    return VideoInfo(
        duration=float(duration),
        width=width,
        height=height,
        frames=max(1, round(duration * rate)),
        fps=float(rate),
        has_sound=sound is not None,
        sound_end=None if sound_end is None else max(0.0, sound_end - start),
        start=start,
    )


def load_sound(source: Source, start: float = 0.0, end: float | None = None) -> AudioClip | None:
    """The clip's sound from ``start`` to ``end`` seconds, or None where it has no audio track.

    Seconds count from the clip's first frame, as those of the frames do: sound that begins
    later is preceded by silence. Raises as ``load_audio``, but for the missing track.
    """
    with open_container(source) as container:
        stream = video_stream(container, source)
        if not container.streams.audio:
            return None
        track = Track(container, stream, source)
        origin = float(track.first().pts * track.tick)
    try:
        return load_span(source, start, end, origin)
    except NoAudioTrackError:
        return None


def _claimed_end(track: Stream) -> float | None:
    """The second on the container's clock at which a track ends by its header."""
    if track.duration and track.time_base is not None:
        return float(((track.start_time or 0) + track.duration) * track.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", track.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = tag.groups()  # as Matroska has it
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _end(source: Source, frame_ticks: int) -> int:
    """The end of the last frame in ticks of the track.

    Read from the packets near the end; from all of them where the file cannot be searched.
    """
    with open_container(source) as container:
        stream = video_stream(container, source)
        if _go_to_end(container):
            end, _ = _last_end(container, stream, frame_ticks)
            if end is not None:
                return end
    with open_container(source) as container:
        end, untimed = _last_end(container, video_stream(container, source), frame_ticks)
    return untimed * frame_ticks if end is None else end


def _go_to_end(container: InputContainer) -> bool:
    """Moves to the last keyframe by the duration that the file claims; false where it cannot."""
    if container.duration is None:
        return False
    try:
        container.seek((container.start_time or 0) + container.duration)
    except av.FFmpegError:
        return False
    return True


def _last_end(
    container: InputContainer, stream: VideoStream, frame_ticks: int
) -> tuple[int | None, int]:
    """The end of the last frame from here on, and how many packets carry no time.

    The length of a packet is the distance to the next one in the file, which with reordered
    frames is not the time on screen: it counts only up to the end that the track claims.
    Reading stops at the first damage.
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
