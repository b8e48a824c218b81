"""The silence that encoders add at the end of an MP3, which libav leaves out only in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from ...messages import Source
from ..containers import Span
from ..feeds import LiveSource
from ..sources import open_source

_ID3, _ID3_HEADER = b"ID3", 10
_INFO = (b"Xing", b"Info")
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
_FRAMES, _BYTES, _TABLE, _QUALITY = (1, 4), (2, 4), (4, 100), (8, 4)
"""Bits of the flags in the info tag, and the sizes of what they announce."""
_DELAYS = 21
"""From the encoder's name to the two numbers of samples that it added, 12 bits each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Padding:
    """An encoder's sound is ``length`` samples long; the packets with it hold up to ``whole``."""

    length: int
    whole: int


def padding_of(source: Source, span: Span, demuxer: str) -> Padding | None:
    """What the info tag of an MP3 in a pipe says; None for all else.

    Raises MediaError.
    """
    if demuxer != "mp3" or not isinstance(source, LiveSource):
        return None
    with open_source(source) as file:
        file.seek(span.start)
        head = file.read(_ID3_HEADER)
        skipped = 0
        if head.startswith(_ID3) and len(head) == _ID3_HEADER:
            skipped = _ID3_HEADER + sum((head[9 - n] & 127) << 7 * n for n in range(4))
        file.seek(span.start + skipped)
        return _of_frame(file.read(256))


def _of_frame(frame: bytes) -> Padding | None:
    if len(frame) < 256 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # layer III
        return None
    is_first_version, is_mono = frame[1] & 0x18 == 0x18, frame[3] >> 6 == 3
    at = 4 + ((17 if is_mono else 32) if is_first_version else (9 if is_mono else 17))
    if frame[at : at + 4] not in _INFO:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8
    count = int.from_bytes(frame[at : at + 4], "big") if flags & _FRAMES[0] else 0
    at += sum(size for bit, size in (_FRAMES, _BYTES, _TABLE, _QUALITY) if flags & bit)
    if not count or frame[at : at + 4] not in _ENCODERS:
        return None
    added = int.from_bytes(frame[at + _DELAYS : at + _DELAYS + 3], "big")
    before, after = added >> 12, added & 0xFFF
    samples = count * (1152 if is_first_version else 576)
    return Padding(length=samples - before - after, whole=samples - before - 529)


def without_padding(
    frames: Iterator[AudioFrame | None], padding: Padding | None
) -> Iterator[AudioFrame | None]:
    """The frames up to the padding; all of them if others follow it, as in joined files."""
    if padding is None:
        yield from frames
        return
    end, held = 0, list[AudioFrame]()
    for frame in frames:
        if frame is None or end < 0:
            yield frame
            continue
        end += frame.samples
        if end <= padding.length:
            yield frame
            continue
        held.append(frame)
        if end > padding.whole + frame.samples:
            yield from held
            end, held = -1, []
    begin = end - sum(frame.samples for frame in held)
    for frame in held:
        if begin < padding.length:
            yield _cut(frame, padding.length - begin)
        begin += frame.samples


def _cut(frame: AudioFrame, count: int) -> AudioFrame:
    """The first samples of a frame."""
    if count >= frame.samples:
        return frame
    values = frame.to_ndarray()
    width = 1 if frame.format.is_planar else len(frame.layout.channels)
    kept: npt.NDArray[np.float32] = np.ascontiguousarray(values[:, : count * width])
    cut = av.AudioFrame.from_ndarray(kept, format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate, cut.pts, cut.time_base = frame.sample_rate, frame.pts, frame.time_base
    return cut
