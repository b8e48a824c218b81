"""Writes files with audio tracks: at any time, with pauses, names, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Track:
    """Sound for ``write_tracks``: ``samples`` are ``[channels, n]`` at ``rate``, from ``at`` s.

    After ``pause_after`` seconds of it, the time stamps advance by ``pause`` seconds.
    """

    samples: npt.NDArray[np.int16]
    at: float = 0.0
    rate: int = 16_000
    codec: str = "pcm_s16le"
    layout: str = "mono"
    language: str = ""
    title: str = ""
    disposition: int = 0
    pause_after: float = 0.0
    pause: float = 0.0


_FORMAT_OF = {
    "aac": "fltp",
    "ac3": "fltp",
    "libopus": "flt",
    "mp2": "s16",
    "libmp3lame": "s16p",
    "wmav2": "fltp",
    "wavpack": "s16p",
}


def write_tracks(
    path: Path,
    *tracks: Track,
    picture: float | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A file of audio tracks and, with ``picture``, two seconds of gray from that second on."""
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        video = None
        if picture is not None:
            video = container.add_stream("flv1" if path.suffix == ".flv" else "mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            video.codec_context.time_base = Fraction(1, 10)
        streams = []
        for track in tracks:
            stream = container.add_stream(track.codec, rate=track.rate, layout=track.layout)
            stream.codec_context.format = _FORMAT_OF.get(track.codec, "s16")
            if track.codec == "wmav2":
                stream.bit_rate = 64_000
            for key, value in (("language", track.language), ("title", track.title)):
                if value:
                    stream.metadata[key] = value
            if track.disposition:
                stream.disposition = track.disposition
            streams.append(stream)
        found = []
        if video is not None and picture is not None:
            gray = np.full((64, 64, 3), 128, np.uint8)
            for index in range(20):
                frame = av.VideoFrame.from_ndarray(gray, format="rgb24")
                frame.pts, frame.time_base = round(picture * 10) + index, Fraction(1, 10)
                found += video.encode(frame)
            found += video.encode()
        for track, stream in zip(tracks, streams, strict=True):
            found += list(_packets(track, stream))
        for packet in sorted(found, key=lambda each: (each.dts or 0) * each.time_base):
            container.mux(packet)
    return path


def _packets(track: Track, stream: av.audio.stream.AudioStream) -> Iterator[av.Packet]:
    kind = _FORMAT_OF.get(track.codec, "s16")
    samples: npt.NDArray[np.generic] = track.samples
    if kind.startswith("flt"):
        samples = (track.samples / 32768).astype(np.float32)
    size = stream.codec_context.frame_size or 1024
    for at in range(0, samples.shape[1], size):
        part = samples[:, at : at + size]
        data = part if kind.endswith("p") else part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(data), format=kind, layout=track.layout
        )
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        late = track.pause if at >= track.pause_after * track.rate else 0.0
        frame.pts = round((track.at + late) * track.rate) + at
        yield from stream.encode(frame)
    yield from stream.encode(None)
