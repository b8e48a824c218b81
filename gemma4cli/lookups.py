"""Host names: their addresses, with a time limit, which the system's function does not have."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from typing import Any


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address: only programs here can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
