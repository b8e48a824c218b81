"""Forked processes that have imported everything, and are replaced when they crash or hang."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic

# What commands import when they run: imported once here, and not in every process.
import gemma4cli.engine.generate
import gemma4cli.engine.loading
import gemma4cli.transcription.transcriber  # noqa: F401

from .worker import ERRORS_FILE, Task, Verdict, signature_of, work

_FORK = multiprocessing.get_context("fork")
_GRACE = 20.0
"""Seconds after the limit at which a process that did not end itself is killed."""


def in_process(function: Callable[[Path], None], folder: Path) -> None:
    """Call a function in a process of its own, because what runs a model cannot be forked."""
    process = _FORK.Process(target=function, args=(folder,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"fuzz: {function.__name__} failed")


@dataclass
class _Worker:
    process: BaseProcess
    tasks: Connection
    task: Task | None = None
    deadline: float = float("inf")


class Pool:
    """``jobs`` processes that run cases in folders below ``root``."""

    def __init__(self, *, jobs: int, root: Path, seeds: Path) -> None:
        self._jobs = jobs
        self._root = root
        self._seeds = seeds

    def run(self, tasks: Sequence[Task]) -> Iterator[Verdict]:
        """The verdict on each task. A hang counts if it comes again, with more patience."""
        waiting = list(reversed(tasks))
        workers = [self._start() for _ in range(min(self._jobs, len(tasks)))]
        try:
            while True:
                for worker in workers:
                    if worker.task is None and waiting:
                        self._send(worker, waiting.pop())
                busy = [worker for worker in workers if worker.task is not None]
                if not busy:
                    return
                for worker in self._ready(busy):
                    verdict = self._verdict(worker)
                    if not worker.process.is_alive():
                        workers[workers.index(worker)] = self._start()
                    if verdict.fault == "hang" and not verdict.task.again:
                        waiting.append(replace(verdict.task, again=True))
                        continue
                    yield verdict
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = _FORK.Pipe()
        arguments = (theirs, self._root, self._seeds)
        process = _FORK.Process(target=work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _send(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.deadline = monotonic() + task.limit() + _GRACE
        worker.tasks.send(task)

    def _ready(self, busy: list[_Worker]) -> list[_Worker]:
        """Those that answered or ended; one past its deadline is killed."""
        seconds = max(0.0, min(worker.deadline for worker in busy) - monotonic())
        wait([each for worker in busy for each in (worker.tasks, worker.process.sentinel)], seconds)
        for worker in busy:
            if monotonic() > worker.deadline and not worker.tasks.poll():
                worker.process.kill()
                worker.process.join()
        return [each for each in busy if each.tasks.poll() or not each.process.is_alive()]

    def _verdict(self, worker: _Worker) -> Verdict:
        task, late = worker.task, monotonic() > worker.deadline
        assert task is not None
        worker.task, worker.deadline = None, float("inf")
        try:
            verdict: Verdict = worker.tasks.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            path = task.folder(self._root) / ERRORS_FILE
            said = path.read_text("utf-8", "replace") if path.exists() else ""
            code = worker.process.exitcode or 0
            if late or "Timeout (" in said:
                fault, signature = "hang", f"hang at {_innermost(said)}"
            elif code < 0:
                fault, signature = "crash", f"signal {-code} at {_innermost(said)}"
            else:
                fault, signature = "crash", f"status {code} at {signature_of(said)}"
            return Verdict(task=task, fault=fault, signature=signature, about=said[-3000:])
        return verdict


def _innermost(said: str) -> str:
    """The first line of g4's own code in a dump of all threads, whose innermost call is first."""
    lines = said.partition("(most recent call first):")[2].splitlines()
    ours = [line for line in lines if "gemma4cli" in line and "/fuzz/" not in line]
    return ours[0].strip().rpartition("gemma4cli/")[2] if ours else "?"
