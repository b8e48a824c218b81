"""Files and microphones as recordings, and what a file's transcript depends on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .._version import __version__
from ..decoded import SAMPLE_RATE
from ..errors import MediaError
from ..media.audio import Samples, audio_seconds, iter_audio
from ..media.microphone import AudioSource
from ..media.sources import spool
from ..messages import Source
from ..options import GenerateOptions, TranscribeOptions
from .cut import Limits, Piece, cut
from .journal import Journal
from .live import LivePieces
from .transcriber import limits_of

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

_LIVE_PAUSE = 0.8
"""Seconds of silence behind which what was said is written down."""
_STALE = 30 * 24 * 3600
"""Seconds after which nobody will go on with a journal."""


class FileRecording:
    """A file as a recording; what is wrong with it shows when it is heard.

    ``journal`` opens the one that keeps its pieces, when it is the recording's turn. What comes
    through a pipe is first copied into the folder ``spool_to``, if one is given.
    """

    def __init__(
        self,
        source: Source,
        journal: Callable[[], Journal | None] | None = None,
        *,
        spool_to: Path | None = None,
    ) -> None:
        self._open_journal = journal
        self._broken: MediaError | None = None
        self._given = source
        self._spool_to = spool_to
        self._samples = 0

    @cached_property
    def _source(self) -> Source:
        return self._given if self._spool_to is None else spool(self._given, self._spool_to)

    @cached_property
    def journal(self) -> Journal | None:
        return None if self._open_journal is None else self._open_journal()

    @property
    def seconds(self) -> float | None:
        try:
            return audio_seconds(self._source)
        except MediaError:
            return None

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        yield from cut(self._blocks(), limits)
        if self._broken is not None:
            raise self._broken

    def position(self) -> float:
        return self._samples / SAMPLE_RATE

    def _blocks(self) -> Iterator[Samples]:
        try:
            for block in iter_audio(self._source):
                self._samples += len(block)
                yield block
        except MediaError as error:
            # What was read until then is heard first.
            self._broken = error


class LiveRecording:
    """What a source captures, as a recording that is written down at each pause.

    A source that breaks off ends it; ``broken`` then says why. What was said until then is said.
    """

    journal = None
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


def job(
    model: LoadedModel, path: Path, options: TranscribeOptions, generate: GenerateOptions
) -> Mapping[str, object]:
    """All that decides on a transcript, but for the batch: it must not change the text."""
    status = path.stat()
    return {
        "g4": __version__,
        "file": str(path.resolve()),
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "model": str(model.folder.resolve()),
        "weights": sorted(_stamp(file) for file in model.folder.glob("*.safetensors")),
        "dtype": model.options.dtype,
        "limits": asdict(limits_of(model, options)),
        "options": asdict(options) | {"batch": None},
        "generate": asdict(generate),
    }


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file.name} {status.st_size} {status.st_mtime_ns}"


def forget_stale(folder: Path) -> None:
    """Remove the journals of runs that nobody has gone on with for a month."""
    for path in folder.glob("*.jsonl"):
        try:
            if time.time() - path.stat().st_mtime > _STALE:
                os.unlink(path)
        except OSError:
            # Another process was quicker, or the file is not ours to remove.
            continue
