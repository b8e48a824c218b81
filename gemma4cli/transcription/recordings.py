"""Files and the microphone as recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ..decoded import SAMPLE_RATE
from ..errors import MediaError
from ..media.audio import Samples, audio_seconds, iter_audio
from ..media.microphone import AudioSource
from ..media.sources import spool
from ..messages import Source
from .cut import Limits, Piece, cut
from .live import LivePieces

_LIVE_PAUSE = 0.8
"""Seconds of silence after which live speech is transcribed."""


class FileRecording:
    """A file, a pipe, standard input or bytes as a recording.

    Nothing is opened before its turn; ``pieces`` raises what is wrong with it. Pipes and standard
    input are first copied into the folder ``spool_to``, since memory may not hold them.
    """

    live = False

    def __init__(self, source: Source, *, spool_to: Path) -> None:
        self._error: MediaError | None = None
        self._given = source
        self._spool_to = spool_to
        self._samples = 0

    @cached_property
    def _source(self) -> Source:
        return spool(self._given, self._spool_to)

    @property
    def file(self) -> Path | None:
        path = self._given.path
        return path if path is not None and os.path.isfile(path) else None

    @property
    def seconds(self) -> float | None:
        try:
            return audio_seconds(self._source)
        except MediaError:
            return None

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        yield from cut(self._blocks(), limits)
        if self._error is not None:
            raise self._error

    def position(self) -> float:
        return self._samples / SAMPLE_RATE

    def _blocks(self) -> Iterator[Samples]:
        try:
            for block in iter_audio(self._source):
                self._samples += len(block)
                yield block
        except MediaError as error:
            # Raised later: the sound before the damage is transcribed first.
            self._error = error


class LiveRecording:
    """Sound that ``source`` is capturing, as a recording that is transcribed at each pause.

    The recording ends when the source is stopped or breaks off, for which ``broken`` then gives
    the reason. Sound captured before that is transcribed either way.
    """

    file = None
    live = True
    seconds = None

    def __init__(self, source: AudioSource) -> None:
        self.broken: MediaError | None = None
        self._source = source
        self._samples = 0

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        prompt = replace(limits, longest_pause=min(limits.longest_pause, _LIVE_PAUSE))
        with LivePieces(self._source, lambda blocks: cut(self._counted(blocks), prompt)) as pieces:
            try:
                yield from pieces
            except MediaError as error:
                self.broken = error

    def position(self) -> float:
        return self._samples / SAMPLE_RATE

    def _counted(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self._samples += len(block)
            yield block
