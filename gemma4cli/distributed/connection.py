"""Messages between two processes: JSON over TCP, and soon known if the other one is gone."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import suppress
from typing import Any

Message = dict[str, Any]

_LENGTH = 4
_TO_GREET, _LONGEST_GREETING = 5.0, 1000
"""Seconds and bytes for the first message."""
_IDLE, _INTERVAL, _PROBES = 4, 2, 2
"""Seconds of silence before the system asks whether the other machine is there; how often."""
_UNCONFIRMED = 8
"""Seconds in which the other machine must confirm what was sent; until then it is not asked."""
_TCP_RXT_CONNDROPTIME = 0x80
"""What macOS calls that; Python has no name for it. Source: netinet/tcp.h."""


class ConnectionEndedError(Exception):
    """The other process is gone."""


class Connection:
    """One end; ``send`` and ``receive`` may be called in different threads."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        connected.settimeout(None)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
        for name, value in (
            (idle, _IDLE),
            ("TCP_KEEPINTVL", _INTERVAL),
            ("TCP_KEEPCNT", _PROBES),
            ("TCP_USER_TIMEOUT", 1000 * _UNCONFIRMED),
        ):
            if (option := getattr(socket, name, None)) is not None:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
        if sys.platform == "darwin":
            with suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, _UNCONFIRMED)

    def send(self, message: Message) -> None:
        """Raises ConnectionEndedError."""
        data = json.dumps(message).encode()
        try:
            self._socket.sendall(len(data).to_bytes(_LENGTH, "big") + data)
        except OSError as exc:
            raise ConnectionEndedError from exc

    def receive(self) -> Message:
        """Wait for a message. Raises ConnectionEndedError."""
        length = int.from_bytes(self._exactly(_LENGTH), "big")
        message: Message = json.loads(self._exactly(length))
        return message

    def greeting(self) -> Message:
        """The first message, of somebody unknown: short, and soon.

        Raises ConnectionEndedError, and ValueError for anything else.
        """
        self._socket.settimeout(_TO_GREET)
        length = int.from_bytes(self._exactly(_LENGTH), "big")
        if length > _LONGEST_GREETING:
            raise ValueError("not a message")
        message = json.loads(self._exactly(length))
        self._socket.settimeout(None)
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                received = self._socket.recv(count - len(data))
            except OSError as exc:
                raise ConnectionEndedError from exc
            if not received:
                raise ConnectionEndedError
            data += received
        return bytes(data)


def addresses() -> list[str]:
    """Addresses of this machine, as far as they can be found out without asking anybody.

    Those that mean another machine elsewhere come last.
    """
    found = ["127.0.0.1"]
    with suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent; it chooses an interface
        found.append(probe.getsockname()[0])
    return sorted(dict.fromkeys(found), key=lambda each: each.startswith("127."))
