"""Downloads a file from an http(s) URL to the disk.

Only this module uses the network for media, and only for URLs that the user gave.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import mkstemp
from typing import Any, BinaryIO

from ..errors import MediaError, MediaNotFoundError
from ..messages import Source
from .urls import is_url

MOST_BYTES = 4 * 1024**3
"""Longer recordings and videos are better kept in a file."""

_BLOCK_BYTES = 1 << 20
_PATIENCE = 30.0
"""Seconds to wait without receiving a byte."""
_GONE = (404, 410)


def fetch(url: str, *, folder: Path, most_bytes: int = MOST_BYTES) -> Source:
    """The content of ``url``, in a new file in ``folder``.

    Only http and https are opened, also after redirects. Raises MediaNotFoundError, and MediaError
    with the reason.
    """
    if not is_url(url):
        raise MediaError(url, "is not an http or https URL")
    handle, name = mkstemp(dir=folder)
    path = Path(name)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "g4"})
        with (
            open(handle, "wb") as file,
            _opener().open(request, timeout=_PATIENCE) as response,
        ):
            _copy(response, file, url, most_bytes)
    except urllib.error.HTTPError as exc:
        with exc:
            if exc.code in _GONE:
                raise MediaNotFoundError(url) from exc
            raise MediaError(url, f"the server answered {exc.code} {exc.reason}") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", None) or str(exc) or type(exc).__name__
        raise MediaError(url, f"cannot be downloaded: {reason}") from exc
    return Source(name=url, path=path)


def _copy(response: Any, file: BinaryIO, url: str, most_bytes: int) -> None:
    """Write a response to a file; raises MediaError if it is too large or incomplete."""
    received = 0
    while block := response.read(_BLOCK_BYTES):
        received += len(block)
        if received + (response.length or 0) > most_bytes:
            size = f"{most_bytes // 1024**2:,} MB"
            raise MediaError(url, f"is larger than {size}: download it first")
        file.write(block)
    if response.length:
        raise MediaError(
            url, f"cannot be downloaded: the connection was lost after {received} bytes"
        )


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https, without the default handlers for files and FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
