"""The environment of one run, as one value: streams, variables, folders, the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

import typer

# C0 except tab and newline, DEL, C1: they can move the cursor, ring the bell or change colors.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\udc80-\udcff]")
_IN_BLOCK = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\udc80-\udcff]")
_STRAY = re.compile("[\udc80-\udcff]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_FALLBACK_SIZE = (80, 24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Everything that a command takes from its process.

    ``folder`` is the current folder, None if it was deleted.
    """

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    variables: Mapping[str, str]
    folder: Path | None

    @classmethod
    def of_process(cls) -> Self:
        """The streams, variables and current folder of this process."""
        try:
            folder = Path.cwd()
        except FileNotFoundError:
            folder = None
        return cls(
            stdin=sys.stdin,
            stdout=sys.stdout,
            stderr=sys.stderr,
            variables=os.environ,
            folder=folder,
        )

    @property
    def config_file(self) -> Path:
        """The user's settings, in the XDG configuration folder."""
        return self._xdg("XDG_CONFIG_HOME", ".config") / "config.toml"

    @property
    def state_folder(self) -> Path:
        """Where g4 saves conversations, the history and unfinished transcripts."""
        return self._xdg("XDG_STATE_HOME", ".local/state")

    @property
    def sessions_folder(self) -> Path:
        """Where conversations are saved."""
        return self.state_folder / "sessions"

    def _xdg(self, name: str, default: str) -> Path:
        base = self.variables.get(name)
        return (Path(base) if base else Path.home() / default) / "g4"

    def is_animated(self, stream: TextIO) -> bool:
        """Whether the stream is a terminal that can redraw a line."""
        return stream.isatty() and self.variables.get("TERM") != "dumb"

    def has_color(self, stream: TextIO) -> bool:
        """Whether the stream is a terminal that should get colors."""
        return self.is_animated(stream) and not self.variables.get("NO_COLOR")

    def size(self, stream: TextIO) -> tuple[int, int]:
        """Current columns and rows of the terminal that a stream is written to."""
        try:
            columns, rows = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            return _FALLBACK_SIZE
        return (columns, rows) if columns and rows else _FALLBACK_SIZE

    @property
    def can_ask(self) -> bool:
        """Whether a person sees a question and can answer it."""
        return self.stdin.isatty() and self.stderr.isatty()

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question; anything but yes, and the end of the input, means no.

        The question goes to stderr, because stdout is only for the answer.
        """
        self.stderr.write(printable(f"{question} [y/N] ", self.stderr))
        self.stderr.flush()
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def say(self, line: str) -> None:
        """Write a line to stderr, or several; other control characters are escaped."""
        self.stderr.write(_IN_BLOCK.sub(_escaped, line) + "\n")
        self.stderr.flush()

    def say_error(self, problem: Exception | str, *, about: str = "", debug: bool = False) -> None:
        """Write an error as one line, after its traceback with ``debug``.

        ``about`` is the input that it is about, unless the error names it itself.
        """
        if debug and isinstance(problem, Exception):
            import traceback

            traceback.print_exception(problem, file=self.stderr)
        name = f"{about}: " if about else ""
        self.say(one_line(f"g4: {name}" + " ".join(str(problem).splitlines())))

    def echo(self, text: str) -> None:
        """Write lines to stdout."""
        self.stdout.write(printable(text, self.stdout) + "\n")
        self.stdout.flush()

    def echo_path(self, path: Path) -> None:
        """Write a path to stdout, for a program with its bytes as they are."""
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None or self.stdout.isatty():
            self.echo(one_line(str(path)))
            return
        self.stdout.flush()
        buffer.write(os.fsencode(path) + b"\n")
        buffer.flush()


def environment_of(context: typer.Context) -> Environment:
    """The environment that the program was started with, or the process's own."""
    root = context.find_root()
    if root.obj is None:
        root.obj = Environment.of_process()
    assert isinstance(root.obj, Environment), "the program is started with an Environment"
    return root.obj


def printable(text: str, stream: TextIO) -> str:
    """``text`` for ``stream``: control characters are replaced if it is a terminal.

    Bytes of names that are not UTF-8 are escaped: ``\\xE9``.
    """
    text = _STRAY.sub(_escaped, text)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if stream.isatty() else text


def one_line(text: str) -> str:
    """``text``, such as a file's name, on one line.

    Control characters and bytes that are not UTF-8 are escaped: ``\\n``, ``\\x1B``, ``\\xE9``.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python reads a byte that is not UTF-8 as U+DC80 to U+DCFF.
    number = f"u{code:04X}" if 0xFF < code < 0xD800 else f"x{code & 0xFF:02X}"
    return _NAMED.get(found[0], f"\\{number}")
