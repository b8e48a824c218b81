"""A request of /v1/audio: the fields of a form to options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.datastructures import UploadFile

from ..errors import OptionError
from ..languages import language_name
from ..options import GenerateOptions, TranscribeOptions
from .errors import RequestError
from .served import ServerOptions
from .upload import Form

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]

_STREAMED = ("json", "text")
_HOTTEST = 2.0
_TARGET = "English"


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscriptionRequest:
    """What a client asks for.

    Attributes:
        model: The name that it gives the model, if it does.
        file: The recording.
        options: What the model is to do with each piece of it.
        generate: How each piece is decoded.
        form: What is sent back.
        stream: Whether the text is sent as it comes.
    """

    model: str | None
    file: UploadFile
    options: TranscribeOptions
    generate: GenerateOptions
    form: ResponseFormat
    stream: bool

    @property
    def is_translation(self) -> bool:
        return self.options.translate_to is not None


def transcription_request(
    form: Form, server: ServerOptions, *, translates: bool
) -> TranscriptionRequest:
    """The request in a form. Raises RequestError."""
    _refuse_what_cannot_be_done(form)
    wanted = form.choice("response_format", *get_args(ResponseFormat)) or "json"
    stream = form.flag("stream")
    if stream and wanted not in _STREAMED:
        known = " and ".join(_STREAMED)
        raise RequestError(f"is for {known} only, not {wanted}", param="stream")
    temperature = form.number("temperature", least=0, most=_HOTTEST)
    return TranscriptionRequest(
        model=form.text("model"),
        file=form.file("file"),
        options=TranscribeOptions(
            language=_language(form),
            translate_to=_TARGET if translates else None,
            names=_names(form),
        ),
        generate=GenerateOptions(temperature=temperature or 0.0, seed=server.generate.seed),
        form=wanted,  # type: ignore[arg-type]
        stream=stream,
    )


def _language(form: Form) -> str | None:
    """The spoken language, or the one that is possible."""
    given = form.text("language")
    possible = form.texts("languages")
    if given is None and len(possible) == 1:
        given = possible[0]
    if given is None:
        return None
    try:
        return language_name(given)
    except OptionError as exc:
        raise RequestError(str(exc), param="language") from exc


def _names(form: Form) -> str | None:
    """Names and terms that may occur: Whisper's prompt, and what later models call keywords."""
    found = [*form.texts("prompt")[-1:], *form.texts("keywords")]
    return ", ".join(" ".join(each.split()) for each in found) or None


def _refuse_what_cannot_be_done(form: Form) -> None:
    for each in form.texts("timestamp_granularities"):
        if each == "word":
            problem = "words have no times here: ask for segment"
            raise RequestError(problem, param="timestamp_granularities")
        if each != "segment":
            raise RequestError("must be segment", param="timestamp_granularities")
    if form.texts("include"):
        raise RequestError("is not available: transcripts have no logprobs", param="include")
