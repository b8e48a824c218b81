"""Sinks for transcripts: lines are streamed, documents are written when they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TextIO

from ...errors import Gemma4Error, MediaError
from ...events import Notice
from ...records import Record, failure_record, segment_record, transcript_record
from ...subtitles.cues import CueStyle
from ...subtitles.formats import FORMATS, Transcript
from ...times import clock
from ...transcript import PieceDone, RecordingFinished, RecordingOpened, Segment, SegmentReady
from ..environment import Environment
from ..escapes import one_line, printable
from ..output.consume import AnyEvent
from ..output.delivery import Delivery
from ..output.exit_codes import exit_code_of
from ..output.files import replaced_file
from ..output.progress import ProgressLine
from ..output.results import write_json
from ..run.inputs import Input, with_file_name
from ..run.targets import Target
from .choices import Shown


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscriptStyle:
    """How a document is written.

    ``translated`` says that a translation was asked for; ``shown`` matters only then.
    """

    language: str | None
    style: CueStyle
    shown: Shown
    translated: bool = False

    def document(self, suffix: str, segments: Sequence[Segment]) -> str:
        """A file's text; JSON always has both texts."""
        if suffix != "json":
            segments = [replace(each, text=self.text(each)) for each in segments]
        return FORMATS[suffix](
            Transcript(
                segments=segments,
                language=self.language,
                style=self.style,
                translated=self.translated,
            )
        )

    def text(self, segment: Segment) -> str:
        """The text to show: the original if the model left out the translation."""
        if segment.translation is None or self.shown == "original":
            return segment.text
        return segment.translation

    def line(self, segment: Segment) -> str:
        """The text to show on a line of its own."""
        return f"{segment.label}{self.text(segment)}"


class Results(Protocol):
    """Where the results of recordings are written, one recording after the other."""

    def segment(self, number: int, segment: Segment) -> None:
        """Write a segment as soon as it is final."""

    def finished(self, number: int, event: RecordingFinished) -> None:
        """Write a complete recording."""

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Report that a recording has no result."""


class TranscriptSink:
    """Takes the events of recordings: writes results to ``results``, notices to stderr.

    ``finished`` counts complete recordings; recording number ``current`` is transcribed up to
    ``position``, in seconds. ``unwritten`` are the exit codes of those whose files cannot have
    their names; others are written all the same.
    """

    def __init__(
        self,
        env: Environment,
        display: ProgressLine,
        results: Results,
        names: Sequence[str],
        *,
        translated: bool,
        debug: bool,
    ) -> None:
        self._env = env
        self._display = display
        self._results = results
        self._names = names
        self._translated = translated
        self._debug = debug
        self.finished = 0
        self._delivery = Delivery(env, display.aside, debug=debug)
        self.unwritten = self._delivery.unwritten
        self.current = 0
        self.position = 0.0

    def take(self, number: int, event: AnyEvent) -> None:
        match event:
            case Notice(text=text):
                self._display.notice(text)
            case SegmentReady(segment=segment):
                if segment.doubt is not None:
                    at = clock(segment.start)
                    name = self._names[number]
                    self._display.notice(f"{name}: may be wrong at {at} ({segment.doubt})")
                with self._display.aside():
                    self._results.segment(number, segment)
            case RecordingOpened(resumed=resumed):
                self.current, self.position = number, resumed
            case PieceDone(position=position):
                self.current, self.position = number, position
            case RecordingFinished():
                self.position = 0.0
                self._finish(number, event)

    def _finish(self, number: int, event: RecordingFinished) -> None:
        if self._delivery.succeeds(lambda: self._results.finished(number, event)):
            self._tell_missing(self._names[number], event.segments)
            self.finished += 1

    def failed(self, number: int, error: Gemma4Error) -> None:
        with self._display.aside():
            self._results.failed(number, error)
            # A MediaError names its source itself.
            about = "" if isinstance(error, MediaError) else one_line(self._names[number])
            self._env.say_error(error, about=about, debug=self._debug)

    def _tell_missing(self, name: str, segments: Sequence[Segment]) -> None:
        """Say how many segments the model did not translate."""
        missing = sum(each.translation is None for each in segments)
        if self._translated and missing:
            self._display.notice(
                f"{name}: no translation of {missing} of {len(segments)} segments: the model "
                "left it out"
            )

    def interrupted(self) -> None:
        """Lines are already written; an incomplete document is not written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Plain text of one recording, a line for each segment as soon as it is final."""

    stream: TextIO
    style: TranscriptStyle

    def segment(self, number: int, segment: Segment) -> None:
        self.stream.write(printable(self.style.line(segment), self.stream) + "\n")
        self.stream.flush()

    def finished(self, number: int, event: RecordingFinished) -> None:
        """All segments are already written."""

    def failed(self, number: int, error: Gemma4Error) -> None:
        """The lines already written stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """Complete documents to a stream; for several recordings, a line each after the name."""

    stream: TextIO
    style: TranscriptStyle
    suffix: str
    names: Sequence[str]
    several: bool

    def segment(self, number: int, segment: Segment) -> None:
        """Written with the document."""

    def finished(self, number: int, event: RecordingFinished) -> None:
        text = self.style.document(self.suffix, event.segments)
        if self.several:
            text = f"{one_line(self.names[number])}: {' '.join(text.split())}\n"
        self.stream.write(printable(text, self.stream))
        self.stream.flush()

    def failed(self, number: int, error: Gemma4Error) -> None:
        """An incomplete document is not written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Documents as files that are written atomically."""

    target: Target
    style: TranscriptStyle
    suffixes: Sequence[str]
    inputs: Sequence[Input]

    def segment(self, number: int, segment: Segment) -> None:
        """Written with the files."""

    def finished(self, number: int, event: RecordingFinished) -> None:
        for suffix, path in zip(self.suffixes, self.target.paths(self.inputs[number]), strict=True):
            with replaced_file(path) as stream:
                stream.write(self.style.document(suffix, event.segments))

    def failed(self, number: int, error: Gemma4Error) -> None:
        """An incomplete document is not written."""


_OF_SEGMENTS = frozenset({"text", "translation", "segments"})


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLines:
    """A line for each recording at its end.

    With ``by_segment``, there is one for each segment as soon as it is final, and the last line of
    a recording has the rest, without text: nothing is there twice. With ``files``, those of the
    recordings, each line has the place of its file, too.
    """

    stream: TextIO
    style: TranscriptStyle
    names: Sequence[str]
    model: str
    by_segment: bool
    files: Sequence[Input] = ()

    def segment(self, number: int, segment: Segment) -> None:
        if self.by_segment:
            record = segment_record(segment, translated=self.style.translated)
            self._write(number, {"input": self.names[number], **record})

    def finished(self, number: int, event: RecordingFinished) -> None:
        language = self.style.language
        record = transcript_record(
            self.names[number], self.model, language, event, translated=self.style.translated
        )
        if self.by_segment:
            record = {key: value for key, value in record.items() if key not in _OF_SEGMENTS}
        self._write(number, record)

    def failed(self, number: int, error: Gemma4Error) -> None:
        self._write(number, failure_record(self.names[number], error, exit_code_of(error)))

    def _write(self, number: int, record: Record) -> None:
        if self.files:
            record = with_file_name(record, self.files[number])
        write_json(self.stream, record)
