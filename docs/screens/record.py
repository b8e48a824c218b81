"""Record what g4 shows: the real program, at a pseudo-terminal, as SVG and as a recording.

    python docs/screens/record.py           every scene
    python docs/screens/record.py chat      one of them

Needs pyte (extra ``test``). NAME.svg is a scene's last screen; NAME.cast, of those with typing, is
an asciicast for ``asciinema play``. Whatever the built-in model says is taken as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = ROOT / "fixtures" / "samples"
IMAGE, SPEECH, VIDEO = "image01.png", "speech00.wav", "video00.mp4"

COLUMNS, ROWS = 80, 48
PATIENCE = 300.0
"""Seconds after which a program that says nothing counts as hung."""
KEY_SECONDS = 0.05
READING_SECONDS = 1.5
LONGEST_PAUSE = 2
"""Seconds; a player shortens what is longer."""
PROMPT = b"\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""

TINY = ("-m", "tiny")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A command, and the lines that are typed at its prompt."""

    arguments: tuple[str, ...]
    typed: tuple[str, ...] = ()


SCENES = {
    "describe": Scene(arguments=("describe", *TINY, IMAGE)),
    "transcribe": Scene(arguments=("transcribe", *TINY, SPEECH, "-f", "srt")),
    "video": Scene(arguments=("video", *TINY, VIDEO)),
    "chat": Scene(
        arguments=("chat", *TINY, "--no-log", "--seed", "1"),
        typed=(
            f"/image {IMAGE}",
            "Describe this image.",
            "Write a list of three colours in Markdown.",
            "/context",
            "/stats",
            "/exit",
        ),
    ),
    "models": Scene(arguments=("models", "list")),
    "doctor": Scene(arguments=("doctor",)),
}


class Screen(pyte.Screen):
    """Shows faint text in gray, which pyte passes over."""

    def select_graphic_rendition(self, *attributes: int, **options: Any) -> None:
        dimmed = (90,) if attributes == (2,) else attributes
        super().select_graphic_rendition(*dimmed, **options)


@dataclass
class Recording:
    """What a terminal was sent, with the seconds since the beginning."""

    began: float = field(default_factory=time.monotonic)
    output: list[tuple[float, bytes]] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        self.output.append((time.monotonic() - self.began, data))

    def screen(self) -> Screen:
        screen = Screen(COLUMNS, ROWS)
        stream = pyte.ByteStream(screen)
        for _, data in self.output:
            stream.feed(data)
        return screen

    def write_cast(self, path: Path) -> None:
        """https://docs.asciinema.org/manual/asciicast/v2"""
        decoder = json.JSONEncoder(ensure_ascii=False)
        header = {
            "version": 2,
            "width": COLUMNS,
            "height": ROWS,
            "idle_time_limit": LONGEST_PAUSE,
            "env": {"TERM": "xterm-256color"},
        }
        lines = [decoder.encode(header)]
        for seconds, text in _whole_characters(self.output):
            lines.append(decoder.encode([round(seconds, 3), "o", text]))
        path.write_text("\n".join(lines) + "\n", "utf-8")


def _whole_characters(output: list[tuple[float, bytes]]) -> Iterator[tuple[float, str]]:
    """The output as text, however its characters were cut."""
    from codecs import getincrementaldecoder

    decoder = getincrementaldecoder("utf-8")("replace")
    for seconds, data in output:
        if text := decoder.decode(data):
            yield seconds, text


class Program:
    """g4 at a pseudo-terminal, in a folder and a home of its own."""

    def __init__(self, arguments: tuple[str, ...], home: Path, recording: Recording) -> None:
        self._recording = recording
        self._answered_from = len(recording.output)
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gemma4cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=home / "samples",
            env=_environment(home),
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, line: str) -> None:
        """Type a line once there is a prompt, as a person does."""
        self._read_until_prompt()
        self._read_for(READING_SECONDS)
        for key in line:
            os.write(self._fd, key.encode())
            self._read_for(KEY_SECONDS)
        self._answered_from = len(self._recording.output)
        os.write(self._fd, b"\r")

    def finish(self) -> None:
        while self._read(PATIENCE):
            pass
        self._process.wait(PATIENCE)
        os.close(self._fd)

    def _read_until_prompt(self) -> None:
        while PROMPT not in self._answer():
            if not self._read(PATIENCE):
                raise RuntimeError(f"the program ended before it read a line: {self._answer()!r}")

    def _answer(self) -> bytes:
        """What came since the last line was sent; the prompt may be among it already."""
        return b"".join(data for _, data in self._recording.output[self._answered_from :])

    def _read_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0] and not self._read(0):
                return

    def _read(self, patience: float) -> bytes:
        """What there is; nothing at the end of the output."""
        if not select.select([self._fd], [], [], patience)[0]:
            self._process.kill()
            raise RuntimeError("the program says nothing")
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # on Linux the end of a terminal is an error
            return b""
        self._recording.add(data)
        return data


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the user's: no settings, no models, no colors switched off."""
    kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "TMPDIR")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "HF_HUB_OFFLINE": "1",
        "G4_PICTURES": "never",
        # Without this prompt_toolkit asks the terminal where its cursor is.
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }


def record(scene: Scene, home: Path) -> Recording:
    recording = Recording()
    recording.add(f"\x1b[1m$ g4 {' '.join(scene.arguments)}\x1b[0m\r\n".encode())
    program = Program(scene.arguments, home, recording)
    for line in scene.typed:
        program.type(line)
    program.finish()
    return recording


def text_of(screen: Screen) -> Text:
    """The screen with its colors, without the empty lines at its end."""
    lines = [_line(screen, row) for row in range(ROWS)]
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def _line(screen: Screen, row: int) -> Text:
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    # Word by word: viewers do not agree about blanks at a text's beginning.
    runs = groupby(cells, key=lambda cell: (cell.data == " ", _style(cell)))
    words = (("".join(cell.data for cell in run), style) for (_, style), run in runs)
    line = Text.assemble(*words)
    line.rstrip()
    return line


def _style(cell: Any) -> Style:
    return Style(
        color=_color(cell.fg),
        bgcolor=None if cell.bg == "default" else _color(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        strike=cell.strikethrough,
        reverse=cell.reverse,
    )


def _color(name: str) -> str:
    """pyte's name of a color as Rich has it."""
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    plain = name.removeprefix("bright").replace("brown", "yellow")
    return f"bright_{plain}" if name.startswith("bright") else plain


def write_svg(name: str, recording: Recording, path: Path) -> None:
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(text_of(recording.screen()), soft_wrap=True)
        path.write_text(console.export_svg(title=f"g4 {name}", unique_id=f"g4-{name}"), "utf-8")


def main() -> None:
    names = sys.argv[1:] or list(SCENES)
    with tempfile.TemporaryDirectory(prefix="g4-") as folder:
        home = Path(folder)
        (home / "samples").mkdir()
        for sample in (IMAGE, SPEECH, VIDEO):
            shutil.copy(SAMPLES / sample, home / "samples")
        for name in names:
            recording = record(SCENES[name], home)
            write_svg(name, recording, HERE / f"{name}.svg")
            if SCENES[name].typed:
                recording.write_cast(HERE / f"{name}.cast")
            sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
