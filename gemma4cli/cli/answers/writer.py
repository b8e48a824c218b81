"""One answer as text: the answer to a stream, thoughts and notices to stderr.

Markdown rendering, and Rich with it, is imported only if a terminal shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TextIO

from ...events import (
    Finished,
    Notice,
    PicturesDecoded,
    SegmentFinished,
    TextDelta,
    ThoughtDelta,
    ToolCallFinished,
    ToolResult,
    VideoPlanned,
)
from ..environment import Environment
from ..escapes import Printable, one_line
from ..output.consume import AnyEvent, Display

if TYPE_CHECKING:
    from ...markdown.stream import MarkdownStream
    from ..output.pictures import Pictures

_TRUNCATED = {
    "length": "answer truncated at --max-tokens",
    "context": "answer truncated: the model's context is full",
    "repetition": "answer truncated: it repeated itself",
}
_RESULT_SHOWN = 200
"""Characters of what a function gave."""
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class AnswerWriter:
    """Writes the events of an answer.

    ``answer`` is the stream for its text, or None not to write the text. With a stream, speed and
    token counts follow if stderr is a terminal. ``markdown`` renders the text, ``pictures`` draws
    thumbnails.
    """

    def __init__(
        self,
        env: Environment,
        display: Display,
        answer: TextIO | None,
        *,
        quiet: bool,
        markdown: bool = False,
        hide_thoughts: bool = False,
        pictures: Pictures | None = None,
    ) -> None:
        self._env = env
        self._display = display
        self._answer = answer
        self._quiet = quiet
        self._hide_thoughts = hide_thoughts
        self._pictures = pictures
        self._markdown: MarkdownStream | None = None
        if markdown and answer is not None and env.has_color(answer):
            self._markdown = _markdown_for(env, answer)
        self._shown = None if answer is None else Printable(answer)
        self._shown_thought = Printable(env.stderr)
        self._thinking = False
        self._thought_before = False
        self._last = "\n"
        self._line_ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end_line()

    def show(self, event: AnyEvent, name: str = "") -> None:
        """Write one event; ``name`` is that of the input, if there are several."""
        match event:
            case PicturesDecoded() if self._pictures is not None:
                with self._display.aside():
                    self._pictures.show(event)
            case VideoPlanned():
                self._notice(_plan(event))
            case Notice(text=text):
                self._notice(text)
            case ThoughtDelta(text=text):
                self._thought(text)
            case TextDelta(text=text):
                self._text(text)
            case SegmentFinished(answer=Finished(reason=reason)):
                self.end_line()
                self._truncated(reason, name)
            case ToolCallFinished():
                self._end_before_call()
            case ToolResult():
                self._notice(_result(event))
            case Finished():
                self._finished(event, name)

    def end_line(self) -> None:
        """Write text that Markdown rendering holds back, and end an unfinished line."""
        self._end_thought()
        ends = "" if self._shown is None else self._shown.finish()
        if self._markdown is not None:
            ends = self._markdown.feed(ends) + self._markdown.finish()
            self._last = "\n"
        self._write(ends)
        if self._answer is not None and self._last != "\n":
            self._write("\n")
        self._last = "\n"

    def _end_before_call(self) -> None:
        """What is asked about a call, and done with it, goes on lines of its own."""
        self._line_ended = self._last != "\n"
        self.end_line()
        with self._display.aside():
            pass

    def _notice(self, text: str) -> None:
        if not self._quiet:
            with self._display.aside():
                self._env.say(one_line(text))

    def _text(self, text: str) -> None:
        self._end_thought()
        if self._shown is None:
            return
        if self._line_ended:
            self._line_ended = False
            text = text.removeprefix("\n")
        if self._thought_before:
            # Without color, a blank line shows where the answer starts.
            self._write_error("\n")
            self._thought_before = False
        shown = self._shown.feed(text)
        self._write(shown if self._markdown is None else self._markdown.feed(shown))
        self._last = text[-1]

    def _thought(self, text: str) -> None:
        if self._quiet or self._hide_thoughts:
            return
        self._write_error(self._dim(self._shown_thought.feed(text)))
        self._thinking = True
        self._thought_before = self._answer is not None and self._answer.isatty()

    def _end_thought(self) -> None:
        if self._thinking:
            self._write_error(f"{self._shown_thought.finish()}\n")
            self._thinking = False

    def _truncated(self, reason: str, name: str) -> None:
        if reason in _TRUNCATED:
            self._notice(f"{name}: {_TRUNCATED[reason]}" if name else _TRUNCATED[reason])

    def _finished(self, event: Finished, name: str) -> None:
        self.end_line()
        self._truncated(event.reason, name)
        if event.reason == "tool_calls":
            called = ", ".join(call.name for call in event.tool_calls)
            self._notice(f"the model calls {called} and waits; --functions runs calls")
        if self._answer is not None and not self._quiet and self._env.is_animated(self._env.stderr):
            # Not a notice: those have their escape sequences replaced.
            self._write_error(f"{self._dim(statistics(event))}\n")

    def _write(self, text: str) -> None:
        if text and self._answer is not None:
            with self._display.aside():
                self._answer.write(text)
                self._answer.flush()

    def _write_error(self, text: str) -> None:
        with self._display.aside():
            self._env.stderr.write(text)
            self._env.stderr.flush()

    def _dim(self, text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if self._env.has_color(self._env.stderr) else text


def _result(event: ToolResult) -> str:
    """What a function gave, on one line, shortened."""
    text = " ".join(event.text.split())
    if len(text) > _RESULT_SHOWN:
        text = f"{text[: _RESULT_SHOWN - 1]}…"
    return f"{event.call.name}: {text}"


def statistics(finished: Finished) -> str:
    """Token counts and speed of one answer, on one line."""
    usage, timings = finished.usage, finished.timings
    details = [f"{usage.soft_tokens:,} soft"] if usage.soft_tokens else []
    details += [f"{usage.cached_tokens:,} cached"] if usage.cached_tokens else []
    speed = usage.completion_tokens / timings.decode if timings.decode else 0.0
    parts = f" ({', '.join(details)})" if details else ""
    drafts = ""
    if usage.guessed_tokens:
        share = usage.accepted_tokens / usage.guessed_tokens
        drafts = f", {share:.0%} of {usage.guessed_tokens:,} guesses right"
    return (
        f"{usage.prompt_tokens:,} prompt tokens{parts}, "
        f"first token after {timings.encode + timings.prefill:.2f} s, "
        f"{usage.completion_tokens:,} tokens at {speed:.1f}/s{drafts}"
    )


def _markdown_for(env: Environment, stream: TextIO) -> MarkdownStream:
    """Markdown at the width of the terminal that ``stream`` is written to."""
    from ...markdown.stream import MarkdownStream, Size

    def size() -> Size:
        columns, rows = env.size(stream)
        return Size(columns=columns, rows=rows)

    return MarkdownStream(size)


def _plan(event: VideoPlanned) -> str:
    spacing = "" if event.spacing is None else f", one every {event.spacing:.2f} s"
    sound = f", {event.sound_seconds:.1f} s of sound" if event.audio_pieces else ""
    parts = f" in {event.audio_pieces} parts" if event.audio_pieces > 1 else ""
    return (
        f"{event.source}: {event.frames} frame{'s' if event.frames > 1 else ''}{spacing}"
        f"{sound}{parts}, {event.soft_tokens:,} soft tokens"
    )
