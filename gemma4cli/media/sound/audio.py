"""Sound of any container to samples at 16 kHz, at once or in blocks.

Nothing is padded, split at pauses or turned into features here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from math import inf

import numpy as np

from ...decoded import SAMPLE_RATE, AudioClip
from ...decoded import Samples as Samples
from ...errors import MediaDecodeError, MediaError
from ...messages import Source
from ..containers import open_container
from ..sources import settle
from .decoding import start_of
from .lengths import audio_seconds, counted_seconds
from .resampling import resampled as resampled
from .sound_blocks import BLOCK_SECONDS as BLOCK_SECONDS
from .sound_blocks import SoundBlock, read_blocks, silence
from .tracks import ANY_TRACK, SoundTrack, TrackChoice, sound_tracks

_SILENT = 1e-3
"""The largest sample of a track that nobody hears: -60 dB."""

_LISTENED_SECONDS = 600
"""How much of the tracks of a file is decoded, in all, to find one that is not silent."""

_MOMENT = 1.0
"""Seconds that show that a recording is too long."""

LONGEST_GAP_SECONDS = 3600
"""The most silence with which gaps are filled where one sequence of samples is wanted.

A longer gap means that the clock jumped.
"""

_FAR_SECONDS = 60.0
"""A span that begins later is sought."""


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
    end = None if longest is None else longest + _MOMENT
    samples = _joined(iter_audio(source, end=end, choice=choice))
    whole: float | None = None
    if end is not None and len(samples) >= round(end * SAMPLE_RATE):
        whole = audio_seconds(source, choice)
        if whole is None or whole < end:
            whole = max(end, counted_seconds(source, choice))
    return AudioClip(samples=samples, name=source.name, whole=whole)


def audible_tracks(source: Source, choice: TrackChoice = ANY_TRACK) -> tuple[SoundTrack, ...]:
    """``sound_tracks``, but first the first of them that is not silent.

    A file with one track is not decoded. Raises the errors of ``sound_tracks``.
    """
    tracks = sound_tracks(source, choice)
    if len(tracks) == 1:
        return tracks
    used, left = tracks[0], _LISTENED_SECONDS * SAMPLE_RATE
    for track in tracks:
        audible, decoded = _listen(source, track, left)
        left -= decoded
        if audible:
            used = track
        if audible or left <= 0:
            break
    return used, *(track for track in tracks if track is not used)


def _listen(source: Source, track: SoundTrack, most: int) -> tuple[bool, int]:
    """Whether a track's first ``most`` samples are not silent; how many of them were decoded."""
    decoded = 0
    with suppress(MediaError):
        for block in read_blocks(settle(source), TrackChoice(wanted=track.number), "mix", None):
            decoded += block.samples.shape[1]
            if np.abs(block.samples).max(initial=0.0) > _SILENT:
                return True, decoded
            if decoded >= most:
                break
    return False, decoded


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


def load_part(
    source: Source, start: float, end: float | None, choice: TrackChoice = ANY_TRACK
) -> AudioClip:
    """``load_audio`` from ``start`` to ``end`` in seconds as players show them.

    Raises MediaDecodeError, too, if the recording ends before ``start``.
    """
    source = settle(source)
    with open_container(source) as container:
        zero = start_of(container)
    clip = load_span(source, start, end, None if zero is None else float(zero), choice)
    if not len(clip.samples):
        raise MediaDecodeError(source.name, f"it ends before {start:.1f} s")
    return clip


def iter_audio(
    source: Source,
    start: float = 0.0,
    end: float | None = None,
    origin: float | None = None,
    choice: TrackChoice = ANY_TRACK,
) -> Iterator[Samples]:
    """The sound from ``start`` to ``end`` seconds in blocks: mono float32 ``[n]`` at 16 kHz.

    The blocks of a span are exactly that slice of the whole; with ``origin``, a far one is sought,
    and begins within half a sample of it. Second 0 is the track's first sample
    or, if ``origin`` is given, that second of the container's clock; if the track begins later,
    silence comes first. Raises the errors of ``load_audio``.
    """
    first = round(start * SAMPLE_RATE)
    last = None if end is None else round(end * SAMPLE_RATE)
    zero = None if origin is None else Fraction(origin)
    far = Fraction(start) if origin is not None and start > _FAR_SECONDS else None
    blocks = read_blocks(settle(source), choice, "mix", zero, far)
    head = next(blocks)
    if origin is not None:
        first, last = first - head.at, None if last is None else last - head.at
    # On a clip's own clock all gaps up to the end are real.
    most = LONGEST_GAP_SECONDS * SAMPLE_RATE if origin is None or last is None else inf
    yield from _cut(_filled(head, blocks, most), first, last)


def _joined(blocks: Iterator[Samples]) -> Samples:
    """All samples in one array, which grows in place: there are never two of them in memory."""
    joined, count = np.zeros(0, np.float32), 0
    for block in blocks:
        end = count + len(block)
        if end > len(joined):
            joined.resize(end + end // 4, refcheck=False)
        joined[count:end] = block
        count = end
    joined.resize(count, refcheck=False)
    return joined


def _filled(head: SoundBlock, rest: Iterator[SoundBlock], left: float) -> Iterator[Samples]:
    """Blocks of one channel as one sequence, gaps filled with silence: ``left`` samples of it."""
    yield head.samples[0]
    due = head.at + head.samples.shape[1]
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
