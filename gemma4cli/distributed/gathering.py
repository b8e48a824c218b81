"""The processes of a ring wait for each other before MLX connects them.

MLX gives up on a neighbor that is not there after 15 seconds, and waits without end for one that
has given up or was killed: of three processes, two would then never end. So all come to the first
one's address in the ring, and when the last one is there, all connect at the same time. Until then
each notices if another one ends, and says whom it waits for.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic, sleep

from ..errors import LoadError
from .connection import Connection, ConnectionEndedError

Address = tuple[str, int]

_TO_COME = 120.0
"""Seconds in which all must have been started."""
_UNTIL_SAID = 10.0
"""Seconds after which a process says whom it waits for."""
_INTERVAL, _TO_REACH = 0.1, 5.0
_TO_LISTEN = 0.05
"""Seconds in which the first one listens again; MLX tries a second time after a whole one."""


def gather(ring: Sequence[Address], rank: int) -> None:
    """Return when the processes at all addresses of ``ring`` call this. Raises LoadError."""
    if rank:
        _come(ring, rank)
    else:
        _receive(ring)


def _receive(ring: Sequence[Address]) -> None:
    """Wait for the others, and let them go on together."""
    waiting = _Waiting()
    found: dict[int, Connection] = {}
    with ExitStack() as held:
        selector = held.enter_context(selectors.DefaultSelector())
        with _listening(ring[0], len(ring)) as server:
            selector.register(server, selectors.EVENT_READ)
            while len(found) < len(ring) - 1:
                missing = [rank for rank in range(1, len(ring)) if rank not in found]
                names = ", ".join(f"process {rank} on {ring[rank][0]}" for rank in missing)
                for key, _ in selector.select(waiting.seconds(names)):
                    if key.data is not None:
                        # They have nothing to say, so it has ended.
                        raise LoadError(
                            f"process {key.data} on {ring[key.data][0]} has ended before all had "
                            "met: see what it says there"
                        )
                    connected = server.accept()[0]
                    rank = _rank_of(Connection(connected))
                    if rank not in missing:
                        connected.close()
                        continue
                    held.enter_context(connected)
                    found[rank] = Connection(connected)
                    selector.register(connected, selectors.EVENT_READ, rank)
        for connection in found.values():
            try:
                connection.send({"all": True})
            except ConnectionEndedError:
                continue  # MLX will notice, within its time


def _listening(address: Address, count: int) -> socket.socket:
    try:
        return socket.create_server(address, backlog=count)
    except OSError as exc:
        raise LoadError(
            f"{address[0]}:{address[1]} of the file of hosts cannot be used here "
            f"({exc.strerror or exc}): check the address, and that nothing else uses the port"
        ) from exc


def _rank_of(connection: Connection) -> int:
    """Who comes; 0 for somebody else."""
    try:
        rank = connection.greeting().get("rank")
    except (ConnectionEndedError, ValueError):
        return 0
    return rank if isinstance(rank, int) else 0


def _come(ring: Sequence[Address], rank: int) -> None:
    """Tell the first one that this process is there, and wait for the others."""
    with _reached(ring[0]) as connected:
        connection = Connection(connected)
        try:
            connection.send({"rank": rank})
            connection.receive()
        except ConnectionEndedError as exc:
            raise LoadError("the first process has ended before all had met") from exc
    if rank == len(ring) - 1:  # which connects to the first one, while others listen
        sleep(_TO_LISTEN)


def _reached(address: Address) -> socket.socket:
    """A connection to the first process. Raises LoadError if it does not come."""
    waiting = _Waiting()
    while True:
        first = f"the first process at {address[0]}:{address[1]}"
        try:
            return _connected(address)
        except socket.gaierror:
            first += ", a name that is not known here"  # it may yet be announced
        except OSError:
            pass
        sleep(min(_INTERVAL, waiting.seconds(first)))


def _connected(address: Address) -> socket.socket:
    made = socket.create_connection(address, timeout=_TO_REACH)
    if made.getsockname() == made.getpeername():
        # Where nobody listens at a port that the system gives away, it may be connected to itself.
        made.close()
        raise ConnectionRefusedError
    return made


class _Waiting:
    """How long to wait for the others."""

    def __init__(self) -> None:
        self._started = monotonic()
        self._said = False

    @property
    def left(self) -> float:
        return _TO_COME - (monotonic() - self._started)

    def seconds(self, names: str) -> float:
        """The longest wait for ``names`` now. Raises LoadError when there is no time left."""
        if self.left <= 0:
            raise LoadError(
                f"no sign of {names} in {_TO_COME:.0f} seconds: start it with the same file of "
                "hosts, and check the addresses there and firewalls"
            )
        until_said = _UNTIL_SAID - (monotonic() - self._started)
        if until_said > 0:
            return until_said
        if not self._said:
            self._said = True
            sys.stderr.write(f"g4: waiting for {names} (Ctrl-C ends it)\n")
        return self.left
