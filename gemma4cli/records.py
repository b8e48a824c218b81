"""Results as JSON records: the format of ``--json``. Knows no stream and no terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import Gemma4Error
from .events import Event, Finished, SegmentFinished, Timings, Usage, VideoPlanned, VideoSampled
from .transcript import RecordingFinished, Segment

Record = dict[str, Any]
CodeOf = Callable[[Gemma4Error], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageOf:
    """A page, from 1, of a file that holds several pictures."""

    file: str
    page: int

    def __str__(self) -> str:
        return f"{self.file}, page {self.page}"


Given = str | PageOf | tuple[str, ...]
"""An input as the user named it; several that are asked about at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer: its text, and its JSON record."""

    text: str
    record: Record


def answer_record(given: Given, model: str, finished: Finished) -> Record:
    """An answer; ``input`` is a list if it is about several inputs at once."""
    record: Record = {
        **named(given),
        "text": finished.text,
        "model": model,
        "finish_reason": finished.reason,
        **_cost(finished.usage, finished.timings),
    }
    if finished.thoughts:
        record["thoughts"] = finished.thoughts
    if finished.tool_calls:
        record["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in finished.tool_calls
        ]
    if finished.budgets:
        budgets = finished.budgets
        record["budget"] = budgets[0] if len(set(budgets)) == 1 else list(budgets)
    return record


def failure_record(given: Given, error: Exception, code: int) -> Record:
    """An input without a result; ``code`` is the exit status of its error."""
    return {**named(given), "error": _error(error, code)}


def interrupted_record(given: Given, model: str, text: str) -> Record:
    """An answer that an interrupt cut off."""
    return {
        **named(given),
        "text": text,
        "model": model,
        "finish_reason": "interrupted",
    }


def named(given: Given) -> Record:
    """The fields that say what a record is about."""
    if isinstance(given, PageOf):
        return {"input": given.file, "page": given.page}
    return {"input": given if isinstance(given, str) else list(given)}


def segment_record(segment: Segment, *, translated: bool = False) -> Record:
    """A segment of a transcript; its times are in seconds.

    With ``translated``, a translation was asked for: it is None where the model left it out.
    """
    record: Record = {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
    }
    if segment.channel is not None:
        record["channel"] = segment.channel
    if translated or segment.translation is not None:
        record["translation"] = segment.translation
    if segment.doubt is not None:
        record["doubt"] = segment.doubt
    return record


def transcript_record(
    given: str,
    model: str,
    language: str | None,
    event: RecordingFinished,
    *,
    translated: bool = False,
) -> Record:
    """The transcript of a whole recording; ``translated`` as for ``segment_record``."""
    from .subtitles.line_breaks import joined

    doubts = [each.doubt for each in event.segments if each.doubt is not None]
    record: Record = {"input": given, "text": joined(each.text for each in event.segments)}
    if any(each.translation is not None for each in event.segments):
        record["translation"] = joined(each.translation or "" for each in event.segments)
    elif translated:
        record["translation"] = None
    return record | {
        "language": language,
        "seconds": round(event.seconds, 3),
        "pieces": event.pieces,
        "segments": [segment_record(each, translated=translated) for each in event.segments],
        "model": model,
        "finish_reason": doubts[0] if doubts else "stop",
        **_cost(event.usage, event.timings),
    }


@dataclass(kw_only=True, slots=True)
class VideoRecord:
    """Collects the fields about a clip from the events of one input."""

    plan: VideoPlanned | None = None
    frames: tuple[float, ...] | None = None
    segments: list[SegmentFinished] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Record an event if it is about a clip."""
        match event:
            case VideoPlanned():
                self.plan = event
            case VideoSampled(timestamps=timestamps):
                self.frames = timestamps
            case SegmentFinished():
                self.segments.append(event)

    def fields(self, code_of: CodeOf) -> Record:
        """The fields about the clip; of a clip in segments, each segment has plan and frames.

        ``code_of`` returns the exit status of an error.
        """
        if self.segments:
            return {"segments": [_video_segment(each, code_of) for each in self.segments]}
        return _sampling(self.plan, self.frames)


def _video_segment(event: SegmentFinished, code_of: CodeOf) -> Record:
    times = {"start": round(event.start, 3), "end": round(event.end, 3)}
    if event.answer is None:
        assert isinstance(event.error, Gemma4Error), "a segment without an answer has an error"
        return {**times, "error": _error(event.error, code_of(event.error))}
    answer = {"text": event.answer.text, "finish_reason": event.answer.reason}
    if event.answer.thoughts:
        answer["thoughts"] = event.answer.thoughts
    return {**times, **answer, **_sampling(event.plan, event.timestamps)}


def _sampling(plan: VideoPlanned | None, frames: Sequence[float] | None) -> Record:
    record: Record = {}
    if frames is not None:
        record["frames"] = [round(seconds, 3) for seconds in frames]
    if plan is not None:
        record["plan"] = {
            "frames": plan.frames,
            "spacing": None if plan.spacing is None else round(plan.spacing, 3),
            "soft_tokens": plan.soft_tokens,
            "sound_seconds": round(plan.sound_seconds, 3),
            "audio_pieces": plan.audio_pieces,
        }
    return record


def _cost(usage: Usage, timings: Timings) -> Record:
    """Token counts, and timings in seconds. Guesses are counted only if there is a drafter."""
    counts = {
        "prompt_tokens": usage.prompt_tokens,
        "soft_tokens": usage.soft_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    if usage.guessed_tokens:
        counts["guessed_tokens"] = usage.guessed_tokens
        counts["accepted_tokens"] = usage.accepted_tokens
    return {
        "usage": counts,
        "timings": {
            "encode": round(timings.encode, 4),
            "prefill": round(timings.prefill, 4),
            "decode": round(timings.decode, 4),
        },
    }


def _error(error: Exception, code: int) -> Record:
    return {"code": code, "message": str(error)}
