"""Downloads a file from an http(s) URL as a source in memory.

Only this module uses the network for media, and only for URLs that the user gave.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from ..errors import MediaError, MediaNotFoundError
from ..messages import Source

MOST_BYTES = 64 * 1024**2
"""No image that g4 reads is larger."""
_PATIENCE = 30.0
"""Seconds to wait without receiving a byte."""
_GONE = (404, 410)


def is_url(name: str) -> bool:
    """Whether a media argument is a URL rather than a file."""
    return name.lower().startswith(("http://", "https://"))


def fetch(url: str, *, most_bytes: int = MOST_BYTES) -> Source:
    """The content of ``url``. Raises MediaNotFoundError, and MediaError with the reason.

    Only http and https are opened, also after redirects.
    """
    if not is_url(url):
        raise MediaError(url, "is not an http or https URL")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "g4"})
        with _opener().open(request, timeout=_PATIENCE) as response:
            data: bytes = response.read(most_bytes + 1)
            missing = response.length or 0
    except urllib.error.HTTPError as exc:
        with exc:
            if exc.code in _GONE:
                raise MediaNotFoundError(url) from exc
            raise MediaError(url, f"the server answered {exc.code} {exc.reason}") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", None) or str(exc) or type(exc).__name__
        raise MediaError(url, f"cannot be downloaded: {reason}") from exc
    if len(data) > most_bytes:
        raise MediaError(url, f"is larger than {most_bytes // 1024**2} MB: download it first")
    if missing:
        raise MediaError(
            url, f"cannot be downloaded: the connection was lost after {len(data)} bytes"
        )
    return Source(name=url, data=data)


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
