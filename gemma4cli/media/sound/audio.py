"""Sound of any container to samples at 16 kHz, at once or in blocks.

Nothing is padded, split at pauses or turned into features here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.stream import Stream

from ...decoded import SAMPLE_RATE, AudioClip
from ...decoded import Samples as Samples
from ...errors import MediaError
from ...messages import Source
from ..containers import exact, open_container
from ..mpeg_parts import joined_parts
from ..sources import settle
from .decoding import start_of
from .resampling import resampled as resampled
from .sound_blocks import BLOCK_SECONDS as BLOCK_SECONDS
from .sound_blocks import SoundBlock, read_blocks, silence
from .tracks import ANY_TRACK, SoundTrack, TrackChoice, audio_stream, sound_tracks

_SILENT = 1e-3
"""The largest sample of a track that nobody hears: -60 dB."""

_MOMENT = 1.0
"""Seconds that show that a recording is too long."""

LONGEST_GAP_SECONDS = 3600
"""The most silence with which gaps are filled where one sequence of samples is wanted.

A longer gap means that the clock jumped.
"""


def load_audio(
    source: Source, choice: TrackChoice = ANY_TRACK, longest: float | None = None
) -> AudioClip:
    """The file's sound, mono float32 ``[N]`` in [-1, 1] at 16 kHz.

    Of a recording that is longer than ``longest`` seconds, only so much is loaded, and a moment.
    Channels are mixed (see ``mixing``). Damaged packets are left out, with a warning in the log.
    Raises NoAudioTrackError for a file without sound, TrackNotFoundError if it lacks the track,
    MediaDecodeError for one that cannot be decoded at all, and the errors of ``open_source``.
    """
    source = settle(source)
    if longest is None:
        return AudioClip(samples=_joined(iter_audio(source, choice=choice)), name=source.name)
    end = longest + _MOMENT
    samples = _joined(iter_audio(source, end=end, choice=choice))
    whole = None
    if len(samples) >= round(end * SAMPLE_RATE):
        claimed = audio_seconds(source, choice)
        if claimed is None or claimed < end:
            claimed = sum(map(len, iter_audio(source, choice=choice))) / SAMPLE_RATE
        whole = max(claimed, end)
    return AudioClip(samples=samples, name=source.name, whole=whole)


def audible_tracks(source: Source, choice: TrackChoice = ANY_TRACK) -> tuple[SoundTrack, ...]:
    """``sound_tracks``, but first the first of them that is not silent.

    A file with one track is not decoded. Raises the errors of ``sound_tracks``.
    """
    tracks = sound_tracks(source, choice)
    if len(tracks) == 1:
        return tracks
    used = next((track for track in tracks if _is_audible(source, track)), tracks[0])
    return used, *(track for track in tracks if track is not used)


def _is_audible(source: Source, track: SoundTrack) -> bool:
    try:
        blocks = read_blocks(settle(source), TrackChoice(wanted=track.number), "mix", None)
        return any(np.abs(block.samples).max(initial=0.0) > _SILENT for block in blocks)
    except MediaError:
        return False


def load_span(
    source: Source,
    start: float,
    end: float | None,
    origin: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> AudioClip:
    """``load_audio`` for one span; see ``iter_audio``."""
    samples = _joined(iter_audio(source, start, end, origin, choice))
    return AudioClip(samples=samples, name=source.name)


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


def iter_audio(
    source: Source,
    start: float = 0.0,
    end: float | None = None,
    origin: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> Iterator[Samples]:
    """The sound from ``start`` to ``end`` seconds in blocks: mono float32 ``[n]`` at 16 kHz.

    The blocks of a span are exactly that slice of the whole. Second 0 is the track's first sample
    or, if ``origin`` is given, that second of the container's clock; if the track begins later,
    silence comes first. Raises the errors of ``load_audio``.
    """
    first = round(start * SAMPLE_RATE)
    last = None if end is None else round(end * SAMPLE_RATE)
    zero = None if origin is None else Fraction(origin)
    blocks = read_blocks(settle(source), choice, "mix", zero)
    head = next(blocks)
    if origin is not None:
        first, last = first - head.at, None if last is None else last - head.at
    yield from _cut(_filled(head, blocks), first, last)


def _joined(blocks: Iterator[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def _filled(head: SoundBlock, rest: Iterator[SoundBlock]) -> Iterator[Samples]:
    """Blocks of one channel as one sequence, gaps filled with silence."""
    yield head.samples[0]
    due = head.at + head.samples.shape[1]
    left = LONGEST_GAP_SECONDS * SAMPLE_RATE
    for block in rest:
        gap = block.at - due
        if 0 < gap < left:
            yield from silence(gap, SAMPLE_RATE)
            left -= gap
        yield block.samples[0]
        due = block.at + block.samples.shape[1]


def _cut(blocks: Iterator[Samples], first: int, last: int | None) -> Iterator[Samples]:
    """The samples ``first <= i < last``; those with negative indices are silence."""
    if first < 0:
        yield from silence((0 if last is None else min(last, 0)) - first, SAMPLE_RATE)
    at = 0
    for block in blocks:
        stop = len(block) if last is None else min(last - at, len(block))
        wanted = block[max(first - at, 0) : max(stop, 0)]
        if len(wanted):
            yield wanted
        at += len(block)
        if last is not None and at >= last:
            return
