"""The way to a server: by TCP or a unix socket, with TLS, through the proxy that is set."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLCertVerificationError, SSLError
from urllib.parse import unquote, urlsplit

from ..errors import ServerError
from ..lookups import look_up
from .address import Address

_PROXY_PORT = 80
_WRONG_TIME = (9, 10)
_WRONG_NAME = (62, 64)
"""OpenSSL's numbers of what is wrong with a certificate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """The proxy that a variable, or the system, sets; ``headers`` are for the proxy alone."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How a server is reached."""

    address: Address
    proxy: Proxy | None = None

    @property
    def _asks_proxy(self) -> bool:
        """Whether requests go to the proxy itself, which with TLS hands on bytes only."""
        return self.proxy is not None and not self.address.secure

    def target(self, path: str) -> str:
        """What a request calls a path of the server's."""
        return f"{self.address if self._asks_proxy else self.address.path}{path}"

    @property
    def headers(self) -> Mapping[str, str]:
        """What requests have in addition."""
        return self.proxy.headers if self.proxy is not None and self._asks_proxy else {}

    def connect(self, seconds: float) -> HTTPConnection:
        """A connection whose steps took ``seconds`` each at most.

        Raises OSError, ValueError, and HTTPException for what is no proxy.
        """
        address, near = self.address, self.proxy or self.address
        if address.socket is not None:
            link = HTTPConnection(address.host, timeout=seconds)
            link.sock = _unix(address.socket, seconds)
            return link
        kind = HTTPSConnection if address.secure else HTTPConnection
        link = kind(near.host, near.port, timeout=seconds)
        link._create_connection = _dialed  # type: ignore[attr-defined]
        if self.proxy is not None and address.secure:
            link.set_tunnel(address.host, address.port, dict(self.proxy.headers))
        try:
            link.connect()
        except BaseException:
            link.close()
            raise
        return link

    def problem(self, error: OSError | ValueError | HTTPException) -> str:
        """Why ``connect`` failed, and what to do."""
        if isinstance(error, SSLCertVerificationError):
            return _problem_of_certificate(error)
        if isinstance(error, socket.gaierror | ValueError):
            if self.proxy is not None:
                return f"there is no such host as the proxy {self.proxy}; check {_variable(self)}"
            return "there is no such host; check --server"
        if isinstance(error, SSLError):
            return f"does not answer as https does ({error.reason}): check --server"
        cause = "no answer" if isinstance(error, TimeoutError) else _cause(error)
        if self.proxy is not None:
            hint = f"check {_variable(self)}, or name the host in no_proxy"
            return f"cannot be reached through the proxy {self.proxy} ({cause}): {hint}"
        place = "" if self.address.socket is None else f" --host {self.address}"
        return f"cannot be reached ({cause}): start it with g4 serve{place}, or leave out --server"


def route_to(address: Address) -> Route:
    """The way to a server: as the environment says, but never out of this machine and back.

    Raises ServerError for a proxy that cannot be used.
    """
    if address.is_this_machine:
        return Route(address=address)
    from urllib.request import getproxies, proxy_bypass

    given = getproxies().get("https" if address.secure else "http")
    if not given or proxy_bypass(f"{address.host}:{address.port}"):
        return Route(address=address)
    return Route(address=address, proxy=_proxy(given, address))


def _proxy(given: str, address: Address) -> Proxy:
    variable = _variable(Route(address=address))
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ServerError(str(address), f"{variable} is not the address of a proxy")
    if parts.scheme != "http":
        problem = f"{variable} is a proxy of {parts.scheme}; only those of http are spoken to"
        raise ServerError(str(address), f"{problem}: set another, or name the host in no_proxy")
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
    return Proxy(host=host, port=port or _PROXY_PORT, headers=headers)


def _variable(route: Route) -> str:
    return "https_proxy" if route.address.secure else "http_proxy"


def _unix(path: str, seconds: float) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(seconds)
    try:
        link.connect(path)
    except BaseException:
        link.close()
        raise
    return link


def _dialed(
    place: tuple[str, int], seconds: float, source: tuple[str, int] | None = None
) -> socket.socket:
    """A connection to the first address of a host that answers."""
    problem = OSError("the host has no address")
    for family, kind, protocol, _, address in look_up(*place, seconds):
        link = socket.socket(family, kind, protocol)
        link.settimeout(seconds)
        try:
            link.connect(address)
        except OSError as exc:
            problem = exc
            link.close()
            continue
        return link
    raise problem


def _cause(error: OSError | HTTPException) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(said.split()) or type(error).__name__


def _problem_of_certificate(error: SSLCertVerificationError) -> str:
    cause = error.verify_message.rstrip(".")
    if error.verify_code in _WRONG_NAME:
        return f"its certificate is for another name ({cause}): use that name"
    if error.verify_code in _WRONG_TIME:
        return f"its certificate is not valid now ({cause})"
    return (
        f"its certificate is not trusted ({cause}): if it is yours, name its file, or that of who "
        "signed it, in SSL_CERT_FILE"
    )
