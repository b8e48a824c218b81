"""Clips: duration, size and sound; ``frames`` extracts their frames.

Sizes are those at which a player shows the clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from ...decoded import AudioClip, VideoFrame
from ...errors import MediaDecodeError, MediaError, NoAudioTrackError
from ...messages import Source
from ..containers import Span, StreamT, exact, open_container, packets
from ..mpeg_parts import joined_parts
from ..sound.audio import load_span
from ..sound.lengths import claimed_end
from ..sound.tracks import ANY_TRACK, TrackChoice, audio_stream
from .animations import animation_frames, timeline
from .frames import part_frames
from .track import Track, video_stream

__all__ = ["VideoInfo", "iter_frames", "load_sound", "probe_video"]


_LATE_SECONDS = 60.0
"""Sound after the end by the headers that still belongs to the clip."""


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


def probe_video(source: Source, choice: TrackChoice = ANY_TRACK) -> VideoInfo:
    """The clip's properties; decodes one frame and reads the packets near the end.

    Raises NoVideoTrackError for a file without a video track (cover art does not count),
    MediaDecodeError for a damaged file or a still image, TrackNotFoundError if it lacks the audio
    track, and the errors of ``open_source``.
    """
    parts = list(_parts(source, choice))
    whole = parts[0].info
    if len(parts) == 1:
        return whole
    return replace(
        whole,
        duration=parts[-1].start + parts[-1].info.duration,
        frames=sum(part.info.frames for part in parts),
        sound_end=None,
    )


def iter_frames(source: Source, timestamps: Sequence[float]) -> Iterator[VideoFrame]:
    """The frame on screen at each time, in order, with the time at which it begins.

    ``timestamps`` are seconds from the clip's first frame, ascending and not negative. A frame
    that is on screen at several of them is yielded once; times after the end yield the last frame.
    Raises ValueError for times out of order, otherwise the errors of ``probe_video``.
    """
    if any(not math.isfinite(time) or time < 0 for time in timestamps) or any(
        later < earlier for earlier, later in pairwise(timestamps)
    ):
        raise ValueError("timestamps must be ascending and not negative")
    times = timeline(source)
    if times is not None:
        yield from animation_frames(source, timestamps, times)
        return
    spans = joined_parts(source)
    if len(spans) == 1:
        yield from part_frames(source, spans[0], timestamps)
        return
    parts = list(_parts(source))
    ends = [*(part.start for part in parts[1:]), math.inf]
    for part, end in zip(parts, ends, strict=True):
        inside = [time - part.start for time in timestamps if part.start <= time < end]
        for frame in part_frames(source, part.span, inside):
            yield replace(frame, seconds=frame.seconds + part.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A stretch of a file that is a clip of its own, with its start in the whole, in seconds."""

    span: Span
    start: float
    info: VideoInfo


def _parts(source: Source, choice: TrackChoice = ANY_TRACK) -> Iterator[_Part]:
    """The clips that the file is made of; without those after the first that cannot be read."""
    start = 0.0
    for number, span in enumerate(joined_parts(source)):
        try:
            info = _probe(source, span, choice)
        except MediaError:
            if number == 0:
                raise
            continue
        yield _Part(span=span, start=start, info=info)
        start += info.duration


def _probe(source: Source, span: Span, choice: TrackChoice) -> VideoInfo:
    animation = timeline(source)
    if animation is not None:
        return VideoInfo(
            duration=animation.end,
            width=animation.width,
            height=animation.height,
            frames=len(animation.starts),
            has_sound=False,
            sound_end=None,
            origin=0.0,
        )
    with open_container(source, span) as container:
        stream = video_stream(container, source)
        sound = _sound_track(container, source, choice)
        track = Track(container, stream, source)
        head = track.first()
        rate, tick, frame_ticks = track.rate, track.tick, track.frame_ticks
        end, frames = _end_by_seeking(container, stream, frame_ticks), None
        sound_end = None if sound is None else _sound_end(container, sound, end, tick)
    if end is None:
        end, frames = _end_by_reading(source, span, frame_ticks)
    width, height = head.size
    duration = max(end - head.pts, frame_ticks) * tick
    origin = float(head.pts * tick)
    return VideoInfo(
        duration=float(duration),
        width=width,
        height=height,
        frames=max(1, round(duration * rate) if frames is None else frames),
        has_sound=sound is not None,
        sound_end=None if sound_end is None else max(0.0, sound_end - origin),
        origin=origin,
    )


def load_sound(
    source: Source,
    info: VideoInfo,
    start: float = 0.0,
    end: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> AudioClip | None:
    """The clip's sound from ``start`` to ``end`` seconds, or None if it has no audio track.

    Seconds count from the first frame, as ``info`` of ``probe_video`` has it; if the sound begins
    later, silence comes first. Sound that begins long after everything that the headers promise is
    left out. Raises the errors of ``load_audio`` except NoAudioTrackError.
    """
    if end is None:
        end = (info.duration if info.sound_end is None else info.sound_end) + _LATE_SECONDS
    try:
        return load_span(source, start, end, info.origin, choice)
    except NoAudioTrackError:
        return None


def _sound_track(
    container: InputContainer, source: Source, choice: TrackChoice
) -> AudioStream | None:
    """The audio track to hear; None if there is none that can be decoded."""
    try:
        return audio_stream(container, source, choice)
    except (NoAudioTrackError, MediaDecodeError):
        return None


def _sound_end(
    container: InputContainer, sound: AudioStream, end: int | None, tick: Fraction
) -> float | None:
    """The end of the sound, in seconds on the container's clock; None if it is unknown.

    If the header promises much more sound than there are pictures, it is looked for.
    """
    claimed, own_tick = claimed_end(sound), exact(sound.time_base)
    if claimed is None or own_tick is None:
        return claimed
    if end is not None and claimed <= end * tick + _LATE_SECONDS:
        return claimed
    try:
        container.seek(round(claimed / own_tick), stream=sound)
    except av.FFmpegError:
        return claimed
    found, _ = _last_end(container, sound, 0)
    return claimed if found is None else min(claimed, float(found * own_tick))


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


def _end_by_reading(source: Source, span: Span, frame_ticks: int) -> tuple[int, int]:
    """The end of the last frame in ticks and the number of frames, from all packets."""
    with open_container(source, span) as container:
        end, frames = _last_end(container, video_stream(container, source), frame_ticks)
    return frames * frame_ticks if end is None else end, frames


def _last_end(
    container: InputContainer, stream: StreamT, frame_ticks: int
) -> tuple[int | None, int]:
    """The end of the last frame from the current position, and the number of frames.

    The end is None if no packet has a time. A packet's duration is the distance to the next packet
    in the file, which for reordered frames differs from the time on screen; so the end is limited
    to that in the track's header. Reading stops at the first damaged packet.
    """
    last, frames = None, 0
    reading = packets(container, stream)
    while True:
        try:
            packet = next(reading, None)
        except av.FFmpegError:
            break
        if packet is None:
            break
        # Theora repeats a frame by an empty packet; the flush packet has no time, either.
        if packet.is_discard or (packet.size == 0 and packet.pts is None):
            continue
        frames += 1
        if packet.pts is not None and (last is None or packet.pts > last[0]):
            last = (packet.pts, packet.pts + (packet.duration or frame_ticks))
    if last is None:
        return None, frames
    claimed = (stream.start_time or 0) + (stream.duration or 0)
    return min(last[1], claimed) if claimed > last[0] else last[1], frames
