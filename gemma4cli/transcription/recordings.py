"""Files as recordings; ``live`` has those of a microphone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from ..decoded import SAMPLE_RATE
from ..errors import MediaError
from ..events import Notice
from ..media.recognition import kind_of_stream
from ..media.sound.audio import audio_seconds
from ..media.sound.sound_blocks import SoundBlock, sound_blocks
from ..media.sound.tracks import TrackChoice, describe_choice, sound_tracks
from ..media.sources import spool
from ..messages import Source
from ..options import TranscribeOptions
from .cut import Limits, Piece, cut_sound


def _is_media(head: BinaryIO) -> bool:
    return kind_of_stream(head) is not None


class FileRecording:
    """A file, a pipe, standard input or bytes as a recording.

    Nothing is opened before its turn; ``pieces`` raises what is wrong with it. Pipes and standard
    input are first copied into the folder ``spool_to``, since memory may not hold them. Of several
    audio tracks that the options allow, the next one is used if there is no speech in the first.
    ``opened`` turns the source into what is read, or raises MediaError.
    """

    live = False

    def __init__(
        self,
        source: Source,
        *,
        spool_to: Path,
        options: TranscribeOptions | None = None,
        opened: Callable[[Source], Source] = Source.of,
    ) -> None:
        options = options or TranscribeOptions()
        self._error: MediaError | None = None
        self._given = source
        self._opened = opened
        self._spool_to = spool_to
        self._choice = TrackChoice(wanted=options.track, hint=options.language)
        self._channels = options.channels
        self._end = 0

    @cached_property
    def _source(self) -> Source:
        return spool(self._opened(self._given), self._spool_to, _is_media)

    @property
    def file(self) -> Path | None:
        path = self._given.path
        return path if path is not None and os.path.isfile(path) else None

    @property
    def seconds(self) -> float | None:
        try:
            return audio_seconds(self._source, self._choice)
        except MediaError:
            return None

    def pieces(self, limits: Limits) -> Iterator[Piece | Notice]:
        tracks = sound_tracks(self._source, self._choice)
        name = self._given.name
        notice = describe_choice("transcribing", name, tracks)
        if notice is not None and self._choice.wanted is None:
            yield Notice(text=notice)
        for track, following in zip_longest(tracks, tracks[1:]):
            self._error = None
            speaks = False
            chosen = TrackChoice(wanted=track.number)
            for piece in cut_sound(self._blocks(chosen), limits):
                speaks = True
                yield piece
            if speaks or following is None:
                break
            why = "no speech" if self._error is None else self._error.problem
            yield Notice(
                text=f"{name}: audio track {track}: {why}; transcribing audio track {following}"
            )
        if self._error is not None:
            raise self._error

    def position(self) -> float:
        return self._end / SAMPLE_RATE

    def _blocks(self, choice: TrackChoice) -> Iterator[SoundBlock]:
        try:
            for block in sound_blocks(self._source, choice, self._channels):
                self._end = max(self._end, block.at + block.samples.shape[1])
                yield block
        except MediaError as error:
            # Raised later: the sound before the damage is transcribed first.
            self._error = error
