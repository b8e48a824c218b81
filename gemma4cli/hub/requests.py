"""Requests to the hub, or to a mirror of it, whose answers are not trusted.

Each has a time limit as a whole and a limit in bytes; waiting that the hub asks for is bounded, and
the user's token goes to the hub's own host only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep as pause
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from ..errors import DownloadError

if TYPE_CHECKING:
    import threading

SECONDS = 60.0
"""For the headers of an answer, and for all of a small one."""

SECONDS_OF_FILE = 300.0
"""For all of a file that is not resumed, such as a tokenizer of 30 MB."""

_MOST_WAITING = 60.0
"""Seconds to wait in all when the hub asks to come back later."""

_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (408, 429, 500, 502, 503, 504)
_TRIES = 3
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


def small_answer(
    repo: str, url: str, *, most_bytes: int, seconds: float | None = None, commit: str | None = None
) -> bytes:
    """The body of an answer of at most ``most_bytes``.

    Raises DownloadError, also if it is of another ``commit``, and the errors of huggingface_hub.
    """
    body = bytearray()
    with within(repo, seconds or SECONDS), hub_answer(repo, url, commit=commit) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most_bytes:
                raise DownloadError(
                    repo, f"{url}: the hub sends more than {most_bytes:,} bytes: not downloaded"
                )
    return bytes(body)


@contextmanager
def hub_answer(repo: str, url: str, *, offset: int = 0, commit: str | None = None) -> Iterator[Any]:
    """The response to a request, its body unread, from byte ``offset`` if the server can.

    Follows redirects, and tries again where the hub is busy. Raises DownloadError, and the errors
    of huggingface_hub.
    """
    waited = 0.0
    for tried in range(1, _TRIES + 1):
        with _followed(repo, url, offset, commit) as response:
            if response.status_code not in _LATER or tried == _TRIES:
                _check_status(repo, url, response)
                yield response
                return
            seconds = _asked_for(response.headers.get("Retry-After"), 2.0 ** (tried - 1))
        waited += seconds
        if waited > _MOST_WAITING:
            raise DownloadError(
                repo, f"the hub asks to wait {seconds:,.0f} seconds: try again after that"
            )
        pause(seconds)


def authorization() -> dict[str, str]:
    """The header with the user's token, if there is one."""
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _check_status(repo: str, url: str, response: Any) -> None:
    """Raise DownloadError for a refusal. Its body is not read: it may have no end."""
    from http import HTTPStatus

    status, reason = response.status_code, response.headers.get("X-Error-Code")
    message = response.headers.get("X-Error-Message") or ""
    if status in (200, 206):
        return
    if reason == "GatedRepo":
        why = f"request access at https://huggingface.co/{repo}, then run: hf auth login"
    elif status == 401 and message == "Invalid credentials in Authorization header":
        why = "the hub rejects your token; run: hf auth login"
    elif reason == "RepoNotFound" or status == 401:
        why = "the hub has no such repository; for a private one run: hf auth login"
    elif status == 404:
        why = f"the hub does not have {url} (404)"
    else:
        phrase = HTTPStatus(status).phrase if status in iter(HTTPStatus) else ""
        why = ": ".join(
            filter(None, (f"the hub answers {status} {phrase}".rstrip(), message[:200]))
        )
        why += f", for {url}"
    raise DownloadError(repo, why)


@contextmanager
def _followed(repo: str, url: str, offset: int, commit: str | None) -> Iterator[Any]:
    """The response to one request, after redirects."""
    from huggingface_hub import constants, get_session

    home = urlsplit(url)[:2]
    resume = {"Range": f"bytes={offset}-"} if offset else {}
    for _ in range(_MOST_REDIRECTS):
        headers = {"Accept-Encoding": "identity", "User-Agent": "g4", **resume}
        if urlsplit(url)[:2] == home:
            headers |= authorization()
        _require_name(url)
        opened = get_session().stream(
            "GET",
            url,
            headers=headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            follow_redirects=False,
        )
        with within(repo, SECONDS) as headers_came, opened as response:
            headers_came.set()
            sent = response.headers.get("X-Repo-Commit")
            if commit is not None and sent is not None and sent != commit:
                raise DownloadError(repo, "has just changed on the hub: try again")
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                yield response
                return
            url = _target(repo, url, location)
    raise DownloadError(repo, f"the hub redirects more than {_MOST_REDIRECTS} times")


def _require_name(url: str) -> None:
    """Raise OSError if the host's name is not found soon: the client would wait without a limit.

    The name is looked up once more by the client; a proxy does that itself.
    """
    from urllib.request import getproxies, proxy_bypass

    from huggingface_hub import constants

    from ..lookups import look_up

    parts = urlsplit(url)
    host = parts.hostname or ""
    if constants.HF_HUB_OFFLINE:  # which the client says
        return
    if parts.scheme not in getproxies() or proxy_bypass(host):
        look_up(host, parts.port or 0, SECONDS)


def _target(repo: str, url: str, location: str) -> str:
    import string

    try:
        target = quote(urljoin(url, location.strip()), safe=string.punctuation)
        parts = urlsplit(target)
        scheme, host = parts.scheme, parts.hostname
        is_valid = parts.port != 0 and (host is None or _HOST.fullmatch(host))
    except ValueError:
        is_valid = False
    if not is_valid:
        raise DownloadError(repo, "the hub redirects to what is no address")
    if scheme not in ("http", "https"):
        raise DownloadError(repo, f"the hub redirects to {scheme}, which g4 does not follow")
    return target


def _asked_for(header: str | None, default: float) -> float:
    """Seconds to wait, by a header ``Retry-After`` with a number or a date."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    if not header:
        return default
    if header.strip().isdecimal():
        return min(float(header), 1e9)
    try:
        at = parsedate_to_datetime(header)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return default


@contextmanager
def within(repo: str, seconds: float) -> Iterator[threading.Event]:
    """Close the connections to the hub after ``seconds``, unless the event was set by then.

    The time limits of a connection begin again with each byte. Downloads of media shut down their
    own sockets instead (``media/pace.py``); those of the hub's client are out of reach, and it
    sends its requests through the proxies and certificates that its users have set up.
    """
    import threading

    from huggingface_hub import close_session
    from huggingface_hub.errors import HTTPError

    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            late.set()
            close_session()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield done
    except (HTTPError, OSError, RuntimeError) as exc:  # RuntimeError: the client is closed
        if late.is_set():
            raise DownloadError(
                repo, f"the hub has not answered within {seconds:g} seconds: try again later"
            ) from exc
        raise
    finally:
        done.set()
        thread.join()
