"""Transcripts as OpenAI's API sends them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from ..events import Usage
from ..subtitles.formats import write_srt, write_vtt
from ..subtitles.line_breaks import joined
from ..times import milliseconds
from ..transcript import RecordingFinished, Segment
from .transcription_request import TranscriptionRequest

_TEXT = "text/plain"
_VTT = "text/vtt"
_TARGET = "english"


def response_of(asked: TranscriptionRequest, found: RecordingFinished) -> Response:
    """A whole transcript in the form that was asked for."""
    segments = [shown(asked, each) for each in found.segments]
    match asked.form:
        case "text":
            return Response(f"{text_of(segments)}\n", media_type=_TEXT)
        case "srt":
            return Response(write_srt(segments), media_type=_TEXT)
        case "vtt":
            return Response(write_vtt(segments), media_type=_VTT)
        case "verbose_json":
            return JSONResponse(_verbose(asked, found, segments))
        case "json":
            return JSONResponse({"text": text_of(segments), "usage": token_usage(found.usage)})


def shown(asked: TranscriptionRequest, segment: Segment) -> Segment:
    """A segment with the text that is sent: the original if the model left out the translation."""
    return replace(segment, text=segment.translation or segment.text)


def text_of(segments: Sequence[Segment]) -> str:
    return joined(each.text for each in segments)


def token_usage(usage: Usage) -> dict[str, Any]:
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_token_details": {
            "audio_tokens": usage.soft_tokens,
            "text_tokens": usage.prompt_tokens - usage.soft_tokens,
        },
    }


def _verbose(
    asked: TranscriptionRequest, found: RecordingFinished, segments: Sequence[Segment]
) -> dict[str, Any]:
    task = "translate" if asked.is_translation else "transcribe"
    language = _TARGET if asked.is_translation else (asked.options.language or "").lower()
    return {
        "task": task,
        "language": language,
        "duration": milliseconds(found.seconds) / 1000,
        "text": text_of(segments),
        "segments": [
            _segment(number, asked, each, is_translated=original.translation is not None)
            for number, (each, original) in enumerate(zip(segments, found.segments, strict=True))
        ],
        "usage": {"type": "duration", "seconds": milliseconds(found.seconds) / 1000},
    }


def _segment(
    number: int, asked: TranscriptionRequest, segment: Segment, *, is_translated: bool
) -> dict[str, Any]:
    """Whisper's keys, which typed clients require; g4 knows no tokens and probabilities of it."""
    content = segment.text.encode()
    entry: dict[str, Any] = {
        "id": number,
        "seek": 0,
        "start": milliseconds(segment.start) / 1000,
        "end": milliseconds(segment.end) / 1000,
        "text": segment.text,
        "tokens": [],
        "temperature": asked.generate.temperature,
        "avg_logprob": 0.0,
        "compression_ratio": round(len(content) / len(zlib.compress(content)), 3),
        "no_speech_prob": 0.0,
    }
    if segment.doubt is not None:
        entry["doubt"] = segment.doubt
    if asked.is_translation and not is_translated:
        entry["doubt"] = "untranslated"
    return entry
