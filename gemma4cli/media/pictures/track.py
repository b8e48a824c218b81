"""A clip's video track: its decoded frames in display order, with their times."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
from av.container import InputContainer
from av.video.frame import VideoFrame as AvFrame
from av.video.stream import VideoStream

from ...errors import MediaDecodeError, NoVideoTrackError
from ...messages import Source
from ..containers import exact, packets, reason, still_image
from ..kinds_by_tracks import moving_tracks
from ..limits import MAX_FRAME_PIXELS, check_size
from .decoders import bounded_decoder
from .display import Appearance, appearance, displayed_size
from .image_readers import opened_image

DEFAULT_FPS = Fraction(25)
"""Used for files that state no frame rate."""

SEARCHABLE = {"asf", "avi", "flv", "matroska", "mov", "mpegts", "ogg", "webm"}
"""libav's names of containers in which frame times do not depend on where reading began.

Others, above all MPEG program streams, store a time for some frames only; the times of the frames
in between are extrapolated, with different results from different positions.
"""

_ANIMATIONS = {"gif": "GIF", "apng": "PNG", "flic": "FLI"}
"""Names of image formats by libav's for their animations."""

_PNG = frozenset({"png", "apng"})
_DOLBY_TAGS = frozenset({"dvh1", "dvhe", "dav1"})
_UNSPECIFIED = 2


_DECODED_PIXELS, _PIXELS_OF_BYTE = 16_000_000_000, 2_000
"""The most that is decoded of a track: so much, and so much for each byte of the file."""
_LEAST_PIXELS = 1 << 16
"""What a frame takes at least."""


class SearchError(Exception):
    """A jump missed its keyframe or hit damage; the file must be decoded from the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """A decoded frame, not converted to RGB yet, with its time in ticks of the track.

    ``aspect`` is that of its pixels; of ``is_png``, ``profile`` is the ICC profile.
    """

    frame: AvFrame
    pts: int
    aspect: Fraction | None
    is_png: bool = False
    profile: bytes | None = None

    @property
    def look(self) -> Appearance:
        """How the frame is shown.

        A frame that was asked is freed by the garbage collector only, as PyAV's side data and
        their frame refer to each other; so it is for frames that are shown, see ``free_frames``.
        """
        if self.is_png:
            return Appearance(aspect=self.aspect, profile=self.profile)
        return appearance(self.frame, self.aspect)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at which a player shows the frame, in pixels."""
        return displayed_size(self.frame, self.look)


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
        self._failed_at: int | None = None
        self._left = _DECODED_PIXELS + _PIXELS_OF_BYTE * max(0, container.size)
        self._decoder = bounded_decoder(stream)
        self._coded_aspect = stream.codec_context.sample_aspect_ratio
        self._profile = _profile(source) if container.format.name == "apng" else None
        self._shots: Iterator[Shot] = self._decode()
        tick = exact(stream.time_base)
        if tick is None:
            raise MediaDecodeError(source.name, "its video track has no time base")
        self.tick = tick

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

        Raises MediaDecodeError if no frame can be decoded, for an animation with a single one, and
        for colors that only Dolby's decoder understands.
        """
        shot = self.next()
        if shot is None and self._failure is not None:
            raise MediaDecodeError(
                self.source.name, f"none of its frames can be decoded ({reason(self._failure)})"
            ) from self._failure
        if shot is None:
            raise MediaDecodeError(self.source.name, "its video track has no frames")
        if self.container.format.name in _ANIMATIONS:
            second = self.next()
            if second is None:
                raise still_image(self.source, _ANIMATIONS[self.container.format.name])
            self._shots = chain((second,), self._shots)
        if _needs_dolby(self.stream, shot.frame):
            raise MediaDecodeError(
                self.source.name,
                "has the colors of Dolby Vision without HDR10 or SDR (profile 5): "
                "convert it with a program that reads them",
            )
        return shot

    def next(self) -> Shot | None:
        """The next frame in display order, None after the last."""
        return next(self._shots, None)

    def fails_after(self, pts: int) -> bool:
        """Whether frames that begin later, by more than a frame, could not be decoded."""
        return self._failed_at is not None and self._failed_at > pts + self.frame_ticks

    def jump(self, seek_to: int, keyframe: int) -> Shot:
        """Seeks to ``seek_to`` and returns the keyframe at ``keyframe``; both in ticks.

        Raises SearchError if that frame is missing or damaged.
        """
        self._jumped = True
        try:
            self.container.seek(seek_to, stream=self.stream)
        except av.FFmpegError as exc:
            raise SearchError from exc
        self._decoder.flush_buffers()
        self._last = None
        self._shots = self._decode()
        shot = self.next()
        while shot is not None and shot.pts < keyframe:  # may depend on frames before the jump
            shot = self.next()
        if shot is None or shot.pts != keyframe or shot.frame.is_corrupt:
            raise SearchError
        return shot

    def _decode(self) -> Iterator[Shot]:
        reading = packets(self.container, self.stream)
        packet = None
        while True:
            try:
                packet = next(reading, None)
                frames = self._decoder.decode(packet) if packet is not None else None
            except av.FFmpegError as exc:
                if self._jumped:
                    raise SearchError from exc
                self._failure = exc
                if packet is not None and packet.pts is not None:
                    self._failed_at = max(packet.pts, self._failed_at or packet.pts)
                continue
            if frames is None:
                return
            for frame in frames:
                self._count(frame)
                if self._jumped and frame.is_corrupt and frame.pts is not None:
                    raise SearchError
                yield Shot(
                    frame=frame,
                    pts=self._time_of(frame),
                    aspect=self._aspect(),
                    is_png=self._decoder.name in _PNG,
                    profile=self._profile,
                )

    def _count(self, frame: AvFrame) -> None:
        """Raises MediaDecodeError if far more was decoded than such a file should take."""
        self._left -= max(_LEAST_PIXELS, frame.width * frame.height)
        if self._left < 0:
            raise MediaDecodeError(
                self.source.name,
                "takes too long to decode, since it has few keyframes to start from: use an "
                "earlier part with --to, or convert it, as with ffmpeg -g 50",
            )

    def _aspect(self) -> Fraction | None:
        """The container's pixel aspect until the codec changes its own."""
        coded = self._decoder.sample_aspect_ratio
        if coded and coded != self._coded_aspect:
            return exact(coded)
        return exact(self.stream.sample_aspect_ratio)

    def _time_of(self, frame: AvFrame) -> int:
        """The frame's time in ticks; without time stamps, counted at the frame rate."""
        pts = frame.pts
        if pts is None:
            self.timed = self.searchable = False
            pts = 0 if self._last is None else self._last + self.frame_ticks
        self._last = pts
        return pts


def free_frames() -> None:
    """Free the frames that were shown and are no longer referred to, see ``Shot.look``."""
    gc.collect(1)


def _profile(source: Source) -> bytes | None:
    """The ICC profile of an animated PNG."""
    with opened_image(source) as (opened, _, _):
        profile = opened.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def _needs_dolby(stream: VideoStream, frame: AvFrame) -> bool:
    """Whether the pixels are in Dolby's own color space, which no code of the stream names."""
    if frame.color_trc != _UNSPECIFIED or stream.codec_context.name in _PNG:
        return False
    return stream.codec_context.codec_tag in _DOLBY_TAGS or "DOVI_METADATA" in frame.side_data


def video_stream(container: InputContainer, source: Source) -> VideoStream:
    """The container's best video track; cover art is ignored."""
    tracks = moving_tracks(container)
    if not tracks and container.streams.audio:
        raise NoVideoTrackError(source.name, "is a recording without pictures: use g4 transcribe")
    if not tracks:
        raise NoVideoTrackError(source.name, "has no video track")
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        raise MediaDecodeError(source.name, "its video track has an unknown codec")
    best = container.streams.best("video")
    stream = next((track for track in known if track is best), known[0])
    if stream.frames == 1:  # an AVIF or HEIC file has a still of its sequence
        stream = max(known, key=lambda track: track.frames)
    if not stream.width:  # libav forgets the size of frames that it is not allowed to decode
        wrong = f"its frames have no size, or more than {MAX_FRAME_PIXELS:,} pixels"
        raise MediaDecodeError(source.name, wrong)
    check_size(source, stream.width, stream.height, MAX_FRAME_PIXELS)
    return stream
