"""``g4 transcribe``: speech to text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import api
from ..errors import MediaError, OptionError
from ..events import AudioDecoded, Event, Finished
from ..prompts import transcription
from .run_options import RunOptions, runs_a_model
from .runner import run_each, source_of
from .writers import FORMATS, Segment

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

LONGEST_CLIP = 30.0
"""Seconds of speech that a Gemma 4 takes at once (model card)."""

Format = Literal["txt", "srt", "vtt", "tsv"]


@runs_a_model
def transcribe(
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO", help="Any files with an audio track; - is standard input."),
    ],
    run: RunOptions,
    format: Annotated[
        Format,
        typer.Option(
            "-f", "--format", help="Subtitles give the times of whole pieces, not of words."
        ),
    ] = "txt",
    language: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What is spoken, such as English. (default: open)"),
    ] = None,
) -> None:
    """Write down what is said, in recordings of up to 30 seconds.

    Decoding is greedy unless --temperature says otherwise.
    """
    if run.think:
        raise OptionError("transcribe does not think: leave out --think")
    if run.json and format != "txt":
        raise OptionError("--json and --format exclude each other: JSON holds text and segments")
    if format != "txt" and len(recordings) > 1:
        raise OptionError(f"{format} holds one recording: name one at a time")
    options = run.generate_options(default_temperature=0.0)
    lengths: dict[str, float] = {}

    def answer(model: LoadedModel, given: str) -> Iterator[Event]:
        events = api.stream_generate(
            model, transcription(language), audio=[source_of(given)], options=options
        )
        for event in events:
            if isinstance(event, AudioDecoded):
                lengths[given] = event.seconds
                if event.seconds > LONGEST_CLIP:
                    raise MediaError(
                        given,
                        f"lasts {event.seconds:.1f} s, and at most {LONGEST_CLIP:.0f} s can be "
                        "transcribed at once: cut it into pieces",
                    )
            yield event

    def finish(given: str, finished: Finished, result: dict[str, Any]) -> str:
        text = finished.text.strip()
        segments = [Segment(start=0.0, end=lengths[given], text=text)] if text else []
        result["text"] = text
        result["language"] = language
        result["segments"] = [
            {"start": s.start, "end": round(s.end, 3), "text": s.text} for s in segments
        ]
        return FORMATS[format](segments)

    run_each(run, recordings, answer, finish, shaped=format != "txt")
