"""The environment of one run, as one value: streams, variables, folders, the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

import typer

from .escapes import block, one_line, printable

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
        base = self.variables.get(name, "")
        # By the XDG specification, a relative folder is not heeded.
        return (Path(base) if os.path.isabs(base) else Path.home() / default) / "g4"

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
        self.stderr.write(block(f"{question} [y/N] "))
        self.stderr.flush()
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def say(self, line: str) -> None:
        """Write a line to stderr, or several; what is not visible in them is escaped."""
        self.stderr.write(block(line) + "\n")
        self.stderr.flush()

    def say_error(self, problem: Exception | str, *, about: str = "", debug: bool = False) -> None:
        """Write an error as one line, after its traceback with ``debug``.

        ``about`` is the input that it is about, unless the error names it itself.
        """
        if debug and isinstance(problem, Exception):
            import traceback

            self.say("".join(traceback.format_exception(problem)).rstrip("\n"))
        name = f"{about}: " if about else ""
        self.say(one_line(f"g4: {name}" + " ".join(str(problem).splitlines())))

    def echo(self, text: str) -> None:
        """Write lines to stdout; on a terminal, what is not visible in them is escaped."""
        shown = block(text) if self.stdout.isatty() else printable(text, self.stdout)
        self.stdout.write(f"{shown}\n")
        self.stdout.flush()

    def echo_row(self, text: str) -> None:
        """Write one line to stdout; on a terminal, line breaks of names in it are escaped, too."""
        self.echo(one_line(text) if self.stdout.isatty() else text)

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
