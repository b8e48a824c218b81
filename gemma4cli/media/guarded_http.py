"""HTTP for downloads: redirects stay on the public network, and names are resolved once.

A connection goes to the address that was checked, so a name cannot stand for another one by then.
"""

from __future__ import annotations

import base64
import http.client
import socket
import string
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from ..errors import MediaError
from .pace import Watch
from .public_hosts import Resolved, are_public, resolve
from .urls import is_url, shown_url

_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


def open_url(url: str, watch: Watch, *, only_public: bool = False) -> Any:
    """The response to a request for ``url``, after redirects.

    With ``only_public`` it comes from a stranger, so its host must be public, too.

    Raises MediaError for a host that is not, and a redirect that must not be followed; HTTPError,
    OSError, HTTPException and ValueError.
    """
    guard = _Guard(watch, only_public=only_public)
    target, credentials = _without_user(url)
    first = urlsplit(target)
    guard.check(url, target, named=True)
    for _ in range(_MOST_REDIRECTS):
        request = urllib.request.Request(target, headers={"User-Agent": "g4"})
        if credentials is not None and urlsplit(target)[:2] == first[:2]:
            request.add_unredirected_header("Authorization", credentials)
        try:
            return guard.opener.open(request, timeout=watch.pace.patience)
        except urllib.error.HTTPError as exc:
            if exc.code not in _REDIRECTS or not exc.headers.get("Location"):
                raise
            with exc:
                target = _without_user(_next(url, target, exc.headers["Location"]))[0]
        guard.check(url, target, named=urlsplit(target).hostname == first.hostname)
    raise MediaError(shown_url(url), f"redirects more than {_MOST_REDIRECTS} times")


def _next(url: str, current: str, location: str) -> str:
    """Where a redirect leads, as an address of ASCII. Raises MediaError unless by http or https."""
    # Headers are decoded as Latin-1, whatever the server meant.
    joined = urljoin(current, location.strip())
    if not is_url(joined):
        raise MediaError(
            shown_url(url), f"redirects to {shown_url(joined)}, which is not an http or https URL"
        )
    return quote(joined, safe=string.punctuation, encoding="latin-1")


def _without_user(url: str) -> tuple[str, str | None]:
    """The address without user and password, and the header that says them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    encoded = base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {encoded}"


class _Guard:
    """Checks where requests go and connects to what was checked."""

    def __init__(self, watch: Watch, *, only_public: bool) -> None:
        self._watch = watch
        self._only_public = only_public
        self._resolved: dict[tuple[str, int], Resolved] = {}
        self._proxies = urllib.request.getproxies()
        self.opener = _opener(self._connect)

    def check(self, url: str, target: str, *, named: bool) -> None:
        """Resolve the host of ``target``. Raises MediaError if it must be public and is not.

        ``url`` is for the error. A host that the person has ``named`` may be any.
        """
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme.lower()]
        if not host:
            raise ValueError("no host given")
        if (host, port) in self._resolved:
            return
        try:
            found = resolve(host, port, self._watch.pace.patience)
        except OSError:
            # The proxy may know the name, of a private host perhaps.
            if self._is_proxied(parts.scheme, host) and not self._only_public:
                return
            raise
        if self._only_public and not are_public(found):
            raise MediaError(
                shown_url(url), "is not on the public network: send the file as a data: URL"
            )
        if not named and not are_public(found):
            raise MediaError(
                shown_url(url),
                f"redirects to {host}, on this machine or a private network: "
                "name that address yourself to allow it",
            )
        self._resolved[host, port] = found

    def _is_proxied(self, scheme: str, host: str) -> bool:
        return scheme.lower() in self._proxies and not urllib.request.proxy_bypass(host)

    def _connect(self, place: tuple[str, int], *unused: object) -> socket.socket:
        """A connection to a host that was checked, or to the proxy that the user has set."""
        host, port = place[0].lower().strip("[]"), place[1]
        problem = OSError("the host has no address")
        known = self._resolved.get((host, port))
        for family, address in known or resolve(host, port, self._watch.pace.patience):
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.settimeout(self._watch.pace.patience)
            try:
                connection.connect(address)
            except OSError as exc:
                problem = exc
                connection.close()
                continue
            self._watch.add(connection)
            return connection
        raise problem


def _opener(connect: Any) -> urllib.request.OpenerDirector:
    """An opener for http and https: no files, no FTP, no redirects of its own."""

    class Http(http.client.HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._create_connection = connect

    class Https(http.client.HTTPSConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._create_connection = connect

    class HttpHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Http, req)

    class HttpsHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Https, req)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        HttpHandler(),
        HttpsHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
