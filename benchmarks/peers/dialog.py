"""Talk to a program that prompts for lines with ``> `` and streams its answers."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from types import TracebackType

from process import Command, contents, environment, resident

PROMPT = b"\n> "


class TimeUpError(Exception):
    """The program took longer than its limit."""


class Dialog:
    """A running program.

    Attributes:
        peak: Bytes resident at most, once it has ended.
        log: What it wrote to standard error, once it has ended.
    """

    def __init__(self, command: Command, limit: float) -> None:
        """Start the program; it has ``limit`` seconds in all."""
        self.peak = 0
        self.log = ""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit
        self._end = time.monotonic() + limit
        self._process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment({}),
        )

    def __enter__(self) -> Dialog:
        self._read_until(lambda said: said.endswith(PROMPT))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        if error is not None:
            self._process.kill()
        self._process.stdin.close()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.stdout.close()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.peak = resident(usage)
        self.log = contents(self._log)
        self._log.close()

    def tell(self, line: str) -> None:
        """Send a line and wait for the next prompt. Raises TimeUpError."""
        self._send(line)
        self._read_until(lambda said: said.endswith(PROMPT))

    def ask(self, line: str) -> float:
        """Send a line without slashes, which the program echoes; seconds until the answer began.

        Waits for the next prompt. Raises TimeUpError.
        """
        started = time.perf_counter()
        self._send(line)
        said = self._read_until(lambda said: bool(said.partition(line.encode())[2].strip()))
        waited = time.perf_counter() - started
        if not said.endswith(PROMPT):
            self._read_until(lambda said: said.endswith(PROMPT))
        return waited

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read_until(self, enough: Callable[[bytes], bool]) -> bytes:
        assert self._process.stdout is not None
        said = b""
        while not enough(said):
            left = self._end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeUpError
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                raise SystemExit(f"{self._process.args!r} ended in the middle of a dialog")
            said += part
        return said
