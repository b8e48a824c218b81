"""A door for a few threads at a time."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Event, Thread

import pytest

from gemma4cli.server.in_turn import InTurn


def test_threads_come_in_as_others_leave_and_in_their_order() -> None:
    door = InTurn(1)
    inside: list[int] = []

    def come_in(number: int) -> None:
        with door:
            inside.append(number)

    with ExitStack() as threads, door:
        for number in range(5):
            thread = Thread(target=come_in, args=(number,))
            thread.start()
            threads.callback(thread.join)
            _wait_until(door, waiting=number + 1)
        assert not inside
    assert inside == [0, 1, 2, 3, 4]


def test_as_many_as_may_are_in_at_once_also_after_an_error() -> None:
    door, both, done = InTurn(2), Event(), Event()

    def come_in() -> None:
        with door:
            both.set()
            done.wait()

    with pytest.raises(ZeroDivisionError), door:
        raise ZeroDivisionError
    with ExitStack() as threads, door:
        thread = Thread(target=come_in)
        thread.start()
        threads.callback(thread.join)
        threads.callback(done.set)
        assert both.wait(20)


def _wait_until(door: InTurn, *, waiting: int) -> None:
    pause = Event()
    while door.waiting < waiting:
        pause.wait(0.001)
