"""What was heard in the pieces of one recording, put together to segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import JournalError
from ..events import Finished, Notice, Timings, Usage
from ..transcript import PieceDone, RecordingFinished, Segment, SegmentReady, TranscriptEvent
from .journal import Heard, Journal
from .overlap import without_doubled

_WORDS_PER_SECOND = 5.0
"""As fast as people speak: so many words may have been heard twice in a second of overlap."""


@dataclass(slots=True)
class _Sums:
    """What the model's runs took together."""

    prompt: int = 0
    soft: int = 0
    completion: int = 0
    encode: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    def add(self, run: Finished) -> None:
        self.prompt += run.usage.prompt_tokens
        self.soft += run.usage.soft_tokens
        self.completion += run.usage.completion_tokens
        self.encode += run.timings.encode
        self.prefill += run.timings.prefill
        self.decode += run.timings.decode


class Assembly:
    """One recording on its way to a transcript.

    A segment is told when nothing can change it any more: at once behind a pause, and behind a
    forced cut when the next piece is heard, since the two share words. The journal is closed behind
    the last piece.
    """

    def __init__(self, recording: int, journal: Journal | None) -> None:
        self._recording = recording
        self._journal = journal
        self._segments: list[Segment] = []
        self._held: Heard | None = None
        self._pieces = 0
        self._sums = _Sums()

    def add(
        self, heard: Heard, runs: tuple[Finished, ...], *, continued: bool
    ) -> Iterator[TranscriptEvent]:
        """The next piece. ``runs`` are what it took, none for one from the journal; ``continued``
        says that the piece behind it begins within it."""
        self._pieces += 1
        for run in runs:
            self._sums.add(run)
        if runs and self._journal is not None:
            yield from self._kept(heard)
        if self._held is not None:
            before, heard = _joined(self._held, heard)
            yield from self._told(before)
        self._held = heard
        if not continued:
            yield from self._told(heard)
            self._held = None
        yield PieceDone(recording=self._recording, position=heard.end, pieces=self._pieces)

    def break_off(self) -> Iterator[TranscriptEvent]:
        """No piece follows, though one may have been expected."""
        if self._journal is not None:
            self._journal.close()
        if self._held is not None:
            yield from self._told(self._held)
            self._held = None

    def finish(self, seconds: float) -> Iterator[TranscriptEvent]:
        """No piece follows; the recording is ``seconds`` long."""
        yield from self.break_off()
        sums = self._sums
        yield RecordingFinished(
            recording=self._recording,
            seconds=seconds,
            pieces=self._pieces,
            segments=tuple(self._segments),
            usage=Usage(
                prompt_tokens=sums.prompt,
                soft_tokens=sums.soft,
                completion_tokens=sums.completion,
            ),
            timings=Timings(encode=sums.encode, prefill=sums.prefill, decode=sums.decode),
        )

    def _kept(self, heard: Heard) -> Iterator[Notice]:
        assert self._journal is not None
        try:
            self._journal.add(heard)
        except JournalError as error:
            # The transcript is worth more than the way back to it.
            self._journal.close()
            self._journal = None
            yield not_kept(error)

    def _told(self, heard: Heard) -> Iterator[SegmentReady]:
        if not heard.text and not heard.translation:
            return
        segment = Segment(
            start=heard.start,
            end=heard.end,
            text=heard.text,
            translation=heard.translation,
            doubt=heard.doubt,
        )
        self._segments.append(segment)
        yield SegmentReady(recording=self._recording, segment=segment)


def not_kept(error: JournalError) -> Notice:
    """What a journal that cannot be written means."""
    return Notice(text=f"{error}: an interrupted run will start over")


def _joined(before: Heard, after: Heard) -> tuple[Heard, Heard]:
    """Two pieces that overlap, each with its part of the words and of the time."""
    most = round(after.overlap * _WORDS_PER_SECOND) + 1
    left, right = without_doubled(before.text, after.text, most)
    translations = before.translation, after.translation
    if before.translation and after.translation:
        translations = without_doubled(before.translation, after.translation, most)
    border = (after.start + before.end) / 2
    return (
        replace(before, end=border, text=left, translation=translations[0]),
        replace(after, start=border, text=right, translation=translations[1]),
    )
