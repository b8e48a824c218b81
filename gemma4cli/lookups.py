"""Where servers are: names of this machine, unix sockets, and addresses of host names.

Those are looked up with a time limit, which the system's function does not have.
"""

from __future__ import annotations

import os.path
import socket
import threading
from ipaddress import ip_address
from typing import Any

UNIX = "unix:"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address: only programs here can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def unix_path(place: str) -> str | None:
    """The socket in "unix:/run/g4.sock", "" if it is missing there; None for what is a host."""
    if place[: len(UNIX)].lower() != UNIX:
        return None
    path = place[len(UNIX) :]
    if path.startswith("//"):  # as in a URL
        path = path[2:]
    return os.path.abspath(os.path.expanduser(path)) if path else ""


def look_up(host: str, port: int, seconds: float) -> list[Any]:
    """What ``socket.getaddrinfo`` answers for streams.

    Raises OSError, also after ``seconds``, and ValueError for a name that cannot be one.
    """
    found: list[Any] = []
    problem: list[Exception] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as exc:
            problem.append(exc)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} seconds to where {host} is")
    if problem:
        raise problem[0]
    return found
