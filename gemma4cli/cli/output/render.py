"""Events to a terminal or a pipe: the answer to its stream, all else to stderr.

Rich is imported only where a terminal shows the progress.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from ...events import (
    DecodeProgress,
    EncodeProgress,
    Event,
    Finished,
    LoadProgress,
    Notice,
    PicturesDecoded,
    PrefillProgress,
    SegmentFinished,
    TextDelta,
    ThoughtDelta,
    VideoPlanned,
)
from .terminal import has_colour, is_animated, printable

if TYPE_CHECKING:
    from rich.status import Status

    from .pictures import Pictures

_CUT = {
    "length": "the answer was cut at --max-tokens",
    "context": "the answer was cut: the model's context is full",
    "repetition": "the answer was cut: it had begun to repeat itself",
}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Renderer:
    """Shows one run.

    ``answer`` is where text goes as it comes, or None to keep it back; speed and token counts
    are shown to a person who reads a single answer as it comes. ``pictures`` draws thumbnails.
    """

    def __init__(
        self, answer: TextIO | None, *, quiet: bool, pictures: Pictures | None = None
    ) -> None:
        self._answer = answer
        self._quiet = quiet
        self._pictures = pictures
        self._status: Status | None = None
        self._animated = is_animated(sys.stderr) and not quiet
        self._thinking = False
        self._last = "\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end_line()
        self._stop_status()

    def show(self, event: Event | LoadProgress) -> None:
        """Show one event."""
        match event:
            case LoadProgress(model=model):
                self._progress(f"loading {model}")
            case DecodeProgress(source=source):
                self._progress(f"reading {source}")
            case EncodeProgress(done=done, total=total):
                self._progress(f"looking and listening {done}/{total}")
            case PrefillProgress(done=done, total=total):
                self._progress(f"reading the prompt {done}/{total}")
            case PicturesDecoded():
                self._draw(event)
            case VideoPlanned():
                self._notice(printable(_plan(event), sys.stderr))
            case Notice(text=text):
                self._notice(printable(text, sys.stderr))
            case ThoughtDelta(text=text):
                self._thought(text)
            case TextDelta(text=text):
                self._text(text)
            case SegmentFinished(answer=answer):
                self._segment_finished(answer)
            case Finished():
                self._finished(event)

    def end_line(self) -> None:
        """Close a line that the answer or a thought left open."""
        self._end_thought()
        if self._answer is not None and self._last != "\n":
            self._answer.write("\n")
            self._answer.flush()
        self._last = "\n"

    def _progress(self, text: str) -> None:
        if not self._animated:
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False, markup=False).status("")
            self._status.start()
        from rich.text import Text

        self._status.update(Text(printable(text, sys.stderr)))

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _notice(self, text: str) -> None:
        if not self._quiet:
            self._stop_status()
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def _draw(self, event: PicturesDecoded) -> None:
        if self._pictures is not None:
            self._stop_status()
            self._pictures.show(event)

    def _text(self, text: str) -> None:
        self._end_thought()
        if self._answer is None:
            return
        self._stop_status()
        self._answer.write(printable(text, self._answer))
        self._answer.flush()
        self._last = text[-1]

    def _thought(self, text: str) -> None:
        if self._quiet:
            return
        self._stop_status()
        sys.stderr.write(_dim(printable(text, sys.stderr)))
        sys.stderr.flush()
        self._thinking = True

    def _end_thought(self) -> None:
        if self._thinking:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._thinking = False

    def _segment_finished(self, answer: Finished | None) -> None:
        if answer is not None and answer.reason in _CUT:
            self._stop_status()
            self.end_line()
            self._notice(_CUT[answer.reason])

    def _finished(self, event: Finished) -> None:
        self._stop_status()
        self.end_line()
        if event.reason in _CUT:
            self._notice(_CUT[event.reason])
        if self._animated and self._answer is not None:
            self._notice(_dim(_statistics(event)))


def _dim(text: str) -> str:
    """``text`` as stderr shows what stands back behind the answer."""
    return f"{_DIM}{text}{_PLAIN}" if has_colour(sys.stderr) else text


def _plan(event: VideoPlanned) -> str:
    spacing = "" if event.spacing is None else f", one every {event.spacing:.2f} s"
    sound = f", {event.sound_seconds:.1f} s of sound" if event.audio_pieces else ""
    pieces = f" in {event.audio_pieces} pieces" if event.audio_pieces > 1 else ""
    return (
        f"{event.source}: {event.frames} frame{'s' if event.frames > 1 else ''}{spacing}"
        f"{sound}{pieces}, {event.soft_tokens:,} soft tokens"
    )


def _statistics(event: Finished) -> str:
    usage, timings = event.usage, event.timings
    soft = f" ({usage.soft_tokens} soft)" if usage.soft_tokens else ""
    speed = usage.completion_tokens / timings.decode if timings.decode else 0.0
    first = timings.encode + timings.prefill
    return (
        f"{usage.prompt_tokens} prompt tokens{soft}, first answer after {first:.2f} s, "
        f"{usage.completion_tokens} tokens at {speed:.1f}/s"
    )
