"""The address of a server, as people write it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import OptionError
from ..lookups import UNIX, is_loopback, unix_path
from ..options import SERVER_PORT

_PORTS = {"http": 80, "https": 443}
_HERE = "localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server is; ``path`` is what its own paths begin with, "" or "/g4" for example.

    With ``socket``, the path of a unix socket, host and port mean nothing.
    """

    secure: bool
    host: str
    port: int
    path: str = ""
    socket: str | None = None

    def __str__(self) -> str:
        if self.socket is not None:
            return f"{UNIX}{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.secure else ''}://{host}:{self.port}{self.path}"

    @property
    def is_this_machine(self) -> bool:
        """Whether what is sent there stays on this machine."""
        return is_loopback(self.host) or self.host.endswith(".localhost")


def address_of(text: str) -> Address:
    """The address in "http://host:11535", "host", or what OpenAI's clients want, with /v1.

    "unix:/run/g4.sock" is a socket. Raises OptionError.
    """
    given = text.strip()
    path = unix_path(given)
    if path == "":
        raise _wrong(text, "it names no socket")
    if path is not None:
        return Address(secure=False, host=_HERE, port=_PORTS["http"], socket=path)
    try:
        has_scheme = "://" in given
        parts = urlsplit(given if has_scheme else f"http://{given}")
        port, host = parts.port, parts.hostname
    except ValueError as exc:
        raise _wrong(text, str(exc)) from exc
    if parts.scheme not in _PORTS:
        raise _wrong(text, "only http, https and unix are spoken")
    if parts.username is not None or parts.password is not None:
        raise _wrong("with a name", "a token is given in G4_SERVER_TOKEN")
    if not host or not host.isprintable() or any(each in host for each in " /%\\"):
        raise _wrong(text, "it names no host")
    if parts.query or parts.fragment:
        raise _wrong(text, "leave out what follows the path")
    path = parts.path.rstrip("/").removesuffix("/v1")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise _wrong(text, "its path has characters that no address has")
    return Address(
        secure=parts.scheme == "https",
        host=host,
        port=port or (_PORTS[parts.scheme] if has_scheme else SERVER_PORT),
        path=path,
    )


def _wrong(text: str, problem: str) -> OptionError:
    return OptionError(
        f"--server {text}: is not the address of a server, as http://127.0.0.1:11535 is: {problem}"
    )
