"""A long clip in segments: one answer for each, then one for the whole made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import MediaError, OptionError, PromptError
from ..events import (
    Event,
    Finished,
    Notice,
    SegmentFinished,
    TextDelta,
    Timings,
    Usage,
    VideoPlanned,
    VideoSampled,
)
from ..messages import Source, content_of
from ..options import GenerateOptions, MediaOptions
from ..prompts import DESCRIBE_VIDEO, summary, time_range
from .chat import Chat

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel

_SHORTEST = 1.0
"""Seconds; a shorter remainder of the clip belongs to the segment before it."""

_LONGEST = 1e6


def check_seconds(seconds: float) -> None:
    """Raise OptionError for segments that are too short or not finite."""
    if not _SHORTEST <= seconds <= _LONGEST:
        raise OptionError(f"--segment must be {_SHORTEST:.0f} second or more, not {seconds}")


def segments_of(start: float, end: float, seconds: float) -> tuple[tuple[float, float], ...]:
    """Start and end of each segment between ``start`` and ``end``, all in seconds.

    65.5 s by 30 s -> 0-30, 30-60, 60-65.5; 60.5 s by 30 s -> 0-30, 30-60.5.
    """
    count = max(1, int((end - start) // seconds))
    if end - start - count * seconds >= _SHORTEST:
        count += 1
    starts = [start + number * seconds for number in range(count)]
    return tuple(zip(starts, [*starts[1:], end], strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRun:
    """A run over a clip in segments of ``seconds``; ``question`` None asks for descriptions.

    ``source`` must be one that can be opened repeatedly. ``known`` segments have an answer.
    """

    source: Source
    seconds: float
    question: str | None
    options: GenerateOptions
    media: MediaOptions
    known: Sequence[SegmentFinished] = ()

    def __post_init__(self) -> None:
        check_seconds(self.seconds)

    def events(self, model: AnsweringModel) -> Iterator[Event]:
        """Each answer below its times; after several, one about the whole clip.

        By a schema, the text is only the last answer, since several documents are not one.
        ``Finished`` has that answer, and the usage and timings of all answers together. A segment
        that cannot be decoded gives a notice. Raises MediaError if none can be decoded, otherwise
        as ``stream_generate``.
        """
        from .open_media import clip_part

        start, end = clip_part(self.source, self.media)
        segments = segments_of(start, end, self.seconds)
        done: list[SegmentFinished] = []
        told: set[str] = set()
        known = {(each.start, each.end): each for each in self.known}
        for first, last in segments:
            # The last segment includes sound that continues after the picture ends.
            media = replace(
                self.media,
                video_start=first,
                video_end=self.media.video_end if last == end else last,
            )
            is_first = not _answers(done)
            for event in (
                self._known_segment(known[first, last], is_first=is_first)
                if (first, last) in known
                else self._segment(model, first, last, media, is_first=is_first)
            ):
                if isinstance(event, SegmentFinished):
                    done.append(event)
                if isinstance(event, Notice):
                    if event.text in told:
                        continue
                    told.add(event.text)
                if self.options.schema is None or not isinstance(event, TextDelta):
                    yield event
        if not _answers(done):
            assert done[0].error is not None, "a segment without an answer has an error"
            raise done[0].error
        whole: Finished | None = None
        for event in self._whole(model, start, end, done):
            if isinstance(event, Finished):
                whole = event
            else:
                yield event
        answers = [*_answers(done), *([] if whole is None else [whole])]
        if self.options.schema is not None and whole is None:
            yield TextDelta(text=answers[-1].text)
        yield replace(
            answers[-1] if whole is not None or len(answers) == 1 else _joined(done),
            usage=sum((each.usage for each in answers), Usage()),
            timings=sum((each.timings for each in answers), Timings()),
        )

    def _known_segment(self, segment: SegmentFinished, *, is_first: bool) -> Iterator[Event]:
        """What a person sees of a segment whose answer is known."""
        assert segment.answer is not None, "a known segment has an answer"
        if segment.timestamps:
            yield VideoSampled(source=self.source.name, timestamps=segment.timestamps)
        told: tuple[Event, ...] = (TextDelta(text=segment.answer.text), segment.answer)
        shown = iter(told if segment.answer.text else told[1:])
        for event in _with_heading(
            time_range(segment.start, segment.end), shown, is_first=is_first
        ):
            yield segment if isinstance(event, Finished) else event

    def _segment(
        self,
        model: AnsweringModel,
        start: float,
        end: float,
        media: MediaOptions,
        *,
        is_first: bool,
    ) -> Iterator[Event]:
        """The events of one segment's answer, with SegmentFinished in place of Finished."""
        times = time_range(start, end)
        plan: VideoPlanned | None = None
        timestamps: tuple[float, ...] = ()
        content = content_of(self.question or DESCRIBE_VIDEO, videos=[self.source])
        events = Chat(model, media=media).send(content, self.options)
        try:
            for event in _with_heading(times, events, is_first=is_first):
                if isinstance(event, VideoPlanned):
                    plan = event
                    yield replace(event, source=f"{event.source} {times}")
                elif isinstance(event, Finished):
                    yield SegmentFinished(
                        start=start, end=end, answer=event, plan=plan, timestamps=timestamps
                    )
                else:
                    if isinstance(event, VideoSampled):
                        timestamps = event.timestamps
                    yield event
        except MediaError as error:
            yield Notice(text=f"{times} skipped: {error}")
            yield SegmentFinished(start=start, end=end, answer=None, error=error)

    def _whole(
        self, model: AnsweringModel, start: float, end: float, done: list[SegmentFinished]
    ) -> Iterator[Event]:
        """The answer about the whole clip, from those about its segments.

        Nothing if only one segment has an answer; a notice if the answers do not fit the prompt,
        or with a schema PromptError.
        """
        answers = [
            (each.start, each.end, each.answer.text) for each in done if each.answer is not None
        ]
        if len(answers) == 1:
            return
        question = summary(answers, self.question)
        try:
            events = Chat(model).send(content_of(question), self.options)
            if self.options.schema is None:
                events = _with_heading(time_range(start, end), events, is_first=False)
            yield from events
        except PromptError as error:
            if self.options.schema is not None:
                raise
            yield Notice(text=f"no answer about the whole clip: {error}")


def _answers(done: Sequence[SegmentFinished]) -> list[Finished]:
    return [each.answer for each in done if each.answer is not None]


def _joined(done: Sequence[SegmentFinished]) -> Finished:
    """The last answer with the text of all, each below its times."""
    texts = [
        f"{time_range(each.start, each.end)}\n{each.answer.text}"
        for each in done
        if each.answer is not None
    ]
    return replace(_answers(done)[-1], text="\n\n".join(texts))


def _with_heading(times: str, events: Iterator[Event], *, is_first: bool) -> Iterator[Event]:
    """An answer's events with a heading line above its text, and a blank line above that."""
    heading = f"{times}\n" if is_first else f"\n{times}\n"
    last = ""
    for event in events:
        if isinstance(event, TextDelta):
            if not last:
                yield TextDelta(text=heading)
            last = event.text
        elif isinstance(event, Finished) and not last.endswith("\n"):
            yield TextDelta(text="\n" if last else f"{heading}\n")
        yield event
