"""Work that is done in threads before its turn, such as decoding the next pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from threading import Event, Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class _Task(Generic[Result]):
    def __init__(self, number: int) -> None:
        self.number = number
        self.done = Event()
        self.is_wanted = True
        self.result: Result | Exception | None = None


def done_ahead(
    work: Callable[[int], Result], numbers: Iterable[int], *, threads: int, most: int
) -> Generator[tuple[int, Result | Exception], None, None]:
    """The numbers in their order, each with what ``work`` gives for it or raises.

    ``threads`` work at the same time; no more than ``most`` results are ready or in the making,
    besides the one that was taken last. Closing ends the threads with what they are at. They are
    daemons, so that one that hangs, in a file system or a pipe, does not keep the program.
    """
    tasks: SimpleQueue[_Task[Result] | None] = SimpleQueue()
    waiting: deque[_Task[Result]] = deque()
    left = iter(numbers)

    def run() -> None:
        while (task := tasks.get()) is not None:
            if task.is_wanted:
                try:
                    task.result = work(task.number)
                except Exception as error:  # noqa: BLE001 - raised where it is taken
                    task.result = error
            task.done.set()

    def fill() -> None:
        while len(waiting) < most and (number := next(left, None)) is not None:
            waiting.append(_Task(number))
            tasks.put(waiting[-1])

    workers = [Thread(target=run, daemon=True, name="decoding") for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        fill()
        while waiting:
            task = waiting.popleft()
            task.done.wait()
            fill()
            assert task.result is not None, "a task that is done has its result"
            yield task.number, task.result
            del task  # what was taken is not kept
    finally:
        for task in waiting:
            task.is_wanted = False
        for _ in workers:
            tasks.put(None)
