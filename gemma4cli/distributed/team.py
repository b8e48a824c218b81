"""The processes of one run: how they meet, what the first tells the others, how all end.

The first process runs the command. The others wait for what it tells them, and end with it, with
its exit status. If one of them fails, it says why, and the first one reports that.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import Any, cast

import mlx.core as mx

from ..errors import LoadError, ProcessLostError
from .connection import Connection, ConnectionEndedError, Message, addresses
from .launch import Launch

_TO_MEET = 30.0
"""Seconds in which the processes must have found each other once the group is there."""

_TO_NOTICE, _TO_CLEAN_UP = 3.0, 5.0
"""Seconds for the program to see that another process is gone; then for what it cleans up."""

_TEXT = 2048
"""Bytes of what the first process says about itself before there are connections."""


class Group:
    """The group of MLX: sums over all processes."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        try:
            self._group = mx.distributed.init(strict=True, backend=launch.backend)
        except (RuntimeError, ValueError) as exc:
            raise LoadError(
                f"the {launch.count} processes cannot connect ({exc}): check the addresses of the "
                "hosts, and that nothing else uses their ports"
            ) from exc

    @property
    def rank(self) -> int:
        return self.launch.rank

    @property
    def size(self) -> int:
        return self.launch.count

    def sum(self, part: mx.array) -> mx.array:
        return mx.distributed.all_sum(part, group=self._group)

    def gather(self, part: mx.array) -> mx.array:
        return mx.distributed.all_gather(part[None], group=self._group)

    def text_of_first(self, text: str = "") -> str:
        """A short text of the first process, in all of them."""
        data = text.encode().ljust(_TEXT)
        part = mx.array(list(data), mx.int32) if self.rank == 0 else mx.zeros((_TEXT,), mx.int32)
        return bytes(cast("list[int]", self.sum(part).tolist())).decode().strip()


class Leader(Group):
    """The first process's end; made once, in the main thread."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._failure: ProcessLostError | None = None
        self._failed = threading.Event()
        self._noticed = threading.Event()
        self._ending = False
        self._numbers = count()
        self._closed: list[int] = []
        self._answers: SimpleQueue[tuple[int, Message]] = SimpleQueue()
        self._connections = self._meet()
        for rank, connection in enumerate(self._connections, 1):
            threading.Thread(target=self._watch, args=(rank, connection), daemon=True).start()
        threading.Thread(target=self._guard, daemon=True).start()

    @property
    def failure(self) -> ProcessLostError | None:
        """Why another process has ended, if one has."""
        return self._failure

    def tell(self, message: Message) -> None:
        """Send a message to all others. Raises ProcessLostError."""
        self.check()
        if self._closed:
            message, self._closed = message | {"closed": self._closed}, []
        for connection in self._connections:
            try:
                connection.send(message)
            except ConnectionEndedError:
                self._failed.wait(_TO_NOTICE)
                self.check()
                raise

    def next_number(self) -> int:
        """A number for a network that all processes are to load."""
        return next(self._numbers)

    def close(self, number: int) -> None:
        """Let the others forget a network, when they are next told something."""
        self._closed.append(number)

    def answers(self) -> list[Message]:
        """An answer of each of the others, in order of their ranks. Raises ProcessLostError."""
        found: dict[int, Message] = {}
        while len(found) < len(self._connections):
            rank, message = self._answers.get()
            self.check()
            found[rank] = message
        return [found[rank] for rank in sorted(found)]

    def check(self) -> None:
        """Raise ProcessLostError if another process has ended."""
        if self._failure is not None:
            self._noticed.set()
            raise self._failure

    def cause(self, error: Exception) -> Exception:
        """What is behind an error: sums fail if another process has ended."""
        if isinstance(error, RuntimeError):
            self._failed.wait(_TO_NOTICE)
        if self._failure is None:
            return error
        self._noticed.set()
        return self._failure

    def end(self, status: int) -> None:
        """Let the others end with an exit status."""
        self._ending = True
        for connection in self._connections:
            try:
                connection.send({"end": status})
            except ConnectionEndedError:
                continue

    def _meet(self) -> list[Connection]:
        secret = secrets.token_hex(16)
        with socket.create_server(("", 0), backlog=self.size) as server:
            port = server.getsockname()[1]
            hosts = list(dict.fromkeys([*self.launch.hosts, *addresses()]))
            self.text_of_first(json.dumps({"hosts": hosts[:16], "port": port, "secret": secret}))
            until = monotonic() + _TO_MEET
            found: dict[int, Connection] = {}
            while len(found) < self.size - 1:
                server.settimeout(max(0.01, until - monotonic()))
                try:
                    accepted, _ = server.accept()
                except TimeoutError as exc:
                    raise LoadError(
                        f"only {len(found) + 1} of {self.size} processes could reach the first one "
                        f"at port {port}: check its firewall"
                    ) from exc
                connection = Connection(accepted)
                try:
                    hello = connection.greeting()
                except (ConnectionEndedError, ValueError):
                    continue
                if hmac.compare_digest(str(hello.get("secret")), secret):
                    found[int(hello["rank"])] = connection
        return [found[rank] for rank in sorted(found)]

    def _watch(self, rank: int, connection: Connection) -> None:
        """Take what another process says until it ends, which it does last."""
        while True:
            try:
                message = connection.receive()
            except ConnectionEndedError:
                message = {"failed": f"process {rank} has ended", "status": 1}
            if "failed" in message:
                if not self._ending and self._failure is None:
                    self._failure = ProcessLostError(message["failed"], message["status"])
                self._failed.set()
                self._answers.put((rank, message))
                return
            self._answers.put((rank, message))

    def _guard(self) -> None:
        """End this process if the program does not notice that another has ended.

        It may wait for a sum that never comes, or for a person.
        """
        self._failed.wait()
        if self._ending or self._noticed.wait(_TO_NOTICE) or self._failure is None:
            return
        sys.stderr.write(f"g4: {self._failure}\n")
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_TO_CLEAN_UP)
        os._exit(self._failure.status)


class Follower(Group):
    """The end of another process."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._connection = self._reach(json.loads(self.text_of_first()))
        threading.Thread(target=self._watch, daemon=True).start()

    def messages(self) -> Iterator[Message]:
        """What the first process tells. When that ends, this process does."""
        while True:
            yield self._messages.get()

    def answer(self, message: Message) -> None:
        try:
            self._connection.send(message)
        except ConnectionEndedError:
            _gone()

    def fail(self, problem: str, status: int) -> None:
        """Say why this process ends."""
        host = socket.gethostname()
        self.answer({"failed": f"process {self.rank} on {host}: {problem}", "status": status})

    def _reach(self, first: dict[str, Any]) -> Connection:
        tried: Sequence[str] = first["hosts"]
        for host in tried:
            try:
                connected = socket.create_connection((host, first["port"]), timeout=5)
            except OSError:
                continue
            connection = Connection(connected)
            connection.send({"secret": first["secret"], "rank": self.rank})
            return connection
        raise LoadError(f"the first process cannot be reached at {', '.join(tried)}")

    def _watch(self) -> None:
        """Take messages; end with the first process, whatever the main thread waits for."""
        while True:
            try:
                message = self._connection.receive()
            except ConnectionEndedError:
                _gone()
            if "end" in message:
                os._exit(message["end"])
            self._messages.put(message)


def _gone() -> None:
    """End because the first process is gone: it cannot say so itself."""
    sys.stderr.write("g4: the first process has ended\n")
    os._exit(1)
