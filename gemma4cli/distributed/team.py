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
from collections.abc import Sequence
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import Any, NoReturn

from .._version import __version__
from ..errors import LoadError, ProcessLostError
from .connection import Connection, ConnectionEndedError, Message, addresses
from .group import Group
from .launch import Launch

_TO_MEET = 30.0
"""Seconds in which the processes must have found each other once the group is there."""

_TO_NOTICE, _TO_CLEAN_UP = 3.0, 5.0
"""Seconds for the program to see that another process is gone; then for what it cleans up."""


class Leader(Group):
    """The first process's end; made once, in the main thread."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._failure: ProcessLostError | None = None
        self._failed = threading.Event()
        self._noticed = threading.Event()
        self._ended = threading.Event()
        self._status = 0
        self._numbers = count()
        self._closed: list[int] = []
        self._hosts: dict[int, str] = {}
        self._answers: SimpleQueue[tuple[int, Message]] = SimpleQueue()
        self._connections = self._meet()
        for rank, connection in enumerate(self._connections, 1):
            threading.Thread(target=self._watch, args=(rank, connection), daemon=True).start()
        threading.Thread(target=self._guard, daemon=True).start()

    @property
    def failure(self) -> ProcessLostError | None:
        """Why another process has ended, if one has."""
        return self._failure

    def name(self, rank: int) -> str:
        """What a person calls one of the others."""
        return f"process {rank} on {self._hosts[rank]}"

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
        self._status = status
        self._ended.set()
        for connection in self._connections:
            try:
                connection.send({"end": status})
            except ConnectionEndedError:
                continue
        self.leave()

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
                    rank = int(hello["rank"])
                    found[rank] = connection
                    self._hosts[rank] = str(hello.get("host"))
                    self._check_version(rank, hello.get("version"))
        return [found[rank] for rank in sorted(found)]

    def _check_version(self, rank: int, version: object) -> None:
        if version != __version__:
            raise LoadError(
                f"{self.name(rank)} is of g4 {version}, and the first one of {__version__}: "
                "install the same version on all machines"
            )

    def _watch(self, rank: int, connection: Connection) -> None:
        """Take what another process says until it ends, which it does last."""
        while True:
            try:
                message = connection.receive()
            except ConnectionEndedError:
                message = {"failed": f"{self.name(rank)} has ended", "status": 1}
            if "failed" in message:
                if not self._ended.is_set() and self._failure is None:
                    self._failure = ProcessLostError(message["failed"], message["status"])
                self._failed.set()
                self._answers.put((rank, message))
                return
            self._answers.put((rank, message))

    def _guard(self) -> None:
        """End this process if another has ended and the program does not.

        It may wait for a sum that never comes, or for a person, or be a server that tells each
        client why there is no answer. At its end, too, it waits for what is being computed.
        """
        self._failed.wait()
        is_noticed = self._noticed.wait(_TO_NOTICE)
        if not self._ended.wait(_TO_CLEAN_UP if is_noticed else 0.0):
            if not is_noticed:
                sys.stderr.write(f"g4: {self._failure}\n")
            os.kill(os.getpid(), signal.SIGTERM)
            if not self._ended.wait(_TO_CLEAN_UP) and self._failure is not None:
                self.end(self._failure.status)
                os._exit(self._failure.status)
        self._ended.wait()
        threading.Event().wait(_TO_CLEAN_UP)
        os._exit(self._status)


class Follower(Group):
    """The end of another process, which ends after the first one.

    A launcher that sees it end earlier would end the first one, before that has said why.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._status: int | None = None
        self._host = socket.gethostname()
        self._connection = self._reach(json.loads(self.text_of_first()))
        threading.Thread(target=self._watch, daemon=True).start()

    def next_message(self) -> Message:
        """Wait for what the first process tells. When that ends, this process does."""
        return self._messages.get()

    def answer(self, message: Message) -> None:
        try:
            self._connection.send(message)
        except ConnectionEndedError:
            self._leave()

    def fail(self, problem: str, status: int) -> NoReturn:
        """Let the first process say why this one ends, and end with it."""
        text = f"process {self.rank} on {self._host}: {problem}"
        self.answer({"failed": text, "status": status})
        threading.Event().wait(_TO_NOTICE + _TO_CLEAN_UP)
        os._exit(status)

    def _reach(self, first: dict[str, Any]) -> Connection:
        tried: Sequence[str] = first["hosts"]
        for host in tried:
            try:
                connected = socket.create_connection((host, first["port"]), timeout=5)
            except OSError:
                continue
            connection = Connection(connected)
            hello = {"rank": self.rank, "host": self._host, "version": __version__}
            connection.send({"secret": first["secret"], **hello})
            return connection
        raise LoadError(f"the first process cannot be reached at {', '.join(tried)}")

    def _watch(self) -> None:
        """Take messages; end with the first process, whatever the main thread waits for."""
        while True:
            try:
                message = self._connection.receive()
            except ConnectionEndedError:
                self._leave()
            if "end" in message:
                self._status = message["end"]
                self.leave()
            else:
                self._messages.put(message)

    def _leave(self) -> NoReturn:
        """End because the first process has; unless it was about to, it cannot say so itself."""
        if self._status is None:
            sys.stderr.write("g4: the first process has ended\n")
        os._exit(1 if self._status is None else self._status)
