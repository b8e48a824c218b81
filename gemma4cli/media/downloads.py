"""Downloads a file from an http(s) URL to the disk.

Only this module uses the network for media, and only for URLs that the user gave. What answers is
not trusted: ``guarded_http`` says where redirects may lead, ``pace`` how long all may take.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkstemp
from typing import Any, BinaryIO

from ..errors import MediaError, MediaNotFoundError
from ..messages import Source
from .guarded_http import open_url
from .pace import Pace, Watch
from .urls import is_url, shown_url

MOST_BYTES = 4 * 1024**3
"""Longer recordings and videos are better kept in a file."""

_BLOCK_BYTES = 1 << 20
_GONE = (404, 410)
_LONGEST = 100
"""Characters that are shown of what a server says."""


def fetch(
    url: str,
    *,
    folder: Path,
    most_bytes: int = MOST_BYTES,
    pace: Pace | None = None,
    only_public: bool = False,
) -> Source:
    """The content of ``url``, in a new file in ``folder``, named by the URL without credentials.

    Only http and https are opened, also after redirects; with ``only_public`` no private host, as
    the URL is not the user's. Raises MediaNotFoundError, and MediaError
    with the reason.
    """
    name = shown_url(url)
    if not is_url(url):
        raise MediaError(name, "is not an http or https URL")
    handle, path = mkstemp(dir=folder)
    with ExitStack() as on_failure, Watch(pace or Pace()) as watch:
        on_failure.callback(Path(path).unlink, missing_ok=True)
        try:
            with (
                open(handle, "wb") as file,
                open_url(url, watch, only_public=only_public) as response,
            ):
                _copy(response, file, name, most_bytes, watch)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise _media_error(name, exc, watch) from exc
        on_failure.pop_all()
    return Source(name=name, path=Path(path))


def _media_error(name: str, exc: Exception, watch: Watch) -> MediaError:
    if watch.why is not None:
        return MediaError(name, watch.why)
    if isinstance(exc, urllib.error.HTTPError):
        exc.close()
        if exc.code in _GONE:
            return MediaNotFoundError(name)
        return MediaError(name, f"the server answered {exc.code} {exc.reason[:_LONGEST]}")
    return MediaError(name, f"cannot be downloaded: {_reason(exc)}")


def _reason(exc: Exception) -> str:
    """What went wrong, without the words and numbers of libraries."""
    cause = getattr(exc, "reason", exc)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({cause.verify_message})"
    if isinstance(cause, UnicodeError):
        return "its address, or one that it leads to, has no valid host name"
    if isinstance(cause, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return "the connection was lost"
    if isinstance(cause, http.client.HTTPException):
        return "the server's answer is not HTTP"
    if isinstance(cause, OSError):
        return cause.strerror or shown_url(str(cause))[:_LONGEST] or "the connection was lost"
    what = shown_url(str(cause))[:_LONGEST]
    return f"its address, or one that it leads to, is not valid ({what})"


def _copy(response: Any, file: BinaryIO, name: str, most_bytes: int, watch: Watch) -> None:
    """Write a response to a file; raises MediaError if it is too large or incomplete."""
    length = response.length
    while block := response.read1(_BLOCK_BYTES):
        watch.received += len(block)
        if max(watch.received, length or 0) > most_bytes:
            size = f"{most_bytes // 1024**2:,} MB"
            raise MediaError(name, f"is larger than {size}: download it first")
        file.write(block)
    if watch.why is not None:
        raise MediaError(name, watch.why)
    if length is not None and watch.received < length:
        raise MediaError(
            name,
            f"cannot be downloaded: the connection was lost after {watch.received} bytes",
        )
