"""Where another track takes over from the one that is read, in containers that allow it."""

from __future__ import annotations

from dataclasses import replace

from av.audio.stream import AudioStream

from ...errors import MediaError
from ...messages import Source
from ..containers import Span, open_container
from ..sources import open_source
from .track_frames import TRANSPORT_STREAM, Progress

_TS_PACKET = 188
_FLV_HEADER, _FLV_TAG = 13, 11
_FLV_SOUND = 8


def taken_over(
    source: Source, stream: AudioStream, span: Span, progress: Progress
) -> tuple[Span, int | None] | None:
    """The rest of a span, from where another track takes over, and that track's id if it has one.

    None if none does.
    """
    match stream.container.format.name:
        case "mpegts":
            return _in_transport_stream(source, stream, span, progress)
        case "flv":
            rest = _in_flash(source, span, progress)
            return None if rest is None else (rest, None)
    return None


def _in_transport_stream(
    source: Source, stream: AudioStream, span: Span, progress: Progress
) -> tuple[Span, int] | None:
    """A program may change its PID or its codec at any time.

    The new track begins after the last packet of this one, or with the packets that this one's
    decoder rejects.
    """
    if progress.stuck is not None:
        at = progress.stuck
    elif progress.last:
        at = progress.last + _TS_PACKET
    else:
        return None
    rest = replace(span, start=span.start + at)
    try:
        with open_container(source, rest) as container:
            # The end of a stream may look like another format.
            is_same = container.format.name == TRANSPORT_STREAM
            for each in container.streams.audio if is_same else ():
                context = each.codec_context
                if context is None:
                    continue
                if each.id == stream.id:
                    new = context.name != stream.codec_context.name
                else:
                    new = progress.first_of.get(each.id, at) >= at
                if new:
                    return rest, each.id
    except MediaError:
        # Nothing that can be opened follows.
        return None
    return None


def _in_flash(source: Source, span: Span, progress: Progress) -> Span | None:
    """From the next tag of sound on, if its codec is another: PyAV does not read that track."""
    if progress.last is None:
        return None
    begin = span.start + progress.last - len(span.head)
    with open_source(source) as file:
        head = span.head
        if not head:
            file.seek(span.start)
            head = file.read(_FLV_HEADER)
        at, codec = begin, None
        while span.stop is None or at < span.stop:
            file.seek(at)
            tag = file.read(_FLV_TAG + 1)
            if len(tag) <= _FLV_TAG:
                return None
            if tag[0] == _FLV_SOUND:
                if codec is not None:
                    other = tag[_FLV_TAG] >> 4 != codec
                    return Span(start=at, stop=span.stop, head=head) if other else None
                codec = tag[_FLV_TAG] >> 4
            at += _FLV_TAG + int.from_bytes(tag[1:4], "big") + 4
    return None
