"""The texts of one recording's pieces, assembled into segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from ..errors import Gemma4Error, JournalError
from ..events import Finished, Notice, Timings, Usage
from ..transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    Segment,
    SegmentReady,
    TranscriptEvent,
)
from .journal import Journal, PieceText
from .overlap import without_repeated_words

_WORDS_PER_SECOND = 5.0
"""Fast speech: the number of words that a second of overlap may repeat."""


class Assembly:
    """A transcript in the making: takes the pieces of one recording, yields its events.

    A segment is yielded once it is final: immediately if its piece ends at a pause, and with the
    next piece if it ends at a forced cut, because the two pieces share words. If channels are kept
    apart, it also waits for earlier segments of other channels. New pieces are saved in the
    journal, which is closed after the last one.
    """

    def __init__(self, recording: int, journal: Journal | None) -> None:
        self._recording = recording
        self._journal = journal
        self._segments: list[Segment] = []
        self._pending: dict[int | None, PieceText] = {}
        self._ready: list[Segment] = []
        self._pieces = 0
        self._usage = Usage()
        self._timings = Timings()

    def add(
        self, piece: PieceText, runs: tuple[Finished, ...], *, continued: bool
    ) -> Iterator[TranscriptEvent]:
        """Add the next piece.

        ``runs`` are the generations it took, none for a piece from the journal. ``continued``
        means that the piece ends at a forced cut, so the next one overlaps it.
        """
        self._pieces += 1
        for run in runs:
            self._usage += run.usage
            self._timings += run.timings
        if runs and self._journal is not None:
            yield from self._save(piece)
        pending = self._pending.pop(piece.channel, None)
        end = piece.end
        if pending is not None:
            before, piece = _split_overlap(pending, piece)
            self._complete(before)
        if continued:
            self._pending[piece.channel] = piece
        else:
            self._complete(piece)
        yield from self._release(min((each.start for each in self._pending.values()), default=inf))
        yield PieceDone(recording=self._recording, position=end, pieces=self._pieces)

    def finish(self, seconds: float) -> Iterator[TranscriptEvent]:
        """End a recording that is ``seconds`` long."""
        yield from self._close()
        yield RecordingFinished(
            recording=self._recording,
            seconds=seconds,
            pieces=self._pieces,
            segments=tuple(self._segments),
            usage=self._usage,
            timings=self._timings,
        )

    def fail(self, error: Gemma4Error) -> Iterator[TranscriptEvent]:
        """End a recording that cannot be read any further."""
        yield from self._close()
        yield RecordingFailed(recording=self._recording, error=error)

    def _close(self) -> Iterator[TranscriptEvent]:
        if self._journal is not None:
            self._journal.close()
        for pending in self._pending.values():
            self._complete(pending)
        self._pending = {}
        yield from self._release(inf)

    def _save(self, piece: PieceText) -> Iterator[Notice]:
        assert self._journal is not None
        try:
            self._journal.add(piece)
        except JournalError as error:
            # The run continues: a transcript matters more than being able to resume it.
            self._journal.close()
            self._journal = None
            yield not_saved(error)

    def _complete(self, piece: PieceText) -> None:
        if not piece.text and not piece.translation:
            return
        segment = Segment(
            start=piece.start,
            end=piece.end,
            text=piece.text,
            translation=piece.translation,
            doubt=piece.doubt,
            channel=piece.channel,
        )
        self._ready.append(segment)
        self._ready.sort(key=lambda each: (each.start, each.channel or 0))

    def _release(self, before: float) -> Iterator[SegmentReady]:
        """The segments that start before ``before``, the start of the first that is not final."""
        while self._ready and self._ready[0].start < before:
            segment = self._ready.pop(0)
            self._segments.append(segment)
            yield SegmentReady(recording=self._recording, segment=segment)


def not_saved(error: JournalError) -> Notice:
    """The warning about a journal that cannot be written."""
    return Notice(text=f"{error}: an interrupted run will start over")


def _split_overlap(before: PieceText, after: PieceText) -> tuple[PieceText, PieceText]:
    """Two overlapping pieces with each shared word in one of them, meeting in mid-overlap."""
    most_words = round(after.overlap * _WORDS_PER_SECOND) + 1
    left, right = without_repeated_words(before.text, after.text, most_words)
    translations = before.translation, after.translation
    if before.translation and after.translation:
        translations = without_repeated_words(before.translation, after.translation, most_words)
    border = (after.start + before.end) / 2
    return (
        replace(before, end=border, text=left, translation=translations[0]),
        replace(after, start=border, text=right, translation=translations[1]),
    )
