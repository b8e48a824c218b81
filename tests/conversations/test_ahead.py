"""Work ahead of its turn: order, bounds, errors, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from gemma4cli.conversations.ahead import done_ahead

PATIENCE = 30.0


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_whichever_is_ready_first(threads: int) -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if threads > 1 and number == 0:
            assert last.wait(PATIENCE)
        if number == 2:
            last.set()
        return number * number

    found = list(done_ahead(work, range(6), threads=threads, most=3))
    assert found == [(number, number * number) for number in range(6)]


def test_an_error_is_a_result_and_the_others_follow() -> None:
    def work(number: int) -> int:
        return 6 // number

    first, *others = done_ahead(work, range(3), threads=2, most=2)
    assert isinstance(first[1], ZeroDivisionError)
    assert others == [(1, 6), (2, 3)]


def test_no_more_is_done_than_was_asked_for() -> None:
    begun: list[int] = []
    taken = 0

    def numbers() -> Iterator[int]:
        for number in range(50):
            assert number <= taken + 4
            yield number

    for number, _ in done_ahead(lambda n: begun.append(n) or n, numbers(), threads=3, most=4):
        taken += 1
        assert number == taken - 1
    assert sorted(begun) == list(range(50))


def test_closing_ends_the_threads_and_begins_nothing_more() -> None:
    before = set(threading.enumerate())
    begun: list[int] = []
    stream = done_ahead(lambda n: begun.append(n) or n, range(1000), threads=2, most=4)
    assert next(stream)[0] == 0
    stream.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(begun) <= 6


def test_one_that_hangs_does_not_keep_who_leaves() -> None:
    let_go = threading.Event()
    with closing(done_ahead(lambda n: let_go.wait() or n, range(9), threads=2, most=4)):
        pass
    stream = done_ahead(lambda n: let_go.wait(PATIENCE) if n else 1, range(9), threads=2, most=4)
    assert next(stream) == (0, 1)
    stream.close()
    let_go.set()


def test_nothing_to_do() -> None:
    assert list(done_ahead(abs, [], threads=0, most=0)) == []
