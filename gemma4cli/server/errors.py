"""Errors as clients of OpenAI's API get them: a status, and an object that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from ..errors import (
    AnswerCutError,
    ClosingError,
    ContextLengthError,
    Gemma4Error,
    LoadError,
    MediaError,
    OptionError,
    OutOfFilesError,
    OutOfMemoryError,
    PromptError,
    PromptTooLargeError,
    QueueFullError,
    UnexpectedError,
    UnsupportedModalityError,
    unexpected,
)
from ..processing.text_encoder import well_formed

_RETRY_SECONDS = "5"
_PATH = re.compile(r"(?:messages|input)(?:\[\d+\]|\.[a-z_]+)+|file(?=: )")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """How an error is reported: the HTTP status, and OpenAI's ``type`` and ``code``."""

    status: int
    type: str
    code: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": _RETRY_SECONDS} if self.status in (429, 503) else {}


_INVALID, _SERVER = "invalid_request_error", "server_error"

_KINDS: tuple[tuple[type[Gemma4Error], Kind], ...] = (
    (QueueFullError, Kind(status=429, type="rate_limit_error", code="queue_full")),
    (ClosingError, Kind(status=503, type=_SERVER, code="closing")),
    (ContextLengthError, Kind(status=400, type=_INVALID, code="context_length_exceeded")),
    (PromptTooLargeError, Kind(status=400, type=_INVALID, code="prompt_too_large")),
    (UnsupportedModalityError, Kind(status=400, type=_INVALID, code="unsupported_modality")),
    (PromptError, Kind(status=400, type=_INVALID)),
    (MediaError, Kind(status=400, type=_INVALID, code="invalid_media")),
    (OptionError, Kind(status=400, type=_INVALID)),
    (AnswerCutError, Kind(status=400, type=_INVALID, code="max_tokens_too_small")),
    (OutOfMemoryError, Kind(status=503, type=_SERVER, code="out_of_memory")),
    (OutOfFilesError, Kind(status=503, type=_SERVER, code="out_of_files")),
    (LoadError, Kind(status=503, type=_SERVER, code="model_not_loaded")),
    (Gemma4Error, Kind(status=500, type=_SERVER)),
)
"""The first class that matches decides; the last one matches every error."""


class RequestError(Exception):
    """A request that is refused. ``param`` is the place in its JSON that is wrong, if it is one."""

    def __init__(
        self,
        problem: str,
        *,
        status: int = 400,
        type: str = _INVALID,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.param = param
        self.kind = Kind(status=status, type=type, code=code)
        self.headers = dict(headers or {})
        super().__init__(f"{param}: {problem}" if param else problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An error as it is sent."""

    kind: Kind
    message: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's object."""
        error = {
            "message": self.message,
            "type": self.kind.type,
            "param": self.param,
            "code": self.kind.code,
        }
        return {"error": error}


def failure_of(error: Exception) -> Failure:
    """What a client gets of an error. What g4 does not know is only said to have happened."""
    if isinstance(error, RequestError):
        return Failure(
            kind=error.kind,
            message=well_formed(str(error)),
            param=error.param,
            headers={**error.kind.headers, **error.headers},
        )
    known = unexpected(error)
    kind = next(kind for cls, kind in _KINDS if isinstance(known, cls))
    message = "the server failed; its terminal says why"
    if not isinstance(known, UnexpectedError):
        # A lone surrogate of a request's JSON cannot be sent.
        message = well_formed(" ".join(str(known).splitlines()))
    place = _PATH.match(message)
    headers = kind.headers
    if isinstance(known, QueueFullError):
        headers = {"Retry-After": str(ceil(known.retry_after))}
    return Failure(
        kind=kind,
        message=message,
        param=place[0] if place and kind.status == 400 else None,
        headers=headers,
    )
