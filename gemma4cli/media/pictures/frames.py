"""The frames of a clip at given times, seeking to keyframes if that saves decoding.

Seeking never changes the result: files that cannot be searched reliably are decoded from the
beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from ...decoded import VideoFrame
from ...errors import MediaDecodeError
from ...messages import Source
from ..containers import Span, exact, open_container, packets, reason
from ..limits import MAX_FRAME_PIXELS, check_size
from .deinterlacing import deinterlaced
from .display import displayed
from .track import SearchError, Shot, Track, free_frames, video_stream

MOST_TOLERANCE = Fraction(1, 2000)
"""Seconds by which a frame may begin after the requested time, half a tick at most."""

SHORT_GAP = Fraction(1, 4)
"""Seconds of video that are decoded without looking for a closer keyframe."""

_STEPS_BACK = (0, Fraction(1, 2), 2, 8, 32)
"""Seconds before the requested time from which to search for a keyframe, in order."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Picked:
    """A requested frame with its neighbors in display order and its seconds in the clip."""

    shot: Shot
    before: Shot | None
    after: Shot | None
    seconds: float
    breaks_off: bool


def part_frames(source: Source, span: Span, timestamps: Sequence[float]) -> Iterator[VideoFrame]:
    """``video.iter_frames`` of one span of a file; seconds count from its first frame."""
    given: float | None = None
    try:
        for picked in _pick(source, span, timestamps, search=True):
            given = picked.seconds
            yield _converted(source, picked)
            free_frames()
        return
    except SearchError:
        pass
    for picked in _pick(source, span, timestamps, search=False):
        if given is None or picked.seconds > given:
            yield _converted(source, picked)
            free_frames()


def _pick(
    source: Source, span: Span, timestamps: Sequence[float], *, search: bool
) -> Iterator[_Picked]:
    """The requested frames, each once.

    A second container searches for keyframes, so that the decoder seeks only if that skips frames.
    """
    with open_container(source, span) as container, open_container(source, span) as scout:
        track = Track(container, video_stream(container, source), source)
        scout_stream = video_stream(scout, source)
        shown = track.first()
        origin, given, before = shown.pts, None, None
        ahead = track.next()
        slack = min(track.tick / 2, MOST_TOLERANCE)
        for time in timestamps:
            target = origin + math.floor((Fraction(time) + slack) / track.tick)
            gap = 0 if ahead is None else (target - ahead.pts) * track.tick
            landing = None
            if search and track.searchable and ahead is not None and gap > SHORT_GAP:
                lead = 2 * track.frame_ticks if ahead.frame.interlaced_frame else 0
                found = _keyframe(scout, scout_stream, target - lead)
                if found is not None and found[1] > ahead.pts:
                    before, shown = None, track.jump(*found)
                    landing, ahead = shown, track.next()
            while ahead is not None and ahead.pts <= target:
                before, shown, ahead = shown, ahead, track.next()
            if shown is landing and shown.frame.interlaced_frame:
                raise SearchError  # the frame before it is needed, too
            if shown.pts != given:
                given = shown.pts
                seconds = float((given - origin) * track.tick)
                yield _Picked(
                    shot=shown,
                    before=before,
                    after=ahead,
                    seconds=seconds,
                    breaks_off=ahead is None and track.fails_after(given),
                )


def _keyframe(scout: InputContainer, stream: VideoStream, target: int) -> tuple[int, int] | None:
    """The time to seek to and that of the keyframe found there, at or before ``target``; ticks.

    None if there is no such keyframe. A seek may land after the last keyframe before the target
    (transport streams have no index; others are searched by decoding time, which is ahead of
    display time), so it is repeated from earlier and earlier times.
    """
    tick = exact(stream.time_base) or Fraction(1)
    for back in _STEPS_BACK:
        seek_to = target - math.floor(back / tick)
        try:
            scout.seek(seek_to, stream=stream)
            keyframe = _next_keyframe(scout, stream, target)
        except av.FFmpegError:
            return None
        if keyframe is not None:
            return seek_to, keyframe
    return None


def _next_keyframe(scout: InputContainer, stream: VideoStream, target: int) -> int | None:
    """The time of the next keyframe if it is at or before ``target``, in ticks."""
    for packet in packets(scout, stream):
        if packet.pts is None or (packet.dts is not None and packet.dts > target):
            return None
        if packet.is_keyframe and packet.pts <= target:
            return packet.pts
    return None


def _converted(source: Source, picked: _Picked) -> VideoFrame:
    """The frame as a player shows it. Raises MediaDecodeError for color spaces libav lacks."""
    frame, shot = picked.shot.frame, picked.shot
    check_size(source, *shot.size, MAX_FRAME_PIXELS)
    before, after = (each.frame if each else None for each in (picked.before, picked.after))
    try:
        if frame.interlaced_frame:
            frame = deinterlaced(frame, before, after)
        pixels = displayed(frame, shot.look)
    except av.FFmpegError as exc:
        raise MediaDecodeError(
            source.name, f"its colors cannot be converted ({reason(exc)}): convert it to H.264"
        ) from exc
    return VideoFrame(pixels=pixels, seconds=picked.seconds, breaks_off=picked.breaks_off)
