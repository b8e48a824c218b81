"""Ways to run g4: inside this process, as a separate process, and at a terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

import av
from support.samples import sample
from typer.testing import CliRunner, Result

from gemma4cli.cli.app import app
from gemma4cli.cli.environment import Environment
from gemma4cli.events import Event, Finished, FinishReason, Timings, Usage
from gemma4cli.messages import Message, Part, TextPart
from gemma4cli.options import GenerateOptions, MediaOptions

ROOT = Path(__file__).parents[2]
PARITY = ROOT / "fixtures" / "parity"
DRIVER, SCRIPTED = (Path(__file__).with_name(f"{name}_g4.py") for name in ("driven", "scripted"))
"""g4 as it is, and g4 with answers that a test wrote."""
_PATIENCE = 60.0
"""Seconds after which a process that says nothing counts as hung."""


def g4(*args: str | Path, stdin: str | bytes | None = None) -> Result:
    """Run a command in this process; a bug's exception comes through."""
    runner = CliRunner()
    return runner.invoke(app, [str(arg) for arg in args], input=stdin, catch_exceptions=False)


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def environment(
    *,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    **variables: str,
) -> Environment:
    """A world of streams in memory; ``variables`` are all that there are."""
    return Environment(
        stdin=io.StringIO() if stdin is None else stdin,
        stdout=io.StringIO() if stdout is None else stdout,
        stderr=io.StringIO() if stderr is None else stderr,
        variables=variables,
        folder=Environment.of_process().folder,
    )


@dataclass(frozen=True)
class Run:
    """How a run ended, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


def g4_in(env: Environment, *args: str | Path) -> Run:
    """Run a command in a world of streams in memory."""
    assert isinstance(env.stdout, io.StringIO) and isinstance(env.stderr, io.StringIO)
    result = CliRunner().invoke(app, [str(a) for a in args], obj=env, catch_exceptions=False)
    return Run(
        result.exit_code,
        env.stdout.getvalue() + result.stdout,
        env.stderr.getvalue() + result.stderr,
    )


def g4_with(variables: Mapping[str, str], *args: str | Path) -> Run:
    """Run a command with more variables than this process has."""
    return g4_in(environment(**{**os.environ, **variables}), *args)


def g4_with_a_person(*args: str | Path, typed: str) -> Run:
    """Run a command where somebody reads stderr and types lines; stdout is a pipe."""
    env = environment(stdin=Tty(typed), stderr=Tty(), **{**os.environ, "TERM": "dumb"})
    return g4_in(env, *args)


def g4_at_a_terminal(*args: str | Path, **variables: str) -> Run:
    """Run a command whose output goes to a terminal."""
    changed = {**os.environ, "TERM": "xterm", **variables}
    return g4_in(environment(stdout=Tty(), stderr=Tty(), **changed), *args)


def tiny_g4(command: str, *args: str | Path, stdin: str | bytes | None = None) -> Result:
    """``g4 COMMAND -m tiny …``."""
    return g4(command, "-m", "tiny", *args, stdin=stdin)


def records(result: Result | Run) -> list[dict[str, Any]]:
    """The JSON lines on stdout."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_fails(result: Result | Run, code: int, *parts: str) -> None:
    """One line on stderr that begins with "g4: " and holds ``parts``; nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"g4: [^\n]+\n", result.stderr), result.stderr
    for part in parts:
        assert part in result.stderr


@dataclass
class Exchange:
    """What a command put to the model, and the made-up events that answer it.

    An exception among the events is raised when its turn comes.
    """

    parts: list[tuple[Part, ...]] = field(default_factory=list)
    options: list[GenerateOptions] = field(default_factory=list)
    media: list[MediaOptions] = field(default_factory=list)
    before: list[tuple[Message, ...]] = field(default_factory=list)
    events: list[Event | BaseException] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of the one message that was sent."""
        ((*parts,),) = self.parts
        (text,) = [part.text for part in parts if isinstance(part, TextPart)]
        return text


def finished(text: str, *, thoughts: str = "", reason: FinishReason = "stop") -> Finished:
    """The last event of a made-up answer."""
    return Finished(
        reason=reason,
        text=text,
        thoughts=thoughts,
        token_ids=(1, 2),
        usage=Usage(prompt_tokens=9, soft_tokens=4, completion_tokens=2),
        timings=Timings(encode=0.5, prefill=0.25, decode=0.125),
    )


def write_clip_with_sound(path: Path) -> Path:
    """The pictures of video00.mp4 with the speech of speech00.wav (2.1 s), copied as they are."""
    with (
        av.open(sample("video00.mp4")) as seen,
        av.open(sample("speech00.wav")) as heard,
        av.open(str(path), "w") as clip,
    ):
        tracks = [
            (source, clip.add_stream_from_template(source.streams[0])) for source in (seen, heard)
        ]
        for source, track in tracks:
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = track
                    clip.mux(packet)
    return path


def command_line(*args: str | Path, ways: str = "plain", driver: Path = DRIVER) -> list[str]:
    """g4 as a process; ``ways`` are those of driven_g4.py, with commas between."""
    return [sys.executable, str(driver), ways, *map(str, args)]


def run_g4(
    *args: str | Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run g4 as a separate process."""
    return subprocess.run(
        command_line(*args),
        input=stdin,
        capture_output=True,
        timeout=_PATIENCE,
        env={**os.environ, **(env or {})},
        check=False,
        **options,
    )


class Terminal:
    """A g4 at its own pseudo-terminal. ``output`` is all that it has shown so far."""

    def __init__(
        self,
        *args: str | Path,
        ways: str = "tty",
        env: Mapping[str, str] | None = None,
        stdout: IO[bytes] | None = None,
        driver: Path = DRIVER,
    ) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        # Without this prompt_toolkit asks the terminal where its cursor is.
        changed = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})}
        self._process = subprocess.Popen(
            command_line(*args, ways=ways, driver=driver),
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            env={**os.environ, **changed},
            start_new_session=True,
        )
        os.close(theirs)
        self.output = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, text: str) -> str:
        """Wait for ``text`` after what was expected before; returns the output up to its end."""
        deadline = time.monotonic() + _PATIENCE
        while (at := self.output.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not come; there was: {self.output!r}")
        found = self.output[self._seen : at + len(text)]
        self._seen = at + len(text)
        return found

    def wait(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(_PATIENCE)

    def _read(self, deadline: float) -> bool:
        """Take what there is; False at the end of the output."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came after: {self.output!r}")
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # on Linux the end of a terminal is an error
            return False
        self.output += data.decode(errors="replace")
        return bool(data)
