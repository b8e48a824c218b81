"""Where transcripts go: lines as they are written, documents when they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TextIO

from ...errors import Gemma4Error
from ...subtitles.cues import CueStyle
from ...subtitles.formats import FORMATS, Transcript
from ...subtitles.line_breaks import joined
from ...transcript import RecordingFinished, Segment
from ..output.results import cost, failure, opened_output, write_json
from ..output.terminal import printable
from .paths import Input, Target

Shown = Literal["translation", "original"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a document is made of; ``shown`` matters where there is a translation."""

    language: str | None
    style: CueStyle
    shown: Shown

    def document(self, suffix: str, segments: Sequence[Segment]) -> str:
        """A file's text; JSON has both texts whatever is shown."""
        if suffix != "json":
            segments = [replace(each, text=self.text(each)) for each in segments]
        return FORMATS[suffix](
            Transcript(segments=segments, language=self.language, style=self.style)
        )

    def text(self, segment: Segment) -> str:
        """The text to show; a translation that the model left out is stood in for."""
        if segment.translation is None or self.shown == "original":
            return segment.text
        return segment.translation


class Results(Protocol):
    """Takes what is written down, recording by recording, in order."""

    def segment(self, given: Input, segment: Segment) -> None: ...

    def finished(self, given: Input, event: RecordingFinished) -> None: ...

    def failed(self, given: Input, error: Gemma4Error) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Plain text of one recording, each segment as it comes."""

    stream: TextIO
    shape: Shape

    def segment(self, given: Input, segment: Segment) -> None:
        self.stream.write(printable(self.shape.text(segment), self.stream) + "\n")
        self.stream.flush()

    def finished(self, given: Input, event: RecordingFinished) -> None:
        """All of it was written."""

    def failed(self, given: Input, error: Gemma4Error) -> None:
        """What was written stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """Whole documents to a stream; of several recordings one line each, behind its name."""

    stream: TextIO
    shape: Shape
    suffix: str
    several: bool

    def segment(self, given: Input, segment: Segment) -> None:
        """It comes with the document."""

    def finished(self, given: Input, event: RecordingFinished) -> None:
        text = self.shape.document(self.suffix, event.segments)
        if self.several:
            text = f"{given.given}: {' '.join(text.split())}\n"
        self.stream.write(printable(text, self.stream))
        self.stream.flush()

    def failed(self, given: Input, error: Gemma4Error) -> None:
        """Half a document is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Documents as files that appear whole or not at all."""

    target: Target
    shape: Shape
    suffixes: Sequence[str]

    def segment(self, given: Input, segment: Segment) -> None:
        """It comes with the files."""

    def finished(self, given: Input, event: RecordingFinished) -> None:
        for suffix, path in zip(self.suffixes, self.target.paths(given), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened_output(path) as stream:
                stream.write(self.shape.document(suffix, event.segments))

    def failed(self, given: Input, error: Gemma4Error) -> None:
        """Half a document is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLines:
    """A line for each segment as it comes, and one for each recording at its end."""

    stream: TextIO
    shape: Shape
    model: str

    def segment(self, given: Input, segment: Segment) -> None:
        write_json(self.stream, {"input": given.given, **_segment(segment)})

    def finished(self, given: Input, event: RecordingFinished) -> None:
        doubts = [each.doubt for each in event.segments if each.doubt is not None]
        record: dict[str, Any] = {
            "input": given.given,
            "text": joined(each.text for each in event.segments),
        }
        if any(each.translation is not None for each in event.segments):
            record["translation"] = joined(each.translation or "" for each in event.segments)
        record |= {
            "language": self.shape.language,
            "seconds": round(event.seconds, 3),
            "pieces": event.pieces,
            "segments": [_segment(each) for each in event.segments],
            "model": self.model,
            "finish_reason": doubts[0] if doubts else "stop",
            **cost(event.usage, event.timings),
        }
        write_json(self.stream, record)

    def failed(self, given: Input, error: Gemma4Error) -> None:
        write_json(self.stream, failure(given.given, error))


def _segment(segment: Segment) -> dict[str, Any]:
    result: dict[str, Any] = {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
    }
    if segment.translation is not None:
        result["translation"] = segment.translation
    if segment.doubt is not None:
        result["doubt"] = segment.doubt
    return result
