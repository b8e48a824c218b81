"""The processes of a ring wait for each other before they connect."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from gemma4cli.distributed import gathering
from gemma4cli.distributed.connection import Connection, ConnectionEndedError
from gemma4cli.distributed.gathering import Address, gather
from gemma4cli.errors import LoadError


def free(count: int) -> list[Address]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname() for each in taken]


class Process:
    """One that gathers, in a thread."""

    def __init__(self, ring: Sequence[Address], rank: int) -> None:
        self.error: LoadError | None = None
        self.is_done = threading.Event()
        threading.Thread(target=self._run, args=(ring, rank), daemon=True).start()

    def _run(self, ring: Sequence[Address], rank: int) -> None:
        try:
            gather(ring, rank)
        except LoadError as error:
            self.error = error
        self.is_done.set()

    def problem(self) -> str:
        assert self.is_done.wait(30)
        return str(self.error or "")


def greeted(ring: Sequence[Address], rank: int) -> socket.socket:
    """The connection of a process that has come."""
    while True:
        try:
            connected = socket.create_connection(ring[0])
        except OSError:
            continue
        Connection(connected).send({"rank": rank})
        return connected


def test_nobody_goes_on_before_the_last_one_is_there() -> None:
    ring = free(3)
    early = [Process(ring, rank) for rank in (2, 0)]
    assert not early[1].is_done.wait(0.5) and not early[0].is_done.is_set()
    late = Process(ring, 1)
    assert [each.problem() for each in (*early, late)] == ["", "", ""]
    socket.create_server(ring[0]).close()  # MLX can listen there now


def test_one_that_ends_meanwhile_ends_all() -> None:
    ring = free(4)
    first, other = Process(ring, 0), Process(ring, 1)
    greeted(ring, 3).close()
    assert "process 3 on 127.0.0.1 has ended" in first.problem()
    assert "the first process has ended" in other.problem()


def test_a_stranger_is_not_counted() -> None:
    ring = free(2)
    first = Process(ring, 0)
    for rank in (0, 2, -1):
        with greeted(ring, rank) as stranger, pytest.raises(ConnectionEndedError):
            Connection(stranger).receive()
    assert not first.is_done.is_set()
    assert [each.problem() for each in (Process(ring, 1), first)] == ["", ""]


def test_it_says_who_does_not_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gathering, "_TO_COME", 0.4)
    monkeypatch.setattr(gathering, "_UNTIL_SAID", 0.1)
    ring = free(2)
    assert "no sign of process 1 on 127.0.0.1" in Process(ring, 0).problem()
    assert f"no sign of the first process at 127.0.0.1:{ring[0][1]}" in Process(ring, 1).problem()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("g4: waiting for process 1 on 127.0.0.1")
    assert len(said) == 2


def test_a_port_in_use_is_an_error() -> None:
    ring = free(2)
    with socket.create_server(ring[0]):
        assert f"127.0.0.1:{ring[0][1]} of the file of hosts" in Process(ring, 0).problem()


def test_it_says_that_the_name_of_the_first_one_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "_TO_COME", 0.2)
    ring = [("nowhere.invalid", 1), *free(1)]
    problem = Process(ring, 1).problem()
    assert "the first process at nowhere.invalid:1, a name that is not known here" in problem
