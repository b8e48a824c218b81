"""The frames of a clip at given times, seeking to keyframes if that saves decoding.

Seeking never changes the result: files that cannot be searched reliably are decoded from the
beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame as AvFrame
from av.video.stream import VideoStream

from ..decoded import VideoFrame
from ..errors import MediaDecodeError, NoVideoTrackError
from ..messages import Source
from .containers import exact, open_container, packets, reason, still_image
from .limits import check_size

MOST_TOLERANCE = Fraction(1, 2000)
"""Seconds by which a frame may begin after the requested time, half a tick at most."""

DEFAULT_FPS = Fraction(25)
"""Used for files that state no frame rate."""

SHORT_GAP = Fraction(1, 4)
"""Seconds of video that are decoded without looking for a closer keyframe."""

SEARCHABLE = {"asf", "avi", "flv", "matroska", "mov", "mpegts", "ogg", "webm"}
"""libav's names of containers in which frame times do not depend on where reading began.

Others, above all MPEG program streams, store a time for some frames only; the times of the frames
in between are extrapolated, with different results from different positions.
"""

_STEPS_BACK = (0, Fraction(1, 2), 2, 8, 32)
"""Seconds before the requested time from which to search for a keyframe, in order."""


class _SearchError(Exception):
    """A jump missed its keyframe or hit damage; the file must be decoded from the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A decoded frame, not converted to RGB yet, with its time in ticks of the track."""

    frame: AvFrame
    pts: int

    @property
    def turns(self) -> int:
        """Quarter turns counterclockwise that turn the frame upright."""
        return round(self.frame.rotation / 90) % 4


class Track:
    """One video track, decoded forward from its current position."""

    def __init__(self, container: InputContainer, stream: VideoStream, source: Source) -> None:
        self.container = container
        self.stream = stream
        self.source = source
        self.timed = True
        self.searchable = not SEARCHABLE.isdisjoint(container.format.name.split(","))
        self._jumped = False
        self._last: int | None = None
        self._failure: av.FFmpegError | None = None
        self._shots: Iterator[Shot] = self._decode()
        tick = exact(stream.time_base)
        if tick is None:
            raise MediaDecodeError(source.name, "its video track has no time base")
        self.tick = tick
        stream.thread_type = "AUTO"

    @property
    def rate(self) -> Fraction:
        """Frames per second: the average if frames have times, else the codec's rate."""
        average, nominal = exact(self.stream.average_rate), exact(self.stream.guessed_rate)
        return (average or nominal if self.timed else nominal or average) or DEFAULT_FPS

    @property
    def frame_ticks(self) -> int:
        """The length of an average frame."""
        return max(1, round(1 / self.rate / self.tick))

    def first(self) -> Shot:
        """The first frame.

        Raises MediaDecodeError if no frame can be decoded, or for a GIF with a single frame.
        """
        shot = self.next()
        if shot is None and self._failure is not None:
            raise MediaDecodeError(
                self.source.name, f"none of its frames can be decoded ({reason(self._failure)})"
            ) from self._failure
        if shot is None:
            raise MediaDecodeError(self.source.name, "its video track has no frames")
        if self.container.format.name == "gif":
            second = self.next()
            if second is None:
                raise still_image(self.source, "GIF")
            self._shots = chain((second,), self._shots)
        return shot

    def next(self) -> Shot | None:
        """The next frame in display order, None after the last."""
        return next(self._shots, None)

    def jump(self, seek_to: int, keyframe: int) -> Shot:
        """Seeks to ``seek_to`` and returns the keyframe at ``keyframe``; both in ticks.

        Raises _SearchError if that frame is missing or damaged.
        """
        self._jumped = True
        try:
            self.container.seek(seek_to, stream=self.stream)
        except av.FFmpegError as exc:
            raise _SearchError from exc
        self._last = None
        self._shots = self._decode()
        shot = self.next()
        while shot is not None and shot.pts < keyframe:  # may depend on frames before the jump
            shot = self.next()
        if shot is None or shot.pts != keyframe or shot.frame.is_corrupt:
            raise _SearchError
        return shot

    def _decode(self) -> Iterator[Shot]:
        reading = packets(self.container, self.stream)
        while True:
            try:
                packet = next(reading, None)
                frames = packet.decode() if packet is not None else None
            except av.FFmpegError as exc:
                if self._jumped:
                    raise _SearchError from exc
                self._failure = exc
                continue
            if frames is None:
                return
            for frame in frames:
                if self._jumped and frame.is_corrupt and frame.pts is not None:
                    raise _SearchError
                yield Shot(frame=frame, pts=self._time_of(frame))

    def _time_of(self, frame: AvFrame) -> int:
        """The frame's time in ticks; without time stamps, counted at the frame rate."""
        pts = frame.pts
        if pts is None:
            self.timed = self.searchable = False
            pts = 0 if self._last is None else self._last + self.frame_ticks
        self._last = pts
        return pts


def video_stream(container: InputContainer, source: Source) -> VideoStream:
    """The container's best video track; cover art is ignored."""
    tracks = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not tracks:
        raise NoVideoTrackError(source.name, "has no video track")
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        raise MediaDecodeError(source.name, "its video track has an unknown codec")
    best = container.streams.best("video")
    stream = next((track for track in known if track is best), known[0])
    check_size(source, stream.width, stream.height)
    return stream


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
    given: int | None = None
    try:
        for shot, origin, tick in _pick(source, timestamps, search=True):
            given = shot.pts
            yield _converted(shot, origin, tick)
        return
    except _SearchError:
        pass
    for shot, origin, tick in _pick(source, timestamps, search=False):
        if given is None or shot.pts > given:
            yield _converted(shot, origin, tick)


def _pick(
    source: Source, timestamps: Sequence[float], *, search: bool
) -> Iterator[tuple[Shot, int, Fraction]]:
    """The requested frames, each once, with the first frame's ticks and the tick in seconds.

    A second container searches for keyframes, so that the decoder seeks only if that skips frames.
    """
    with open_container(source) as container, open_container(source) as scout:
        track = Track(container, video_stream(container, source), source)
        scout_stream = video_stream(scout, source)
        shown = track.first()
        origin, given = shown.pts, None
        ahead = track.next()
        slack = min(track.tick / 2, MOST_TOLERANCE)
        for time in timestamps:
            target = origin + math.floor((Fraction(time) + slack) / track.tick)
            gap = 0 if ahead is None else (target - ahead.pts) * track.tick
            if search and track.searchable and ahead is not None and gap > SHORT_GAP:
                found = _keyframe(scout, scout_stream, target)
                if found is not None and found[1] > ahead.pts:
                    shown = track.jump(*found)
                    ahead = track.next()
            while ahead is not None and ahead.pts <= target:
                shown, ahead = ahead, track.next()
            if shown.pts != given:
                given = shown.pts
                yield shown, origin, track.tick


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


def _converted(shot: Shot, origin: int, tick: Fraction) -> VideoFrame:
    """The frame as upright RGB with its seconds since ``origin``, the first frame's ticks."""
    pixels = np.asarray(shot.frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    if shot.turns:
        pixels = np.ascontiguousarray(np.rot90(pixels, shot.turns))
    return VideoFrame(pixels=pixels, seconds=float((shot.pts - origin) * tick))
