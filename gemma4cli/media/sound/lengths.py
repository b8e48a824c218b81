"""How long the sound of a file is, without decoding it."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from itertools import islice

import av
from av.container import InputContainer
from av.stream import Stream

from ...errors import MediaError
from ...messages import Source
from ..containers import exact, open_container, packets
from ..mpeg_parts import joined_parts
from ..sources import settle
from .decoding import start_of
from .tracks import ANY_TRACK, TrackChoice, audio_stream

_COUNTED_PACKETS = 200_000
"""Packets that are read to find a length which no header has."""


def audio_seconds(source: Source, choice: TrackChoice = ANY_TRACK) -> float | None:
    """The second at which the sound ends, by the file's headers; None if they do not say.

    Raises MediaError.
    """
    source = settle(source)
    total = 0.0
    for number, span in enumerate(joined_parts(source)):
        try:
            with open_container(source, span) as container:
                stream = audio_stream(container, source, choice)
                end = claimed_end(stream)
                if end is not None:
                    end -= float(start_of(container) or 0)
                else:
                    end = _claimed_length(container)
        except MediaError:
            if number == 0:
                raise
            continue
        if end is None:
            return None
        total += max(0.0, end)
    return total


def counted_seconds(source: Source, choice: TrackChoice) -> float:
    """The length of the sound by its packets; of many, estimated from the first of them."""
    with open_container(source) as container:
        stream = audio_stream(container, source, choice)
        tick = exact(stream.time_base) or Fraction(0)
        ticks = count = position = 0
        with suppress(av.FFmpegError):
            for packet in islice(packets(container, stream), _COUNTED_PACKETS):
                ticks, count = ticks + (packet.duration or 0), count + 1
                position = max(position, packet.pos or 0)
        share = container.size / position if count == _COUNTED_PACKETS and position > 0 else 1
    return float(ticks * tick) * share


def _claimed_length(container: InputContainer) -> float | None:
    """The container's duration; Matroska counts it from 0 of the clock, not from the start."""
    if container.duration is None:
        return None
    early = container.start_time or 0 if "matroska" in container.format.name else 0
    length = container.duration - early if container.duration > early else container.duration
    return length / av.time_base


def claimed_end(track: Stream) -> float | None:
    """The end of a track according to its header, in seconds on the container's clock."""
    tick = exact(track.time_base)
    if track.duration and tick is not None:
        # Of Ogg, libav gives the end as the duration.
        start = 0 if track.container.format.name == "ogg" else track.start_time or 0
        return float((start + track.duration) * tick)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", track.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = tag.groups()  # Matroska's format
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def seconds_if_longer(source: Source, choice: TrackChoice, longest: float) -> float | None:
    """The length of a recording that has more than ``longest`` seconds, in seconds; else None.

    Nothing is decoded: its headers say so, and there are packets after that time. Also None if
    this cannot be found out. Raises MediaError.
    """
    source = settle(source)
    claimed = audio_seconds(source, choice)
    if claimed is None or claimed <= longest or len(joined_parts(source)) > 1:
        return None
    with open_container(source) as container:
        stream = audio_stream(container, source, choice)
        tick = exact(stream.time_base)
        if tick is None:
            return None
        target = round(((start_of(container) or 0) + Fraction(longest)) / tick)
        try:
            container.seek(target, stream=stream)
            found = any(
                packet.pts is not None and packet.pts > target
                for packet in islice(packets(container, stream), _COUNTED_PACKETS)
            )
        except av.FFmpegError:
            return None
    return claimed if found else None
