"""Run a program to its end, or to a limit, and say how long it took and how much memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

Command = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A program that ended.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of all its threads.
        peak: Bytes resident at most, pages of mapped files included.
        status: Its exit status; negative for a signal.
        out: Its standard output.
        err: Its standard error.
        cut: Whether it was killed at the limit.
        stopped: Whether a signal stopped it for a while, so that its times are too long.
    """

    wall: float
    cpu: float
    peak: int
    status: int
    out: str
    err: str
    cut: bool
    stopped: bool

    @property
    def text(self) -> str:
        return self.out + self.err


def run(command: Command, limit: float, *, stdin: str = "", **variables: str) -> Run:
    """Run ``command`` in a process group of its own; kill it after ``limit`` seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(variables),
            process_group=0,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        if process.stdin:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        status, usage, stopped = wait(process.pid)
        wall = time.perf_counter() - started
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return Run(
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            peak=resident(usage),
            status=process.returncode,
            out=contents(out),
            err=contents(err),
            cut=late.is_set(),
            stopped=stopped,
        )


def wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    """Wait until a child ends: its status, what it used, whether it was stopped and continued."""
    stopped = False
    while True:
        # wait4 and not Popen.wait: it says what this one child used.
        _, status, usage = os.wait4(child, os.WUNTRACED | os.WCONTINUED)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return status, usage, stopped
        stopped = True


def call(*command: str | os.PathLike[str], **variables: str) -> None:
    """Run ``command`` to its end; its failure ends the benchmark, with what it said."""
    ended = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        said = (ended.stdout + ended.stderr)[-2000:]
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{said}")


def resident(usage: resource.struct_rusage) -> int:
    """Bytes that a child had in memory at most."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This one's, offline: a benchmark fetches nothing."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", **variables}


def contents(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
